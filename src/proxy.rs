//! The PROXY protocol, versions 1 and 2: the addresses that a trusted proxy puts in front of a
//! connection's first byte.
//!
//! Source: haproxy's `doc/proxy-protocol.txt`. Stricter than most receivers, since a lenient one
//! lets a client forge an address: single spaces, canonical ports, TLVs that end where the header
//! ends. An error is reported at the first byte that no valid header can contain, so that garbage
//! never waits for its deadline.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

#[cfg(test)]
pub(crate) mod encode;
#[cfg(test)]
mod tests;

/// The longest v1 line, its CRLF counted (§2.1).
const V1_MAX: usize = 107;
/// The longest v2 header that is accepted, its first 16 bytes counted; ours, §2.2 allows 64 KiB.
const V2_MAX: usize = 4096;
const V2_FIXED: usize = 16;
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of a TLV before its value: type and length (§2.2).
const TLV_FIXED: usize = 3;

/// How far the bytes at the start of a connection make a PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// Valid so far, but more bytes are needed.
    Partial,
    /// A whole header; the connection's own bytes begin at `consumed`.
    Complete { header: Header, consumed: usize },
}

/// What a PROXY header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    addresses: Option<(SocketAddr, SocketAddr)>,
}

impl Header {
    /// The client's address and the one it connected to; `None` means the connection's own
    /// addresses (v1 `UNKNOWN`, v2 `LOCAL`, and v2 families without IP addresses).
    pub(crate) fn addresses(&self) -> Option<(SocketAddr, SocketAddr)> {
        self.addresses
    }
}

/// Why a parser stopped before the end of the header.
enum Stop {
    Partial,
    Invalid(&'static str),
}

/// Reads the PROXY header at the start of `bytes`.
///
/// # Errors
/// Says why no continuation of `bytes` can be a valid header.
pub(crate) fn parse(bytes: &[u8]) -> Result<Status, &'static str> {
    let parsed = match bytes.first() {
        None => Err(Stop::Partial),
        Some(b'P') => version_1(bytes),
        Some(b'\r') => version_2(bytes),
        Some(_) => Err(Stop::Invalid("not a PROXY header")),
    };
    match parsed {
        Ok((header, consumed)) => Ok(Status::Complete { header, consumed }),
        Err(Stop::Partial) => Ok(Status::Partial),
        Err(Stop::Invalid(why)) => Err(why),
    }
}

fn version_1(bytes: &[u8]) -> Result<(Header, usize), Stop> {
    let mut line = Line(bytes);
    match line.read() {
        Ok(addresses) => {
            let consumed = bytes.len() - line.0.len();
            if consumed > V1_MAX {
                return Err(Stop::Invalid("PROXY line too long"));
            }
            Ok((Header { addresses }, consumed))
        }
        // One byte short of the limit, only the CR's LF can still come.
        Err(Stop::Partial) if bytes.len() >= V1_MAX - 1 && bytes[V1_MAX - 2..] != *b"\r" => {
            Err(Stop::Invalid("PROXY line too long"))
        }
        Err(stop) => Err(stop),
    }
}

/// What is left to read of a v1 line.
struct Line<'a>(&'a [u8]);

impl Line<'_> {
    fn read(&mut self) -> Result<Option<(SocketAddr, SocketAddr)>, Stop> {
        self.one_of(&["PROXY "])?;
        match self.one_of(&["TCP4 ", "TCP6 ", "UNKNOWN"])? {
            0 => self.addresses::<Ipv4Addr>(&["0.0.0.0"]).map(Some),
            1 => self
                .addresses::<Ipv6Addr>(&["0:0:0:0:0:0:0:0", "0.0.0.0"])
                .map(Some),
            _ => {
                // §2.1: everything between UNKNOWN and CRLF is ignored.
                if self.one_of(&[" ", "\r\n"])? == 0 {
                    let end = self.0.windows(2).position(|pair| pair == b"\r\n");
                    self.0 = &self.0[end.ok_or(Stop::Partial)? + 2..];
                }
                Ok(None)
            }
        }
    }

    fn addresses<A>(&mut self, templates: &[&str]) -> Result<(SocketAddr, SocketAddr), Stop>
    where
        A: FromStr + Into<IpAddr>,
    {
        let address = |text: &str| text.parse::<A>().ok().map(Into::into);
        let client = self.field(" ", templates, address)?;
        let server = self.field(" ", templates, address)?;
        let client_port = self.field(" ", &["0"], port)?;
        let server_port = self.field("\r\n", &["0"], port)?;
        Ok((
            SocketAddr::new(client, client_port),
            SocketAddr::new(server, server_port),
        ))
    }

    /// Takes the one of `words` that comes next and returns its index.
    fn one_of(&mut self, words: &[&str]) -> Result<usize, Stop> {
        for (index, word) in words.iter().enumerate() {
            if let Some(rest) = self.0.strip_prefix(word.as_bytes()) {
                self.0 = rest;
                return Ok(index);
            }
        }
        if words.iter().any(|word| word.as_bytes().starts_with(self.0)) {
            return Err(Stop::Partial);
        }
        Err(Stop::Invalid("malformed PROXY line"))
    }

    /// Takes a field and the `end` after it. A field that is cut off is accepted as long as the
    /// tail of one of `templates` can complete it to something that `parse` takes.
    fn field<T>(
        &mut self,
        end: &str,
        templates: &[&str],
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, Stop> {
        let invalid = || Stop::Invalid("malformed address or port in PROXY line");
        let length = self.0.iter().position(|&byte| byte == end.as_bytes()[0]);
        // The longest field, an IPv6 address that ends in an IPv4 one, has 45 characters.
        let (field, rest) = self.0.split_at(length.unwrap_or(self.0.len()).min(46));
        let field = std::str::from_utf8(field).map_err(|_| invalid())?;
        if length.is_some() {
            let value = parse(field).ok_or_else(invalid)?;
            self.0 = rest;
            self.one_of(&[end])?;
            return Ok(value);
        }
        let completes = |tail: &str| parse(&format!("{field}{tail}")).is_some();
        let mut tails = templates
            .iter()
            .flat_map(|template| (0..=template.len()).map(|start| &template[start..]));
        if tails.any(completes) {
            return Err(Stop::Partial);
        }
        Err(invalid())
    }
}

