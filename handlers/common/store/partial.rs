//! An upload that is under way.

use std::cell::Cell;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

use super::background::is_past;
use super::piece::Piece;
use super::record::Record;
use super::reservation::Reservation;
use super::staging::{Staging, part, tmp};
use super::{Intent, OnDuplicate, Store, StoreError};
use crate::common::digest::{BYTES_PER_SLICE, CHUNK, Chunk, Feed, Hasher};

/// An unfinished upload: the bytes received so far, and the exclusive right to add more.
///
/// If it is dropped, the upload can be resumed later. An upload without any bytes leaves nothing.
#[derive(Debug)]
pub struct Partial {
    pub(super) store: Store,
    pub(super) staging: Arc<Staging>,
    pub(super) intent: Intent,
    pub(super) id: String,
    pub(super) file: File,
    pub(super) offset: u64,
    /// Number of bytes that are digested. It is less than `offset` only after the upload was
    /// resumed.
    pub(super) hashed: u64,
    pub(super) hasher: Hasher,
    /// Whether it can be resumed after it is dropped.
    pub(super) resumable: bool,
    /// Whether the record of the upload is written.
    pub(super) recorded: bool,
    /// Whether the file is complete and on the disk.
    pub(super) is_synced: bool,
    /// The piece that is being received, if the upload is sent in pieces.
    pub(super) piece: Option<Box<Piece>>,
    /// The reservation in the ledger; `None` after the upload has become a file or was abandoned.
    pub(super) reservation: Option<Reservation>,
}

/// Where an upload begins, and whether it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// At its first byte. It can be resumed later.
    Resumable,
    /// At its first byte. It cannot be resumed.
    Whole,
    /// At the end of an earlier upload, if there is one.
    Resumed,
    /// At its first byte. It is kept even if it is empty.
    Registered,
}

/// Why [`Partial::receive`] ended early.
#[derive(Debug)]
pub enum ReceiveError {
    /// Reading from the source failed.
    Source(io::Error),
    /// Storing the bytes failed.
    Store {
        /// The error of the store.
        error: StoreError,
        /// Number of bytes that were taken from the source but not stored.
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
        begin: Begin,
    ) -> Result<Partial, StoreError> {
        let id = intent.id();
        let name = if begin == Begin::Whole {
            tmp(&id)
        } else {
            part(&id)
        };
        let (staging, file, metadata) = store.create_staged(&name)?;
        let left_over = metadata.len();
        let expired = left_over > 0 && is_past(store.expiry(metadata.modified()?));
        let fits = intent.size.is_none_or(|size| left_over <= size);
        let usable = begin == Begin::Resumed && fits && !expired;
        let there = if usable { left_over } else { 0 };
        if left_over > there {
            // Truncates only if necessary, because ext4 writes a truncated file to the disk when it
            // is closed.
            file.set_len(there)?;
        }
        let replaces = on_duplicate == OnDuplicate::Overwrite;
        let is_kept = begin == Begin::Registered;
        let reserved = store.reserve(&intent, metadata.ino(), there, replaces, is_kept);
        let mut reservation = match reserved {
            Ok(reservation) => reservation,
            Err(error) => {
                if there == 0 {
                    staging.remove(&id)?;
                    staging.remove_file(&name)?;
                }
                return Err(error);
            }
        };
        if left_over == 0 {
            reservation.may_be_deferred();
        }
        let mut partial = Partial::of(store, staging, intent, file, reservation);
        partial.resumable = begin != Begin::Whole;
        partial.continue_at(there);
        if left_over > 0 {
            partial.record();
        }
        Ok(partial)
    }

    pub(super) fn of(
        store: Store,
        staging: Arc<Staging>,
        intent: Intent,
        file: File,
        reservation: Reservation,
    ) -> Partial {
        let (id, hasher) = (intent.id(), Hasher::of(&intent.digests));
        Partial {
            store,
            staging,
            intent,
            id,
            file,
            offset: 0,
            hashed: 0,
            hasher,
            resumable: true,
            recorded: false,
            is_synced: false,
            piece: None,
            reservation: Some(reservation),
        }
    }

