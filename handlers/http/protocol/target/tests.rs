use super::TargetError::{BadEscape, ForbiddenByte, NotOriginForm, OutsideRoot};
use super::*;

#[test]
fn a_path_becomes_its_decoded_segments() {
    let (file, directory) = (false, true);
    let table: &[(&str, &[u8], bool)] = &[
        ("/", b"", directory),
        ("//", b"", directory),
        ("/.", b"", directory),
        ("/./", b"", directory),
        ("/a/..", b"", directory),
        ("/a/../", b"", directory),
        ("/a", b"a", file),
        ("/a/", b"a", directory),
        ("/a/b.txt", b"a/b.txt", file),
        ("//a///b//", b"a/b", directory),
        ("/a/.", b"a", directory),
        ("/a/./b", b"a/b", file),
        ("/a/../b", b"b", file),
        ("/a/b/..", b"a", directory),
        ("/a/b/../../c", b"c", file),
        ("/a//../b", b"b", file),
        ("/a/%2e%2E/b", b"b", file),
        ("/a/.%2e/b", b"b", file),
        ("/%2e/b", b"b", file),
        ("/...", b"...", file),
        ("/..a", b"..a", file),
        ("/.well-known/x", b".well-known/x", file),
        ("/%61%62c", b"abc", file),
        ("/a%20b", b"a b", file),
        ("/a+b", b"a+b", file),
        ("/a:b@c;d=e&f", b"a:b@c;d=e&f", file),
        ("/%3f%23", b"?#", file),
        ("/%C3%A9", "é".as_bytes(), file),
        ("/é", "é".as_bytes(), file),
        ("/%ff", b"\xff", file),
        ("/%252e%252e/b", b"%2e%2e/b", file),
        ("/%252f", b"%2f", file),
        ("/%255c", b"%5c", file),
    ];
    for &(raw, path, trailing_slash) in table {
        let target = parse(raw.as_bytes()).unwrap_or_else(|error| panic!("{raw}: {error}"));
        assert_eq!(target.path, path, "{raw}");
        assert_eq!(target.trailing_slash, trailing_slash, "{raw}");
        assert_eq!(target.query, None, "{raw}");
        check(raw.as_bytes());
    }
}

#[test]
fn what_could_mean_another_file_is_refused() {
    for (raw, error) in [
        ("", NotOriginForm),
        ("*", NotOriginForm),
        ("a", NotOriginForm),
        ("http://a/", NotOriginForm),
        ("/%", BadEscape),
        ("/%4", BadEscape),
        ("/%4/x", BadEscape),
        ("/%zz", BadEscape),
        ("/%+1", BadEscape),
        ("/%u0041", BadEscape),
        ("/a%00", ForbiddenByte),
        ("/a%0a", ForbiddenByte),
        ("/a%1b", ForbiddenByte),
        ("/a%7f", ForbiddenByte),
        ("/a\0", ForbiddenByte),
        ("/a b", ForbiddenByte),
        ("/a\n", ForbiddenByte),
        ("/a#b", ForbiddenByte),
        ("/a?b\r\nc", ForbiddenByte),
        ("/a\\b", ForbiddenByte),
        ("/a%5cb", ForbiddenByte),
        ("/..%5c", ForbiddenByte),
        ("/a%2fb", ForbiddenByte),
        ("/..%2Fb", ForbiddenByte),
        ("/%2f", ForbiddenByte),
        ("/..", OutsideRoot),
        ("/../a", OutsideRoot),
        ("/./..", OutsideRoot),
        ("//../", OutsideRoot),
        ("/a/../..", OutsideRoot),
        ("/a/../../a", OutsideRoot),
        ("/%2e%2e/a", OutsideRoot),
        ("/%2E./a", OutsideRoot),
    ] {
        assert_eq!(parse(raw.as_bytes()), Err(error), "{raw:?}");
    }
}

#[test]
fn the_query_is_kept_as_it_came() {
    for (raw, query) in [
        ("/a?", ""),
        ("/a?b=c", "b=c"),
        ("/a?b?c/../%zz", "b?c/../%zz"),
        ("/?%2f\\", "%2f\\"),
    ] {
        let target = parse(raw.as_bytes()).unwrap();
        assert_eq!(target.query, Some(query.as_bytes()), "{raw}");
        check(raw.as_bytes());
    }
}

#[test]
fn a_plain_path_is_not_copied() {
    for raw in ["/", "/index.html", "/a/b/?c"] {
        let target = parse(raw.as_bytes()).unwrap();
        assert!(matches!(target.path, Cow::Borrowed(_)), "{raw}");
    }
}

#[test]
fn a_directory_is_moved_to_its_name_with_a_slash() {
    for (raw, location) in [
        ("/", "/"),
        ("/a", "/a/"),
        ("/a/", "/a/"),
        ("/a?b=%20&c", "/a/?b=%20&c"),
        ("/a?", "/a/?"),
        ("/a?é\"", "/a/?%C3%A9%22"),
        ("//host/a", "/host/a/"),
        ("/a%20b/%22%3c", "/a%20b/%22%3C/"),
    ] {
        let target = parse(raw.as_bytes()).unwrap();
        assert_eq!(target.location_of_directory(), location, "{raw}");
    }
}

#[test]
fn an_encoded_name_is_safe_in_a_url_and_in_html() {
    for (name, encoded) in [
        (&b"index.html"[..], "index.html"),
        (b"a/b", "a/b"),
        (b"a:b", "a%3Ab"),
        (b"a?b#c%d", "a%3Fb%23c%25d"),
        (b"<'\"&>", "%3C%27%22%26%3E"),
        (b"\xff\n", "%FF%0A"),
        (b"~-_.", "~-_."),
    ] {
        assert_eq!(encode_path(name), encoded);
    }
}

#[test]
fn a_name_that_is_not_utf_8_reaches_the_file_system() {
    let target = parse(b"/a/%ff").unwrap();
    let expected = Path::new(OsStr::from_bytes(b"a/\xff"));
    assert_eq!(target.relative_path(), expected);
}
