use super::encode::{encode_raw_v2, encode_v1, encode_v2};
use super::*;

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The header's addresses, after checking it cut at every byte and with bytes behind it.
fn complete(bytes: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    for cut in 0..bytes.len() {
        assert_eq!(parse(&bytes[..cut]), Ok(Status::Partial), "cut at {cut}");
    }
    let mut with_request = bytes.to_vec();
    with_request.extend_from_slice(b"GET / HTTP/1.1\r\n");
    assert_eq!(parse(&with_request), parse(bytes));
    match parse(bytes) {
        Ok(Status::Complete { header, consumed }) => {
            assert_eq!(consumed, bytes.len());
            header.addresses()
        }
        other => panic!("{other:?} for {}", bytes.escape_ascii()),
    }
}

/// Asserts that `bytes` turns invalid exactly at its last byte.
fn invalid_at_the_last_byte(bytes: &[u8]) {
    let shown = bytes.escape_ascii();
    for cut in 0..bytes.len() {
        assert_eq!(
            parse(&bytes[..cut]),
            Ok(Status::Partial),
            "{cut} of {shown}"
        );
    }
    assert!(parse(bytes).is_err(), "{shown}");
}

#[test]
fn both_versions_carry_both_families() {
    for (client, server) in [
        ("192.0.2.1:56324", "198.51.100.7:443"),
        ("0.0.0.0:0", "255.255.255.255:65535"),
        ("[2001:db8::1]:1", "[::1]:443"),
        ("[::]:0", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
        ("[::ffff:192.0.2.1]:7", "[::ffff:198.51.100.7]:8"),
    ] {
        let (client, server) = (address(client), address(server));
        assert_eq!(complete(&encode_v1(client, server)), Some((client, server)));
        assert_eq!(
            complete(&encode_v2(client, server, &[])),
            Some((client, server))
        );
    }
}

#[test]
fn an_ipv6_address_may_be_written_in_any_of_its_forms() {
    for form in [
        "2001:DB8:0:0:0:0:0:1",
        "2001:0db8:0000:0000:0000:0000:0000:0001",
        "2001:db8::1",
        "2001:db8::0.0.0.1",
    ] {
        let line = format!("PROXY TCP6 {form} ::1 1 2\r\n");
        let (client, _) = complete(line.as_bytes()).unwrap();
        assert_eq!(client, address("[2001:db8::1]:1"), "{form}");
    }
}

#[test]
fn unknown_means_the_connections_own_addresses() {
    for line in [
        "PROXY UNKNOWN\r\n",
        "PROXY UNKNOWN \r\n",
        "PROXY UNKNOWN ffff:f...f:ffff anything \r goes \n here\r\n",
        "PROXY UNKNOWN 192.0.2.1 198.51.100.7 1 2\r\n",
    ] {
        assert_eq!(complete(line.as_bytes()), None);
    }
}

#[test]
fn a_line_may_have_107_bytes_and_no_more() {
    let line = |length: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(length - 16));
    assert_eq!(complete(line(107).as_bytes()), None);
    invalid_at_the_last_byte(&line(108).as_bytes()[..106]);
    invalid_at_the_last_byte(format!("PROXY UNKNOWN {}\r!", "x".repeat(91)).as_bytes());

    let longest = "0000:0000:0000:0000:0000:ffff:255.255.255.255";
    let line = format!("PROXY TCP6 {longest} {longest} 1 2\r\n");
    assert!(parse(line.as_bytes()).is_err());
}

#[test]
fn a_malformed_line_is_refused_at_the_first_wrong_byte() {
    for line in [
        "p",
        "G",
        "PROXY\t",
        "PROXY  ",
        "PROXY\r",
        "PROXY t",
        "PROXY TCP5",
        "PROXY TCP4\r",
        "PROXY TCP4  ",
        "PROXY UNKNOWN\n",
        "PROXY UNKNOWN\rx",
        "PROXY UNKNOWNx",
        "PROXY TCP4 :",
        "PROXY TCP4 1.2.3 ",
        "PROXY TCP4 1.2.3.\r",
        "PROXY TCP4 256",
        "PROXY TCP4 01",
        "PROXY TCP4 1..",
        "PROXY TCP4 1.2.3.4.",
        "PROXY TCP4 1.2.3.4\t",
        "PROXY TCP4 1.2.3.4  ",
        "PROXY TCP4 1.2.3.4 :",
        "PROXY TCP4 1.2.3.4 5.6.7.8 +",
        "PROXY TCP4 1.2.3.4 5.6.7.8  ",
        "PROXY TCP4 1.2.3.4 5.6.7.8 00",
        "PROXY TCP4 1.2.3.4 5.6.7.8 65536",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1\r",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 \r",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 ",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\rx",
        "PROXY TCP6 1.",
        "PROXY TCP6 g",
        "PROXY TCP6 :1",
        "PROXY TCP6 :::",
        "PROXY TCP6 1::2::",
        "PROXY TCP6 12345",
        "PROXY TCP6 fe80::1%",
        "PROXY TCP6 1:2:3:4:5:6:7:8:",
        "PROXY TCP6 1:2:3:4:5:6:7 ",
        "\r\n\r\n\r",
    ] {
        invalid_at_the_last_byte(line.as_bytes());
    }
}

