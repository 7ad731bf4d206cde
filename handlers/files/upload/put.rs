//! `PUT`: stores one complete file (RFC 9110 §9.3.4).

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::SystemTime;

use cap_std::fs::Dir;
use socketserver::RFile;
use socketserver_http::engine::application::{Receiver, Reception, Stopped};
use socketserver_http::engine::body::Body;
use socketserver_http::engine::body_reader::BodyReader;
use socketserver_http::engine::exchange::Exchange;
use socketserver_http::engine::response::Response;
use socketserver_http::protocol::digest_fields;
use socketserver_http::protocol::file_date;
use socketserver_http::protocol::head::{Framing, Head};

use super::guard::{self, Guard};
use super::refusal::{self, say};
use super::{ALLOW, DestinationPath, Sender, Shared, receive, require_identity_encoding};
use crate::accounts::Rights;
use crate::common::digest::Digests;
use crate::common::store::{Intent, OnDuplicate, Partial, StoreError};
use crate::files::access::Permit;
use crate::files::site::entry::Identity;

const MTIME: &str = "X-OC-Mtime";

/// A file that is being received.
struct Put {
    shared: Arc<Shared>,
    sender: Sender,
    place: DestinationPath,
    guard: Guard,
    /// What happens if the name is taken.
    on_duplicate: OnDuplicate,
    /// The part of the file that has been received.
    partial: Partial,
}

/// Begins to receive the body of a PUT, unless the head shows that it cannot be stored.
pub(super) fn begin(
    shared: &Arc<Shared>,
    exchange: &Exchange<'_>,
    sender: Sender,
) -> Result<Box<dyn Receiver>, Response> {
    let head = exchange.head;
    let place = DestinationPath::of(&shared.site, exchange)?;
    let root = shared.root();
    if place.trailing_slash || is_directory(root, &place)? {
        return Err(say(405, "A folder cannot be replaced by a file.").header("Allow", ALLOW));
    }
    let name = place.name()?;
    let size = whole_file(head)?;
    let digests = Digests {
        sha256: announced_digest(head)?,
        ..Digests::default()
    };
    let modified = announced_date(head)?;
    let guard = Guard::of(head);
    guard.check(root, &place.path)?;
    let on_duplicate = match shared.on_duplicate {
        None | Some(OnDuplicate::Overwrite) if !guard.wants_none() => OnDuplicate::Overwrite,
        // PUT must not store the file under another name than the requested one.
        _ => OnDuplicate::Error,
    };
    let on_duplicate = sender.permit.check_store(&place.path, on_duplicate)?;
    let intent = Intent {
        size,
        digests,
        modified,
        ..sender.intent(name)
    };
    let partial = shared.store.begin_unresumable(intent, on_duplicate);
    let partial = partial.map_err(|error| not_stored(&error, &sender.permit, &place))?;
    let shared = Arc::clone(shared);
    Ok(Box::new(Put {
        shared,
        sender,
        place,
        guard,
        on_duplicate,
        partial,
    }))
}

/// The response if the file was not stored. The client may not have the right to replace the
/// existing file.
fn not_stored(error: &StoreError, permit: &Permit, place: &DestinationPath) -> Response {
    match error {
        StoreError::Exists if !permit.may(Rights::DELETE, &place.path) => permit.refusal(),
        error => refusal::of(error),
    }
}

/// Whether there is a folder at the path. `Err` is the response if the system reports an error.
pub(super) fn is_directory(root: &Dir, place: &DestinationPath) -> Result<bool, Response> {
    match root.symlink_metadata(place.path()) {
        Ok(metadata) => Ok(metadata.is_dir()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(refusal::of_system(&error)),
    }
}

/// The length of the file, if it is known. Refuses a body that is only a part of the file, or that
/// is encoded.
fn whole_file(head: &Head<'_>) -> Result<Option<u64>, Response> {
    if head.values("content-range").next().is_some() {
        return Err(say(
            400,
            "Nothing is stored: send the whole file, without Content-Range.",
        )); // RFC 9110 §14.5
    }
    require_identity_encoding(head)?;
    match head.body {
        Framing::Length(length) => Ok(Some(length)),
        Framing::Chunked => Ok(None),
        // RFC 9110 §15.5.12
        Framing::None => Err(say(
            411,
            "Nothing is stored: send Content-Length or a chunked body.",
        )),
    }
}

/// The SHA-256 that the sender announces. The body has no content coding, so the content and the
/// representation are the same bytes.
fn announced_digest(head: &Head<'_>) -> Result<Option<[u8; 32]>, Response> {
    let mut found: Option<[u8; 32]> = None;
    for name in ["Content-Digest", "Repr-Digest"] {
        let Some(field) = head.joined(name) else {
            continue;
        };
        let digest = digest_fields::sha_256(&field).map_err(|error| {
            say(
                400,
                &format!("Nothing is stored: {name} can't be read: {error}."),
            )
        })?;
        if found.zip(digest).is_some_and(|(one, other)| one != other) {
            return Err(say(
                400,
                "Nothing is stored: Content-Digest and Repr-Digest contradict each other.",
            ));
        }
        found = found.or(digest);
    }
    Ok(found)
}

/// The time of the last change of the sender's file. It is in a header without a standard that
/// rclone and the clients of ownCloud and Nextcloud send.
fn announced_date(head: &Head<'_>) -> Result<Option<SystemTime>, Response> {
    let Some(field) = head.joined(MTIME) else {
        return Ok(None);
    };
    let date = file_date::seconds(&field);
    date.map(Some).ok_or_else(|| {
        say(
            400,
            &format!("Nothing is stored: {MTIME} is not a number of seconds since 1970."),
        )
    })
}

impl Receiver for Put {
    fn receive(&mut self, body: &mut Body, rfile: &mut RFile) -> Result<Reception, Stopped> {
        receive(&mut self.partial, body, rfile, refusal::of)?;
        Ok(Reception::WantsAll)
    }

    fn finish(self: Box<Self>, _: &Exchange<'_>, _: BodyReader<'_>) -> Response {
        self.publish().unwrap_or_else(|refused| refused)
    }
}

impl Put {
    fn publish(self) -> Result<Response, Response> {
        let Put {
            shared,
            sender,
            place,
            guard,
            on_duplicate,
            mut partial,
        } = self;
        let root = shared.root();
        partial
            .sync_bytes()
            .map_err(|error| refusal::of(&error.into()))?;
        let _alone = guard
            .alone(root)
            .map_err(|error| refusal::of_system(&error))?;
        guard.check(root, &place.path)?;
        let metadata = partial
            .metadata()
            .map_err(|error| refusal::of_system(&error))?;
        let date = partial.intent().modified;
        let identity = Identity::of(&metadata);
        let identity = date.map_or(identity, |date| identity.dated(date));
        let is_new = root
            .symlink_metadata(partial.intent().name.as_path())
            .is_err();
        let published = partial.publish(on_duplicate).map_err(|error| match error {
            StoreError::Exists if guard.wants_none() => guard::failed(),
            error => not_stored(&error, &sender.permit, &place),
        })?;
        shared.stored(&published, &sender, "PUT");
        shared.site.cache.forget(&place.asked);
        let response = if is_new {
            Response::new(201).header("Location", &place.location)
        } else {
            Response::new(204)
        };
        let response = if date.is_some() {
            response.header(MTIME, "accepted")
        } else {
            response
        };
        Ok(response.header("ETag", &identity.etag()))
    }
}
