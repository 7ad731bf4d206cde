//! A cache of frequently requested files. The key is the path exactly as in the request, so a hit
//! needs no decoding and no system call.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;
use parking_lot::RwLock;

use crate::files::site::entry::Entry;

/// Time after which an entry is checked again, in milliseconds. So a changed file is noticed within
/// a second.
const FRESH_MS: u64 = 500;
/// Maximum size of all entries in total, in bytes.
const MAX_BYTES: usize = 16 << 20;
/// Maximum number of entries. An entry of a large file holds a descriptor.
const MAX_ENTRIES: usize = 512;

/// The bounded cache of a site's files.
#[derive(Debug, Default)]
pub(crate) struct Cache(RwLock<CacheEntries>);

#[derive(Debug, Default)]
struct CacheEntries {
    /// The hash function is fast for short keys such as paths. Its seed is random and there are at
    /// most [`MAX_ENTRIES`] entries, so an attacker gains little with paths that collide.
    entries: HashMap<Box<[u8]>, CachedFile, RandomState>,
    /// Size of all entries in total, in bytes.
    cost: usize,
}

#[derive(Debug)]
struct CachedFile {
    entry: Arc<Entry>,
    /// Size in bytes, including the coded forms.
    cost: usize,
    /// The requested path below the root, and whether it had a slash at its end.
    asked: (Box<[u8]>, bool),
    /// When the entry was last checked.
    checked_ms: AtomicU64,
}

impl Cache {
    /// The entry for a request path. `is_current` checks whether the path still leads to the entry.
    /// It is called at most every half second.
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
        // Only one thread checks the entry. Meanwhile other threads use it without a check.
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

    /// Adds the entry for a request path. `asked` is the path below the root, and whether it had a
    /// slash at its end.
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

    /// Records that an entry has grown by `bytes`, if it is cached.
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
            cache.remove(request_path); // the entry alone exceeds the limit
        }
    }

    /// Removes the entries that depend on a changed path below the root: the path itself,
    /// everything below it, everything in the same folder (which may contain coded forms of the
    /// same file), and the page of that folder.
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

    /// Removes an entry, unless another entry has replaced it.
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

/// The folder that contains a path. It is empty for a path directly in the root.
fn folder_of(path: &[u8]) -> &[u8] {
    memchr::memrchr(b'/', path).map_or(b"", |slash| &path[..slash])
}

impl CacheEntries {
    fn remove(&mut self, request_path: &[u8]) {
        if let Some(cached) = self.entries.remove(request_path) {
            self.cost -= cached.cost;
        }
    }

    /// Removes entries in no particular order until there is space for `cost` bytes. A frequently
    /// requested file is soon added again. `spared` is not removed. Returns false if there is not
    /// enough space.
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
