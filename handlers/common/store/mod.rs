//! The store: all services write files through it. The bytes of an upload go to a hidden folder
//! first. They are checked and synced, and only then does the file get its name.
//!
//! The hidden folder [`PARTIALS`] in the store's folder contains the bytes of each unfinished
//! upload, and a small record beside them. Any protocol can resume an upload, whichever protocol
//! began it, even after the connection or the server has ended. An existing file of the same name
//! stays until the new file is complete and on the disk.
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

mod adopt;
mod background;
mod change;
mod check;
mod count;
mod descriptors;
mod error;
mod mode;
mod name;
mod note;
mod partial;
mod piece;
mod publish;
mod record;
mod recovery;
mod registered;
mod reservation;
pub(crate) mod resolve;
mod space;
mod staging;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use parking_lot::Mutex;

use crate::accounts::{Accounts, Ledger, Quotas};
use crate::common::digest::{DigestQueue, to_hex};
use background::{Background, is_past};
pub use check::{Check, Resumed};
pub use error::StoreError;
pub use name::{Name, is_reserved};
use partial::Begin;
pub use partial::{Partial, ReceiveError};
pub use publish::Published;
pub use record::Intent;
pub use registered::{Progress, Registered};
use space::Space;
use staging::Staging;

/// The name of the hidden folder for unfinished uploads, in the store's own folder.
pub const PARTIALS: &str = ".socketserver-partial";

/// Minimum time between two searches for expired partial uploads in a store without a background
/// thread. Such a search is made when an upload begins.
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

/// Default of [`StoreOptions::max_partials`].
pub const MAX_PARTIALS: usize = 1000;
/// A user may have 1/`USERS_SHARE` of [`StoreOptions::max_partials`], which is a tenth.
const USERS_SHARE: usize = 10;
/// Maximum number of records of registered uploads that have become files.
const MAX_STORED_RECORDS: usize = 1000;
/// Number of new records of stored uploads after which the records are counted and trimmed again.
const TRIM_INTERVAL: u32 = 100;
/// Maximum time of the count of the files when the server starts. The count of a larger folder
/// continues in the background.
const COUNT_TIME_AT_START: Duration = Duration::from_millis(500);

/// The limits of a store.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Maximum size of one file in bytes. Defaults to no limit.
    pub max_size: Option<u64>,
    /// Maximum size of all files below the folder in bytes, including partial uploads. Defaults to
    /// no limit.
    pub quota: Option<u64>,
    /// Time after the last received byte after which a partial upload is removed. Defaults to a
    /// day.
    pub partial_expiry: Duration,
    /// Whether a file must be synced to the disk before it gets its name. Defaults to true.
    pub sync: bool,
    /// Maximum number of interrupted uploads that are kept so that they can be resumed. A user may
    /// have a tenth of them. Defaults to [`MAX_PARTIALS`].
    pub max_partials: usize,
    /// The permission bits that are removed from the mode of new files (0666) and folders (0777).
    /// Defaults to the umask of the process. A file that replaces another one gets the mode of the
    /// old one.
    pub umask: Option<u32>,
}

impl Default for StoreOptions {
    fn default() -> StoreOptions {
        StoreOptions {
            max_size: None,
            quota: None,
            partial_expiry: Duration::from_secs(24 * 3600),
            sync: true,
            max_partials: MAX_PARTIALS,
            umask: None,
        }
    }
}

/// A folder into which files are stored.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: Dir,
    /// The open hidden folder, shared by all uploads; `None` before the first one.
    staging: Mutex<Option<Arc<Staging>>>,
    space: Arc<Space>,
    /// Computes the digests of stored files on request.
    digests: DigestQueue,
    partial_expiry: Duration,
    sync: bool,
    max_partials: usize,
    umask: Option<u32>,
    /// When expired partial uploads were last searched; `None` before the first search.
    swept: Mutex<Option<Instant>>,
    /// Number of uploads that have become files since the records were last trimmed.
    remembered: AtomicU32,
    background: Background,
}

