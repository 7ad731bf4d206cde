use super::*;

/// The status that a request's head leads to; 200 for one that is served.
fn status(request: &[u8]) -> Option<u16> {
    match parse(request, &mut Scanner::default()) {
        Ok(Status::Complete(..)) => Some(200),
        Ok(Status::Partial) => None,
        Err(error) => Some(error.status),
    }
}

#[test]
fn every_case_of_the_corpus_ends_as_it_must() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for (number, line) in include_str!("cases.txt").lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        count += 1;
        let mut parts = line.splitn(3, " | ");
        let (Some(expected), Some(why), Some(text)) = (parts.next(), parts.next(), parts.next()) else {
            panic!("line {}: not `status | reason | request`", number + 1);
        };
        let request = unescape(text);
        let found = status(&request).map_or_else(|| "partial".to_owned(), |status| status.to_string());
        if found != expected {
            wrong.push(format!("line {}: {found} instead of {expected}: {why}", number + 1));
        }
        check(&request); // the same, cut at each byte
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 150, "the corpus has only {count} cases");
}

/// `\r`, `\n`, `\t`, `\\`, `\xHH`, and `\{text*count}` for long ones.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let code = rest.as_bytes()[at + 1];
        rest = &rest[at + 2..];
        match code {
            b'r' => bytes.push(b'\r'),
            b'n' => bytes.push(b'\n'),
            b't' => bytes.push(b'\t'),
            b'\\' => bytes.push(b'\\'),
            b'x' => {
                bytes.push(u8::from_str_radix(&rest[..2], 16).unwrap());
                rest = &rest[2..];
            }
            b'{' => {
                let (inner, after) = rest.split_once('}').unwrap();
                let (text, count) = inner.rsplit_once('*').unwrap();
                bytes.extend(unescape(text).repeat(count.parse().unwrap()));
                rest = after;
            }
            other => panic!("unknown escape \\{}", other as char),
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

fn complete(request: &[u8]) -> Head<'_> {
    match parse(request, &mut Scanner::default()) {
        Ok(Status::Complete(head, consumed)) => {
            assert_eq!(consumed, request.len());
            head
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_the_fields_say_is_known_after_one_pass() {
    let head = complete(
        b"HEAD /a?b HTTP/1.1\r\nHost: h:1\r\nConnection: x, Close\r\nRange: bytes=0-1\r\nIf-None-Match: \"a\"\r\n\
          if-none-match: \"b\"\r\nUser-Agent: curl\r\nReferer: r\r\nContent-Length: 5\r\n\r\n",
    );
    assert_eq!((head.method, head.target, head.form), (Method::Head, &b"/a?b"[..], Form::Origin));
    assert_eq!((head.keep_alive, head.fields.framing), (false, Framing::Length(5)));
    assert_eq!(head.fields.range, Some(&b"bytes=0-1"[..]));
    assert_eq!(head.fields.if_none_match, Some(&b"\"a\""[..]));
    assert_eq!(head.values("If-None-Match").collect::<Vec<_>>(), [b"\"a\"", b"\"b\""]);
    assert_eq!(head.line, b"HEAD /a?b HTTP/1.1");
}

#[test]
fn the_authority_of_an_absolute_target_counts_before_the_host_field() {
    let head = complete(b"GET http://one.example:81/p?q HTTP/1.1\r\nHost: two.example\r\n\r\n");
    assert_eq!((head.form, head.target), (Form::Absolute, &b"/p?q"[..]));
    assert_eq!(head.fields.host, Some(&b"one.example:81"[..]));
    assert_eq!(complete(b"GET HTTP://h HTTP/1.1\r\nHost: h\r\n\r\n").target, b"/");
}

#[test]
fn a_connection_lasts_as_its_version_says() {
    for (request, keeps) in [
        (&b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"[..], true),
        (b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", false),
        (b"GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", false),
        (b"GET / HTTP/1.0\r\n\r\n", false),
        (b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true),
        (b"GET / HTTP/1.5\r\nHost: h\r\n\r\n", true),
    ] {
        assert_eq!(complete(request).keep_alive, keeps, "{}", request.escape_ascii());
    }
}

#[test]
fn garbage_is_refused_at_its_first_byte() {
    for garbage in [&b"\x16\x03\x01"[..], b" ", b"\n", b"\0", b"GET\t", b"\r\n\r", b"{"] {
        assert_eq!(status(garbage), Some(400), "{}", garbage.escape_ascii());
    }
}
