//! `time` and its client beside other programs, and the client beside servers that are wrong.

use std::io::Write;
use std::net::UdpSocket;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::{BoundedCommand, PATIENCE, TestServer, has_tool, python, run};
use crate::time::{offset_and_delay, start};

/// Asks by RFC 868 over both transports, and by SNTP, and checks what comes with Python's own
/// means.
const PYTHON_CLIENTS: &str = "
import socket, struct, sys, time
host = '127.0.0.1'
tcp, udp, sntp = map(int, sys.argv[1:])
def check(seconds):
    assert abs(seconds - time.time()) < 5, seconds

with socket.create_connection((host, tcp), 10) as connection:
    answer = connection.makefile('rb').read()
check(struct.unpack('!I', answer)[0] - 2208988800)

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.settimeout(10)
    client.sendto(b'', (host, udp))
    check(struct.unpack('!I', client.recv(100))[0] - 2208988800)

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.settimeout(10)
    for version in (1, 2, 3, 4):
        stamp = struct.pack('!II', int(time.time()) + 2208988800, 12345 + version)
        client.sendto(bytes([version << 3 | 3]) + bytes(39) + stamp, (host, sntp))
        answer = client.recv(100)
        fields = struct.unpack('!BBBbII4s', answer[:16])
        first, stratum, poll, precision, delay, dispersion, name = fields
        assert (first, stratum, poll, delay, name) == (version << 3 | 4, 1, 0, 0, b'LOCL'), answer
        assert -30 < precision < 0 < dispersion < 1 << 16 and len(answer) == 48
        assert answer[24:32] == stamp
        reference, receive, transmit = (
            struct.unpack('!Q', answer[at:at + 8])[0] / 2**32 - 2208988800 for at in (16, 32, 40))
        assert reference <= receive <= transmit
        check(transmit)
print('ok')
";

#[test]
fn python_s_clients_get_the_time_by_rfc868_and_by_sntp() {
    let servers = [
        &["--format", "rfc868"][..],
        &["--format", "rfc868", "--udp"],
        &["--sntp"],
    ]
    .map(|options| start(&[options]));
    let ports = servers
        .each_ref()
        .map(|server| server.address().port().to_string());
    let ports = ports.each_ref().map(String::as_str);
    if let Some(output) = python("python_s_clients_get_the_time", PYTHON_CLIENTS, &ports) {
        assert_eq!(output, "ok\n");
    }
}

/// Servers of the tutorials' kind, an hour and a half ahead, for one request each of our client,
/// whose output is printed.
const PYTHON_SERVERS: &str = "
import datetime, socketserver, struct, subprocess, sys, threading, time
AHEAD = 5400
def text():
    return str(datetime.datetime.now() + datetime.timedelta(seconds=AHEAD)).encode()
def ntp(seconds):
    return struct.pack('!Q', int((seconds + 2208988800) * 2**32) & (2**64 - 1))
class Stream(socketserver.BaseRequestHandler):
    def handle(self):
        for byte in text():
            self.request.send(bytes([byte]))
class Datagram(socketserver.BaseRequestHandler):
    def handle(self):
        self.request[1].sendto(text(), self.client_address)
class Sntp(socketserver.BaseRequestHandler):
    def handle(self):
        packet, socket = self.request
        now = ntp(time.time() + AHEAD)
        reply = bytes([0x24, 2, 0, 0xec]) + bytes(8) + b'LOCL' + now + packet[40:] + now + now
        # forged: it does not know the request
        socket.sendto(reply[:24] + bytes(8) + reply[32:], self.client_address)
        socket.sendto(reply, self.client_address)
for kind, handler, options in ((socketserver.TCPServer, Stream, []),
                               (socketserver.UDPServer, Datagram, ['--udp']),
                               (socketserver.UDPServer, Sntp, ['--sntp'])):
    with kind(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.handle_request).start()
        address = '127.0.0.1:%d' % server.server_address[1]
        command = [sys.argv[1], 'client', 'time', address, '--offset', '--timeout', '10'] + options
        print(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout, end='')
";

#[test]
fn our_client_reads_the_clocks_of_python_s_servers() {
    let Some(output) = python(
        "our_client_reads_the_clocks_of_python_s_servers",
        PYTHON_SERVERS,
        &[env!("CARGO_BIN_EXE_socketserver")],
    ) else {
        return;
    };
    assert_eq!(output.lines().count(), 3, "{output}");
    for line in output.split_inclusive('\n') {
        let (offset, delay) = offset_and_delay(line);
        assert!((offset - 5400.0).abs() <= delay + 0.001, "{line}");
    }
}

