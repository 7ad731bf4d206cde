//! Connections that get the same messages.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::Outbox;
use super::link::{Ring, Signals};

/// A set of connections that get the same messages: a chat room, the subscribers of a feed. Cheap
/// to clone; all clones are the same group.
///
/// A connection joins with its [`Outbox`], and leaves by itself when it ends. All members get the
/// messages in the same order. [`broadcast`](Group::broadcast) never waits: a member whose outbox
/// is full is treated as [`SlowMembers`] says.
///
/// ```
/// use socketserver::testing::TestConnection;
/// use socketserver::{Builder, Group, Next, Result, StreamRequest, StreamRequestHandler};
///
/// struct Chat(Group);
///
/// impl StreamRequestHandler for Chat {
///     fn setup(&mut self, request: &mut StreamRequest) -> Result<()> {
///         self.0.join(&request.outbox(64 * 1024));
///         Ok(())
///     }
///
///     fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
///         while let Some(line) = request.rfile.take_line(1024)? {
///             self.0.broadcast(line);
///         }
///         Ok(Next::Wait)
///     }
/// }
///
/// let room = Group::default();
/// let mut alice = TestConnection::new(Builder::new(), {
///     let room = room.clone();
///     move |_| Chat(room.clone())
/// });
/// alice.send(b"hello\n");
/// assert_eq!(alice.received(), b"hello\n");
/// assert_eq!(room.len(), 1);
/// ```
#[derive(Clone, Default)]
pub struct Group(Arc<Mutex<GroupState>>);

#[derive(Default)]
struct GroupState {
    members: Vec<Outbox>,
    /// The keys of the members, to find out quickly whether a connection is one.
    keys: HashSet<usize>,
    slow_members: SlowMembers,
    /// The number of members at which those that have ended are removed from the list.
    sweep_at: usize,
}

/// What a [`Group`] does with a member whose outbox has no room for a message.
///
/// ```
/// use std::sync::mpsc;
/// use socketserver::testing::TestConnection;
/// use socketserver::{Builder, Group, Next, SlowMembers, StreamRequest};
///
/// let prices = Group::with_slow_members(SlowMembers::Close);
/// let group = prices.clone();
/// let subscribe = move |request: &mut StreamRequest| {
///     request.rfile.take_all();
///     group.join(&request.outbox(10));
///     Ok(Next::Wait)
/// };
/// let mut client = TestConnection::new(Builder::new(), move |_| subscribe.clone());
/// client.send(b"subscribe");
/// prices.broadcast(*b"10.5\n"); // fits
/// let result = prices.broadcast(*b"a message that is longer than its outbox");
/// assert_eq!((result.delivered, result.slow), (0, 1));
/// assert!(client.is_closed() && prices.is_empty());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SlowMembers {
    /// The member misses the message.
    #[default]
    Skip,
    /// The member's connection is closed, because what follows would be of no use to it.
    Close,
}

/// What became of one message, from [`Group::broadcast`].
///
/// ```
/// use socketserver::Group;
///
/// let nobody = Group::new().broadcast(*b"hello");
/// assert_eq!((nobody.delivered, nobody.slow), (0, 0));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Broadcast {
    /// Members whose outbox took the message.
    pub delivered: usize,
    /// Members whose outbox had no room for it.
    pub slow: usize,
}

/// Below this number of members the list is not searched for those that have ended.
const MIN_SWEEP: usize = 64;

impl Group {
    /// An empty group whose slow members miss messages.
    pub fn new() -> Group {
        Group::default()
    }

    /// An empty group with this rule for slow members.
    pub fn with_slow_members(rule: SlowMembers) -> Group {
        Group(Arc::new(Mutex::new(GroupState {
            slow_members: rule,
            ..GroupState::default()
        })))
    }

    /// Adds a connection, if it is not a member yet. It leaves by itself when it ends.
    pub fn join(&self, outbox: &Outbox) {
        let mut state = self.0.lock();
        if state.members.len() >= state.sweep_at {
            state.retain(|member| !member.is_closed());
            state.sweep_at = MIN_SWEEP.max(2 * state.members.len());
        }
        if state.keys.insert(outbox.key()) {
            state.members.push(outbox.clone());
        }
    }

    /// Removes a connection before its end.
    pub fn leave(&self, outbox: &Outbox) {
        let mut state = self.0.lock();
        if state.keys.contains(&outbox.key()) {
            state.retain(|member| !member.is_same(outbox));
        }
    }

