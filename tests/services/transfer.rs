//! `transfer`, with our client, with Python on either side, and with what goes wrong.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::thread::{self, JoinHandle};

use crate::support::{BoundedCommand, PATIENCE, TestDir, TestServer, certificate, python, run};

pub(crate) const MIB: usize = 1 << 20;
const MOST_MEMORY: usize = 32 * MIB;

/// Bytes that can't be taken for other ones, and always the same.
pub(crate) fn content(length: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()
    };
    let mut content: Vec<u8> = std::iter::repeat_with(|| next()[0])
        .take(length.min(MIB - 1))
        .collect();
    while content.len() < length {
        content.extend_from_within(..content.len().min(length - content.len()));
    }
    content
}

/// `client transfer`, saving in the folder.
pub(crate) fn client(address: SocketAddr, dir: &TestDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_socketserver"));
    command.args([
        "client",
        "transfer",
        "--timeout",
        "20s",
        "-o",
        dir.as_str(),
        &address.to_string(),
    ]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

pub(crate) fn fetch(address: SocketAddr, dir: &TestDir) -> Output {
    client(address, dir).finish()
}

/// A server that sends these bytes to one client, and closes.
fn send_once(bytes: impl Into<Vec<u8>>) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, bytes) = (listener.local_addr().unwrap(), bytes.into());
    let sender = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        // A client that has seen enough needs no more.
        let _ = stream.write_all(&bytes);
    });
    (address, sender)
}

/// What the client does with such bytes.
pub(crate) fn fetch_bytes(bytes: impl Into<Vec<u8>>, dir: &TestDir, options: &[&str]) -> Output {
    let (address, sender) = send_once(bytes);
    let output = client(address, dir).args(options).finish();
    sender.join().unwrap();
    output
}

/// Asserts that the client failed in one line that holds `reason`.
#[track_caller]
pub(crate) fn assert_refused(output: &Output, reason: &str) {
    let line = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(
        line.starts_with("socketserver: ") && line.contains(reason),
        "{line}"
    );
    assert!(output.stdout.is_empty());
}

pub(crate) fn names_in(dir: &TestDir) -> Vec<String> {
    let names = fs::read_dir(dir.join(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// The most memory that a process has had.
fn peak_memory(pid: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<usize>()
        .unwrap()
        * 1024
}

#[test]
fn a_file_arrives_as_it_was_and_says_so() {
    for length in [0, 1, 2, 3, 4, 48 * 1024, 48 * 1024 + 1, 3 * MIB + 2] {
        let (from, to) = (TestDir::new("transfer-from"), TestDir::new("transfer-to"));
        from.write("a b \"é\".bin", content(length));
        let server = TestServer::start(&["transfer", from.join("a b \"é\".bin").to_str().unwrap()]);
        let output = fetch(server.address(), &to);
        let saved = to.join("a b \"é\".bin");
        let line = format!("saved {}, {length} bytes\n", saved.display());
        assert_eq!(
            (
                output.status.code(),
                String::from_utf8_lossy(&output.stdout)
            ),
            (Some(0), line.into())
        );
        assert!(fs::read(saved).unwrap() == content(length), "{length}");
        assert_eq!(names_in(&to), ["a b \"é\".bin"]);
    }
}

/// Passes on all that a server sends but the last byte, then calls `before_end`, then passes that
/// on too.
fn relay(
    server: SocketAddr,
    before_end: impl FnOnce() + Send + 'static,
) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let relay = thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut server = TcpStream::connect_timeout(&server, PATIENCE).unwrap();
        client.set_write_timeout(Some(PATIENCE)).unwrap();
        server.set_read_timeout(Some(PATIENCE)).unwrap();
        let (mut segment, mut held) = (vec![0; 128 * 1024], Vec::new());
        loop {
            let count = server.read(&mut segment).unwrap();
            if count == 0 {
                break;
            }
            held.extend_from_slice(&segment[..count]);
            let last = held.split_off(held.len() - 1);
            client.write_all(&held).unwrap();
            held = last;
        }
        before_end();
        client.write_all(&held).unwrap();
    });
    (address, relay)
}

#[test]
fn a_file_of_100_mib_takes_neither_side_32_mib_of_memory() {
    let (from, to) = (
        TestDir::new("transfer-large-from"),
        TestDir::new("transfer-large-to"),
    );
    from.write("large", content(100 * MIB));
    let server = TestServer::start(&["transfer", from.join("large").to_str().unwrap()]);
    let (told, client_pid) = std::sync::mpsc::channel();
    let (memory, peak) = std::sync::mpsc::channel();
    let (address, relay) = relay(server.address(), move || {
        memory
            .send(peak_memory(client_pid.recv_timeout(PATIENCE).unwrap()))
            .unwrap();
    });
    let child = client(address, &to).start();
    told.send(child.id()).unwrap();
    assert!(child.finish().status.success());
    relay.join().unwrap();
    let (ours, theirs) = (peak.recv().unwrap(), peak_memory(server.pid()));
    assert!(
        ours < MOST_MEMORY && theirs < MOST_MEMORY,
        "client {ours}, server {theirs}"
    );
    assert!(fs::read(to.join("large")).unwrap() == fs::read(from.join("large")).unwrap());
}

