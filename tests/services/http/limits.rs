//! `serve http`: clients that are slow, silent, many or gone, and the good one among them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::http::raw::{Connection, ask, get, refused, request};
use crate::support::{PATIENCE, TestDir, TestServer, wait_until};

/// If each of the clients here held a thread, these would be too few for the good one.
const THREADS: [&str; 4] = ["--threads", "2", "--max-threads", "2"];
const HALF_A_HEAD: &[u8] = b"GET / HTTP/1.1\r\nHo";
/// More bytes than the buffers of a connection hold.
const LARGE: u64 = 64 << 20;
const SECOND: Duration = Duration::from_secs(1);

fn hello(test: &str, options: &[&str]) -> (TestDir, TestServer) {
    let dir = TestDir::new(test);
    dir.write("index.html", "<p>hello");
    let server = TestServer::start(&[&["http", dir.as_str()], options].concat());
    (dir, server)
}

/// A server of a large file too.
fn large(test: &str, options: &[&str]) -> (TestDir, TestServer) {
    let (dir, server) = hello(test, options);
    std::fs::File::create(dir.join("large"))
        .unwrap()
        .set_len(LARGE)
        .unwrap();
    (dir, server)
}

/// What the server has while it serves, and no client is there.
struct Own {
    descriptors: usize,
}

impl Own {
    /// Of a server that has served this file, so that its threads have started, and a large file is
    /// kept open.
    fn after(server: &TestServer, target: &str) -> Own {
        assert_eq!(ask(server, "HEAD", target, &[]).status, 200);
        // The client may be told of its connection's end before the descriptor is gone.
        wait_until("the client is gone", || server.connections().is_empty());
        Own {
            descriptors: server.descriptors(),
        }
    }

    fn wait_for_clients_to_be_gone(&self, server: &TestServer) {
        wait_until("all clients are gone", || {
            server.descriptors() <= self.descriptors
        });
    }
}

/// A client that asks as clients do is served, whatever the others do.
fn assert_good_client_is_served(server: &TestServer) {
    for _ in 0..10 {
        assert_eq!(get(server, "/").text(), "<p>hello");
    }
}

fn half_heads(server: &TestServer) -> Vec<Connection> {
    let mut connections: Vec<_> = std::iter::repeat_with(|| Connection::open(server))
        .take(500)
        .collect();
    for connection in &mut connections {
        connection.send(HALF_A_HEAD);
    }
    connections
}

/// Raises the limit on open files; says so visibly if the system forbids it.
fn can_open(files: u64, test: &str) -> bool {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= files) {
        return true;
    }
    let raised = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(files),
            ..limit
        },
    )
    .is_ok();
    if !raised {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED {test}: at most {:?} files may be open",
            limit.maximum
        );
    }
    raised
}

#[test]
fn five_hundred_half_heads_delay_nobody_and_get_a_408() {
    if !can_open(1000, "five_hundred_half_heads_delay_nobody_and_get_a_408") {
        return;
    }
    let start = |timeout| {
        let options = [&THREADS[..], &["--head-timeout", timeout]].concat();
        hello(&format!("half-heads-{timeout}"), &options)
    };
    // They last for longer than the good client is ready to wait.
    let (_dir, server) = start("1h");
    let slow = half_heads(&server);
    server.wait_until_read(slow.len());
    assert_good_client_is_served(&server);
    drop(slow);

    let (_dir, server) = start("1s");
    let begun = Instant::now();
    let mut slow = half_heads(&server);
    for connection in &mut slow {
        let answer = connection.receive();
        assert_eq!(
            (answer.status, answer.find("Connection")),
            (408, Some("close"))
        );
        connection.assert_closed();
    }
    assert!(begun.elapsed() >= SECOND, "{:?}", begun.elapsed());
    assert_good_client_is_served(&server);
}

