//! A file with prepared headers, ready to be sent.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use socketserver_http::engine::file_content::{FileContent, ReadyFile};
use socketserver_http::protocol::accept_encoding::Coding;

pub(crate) use crate::common::digest::FileIdentity as Identity;
use crate::files::site::codings::Codings;
use crate::files::site::media;

/// Maximum size of a file whose content is kept in memory, in bytes. Of a larger file, only the
/// descriptor is kept.
const MAX_IN_MEMORY: u64 = 64 * 1024;
/// The header line of files that may have coded forms (RFC 9110 §12.5.5).
pub(crate) const VARY: &str = "Vary: Accept-Encoding\r\n";

/// A file, or one of its coded forms.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The path below the root under which the file was found.
    pub(crate) path: PathBuf,
    /// The same path without symlinks. `None` if it contains no symlink.
    real: Option<PathBuf>,
    pub(crate) body: FileContent,
    pub(crate) length: u64,
    pub(crate) modified: SystemTime,
    pub(crate) etag: String,
    pub(crate) media_type: String,
    /// The header lines for a response with status 200. The lines from the offset `validators_at`
    /// on are sent with 304 and 206 too.
    headers: Box<str>,
    validators_at: usize,
    /// Whether the headers contain `Vary`.
    pub(crate) varies: bool,
    pub(crate) identity: Identity,
    pub(crate) codings: Codings,
}

impl Identity {
    /// The identity of the same file after its date was set to `modified`, which must not be before
    /// 1970.
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

    /// The entity tag of the file itself, without a coding.
    pub(crate) fn etag(&self) -> String {
        etag(self.modified, self.length)
    }
}

/// The entity tag of a file, computed from the time of its last change (seconds and nanoseconds
/// since 1970) and its length in bytes.
pub(crate) fn etag((seconds, nanoseconds): (i64, i64), length: u64) -> String {
    format!("\"{seconds:x}-{nanoseconds:x}-{length:x}\"")
}

impl Entry {
    /// Prepares the file itself. `more` contains additional header lines.
    pub(crate) fn new(path: PathBuf, file: File, more: &str) -> io::Result<Entry> {
        let media_type = media::content_type(&path).into_owned();
        let Read {
            body,
            modified,
            identity,
        } = Read::new(file)?;
        let form = Form {
            path,
            real: None,
            body,
            length: identity.length,
            modified,
            etag: identity.etag(),
            coding: None,
            varies: media::is_compressible(&media_type),
            media_type,
            identity,
        };
        Ok(form.into_entry(more))
    }

    /// Prepares a coded form of this file that is stored beside it.
    pub(crate) fn beside(
        &self,
        path: &Path,
        file: File,
        coding: Coding,
        more: &str,
    ) -> io::Result<Entry> {
        let Read {
            body,
            modified,
            identity,
        } = Read::new(file)?;
        let form = Form {
            path: path.to_owned(),
            body,
            length: identity.length,
            modified,
            etag: tag_of_form(&identity.etag(), coding.name()),
            coding: Some(coding),
            varies: true,
            identity,
            ..self.form()
        };
        Ok(form.into_entry(more))
    }

    /// Prepares a coded form of this file that the server has compressed.
    pub(crate) fn made(&self, bytes: Vec<u8>, coding: Coding, more: &str) -> Entry {
        let form = Form {
            length: bytes.len() as u64,
            body: FileContent::Memory(bytes.into()),
            etag: tag_of_form(&self.etag, coding.name()),
            coding: Some(coding),
            varies: true,
            ..self.form()
        };
        form.into_entry(more)
    }

    /// Prepares another representation of this file, such as a page made from Markdown. `more`
    /// contains additional header lines.
    pub(crate) fn represented(&self, content: Vec<u8>, media_type: &str, more: &str) -> Entry {
        let name = media_type.split(['/', ';']).nth(1).unwrap_or_default();
        let form = Form {
            length: content.len() as u64,
            body: FileContent::Memory(content.into()),
            etag: tag_of_form(&self.etag, name),
            media_type: media_type.to_owned(),
            varies: false,
            ..self.form()
        };
        form.into_entry(more)
    }