impl Store {
    /// Opens a store for an existing folder, without accounts.
    ///
    /// # Errors
    /// Those of the system.
    pub fn open(folder: &Path, options: StoreOptions) -> io::Result<Store> {
        Store::with_accounts(folder, options, None)
    }

    /// Opens a store with accounts: an upload is also limited by the quota of its user
    /// ([`Intent::quota_user`]).
    ///
    /// If there is a quota, this call counts the files for half a second at most. If the count is
    /// not complete then, uploads are refused until it is. The call also corrects the ledger after
    /// a server was killed.
    ///
    /// # Errors
    /// Those of the system.
    pub fn with_accounts(
        folder: &Path,
        options: StoreOptions,
        accounts: Option<Arc<Accounts>>,
    ) -> io::Result<Store> {
        // cap-std may open a `Dir` with `O_PATH`, so that it cannot be synced.
        let root = Dir::open_ambient_dir(folder, ambient_authority())?;
        let root = resolve::open_child(&root, OsStr::new("."))?;
        let ledger = match accounts {
            Some(accounts) => Some(Ledger::new(accounts, folder)?),
            None if options.quota.is_some() => {
                Staging::open(&root)?;
                let folder = folder.canonicalize()?;
                let file = folder.join(PARTIALS).join("ledger.db");
                Some(Ledger::without_accounts(&file, &folder)?)
            }
            None => None,
        };
        let quotas = Quotas {
            folder: options.quota,
            max_kept: (options.max_partials / USERS_SHARE).max(1) as u64,
        };
        let store = Store(Arc::new(Inner {
            root,
            staging: Mutex::default(),
            space: Arc::new(Space::new(options.max_size, quotas, ledger)),
            digests: DigestQueue::default(),
            partial_expiry: options.partial_expiry,
            sync: options.sync,
            max_partials: options.max_partials,
            umask: options.umask,
            swept: Mutex::new(None),
            remembered: AtomicU32::new(0),
            background: Background::default(),
        }));
        store.sweep_now_and_then();
        let until = Instant::now() + COUNT_TIME_AT_START;
        while store.is_counting() && Instant::now() < until {
            store.count_for_a_turn();
        }
        store.count_again_at_first_upload();
        if let Some(ledger) = &store.space().ledger {
            ledger.disconnect();
        }
        Ok(store)
    }

    /// Begins a new upload at its first byte.
    ///
    /// # Errors
    /// The errors that are known before a byte is received: [`StoreError::Exists`], `TooLarge`,
    /// `NoSpace`, `Busy`.
    pub fn begin(&self, intent: Intent, on_duplicate: OnDuplicate) -> Result<Partial, StoreError> {
        self.start(intent, on_duplicate, Begin::Resumable)
    }

    /// Begins an upload that cannot be resumed, for a protocol that always sends whole files. If it
    /// is dropped, nothing of it is left. Two such uploads to one name can run at the same time.
    ///
    /// # Errors
    /// As for [`begin`](Store::begin).
    pub fn begin_unresumable(
        &self,
        intent: Intent,
        on_duplicate: OnDuplicate,
    ) -> Result<Partial, StoreError> {
        self.start(unshared(intent)?, on_duplicate, Begin::Whole)
    }

    /// Lists the resumable uploads of all owners, each with its number of bytes.
    ///
    /// # Errors
    /// Those of the system.
    pub fn partials(&self) -> io::Result<Vec<(Intent, u64)>> {
        let Some(staging) = self.existing_staging()? else {
            return Ok(Vec::new());
        };
        staging.list(|last| is_past(self.expiry(last)))
    }

    /// Removes the partial uploads that have expired, and the files and entries that killed servers
    /// left.
    ///
    /// # Errors
    /// Those of the system.
    pub fn sweep(&self) -> io::Result<()> {
        self.recover_ledger();
        self.existing_staging()?.map_or(Ok(()), |staging| {
            staging.sweep(self.0.partial_expiry, |id| self.release(id))
        })
    }

