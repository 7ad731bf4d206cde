//! Bodies that arrive in one piece and in many.

use super::*;

#[test]
fn bodies_come_out_of_their_chunks_however_they_are_cut() {
    for (input, body, rest) in [
        (&b"0\r\n\r\n"[..], &b""[..], 0),
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello", 0),
        (b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\nGET /", b"hello!", 5),
        (b"00a\r\n0123456789\r\n0\r\n\r\n", b"0123456789", 0),
        (b"1 ;a\r\nx\r\n0\r\n\r\n", b"x", 0),
        (
            b"A;name=value;x=\"y z\"\r\n0123456789\r\n0;last\r\n\r\n",
            b"0123456789",
            0,
        ),
        (b"1\r\nx\r\n0\r\nDigest: a b\r\nX-Y:\r\n\r\nz", b"x", 1),
        (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n", 0),
    ] {
        for step in 1..=input.len() {
            let expected = Decoded {
                body: body.to_vec(),
                taken: input.len() - rest,
            };
            assert_eq!(
                decode(input, step),
                Ok(Some(expected)),
                "{:?} by {step}",
                input.escape_ascii().to_string()
            );
        }
        for end in 0..input.len() - rest {
            assert_eq!(
                decode(&input[..end], 3),
                Ok(None),
                "{:?}",
                input[..end].escape_ascii().to_string()
            );
        }
    }
}

#[test]
fn what_two_programs_could_read_in_two_ways_is_refused() {
    let long_extension = [b"1;", &[b'x'; 300][..], b"\r\nx\r\n0\r\n\r\n"].concat();
    let long_trailers = [b"0\r\nX: ", &[b'x'; 9000][..], b"\r\n\r\n"].concat();
    for input in [
        &b"\r\n"[..],
        b"x\r\n",
        b" 5\r\nhello\r\n",
        b"+5\r\nhello\r\n",
        b"-1\r\n",
        b"0x5\r\nhello\r\n",
        b"5 \r\nhello\r\n",
        b"5\nhello\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello!\r\n",
        b"5\r\nhell\r\n0\r\n\r\n",
        b"5\rhello\r\n",
        b"5;\x01\r\nhello\r\n",
        b"5;a\nb\r\nhello\r\n",
        b"1ffffffffffffffff\r\n",
        b"10000000000000000\r\n",
        b"0\r\nno colon\r\n\r\n",
        b"0\r\n folded: x\r\n\r\n",
        b"0\r\nA: b\n\r\n",
        b"0\r\n\n",
        &long_extension,
        &long_trailers,
    ] {
        for step in [1, 2, input.len()] {
            assert!(
                decode(input, step).is_err(),
                "{:?} by {step}",
                input.escape_ascii().to_string()
            );
        }
    }
}
