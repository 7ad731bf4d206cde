//! Hot files, found by the very bytes of the request's path: no decoding, no system call.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;
use parking_lot::RwLock;

use crate::files::site::entry::Entry;

/// Milliseconds after which an entry is checked again, so that a changed file is noticed within a
/// second.
const FRESH_MS: u64 = 500;
/// Maximum size of all entries together, in bytes.
const MAX_BYTES: usize = 16 << 20;
/// Maximum number of entries. An entry of a large file holds a descriptor.
const MAX_ENTRIES: usize = 512;

/// The bounded cache of a site's files.
#[derive(Debug, Default)]
pub(crate) struct Cache(RwLock<CacheEntries>);

#[derive(Debug, Default)]
struct CacheEntries {
    /// With a hash that is quick for the short keys that paths are. Its seed is random, and there
    /// are at most [`MAX_ENTRIES`], so paths that are chosen to collide slow little down.
    entries: HashMap<Box<[u8]>, CachedFile, RandomState>,
    cost: usize,
}

#[derive(Debug)]
struct CachedFile {
    entry: Arc<Entry>,
    /// Bytes, with those of its coded forms.
    cost: usize,
    /// The path below the root that was asked for, and whether a slash stood at its end.
    asked: (Box<[u8]>, bool),
    checked_ms: AtomicU64,
}

impl Cache {
    /// The entry for a request path. `is_current` is asked, at most every half second, whether it
    /// is still what the path leads to.
    pub(crate) fn get(
        &self,
        request_path: &[u8],
        now_ms: u64,
        is_current: impl FnOnce(&[u8], bool, &Entry) -> bool,
    ) -> Option<Arc<Entry>> {
        let cache = self.0.read();
        let cached = cache.entries.get(request_path)?;
        let checked = cached.checked_ms.load(Ordering::Relaxed);
        let fresh = now_ms.wrapping_sub(checked) < FRESH_MS;
        // One thread looks; the others go on with what was true half a second ago.
        let mine = !fresh
            && cached
                .checked_ms
                .compare_exchange(checked, now_ms, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        let entry = Arc::clone(&cached.entry);
        if !mine {
            return Some(entry);
        }
        let (path, trailing_slash) = cached.asked.clone();
        drop(cache); // the check reads from the disk, so no other thread must wait for it
        if is_current(&path, trailing_slash, &entry) {
            return Some(entry);
        }
        self.remove(request_path, &entry);
        None
    }

    /// Keeps the entry that a path below the root, asked for in this way, leads to.
    pub(crate) fn insert(
        &self,
        request_path: &[u8],
        asked: (&[u8], bool),
        entry: &Arc<Entry>,
        now_ms: u64,
    ) {
        let mut cache = self.0.write();
        let cost = entry.cost();
        cache.remove(request_path);
        if !cache.make_room(cost, None) {
            return;
        }
        cache.cost += cost;
        let asked = (asked.0.into(), asked.1);
        let cached = CachedFile {
            entry: Arc::clone(entry),
            cost,
            asked,
            checked_ms: AtomicU64::new(now_ms),
        };
        cache.entries.insert(request_path.into(), cached);
    }

    /// Notes that an entry has grown by `bytes`, if it is cached.
    pub(crate) fn charge(&self, request_path: &[u8], entry: &Arc<Entry>, bytes: usize) {
        let mut cache = self.0.write();
        let Some(cached) = cache
            .entries
            .get_mut(request_path)
            .filter(|cached| Arc::ptr_eq(&cached.entry, entry))
        else {
            return;
        };
        cached.cost += bytes;
        cache.cost += bytes;
        if !cache.make_room(0, Some(request_path)) {
            cache.remove(request_path); // larger than everything together may be
        }
    }

    /// Forgets what depends on a path below the root that was changed: what stands there and below
    /// it, whatever is in the same folder, as it may be another form of the same file, and the page
    /// of that folder.
    pub(crate) fn forget(&self, changed: &[u8]) {
        let folder = folder_of(changed);
        let is_below = |path: &[u8]| {
            path.strip_prefix(changed)
                .is_some_and(|rest| rest.starts_with(b"/"))
        };
        let depends = |path: &[u8]| path == folder || folder_of(path) == folder || is_below(path);
        let mut cache = self.0.write();
        let stale = cache
            .entries
            .iter()
            .filter(|(_, cached)| depends(&cached.asked.0))
            .map(|(key, _)| key.clone());
        stale
            .collect::<Vec<_>>()
            .iter()
            .for_each(|key| cache.remove(key));
    }

    /// Forgets an entry, unless another has taken its place.
    fn remove(&self, request_path: &[u8], entry: &Arc<Entry>) {
        let mut cache = self.0.write();
        if cache
            .entries
            .get(request_path)
            .is_some_and(|cached| Arc::ptr_eq(&cached.entry, entry))
        {
            cache.remove(request_path);
        }
    }
}

/// The folder in which a path stands; of what is in the root, the empty path.
fn folder_of(path: &[u8]) -> &[u8] {
    memchr::memrchr(b'/', path).map_or(b"", |slash| &path[..slash])
}

impl CacheEntries {
    fn remove(&mut self, request_path: &[u8]) {
        if let Some(cached) = self.entries.remove(request_path) {
            self.cost -= cached.cost;
        }
    }

    /// Whichever comes first makes room: what is hot comes back at once. `spared` stays.
    fn make_room(&mut self, cost: usize, spared: Option<&[u8]>) -> bool {
        while self.cost + cost > MAX_BYTES || (cost > 0 && self.entries.len() >= MAX_ENTRIES) {
            let victim = self
                .entries
                .keys()
                .find(|key| Some(&***key) != spared)
                .cloned();
            let Some(victim) = victim else { return false };
            self.remove(&victim);
        }
        true
    }
}
