//! Where servers listen: addresses, families, ports that are shared or taken over, paths of Unix
//! sockets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};

use socketserver::{
    Address, AddressFamily, Builder, DatagramRequest, Error, Next, Result, ServerAddress,
    StreamRequest, TcpServer, ThreadPerRequest, ThreadingMixIn,
};

use crate::subjects::Obedient;
use crate::support::{Client, Running, TestDir, assert_closed, is_listening};

/// The server's address as a client on this machine reaches it.
fn at(ip: impl Into<IpAddr>, server: &Running) -> ServerAddress {
    ServerAddress::Inet(SocketAddr::new(
        ip.into(),
        server.address().inet().unwrap().port(),
    ))
}

fn tcp(settings: Builder, address: &str) -> Result<TcpServer> {
    settings.tcp(address, |_: &_| Obedient)
}

#[test]
fn a_port_without_a_host_is_ipv4_and_ipv6_on_one_socket() {
    let class = |_: &_| {
        |request: &mut StreamRequest| {
            request.rfile.take_all();
            std::io::Write::write_all(
                &mut request.wfile,
                request.client_address.ip().unwrap().to_string().as_bytes(),
            )?;
            Ok(Next::Close)
        }
    };
    let server = Running::start(Builder::new().tcp(":0", class).unwrap());
    assert_eq!(
        Client::connect(&at(Ipv4Addr::LOCALHOST, &server))
            .say(b"?")
            .hear_end(),
        b"127.0.0.1"
    );
    assert_eq!(
        Client::connect(&at(Ipv6Addr::LOCALHOST, &server))
            .say(b"?")
            .hear_end(),
        b"::1"
    );
    for (family, served, other) in [
        (
            AddressFamily::V4,
            IpAddr::from(Ipv4Addr::LOCALHOST),
            IpAddr::from(Ipv6Addr::LOCALHOST),
        ),
        (
            AddressFamily::V6,
            Ipv6Addr::LOCALHOST.into(),
            Ipv4Addr::LOCALHOST.into(),
        ),
    ] {
        let server = Running::start(tcp(Builder::new().address_family(family), ":0").unwrap());
        Client::connect(&at(served, &server))
            .say(b"served\n")
            .hear(b"served\n");
        assert!(!is_listening(&at(other, &server)));
    }
}

#[test]
fn udp_on_every_address_answers_from_the_one_that_was_asked() {
    let class = |_: &_| {
        |request: &mut DatagramRequest| {
            request.wfile =
                format!("at {}", request.local_ip().unwrap().to_canonical()).into_bytes();
            Ok(())
        }
    };
    for address in ["0.0.0.0:0", ":0"] {
        let server = Running::start(Builder::new().udp(address, class).unwrap());
        for last in [1, 2, 3] {
            // A connected socket hears nobody but whom it asked.
            Client::datagrams(&at([127, 0, 0, last], &server))
                .say(b"?")
                .hear(format!("at 127.0.0.{last}").as_bytes());
        }
    }
    let server = Running::start(Builder::new().udp("[::]:0", class).unwrap());
    Client::datagrams(&at(Ipv6Addr::LOCALHOST, &server))
        .say(b"?")
        .hear(b"at ::1");
}

#[test]
fn a_server_listens_at_several_addresses_with_the_same_threads_and_limits() {
    let dir = TestDir::new();
    for settings in [
        Builder::new().process(ThreadingMixIn::new()),
        Builder::new().process(ThreadPerRequest::new()),
    ] {
        let mut server = tcp(settings.max_connections(3), "127.0.0.1:0").unwrap();
        server.listen_also("127.0.0.2:0").unwrap();
        server.listen_also(Address::Unix(dir.join("also"))).unwrap();
        let server = Running::start(server);
        let mut clients: Vec<Client> = server.addresses.iter().map(Client::connect).collect();
        for client in &mut clients {
            client.say(b"hello\n").hear(b"hello\n");
        }
        assert_eq!(server.stats().open, 3);
        assert_eq!(
            server.connect().hear_end(),
            b"",
            "the limit is the server's, not the listener's"
        );
        let addresses = server.addresses.clone();
        server.stop();
        addresses.iter().for_each(assert_closed);
    }
}

#[test]
fn a_socket_that_somebody_else_bound_is_taken_over() {
    let dir = TestDir::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let expected = listener.local_addr().unwrap();
    let server = Builder::new()
        .from_listener(listener, |_: &_| Obedient)
        .unwrap();
    assert_eq!(server.server_address().inet(), Some(expected));
    Running::start(server)
        .connect()
        .say(b"tcp\n")
        .hear(b"tcp\n");

    let listener = UnixListener::bind(dir.join("stream")).unwrap();
    let server = Running::start(
        Builder::new()
            .from_listener(listener, |_: &_| Obedient)
            .unwrap(),
    );
    server.connect().say(b"unix\n").hear(b"unix\n");
    server.stop();
    assert!(
        dir.join("stream").exists(),
        "it belongs to whoever bound it"
    );

    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = Running::start(
        Builder::new()
            .from_datagram_socket(socket, |_: &_| Obedient)
            .unwrap(),
    );
    Client::datagrams(server.address()).say(b"udp").hear(b"udp");
}

