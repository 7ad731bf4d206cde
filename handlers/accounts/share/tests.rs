use std::time::Duration;

use super::*;
use crate::accounts::testing::TestFile;

const START: Duration = Duration::from_secs(1_800_000_000);
const HOUR: Duration = Duration::from_secs(3600);

fn start() -> SystemTime {
    UNIX_EPOCH + START
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

/// Returns `ok`, or the name of the error.
fn verdict(shares: Shares<'_>, token: &str, path: &str, now: SystemTime) -> String {
    match shares.check(token, path.as_bytes(), now) {
        Ok(share) if share.is_used_up() => "UsedUp".to_owned(),
        Ok(_) => "ok".to_owned(),
        Err(error) => format!("{error:?}"),
    }
}

#[test]
fn a_share_opens_its_path_and_what_is_below_until_its_end() {
    let (_file, store) = TestFile::new("share");
    let (share, token) = store
        .shares()
        .add(&prefix("/docs/a b"), Some(start() + HOUR), None)
        .unwrap();
    assert_eq!(store.shares().list().unwrap(), [share]);
    for (path, at, expected) in [
        ("docs/a b", start(), "ok"),
        ("docs/a b/c.txt", start(), "ok"),
        ("/docs/a b/", start() + HOUR - Duration::from_secs(1), "ok"),
        ("docs/a b", start() + HOUR, "Expired"),
        ("docs/a bc", start(), "OtherPath"),
        ("docs", start(), "OtherPath"),
        ("", start(), "OtherPath"),
        ("docs/a b/../x", start(), "OtherPath"),
    ] {
        assert_eq!(
            verdict(store.shares(), &token, path, at),
            expected,
            "{path}"
        );
    }
}

#[test]
fn no_byte_of_a_token_can_be_changed() {
    let (_file, store) = TestFile::new("forged");
    let shares = store.shares();
    let (_, token) = shares
        .add(&prefix("/a"), Some(start() + HOUR), None)
        .unwrap();
    let (_, other) = shares.add(&prefix("/b"), None, None).unwrap();
    assert_eq!(token.len(), 64);
    for at in 0..token.len() {
        let mut forged = token.clone().into_bytes();
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        assert_eq!(
            verdict(shares, std::str::from_utf8(&forged).unwrap(), "a", start()),
            "Invalid",
            "{at}"
        );
        assert_eq!(verdict(shares, &token[..at], "a", start()), "Invalid");
    }
    for forged in [
        format!("{token}="),
        format!("{token}AAAA"),
        format!("{}{}", &token[..22], &other[22..]),
    ] {
        assert_eq!(
            verdict(shares, &forged, "a", start()),
            "Invalid",
            "{forged}"
        );
    }
    assert_eq!(
        verdict(shares, &other, "b", start() + 1_000_000 * HOUR),
        "ok",
        "without an end"
    );
}

#[test]
fn a_token_of_another_file_is_worth_nothing() {
    let ((_one, one), (_two, two)) = (TestFile::new("one"), TestFile::new("two"));
    let (_, token) = one.shares().add(&prefix("/a"), None, None).unwrap();
    two.shares().add(&prefix("/a"), None, None).unwrap();
    assert_eq!(verdict(one.shares(), &token, "a", start()), "ok");
    assert_eq!(verdict(two.shares(), &token, "a", start()), "Invalid");
}

#[test]
fn uses_are_counted_and_limited_even_at_once() {
    let (_file, store) = TestFile::new("uses");
    let shares = store.shares();
    let (_, token) = shares.add(&prefix("/a"), None, Some(5)).unwrap();
    let share = shares.check(&token, b"a", start()).unwrap();
    let taken = std::thread::scope(|scope| {
        let threads: [_; 4] = std::array::from_fn(|_| {
            scope.spawn(|| (0..3).filter(|_| shares.take(&share).is_ok()).count())
        });
        threads
            .map(|thread| thread.join().unwrap())
            .iter()
            .sum::<usize>()
    });
    assert_eq!(taken, 5);
    assert_eq!(verdict(shares, &token, "a", start()), "UsedUp");
    assert_eq!(shares.list().unwrap()[0].used, 5);
    let (_, unlimited) = shares.add(&prefix("/a"), None, None).unwrap();
    let share = shares.check(&unlimited, b"a", start()).unwrap();
    (0..10).for_each(|_| shares.take(&share).unwrap());
    assert_eq!(verdict(shares, &unlimited, "a", start()), "ok");
}

#[test]
fn a_revoked_share_is_gone_and_its_number_with_it() {
    let (_file, store) = TestFile::new("revoke");
    let shares = store.shares();
    let (share, token) = shares.add(&prefix("/a"), None, None).unwrap();
    shares.revoke(share.id).unwrap();
    assert_eq!(verdict(shares, &token, "a", start()), "Invalid");
    assert!(matches!(shares.take(&share), Err(ShareError::UsedUp)));
    assert!(matches!(
        shares.revoke(share.id),
        Err(AccountsError::NoSuchShare(_))
    ));
    let (next, _) = shares.add(&prefix("/a"), None, None).unwrap();
    assert_ne!(next.id, share.id);
    assert_eq!(verdict(shares, &token, "a", start()), "Invalid");
}

#[test]
fn links_are_escaped_and_tokens_found_in_queries() {
    let url = link("https://files.example/", &prefix("/a b/ü?#&.txt"), "TOKEN");
    assert_eq!(
        url,
        "https://files.example/a%20b/%C3%BC%3F%23%26.txt?share=TOKEN"
    );
    assert_eq!(link("http://h", &Prefix::root(), "T"), "http://h/?share=T");
    for (query, token) in [
        ("share=a-_", Some("a-_")),
        ("x=1&share=a&share=b", Some("a")),
        ("share=", Some("")),
        ("share", None),
        ("xshare=a", None),
        ("", None),
    ] {
        assert_eq!(token_in(query.as_bytes()), token, "{query}");
    }
    assert_eq!(token_in(b"share=\xff"), None);
}

#[test]
fn a_log_does_not_give_links_away() {
    for (line, logged) in [
        ("GET /a?share=TOKEN HTTP/1.1", "GET /a?share=... HTTP/1.1"),
        (
            "GET /a?json&share=TOKEN&x HTTP/1.1",
            "GET /a?json&share=...&x HTTP/1.1",
        ),
        ("GET /a?share=", "GET /a?share=..."),
        (
            "GET /share=a?ashare=b HTTP/1.1",
            "GET /share=a?ashare=b HTTP/1.1",
        ),
    ] {
        assert_eq!(
            String::from_utf8_lossy(&without_token(line.as_bytes())),
            logged
        );
    }
}
