//! The one way in which a service writes a file: aside, checked, synced, and only then under its
//! name.
//!
//! The bytes of an upload that is under way lie in the hidden folder [`PARTIALS`] of the store's
//! own folder, with a small record beside them. Whichever protocol began an upload, any other can
//! go on with it, after the end of the connection or of the server as well. What stood under the
//! name before stays until the new file is whole and on the disk.
//!
//! ```no_run
//! # use std::path::Path;
//! # use socketserver_handlers::common::store::*;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Store::open(Path::new("uploads"), StoreOptions::default())?;
//! let intent = Intent { size: Some(5), ..Intent::new(Name::last_component("hello.txt")?) };
//! let mut partial = store.begin(intent, OnDuplicate::Rename)?;
//! partial.write(b"hello")?;
//! let published = partial.publish(OnDuplicate::Rename)?; // `hello.txt`, or `hello (1).txt`
//! # Ok(()) }
//! ```

mod aside;
mod claim;
mod error;
mod expiry;
mod name;
mod partial;
mod piece;
mod publish;
mod record;
mod registered;
mod space;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use parking_lot::Mutex;

use crate::common::accounts::Ledger;
use crate::common::digest::{Digests, Hasher, to_hex};
use aside::Aside;
pub use error::StoreError;
use expiry::{Expiry, is_past};
pub use name::{Name, is_reserved};
pub use partial::{Partial, ReceiveError};
pub use publish::Published;
pub use record::Intent;
pub use registered::{Progress, Registered};
use space::Space;

/// The folder of the uploads that aren't whole, below the store's own.
pub const PARTIALS: &str = ".socketserver-partial";

/// A store without a thread looks for expired partial uploads when an upload begins, at most once
/// in this time.
const SWEEP_INTERVAL: Duration = Duration::from_secs(600);

/// What happens when the name is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OnDuplicate {
    /// The new file is refused.
    #[default]
    Error,
    /// The new file takes the old one's place.
    Overwrite,
    /// The new file gets a number: `name (1).txt`.
    Rename,
}

/// The limits of a store.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Bytes of one file. Defaults to no limit.
    pub max_size: Option<u64>,
    /// Bytes of all files below the folder, partial ones included. Defaults to no limit.
    pub quota: Option<u64>,
    /// A partial upload to which nothing came for so long is removed. Defaults to a day.
    pub partial_expiry: Duration,
    /// Whether a file is on the disk, not only in the system's memory, before it gets its name.
    /// Defaults to true.
    pub sync: bool,
}

impl Default for StoreOptions {
    fn default() -> StoreOptions {
        StoreOptions {
            max_size: None,
            quota: None,
            partial_expiry: Duration::from_secs(24 * 3600),
            sync: true,
        }
    }
}

/// A folder into which files are stored.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: Dir,
    space: Arc<Space>,
    partial_expiry: Duration,
    sync: bool,
    swept: Mutex<Option<Instant>>,
    expiry: Expiry,
}

/// What [`Store::resume`] found.
#[derive(Debug)]
pub enum Resumed {
    /// The upload goes on, at [`Partial::offset`].
    Partial(Box<Partial>),
    /// The very file is there already.
    Complete(Published),
}

impl Store {
    /// Stores into an existing folder.
    ///
    /// # Errors
    /// Those of the system.
    pub fn open(folder: &Path, options: StoreOptions) -> io::Result<Store> {
        Ok(Store::new(
            Dir::open_ambient_dir(folder, ambient_authority())?,
            options,
        ))
    }

    /// Stores into a folder that is open already.
    pub fn new(root: Dir, options: StoreOptions) -> Store {
        Store::with_ledger(root, options, None)
    }

    /// The same with a ledger, which holds the payers of uploads ([`Intent::payer`]) to their
    /// quotas.
    pub fn with_ledger(root: Dir, options: StoreOptions, ledger: Option<Ledger>) -> Store {
        let StoreOptions {
            max_size,
            quota,
            partial_expiry,
            sync,
        } = options;
        let space = Arc::new(Space::new(max_size, quota, ledger));
        let store = Store(Arc::new(Inner {
            root,
            space,
            partial_expiry,
            sync,
            swept: Mutex::new(None),
            expiry: Expiry::default(),
        }));
        store.sweep_now_and_then();
        store
    }

    /// Begins an upload, from its first byte.
    ///
    /// # Errors
    /// Whatever can be known before a byte has come: [`StoreError::Exists`], `TooLarge`, `NoSpace`,
    /// `Busy`.
    pub fn begin(&self, intent: Intent, on_duplicate: OnDuplicate) -> Result<Partial, StoreError> {
        self.start(intent, on_duplicate, false)
    }

    /// Begins an upload that nobody can go on with, for a protocol that sends files only as a
    /// whole. It leaves nothing if it is dropped, and two at once to the same name don't hinder
    /// each other.
    ///
    /// # Errors
    /// As for [`begin`](Store::begin).
    pub fn begin_unresumable(
        &self,
        intent: Intent,
        on_duplicate: OnDuplicate,
    ) -> Result<Partial, StoreError> {
        let mut partial = self.start(unshared(intent)?, on_duplicate, false)?;
        partial.resumable = false;
        Ok(partial)
    }

