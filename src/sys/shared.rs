//! Values that a process shares with its forked children.

use std::io;
use std::ops::Deref;
use std::ptr::NonNull;

/// A value in memory that forked children share, or in memory of this process alone.
#[derive(Debug)]
pub(crate) enum Shared<T> {
    Private(Box<T>),
    BetweenProcesses(Mapping<T>),
}

/// One value at the beginning of an anonymous shared mapping.
#[derive(Debug)]
pub(crate) struct Mapping<T>(NonNull<T>);

// SAFETY: a mapping owns its value as a box does, and hands out shared references only.
unsafe impl<T: Send> Send for Mapping<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Mapping<T> {}

impl<T: Sync> Shared<T> {
    /// A value that children made by fork(2) see and change too, if `between_processes`. It must
    /// be made of atomics and without pointers: each process would follow a pointer in its own
    /// memory.
    pub(crate) fn new(value: T, between_processes: bool) -> io::Result<Shared<T>> {
        Ok(if between_processes {
            Shared::BetweenProcesses(Mapping::new(value)?)
        } else {
            Shared::Private(Box::new(value))
        })
    }
}

impl<T> Mapping<T> {
    fn new(value: T) -> io::Result<Mapping<T>> {
        const { assert!(size_of::<T>() > 0 && align_of::<T>() <= 4096) };
        // SAFETY: a new anonymous mapping at an address of the system's choice touches no memory
        // that any other code uses.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<T>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let pointer = NonNull::new(address.cast::<T>()).ok_or_else(io::Error::last_os_error)?;
        // SAFETY: the mapping is writable, large enough, and aligned to a page, which is at least
        // 4096 bytes.
        unsafe { pointer.write(value) };
        Ok(Mapping(pointer))
    }
}

impl<T> Deref for Mapping<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the value was written by `new`, and stays until `drop`.
        unsafe { self.0.as_ref() }
    }
}

impl<T> Drop for Mapping<T> {
    fn drop(&mut self) {
        // SAFETY: `new` made both the value and the mapping, and nothing borrows from them any
        // more. Other processes have mappings of their own of the same memory.
        unsafe {
            self.0.drop_in_place();
            libc::munmap(self.0.as_ptr().cast(), size_of::<T>());
        }
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        match self {
            Shared::Private(value) => value,
            Shared::BetweenProcesses(value) => value,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use super::*;

    #[test]
    fn a_value_can_be_changed_in_either_memory() {
        for between_processes in [false, true] {
            let value = Shared::new(AtomicU64::new(7), between_processes).unwrap();
            value.fetch_add(1, Relaxed);
            assert_eq!(value.load(Relaxed), 8);
        }
    }
}
