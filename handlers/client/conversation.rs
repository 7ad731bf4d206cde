//! Exchanges bytes with a server that returns them: with a prompt on a terminal, and otherwise as a
//! pipe.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::Connection;
use super::output::{Output, quietly};
use crate::service::Failure;

/// Number of bytes of a line that are sent before their echo is read. The buffers of two sockets
/// hold this many bytes even if no program reads.
const WINDOW: usize = 16 * 1024;
/// Number of bytes that a writable socket accepts without blocking: it is writable if a third of
/// its buffer is free.
const CHUNK: usize = 4096;
const PROMPT: &[u8] = b">>> ";

/// Sends the user's input or the piped input, and prints the bytes that are returned.
///
/// `input_is_there` is whether a part of the standard input is in its buffer already.
///
/// # Errors
/// The connection failed, or the server does not answer.
pub fn converse(server: &mut Connection, input_is_there: bool) -> Result<u8, Failure> {
    let prompting = io::stdin().is_terminal();
    let result = if prompting {
        prompt(|line| exchange_line(server, line))
    } else {
        Pipe::new(input_is_there).run(server)
    };
    quietly(result.map(|()| 0), Failure::run)
}

/// Asks for lines until `quit` or the end of input.
pub(crate) fn prompt(mut exchange: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        print(&[PROMPT])?;
        line.clear();
        if io::stdin().lock().read_until(b'\n', &mut line)? == 0 {
            return print(&[b"\n"]);
        }
        match line.trim_ascii_end() {
            b"" => {}
            b"quit" => return Ok(()),
            text => exchange(text)?,
        }
    }
}

/// Sends a line without its line end, as the clients of the tutorials do, and prints as many bytes
/// as were sent.
fn exchange_line(server: &mut Connection, line: &[u8]) -> io::Result<()> {
    for part in line.chunks(WINDOW) {
        exchange(server, part)?;
    }
    print(&[b"\n"])
}

/// Copies standard input to the server, and the server's bytes to standard output, both at the same
/// time. A server may answer late, and with more or fewer bytes, for example if it works line by
/// line.
struct Pipe {
    /// Input that is not sent yet, from `sent` on.
    unsent: Vec<u8>,
    sent: usize,
    /// Whether the next read of the input will not block.
    input_is_there: bool,
    input_has_ended: bool,
    /// Number of bytes that were sent and not returned yet.
    unanswered: usize,
    /// Whether the server has sent anything.
    has_answered: bool,
    /// The time of the last byte that was sent or received.
    since: Instant,
}

/// The operations that will not block.
struct Ready {
    input: bool,
    readable: bool,
    writable: bool,
}

impl Pipe {
    fn new(input_is_there: bool) -> Pipe {
        Pipe {
            unsent: Vec::new(),
            sent: 0,
            input_is_there,
            input_has_ended: false,
            unanswered: 0,
            has_answered: false,
            since: Instant::now(),
        }
    }

    fn run(mut self, server: &mut Connection) -> io::Result<()> {
        let mut buffer = vec![0; WINDOW];
        loop {
            let ready = self.wait(server)?;
            if ready.readable {
                let count = server.read(&mut buffer)?;
                if count == 0 {
                    return self.end();
                }
                print(&[&buffer[..count]])?;
                self.has_answered = true;
                self.unanswered = self.unanswered.saturating_sub(count);
                self.since = Instant::now();
            }
            if ready.writable {
                self.send(server)?;
            }
            if ready.input {
                self.read_input(server)?;
            }
        }
    }

    /// Handles a connection that the server has closed.
    fn end(&self) -> io::Result<()> {
        // A server that closes the connection without a byte has refused it, for example because of
        // a wrong key.
        if self.input_has_ended && (self.has_answered || self.unanswered == 0) {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the server closed the connection",
        ))
    }

    fn send(&mut self, server: &mut Connection) -> io::Result<()> {
        let rest = &self.unsent[self.sent..];
        let chunk = &rest[..rest.len().min(CHUNK)];
        server.write_all(chunk)?;
        server.flush()?;
        self.sent += chunk.len();
        self.unanswered += chunk.len();
        self.since = Instant::now();
        if self.sent == self.unsent.len() {
            self.unsent.clear();
            self.sent = 0;
        }
        Ok(())
    }

    fn read_input(&mut self, server: &mut Connection) -> io::Result<()> {
        let mut input = io::stdin().lock();
        self.unsent.extend_from_slice(input.fill_buf()?);
        // The whole buffer must be taken, because poll(2) reports only bytes that are not buffered
        // yet.
        input.consume(self.unsent.len());
        self.input_is_there = false;
        if self.unsent.is_empty() {
            self.input_has_ended = true;
            self.since = Instant::now();
            server.finish_writing()?;
        }
        Ok(())
    }

    /// Waits until an operation is possible, or the server has been silent for too long.
    fn wait(&self, server: &Connection) -> io::Result<Ready> {
        let to_send = !self.unsent.is_empty();
        let wants_input = !to_send && !self.input_has_ended;
        if wants_input && self.input_is_there {
            return Ok(Ready {
                input: true,
                readable: false,
                writable: false,
            });
        }
        let mut interest = PollFlags::IN;
        interest.set(PollFlags::OUT, to_send);
        let stdin = io::stdin();
        let mut fds = vec![PollFd::from_borrowed_fd(server.as_fd(), interest)];
        if wants_input {
            fds.push(PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN));
        }
        let awaits_answer = to_send || self.unanswered > 0 || self.input_has_ended;
        let left = server.timeout().saturating_sub(self.since.elapsed());
        let time = awaits_answer
            .then(|| Timespec::try_from(left).ok())
            .flatten();
        match poll(&mut fds, time.as_ref()) {
            Ok(0) => return Err(super::no_answer()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let socket = fds[0].revents();
        let input = fds.get(1).is_some_and(|input| !input.revents().is_empty());
        let readable = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
        Ok(Ready {
            input,
            readable: socket.intersects(readable),
            writable: to_send && socket.contains(PollFlags::OUT),
        })
    }
}

/// Sends bytes, and prints as many received bytes.
fn exchange(server: &mut Connection, bytes: &[u8]) -> io::Result<()> {
    server.write_all(bytes)?;
    server.flush()?;
    let mut buffer = [0; 4096];
    let mut left = bytes.len();
    while left > 0 {
        let room = left.min(buffer.len());
        let count = server.read(&mut buffer[..room])?;
        if count == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the server closed the connection",
            ));
        }
        print(&[&buffer[..count]])?;
        left -= count;
    }
    Ok(())
}

/// Writes to standard output, and flushes it.
pub(crate) fn print(parts: &[&[u8]]) -> io::Result<()> {
    let mut output = Output::lock();
    parts.iter().try_for_each(|part| output.write_all(part))?;
    output.flush()
}
