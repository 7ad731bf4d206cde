//! What a client that can't be served is told: a status, and a sentence.

use std::io::{self, ErrorKind};

use crate::common::store::StoreError;
use crate::http::message::Response;

/// A status with a sentence.
pub(super) fn say(status: u16, sentence: &str) -> Response {
    Response::text(format!("{sentence}\n")).with_status(status)
}

/// Why nothing was stored.
pub(super) fn of(error: &StoreError) -> Response {
    let status = match error {
        StoreError::Exists | StoreError::Busy => 409,
        StoreError::TooLarge { .. } => 413,
        StoreError::NoSpace(_) => 507,
        StoreError::ChecksumMismatch(_) | StoreError::Truncated { .. } => 400,
        StoreError::ForbiddenName(_) => 403,
        StoreError::Io(error) => return of_system(error),
    };
    say(status, &format!("Nothing is stored: {error}."))
}

/// Why the system did not do it.
pub(super) fn of_system(error: &io::Error) -> Response {
    match error.kind() {
        ErrorKind::NotFound => say(404, "There is nothing at this address."),
        // cap-std reports a path that leads out of the root as a denied permission, too.
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => say(403, "The server may not write here."),
        ErrorKind::InvalidFilename => say(403, "The name is refused: it is too long."),
        ErrorKind::DirectoryNotEmpty => say(409, "The folder isn't empty."),
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => say(409, "A file is in the way."),
        ErrorKind::IsADirectory => say(409, "A folder is in the way."),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            say(507, "The disk has too little room for it.")
        }
        _ => {
            log::error!("a change failed: {error}");
            say(500, "The server failed to do it.")
        }
    }
}
