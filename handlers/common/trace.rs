//! `--trace`: shows the traffic, with a line for each read and write: time, side, direction, bytes.

use std::fmt::Write as _;
use std::io::{self, Write};

use socketserver::{ClientAddress, Traffic};

/// Maximum number of bytes that a line shows.
const SHOWN: usize = 60;

/// Writes the line of a server.
pub(crate) fn server(peer: &ClientAddress, traffic: Traffic<'_>) {
    let peer = peer.to_string();
    match traffic {
        Traffic::Opened => line("server", "==", "connection from", &peer),
        Traffic::Received(bytes) => line("server", "<-", &peer, &describe(bytes)),
        Traffic::ReceivedEnd => line("server", "<-", &peer, "end"),
        Traffic::Sent(bytes) => line("server", "->", &peer, &describe(bytes)),
        Traffic::SentFile(count) => {
            line("server", "->", &peer, &format!("{count} bytes of a file"))
        }
        Traffic::Closed => line("server", "==", &peer, "closed"),
        _ => {}
    }
}

/// Writes the line of a client. The direction `->` is to the server.
pub(crate) fn client(direction: &str, bytes: &[u8]) {
    line(
        "client",
        direction,
        "",
        &if bytes.is_empty() {
            "end".to_owned()
        } else {
            describe(bytes)
        },
    );
}

fn line(side: &str, direction: &str, peer: &str, what: &str) {
    let now = jiff::Zoned::now().strftime("%H:%M:%S%.6f").to_string();
    let gap = if peer.is_empty() { "" } else { " " };
    // A line is written with one call, so that the lines of two processes on one terminal do not
    // mix. An error is ignored: if standard error is closed, no one reads the trace.
    let _ =
        io::stderr().write_all(format!("{now} {side} {direction} {peer}{gap}{what}\n").as_bytes());
}

/// Formats bytes like `5 bytes "hello"`, without control characters, which could control the
/// terminal.
fn describe(bytes: &[u8]) -> String {
    let plural = if bytes.len() == 1 { "" } else { "s" };
    let mut text = format!(
        "{} byte{plural} \"{}\"",
        bytes.len(),
        bytes[..bytes.len().min(SHOWN)].escape_ascii()
    );
    if bytes.len() > SHOWN {
        // Writing to a string cannot fail.
        let _ = write!(text, "…");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_short_and_harmless() {
        assert_eq!(describe(b"a"), "1 byte \"a\"");
        assert_eq!(describe(b"\x1b[2J\n\0"), "6 bytes \"\\x1b[2J\\n\\x00\"");
        let long = describe(&[b'x'; 1000]);
        assert!(long.starts_with("1000 bytes \"xxx") && long.ends_with("\"…") && long.len() < 100);
    }
}
