//! Tests of archives that need no other program.

use jiff::tz::TimeZone;

use super::zip::Zip;
use super::*;
use crate::files::site::listing::entries::Kind;

fn facts(kind: Kind, size: u64) -> Facts {
    Facts {
        kind,
        size,
        modified: 1_681_923_870,
        mode: 0o644,
    }
}

/// All bytes that `write` makes, and the end of the archive.
fn zip(write: impl FnOnce(&mut Zip, &mut Vec<u8>) -> io::Result<()>) -> Vec<u8> {
    let (mut zip, mut bytes) = (Zip::new(TimeZone::UTC), Vec::new());
    write(&mut zip, &mut bytes).unwrap();
    while zip.end(&mut bytes).unwrap() == Produced::More {}
    bytes
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// The offset of the first record with this signature.
fn find(bytes: &[u8], signature: &[u8; 4]) -> usize {
    bytes
        .windows(4)
        .position(|window| window == signature)
        .unwrap()
}

#[test]
fn a_zip_of_more_than_65535_entries_says_so_in_64_bits() {
    const MANY: u64 = 70_000;
    let archive = zip(|zip, to| {
        (0..MANY).try_for_each(|number| {
            zip.directory(
                number.to_string().as_bytes(),
                &facts(Kind::Directory, 0),
                to,
            )
        })
    });
    let end = archive.len() - 22;
    assert_eq!(archive[end..end + 4], *b"PK\x05\x06");
    assert_eq!(
        archive[end + 8..end + 12],
        [0xff; 4],
        "the number of entries is told elsewhere"
    );
    let locator = end - 20;
    assert_eq!(archive[locator..locator + 4], *b"PK\x06\x07");
    let record = number(&archive[locator + 8..locator + 16]) as usize;
    assert_eq!(archive[record..record + 4], *b"PK\x06\x06");
    assert_eq!(number(&archive[record + 24..record + 32]), MANY);
    assert_eq!(number(&archive[record + 32..record + 40]), MANY);
    let directory = number(&archive[record + 48..record + 56]) as usize;
    assert_eq!(archive[directory..directory + 4], *b"PK\x01\x02");
    assert_eq!(
        number(&archive[record + 40..record + 48]) as usize,
        record - directory,
        "its length"
    );
}

#[test]
fn a_file_that_may_need_more_than_32_bits_has_64() {
    let archive = zip(|zip, to| {
        zip.begin_file(b"large", &facts(Kind::File, 5 << 30), to)?;
        zip.content(b"not that long", to)?;
        zip.end_file(to)
    });
    assert_eq!(archive[4..6], [45, 0], "the version that is needed");
    assert_eq!(archive[18..26], [0xff; 8]);
    let compressed = find(&archive, b"PK\x07\x08") - 30 - 5 - 9 - 20;
    let descriptor = &archive[find(&archive, b"PK\x07\x08")..];
    assert_eq!(
        (number(&descriptor[8..16]), number(&descriptor[16..24])),
        (compressed as u64, 13)
    );
    assert_eq!(descriptor[24..28], *b"PK\x01\x02");
    let entry = &descriptor[24..];
    assert_eq!(entry[20..28], [0xff; 8]);
    let extra = &entry[46 + 5 + 9..];
    assert_eq!(
        (
            number(&extra[..2]),
            number(&extra[2..4]),
            number(&extra[4..12])
        ),
        (1, 16, 13)
    );
}

#[test]
fn a_zip_says_when_its_names_are_utf_8_and_when_its_files_were_modified() {
    let archive = zip(|zip, to| {
        zip.begin_file("naïve\u{FFFD}".as_bytes(), &facts(Kind::File, 0), to)?;
        zip.end_file(to)
    });
    let entry = &archive[find(&archive, b"PK\x01\x02")..];
    assert_eq!(
        number(&entry[8..10]) & 1 << 11,
        1 << 11,
        "the flag of UTF-8"
    );
    // 2023-04-19 17:04:30
    assert_eq!(
        (number(&entry[12..14]), number(&entry[14..16])),
        (17 << 11 | 4 << 5 | 15, 43 << 9 | 4 << 5 | 19)
    );
    let extra = &entry[46 + "naïve\u{FFFD}".len()..];
    assert_eq!(
        (&extra[..5], number(&extra[5..9])),
        (&[0x55, 0x54, 5, 0, 1][..], 1_681_923_870)
    );
    assert_eq!(number(&entry[38..42]) >> 16, 0o100_644);
}

#[test]
fn times_that_a_zip_can_not_express_are_the_nearest_ones() {
    for (modified, date) in [
        (i64::MIN, 1 << 5 | 2),
        (0, 1 << 5 | 2),
        (i64::MAX, 127 << 9 | 12 << 5 | 30),
    ] {
        let facts = Facts {
            modified,
            ..facts(Kind::Directory, 0)
        };
        let archive = zip(|zip, to| zip.directory(b"a", &facts, to));
        assert_eq!(number(&archive[12..14]), date);
    }
}
