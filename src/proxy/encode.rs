//! PROXY headers as a proxy sends them, for tests.

use std::net::{IpAddr, SocketAddr};

/// A v1 line; both addresses must be of the same family.
pub(crate) fn encode_v1(client: SocketAddr, server: SocketAddr) -> Vec<u8> {
    let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
    format!(
        "PROXY {family} {} {} {} {}\r\n",
        client.ip(),
        server.ip(),
        client.port(),
        server.port()
    )
    .into_bytes()
}

/// A v2 header for a TCP connection, with `tlvs` as they stand behind the addresses; both
/// addresses must be of the same family.
pub(crate) fn encode_v2(client: SocketAddr, server: SocketAddr, tlvs: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for address in [client, server] {
        match address.ip() {
            IpAddr::V4(ip) => body.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => body.extend_from_slice(&ip.octets()),
        }
    }
    for address in [client, server] {
        body.extend_from_slice(&address.port().to_be_bytes());
    }
    body.extend_from_slice(tlvs);
    encode_raw_v2(0x21, if client.is_ipv4() { 0x11 } else { 0x21 }, &body)
}

/// A v2 header with any command, family and body.
pub(crate) fn encode_raw_v2(version_and_command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let mut header = super::V2_SIGNATURE.to_vec();
    header.extend_from_slice(&[version_and_command, family]);
    let length = u16::try_from(body.len()).expect("a test's body fits in 64 KiB");
    header.extend_from_slice(&length.to_be_bytes());
    header.extend_from_slice(body);
    header
}
