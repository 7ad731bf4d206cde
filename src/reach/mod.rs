//! How a connection is reached from outside: by other threads, and by other connections.
//!
//! A [`Link`] belongs to one connection. Other threads leave something in it (a wake, output, the
//! wish to close it) and then ring the engine, which has the connection served. Nothing of this
//! touches the connection itself, which is parked or in the hands of one thread as always.

mod group;
mod link;
mod mailbox;
mod outbox;
mod waker;

pub use group::{Broadcast, Group, SlowMembers};
pub(crate) use link::{Link, Ring, Signals, Silent};
pub(crate) use mailbox::mailbox;
pub use mailbox::{Mailbox, MailboxSender};
pub use outbox::Outbox;
pub use waker::Waker;
