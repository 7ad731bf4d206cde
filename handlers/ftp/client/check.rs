//! The check of the fuzzer for bytes that a server sends.

use jiff::civil::date;

use super::data::ports_in;
use super::features::{Algorithm, Features, digest_in};
use super::listing::{Line, check_entry, list, mlsd};
use super::reply::{Parsed, parse};

/// Parses bytes as a reply and as a line of a listing. Panics if the result breaks a rule that
/// holds for all replies and lines.
#[doc(hidden)]
pub fn check(bytes: &[u8]) {
    if let Parsed::Complete(reply, length) = parse(bytes) {
        assert!(length <= bytes.len() && bytes[..length].ends_with(b"\n"));
        assert!((100..700).contains(&reply.code) && !reply.lines.is_empty());
        assert!(
            !reply.text().contains(char::is_control),
            "a control character for the terminal"
        );
        // The bytes after a reply do not change the result. Without its last byte, the reply is not
        // complete.
        assert_eq!(
            parse(&bytes[..length]),
            Parsed::Complete(reply.clone(), length)
        );
        assert_eq!(parse(&bytes[..length - 1]), Parsed::Partial);
        let _ = (
            Features::read(&reply),
            digest_in(&reply, Algorithm::Sha256),
            ports_in(&reply),
        );
    }
    for line in [mlsd::parse(bytes), list::parse(bytes, date(2024, 3, 1))] {
        if let Line::Entry(name, _) = line
            && check_entry(&name).is_ok()
        {
            assert!(!name.contains(&b'/') && !matches!(&name[..], b"" | b"." | b".."));
            assert!(
                bytes.windows(name.len()).any(|part| part == name),
                "the name is not in the line"
            );
        }
    }
}
