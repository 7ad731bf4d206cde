//! Uploads in pieces, each with digests of its own. A piece is kept only if its digests match.

use std::io;

use super::record::Record;
use super::{Partial, StoreError};
use crate::common::digest::{Digests, Hasher};

/// A piece that is being received.
#[derive(Debug)]
pub(super) struct Piece {
    /// The offset of the piece in the upload.
    start: u64,
    wanted: Digests,
}

impl Partial {
    /// Begins a piece with these digests; there may be none. This is for uploads that have no
    /// digests of the whole file.
    ///
    /// If the piece has digests, it is lost when the upload is dropped or the server is killed
    /// before the digests were compared.
    ///
    /// # Errors
    /// Those of the system.
    pub fn begin_piece(&mut self, digests: Digests) -> io::Result<()> {
        if !digests.is_empty() {
            let mut record = Record::of(&self.intent);
            record.checked = Some(self.offset);
            self.staging.write_record(&self.id, &record)?;
            self.hasher = Hasher::of(&digests);
        }
        self.piece = Some(Box::new(Piece {
            start: self.offset,
            wanted: digests,
        }));
        Ok(())
    }

    /// Ends the piece. Its bytes are kept if its digests match.
    ///
    /// # Errors
    /// [`StoreError::ChecksumMismatch`], or those of the system. In both cases the piece is lost.
    pub fn end_piece(&mut self) -> Result<(), StoreError> {
        let computed = std::mem::take(&mut self.hasher).finish();
        if let Some(digest) = self
            .piece
            .as_ref()
            .and_then(|piece| piece.wanted.difference(&computed))
        {
            self.drop_piece()?;
            return Err(StoreError::ChecksumMismatch(digest));
        }
        match self.piece.take() {
            Some(piece) if !piece.wanted.is_empty() => Ok(self.write_record()?),
            _ => Ok(()),
        }
    }

    /// Removes the bytes of the current piece.
    ///
    /// # Errors
    /// Those of the system.
    pub fn drop_piece(&mut self) -> io::Result<()> {
        let Some(piece) = self.piece.take() else {
            return Ok(());
        };
        self.hasher = Hasher::default();
        self.file.set_len(piece.start)?;
        self.offset = piece.start;
        self.hashed = self.offset;
        if piece.wanted.is_empty() {
            Ok(())
        } else {
            self.write_record()
        }
    }

    /// Removes the current piece if its digests were not compared.
    pub(super) fn drop_unchecked_piece(&mut self) -> io::Result<()> {
        if self
            .piece
            .as_ref()
            .is_some_and(|piece| !piece.wanted.is_empty())
        {
            self.drop_piece()
        } else {
            Ok(())
        }
    }

    fn write_record(&self) -> io::Result<()> {
        self.staging
            .write_record(&self.id, &Record::of(&self.intent))
    }
}
