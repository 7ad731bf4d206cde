//! Hot files, found by the very bytes of the request's path: no decoding, no system call.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::site::Entry;

/// An entry is looked at again after so many milliseconds, so that a changed file is noticed within a second.
const FRESH_MS: u64 = 500;
/// Bytes kept, all entries together.
const CAPACITY: usize = 16 << 20;
/// Entries kept: those of large files hold a descriptor each.
const ENTRIES: usize = 512;

/// The bounded cache of a site's files.
#[derive(Debug, Default)]
pub(crate) struct Cache(RwLock<Shelf>);

#[derive(Debug, Default)]
struct Shelf {
    entries: HashMap<Box<[u8]>, Kept>,
    cost: usize,
}

#[derive(Debug)]
struct Kept {
    entry: Arc<Entry>,
    /// The path below the root that the entry was found at.
    path: Box<[u8]>,
    checked_ms: AtomicU64,
}

impl Cache {
    /// The entry for a request path. `is_current` is asked, at most every half second, whether it is still what the path leads to.
    pub(crate) fn get(
        &self,
        request_path: &[u8],
        now_ms: u64,
        is_current: impl FnOnce(&[u8], &Entry) -> bool,
    ) -> Option<Arc<Entry>> {
        let shelf = self.0.read();
        let kept = shelf.entries.get(request_path)?;
        let checked = kept.checked_ms.load(Ordering::Relaxed);
        let fresh = now_ms.wrapping_sub(checked) < FRESH_MS;
        // One thread looks; the others go on with what was true half a second ago.
        let mine =
            !fresh && kept.checked_ms.compare_exchange(checked, now_ms, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if !mine || is_current(&kept.path, &kept.entry) {
            return Some(Arc::clone(&kept.entry));
        }
        drop(shelf);
        self.remove(request_path);
        None
    }

    pub(crate) fn insert(&self, request_path: &[u8], path: &[u8], entry: &Arc<Entry>, now_ms: u64) {
        let mut shelf = self.0.write();
        // Whichever comes first makes room: what is hot comes back at once.
        while shelf.cost + entry.cost() > CAPACITY || shelf.entries.len() >= ENTRIES {
            let Some(victim) = shelf.entries.keys().next().cloned() else { return };
            shelf.remove(&victim);
        }
        shelf.remove(request_path);
        shelf.cost += entry.cost();
        let kept = Kept { entry: Arc::clone(entry), path: path.into(), checked_ms: AtomicU64::new(now_ms) };
        shelf.entries.insert(request_path.into(), kept);
    }

    fn remove(&self, request_path: &[u8]) {
        self.0.write().remove(request_path);
    }
}

impl Shelf {
    fn remove(&mut self, request_path: &[u8]) {
        if let Some(kept) = self.entries.remove(request_path) {
            self.cost -= kept.entry.cost();
        }
    }
}
