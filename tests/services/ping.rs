//! The server of `ping`: its bad networks, and Python's pinger.

use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::support::{PATIENCE, TestDir, TestServer, python, run};

/// What the client prints when it pings this server with these arguments.
pub(crate) fn ping(server: &TestServer, arguments: &[&str]) -> (Option<i32>, Vec<String>) {
    let address = server.address().to_string();
    let (code, output, errors) = run(&[&["client", "ping", &address], arguments].concat());
    assert_eq!(errors, "", "{output}");
    (code, output.lines().map(str::to_owned).collect())
}

pub(crate) fn socket_to(server: &TestServer) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.address()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// The sequences of the lines that contain `text`.
pub(crate) fn sequences(lines: &[String], text: &str) -> Vec<u64> {
    let of = lines.iter().filter(|line| line.contains(text));
    of.map(|line| line.split([' ', ':']).nth(1).unwrap().parse().unwrap())
        .collect()
}

#[test]
fn any_datagram_comes_back_in_upper_case_from_the_address_it_was_sent_to() {
    let server = TestServer::start(&["ping"]);
    assert!(
        server.ready[0].starts_with("ping listening on udp://127.0.0.1:"),
        "{}",
        server.ready[0]
    );
    let socket = socket_to(&server);
    let mut answer = [0; 65_536];
    let long = [b'y'; 65_507];
    for message in [
        &b"Ping 1 1700000000.5"[..],
        "straße é\0".as_bytes(),
        b"",
        &long,
    ] {
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
fn drop_every_loses_the_first_and_each_nth_after_it() {
    for every in 1..4u8 {
        let server = TestServer::start(&["ping", "--drop-every", &every.to_string()]);
        let socket = socket_to(&server);
        let answered: Vec<u8> = (0..9).filter(|index| index % every != 0).collect();
        for index in 0..9u8 {
            socket.send(&[index]).unwrap();
            if answered.contains(&index) {
                let mut answer = [0; 10];
                assert_eq!(socket.recv(&mut answer).unwrap(), 1, "every {every}");
                assert_eq!(answer[0], index, "every {every}");
            }
        }
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        assert!(
            socket.recv(&mut [0; 10]).is_err(),
            "every {every}: an answer too many"
        );
    }
}

#[test]
fn max_requests_ends_the_server_when_the_last_arrives() {
    let mut server = TestServer::start(&["ping", "--max-requests", "3"]);
    let socket = socket_to(&server);
    for message in [b"a", b"b"] {
        socket.send(message).unwrap();
        socket.recv(&mut [0; 10]).unwrap();
    }
    socket.send(b"c").unwrap();
    assert_eq!(server.wait().0, Some(0));
    socket
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    assert!(socket.recv(&mut [0; 10]).is_err(), "the last is answered");
}

#[test]
fn a_seed_repeats_its_network() {
    let lost = |seed: &str| {
        let server = TestServer::start(&[
            "ping",
            "--loss",
            "40",
            "--seed",
            seed,
            "--model",
            "sequential",
        ]);
        let (_, lines) = ping(&server, &["-c", "30", "-i", "2ms", "-W", "300ms"]);
        let mut lost = sequences(&lines, "timed out");
        lost.sort_unstable();
        lost
    };
    let first = lost("7");
    assert!((5..20).contains(&first.len()), "{first:?}");
    assert_eq!(first, lost("7"));
    assert_ne!(first, lost("8"));
}

#[test]
fn replies_that_take_long_are_sent_when_the_server_ends() {
    let mut server = TestServer::start(&[
        "ping",
        "--delay",
        "300ms",
        "--reorder",
        "100",
        "--max-requests",
        "2",
    ]);
    let socket = socket_to(&server);
    socket.send(b"held").unwrap();
    socket.send(b"last").unwrap();
    let mut answer = [0; 10];
    assert_eq!(socket.recv(&mut answer).unwrap(), 4);
    assert_eq!(&answer[..4], b"HELD");
    assert_eq!(server.wait().0, Some(0));
}

#[test]
fn what_needs_a_memory_does_not_go_with_processes() {
    let (code, output, errors) = run(&["serve", "ping", "--model", "processes", "--loss", "1"]);
    assert_eq!(
        (code, output.as_str(), errors.lines().count()),
        (Some(2), "", 1),
        "{errors}"
    );
    let server = TestServer::start(&["ping", "--model", "processes"]);
    let socket = socket_to(&server);
    socket.send(b"abc").unwrap();
    assert_eq!(socket.recv(&mut [0; 10]).unwrap(), 3);
}

#[test]
fn options_out_of_range_are_refused_in_one_line() {
    for wrong in [
        ["--drop-every", "0"],
        ["--loss", "101"],
        ["--duplicate", "x"],
        ["--max-requests", "0"],
    ] {
        let (code, _, errors) = run(&["serve", "ping", wrong[0], wrong[1]]);
        assert_eq!((code, errors.lines().count()), (Some(2), 1), "{errors}");
        assert!(errors.contains(wrong[0]), "{errors}");
    }
    for wrong in [
        ["-c", "0"],
        ["-s", "65508"],
        ["-i", "0"],
        ["--flood", "-i1"],
        ["--json", "--plot"],
    ] {
        let (code, _, errors) = run(&["client", "ping", "127.0.0.1:1", wrong[0], wrong[1]]);
        assert_eq!((code, errors.lines().count()), (Some(2), 1), "{errors}");
    }
    let (code, _, errors) = run(&["client", "ping", "127.0.0.1:1", "--tls"]);
    assert_eq!((code, errors.lines().count()), (Some(2), 1), "{errors}");
}

#[test]
fn unix_datagrams_are_answered_too() {
    let dir = TestDir::new("ping-unix");
    let bind = format!("unix:{}", dir.join("server").display());
    let server = TestServer::start(&["ping", "--bind", &bind]);
    assert_eq!(server.ready[0], format!("ping listening on {bind}"));
    let socket = UnixDatagram::bind(dir.join("client")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(b"abc", dir.join("server")).unwrap();
    let mut answer = [0; 10];
    assert_eq!(socket.recv(&mut answer).unwrap(), 3);
    assert_eq!(&answer[..3], b"ABC");
    let (code, output, errors) = run(&["client", "ping", &bind, "-c", "1"]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    assert!(
        output.starts_with(&format!("Sequence 1: Reply from {bind}    RTT = 0.")),
        "{output}"
    );
}

/// The pinger that every course on networks begins with.
const PYTHON_CLIENT: &str = "
import socket, sys, time
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(0.3)
for sequence in range(1, 11):
    sent = time.time()
    message = f'Ping {sequence} {sent}'
    client.sendto(message.encode(), (sys.argv[1], int(sys.argv[2])))
    try:
        reply, server = client.recvfrom(1024)
        assert reply.decode() == message.upper(), reply
        assert server == (sys.argv[1], int(sys.argv[2]))
        print('reply', sequence)
    except socket.timeout:
        print('timeout', sequence)
";

#[test]
fn a_pinger_in_python_works_with_our_server() {
    let server = TestServer::start(&["ping", "--drop-every", "4"]);
    let (ip, port) = (
        server.address().ip().to_string(),
        server.address().port().to_string(),
    );
    let Some(output) = python("a_pinger_in_python", PYTHON_CLIENT, &[&ip, &port]) else {
        return;
    };
    let lost = [1, 5, 9];
    let expected: String = (1..11)
        .map(|number| {
            format!(
                "{} {number}\n",
                if lost.contains(&number) {
                    "timeout"
                } else {
                    "reply"
                }
            )
        })
        .collect();
    assert_eq!(output, expected);
}
