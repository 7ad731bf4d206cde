//! `Content-Disposition` (RFC 6266): the name under which a client saves a response.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// All characters except the `attr-char` of RFC 8187.
const IN_EXTENDED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// The header value that makes clients save a response under this name. It contains the name twice:
/// in ASCII for old clients, and in full (RFC 8187). Invalid UTF-8 becomes U+FFFD.
pub fn attachment(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    // RFC 6266 §4.3: clients differ in whether they decode escapes and percent signs in the ASCII
    // form, so neither is used there.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || " !#$&+-.^_`|~()[]{},;=@".contains(c);
    let plain: String = name
        .chars()
        .map(|c| if is_plain(c) { c } else { '_' })
        .collect();
    let extended = utf8_percent_encode(&name, IN_EXTENDED);
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{extended}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_ends_the_value() {
        for (name, plain, extended) in [
            (&b"a.zip"[..], "a.zip", "a.zip"),
            (
                "naïve €.zip".as_bytes(),
                "na_ve _.zip",
                "na%C3%AFve%20%E2%82%AC.zip",
            ),
            (
                b"a\"; filename=b",
                "a_; filename=b",
                "a%22%3B%20filename%3Db",
            ),
            (b"a\\b%41\r\nc", "a_b_41__c", "a%5Cb%2541%0D%0Ac"),
            (b"a'*/\xff", "a____", "a%27%2A%2F%EF%BF%BD"),
        ] {
            assert_eq!(
                attachment(name),
                format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{extended}")
            );
        }
    }
}
