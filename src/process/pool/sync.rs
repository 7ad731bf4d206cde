//! The locks of the hand-over; the model checker replaces this module by its own.

pub(super) use parking_lot::{Condvar, Mutex, MutexGuard};
