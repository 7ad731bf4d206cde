//! A digest that is being computed, slice by slice.

use std::io;
use std::sync::Arc;

use super::remembered::{DigestCache, DigestKey};
use crate::common::digest::{Digests, Hasher};
use crate::http::entry::{Body, Entry, Identity};

/// Bytes that one turn reads, which takes some milliseconds.
const BYTES_PER_TURN: u64 = 1024 * 1024;
/// Bytes that one call reads.
const READ_SIZE: u64 = 64 * 1024;

/// How far the work is.
pub(super) enum Progress {
    Done(Digests),
    Working(Computing),
}

/// Digests of a file in the making.
pub(super) struct Computing {
    body: Body,
    key: DigestKey,
    done: u64,
    length: u64,
    hasher: Hasher,
    remembered: Arc<DigestCache>,
    /// Whether the file's identity tells its content from any other.
    is_certain: bool,
}

impl Computing {
    /// Does the first slice of the work, which often is all of it. The values in `wanted` don't
    /// matter.
    ///
    /// # Errors
    /// The file can't be read.
    pub(super) fn begin(
        entry: &Entry,
        wanted: &Digests,
        remembered: &Arc<DigestCache>,
    ) -> io::Result<Progress> {
        let key = DigestKey {
            identity: entry.identity,
            form: entry.etag.clone(),
        };
        if let Some(known) = remembered.find(&key, wanted) {
            return Ok(Progress::Done(known));
        }
        let mut computing = Computing {
            body: entry.body.clone(),
            is_certain: entry.identity.has_rested(),
            key,
            done: 0,
            length: entry.length,
            hasher: Hasher::of(wanted),
            remembered: Arc::clone(remembered),
        };
        Ok(match computing.go_on()? {
            Some(digests) => Progress::Done(digests),
            None => Progress::Working(computing),
        })
    }

    /// Does the next slice; the digests, once all is done.
    ///
    /// # Errors
    /// The file can't be read, or became shorter.
    pub(super) fn go_on(&mut self) -> io::Result<Option<Digests>> {
        let until = self.length.min(self.done + BYTES_PER_TURN);
        let mut buffer = Vec::new();
        while self.done < until {
            let end = until.min(self.done + READ_SIZE);
            buffer.clear();
            self.body.read(self.done..end, &mut buffer)?;
            self.hasher.update(&buffer);
            self.done = end;
        }
        if self.done < self.length {
            return Ok(None);
        }
        let digests = std::mem::take(&mut self.hasher).finish();
        if self.is_certain && self.is_unchanged()? {
            self.remembered.keep(self.key.clone(), &digests);
        }
        Ok(Some(digests))
    }

    fn is_unchanged(&self) -> io::Result<bool> {
        Ok(match &self.body {
            Body::Memory(_) => true,
            Body::Descriptor(file) => Identity::of(&file.metadata()?) == self.key.identity,
        })
    }
}
