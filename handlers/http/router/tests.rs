use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::TrySendError;
use std::time::Duration;

use parking_lot::Mutex;
use socketserver::testing::{TestConnection, TestServer};
use socketserver::{Builder, Group};

use super::*;
use crate::http::{
    Message, Produced, WebSocketHandler, WebSocketPeer, encode_message, event_channel, events,
    websocket, websocket_with,
};

mod bodies;
mod patterns;

fn router() -> Router {
    Router::new()
        .get("/", |_| Ok(Response::text("root")))
        .get("/hello/{name}", |request| {
            Ok(Response::text(format!(
                "Hello, {}!",
                request.parameter("name")
            )))
        })
        .get("/files/{*path}", |request| {
            Ok(Response::text(request.parameter("path").to_owned()))
        })
        .post("/sum", |request| {
            let mut text = String::new();
            request.body().read_to_string(&mut text)?;
            Ok(Response::text(
                text.split('+')
                    .filter_map(|n| n.parse::<u32>().ok())
                    .sum::<u32>()
                    .to_string(),
            ))
        })
        .post("/lazy", |_| Ok(Response::new(204)))
        .get("/broken", |_| Err(io::Error::other("broken on purpose")))
        .get("/chat", |request| {
            Ok(websocket(request, |message, to| {
                if message.is_text() && message.to_text().is_ok_and(|text| text == "bye") {
                    to.close().unwrap();
                } else {
                    to.send(message).unwrap();
                }
            }))
        })
        .get("/ticks", |_| {
            let mut tick = 0;
            Ok(events(move |to| {
                tick += 1;
                to.event("tick", &format!("{tick}\nof 3"));
                if tick == 3 {
                    Produced::Over
                } else {
                    Produced::After(Duration::from_secs(1))
                }
            }))
        })
}

fn connect(router: Router) -> TestConnection {
    TestConnection::new(Builder::new(), router.into_class())
}

