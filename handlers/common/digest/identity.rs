//! The identity of a file's content, without reading it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{SystemTime, UNIX_EPOCH};

/// The coarsest resolution of a file system's times, in seconds: that of FAT.
const COARSEST_TICK: i64 = 2;

/// Identifies the content of a file. As long as the identity of a path is equal, its content is the
/// same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileIdentity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) length: u64,
    pub(crate) modified: (i64, i64),
    pub(crate) changed: (i64, i64),
}

impl FileIdentity {
    /// The current identity of a file.
    pub fn of(metadata: &Metadata) -> FileIdentity {
        FileIdentity {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether the last change is older than the coarsest resolution of times. A younger file could
    /// be changed again without a change of its identity.
    pub fn has_rested(&self) -> bool {
        let since_1970 = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.changed.0 + COARSEST_TICK < since_1970.as_secs() as i64
    }
}
