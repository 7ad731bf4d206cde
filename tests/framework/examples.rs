//! The programs under `examples/`, with real clients.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpStream, UdpSocket};
#[cfg(feature = "tls")]
use std::process::{Command, Stdio};

use crate::support::PATIENCE;
use crate::support::examples::Example;
#[cfg(feature = "tls")]
use crate::support::{BoundedCommand, TestDir};

fn start(name: &str, arguments: &[&str]) -> Example {
    Example::start("socketserver", name, arguments)
}

/// A client that speaks in lines.
struct Lines(BufReader<TcpStream>);

impl Lines {
    fn connect(server: &Example) -> Lines {
        let stream = TcpStream::connect(&server.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Lines(BufReader::new(stream))
    }

    /// Sends a line, or several, by one call of the system.
    fn say(&mut self, line: &str) {
        let line = format!("{line}\n");
        self.0.get_mut().write_all(line.as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    #[track_caller]
    fn hear(&mut self, expected: &str) {
        assert_eq!(self.line(), expected);
    }
}

#[test]
fn what_one_says_in_the_chat_all_others_hear() {
    let chat = start("chat", &[]);
    let mut ada = Lines::connect(&chat);
    ada.hear("You are guest 1. Clients here: 1.");
    let mut bob = Lines::connect(&chat);
    bob.hear("You are guest 2. Clients here: 2.");
    ada.hear("guest 2 has joined.");
    ada.say("hello");
    bob.hear("guest 1: hello");
    bob.say("hello yourself");
    ada.hear("guest 2: hello yourself");
    drop(bob);
    ada.hear("guest 2 has left.");
}

#[test]
fn the_forwarder_carries_what_both_sides_say() {
    let echo = start("tcp_echo", &[]);
    let forwarder = start("forwarder", &[&echo.address]);
    let mut client = Lines::connect(&forwarder);
    for line in ["hello", "and again"] {
        client.say(line);
        client.hear(line);
    }
}

#[test]
fn the_key_value_server_understands_redis_clients_however_requests_are_cut() {
    let server = start("key_value", &[]);
    let mut client = Lines::connect(&server);
    for request in [
        &b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nv\r\n12\r\n"[..],
        b"*1\r\n$4\r\nPING\r\n",
    ] {
        for byte in request {
            client.0.get_mut().write_all(&[*byte]).unwrap();
        }
    }
    client.hear("+OK");
    client.hear("+PONG");
    client.say("get k");
    client.hear("$5");
    client.hear("v");
    client.hear("12");
    client.say("get other");
    client.hear("$-1");
    client.say("del k other");
    client.hear(":1");
    client.say("nonsense");
    client.hear("-ERR unknown command or wrong number of arguments");
}

#[test]
fn the_ticker_ticks_and_takes_another_interval() {
    let ticker = start("ticker", &[]);
    let mut client = Lines::connect(&ticker);
    client.say("100");
    // The first tick comes later on a busy machine.
    assert!(client.line().parse::<f64>().unwrap() >= 0.1);
    client.say("soon");
    while client.line() != "send milliseconds" {}
}

#[test]
fn the_collector_keeps_a_sum_for_each_client() {
    let collector = start("collector", &[]);
    let clients = [(); 2].map(|()| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.connect(&collector.address).unwrap();
        socket
    });
    let answer_to = |client: &UdpSocket, text: &str| {
        client.send(text.as_bytes()).unwrap();
        let mut answer = [0; 100];
        let count = client.recv(&mut answer).unwrap();
        String::from_utf8(answer[..count].to_vec()).unwrap()
    };
    assert_eq!(answer_to(&clients[0], "5"), "5\n");
    assert_eq!(answer_to(&clients[0], "-2\n"), "3\n");
    assert_eq!(answer_to(&clients[1], "1"), "1\n");
    assert_eq!(answer_to(&clients[1], "many"), "send a number\n");
}

#[test]
fn the_udp_echo_returns_each_datagram() {
    let echo = start("udp_echo", &[]);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.connect(&echo.address).unwrap();
    for datagram in [&b"hello"[..], b"\0\xff"] {
        client.send(datagram).unwrap();
        let mut answer = [0; 100];
        let count = client.recv(&mut answer).unwrap();
        assert_eq!(&answer[..count], datagram);
    }
}

#[test]
fn the_timer_reminds_in_the_order_of_the_times() {
    let timer = start("timer", &[]);
    let mut client = Lines::connect(&timer);
    // Both times begin at the same moment, because the lines arrive together.
    client.say("0.2 later\n0.1 sooner\nsoon tea");
    client.hear("send SECONDS TEXT");
    client.hear("sooner");
    client.hear("later");
}

#[test]
fn the_room_opens_to_those_who_say_the_word() {
    let room = start("tested_handler", &[]);
    let mut guests = [(); 2].map(|()| {
        let mut guest = Lines::connect(&room);
        guest.hear("word?");
        guest.say("swordfish");
        guest.hear("welcome");
        guest
    });
    guests[0].say("hello");
    guests[1].hear("hello");
}

/// Writes a CA and the certificates that it signs, each with its key: `NAME.pem`, `NAME.key`.
#[cfg(feature = "tls")]
fn write_certificates(dir: &TestDir, names: &[&str]) {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    let write = |name: &str, what: &str, pem: String| {
        std::fs::write(dir.join(format!("{name}.{what}")), pem).unwrap();
    };
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    write("ca", "pem", params.self_signed(&key).unwrap().pem());
    let issuer = Issuer::new(params, key);
    for name in names {
        let mut params = CertificateParams::new([(*name).to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, *name);
        let key = KeyPair::generate().unwrap();
        write(name, "pem", params.signed_by(&key, &issuer).unwrap().pem());
        write(name, "key", key.serialize_pem());
    }
}

#[cfg(feature = "tls")]
#[test]
fn a_client_is_greeted_by_the_subject_of_its_certificate() {
    if !Command::new("openssl").arg("version").succeeds() {
        let _ = writeln!(std::io::stderr(), "SKIPPED: openssl is missing");
        return;
    }
    let dir = TestDir::new();
    write_certificates(&dir, &["localhost", "ada"]);
    let path = |file: &str| dir.join(file).to_str().unwrap().to_owned();
    let files = ["localhost.pem", "localhost.key", "ca.pem"].map(path);
    let server = start("client_certificates", &files.each_ref().map(String::as_str));
    let ask = |arguments: &[String]| {
        let mut client = Command::new("openssl")
            .args(["s_client", "-quiet", "-verify_return_error", "-CAfile"])
            .arg(path("ca.pem"))
            .args(["-servername", "localhost", "-connect", &server.address])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .start();
        let mut input = client.stdin();
        // A client that was refused reads nothing.
        let _ = input.write_all(b"hello\n");
        let mut answer = String::new();
        client.stdout().read_line(&mut answer).unwrap();
        drop(input);
        answer
    };
    let identity = ["-cert", &path("ada.pem"), "-key", &path("ada.key")].map(str::to_owned);
    let answer = ask(&identity);
    assert!(
        answer.contains("CN=ada") && answer.ends_with("You asked for localhost.\n"),
        "{answer:?}"
    );
    assert_eq!(ask(&[]), "", "a client without a certificate");
}
