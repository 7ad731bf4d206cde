//! Sends replies later, from a thread of its own: a handler that slept would occupy a thread of the
//! pool.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use socketserver::PendingReply;

/// Maximum number of bytes of delayed replies. Further replies are lost, like packets when the
/// queue of a router is full.
const CAPACITY: usize = 16 * 1024 * 1024;
/// Approximate memory in bytes that a reply takes in addition to its data.
const OVERHEAD: usize = 128;
/// Maximum time that a held reply waits for another one to overtake it.
const HOLD_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum time that the server waits for delayed replies when it ends.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// Sends delayed replies.
#[derive(Debug)]
pub(crate) struct Delay {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue<Delayed>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Delayed {
    to: PendingReply,
    bytes: Vec<u8>,
}

impl Delay {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system cannot create a thread.
    pub(crate) fn start() -> io::Result<Delay> {
        let shared = Arc::<Shared>::default();
        let its = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("ping-delay".to_owned())
            .spawn(move || its.send_as_due())?;
        Ok(Delay {
            shared,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Sends a reply at this time.
    pub(crate) fn send_at(&self, due: Instant, to: PendingReply, bytes: Vec<u8>) {
        let size = bytes.len() + OVERHEAD;
        self.change(|queue| queue.push(due, size, Delayed { to, bytes }));
    }

    /// Sends a reply after the next [`release`](Delay::release).
    pub(crate) fn hold(&self, to: PendingReply, bytes: Vec<u8>) {
        let size = bytes.len() + OVERHEAD;
        self.change(|queue| queue.hold(Instant::now() + HOLD_TIMEOUT, size, Delayed { to, bytes }));
    }

    /// Sends the reply that is held, if there is one, at this time.
    pub(crate) fn release(&self, due: Instant) {
        self.change(|queue| queue.release(due));
    }

    /// Sends the remaining replies that are due soon, and ends the thread.
    pub(crate) fn finish(&self) {
        self.change(|queue| queue.close(Instant::now()));
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            // The thread does not panic. If it did, the server would end anyway.
            let _ = thread.join();
        }
    }

    fn change(&self, change: impl FnOnce(&mut Queue<Delayed>)) {
        change(&mut self.shared.queue.lock());
        self.shared.changed.notify_one();
    }
}

impl Shared {
    /// The loop of the thread. It ends when the queue is closed and empty.
    fn send_as_due(&self) {
        let mut queue = self.queue.lock();
        loop {
            if let Some(Delayed { to, bytes }) = queue.pop(Instant::now()) {
                parking_lot::MutexGuard::unlocked(&mut queue, || {
                    if let Err(error) = to.send(&bytes) {
                        log::debug!("a reply can't be sent: {error}");
                    }
                });
                continue;
            }
            match queue.next_due() {
                Some(due) => drop(self.changed.wait_until(&mut queue, due)),
                None if queue.closed => return,
                None => self.changed.wait(&mut queue),
            }
        }
    }
}

/// The delayed replies, ordered by time. It uses neither a clock nor sockets, so tests can set the
/// time.
#[derive(Debug)]
struct Queue<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    held: Option<Entry<T>>,
    pushed: u64,
    size: usize,
    closed: bool,
}

#[derive(Debug)]
struct Entry<T> {
    due: Instant,
    /// Of replies that are due at the same time, the one with the lowest number is sent first.
    number: u64,
    size: usize,
    what: T,
}

impl<T> Queue<T> {
    fn push(&mut self, due: Instant, size: usize, what: T) {
        if let Some(entry) = self.admit(due, size, what) {
            self.heap.push(Reverse(entry));
        }
    }

    /// Holds a reply, so that the next one overtakes it. A reply that was held before, and was not
    /// overtaken, becomes due at its own time.
    fn hold(&mut self, at_most: Instant, size: usize, what: T) {
        if let Some(entry) = self.admit(at_most, size, what) {
            self.heap.extend(self.held.replace(entry).map(Reverse));
        }
    }

    fn admit(&mut self, due: Instant, size: usize, what: T) -> Option<Entry<T>> {
        if self.closed {
            return None;
        }
        if self.size + size > CAPACITY {
            log::debug!("too many replies are under way: one is lost");
            return None;
        }
        self.size += size;
        self.pushed += 1;
        Some(Entry {
            due,
            number: self.pushed,
            size,
            what,
        })
    }

