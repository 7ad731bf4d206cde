//! The queue of a session: lines that were received and have not run yet.

use socketserver::StreamRequest;

use super::Session;
use crate::ftp::command::{Command, Line};
use crate::ftp::verbs::{self, Entry};

/// Maximum number of lines in the queue. Further lines stay in the buffers of the connection.
const MAX_QUEUED: usize = 128;

/// A line that was received.
pub(super) struct Queued {
    pub(super) line: Line,
    /// Whether the line was in the queue when the transfer began. Such a line waits for the end of
    /// the transfer.
    pub(super) is_behind_transfer: bool,
}

impl Queued {
    /// The queue entry of a command that runs again later.
    pub(super) fn again(entry: &Entry, argument: &[u8]) -> Queued {
        Queued {
            line: Line::Command(Command {
                verb: entry.name.as_bytes().to_vec(),
                argument: argument.to_vec(),
            }),
            is_behind_transfer: false,
        }
    }
}

impl Session {
    /// Puts the received lines into the queue.
    pub(super) fn read_lines(&mut self, request: &mut StreamRequest) {
        while self.queue.len() < MAX_QUEUED {
            let (taken, line) = self.parser.next(request.rfile.buffer());
            request.rfile.take_exact(taken);
            match line {
                Some(line) => self.queue.push_back(Queued {
                    line,
                    is_behind_transfer: false,
                }),
                None if taken == 0 => break,
                None => {}
            }
        }
    }

    /// Takes the next line that may run now from the queue.
    pub(super) fn next_line(&mut self) -> Option<Line> {
        if self.transfer.is_none() {
            return self.queue.pop_front().map(|queued| queued.line);
        }
        let urgent = self.queue.iter().position(|queued| is_urgent(&queued.line));
        let at = urgent.or_else(|| {
            let first = self.queue.front()?;
            (!first.is_behind_transfer && self.may_run(&first.line)).then_some(0)
        });
        self.queue.remove(at?).map(|queued| queued.line)
    }

    /// Whether a line may run during a transfer.
    fn may_run(&self, line: &Line) -> bool {
        let Line::Command(command) = line else {
            return true;
        };
        let Some(entry) = verbs::find(&command.verb) else {
            return true;
        };
        // A command that needs a login is refused before the login, so it does not wait.
        entry.during_transfer || entry.needs_login && self.login.view.is_none()
    }
}

/// Whether a line overtakes the other lines in the queue during a transfer.
fn is_urgent(line: &Line) -> bool {
    match line {
        Line::Command(command) => {
            command.verb == b"ABOR" || command.verb == b"STAT" && command.argument.is_empty()
        }
        Line::TooLong => false,
    }
}