#[test]
fn bytes_above_ascii_are_refused() {
    invalid_at_the_last_byte(b"PROXY TCP4 \xff");
    invalid_at_the_last_byte(b"PROXY TCP4 1.2.3.4 5.6.7.8 1\xc3");
    invalid_at_the_last_byte(b"\xff");
}

#[test]
fn tlvs_are_skipped_when_they_end_where_the_header_ends() {
    let (client, server) = (address("192.0.2.1:1"), address("192.0.2.2:2"));
    for tlvs in [
        &b"\x04\0\0"[..],
        b"\x01\0\x02h2\x05\0\x01u",
        b"\xee\0\0\xef\0\0",
    ] {
        let header = encode_v2(client, server, tlvs);
        assert_eq!(complete(&header), Some((client, server)));
    }
}

#[test]
fn tlvs_that_do_not_end_with_the_header_are_refused() {
    let (client, server) = (address("192.0.2.1:1"), address("192.0.2.2:2"));
    for too_short in [&b"\x04"[..], b"\x04\0"] {
        let header = encode_v2(client, server, too_short);
        invalid_at_the_last_byte(&header[..V2_FIXED]);
    }
    for (tlvs, certain_after) in [
        (&b"\x04\0\x01"[..], 3),
        (b"\x04\x01\0x", 2),
        (b"\x04\0\x02xy\x04", 3),
    ] {
        let header = encode_v2(client, server, tlvs);
        invalid_at_the_last_byte(&header[..V2_FIXED + 12 + certain_after]);
    }
}

#[test]
fn local_and_families_without_ip_addresses_mean_the_connections_own() {
    let unix = [b'/'; 216];
    assert_eq!(complete(&encode_raw_v2(0x20, 0x00, b"")), None);
    assert_eq!(complete(&encode_raw_v2(0x20, 0x11, &[1; 12])), None);
    assert_eq!(complete(&encode_raw_v2(0x20, 0x99, b"ignored")), None);
    assert_eq!(complete(&encode_raw_v2(0x21, 0x00, b"")), None);
    assert_eq!(complete(&encode_raw_v2(0x21, 0x00, b"ignored")), None);
    assert_eq!(complete(&encode_raw_v2(0x21, 0x31, &unix)), None);
    assert_eq!(complete(&encode_raw_v2(0x21, 0x32, &unix)), None);
}

#[test]
fn datagram_transports_carry_addresses_too() {
    let mut header = encode_v2(address("192.0.2.1:1"), address("192.0.2.2:2"), &[]);
    header[13] = 0x12;
    let expected = (address("192.0.2.1:1"), address("192.0.2.2:2"));
    assert_eq!(complete(&header), Some(expected));
}

#[test]
fn unknown_versions_commands_and_families_are_refused() {
    for command in [0x00, 0x11, 0x22, 0x2f, 0x31] {
        invalid_at_the_last_byte(&encode_raw_v2(command, 0x11, b"")[..13]);
    }
    for family in [0x01, 0x10, 0x13, 0x20, 0x30, 0x33, 0x41, 0xff] {
        invalid_at_the_last_byte(&encode_raw_v2(0x21, family, b"")[..14]);
    }
}

#[test]
fn a_length_that_cannot_hold_the_addresses_is_refused_at_once() {
    for (family, size) in [(0x11, 12), (0x21, 36), (0x31, 216)] {
        let header = encode_raw_v2(0x21, family, &vec![0; size - 1]);
        invalid_at_the_last_byte(&header[..16]);
    }
}

#[test]
fn a_header_may_have_four_kibibytes_and_no_more() {
    let body = |size: usize| encode_raw_v2(0x20, 0x00, &vec![0; size]);
    assert_eq!(complete(&body(4080)), None);
    invalid_at_the_last_byte(&body(4081)[..16]);
    invalid_at_the_last_byte(&body(4096)[..15]);
}
