//! Uploads: STOR, APPE and STOU. This module is a thin layer over the shared store.
//!
//! The old file keeps its name until the new file is complete. The store keeps an interrupted
//! upload, and REST, APPE or another protocol can resume it.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use rustix::io::Errno;

use super::path::VirtualPath;
use super::reply::{Refused, reason};
use super::storage::{View, denied};
use super::transfer::became_shorter;
use crate::accounts::{Account, Rights};
use crate::common::store::{Intent, Name, OnDuplicate, Partial, ReceiveError, Store, StoreError};

/// Number of bytes of the old file that are copied per turn, before other connections are served.
const COPIED_PER_TURN: usize = 8 << 20;

/// How an upload begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// STOR: a new file, from the first byte.
    New,
    /// STOR after REST: at this offset of the interrupted upload. If there is no interrupted
    /// upload, at this offset of the file that has the name.
    At(u64),
    /// APPE: at the end of the file that has the name. If there is no such file, at the end of the
    /// interrupted upload.
    End,
    /// STOU: a new file, under a name that is not in use.
    Unique,
}

/// An upload that has begun.
#[derive(Debug)]
pub struct Upload {
    /// The file in the store that receives the bytes.
    partial: Partial,
    path: VirtualPath,
    on_duplicate: OnDuplicate,
    /// The first bytes of the old file if the new file begins with them. `None` if there are none,
    /// or after all of them were copied.
    copy: Option<OldPart>,
}

/// The part of the old file with which the new file begins.
#[derive(Debug)]
struct OldPart {
    /// The old file.
    from: File,
    /// Number of bytes to copy.
    end: u64,
}

/// A complete file that was stored.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The path that the user sees.
    pub path: VirtualPath,
    /// Its size in bytes.
    pub size: u64,
}

/// An upload that has passed all checks, before it begins.
#[derive(Debug)]
pub struct Checked<'a> {
    /// The store that receives the file.
    store: &'a Store,
    /// The description of the upload for the store.
    intent: Intent,
    /// The size in bytes of the file that already has the name; `None` if there is no such file.
    old: Option<u64>,
    /// What to do with the file that already has the name.
    on_duplicate: OnDuplicate,
}

/// Why an upload does not begin.
#[derive(Debug)]
pub enum BeginError {
    /// The upload is refused.
    Refused(Refused),
    /// Another connection still writes to the interrupted upload. This connection may be about to
    /// end, so the upload can be tried again.
    Busy,
}

impl From<Refused> for BeginError {
    fn from(refused: Refused) -> BeginError {
        BeginError::Refused(refused)
    }
}

/// The reply to an error of the store.
pub fn refused(error: &StoreError) -> Refused {
    let code = match error {
        StoreError::Exists | StoreError::ForbiddenName(_) => 553,
        StoreError::TooLarge { .. } => 552,
        StoreError::NoSpace(why) if why.contains("quota") => 552,
        StoreError::NoSpace(_) => 452,
        StoreError::NoUser => 550,
        StoreError::TooManyPartials => 452,
        StoreError::Busy | StoreError::Unavailable(_) => 450,
        StoreError::ChecksumMismatch(_) | StoreError::Truncated { .. } => 451,
        StoreError::Io(error) => return Refused::of_system(error),
    };
    Refused::new(code, format!("{error}."))
}

impl Refused {
    fn of_system(error: &io::Error) -> Refused {
        let again = match error.raw_os_error() {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None => io::Error::new(error.kind(), reason(error)),
        };
        again.into()
    }
}

impl View {
    fn intent(&self, name: Name) -> Intent {
        let user = self.user.account().map(|account| account.name.clone());
        Intent {
            owner: user.clone(),
            quota_user: user,
            ..Intent::new(name)
        }
    }

    /// The number of bytes of this user's interrupted upload to a path; `None` if there is none.
    pub fn partial_size(&self, path: &VirtualPath) -> Option<u64> {
        let (store, path) = self.in_store(path).ok()?;
        let name = Name::of_bytes(&path).ok()?;
        partial_size(store, &self.intent(name))
    }

