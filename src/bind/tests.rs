use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use std::net::TcpStream;

use super::*;

fn fresh_path(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("bind-{name}-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

fn bind(address: &str) -> Result<Listener> {
    Listener::bind(&address.parse().unwrap(), &BindOptions::default())
}

#[test]
fn every_interface_serves_both_families() {
    let listener = bind(":0").unwrap();
    let port = listener.server_address().inet().unwrap().port();
    for host in ["127.0.0.1", "::1"] {
        let _client = TcpStream::connect((host, port)).unwrap();
        rustix::event::poll(
            &mut [rustix::event::PollFd::new(
                &listener,
                rustix::event::PollFlags::IN,
            )],
            None,
        )
        .unwrap();
        let (_, address) = listener.accept().unwrap();
        assert_eq!(address.ip().unwrap().to_string(), host);
    }
}

#[test]
fn an_accepted_socket_neither_blocks_nor_delays() {
    let listener = bind("127.0.0.1:0").unwrap();
    let _client = TcpStream::connect(listener.server_address().inet().unwrap()).unwrap();
    rustix::event::poll(
        &mut [rustix::event::PollFd::new(
            &listener,
            rustix::event::PollFlags::IN,
        )],
        None,
    )
    .unwrap();
    let (Stream::Tcp(stream), _) = listener.accept().unwrap() else {
        panic!("not TCP")
    };
    assert_eq!(
        (&stream).read(&mut [0]).unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
    assert!(stream.nodelay().unwrap());
}

#[test]
fn a_port_in_use_says_so() {
    let first = bind("127.0.0.1:0").unwrap();
    let error = bind(&first.server_address().to_string())
        .unwrap_err()
        .to_string();
    assert!(error.contains("in use"), "{error}");
}

#[test]
fn a_unix_path_goes_with_its_server_and_a_living_one_is_respected() {
    let path = fresh_path("living");
    let address = format!("unix:{}", path.display());
    let first = bind(&address).unwrap();
    assert!(bind(&address).unwrap_err().to_string().contains("in use"));
    UnixStream::connect(&path).unwrap();
    drop(first);
    assert!(!path.exists());
}

#[test]
fn a_stale_unix_path_is_taken_over_but_no_other_file() {
    let path = fresh_path("stale");
    drop(UnixListener::bind(&path).unwrap()); // std leaves the path behind
    let address = format!("unix:{}", path.display());
    drop(bind(&address).unwrap());
    std::fs::write(&path, "precious").unwrap();
    assert!(bind(&address).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_path_that_another_server_took_meanwhile_stays() {
    let path = fresh_path("taken");
    let first = bind(&format!("unix:{}", path.display())).unwrap();
    std::fs::remove_file(&path).unwrap();
    let second = UnixListener::bind(&path).unwrap();
    drop(first);
    assert!(path.exists());
    drop(second);
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_descriptor_of_the_wrong_kind_is_refused() {
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    assert!(
        Listener::from_fd(udp.into(), &BindOptions::default())
            .unwrap_err()
            .to_string()
            .contains("datagram")
    );
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(
        Datagram::from_fd(tcp.into(), &BindOptions::default())
            .unwrap_err()
            .to_string()
            .contains("stream")
    );
}

#[test]
fn a_wildcard_socket_answers_from_the_address_that_was_asked() {
    for (bound, asked) in [
        ("0.0.0.0:0", "127.0.0.7"),
        (":0", "127.0.0.8"),
        (":0", "::1"),
    ] {
        let server = Datagram::bind(&bound.parse().unwrap(), &BindOptions::default()).unwrap();
        let port = server.server_address().inet().unwrap().port();
        let client = std::net::UdpSocket::bind(if asked == "::1" {
            "[::1]:0"
        } else {
            "127.0.0.1:0"
        })
        .unwrap();
        client
            .set_read_timeout(Some(std::time::Duration::from_secs(5)))
            .unwrap();
        client.send_to(b"ping", (asked, port)).unwrap();
        rustix::event::poll(
            &mut [rustix::event::PollFd::new(
                &server,
                rustix::event::PollFlags::IN,
            )],
            None,
        )
        .unwrap();
        let mut buffer = [0; 3];
        let received = server.recv_from(&mut buffer).unwrap();
        assert!(received.truncated && &buffer == b"pin");
        assert_eq!(
            received
                .local
                .as_ref()
                .unwrap()
                .ip
                .to_canonical()
                .to_string(),
            asked
        );
        server
            .send_to(b"pong", &received.client, received.local.as_ref())
            .unwrap();
        assert_eq!(
            client.recv_from(&mut [0; 8]).unwrap().1,
            (asked, port).to_socket_addrs().unwrap().next().unwrap()
        );
    }
}

fn wait_until_readable(listener: &Listener) {
    let mut fds = [rustix::event::PollFd::new(
        listener,
        rustix::event::PollFlags::IN,
    )];
    rustix::event::poll(&mut fds, None).unwrap();
}

#[test]
fn a_listener_that_somebody_else_bound_gets_every_setting() {
    let other = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    other.set_cloexec(false).unwrap();
    other
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    other.listen(100).unwrap();
    let address = other.local_addr().unwrap().as_socket().unwrap();
    let _early = TcpStream::connect(address).unwrap();
    let options = BindOptions {
        request_queue_size: 1,
        ..BindOptions::default()
    };
    let listener = Listener::from_fd(other.into(), &options).unwrap();
    let socket = SockRef::from(&listener);
    assert!(socket.reuse_address().unwrap() && socket.tcp_nodelay().unwrap());
    let flags = rustix::io::fcntl_getfd(&listener).unwrap();
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    for _ in 0..3 {
        // The first of them connected before the listener was taken over.
        wait_until_readable(&listener);
        let (Stream::Tcp(accepted), _) = listener.accept().unwrap() else {
            panic!("not TCP")
        };
        assert!(accepted.nodelay().unwrap());
        assert!(listener.accept().is_err(), "nobody else has come");
        let _late = TcpStream::connect(address).unwrap();
    }
    // One of these fits the backlog, and the one before is still there.
    let timeout = std::time::Duration::from_millis(100);
    let connected: Vec<_> = (0..10)
        .map_while(|_| TcpStream::connect_timeout(&address, timeout).ok())
        .collect();
    assert!(connected.len() < 5, "{} fit the backlog", connected.len());
}

#[test]
fn a_descriptor_of_another_family_is_refused() {
    let options = BindOptions {
        address_family: AddressFamily::V6,
        ..BindOptions::default()
    };
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = Listener::from_fd(tcp.into(), &options).unwrap_err();
    assert!(error.to_string().contains("IPv6"), "{error}");
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let error = Datagram::from_fd(udp.into(), &options).unwrap_err();
    assert!(error.to_string().contains("IPv6"), "{error}");
}

#[test]
fn a_port_that_is_taken_for_ipv6_is_not_had_for_ipv4_alone() {
    for kind in [Type::STREAM, Type::DGRAM] {
        let taken = Socket::new(Domain::IPV6, kind, None).unwrap();
        taken.set_only_v6(true).unwrap();
        taken
            .bind(&SocketAddr::from(([0u16; 8], 0)).into())
            .unwrap();
        let _ = taken.listen(1);
        let port = taken.local_addr().unwrap().as_socket().unwrap().port();
        let address = format!(":{port}");
        let error = match kind {
            Type::STREAM => bind(&address).unwrap_err(),
            _ => Datagram::bind(&address.parse().unwrap(), &BindOptions::default()).unwrap_err(),
        };
        assert!(error.to_string().contains("in use"), "{error}");
    }
}

#[test]
fn a_stale_path_is_taken_over_by_one_server_of_two() {
    const ROUNDS: usize = 3000;
    let path = fresh_path("race");
    let address = format!("unix:{}", path.display());
    let barrier = std::sync::Barrier::new(3);
    std::thread::scope(|scope| {
        let (send, bound) = std::sync::mpsc::channel();
        for _ in 0..2 {
            let (send, barrier, address) = (send.clone(), &barrier, &address);
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    barrier.wait();
                    send.send(bind(address)).unwrap();
                }
            });
        }
        // A round that fails must not leave the others waiting.
        let mut failed = 0;
        for _ in 0..ROUNDS {
            // A socket that was closed without removing its path.
            drop(UnixListener::bind(&path));
            barrier.wait();
            let both: Vec<_> = bound.iter().take(2).collect();
            let owners = both.iter().filter(|one| one.is_ok()).count();
            let is_owned = UnixStream::connect(&path).is_ok();
            drop(both);
            if owners != 1 || !is_owned || path.exists() {
                failed += 1;
                let _ = std::fs::remove_file(&path);
            }
        }
        assert_eq!(failed, 0, "rounds of {ROUNDS} that failed");
    });
    let mut lock = path.into_os_string();
    lock.push(".lock");
    assert!(!std::fs::exists(lock).unwrap());
}