#[test]
fn a_descriptor_of_the_wrong_kind_is_refused() {
    let udp = || UdpSocket::bind("127.0.0.1:0").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let errors = [
        Builder::new()
            .from_listener(udp(), |_: &_| Obedient)
            .unwrap_err(),
        Builder::new()
            .from_listener(connected, |_: &_| Obedient)
            .unwrap_err(),
        Builder::new()
            .from_listener(std::io::pipe().unwrap().0, |_: &_| Obedient)
            .unwrap_err(),
        Builder::new()
            .from_datagram_socket(listener, |_: &_| Obedient)
            .unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(&error, Error::Unsupported(_)), "{error}");
    }
}

#[test]
fn fileno_is_the_listening_socket_until_it_is_closed() {
    let mut server = tcp(Builder::new(), "127.0.0.1:0").unwrap();
    for _ in 0..2 {
        let bound = rustix::net::getsockname(server.fileno().unwrap()).unwrap();
        let bound = SocketAddr::try_from(bound).unwrap();
        assert_eq!(Some(bound), server.server_address().inet());
        server.handle().shutdown();
        server.serve_forever().unwrap();
    }
    server.handle().close();
    server.serve_forever().unwrap();
    assert!(server.fileno().is_none());
}

#[test]
fn a_port_that_was_just_left_is_had_again_at_once_unless_that_is_turned_off() {
    let server = Running::start(tcp(Builder::new(), "127.0.0.1:0").unwrap());
    let address = server.address().to_string();
    // The server closes first: its end stays in TIME_WAIT.
    assert_eq!(server.connect().say(b"close\n").hear_end(), b"");
    server.stop();
    let error = tcp(Builder::new().allow_reuse_address(false), &address).unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");
    Running::start(tcp(Builder::new(), &address).unwrap())
        .connect()
        .say(b"again\n")
        .hear(b"again\n");
}

#[test]
fn a_port_is_shared_only_by_those_who_allow_it() {
    let shared = || Builder::new().allow_reuse_port(true);
    let first = tcp(shared(), "127.0.0.1:0").unwrap();
    let address = first.server_address().to_string();
    assert!(matches!(
        tcp(Builder::new(), &address),
        Err(Error::Bind { .. })
    ));
    let servers = [
        Running::start(first),
        Running::start(tcp(shared(), &address).unwrap()),
    ];
    for _ in 0..50 {
        servers[0]
            .connect()
            .say(b"one of us\n")
            .hear(b"one of us\n");
    }
    assert_eq!(
        servers
            .each_ref()
            .map(|server| server.stats().accepted)
            .iter()
            .sum::<u64>(),
        50
    );
    assert!(
        servers.iter().all(|server| server.stats().accepted > 0),
        "the system spreads them"
    );
}

#[test]
fn what_is_no_address_or_cannot_be_had_is_an_error_of_one_line() {
    let cases = [
        ("nonsense", "invalid address"),
        ("unix:/tmp/x", "is a Unix socket"),
        ("192.0.2.1:0", "no interface"),
        ("127.0.0.1:99999", "must be a number"),
    ];
    for (address, reason) in cases {
        let error = tcp(Builder::new(), address).unwrap_err().to_string();
        assert!(error.contains(reason) && !error.contains('\n'), "{error}");
    }
}

#[test]
fn the_path_of_a_unix_socket_goes_with_its_server() {
    let dir = TestDir::new();
    let path = dir.join("server");
    let server = Builder::new().unix_stream(&path, |_: &_| Obedient).unwrap();
    let living = Builder::new()
        .unix_stream(&path, |_: &_| Obedient)
        .unwrap_err();
    assert!(living.to_string().contains("in use"), "{living}");
    let server = Running::start(server);
    server.connect().say(b"unharmed\n").hear(b"unharmed\n");
    server.stop();
    assert!(!path.exists());

    let server = Builder::new()
        .unix_datagram(&path, |_: &_| Obedient)
        .unwrap();
    Builder::new()
        .unix_datagram(&path, |_: &_| Obedient)
        .unwrap_err();
    server.server_close();
    assert!(!path.exists());
}

#[test]
fn a_stale_path_is_taken_over_but_no_file_is_lost() {
    let dir = TestDir::new();
    drop(UnixListener::bind(dir.join("stream")).unwrap());
    let server = Running::start(
        Builder::new()
            .unix_stream(dir.join("stream"), |_: &_| Obedient)
            .unwrap(),
    );
    server.connect().say(b"taken over\n").hear(b"taken over\n");

    drop(UnixDatagram::bind(dir.join("datagrams")).unwrap());
    let server = Running::start(
        Builder::new()
            .unix_datagram(dir.join("datagrams"), |_: &_| Obedient)
            .unwrap(),
    );
    Client::datagrams(server.address()).say(b"too").hear(b"too");

    std::fs::write(dir.join("file"), "precious").unwrap();
    Builder::new()
        .unix_stream(dir.join("file"), |_: &_| Obedient)
        .unwrap_err();
    assert_eq!(std::fs::read(dir.join("file")).unwrap(), b"precious");
}
