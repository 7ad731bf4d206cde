//! Values of any type that other threads and connections send to one handler.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::TrySendError;

use parking_lot::Mutex;

use super::Waker;

/// The receiving side of a bounded queue to one handler, from
/// [`StreamRequest::mailbox`](crate::StreamRequest::mailbox). The handler keeps it, and takes what
/// has arrived when `handle` is called.
///
/// ```
/// use std::io::Write;
/// use std::sync::mpsc;
/// use socketserver::testing::TestConnection;
/// use socketserver::{Builder, Mailbox, MailboxSender, Next, Result};
/// use socketserver::{StreamRequest, StreamRequestHandler};
///
/// struct Temperatures(mpsc::Sender<MailboxSender<f64>>, Option<Mailbox<f64>>);
///
/// impl StreamRequestHandler for Temperatures {
///     fn setup(&mut self, request: &mut StreamRequest) -> Result<()> {
///         let (sender, mailbox) = request.mailbox(10);
///         self.0.send(sender).unwrap();
///         self.1 = Some(mailbox);
///         Ok(())
///     }
///
///     fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
///         for degrees in self.1.iter().flat_map(Mailbox::drain) {
///             writeln!(request.wfile, "{degrees}")?;
///         }
///         Ok(Next::Wait)
///     }
/// }
///
/// let (send, senders) = mpsc::channel();
/// let class = move |_: &_| Temperatures(send.clone(), None);
/// let mut client = TestConnection::new(Builder::new(), class);
/// let sender = senders.recv().unwrap();
/// sender.try_send(21.5).unwrap();
/// assert_eq!(client.received(), b"21.5\n");
/// ```
pub struct Mailbox<T>(Arc<Queue<T>>);

/// The sending side of a [`Mailbox`]. Cheap to clone. It does not keep the connection open.
///
/// A sender that waits for room without a thread:
///
/// ```
/// use std::sync::mpsc::TrySendError;
/// use socketserver::testing::TestServer;
/// use socketserver::{Builder, Mailbox, MailboxSender, Next, Result};
/// use socketserver::{StreamRequest, StreamRequestHandler};
///
/// /// Sends numbers to itself; usually the sender is in another connection.
/// #[derive(Default)]
/// struct Numbers(Option<(MailboxSender<u32>, Mailbox<u32>)>, u32);
///
/// impl StreamRequestHandler for Numbers {
///     fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
///         let (sender, mailbox) = self.0.get_or_insert_with(|| request.mailbox(2));
///         while let Some(number) = mailbox.take() {
///             self.1 += number;
///         }
///         assert!(mailbox.is_empty() && mailbox.len() == 0 && !sender.is_closed());
///         while self.1 < 100 {
///             match sender.try_send(10) {
///                 Ok(()) => {}
///                 Err(TrySendError::Full(_)) => {
///                     sender.wake_when_room(&request.waker());
///                     return Ok(Next::Wait);
///                 }
///                 Err(TrySendError::Disconnected(_)) => return Ok(Next::Close),
///             }
///         }
///         Ok(Next::Close)
///     }
/// }
///
/// let mut client = TestServer::new(Builder::new(), |_| Numbers::default()).connect();
/// client.send(b"begin");
/// assert!(client.is_closed());
/// ```
pub struct MailboxSender<T> {
    queue: Arc<Queue<T>>,
    waker: Waker,
}

struct Queue<T> {
    capacity: usize,
    state: Mutex<QueueState<T>>,
}

struct QueueState<T> {
    values: VecDeque<T>,
    is_closed: bool,
    /// They are woken when there is room, or the mailbox is gone.
    waiting: Vec<Waker>,
}

impl<T> QueueState<T> {
    /// All values, and the wakers of the senders that wait for room.
    fn take_all(&mut self) -> (VecDeque<T>, Vec<Waker>) {
        (
            std::mem::take(&mut self.values),
            std::mem::take(&mut self.waiting),
        )
    }
}

