//! WebSockets of a router.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use socketserver::{Group, Waker};

use super::*;
use crate::{
    Message, WebSocketHandler, WebSocketPeer, WebSocketSender, encode_message, websocket_with,
};

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
    // The first message arrives together with the handshake.
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

/// Joins a room, and counts its members.
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

/// A server of [`Member`]s, and the state that they share.
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

/// Closes at the message `bye`, echoes other messages, and sends `woken` when it is woken.
struct Closing(Arc<Mutex<Vec<(WebSocketSender, Waker)>>>);

impl WebSocketHandler for Closing {
    fn on_open(&mut self, peer: &mut WebSocketPeer<'_>) {
        let handles = (peer.sender(1024), peer.waker());
        self.0.lock().push(handles);
    }

    fn on_message(&mut self, message: Message, peer: &mut WebSocketPeer<'_>) {
        if message.to_text().is_ok_and(|text| text == "bye") {
            peer.close().unwrap();
        } else {
            // This fails if a close frame was sent before.
            let _ = peer.send(message);
        }
    }

    fn on_wake(&mut self, peer: &mut WebSocketPeer<'_>) {
        peer.send("woken").unwrap();
    }
}

/// An open WebSocket of [`Closing`].
fn closing() -> (TestConnection, WebSocketSender, Waker) {
    let handles = Arc::<Mutex<Vec<_>>>::default();
    let new_handles = Arc::clone(&handles);
    let router = Router::new().get("/chat", move |request| {
        Ok(websocket_with(request, Closing(Arc::clone(&new_handles))))
    });
    let mut client = connect(router);
    client.send(UPGRADE).received();
    let (sender, waker) = handles.lock().pop().unwrap();
    (client, sender, waker)
}

const CLOSE: &[u8] = b"\x88\x00";

#[test]
fn nothing_follows_a_close_frame_of_the_handler() {
    let (mut client, sender, _) = closing();
    let room = Group::new();
    room.join(sender.outbox());
    client.take_only(0);
    sender.try_send("queued").unwrap();
    client.send(&frame(1, b"bye"));
    let late = sender.try_send("late");
    assert!(matches!(late, Err(TrySendError::Disconnected(_))));
    assert_eq!(room.broadcast(encode_message(&"late".into())).delivered, 0);
    client.send(&frame(1, b"ignored"));
    client.take_only(usize::MAX);
    assert_eq!(client.received(), [b"\x81\x06queued", CLOSE].concat());
    client.send(&frame(9, b"ping"));
    assert_eq!(client.received(), b"");
    client.send(&frame(8, b""));
    assert_eq!(client.received(), b"");
    assert!(client.is_closed());
}

#[test]
fn nothing_follows_a_close_frame_of_a_sender() {
    for ends_by_shutdown in [false, true] {
        let (mut client, sender, waker) = closing();
        sender.try_send("queued").unwrap();
        sender.try_send(Message::Close(None)).unwrap();
        assert!(sender.is_closed());
        let again = sender.try_send(Message::Close(None));
        assert!(matches!(again, Err(TrySendError::Disconnected(_))));
        assert_eq!(client.received(), [b"\x81\x06queued", CLOSE].concat());
        client.send(&frame(1, b"ignored")).send(&frame(1, b"bye"));
        assert_eq!(client.received(), b"");
        assert!(!waker.is_closed(), "it waits for the client's close frame");
        if ends_by_shutdown {
            client.shutdown();
        } else {
            client.send(&frame(8, b""));
        }
        assert_eq!(client.received(), b"");
        assert!(client.is_closed());
    }
}

#[test]
fn nothing_follows_the_answer_to_the_clients_close_frame() {
    let (mut client, sender, _) = closing();
    client.take_only(0);
    sender.try_send("queued").unwrap();
    client.send(&frame(8, b""));
    assert!(sender.try_send("late").is_err());
    client.take_only(usize::MAX);
    assert_eq!(client.received(), [b"\x81\x06queued", CLOSE].concat());
    assert!(client.is_closed());
}

#[test]
fn a_client_that_does_not_answer_a_close_frame_is_closed() {
    for by_sender in [false, true] {
        let (mut client, sender, _) = closing();
        if by_sender {
            sender.try_send(Message::Close(None)).unwrap();
        } else {
            client.send(&frame(1, b"bye"));
        }
        assert_eq!(client.received(), CLOSE);
        client.advance(Duration::from_secs(30));
        assert!(client.is_closed());
        assert_eq!(client.received(), b"");
    }
}

#[test]
fn a_websocket_can_be_woken_and_closed_from_outside() {
    let (mut client, _sender, waker) = closing();
    waker.wake();
    assert_eq!(client.received(), b"\x81\x05woken");
    waker.close("kicked");
    assert_eq!(client.received(), b"\x88\x02\x03\xe9");
    assert!(client.is_closed());
}

#[test]
fn a_request_that_is_not_a_websocket_handshake_is_refused() {
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