    /// Whether there is room for so many bytes more, in files of any number; for uploads that tell
    /// no more than their sum. It sets nothing aside. Without a payer, nobody's quota is looked at.
    ///
    /// # Errors
    /// [`StoreError::NoSpace`], or those of the system.
    pub fn check_room(&self, payer: Option<&str>, bytes: u64) -> Result<(), StoreError> {
        self.0.space.check(self.root(), payer, bytes)
    }

    /// A file below the folder was removed: it counts for nobody's quota any more.
    pub fn removed(&self, path: &[u8]) {
        if let Some(ledger) = &self.0.space.ledger {
            claim::noted(ledger.removed(path));
        }
    }

    /// A file or folder was given another path: it counts for the same users as before; what stood
    /// there doesn't.
    pub fn moved(&self, from: &[u8], to: &[u8]) {
        if let Some(ledger) = &self.0.space.ledger {
            claim::noted(ledger.moved(from, to));
        }
    }

    /// Goes on with the upload that is known by the same name, size, digests and owner, or begins
    /// it.
    ///
    /// # Errors
    /// As for [`begin`](Store::begin).
    pub fn resume(&self, intent: Intent, on_duplicate: OnDuplicate) -> Result<Resumed, StoreError> {
        match self.completed(&intent)? {
            Some(published) => Ok(Resumed::Complete(published)),
            None => self
                .start(intent, on_duplicate, true)
                .map(Box::new)
                .map(Resumed::Partial),
        }
    }

    /// The uploads that can be resumed, each with the number of its bytes, those of other owners
    /// included.
    ///
    /// # Errors
    /// Those of the system.
    pub fn partials(&self) -> io::Result<Vec<(Intent, u64)>> {
        let Some(aside) = Aside::existing(&self.0.root)? else {
            return Ok(Vec::new());
        };
        aside.list(|last| is_past(self.expiry(last)))
    }

    /// Removes the partial uploads to which nothing came for too long.
    ///
    /// # Errors
    /// Those of the system.
    pub fn sweep(&self) -> io::Result<()> {
        Aside::existing(&self.0.root)?.map_or(Ok(()), |aside| {
            aside.sweep(self.0.partial_expiry, |id| self.strike(id))
        })
    }

    /// The upload with this id is no more: it counts for nobody's quota.
    fn strike(&self, id: &str) {
        if let Some(ledger) = &self.0.space.ledger {
            claim::noted(ledger.strike(&claim::path_of(id)));
        }
    }

    fn start(
        &self,
        intent: Intent,
        on_duplicate: OnDuplicate,
        resume: bool,
    ) -> Result<Partial, StoreError> {
        self.sweep_now_and_then();
        if on_duplicate == OnDuplicate::Error && self.is_taken(&intent.name) {
            return Err(StoreError::Exists);
        }
        Partial::open(self.clone(), intent, on_duplicate, resume)
    }

    fn is_taken(&self, name: &Name) -> bool {
        self.0.root.symlink_metadata(name.as_str()).is_ok()
    }

    /// The file under the name, if it is the one that was announced, as far as can be told.
    fn completed(&self, intent: &Intent) -> Result<Option<Published>, StoreError> {
        let Some(size) = intent.size else {
            return Ok(None);
        };
        let name = intent.name.as_str();
        match self.0.root.symlink_metadata(name) {
            Ok(metadata) if metadata.is_file() && metadata.len() == size => {
                // Without a digest, only its time tells a file from a changed one of the same size.
                let stored = metadata
                    .modified()
                    .map(cap_std::time::SystemTime::into_std)
                    .ok();
                if intent.digests == Digests::default() && !is_same_time(intent.modified, stored) {
                    return Ok(None);
                }
            }
            _ => return Ok(None),
        }
        let Ok(file) = self.0.root.open(name) else {
            return Ok(None);
        };
        let mut hasher = Hasher::of(&intent.digests);
        if hasher.update_from(&file.into_std(), 0)? != size {
            return Ok(None);
        }
        let digests = hasher.finish();
        if intent.digests.difference(&digests).is_some() {
            return Ok(None);
        }
        Ok(Some(Published {
            name: intent.name.clone(),
            size,
            digests,
        }))
    }

    fn sweep_now_and_then(&self) {
        let mut swept = self.0.swept.lock();
        if swept.is_none_or(|at| at.elapsed() >= SWEEP_INTERVAL.min(self.0.partial_expiry)) {
            *swept = Some(Instant::now());
            drop(swept);
            if let Err(error) = self.sweep() {
                log::warn!("old partial uploads can't be removed: {error}");
            }
        }
    }

    fn sync(&self) -> bool {
        self.0.sync
    }

    fn root(&self) -> &Dir {
        &self.0.root
    }
}

/// Whether a file has the time that its sender announced, as exactly as file systems and JSON keep
/// it; one that wasn't announced is any.
fn is_same_time(announced: Option<SystemTime>, stored: Option<SystemTime>) -> bool {
    const EXACTNESS: Duration = Duration::from_millis(1);
    let (Some(announced), Some(stored)) = (announced, stored) else {
        return true;
    };
    let apart = stored
        .duration_since(announced)
        .unwrap_or_else(|error| error.duration());
    apart < EXACTNESS
}

/// The intent with an owner whom nobody else can be.
fn unshared(intent: Intent) -> io::Result<Intent> {
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce)?;
    Ok(Intent {
        owner: Some(to_hex(&nonce)),
        ..intent
    })
}