/// Both sides of a queue of at most `capacity` values, at least 1.
pub(crate) fn mailbox<T>(capacity: usize, waker: Waker) -> (MailboxSender<T>, Mailbox<T>) {
    let queue = Arc::new(Queue {
        capacity: capacity.max(1),
        state: Mutex::new(QueueState {
            values: VecDeque::new(),
            is_closed: false,
            waiting: Vec::new(),
        }),
    });
    let sender = MailboxSender {
        queue: Arc::clone(&queue),
        waker,
    };
    (sender, Mailbox(queue))
}

impl<T> MailboxSender<T> {
    /// Puts `value` into the mailbox, and has `handle` called. Never waits.
    ///
    /// # Errors
    /// `Full` if the mailbox holds its maximum, `Disconnected` if the mailbox was dropped or the
    /// connection has ended. Both return the value.
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        let mut state = self.queue.state.lock();
        if state.is_closed || self.waker.is_closed() {
            return Err(TrySendError::Disconnected(value));
        }
        if state.values.len() >= self.queue.capacity {
            return Err(TrySendError::Full(value));
        }
        state.values.push_back(value);
        drop(state);
        self.waker.wake();
        Ok(())
    }

    /// Wakes `waker` when the mailbox has room or takes nothing more; immediately if one of them
    /// holds already. A sender whose value was refused as `Full` can wait this way without a thread
    /// or a timer.
    pub fn wake_when_room(&self, waker: &Waker) {
        let is_full = {
            let mut state = self.queue.state.lock();
            let is_open = !state.is_closed && !self.waker.is_closed();
            let is_full = is_open && state.values.len() >= self.queue.capacity;
            if is_full && !state.waiting.iter().any(|known| known.is_same(waker)) {
                state.waiting.push(waker.clone());
            }
            is_full
        };
        if !is_full {
            waker.wake();
        }
    }

    /// Whether the mailbox was dropped, or its connection has ended.
    pub fn is_closed(&self) -> bool {
        self.waker.is_closed() || self.queue.state.lock().is_closed
    }
}

impl<T> Mailbox<T> {
    /// The value that was sent first, if there is one.
    ///
    /// ```
    /// use std::io::Write;
    /// use socketserver::{Mailbox, Next, Result, StreamRequest};
    ///
    /// /// In a `handle`: one value for each call, so that other connections have their turns.
    /// fn send_next(news: &Mailbox<String>, request: &mut StreamRequest) -> Result<Next> {
    ///     request.set_doing(format!("{} news to send", news.len()));
    ///     if let Some(text) = news.take() {
    ///         writeln!(request.wfile, "{text}")?;
    ///     }
    ///     Ok(if news.is_empty() { Next::Wait } else { Next::Again })
    /// }
    /// ```
    pub fn take(&self) -> Option<T> {
        let (value, waiting) = {
            let mut state = self.0.state.lock();
            (state.values.pop_front(), std::mem::take(&mut state.waiting))
        };
        waiting.iter().for_each(Waker::wake);
        value
    }

    /// All values that are there, in the order in which they were sent.
    pub fn drain(&self) -> impl Iterator<Item = T> + use<T> {
        let (values, waiting) = self.0.state.lock().take_all();
        waiting.iter().for_each(Waker::wake);
        values.into_iter()
    }

    /// Number of values that are there.
    pub fn len(&self) -> usize {
        self.0.state.lock().values.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Drop for Mailbox<T> {
    fn drop(&mut self) {
        let (values, waiting) = {
            let mut state = self.0.state.lock();
            state.is_closed = true;
            state.take_all()
        };
        waiting.iter().for_each(Waker::wake);
        drop(values); // without the lock: it is the user's code
    }
}

impl<T> Clone for MailboxSender<T> {
    fn clone(&self) -> MailboxSender<T> {
        MailboxSender {
            queue: Arc::clone(&self.queue),
            waker: self.waker.clone(),
        }
    }
}

impl<T> fmt::Debug for MailboxSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailboxSender")
            .field("capacity", &self.queue.capacity)
            .field("is_closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Mailbox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox")
            .field("len", &self.len())
            .field("capacity", &self.0.capacity)
            .finish_non_exhaustive()
    }
}
