//! The background thread of a store: it removes partial uploads when they expire, and counts the
//! files for a quota.
//!
//! It sleeps until the next partial upload expires. It runs only while there is a partial upload or
//! something to count, so that an idle server has no such thread.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use parking_lot::{Condvar, Mutex};

use super::{Inner, Store};

/// Time until the thread tries again to remove an expired upload that a connection still writes.
const BUSY_INTERVAL: Duration = Duration::from_secs(1);
/// Pause between two turns of a count, in which other threads can use the disk.
const PAUSE_BETWEEN_COUNTS: Duration = Duration::from_millis(1);

/// The thread of a store.
#[derive(Debug, Default)]
pub(super) struct Background(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Notified when the store is dropped, or there are files to count.
    over: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Whether a thread may be started. A server that forks must not have one.
    enabled: bool,
    running: bool,
    over: bool,
    /// A count has begun since the thread looked for one.
    has_count: bool,
}

impl Drop for Background {
    fn drop(&mut self) {
        self.0.state.lock().over = true;
        self.0.over.notify_all();
    }
}

pub(super) fn is_past(time: Option<SystemTime>) -> bool {
    time.is_some_and(|time| time <= SystemTime::now())
}

impl Store {
    /// From now on the thread removes partial uploads as soon as they expire. Without this call,
    /// they are removed when the next upload begins, for a server that forks and must not have a
    /// thread. In both cases an expired upload cannot be resumed.
    pub fn expire_in_background(&self) {
        self.0.background.0.state.lock().enabled = true;
        self.work_in_background();
    }

    /// Starts or wakes the thread if there are files to count or partial uploads that will expire.
    pub(super) fn work_in_background(&self) {
        let shared = &self.0.background.0;
        let mut state = shared.state.lock();
        if state.running && self.is_counting() {
            state.has_count = true;
            shared.over.notify_all();
        }
        if !state.enabled || state.running {
            return;
        }
        let (inner, its_shared) = (Arc::downgrade(&self.0), Arc::clone(shared));
        let started = thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || run(&its_shared, || inner.upgrade()));
        match started {
            Ok(_) => state.running = true,
            Err(error) => log::warn!(
                "no thread for --partial-expiry: {error}; old partial uploads are removed when the \
                 next upload begins"
            ),
        }
    }

    /// How long until the next partial upload expires; `None` if there is none.
    fn next_expiry(&self) -> Option<Duration> {
        let staging = self.existing_staging().ok().flatten()?;
        let parts = staging.parts().ok()?.into_iter();
        let expiries = parts.filter_map(|(_, metadata)| {
            let last = metadata.modified().ok()?.into_std();
            self.expiry(last)
        });
        let next = expiries.min()?;
        Some(next.duration_since(SystemTime::now()).unwrap_or_default())
    }
}

fn run(shared: &Shared, store: impl Fn() -> Option<Arc<Inner>>) {
    while let Some(inner) = store() {
        let store = Store(inner);
        if store.is_counting() {
            // After each turn the loop checks whether the store was dropped.
            if !store.count_for_a_turn() {
                thread::sleep(PAUSE_BETWEEN_COUNTS);
            }
            continue;
        }
        let mut wait = store.next_expiry();
        if wait.is_some_and(|wait| wait.is_zero()) {
            if let Err(error) = store.sweep() {
                log::warn!("cannot remove expired partial uploads: {error}");
            }
            wait = store.next_expiry().map(|wait| match wait {
                Duration::ZERO => BUSY_INTERVAL,
                wait => wait,
            });
        }
        // If only this thread still holds the store, the store is dropped here, which ends the
        // thread.
        drop(store);
        let mut state = shared.state.lock();
        if std::mem::take(&mut state.has_count) && !state.over {
            continue;
        }
        let Some(wait) = wait.filter(|_| !state.over) else {
            state.running = false;
            return;
        };
        shared.over.wait_for(&mut state, wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::store::OnDuplicate;
    use crate::common::store::tests::{Folder, intent};

    #[test]
    fn an_upload_that_has_expired_is_neither_listed_nor_resumed() {
        let folder = Folder::new();
        let mut partial = folder
            .store()
            .begin(intent("a", 5), OnDuplicate::Error)
            .unwrap();
        partial.write(b"abc").unwrap();
        drop(partial);
        assert_eq!(folder.store().partials().unwrap().len(), 1);
        let store = folder.store_with(|options| options.partial_expiry = Duration::from_secs(3600));
        let part = folder.path().join(crate::common::store::PARTIALS);
        let part = std::fs::read_dir(part)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "part")
            });
        let old = SystemTime::now() - Duration::from_secs(7200);
        let file = std::fs::File::options().write(true).open(part.unwrap());
        file.unwrap().set_modified(old).unwrap();
        assert!(store.partials().unwrap().is_empty());
        let resumed = store
            .resume_at_once(intent("a", 5), OnDuplicate::Error)
            .unwrap();
        let crate::common::store::Resumed::Partial(partial) = resumed else {
            panic!("it is not complete");
        };
        assert_eq!(partial.offset(), 0);
    }
}
