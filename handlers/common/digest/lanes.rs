//! Digests beside the work: each on a thread of its own, so that a transfer is as fast as the
//! slowest of them alone.
//!
//! The threads live only as long as one call of [`Hasher::beside`]: a connection that waits for its
//! peer holds none.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, Builder, available_parallelism};

use parking_lot::Mutex;

use super::{Hasher, Running};

/// Bytes of a chunk: large enough that a system call for each costs little, small enough to stay in
/// a core's cache.
pub const CHUNK: usize = 256 * 1024;
/// Chunks that may be under way in one call.
const AHEAD: usize = 6;
/// Chunks that are kept for the next call, whoever makes it.
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
    /// An empty chunk.
    pub fn take() -> Chunk {
        let memory = POOL
            .lock()
            .pop()
            .unwrap_or_else(|| vec![0; CHUNK].into_boxed_slice());
        Chunk { memory, filled: 0 }
    }

    /// The memory that isn't filled yet.
    pub fn space(&mut self) -> &mut [u8] {
        &mut self.memory[self.filled..]
    }

    /// So many bytes more are filled.
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

/// Takes the chunks of one call of [`Hasher::beside`] to the digests.
#[derive(Debug)]
pub struct Feed<'a> {
    route: Route<'a>,
}

#[derive(Debug)]
enum Route<'a> {
    /// On this thread.
    Here(&'a mut Hasher),
    /// To a thread for each digest; chunks that all of them have seen come back.
    Lanes {
        lanes: Vec<SyncSender<Arc<Chunk>>>,
        back: Receiver<Chunk>,
        done: Sender<Chunk>,
        ahead: usize,
    },
}

impl Feed<'_> {
    /// An empty chunk; waits for the digests if they are far behind.
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

    /// Has a chunk digested while `work` is done with it.
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
                    // A lane ends early only by a panic, which the scope passes on.
                    let _ = lane.send(Arc::clone(&chunk));
                }
                let result = work(&chunk);
                give_back(chunk, done);
                result
            }
        }
    }
}

/// The last one to have seen a chunk sends it back.
fn give_back(chunk: Arc<Chunk>, done: &Sender<Chunk>) {
    if let Some(chunk) = Arc::into_inner(chunk) {
        // Nobody waits for it once the call is over.
        let _ = done.send(chunk);
    }
}

impl Hasher {
    /// Calls `work`; what it passes to the feed is digested, in threads beside it if `large`.
    ///
    /// There are threads only while a core may be free for them: with many calls at once, each
    /// digests for itself.
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

/// One of as many calls with threads as there are cores.
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
