//! Clients for all transports, which never wait without end.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};
use socketserver::ServerAddress;

/// Longer than anything in a test takes, on a busy machine. Nothing waits for so long, unless it
/// fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Looks until `done` says so: for what nobody announces.
#[track_caller]
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "it never happened: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A client's socket, of any family, which never waits longer than [`PATIENCE`].
pub(crate) struct Client {
    pub(crate) socket: Socket,
    /// Where a Unix client gets its answers.
    _dir: Option<TestDir>,
}

impl Client {
    pub(crate) fn connect(server: &ServerAddress) -> Client {
        Client::to(server, Type::STREAM, None)
    }

    /// A TCP client that comes from this address of the machine.
    pub(crate) fn connect_from(ip: &str, server: &ServerAddress) -> Client {
        Client::to(server, Type::STREAM, Some(ip))
    }

    /// A socket for datagrams to and from this server only.
    pub(crate) fn datagrams(server: &ServerAddress) -> Client {
        Client::to(server, Type::DGRAM, None)
    }

    fn to(server: &ServerAddress, kind: Type, from: Option<&str>) -> Client {
        let (address, domain) = sock_addr(server);
        let socket = Socket::new(domain, kind, None).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        let dir = (domain == Domain::UNIX && kind == Type::DGRAM).then(TestDir::new);
        if let Some(dir) = &dir {
            socket
                .bind(&SockAddr::unix(dir.join("client")).unwrap())
                .unwrap();
        }
        if let Some(ip) = from {
            let address: std::net::SocketAddr = format!("{ip}:0").parse().unwrap();
            socket.bind(&address.into()).unwrap();
        }
        if domain == Domain::UNIX {
            socket.connect(&address).unwrap();
        } else {
            socket.connect_timeout(&address, PATIENCE).unwrap();
        }
        if domain != Domain::UNIX && kind == Type::STREAM {
            socket.set_tcp_nodelay(true).unwrap();
        }
        Client { socket, _dir: dir }
    }

    /// Sends; for datagrams, one.
    #[track_caller]
    pub(crate) fn say(&mut self, bytes: &[u8]) -> &mut Client {
        self.socket.write_all(bytes).unwrap();
        self
    }

    /// Receives just this; as one datagram, if it is about datagrams.
    #[track_caller]
    pub(crate) fn hear(&mut self, expected: &[u8]) -> &mut Client {
        let mut bytes = vec![0; expected.len()];
        if self.socket.r#type().unwrap() == Type::DGRAM {
            bytes.resize(65_536, 0);
            let count = self.socket.read(&mut bytes).unwrap();
            bytes.truncate(count);
        } else {
            self.socket.read_exact(&mut bytes).unwrap();
        }
        assert_eq!(
            bytes.escape_ascii().to_string(),
            expected.escape_ascii().to_string()
        );
        self
    }

    /// What comes until the server closes. A reset is an end too.
    #[track_caller]
    pub(crate) fn hear_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.socket.read_to_end(&mut bytes) {
            Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => {
                panic!("no end: {error}")
            }
            _ => bytes,
        }
    }

    /// Ends the connection the hard way.
    pub(crate) fn reset(self) {
        self.socket.set_linger(Some(Duration::ZERO)).unwrap();
    }
}

/// Whether somebody listens there.
pub(crate) fn is_listening(server: &ServerAddress) -> bool {
    let (address, domain) = sock_addr(server);
    Socket::new(domain, Type::STREAM, None)
        .unwrap()
        .connect(&address)
        .is_ok()
}

/// Checks that a listening socket is closed. It may live a moment longer: a process that another
/// test starts holds a copy until it executes its program.
#[track_caller]
pub(crate) fn assert_closed(server: &ServerAddress) {
    eventually("the listening socket is closed", || !is_listening(server));
}

fn sock_addr(server: &ServerAddress) -> (SockAddr, Domain) {
    match server {
        ServerAddress::Inet(address) => ((*address).into(), Domain::for_address(*address)),
        ServerAddress::Unix(Some(path)) => (SockAddr::unix(path).unwrap(), Domain::UNIX),
        other => panic!("nobody can connect to {other}"),
    }
}

/// A directory for one test.
pub(crate) struct TestDir(PathBuf);

impl TestDir {
    pub(crate) fn new() -> TestDir {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "framework-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        TestDir(path)
    }

    pub(crate) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
