//! A small FTP server that a test controls, faults included. It keeps its files in memory, and
//! records what clients do.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{HandshakeKind, ServerConfig, ServerConnection, StreamOwned};
use sha2::{Digest, Sha256};

use crate::support::PATIENCE;

/// How the server behaves, and its files.
#[derive(Clone)]
pub(crate) struct Fake {
    /// Files by path; a path that ends with `/` is a folder.
    pub(crate) tree: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Lines of FEAT.
    pub(crate) features: Vec<&'static str>,
    /// The content of every listing, in place of the true one.
    pub(crate) listing: Option<Vec<u8>>,
    /// Verbs, and the replies to them. The commands then do nothing.
    pub(crate) replies: Vec<(&'static str, &'static str)>,
    /// A verb after which the server sends nothing more.
    pub(crate) silent: Option<&'static str>,
    /// The address in the reply to PASV.
    pub(crate) passive_address: Option<[u8; 6]>,
    /// A download ends after this many bytes, the control connection with it.
    pub(crate) cut: Option<usize>,
    /// A download stops after this many bytes, until the client leaves.
    pub(crate) stall: Option<usize>,
    /// HASH answers with another digest.
    pub(crate) lies: bool,
    /// The server has TLS, and data connections must resume the TLS session of their control
    /// connection. This is the number of new tickets on each data connection.
    pub(crate) tickets: Option<usize>,
    /// Sessions that are accepted in all.
    pub(crate) max_sessions: Option<usize>,
    /// Bytes in the clear right after the reply to AUTH.
    pub(crate) injected: &'static str,
}

/// What clients did.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) commands: Vec<String>,
    /// How each upload's data connection ended.
    pub(crate) ends: Vec<Result<(), io::ErrorKind>>,
    /// Bytes of uploads that have come so far.
    pub(crate) uploaded: usize,
    pub(crate) sessions: usize,
}

/// The running server. Its thread ends with the test's process.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) fake: Arc<Mutex<Fake>>,
    pub(crate) seen: Arc<Mutex<Seen>>,
}

const FEATURES: [&str; 6] = [
    "MLST type*;size*;modify*;",
    "SIZE",
    "MDTM",
    "MFMT",
    "REST STREAM",
    "HASH SHA-256*",
];

impl Default for Fake {
    fn default() -> Fake {
        Fake {
            tree: BTreeMap::new(),
            features: FEATURES.to_vec(),
            listing: None,
            replies: Vec::new(),
            silent: None,
            passive_address: None,
            cut: None,
            stall: None,
            lies: false,
            tickets: None,
            max_sessions: None,
            injected: "",
        }
    }
}

impl Fake {
    /// A server with these files, all with the time of [`TIME`].
    pub(crate) fn with(files: &[(&str, &[u8])]) -> Fake {
        let files = files.iter();
        let tree = files.map(|(path, content)| (path.as_bytes().to_vec(), content.to_vec()));
        Fake {
            tree: tree.collect(),
            ..Fake::default()
        }
    }

    /// Whether the folder of a path is there.
    fn has_parent(&self, path: &[u8]) -> bool {
        let slash = path.iter().rposition(|byte| *byte == b'/');
        slash.is_none_or(|at| self.tree.contains_key(&path[..=at]))
    }

    pub(crate) fn start(self) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let running = Running {
            address: listener.local_addr().unwrap(),
            fake: Arc::new(Mutex::new(self)),
            seen: Arc::default(),
        };
        let (fake, seen) = (Arc::clone(&running.fake), Arc::clone(&running.seen));
        let certificate = Arc::new(certificate());
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let number = {
                    let mut seen = seen.lock().unwrap();
                    seen.sessions += 1;
                    seen.sessions
                };
                let mut session = Session {
                    fake: Arc::clone(&fake),
                    seen: Arc::clone(&seen),
                    control: BufReader::new(Stream::Plain(stream)),
                    passive: None,
                    offset: 0,
                    tls: server_config(&certificate),
                    is_secure: false,
                    number,
                };
                // A client may leave at any time.
                thread::spawn(move || session.run());
            }
        });
        running
    }
}

