//! The program `handlers/examples/http_service.rs`, with real clients: curl, and `tungstenite`.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tungstenite::{Message, WebSocket, client};

use crate::support::{PATIENCE, has_tool};

struct Example {
    child: Child,
    address: String,
}

impl Example {
    fn start() -> Example {
        let mut child = Command::new(program())
            .arg("127.0.0.1:0")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut ready).unwrap();
        let (_, address) = ready.trim_end().split_once("http://").unwrap();
        let address = address.trim_end_matches('/').to_owned();
        Example { child, address }
    }

    fn curl(&self, arguments: &[&str], path: &str) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-N", "--max-time", "50"])
            .args(arguments)
            .arg(format!("http://{}{path}", self.address));
        curl
    }

    fn answer(&self, arguments: &[&str], path: &str) -> String {
        let output = self.curl(arguments, path).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn websocket(&self, path: &str) -> WebSocket<TcpStream> {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        client(format!("ws://{}{path}", self.address), stream)
            .unwrap()
            .0
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Builds the example, unless `cargo test` has done so already.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().unwrap().parent().unwrap();
    let mut build = Command::new(env!("CARGO"));
    build
        .args(["build", "--quiet", "--locked"])
        .args(["--package", "socketserver-handlers"])
        .args(["--example", "http_service", "--target-dir"])
        .arg(profile.parent().unwrap())
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile.ends_with("release") {
        build.arg("--release");
    }
    assert!(build.status().unwrap().success());
    profile.join("examples/http_service")
}

#[test]
fn the_example_of_an_http_service_answers_curl() {
    let test = "the_example_of_an_http_service_answers_curl";
    if !has_tool("curl", test) {
        return;
    }
    let example = Example::start();
    assert_eq!(example.answer(&[], "/hello/Ada"), "Hello, Ada!\n");
    let json = "Content-Type: application/json";
    let sum = example.answer(&["-d", r#"{"numbers": [1, 2]}"#, "-H", json], "/sum");
    assert_eq!(sum, r#"{"sum":3}"#);
    let logged_in = example.answer(&["-L", "-b", "", "-d", "name=Ada"], "/login");
    assert_eq!(logged_in, "You are \"Ada\".\n");
    let counted = example.answer(&["-X", "PUT", "--data-binary", "12345"], "/count");
    assert_eq!(counted, "5 bytes\n");
    let headers = example.answer(&["-i"], "/nowhere");
    assert!(headers.starts_with("HTTP/1.1 404 "), "{headers}");
    assert!(
        headers.to_lowercase().contains("nosniff"),
        "the filter sees errors as well: {headers}"
    );
}

#[test]
fn the_news_of_the_example_reach_every_reader() {
    let test = "the_news_of_the_example_reach_every_reader";
    if !has_tool("curl", test) {
        return;
    }
    let example = Example::start();
    let mut readers: Vec<_> = (0..2)
        .map(|_| {
            let mut curl = example.curl(&["-i"], "/news");
            let mut reader = curl.stdout(Stdio::piped()).spawn().unwrap();
            let mut lines = BufReader::new(reader.stdout.take().unwrap()).lines();
            // The head has come, so the reader is on the list.
            assert!(lines.any(|line| line.unwrap().is_empty()));
            (reader, lines)
        })
        .collect();
    example.answer(&["-d", "it rains"], "/news");
    for (reader, lines) in &mut readers {
        assert!(lines.any(|line| line.unwrap() == "data: it rains"));
        reader.kill().unwrap();
        reader.wait().unwrap();
    }
}

#[test]
fn a_message_in_the_chat_of_the_example_reaches_all_members() {
    let example = Example::start();
    let mut clients = [example.websocket("/chat"), example.websocket("/chat")];
    // A client has joined once its own message comes back.
    for (number, client) in clients.iter_mut().enumerate() {
        let text = Message::text(format!("hello from {number}"));
        client.send(text.clone()).unwrap();
        while client.read().unwrap() != text {}
    }
    let last = Message::text("good bye");
    clients[1].send(last.clone()).unwrap();
    for client in &mut clients {
        while client.read().unwrap() != last {}
    }
    let mut echo = example.websocket("/echo");
    echo.send(Message::text("twice")).unwrap();
    assert_eq!(echo.read().unwrap(), Message::text("twice"));
}
