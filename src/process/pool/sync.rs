//! The locks and threads of the pool. The model checker (`tests/model/`) replaces this module by
//! its own.

pub(super) use parking_lot::{Condvar, Mutex, MutexGuard};
pub(super) use std::{thread, thread_local};
