//! Properties of the parser that hold for every input, for fuzzing.

use super::{Head, HeadError, MAX_HEAD, OwnedHead, Scanner, Status, Version, parse};

/// Parses `data` as a whole and in two pieces, and panics if this breaks a guarantee of [`parse`].
/// For fuzzing.
#[doc(hidden)]
pub fn check(data: &[u8]) {
    let whole = parse(data, &mut Scanner::default());
    check_head(data, &whole);
    let sum: usize = data.iter().map(|&byte| usize::from(byte)).sum();
    let cut = sum % (data.len() + 1);
    let mut scanner = Scanner::default();
    let prefix = parse(&data[..cut], &mut scanner);
    match (&prefix, &whole) {
        (Ok(Status::Partial), _) => {
            let resumed = parse(data, &mut scanner);
            assert_eq!(format!("{resumed:?}"), format!("{whole:?}"), "cut at {cut}");
        }
        (Ok(Status::Complete { consumed, .. }), Ok(Status::Complete { consumed: all, .. })) => {
            assert_eq!(consumed, all);
        }
        (Err(early), Err(late)) => assert_eq!(early, late, "cut at {cut}"),
        _ => panic!("cut at {cut}: {prefix:?}, whole: {whole:?}"),
    }
}

fn check_head(data: &[u8], result: &Result<Status<Head<'_>>, HeadError>) {
    match result {
        Ok(Status::Partial) => assert!(data.len() < MAX_HEAD),
        Ok(Status::Complete { head, consumed }) => {
            assert!(*consumed <= data.len().min(MAX_HEAD));
            assert!(data[..*consumed].ends_with(b"\r\n\r\n"));
            assert!(head.host.is_some() || head.version == Version::Http10);
            let copy = OwnedHead::new(head, &data[..*consumed]);
            assert_eq!(copy.head(), *head);
            let clean = |value: &[u8]| {
                value
                    .iter()
                    .all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
            };
            assert!(clean(head.raw_target) && head.raw_target.is_ascii());
            for (name, value) in head.fields() {
                assert!(!name.is_empty() && name.is_ascii() && clean(value));
            }
        }
        Err(error) => assert!((400..=505).contains(&error.status)),
    }
}
