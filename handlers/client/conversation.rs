//! Talking to a server that returns what it gets: a prompt on a terminal, a pipe elsewhere.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use super::Connection;
use super::output::{Output, quietly};
use crate::service::Failure;

/// Bytes that are sent before their echo is awaited: what two sockets' buffers hold without anybody
/// reading.
const WINDOW: usize = 16 * 1024;
const PROMPT: &[u8] = b">>> ";

/// Sends what the user types, or what is piped in, and prints what comes back.
///
/// # Errors
/// The connection failed, or the server doesn't answer.
pub fn converse(server: &mut Connection) -> Result<u8, Failure> {
    let prompting = io::stdin().is_terminal();
    let result = if prompting {
        prompt(|line| exchange_line(server, line))
    } else {
        pipe(server)
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

/// Sends a line without its end, as the tutorials' clients do, and prints as many bytes as were
/// sent.
fn exchange_line(server: &mut Connection, line: &[u8]) -> io::Result<()> {
    for part in line.chunks(WINDOW) {
        exchange(server, part)?;
    }
    print(&[b"\n"])
}

/// Standard input to the server, its answers to standard output.
fn pipe(server: &mut Connection) -> io::Result<()> {
    let mut input = io::stdin().lock();
    loop {
        let bytes = input.fill_buf()?;
        if bytes.is_empty() {
            break;
        }
        let taken = bytes.len().min(WINDOW);
        exchange(server, &bytes[..taken])?;
        input.consume(taken);
    }
    server.finish_writing()?;
    io::copy(server, &mut Output::lock()).map(drop)
}

/// Sends bytes and prints as many.
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

/// Writes to standard output at once.
pub(crate) fn print(parts: &[&[u8]]) -> io::Result<()> {
    let mut output = Output::lock();
    parts.iter().try_for_each(|part| output.write_all(part))?;
    output.flush()
}
