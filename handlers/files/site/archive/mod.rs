//! Archives: a folder with everything below it as one file (`?archive=zip` or `?archive=tar.gz`).
//! An archive is made while it is sent.
//!
//! Memory holds only one piece of a file, the names in the folders on the path to this file, and
//! for zip the directory at the end of the archive.

mod tar_gz;
#[cfg(test)]
mod tests;
mod walk;
mod zip;

use std::fs::File;
use std::io::{self, Read};

use socketserver_http::engine::produce::{Produce, Produced};
use socketserver_http::engine::response::Response;
use socketserver_http::protocol::disposition;

use self::walk::{Found, Walk};
use crate::files::site::listing::entries::{Facts, Folder};

/// Approximate size of a piece of an archive, in bytes.
const PIECE_SIZE: usize = 32 * 1024;
/// Maximum number of bytes that one call reads from a file.
const READ_SIZE: usize = 64 * 1024;
/// Maximum number of bytes of content that one turn compresses. Without this limit, content that
/// compresses well would occupy a thread for a long time.
const WORK_PER_TURN: usize = 1024 * 1024;
/// The name of the root's archive.
const ROOT: &[u8] = b"files";
/// The work for an entry in addition to its content, expressed in bytes of content.
const ENTRY_WORK: usize = 16 * 1024;

/// The format of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Zip,
    TarGz,
}

impl Format {
    fn named(name: &str) -> Option<Format> {
        match name {
            "zip" => Some(Format::Zip),
            "tar.gz" | "tgz" => Some(Format::TarGz),
            _ => None,
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Format::Zip => ".zip",
            Format::TarGz => ".tar.gz",
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Format::Zip => "application/zip",
            Format::TarGz => "application/gzip",
        }
    }

    fn writer(self) -> Box<dyn Writer> {
        match self {
            Format::Zip => Box::new(zip::Zip::new(jiff::tz::TimeZone::system())),
            Format::TarGz => Box::new(tar_gz::TarGz::new()),
        }
    }
}

/// Writes entries in the format of an archive. Names are relative and have no slash at the end.
trait Writer: Send {
    fn directory(&mut self, name: &[u8], facts: &Facts, to: &mut Vec<u8>) -> io::Result<()>;
    /// Begins a file of `facts.size` bytes. Calls of `content` with these bytes follow.
    fn begin_file(&mut self, name: &[u8], facts: &Facts, to: &mut Vec<u8>) -> io::Result<()>;
    fn content(&mut self, bytes: &[u8], to: &mut Vec<u8>) -> io::Result<()>;
    fn end_file(&mut self, to: &mut Vec<u8>) -> io::Result<()>;
    /// Writes the end of the archive, or a piece of it.
    fn end(&mut self, to: &mut Vec<u8>) -> io::Result<Produced>;
}

/// The response with an archive. `format` is its name in the query.
///
/// # Errors
/// A status and what is wrong.
pub(crate) fn respond(
    folder: Folder,
    format: &str,
    hidden: bool,
) -> Result<Response, (u16, &'static str)> {
    let format =
        Format::named(format).ok_or((400, "Unknown archive format: use zip or tar.gz."))?;
    // All entries are in one folder, so that unpacking creates only one folder. The name of the
    // root folder is not disclosed.
    let name = folder
        .path()
        .rsplit(|&byte| byte == b'/')
        .next()
        .filter(|name| !name.is_empty())
        .unwrap_or(ROOT);
    let disposition = disposition::attachment(&[name, format.extension().as_bytes()].concat());
    let archive = Archive::new(folder, format, hidden);
    Ok(Response::new(200)
        .stream(format.media_type(), archive)
        .header("Content-Disposition", &disposition))
}

/// An archive that is being made.
struct Archive {
    walk: Walk,
    writer: Box<dyn Writer>,
    /// The file that is being read, and the number of bytes that are left.
    file: Option<(File, u64)>,
    buffer: Vec<u8>,
    /// Whether all entries were taken from `walk`.
    walked: bool,
}

impl Archive {
    fn new(folder: Folder, format: Format, hidden: bool) -> Archive {
        Archive {
            walk: Walk::new(folder, hidden),
            writer: format.writer(),
            file: None,
            buffer: vec![0; READ_SIZE],
            walked: false,
        }
    }

    /// Begins the next entry. Returns whether there was one.
    fn next_entry(&mut self, to: &mut Vec<u8>) -> io::Result<bool> {
        match self.walk.next() {
            None => return Ok(false),
            Some(Found::Directory { name, facts }) => self.writer.directory(&name, &facts, to)?,
            Some(Found::File { name, facts, file }) => {
                self.writer.begin_file(&name, &facts, to)?;
                self.file = Some((file, facts.size));
            }
        }
        Ok(true)
    }

    /// Continues with the file that is being read. Returns the number of bytes that were read.
    fn content(&mut self, to: &mut Vec<u8>) -> io::Result<usize> {
        let Some((mut file, left)) = self.file.take() else {
            return Ok(0);
        };
        if left == 0 {
            self.writer.end_file(to)?;
            return Ok(0);
        }
        let wanted = usize::try_from(left).unwrap_or(READ_SIZE).min(READ_SIZE);
        let count = file.read(&mut self.buffer[..wanted])?;
        if count == 0 {
            return Err(io::Error::other(
                "a file became shorter while it was put into an archive",
            ));
        }
        self.writer.content(&self.buffer[..count], to)?;
        self.file = Some((file, left - count as u64));
        Ok(count)
    }
}

impl Produce for Archive {
    fn produce(&mut self, piece: &mut Vec<u8>) -> io::Result<Produced> {
        let mut work = 0;
        while piece.len() < PIECE_SIZE && work < WORK_PER_TURN {
            if self.file.is_some() {
                work += self.content(piece)?;
            } else if !self.walked {
                self.walked = !self.next_entry(piece)?;
                work += ENTRY_WORK;
            } else {
                return self.writer.end(piece);
            }
        }
        Ok(Produced::More)
    }
}
