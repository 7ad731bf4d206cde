//! Computes digests in parallel with other work. Each digest has its own thread, so that a transfer
//! takes only as long as the slowest digest.
//!
//! The threads exist only during a call of [`Hasher::beside`], so a connection that waits for its
//! peer has none.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, Builder, available_parallelism};

use parking_lot::Mutex;

use super::{Hasher, Running};

/// Number of bytes of a chunk. It is large enough that the system call for each chunk costs little,
/// and small enough for the cache of a core.
pub const CHUNK: usize = 256 * 1024;
/// Maximum number of chunks in use in one call.
const AHEAD: usize = 6;
/// Maximum number of chunks in the pool, which all calls share.
const KEPT: usize = 2 * AHEAD;

static POOL: Mutex<Vec<Box<[u8]>>> = Mutex::new(Vec::new());
static CALLS: AtomicUsize = AtomicUsize::new(0);

/// Memory for [`CHUNK`] bytes, of which some are filled. It goes back to a pool when it is dropped.
#[derive(Debug)]
pub struct Chunk {
    memory: Box<[u8]>,
    filled: usize,
}

impl Chunk {
    /// Takes an empty chunk from the pool, or allocates one.
    pub fn take() -> Chunk {
        let memory = POOL
            .lock()
            .pop()
            .unwrap_or_else(|| vec![0; CHUNK].into_boxed_slice());
        Chunk { memory, filled: 0 }
    }

    /// Returns the memory that is not filled yet.
    pub fn space(&mut self) -> &mut [u8] {
        &mut self.memory[self.filled..]
    }

    /// Marks `count` more bytes as filled.
    pub fn fill(&mut self, count: usize) {
        self.filled = (self.filled + count).min(self.memory.len());
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[..self.filled]
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let mut pool = POOL.lock();
        if pool.len() < KEPT {
            pool.push(std::mem::take(&mut self.memory));
        }
    }
}

/// Passes the chunks of one call of [`Hasher::beside`] to the digests.
#[derive(Debug)]
pub struct Feed<'a> {
    route: Route<'a>,
}

#[derive(Debug)]
enum Route<'a> {
    /// The digests are computed on the calling thread.
    Here(&'a mut Hasher),
    /// Each digest has a thread. Chunks that all threads have processed are sent back.
    Lanes {
        lanes: Vec<SyncSender<Arc<Chunk>>>,
        back: Receiver<Chunk>,
        done: Sender<Chunk>,
        ahead: usize,
    },
}

impl Feed<'_> {
    /// Returns an empty chunk. If too many chunks are in use, it waits for the digests.
    pub fn chunk(&mut self) -> Chunk {
        match &mut self.route {
            Route::Lanes { back, ahead, .. } if *ahead == AHEAD => back.recv().map_or_else(
                |_| Chunk::take(),
                |mut chunk| {
                    chunk.filled = 0;
                    chunk
                },
            ),
            Route::Lanes { ahead, .. } => {
                *ahead += 1;
                Chunk::take()
            }
            Route::Here(_) => Chunk::take(),
        }
    }

    /// Digests a chunk, while `work` uses it.
    pub fn pass<T>(&mut self, chunk: Chunk, work: impl FnOnce(&[u8]) -> T) -> T {
        match &mut self.route {
            Route::Here(hasher) => {
                let result = work(&chunk);
                hasher.update(&chunk);
                result
            }
            Route::Lanes { lanes, done, .. } => {
                let chunk = Arc::new(chunk);
                for lane in lanes {
                    // A thread ends early only by a panic, which the scope propagates.
                    let _ = lane.send(Arc::clone(&chunk));
                }
                let result = work(&chunk);
                give_back(chunk, done);
                result
            }
        }
    }
}

/// Sends a chunk back if no other thread uses it any more.
fn give_back(chunk: Arc<Chunk>, done: &Sender<Chunk>) {
    if let Some(chunk) = Arc::into_inner(chunk) {
        // The receiver does not exist any more after the end of the call.
        let _ = done.send(chunk);
    }
}

impl Hasher {
    /// Calls `work`. The chunks that it passes to the feed are digested, in parallel threads if
    /// `large`.
    ///
    /// Threads are used only if a core may be free for them. If there are many simultaneous calls,
    /// each computes its digests on its own thread.
    pub fn beside<T>(&mut self, large: bool, work: impl FnOnce(&mut Feed<'_>) -> T) -> T {
        let permit = if large && !self.is_idle() {
            Permit::take()
        } else {
            None
        };
        if permit.is_none() {
            return work(&mut Feed {
                route: Route::Here(self),
            });
        }
        let (done, back) = channel();
        let outcome = thread::scope(|scope| {
            let mut lanes = Vec::new();
            for running in &mut self.running {
                let (lane, chunks) = sync_channel(AHEAD);
                let done = done.clone();
                let run = move || digest_all(running, &chunks, &done);
                match Builder::new()
                    .name("digest".to_owned())
                    .spawn_scoped(scope, run)
                {
                    Ok(_) => lanes.push(lane),
                    Err(_) => return Err(work), // not a byte has passed yet
                }
            }
            Ok(work(&mut Feed {
                route: Route::Lanes {
                    lanes,
                    back,
                    done,
                    ahead: 0,
                },
            }))
        });
        outcome.unwrap_or_else(|work| {
            work(&mut Feed {
                route: Route::Here(self),
            })
        })
    }
}

fn digest_all(running: &mut Running, chunks: &Receiver<Arc<Chunk>>, done: &Sender<Chunk>) {
    for chunk in chunks {
        running.update(&chunk);
        give_back(chunk, done);
    }
}

/// The right of a call to use threads. At most one call per core has it.
struct Permit;

impl Permit {
    fn take() -> Option<Permit> {
        let cores = available_parallelism().map_or(1, |cores| cores.get());
        let taken = CALLS.fetch_update(Relaxed, Relaxed, |calls| {
            (calls < cores).then_some(calls + 1)
        });
        taken.ok().map(|_| Permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        CALLS.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::digest::Digests;

    const ALL: Digests = Digests {
        md5: Some([0; 16]),
        sha1: Some([0; 20]),
        sha256: Some([0; 32]),
        blake3: Some([0; 32]),
    };

    fn digests(large: bool, chunks: usize) -> (Digests, usize) {
        let mut hasher = Hasher::of(&ALL);
        hasher.update(b"before");
        let seen = hasher.beside(large, |feed| {
            (0..chunks)
                .map(|number| {
                    let mut chunk = feed.chunk();
                    assert!(chunk.is_empty());
                    let length = 1 + number * 7919 % CHUNK;
                    chunk.space()[..length].fill(number as u8);
                    chunk.fill(length);
                    feed.pass(chunk, <[u8]>::len)
                })
                .sum()
        });
        hasher.update(b"after");
        (hasher.finish(), seen)
    }

    #[test]
    fn digests_beside_the_work_are_those_of_the_same_bytes_in_order() {
        for chunks in [0, 1, AHEAD, 40] {
            assert_eq!(
                digests(true, chunks),
                digests(false, chunks),
                "{chunks} chunks"
            );
        }
    }

    #[test]
    fn the_threads_end_with_the_call_even_if_the_work_panics() {
        let mut hasher = Hasher::of(&ALL);
        let work =
            std::panic::AssertUnwindSafe(|| hasher.beside(true, |_| panic!("the work fails")));
        assert!(std::panic::catch_unwind(work).is_err());
    }
}