#[test]
fn packets_that_are_no_request_get_no_reply() {
    let server = TestServer::start(&["time", "--sntp"]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(server.address()).unwrap();
    let packet = |first: u8, mark: u8| [&[first][..], &[0; 38], &[mark; 9]].concat();
    let good = packet(0x23, 1);
    for length in [0, 1, 4, 12, 47] {
        socket.send(&good[..length]).unwrap();
    }
    // Server, broadcast, control and private modes; versions 0 and 5; then garbage.
    for first in [0x24, 0x25, 0x26, 0x27, 0x17, 0x03, 0x2B, 0xFF] {
        socket.send(&packet(first, 2)).unwrap();
    }
    socket.send(&[b'x'; 1400]).unwrap();
    // A request with authentication is longer than its reply.
    for request in [good.clone(), [good.clone(), vec![7; 20]].concat()] {
        socket.send(&request).unwrap();
        let mut reply = [0; 2000];
        assert_eq!(socket.recv(&mut reply).unwrap(), 48);
        assert_eq!(
            reply[24..32],
            good[40..48],
            "the first reply belongs to the first good request"
        );
    }
}

type Change = fn(&mut Vec<u8>);

/// A server that answers one packet with the given changes of a good reply; what the client then
/// says.
fn asked_of_a_bad_server(change: Change) -> (Option<i32>, String, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let address = socket.local_addr().unwrap().to_string();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut request = [0; 100];
            let (length, client) = socket.recv_from(&mut request).unwrap();
            assert_eq!((length, request[0]), (48, 0x23));
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .as_secs()
                + 2_208_988_800;
            let now = u32::try_from(now & 0xFFFF_FFFF).unwrap().to_be_bytes();
            let stamp = [&now[..], &[0; 4]].concat();
            let head = [
                0x24, 1, 0, 0xEC, 0, 0, 0, 0, 0, 0, 0, 66, b'L', b'O', b'C', b'L',
            ];
            let mut reply = [&head, &stamp[..], &request[40..48], &stamp, &stamp].concat();
            change(&mut reply);
            socket.send_to(&reply, client).unwrap();
        });
        run(&["client", "time", &address, "--sntp", "--timeout", "300ms"])
    })
}

#[test]
fn our_client_believes_no_server_that_has_no_time_or_answers_somebody_else() {
    let (code, output, _) = asked_of_a_bad_server(|_| {});
    assert_eq!((code, output.len()), (Some(0), 27), "{output}");
    let cases: [(Change, &str); 6] = [
        (|reply| reply[24] ^= 1, "another request"),
        (|reply| reply[0] = 0x23, "no reply of a server"),
        (|reply| reply.truncate(47), "too short"),
        (|reply| reply[0] = 0xE4, "not synchronised"),
        (
            |reply| reply[1..16].copy_from_slice(b"\0\0\xEC\0\0\0\0\0\0\0\0RATE"),
            "asked too often (RATE)",
        ),
        (|reply| reply[40..].fill(0), "no time"),
    ];
    for (change, told) in cases {
        let (code, output, errors) = asked_of_a_bad_server(change);
        assert_eq!(
            (code, output.as_str(), errors.lines().count()),
            (Some(1), "", 1),
            "{told}: {errors}"
        );
        assert!(
            errors.starts_with("socketserver: ") && errors.contains(told),
            "{told}: {errors}"
        );
    }
}

#[test]
fn a_client_without_a_server_says_so_in_one_line() {
    let address = TestServer::start(&["time"]).address().to_string();
    for more in [&[][..], &["--udp"], &["--sntp"], &["--offset"]] {
        let (code, output, errors) =
            run(&[&["client", "time", &address, "--timeout", "2s"], more].concat());
        assert_eq!(
            (code, output.as_str(), errors.lines().count()),
            (Some(1), "", 1),
            "{more:?}: {errors}"
        );
    }
    let (code, _, errors) = run(&["client", "time", &address, "--sntp", "--tls"]);
    assert_eq!(code, Some(2), "{errors}");
}

#[test]
fn chronyd_takes_our_time() {
    if !has_tool("chronyd", "chronyd_takes_our_time") {
        return;
    }
    let server = TestServer::start(&["time", "--sntp"]);
    let source = format!("server 127.0.0.1 port {} iburst", server.address().port());
    let output = Command::new("chronyd")
        .args(["-Q", "-U", "-t", "15", &source])
        .finish();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let wrong = said
        .split("System clock wrong by ")
        .nth(1)
        .unwrap_or_else(|| panic!("{said}"));
    let wrong: f64 = wrong.split(' ').next().unwrap().parse().unwrap();
    assert!(wrong.abs() < 0.5, "{said}");
    assert!(output.status.success(), "{said}");
}

/// ntpdate knows no port but 123, which only a privileged test may bind; an address of its own
/// keeps it away from a real server's.
#[test]
fn ntpdate_takes_our_time() {
    const TEST: &str = "ntpdate_takes_our_time";
    const ADDRESS: &str = "127.78.84.80:123";
    if !has_tool("ntpdate", TEST) {
        return;
    }
    if let Err(error) = UdpSocket::bind(ADDRESS) {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED {TEST}: it needs port 123: {error}"
        );
        return;
    }
    let _server = TestServer::start(&["time", "--sntp", "--bind", ADDRESS]);
    let host = ADDRESS.split(':').next().unwrap();
    let output = Command::new("ntpdate").args(["-q", host]).finish();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        output.status.success() && said.contains(&format!("{host} s1 no-leap")),
        "{said}"
    );
}
