//! Computes digests step by step.

use std::io;
use std::sync::Arc;

use socketserver_http::engine::file_content::FileContent;
use socketserver_http::engine::produce::Produced;

use crate::common::digest::{
    DigestKey, DigestProgress, DigestQueue, DigestSource, DigestTask, Digests,
};
use crate::files::site::entry::Entry;

/// The progress of the computation.
pub(super) enum Progress {
    Done(Digests),
    Working(Computing),
}

/// Digests of a file that are being computed.
pub(super) struct Computing(DigestTask);

impl Computing {
    /// Does the first step of the work, which is often the only one. `wanted` names the digests;
    /// the values in it are ignored.
    ///
    /// # Errors
    /// The file cannot be read, or too many files are being digested (`WouldBlock`).
    pub(super) fn begin(
        entry: &Entry,
        wanted: &Digests,
        queue: &DigestQueue,
    ) -> io::Result<Progress> {
        let key = DigestKey {
            identity: entry.identity,
            form: entry.etag.clone(),
        };
        let source = match &entry.body {
            FileContent::Memory(bytes) => DigestSource::Memory(Arc::clone(bytes)),
            FileContent::Descriptor(file) => DigestSource::File(Arc::clone(file)),
        };
        let task = match queue.begin(key, source, wanted)? {
            Ok(task) => task,
            Err(known) => return Ok(Progress::Done(known)),
        };
        Ok(match task.advance()? {
            DigestProgress::Done(digests) => Progress::Done(digests),
            _ => Progress::Working(Computing(task)),
        })
    }

    /// Does the next step. Returns the digests once they are complete. Otherwise `Err` says when to
    /// call this again.
    ///
    /// # Errors
    /// The file can't be read, or it became shorter.
    pub(super) fn advance(&mut self) -> io::Result<Result<Digests, Produced>> {
        Ok(match self.0.advance()? {
            DigestProgress::Done(digests) => Ok(digests),
            DigestProgress::Again => Err(Produced::More),
            DigestProgress::After(time) => Err(Produced::After(time)),
        })
    }
}