    /// The properties of this entry, from which another form of the file is made.
    fn form(&self) -> Form {
        Form {
            path: self.path.clone(),
            real: self.real.clone(),
            body: self.body.clone(),
            length: self.length,
            modified: self.modified,
            etag: self.etag.clone(),
            media_type: self.media_type.clone(),
            coding: None,
            varies: self.varies,
            identity: self.identity,
        }
    }

    /// Sets the path without symlinks.
    pub(crate) fn at(self, real: Option<PathBuf>) -> Entry {
        Entry { real, ..self }
    }

    /// Whether `real` is the file's path without symlinks. A file keeps its identity when it is
    /// moved, but other rights may apply at the new path.
    pub(crate) fn is_at(&self, real: Option<&Path>) -> bool {
        self.real.as_deref() == real
    }

    /// The path below the root without symlinks. Rights are checked for it.
    pub(crate) fn real_path(&self) -> &[u8] {
        self.real
            .as_ref()
            .unwrap_or(&self.path)
            .as_os_str()
            .as_bytes()
    }

    /// The header lines that responses with status 304 and 206 have too.
    pub(crate) fn validators(&self) -> &str {
        &self.headers[self.validators_at..]
    }

    /// Reads the whole content.
    ///
    /// # Errors
    /// The file can't be read, or it was changed while it was read.
    pub(crate) fn whole(&self) -> io::Result<Arc<[u8]>> {
        match &self.body {
            FileContent::Memory(bytes) => Ok(Arc::clone(bytes)),
            FileContent::Descriptor(file) => read_whole(file, &self.identity)?
                .ok_or_else(|| io::Error::other("the file was changed meanwhile")),
        }
    }

    /// The memory that this entry uses in the cache, in bytes.
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

/// A file's content and metadata.
struct Read {
    body: FileContent,
    modified: SystemTime,
    identity: Identity,
}

impl Read {
    fn new(file: File) -> io::Result<Read> {
        let metadata = file.metadata()?;
        let identity = Identity::of(&metadata);
        // With a date in the future, every If-Modified-Since would be wrong (RFC 9110 §8.8.2.1).
        // The crate httpdate cannot express a date before 1970.
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

/// Reads the content. `None` if the file was changed while it was read.
fn read_whole(file: &File, identity: &Identity) -> io::Result<Option<Arc<[u8]>>> {
    let mut content = vec![0; identity.length as usize];
    match file.read_exact_at(&mut content, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    Ok((Identity::of(&file.metadata()?) == *identity).then(|| content.into()))
}

/// The entity tag of a form of a file. Each form needs its own tag (RFC 9110 §8.8.3.3).
fn tag_of_form(tag: &str, form: &str) -> String {
    format!("{}-{form}\"", tag.trim_end_matches('"'))
}

/// A form of a file, before its header lines are made.
struct Form {
    path: PathBuf,
    real: Option<PathBuf>,
    body: FileContent,
    length: u64,
    modified: SystemTime,
    etag: String,
    media_type: String,
    coding: Option<Coding>,
    varies: bool,
    identity: Identity,
}

impl Form {
    /// Makes the header lines. `more` contains additional ones.
    fn into_entry(self, more: &str) -> Entry {
        let mut headers = format!(
            "Content-Type: {}\r\nContent-Length: {}\r\n",
            self.media_type, self.length
        );
        if let Some(coding) = self.coding {
            headers += &format!("Content-Encoding: {}\r\n", coding.name());
        }
        // From here on, the lines are sent with 304 and 206 too.
        let validators_at = headers.len();
        headers += &format!(
            "Last-Modified: {}\r\nETag: {}\r\n",
            httpdate::fmt_http_date(self.modified),
            self.etag
        );
        if self.varies {
            headers += VARY;
        }
        if self.coding.is_none() {
            headers += "Accept-Ranges: bytes\r\n"; // ranges are those of the plain form
        }
        headers += more;
        Entry {
            path: self.path,
            real: self.real,
            body: self.body,
            length: self.length,
            modified: self.modified,
            etag: self.etag,
            media_type: self.media_type,
            headers: headers.into(),
            validators_at,
            varies: self.varies,
            identity: self.identity,
            codings: Codings::default(),
        }
    }
}
