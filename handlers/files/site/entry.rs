//! A file, ready to be sent.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) use crate::common::digest::FileIdentity as Identity;
use crate::files::site::codings::Codings;
use crate::files::site::media;
use socketserver_http::engine::file_content::{FileContent, ReadyFile};
use socketserver_http::protocol::accept_encoding::Coding;

/// Files up to this size are kept in memory; of larger ones, only the descriptor.
const MAX_IN_MEMORY: u64 = 64 * 1024;
/// There may be other forms of what is sent (RFC 9110 §12.5.5).
pub(crate) const VARY: &str = "Vary: Accept-Encoding\r\n";

/// A file, or one of its coded forms.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Where it was found below the root.
    pub(crate) path: PathBuf,
    /// The same path without symlinks; `None` if it contains none.
    real: Option<PathBuf>,
    pub(crate) body: FileContent,
    pub(crate) length: u64,
    pub(crate) modified: SystemTime,
    pub(crate) etag: String,
    pub(crate) media_type: String,
    /// The header fields that describe it, as they go out with a 200; those that tell this content
    /// from another stand behind `validators_at`.
    headers: Box<str>,
    validators_at: usize,
    /// Its fields hold `Vary`.
    pub(crate) varies: bool,
    pub(crate) identity: Identity,
    pub(crate) codings: Codings,
}

impl Identity {
    /// The same file, once it has got this date, which isn't before 1970.
    pub(crate) fn dated(self, modified: SystemTime) -> Identity {
        let since_1970 = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        Identity {
            modified: (
                since_1970.as_secs() as i64,
                i64::from(since_1970.subsec_nanos()),
            ),
            ..self
        }
    }

    /// The entity tag of the file itself.
    pub(crate) fn etag(&self) -> String {
        etag(self.modified, self.length)
    }
}

/// The entity tag of a file that was changed at this time, in seconds and nanoseconds since 1970,
/// and is so long in bytes.
pub(crate) fn etag((seconds, nanoseconds): (i64, i64), length: u64) -> String {
    format!("\"{seconds:x}-{nanoseconds:x}-{length:x}\"")
}

impl Entry {
    /// The file itself. `more` are field lines for whatever is made of a file.
    pub(crate) fn new(path: PathBuf, file: File, more: &str) -> io::Result<Entry> {
        let media_type = media::content_type(&path).into_owned();
        let varies = media::is_compressible(&media_type);
        let read = Read::new(file)?;
        let etag = read.identity.etag();
        let head = Fields {
            media_type: &media_type,
            coding: None,
            modified: read.modified,
            etag: &etag,
            varies,
            more,
        };
        let (headers, validators_at) = head.lines(read.identity.length);
        let (length, modified) = (read.identity.length, read.modified);
        let (body, identity, codings) = (read.body, read.identity, Codings::default());
        Ok(Entry {
            path,
            real: None,
            body,
            length,
            modified,
            etag,
            media_type,
            headers,
            validators_at,
            varies,
            identity,
            codings,
        })
    }

    /// A form of this file that stands beside it.
    pub(crate) fn beside(
        &self,
        path: &Path,
        file: File,
        coding: Coding,
        more: &str,
    ) -> io::Result<Entry> {
        let read = Read::new(file)?;
        let etag = tag_of_form(&read.identity.etag(), coding.name());
        let coded = Coded {
            path,
            body: read.body,
            modified: read.modified,
            etag,
            identity: read.identity,
        };
        Ok(self.coded(coded, read.identity.length, coding, more))
    }

    /// A form of this file that was made here.
    pub(crate) fn made(&self, bytes: Vec<u8>, coding: Coding, more: &str) -> Entry {
        let length = bytes.len() as u64;
        let coded = Coded {
            path: &self.path,
            body: FileContent::Memory(bytes.into()),
            modified: self.modified,
            etag: tag_of_form(&self.etag, coding.name()),
            identity: self.identity,
        };
        self.coded(coded, length, coding, more)
    }

    /// The same file as another media type. `more` are field lines for it.
    pub(crate) fn represented(&self, content: Vec<u8>, media_type: &str, more: &str) -> Entry {
        let (length, modified, identity) = (content.len() as u64, self.modified, self.identity);
        let etag = tag_of_form(
            &self.etag,
            media_type.split(['/', ';']).nth(1).unwrap_or_default(),
        );
        let (media_type, varies) = (media_type.to_owned(), false);
        let head = Fields {
            media_type: &media_type,
            coding: None,
            modified,
            etag: &etag,
            varies,
            more,
        };
        let (headers, validators_at) = head.lines(length);
        let (path, body, codings) = (
            self.path.clone(),
            FileContent::Memory(content.into()),
            Codings::default(),
        );
        Entry {
            path,
            real: self.real.clone(),
            body,
            length,
            modified,
            etag,
            media_type,
            headers,
            validators_at,
            varies,
            identity,
            codings,
        }
    }