impl Running {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("ftp://ada@{}/{path}", self.address)
    }

    pub(crate) fn commands(&self, verb: &str) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        let is_it = |line: &&String| line.split(' ').next() == Some(verb);
        seen.commands.iter().filter(is_it).cloned().collect()
    }

    pub(crate) fn content(&self, path: &str) -> Option<Vec<u8>> {
        self.fake.lock().unwrap().tree.get(path.as_bytes()).cloned()
    }

    /// The paths that the server has.
    pub(crate) fn paths(&self) -> Vec<String> {
        let fake = self.fake.lock().unwrap();
        fake.tree
            .keys()
            .map(|path| String::from_utf8_lossy(path).into_owned())
            .collect()
    }
}

/// The time of every file, as MLSD writes it: 2024-01-02 03:04:05.
pub(crate) const TIME: &str = "20240102030405";

fn certificate() -> rcgen::CertifiedKey<rcgen::KeyPair> {
    rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap()
}

/// The TLS of one control connection, whose sessions no other connection can resume.
fn server_config(certificate: &rcgen::CertifiedKey<rcgen::KeyPair>) -> ServerConfig {
    let key = PrivatePkcs8KeyDer::from(certificate.signing_key.serialize_der());
    ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.cert.der().clone()],
            PrivateKeyDer::from(key),
        )
        .unwrap()
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
    Gone,
}

impl Stream {
    fn secure(self, config: ServerConfig) -> io::Result<Stream> {
        let Stream::Plain(mut tcp) = self else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let mut connection = ServerConnection::new(Arc::new(config)).unwrap();
        while connection.is_handshaking() {
            connection.complete_io(&mut tcp)?;
        }
        Ok(Stream::Tls(Box::new(StreamOwned::new(connection, tcp))))
    }

    fn is_resumed(&self) -> bool {
        match self {
            Stream::Tls(stream) => stream.conn.handshake_kind() == Some(HandshakeKind::Resumed),
            _ => false,
        }
    }

    /// Ends it in an orderly way.
    fn finish(mut self) {
        if let Stream::Tls(stream) = &mut self {
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
            Stream::Gone => Ok(0),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.write(bytes),
            Stream::Tls(stream) => stream.write(bytes),
            Stream::Gone => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(stream) => stream.flush(),
            Stream::Tls(stream) => stream.flush(),
            Stream::Gone => Ok(()),
        }
    }
}

struct Session {
    fake: Arc<Mutex<Fake>>,
    seen: Arc<Mutex<Seen>>,
    control: BufReader<Stream>,
    passive: Option<TcpListener>,
    offset: usize,
    tls: ServerConfig,
    is_secure: bool,
    /// 1 for the first session.
    number: usize,
}

impl Session {
    fn run(&mut self) -> io::Result<()> {
        let most = self.fake.lock().unwrap().max_sessions;
        if most.is_some_and(|most| self.number > most) {
            return self.reply("421 too many sessions");
        }
        self.reply("220 fake")?;
        loop {
            let mut line = Vec::new();
            if self.control.read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            let mut line = line.strip_suffix(b"\r\n").unwrap_or(&line).to_vec();
            // The byte 255 comes doubled (RFC 854).
            line.dedup_by(|one, other| *one == 255 && *other == 255);
            let shown = String::from_utf8_lossy(&line).into_owned();
            self.seen.lock().unwrap().commands.push(shown);
            let at = line.iter().position(|byte| *byte == b' ');
            let (verb, argument) = match at {
                Some(at) => (&line[..at], &line[at + 1..]),
                None => (&line[..], &b""[..]),
            };
            let verb = String::from_utf8_lossy(verb).into_owned();
            let fake = self.fake.lock().unwrap().clone();
            if fake.silent == Some(verb.as_str()) {
                // Until the client closes the connection.
                let _ = self.control.read_until(b'\n', &mut Vec::new());
                return Ok(());
            }
            match fake.replies.iter().find(|(name, _)| *name == verb) {
                Some((_, reply)) => self.reply(reply)?,
                None => self.answer(&fake, &verb, argument)?,
            }
        }
    }

