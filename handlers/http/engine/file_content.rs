//! Response content from a file: a descriptor, or bytes that were read before.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// A file with prepared headers, ready to be sent as a response with status 200.
pub trait ReadyFile: Send + Sync {
    /// The header lines, including `Content-Length`.
    fn header_lines(&self) -> &[u8];

    /// The content.
    fn content(&self) -> &FileContent;

    /// Length of the content, in bytes.
    fn length(&self) -> u64;
}

/// The bytes of a file.
#[derive(Clone, Debug)]
pub enum FileContent {
    /// The content was read into memory.
    Memory(Arc<[u8]>),
    /// The content is read from this file when it is sent.
    Descriptor(Arc<File>),
}

impl FileContent {
    /// Appends the bytes of `range` to `to`.
    ///
    /// # Errors
    /// The file can't be read, or it became shorter than `range` needs.
    pub fn read(&self, range: Range<u64>, to: &mut Vec<u8>) -> io::Result<()> {
        match self {
            FileContent::Memory(bytes) => {
                to.extend_from_slice(&bytes[range.start as usize..range.end as usize])
            }
            FileContent::Descriptor(file) => {
                let begin = to.len();
                to.resize(begin + (range.end - range.start) as usize, 0);
                file.read_exact_at(&mut to[begin..], range.start)?;
            }
        }
        Ok(())
    }
}