#[test]
fn a_head_that_comes_byte_by_byte_gains_no_time() {
    let (_dir, server) = hello("dripped", &["--head-timeout", "1s"]);
    let mut connection = Connection::open(&server);
    let begun = Instant::now();
    let stream = connection.stream();
    stream
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    // Each byte is a sign of life, and none ends the head.
    while stream.write_all(b"G").is_ok() && stream.peek(&mut [0]).is_err() {
        assert!(begun.elapsed() < PATIENCE, "the server waits for ever");
    }
    assert!(begun.elapsed() >= SECOND, "{:?}", begun.elapsed());
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(connection.receive().status, 408);
}

#[test]
fn five_thousand_silent_connections_hold_no_thread() {
    if !can_open(6000, "five_thousand_silent_connections_hold_no_thread") {
        return;
    }
    let (_dir, server) = hello(
        "silent",
        &[&THREADS[..], &["--head-timeout", "1h"]].concat(),
    );
    let own = Own::after(&server, "/");
    let silent: Vec<TcpStream> = std::iter::repeat_with(|| server.connect())
        .take(5000)
        .collect();
    assert_good_client_is_served(&server);
    wait_until("all are accepted", || {
        server.descriptors() >= own.descriptors + 5000
    });
    assert_good_client_is_served(&server);
    drop(silent);
    own.wait_for_clients_to_be_gone(&server);
    assert_good_client_is_served(&server);
}

#[test]
fn a_thousand_resets_leave_no_descriptor() {
    let (_dir, server) = large("resets", &THREADS);
    let own = Own::after(&server, "/large");
    let requests = [
        &b""[..],
        HALF_A_HEAD,
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n",
    ];
    for number in 0..1000 {
        let mut stream = server.connect();
        stream.write_all(requests[number % requests.len()]).unwrap();
        // Half of those that are answered have begun to read.
        if number % 8 > 5 {
            stream.read_exact(&mut [0; 10]).unwrap();
        }
        sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    }
    own.wait_for_clients_to_be_gone(&server);
    assert_good_client_is_served(&server);
}

#[test]
fn one_connection_too_many_reads_why() {
    let (_dir, server) = hello("too-many", &["--max-connections", "2"]);
    let mut held = [Connection::open(&server), Connection::open(&server)];
    for connection in &mut held {
        assert_eq!(connection.ask("GET", "/", &[]).status, 200);
    }
    // The refusal must be whole, whatever is on its way to the server meanwhile.
    let pipelined = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".repeat(1000);
    for what_is_sent in [
        &b""[..],
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n",
        &pipelined,
    ] {
        let answer = refused(&server, what_is_sent);
        assert_eq!((answer.status, answer.field("Retry-After")), (503, "5"));
        assert!(answer.text().contains("busy"), "{}", answer.text());
    }
    let [mut stays, goes] = held;
    assert_eq!(
        stays.ask("GET", "/", &[]).text(),
        "<p>hello",
        "the others go on"
    );
    drop(goes);
    wait_until("there is room again", || {
        Connection::open(&server).ask("GET", "/", &[]).status == 200
    });
}

#[test]
fn one_address_can_not_take_every_connection() {
    for model in ["pool", "threads", "processes"] {
        one_address_is_refused_a_third_connection(model);
    }
}

fn one_address_is_refused_a_third_connection(model: &str) {
    let (_dir, server) = hello(
        &format!("per-ip-{model}"),
        &["--max-per-ip", "2", "--model", model],
    );
    let mut held = [Connection::open(&server), Connection::open(&server)];
    for connection in &mut held {
        assert_eq!(connection.ask("GET", "/", &[]).status, 200);
    }
    let answer = refused(&server, b"");
    assert_eq!((answer.status, answer.field("Retry-After")), (503, "5"));
    server.wait_for_log("[WARN] 127.0.0.1");
    let mut other = connect_from([127, 0, 0, 2], server.address());
    other.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    other.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    drop(held);
    wait_until("there is room again", || {
        Connection::open(&server).ask("GET", "/", &[]).status == 200
    });
}

