//! An upload that is under way.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::FileExt;

use super::aside::Aside;
use super::expiry::is_past;
use super::piece::Piece;
use super::record::Record;
use super::space::Room;
use super::{Intent, OnDuplicate, Store, StoreError};
use crate::common::digest::{CHUNK, Chunk, Feed, Hasher};

/// The bytes of an upload that have come so far, and the sole right to add more.
///
/// Dropped, it can be gone on with later; an upload of which nothing has come leaves nothing.
#[derive(Debug)]
pub struct Partial {
    pub(super) store: Store,
    pub(super) aside: Aside,
    pub(super) intent: Intent,
    pub(super) id: String,
    pub(super) file: File,
    pub(super) offset: u64,
    pub(super) hasher: Hasher,
    /// Whether anybody may go on with it after it is dropped.
    pub(super) resumable: bool,
    pub(super) recorded: bool,
    /// Whether the file is as it will be, and on the disk.
    pub(super) settled: bool,
    /// The piece that is being received.
    pub(super) piece: Option<Box<Piece>>,
    /// `None` once the upload is a file, or was given up.
    pub(super) room: Option<Room>,
}

/// Why [`Partial::receive`] ended early.
#[derive(Debug)]
pub enum ReceiveError {
    /// The sender failed.
    Source(io::Error),
    /// The store failed.
    Store {
        /// How.
        error: StoreError,
        /// Bytes that the source gave and that aren't stored.
        lost: u64,
    },
}

enum Failed {
    Source(io::Error),
    Store(StoreError),
}

impl Partial {
    pub(super) fn open(
        store: Store,
        intent: Intent,
        on_duplicate: OnDuplicate,
        resume: bool,
    ) -> Result<Partial, StoreError> {
        let id = intent.id();
        let aside = Aside::open(store.root())?;
        let (file, metadata) = aside.lock(&id)?;
        let left_over = metadata.len();
        let expired = left_over > 0 && is_past(store.expiry(metadata.modified()?));
        let fits = intent.size.is_none_or(|size| left_over <= size);
        let usable = resume && fits && !expired;
        let there = if usable { left_over } else { 0 };
        if left_over > there {
            // Only if needed: ext4 writes a truncated file to the disk when it is closed.
            file.set_len(there)?;
        }
        let room = store
            .0
            .space
            .reserve(store.root(), &intent, there, on_duplicate);
        let room = match room {
            Ok(room) => room,
            Err(error) => {
                if there == 0 {
                    aside.remove(&id)?;
                }
                return Err(error);
            }
        };
        let mut partial = Partial::of(store, aside, intent, file, room);
        if there > 0 {
            partial.offset = partial.hasher.update_from(&partial.file, 0)?;
        }
        if left_over > 0 {
            partial.record();
        }
        Ok(partial)
    }

    pub(super) fn of(
        store: Store,
        aside: Aside,
        intent: Intent,
        file: File,
        room: Room,
    ) -> Partial {
        let (id, hasher) = (intent.id(), Hasher::of(&intent.digests));
        Partial {
            store,
            aside,
            intent,
            id,
            file,
            offset: 0,
            hasher,
            resumable: true,
            recorded: false,
            settled: false,
            piece: None,
            room: Some(room),
        }
    }

    /// What was announced.
    pub fn intent(&self) -> &Intent {
        &self.intent
    }

    /// How many bytes are there.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// How many bytes are still to come; `None` if nobody knows.
    pub fn remaining(&self) -> Option<u64> {
        self.intent.size.map(|size| size - self.offset)
    }