/// All that comes to a request, and whether the connection stays.
fn exchange(request: &str) -> (String, bool) {
    let mut client = connect(router());
    client.send(request.as_bytes());
    let text = String::from_utf8(client.received()).unwrap();
    (text, !client.is_closed())
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

#[test]
fn routes_are_found_by_method_and_path() {
    for (method, path, status, content) in [
        ("GET", "/", 200, "root"),
        ("GET", "/hello/W%C3%B6rld?x", 200, "Hello, Wörld!"),
        ("GET", "/hello", 404, "404 Not Found\n"),
        ("GET", "/hello/", 404, "404 Not Found\n"),
        ("GET", "/hello/a/b", 404, "404 Not Found\n"),
        ("GET", "/files/a/b.txt", 200, "a/b.txt"),
        ("POST", "/hello/a", 405, "405 Method Not Allowed\n"),
        ("BREW", "/hello/a", 501, "501 Not Implemented\n"),
        ("GET", "/sum", 405, "405 Method Not Allowed\n"),
        ("GET", "/broken", 500, "500 Internal Server Error\n"),
    ] {
        let (answer, stays) = exchange(&format!("{method} {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{method} {path}: {answer}"
        );
        assert_eq!(body(&answer), content, "{method} {path}");
        assert!(stays, "{method} {path}");
    }
}

#[test]
fn head_and_options_are_answered_for_every_route() {
    let (head, _) = exchange("HEAD /hello/you HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(
        head.contains("Content-Length: 11\r\n") && body(&head).is_empty(),
        "{head}"
    );
    let (options, _) = exchange("OPTIONS /hello/you HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(
        options.starts_with("HTTP/1.1 204 ") && options.contains("Allow: GET, HEAD, OPTIONS\r\n"),
        "{options}"
    );
    assert!(!options.contains("Content-Length"), "{options}");
}

#[test]
fn a_body_is_read_whatever_its_framing() {
    let next = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    for request in [
        "POST /sum HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n1+2+3",
        "POST /sum HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n1+\r\n3\r\n\
         2+3\r\n0\r\n\r\n",
    ] {
        let (answers, stays) = exchange(&format!("{request}{next}"));
        assert!(
            answers.contains("\r\n\r\n6HTTP/1.1 200 OK") && answers.ends_with("root") && stays,
            "{answers}"
        );
    }
    let (refused, stays) =
        exchange("POST /sum HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n");
    assert!(
        refused.starts_with("HTTP/1.1 400 ") && refused.contains("Connection: close") && !stays,
        "{refused}"
    );
}

#[test]
fn an_unread_body_is_dropped_or_ends_the_connection() {
    let next = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let (answers, stays) = exchange(&format!(
        "POST /lazy HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc{next}"
    ));
    assert!(
        answers.starts_with("HTTP/1.1 204 ") && answers.ends_with("root") && stays,
        "{answers}"
    );
    // The route is called when the first 64 KiB of a long body are there.
    let begun = "x".repeat(64 << 10);
    for (headers, body) in [
        ("Content-Length: 1000000", &*begun),
        ("Content-Length: 3\r\nExpect: 100-continue", ""),
    ] {
        let (answer, stays) = exchange(&format!(
            "POST /lazy HTTP/1.1\r\nHost: h\r\n{headers}\r\n\r\n{body}"
        ));
        assert!(
            answer.starts_with("HTTP/1.1 204 ") && answer.contains("Connection: close") && !stays,
            "{answer}"
        );
    }
}

#[test]
fn the_client_is_told_to_go_on_only_when_its_body_is_read() {
    let (answers, _) = exchange(
        "POST /sum HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n4+5",
    );
    assert!(
        answers.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
            && answers.ends_with("\r\n\r\n9"),
        "{answers}"
    );
}

#[test]
fn filters_stand_around_the_routes_in_their_order() {
    let filtered = router()
        .filter(|request, inner| match request.path() {
            "/secret" => Ok(Response::new(403)),
            _ => Ok(inner
                .respond(request)?
                .header("X-Outer", "1\r\nX-Injected: 2")),
        })
        .filter(|request, inner| Ok(inner.respond(request)?.header("X-Inner", "2")));
    let mut client = connect(filtered);
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\nGET /secret HTTP/1.1\r\nHost: h\r\n\r\n");
    let answers = String::from_utf8(client.received()).unwrap();
    let (first, second) = answers.split_once("root").unwrap();
    assert!(
        first.contains("X-Inner: 2\r\nX-Outer: 1X-Injected: 2\r\n"),
        "{first}"
    );
    assert!(
        second.starts_with("HTTP/1.1 403 ") && !second.contains("X-Inner"),
        "{second}"
    );
}

#[test]
fn events_come_when_they_are_due_and_the_connection_goes_on() {
    let mut client = connect(router());
    client.send(b"GET /ticks HTTP/1.1\r\nHost: h\r\n\r\n");
    let first = String::from_utf8(client.received()).unwrap();
    assert!(
        first.contains("Content-Type: text/event-stream\r\n") && first.contains("chunked"),
        "{first}"
    );
    assert!(
        first.ends_with("00000020\r\nevent: tick\ndata: 1\ndata: of 3\n\n\r\n"),
        "{first}"
    );
    client.advance(Duration::from_millis(900));
    assert_eq!(client.received(), b"");
    client.advance(Duration::from_millis(100));
    assert!(client.received().ends_with(b"data: 2\ndata: of 3\n\n\r\n"));
    client.advance(Duration::from_secs(1));
    assert!(
        client
            .received()
            .ends_with(b"data: 3\ndata: of 3\n\n\r\n0\r\n\r\n")
    );
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(client.received().ends_with(b"root"));
}

#[test]
fn a_stream_with_pauses_goes_on_after_the_client_has_ended_its_side() {
    for version in ["1.1", "1.0"] {
        let mut client = connect(router());
        client.send(format!("GET /ticks HTTP/{version}\r\nHost: h\r\n\r\n").as_bytes());
        client.finish();
        assert!(!client.is_closed());
        client.advance(Duration::from_secs(5));
        let all = String::from_utf8(client.received()).unwrap();
        let events: Vec<_> = all.matches("event: tick\n").collect();
        assert_eq!(events.len(), 3, "{all}");
        assert!(client.is_closed());
    }
}

#[test]
fn a_shutdown_lets_a_stream_with_pauses_come_to_its_end() {
    let mut client = connect(router());
    client.send(b"GET /ticks HTTP/1.1\r\nHost: h\r\n\r\n");
    client.shutdown();
    assert!(!client.is_closed());
    client.advance(Duration::from_secs(5));
    let all = String::from_utf8(client.received()).unwrap();
    assert!(
        all.ends_with("data: 3\ndata: of 3\n\n\r\n0\r\n\r\n") && client.is_closed(),
        "{all}"
    );
}

#[test]
fn a_stream_goes_on_however_many_requests_were_sent_with_its_own() {
    for before in 14..18 {
        let mut client = connect(router());
        let first = "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n".repeat(before);
        client.send(format!("{first}GET /ticks HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
        client.advance(Duration::from_secs(5));
        let all = String::from_utf8(client.received()).unwrap();
        assert_eq!(all.matches("event: tick\n").count(), 3, "{before}: {all}");
    }
}

#[test]
fn a_client_of_http_1_0_gets_a_stream_without_chunks_and_then_the_end() {
    let mut client = connect(router());
    client.send(b"GET /ticks HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    client.advance(Duration::from_secs(5));
    let all = String::from_utf8(client.received()).unwrap();
    assert!(
        !all.contains("chunked")
            && all.contains("Connection: close")
            && all.ends_with("data: 3\ndata: of 3\n\n"),
        "{all}"
    );
    assert!(client.is_closed());
}

/// A frame of RFC 6455 §5.2 as a client sends it: masked, here by zeros.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    [
        &[0x80 | opcode, 0x80 | payload.len() as u8, 0, 0, 0, 0],
        payload,
    ]
    .concat()
}

#[test]
fn a_websocket_answers_each_message_however_it_is_cut() {
    let upgrade = "GET /chat HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut client = connect(router());
    // The first message is glued to the handshake.
    client.send(&[upgrade.as_bytes(), &frame(1, b"one")].concat());
    let answer = client.received();
    let text = String::from_utf8_lossy(&answer);
    // The example of RFC 6455 §1.3.
    assert!(
        text.starts_with("HTTP/1.1 101 ")
            && text.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n")
    );
    assert!(answer.ends_with(b"\r\n\r\n\x81\x03one"), "{text}");
    client.send_bytewise(&[frame(2, b"two"), frame(9, b"are you there")].concat());
    assert_eq!(client.received(), b"\x82\x03two\x8a\x0dare you there");
    client.send(&frame(1, b"bye"));
    assert_eq!(client.received(), b"\x88\x00");
    client.send(&frame(8, b""));
    assert!(client.is_closed());
}

const UPGRADE: &[u8] = b"GET /chat HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Joins a room, and counts who comes and goes.
struct Member {
    room: Group,
    present: Arc<AtomicUsize>,
}

impl WebSocketHandler for Member {
    fn on_open(&mut self, peer: &mut WebSocketPeer<'_>) {
        self.present.fetch_add(1, SeqCst);
        self.room.join(peer.sender(1024).outbox());
        peer.send("welcome").unwrap();
    }

    fn on_message(&mut self, message: Message, _: &mut WebSocketPeer<'_>) {
        self.room.broadcast(encode_message(&message));
    }

    fn on_close(&mut self) {
        self.present.fetch_sub(1, SeqCst);
    }
}

/// A server of [`Member`]s, and what they share.
fn chat() -> (TestServer, Group, Arc<AtomicUsize>) {
    let (room, present) = (Group::new(), Arc::<AtomicUsize>::default());
    let (group, count) = (room.clone(), Arc::clone(&present));
    let router = Router::new().get("/chat", move |request| {
        let member = Member {
            room: group.clone(),
            present: Arc::clone(&count),
        };
        Ok(websocket_with(request, member))
    });
    (
        TestServer::new(Builder::new(), router.into_class()),
        room,
        present,
    )
}

fn join(server: &TestServer) -> TestConnection {
    let mut client = server.connect();
    client.send(UPGRADE);
    assert!(client.received().ends_with(b"\r\n\r\n\x81\x07welcome"));
    client
}

#[test]
fn websockets_reach_one_another_and_learn_of_their_end() {
    let (server, room, present) = chat();
    let (mut ada, mut bob) = (join(&server), join(&server));
    assert_eq!(present.load(SeqCst), 2);
    ada.send(&frame(1, b"hello"));
    assert_eq!(ada.received(), b"\x81\x05hello");
    assert_eq!(bob.received(), b"\x81\x05hello");
    room.broadcast(encode_message(&Message::binary(vec![7; 200])));
    assert_eq!(
        bob.received(),
        [&b"\x82\x7e\x00\xc8"[..], &[7; 200]].concat()
    );
    bob.send(&frame(8, b""));
    assert!(bob.is_closed());
    assert_eq!(present.load(SeqCst), 1);
    server.shutdown();
    // The code 1001: going away.
    assert!(ada.received().ends_with(b"\x88\x02\x03\xe9"));
    assert_eq!(present.load(SeqCst), 0);
}

#[test]
fn a_silent_websocket_gets_a_ping_and_ends_without_an_answer() {
    let (server, _room, present) = chat();
    let mut client = join(&server);
    let interval = Duration::from_secs(30);
    for _ in 0..3 {
        client.advance(interval);
        assert_eq!(client.received(), b"\x89\x00");
        client.send(&frame(10, b""));
    }
    client.advance(interval);
    assert_eq!(client.received(), b"\x89\x00");
    client.advance(interval);
    assert!(client.is_closed());
    assert_eq!(present.load(SeqCst), 0);
}

#[test]
fn events_are_sent_when_they_come_and_end_with_their_sender() {
    let senders = Arc::new(Mutex::new(Vec::new()));
    let new_senders = Arc::clone(&senders);
    let router = Router::new().get("/news", move |_| {
        let (sender, response) = event_channel(2);
        new_senders.lock().push(sender);
        Ok(response)
    });
    let server = TestServer::new(Builder::new(), router.into_class());
    let mut client = server.connect();
    client.send(b"GET /news HTTP/1.0\r\n\r\n");
    assert!(client.received().ends_with(b"\r\n\r\n:\n\n"));
    let sender = senders.lock().pop().unwrap();
    sender.try_send(|to| to.data("1")).unwrap();
    assert_eq!(client.received(), b"data: 1\n\n");
    client.take_only(0);
    let mut send = || sender.try_send(|to| to.data("2"));
    let full = std::iter::repeat_with(&mut send)
        .take(5)
        .find(Result::is_err);
    assert_eq!(full, Some(Err(TrySendError::Full(()))));
    client.take_only(usize::MAX);
    assert!(client.received().ends_with(b"data: 2\n\ndata: 2\n\n"));
    client.advance(Duration::from_secs(15));
    assert_eq!(client.received(), b":\n\n");
    drop(sender);
    assert!(client.is_closed());

    for leaves in [true, false] {
        let mut client = server.connect();
        client
            .send(b"GET /news HTTP/1.1\r\nHost: h\r\n\r\n")
            .received();
        let sender = senders.lock().pop().unwrap();
        assert!(!sender.is_closed());
        if leaves {
            drop(client);
        } else {
            server.shutdown();
            assert!(client.received().ends_with(b"\r\n0\r\n\r\n"));
        }
        assert!(sender.is_closed());
        let refused = sender.try_send(|to| to.data("late"));
        assert_eq!(refused, Err(TrySendError::Disconnected(())));
    }
}

#[test]
fn what_is_no_websocket_handshake_is_told_so() {
    for (fields, status) in [
        ("", 400),
        (
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            400,
        ),
        (
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            426,
        ),
    ] {
        let (answer, stays) = exchange(&format!("GET /chat HTTP/1.1\r\nHost: h\r\n{fields}\r\n"));
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")) && stays,
            "{answer}"
        );
    }
}
