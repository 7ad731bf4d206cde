//! `echo`, with our client, with sockets, and with Python.

use std::io::{Read, Write};
use std::net::{Shutdown, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Command;
use std::time::Duration;

use crate::support::{BoundedCommand, PATIENCE, TestDir, TestServer, python, run_with_input};

#[test]
fn a_message_comes_back_however_it_is_cut() {
    let server = TestServer::start(&["echo"]);
    let mut stream = server.connect();
    let message = b"first line\nand half a second";
    for cut in 0..=message.len() {
        stream.write_all(&message[..cut]).unwrap();
        stream.write_all(&message[cut..]).unwrap();
        let mut answer = vec![0; message.len()];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, message, "cut at {cut}");
    }
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn upper_touches_ascii_letters_only() {
    let server = TestServer::start(&["echo", "--upper"]);
    let mut stream = server.connect();
    stream.write_all("straße, 12 \u{0}é".as_bytes()).unwrap();
    let expected = "STRAßE, 12 \u{0}é".as_bytes();
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, expected);
}

#[test]
fn two_clients_are_served_at_once_and_one_that_vanishes_harms_nobody() {
    let server = TestServer::start(&["echo", "--log-level", "debug"]);
    let (mut one, mut two) = (server.connect(), server.connect());
    for round in 0..10u8 {
        one.write_all(&[round]).unwrap();
        two.write_all(&[round + 100]).unwrap();
        let mut byte = [0];
        two.read_exact(&mut byte).unwrap();
        assert_eq!(byte, [round + 100]);
        one.read_exact(&mut byte).unwrap();
        assert_eq!(byte, [round]);
    }
    one.write_all(b"never read").unwrap();
    rustix::net::sockopt::set_socket_linger(&one, Some(std::time::Duration::ZERO)).unwrap();
    drop(one);
    assert!(server.wait_for_log("reset").contains("[DEBUG]"));
    two.write_all(b"x").unwrap();
    two.read_exact(&mut [0]).unwrap();
}

#[test]
fn a_client_that_does_not_read_holds_no_thread() {
    let server = TestServer::start(&["echo", "--max-threads", "1"]);
    let mut greedy = server.connect();
    greedy.set_nonblocking(true).unwrap();
    let mut sent = 0;
    // Until neither side's buffers take more.
    while let Ok(count) = greedy.write(&[b'x'; 65536]) {
        sent += count;
    }
    let mut other = server.connect();
    other.write_all(b"hello").unwrap();
    other.read_exact(&mut [0; 5]).unwrap();
    greedy.set_nonblocking(false).unwrap();
    greedy.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    greedy.read_to_end(&mut answer).unwrap();
    assert_eq!(answer.len(), sent);
}

#[test]
fn datagrams_come_back_one_by_one_and_empty_ones_too() {
    let server = TestServer::start(&["echo", "--udp", "--upper"]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.address()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = [0; 65536];
    for message in [&b"abc"[..], b"", &[b'z'; 65_507]] {
        socket.send(message).unwrap();
        let length = socket.recv(&mut answer).unwrap();
        assert!(
            answer[..length] == message.to_ascii_uppercase(),
            "{length} bytes came back of {}",
            message.len()
        );
    }
}

#[test]
fn unix_sockets_of_both_kinds_are_served() {
    let dir = TestDir::new("echo-unix");
    let bind = |name: &str| format!("unix:{}", dir.join(name).display());
    let stream_server = TestServer::start(&["echo", "--bind", &bind("stream")]);
    assert_eq!(
        stream_server.ready[0],
        format!("echo listening on {}", bind("stream"))
    );
    let mut stream = UnixStream::connect(dir.join("stream")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"hello").unwrap();
    stream.read_exact(&mut [0; 5]).unwrap();

    let mut datagram_server = TestServer::start(&["echo", "--udp", "--bind", &bind("datagram")]);
    let socket = UnixDatagram::bind(dir.join("client")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(b"hello", dir.join("datagram")).unwrap();
    assert_eq!(socket.recv(&mut [0; 10]).unwrap(), 5);

    for (kind, name) in [(None, "stream"), (Some("--udp"), "datagram")] {
        let address = bind(name);
        let arguments: Vec<_> = ["client", "echo"]
            .into_iter()
            .chain(kind)
            .chain([address.as_str()])
            .collect();
        let answer = run_with_input(&arguments, b"one\ntwo\n");
        assert_eq!(
            answer,
            (Some(0), "one\ntwo\n".to_owned(), String::new()),
            "{name}"
        );
    }
    datagram_server.signal("TERM");
    assert_eq!(datagram_server.wait().0, Some(0));
    assert!(!dir.join("datagram").exists());
}

#[test]
fn the_client_pipes_whatever_comes() {
    let server = TestServer::start(&["echo", "--upper"]);
    let input = "0123456789abcdef".repeat(40_000);
    let (code, output, errors) = run_with_input(
        &["client", "echo", &server.address().to_string()],
        input.as_bytes(),
    );
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    assert!(output == input.to_uppercase());
}

#[test]
fn a_client_without_a_server_says_so_in_one_line() {
    let address = TestServer::start(&["echo"]).address().to_string();
    let (code, _, errors) = run_with_input(&["client", "echo", &address], b"x");
    assert_eq!(code, Some(1));
    assert!(
        errors.starts_with(&format!("socketserver: can't connect to {address}: ")),
        "{errors}"
    );
    let (code, _, errors) = run_with_input(&["client", "echo", "--udp", &address], b"x");
    assert_eq!(code, Some(1));
    assert_eq!(errors.lines().count(), 1, "{errors}");
}

/// Types into the client on a terminal of its own, and prints all that appears there.
const TYPE: &str = "
import os, pty, select, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], [sys.argv[1], 'client', 'echo', sys.argv[2]])
seen = b''
def expect(text):
    global seen
    while text not in seen:
        ready, _, _ = select.select([terminal], [], [], 10)
        assert ready, seen
        seen += os.read(terminal, 4096)
    sys.stdout.write(seen[:seen.index(text) + len(text)].decode())
    seen = seen[seen.index(text) + len(text):]
