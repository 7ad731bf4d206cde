//! The path of a Unix socket: taken over when its server is gone, removed when ours goes.
//!
//! Two servers may find the same stale path at the same time. Without a lock, the second would
//! remove the path that the first has just bound. So the path is looked at, removed and bound, and
//! the socket listens, under a lock file beside it, which goes when the lock does.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;
use socket2::{Domain, SockAddr, Socket, Type};

/// How long to wait for another server that is taking over the same path.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
const LOCK_INTERVAL: Duration = Duration::from_millis(1);

/// A path that a socket is bound to; removed when this is dropped, if it is still that socket's.
/// Drop it before the socket closes: a path whose socket is closed may be taken over, and its
/// inode number used again.
#[derive(Debug)]
pub(super) struct PathGuard {
    path: PathBuf,
    /// Device and inode of our socket.
    inode: (u64, u64),
    /// Who bound it: a child of a fork must not remove its parent's path.
    owner: u32,
}

impl PathGuard {
    /// Makes a socket of this kind by `bind` at `path`, where at most a dead server's socket is in
    /// the way. A stream must listen when `bind` returns: before that, it looks dead to others.
    pub(super) fn bind(
        path: &Path,
        kind: Type,
        bind: impl FnOnce(&Socket, &SockAddr) -> io::Result<()>,
    ) -> io::Result<(Socket, PathGuard)> {
        let address = SockAddr::unix(path)?;
        let socket = Socket::new(Domain::UNIX, kind, None)?;
        let _lock = PathLock::take(path)?;
        remove_stale(path, &address, kind)?;
        bind(&socket, &address)?;
        let guard = PathGuard {
            inode: inode(&std::fs::symlink_metadata(path)?),
            path: path.to_owned(),
            owner: std::process::id(),
        };
        Ok((socket, guard))
    }
}

fn inode(metadata: &std::fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Removes what is at `path` if it is a dead server's socket. Only a refused connection proves that
/// no server listens.
fn remove_stale(path: &Path, address: &SockAddr, kind: Type) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "a file that is no socket is in the way",
            ));
        }
        Ok(_) => {}
    }
    let probe = Socket::new(Domain::UNIX, kind, None)?;
    probe.set_nonblocking(true)?; // a living server may have a full backlog
    match probe.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "a living server holds the socket",
        )),
    }
}

impl Drop for PathGuard {
    fn drop(&mut self) {
        let ours =
            std::fs::symlink_metadata(&self.path).is_ok_and(|found| inode(&found) == self.inode);
        if ours && self.owner == std::process::id() {
            // If it can't be removed, the next server takes it over.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The lock on a path: a locked file beside it, removed when this is dropped.
struct PathLock {
    file: PathBuf,
    /// Closing it unlocks it.
    _locked: File,
}

impl PathLock {
    fn take(path: &Path) -> io::Result<PathLock> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let file = PathBuf::from(name);
        let begun = Instant::now();
        while begun.elapsed() < LOCK_TIMEOUT {
            if let Some(locked) = try_lock(&file)? {
                let _locked = locked;
                return Ok(PathLock { file, _locked });
            }
            std::thread::sleep(LOCK_INTERVAL);
        }
        Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            format!("another server holds the lock {}", file.display()),
        ))
    }
}

/// `None` if another process has the lock.
fn try_lock(path: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(open(path, flags, Mode::RUSR | Mode::WUSR)?);
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    // Its last holder may have removed the file after it was opened here; then it locks nothing.
    let present = std::fs::symlink_metadata(path);
    let ours = inode(&file.metadata()?);
    Ok(present
        .is_ok_and(|found| inode(&found) == ours)
        .then_some(file))
}

impl Drop for PathLock {
    fn drop(&mut self) {
        // Still locked, so no other process uses it. If it cannot be removed, the next server locks
        // it again.
        let _ = std::fs::remove_file(&self.file);
    }
}
