//! kqueue, event ports or epoll, through the `polling` crate.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use polling::PollMode;

use super::{Event, Interest, Mode};

#[derive(Debug)]
pub(crate) struct Poller(polling::Poller);

/// Room for the events of one wait.
pub(crate) struct Events(polling::Events);

impl Events {
    pub(crate) fn new() -> Events {
        Events(polling::Events::new())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Event> {
        self.0.iter().map(|event| Event {
            key: event.key,
            maybe_eof: true,
        })
    }
}

impl Poller {
    pub(crate) fn new() -> io::Result<Poller> {
        Ok(Poller(polling::Poller::new()?))
    }

    #[allow(unsafe_code)]
    pub(crate) fn add(
        &self,
        fd: BorrowedFd<'_>,
        key: usize,
        interest: Interest,
        mode: Mode,
    ) -> io::Result<()> {
        crate::sys::poller_add(
            &self.0,
            fd.as_raw_fd(),
            event(key, interest),
            poll_mode(mode),
        )
    }

    pub(crate) fn modify(
        &self,
        fd: BorrowedFd<'_>,
        key: usize,
        interest: Interest,
        mode: Mode,
    ) -> io::Result<()> {
        self.0
            .modify_with_mode(fd, event(key, interest), poll_mode(mode))
    }

    pub(crate) fn delete(&self, fd: BorrowedFd<'_>) {
        // Fails only for a descriptor that was never added: then there is nothing to take out.
        let _ = self.0.delete(fd);
    }

    /// Waits for events or a notification; may return without any.
    pub(crate) fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.0.clear();
        match self.0.wait(&mut events.0, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    /// Ends the present wait, or the next one.
    pub(crate) fn notify(&self) {
        // Fails only when the notifier is full: then a wake-up is pending anyway.
        let _ = self.0.notify();
    }
}

fn event(key: usize, interest: Interest) -> polling::Event {
    match interest {
        Interest::Nothing => polling::Event::none(key),
        Interest::Read => polling::Event::readable(key),
        Interest::ReadWrite => polling::Event::all(key),
    }
}

fn poll_mode(mode: Mode) -> PollMode {
    match mode {
        Mode::Edge => PollMode::Edge,
        Mode::Level => PollMode::Level,
    }
}
