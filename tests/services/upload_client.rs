//! `client upload`, against our server, against Python, and through a connection that breaks.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use crate::support::{
    BoundedCommand, PATIENCE, PythonServer, TestDir, TestServer, has_tool, run, wait_until,
};
use crate::upload::{MIB, content, names_in, partial_bytes};

fn upload(address: SocketAddr, arguments: &[&str]) -> (Option<i32>, String, String) {
    run(&[&["client", "upload", &address.to_string()], arguments].concat())
}

#[test]
fn files_and_folders_arrive_by_one_job_or_several() {
    let from = TestDir::new("upload-from");
    for (name, size) in [
        ("tree/a", 10),
        ("tree/b/c.bin", 300_000),
        ("tree/b/empty", 0),
        ("tree/d/e/f", MIB + 1),
    ] {
        from.write(name, content(size));
    }
    from.write("alone", "alone");
    from.write("outside", "secret");
    std::os::unix::fs::symlink("a", from.join("tree/link")).unwrap();
    for (jobs, digest) in [
        ("1", &["--md5", "--sha256"][..]),
        ("4", &["--no-digest"]),
        ("2", &[]),
    ] {
        let to = TestDir::new("upload-to");
        let server = TestServer::start(&["upload", to.as_str(), "--keep-paths", "--no-fsync"]);
        let (tree, alone) = (from.join("tree"), from.join("alone"));
        let paths = [
            tree.to_str().unwrap(),
            alone.to_str().unwrap(),
            "--jobs",
            jobs,
        ];
        let (code, stdout, stderr) = upload(server.address(), &[&paths, digest].concat());
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
        assert_eq!(
            stdout,
            format!(
                "stored 6 files, {} bytes\n",
                10 + 300_000 + MIB + 1 + 10 + 5
            )
        );
        for name in [
            "tree/a",
            "tree/b/c.bin",
            "tree/b/empty",
            "tree/d/e/f",
            "tree/link",
            "alone",
        ] {
            assert!(
                fs::read(to.join(name)).unwrap() == fs::read(from.join(name)).unwrap(),
                "{name}"
            );
            let time = |dir: &TestDir| fs::metadata(dir.join(name)).unwrap().modified().unwrap();
            let apart = time(&from)
                .duration_since(time(&to))
                .unwrap_or_else(|early| early.duration());
            assert!(apart.as_micros() < 10, "{name}: {apart:?}");
        }
    }
}

#[test]
fn what_fails_is_named_and_the_rest_arrives() {
    let from = TestDir::new("upload-some-from");
    from.write("tree/good", "good");
    from.write("tree/taken", "new");
    from.write("outside", "secret");
    std::os::unix::fs::symlink("../outside", from.join("tree/leads-out")).unwrap();
    std::os::unix::fs::symlink("nowhere", from.join("tree/broken")).unwrap();
    std::os::unix::fs::symlink(".", from.join("tree/folder")).unwrap();
    let to = TestDir::new("upload-some-to");
    to.write("taken", "old");
    let server = TestServer::start(&["upload", to.as_str()]);
    let (code, stdout, stderr) = upload(server.address(), &[from.join("tree").to_str().unwrap()]);
    assert_eq!(
        (code, stdout.as_str()),
        (Some(1), "stored 1 file, 4 bytes\n"),
        "{stderr}"
    );
    for (name, why) in [
        ("taken", "(exists)"),
        ("leads-out", "leads out"),
        ("broken", "No such file"),
        ("folder", "passed over"),
    ] {
        assert!(
            stderr.lines().any(|line| line.starts_with("socketserver: ")
                && line.contains(name)
                && line.contains(why)),
            "{name}: {stderr}"
        );
    }
    assert_eq!(stderr.lines().count(), 4, "{stderr}");
    assert_eq!(names_in(&to), ["good", "taken"]);
    assert_eq!(fs::read(to.join("taken")).unwrap(), b"old");
}

