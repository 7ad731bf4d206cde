//! Finds the end of a head, and faults in its lines as they come.

use std::ops::Range;

use memchr::memchr;

use super::{HeadError, MAX_FIELDS, MAX_HEAD, MAX_METHOD, MAX_TARGET, Version, fields};

const VERSION: &[u8] = b"HTTP/d.d\r\n";

/// What is known of a head that is still coming. Offsets are into the connection's buffer.
#[derive(Clone, Debug, Default)]
pub struct Scanner {
    /// The request line is read up to here.
    checked: usize,
    /// Where the method begins, behind an empty line if there is one.
    start: Option<usize>,
    method_end: Option<usize>,
    target_end: Option<usize>,
    version: Option<Version>,
    /// Where the field lines begin, 0 while the request line is not whole.
    fields: usize,
    /// The first line not yet whole.
    line: usize,
    /// No LF between `line` and here.
    searched: usize,
    /// Field lines before this offset hold valid names and values.
    valid: usize,
    count: usize,
}

/// Where the parts of a request line are.
pub(super) struct RequestLine {
    pub(super) method: Range<usize>,
    pub(super) target: Range<usize>,
    pub(super) version: Version,
}

/// Where the parts of a whole head are.
pub(super) struct Lines {
    pub(super) request: RequestLine,
    pub(super) fields: Range<usize>,
    pub(super) count: usize,
    /// Behind the blank line.
    pub(super) end: usize,
}

impl Scanner {
    /// `None` while the head is not whole.
    pub(super) fn scan(&mut self, buf: &[u8]) -> Result<Option<Lines>, HeadError> {
        let buf = &buf[..buf.len().min(MAX_HEAD)];
        if buf.len() < self.checked.max(self.line) {
            *self = Self::default();
        }
        let found = match self.request_line(buf)? {
            Some(request) => self
                .field_lines(buf)
                .map(|end| end.map(|end| (request, end))),
            None => Ok(None),
        };
        if let Ok(Some((request, end))) = found {
            return Ok(Some(Lines {
                request,
                fields: self.fields..self.line,
                count: self.count,
                end,
            }));
        }
        // Faults are told in the order of the bytes: first what the lines before hold.
        if self.valid < self.line {
            fields::validate(&buf[self.valid..self.line])?;
            self.valid = self.line;
        }
        found?;
        if buf.len() == MAX_HEAD {
            return Err(HeadError::new(431, "the head is too long"));
        }
        Ok(None)
    }

    /// Method, target and version once they are whole (RFC 9112 §3): one space between
    /// them, none before, none behind.
    fn request_line(&mut self, buf: &[u8]) -> Result<Option<RequestLine>, HeadError> {
        let Some(start) = self.skip_empty_line(buf) else {
            return Ok(None);
        };
        let Some(method_end) = self.method_end(buf, start)? else {
            return Ok(None);
        };
        let Some(target_end) = self.target_end(buf, method_end + 1)? else {
            return Ok(None);
        };
        let Some(version) = self.version(buf, target_end + 1)? else {
            return Ok(None);
        };
        Ok(Some(RequestLine {
            method: start..method_end,
            target: method_end + 1..target_end,
            version,
        }))
    }

    /// One CRLF before the request line is skipped (RFC 9112 §2.2). `None`: too early to say.
    fn skip_empty_line(&mut self, buf: &[u8]) -> Option<usize> {
        if self.start.is_none() {
            self.start = match buf {
                [] | [b'\r'] => None,
                [b'\r', b'\n', ..] => Some(2),
                _ => Some(0),
            };
            self.checked = self.start.unwrap_or(0);
        }
        self.start
    }

    fn method_end(&mut self, buf: &[u8], start: usize) -> Result<Option<usize>, HeadError> {
        if self.method_end.is_some() {
            return Ok(self.method_end);
        }
        let end = self.run(buf, fields::is_token);
        if end - start > MAX_METHOD {
            return Err(HeadError::new(501, "the method is too long"));
        }
        match buf.get(end) {
            None => return Ok(None),
            Some(b' ') if end > start => {}
            Some(_) => return Err(HeadError::bad("the method is not a token")),
        }
        self.method_end = Some(end);
        self.checked = end + 1;
        Ok(self.method_end)
    }

    fn target_end(&mut self, buf: &[u8], start: usize) -> Result<Option<usize>, HeadError> {
        if self.target_end.is_some() {
            return Ok(self.target_end);
        }
        let end = self.run(buf, |byte| byte.is_ascii_graphic() && byte != b'#');
        if end - start > MAX_TARGET {
            return Err(HeadError::new(414, "the target is too long"));
        }
        match buf.get(end) {
            None => return Ok(None),
            Some(b' ') if end > start => {}
            Some(b' ') => return Err(HeadError::bad("more than one space in the request line")),
            Some(b'\r' | b'\n') => return Err(HeadError::bad("the request line has no version")),
            Some(_) => return Err(HeadError::bad("an invalid byte in the target")),
        }
        self.target_end = Some(end);
        self.checked = end + 1;
        Ok(self.target_end)
    }

    /// RFC 9112 §2.3: the name in capitals, one digit, a dot, one digit; here with its CRLF.
    fn version(&mut self, buf: &[u8], start: usize) -> Result<Option<Version>, HeadError> {
        if self.version.is_some() {
            return Ok(self.version);
        }
        let sent = &buf[start..];
        for (&byte, &wanted) in sent.iter().zip(VERSION) {
            match wanted {
                b'd' if byte.is_ascii_digit() => {}
                _ if byte == wanted && wanted != b'd' => {}
                b'\n' => return Err(HeadError::bad("a CR without LF")),
                b'\r' if byte == b'\n' => return Err(HeadError::bad("a LF without CR")),
                b'\r' => return Err(HeadError::bad("bytes behind the version")),
                _ => return Err(HeadError::bad("malformed version")),
            }
        }
        if sent.len() < VERSION.len() {
            return Ok(None);
        }
        self.version = match (sent[5], sent[7]) {
            (b'1', b'0') => Some(Version::Http10),
            (b'1', _) => Some(Version::Http11),
            _ => return Err(HeadError::new(505, "not HTTP/1.x")),
        };
        self.fields = start + VERSION.len();
        self.line = self.fields;
        self.valid = self.fields;
        Ok(self.version)
    }

    /// The first byte from `checked` on that is not `good`, or the end of `buf`.
    fn run(&mut self, buf: &[u8], good: impl Fn(u8) -> bool) -> usize {
        let rest = &buf[self.checked..];
        self.checked += rest
            .iter()
            .position(|&byte| !good(byte))
            .unwrap_or(rest.len());
        self.checked
    }

    /// Steps over whole lines; the offset behind the blank one when it has come.
    fn field_lines(&mut self, buf: &[u8]) -> Result<Option<usize>, HeadError> {
        while let Some(&first) = buf.get(self.line) {
            if first == b' ' || first == b'\t' {
                return Err(HeadError::bad("a field line begins with whitespace"));
            }
            let from = self.searched.max(self.line);
            let Some(at) = memchr(b'\n', &buf[from..]) else {
                self.searched = buf.len();
                return Ok(None);
            };
            let lf = from + at;
            if buf[lf - 1] != b'\r' {
                return Err(HeadError::bad("a LF without CR"));
            }
            if lf == self.line + 1 {
                return Ok(Some(lf + 1));
            }
            if self.count == MAX_FIELDS {
                return Err(HeadError::new(431, "too many fields"));
            }
            self.count += 1;
            self.line = lf + 1;
        }
        Ok(None)
    }
}
