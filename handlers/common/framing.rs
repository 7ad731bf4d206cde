//! Length-prefixed frames: the length as a signed 32-bit integer in little-endian order, and then
//! the payload of this length.
//!
//! The format is that of Python's `struct.pack("<i", len(data)) + data`. `upload` and `exec` use
//! it.

use std::fmt;
use std::io::{self, Read, Write};

/// Number of bytes before the payload.
pub const PREFIX: usize = 4;

/// The result of parsing a frame at the beginning of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status<'a> {
    /// The frame is incomplete.
    Partial,
    /// A complete frame.
    Complete {
        /// The payload of the frame.
        payload: &'a [u8],
        /// Length of the frame in bytes, including its prefix.
        consumed: usize,
    },
}

/// Why bytes are not a frame, whatever bytes follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The length is negative.
    Negative(i32),
    /// The length exceeds the maximum.
    TooLong {
        /// The length in the prefix.
        length: usize,
        /// The maximum length.
        max: usize,
    },
}

/// Parses the frame at the beginning of `bytes`. `max` is the maximum length of its payload.
///
/// # Errors
/// The length is invalid. This is known as soon as the prefix is complete.
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

/// Writes a frame with one call of the writer.
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

/// Reads a frame, and blocks until it is complete.
///
/// # Errors
/// Those of the reader; `UnexpectedEof` if it ends within the frame; `InvalidData` for an invalid
/// length.
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
