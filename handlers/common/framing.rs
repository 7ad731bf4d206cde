//! Length-prefixed frames: four bytes, a signed integer in little-endian order, then so many bytes.
//!
//! It is what Python's `struct.pack("<i", len(data)) + data` makes; upload and exec speak it.

use std::fmt;
use std::io::{self, Read, Write};

/// Bytes before the payload.
pub const PREFIX: usize = 4;

/// What stands at the beginning of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status<'a> {
    /// More bytes must come.
    Partial,
    /// A whole frame.
    Complete {
        /// What it holds.
        payload: &'a [u8],
        /// Bytes of the frame, its prefix included.
        consumed: usize,
    },
}

/// Why bytes can't be a frame, whatever follows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The length is below zero.
    Negative(i32),
    /// The length is above what is allowed.
    TooLong {
        /// What the prefix says.
        length: usize,
        /// What is allowed.
        max: usize,
    },
}

/// Takes the frame at the beginning of `bytes`, whose payload may have `max` bytes.
///
/// # Errors
/// As soon as the prefix is there, if its length can't be.
pub fn parse(bytes: &[u8], max: usize) -> Result<Status<'_>, FrameError> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX>() else {
        return Ok(Status::Partial);
    };
    let length = length(*prefix, max)?;
    Ok(match rest.get(..length) {
        Some(payload) => Status::Complete {
            payload,
            consumed: PREFIX + length,
        },
        None => Status::Partial,
    })
}

fn length(prefix: [u8; PREFIX], max: usize) -> Result<usize, FrameError> {
    let signed = i32::from_le_bytes(prefix);
    let length = usize::try_from(signed).map_err(|_| FrameError::Negative(signed))?;
    if length > max {
        Err(FrameError::TooLong { length, max })
    } else {
        Ok(length)
    }
}

/// Writes a frame, in one call.
///
/// # Errors
/// Those of the writer; `InvalidInput` if the payload has 2 GiB or more.
pub fn write(out: &mut impl Write, payload: &[u8]) -> io::Result<()> {
    let length = i32::try_from(payload.len()).map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidInput, "a frame holds less than 2 GiB")
    })?;
    let mut frame = Vec::with_capacity(PREFIX + payload.len());
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(payload);
    out.write_all(&frame)
}

/// Reads a frame, waiting for it.
///
/// # Errors
/// Those of the reader; `UnexpectedEof` if it ends within the frame; `InvalidData` for a length
/// that can't be.
pub fn read(input: &mut impl Read, max: usize) -> io::Result<Vec<u8>> {
    let mut prefix = [0; PREFIX];
    input.read_exact(&mut prefix)?;
    let length =
        length(prefix, max).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let mut payload = vec![0; length];
    input.read_exact(&mut payload)?;
    Ok(payload)
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Negative(length) => write!(f, "a frame's length is negative: {length}"),
            FrameError::TooLong { length, max } => {
                write!(f, "a frame has {length} bytes, more than {max}")
            }
        }
    }
}

impl std::error::Error for FrameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_taken_once_it_is_whole_and_not_before() {
        for payload in [&b""[..], b"x", b"{\"a\": 1}", &[0; 300]] {
            let mut frame = Vec::new();
            write(&mut frame, payload).unwrap();
            for cut in 0..frame.len() {
                assert_eq!(
                    parse(&frame[..cut], 300),
                    Ok(Status::Partial),
                    "{cut} of {}",
                    frame.len()
                );
                assert_eq!(
                    read(&mut &frame[..cut], 300).map_err(|error| error.kind()),
                    Err(io::ErrorKind::UnexpectedEof)
                );
            }
            let consumed = frame.len();
            frame.extend_from_slice(b"\x01\0\0\0what follows");
            assert_eq!(
                parse(&frame, 300),
                Ok(Status::Complete { payload, consumed })
            );
            assert_eq!(read(&mut &frame[..], 300).unwrap(), payload);
        }
    }

    #[test]
    fn a_length_that_can_not_be_is_refused_by_its_prefix_alone() {
        for (prefix, error) in [
            (i32::to_le_bytes(-1), FrameError::Negative(-1)),
            (i32::MIN.to_le_bytes(), FrameError::Negative(i32::MIN)),
            (
                9i32.to_le_bytes(),
                FrameError::TooLong { length: 9, max: 8 },
            ),
            (
                i32::MAX.to_le_bytes(),
                FrameError::TooLong {
                    length: 0x7fff_ffff,
                    max: 8,
                },
            ),
        ] {
            assert_eq!(parse(&prefix, 8), Err(error));
            assert_eq!(parse(&prefix[..3], 8), Ok(Status::Partial));
            assert_eq!(
                read(&mut &prefix[..], 8).map_err(|error| error.kind()),
                Err(io::ErrorKind::InvalidData)
            );
        }
        assert_eq!(parse(&8i32.to_le_bytes(), 8), Ok(Status::Partial));
    }
}
