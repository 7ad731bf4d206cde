//! A key-value server that speaks the protocol of Redis (RESP 2), for `redis-cli -p 6380`, or `nc`:
//! `cargo run --example key_value [HOST:PORT]`.
//!
//! It shows a binary protocol whose messages come in pieces: `parse` is a pure function of the
//! bytes that have arrived, and takes nothing before a request is complete.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

use parking_lot::Mutex;
use socketserver::{
    Builder, Error, Next, Result, StreamRequest, StreamRequestHandler, shutdown_on_ctrl_c,
};

const MAX_ARGUMENTS: usize = 1024;

type Store = Arc<Mutex<HashMap<Vec<u8>, Vec<u8>>>>;

struct KeyValue(Store);

/// One request.
struct Command<'a> {
    words: Vec<&'a [u8]>,
    /// Its length in bytes.
    length: usize,
}

/// The first request; `None` if it is not complete.
fn parse(bytes: &[u8]) -> Result<Option<Command<'_>>> {
    let mut at = 0;
    let Some(line) = take_line(bytes, &mut at) else {
        return Ok(None);
    };
    // What a person types into `nc` is one line of words.
    let Some(count) = line.strip_prefix(b"*") else {
        let words = line.split(|byte| *byte == b' ');
        let words = words.filter(|word| !word.is_empty()).collect();
        return Ok(Some(Command { words, length: at }));
    };
    let mut words = Vec::new();
    for _ in 0..number(count)?.min(MAX_ARGUMENTS) {
        let Some(line) = take_line(bytes, &mut at) else {
            return Ok(None);
        };
        let length = number(line.strip_prefix(b"$").ok_or_else(malformed)?)?;
        let end = at.saturating_add(length);
        let Some(word) = bytes.get(at..end) else {
            return Ok(None);
        };
        if bytes.len() < end + 2 {
            return Ok(None);
        }
        words.push(word);
        at = end + 2;
    }
    Ok(Some(Command { words, length: at }))
}

/// The line that begins at `at`, without its end; moves `at` behind it.
fn take_line<'a>(bytes: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    let rest = &bytes[*at..];
    let length = rest.iter().position(|byte| *byte == b'\n')?;
    *at += length + 1;
    let line = &rest[..length];
    Some(line.strip_suffix(b"\r").unwrap_or(line))
}

fn number(text: &[u8]) -> Result<usize> {
    let text = std::str::from_utf8(text).map_err(|_| malformed())?;
    text.parse().map_err(|_| malformed())
}

fn malformed() -> Error {
    Error::Protocol("the request is not RESP".to_owned())
}

impl KeyValue {
    fn answer(&self, words: &[&[u8]], out: &mut impl Write) -> std::io::Result<()> {
        let mut store = self.0.lock();
        let command = words[0].to_ascii_uppercase();
        match (&*command, &words[1..]) {
            (b"PING", []) => out.write_all(b"+PONG\r\n"),
            (b"SET", [key, value]) => {
                store.insert(key.to_vec(), value.to_vec());
                out.write_all(b"+OK\r\n")
            }
            (b"GET", [key]) => match store.get(*key) {
                Some(value) => {
                    write!(out, "${}\r\n", value.len())?;
                    out.write_all(value)?;
                    out.write_all(b"\r\n")
                }
                None => out.write_all(b"$-1\r\n"),
            },
            (b"DEL", keys) => {
                let removed = keys.iter().filter(|key| store.remove(**key).is_some());
                write!(out, ":{}\r\n", removed.count())
            }
            _ => out.write_all(b"-ERR unknown command or wrong number of arguments\r\n"),
        }
    }
}

impl StreamRequestHandler for KeyValue {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        let mut used = 0;
        while let Some(command) = parse(&request.rfile.buffer()[used..])? {
            if !command.words.is_empty() {
                self.answer(&command.words, &mut request.wfile)?;
            }
            used += command.length;
        }
        std::io::BufRead::consume(&mut request.rfile, used);
        Ok(if request.rfile.is_eof() {
            Next::Close
        } else {
            Next::Wait
        })
    }
}

fn main() -> Result<()> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:6380".to_owned());
    let store = Store::default();
    let mut server = Builder::new().tcp(&address, move |_| KeyValue(Arc::clone(&store)))?;
    shutdown_on_ctrl_c(server.handle())?;
    writeln!(
        std::io::stdout(),
        "key-value listening on {}",
        server.server_address().url("tcp")
    )?;
    server.serve_forever()
}
