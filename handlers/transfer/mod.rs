//! `serve transfer`: sends one file as JSON to every client.
//!
//! Both directions work on bytes without any I/O, in constant memory: [`encode`] writes the object,
//! and [`decode`] parses it.

mod base64;
pub mod client;
pub mod decode;
pub mod encode;
mod json;
mod save;
#[cfg(test)]
mod tests;

use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use rustix::fs::OFlags;
use socketserver::{Error, Next, Result, StreamRequest, StreamRequestHandler, WFile};

use crate::service::{Context, Failure, Served, Service};

/// The options of `serve transfer`.
#[derive(Debug, Args)]
pub struct Transfer {
    /// File to send; opened again for each client
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Service for Transfer {
    const NAME: &'static str = "transfer";
    const PORT: u16 = 5566;

    fn open(self, _: &Context) -> Result<Served, Failure> {
        let path: Arc<Path> = self.file.into();
        let unusable =
            |reason: &str| Failure::usage(format!("{} can't be sent: {reason}", path.display()));
        open_regular(&path).map_err(|error| unusable(&error.to_string()))?;
        let name = path
            .file_name()
            .ok_or_else(|| unusable("it has no name"))?
            .to_string_lossy();
        let opening: Arc<str> = encode::opening(&name).into();
        Ok(Served::stream(move |_| {
            Box::new(TransferHandler {
                path: Arc::clone(&path),
                opening: Arc::clone(&opening),
                sending: None,
            })
        }))
    }
}

/// Sends the file to one client.
#[derive(Debug)]
struct TransferHandler {
    path: Arc<Path>,
    /// The text before the base64.
    opening: Arc<str>,
    /// The file that is being sent; `None` before it is opened.
    sending: Option<Sending>,
}

#[derive(Debug)]
struct Sending {
    file: File,
    left: u64,
    /// The version of the file when it was opened.
    version: Version,
}

impl StreamRequestHandler for TransferHandler {
    fn speaks_first(&self) -> bool {
        true
    }

    /// The buffer holds one piece, and the text before and after it.
    fn wbufsize(&self) -> usize {
        encode::ENCODED + 4096
    }

    /// Sends one piece, and is called again when the piece is sent. So a client that is slower than
    /// the disk occupies no thread.
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        request.rfile.take_all(); // nothing that a client could say matters
        // After an error, the end of the object is not sent, so a client cannot mistake the
        // received part for the whole file.
        let unreadable = |error: io::Error| Error::File {
            path: self.path.to_path_buf(),
            reason: error.to_string(),
            source: Some(error.into()),
        };
        let sending = match &mut self.sending {
            Some(sending) => sending,
            None => {
                let opened = Sending::open(&self.path).map_err(unreadable)?;
                request.wfile.write_all(self.opening.as_bytes())?;
                self.sending.insert(opened)
            }
        };
        let over = sending.send_piece(&mut request.wfile).map_err(unreadable)?;
        if over {
            return Ok(Next::Close);
        }
        Ok(Next::Again)
    }
}

impl Sending {
    fn open(path: &Path) -> io::Result<Sending> {
        let file = open_regular(path)?;
        let metadata = file.metadata()?;
        Ok(Sending {
            file,
            left: metadata.len(),
            version: version(&metadata),
        })
    }

    /// Writes the next piece. Returns `true` after the last one.
    fn send_piece(&mut self, wfile: &mut WFile) -> io::Result<bool> {
        let wanted = self.left.min(encode::PIECE as u64);
        let mut piece = Vec::with_capacity(wanted as usize);
        (&self.file).take(wanted).read_to_end(&mut piece)?;
        wfile.write_all(&encode::base64(&piece))?;
        self.left -= piece.len() as u64;
        if self.left > 0 && piece.len() as u64 == wanted {
            return Ok(false);
        }
        if self.left > 0 || version(&self.file.metadata()?) != self.version {
            return Err(io::Error::other("it changed while it was sent"));
        }
        wfile.write_all(encode::CLOSING.as_bytes())?;
        Ok(true)
    }
}

/// Opens a regular file. Folders and devices are refused, and FIFOs, too: opening one would block.
fn open_regular(path: &Path) -> io::Result<File> {
    let file = File::options()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok(file)
}

/// The length and the change time of a file. If they are equal, the content is the same.
type Version = (u64, i64, i64);

fn version(metadata: &Metadata) -> Version {
    (metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}