    /// Sets the offset to continue at. The bytes before it are in the file, but not digested yet.
    pub(super) fn continue_at(&mut self, offset: u64) {
        self.offset = offset;
        self.hashed = if self.hasher.is_idle() { offset } else { 0 };
    }

    /// The name of its file in the hidden folder.
    pub(super) fn staged_name(&self) -> String {
        if self.resumable {
            part(&self.id)
        } else {
            tmp(&self.id)
        }
    }

    /// Digests the next slice of the bytes that were stored before the upload was resumed. Returns
    /// whether all of them are digested. A caller that serves other connections calls this once per
    /// turn before it writes, because [`write`](Partial::write) digests all remaining bytes.
    ///
    /// # Errors
    /// The bytes cannot be read.
    pub fn catch_up(&mut self) -> io::Result<bool> {
        let until = self.offset.min(self.hashed + BYTES_PER_SLICE);
        self.hasher.update_range(&self.file, self.hashed..until)?;
        self.hashed = until;
        Ok(self.hashed == self.offset)
    }

    pub(super) fn is_caught_up(&self) -> bool {
        self.hashed == self.offset
    }

    pub(super) fn catch_up_at_once(&mut self) -> io::Result<()> {
        while !self.catch_up()? {}
        Ok(())
    }

    /// The announced properties of the file.
    pub fn intent(&self) -> &Intent {
        &self.intent
    }

    /// Number of bytes received so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Number of bytes that are still to be received; `None` if the size is unknown.
    pub fn remaining(&self) -> Option<u64> {
        self.intent.size.map(|size| size - self.offset)
    }

