//! The incremental parser of `{"filename": NAME, "filedata": BASE64}`.
//!
//! The object may arrive in segments of any size, with its keys in any order, any white space and
//! any escapes. Other keys are skipped. The memory is bounded: the parser stores at most
//! [`LONGEST_NAME`] bytes of the name, and no data from earlier segments.

use std::fmt;

use super::base64::Base64Decoder;
use super::encode;
use super::json::{Number, Text};

/// Maximum length of the name in bytes of UTF-8.
pub const LONGEST_NAME: usize = 255;
/// Maximum depth of nested objects and arrays in skipped values.
pub const DEEPEST: u32 = 32;

/// An error of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The bytes are not JSON, or not an object.
    Syntax,
    /// A string contains half of a surrogate pair, or the name is not UTF-8.
    Unicode,
    /// The nesting is deeper than [`DEEPEST`].
    TooDeep,
    /// `filename` or `filedata` occurs twice.
    Duplicate,
    /// `filename` or `filedata` is missing.
    Missing,
    /// `filename` or `filedata` is not a string.
    NotText,
    /// The name has more than [`LONGEST_NAME`] bytes.
    LongName,
    /// `filedata` is not padded base64 (RFC 4648 §4).
    Base64,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Syntax => f.write_str("not a JSON object"),
            Fault::Unicode => f.write_str("text that isn't Unicode"),
            Fault::TooDeep => write!(f, "more than {DEEPEST} nested values"),
            Fault::Duplicate => f.write_str("filename or filedata comes twice"),
            Fault::Missing => f.write_str("filename or filedata is missing"),
            Fault::NotText => f.write_str("filename or filedata isn't a string"),
            Fault::LongName => write!(f, "a file name of more than {LONGEST_NAME} bytes"),
            Fault::Base64 => f.write_str("filedata isn't base64"),
        }
    }
}

/// The next expected token. White space may always precede it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Object,
    KeyOrEnd,
    Key,
    Colon,
    Value,
    ValueOrEnd,
    CommaOrEnd,
    Nothing,
}

/// An incomplete token.
#[derive(Debug)]
enum Token {
    None,
    Text(Text),
    Number(Number),
    /// `true`, `false` or `null`, with the letters that are still expected.
    Literal(&'static [u8]),
}

/// The purpose of a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Key,
    Name,
    Data,
    Nothing,
}

/// Parses the object, segment by segment.
///
/// ```
/// use socketserver_handlers::transfer::decode::Decoder;
///
/// let (mut decoder, mut data) = (Decoder::default(), Vec::new());
/// assert_eq!(decoder.push(br#"{"filedata": "aGVsbG8="#, &mut data), Ok(false));
/// assert_eq!(decoder.push(br#"", "filename": "hi"}"#, &mut data), Ok(true));
/// assert_eq!((decoder.name(), &data[..]), (Some("hi"), &b"hello"[..]));
/// ```
#[derive(Debug)]
pub struct Decoder {
    expected: Expected,
    token: Token,
    purpose: Purpose,
    open: Brackets,
    fields: Fields,
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder {
            expected: Expected::Object,
            token: Token::None,
            purpose: Purpose::Nothing,
            open: Brackets::default(),
            fields: Fields::default(),
        }
    }
}

impl Decoder {
    /// Parses a segment, and appends its part of the file to `data`. Returns `true` when the object
    /// is complete. Bytes behind the object are ignored.
    ///
    /// # Errors
    /// The object cannot be used. The decoder must not be used again.
    pub fn push(&mut self, mut input: &[u8], data: &mut Vec<u8>) -> Result<bool, Fault> {
        while self.expected != Expected::Nothing && !input.is_empty() {
            let used = self.push_some(input, data)?;
            input = &input[used..];
        }
        Ok(self.expected == Expected::Nothing)
    }

    /// Returns the name of the file; `None` before it is complete.
    pub fn name(&self) -> Option<&str> {
        self.fields.name.as_deref()
    }