    /// Checks rights, names and offset of an upload before it begins.
    ///
    /// # Errors
    /// The upload is refused.
    pub fn check_upload(&self, path: &VirtualPath, start: Start) -> Result<Checked<'_>, Refused> {
        self.check(path, Rights::WRITE)?;
        if self.is_top(path) {
            return Err(Refused::new(550, "Is a directory."));
        }
        let (store, real) = self.in_store(path)?;
        let old = self.old_file(path)?;
        let on_duplicate = self.on_duplicate(path, start, old)?;
        let intent = self.intent(Name::of_bytes(&real).map_err(|error| refused(&error))?);
        if let Start::At(offset) = start {
            match old.max(self.partial_size(path)) {
                None => return Err(io::Error::from(Errno::NOENT).into()),
                Some(length) if length < offset => return Err(beyond(offset, length)),
                Some(_) => {}
            }
        }
        Ok(Checked {
            store,
            intent,
            old,
            on_duplicate,
        })
    }

    /// Begins an upload.
    ///
    /// # Errors
    /// The upload is refused, or another connection still writes to the interrupted upload.
    pub fn begin_upload(
        &self,
        path: &VirtualPath,
        start: Start,
        checked: Checked<'_>,
    ) -> Result<Upload, BeginError> {
        let on_duplicate = checked.on_duplicate;
        let (partial, copy) = match start {
            Start::New => (checked.begin_new()?, None),
            Start::Unique => {
                let begun = checked
                    .store
                    .begin_unresumable(checked.intent, on_duplicate);
                (begun.map_err(|error| refused(&error))?, None)
            }
            Start::At(offset) => self.begin_at(path, checked, offset)?,
            Start::End => self.begin_at_end(path, checked)?,
        };
        Ok(Upload {
            partial,
            path: path.clone(),
            on_duplicate,
            copy,
        })
    }

    /// The size of the file that has the path now; `None` if there is no file.
    fn old_file(&self, path: &VirtualPath) -> Result<Option<u64>, Refused> {
        match self.symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => Err(Refused::new(550, "Is a directory.")),
            Ok(metadata) if metadata.is_file() => Ok(Some(metadata.len())),
            // An upload replaces the link itself, but APPE appends to the content of its target.
            Ok(_) => Ok(self.metadata(path).ok().map(|target| target.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What to do with an existing file. This depends on the options of the server and the rights
    /// of the user.
    fn on_duplicate(
        &self,
        path: &VirtualPath,
        start: Start,
        old: Option<u64>,
    ) -> Result<OnDuplicate, Refused> {
        // To append, a user needs the right to write. To replace a file, or a part of it, the user
        // needs the right to delete as well.
        let appends = match start {
            Start::End => old.is_some(),
            Start::At(offset) => old == Some(offset),
            Start::New | Start::Unique => false,
        };
        let is_taken = old.is_some();
        let may_replace = self.rights(path).contain(Rights::DELETE);
        match self.storage.on_duplicate {
            _ if start == Start::Unique => Ok(OnDuplicate::Error),
            _ if appends => Ok(OnDuplicate::Overwrite),
            OnDuplicate::Rename => Ok(OnDuplicate::Rename),
            OnDuplicate::Overwrite if may_replace => Ok(OnDuplicate::Overwrite),
            OnDuplicate::Error if is_taken => Err(Refused::new(553, "A file of this name exists.")),
            _ if is_taken => Err(Refused::new(
                550,
                "Permission denied: you lack the right to replace the file.",
            )),
            _ => Ok(OnDuplicate::Error),
        }
    }

    /// Begins an upload at an offset, after REST.
    fn begin_at(
        &self,
        path: &VirtualPath,
        checked: Checked<'_>,
        offset: u64,
    ) -> Result<(Partial, Option<OldPart>), BeginError> {
        let old = checked.old;
        let size = partial_size(checked.store, &checked.intent);
        // Clients learn the size of the file by SIZE. So an offset that equals this size means that
        // the client appends to the file.
        if size.is_some_and(|size| size >= offset)
            && old != Some(offset)
            && let Some(mut partial) = checked.resume()?
        {
            partial.rewind(offset).map_err(Refused::from)?;
            return Ok((partial, None));
        }
        match old {
            Some(length) if length >= offset => self.begin_copy(path, checked, offset),
            Some(length) => Err(beyond(offset, length).into()),
            None if size.is_some() => Err(beyond(offset, size.unwrap_or_default()).into()),
            None => Err(Refused::from(io::Error::from(Errno::NOENT)).into()),
        }
    }

    /// Begins an upload at the end of the file or of the interrupted upload, for APPE.
    fn begin_at_end(
        &self,
        path: &VirtualPath,
        checked: Checked<'_>,
    ) -> Result<(Partial, Option<OldPart>), BeginError> {
        if let Some(length) = checked.old {
            return self.begin_copy(path, checked, length);
        }
        match checked.resume()? {
            Some(partial) => Ok((partial, None)),
            None => Ok((checked.begin_new()?, None)),
        }
    }

    /// Begins a new upload that starts with the first `end` bytes of the old file.
    fn begin_copy(
        &self,
        path: &VirtualPath,
        checked: Checked<'_>,
        end: u64,
    ) -> Result<(Partial, Option<OldPart>), BeginError> {
        let (from, _) = self.open_file(path)?;
        let intent = Intent {
            size: None,
            digests: Default::default(),
            ..checked.intent
        };
        let partial = Checked { intent, ..checked }.begin_new()?;
        Ok((partial, (end > 0).then_some(OldPart { from, end })))
    }
}

impl Checked<'_> {
    fn begin_new(self) -> Result<Partial, Refused> {
        let begun = match self.store.begin(self.intent.clone(), self.on_duplicate) {
            // Another session uploads the same file. Both uploads continue, and the file of the
            // upload that ends last remains. The second upload cannot be resumed.
            Err(StoreError::Busy) => self.store.begin_unresumable(self.intent, self.on_duplicate),
            begun => begun,
        };
        begun.map_err(|error| refused(&error))
    }

    /// Resumes an interrupted upload; `None` if there is none.
    fn resume(&self) -> Result<Option<Partial>, BeginError> {
        let (name, user) = (&self.intent.name, self.intent.quota_user.as_deref());
        match self.store.resume_by_name(name, user, self.on_duplicate) {
            Ok(partial) => Ok(partial),
            Err(StoreError::Busy) => Err(BeginError::Busy),
            Err(error) => Err(refused(&error).into()),
        }
    }
}

/// The number of bytes of an interrupted upload to the same name by the same user. Any protocol may
/// have begun the upload.
fn partial_size(store: &Store, own: &Intent) -> Option<u64> {
    let found = store.partial_size(&own.name, own.quota_user.as_deref());
    found.ok().flatten()
}

fn beyond(offset: u64, length: u64) -> Refused {
    let text = format!("Offset {offset} is beyond the end of the file at {length}.");
    Refused::new(554, text)
}

impl Upload {
    /// The path that the user sees.
    pub fn path(&self) -> &VirtualPath {
        &self.path
    }

    /// Does a part of the work that must be done before new bytes may be received. If the new file
    /// begins with bytes of the old file, copies some of them. For a resumed upload, adds some of
    /// the bytes that were received earlier to its digest. Returns true if this work is complete.
    ///
    /// # Errors
    /// The old file cannot be read, or the store fails.
    pub fn prepare(&mut self) -> Result<bool, Refused> {
        let Some(OldPart { from, end }) = self.copy.take() else {
            return Ok(self.partial.catch_up()?);
        };
        let mut buffer = vec![0; 256 * 1024];
        let mut copied = 0;
        while copied < COPIED_PER_TURN {
            let left = end - self.partial.offset();
            if left == 0 {
                return Ok(true);
            }
            let wanted = buffer
                .len()
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            let count = from.read_at(&mut buffer[..wanted], self.partial.offset())?;
            if count == 0 {
                return Err(became_shorter());
            }
            self.write(&buffer[..count])?;
            copied += count;
        }
        self.copy = Some(OldPart { from, end });
        Ok(false)
    }

    /// Stores the bytes that `source` has now, at most `most`, as [`Partial::receive`] does.
    ///
    /// # Errors
    /// The source or the store fails.
    pub fn receive(
        &mut self,
        source: impl FnMut(&mut [u8]) -> io::Result<Option<usize>>,
        most: u64,
    ) -> Result<(), ReceiveError> {
        self.partial.receive(source, most)
    }

    /// Stores bytes at the end of the upload.
    ///
    /// # Errors
    /// The store fails.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        self.partial.write(bytes).map_err(|error| refused(&error))
    }

    /// Number of bytes that are stored so far.
    pub fn offset(&self) -> u64 {
        self.partial.offset()
    }

    /// Whether the size of the file was announced, and this number of bytes is stored.
    pub fn is_full(&self) -> bool {
        self.partial.remaining() == Some(0)
    }

    /// Removes the upload and all its bytes.
    pub fn discard(self) {
        let path = self.path;
        if let Err(error) = self.partial.discard() {
            log::warn!("{path}: the upload cannot be removed: {error}");
        }
    }

    /// Writes the file to the disk, and gives the file its name.
    ///
    /// # Errors
    /// The user no longer has the right to store the file, or the store fails.
    pub fn publish(self, view: &View) -> Result<Stored, Refused> {
        let Upload {
            partial,
            path,
            on_duplicate,
            ..
        } = self;
        // The rights may have changed since the upload began.
        let is_denied = Cell::new(false);
        let permits = |account: &Account| {
            let is_permitted = view.still_permits(account, &path, Rights::WRITE);
            is_denied.set(!is_permitted);
            is_permitted
        };
        let published = partial.publish_if(on_duplicate, &permits);
        let published = published.map_err(|error| match is_denied.get() {
            true => denied(),
            false => refused(&error),
        })?;
        let size = published.size;
        let name = published.name.split().1.as_bytes();
        let path = path.parent().child(name);
        Ok(Stored { path, size })
    }
}
