//! The access log, in the Combined format of Apache and nginx.

use std::cell::RefCell;
use std::io::{self, Write};
use std::path::Path;

use socketserver::ClientAddress;

use super::log_writer::{LogWriter, Opened, Target, escape_into};

/// A request, as it is logged.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The address of the client.
    pub client: &'a ClientAddress,
    /// The name of the logged-in user; `None` for clients without a login.
    pub user: Option<&'a str>,
    /// The request line.
    pub request_line: &'a [u8],
    /// The status of the response.
    pub status: u16,
    /// Number of bytes of the response body that were sent. It is less than the length of the body
    /// if the client disconnected.
    pub bytes: u64,
    /// The `Referer` header.
    pub referer: Option<&'a [u8]>,
    /// The `User-Agent` header.
    pub user_agent: Option<&'a [u8]>,
    /// The time of the response, such as `Sun, 06 Nov 1994 08:49:37 GMT`.
    pub date: &'a [u8; 29],
}

/// A log of requests, which a thread of its own writes.
#[derive(Debug)]
pub struct AccessLog(LogWriter);

impl AccessLog {
    /// Opens a file for appending; `-` is standard error. Before the call of
    /// [`start`](AccessLog::start), the threads that log lines write them.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(path: &Path) -> io::Result<AccessLog> {
        Ok(AccessLog(LogWriter::open(Target::new(path))?))
    }

    /// Starts the thread that writes the lines from now on.
    ///
    /// # Errors
    /// The system cannot create a thread.
    pub fn start(&self) -> io::Result<()> {
        self.0.start()
    }

    pub(crate) fn open_anew(&self) -> io::Result<Opened> {
        self.0.open_anew()
    }

    pub(crate) fn switch(&self, opened: Opened) {
        self.0.switch(opened);
    }

    /// Writes the remaining lines, before the process ends.
    pub fn finish(&self) {
        self.0.finish();
    }

    /// Logs a request.
    pub fn log(&self, record: &Record<'_>) {
        thread_local!(static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });
        LINE.with_borrow_mut(|line| {
            line.clear();
            format_into(line, record);
            self.0.line(line);
        });
    }
}

/// Formats a line like `127.0.0.1 - - [10/Oct/2000:13:55:36 +0000] "GET / HTTP/1.1" 200 2326 "-"
/// "curl"`.
fn format_into(line: &mut Vec<u8>, record: &Record<'_>) {
    // Writing to a Vec cannot fail.
    let _ = match record.client.ip() {
        Some(ip) => write!(line, "{ip}"),
        None => write!(line, "{}", record.client),
    };
    let date = record.date;
    line.extend_from_slice(b" - ");
    push_name(line, record.user.unwrap_or("-"));
    line.extend_from_slice(b" [");
    for (piece, separator) in [
        (&date[5..7], b'/'),
        (&date[8..11], b'/'),
        (&date[12..16], b':'),
        (&date[17..25], b' '),
    ] {
        line.extend_from_slice(piece);
        line.push(separator);
    }
    line.extend_from_slice(b"+0000] \"");
    escape_into(line, record.request_line);
    let _ = write!(line, "\" {} {} \"", record.status, record.bytes);
    escape_into(line, record.referer.unwrap_or(b"-"));
    line.extend_from_slice(b"\" \"");
    escape_into(line, record.user_agent.unwrap_or(b"-"));
    line.extend_from_slice(b"\"\n");
}

/// Appends a name as one field. Blanks in it are escaped, because they separate fields.
fn push_name(line: &mut Vec<u8>, name: &str) {
    for (at, word) in name.split(' ').enumerate() {
        line.extend_from_slice(if at == 0 { b"" } else { b"\\x20" });
        escape_into(line, word.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_combined_format_and_stays_a_line() {
        let client = ClientAddress::from("192.0.2.1:99".parse::<std::net::SocketAddr>().unwrap());
        let mut line = Vec::new();
        let record = Record {
            client: &client,
            user: Some("ada \"l"),
            request_line: b"GET /\"\n\xe4 HTTP/1.1",
            status: 404,
            bytes: 17,
            referer: None,
            user_agent: Some(b"curl\\8"),
            date: b"Sun, 06 Nov 1994 08:49:37 GMT",
        };
        format_into(&mut line, &record);
        let expected = "192.0.2.1 - ada\\x20\\x22l [06/Nov/1994:08:49:37 +0000] \"GET \
                        /\\x22\\x0A\\xE4 HTTP/1.1\" 404 17 \"-\" \"curl\\x5C8\"\n";
        assert_eq!(String::from_utf8(line).unwrap(), expected);
    }
}