    /// Ends the connections of all members as [`Waker::close`](crate::Waker::close) does: what they
    /// were sent before is still sent. They leave the group, which can be used again. Returns how
    /// many there were.
    pub fn close(&self, reason: impl Into<Cow<'static, str>>) -> usize {
        let members = {
            let mut state = self.0.lock();
            state.keys.clear();
            std::mem::take(&mut state.members)
        };
        close_all(&members, reason.into())
    }

    /// Number of members whose connections have not ended.
    pub fn len(&self) -> usize {
        let state = self.0.lock();
        state
            .members
            .iter()
            .filter(|member| !member.is_closed())
            .count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sends a message to all members. The bytes are copied once, or not at all if they are in an
    /// `Arc<[u8]>`. Bytes are a slice, an array or a `Vec<u8>`; a `String` has `into_bytes`. Never
    /// waits.
    pub fn broadcast(&self, message: impl Into<Arc<[u8]>>) -> Broadcast {
        self.send(message.into(), None)
    }

    /// Sends a message to all members but one, which is usually the one that it came from.
    ///
    /// ```
    /// use socketserver::testing::TestServer;
    /// use socketserver::{Builder, Group, Next, SlowMembers, StreamRequest};
    ///
    /// let room = Group::with_slow_members(SlowMembers::Skip);
    /// let shared = room.clone();
    /// let handler = move |request: &mut StreamRequest| {
    ///     let own = request.outbox(1024);
    ///     match request.rfile.take_all() {
    ///         b"join" => shared.join(&own),
    ///         b"leave" => shared.leave(&own),
    ///         text => drop(shared.broadcast_from(&own, text)),
    ///     }
    ///     Ok(Next::Wait)
    /// };
    /// let server = TestServer::new(Builder::new(), move |_| handler.clone());
    /// let [mut ada, mut bob] = [(); 2].map(|()| server.connect());
    /// ada.send(b"join");
    /// bob.send(b"join").send(b"hello");
    /// assert_eq!((ada.received(), bob.received()), (b"hello".to_vec(), vec![]));
    /// bob.send(b"leave");
    /// assert_eq!(room.close("the room is closed"), 1);
    /// assert!(ada.is_closed() && !bob.is_closed() && room.is_empty());
    /// ```
    pub fn broadcast_from(&self, sender: &Outbox, message: impl Into<Arc<[u8]>>) -> Broadcast {
        self.send(message.into(), Some(sender))
    }

    fn send(&self, message: Arc<[u8]>, except: Option<&Outbox>) -> Broadcast {
        let mut found = Broadcast::default();
        let mut calls = Calls::default();
        let mut too_slow = Vec::new();
        // Under the lock, so that two messages reach all members in the same order.
        let mut state = self.0.lock();
        let close = state.slow_members == SlowMembers::Close;
        state.retain(|member| {
            if except.is_some_and(|except| except.is_same(member)) {
                return true;
            }
            use std::sync::mpsc::TrySendError;
            match member.put(Arc::clone(&message)) {
                Ok(()) => {
                    found.delivered += 1;
                    calls.add(member);
                    true
                }
                Err(TrySendError::Full(_)) => {
                    found.slow += 1;
                    if close {
                        too_slow.push(member.clone());
                    }
                    !close
                }
                Err(TrySendError::Disconnected(_)) => false,
            }
        });
        drop(state);
        calls.ring();
        close_all(&too_slow, "it reads too slowly".into());
        found
    }
}

impl GroupState {
    /// Removes the members for which `stays` is false.
    fn retain(&mut self, mut stays: impl FnMut(&Outbox) -> bool) {
        let keys = &mut self.keys;
        self.members.retain(|member| {
            let stays = stays(member);
            if !stays {
                keys.remove(&member.key());
            }
            stays
        });
    }
}

/// Closes connections that have not ended. Returns how many. Not to be called under a group's lock:
/// the engine may serve them on this thread.
fn close_all(members: &[Outbox], reason: Cow<'static, str>) -> usize {
    let open = members.iter().filter(|member| !member.0.has_ended());
    open.inspect(|member| member.0.close(reason.clone()))
        .count()
}

/// The connections that must be served, so that each engine is rung once.
#[derive(Default)]
struct Calls(Vec<(Weak<dyn Ring>, Vec<usize>)>);

impl Calls {
    fn add(&mut self, member: &Outbox) {
        if !member.0.give(Signals::OUTPUT) {
            return;
        }
        let (ring, key) = member.0.bell();
        match self.0.iter_mut().find(|(known, _)| known.ptr_eq(ring)) {
            Some((_, keys)) => keys.push(key),
            None => self.0.push((ring.clone(), vec![key])),
        }
    }

    fn ring(self) {
        for (ring, keys) in self.0 {
            if let Some(ring) = ring.upgrade() {
                ring.ring(&keys);
            }
        }
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