    fn reply(&mut self, line: &str) -> io::Result<()> {
        self.control
            .get_mut()
            .write_all(format!("{line}\r\n").as_bytes())
    }

    fn answer(&mut self, fake: &Fake, verb: &str, argument: &[u8]) -> io::Result<()> {
        let argument = argument.strip_prefix(b"./").unwrap_or(argument);
        let folder = [argument, b"/"].concat();
        match (verb, fake.tree.get(argument)) {
            ("USER", _) => self.reply("331 password"),
            ("PASS", _) if argument == b"secret" => self.reply("230 in"),
            ("PASS", _) => self.reply("530 Login incorrect"),
            ("FEAT", _) => {
                let lines: Vec<String> = fake
                    .features
                    .iter()
                    .map(|line| format!(" {line}\r\n"))
                    .collect();
                self.reply(&format!("211-Features\r\n{}211 End", lines.concat()))
            }
            ("AUTH", _) => self.start_tls(fake),
            ("TYPE" | "OPTS" | "PBSZ" | "PROT" | "NOOP", _) => self.reply("200 ok"),
            ("EPSV" | "PASV", _) => self.passive(fake, verb),
            ("REST", _) => {
                self.offset = String::from_utf8_lossy(argument).parse().unwrap();
                self.reply("350 go on")
            }
            ("MLSD" | "LIST", _) => self.list(fake, &folder, verb == "MLSD"),
            ("MLST", Some(content)) => {
                let facts = format!("type=file;size={};modify={TIME};", content.len());
                self.reply(&format!("250-x\r\n {facts} x\r\n250 End"))
            }
            ("MLST", None) if fake.tree.contains_key(&folder) => {
                self.reply("250-x\r\n type=dir; x\r\n250 End")
            }
            ("SIZE", Some(content)) => self.reply(&format!("213 {}", content.len())),
            ("MDTM", Some(_)) => self.reply(&format!("213 {TIME}")),
            ("MFMT", _) => self.reply("213 Modify=x"),
            ("HASH", Some(content)) => {
                let mut digest = Sha256::digest(content);
                digest[0] ^= u8::from(fake.lies);
                let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                self.reply(&format!("213 SHA-256 0-{} {hex} x", content.len()))
            }
            ("RETR", Some(content)) => self.send(fake, content),
            ("STOR" | "APPE", _) => self.store(argument, verb == "APPE"),
            ("DELE", Some(_)) => self.change(|tree| drop(tree.remove(argument))),
            ("RMD", None) if fake.tree.contains_key(&folder) => {
                self.change(|tree| drop(tree.remove(&folder)))
            }
            ("MKD", None) if fake.has_parent(argument) => {
                self.change(|tree| drop(tree.insert(folder.clone(), Vec::new())))
            }
            ("QUIT", _) => self.reply("221 bye"),
            _ => self.reply("550 no"),
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut BTreeMap<Vec<u8>, Vec<u8>>)) -> io::Result<()> {
        change(&mut self.fake.lock().unwrap().tree);
        self.reply("250 done")
    }

    fn start_tls(&mut self, fake: &Fake) -> io::Result<()> {
        if fake.tickets.is_none() {
            return self.reply("502 no TLS");
        }
        self.reply(&["234 go", fake.injected].concat())?;
        let plain = std::mem::replace(self.control.get_mut(), Stream::Gone);
        *self.control.get_mut() = plain.secure(self.tls.clone())?;
        self.is_secure = true;
        Ok(())
    }

