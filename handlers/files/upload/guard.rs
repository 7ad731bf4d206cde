//! The conditions of a request that changes something (RFC 9110 §13).

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::time::{SystemTime, UNIX_EPOCH};

use cap_std::fs::{Dir, MetadataExt};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, openat};
use rustix::io::retry_on_intr;
use socketserver_http::engine::response::Response;
use socketserver_http::protocol::accept_encoding::Coding;
use socketserver_http::protocol::conditional::{Conditions, Outcome, Validators, evaluate};
use socketserver_http::protocol::head::Head;

use super::refusal::say;
use crate::common::store::PARTIALS;
use crate::files::site::entry;

/// A request's conditions. They are kept until the body is complete and checked then, because the
/// file may change meanwhile.
#[derive(Debug, Default)]
pub(super) struct Guard {
    if_match: Option<Vec<u8>>,
    if_none_match: Option<Vec<u8>>,
    if_unmodified_since: Option<Vec<u8>>,
}

impl Guard {
    pub(super) fn of(head: &Head<'_>) -> Guard {
        Guard {
            if_match: head.joined("if-match").map(|list| of_any_form(&list)),
            if_none_match: head.joined("if-none-match").map(|list| of_any_form(&list)),
            if_unmodified_since: head.if_unmodified_since.map(<[u8]>::to_vec),
        }
    }

    /// Whether no file may exist at the path (`If-None-Match: *`).
    pub(super) fn wants_none(&self) -> bool {
        self.if_none_match.as_deref() == Some(b"*")
    }

    /// Takes the lock for conditional changes, if the request has conditions. While the result
    /// exists, no other request with conditions changes a file, not even in another process. So of
    /// two clients that have seen the same version, only one can replace it (RFC 9110 §13.1.1).
    /// Others may wait for this lock, so hold it only for a short time.
    ///
    /// # Errors
    /// Errors of the system.
    pub(super) fn alone(&self, root: &Dir) -> io::Result<Option<OwnedFd>> {
        if self.if_match.is_none()
            && self.if_none_match.is_none()
            && self.if_unmodified_since.is_none()
        {
            return Ok(None);
        }
        // The folder of partial uploads exists while a file is being received, and only the server
        // changes it.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = openat(root, PARTIALS, flags, Mode::empty())?;
        retry_on_intr(|| flock(&folder, FlockOperation::LockExclusive))?;
        Ok(Some(folder))
    }

    /// Checks the request's conditions for the file at a path.
    ///
    /// # Errors
    /// 412: the file does not meet the conditions.
    pub(super) fn check(&self, root: &Dir, path: &[u8]) -> Result<(), Response> {
        let conditions = Conditions {
            if_match: self.if_match.as_deref(),
            if_none_match: self.if_none_match.as_deref(),
            if_unmodified_since: self.if_unmodified_since.as_deref(),
            ..Conditions::default()
        };
        let metadata = root.metadata(OsStr::from_bytes(path)).ok();
        let etag = metadata.as_ref().filter(|metadata| metadata.is_file());
        let etag = etag.map(|file| entry::etag((file.mtime(), file.mtime_nsec()), file.len()));
        let current = metadata.map(|metadata| Validators {
            etag: etag.as_deref().map(str::as_bytes),
            last_modified: metadata
                .modified()
                .ok()
                .map(|time| time.into_std().clamp(UNIX_EPOCH, SystemTime::now())),
        });
        match evaluate(&conditions, current.as_ref(), false) {
            Outcome::PreconditionFailed => Err(failed()),
            Outcome::Proceed { .. } | Outcome::NotModified => Ok(()),
        }
    }
}

/// Replaces the entity tags of coded forms in a list by the tag of the file itself. Browsers
/// request coded forms, so they know only the tags of these.
fn of_any_form(list: &[u8]) -> Vec<u8> {
    let mut text = String::from_utf8_lossy(list).into_owned();
    for coding in Coding::ALL {
        text = text.replace(&format!("-{}\"", coding.name()), "\"");
    }
    text.into_bytes()
}

/// The response to a request whose conditions are not met.
pub(super) fn failed() -> Response {
    say(
        412,
        "Nothing is changed: the file does not meet the request's conditions.",
    )
}
