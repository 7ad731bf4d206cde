//! The path of a Unix socket: taken over when its server is gone, removed when ours goes.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

/// A path that a socket is bound to; removed when this is dropped, if it is still that socket's.
#[derive(Debug)]
pub(super) struct PathGuard {
    path: PathBuf,
    /// Device and inode of our socket; `None` until it is bound.
    inode: Option<(u64, u64)>,
    /// Who bound it: a child of a fork must not remove its parent's path.
    owner: u32,
}

impl PathGuard {
    /// Makes `path` free for a socket of this kind, if only a dead server's socket is there.
    pub(super) fn claim(path: &Path, kind: Type) -> io::Result<PathGuard> {
        match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(found) if !found.file_type().is_socket() => {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "a file that is no socket is in the way",
                ));
            }
            Ok(_) => remove_stale(path, kind)?,
        }
        Ok(PathGuard {
            path: path.to_owned(),
            inode: None,
            owner: std::process::id(),
        })
    }

    /// The socket is bound: from now on the path is ours.
    pub(super) fn bound(mut self) -> io::Result<PathGuard> {
        let found = std::fs::symlink_metadata(&self.path)?;
        self.inode = Some((found.dev(), found.ino()));
        Ok(self)
    }
}

/// Only a refused connection proves that nobody listens.
fn remove_stale(path: &Path, kind: Type) -> io::Result<()> {
    let probe = Socket::new(Domain::UNIX, kind, None)?;
    probe.set_nonblocking(true)?; // a living server may have a full backlog
    match probe.connect(&SockAddr::unix(path)?) {
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
        let Some(inode) = self.inode else { return };
        let ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == inode);
        if ours && self.owner == std::process::id() {
            // If it can't be removed, the next server takes it over.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
