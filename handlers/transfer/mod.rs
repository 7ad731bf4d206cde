//! `serve transfer`: one file, as JSON, to whoever connects.
//!
//! Both directions are pure functions on bytes, in constant memory: [`encode`] writes the object, [`decode`] parses it.

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
use socketserver::{Error, Next, Result, StreamRequest, StreamRequestHandler};

use crate::service::{Context, Failure, Served, Service};

/// The options of `serve transfer`.
#[derive(Debug, Args)]
pub struct Transfer {
    /// The file to send, opened anew for each client
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Service for Transfer {
    const NAME: &'static str = "transfer";
    const PORT: u16 = 5566;

    fn open(self, _: &Context) -> Result<Served, Failure> {
        let path: Arc<Path> = self.file.into();
        let unusable = |reason: &str| Failure::usage(format!("{} can't be sent: {reason}", path.display()));
        open_regular(&path).map_err(|error| unusable(&error.to_string()))?;
        let name = path.file_name().ok_or_else(|| unusable("it has no name"))?.to_string_lossy();
        let opening: Arc<str> = encode::opening(&name).into();
        Ok(Served::stream(move |_| {
            Box::new(TransferHandler { path: Arc::clone(&path), opening: Arc::clone(&opening) })
        }))
    }
}

/// Sends the file to one client.
#[derive(Debug)]
struct TransferHandler {
    path: Arc<Path>,
    /// What comes before the base64.
    opening: Arc<str>,
}

impl StreamRequestHandler for TransferHandler {
    fn speaks_first(&self) -> bool {
        true
    }

    /// In Python's style: it waits, within the write time-out, while the client is slower than the disk.
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        // What an error leaves unsent is the object's end: a client can't take the rest for the whole file.
        let unreadable = |reason: String| Error::File { path: self.path.to_path_buf(), reason };
        let file = open_regular(&self.path).map_err(|error| unreadable(error.to_string()))?;
        let before = file.metadata()?;
        request.wfile.write_all(self.opening.as_bytes())?;

        let mut piece = Vec::with_capacity(encode::PIECE);
        let mut space = Box::new([0; encode::ENCODED]);
        let mut left = before.len();
        while left > 0 {
            piece.clear();
            let wanted = left.min(encode::PIECE as u64);
            let read = (&file).take(wanted).read_to_end(&mut piece);
            if read.map_err(|error| unreadable(error.to_string()))? as u64 != wanted {
                break;
            }
            left -= wanted;
            request.wfile.write_all(encode::base64(&piece, &mut space))?;
        }
        if left > 0 || version(&file.metadata()?) != version(&before) {
            return Err(unreadable("it changed while it was sent".to_owned()));
        }
        request.wfile.write_all(encode::CLOSING.as_bytes())?;
        Ok(Next::Close)
    }
}

/// Opens what can be read to its end: no folder, no device, and no FIFO, whose opening alone would wait.
fn open_regular(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    Ok(file)
}

/// Tells whether the content may have changed.
fn version(metadata: &Metadata) -> (u64, i64, i64) {
    (metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}