#[test]
fn a_new_name_is_told() {
    let from = TestDir::new("upload-renamed-from");
    from.write("a.txt", "a");
    let to = TestDir::new("upload-renamed-to");
    let server = TestServer::start(&["upload", to.as_str(), "--on-duplicate", "rename"]);
    let path = from.join("a.txt");
    let path = path.to_str().unwrap();
    assert_eq!(
        upload(server.address(), &[path]).1,
        "stored 1 file, 1 bytes\n"
    );
    let second = upload(server.address(), &[path]).1;
    assert_eq!(
        second,
        format!("{path} is stored as a (1).txt\nstored 1 file, 1 bytes\n")
    );
}

#[test]
fn nothing_to_send_and_nobody_to_send_to_are_errors() {
    let dir = TestDir::new("upload-nothing");
    dir.write("a", "a");
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let (code, _, stderr) = upload(free, &[dir.join("missing").to_str().unwrap()]);
    assert!(
        code == Some(2) && stderr.contains("missing"),
        "{code:?} {stderr}"
    );
    let (code, _, stderr) = upload(free, &[dir.join("a").to_str().unwrap(), "--jobs", "3"]);
    assert!(
        code == Some(1) && stderr.contains("can't connect"),
        "{code:?} {stderr}"
    );
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

#[test]
fn a_large_file_that_is_refused_ends_with_the_reason_and_the_next_one_arrives() {
    let from = TestDir::new("upload-refused-from");
    from.write("a-large", vec![0; 80 * MIB]);
    from.write("b-small", "small");
    let to = TestDir::new("upload-refused-to");
    let server = TestServer::start(&["upload", to.as_str(), "--max-size", "1MiB"]);
    let (large, small) = (from.join("a-large"), from.join("b-small"));
    let (code, stdout, stderr) = upload(
        server.address(),
        &[
            "--no-digest",
            large.to_str().unwrap(),
            small.to_str().unwrap(),
        ],
    );
    assert_eq!(code, Some(1));
    assert!(
        stderr.contains("a-large") && stderr.contains("too_large") && stderr.lines().count() == 1,
        "{stderr}"
    );
    assert_eq!(stdout, "stored 1 file, 5 bytes\n");
    assert_eq!(names_in(&to), ["b-small"]);
}

/// Stands between a client and a server, lets `most` bytes of the client's through, and counts
/// them.
struct Narrow {
    address: SocketAddr,
    passed: Arc<AtomicU64>,
    /// Dropped, it ends the connection that it holds.
    hold: mpsc::Sender<()>,
}

impl Narrow {
    fn new(server: SocketAddr, most: u64) -> Narrow {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (hold, held) = mpsc::channel::<()>();
        let passed = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&passed);
        thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let mut onward = TcpStream::connect_timeout(&server, PATIENCE).unwrap();
            let (mut back, mut to_client) =
                (onward.try_clone().unwrap(), client.try_clone().unwrap());
            let answers = thread::spawn(move || {
                let _ = std::io::copy(&mut back, &mut to_client);
                let _ = to_client.shutdown(Shutdown::Both);
            });
            let mut piece = vec![0; 10_000];
            while let Ok(bytes) = client.read(&mut piece) {
                let left = most - count.load(Ordering::SeqCst);
                let bytes = bytes.min(usize::try_from(left).unwrap());
                if bytes == 0 || onward.write_all(&piece[..bytes]).is_err() {
                    break;
                }
                count.fetch_add(bytes as u64, Ordering::SeqCst);
            }
            let _ = held.recv();
            let _ = onward.shutdown(Shutdown::Both);
            let _ = answers.join();
        });
        Narrow {
            address,
            passed,
            hold,
        }
    }
}

