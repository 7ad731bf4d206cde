//! What an upload takes of its payer's quota: entered in the ledger while it is under way, so that
//! all processes see it.

use std::io;
use std::path::Path;

use cap_std::fs::Dir;

use super::aside::{Aside, part};
use super::{Intent, Name, PARTIALS, StoreError};
use crate::common::accounts::{AccountsError, Ledger, Result};

const USED_UP: &str = "the user's quota is used up";

/// Uploads of unknown size claim ahead of what has come, but at most so far.
const MOST_AHEAD: u64 = 1024 * 1024;

/// An upload's claim to its payer's quota, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    ledger: Ledger,
    payer: String,
    /// Where its bytes lie, below the root.
    path: String,
    target: Name,
    /// What is entered; at 0 there is no entry.
    bytes: u64,
}

impl Claim {
    /// The claim of an upload that somebody pays for. It takes nothing yet.
    pub(super) fn of(ledger: &Ledger, id: &str, intent: &Intent) -> Option<Claim> {
        let payer = intent.payer.clone()?;
        Some(Claim {
            ledger: ledger.clone(),
            payer,
            path: path_of(id),
            target: intent.name.clone(),
            bytes: 0,
        })
    }

    /// Claims so many bytes in all. If the upload is to replace a file of the same payer, only the
    /// difference counts.
    pub(super) fn take(
        &mut self,
        root: &Dir,
        bytes: u64,
        replaces: bool,
    ) -> Result<(), StoreError> {
        if bytes > self.bytes {
            let (ledger, payer, path) = (&self.ledger, &*self.payer, &*self.path);
            let replaced = replaces.then(|| self.target.as_str());
            fit(ledger, root, payer, || {
                ledger.enter(payer, path, bytes, replaced)
            })?;
            self.bytes = bytes;
        }
        Ok(())
    }

    /// As [`take`](Claim::take), for an upload that grows: mostly, the next bytes are claimed along
    /// with these.
    pub(super) fn grow(
        &mut self,
        root: &Dir,
        bytes: u64,
        replaces: bool,
    ) -> Result<(), StoreError> {
        if bytes <= self.bytes {
            return Ok(());
        }
        let ahead = bytes.saturating_add(bytes.min(MOST_AHEAD));
        let replaced = replaces.then(|| self.target.as_str());
        if self
            .ledger
            .enter(&self.payer, &self.path, ahead, replaced)
            .map_err(failed)?
        {
            self.bytes = ahead;
            return Ok(());
        }
        self.take(root, bytes, replaces)
    }

    /// Gives the upload its name by `put`, if what is claimed still fits: the file that was to be
    /// replaced may have another name by now.
    pub(super) fn publish(
        &self,
        root: &Dir,
        bytes: u64,
        replaces: bool,
        put: impl Fn() -> Result<Name, StoreError>,
    ) -> Result<Name, StoreError> {
        let mut outcome = None;
        let replaced = replaces.then(|| self.target.as_str());
        let settle = || {
            self.ledger
                .settle(&self.payer, &self.path, bytes, replaced, || {
                    let published = outcome.insert(put());
                    published.as_ref().ok().map(|name| name.as_str().to_owned())
                })
        };
        let settled = fit(&self.ledger, root, &self.payer, settle);
        let Some(published) = outcome else {
            return Err(settled.err().unwrap_or(StoreError::NoSpace(USED_UP)));
        };
        if let Err(error) = settled {
            log::error!("the ledger of quotas isn't right: {error}");
        }
        published
    }

    /// Nothing is to be given back: the upload has become a file, or can be gone on with.
    pub(super) fn keep(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.bytes > 0 {
            noted(self.ledger.strike(&self.path));
        }
    }
}

/// Where an upload's bytes lie, below the root.
pub(super) fn path_of(id: &str) -> String {
    format!("{PARTIALS}/{}", part(id))
}

/// What can't be noted any more is found out when the quota seems to be used up.
pub(super) fn noted(result: Result<()>) {
    if let Err(error) = result {
        log::error!("the ledger of quotas isn't right: {error}");
    }
}

/// Judges once more when the ledger was corrected: files may have been removed by others.
pub(super) fn fit(
    ledger: &Ledger,
    root: &Dir,
    payer: &str,
    mut fits: impl FnMut() -> Result<bool>,
) -> Result<(), StoreError> {
    let corrected = || {
        let aside = Aside::existing(root).ok().flatten();
        ledger
            .correct(payer, |path, bytes| {
                actual(ledger, aside.as_ref(), path, bytes)
            })
            .map_err(failed)
    };
    if fits().map_err(failed)? || (corrected()? && fits().map_err(failed)?) {
        Ok(())
    } else {
        Err(StoreError::NoSpace(USED_UP))
    }
}