/// A port in its only form: decimal digits without a leading zero (§2.1).
fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || (text.len() > 1 && text.starts_with('0')) {
        return None;
    }
    text.parse().ok()
}

/// The address block of a v2 header, by the header's 14th byte (§2.2).
#[derive(Clone, Copy)]
enum Block {
    /// A family that is to be ignored with all that follows it.
    Ignored,
    Inet,
    Inet6,
    Unix,
}

impl Block {
    fn of(family_and_transport: u8) -> Option<Block> {
        match family_and_transport {
            0x00 => Some(Block::Ignored),
            0x11 | 0x12 => Some(Block::Inet),
            0x21 | 0x22 => Some(Block::Inet6),
            0x31 | 0x32 => Some(Block::Unix),
            _ => None,
        }
    }

    fn size(self) -> usize {
        match self {
            Block::Ignored => 0,
            Block::Inet => 12,
            Block::Inet6 => 36,
            Block::Unix => 216,
        }
    }
}

fn version_2(bytes: &[u8]) -> Result<(Header, usize), Stop> {
    let signature = &bytes[..bytes.len().min(V2_SIGNATURE.len())];
    if !V2_SIGNATURE.starts_with(signature) {
        return Err(Stop::Invalid("malformed PROXY v2 signature"));
    }
    let byte = |index: usize| bytes.get(index).copied().ok_or(Stop::Partial);
    let local = match byte(12)? {
        0x20 => true,
        0x21 => false,
        _ => return Err(Stop::Invalid("unknown version or command in PROXY header")),
    };
    let block = match Block::of(byte(13)?) {
        // §2.2: with LOCAL the family is ignored too.
        _ if local => Block::Ignored,
        Some(block) => block,
        None => return Err(Stop::Invalid("unknown address family in PROXY header")),
    };
    let high = byte(14)?;
    let total = |low: u8| V2_FIXED + usize::from(u16::from_be_bytes([high, low]));
    if total(0) > V2_MAX {
        return Err(Stop::Invalid("PROXY header too long"));
    }
    let total = total(byte(15)?);
    if total > V2_MAX {
        return Err(Stop::Invalid("PROXY header too long"));
    }
    let tlvs = V2_FIXED + block.size();
    if total < tlvs {
        return Err(Stop::Invalid("PROXY header shorter than its addresses"));
    }
    if !matches!(block, Block::Ignored) {
        walk_tlvs(bytes, tlvs, total)?;
    }
    let header = bytes.get(..total).ok_or(Stop::Partial)?;
    let addresses = match block {
        Block::Inet => pair::<4>(&header[V2_FIXED..]),
        Block::Inet6 => pair::<16>(&header[V2_FIXED..]),
        Block::Ignored | Block::Unix => None,
    };
    Ok((Header { addresses }, total))
}

/// Checks that the TLVs from `at` on end exactly at `total`, as far as they have come.
fn walk_tlvs(bytes: &[u8], mut at: usize, total: usize) -> Result<(), Stop> {
    while at < total {
        if total - at < TLV_FIXED {
            return Err(Stop::Invalid("malformed TLV in PROXY header"));
        }
        let high = *bytes.get(at + 1).ok_or(Stop::Partial)?;
        // The low byte counts as 0 until it has come: the length can only grow with it.
        let low = bytes.get(at + 2).copied();
        let length = usize::from(u16::from_be_bytes([high, low.unwrap_or(0)]));
        if length > total - at - TLV_FIXED {
            return Err(Stop::Invalid("malformed TLV in PROXY header"));
        }
        low.ok_or(Stop::Partial)?;
        at += TLV_FIXED + length;
    }
    Ok(())
}

/// The addresses of a v2 block: two of `N` bytes, then two ports (§2.2).
fn pair<const N: usize>(block: &[u8]) -> Option<(SocketAddr, SocketAddr)>
where
    IpAddr: From<[u8; N]>,
{
    let (client, rest) = block.split_first_chunk::<N>()?;
    let (server, rest) = rest.split_first_chunk::<N>()?;
    let (client_port, rest) = rest.split_first_chunk::<2>()?;
    let server_port = rest.first_chunk::<2>()?;
    Some((
        SocketAddr::new(IpAddr::from(*client), u16::from_be_bytes(*client_port)),
        SocketAddr::new(IpAddr::from(*server), u16::from_be_bytes(*server_port)),
    ))
}

/// What must hold for any bytes; for the fuzzer.
#[doc(hidden)]
pub fn check(data: &[u8]) {
    let whole = parse(data);
    let mut longer = data.to_vec();
    longer.push(b'x');
    match whole {
        Ok(Status::Partial) => assert!(data.len() < V2_MAX),
        Ok(Status::Complete { consumed, .. }) => {
            assert!(consumed <= data.len());
            assert_eq!(parse(&data[..consumed]), whole);
            assert_eq!(parse(&longer), whole);
            for cut in 0..consumed {
                assert_eq!(parse(&data[..cut]), Ok(Status::Partial), "cut at {cut}");
            }
        }
        Err(_) => assert!(parse(&longer).is_err()),
    }
}
