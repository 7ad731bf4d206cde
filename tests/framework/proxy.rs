//! The PROXY protocol: who must send a header, and who is believed.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use socketserver::testing::TestConnection;
use socketserver::{
    Builder, ClientAddress, Error, Networks, Next, Refusal, Result, ServerHooks, StreamRequest,
};

use crate::subjects::Recorder;
use crate::support::{Client, Running, eventually};

const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A v2 header: PROXY for TCP over IPv4, or LOCAL.
fn v2(client: Option<(Ipv4Addr, u16)>) -> Vec<u8> {
    let mut header = V2_SIGNATURE.to_vec();
    let Some((ip, port)) = client else {
        header.extend([0x20, 0x00, 0, 0]);
        return header;
    };
    header.extend([0x21, 0x11, 0, 12]);
    header.extend(ip.octets().iter().chain(&[203, 0, 113, 9]));
    header.extend(port.to_be_bytes().iter().chain(&443u16.to_be_bytes()));
    header
}

/// Sends back the addresses, and then what the client sent.
fn introduce(request: &mut StreamRequest) -> Result<Next> {
    let server = request
        .server_address()
        .map(|address| address.to_string())
        .unwrap_or_default();
    write!(request.wfile, "{} {server} ", request.client_address)?;
    request.wfile.write_all(request.rfile.take_all())?;
    Ok(Next::Close)
}

fn trusting(network: &str) -> Builder {
    Builder::new().proxy_protocol(Some(Networks::parse([network]).unwrap()))
}

fn serve(settings: Builder) -> Running {
    let class = |_: &_| introduce as fn(&mut StreamRequest) -> Result<Next>;
    Running::start(settings.tcp("127.0.0.1:0", class).unwrap())
}

#[test]
fn a_trusted_peer_tells_who_the_client_is() {
    let server = serve(trusting("127.0.0.0/8"));
    let v1 = b"PROXY TCP4 198.51.100.7 203.0.113.9 5000 443\r\nhello".to_vec();
    let v1_of_v6 = b"PROXY TCP6 2001:db8::7 2001:db8::9 5000 443\r\nhello".to_vec();
    let v2 = [
        v2(Some((Ipv4Addr::new(198, 51, 100, 7), 5000))),
        b"hello".to_vec(),
    ]
    .concat();
    let over_v4 = "198.51.100.7:5000 203.0.113.9:443 hello";
    let over_v6 = "[2001:db8::7]:5000 [2001:db8::9]:443 hello";
    for (sent, expected) in [(v1, over_v4), (v1_of_v6, over_v6), (v2, over_v4)] {
        let heard = server.connect().say(&sent).hear_end();
        assert_eq!(String::from_utf8(heard).unwrap(), expected);
    }
}

#[test]
fn a_header_that_comes_byte_by_byte_is_understood() {
    let proxy: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let header = v2(Some((Ipv4Addr::new(198, 51, 100, 7), 5000)));
    for header in [
        &b"PROXY TCP4 198.51.100.7 203.0.113.9 5000 443\r\n"[..],
        &header,
    ] {
        let mut client = TestConnection::from(
            trusting("127.0.0.0/8"),
            proxy.into(),
            |client: &ClientAddress| {
                assert_eq!(client.to_string(), "198.51.100.7:5000");
                introduce as fn(&mut StreamRequest) -> Result<Next>
            },
        );
        client.send_bytewise(header);
        assert_eq!(client.received(), b"", "a header is no message");
        client.send(b"hello");
        assert_eq!(
            client.received(),
            b"198.51.100.7:5000 203.0.113.9:443 hello"
        );
    }
}

#[test]
fn a_header_without_a_client_leaves_the_peer_in_its_place() {
    let server = serve(trusting("127.0.0.0/8"));
    for header in [v2(None), b"PROXY UNKNOWN\r\n".to_vec()] {
        let mut client = server.connect();
        let own = client.socket.local_addr().unwrap().as_socket().unwrap();
        client.say(&header).say(b"health check");
        let heard = client.hear_end();
        assert_eq!(
            String::from_utf8(heard).unwrap(),
            format!("{own} {} health check", server.address())
        );
    }
}

#[test]
fn a_trusted_peer_must_send_a_header() {
    let hooks = Recorder::default();
    let server = serve(trusting("127.0.0.0/8").hooks(hooks.clone()));
    for wrong in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"PROXY TCP4 nonsense\r\n",
        b"\r\n\r\n\0\r\nQUIP\n",
    ] {
        assert_eq!(server.connect().say(wrong).hear_end(), b"");
    }
    assert_eq!((server.stats().failed, server.stats().handled), (3, 0));
    assert!(
        hooks
            .errors()
            .iter()
            .all(|error| error.starts_with("bad PROXY header: ")),
        "{:?}",
        hooks.errors()
    );
}

#[test]
fn from_everybody_else_the_same_bytes_are_data() {
    let lie = b"PROXY TCP4 198.51.100.7 203.0.113.9 5000 443\r\n";
    for settings in [trusting("192.0.2.0/24"), Builder::new()] {
        let server = serve(settings);
        let mut client = server.connect();
        let own = client.socket.local_addr().unwrap().as_socket().unwrap();
        let heard = client.say(lie).hear_end();
        assert_eq!(
            heard,
            [format!("{own} {} ", server.address()).as_bytes(), lie].concat()
        );
    }
    let server = serve(trusting("127.0.0.1/32"));
    let heard = Client::connect_from("127.0.0.2", server.address())
        .say(b"no header")
        .hear_end();
    assert!(heard.starts_with(b"127.0.0.2:") && heard.ends_with(b" no header"));
}

/// Denies one client, whoever brings it; counts the clients that it was asked about.
#[derive(Clone, Default)]
struct Ban(Arc<AtomicUsize>);

impl ServerHooks for Ban {
    fn verify_request(&self, client: &ClientAddress) -> bool {
        self.0.fetch_add(1, Ordering::SeqCst);
        client.ip() != Some(Ipv4Addr::new(198, 51, 100, 7).into())
    }
    fn handle_error(&self, _: &ClientAddress, error: &Error) {
        panic!("{error}");
    }
}

#[test]
fn verify_request_and_the_limit_per_address_see_the_real_client() {
    let ban = Ban::default();
    let server = serve(
        trusting("127.0.0.0/8")
            .hooks(ban.clone())
            .max_per_address(Some(1)),
    );
    let from = |last: u8| v2(Some((Ipv4Addr::new(198, 51, 100, last), 5000)));
    let mut held = server.connect();
    held.say(&from(8));
    eventually("it is verified", || ban.0.load(Ordering::SeqCst) == 1);
    let mut other = server.connect();
    other.say(&from(9)).say(b"x");
    assert_eq!(other.hear_end(), b"198.51.100.9:5000 203.0.113.9:443 x");
    assert_eq!(server.connect().say(&from(8)).hear_end(), b"");
    assert_eq!(server.connect().say(&from(7)).hear_end(), b"");
    let stats = server.stats();
    assert_eq!(
        (
            stats.refused(Refusal::MaxPerAddress),
            stats.refused(Refusal::Denied)
        ),
        (1, 1)
    );
}
