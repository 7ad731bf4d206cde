//! Requests to the URL of an upload: its progress (`HEAD`) and its removal (`DELETE`, the extension
//! termination).

use socketserver_http::engine::exchange::Exchange;
use socketserver_http::engine::response::Response;

use super::{piece, publish, refused};
use crate::common::store::{Progress, Registered, is_reserved};
use crate::files::upload::refusal::{of_system, say};
use crate::files::upload::{DestinationPath, Sender, Shared};

/// The URL path of a path below a folder.
pub(super) fn below(shared: &Shared, folder: &DestinationPath, path: &[u8]) -> String {
    let path = if folder.asked.is_empty() {
        path.to_vec()
    } else {
        [&folder.asked, path].join(&b'/')
    };
    shared.site.policy.base_path.url_path(&path)
}

/// The ID in a request's target, and the registered upload.
pub(super) fn find(
    shared: &Shared,
    exchange: &Exchange<'_>,
) -> Result<(String, Registered), Response> {
    let none = || say(404, "There is no such upload, or it has expired.");
    let target = exchange
        .target()
        .map_err(|error| say(400, &format!("The path was refused: {error}.")))?;
    let path = shared
        .site
        .policy
        .base_path
        .below(&target.path)
        .and_then(|path| std::str::from_utf8(path).ok());
    let (path, id) = path
        .and_then(|path| path.rsplit_once('/'))
        .ok_or_else(none)?;
    let (folder, reserved) = path.rsplit_once('/').unwrap_or(("", path));
    let real = shared
        .store
        .resolve(folder.as_bytes())
        .map_err(|_| none())?;
    if target.trailing_slash || !is_reserved(reserved.as_bytes()) {
        return Err(none());
    }
    let registered = shared
        .store
        .registered(id)
        .map_err(|error| of_system(&error))?
        .ok_or_else(none)?;
    // The right to write into one folder does not include another folder.
    let rest = registered.intent.name.as_bytes().strip_prefix(&*real);
    if !rest.is_some_and(|rest| real.is_empty() || rest.starts_with(b"/")) {
        return Err(none());
    }
    Ok((id.to_owned(), registered))
}

/// The response to `HEAD`, with the offset of the next chunk.
pub(super) fn progress(
    shared: &Shared,
    exchange: &Exchange<'_>,
    sender: &Sender,
) -> Result<Response, Response> {
    let (id, Registered { intent, progress }) = find(shared, exchange)?;
    let size = intent.size.unwrap_or_default();
    let offset = match progress {
        Progress::Partial { offset, .. } => offset,
        Progress::Stored(_) => size,
    };
    let answer = Response::new(200)
        .header("Cache-Control", "no-store")
        .header("Upload-Offset", &offset.to_string())
        .header("Upload-Length", &size.to_string());
    let answer = match intent.memo.as_deref() {
        None | Some("") => answer,
        Some(metadata) => answer.header("Upload-Metadata", metadata),
    };
    match progress {
        // All bytes had arrived when the server was killed. The file is stored now, because the
        // client regards this response as the end of the upload.
        Progress::Partial { offset, .. } if offset == size => {
            let partial = shared
                .store
                .resume_registered(&id)
                .map_err(|error| refused(&error))?;
            publish(shared, sender, partial, answer)
        }
        Progress::Partial { expires, .. } => Ok(piece::with_expiry(answer, expires)),
        Progress::Stored(Some(name)) => Ok(answer.header(
            "Content-Location",
            &shared.site.policy.base_path.url_path(name.as_bytes()),
        )),
        Progress::Stored(None) => Ok(answer),
    }
}

/// Removes an upload and its received bytes. A file that was already stored from it remains.
pub(super) fn terminate(shared: &Shared, exchange: &Exchange<'_>) -> Result<Response, Response> {
    let (id, _) = find(shared, exchange)?;
    shared.store.give_up(&id).map_err(|error| refused(&error))?;
    Ok(Response::new(204))
}
