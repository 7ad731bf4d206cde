//! A client of FTP that a test steers line by line.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::{PATIENCE, TestDir, TestServer, run_with_input};

/// A control connection.
pub(crate) struct Ftp {
    pub(crate) stream: TcpStream,
    reader: BufReader<TcpStream>,
}

/// A stream that never hangs a test.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// An accounts file with users, each with its rights and options; every password is `secret`.
pub(crate) fn accounts(dir: &TestDir, users: &[(&str, &str, &[&str])]) -> String {
    let file = dir.join("accounts.db").to_str().unwrap().to_owned();
    for (name, rights, options) in users {
        let line = ["users", "add", "--accounts", &file, "--rights", rights];
        let password: &[&str] = match *name {
            "anonymous" => &[],
            _ => &["--password-stdin"],
        };
        let line = [&line, *options, password, &[name]].concat();
        let (code, _, error) = run_with_input(&line, b"secret\n");
        assert_eq!(code, Some(0), "{error}");
    }
    file
}

/// A server of the folder `root` with an accounts file.
pub(crate) fn server_with(dir: &TestDir, accounts: &str, options: &[&str]) -> TestServer {
    std::fs::create_dir_all(dir.join("root")).unwrap();
    let root = dir.join("root").to_str().unwrap().to_owned();
    let line = [&["ftp", &root, "--accounts", accounts][..], options].concat();
    TestServer::start(&line)
}

/// A server in whose folder ada may do everything.
pub(crate) fn server_of_ada(dir: &TestDir, options: &[&str]) -> TestServer {
    let accounts = accounts(dir, &[("ada", "lrwd", &[])]);
    server_with(dir, &accounts, options)
}

impl Ftp {
    /// Connects, and reads the banner.
    pub(crate) fn connect(server: &TestServer) -> Ftp {
        let mut ftp = Ftp::silent(server.address());
        assert_eq!(&ftp.reply()[..4], "220 ");
        ftp
    }

    /// Connects to an address, and reads nothing.
    pub(crate) fn silent(address: SocketAddr) -> Ftp {
        let stream = connect(address);
        let reader = BufReader::new(stream.try_clone().unwrap());
        Ftp { stream, reader }
    }

    /// A session of ada in binary mode.
    pub(crate) fn ada(server: &TestServer) -> Ftp {
        Ftp::log_in(server, "ada")
    }

    /// A session of a user in binary mode.
    pub(crate) fn log_in(server: &TestServer, name: &str) -> Ftp {
        let mut ftp = Ftp::connect(server);
        ftp.expect(format!("USER {name}"), 331);
        ftp.expect("PASS secret", 230);
        ftp.expect("TYPE I", 200);
        ftp
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The next reply, with all its lines.
    pub(crate) fn reply(&mut self) -> String {
        let mut lines = Vec::new();
        loop {
            let begin = lines.len();
            let count = self.reader.read_until(b'\n', &mut lines).unwrap();
            assert!(count > 0, "the server has closed: {}", lines.escape_ascii());
            let (first, last) = (&lines[..4.min(lines.len())], &lines[begin..]);
            if last.starts_with(&first[..3]) && last.get(3) == Some(&b' ') {
                return String::from_utf8_lossy(&lines).into_owned();
            }
        }
    }

    /// Whether the server has closed the connection.
    pub(crate) fn is_at_end(&mut self) -> bool {
        self.reader.fill_buf().is_ok_and(<[u8]>::is_empty)
    }

    /// Sends a command, and returns the reply.
    pub(crate) fn command(&mut self, command: impl AsRef<[u8]>) -> String {
        self.send(&[command.as_ref(), b"\r\n"].concat());
        self.reply()
    }

    /// Sends a command, whose reply must have this code.
    #[track_caller]
    pub(crate) fn expect(&mut self, command: impl AsRef<[u8]>, code: u16) -> String {
        let reply = self.command(&command);
        let shown = command.as_ref().escape_ascii().to_string();
        assert!(reply.starts_with(&format!("{code}")), "{shown}: {reply}");
        reply
    }

    /// The next reply must have this code.
    #[track_caller]
    pub(crate) fn expect_reply(&mut self, code: u16) -> String {
        let reply = self.reply();
        assert!(reply.starts_with(&format!("{code} ")), "{code}: {reply}");
        reply
    }

    /// Has the server listen, and returns where.
    #[track_caller]
    pub(crate) fn listen(&mut self) -> SocketAddr {
        let reply = self.expect("EPSV", 229);
        let port = reply.split("(|||").nth(1).unwrap();
        let port = port.split('|').next().unwrap().parse().unwrap();
        SocketAddr::new(self.stream.peer_addr().unwrap().ip(), port)
    }

    /// A passive data connection.
    #[track_caller]
    pub(crate) fn data(&mut self) -> TcpStream {
        connect(self.listen())
    }

    /// What a command sends on a data connection.
    #[track_caller]
    pub(crate) fn receive(&mut self, command: impl AsRef<[u8]>) -> Vec<u8> {
        let mut data = self.data();
        self.expect(command, 150);
        let mut received = Vec::new();
        data.read_to_end(&mut received).unwrap();
        self.expect_reply(226);
        received
    }

    /// The same, as text.
    #[track_caller]
    pub(crate) fn text(&mut self, command: impl AsRef<[u8]>) -> String {
        String::from_utf8(self.receive(command)).unwrap()
    }

    /// Stores bytes by a command, and returns the final reply.
    #[track_caller]
    pub(crate) fn store(&mut self, command: impl AsRef<[u8]>, bytes: &[u8]) -> String {
        let mut data = self.data();
        self.expect(command, 150);
        data.write_all(bytes).unwrap();
        drop(data);
        self.reply()
    }
}
