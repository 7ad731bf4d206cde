//! Tests of request bodies and of routes that fail.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};

use serde::Deserialize;
use socketserver::{ServerHandle, ThreadingMixIn, Timeouts};

use super::*;
use crate::{Cookie, HttpError, Route};

const TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Deserialize)]
struct Order {
    name: String,
    count: u32,
}

fn service() -> Router {
    Router::new()
        .get("/", |_| Ok(Response::text("root")))
        .post("/length", |request| {
            Ok(Response::text(request.bytes()?.len().to_string()))
        })
        .add_route(
            Route::new("POST", "/short", |request| {
                Ok(Response::text(request.text()?))
            })
            .max_body(5),
        )
        .add_route(
            Route::new("POST", "/long", |request| {
                Ok(Response::text(request.bytes()?.len().to_string()))
            })
            .max_body(8 << 20),
        )
        .post("/order", |request| {
            let order: Order = request.json()?;
            Response::json(&HashMap::from([(order.name, order.count + 1)]))
        })
        .post("/form", |request| {
            let form = request.form()?;
            let name = form.get("name").unwrap_or("nobody").to_owned();
            Ok(Response::text(format!(
                "{name} {}",
                request.query("x").unwrap_or_default()
            )))
        })
        .get("/login", |request| {
            let name = request.cookie("name").unwrap_or_default();
            Ok(Response::text(name).cookie(Cookie::new("name", "a;b")))
        })
        .get("/panic", |_| panic!("on purpose"))
        .get("/teapot", |_| Err(HttpError::new(418, "this is a teapot"))?)
        .post("/upstream", |_| {
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, "of a file"))
        })
}

fn send(router: Router, request: &str) -> (String, TestConnection) {
    let mut client = connect(router);
    client.send(request.as_bytes());
    (String::from_utf8(client.received()).unwrap(), client)
}

fn post(target: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {target} HTTP/1.1\r\nHost: h\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
}

#[track_caller]
fn assert_status(answer: &str, status: u16) {
    let line = format!("HTTP/1.1 {status} ");
    assert!(answer.starts_with(&line), "not {status}: {answer}");
}

/// The beginning of a request with a long body. It ends in the part of the body that the route
/// reads.
fn long_body_begun() -> String {
    let begun = "x".repeat((64 << 10) + 3);
    format!("POST /length HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n{begun}")
}

#[test]
fn a_body_that_is_cut_gets_400_and_one_that_stalls_408() {
    let begun = "POST /length HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc";
    let (nothing, mut client) = send(service(), begun);
    assert_eq!(nothing, "");
    client.finish();
    assert_status(&String::from_utf8(client.received()).unwrap(), 400);
    let (_, mut client) = send(service(), begun);
    client.advance(Duration::from_secs(60));
    assert_status(&String::from_utf8(client.received()).unwrap(), 408);
    assert!(client.is_closed());
    // The route itself reads the bytes after the first 64 KiB of a long body. A test connection in
    // memory reports a timeout when a read would wait.
    let (answer, client) = send(service(), &long_body_begun());
    assert_status(&answer, 408);
    assert!(answer.contains("Connection: close\r\n") && client.is_closed());
}

