//! MODE Z: transfers compressed by zlib (draft-preston-ftpext-deflate).

use std::fmt;
use std::io::{self, Write};

use flate2::write::ZlibEncoder;
use flate2::{Compression, Decompress, FlushDecompress, Status};

/// Size in bytes by which the output buffer grows for decompressed bytes.
const OUTPUT_STEP: usize = 64 * 1024;

/// Compresses the bytes that are sent.
pub struct Compressor(ZlibEncoder<Vec<u8>>);

/// Decompresses the bytes that are received.
pub struct Decompressor {
    state: Decompress,
    /// Whether the end of the compressed stream was received.
    is_complete: bool,
}

impl Default for Compressor {
    fn default() -> Compressor {
        Compressor(ZlibEncoder::new(Vec::new(), Compression::default()))
    }
}

impl Compressor {
    /// Compresses bytes, and returns the output that is ready. After the last bytes (`is_last`),
    /// this is all remaining output.
    ///
    /// # Errors
    /// None in practice, because the output is written to memory.
    pub fn compress(&mut self, bytes: &[u8], is_last: bool) -> io::Result<Vec<u8>> {
        self.0.write_all(bytes)?;
        if is_last {
            self.0.try_finish()?;
        }
        Ok(std::mem::take(self.0.get_mut()))
    }
}

impl Default for Decompressor {
    fn default() -> Decompressor {
        Decompressor {
            state: Decompress::new(true),
            is_complete: false,
        }
    }
}

impl Decompressor {
    /// Appends the decompressed bytes to `to`.
    ///
    /// # Errors
    /// The bytes are not in the format of zlib, or they come after the end of the compressed
    /// stream.
    pub fn decompress(&mut self, bytes: &[u8], to: &mut Vec<u8>) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.is_complete {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let before = self.state.total_in();
            to.reserve(OUTPUT_STEP);
            let status = self
                .state
                .decompress_vec(rest, to, FlushDecompress::None)
                .map_err(io::Error::other)?;
            let taken = usize::try_from(self.state.total_in() - before).unwrap_or(rest.len());
            rest = &rest[taken.min(rest.len())..];
            self.is_complete = status == Status::StreamEnd;
        }
        self.drain(to)
    }

    /// Appends the output that did not fit into the output buffer yet.
    fn drain(&mut self, to: &mut Vec<u8>) -> io::Result<()> {
        while !self.is_complete {
            let before = to.len();
            to.reserve(OUTPUT_STEP);
            let status = self
                .state
                .decompress_vec(&[], to, FlushDecompress::None)
                .map_err(io::Error::other)?;
            self.is_complete = status == Status::StreamEnd;
            if to.len() == before {
                break;
            }
        }
        Ok(())
    }

    /// Whether the compressed stream is complete. A stream of 0 bytes is complete too, and means an
    /// empty file.
    pub fn is_complete(&self) -> bool {
        self.is_complete || self.state.total_in() == 0
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decompressor").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compressed(bytes: &[u8]) -> Vec<u8> {
        Compressor::default().compress(bytes, true).unwrap()
    }

    #[test]
    fn bytes_survive_however_they_are_cut() {
        let bytes: Vec<u8> = (0..300_000_u32)
            .map(|n| (n / 1000 * n % 251) as u8)
            .collect();
        let mut compressor = Compressor::default();
        let mut sent = Vec::new();
        for piece in bytes.chunks(7000) {
            sent.extend(compressor.compress(piece, false).unwrap());
        }
        sent.extend(compressor.compress(&[], true).unwrap());
        for size in [1, 1000, sent.len()] {
            let (mut decompressor, mut back) = (Decompressor::default(), Vec::new());
            for piece in sent.chunks(size) {
                decompressor.decompress(piece, &mut back).unwrap();
            }
            assert!(decompressor.is_complete() && back == bytes);
        }
    }

    #[test]
    fn what_is_cut_off_or_follows_the_end_is_noticed() {
        let sent = compressed(&b"hello ".repeat(1000));
        let (mut decompressor, mut back) = (Decompressor::default(), Vec::new());
        assert!(decompressor.is_complete());
        decompressor
            .decompress(&sent[..sent.len() - 1], &mut back)
            .unwrap();
        assert!(!decompressor.is_complete());
        decompressor
            .decompress(&sent[sent.len() - 1..], &mut back)
            .unwrap();
        assert!(decompressor.is_complete());
        assert!(decompressor.decompress(b"x", &mut back).is_err());
        let mut other = Decompressor::default();
        assert!(other.decompress(b"this is no zlib", &mut back).is_err());
    }

    #[test]
    fn a_small_input_that_becomes_large_is_complete() {
        let sent = compressed(&vec![0; 10_000_000]);
        let (mut decompressor, mut back) = (Decompressor::default(), Vec::new());
        decompressor.decompress(&sent, &mut back).unwrap();
        assert!(decompressor.is_complete() && back.len() == 10_000_000);
    }
}