fn connect_from(source: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddr::from((source, 0))).unwrap();
    rustix::net::connect(&socket, &to).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn a_client_that_takes_nothing_of_a_file_is_cut_by_the_write_timeout() {
    let (_dir, server) = large("write-timeout", &["--write-timeout", "1s"]);
    let own = Own::after(&server, "/large");
    let mut connection = Connection::open(&server);
    let begun = Instant::now();
    connection.send(request("GET", "/large", &[]));
    connection.receive_head();
    own.wait_for_clients_to_be_gone(&server);
    assert!(begun.elapsed() >= SECOND, "{:?}", begun.elapsed());
    assert!((connection.rest().len() as u64) < LARGE);
}

#[test]
fn a_client_that_takes_some_bytes_now_and_then_is_not_cut_by_the_write_timeout() {
    let (_dir, server) = large("steady", &["--write-timeout", "2s"]);
    // On a busy machine a pause may be longer than it should be: then the round proves nothing.
    wait_until("a client pauses for less than the time-out", || {
        let mut connection = Connection::open(&server);
        connection.send(request("GET", "/large", &[]));
        assert_eq!(
            connection.receive_head().field("Content-Length"),
            LARGE.to_string()
        );
        // Slower than the time-out in sum, never in one pause.
        for _ in 0..16 {
            let begun = Instant::now();
            std::thread::sleep(Duration::from_millis(150));
            connection.skip(LARGE / 16);
            if begun.elapsed() > SECOND {
                return false;
            }
        }
        assert_eq!(connection.ask("GET", "/", &[]).text(), "<p>hello");
        true
    });
}

#[test]
fn a_client_that_takes_less_than_the_least_rate_is_cut() {
    let (_dir, server) = large("least-rate", &["--min-rate", "100000000"]);
    let own = Own::after(&server, "/large");
    let mut connection = Connection::open(&server);
    let begun = Instant::now();
    connection.send(request("GET", "/large", &[]));
    connection.receive_head();
    let mut taken = 0;
    while server.descriptors() > own.descriptors {
        assert!(begun.elapsed() < PATIENCE, "nobody cuts it");
        // About 1 MB/s: it never stalls, and it would take a minute.
        std::thread::sleep(Duration::from_millis(100));
        connection.skip(100_000);
        taken += 100_000;
    }
    assert!(
        begun.elapsed() >= 9 * SECOND,
        "a window is ten seconds: {:?}",
        begun.elapsed()
    );
    assert!(taken + (connection.rest().len() as u64) < LARGE);
}

#[test]
fn an_idle_connection_is_closed_after_the_idle_timeout_without_a_word() {
    let (_dir, server) = hello("idle", &["--idle-timeout", "2s"]);
    let mut connection = Connection::open(&server);
    for _ in 0..3 {
        assert_eq!(connection.ask("GET", "/", &[]).text(), "<p>hello");
    }
    let begun = Instant::now();
    connection.assert_closed();
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_millis(1900) && took < 30 * SECOND,
        "{took:?}"
    );
}

#[test]
fn a_line_of_a_body_is_never_logged_as_a_request() {
    let dir = TestDir::new("logged-line");
    let log = dir.join("access.log");
    let server = TestServer::start(&[
        "http",
        dir.as_str(),
        "--upload",
        "--access-log",
        log.to_str().unwrap(),
    ]);
    for method in ["GET", "PUT"] {
        refused(
            &server,
            [
                &request(method, "/a", &["Transfer-Encoding: chunked"])[..],
                b"GET /b HTTP/1.1\r\n",
            ]
            .concat(),
        );
    }
    let logged = || std::fs::read_to_string(&log).unwrap();
    wait_until("both are logged", || logged().lines().count() == 2);
    assert!(
        logged().contains("\"GET /a HTTP/1.1\" 400 ")
            && logged().contains("\"PUT /a HTTP/1.1\" 400 "),
        "{}",
        logged()
    );
}