fn failed(error: AccountsError) -> StoreError {
    StoreError::Io(io::Error::other(error))
}

/// How many bytes an entry stands for; `None` if nothing is there.
fn actual(ledger: &Ledger, aside: Option<&Aside>, path: &Path, noted: u64) -> Option<u64> {
    let length = match path.symlink_metadata() {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        Err(error)
            if !matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Some(noted);
        }
        _ => return None,
    };
    if !path
        .parent()
        .is_some_and(|folder| folder.ends_with(PARTIALS))
    {
        return Some(length);
    }
    let id = path
        .strip_prefix(ledger.folder().join(PARTIALS))
        .ok()
        .and_then(|file| file.to_str()?.strip_suffix(".part"));
    match aside.zip(id) {
        // What no record tells of and nobody writes is left over from a killed server.
        Some((aside, id)) if aside.read_record(id).is_none() && aside.lock_existing(id).is_ok() => {
            Some(length)
        }
        _ => Some(noted),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use cap_std::ambient_authority;

    use super::*;
    use crate::common::accounts::testing::{TestFile, add};
    use crate::common::accounts::{Accounts, Cost, Store as Users};
    use crate::common::store::tests::{Folder, code, intent};
    use crate::common::store::{OnDuplicate, Store, StoreOptions};

    /// A store whose uploads ada pays for, out of 100 bytes.
    fn store(test: &str, folder: &Folder, partial_expiry: Duration) -> (TestFile, Users, Store) {
        let (file, users) = TestFile::new(test);
        add(&users, "ada", "x", "lrwd");
        users.set_quota("ada", Some(100)).unwrap();
        let ledger = Ledger::new(
            Arc::new(Accounts::open(&file.path(), Cost::CHEAP).unwrap()),
            folder.path(),
        )
        .unwrap();
        let root = Dir::open_ambient_dir(folder.path(), ambient_authority()).unwrap();
        let options = StoreOptions {
            partial_expiry,
            ..StoreOptions::default()
        };
        (file, users, Store::with_ledger(root, options, Some(ledger)))
    }

    fn of_ada(name: &str, size: Option<u64>) -> Intent {
        Intent {
            size,
            payer: Some("ada".into()),
            ..intent(name, 0)
        }
    }

    fn used(users: &Users) -> u64 {
        users.account("ada").unwrap().unwrap().used
    }

    #[test]
    fn a_registered_upload_counts_until_it_has_expired() {
        let folder = Folder::new();
        let (_file, users, store) = store("claim-expiry", &folder, Duration::ZERO);
        let partial = store
            .register(of_ada("a", Some(60)), OnDuplicate::Error)
            .unwrap();
        store.sweep().unwrap();
        assert_eq!(used(&users), 60, "somebody writes it");
        drop(partial);
        assert_eq!(used(&users), 60);
        store.sweep().unwrap();
        assert_eq!(used(&users), 0);
    }

    #[test]
    fn an_upload_that_is_given_up_or_dropped_counts_no_more() {
        let folder = Folder::new();
        let (_file, users, store) = store("claim-dropped", &folder, Duration::from_secs(60));
        let partial = store
            .register(of_ada("a", Some(60)), OnDuplicate::Error)
            .unwrap();
        let id = partial.id().to_owned();
        drop(partial);
        store.give_up(&id).unwrap();
        assert_eq!(used(&users), 0);
        let mut partial = store
            .begin_unresumable(of_ada("a", None), OnDuplicate::Error)
            .unwrap();
        partial.write(&[0; 60]).unwrap();
        assert!(
            (60..=100).contains(&used(&users)),
            "what may come next is claimed as well"
        );
        assert_eq!(code(partial.write(&[0; 41])), "no_space");
        partial.write(&[0; 40]).unwrap();
        drop(partial);
        assert_eq!((used(&users), folder.names().len()), (0, 0));
    }

    #[test]
    fn an_upload_is_not_published_in_place_of_a_file_that_is_gone() {
        let folder = Folder::new();
        let (_file, users, store) = store("claim-replaced", &folder, Duration::from_secs(60));
        let put = |name: &str| {
            let mut partial =
                store.begin_unresumable(of_ada(name, Some(60)), OnDuplicate::Overwrite)?;
            partial.write(&[0; 60])?;
            Ok(partial)
        };
        put("a").unwrap().publish(OnDuplicate::Overwrite).unwrap();
        let second = put("a").unwrap();
        assert_eq!((code(put("b")), used(&users)), ("no_space", 120));
        std::fs::rename(folder.path().join("a"), folder.path().join("c")).unwrap();
        store.moved(b"a", b"c");
        assert_eq!(code(second.publish(OnDuplicate::Overwrite)), "no_space");
        assert_eq!((used(&users), folder.names()), (60, vec!["c".to_owned()]));
    }
}