    fn passive(&mut self, fake: &Fake, verb: &str) -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        self.passive = Some(listener);
        if verb == "EPSV" {
            return self.reply(&format!("229 ok (|||{port}|)"));
        }
        let [high, low] = port.to_be_bytes();
        let [a, b, c, d, high, low] = fake.passive_address.unwrap_or([127, 0, 0, 1, high, low]);
        self.reply(&format!("227 ok ({a},{b},{c},{d},{high},{low})"))
    }

    /// The data connection, after the reply 150; `None` if it is refused.
    fn data(&mut self) -> io::Result<Option<Stream>> {
        let listener = self.passive.take().expect("EPSV or PASV comes first");
        let (stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        self.reply("150 begin")?;
        if !self.is_secure {
            return Ok(Some(Stream::Plain(stream)));
        }
        let mut config = self.tls.clone();
        config.send_tls13_tickets = self.fake.lock().unwrap().tickets.unwrap_or(0);
        let stream = Stream::Plain(stream).secure(config)?;
        if stream.is_resumed() {
            return Ok(Some(stream));
        }
        self.reply("522 the data connection must resume the TLS session")?;
        Ok(None)
    }

    fn list(&mut self, fake: &Fake, folder: &[u8], facts: bool) -> io::Result<()> {
        let folder = if folder == b"/" || folder == b"-a/" {
            b""
        } else {
            folder
        };
        let exists = folder.is_empty() || fake.tree.keys().any(|path| path.starts_with(folder));
        if !exists {
            return self.reply("550 no such folder");
        }
        let mut text = Vec::new();
        for (path, content) in &fake.tree {
            let name = path.strip_prefix(folder).unwrap_or_default();
            let is_folder = name.ends_with(b"/");
            let name = name.strip_suffix(b"/").unwrap_or(name);
            if name.is_empty() || name.contains(&b'/') {
                continue;
            }
            let size = content.len();
            let line = match (facts, is_folder) {
                (true, true) => format!("type=dir;modify={TIME}; "),
                (true, false) => format!("type=file;size={size};modify={TIME}; "),
                (false, true) => format!("drwxr-xr-x 2 u g {size:8} Jan  2  2024 "),
                (false, false) => format!("-rw-r--r-- 1 u g {size:8} Jan  2  2024 "),
            };
            text.extend([line.as_bytes(), name, b"\r\n"].concat());
        }
        let text = fake.listing.clone().unwrap_or(text);
        let Some(mut data) = self.data()? else {
            return Ok(());
        };
        data.write_all(&text)?;
        data.finish();
        self.reply("226 done")
    }

    fn send(&mut self, fake: &Fake, content: &[u8]) -> io::Result<()> {
        let content = &content[std::mem::take(&mut self.offset).min(content.len())..];
        let Some(mut data) = self.data()? else {
            return Ok(());
        };
        if let Some(most) = fake.stall {
            data.write_all(&content[..most])?;
            self.control.read_until(b'\n', &mut Vec::new())?;
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        match fake.cut {
            Some(most) if most < content.len() => {
                data.write_all(&content[..most])?;
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            _ => {
                data.write_all(content)?;
                data.finish();
                self.reply("226 done")
            }
        }
    }

    fn store(&mut self, path: &[u8], append: bool) -> io::Result<()> {
        let offset = std::mem::take(&mut self.offset);
        let Some(mut data) = self.data()? else {
            return Ok(());
        };
        let mut content = Vec::new();
        let mut piece = vec![0; 64 * 1024];
        let end = loop {
            match data.read(&mut piece) {
                Ok(0) => break Ok(()),
                Ok(count) => {
                    content.extend_from_slice(&piece[..count]);
                    self.seen.lock().unwrap().uploaded += count;
                }
                Err(error) => break Err(error.kind()),
            }
        };
        self.seen.lock().unwrap().ends.push(end);
        data.finish();
        let mut fake = self.fake.lock().unwrap();
        let old = fake.tree.entry(path.to_vec()).or_default();
        old.truncate(if append { old.len() } else { offset });
        old.extend(content);
        drop(fake);
        self.reply(if end.is_ok() { "226 stored" } else { "426 cut" })
    }
}

/// A listener on another address of this machine, which no client should connect to.
pub(crate) fn elsewhere() -> (TcpListener, [u8; 6]) {
    let other = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    let listener = TcpListener::bind((other, 0)).unwrap();
    let [high, low] = listener.local_addr().unwrap().port().to_be_bytes();
    (listener, [127, 0, 0, 2, high, low])
}