    /// Parses a token or a part of one. Returns its number of bytes.
    fn push_some(&mut self, input: &[u8], data: &mut Vec<u8>) -> Result<usize, Fault> {
        let first = input[0];
        match &mut self.token {
            Token::None => return self.begin(first),
            Token::Text(text) => {
                let (fields, purpose) = (&mut self.fields, self.purpose);
                match text.push(input, |piece| fields.push(purpose, piece, data))? {
                    Some(used) => return self.end_text().map(|()| used),
                    None => return Ok(input.len()),
                }
            }
            Token::Number(number) => match number.push(first) {
                Some(longer) => *number = longer,
                None if number.is_whole() => return self.end_value().map(|()| 0),
                None => return Err(Fault::Syntax),
            },
            Token::Literal(rest) => {
                *rest = rest.strip_prefix(&[first]).ok_or(Fault::Syntax)?;
                if rest.is_empty() {
                    self.end_value()?;
                }
            }
        }
        Ok(1)
    }

    /// Parses the first byte of a token, or white space.
    fn begin(&mut self, byte: u8) -> Result<usize, Fault> {
        match (self.expected, byte) {
            (_, b' ' | b'\t' | b'\n' | b'\r') => {}
            (Expected::Object, b'{') => self.open(true)?,
            (Expected::Key | Expected::KeyOrEnd, b'"') => {
                self.purpose = if self.open.depth == 1 {
                    Purpose::Key
                } else {
                    Purpose::Nothing
                };
                self.expected = Expected::Colon;
                self.token = Token::Text(Text::default());
            }
            (Expected::Colon, b':') => self.expected = Expected::Value,
            (Expected::CommaOrEnd, b',') if self.open.in_object() => self.expected = Expected::Key,
            (Expected::CommaOrEnd, b',') => self.expected = Expected::Value,
            (Expected::CommaOrEnd | Expected::KeyOrEnd, b'}') if self.open.in_object() => {
                self.close()?
            }
            (Expected::CommaOrEnd | Expected::ValueOrEnd, b']') if !self.open.in_object() => {
                self.close()?
            }
            (Expected::Value | Expected::ValueOrEnd, _) => return self.begin_value(byte),
            _ => return Err(Fault::Syntax),
        }
        Ok(1)
    }

    fn begin_value(&mut self, byte: u8) -> Result<usize, Fault> {
        if byte != b'"' && self.purpose != Purpose::Nothing {
            return Err(Fault::NotText);
        }
        self.expected = Expected::CommaOrEnd;
        self.token = match byte {
            b'"' => Token::Text(Text::default()),
            b'{' | b'[' => return self.open(byte == b'{').map(|()| 1),
            b't' => Token::Literal(b"rue"),
            b'f' => Token::Literal(b"alse"),
            b'n' => Token::Literal(b"ull"),
            b'-' | b'0'..=b'9' => {
                self.token = Token::Number(Number::Start);
                return Ok(0);
            }
            _ => return Err(Fault::Syntax),
        };
        Ok(1)
    }

    fn end_text(&mut self) -> Result<(), Fault> {
        self.token = Token::None;
        if self.expected == Expected::Colon {
            self.purpose = match self.purpose {
                Purpose::Key => self.fields.purpose_of_key()?,
                _ => Purpose::Nothing,
            };
            return Ok(());
        }
        self.fields.finish(self.purpose)?;
        self.end_value()
    }

    fn end_value(&mut self) -> Result<(), Fault> {
        (self.token, self.purpose) = (Token::None, Purpose::Nothing);
        if self.open.depth == 0 {
            self.fields.check()?;
            self.expected = Expected::Nothing;
        }
        Ok(())
    }

    fn open(&mut self, object: bool) -> Result<(), Fault> {
        self.open.push(object)?;
        self.expected = if object {
            Expected::KeyOrEnd
        } else {
            Expected::ValueOrEnd
        };
        Ok(())
    }

    fn close(&mut self) -> Result<(), Fault> {
        self.open.pop();
        self.expected = Expected::CommaOrEnd;
        self.end_value()
    }
}

/// The open brackets, one bit each.
#[derive(Debug, Default)]
struct Brackets {
    depth: u32,
    /// The kinds of the brackets: the lowest bit is the innermost one. 1 is an object, 0 an array.
    objects: u64,
}