for line, answer in [(b'hello', b'HELLO'), (b'', b'>>> '), (b'two words', b'TWO WORDS')]:
    expect(b'>>> ') if line else None
    os.write(terminal, line + b'\\n')
    expect(answer)
os.write(terminal, b'quit\\n')
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
";

#[test]
fn on_a_terminal_the_client_prompts() {
    let server = TestServer::start(&["echo", "--upper"]);
    let arguments = [
        env!("CARGO_BIN_EXE_socketserver"),
        &server.address().to_string(),
    ];
    let Some(seen) = python("the prompt of the echo client", TYPE, &arguments) else {
        return;
    };
    assert!(seen.ends_with("TWO WORDS0\n"), "{seen}");
}

/// The TCP client of the Python tutorials: connect, send a line, print what comes.
const TUTORIAL: &str = "
import socket, sys
with socket.create_connection(('127.0.0.1', int(sys.argv[1])), 10) as s:
    for word in 'hello', 'world':
        s.sendall(word.encode())
        print(s.recv(1024).decode())
";

#[test]
fn the_tutorials_client_is_served() {
    let server = TestServer::start(&["echo", "--upper"]);
    let Some(output) = python(
        "Python's echo client",
        TUTORIAL,
        &[&server.address().port().to_string()],
    ) else {
        return;
    };
    assert_eq!(output, "HELLO\nWORLD\n");
}

#[test]
fn a_trace_shows_both_sides_what_crosses_the_wire() {
    let server = TestServer::start(&["echo", "--upper", "--trace"]);
    let address = server.address().to_string();
    let (code, output, trace) = run_with_input(&["client", "echo", "--trace", &address], b"hi\n");
    assert_eq!((code, output.as_str()), (Some(0), "HI\n"));
    assert!(
        trace.contains("client -> 3 bytes \"hi\\n\"")
            && trace.contains("client <- 3 bytes \"HI\\n\""),
        "{trace}"
    );
    for part in [
        "server == connection from",
        "3 bytes \"hi\\n\"",
        "3 bytes \"HI\\n\"",
        "end",
        "closed",
    ] {
        server.wait_for_log(part);
    }
}

#[test]
fn a_datagram_that_seems_to_come_from_another_echo_server_is_not_answered() {
    let server = TestServer::start(&["echo", "--udp"]);
    let send = |port: u16| {
        // An address of this process's own, as the port may be somebody's elsewhere.
        let [.., high, low] = std::process::id().to_be_bytes();
        let socket = UdpSocket::bind(std::net::SocketAddr::from((
            [127, high.max(1), low, 9],
            port,
        )))
        .unwrap();
        socket.send_to(b"hello", server.address()).unwrap();
        socket
    };
    let received = |socket: &UdpSocket, patience| {
        socket.set_read_timeout(Some(patience)).unwrap();
        socket.recv(&mut [0; 10]).ok()
    };
    let (server_like, client) = (send(7007), send(0));
    assert_eq!(received(&client, PATIENCE), Some(5));
    // The server has received the first datagram before the second.
    let a_moment = Duration::from_millis(200);
    assert_eq!(received(&server_like, a_moment), None);
}

#[test]
fn a_datagram_client_passes_over_the_variable_for_a_key_file() {
    let server = TestServer::start(&["echo", "--udp"]);
    let mut client = Command::new(env!("CARGO_BIN_EXE_socketserver"));
    client
        .args(["client", "echo", "--udp", &server.address().to_string()])
        .env("SOCKETSERVER_AUTH_KEY_FILE", "/keys");
    let output = client.finish();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A server that works line by line: it answers each line twice, with a delay, and what is left at
/// the end of the input.
fn line_server() -> (std::net::SocketAddr, std::thread::JoinHandle<()>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut lines = std::io::BufReader::new(stream.try_clone().unwrap());
        let mut line = Vec::new();
        while std::io::BufRead::read_until(&mut lines, b'\n', &mut line).unwrap() > 0 {
            std::thread::sleep(Duration::from_millis(200));
            (&stream).write_all(&[&line[..], &line].concat()).unwrap();
            line.clear();
        }
    });
    (address, served)
}

#[test]
fn the_client_prints_what_a_line_server_answers_late() {
    let (address, served) = line_server();
    let address = address.to_string();
    let line = ["client", "echo", &address, "--timeout", "50s"];
    let (code, out, errors) = run_with_input(&line, b"one\ntwo");
    assert_eq!(
        (code, out.as_str()),
        (Some(0), "one\none\ntwotwo"),
        "{errors}"
    );
    served.join().unwrap();
}

#[test]
fn a_large_input_comes_back_through_the_client_though_nobody_reads_in_step() {
    let server = TestServer::start(&["echo"]);
    let input: Vec<u8> = (0..3_000_000u32).map(|n| b'a' + (n % 23) as u8).collect();
    let line = ["client", "echo", &server.address().to_string()];
    let (code, out, _) = run_with_input(&line, &input);
    assert_eq!(code, Some(0));
    assert!(out.as_bytes() == input);
}
