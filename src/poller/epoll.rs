//! epoll, through rustix's safe calls.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;

use super::{Event, Interest, Mode};

const NOTIFY: u64 = u64::MAX;

#[derive(Debug)]
pub(crate) struct Poller {
    epoll: OwnedFd,
    notifier: OwnedFd,
}

/// Events of one wait. With more, the leader spends long on one batch while the other threads find
/// nothing to do: with 256, and 1,000 busy connections, p99 is a third higher.
const EVENTS_PER_WAIT: usize = 64;

/// After one of these a short read does not prove that the socket is empty: an end, or an error,
/// may follow, and a read stops before urgent data (tcp(7), MSG_OOB).
const UNPROVEN: EventFlags = EventFlags::RDHUP
    .union(EventFlags::HUP)
    .union(EventFlags::ERR)
    .union(EventFlags::PRI);

/// Room for the events of one wait.
pub(crate) struct Events(Vec<epoll::Event>);

impl Events {
    pub(crate) fn new() -> Events {
        Events(Vec::with_capacity(EVENTS_PER_WAIT))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Event> {
        self.0
            .iter()
            .filter(|event| event.data.u64() != NOTIFY)
            .map(|event| {
                let flags = event.flags;
                let maybe_eof = flags.intersects(UNPROVEN);
                Event {
                    key: event.data.u64() as usize,
                    maybe_eof,
                }
            })
    }
}

impl Poller {
    pub(crate) fn new() -> io::Result<Poller> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let notifier = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        // Edge-triggered: every write is one wake-up, and the counter need not be read back.
        epoll::add(
            &epoll,
            &notifier,
            EventData::new_u64(NOTIFY),
            EventFlags::IN | EventFlags::ET,
        )?;
        Ok(Poller { epoll, notifier })
    }

    pub(crate) fn add(
        &self,
        fd: BorrowedFd<'_>,
        key: usize,
        interest: Interest,
        mode: Mode,
    ) -> io::Result<()> {
        Ok(epoll::add(
            &self.epoll,
            fd,
            EventData::new_u64(key as u64),
            flags(interest, mode),
        )?)
    }

    pub(crate) fn modify(
        &self,
        fd: BorrowedFd<'_>,
        key: usize,
        interest: Interest,
        mode: Mode,
    ) -> io::Result<()> {
        Ok(epoll::modify(
            &self.epoll,
            fd,
            EventData::new_u64(key as u64),
            flags(interest, mode),
        )?)
    }

    pub(crate) fn delete(&self, fd: BorrowedFd<'_>) {
        // Fails only for a descriptor that was never added: then there is nothing to take out.
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Waits for events or a notification; may return without any.
    pub(crate) fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.0.clear();
        let timeout = timeout.and_then(|t| Timespec::try_from(t).ok());
        match epoll::wait(&self.epoll, spare_capacity(&mut events.0), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Ends the present wait, or the next one.
    pub(crate) fn notify(&self) {
        // The counter can only be full after 2^64 writes; then a wake-up is pending anyway.
        let _ = rustix::io::write(&self.notifier, &1u64.to_ne_bytes());
    }
}

fn flags(interest: Interest, mode: Mode) -> EventFlags {
    let interest = match interest {
        Interest::Nothing => EventFlags::empty(),
        Interest::Read => EventFlags::IN | EventFlags::PRI | EventFlags::RDHUP,
        Interest::ReadWrite => {
            EventFlags::IN | EventFlags::PRI | EventFlags::RDHUP | EventFlags::OUT
        }
    };
    match mode {
        Mode::Edge => interest | EventFlags::ET,
        Mode::Level => interest,
    }
}
