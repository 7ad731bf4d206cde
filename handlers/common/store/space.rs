//! How much may still be stored: the quotas of the folder and of who pays, and what is free on the
//! disk.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cap_std::fs::Dir;
use parking_lot::Mutex;

use super::aside::Aside;
use super::claim::{self, Claim};
use super::{Intent, Name, OnDuplicate, PARTIALS, StoreError};
use crate::common::accounts::Ledger;
use crate::common::digest::CHUNK;

/// What was counted is believed for so long, as others may write to the folder too.
const BELIEVED: Duration = Duration::from_secs(1);

const USED_UP: &str = "the quota is used up";

/// What a store's folder may hold.
#[derive(Debug)]
pub(super) struct Space {
    max_size: Option<u64>,
    quota: Option<u64>,
    /// By which the payers' quotas are judged.
    pub(super) ledger: Option<Ledger>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes in the folder but those of `active`, and when they were counted.
    counted: Option<(Instant, u64)>,
    /// The uploads that are under way, by id, with the bytes that they will have.
    active: HashMap<String, u64>,
}

impl Space {
    pub(super) fn new(max_size: Option<u64>, quota: Option<u64>, ledger: Option<Ledger>) -> Space {
        Space {
            max_size,
            quota,
            ledger,
            state: Mutex::default(),
        }
    }

    /// Sets room aside for an upload of which `there` bytes lie on the disk.
    pub(super) fn reserve(
        self: &Arc<Space>,
        root: &Dir,
        intent: &Intent,
        there: u64,
        on_duplicate: OnDuplicate,
    ) -> Result<Room, StoreError> {
        let (id, total) = (intent.id(), intent.size.unwrap_or(there));
        self.check_size(total)?;
        check_disk(root, total.saturating_sub(there))?;
        let claim = self
            .ledger
            .as_ref()
            .and_then(|ledger| Claim::of(ledger, &id, intent))
            .map(Box::new);
        let mut room = Room {
            space: Arc::clone(self),
            id,
            claim,
            replaces: on_duplicate == OnDuplicate::Overwrite,
        };
        room.hold(root, total)?;
        if let Some(claim) = &mut room.claim {
            claim.take(root, total, room.replaces)?;
        }
        Ok(room)
    }

    /// Whether so many bytes more would fit just now.
    pub(super) fn check(
        &self,
        root: &Dir,
        payer: Option<&str>,
        bytes: u64,
    ) -> Result<(), StoreError> {
        check_disk(root, bytes)?;
        if let Some((ledger, payer)) = self.ledger.as_ref().zip(payer).filter(|_| bytes > 0) {
            claim::fit(ledger, root, payer, || ledger.fits(payer, bytes, None))?;
        }
        let Some(quota) = self.quota.filter(|_| bytes > 0) else {
            return Ok(());
        };
        let state = self.state.lock();
        let active: u64 = state.active.values().sum();
        let used = count(root, &state.active)?.saturating_add(active);
        if used.saturating_add(bytes) > quota {
            Err(StoreError::NoSpace(USED_UP))
        } else {
            Ok(())
        }
    }

    fn check_size(&self, total: u64) -> Result<(), StoreError> {
        match self.max_size {
            Some(max) if total > max => Err(StoreError::TooLarge { max }),
            _ if i64::try_from(total).is_err() => Err(StoreError::TooLarge {
                max: i64::MAX as u64,
            }),
            _ => Ok(()),
        }
    }
}

/// An upload's claim to room, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Room {
    space: Arc<Space>,
    id: String,
    /// To the payer's quota, if anybody pays.
    claim: Option<Box<Claim>>,
    /// Whether the file that has the name goes, as far as that is known.
    replaces: bool,
}

impl Room {
    /// Claims room for `total` bytes in all.
    pub(super) fn grow(&mut self, root: &Dir, total: u64) -> Result<(), StoreError> {
        self.space.check_size(total)?;
        self.hold(root, total)?;
        self.claim
            .as_mut()
            .map_or(Ok(()), |claim| claim.grow(root, total, self.replaces))
    }

    /// Gives an upload of so many bytes its name by `put`, if its payer's quota lets it.
    pub(super) fn publish(
        &self,
        root: &Dir,
        bytes: u64,
        on_duplicate: OnDuplicate,
        put: impl Fn() -> Result<Name, StoreError>,
    ) -> Result<Name, StoreError> {
        match &self.claim {
            Some(claim) => claim.publish(root, bytes, on_duplicate == OnDuplicate::Overwrite, put),
            None => put(),
        }
    }

    fn hold(&self, root: &Dir, total: u64) -> Result<(), StoreError> {
        let Some(quota) = self.space.quota else {
            return Ok(());
        };
        let mut state = self.space.state.lock();
        state.active.insert(self.id.clone(), total);
        let active: u64 = state.active.values().sum();
        let fits = |counted: u64| counted.saturating_add(active) <= quota;
        let believed = state
            .counted
            .filter(|(at, bytes)| at.elapsed() < BELIEVED && fits(*bytes));
        if believed.is_none() {
            let bytes = count(root, &state.active)?;
            state.counted = Some((Instant::now(), bytes));
            if !fits(bytes) {
                return Err(StoreError::NoSpace(USED_UP));
            }
        }
        Ok(())
    }

    /// The upload can be gone on with later: its payer goes on paying.
    pub(super) fn keep(&mut self) {
        if let Some(claim) = self.claim.take() {
            claim.keep();
        }
    }

    /// The upload has become a file.
    pub(super) fn used(mut self, bytes: u64) {
        self.keep();
        let mut state = self.space.state.lock();
        state.active.remove(&self.id);
        if let Some((_, counted)) = &mut state.counted {
            *counted = counted.saturating_add(bytes);
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut state = self.space.state.lock();
        if state.active.remove(&self.id).is_some() {
            state.counted = None; // what it leaves is on the disk
        }
    }
}

fn check_disk(root: &Dir, bytes: u64) -> Result<(), StoreError> {
    // A single write tells as soon as the look would.
    if bytes <= CHUNK as u64 {
        return Ok(());
    }
    let disk = rustix::fs::fstatvfs(root)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if bytes > free {
        Err(StoreError::NoSpace("the disk has too little room for it"))
    } else {
        Ok(())
    }
}

/// The bytes of all files in the folder, and of those partial uploads that aren't active. What
/// vanishes meanwhile doesn't count.
fn count(root: &Dir, active: &HashMap<String, u64>) -> io::Result<u64> {
    let parts = Aside::existing(root)?.map_or_else(|| Ok(Vec::new()), |aside| aside.parts())?;
    let idle = parts.into_iter().filter(|(id, _)| !active.contains_key(id));
    let mut bytes: u64 = idle.map(|(_, metadata)| metadata.len()).sum();
    let mut folders = vec![root.try_clone()?];
    while let Some(folder) = folders.pop() {
        for entry in folder.entries()?.flatten() {
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if !metadata.is_dir() {
                bytes = bytes.saturating_add(metadata.len());
            } else if entry.file_name() != PARTIALS {
                folders.extend(entry.open_dir());
            }
        }
    }
    Ok(bytes)
}