    /// Removes the upload with this id from the ledger, so that it does not count for a quota.
    fn release(&self, id: &str) {
        if let Some(ledger) = &self.space().ledger {
            reservation::log_failure(ledger.release(id).map_err(reservation::failed));
        }
    }

    fn start(
        &self,
        intent: Intent,
        on_duplicate: OnDuplicate,
        begin: Begin,
    ) -> Result<Partial, StoreError> {
        self.sweep_now_and_then();
        let intent = self.resolved(intent)?;
        if on_duplicate == OnDuplicate::Error && self.is_taken(&intent.name) {
            return Err(StoreError::Exists);
        }
        Partial::open(self.clone(), intent, on_duplicate, begin)
    }

    /// The intent with a name that contains no link.
    fn resolved(&self, intent: Intent) -> Result<Intent, StoreError> {
        let name = Name::of_bytes(&self.resolve_parent(intent.name.as_bytes())?)?;
        Ok(Intent { name, ..intent })
    }

    fn is_taken(&self, name: &Name) -> bool {
        self.0.root.symlink_metadata(name.as_path()).is_ok()
    }

    /// Whether there are at least this many uploads that can be resumed.
    fn has_partials(&self, least: usize) -> bool {
        let count = |staging: Arc<Staging>| staging.count_parts(least).ok();
        let staging = self.existing_staging().ok().flatten();
        staging.and_then(count).is_some_and(|count| count >= least)
    }

    fn trim_records_now_and_then(&self, staging: &Staging) {
        if self.0.remembered.fetch_add(1, Ordering::Relaxed) % TRIM_INTERVAL == TRIM_INTERVAL - 1
            && let Err(error) = staging.trim_records(MAX_STORED_RECORDS)
        {
            log::debug!("cannot remove old records of uploads: {error}");
        }
    }

    /// The hidden folder; `None` if there is none.
    fn existing_staging(&self) -> io::Result<Option<Arc<Staging>>> {
        let mut held = self.0.staging.lock();
        // The folder may have been removed or replaced since it was opened.
        if held
            .as_ref()
            .is_none_or(|staging| !staging.is_in(&self.0.root))
        {
            *held = Staging::existing(&self.0.root)?.map(Arc::new);
        }
        Ok(held.clone())
    }

    /// Locks a file in the hidden folder. Creates the file and the folder if they are missing.
    fn create_staged(&self, name: &str) -> Result<(Arc<Staging>, File, fs::Metadata), StoreError> {
        descriptors::check_reserve(&self.0.root)?;
        let staging = match self.existing_staging()? {
            Some(staging) => staging,
            None => {
                Staging::open(&self.0.root)?;
                let missing = || io::Error::from(io::ErrorKind::NotFound);
                self.existing_staging()?.ok_or_else(missing)?
            }
        };
        let (file, metadata) = staging.lock(name)?;
        Ok((staging, file, metadata))
    }

    fn sweep_now_and_then(&self) {
        let mut swept = self.0.swept.lock();
        if swept.is_none_or(|at| at.elapsed() >= SWEEP_INTERVAL.min(self.0.partial_expiry)) {
            *swept = Some(Instant::now());
            drop(swept);
            if let Err(error) = self.sweep() {
                log::warn!("old partial uploads can't be removed: {error}");
            }
            self.begin_count(0);
        }
    }

    fn sync(&self) -> bool {
        self.0.sync
    }

    fn root(&self) -> &Dir {
        &self.0.root
    }
}

/// Replaces the owner by a random one, so that no other upload has the same id.
fn unshared(intent: Intent) -> io::Result<Intent> {
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce)?;
    Ok(Intent {
        owner: Some(to_hex(&nonce)),
        ..intent
    })
}
