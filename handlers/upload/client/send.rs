//! Sends one file over a connection.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::files::Item;
use crate::client::Connection;
use crate::common::digest::{CHUNK, Digests, Hasher, to_hex};
use crate::common::framing;
use crate::common::progress::Progress;
use crate::upload::handler::DROPPED;

/// Maximum length of an answer in bytes.
const MAX_ANSWER_LENGTH: usize = 64 * 1024;
/// The server may need time to sync a large file to its disk. The timeout grows by one second for
/// this many bytes.
const BYTES_PER_SECOND: u64 = 10_000_000;

/// The settings for sending files.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) resume: bool,
    /// The kinds of digests to compute. The values do not matter.
    pub(super) digests: Digests,
    pub(super) timeout: Duration,
    pub(super) progress: Progress,
}

/// Why a file was not stored.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) message: String,
    /// Whether the connection can be used for the next file.
    pub(super) connection: bool,
}

#[derive(Serialize)]
struct Header<'a> {
    file_size: u64,
    file_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    md5: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    resume: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtime: Option<f64>,
}

#[derive(Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
enum Answer {
    Ok { file_name: String },
    Continue { offset: u64 },
    Error { code: String, message: String },
}

impl Sender {
    /// Sends a file. Returns the name that the server has stored it under.
    pub(super) fn send(&self, connection: &mut Connection, item: &Item) -> Result<String, Broken> {
        let unreadable = |error: io::Error| Broken {
            message: error.to_string(),
            connection: true,
        };
        let mut file = File::open(&item.path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        let size = metadata.len();
        // A file that fits into one piece is read once. A larger file is read twice: for its
        // digests, and to send it.
        let mut piece = vec![0; CHUNK.min(usize::try_from(size).unwrap_or(CHUNK)).max(1)];
        let mut hasher = Hasher::of(&self.digests);
        let small = size <= piece.len() as u64;
        if small {
            let whole = &mut piece[..size as usize];
            file.read_exact(whole).map_err(unreadable)?;
            hasher.update(whole);
        } else if hasher.update_from(&file, 0).map_err(unreadable)? != size {
            return Err(Broken {
                message: "the file changes while it is read".to_owned(),
                connection: true,
            });
        }
        let digests = hasher.finish();
        let modified = metadata
            .modified()
            .ok()
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let header = Header {
            file_size: size,
            file_name: &item.name,
            md5: digests.md5.map(|digest| to_hex(&digest)),
            sha256: digests.sha256.map(|digest| to_hex(&digest)),
            resume: self.resume,
            mtime: modified.map(|time| time.as_secs_f64()),
        };
        let mut opening = Vec::new();
        serde_json::to_vec(&header)
            .map_err(io::Error::from)
            .and_then(|json| framing::write(&mut opening, &json))
            .map_err(unreadable)?;
        if small && !self.resume {
            opening.extend_from_slice(&piece[..size as usize]);
            self.write(connection, &opening)?;
            self.progress.advance(size);
            return self.outcome(connection, size);
        }
        self.write(connection, &opening)?;
        let offset = if self.resume {
            self.offset(connection, size)?
        } else {
            0
        };
        self.progress.advance(offset);
        self.body(connection, &mut file, offset..size, &mut piece)?;
        self.outcome(connection, size)
    }

    /// Sends the bytes in `range` of the file.
    fn body(
        &self,
        connection: &mut Connection,
        file: &mut File,
        range: std::ops::Range<u64>,
        piece: &mut [u8],
    ) -> Result<(), Broken> {
        // After its header, a file can be cancelled only by closing the connection.
        let lost = |message: String| Broken {
            message,
            connection: false,
        };
        file.seek(SeekFrom::Start(range.start))
            .map_err(|error| lost(error.to_string()))?;
        let mut left = range.end - range.start;
        while left > 0 {
            let most = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            match file.read(&mut piece[..most]) {
                Ok(0) => return Err(lost("the file became shorter while it was sent".to_owned())),
                Ok(count) => {
                    self.write(connection, &piece[..count])?;
                    self.progress.advance(count as u64);
                    left -= count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(lost(error.to_string())),
            }
        }
        Ok(())
    }

    /// Writes bytes. If that fails, reads the error that the server may have sent.
    fn write(&self, connection: &mut Connection, bytes: &[u8]) -> Result<(), Broken> {
        let Err(error) = connection
            .write_all(bytes)
            .and_then(|()| connection.flush())
        else {
            return Ok(());
        };
        Err(match answer(connection) {
            Ok(Answer::Error { code, message }) => Broken {
                message: format!("{message} ({code})"),
                connection: false,
            },
            _ => Broken {
                message: format!("the connection broke: {error}"),
                connection: false,
            },
        })
    }

    /// Returns the offset at which the server wants the client to continue.
    fn offset(&self, connection: &mut Connection, size: u64) -> Result<u64, Broken> {
        self.be_patient(connection, size);
        match answer(connection)? {
            Answer::Continue { offset } if offset <= size => Ok(offset),
            Answer::Error { code, message } => Err(refused(&code, &message, size)),
            _ => Err(nonsense()),
        }
    }

    fn outcome(&self, connection: &mut Connection, size: u64) -> Result<String, Broken> {
        self.be_patient(connection, size);
        match answer(connection)? {
            Answer::Ok { file_name } => Ok(file_name),
            Answer::Error { code, message } => Err(refused(&code, &message, size)),
            Answer::Continue { .. } => Err(nonsense()),
        }
    }

    fn be_patient(&self, connection: &Connection, size: u64) {
        let more = size / BYTES_PER_SECOND;
        if more > 0 {
            // An error is ignored: without the change, the timeout is only shorter. For the
            // following files it may stay longer.
            let _ = connection.set_read_timeout(Some(self.timeout + Duration::from_secs(more)));
        }
    }
}

fn answer(connection: &mut Connection) -> Result<Answer, Broken> {
    let frame = framing::read(connection, MAX_ANSWER_LENGTH).map_err(|error| {
        let message = match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                "the server closed the connection without an answer".to_owned()
            }
            _ => format!("no answer: {error}"),
        };
        Broken {
            message,
            connection: false,
        }
    })?;
    serde_json::from_slice(&frame).map_err(|_| nonsense())
}

fn refused(code: &str, message: &str, size: u64) -> Broken {
    // After these errors, and after a refused file that is too large to be discarded, the server
    // closes the connection.
    let connection = !matches!(code, "bad_header" | "truncated") && size <= DROPPED;
    Broken {
        message: format!("{message} ({code})"),
        connection,
    }
}

fn nonsense() -> Broken {
    Broken {
        message: "the server's answer can't be understood".to_owned(),
        connection: false,
    }
}