#[test]
fn pythons_json_and_base64_understand_the_server() {
    const SCRIPT: &str = "
import base64, json, socket, sys
with socket.create_connection(('127.0.0.1', int(sys.argv[1])), 20) as connection:
    message = json.loads(b''.join(iter(lambda: connection.recv(65536), b'')))
assert list(message) == ['filename', 'filedata'], list(message)
with open(sys.argv[2], 'wb') as file:
    file.write(base64.b64decode(message['filedata'], validate=True))
print(ascii(message['filename']))
";
    let dir = TestDir::new("transfer-python-client");
    let name = "new\nline \\ \"quote\" é😀\u{1}";
    dir.write(name, content(MIB + 1));
    let server = TestServer::start(&["transfer", dir.join(name).to_str().unwrap()]);
    let (port, copy) = (server.address().port().to_string(), dir.join("copy"));
    if let Some(output) = python("pythons_json", SCRIPT, &[&port, copy.to_str().unwrap()]) {
        assert_eq!(
            output,
            "'new\\nline \\\\ \"quote\" \\xe9\\U0001f600\\x01'\n"
        );
        assert!(fs::read(copy).unwrap() == content(MIB + 1));
    }
}

#[test]
fn a_file_that_cannot_be_sent_is_wrong_usage() {
    let dir = TestDir::new("transfer-unusable");
    for path in [dir.join("missing"), dir.join("")] {
        let (code, _, line) = run(&[
            "serve",
            "transfer",
            path.to_str().unwrap(),
            "--bind",
            "127.0.0.1:0",
        ]);
        assert_eq!((code, line.lines().count()), (Some(2), 1), "{line}");
        assert!(line.contains("can't be sent"), "{line}");
    }
}

#[test]
fn each_client_gets_the_file_as_it_is_then() {
    let dir = TestDir::new("transfer-anew");
    dir.write("a", "one");
    let server = TestServer::start(&["transfer", dir.join("a").to_str().unwrap()]);
    assert_eq!(
        server.exchange(b""),
        br#"{"filename": "a", "filedata": "b25l"}"#
    );
    dir.write("a", "two!");
    assert_eq!(
        server.exchange(b""),
        br#"{"filename": "a", "filedata": "dHdvIQ=="}"#
    );
    fs::remove_file(dir.join("a")).unwrap();
    assert_eq!(server.exchange(b""), b"");
    server.wait_for_log(dir.join("a").to_str().unwrap());
    dir.write("a", "back");
    assert_eq!(
        server.exchange(b""),
        br#"{"filename": "a", "filedata": "YmFjaw=="}"#
    );
}

#[test]
fn a_file_that_changes_while_it_is_sent_is_never_taken_for_whole() {
    let dir = TestDir::new("transfer-changes");
    for (test, length) in [
        ("truncated", 20 * MIB as u64),
        ("grown", 41 * MIB as u64),
        ("touched", 40 * MIB as u64),
    ] {
        dir.write("a", content(40 * MIB));
        let server = TestServer::start(&["transfer", dir.join("a").to_str().unwrap()]);
        let mut stream = server.connect();
        stream.read_exact(&mut [0; 1000]).unwrap();
        let file = File::options().write(true).open(dir.join("a")).unwrap();
        file.set_len(length).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH)
            .unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert!(rest.len() > MIB && !rest.ends_with(b"}"), "{test}");
        server.wait_for_log("it changed while it was sent");
    }
}

#[test]
fn a_reader_that_stops_is_cut_and_others_are_served_meanwhile() {
    let dir = TestDir::new("transfer-stops");
    dir.write("a", content(16 * MIB));
    let path = dir.join("a");
    let server = TestServer::start(&[
        "transfer",
        path.to_str().unwrap(),
        "--max-threads",
        "1",
        "--write-timeout",
        "2s",
    ]);
    let mut silent: Vec<TcpStream> = (0..3).map(|_| server.connect()).collect();
    for stream in &mut silent {
        stream.read_exact(&mut [0; 1000]).unwrap();
    }
    let whole = server.exchange(b"");
    assert!(whole.ends_with(b"\"}") && whole.len() > 16 * MIB);
    for mut stream in silent {
        assert!(server.wait_for_log("stopped reading").contains("127.0.0.1"));
        let mut rest = Vec::new();
        // The end is a reset or an end of file, but never the object's.
        let _ = stream.read_to_end(&mut rest);
        assert!(!rest.ends_with(b"}"));
    }
}

#[test]
fn a_client_that_talks_or_has_nothing_to_say_is_served_all_the_same() {
    let dir = TestDir::new("transfer-talks");
    dir.write("a", content(4 * MIB));
    let server = TestServer::start(&["transfer", dir.join("a").to_str().unwrap()]);
    assert!(server.exchange(b"GET / HTTP/1.0\r\n\r\n").ends_with(b"\"}"));
    let mut stream = server.connect();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut whole = Vec::new();
    stream.read_to_end(&mut whole).unwrap();
    assert!(whole.ends_with(b"\"}") && whole.len() > 4 * MIB);
}

#[test]
fn it_is_the_same_over_tls_and_over_a_unix_socket() {
    let dir = TestDir::new("transfer-tls");
    dir.write("a", content(MIB));
    let file = dir.join("a");
    let socket = format!("unix:{}", dir.join("socket").display());
    let server = TestServer::start(&["transfer", file.to_str().unwrap(), "--bind", &socket]);
    dir.write("1/x", "");
    let output = run(&[
        "client",
        "transfer",
        &socket,
        "-o",
        dir.join("1").to_str().unwrap(),
    ]);
    assert_eq!(output.0, Some(0), "{}", output.2);
    assert!(fs::read(dir.join("1/a")).unwrap() == content(MIB));
    drop(server);

    let Some((certificate, key)) = certificate("it_is_the_same_over_tls", &dir) else {
        return;
    };
    let server = TestServer::start(&[
        "transfer",
        file.to_str().unwrap(),
        "--tls-cert",
        &certificate,
        "--tls-key",
        &key,
    ]);
    let to = TestDir::new("transfer-tls-to");
    let output = client(server.address(), &to).arg("--tls-insecure").finish();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(fs::read(to.join("a")).unwrap() == content(MIB));
}
