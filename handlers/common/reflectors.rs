//! Recognises senders that are not clients but servers that answer any datagram.

use socketserver::ClientAddress;

/// Whether the sender of a datagram is a server that answers any datagram. One forged datagram
/// would make two such servers answer each other forever (CVE-1999-0103).
pub(crate) fn answers_itself(client: &ClientAddress) -> bool {
    // The ports of echo, daytime, quote of the day, chargen and time, and the default ports of this
    // program's echo, time and ping.
    const PORTS: [u16; 8] = [7, 13, 17, 19, 37, 7007, 9999, 12000];
    matches!(client, ClientAddress::Inet(address) if PORTS.contains(&address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_answers_anything_is_not_answered() {
        let from = |port| ClientAddress::Inet(std::net::SocketAddr::from(([192, 0, 2, 1], port)));
        for (port, expected) in [
            (7, true),
            (17, true),
            (37, true),
            (9999, true),
            (12000, true),
            (8, false),
            (123, false),
            (50_000, false),
        ] {
            assert_eq!(answers_itself(&from(port)), expected, "port {port}");
        }
    }
}
