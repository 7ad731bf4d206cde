//! The coded forms of a file: files that are stored beside it (`a.js.br`), and forms that the
//! server compresses.
//!
//! They are part of the file's entry in the cache and are removed with it. The server looks for
//! coded forms only when a client accepts a coding.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use socketserver_http::protocol::accept_encoding::{Accepted, Coding};

use crate::files::site::Site;
use crate::files::site::compress::compress;
use crate::files::site::entry::{Entry, Identity};
use crate::files::site::root::Opened;

/// Minimum length of a file that is compressed, in bytes. A shorter file fits into one packet
/// anyway.
const MIN_COMPRESSED_LENGTH: u64 = 1024;
/// Maximum length of a file that is compressed, in bytes. A longer file would delay its first
/// client too much.
const MAX_COMPRESSED_LENGTH: u64 = 4 << 20;
/// Maximum number of files that are compressed at the same time. Each needs some MiB of memory.
const MAX_COMPRESSIONS: usize = 2;

/// The coded forms of one file, in the order of [`Coding::ALL`].
#[derive(Debug, Default)]
pub(crate) struct Codings([Forms; 3]);

#[derive(Debug, Default)]
struct Forms {
    /// The coded file beside the file, if there is one. Set by the first look-up.
    beside: OnceLock<Option<Arc<Entry>>>,
    /// Whether a request has begun to compress the file. Other requests get the plain form
    /// meanwhile.
    begun: AtomicBool,
    /// The form that the server has compressed. `None` if it would not be shorter.
    made: OnceLock<Option<Arc<Entry>>>,
}

impl Codings {
    /// Whether a coded file was found beside the file.
    pub(crate) fn is_any_beside(&self) -> bool {
        self.0
            .iter()
            .any(|forms| forms.beside.get().is_some_and(Option::is_some))
    }
}

/// The permission to compress a file. At most [`MAX_COMPRESSIONS`] exist at the same time.
struct Turn<'a>(&'a AtomicUsize);

impl<'a> Turn<'a> {
    fn take(running: &'a AtomicUsize) -> Option<Turn<'a>> {
        let turn = Turn(running);
        (running.fetch_add(1, Ordering::AcqRel) < MAX_COMPRESSIONS).then_some(turn)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Site {
    /// The coded form of a file that the client prefers. `None` means the plain form. A form that
    /// is compressed now is kept with the entry in the cache, whose key is `cache_key`.
    pub(crate) fn coded_form(
        &self,
        accepted: &Accepted,
        entry: &Arc<Entry>,
        cache_key: &[u8],
    ) -> Option<Arc<Entry>> {
        let forms = |coding: Coding| &entry.codings.0[coding as usize];
        for coding in accepted.ranked() {
            let beside = forms(coding)
                .beside
                .get_or_init(|| self.form_beside(entry, coding).map(Arc::new));
            if beside.is_some() {
                return beside.clone();
            }
        }
        if !self.policy.compress
            || !entry.varies
            || !(MIN_COMPRESSED_LENGTH..=MAX_COMPRESSED_LENGTH).contains(&entry.length)
        {
            return None;
        }
        let coding = accepted.ranked().next()?;
        let forms = forms(coding);
        if let Some(made) = forms.made.get() {
            return made.clone();
        }
        let _turn = Turn::take(&self.compressing)?;
        if forms.begun.swap(true, Ordering::AcqRel) {
            return None;
        }
        let made = forms
            .made
            .get_or_init(|| self.make(entry, coding).map(Arc::new));
        if let Some(made) = made {
            self.cache.charge(cache_key, entry, made.cost());
        }
        made.clone()
    }

    fn make(&self, entry: &Entry, coding: Coding) -> Option<Entry> {
        let coded = entry.whole().and_then(|plain| compress(coding, &plain));
        match coded {
            Ok(coded) if coded.len() as u64 >= entry.length => None,
            Ok(coded) => Some(entry.made(coded, coding, &self.policy.file_headers)),
            Err(error) => {
                log::warn!("{} can't be compressed: {error}", entry.path.display());
                None
            }
        }
    }

    fn form_beside(&self, entry: &Entry, coding: Coding) -> Option<Entry> {
        let (path, Opened { file, real }, _) = self.file_beside(entry, coding).ok()??;
        let form = entry.beside(&path, file, coding, &self.policy.file_headers);
        form.ok().map(|form| form.at(real))
    }

    /// Opens the coded file beside a file. `None` if it is older than the file.
    fn file_beside(
        &self,
        entry: &Entry,
        coding: Coding,
    ) -> io::Result<Option<(PathBuf, Opened, Identity)>> {
        let path = with_extension(&entry.path, coding);
        let opened = self.root.open_resolved(&path)?;
        let metadata = opened.file.metadata()?;
        let identity = Identity::of(&metadata);
        let counts = metadata.is_file() && identity.modified >= entry.identity.modified;
        Ok(counts.then_some((path, opened, identity)))
    }

    /// Whether the coded files beside a file are unchanged since they were found.
    pub(crate) fn is_all_current_beside(&self, entry: &Entry) -> bool {
        Coding::ALL.into_iter().all(|coding| {
            let Some(known) = entry.codings.0[coding as usize].beside.get() else {
                return true;
            };
            match (self.file_beside(entry, coding).ok().flatten(), known) {
                (Some((_, opened, identity)), Some(known)) => {
                    identity == known.identity && known.is_at(opened.real.as_deref())
                }
                (now, known) => now.is_none() && known.is_none(),
            }
        })
    }
}

/// `a.js.br` for `a.js`.
fn with_extension(path: &Path, coding: Coding) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".");
    name.push(coding.extension());
    PathBuf::from(name)
}
