use std::io::Read;
use std::sync::Arc;
use std::sync::mpsc::TrySendError;
use std::time::Duration;

use parking_lot::Mutex;
use socketserver::Builder;
use socketserver::testing::{TestConnection, TestServer};

use super::*;
use crate::{Produced, event_channel, events, websocket};

mod bodies;
mod patterns;
mod websockets;

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

/// The whole response to a request, and whether the connection is kept alive.
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
    // The route is called once the first 64 KiB of a long body have arrived.
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
