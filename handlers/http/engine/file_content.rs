//! Content that lies in a file, or was read from one.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// A file that is ready to be sent as the content of a 200.
pub trait ReadyFile: Send + Sync {
    /// Its header lines, `Content-Length` included.
    fn header_lines(&self) -> &[u8];

    /// The content.
    fn content(&self) -> &FileContent;

    /// Length of the content, in bytes.
    fn length(&self) -> u64;
}

/// The bytes of a file.
#[derive(Clone, Debug)]
pub enum FileContent {
    Memory(Arc<[u8]>),
    Descriptor(Arc<File>),
}

impl FileContent {
    /// Appends a part of the content.
    ///
    /// # Errors
    /// It can't be read, or became shorter.
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
