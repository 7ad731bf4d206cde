//! The programs under `examples/`, with real clients.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::support::PATIENCE;

/// Where the examples are. `cargo test` builds them, unless it is told to run only some tests.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let profile = test.parent().unwrap().parent().unwrap();
        let mut build = Command::new(env!("CARGO"));
        build
            .args(["build", "--quiet", "--locked", "--package", "socketserver"])
            .args(["--examples", "--target-dir"])
            .arg(profile.parent().unwrap())
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success());
        profile.join("examples")
    })
}

/// An example that serves, ended at the end of the test.
struct Example {
    child: Child,
    address: String,
}

impl Example {
    /// Starts it on a free port.
    fn start(name: &str, arguments: &[&str]) -> Example {
        let mut child = Command::new(folder().join(name))
            .arg("127.0.0.1:0")
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut ready).unwrap();
        let (_, address) = ready.trim_end().rsplit_once('/').unwrap();
        Example {
            child,
            address: address.to_owned(),
        }
    }

    fn connect(&self) -> Lines {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Lines(BufReader::new(stream))
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client that speaks in lines.
struct Lines(BufReader<TcpStream>);

impl Lines {
    fn say(&mut self, line: &str) {
        writeln!(self.0.get_mut(), "{line}").unwrap();
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
    let chat = Example::start("chat", &[]);
    let mut ada = chat.connect();
    ada.hear("You are guest 1. Clients here: 1.");
    let mut bob = chat.connect();
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
    let echo = Example::start("tcp_echo", &[]);
    let forwarder = Example::start("forwarder", &[&echo.address]);
    let mut client = forwarder.connect();
    for line in ["hello", "and again"] {
        client.say(line);
        client.hear(line);
    }
}

#[test]
fn the_key_value_server_understands_redis_clients_however_requests_are_cut() {
    let server = Example::start("key_value", &[]);
    let mut client = server.connect();
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
    let ticker = Example::start("ticker", &[]);
    let mut client = ticker.connect();
    client.say("100");
    // The first tick comes later on a busy machine.
    assert!(client.line().parse::<f64>().unwrap() >= 0.1);
    client.say("soon");
    while client.line() != "send milliseconds" {}
}

#[test]
fn the_collector_keeps_a_sum_for_each_client() {
    let collector = Example::start("collector", &[]);
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
