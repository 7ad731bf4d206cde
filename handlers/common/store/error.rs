//! Errors of storing a file.

use std::fmt;
use std::io;

use rustix::io::Errno;

/// The message for a client when the server has no descriptor for its upload.
pub(super) const NO_DESCRIPTORS: &str = "the server has too many files open";

/// Why a file was not stored. An earlier file of the same name is unchanged.
#[derive(Debug)]
pub enum StoreError {
    /// A file with this name exists.
    Exists,
    /// The file is larger than the maximum.
    TooLarge {
        /// The maximum size in bytes.
        max: u64,
    },
    /// The disk is full, or a quota is used up. The text says which.
    NoSpace(&'static str),
    /// The received bytes do not match an announced digest. The text is the name of the digest.
    ChecksumMismatch(&'static str),
    /// The upload ended before all announced bytes were received.
    Truncated {
        /// Number of bytes received.
        came: u64,
        /// Number of bytes announced.
        announced: u64,
    },
    /// Another connection is sending the same file.
    Busy,
    /// The name cannot be used. The text is the reason.
    ForbiddenName(&'static str),
    /// The user was removed, or lost the right to store the file, during the upload.
    NoUser,
    /// The maximum number of interrupted uploads is reached, either of the store or of this user.
    TooManyPartials,
    /// The server cannot store the file now, but may be able to soon: it has no free descriptors,
    /// or it is still counting the files for a quota.
    Unavailable(&'static str),
    /// A system call failed.
    Io(io::Error),
}

impl StoreError {
    /// The error code of the protocols. An error of the system is `forbidden_name` if another name
    /// may work, and `no_space` otherwise.
    pub fn code(&self) -> &'static str {
        use io::ErrorKind::{
            InvalidFilename, IsADirectory, NotADirectory, PermissionDenied, ReadOnlyFilesystem,
        };
        match self {
            StoreError::Exists => "exists",
            StoreError::TooLarge { .. } => "too_large",
            StoreError::NoSpace(_) => "no_space",
            StoreError::ChecksumMismatch(_) => "checksum_mismatch",
            StoreError::Truncated { .. } => "truncated",
            StoreError::Busy | StoreError::Unavailable(_) => "busy",
            StoreError::TooManyPartials => "no_space",
            StoreError::NoUser | StoreError::ForbiddenName(_) => "forbidden_name",
            StoreError::Io(error) => match error.kind() {
                InvalidFilename | IsADirectory | NotADirectory | PermissionDenied
                | ReadOnlyFilesystem => "forbidden_name",
                _ => "no_space",
            },
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Exists => f.write_str("a file of this name exists"),
            StoreError::TooLarge { max } => write!(f, "the file is larger than {max} bytes"),
            StoreError::NoSpace(why) => f.write_str(why),
            StoreError::ChecksumMismatch(digest) => {
                write!(
                    f,
                    "the {digest} differs: what came isn't what was announced"
                )
            }
            StoreError::Truncated { came, announced } => {
                write!(f, "only {came} of {announced} bytes came")
            }
            StoreError::Busy => f.write_str("this file is being sent already"),
            StoreError::ForbiddenName(why) => write!(f, "the name is refused: {why}"),
            StoreError::NoUser => f.write_str("the user was removed"),
            StoreError::TooManyPartials => f.write_str("too many interrupted uploads are kept"),
            StoreError::Unavailable(why) => f.write_str(why),
            StoreError::Io(error) => write!(f, "it can't be stored: {error}"),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let StoreError::Io(error) = self {
            Some(error)
        } else {
            None
        }
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> StoreError {
        match error.kind() {
            io::ErrorKind::StorageFull => StoreError::NoSpace("the disk is full"),
            io::ErrorKind::QuotaExceeded => StoreError::NoSpace("the disk quota is used up"),
            io::ErrorKind::FileTooLarge => {
                StoreError::NoSpace("the file system takes no file of this size")
            }
            _ if is_out_of_descriptors(&error) => StoreError::Unavailable(NO_DESCRIPTORS),
            _ => StoreError::Io(error),
        }
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    Errno::from_io_error(error).is_some_and(|error| matches!(error, Errno::MFILE | Errno::NFILE))
}

impl From<Errno> for StoreError {
    fn from(error: Errno) -> StoreError {
        io::Error::from(error).into()
    }
}
