//! The cases of `data/heads.txt`. Each head is parsed as a whole and split at every byte.

use super::*;
use cases::{Case, read};

#[path = "../../../../tests/support/cases.rs"]
mod cases;

fn cases() -> Vec<Case> {
    read(include_str!("data/heads.txt"))
}

fn whole(bytes: &[u8]) -> Result<Status<Head<'_>>, HeadError> {
    parse(bytes, &mut Scanner::default())
}

fn head(bytes: &[u8]) -> Head<'_> {
    match whole(bytes) {
        Ok(Status::Complete { head, .. }) => head,
        other => panic!("{other:?}"),
    }
}

/// The words that an expectation in the file may contain.
fn summary(result: &Result<Status<Head<'_>>, HeadError>) -> Vec<String> {
    let (head, consumed) = match result {
        Err(error) => return vec![error.status.to_string()],
        Ok(Status::Partial) => return vec!["partial".into()],
        Ok(Status::Complete { head, consumed }) => (head, consumed),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut words = vec!["ok".into(), format!("consumed={consumed}")];
    words.push(if head.keep_alive { "keep" } else { "close" }.into());
    words.push(match head.body {
        Framing::None => "nobody".into(),
        Framing::Length(length) => format!("length={length}"),
        Framing::Chunked => "chunked".into(),
    });
    words.push(format!("{:?}", head.method));
    words.push(format!("{:?}", head.version));
    words.push(format!("target={}", text(head.raw_target)));
    words.push(match head.target {
        TargetForm::Origin(_) => "origin".into(),
        TargetForm::Absolute { path, .. } => format!("absolute={}", text(path)),
        TargetForm::Asterisk => "asterisk".into(),
        TargetForm::Authority(_) => "authority".into(),
    });
    words.push(
        head.host
            .map_or("nohost".into(), |host| format!("host={}", text(host))),
    );
    words.push(
        if head.expect_continue {
            "expect"
        } else {
            "noexpect"
        }
        .into(),
    );
    words.push(
        head.upgrade
            .map_or("noupgrade".into(), |to| format!("upgrade={}", text(to))),
    );
    words
}

#[test]
fn every_case_is_answered_as_the_rfc_says() {
    let cases = cases();
    assert!(cases.len() >= 150, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let result = whole(&case.bytes);
        let words = summary(&result);
        for wanted in case.expected.split(' ') {
            if !words.iter().any(|word| word == wanted) {
                wrong.push(format!(
                    "line {}: {wanted} ({}): {words:?}",
                    case.line, case.why
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_case_twice_is_a_slip_of_the_pen() {
    let mut seen = std::collections::HashMap::new();
    for case in cases() {
        if let Some(line) = seen.insert(case.bytes, case.line) {
            panic!("lines {line} and {} are the same", case.line);
        }
    }
}

/// The offsets at which an input is split: all of a short input. A long input takes long to scan
/// from its beginning, so it is split only at some offsets and at the last one.
fn cuts(length: usize) -> impl Iterator<Item = usize> {
    let step = if length > 2000 { 97 } else { 1 };
    let tail = length.saturating_sub(50);
    (0..length).filter(move |cut| cut % step == 0 || *cut >= tail)
}

#[test]
fn a_head_cut_anywhere_is_never_whole_nor_refused_for_another_reason() {
    for case in cases() {
        let all = whole(&case.bytes);
        let end = match &all {
            Ok(Status::Complete { consumed, .. }) => *consumed,
            _ => case.bytes.len(),
        };
        for cut in cuts(end) {
            match (whole(&case.bytes[..cut]), &all) {
                (Ok(Status::Partial), _) => {}
                (Err(early), Err(late)) if early == *late => {}
                (early, _) => panic!("line {} cut at {cut}: {early:?} {all:?}", case.line),
            }
        }
    }
}

#[test]
fn a_head_read_on_from_any_cut_is_the_head_read_whole() {
    for case in cases() {
        let all = format!("{:?}", whole(&case.bytes));
        for cut in cuts(case.bytes.len()) {
            let mut scanner = Scanner::default();
            if let Ok(Status::Partial) = parse(&case.bytes[..cut], &mut scanner) {
                let resumed = format!("{:?}", parse(&case.bytes, &mut scanner));
                assert_eq!(resumed, all, "line {} cut at {cut}", case.line);
            }
        }
    }
}

#[test]
fn a_head_that_comes_byte_by_byte_is_the_head_read_whole() {
    for case in cases() {
        let all = whole(&case.bytes);
        let mut scanner = Scanner::default();
        let mut last = Ok(Status::Partial);
        for end in 1..=case.bytes.len() {
            last = parse(&case.bytes[..end], &mut scanner);
            if !matches!(last, Ok(Status::Partial)) {
                break;
            }
        }
        assert_eq!(
            format!("{last:?}"),
            format!("{all:?}"),
            "line {}",
            case.line
        );
    }
}

#[test]
fn the_promises_hold_for_cases_with_any_byte_replaced() {
    for case in cases().iter().filter(|case| case.bytes.len() < 200) {
        for at in 0..case.bytes.len() {
            for byte in [0, b'\t', b'\n', b'\r', b' ', b',', b':', b'1', 0x7f, 0xe9] {
                let mut bytes = case.bytes.clone();
                bytes[at] = byte;
                check(&bytes);
            }
        }
    }
}

#[test]
fn refusals_come_with_the_byte_that_makes_them_certain() {
    for (bytes, status) in [
        (&b"\x16"[..], 400),
        (b"\n", 400),
        (b"\r\n\r", 400),
        (b" ", 400),
        (b"GET /\r", 400),
        (b"GET / H\x00", 400),
        (b"GET  ", 400),
        (b"GET / HTTP/1.1 ", 400),
        (b"GET / HTTP/1.1\n", 400),
        (b"GET / HTTP/2.0\r\n", 505),
        (b"GET / HTTP/1.1\r\n ", 400),
        (b"GET / HTTP/1.1\r\nHost: a\n", 400),
        (b"GET / HTTP/1.1\r\nHost : a\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\t", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\r\n", 400),
    ] {
        let error = whole(bytes).expect_err("a refusal");
        assert_eq!(error.status, status, "{}", bytes.escape_ascii());
        let before = whole(&bytes[..bytes.len() - 1]);
        assert!(
            matches!(before, Ok(Status::Partial)),
            "{}",
            bytes.escape_ascii()
        );
    }
}

#[test]
fn fields_are_told_in_order_without_the_whitespace_around_values() {
    let bytes = b"GET / HTTP/1.1\r\nHost:a\r\nX:  b c \t\r\nE:\r\nx: \xe9:\r\n\r\nrest";
    let head = head(bytes);
    let fields: Vec<_> = head.fields().collect();
    let wanted: [(&[u8], &[u8]); 4] = [
        (b"Host", b"a"),
        (b"X", b"b c"),
        (b"E", b""),
        (b"x", b"\xe9:"),
    ];
    assert_eq!(fields, wanted);
    let values: Vec<_> = head.values("X").collect();
    assert_eq!(values, [&b"b c"[..], b"\xe9:"]);
    assert_eq!(head.values("Y").count(), 0);
}

#[test]
fn the_fields_of_note_are_found_in_any_case() {
    let bytes = b"GET / HTTP/1.1\r\nhOST: a\r\nRANGE: bytes=0-\r\nif-range: \"e\"\r\n\
        If-Match: m\r\nIf-None-Match: \"1\"\r\nIf-None-Match: \"2\"\r\n\
        If-Modified-Since: s\r\nIf-Unmodified-Since: u\r\nAccept-Encoding: br\r\n\
        Content-Type: t\r\nAuthorization: Basic x\r\nUser-Agent: ua\r\nUser-Agent: other\r\n\
        Referer: r\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let head = head(bytes);
    for (found, wanted) in [
        (head.host, "a"),
        (head.range, "bytes=0-"),
        (head.if_range, "\"e\""),
        (head.if_match, "m"),
        (head.if_none_match, "\"1\""),
        (head.if_modified_since, "s"),
        (head.if_unmodified_since, "u"),
        (head.accept_encoding, "br"),
        (head.content_type, "t"),
        (head.authorization, "Basic x"),
        (head.user_agent, "ua"),
        (head.referer, "r"),
        (head.upgrade, "websocket"),
    ] {
        assert_eq!(found, Some(wanted.as_bytes()));
    }
    let tags: Vec<_> = head.values("if-none-match").collect();
    assert_eq!(tags, [b"\"1\"", b"\"2\""]);
}

#[test]
fn one_scanner_serves_one_request_after_another() {
    let mut rest: &[u8] = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /22 HTTP/1.0\r\n\r\nGE";
    let mut scanner = Scanner::default();
    for wanted in [&b"/1"[..], b"/22"] {
        match parse(rest, &mut scanner) {
            Ok(Status::Complete { head, consumed }) => {
                assert_eq!(head.raw_target, wanted);
                rest = &rest[consumed..];
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(parse(rest, &mut scanner), Ok(Status::Partial)));
}
