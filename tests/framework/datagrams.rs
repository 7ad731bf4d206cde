//! Datagrams: what their handlers may do, what may fail around them, and where replies come from.

use std::io::{BufRead, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::mpsc;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};
use socketserver::{
    Builder, ClientAddress, DatagramRequest, DatagramRequestHandler, Error, Refusal, Result,
    ServerAddress, ServerHooks, Synchronous, ThreadPerRequest, ThreadingMixIn, Traffic,
};

use crate::support::{Client, PATIENCE, Running, TestDir, eventually};

fn answer(bytes: &'static [u8]) -> impl FnMut(&mut DatagramRequest) -> Result<()> + Clone {
    move |request: &mut DatagramRequest| {
        request.wfile.extend_from_slice(bytes);
        Ok(())
    }
}

#[test]
fn a_kept_replier_holds_no_port_after_the_server() {
    let (send, repliers) = mpsc::channel();
    let class = move |_: &_| {
        let send = send.clone();
        move |request: &mut DatagramRequest| {
            send.send(request.replier()).unwrap();
            Ok(())
        }
    };
    let server = Running::start(Builder::new().udp("127.0.0.1:0", class).unwrap());
    let address = server.address().inet().unwrap();
    let mut client = Client::datagrams(server.address());
    client.say(b"?");
    let replier = repliers.recv_timeout(PATIENCE).unwrap();
    replier.reply(b"in time").unwrap();
    client.hear(b"in time");
    server.stop();
    // A thread of the pool may be about to let go of the socket.
    eventually("the port is free", || UdpSocket::bind(address).is_ok());
    let late = replier.reply(b"too late").unwrap_err();
    assert!(late.to_string().contains("closed"), "{late}");
}

#[test]
fn a_pending_reply_is_sent_even_after_the_server() {
    let (send, replies) = mpsc::channel();
    let class = move |_: &_| {
        let send = send.clone();
        move |request: &mut DatagramRequest| {
            send.send(request.pending_reply()).unwrap();
            Ok(())
        }
    };
    let server = Running::start(Builder::new().udp("127.0.0.1:0", class).unwrap());
    let address = server.address().inet().unwrap();
    let mut client = Client::datagrams(server.address());
    client.say(b"?");
    let reply = replies.recv_timeout(PATIENCE).unwrap();
    server.stop();
    reply.send(b"after the end").unwrap();
    client.hear(b"after the end");
    // A thread of the pool may be about to let go of the socket.
    eventually("the port is free", || UdpSocket::bind(address).is_ok());
}

#[test]
fn an_extreme_packet_size_leaves_the_server_alive() {
    for (size, truncated) in [(usize::MAX, false), (0, true)] {
        let class = |_: &_| {
            |request: &mut DatagramRequest| {
                request.wfile = vec![b'0' + u8::from(request.is_truncated())];
                Ok(())
            }
        };
        let settings = Builder::new().max_packet_size(size);
        let server = Running::start(settings.udp("127.0.0.1:0", class).unwrap());
        let expected: &[u8] = if truncated { b"1" } else { b"0" };
        Client::datagrams(server.address())
            .say(&[7; 60_000])
            .hear(expected);
    }
}

#[test]
fn rfile_reads_the_packet_and_keeps_its_position() {
    let class = |_: &_| {
        |request: &mut DatagramRequest| {
            let mut line = String::new();
            request.rfile.read_line(&mut line)?;
            let mut two = [0; 2];
            request.rfile.read_exact(&mut two)?;
            let mut rest = Vec::new();
            request.rfile.read_to_end(&mut rest)?;
            let whole = request.packet().len();
            write!(request.wfile, "{line}{two:?} {rest:?} of {whole}")?;
            Ok(())
        }
    };
    let server = Running::start(Builder::new().udp("127.0.0.1:0", class).unwrap());
    let mut client = Client::datagrams(server.address());
    for _ in 0..20 {
        // The position of the datagram before is forgotten.
        client.say(b"a\n\x01\x02\x03").hear(b"a\n[1, 2] [3] of 5");
    }
}

/// Fails where the datagram says.
struct Failing(bool);