    /// The metadata of the partial file. Unless the sender announced a modification time, the
    /// published file has the time of the last write.
    ///
    /// # Errors
    /// Those of the system.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// `NoSpace`, `TooLarge`, or those of the system. More bytes than were announced are
    /// `TooLarge`.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.reserve(bytes.len())?;
        self.catch_up_at_once()?;
        self.file.write_all_at(bytes, self.offset)?;
        self.hasher.update(bytes);
        self.offset += bytes.len() as u64;
        self.hashed = self.offset;
        Ok(())
    }

    /// Appends what `source` has available, at most about `most` bytes and never more than were
    /// announced. Digests of a large part are computed in other threads.
    ///
    /// `source` fills a buffer and returns the number of bytes: 0 at its end, `None` if nothing is
    /// available now. [`offset`](Partial::offset) shows how many bytes were appended.
    ///
    /// # Errors
    /// Those of `source`, or as for [`write`](Partial::write).
    pub fn receive(
        &mut self,
        mut source: impl FnMut(&mut [u8]) -> io::Result<Option<usize>>,
        most: u64,
    ) -> Result<(), ReceiveError> {
        if let Err(error) = self.catch_up_at_once() {
            return Err(ReceiveError::Store {
                error: error.into(),
                lost: 0,
            });
        }
        let begun = self.offset;
        let most = self
            .remaining()
            .map_or(most, |remaining| remaining.min(most));
        let mut taken = 0;
        let has_ended = Cell::new(false);
        let mut source = |into: &mut [u8]| {
            let count = source(into);
            taken += count.as_ref().map_or(0, |count| count.unwrap_or(0) as u64);
            has_ended.set(has_ended.get() || matches!(count, Ok(Some(0))));
            count
        };
        let mut chunk = Chunk::take();
        let more = fill(&mut chunk, &mut source, most);
        // A sender that fills a chunk without a pause is fast. For a slow sender, threads cost more
        // than they save.
        let large = matches!(more, Ok(true)) && most > 2 * CHUNK as u64;
        let mut hasher = std::mem::take(&mut self.hasher);
        // If the sender has ended and the chunk is not full, the chunk contains all remaining
        // bytes.
        let is_whole = matches!(more, Ok(false)) && has_ended.get();
        let received = hasher.beside(large, |feed| {
            if !is_whole || !self.defer_reservation(chunk.len()).map_err(Failed::Store)? {
                self.reserve(chunk.len()).map_err(Failed::Store)?;
            }
            self.pass(feed, chunk)?;
            let (mut more, mut left) = (more, most.saturating_sub(CHUNK as u64));
            while more.map_err(Failed::Source)? && left > 0 {
                let mut chunk = feed.chunk();
                // The bytes that were received before an error are kept.
                more = fill(&mut chunk, &mut source, left);
                left -= chunk.len() as u64;
                self.reserve(chunk.len()).map_err(Failed::Store)?;
                self.pass(feed, chunk)?;
            }
            Ok(())
        });
        self.hasher = hasher;
        self.hashed = self.offset;
        // A record is needed only to resume the upload. An upload without bytes cannot be resumed,
        // and a complete one need not be. If the sender ended too early, the record is written when
        // the upload is dropped.
        let may_be_cut = self.offset > 0 && !has_ended.get() && self.remaining() != Some(0);
        if self.resumable && !self.recorded && may_be_cut {
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
        let (file, offset, count) = (&self.file, self.offset, chunk.len() as u64);
        feed.pass(chunk, |bytes| file.write_all_at(bytes, offset))
            .map_err(|error| Failed::Store(error.into()))?;
        self.offset += count;
        Ok(())
    }

    /// Reserves room for this many more bytes.
    fn reserve(&mut self, count: usize) -> Result<(), StoreError> {
        let total = self.offset + count as u64;
        match (self.intent.size, &mut self.reservation) {
            (Some(size), _) if total > size => Err(StoreError::TooLarge { max: size }),
            (None, Some(reservation)) => reservation.grow(&self.store, total),
            _ => Ok(()),
        }
    }

    /// Defers the reservation of an upload that these bytes complete: its quota is checked, and its
    /// file entered, when it gets its name. Returns whether that is possible.
    fn defer_reservation(&mut self, count: usize) -> Result<bool, StoreError> {
        let Some(reservation) = &mut self.reservation else {
            return Ok(false);
        };
        match self.intent.size {
            Some(_) => Ok(false),
            None => reservation.defer(&self.staging, self.offset + count as u64),
        }
    }

    /// Writes the record, which other protocols and administrators can read. Without a record, only
    /// the protocol that began the upload can resume it.
    fn record(&mut self) {
        match self
            .staging
            .write_record(&self.id, &Record::of(&self.intent))
        {
            Ok(()) => self.recorded = true,
            Err(error) => log::debug!(
                "a partial upload of {} has no record: {error}",
                self.intent.name
            ),
        }
    }

    /// Abandons the upload, and removes its files.
    ///
    /// # Errors
    /// Those of the system.
    pub fn discard(mut self) -> io::Result<()> {
        let reservation = self.reservation.take();
        let removed = self.remove_staged();
        // The reservation ends only now, because the bytes use the quota until they are removed.
        drop(reservation);
        removed
    }

    fn remove_staged(&self) -> io::Result<()> {
        if self.resumable {
            self.staging.remove(&self.id)
        } else {
            self.staging.remove_file(&self.staged_name())
        }
    }

    /// Whether the upload is kept so that it can be resumed. An upload that is not registered is
    /// kept only if the maximum number of kept uploads is not reached.
    fn is_kept(&self, reservation: &mut Reservation) -> bool {
        if self.intent.memo.is_some() {
            return reservation.keep(&self.store, u64::MAX) || self.offset > 0;
        }
        // The maximum plus one, because this upload is counted, too.
        self.offset > 0
            && self.resumable
            && !self.store.has_partials(self.store.0.max_partials + 1)
            && reservation.keep(&self.store, self.offset)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let Some(mut reservation) = self.reservation.take() else {
            return;
        };
        if let Err(error) = self.drop_unchecked_piece() {
            log::warn!("the unchecked end of a partial upload can't be cut off: {error}");
        }
        if self.is_kept(&mut reservation) {
            if !self.recorded {
                self.record();
            }
            self.store.work_in_background();
        } else if let Err(error) = self.remove_staged() {
            log::debug!("a partial upload can't be removed: {error}");
        }
    }
}

/// Fills a chunk with at most `most` bytes. Returns whether it is full, because then the source may
/// have more.
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
