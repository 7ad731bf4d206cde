//! The program `handlers/http/examples/http_service.rs`, with real clients: curl and
//! `tungstenite`.

use std::io::BufRead;
use std::net::TcpStream;
use std::process::{Command, Stdio};

use tungstenite::{Message, WebSocket, client};

use crate::support::examples::Example;
use crate::support::{BoundedCommand, PATIENCE, has_tool};

fn start() -> Example {
    Example::start("socketserver-http", "http_service", &[])
}

fn curl(example: &Example, arguments: &[&str], path: &str) -> Command {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-N", "--max-time", "50"])
        .args(arguments)
        .arg(format!("http://{}{path}", example.address));
    curl
}

/// What curl prints.
fn answer(example: &Example, arguments: &[&str], path: &str) -> String {
    let output = curl(example, arguments, path).finish();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn websocket(example: &Example, path: &str) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect(&example.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    client(format!("ws://{}{path}", example.address), stream)
        .unwrap()
        .0
}

#[test]
fn the_example_of_an_http_service_answers_curl() {
    let test = "the_example_of_an_http_service_answers_curl";
    if !has_tool("curl", test) {
        return;
    }
    let example = start();
    assert_eq!(answer(&example, &[], "/hello/Ada"), "Hello, Ada!\n");
    let json = "Content-Type: application/json";
    let sum = answer(
        &example,
        &["-d", r#"{"numbers": [1, 2]}"#, "-H", json],
        "/sum",
    );
    assert_eq!(sum, r#"{"sum":3}"#);
    let logged_in = answer(&example, &["-L", "-b", "", "-d", "name=Ada"], "/login");
    assert_eq!(logged_in, "You are \"Ada\".\n");
    let counted = answer(&example, &["-X", "PUT", "--data-binary", "12345"], "/count");
    assert_eq!(counted, "5 bytes\n");
    let headers = answer(&example, &["-i"], "/nowhere");
    assert!(headers.starts_with("HTTP/1.1 404 "), "{headers}");
    assert!(
        headers.to_lowercase().contains("nosniff"),
        "the filter sees errors as well: {headers}"
    );
}

#[test]
fn news_of_the_example_reach_every_reader() {
    let test = "news_of_the_example_reach_every_reader";
    if !has_tool("curl", test) {
        return;
    }
    let example = start();
    let mut readers: Vec<_> = (0..2)
        .map(|_| {
            let mut curl = curl(&example, &["-i"], "/news");
            let mut reader = curl.stdout(Stdio::piped()).start();
            let mut lines = reader.stdout().lines();
            // The head has come, so the reader is on the list.
            assert!(lines.any(|line| line.unwrap().is_empty()));
            (reader, lines)
        })
        .collect();
    answer(&example, &["-d", "it rains"], "/news");
    for (reader, lines) in &mut readers {
        assert!(lines.any(|line| line.unwrap() == "data: it rains"));
        reader.kill();
    }
}

#[test]
fn a_message_in_the_chat_of_the_example_reaches_all_members() {
    let example = start();
    let mut clients = [websocket(&example, "/chat"), websocket(&example, "/chat")];
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
    let mut echo = websocket(&example, "/echo");
    echo.send(Message::text("twice")).unwrap();
    assert_eq!(echo.read().unwrap(), Message::text("twice"));
}