impl DatagramRequestHandler for Failing {
    fn setup(&mut self, request: &mut DatagramRequest) -> Result<()> {
        request.wfile.extend_from_slice(b"setup ");
        match request.packet() {
            b"setup" => Err(Error::Protocol("told to".to_owned())),
            _ => Ok(()),
        }
    }

    fn handle(&mut self, request: &mut DatagramRequest) -> Result<()> {
        request.wfile.extend_from_slice(b"handle ");
        match request.packet() {
            b"handle" => Err(Error::Protocol("told to".to_owned())),
            b"panic" => panic!("told to"),
            b"drop" => {
                self.0 = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn finish(&mut self, request: &mut DatagramRequest) -> Result<()> {
        request.wfile.extend_from_slice(b"finish");
        Ok(())
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        assert!(!self.0, "told to panic in drop");
    }
}

#[test]
fn a_handler_that_fails_still_sends_its_wfile() {
    let class = |_: &ClientAddress| Failing(false);
    let server = Running::start(Builder::new().udp("127.0.0.1:0", class).unwrap());
    let mut client = Client::datagrams(server.address());
    for order in ["nothing", "handle", "panic", "drop"] {
        client.say(order.as_bytes()).hear(b"setup handle finish");
    }
    // Nothing comes of a failed setup, as in Python.
    client
        .say(b"setup")
        .say(b"last")
        .hear(b"setup handle finish");
    let stats = server.stop();
    assert_eq!((stats.failed, stats.panics, stats.handled), (2, 2, 6));
}

/// Panics for packets and at times that the test chooses.
struct PanickingHooks(mpsc::Sender<String>);

impl ServerHooks for PanickingHooks {
    fn verify_request(&self, client: &ClientAddress) -> bool {
        match client.ip() {
            Some(ip) if ip == Ipv4Addr::new(127, 0, 0, 2) => panic!("in verify_request"),
            Some(ip) => ip != Ipv4Addr::new(127, 0, 0, 3),
            None => true,
        }
    }

    fn handle_refusal(&self, client: &ClientAddress, _: Refusal) -> Option<&[u8]> {
        match client.ip() {
            Some(ip) if ip == Ipv4Addr::new(127, 0, 0, 3) => panic!("in handle_refusal"),
            _ => None,
        }
    }

    fn handle_error(&self, _: &ClientAddress, error: &Error) {
        self.0.send(error.to_string()).unwrap();
        panic!("in handle_error");
    }
}

#[test]
fn whatever_panics_around_a_datagram_is_counted_and_reported() {
    for settings in [
        Builder::new().process(ThreadingMixIn::new().threads(1).max_threads(1)),
        Builder::new().process(ThreadPerRequest::new()),
        Builder::new().process(Synchronous),
    ] {
        let (send, errors) = mpsc::channel();
        let class = |client: &ClientAddress| {
            if client
                .ip()
                .is_some_and(|ip| ip == Ipv4Addr::new(127, 0, 0, 4))
            {
                panic!("in the class");
            }
            answer(b"answer")
        };
        let trace = |client: &ClientAddress, traffic: Traffic<'_>| {
            let client = client.ip().unwrap();
            match traffic {
                Traffic::Received(_) if client == Ipv4Addr::new(127, 0, 0, 5) => {
                    panic!("in the trace of a request")
                }
                Traffic::Sent(_) if client == Ipv4Addr::new(127, 0, 0, 6) => {
                    panic!("in the trace of a reply")
                }
                _ => {}
            }
        };
        let settings = settings.hooks(PanickingHooks(send)).trace(trace);
        let server = Running::start(settings.udp("127.0.0.1:0", class).unwrap());
        let mut places = vec![
            "in verify_request",
            "in handle_refusal",
            "in the class",
            "in the trace of a request",
            "in the trace of a reply",
        ];
        for last in 2..=6 {
            let client = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, last), 0)).unwrap();
            client
                .send_to(b"?", server.address().inet().unwrap())
                .unwrap();
            let error = errors.recv_timeout(PATIENCE).unwrap();
            assert!(error.contains(places.remove(0)), "{last}: {error}");
        }
        Client::datagrams(server.address())
            .say(b"?")
            .hear(b"answer");
        // Each of them once: a panic of handle_error itself is only logged.
        eventually("all are counted", || server.stats().panics == 5);
        // Under ThreadPerRequest a refusal is counted after its panic was reported.
        eventually("both refusals are counted", || {
            server.stats().refused(Refusal::Denied) == 2
        });
    }
}