    fn coded(&self, coded: Coded<'_>, length: u64, coding: Coding, more: &str) -> Entry {
        let media_type = self.media_type.clone();
        let Coded {
            path,
            body,
            modified,
            etag,
            identity,
        } = coded;
        let head = Fields {
            media_type: &media_type,
            coding: Some(coding),
            modified,
            etag: &etag,
            varies: true,
            more,
        };
        let (headers, validators_at) = head.lines(length);
        let (path, varies, codings) = (path.to_owned(), true, Codings::default());
        Entry {
            path,
            real: self.real.clone(),
            body,
            length,
            modified,
            etag,
            media_type,
            headers,
            validators_at,
            varies,
            identity,
            codings,
        }
    }

    /// The same entry, whose path without symlinks is `real`.
    pub(crate) fn at(self, real: Option<PathBuf>) -> Entry {
        Entry { real, ..self }
    }

    /// Whether this is its path without symlinks. A file keeps its identity when it moves, but
    /// other rights may hold there.
    pub(crate) fn is_at(&self, real: Option<&Path>) -> bool {
        self.real.as_deref() == real
    }

    /// Its path below the root, without symlinks. Rights are checked for it.
    pub(crate) fn real_path(&self) -> &[u8] {
        self.real
            .as_ref()
            .unwrap_or(&self.path)
            .as_os_str()
            .as_bytes()
    }

    /// The header lines that a 304 and a 206 have as well.
    pub(crate) fn validators(&self) -> &str {
        &self.headers[self.validators_at..]
    }

    /// The whole content.
    ///
    /// # Errors
    /// It can't be read, or is changed meanwhile.
    pub(crate) fn whole(&self) -> io::Result<Arc<[u8]>> {
        match &self.body {
            FileContent::Memory(bytes) => Ok(Arc::clone(bytes)),
            FileContent::Descriptor(file) => read_whole(file, &self.identity)?
                .ok_or_else(|| io::Error::other("the file was changed meanwhile")),
        }
    }

    /// What it costs to keep this entry.
    pub(crate) fn cost(&self) -> usize {
        let body = if let FileContent::Memory(bytes) = &self.body {
            bytes.len()
        } else {
            0
        };
        body + 1024
    }
}

impl ReadyFile for Entry {
    fn header_lines(&self) -> &[u8] {
        self.headers.as_bytes()
    }

    fn content(&self) -> &FileContent {
        &self.body
    }

    fn length(&self) -> u64 {
        self.length
    }
}

/// What a coded form has of its own.
struct Coded<'a> {
    path: &'a Path,
    body: FileContent,
    modified: SystemTime,
    etag: String,
    identity: Identity,
}

/// What was found in a file.
struct Read {
    body: FileContent,
    modified: SystemTime,
    identity: Identity,
}

impl Read {
    fn new(file: File) -> io::Result<Read> {
        let metadata = file.metadata()?;
        let identity = Identity::of(&metadata);
        // A date in the future would make every If-Modified-Since wrong (RFC 9110 §8.8.2.1); one
        // before 1970 is none to httpdate.
        let modified = metadata
            .modified()
            .unwrap_or(UNIX_EPOCH)
            .min(SystemTime::now())
            .max(UNIX_EPOCH);
        let body = if identity.length <= MAX_IN_MEMORY {
            read_whole(&file, &identity)?
        } else {
            None
        };
        let body = body.map_or_else(
            || FileContent::Descriptor(Arc::new(file)),
            FileContent::Memory,
        );
        Ok(Read {
            body,
            modified,
            identity,
        })
    }
}

/// The content; `None` if the file is changed meanwhile.
fn read_whole(file: &File, identity: &Identity) -> io::Result<Option<Arc<[u8]>>> {
    let mut content = vec![0; identity.length as usize];
    match file.read_exact_at(&mut content, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    Ok((Identity::of(&file.metadata()?) == *identity).then(|| content.into()))
}

/// Each form has a tag of its own (RFC 9110 §8.8.3.3).
fn tag_of_form(tag: &str, form: &str) -> String {
    format!("{}-{form}\"", tag.trim_end_matches('"'))
}

/// What the field lines of a file tell.
struct Fields<'a> {
    media_type: &'a str,
    coding: Option<Coding>,
    modified: SystemTime,
    etag: &'a str,
    varies: bool,
    more: &'a str,
}

impl Fields<'_> {
    /// The lines, and where those begin that don't describe the content itself.
    fn lines(&self, length: u64) -> (Box<str>, usize) {
        let mut lines = format!(
            "Content-Type: {}\r\nContent-Length: {length}\r\n",
            self.media_type
        );
        if let Some(coding) = self.coding {
            lines += &format!("Content-Encoding: {}\r\n", coding.name());
        }
        let validators_at = lines.len();
        lines += &format!(
            "Last-Modified: {}\r\nETag: {}\r\n",
            httpdate::fmt_http_date(self.modified),
            self.etag
        );
        if self.varies {
            lines += VARY;
        }
        if self.coding.is_none() {
            lines += "Accept-Ranges: bytes\r\n"; // ranges are those of the plain form
        }
        lines += self.more;
        (lines.into(), validators_at)
    }
}
