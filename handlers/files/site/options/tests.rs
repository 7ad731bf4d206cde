use super::*;

#[test]
fn a_header_field_is_one_line_that_the_server_does_not_write_itself() {
    for (text, line) in [
        ("A:b", "A: b"),
        ("X-Frame-Options: DENY", "X-Frame-Options: DENY"),
        (
            "Content-Security-Policy:\t default-src 'self'; img-src https: ",
            "Content-Security-Policy: default-src 'self'; img-src https:",
        ),
    ] {
        assert_eq!(header_field(text).as_deref(), Ok(line));
    }
    for text in [
        "",
        "A",
        "A b",
        ": b",
        "A :b",
        "A b: c",
        "A:",
        "A: ",
        "A: b\r\nC: d",
        "A: b\nC",
        "A: \0",
        "Ä: b",
        "content-length: 3",
        "Transfer-Encoding: chunked",
        "Date: now",
    ] {
        assert!(header_field(text).is_err(), "{text:?}");
    }
}

#[test]
fn clients_may_keep_files_for_a_time_or_as_a_directive_says() {
    for (text, value) in [
        ("1h", "max-age=3600"),
        ("60", "max-age=60"),
        ("0", "max-age=0"),
        ("public, max-age=60", "public, max-age=60"),
        ("no-cache", "no-cache"),
    ] {
        assert_eq!(cache_control(text).as_deref(), Ok(value));
    }
    assert!(cache_control("").is_err() && cache_control("a\r\nb: c").is_err());
}

#[test]
fn an_index_is_a_name_and_a_fallback_a_path_below() {
    assert!(file_name("index.htm").is_ok());
    for name in ["", ".", "..", "/", "a/b", "a/", "./a", "/a"] {
        assert!(file_name(name).is_err(), "{name:?}");
    }
    assert!(path_below("a/b.html").is_ok());
    for path in ["", "/a", "../a", "a/../b", "."] {
        assert!(path_below(path).is_err(), "{path:?}");
    }
}

#[test]
fn a_base_path_is_taken_from_whole_names_only() {
    let policy = |text| {
        Policy::new(SiteOptions {
            base_path: Some(base_path(text).unwrap()),
            ..SiteOptions::default()
        })
    };
    let below = policy("/a%20b/c/");
    for (path, expected) in [
        (&b"a b/c"[..], Some(&b""[..])),
        (b"a b/c/d", Some(b"d")),
        (b"a b/c/d/e", Some(b"d/e")),
        (b"a b/cd", None),
        (b"a b", None),
        (b"", None),
        (b"d", None),
    ] {
        assert_eq!(below.base_path.below(path), expected);
    }
    assert_eq!(below.base_path.url_path(b"x y"), "/a%20b/c/x%20y");
    assert_eq!(
        Policy::new(SiteOptions::default()).base_path.below(b"x"),
        Some(&b"x"[..])
    );
    for text in ["", "a", "/", "//", "/a?b", "/../a", "/a\nb", "/%zz"] {
        assert!(base_path(text).is_err(), "{text:?}");
    }
}
