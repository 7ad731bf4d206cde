//! Reads the names and the dates of a certificate (RFC 5280 §4.1). The signature is not verified,
//! because the report is about the server's own certificate.

use std::net::IpAddr;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// The kinds of names that clients of FTP compare (§4.2.1.6).
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;
/// The identifier of subjectAltName, 2.5.29.17 (§4.2.1.6).
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// The parts of a certificate that the report needs.
#[derive(Debug)]
pub(super) struct Certificate {
    /// The names in subjectAltName: DNS names without control characters, and IP addresses.
    pub(super) names: Vec<String>,
    /// The time from which the certificate is valid.
    pub(super) begins: Timestamp,
    /// The time until which the certificate is valid.
    pub(super) ends: Timestamp,
}

impl Certificate {
    /// Parses a certificate; `None` if it is malformed.
    pub(super) fn from_der(der: &[u8]) -> Option<Certificate> {
        let mut certificate = Values(Values(der).take(SEQUENCE)?);
        let mut fields = Values(certificate.take(SEQUENCE)?);
        fields.take_if(VERSION)?;
        fields.take(INTEGER)?;
        // The next two values are the algorithm of the signature and the issuer. They are not used.
        fields.take(SEQUENCE)?;
        fields.take(SEQUENCE)?;
        let mut validity = Values(fields.take(SEQUENCE)?);
        let begins = time(validity.next()?)?;
        let ends = time(validity.next()?)?;
        let mut names = Vec::new();
        while !fields.0.is_empty() {
            let (tag, content) = fields.next()?;
            if tag == EXTENSIONS {
                names = names_of(Values(Values(content).take(SEQUENCE)?))?;
            }
        }
        Some(Certificate {
            names,
            begins,
            ends,
        })
    }
}

/// A sequence of DER values that were not read yet.
struct Values<'a>(&'a [u8]);

impl<'a> Values<'a> {
    /// Reads the next value. Returns its tag and its content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, length], rest) = self.0.split_first_chunk()?;
        let (length, rest) = match length {
            0..=0x7f => (usize::from(length), rest),
            // The length is in the next one to three bytes. A certificate is far smaller than 16
            // MiB, so it needs no longer form.
            0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
                let length = bytes
                    .iter()
                    .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
                (length, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// Reads the next value, and returns its content; `None` if it has another tag.
    fn take(&mut self, expected: u8) -> Option<&'a [u8]> {
        self.next()
            .filter(|(tag, _)| *tag == expected)
            .map(|(_, content)| content)
    }

    /// Skips the next value if it has this tag.
    fn take_if(&mut self, tag: u8) -> Option<()> {
        if self.0.first() == Some(&tag) {
            self.next()?;
        }
        Some(())
    }
}

fn names_of(mut extensions: Values<'_>) -> Option<Vec<String>> {
    let mut found = Vec::new();
    while !extensions.0.is_empty() {
        let mut extension = Values(extensions.take(SEQUENCE)?);
        let kind = extension.take(OBJECT_IDENTIFIER)?;
        // This value says whether the extension is critical. It is not used.
        extension.take_if(BOOLEAN)?;
        let value = extension.take(OCTET_STRING)?;
        if kind != SUBJECT_ALT_NAME {
            continue;
        }
        let mut names = Values(Values(value).take(SEQUENCE)?);
        while !names.0.is_empty() {
            found.extend(match names.next()? {
                (DNS_NAME, name) => {
                    let name = String::from_utf8_lossy(name);
                    Some(name.replace(char::is_control, ""))
                }
                (IP_ADDRESS, bytes) => address(bytes).map(|address| address.to_string()),
                _ => None,
            });
        }
    }
    Some(found)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

/// Parses a time. Times are in UTC, and exact to the second (§4.1.2.5).
fn time((tag, content): (u8, &[u8])) -> Option<Timestamp> {
    let digits = content.strip_suffix(b"Z")?;
    let digits = std::str::from_utf8(digits).ok()?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let century = match (tag, digits.len()) {
        (UTC_TIME, 12) if digits < "50" => "20",
        (UTC_TIME, 12) => "19",
        (GENERALIZED_TIME, 14) => "",
        _ => return None,
    };
    let time = DateTime::strptime("%Y%m%d%H%M%S", format!("{century}{digits}")).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(names: &[&str], until: (i32, u8, u8)) -> Vec<u8> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut made = rcgen::CertificateParams::new(names).unwrap();
        made.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        made.not_before = rcgen::date_time_ymd(1999, 12, 31);
        made.not_after = rcgen::date_time_ymd(until.0, until.1, until.2);
        let key = rcgen::KeyPair::generate().unwrap();
        made.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn names_and_dates_are_read() {
        let names = ["ftp.example.org", "127.0.0.1", "2001:db8::1"];
        for (until, text) in [
            ((2026, 3, 1), "2026-03-01T00:00:00Z"),
            ((2049, 12, 31), "2049-12-31T00:00:00Z"),
            ((2050, 1, 1), "2050-01-01T00:00:00Z"),
        ] {
            let read = Certificate::from_der(&certificate(&names, until)).unwrap();
            assert_eq!(read.names, names);
            assert_eq!(read.begins.to_string(), "1999-12-31T00:00:00Z");
            assert_eq!(read.ends.to_string(), text);
        }
        let nameless = Certificate::from_der(&certificate(&[], (2026, 3, 1))).unwrap();
        assert!(nameless.names.is_empty());
        // The length of a value takes two bytes above 127 bytes of content, and three bytes above
        // 255. Many names make long values.
        let long: Vec<String> = (0..40).map(|n| format!("name-{n}.example.org")).collect();
        let long: Vec<&str> = long.iter().map(String::as_str).collect();
        let read = Certificate::from_der(&certificate(&long, (2026, 3, 1))).unwrap();
        assert_eq!(read.names, long);
    }

    #[test]
    fn a_certificate_that_is_cut_is_malformed() {
        let whole = certificate(&["a.example.org", "127.0.0.1"], (2026, 3, 1));
        for length in 0..whole.len() {
            assert!(
                Certificate::from_der(&whole[..length]).is_none(),
                "{length}"
            );
        }
        for index in 0..whole.len() {
            for flip in [0x01, 0x20, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[index] ^= flip;
                // The result does not matter, but the parser must not panic.
                let _ = Certificate::from_der(&damaged);
            }
        }
    }

    #[test]
    fn dates_are_checked() {
        for (tag, text) in [
            (UTC_TIME, "260301000000"),
            (UTC_TIME, "261301000000Z"),
            (UTC_TIME, "+60301000000Z"),
            (UTC_TIME, "20260301000000Z"),
            (GENERALIZED_TIME, "260301000000Z"),
            (INTEGER, "260301000000Z"),
        ] {
            assert_eq!(time((tag, text.as_bytes())), None, "{text}");
        }
        let time = time((UTC_TIME, b"491231235959Z")).unwrap();
        assert_eq!(time.to_string(), "2049-12-31T23:59:59Z");
    }
}
