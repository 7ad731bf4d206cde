//! `POST`: creates an upload, optionally with its first bytes (the extensions creation and
//! creation-with-upload).

use std::sync::Arc;
use std::time::SystemTime;

use socketserver_http::engine::application::Receiver;
use socketserver_http::engine::exchange::Exchange;
use socketserver_http::engine::response::Response;
use socketserver_http::protocol::head::Framing;
use socketserver_http::protocol::tus_fields::{self, Metadata};

use super::piece::{self, UploadChunk};
use super::{check_version, on_duplicate, only, refused, resource};
use crate::common::store::{Intent, Name, PARTIALS};
use crate::files::upload::put::is_directory;
use crate::files::upload::refusal::{self, say};
use crate::files::upload::{DestinationPath, Sender, Shared};

/// Registers an upload, and begins to receive the bytes in the request's body.
pub(super) fn begin(
    shared: &Arc<Shared>,
    exchange: &Exchange<'_>,
    sender: Sender,
) -> Result<Box<dyn Receiver>, Response> {
    let head = exchange.head;
    check_version(head)?;
    let folder = DestinationPath::folder_of(&shared.site, exchange)?;
    if !folder.path.is_empty() && !shared.root().is_dir(folder.path()) {
        return Err(say(404, "There is no folder at this address."));
    }
    if ["upload-concat", "upload-defer-length"]
        .iter()
        .any(|name| head.values(name).next().is_some())
    {
        return Err(say(
            400,
            "Nothing is stored: Upload-Concat and Upload-Defer-Length are not supported.",
        ));
    }
    let size = only(head, "upload-length").and_then(tus_fields::number);
    let size = size.ok_or_else(|| {
        say(
            400,
            "Nothing is stored: send the file's length as Upload-Length.",
        )
    })?;
    let memo = head.joined("upload-metadata").unwrap_or_default();
    let (name, modified) = file_of(shared, &folder, &memo)?;
    if head.body != Framing::None && head.body != Framing::Length(0) {
        piece::check_content(head)?;
    }
    let digests = piece::announced_digests(head)?;
    let memo = Some(String::from_utf8_lossy(&memo).into_owned());
    let on_duplicate = on_duplicate(shared, &sender, &name)?;
    let intent = Intent {
        size: Some(size),
        memo,
        modified,
        ..sender.intent(name)
    };
    let partial = shared
        .store
        .register(intent, on_duplicate)
        .map_err(|error| refused(&error))?;
    let location = resource::below(
        shared,
        &folder,
        format!("{PARTIALS}/{}", partial.id()).as_bytes(),
    );
    Ok(Box::new(UploadChunk::begin(
        shared,
        head,
        sender,
        partial,
        digests,
        Some(location),
    )?))
}

/// The path of the file below the folder and its date, both from the upload's metadata.
fn file_of(
    shared: &Shared,
    folder: &DestinationPath,
    metadata: &[u8],
) -> Result<(Name, Option<SystemTime>), Response> {
    let Metadata {
        filename,
        relative_path,
        modified,
    } = if metadata.is_empty() {
        Metadata::default()
    } else {
        tus_fields::metadata(metadata)
            .map_err(|error| say(400, &format!("Nothing is stored: {error}.")))?
    };
    let name = match (relative_path, filename) {
        // The client Uppy sends `null` for a file without a folder.
        (Some(path), _) if !path.is_empty() && path != "null" => Name::path(&path),
        (_, Some(name)) => Name::last_component(&name),
        _ => {
            return Err(say(
                400,
                "Nothing is stored: send the file's name in Upload-Metadata, as `filename`.",
            ));
        }
    };
    let name = name.map_err(|error| refusal::of(&error))?;
    // The path is resolved from its URL, so that the same rules apply as for a PUT to this URL.
    let address = resource::below(shared, folder, name.as_bytes());
    let place = DestinationPath::at(&shared.site, address.as_bytes())?;
    if is_directory(shared.root(), &place)? {
        return Err(say(409, "Nothing is stored: a folder of this name exists."));
    }
    Ok((place.name()?, modified))
}
