//! Tests of encoding and decoding, on bytes alone.

use super::client::file_name;
use super::decode::{DEEPEST, Decoder, Fault, LONGEST_NAME, check, decode};
use super::encode;

/// Returns the complete object, as the server sends it.
fn encoded(name: &str, data: &[u8]) -> Vec<u8> {
    let mut text = encode::opening(name).into_bytes();
    for piece in data.chunks(encode::PIECE) {
        text.extend_from_slice(&encode::base64(piece));
    }
    text.extend_from_slice(encode::CLOSING.as_bytes());
    text
}

/// Decodes the text several times: split in two at each byte, and split at all bytes. The result
/// must always be the same.
fn decoded(text: &[u8]) -> Result<Option<(String, Vec<u8>)>, Fault> {
    let once = decode(text, text.len());
    assert_eq!(decode(text, 1), once, "{}", text.escape_ascii());
    for cut in 0..=text.len() {
        let (mut decoder, mut data) = (Decoder::default(), Vec::new());
        let twice = decoder
            .push(&text[..cut], &mut data)
            .and_then(|_| decoder.push(&text[cut..], &mut data));
        assert_eq!(
            twice.map(|whole| (whole, decoder.name().map(str::to_owned), data)),
            once,
            "{} cut at {cut}",
            text.escape_ascii()
        );
    }
    once.map(|(whole, name, data)| {
        if whole {
            name.map(|name| (name, data))
        } else {
            None
        }
    })
}

#[track_caller]
fn accepts(text: &str, name: &str, data: &[u8]) {
    assert_eq!(
        decoded(text.as_bytes()),
        Ok(Some((name.to_owned(), data.to_vec()))),
        "{text}"
    );
}

#[track_caller]
fn refuses(text: &str, fault: Fault) {
    assert_eq!(decoded(text.as_bytes()), Err(fault), "{text}");
}

#[test]
fn the_server_sends_what_the_contract_says() {
    assert_eq!(
        encoded("a.txt", b"hello"),
        br#"{"filename": "a.txt", "filedata": "aGVsbG8="}"#
    );
    assert_eq!(
        encoded("\"\\\n\u{1}\u{7f}é/", b""),
        "{\"filename\": \"\\\"\\\\\\u000a\\u0001\u{7f}é/\", \"filedata\": \"\"}".as_bytes()
    );
}