    fn release(&mut self, due: Instant) {
        if let Some(held) = self.held.take() {
            // The new number puts it behind replies that are due at the same time.
            self.pushed += 1;
            self.heap.push(Reverse(Entry {
                due,
                number: self.pushed,
                ..held
            }));
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let first = self.heap.peek().map(|Reverse(entry)| entry.due);
        first
            .into_iter()
            .chain(self.held.as_ref().map(|held| held.due))
            .min()
    }

    fn pop(&mut self, now: Instant) -> Option<T> {
        if self.held.as_ref().is_some_and(|held| held.due <= now) {
            self.release(now);
        }
        if self
            .heap
            .peek()
            .is_none_or(|Reverse(entry)| entry.due > now)
        {
            return None;
        }
        let Reverse(entry) = self.heap.pop()?;
        self.size -= entry.size;
        Some(entry.what)
    }

    /// Closes the queue. Replies that are not due soon are lost. A held reply is sent without
    /// waiting for another one.
    fn close(&mut self, now: Instant) {
        self.closed = true;
        self.heap
            .retain(|Reverse(entry)| entry.due <= now + SHUTDOWN_TIMEOUT);
        let last = self.heap.iter().map(|Reverse(entry)| entry.due).max();
        self.release(last.unwrap_or(now));
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Queue<T> {
        Queue {
            heap: BinaryHeap::new(),
            held: None,
            pushed: 0,
            size: 0,
            closed: false,
        }
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Entry<T>) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Entry<T>) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Entry<T>) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Entry<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(queue: &mut Queue<char>, now: Instant) -> String {
        std::iter::from_fn(|| queue.pop(now)).collect()
    }

    #[test]
    fn replies_go_when_they_are_due_and_ties_in_the_order_they_came() {
        let now = Instant::now();
        let after = |millis| now + Duration::from_millis(millis);
        let mut queue = Queue::default();
        for (millis, name) in [(30, 'c'), (10, 'a'), (30, 'd'), (20, 'b')] {
            queue.push(after(millis), 1, name);
        }
        assert_eq!(queue.next_due(), Some(after(10)));
        assert_eq!(all(&mut queue, after(20)), "ab");
        assert_eq!(all(&mut queue, after(29)), "");
        assert_eq!(all(&mut queue, after(40)), "cd");
        assert_eq!((queue.next_due(), queue.size), (None, 0));
    }

    #[test]
    fn a_held_reply_goes_after_the_one_that_releases_it_or_when_its_time_is_over() {
        let now = Instant::now();
        let later = now + HOLD_TIMEOUT;
        let mut queue = Queue::default();
        queue.hold(later, 1, 'a');
        assert_eq!(
            (queue.next_due(), all(&mut queue, now)),
            (Some(later), String::new())
        );
        queue.push(now, 1, 'b');
        queue.release(now);
        assert_eq!(all(&mut queue, now), "ba");
        queue.hold(later, 1, 'c');
        assert_eq!(all(&mut queue, later), "c");
        queue.release(now);
        assert_eq!((queue.next_due(), queue.size), (None, 0));
    }

    #[test]
    fn what_does_not_fit_is_lost() {
        let now = Instant::now();
        let mut queue = Queue::default();
        queue.push(now, CAPACITY - 1, 'a');
        queue.push(now, 2, 'b');
        queue.push(now, 1, 'c');
        assert_eq!(all(&mut queue, now), "ac");
    }

    #[test]
    fn the_end_sends_what_is_due_soon_and_whoever_is_held_last() {
        let now = Instant::now();
        let soon = now + Duration::from_millis(5);
        let mut queue = Queue::default();
        queue.push(now + HOLD_TIMEOUT * 2, 1, 'x');
        queue.hold(now + HOLD_TIMEOUT, 1, 'b');
        queue.push(soon, 1, 'a');
        queue.close(now);
        queue.push(soon, 1, 'y');
        queue.hold(soon, 1, 'z');
        assert_eq!(all(&mut queue, soon), "ab");
        assert_eq!(queue.next_due(), None);
    }
}
