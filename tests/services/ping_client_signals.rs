//! `client ping`: how it ends, what signals do to it, and other programs beside it.

use std::io::{BufRead, BufReader, Read};
use std::net::UdpSocket;
use std::process::{ChildStdout, Command, Stdio};

use rustix::process::Signal;

use crate::ping::{sequences, socket_to};
use crate::support::{
    BoundedCommand, PATIENCE, Process, PythonServer, TestServer, has_tool, python, run,
};

/// A client that runs until it is told to end.
struct Client {
    process: Process,
    lines: BufReader<ChildStdout>,
}

impl Client {
    fn start(address: &str, arguments: &[&str]) -> Client {
        let mut command = Command::new(env!("CARGO_BIN_EXE_socketserver"));
        command.args(["client", "ping", address]).args(arguments);
        let mut process = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .start();
        let lines = process.stdout();
        Client { process, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }

    /// Its exit code, and what it wrote besides.
    fn end(mut self) -> (Option<i32>, String, String) {
        let mut output = String::new();
        self.lines.read_to_string(&mut output).unwrap();
        let ended = self.process.finish();
        let errors = String::from_utf8(ended.stderr).unwrap();
        (ended.status.code(), output, errors)
    }
}

#[test]
fn ctrl_c_ends_with_the_summary_and_what_is_in_flight_is_not_lost() {
    let server = TestServer::start(&["ping", "--reorder", "100"]);
    let mut client = Client::start(&server.address().to_string(), &["-i", "30s", "-W", "60s"]);
    // Whichever of the two comes first is held until the other overtakes it.
    socket_to(&server).send(b"other").unwrap();
    assert!(client.line().starts_with("Sequence 1: Reply from"));
    client.process.signal(Signal::INT);
    let (code, output, errors) = client.end();
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    assert!(output.contains("1 sent, 1 received, 0% lost"), "{output}");

    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    let client = Client::start(&silent.local_addr().unwrap().to_string(), &["-W", "60s"]);
    silent.recv(&mut [0; 100]).unwrap();
    client.process.signal(Signal::INT);
    let (code, output, _) = client.end();
    assert_eq!(code, Some(1), "no reply came");
    assert!(
        output.contains("1 sent, 0 received, 0% lost, 0 duplicates, 0 out of order, 1 in flight"),
        "{output}"
    );
}

#[test]
fn ctrl_backslash_prints_how_it_stands_and_goes_on() {
    let server = TestServer::start(&["ping"]);
    let mut client = Client::start(&server.address().to_string(), &["-i", "300ms"]);
    assert!(client.line().starts_with("Sequence 1: Reply"));
    client.process.signal(Signal::QUIT);
    assert!(client.line().ends_with("ping statistics ---\n"));
    assert!(client.line().starts_with("1 sent, 1 received, 0% lost"));
    assert!(client.line().starts_with("rtt "));
    assert!(client.line().starts_with("Sequence 2: Reply"), "it goes on");
    client.process.signal(Signal::TERM);
    assert_eq!(client.end().0, Some(0));
}

/// The server that every course on networks begins with: three of ten are lost.
const PYTHON_SERVER: &str = "
import random, socket
random.seed(5)
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(('127.0.0.1', 0))
server.settimeout(20)
print(server.getsockname()[1], flush=True)
for number in range(20):
    message, client = server.recvfrom(1024)
    if random.randint(1, 10) > 3:
        server.sendto(message.upper(), client)
    else:
        print('lost', message.decode().split()[1], flush=True)
";

#[test]
fn our_client_works_with_a_server_in_python() {
    if !has_tool("python3", "our_client_works_with_a_server_in_python") {
        return;
    }
    let mut server = PythonServer::start(PYTHON_SERVER, &[]);
    let address = server.address.to_string();
    let (code, lines, _) = run(&[
        "client", "ping", &address, "-c", "20", "-i", "10ms", "-W", "200ms",
    ]);
    let mut truth = String::new();
    server.stdout.read_to_string(&mut truth).unwrap();
    assert!(server.process.wait().success());
    assert_eq!(code, Some(0));
    let lines: Vec<String> = lines.lines().map(str::to_owned).collect();
    let lost: Vec<u64> = truth
        .lines()
        .map(|line| line.split(' ').nth(1).unwrap().parse().unwrap())
        .collect();
    assert!(!lost.is_empty());
    assert_eq!(sequences(&lines, "timed out"), lost);
    assert_eq!(
        sequences(&lines, "Reply from 127.0.0.1").len(),
        20 - lost.len()
    );
}

#[test]
fn the_live_plot_is_drawn_over_and_over_on_a_terminal() {
    const WATCH: &str = "
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    options = ['--plot', '-c', '6', '-i', '60ms', '-W', '200ms']
    os.execv(sys.argv[1], [sys.argv[1], 'client', 'ping', sys.argv[2]] + options)
seen = b''
while True:
    try:
        piece = os.read(terminal, 65536)
    except OSError:
        break
    if not piece:
        break
    seen += piece
os.waitpid(pid, 0)
text = seen.decode()
assert text.count('\\x1b[J') >= 3, text
assert 'Sequence 1: Request timed out.' in text, text
assert text.rstrip().endswith('ms'), text
print('well')
";
    let server = TestServer::start(&["ping", "--drop-every", "10"]);
    let arguments = [
        env!("CARGO_BIN_EXE_socketserver"),
        &server.address().to_string(),
    ];
    let Some(output) = python("the_live_plot", WATCH, &arguments) else {
        return;
    };
    assert_eq!(output, "well\n");
}