#[test]
fn keys_come_in_any_order_with_any_white_space() {
    accepts(r#"{"filename":"a","filedata":"aGk="}"#, "a", b"hi");
    accepts(r#"{"filedata":"aGk=","filename":"a"}"#, "a", b"hi");
    accepts(
        " \t\r\n{\n  \"filename\" : \"a\" ,\r\n\t\"filedata\"\n:\n\"aGk=\"\n}\n",
        "a",
        b"hi",
    );
    accepts(r#"{"filename":"a","filedata":""}"#, "a", b"");
    accepts(r#"{"filename":"","filedata":""}"#, "", b"");
}

#[test]
fn what_follows_the_object_is_not_looked_at() {
    accepts(
        r#"{"filename":"a","filedata":"aGk="}}] and more"#,
        "a",
        b"hi",
    );
}

#[test]
fn escapes_mean_what_they_stand_for() {
    accepts(
        r#"{"filename":"\"\\\/\b\f\n\r\t","filedata":""}"#,
        "\"\\/\u{8}\u{c}\n\r\t",
        b"",
    );
    accepts(
        r#"{"filename":"caf\u00e9 \u20AC \ud83d\uDE00\u0000","filedata":""}"#,
        "café € 😀\0",
        b"",
    );
    accepts(
        r#"{"file\u006eame":"a","\u0066iledata":"aGk="}"#,
        "a",
        b"hi",
    );
    accepts(
        r#"{"filename":"a","filedata":"\/\/\/\/\u002b\u002B++aG\u006b\u003d"}"#,
        "a",
        b"\xff\xff\xff\xfb\xef\xbehi",
    );
}

#[test]
fn other_keys_are_skipped_whatever_their_values() {
    for value in [
        "null",
        "true",
        "false",
        "0",
        "-0",
        "12",
        "-1.50e+07",
        "1E5",
        "\"a \\\" \\u00e9\"",
        "[]",
        "{}",
        "[1,[2, {\"filename\": 3}],\"]\"]",
        "{\"filename\":\"x\",\"filedata\":[{}]}",
        " [ null , true ] ",
    ] {
        accepts(
            &format!(r#"{{"x":{value},"filename":"a","y":{value},"filedata":"aGk=","z":{value}}}"#),
            "a",
            b"hi",
        );
    }
    accepts(
        &format!(
            r#"{{"{}":1,"filenames":2,"filename":"a","filedata":"aGk="}}"#,
            "k".repeat(1000)
        ),
        "a",
        b"hi",
    );
}

#[test]
fn nesting_has_a_limit() {
    let nested = |depth: usize| {
        format!(
            r#"{{"x":{}{},"filename":"a","filedata":""}}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        )
    };
    accepts(&nested(DEEPEST as usize - 1), "a", b"");
    refuses(&nested(DEEPEST as usize), Fault::TooDeep);
    refuses(&nested(10_000), Fault::TooDeep);
}

#[test]
fn what_is_not_a_json_object_is_refused() {
    for text in [
        "hello",
        "[]",
        "\"filename\"",
        "1",
        "}",
        "{,",
        "{]",
        "{\"a\"}",
        "{\"a\" 1",
        "{\"a\"::",
        "{\"a\":,",
        "{\"a\":}",
        "{\"a\":1 2",
        "{\"a\":1,}",
        "{\"a\":1,,",
        "{\"a\":[1}",
        "{\"a\":[1,]",
        "{\"a\":[,",
        "{\"a\":{]",
        "{\"a\":{1",
        "{\"a\":{\"b\":1]",
        "{a",
        "{'a'",
        "{\"a\":01",
        "{\"a\":+1",
        "{\"a\":.5",
        "{\"a\":1.}",
        "{\"a\":1e}",
        "{\"a\":-}",
        "{\"a\":1e+}",
        "{\"a\":nul}",
        "{\"a\":truE",
        "{\"a\":NaN",
        "{\"a\":fals,",
        "{\"a\\x",
        "{\"a\\u00g0",
        "{\"a\n\"",
        "{\"a\":\"\t\"",
        "{\"a\":\"\u{0}",
        "\u{feff}{",
    ] {
        refuses(text, Fault::Syntax);
    }
}

#[test]
fn half_a_surrogate_pair_is_refused_wherever_it_stands() {
    for half in [
        r"\ud83d",
        r"\ude00",
        r"\ud83d\u0041",
        r"\ud83d\ud83d",
        r"\ud83dx",
        r"\ud83d\n",
        r"\ude00\ud83d",
    ] {
        refuses(&format!(r#"{{"filename":"{half}","#), Fault::Unicode);
        refuses(&format!(r#"{{"{half}":"#), Fault::Unicode);
    }
    assert_eq!(decoded(b"{\"filename\":\"\xff\","), Err(Fault::Unicode));
}

#[test]
fn a_key_that_comes_twice_is_an_error_and_so_is_one_that_does_not_come() {
    refuses(r#"{"filename":"a","filename":"#, Fault::Duplicate);
    refuses(r#"{"filedata":"","x":1,"filed\u0061ta":"#, Fault::Duplicate);
    for text in [
        "{}",
        r#"{"filename":"a"}"#,
        r#"{"filedata":""}"#,
        r#"{"x":{"filename":"a","filedata":""}}"#,
    ] {
        refuses(text, Fault::Missing);
    }
}

#[test]
fn the_two_values_must_be_strings() {
    for value in ["1", "null", "true", "[\"a\"]", "{}"] {
        refuses(&format!(r#"{{"filename":{value},"#), Fault::NotText);
        refuses(&format!(r#"{{"filedata":{value},"#), Fault::NotText);
    }
}

#[test]
fn a_name_has_255_bytes_at_most() {
    let name = "é".repeat(LONGEST_NAME / 2) + "x";
    accepts(
        &format!(r#"{{"filename":"{name}","filedata":""}}"#),
        &name,
        b"",
    );
    refuses(&format!(r#"{{"filename":"{name}y"#), Fault::LongName);
    refuses(
        &format!(r#"{{"filename":"{}\u00e9"#, "é".repeat(LONGEST_NAME / 2)),
        Fault::LongName,
    );
}

#[test]
fn base64_is_taken_strictly() {
    for (text, data) in [
        ("", &b""[..]),
        ("aA==", b"h"),
        ("aGk=", b"hi"),
        ("aGkh", b"hi!"),
        ("AAAAAA==", b"\0\0\0\0"),
        ("+/+/", b"\xfb\xff\xbf"),
    ] {
        accepts(
            &format!(r#"{{"filedata":"{text}","filename":"a"}}"#),
            "a",
            data,
        );
    }
    for text in [
        "a",
        "aG",
        "aGk",
        "aA=",
        "aA",
        "=",
        "==",
        "====",
        "a===",
        "aGk=a",
        "aGk=aGk=",
        "aA==aGkh",
        "aA=A",
        "aB==",
        "aGl=",
        "aGkh=",
        "aGkh====",
        "a-__",
        "aG k=",
        "aG\\nk=",
        "aGk=\\n",
        " aGk=",
        "aGk\u{e9}",
        "aG*=",
    ] {
        refuses(&format!(r#"{{"filedata":"{text}","#), Fault::Base64);
    }
}

#[test]
fn an_object_that_is_cut_anywhere_is_not_whole() {
    let text = encoded("a.txt", b"hello, world");
    for end in 0..text.len() {
        assert_eq!(decoded(&text[..end]), Ok(None), "{end}");
    }
}

#[test]
fn any_bytes_under_any_name_survive() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for round in 0..300 {
        let length = if round % 10 == 0 {
            random.below(3 * encode::PIECE)
        } else {
            random.below(200)
        };
        let data: Vec<u8> = (0..length).map(|_| random.below(256) as u8).collect();
        let letters = [
            'a', '"', '\\', '/', '\0', '\n', '\u{7f}', 'é', '€', '😀', ' ', '\u{1f}',
        ];
        let name: String = (0..random.below(60))
            .map(|_| letters[random.below(letters.len())])
            .collect();
        let text = encoded(&name, &data);
        let cut = 1 + random.below(text.len());
        assert_eq!(
            decode(&text, cut),
            Ok((true, Some(name), data)),
            "round {round}, cut {cut}"
        );
    }
}

#[test]
fn memory_does_not_grow_with_what_is_skipped_or_decoded() {
    let (mut decoder, mut data) = (Decoder::default(), Vec::new());
    decoder.push(b"{\"key", &mut data).unwrap();
    for segment in [
        &[b'k'; 4096][..],
        b"\":\"",
        &[b'v'; 4096],
        b"\",\"filedata\":\"",
        &[b'A'; 4096],
    ] {
        for _ in 0..if segment.len() > 100 { 1000 } else { 1 } {
            data.clear();
            decoder.push(segment, &mut data).unwrap();
        }
    }
    assert!(data.capacity() < 8192, "{}", data.capacity());
    assert!(format!("{decoder:?}").len() < 2000);
}

#[test]
fn the_checks_of_the_fuzzer_hold() {
    for text in [
        &b""[..],
        b"{}",
        b"{\"filename\":\"a\",\"filedata\":\"ab!\x01\"}",
        b"{\"filename\":\"\\ud83d\\ude00\",\"filedata\":\"aGk=\"}",
    ] {
        check(text);
    }
}

#[test]
fn only_the_last_component_of_a_name_is_used() {
    for (sent, name) in [
        ("a", "a"),
        ("a/b", "b"),
        ("../../etc/passwd", "passwd"),
        ("/etc/passwd", "passwd"),
        ("C:\\x", "C:\\x"),
        ("...", "..."),
        (".a", ".a"),
    ] {
        assert_eq!(file_name(sent), Some(name));
    }
    for sent in [
        "", ".", "..", "/", "a/", "a/.", "a/..", "\0", "a\0", "a\0/b",
    ] {
        assert_eq!(file_name(sent), None, "{sent:?}");
    }
}

/// Marsaglia's xorshift64: the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % bound
    }
}
