//! The buffered sides of a connection, and the pool of their memory.

mod blocking;
mod output;
mod peer;
mod rfile;
mod wfile;

use std::cell::RefCell;

pub(crate) use output::Drain;
pub(crate) use peer::Interrupt;
pub use rfile::RFile;
pub(crate) use rfile::{Fill, RFileSettings};
pub use wfile::WFile;

/// What Python calls `rbufsize` and `wbufsize`, unless a handler asks otherwise.
pub(crate) const BUFFER_SIZE: usize = 16 * 1024;

/// Buffers that each thread keeps for the next connection; a parked connection has none.
const MAX_POOLED_BUFFERS: usize = 8;

thread_local!(static POOL: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) });

/// A buffer of [`BUFFER_SIZE`] initialised bytes.
fn borrow() -> Vec<u8> {
    POOL.with_borrow_mut(Vec::pop)
        .unwrap_or_else(|| vec![0; BUFFER_SIZE])
}

/// Gives a buffer back; one of another size is freed.
fn give_back(buffer: Vec<u8>) {
    if buffer.len() == BUFFER_SIZE {
        POOL.with_borrow_mut(|pool| {
            if pool.len() < MAX_POOLED_BUFFERS {
                pool.push(buffer);
            }
        });
    }
}
