//! Writes archives in the format tar, compressed with gzip.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use socketserver_http::engine::produce::Produced;
use tar::{Builder, EntryType, Header};

use super::Writer;
use crate::files::site::listing::entries::Facts;

/// Content is padded to a multiple of this number of bytes.
const BLOCK: u64 = 512;

/// Writes the GNU variant of tar, which allows names of any length and files of any size.
pub(super) struct TarGz {
    /// The compressed bytes are taken from the vector after each call.
    tar: Builder<GzEncoder<Vec<u8>>>,
    /// Number of padding bytes after the content of the file.
    padding: u64,
}

impl TarGz {
    pub(super) fn new() -> TarGz {
        TarGz {
            tar: Builder::new(GzEncoder::new(Vec::new(), Compression::fast())),
            padding: 0,
        }
    }

    fn entry(
        &mut self,
        kind: EntryType,
        name: &[u8],
        facts: &Facts,
        size: u64,
        to: &mut Vec<u8>,
    ) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mtime(u64::try_from(facts.modified).unwrap_or(0));
        header.set_mode(facts.mode & 0o777);
        // With empty content, only the header is written. The content follows piece by piece.
        self.tar
            .append_data(&mut header, Path::new(OsStr::from_bytes(name)), io::empty())?;
        self.padding = size.next_multiple_of(BLOCK) - size;
        self.drain(to);
        Ok(())
    }

    fn drain(&mut self, to: &mut Vec<u8>) {
        to.append(self.tar.get_mut().get_mut());
    }
}

impl Writer for TarGz {
    fn directory(&mut self, name: &[u8], facts: &Facts, to: &mut Vec<u8>) -> io::Result<()> {
        self.entry(EntryType::Directory, &[name, b"/"].concat(), facts, 0, to)
    }

    fn begin_file(&mut self, name: &[u8], facts: &Facts, to: &mut Vec<u8>) -> io::Result<()> {
        self.entry(EntryType::Regular, name, facts, facts.size, to)
    }

    fn content(&mut self, bytes: &[u8], to: &mut Vec<u8>) -> io::Result<()> {
        self.tar.get_mut().write_all(bytes)?;
        self.drain(to);
        Ok(())
    }

    fn end_file(&mut self, to: &mut Vec<u8>) -> io::Result<()> {
        self.tar
            .get_mut()
            .write_all(&[0; BLOCK as usize][..self.padding as usize])?;
        self.drain(to);
        Ok(())
    }

    fn end(&mut self, to: &mut Vec<u8>) -> io::Result<Produced> {
        self.tar.finish()?;
        self.tar.get_mut().try_finish()?;
        self.drain(to);
        Ok(Produced::Over)
    }
}