    /// What the system tells of the bytes that are there; their date is the file's, once it is
    /// published.
    ///
    /// # Errors
    /// Those of the system.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// `NoSpace`, `TooLarge`, or those of the system. More bytes than were announced are
    /// `TooLarge`.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.claim(bytes.len())?;
        self.file.write_all_at(bytes, self.offset)?;
        self.hasher.update(bytes);
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Adds what `source` has now, at most about `most` bytes and never more than were announced;
    /// digests are computed beside it.
    ///
    /// `source` fills a buffer and tells how many bytes that were: 0 at its end, `None` if it has
    /// nothing for now. How much came shows in [`offset`](Partial::offset).
    ///
    /// # Errors
    /// Those of `source`, or as for [`write`](Partial::write).
    pub fn receive(
        &mut self,
        mut source: impl FnMut(&mut [u8]) -> io::Result<Option<usize>>,
        most: u64,
    ) -> Result<(), ReceiveError> {
        let begun = self.offset;
        let most = self
            .remaining()
            .map_or(most, |remaining| remaining.min(most));
        let mut taken = 0;
        let mut source = |into: &mut [u8]| {
            let count = source(into);
            taken += count.as_ref().map_or(0, |count| count.unwrap_or(0) as u64);
            count
        };
        let mut chunk = Chunk::take();
        let more = fill(&mut chunk, &mut source, most);
        // A sender who has filled a chunk at once is fast; for a slow one, threads would cost more
        // than they bring.
        let large = matches!(more, Ok(true)) && most > 2 * CHUNK as u64;
        let mut hasher = std::mem::take(&mut self.hasher);
        let received = hasher.beside(large, |feed| {
            self.pass(feed, chunk)?;
            let (mut more, mut left) = (more, most.saturating_sub(CHUNK as u64));
            while more.map_err(Failed::Source)? && left > 0 {
                let mut chunk = feed.chunk();
                // What came before an error is kept.
                more = fill(&mut chunk, &mut source, left);
                left -= chunk.len() as u64;
                self.pass(feed, chunk)?;
            }
            Ok(())
        });
        self.hasher = hasher;
        if self.resumable && !self.recorded && self.remaining() != Some(0) {
            self.record();
        }
        received.map_err(|failed| match failed {
            Failed::Source(error) => ReceiveError::Source(error),
            Failed::Store(error) => ReceiveError::Store {
                error,
                lost: begun + taken - self.offset,
            },
        })
    }

    fn pass(&mut self, feed: &mut Feed<'_>, chunk: Chunk) -> Result<(), Failed> {
        self.claim(chunk.len()).map_err(Failed::Store)?;
        let (file, offset, count) = (&self.file, self.offset, chunk.len() as u64);
        feed.pass(chunk, |bytes| file.write_all_at(bytes, offset))
            .map_err(|error| Failed::Store(error.into()))?;
        self.offset += count;
        Ok(())
    }

    /// Whether so many bytes more are allowed.
    fn claim(&mut self, count: usize) -> Result<(), StoreError> {
        let total = self.offset + count as u64;
        match (self.intent.size, &mut self.room) {
            (Some(size), _) if total > size => Err(StoreError::TooLarge { max: size }),
            (None, Some(room)) => room.grow(self.store.root(), total),
            _ => Ok(()),
        }
    }

    /// Notes on disk what the bytes are, for other protocols and people. The upload could be gone
    /// on with all the same.
    fn record(&mut self) {
        match self.aside.write_record(&self.id, &Record::of(&self.intent)) {
            Ok(()) => self.recorded = true,
            Err(error) => log::debug!(
                "a partial upload of {} has no record: {error}",
                self.intent.name
            ),
        }
    }

    /// Gives the upload up; nothing of it is left.
    ///
    /// # Errors
    /// Those of the system.
    pub fn discard(mut self) -> io::Result<()> {
        self.room = None;
        self.aside.remove(&self.id)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let Some(mut room) = self.room.take() else {
            return;
        };
        if let Err(error) = self.drop_unchecked_piece() {
            log::warn!("the unchecked end of a partial upload can't be cut off: {error}");
        }
        if self.intent.memo.is_some() || (self.offset > 0 && self.resumable) {
            room.keep();
            if !self.recorded {
                self.record();
            }
            self.store.watch_expiry();
        } else if let Err(error) = self.aside.remove(&self.id) {
            log::debug!("a partial upload can't be removed: {error}");
        }
    }
}

/// Fills a chunk with at most `most` bytes; tells whether it is full, so that more may be there.
fn fill(
    chunk: &mut Chunk,
    source: &mut impl FnMut(&mut [u8]) -> io::Result<Option<usize>>,
    most: u64,
) -> io::Result<bool> {
    let mut left = usize::try_from(most).unwrap_or(usize::MAX).min(CHUNK);
    while left > 0 {
        match source(&mut chunk.space()[..left])? {
            None | Some(0) => return Ok(false),
            Some(count) => {
                chunk.fill(count);
                left -= count;
            }
        }
    }
    Ok(true)
}
