//! What the header fields say, gathered in one pass.

use httparse::Header;

use super::line::{is_authority, is_token_byte};
use super::{HeadError, bad};

/// How long the request's body is (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    #[default]
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks that tell their own end.
    Chunked,
}

/// The header fields that this server acts on. A field that may stand only once, but was repeated, is as good as malformed: it is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as the fields")]
pub struct Fields<'b> {
    pub host: Option<&'b [u8]>,
    pub framing: Framing,
    pub says_close: bool,
    pub says_keep_alive: bool,
    pub expects_continue: bool,
    pub range: Option<&'b [u8]>,
    /// The first of them; see [`Head::values`](super::Head::values) for the others.
    pub if_match: Option<&'b [u8]>,
    /// The first of them.
    pub if_none_match: Option<&'b [u8]>,
    pub if_modified_since: Option<&'b [u8]>,
    pub if_unmodified_since: Option<&'b [u8]>,
    pub if_range: Option<&'b [u8]>,
    pub user_agent: Option<&'b [u8]>,
    pub referer: Option<&'b [u8]>,
    /// Whether any condition or range is asked for: most requests have none.
    pub is_conditional: bool,
}

/// The state of the two fields that must not be confused.
#[derive(Default)]
struct Length {
    content_length: Option<u64>,
    transfer_encoding: bool,
    chunked: bool,
    unknown_coding: bool,
}

impl<'b> Fields<'b> {
    pub(super) fn collect(headers: &[Header<'b>], http_1_0: bool) -> Result<Fields<'b>, HeadError> {
        let mut fields = Fields::default();
        let mut length = Length::default();
        for header in headers {
            fields.take(header, &mut length)?;
        }
        fields.framing = length.framing(http_1_0)?;
        Ok(fields)
    }

    fn take(&mut self, header: &Header<'b>, length: &mut Length) -> Result<(), HeadError> {
        let (name, value) = (header.name.as_bytes(), header.value.trim_ascii());
        let is = |expected: &[u8]| name.eq_ignore_ascii_case(expected);
        // By length first: most fields are none of these.
        match name.len() {
            4 if is(b"host") => self.take_host(value)?,
            5 if is(b"range") => self.conditional(value, |fields| &mut fields.range),
            6 if is(b"expect") => self.take_expect(value)?,
            7 if is(b"referer") => self.referer = Some(value),
            8 if is(b"if-match") => self.listed(value, |fields| &mut fields.if_match),
            8 if is(b"if-range") => self.conditional(value, |fields| &mut fields.if_range),
            10 if is(b"connection") => self.take_connection(value),
            10 if is(b"user-agent") => self.user_agent = Some(value),
            13 if is(b"if-none-match") => self.listed(value, |fields| &mut fields.if_none_match),
            14 if is(b"content-length") => length.take_content_length(value)?,
            17 if is(b"transfer-encoding") => length.take_transfer_encoding(value)?,
            17 if is(b"if-modified-since") => self.conditional(value, |fields| &mut fields.if_modified_since),
            19 if is(b"if-unmodified-since") => self.conditional(value, |fields| &mut fields.if_unmodified_since),
            _ => {}
        }
        Ok(())
    }

    fn conditional(&mut self, value: &'b [u8], place: impl Fn(&mut Self) -> &mut Option<&'b [u8]>) {
        self.is_conditional = true;
        let place = place(self);
        *place = Some(if place.is_some() { b"" } else { value });
    }

    fn listed(&mut self, value: &'b [u8], place: impl Fn(&mut Self) -> &mut Option<&'b [u8]>) {
        self.is_conditional = true;
        place(self).get_or_insert(value);
    }

    fn take_host(&mut self, value: &'b [u8]) -> Result<(), HeadError> {
        if self.host.replace(value).is_some() {
            return Err(bad("there are two Host fields"));
        }
        if is_authority(value) { Ok(()) } else { Err(bad("the Host field is malformed")) }
    }

    fn take_connection(&mut self, value: &[u8]) {
        for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            self.says_close |= option.eq_ignore_ascii_case(b"close");
            self.says_keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    fn take_expect(&mut self, value: &[u8]) -> Result<(), HeadError> {
        if !value.eq_ignore_ascii_case(b"100-continue") {
            return Err(HeadError { status: 417, reason: "only 100-continue can be expected" });
        }
        self.expects_continue = true;
        Ok(())
    }
}

impl Length {
    /// Even two equal lengths are refused: who sends them is confused, or wants us to be (RFC 9112 §6.3).
    fn take_content_length(&mut self, value: &[u8]) -> Result<(), HeadError> {
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let number = std::str::from_utf8(value).ok().filter(|_| digits).and_then(|text| text.parse::<u64>().ok());
        let number =
            number.filter(|number| *number <= i64::MAX as u64).ok_or(bad("the Content-Length is no length"))?;
        if self.content_length.replace(number).is_some() {
            return Err(bad("there are two Content-Length fields"));
        }
        Ok(())
    }

    fn take_transfer_encoding(&mut self, value: &[u8]) -> Result<(), HeadError> {
        self.transfer_encoding = true;
        for coding in value.split(|byte| *byte == b',') {
            let coding = trim_blanks(coding);
            if coding.is_empty() || !coding.iter().all(|byte| is_token_byte(*byte)) {
                return Err(bad("the Transfer-Encoding is malformed"));
            }
            if self.chunked {
                return Err(bad("something follows the chunked coding"));
            }
            if coding.eq_ignore_ascii_case(b"chunked") {
                self.chunked = true;
            } else {
                self.unknown_coding = true;
            }
        }
        Ok(())
    }

    fn framing(&self, http_1_0: bool) -> Result<Framing, HeadError> {
        if !self.transfer_encoding {
            return Ok(self.content_length.map_or(Framing::None, Framing::Length));
        }
        if self.content_length.is_some() {
            return Err(bad("both Content-Length and Transfer-Encoding are given"));
        }
        if http_1_0 {
            return Err(bad("HTTP/1.0 has no Transfer-Encoding"));
        }
        if !self.chunked {
            return Err(bad("the last transfer coding isn't chunked"));
        }
        if self.unknown_coding {
            return Err(HeadError { status: 501, reason: "only the chunked transfer coding is known here" });
        }
        Ok(Framing::Chunked)
    }
}

/// OWS is blanks and tabs, nothing else that a language may call white space (RFC 9110 §5.6.3).
fn trim_blanks(text: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = text.iter().position(|byte| !is_blank(byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !is_blank(byte)).map_or(start, |at| at + 1);
    &text[start..end]
}
