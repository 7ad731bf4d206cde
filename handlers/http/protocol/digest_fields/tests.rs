use super::*;

/// The SHA-256 of `abc`.
const ABC: &str = "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:";

#[test]
fn the_sha_256_is_found_among_others() {
    let digest = sha_256(ABC.as_bytes()).unwrap().unwrap();
    assert_eq!(digest[..4], [0xba, 0x78, 0x16, 0xbf]);
    for field in [
        format!("md5=:AAAA:, {ABC}"),
        format!("{ABC},\tsha-512=:AAAA:"),
        format!("{ABC};a;b=1.5;c=\"x\\\",:\", unknown-*=::"),
        format!("sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:, {ABC}"),
        format!("  {ABC}"),
    ] {
        assert_eq!(sha_256(field.as_bytes()), Ok(Some(digest)), "{field}");
    }
}

#[test]
fn a_field_without_one_asks_for_nothing() {
    for field in ["", " ", "md5=:AAAA:", "sha-512=::;q=1", "sha-2=:AAAA:"] {
        assert_eq!(sha_256(field.as_bytes()), Ok(None), "{field}");
    }
}

#[test]
fn what_is_no_dictionary_of_bytes_is_malformed() {
    for field in [
        "sha-256",
        "sha-256=abc",
        "sha-256=:AAAA",
        "sha-256=:A A=:",
        "sha-256=:====:",
        "SHA-256=:AAAA:",
        "md5=:AAAA:,",
        ",md5=:AAAA:",
        "md5=:AAAA:;",
        "md5=:AAAA:;a=",
        "md5=:AAAA:;a=\"b",
        "md5=:AAAA: md5=:AAAA:",
        "md5 =:AAAA:",
        "md5=?1",
        "=:AAAA:",
        "\u{e9}=:AAAA:",
    ] {
        assert_eq!(
            sha_256(field.as_bytes()),
            Err(DigestFieldError::Malformed),
            "{field}"
        );
    }
    assert_eq!(sha_256(b"sha-256=:AAAA:"), Err(DigestFieldError::Length));
}

#[test]
fn the_best_of_what_is_liked_most_is_wanted() {
    for (field, wish) in [
        ("sha-256=10", Some(Algorithm::Sha256)),
        ("sha-256=1, md5=3", Some(Algorithm::Md5)),
        ("md5=3,\tsha=3,sha-256=3", Some(Algorithm::Sha256)),
        ("sha=007;a=\"b\", md5=3", Some(Algorithm::Sha1)),
        ("md5=9, md5=1, sha=2", Some(Algorithm::Sha1)),
        ("sha-512=10, md5=1", Some(Algorithm::Md5)),
        ("sha-512=10, crc32c=1", None),
        ("blake3=10", None),
        ("sha-256=0", None),
        ("", None),
    ] {
        assert_eq!(wanted(field.as_bytes()), wish, "{field}");
    }
}

#[test]
fn a_wish_that_is_no_dictionary_of_preferences_is_none() {
    for field in [
        "sha-256",
        "sha-256=11",
        "sha-256=-1",
        "sha-256=1.0",
        "sha-256=",
        "sha-256=?1",
        "sha-256=:AAAA:",
        "sha-256=0000000000000001",
        "SHA-256=1",
        "sha-256=1,",
        ",sha-256=1",
        "sha-256=1 md5=1",
        "sha-256=1, sha-512=100",
    ] {
        assert_eq!(wanted(field.as_bytes()), None, "{field}");
    }
}

#[test]
fn a_digest_is_written_as_it_is_read() {
    let digest = sha_256(ABC.as_bytes()).unwrap().unwrap();
    assert_eq!(member(Algorithm::Sha256, &digest).as_deref(), Some(ABC));
    assert_eq!(member(Algorithm::Blake3, &digest), None);
}
