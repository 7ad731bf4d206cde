//! parking_lot's locks, made of shuttle's: each use of one is a point where the checker may run
//! another thread.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use shuttle::rand::{Rng, thread_rng};
pub(crate) use shuttle::{thread, thread_local};

#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

/// Empty only while its thread sleeps on a condition.
pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    guard: Option<shuttle::sync::MutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Mutex<T> {
        Mutex(shuttle::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard {
            mutex: self,
            guard: Some(self.0.lock().unwrap()),
        }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.guard.as_ref().unwrap()
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.guard.as_mut().unwrap()
    }
}

/// A condition with at most one sleeper that has a timeout, which is all that the pool needs.
#[derive(Debug, Default)]
pub(crate) struct Condvar {
    sleepers: shuttle::sync::Condvar,
    /// Whether the sleeper that has a timeout was notified.
    timed: std::sync::Mutex<Option<bool>>,
}

pub(crate) struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    pub(crate) fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    pub(crate) fn new() -> Condvar {
        Condvar::default()
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let held = guard.guard.take().unwrap();
        guard.guard = Some(self.sleepers.wait(held).unwrap());
    }

    /// Time passes as it pleases: after any number of other threads' steps, none included, the wait
    /// may time out.
    pub(crate) fn wait_for<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        _: Duration,
    ) -> WaitTimeoutResult {
        *self.timed.lock().unwrap() = Some(false);
        guard.guard = None;
        let timed_out = loop {
            thread::yield_now();
            if *self.timed.lock().unwrap() == Some(true) {
                break false;
            }
            if time_passes() {
                break true;
            }
        };
        // As with a real condition, a notification between here and the lock finds nobody.
        *self.timed.lock().unwrap() = None;
        guard.guard = Some(guard.mutex.0.lock().unwrap());
        WaitTimeoutResult(timed_out)
    }

    pub(crate) fn notify_one(&self) {
        let mut timed = self.timed.lock().unwrap();
        if timed.is_some() {
            *timed = Some(true);
            return;
        }
        // shuttle may switch threads, and must not do so under a lock that it does not know.
        drop(timed);
        self.sleepers.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.notify_one();
        self.sleepers.notify_all();
    }
}

/// Whether a timeout fires now.
pub(crate) fn time_passes() -> bool {
    thread_rng().gen_bool(0.2)
}
