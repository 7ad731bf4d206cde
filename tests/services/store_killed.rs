//! A server that is killed many times: after each start, the ledger agrees with the folder.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::http::raw::request;
use crate::http::users::{Guarded, login, password};
use crate::support::ftp::connect;
use crate::support::{TestServer, wait_until};

const KILLS: usize = 40;
const WRITERS: usize = 3;

/// The bytes of all files below a folder, without those in the hidden folder.
fn bytes_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().flatten();
    let bytes = entries.map(|entry| match entry.file_type().unwrap() {
        kind if kind.is_dir() && entry.file_name() == ".socketserver-partial" => 0,
        kind if kind.is_dir() => bytes_below(&entry.path()),
        _ => entry.metadata().unwrap().len(),
    });
    bytes.sum()
}

/// Stores, replaces, moves and removes files until the connection ends.
fn write(mut stream: TcpStream, writer: usize, round: usize, answers: &AtomicUsize) {
    let login = login("ada");
    let mut step = writer * 7 + round * 3;
    loop {
        step += 1;
        let (name, other) = (step % 5, (step + 1) % 5);
        let folder = format!("/{}", step % 2);
        let length = 1 + step * 37 % 5000;
        let (length_field, destination) = (
            format!("Content-Length: {length}"),
            format!("Destination: {folder}/{other}"),
        );
        let target = format!("{folder}/{name}");
        let (head, body) = match step % 7 {
            0 => (request("DELETE", &target, &[&login[0]]), Vec::new()),
            1 | 2 => (
                request("MOVE", &target, &[&login[0], &destination]),
                Vec::new(),
            ),
            _ => (
                request("PUT", &target, &[&login[0], &length_field]),
                vec![b'x'; length],
            ),
        };
        if stream.write_all(&[head, body].concat()).is_err() || !has_answer(&mut stream) {
            return;
        }
        answers.fetch_add(1, Ordering::Relaxed);
    }
}

/// Reads one answer; none of these has a long body.
fn has_answer(stream: &mut TcpStream) -> bool {
    use std::io::Read;
    let mut read = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 => read.extend_from_slice(&buffer[..count]),
            _ => return false,
        }
        let text = String::from_utf8_lossy(&read).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.split("content-length: ").nth(1);
        let length = length.and_then(|rest| rest.split("\r\n").next()?.parse::<usize>().ok());
        if body.len() >= length.unwrap_or(0) {
            return true;
        }
    }
}

#[test]
fn after_each_kill_the_ledger_agrees_with_the_folder() {
    let guarded = Guarded::new("killed", &[("ada", "lrwd", "/")]);
    let site = guarded.dir.join("site");
    for folder in ["0", "1"] {
        fs::create_dir(site.join(folder)).unwrap();
    }
    for round in 0..KILLS {
        let mut server = guarded.start(&["--quota", "100MB"]);
        check(&guarded, &server, round);
        let answers = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (stream, answers) = (server.connect(), &answers);
                scope.spawn(move || write(stream, writer, round, answers));
            }
            // Each kill comes at another point of another request.
            let enough = 3 + round % 11;
            wait_until("some requests are answered", || {
                answers.load(Ordering::Relaxed) >= enough
            });
            server.signal("KILL");
            server.wait();
        });
    }
    let server = guarded.start(&["--quota", "100MB"]);
    check(&guarded, &server, KILLS);
}

/// Stores and replaces small files by FTP until the server is killed.
fn write_by_ftp(address: SocketAddr, writer: usize, round: usize, answers: &AtomicUsize) {
    let Some(mut session) = FtpSession::log_in(address) else {
        return;
    };
    for step in writer * 7 + round * 3.. {
        let path = format!("{}/{}", step % 2, step % 5);
        let content = vec![b'x'; 1 + step * 37 % 5000];
        if session.store(&path, &content).is_none() {
            return;
        }
        answers.fetch_add(1, Ordering::Relaxed);
    }
}

/// A session whose methods return `None` when the server is gone.
struct FtpSession(BufReader<TcpStream>);

impl FtpSession {
    fn log_in(address: SocketAddr) -> Option<FtpSession> {
        let mut session = FtpSession(BufReader::new(connect(address)));
        session.reply()?;
        session.command("USER ada")?;
        session.command(&format!("PASS {}", password("ada")))?;
        session.command("TYPE I")?;
        Some(session)
    }

    fn store(&mut self, path: &str, content: &[u8]) -> Option<String> {
        let listening = self.command("EPSV")?;
        let port = listening.split('|').nth(3)?.parse().ok()?;
        let address = self.0.get_ref().peer_addr().ok()?;
        let data = TcpStream::connect(SocketAddr::new(address.ip(), port));
        self.command(&format!("STOR {path}"))?;
        data.ok()?.write_all(content).ok()?;
        self.reply()
    }

    fn command(&mut self, line: &str) -> Option<String> {
        let line = format!("{line}\r\n");
        self.0.get_mut().write_all(line.as_bytes()).ok()?;
        self.reply()
    }

    fn reply(&mut self) -> Option<String> {
        let mut line = String::new();
        loop {
            line.clear();
            self.0
                .read_line(&mut line)
                .ok()
                .filter(|count| *count > 0)?;
            if line.as_bytes().get(3) == Some(&b' ') {
                return Some(line);
            }
        }
    }
}

#[test]
fn after_each_kill_of_an_ftp_server_the_ledger_agrees_with_the_folder() {
    let guarded = Guarded::new("killed-ftp", &[("ada", "lrwd", "/")]);
    let site = guarded.dir.join("site");
    for folder in ["0", "1"] {
        fs::create_dir(site.join(folder)).unwrap();
    }
    let accounts = guarded.dir.join("accounts.db");
    let line = [
        "ftp",
        site.to_str().unwrap(),
        "--accounts",
        accounts.to_str().unwrap(),
    ];
    for round in 0..KILLS {
        let mut server = TestServer::start(&line);
        check(&guarded, &server, round);
        let answers = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (address, answers) = (server.address(), &answers);
                scope.spawn(move || write_by_ftp(address, writer, round, answers));
            }
            let enough = 3 + round % 11;
            wait_until("some files are stored", || {
                answers.load(Ordering::Relaxed) >= enough
            });
            server.signal("KILL");
            server.wait();
        });
        remove_interrupted(&site);
    }
    check(&guarded, &TestServer::start(&line), KILLS);
}

/// Removes the bytes that a client could resume: only what is stored counts then.
fn remove_interrupted(site: &Path) {
    let staged = fs::read_dir(site.join(".socketserver-partial"));
    for entry in staged.into_iter().flatten().flatten() {
        let path = entry.path();
        let extension = path.extension();
        if extension.is_some_and(|extension| extension != "note" && extension != "tmp") {
            fs::remove_file(&path).unwrap();
        }
    }
}

fn check(guarded: &Guarded, _running: &TestServer, round: usize) {
    let site = guarded.dir.join("site");
    let used = guarded.store.account("ada").unwrap().unwrap().used;
    assert_eq!(used, bytes_below(&site), "after {round} kills");
    let staged = fs::read_dir(site.join(".socketserver-partial"));
    let staged = staged.map_or(0, |entries| entries.count());
    assert_eq!(staged, 0, "no files of interrupted uploads are left");
}
