//! An HTTP client that adds nothing to what a test sends, and believes nothing of what it reads.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;

use crate::support::TestServer;

/// One response, read to the end that its head names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of a field that is there once.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.find(name)
            .unwrap_or_else(|| panic!("no {name} in {:?}", self.fields))
    }

    pub(crate) fn find(&self, name: &str) -> Option<&str> {
        let mut values = self
            .fields
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| &**value);
        let value = values.next();
        assert_eq!(values.next(), None, "{name} came twice");
        value
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn without_date(mut self) -> Answer {
        self.fields.retain(|(name, _)| name != "Date");
        self
    }
}

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Connection(BufReader<TcpStream>);

impl Connection {
    pub(crate) fn open(server: &TestServer) -> Connection {
        let stream = server.connect();
        stream.set_nodelay(true).unwrap();
        Connection(BufReader::new(stream))
    }

    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        self.0.get_mut()
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream().write_all(bytes.as_ref()).unwrap();
    }

    /// The response to any method but HEAD.
    pub(crate) fn receive(&mut self) -> Answer {
        let mut answer = self.receive_head();
        if answer.find("Transfer-Encoding") == Some("chunked") {
            answer.body = self.chunks();
        } else if !matches!(answer.status, 204 | 304) {
            let length = answer.field("Content-Length").parse().unwrap();
            self.0
                .by_ref()
                .take(length)
                .read_to_end(&mut answer.body)
                .unwrap();
            assert_eq!(answer.body.len() as u64, length, "the body was cut");
        }
        answer
    }

    /// A head alone.
    pub(crate) fn receive_head(&mut self) -> Answer {
        let status_line = self.line();
        let status = status_line
            .strip_prefix("HTTP/1.1 ")
            .unwrap_or_else(|| panic!("not a response: {status_line:?}"));
        let status = status.split(' ').next().unwrap().parse().unwrap();
        let mut fields = Vec::new();
        loop {
            let line = self.line();
            if line.is_empty() {
                return Answer {
                    status,
                    fields,
                    body: Vec::new(),
                };
            }
            let (name, value) = line.split_once(": ").unwrap();
            fields.push((name.to_owned(), value.to_owned()));
        }
    }

    /// A chunked body, to its last chunk.
    pub(crate) fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        self.copy_chunks(&mut body);
        body
    }

    /// Copies a chunked body. Returns its length.
    pub(crate) fn copy_chunks(&mut self, to: &mut impl Write) -> u64 {
        let mut total = 0;
        loop {
            let length = u64::from_str_radix(&self.line(), 16).unwrap();
            let copied = std::io::copy(&mut self.0.by_ref().take(length), to).unwrap();
            assert_eq!((copied, &*self.line()), (length, ""), "a chunk was cut");
            total += length;
            if length == 0 {
                return total;
            }
        }
    }

    fn line(&mut self) -> String {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line).unwrap();
        let line = line
            .strip_suffix(b"\r\n")
            .unwrap_or_else(|| panic!("not a line: {:?}", line.escape_ascii().to_string()));
        String::from_utf8(line.to_vec()).unwrap()
    }

    /// A whole exchange on a connection that stays.
    pub(crate) fn ask(&mut self, method: &str, target: &str, fields: &[&str]) -> Answer {
        self.send(request(method, target, fields));
        if method == "HEAD" {
            self.receive_head()
        } else {
            self.receive()
        }
    }

    /// What comes until the server ends the connection, by a reset perhaps.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                panic!("the connection stays open")
            }
            _ => rest,
        }
    }

    /// So many bytes of a body, dropped.
    pub(crate) fn skip(&mut self, length: u64) {
        let skipped =
            std::io::copy(&mut self.0.by_ref().take(length), &mut std::io::sink()).unwrap();
        assert_eq!(skipped, length, "the body was cut");
    }

    /// The server ends the connection, orderly, and says nothing more.
    pub(crate) fn assert_closed(&mut self) {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).unwrap();
        assert_eq!(
            rest.escape_ascii().to_string(),
            "",
            "bytes behind the last response"
        );
    }
}

/// A request of HTTP/1.1 with the fields given and a Host.
pub(crate) fn request(method: &str, target: &str, fields: &[&str]) -> Vec<u8> {
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    format!("{method} {target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n").into_bytes()
}

/// One exchange on a connection of its own, which must be closed behind the response.
pub(crate) fn ask(server: &TestServer, method: &str, target: &str, fields: &[&str]) -> Answer {
    let mut connection = Connection::open(server);
    let answer = connection.ask(method, target, &[fields, &["Connection: close"]].concat());
    connection.assert_closed();
    answer
}

pub(crate) fn get(server: &TestServer, target: &str) -> Answer {
    ask(server, "GET", target, &[])
}

/// Sends these bytes, reads the response, and asserts that the server closes the connection.
pub(crate) fn refused(server: &TestServer, bytes: impl AsRef<[u8]>) -> Answer {
    let mut connection = Connection::open(server);
    connection.send(bytes);
    let answer = connection.receive();
    assert_eq!(answer.find("Connection"), Some("close"));
    connection.assert_closed();
    answer
}
