//! Error responses of uploads: a status and a sentence.

use std::io::{self, ErrorKind};

use socketserver_http::engine::response::Response;

use crate::common::store::StoreError;

/// `Retry-After` of an upload that the server cannot take now, in seconds.
const RETRY_AFTER: &str = "5";

/// A response with a status and a sentence.
pub(super) fn say(status: u16, sentence: &str) -> Response {
    Response::text(format!("{sentence}\n")).with_status(status)
}

/// The response if a file was not stored.
pub(super) fn of(error: &StoreError) -> Response {
    match error {
        StoreError::Io(error) => of_system(error),
        StoreError::Unavailable(_) | StoreError::TooManyPartials => {
            say(status(error), &format!("Nothing is stored: {error}."))
                .header("Retry-After", RETRY_AFTER)
        }
        _ => say(status(error), &format!("Nothing is stored: {error}.")),
    }
}

/// The response if a change was not made.
pub(super) fn of_change(error: &StoreError) -> Response {
    match error {
        StoreError::Unavailable(_) => {
            say(503, &format!("Nothing is changed: {error}.")).header("Retry-After", RETRY_AFTER)
        }
        StoreError::Io(error) => of_system(error),
        _ => say(status(error), &format!("Nothing is changed: {error}.")),
    }
}

/// Why one of several files was not stored: the status, and the sentence that follows its name.
pub(super) fn explain(error: &StoreError) -> (u16, String) {
    match error {
        StoreError::Io(error) => {
            let (status, sentence) = explain_system(error);
            (status, sentence.to_owned())
        }
        _ => (status(error), format!("{error}.")),
    }
}

fn status(error: &StoreError) -> u16 {
    match error {
        StoreError::Exists | StoreError::Busy => 409,
        StoreError::Unavailable(_) => 503,
        StoreError::TooManyPartials => 429,
        StoreError::TooLarge { .. } => 413,
        StoreError::NoSpace(_) => 507,
        StoreError::ChecksumMismatch(_) | StoreError::Truncated { .. } => 400,
        StoreError::ForbiddenName(_) | StoreError::NoUser => 403,
        StoreError::Io(error) => explain_system(error).0,
    }
}

/// The response for an error of the system.
pub(super) fn of_system(error: &io::Error) -> Response {
    let (status, sentence) = explain_system(error);
    say(status, sentence)
}

fn explain_system(error: &io::Error) -> (u16, &'static str) {
    match error.kind() {
        ErrorKind::NotFound => (404, "There is nothing at this address."),
        // cap-std reports a path that leads out of the root as a denied permission, too.
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            (403, "The server may not write here.")
        }
        ErrorKind::InvalidFilename => (403, "The name is refused: it is too long."),
        ErrorKind::DirectoryNotEmpty => (409, "The folder is not empty."),
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
            (409, "A file of this name is in the way.")
        }
        ErrorKind::IsADirectory => (409, "A folder of this name is in the way."),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            (507, "The disk is full.")
        }
        _ => {
            log::error!("a change failed: {error}");
            (500, "The server failed to do this.")
        }
    }
}