#[test]
fn a_long_body_that_is_cut_gets_400() {
    let (server, ended) = serve(service(), 4);
    let mut client = client_of(&server.1);
    client.write_all(long_body_begun().as_bytes()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_status(&answer, 400);
    server.0.shutdown();
    ended.join().unwrap();
}

#[test]
fn a_body_above_the_limit_gets_413() {
    let limit = 1 << 20;
    for (target, length, status) in [
        ("/length", limit, 200),
        ("/length", limit + 1, 413),
        ("/short", 5, 200),
        ("/short", 6, 413),
        ("/long", limit + 1, 200),
        ("/nowhere", limit + 1, 404),
    ] {
        let (answer, _) = send(service(), &post(target, "", &"x".repeat(length)));
        assert_status(&answer, status);
    }
    let (answer, client) = send(
        service(),
        "POST /length HTTP/1.1\r\nHost: h\r\nContent-Length: 1048577\r\n\
         Expect: 100-continue\r\n\r\n",
    );
    assert_status(&answer, 413);
    assert!(client.is_closed());
    let (answer, _) = send(service().max_body(3), &post("/length", "", "abcd"));
    assert_status(&answer, 413);
}

#[test]
fn a_chunked_body_above_the_limit_gets_413_as_soon_as_that_shows() {
    let head =
        |target| format!("POST {target} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    let (answer, _) = send(
        service(),
        &format!("{}5\r\nabcde\r\n0\r\n\r\n", head("/short")),
    );
    assert_status(&answer, 200);
    let (answer, _) = send(service(), &format!("{}6\r\nabcdef\r\n", head("/short")));
    assert_status(&answer, 413);
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let (answer, _) = send(
        service(),
        &format!("{}{}", head("/length"), chunk.repeat(17)),
    );
    assert_status(&answer, 413);
    let (answer, _) = send(
        service(),
        &format!("{}{}0\r\n\r\n", head("/length"), chunk.repeat(3)),
    );
    assert!(answer.ends_with("\r\n\r\n196608"), "{answer}");
}

#[test]
fn a_route_that_panics_gets_500_and_the_panic_is_counted() {
    let (answer, client) = send(service(), "GET /panic HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_status(&answer, 500);
    assert!(answer.contains("Connection: close\r\n") && client.is_closed());
    assert_eq!(client.server().stats().panics, 1);
}

#[test]
fn an_error_has_its_own_status_and_any_other_is_500() {
    let (answer, _) = send(service(), "GET /teapot HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_status(&answer, 418);
    assert!(answer.ends_with("this is a teapot\n"), "{answer}");
    let (answer, client) = send(service(), &post("/upstream", "", "abc"));
    assert_status(&answer, 500);
    assert!(!client.is_closed(), "the request itself was good");
}

#[test]
fn filters_see_the_answers_that_come_from_errors() {
    let filtered = service()
        .filter(|request, inner| Ok(inner.respond(request)?.header("X-Outer", "1")))
        .filter(|request, inner| {
            let response = inner.respond(request)?;
            match request.path() {
                "/" => Err(io::Error::other("a filter fails")),
                "/login" => panic!("a filter panics"),
                _ => Ok(response),
            }
        });
    let json = "Content-Type: application/json\r\n";
    let get = |target| format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let chunked = "POST /length HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (request, status) in [
        (post("/order", json, "{"), 400),
        (post("/order", json, "{\"name\": 1}"), 422),
        (format!("{chunked}{}", chunk.repeat(17)), 413),
        (long_body_begun(), 408),
        (get("/teapot"), 418),
        (post("/upstream", "", "abc"), 500),
        (get("/panic"), 500),
        (get("/"), 500),
        (get("/login"), 500),
    ] {
        let (answer, client) = send(filtered.clone(), &request);
        assert_status(&answer, status);
        assert!(answer.contains("X-Outer: 1\r\n"), "{answer}");
        let panics = u64::from(
            ["GET /panic", "GET /login"]
                .iter()
                .any(|p| request.starts_with(p)),
        );
        assert_eq!(client.server().stats().panics, panics, "{answer}");
    }
}

#[test]
fn json_is_read_and_written() {
    let json = "Content-Type: application/json; charset=utf-8\r\n";
    let order = "{\"name\": \"tea\", \"count\": 1}";
    let (answer, _) = send(service(), &post("/order", json, order));
    assert_status(&answer, 200);
    assert!(
        answer.contains("Content-Type: application/json\r\n"),
        "{answer}"
    );
    assert!(answer.ends_with("{\"tea\":2}"), "{answer}");
    for (headers, body, status) in [
        (json, "{", 400),
        (json, "{\"name\": 1}", 422),
        ("Content-Type: text/plain\r\n", order, 415),
        ("", order, 415),
    ] {
        let (answer, client) = send(service(), &post("/order", headers, body));
        assert_status(&answer, status);
        assert!(!client.is_closed());
    }
}

#[test]
fn forms_queries_and_cookies_are_decoded() {
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let (answer, _) = send(
        service(),
        &post("/form?x=%C3%A9", form, "a=1&name=Ada+L%2E"),
    );
    assert!(answer.ends_with("\r\n\r\nAda L. é"), "{answer}");
    let (answer, _) = send(service(), &post("/form", "", "name=1"));
    assert_status(&answer, 415);
    let login = "GET /login HTTP/1.1\r\nHost: h\r\nCookie: x=1; name=a%3Bb\r\n\r\n";
    let (answer, _) = send(service(), login);
    let set = "Set-Cookie: name=a%3Bb; Path=/; HttpOnly; SameSite=Lax\r\n";
    assert!(answer.contains(set) && answer.ends_with("a;b"), "{answer}");
}

/// Starts a server with at most this number of threads. Returns its handle, its address, and the
/// thread that runs it.
fn serve(router: Router, threads: usize) -> ((ServerHandle, String), std::thread::JoinHandle<()>) {
    let pool = ThreadingMixIn::new().threads(threads).max_threads(threads);
    let mut server = Builder::new()
        .process(pool)
        .timeouts(Timeouts::default())
        .tcp("127.0.0.1:0", router.into_class())
        .unwrap();
    let (handle, address) = (server.handle(), server.server_address().to_string());
    let ended = std::thread::spawn(move || server.serve_forever().unwrap());
    ((handle, address), ended)
}

fn client_of(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.set_write_timeout(Some(TIMEOUT)).unwrap();
    stream
}

/// Starts many more clients than threads. They announce a body of this length and pause within it.
/// Another client must still get its response.
fn slow_clients_hold_no_thread(length: usize) {
    let (server, ended) = serve(service(), 2);
    let mut slow: Vec<TcpStream> = (0..16).map(|_| client_of(&server.1)).collect();
    for client in &mut slow {
        let begun =
            format!("POST /length HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\nabc");
        client.write_all(begun.as_bytes()).unwrap();
    }
    // If 16 connections held a thread each, this response would arrive only after a timeout.
    let mut other = client_of(&server.1);
    other
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    other
        .write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    other.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("root"), "{answer}");
    for client in &mut slow {
        client.write_all(&vec![b'x'; length - 3]).unwrap();
        let mut line = String::new();
        BufReader::new(client).read_line(&mut line).unwrap();
        assert_status(&line, 200);
    }
    server.0.shutdown();
    ended.join().unwrap();
}

#[test]
fn small_bodies_that_come_slowly_hold_no_thread() {
    slow_clients_hold_no_thread(10);
}

#[test]
fn long_bodies_that_are_announced_but_do_not_come_hold_no_thread() {
    slow_clients_hold_no_thread(100_000);
}
