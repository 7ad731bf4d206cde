//! `client exec`: runs a command on a server, with the output and exit code of a local command.

use std::io::{self, Read, Write};
use std::time::Duration;

use clap::Args;
use socketserver::Address;

use super::answer::{Framing, Head, READY};
use super::request::LONGEST;
use crate::client::output::{Output, quietly};
use crate::client::{Client, ClientOptions, Connection};
use crate::common::framing;
use crate::common::values::patience;
use crate::service::{Failure, refusal_in};

/// The length in [`Framing::Ack`] has no delimiter. It is complete when no byte was received for
/// this time.
const SILENCE_TIMEOUT: Duration = Duration::from_millis(100);

/// The default of a server's `--command-timeout`, after which it ends a command.
const SERVER_TIMEOUT: Duration = Duration::from_secs(60);

/// The options of `client exec`.
#[derive(Debug, Args)]
pub struct ExecClient {
    /// Framing of the server's answers; only json carries the exit code and separates standard
    /// error
    #[arg(long, value_enum, default_value = "json")]
    framing: Framing,
    /// Maximum time of the command [default: 60s, the default of servers, plus --timeout]
    #[arg(long, value_name = "TIME", value_parser = patience)]
    command_timeout: Option<Duration>,
    /// The command: several words are sent so that the server sees the same words, one is sent as
    /// it is
    #[arg(
        value_name = "COMMAND",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    command: Vec<String>,
}

impl Client for ExecClient {
    fn run(self, address: &Address, options: &ClientOptions) -> Result<u8, Failure> {
        let command = match &self.command[..] {
            [text] => text.clone(),
            words => shell_words::join(words),
        };
        let payload = serde_json::json!({ "cmd": command }).to_string();
        if payload.len() > LONGEST {
            return Err(Failure::usage(format!(
                "the command is too long: at most {LONGEST} bytes can be sent"
            )));
        }
        let mut server = Connection::open(address, options)?;
        let code = self.exchange(&mut server, payload.as_bytes(), options.timeout);
        quietly(code, |error| {
            Failure::run(format!("{address}: {}", explained(&error)))
        })
    }
}

/// Explains an error. A server that does not know the key closes the connection without a message.
fn explained(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            "the server closed the connection before its answer was whole; is the key right?"
                .to_owned()
        }
        _ => error.to_string(),
    }
}

impl ExecClient {
    /// Sends the request, prints the answer, and returns the command's exit code.
    fn exchange(
        &self,
        server: &mut Connection,
        payload: &[u8],
        timeout: Duration,
    ) -> io::Result<u8> {
        framing::write(server, payload)?;
        server.flush()?;
        if self.framing == Framing::Raw {
            // Only the end of the stream shows where the answer ends, so a connection can carry
            // only one request.
            server.finish_writing()?;
        }
        server.set_read_timeout(Some(
            self.command_timeout.unwrap_or(SERVER_TIMEOUT + timeout),
        ))?;
        let (stdout, stderr) = (&mut Output::lock(), &mut io::stderr().lock());
        match self.framing {
            Framing::Json => {
                let head: Head = serde_json::from_slice(&framing::read(server, LONGEST)?)?;
                server.set_read_timeout(Some(timeout))?;
                let output = head
                    .data_size
                    .checked_sub(head.stderr_size)
                    .ok_or_else(|| unreadable("sizes"))?;
                copy(server, output, stdout)?;
                copy(server, head.stderr_size, stderr)?;
                if head.truncated {
                    writeln!(
                        stderr,
                        "socketserver: the command was killed, as its output grew too long"
                    )?;
                }
                return Ok(u8::try_from(head.exit_code).unwrap_or(1));
            }
            Framing::Struct => {
                let mut length = [0; framing::PREFIX];
                server.read_exact(&mut length)?;
                server.set_read_timeout(Some(timeout))?;
                let length =
                    u64::try_from(i32::from_le_bytes(length)).map_err(|_| unreadable("length"))?;
                copy(server, length, stdout)?;
            }
            Framing::Ack => {
                let length = read_decimal(server)?;
                server.set_read_timeout(Some(timeout))?;
                server.write_all(READY)?;
                server.flush()?;
                copy(server, length, stdout)?;
            }
            Framing::Raw => drop(io::copy(server, stdout)?),
        }
        stdout.flush()?;
        Ok(0)
    }
}

/// Reads the length in decimal digits, until no more bytes arrive.
fn read_decimal(server: &mut Connection) -> io::Result<u64> {
    const MAX_DIGITS: usize = 20;
    let mut digits = Vec::new();
    let mut buffer = [0; MAX_DIGITS];
    while digits.len() <= MAX_DIGITS {
        match server.read(&mut buffer) {
            Ok(0) if digits.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(0) => break,
            Ok(count) => digits.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::TimedOut && !digits.is_empty() => break,
            Err(error) => return Err(error),
        }
        server.set_read_timeout(Some(SILENCE_TIMEOUT))?;
    }
    if let Some(reason) = refusal_in(&digits) {
        return Err(io::Error::other(format!(
            "the server refused the connection: {reason}"
        )));
    }
    std::str::from_utf8(&digits)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| unreadable("length"))
}

/// Copies `count` bytes of the answer to `out`.
fn copy(server: &mut Connection, count: u64, out: &mut impl Write) -> io::Result<()> {
    let copied = io::copy(&mut server.take(count), out)?;
    out.flush()?;
    if copied < count {
        Err(io::ErrorKind::UnexpectedEof.into())
    } else {
        Ok(())
    }
}

fn unreadable(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the answer's {what} can't be right; does the server use another --framing?"),
    )
}