impl Brackets {
    fn push(&mut self, object: bool) -> Result<(), Fault> {
        if self.depth == DEEPEST {
            return Err(Fault::TooDeep);
        }
        (self.depth, self.objects) = (self.depth + 1, self.objects << 1 | u64::from(object));
        Ok(())
    }

    fn pop(&mut self) {
        (self.depth, self.objects) = (self.depth - 1, self.objects >> 1);
    }

    fn in_object(&self) -> bool {
        self.objects & 1 == 1
    }
}

/// The state of the two members `filename` and `filedata`.
#[derive(Debug, Default)]
struct Fields {
    /// The received part of the current key or name.
    text: Vec<u8>,
    base64: Base64Decoder,
    name: Option<String>,
    has_data: bool,
}

impl Fields {
    fn push(&mut self, purpose: Purpose, piece: &[u8], data: &mut Vec<u8>) -> Result<(), Fault> {
        match purpose {
            Purpose::Nothing => {}
            Purpose::Data => self.base64.push(piece, data).map_err(|_| Fault::Base64)?,
            // The maximum length of names is enough to distinguish any key from `filename` and
            // `filedata`.
            Purpose::Key => {
                let room = LONGEST_NAME - self.text.len();
                self.text.extend_from_slice(&piece[..piece.len().min(room)]);
            }
            Purpose::Name if self.text.len() + piece.len() > LONGEST_NAME => {
                return Err(Fault::LongName);
            }
            Purpose::Name => self.text.extend_from_slice(piece),
        }
        Ok(())
    }

    /// Returns the purpose of the value of the key that has just ended.
    fn purpose_of_key(&mut self) -> Result<Purpose, Fault> {
        let purpose = match &self.text[..] {
            b"filename" if self.name.is_some() => return Err(Fault::Duplicate),
            b"filedata" if self.has_data => return Err(Fault::Duplicate),
            b"filename" => Purpose::Name,
            b"filedata" => Purpose::Data,
            _ => Purpose::Nothing,
        };
        self.text.clear();
        Ok(purpose)
    }

    /// Handles the end of a string.
    fn finish(&mut self, purpose: Purpose) -> Result<(), Fault> {
        match purpose {
            Purpose::Name => {
                let name = std::mem::take(&mut self.text);
                self.name = Some(String::from_utf8(name).map_err(|_| Fault::Unicode)?);
            }
            Purpose::Data => {
                self.base64.finish().map_err(|_| Fault::Base64)?;
                self.has_data = true;
            }
            Purpose::Key | Purpose::Nothing => {}
        }
        Ok(())
    }

    /// Checks at the end of the object that both members were received.
    fn check(&self) -> Result<(), Fault> {
        if self.has_data && self.name.is_some() {
            Ok(())
        } else {
            Err(Fault::Missing)
        }
    }
}

/// Fuzz target: the result does not depend on where bytes are split, and any bytes are the same
/// after encoding and decoding.
#[doc(hidden)]
pub fn check(bytes: &[u8]) {
    let whole = decode(bytes, bytes.len());
    for cut in [1, 2, 3, 7] {
        assert_eq!(decode(bytes, cut), whole, "cut every {cut} bytes");
    }
    let name: String = String::from_utf8_lossy(bytes).chars().take(60).collect();
    let mut text = encode::opening(&name).into_bytes();
    for piece in bytes.chunks(encode::PIECE) {
        text.extend_from_slice(&encode::base64(piece));
    }
    text.extend_from_slice(encode::CLOSING.as_bytes());
    assert_eq!(decode(&text, 5), Ok((true, Some(name), bytes.to_vec())));
}

type Decoded = Result<(bool, Option<String>, Vec<u8>), Fault>;

/// Decodes segments of `cut` bytes.
pub(super) fn decode(bytes: &[u8], cut: usize) -> Decoded {
    let (mut decoder, mut data, mut whole) = (Decoder::default(), Vec::new(), false);
    for segment in bytes.chunks(cut.max(1)) {
        whole = decoder.push(segment, &mut data)?;
    }
    Ok((whole, decoder.fields.name, data))
}
