//! TYPE A: converts line ends between the file and the network (RFC 959 §3.1.1.1).
//!
//! A line ends with CR LF on the network, and with LF in a file. If a line of a file already ends
//! with CR LF, it does not get a second CR. The input may be split at any byte.

/// Converts the line ends of a file to the line ends of the network.
#[derive(Clone, Copy, Debug, Default)]
pub struct Encoder {
    /// Whether the last byte of the input so far was a carriage return.
    is_after_cr: bool,
}

/// Converts the line ends of the network to the line ends of a file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Decoder {
    /// Whether the last byte of the input so far was a carriage return. It is held back, because
    /// the next byte may be a line feed.
    holds_cr: bool,
}

impl Encoder {
    /// Appends `bytes` with network line ends to `to`.
    pub fn encode(&mut self, bytes: &[u8], to: &mut Vec<u8>) {
        let mut rest = bytes;
        while let Some(at) = memchr::memchr(b'\n', rest) {
            let line = &rest[..at];
            let has_cr = line.last().map_or(self.is_after_cr, |last| *last == b'\r');
            to.extend_from_slice(line);
            to.extend_from_slice(if has_cr { b"\n" } else { b"\r\n" });
            self.is_after_cr = false;
            rest = &rest[at + 1..];
        }
        to.extend_from_slice(rest);
        if let Some(last) = rest.last() {
            self.is_after_cr = *last == b'\r';
        }
    }
}

impl Decoder {
    /// Appends `bytes` with the file's line ends to `to`.
    pub fn decode(&mut self, bytes: &[u8], to: &mut Vec<u8>) {
        let mut rest = bytes;
        if rest.is_empty() {
            return;
        }
        if std::mem::take(&mut self.holds_cr) && rest.first() != Some(&b'\n') {
            to.push(b'\r');
        }
        while let Some(at) = memchr::memchr(b'\r', rest) {
            to.extend_from_slice(&rest[..at]);
            rest = &rest[at + 1..];
            match rest.first() {
                Some(b'\n') => {}
                Some(_) => to.push(b'\r'),
                None => self.holds_cr = true,
            }
        }
        to.extend_from_slice(rest);
    }

    /// Must be called at the end of the input. Appends a carriage return that was held back.
    pub fn finish(&mut self, to: &mut Vec<u8>) {
        if std::mem::take(&mut self.holds_cr) {
            to.push(b'\r');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(bytes: &[u8], size: usize) -> Vec<u8> {
        let (mut encoder, mut to) = (Encoder::default(), Vec::new());
        bytes
            .chunks(size)
            .for_each(|piece| encoder.encode(piece, &mut to));
        to
    }

    fn decoded(bytes: &[u8], size: usize) -> Vec<u8> {
        let (mut decoder, mut to) = (Decoder::default(), Vec::new());
        bytes
            .chunks(size)
            .for_each(|piece| decoder.decode(piece, &mut to));
        decoder.finish(&mut to);
        to
    }

    #[test]
    fn line_ends_are_translated_wherever_the_pieces_are_cut() {
        for (file, network) in [
            (&b""[..], &b""[..]),
            (b"a\nb\n", b"a\r\nb\r\n"),
            (b"\n\n", b"\r\n\r\n"),
            (b"no end", b"no end"),
            (b"a\rb", b"a\rb"),
            (b"a\r", b"a\r"),
            (b"\r\rx\n", b"\r\rx\r\n"),
            (b"\0\xff\n", b"\0\xff\r\n"),
        ] {
            for size in 1..=8 {
                assert_eq!(encoded(file, size), network, "{}", file.escape_ascii());
                assert_eq!(decoded(network, size), file, "{}", network.escape_ascii());
            }
        }
    }

    #[test]
    fn a_file_with_network_line_ends_is_sent_as_it_is() {
        for size in 1..=8 {
            assert_eq!(encoded(b"a\r\n\r\nb\r\n", size), b"a\r\n\r\nb\r\n");
            assert_eq!(decoded(b"a\r\r\n\n", size), b"a\r\n\n");
        }
    }
}
