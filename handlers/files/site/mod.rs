//! A site: it finds the file or folder for a path below the root, and makes the response.

pub(crate) mod archive;
mod cache;
pub(crate) mod codings;
mod compress;
pub(crate) mod entry;
pub(crate) mod hash;
pub mod listing;
pub mod media;
pub(crate) mod multipart;
pub mod options;
pub(crate) mod pages;
pub(crate) mod respond;
pub(crate) mod root;
mod send;

use std::ffi::OsStr;
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use cap_std::fs::Dir;

use crate::common::digest::DigestQueue;
use crate::common::store::is_reserved;
use crate::files::site::cache::Cache;
use crate::files::site::entry::{Entry, Identity};
use crate::files::site::listing::ListingOptions;
use crate::files::site::listing::entries::Folder;
use crate::files::site::options::{Policy, SiteOptions};
use crate::files::site::root::{Opened, Root};

/// A directory tree that is served.
#[derive(Debug)]
pub struct Site {
    pub(crate) root: Arc<Root>,
    pub(crate) policy: Policy,
    pub(crate) listing: ListingOptions,
    pub(crate) cache: Cache,
    pub(crate) digests: DigestQueue,
    /// Number of files that are being compressed now.
    pub(crate) compressing: AtomicUsize,
}

/// The resource that a path names.
#[derive(Debug)]
pub(crate) enum Resource {
    File(Arc<Entry>),
    /// A directory that was requested without the slash at its end.
    NeedsSlash,
    /// A directory without an index page.
    Directory(Folder),
    NotFound,
    Forbidden,
    /// The system cannot look it up now, for example because it is out of file descriptors.
    Unavailable,
}

/// What a path names, before a file's content is read.
enum PathKind {
    File(PathBuf, Opened, Metadata),
    NeedsSlash,
    Directory(PathBuf, Opened),
    Nothing,
}

impl Site {
    /// Opens the root.
    ///
    /// # Errors
    /// The root can't be opened, or the page of `--spa` does not exist.
    pub fn open(root: &Path, options: SiteOptions, listing: ListingOptions) -> io::Result<Site> {
        let policy = Policy::new(options);
        let root = Arc::new(Root::open(root, policy.follow_symlinks)?);
        let (cache, digests) = (Cache::default(), DigestQueue::default());
        let site = Site {
            root,
            policy,
            listing,
            cache,
            digests,
            compressing: AtomicUsize::new(0),
        };
        if let Some(page) = &site.policy.spa
            && !site
                .root
                .open_file(page)
                .and_then(|file| file.metadata())
                .is_ok_and(|metadata| metadata.is_file())
        {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("no file {} is in it", page.display()),
            ));
        }
        Ok(site)
    }

    /// The folder in which home folders of users are resolved. `None` if symlinks are not followed.
    pub(crate) fn dir_of_homes(&self) -> io::Result<Option<Dir>> {
        let dir = self.root.dir();
        let homes = self.policy.follow_symlinks.then(|| dir.try_clone());
        homes.transpose()
    }

    /// Finds the resource of a decoded path relative to the root. An empty path is the root itself.
    pub(crate) fn find(&self, path: &[u8], trailing_slash: bool) -> Resource {
        self.look_up(path, trailing_slash)
            .unwrap_or_else(|error| match error.kind() {
                io::ErrorKind::PermissionDenied if !is_escape(&error) => Resource::Forbidden,
                _ if is_ours(&error) => {
                    log::warn!("a file can't be opened: {error}");
                    Resource::Unavailable
                }
                // The path leads out of the root, through a file, or does not exist. A client must
                // not be able to distinguish these cases.
                _ => Resource::NotFound,
            })
    }

    fn look_up(&self, path: &[u8], trailing_slash: bool) -> io::Result<Resource> {
        Ok(match self.place(path, trailing_slash)? {
            PathKind::File(path, Opened { file, real }, _) => {
                let entry = Entry::new(path, file, &self.policy.file_headers)?;
                Resource::File(Arc::new(entry.at(real)))
            }
            PathKind::NeedsSlash => Resource::NeedsSlash,
            PathKind::Directory(path, Opened { file, real }) => Resource::Directory(
                Folder::new(
                    Arc::clone(&self.root),
                    file.into(),
                    path.as_os_str().as_bytes(),
                )
                .at(real.as_deref()),
            ),
            PathKind::Nothing => Resource::NotFound,
        })
    }

    fn place(&self, path: &[u8], trailing_slash: bool) -> io::Result<PathKind> {
        let named = self.place_of_that_name(path, trailing_slash);
        let is_page_possible = self.policy.try_html && !trailing_slash && !path.is_empty();
        if is_page_possible && !matches!(named, Ok(PathKind::File(..))) {
            let page = self.place_of_that_name(&[path, b".html"].concat(), false);
            if matches!(page, Ok(PathKind::File(..))) {
                return page;
            }
        }
        named
    }

    fn place_of_that_name(&self, path: &[u8], trailing_slash: bool) -> io::Result<PathKind> {
        if path.split(|&byte| byte == b'/').any(is_reserved) {
            return Ok(PathKind::Nothing);
        }
        let path = Path::new(OsStr::from_bytes(path));
        let here = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let opened = self.root.open_resolved(here)?;
        let metadata = opened.file.metadata()?;
        if metadata.is_file() {
            let place = || PathKind::File(path.to_owned(), opened, metadata);
            return Ok(if trailing_slash {
                PathKind::Nothing
            } else {
                place()
            });
        }
        if !metadata.is_dir() {
            return Ok(PathKind::Nothing); // a FIFO, a socket, a device
        }
        if !trailing_slash {
            return Ok(PathKind::NeedsSlash);
        }
        for name in &self.policy.index {
            let index = path.join(name);
            match self
                .root
                .open_resolved(&index)
                .and_then(|opened| Ok((opened.file.metadata()?, opened)))
            {
                Ok((metadata, opened)) if metadata.is_file() => {
                    return Ok(PathKind::File(index, opened, metadata));
                }
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(PathKind::Directory(path.to_owned(), opened))
    }

    /// Whether a path still names this entry, with the same coded files beside it.
    pub(crate) fn is_current(&self, path: &[u8], trailing_slash: bool, entry: &Entry) -> bool {
        match self.place(path, trailing_slash) {
            Ok(PathKind::File(_, opened, metadata)) => {
                Identity::of(&metadata) == entry.identity
                    && entry.is_at(opened.real.as_deref())
                    && self.is_all_current_beside(entry)
            }
            Ok(_) => false,
            // If the system cannot look it up now, the cached entry counts as current.
            Err(error) => is_ours(&error),
        }
    }
}

/// Whether an error has nothing to do with the path: the system is out of a resource, or the disk
/// is broken.
fn is_ours(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let ours = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::IO];
    Errno::from_io_error(error).is_some_and(|errno| ours.contains(&errno))
}

/// cap-std reports a path that leads out of the root as a denied permission without an errno.
fn is_escape(error: &io::Error) -> bool {
    error.raw_os_error().is_none()
}