/// A client that hears replies from anywhere.
fn unconnected(ip: Ipv4Addr) -> UdpSocket {
    let client = UdpSocket::bind((ip, 0)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

#[test]
fn a_request_to_a_broadcast_address_is_answered_from_the_interface() {
    for bound in ["0.0.0.0:0", ":0"] {
        let class = |_: &_| answer(b"here");
        let server = Running::start(Builder::new().udp(bound, class).unwrap());
        let port = server.address().inet().unwrap().port();
        let client = unconnected(Ipv4Addr::LOCALHOST);
        client.set_broadcast(true).unwrap();
        client
            .send_to(b"who?", (Ipv4Addr::new(127, 255, 255, 255), port))
            .unwrap();
        let mut reply = [0; 10];
        let (count, from) = client.recv_from(&mut reply).expect(bound);
        assert_eq!(&reply[..count], b"here");
        assert_eq!(from, SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        assert_eq!(server.stats().failed, 0);
    }
}

#[test]
fn a_request_to_a_multicast_group_is_answered_from_the_interface() {
    let group = Ipv4Addr::new(239, 255, 7, 7);
    for (domain, bound) in [(Domain::IPV4, "0.0.0.0:0"), (Domain::IPV6, "[::]:0")] {
        let socket = Socket::new(domain, Type::DGRAM, None).unwrap();
        if domain == Domain::IPV6 {
            socket.set_only_v6(false).unwrap();
        }
        let bound: SocketAddr = bound.parse().unwrap();
        socket.bind(&bound.into()).unwrap();
        socket
            .join_multicast_v4(&group, &Ipv4Addr::LOCALHOST)
            .unwrap();
        let class = |_: &_| {
            |request: &mut DatagramRequest| {
                request.wfile = request.local_ip().unwrap().to_string().into_bytes();
                Ok(())
            }
        };
        let server = Running::start(Builder::new().from_datagram_socket(socket, class).unwrap());
        let port = server.address().inet().unwrap().port();
        let client = Socket::from(unconnected(Ipv4Addr::LOCALHOST));
        client.set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
        client
            .send_to(b"who?", &SocketAddr::from((group, port)).into())
            .unwrap();
        let mut reply = [0; 20];
        let (count, from) = UdpSocket::from(client).recv_from(&mut reply).unwrap();
        assert_eq!(&reply[..count], group.to_string().as_bytes());
        assert_eq!(from, SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_unix_client_with_an_abstract_address_gets_its_answer() {
    let dir = TestDir::new();
    let class = |_: &_| {
        |request: &mut DatagramRequest| {
            request.wfile = request.client_address.to_string().into_bytes();
            Ok(())
        }
    };
    let server = Running::start(Builder::new().unix_datagram(dir.join("s"), class).unwrap());
    let ServerAddress::Unix(Some(path)) = server.address() else {
        panic!("no path");
    };
    let client = Socket::new(Domain::UNIX, Type::DGRAM, None).unwrap();
    let name = format!("\0client-{}", std::process::id());
    client.bind(&SockAddr::unix(&name).unwrap()).unwrap();
    client.connect(&SockAddr::unix(path).unwrap()).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    client.send(b"who am I?").unwrap();
    let mut reply = [0; 100];
    let count = (&client).read(&mut reply).unwrap();
    let expected = format!("unix:@client-{}", std::process::id());
    assert_eq!(&reply[..count], expected.as_bytes());
}

/// A client on an address that accepts answers from this server only.
fn connected(ip: IpAddr, server: SocketAddr) -> UdpSocket {
    let client = UdpSocket::bind((ip, 0)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.connect(server).unwrap();
    client
}

#[track_caller]
fn hear(client: &UdpSocket, expected: &[u8]) {
    let mut bytes = [0; 100];
    let count = client.recv(&mut bytes).unwrap();
    assert_eq!(&bytes[..count], expected);
}

#[test]
fn a_handler_sends_to_any_address_from_the_servers_port() {
    for (bound, ip) in [
        ("127.0.0.1:0", IpAddr::from(Ipv4Addr::LOCALHOST)),
        ("0.0.0.0:0", Ipv4Addr::LOCALHOST.into()),
        (":0", Ipv4Addr::LOCALHOST.into()),
        (":0", Ipv6Addr::LOCALHOST.into()),
        ("[::1]:0", Ipv6Addr::LOCALHOST.into()),
    ] {
        let (send, repliers) = mpsc::channel();
        let (show, shown) = mpsc::channel();
        let class = move |_: &_| {
            let send = send.clone();
            move |request: &mut DatagramRequest| {
                let to: SocketAddr = std::str::from_utf8(request.packet())
                    .unwrap()
                    .parse()
                    .unwrap();
                request.send_to(b"from a handler", &to.into())?;
                send.send((request.replier(), to)).unwrap();
                Ok(())
            }
        };
        let trace = move |client: &ClientAddress, traffic: Traffic<'_>| {
            if let Traffic::Sent(bytes) = traffic {
                show.send((client.clone(), bytes.to_vec())).unwrap();
            }
        };
        let server = Running::start(Builder::new().trace(trace).udp(bound, class).unwrap());
        let address = SocketAddr::new(ip, server.address().inet().unwrap().port());
        let [asking, other] = [connected(ip, address), connected(ip, address)];
        let to = other.local_addr().unwrap();
        asking.send(to.to_string().as_bytes()).unwrap();
        hear(&other, b"from a handler");
        let (replier, to) = repliers.recv_timeout(PATIENCE).unwrap();
        assert_eq!(
            replier.client_address(),
            &asking.local_addr().unwrap().into()
        );
        replier.send_to(b"from a replier", &to.into()).unwrap();
        hear(&other, b"from a replier");
        replier.reply(b"a reply").unwrap();
        hear(&asking, b"a reply");
        let shown: Vec<_> = shown.try_iter().collect();
        let others = ClientAddress::from(to);
        assert_eq!(shown[0], (others.clone(), b"from a handler".to_vec()));
        assert_eq!(shown[1], (others, b"from a replier".to_vec()));
    }
}

#[test]
fn a_datagram_to_an_address_of_another_kind_is_an_error_of_one_line() {
    let dir = TestDir::new();
    let (send, repliers) = mpsc::channel();
    let class = move |_: &_| {
        let send = send.clone();
        move |request: &mut DatagramRequest| {
            send.send(request.replier()).unwrap();
            Ok(())
        }
    };
    let udp = Builder::new().udp("127.0.0.1:0", class.clone()).unwrap();
    let unix = Builder::new().unix_datagram(dir.join("s"), class).unwrap();
    let inet = SocketAddr::from(([127, 0, 0, 1], 9));
    let path = ClientAddress::Unix(Some(std::sync::Arc::new("/nobody".into())));
    for (server, to, wanted) in [
        (udp, path, "`unix:/nobody`: this socket needs an IP address"),
        (
            unix,
            inet.into(),
            "`127.0.0.1:9`: this socket needs the path",
        ),
    ] {
        let server = Running::start(server);
        Client::datagrams(server.address()).say(b"?");
        let replier = repliers.recv_timeout(PATIENCE).unwrap();
        let error = replier.send_to(b"x", &to).unwrap_err().to_string();
        assert!(error.contains(wanted) && !error.contains('\n'), "{error}");
        let error = replier
            .send_to(b"x", &ClientAddress::Unix(None))
            .unwrap_err();
        assert!(
            error.to_string().contains("no address to send to"),
            "{error}"
        );
        server.stop();
        // A thread of the pool may be about to let go of the socket.
        eventually("the socket is closed", || {
            let error = replier.send_to(b"x", &to).unwrap_err();
            error.to_string().contains("closed")
        });
    }
}