#[test]
fn a_killed_client_goes_on_where_it_was() {
    let from = TestDir::new("upload-kill-from");
    let body = content(8 * MIB);
    from.write("file", &body);
    let path = from.join("file");
    let to = TestDir::new("upload-kill-to");
    let server = TestServer::start(&["upload", to.as_str()]);
    let narrow = Narrow::new(server.address(), 5 * MIB as u64);
    let mut client = Command::new(env!("CARGO_BIN_EXE_socketserver"));
    client.args([
        "client",
        "upload",
        "--resume",
        &narrow.address.to_string(),
        path.to_str().unwrap(),
    ]);
    let mut client = client
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .start();
    wait_until("most of it is there", || {
        partial_bytes(&to) > 4 * MIB as u64
    });
    client.kill();
    drop(narrow.hold);
    assert_eq!(names_in(&to), [""; 0]);

    let rest = Narrow::new(server.address(), u64::MAX);
    let (code, stdout, stderr) = upload(rest.address, &["--resume", path.to_str().unwrap()]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    assert!(rest.passed.load(Ordering::SeqCst) < 4 * MIB as u64);
    assert!(fs::read(to.join("file")).unwrap() == body);
    let again = Narrow::new(server.address(), u64::MAX);
    assert_eq!(
        upload(again.address, &["--resume", path.to_str().unwrap()]).0,
        Some(0)
    );
    assert!(again.passed.load(Ordering::SeqCst) < 1000);
    assert_eq!(names_in(&to), ["file"]);
}

/// Python's socketserver, for one client, in one of several tempers; prints its port first.
const PYTHON_SERVER: &str = "
import hashlib, json, os, socketserver, struct, sys
class Handler(socketserver.StreamRequestHandler):
    def say(self, **answer):
        data = json.dumps(answer).encode()
        self.wfile.write(struct.pack('<i', len(data)) + data)
    def handle(self):
        while prefix := self.rfile.read(4):
            header = json.loads(self.rfile.read(struct.unpack('<i', prefix)[0]))
            offset = 0
            if header.get('resume'):
                offset = 100
                self.say(status='continue', offset=offset)
            body = b'\\0' * offset + self.rfile.read(header['file_size'] - offset)
            open(os.path.join(sys.argv[1], os.path.basename(header['file_name'])), 'wb').write(body)
            if sys.argv[2] == 'nonsense':
                self.wfile.write(b'HTTP/1.1 200 OK\\r\\n\\r\\n')
            elif sys.argv[2] == 'silent':
                return
            elif offset == 0 and hashlib.sha256(body).hexdigest() != header['sha256']:
                self.say(status='error', code='checksum_mismatch', message='\\x1b[2Jdifferent')
            else:
                self.say(status='ok', file_name=header['file_name'], file_size=len(body))
with socketserver.TCPServer(('127.0.0.1', 0), Handler) as server:
    server.timeout = 20
    print(server.server_address[1], flush=True)
    server.handle_request()
";

#[test]
fn pythons_socketserver_understands_the_client() {
    if !has_tool("python3", "pythons_socketserver_understands_the_client") {
        return;
    }
    let from = TestDir::new("upload-python-from");
    from.write("a b\u{e9}", content(300_001));
    from.write("small", content(200));
    let paths = [from.join("a b\u{e9}"), from.join("small")];
    for (temper, options, code, says) in [
        ("plain", &[][..], 0, ""),
        ("plain", &["--resume"], 0, ""),
        ("nonsense", &[], 1, "answer"),
        ("silent", &[], 1, "without an answer"),
    ] {
        let to = TestDir::new("upload-python-to");
        let python = PythonServer::start(PYTHON_SERVER, &[to.as_str(), temper]);
        let paths: Vec<&str> = paths.iter().map(|path| path.to_str().unwrap()).collect();
        let (ended, stdout, stderr) = upload(python.address, &[options, &paths].concat());
        assert_eq!(ended, Some(code), "{temper}: {stdout}{stderr}");
        assert!(stderr.contains(says), "{temper}: {stderr}");
        if code == 0 {
            let skipped = if options.is_empty() { 0 } else { 100 };
            let mut expected = content(300_001);
            expected[..skipped].fill(0);
            assert!(
                fs::read(to.join("a b\u{e9}")).unwrap() == expected,
                "{temper} {options:?}"
            );
        }
    }
}
