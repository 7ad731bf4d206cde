//! Finds the end of a head, and detects errors in its lines while they arrive.

use std::ops::Range;

use memchr::memchr;

use super::{HeadError, MAX_FIELDS, MAX_HEAD, MAX_METHOD, MAX_TARGET, Version, fields};

const VERSION: &[u8] = b"HTTP/d.d\r\n";

/// The progress of scanning a head that has only partly arrived. Offsets are into the connection's
/// buffer.
#[derive(Clone, Debug, Default)]
pub struct Scanner {
    /// The request line is checked up to this offset.
    checked: usize,
    /// The start of the method, after an optional empty line. `None` until it is known.
    start: Option<usize>,
    /// The end of the method. `None` until it is known; so are the following two.
    method_end: Option<usize>,
    target_end: Option<usize>,
    version: Option<Version>,
    /// The start of the headers. 0 while the request line is not complete.
    fields: usize,
    /// The start of the first incomplete line.
    line: usize,
    /// There is no LF between `line` and this offset.
    searched: usize,
    /// Headers before this offset have valid names and values.
    valid: usize,
    /// Number of complete headers.
    count: usize,
}

/// The positions of the parts of a request line.
pub(super) struct RequestLine {
    pub(super) method: Range<usize>,
    pub(super) target: Range<usize>,
    pub(super) version: Version,
}

/// The positions of the parts of a complete head.
pub(super) struct Lines {
    pub(super) request: RequestLine,
    /// The headers.
    pub(super) fields: Range<usize>,
    /// Number of headers.
    pub(super) count: usize,
    /// The offset after the blank line.
    pub(super) end: usize,
}

impl Scanner {
    /// Scans `buf`. Returns `None` while the head is not complete.
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
        // Errors are reported in the order of the bytes, so the lines before are checked first.
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

    /// The method, the target and the version, once they are complete (RFC 9112 §3). There must be
    /// exactly one space between them, and no space before or after them.
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

    /// Skips one CRLF before the request line (RFC 9112 §2.2). Returns the start of the request
    /// line, or `None` if too few bytes have arrived.
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

    /// Parses the version with its CRLF: `HTTP/` in capital letters, one digit, a dot, one digit
    /// (RFC 9112 §2.3).
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

    /// The offset of the first byte from `checked` on that is not `good`, or the end of `buf`.
    fn run(&mut self, buf: &[u8], good: impl Fn(u8) -> bool) -> usize {
        let rest = &buf[self.checked..];
        self.checked += rest
            .iter()
            .position(|&byte| !good(byte))
            .unwrap_or(rest.len());
        self.checked
    }

    /// Skips complete lines. Returns the offset after the blank line, once it has arrived.
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
