//! The files below the root, and what a path among them stands for.
//!
//! The root is a directory handle, and every path is opened below it by the system itself (`openat2` with `RESOLVE_BENEATH` on Linux):
//! there is no check of a path that a later open could contradict, and a symlink that leads out opens nothing.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};

use super::cache::Cache;
use super::listing::ListingOptions;
use super::listing::entries::Folder;
use super::media;

/// Files up to this size are kept in memory; of larger ones, only the descriptor.
const IN_MEMORY: u64 = 64 * 1024;
const O_NONBLOCK: i32 = 0o4000;

/// A directory tree that is served.
#[derive(Debug)]
pub struct Site {
    root: Arc<Dir>,
    pub(crate) options: ListingOptions,
    pub(crate) cache: Cache,
}

/// What a path stands for.
#[derive(Debug)]
pub(crate) enum Resource {
    File(Arc<Entry>),
    /// A directory, asked for without the slash at its end.
    NeedsSlash,
    /// A directory without an index page.
    Directory(Folder),
    NotFound,
    Forbidden,
}

/// A file, ready to be sent.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) body: Body,
    pub(crate) length: u64,
    pub(crate) modified: SystemTime,
    pub(crate) etag: String,
    pub(crate) media_type: String,
    /// The header fields that go out with the file, with a part of it, and with a 304.
    pub(crate) extra: String,
    /// The header fields that describe the file, as they go out with a 200.
    pub(crate) fields: Box<[u8]>,
    identity: Identity,
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    Memory(Arc<[u8]>),
    Descriptor(Arc<File>),
}

/// Tells whether a path still leads to the same content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    fn of(metadata: &std::fs::Metadata) -> Identity {
        Identity {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Site {
    /// Opens the root.
    pub fn open(root: &Path, options: ListingOptions) -> io::Result<Site> {
        let root = Arc::new(Dir::open_ambient_dir(root, ambient_authority())?);
        Ok(Site { root, options, cache: Cache::default() })
    }

    /// What a decoded path, relative to the root, stands for; empty is the root itself.
    pub(crate) fn find(&self, path: &[u8], trailing_slash: bool) -> Resource {
        self.look_up(path, trailing_slash).unwrap_or_else(|error| match error.kind() {
            io::ErrorKind::PermissionDenied if !is_escape(&error) => Resource::Forbidden,
            // Paths that lead out, through a file, or nowhere: all the same to a client.
            _ => Resource::NotFound,
        })
    }

    fn look_up(&self, path: &[u8], trailing_slash: bool) -> io::Result<Resource> {
        let path = Path::new(OsStr::from_bytes(path));
        let here = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let file = self.open_file(here)?;
        let metadata = file.metadata()?;
        if metadata.is_file() {
            return if trailing_slash {
                Ok(Resource::NotFound)
            } else {
                Ok(Resource::File(Arc::new(Entry::new(path, file)?)))
            };
        }
        if !metadata.is_dir() {
            return Ok(Resource::NotFound); // a FIFO, a socket, a device
        }
        if !trailing_slash {
            return Ok(Resource::NeedsSlash);
        }
        let index = path.join("index.html");
        match self.open_file(&index) {
            Ok(file) if file.metadata()?.is_file() => Ok(Resource::File(Arc::new(Entry::new(&index, file)?))),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(Resource::Directory(Folder::new(Arc::clone(&self.root), file.into(), path.as_os_str().as_bytes()))),
        }
    }

    /// Whether a path still leads to this entry.
    pub(crate) fn is_current(&self, path: &[u8], entry: &Entry) -> bool {
        let path = Path::new(OsStr::from_bytes(path));
        let here = if path.as_os_str().is_empty() { Path::new("index.html") } else { path };
        let metadata = self.open_file(here).and_then(|file| file.metadata()).and_then(|metadata| {
            let index = here.join("index.html");
            if metadata.is_dir() { self.open_file(&index)?.metadata() } else { Ok(metadata) }
        });
        metadata.is_ok_and(|metadata| Identity::of(&metadata) == entry.identity)
    }

    /// Opens without waiting: a FIFO would wait for its writer.
    fn open_file(&self, path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(O_NONBLOCK);
        Ok(self.root.open_with(path, &options)?.into_std())
    }
}

/// cap-std reports a path that leads out of the root as a denied permission without an errno.
fn is_escape(error: &io::Error) -> bool {
    error.raw_os_error().is_none()
}

impl Entry {
    fn new(path: &Path, file: File) -> io::Result<Entry> {
        let metadata = file.metadata()?;
        let (identity, length) = (Identity::of(&metadata), metadata.len());
        // A date in the future would make every If-Modified-Since wrong (RFC 9110 §8.8.2.1); one before 1970 is none to httpdate.
        let modified = metadata.modified().unwrap_or(UNIX_EPOCH).min(SystemTime::now()).max(UNIX_EPOCH);
        let body = if length <= IN_MEMORY { read_whole(&file, &identity)? } else { None };
        let (seconds, nanoseconds) = identity.modified;
        let etag = format!("\"{seconds:x}-{nanoseconds:x}-{length:x}\"");
        let media_type = media::content_type(path).into_owned();
        let body = body.map_or_else(|| Body::Descriptor(Arc::new(file)), Body::Memory);
        let fields = Box::default();
        let entry = Entry { body, length, modified, etag, media_type, extra: String::new(), fields, identity };
        Ok(entry.with_fields())
    }

    fn with_fields(mut self) -> Entry {
        let Entry { length, etag, media_type, extra, .. } = &self;
        let modified = httpdate::fmt_http_date(self.modified);
        let fields = format!(
            "Content-Type: {media_type}\r\nContent-Length: {length}\r\nLast-Modified: {modified}\r\nETag: {etag}\r\nAccept-Ranges: bytes\r\n{extra}",
        );
        self.fields = fields.into_bytes().into();
        self
    }

    /// Another representation of the same file, told apart by its tag (RFC 9110 §8.8.3).
    pub(crate) fn represented(&self, content: Vec<u8>, media_type: &str, extra: String) -> Entry {
        let tag = self.etag.trim_end_matches('"');
        let entry = Entry {
            length: content.len() as u64,
            body: Body::Memory(content.into()),
            modified: self.modified,
            etag: format!("{tag}-{}\"", media_type.split(['/', ';']).nth(1).unwrap_or_default()),
            media_type: media_type.to_owned(),
            extra,
            fields: Box::default(),
            identity: self.identity,
        };
        entry.with_fields()
    }

    /// The whole content.
    ///
    /// # Errors
    /// It can't be read, or is changed meanwhile.
    pub(crate) fn content(&self) -> io::Result<Arc<[u8]>> {
        match &self.body {
            Body::Memory(bytes) => Ok(Arc::clone(bytes)),
            Body::Descriptor(file) => {
                read_whole(file, &self.identity)?.ok_or_else(|| io::Error::other("the file was changed meanwhile"))
            }
        }
    }

    /// What it costs to keep this entry.
    pub(crate) fn cost(&self) -> usize {
        let body = if let Body::Memory(bytes) = &self.body { bytes.len() } else { 0 };
        body + 1024
    }
}

/// The content, unless somebody changes the file meanwhile.
fn read_whole(file: &File, identity: &Identity) -> io::Result<Option<Arc<[u8]>>> {
    use std::os::unix::fs::FileExt;
    let mut content = vec![0; identity.length as usize];
    match file.read_exact_at(&mut content, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    Ok((Identity::of(&file.metadata()?) == *identity).then(|| content.into()))
}
