//! `upload`, spoken byte by byte, and by Python.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use serde_json::{Value, json};
use socketserver_handlers::common::digest::{Digests, Hasher, to_hex};
use socketserver_handlers::common::framing;

use crate::support::{TestDir, TestServer, python, run, wait_until};

pub(crate) const MIB: usize = 1 << 20;

/// Bytes that can't be taken for other ones, and always the same.
pub(crate) fn content(length: usize) -> Vec<u8> {
    let mut state = length as u32 | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_be_bytes()[0]
    };
    let mut content: Vec<u8> = std::iter::repeat_with(&mut next)
        .take(length.min(MIB - 1))
        .collect();
    while content.len() < length {
        content.extend_from_within(..content.len().min(length - content.len()));
    }
    content
}

pub(crate) fn md5(content: &[u8]) -> String {
    let mut hasher = Hasher::of(&Digests {
        md5: Some([0; 16]),
        ..Digests::default()
    });
    hasher.update(content);
    to_hex(&hasher.finish().md5.unwrap())
}

/// The header of a file, digest included.
pub(crate) fn header(name: &str, content: &[u8]) -> Value {
    json!({"file_name": name, "file_size": content.len(), "md5": md5(content)})
}

pub(crate) fn frame(header: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    framing::write(&mut bytes, header.to_string().as_bytes()).unwrap();
    bytes
}

pub(crate) fn resuming(mut header: Value) -> Value {
    header["resume"] = true.into();
    header
}

/// The server's next answer.
pub(crate) fn answer(mut connection: &TcpStream) -> Value {
    serde_json::from_slice(&framing::read(&mut connection, 1 << 16).unwrap()).unwrap()
}

/// `ok`, `continue`, or the code of an error.
pub(crate) fn word(answer: &Value) -> &str {
    answer["code"]
        .as_str()
        .or(answer["status"].as_str())
        .unwrap()
}

/// Sends a whole upload on a connection of its own.
pub(crate) fn send(server: &TestServer, header: &Value, body: &[u8]) -> Value {
    send_on(server.connect(), header, body)
}

fn send_on(mut connection: TcpStream, header: &Value, body: &[u8]) -> Value {
    connection.write_all(&frame(header)).unwrap();
    // The server may refuse it before all is sent.
    let _ = connection.write_all(body);
    answer(&connection)
}

/// The names in a folder that aren't hidden.
pub(crate) fn names_in(dir: &TestDir) -> Vec<String> {
    let entries = fs::read_dir(dir.as_str())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.filter(|name| !name.starts_with('.')).collect();
    names.sort();
    names
}

/// A connection that asks to resume `header`'s file, and the server's answer. As long as the server
/// has not noticed that an earlier connection is cut, it answers `busy`, so this asks again.
pub(crate) fn resume_when_free(server: &TestServer, header: &Value) -> (TcpStream, Value) {
    let request = frame(&resuming(header.clone()));
    let mut free = None;
    wait_until("the earlier connection is gone", || {
        let mut connection = server.connect();
        connection.write_all(&request).unwrap();
        let found = answer(&connection);
        let busy = word(&found) == "busy";
        free = Some((connection, found));
        !busy
    });
    free.unwrap()
}

/// The bytes of all uploads that aren't complete.
pub(crate) fn partial_bytes(dir: &TestDir) -> u64 {
    let Ok(entries) = fs::read_dir(dir.join(".socketserver-partial")) else {
        return 0;
    };
    let parts = entries.flatten().filter(|entry| {
        entry
            .path()
            .extension()
            .is_some_and(|extension| extension == "part")
    });
    parts
        .filter_map(|entry| entry.metadata().ok())
        .map(|metadata| metadata.len())
        .sum()
}

#[test]
fn files_of_all_sizes_come_whole_over_one_connection() {
    let dir = TestDir::new("upload-sizes");
    let server = TestServer::start(&["upload", dir.join("made/deep").to_str().unwrap()]);
    let mut connection = server.connect();
    for size in [0, 1, 4095, 65_536, 262_144, 262_145, 3 * MIB + 1] {
        let (name, body) = (format!("{size}.bin"), content(size));
        connection.write_all(&frame(&header(&name, &body))).unwrap();
        connection.write_all(&body).unwrap();
        let expected =
            json!({"status": "ok", "file_name": name, "file_size": size, "md5": md5(&body)});
        assert_eq!(answer(&connection), expected);
        assert!(fs::read(dir.join("made/deep").join(name)).unwrap() == body);
    }
    connection.shutdown(Shutdown::Write).unwrap();
    assert_eq!(connection.read(&mut [0]).unwrap(), 0);
}

#[test]
fn what_is_glued_together_or_cut_apart_is_the_same() {
    let conversation = [
        [frame(&header("a", b"hello")), b"hello".to_vec()].concat(),
        [frame(&header("a", b"other")), b"other".to_vec()].concat(),
        [frame(&header("b", b"")), Vec::new()].concat(),
        [frame(&header("c", b"right")), b"wrong".to_vec()].concat(),
    ]
    .concat();
    for cut in (0..conversation.len()).step_by(7) {
        let dir = TestDir::new("upload-cut");
        let server = TestServer::start(&["upload", dir.as_str(), "--no-fsync"]);
        let mut connection = server.connect();
        connection.write_all(&conversation[..cut]).unwrap();
        thread::yield_now();
        connection.write_all(&conversation[cut..]).unwrap();
        let answers: Vec<Value> = (0..4).map(|_| answer(&connection)).collect();
        let words: Vec<&str> = answers.iter().map(word).collect();
        assert_eq!(
            words,
            ["ok", "exists", "ok", "checksum_mismatch"],
            "cut at {cut}"
        );
        assert_eq!(names_in(&dir), ["a", "b"], "cut at {cut}");
        assert_eq!(fs::read(dir.join("a")).unwrap(), b"hello");
    }
}

#[test]
fn a_client_that_reads_no_answer_gets_its_file_stored() {
    let dir = TestDir::new("upload-deaf");
    let server = TestServer::start(&["upload", dir.as_str()]);
    let body = content(2 * MIB);
    let mut connection = server.connect();
    connection.write_all(&frame(&header("a", &body))).unwrap();
    connection.write_all(&body).unwrap();
    drop(connection);
    server.wait_for_log("stored \"a\"");
    assert!(fs::read(dir.join("a")).unwrap() == body);
}

#[test]
fn a_taken_name_is_refused_overwritten_or_numbered() {
    for (policy, word_of_second, names) in [
        ("error", "exists", &["a.txt"][..]),
        ("overwrite", "ok", &["a.txt"]),
        ("rename", "ok", &["a (1).txt", "a.txt"]),
    ] {
        let dir = TestDir::new("upload-policy");
        let server = TestServer::start(&["upload", dir.as_str(), "--on-duplicate", policy]);
        assert_eq!(
            word(&send(&server, &header("a.txt", b"first"), b"first")),
            "ok"
        );
        let second = send(&server, &header("a.txt", b"second"), b"second");
        assert_eq!(word(&second), word_of_second, "{policy}");
        assert_eq!(names_in(&dir), names, "{policy}");
        let expected: &[u8] = if policy == "overwrite" {
            b"second"
        } else {
            b"first"
        };
        assert_eq!(fs::read(dir.join("a.txt")).unwrap(), expected, "{policy}");
        if policy == "rename" {
            assert_eq!(second["file_name"], "a (1).txt");
        }
    }
    let (code, _, line) = run(&["serve", "upload", "--on-duplicate", "maybe"]);
    assert!(code == Some(2) && line.contains("--on-duplicate"), "{line}");
}

#[test]
fn names_lead_nowhere_but_down() {
    let dir = TestDir::new("upload-names");
    let inside = dir.join("in");
    let server = TestServer::start(&["upload", inside.to_str().unwrap()]);
    let long = "x".repeat(256);
    for name in [
        "",
        ".",
        "..",
        "a/",
        "a/..",
        "/",
        "a\0b",
        ".socketserver-partial",
        "x/.Socketserver-Partial",
        &long,
    ] {
        assert_eq!(
            word(&send(&server, &header(name, b"x"), b"x")),
            "forbidden_name",
            "{name:?}"
        );
    }
    for (name, stored) in [
        ("../../a", "a"),
        ("/etc/b", "b"),
        ("d/e/c", "c"),
        (&long[1..], &long[1..]),
        ("\n\u{e9}", "\n\u{e9}"),
    ] {
        let answer = send(&server, &header(name, b"x"), b"x");
        assert_eq!(answer["file_name"], stored, "{answer}");
        assert!(inside.join(stored).is_file(), "{name:?}");
    }
    assert_eq!(names_in(&dir), ["in"]);

    let server = TestServer::start(&["upload", inside.to_str().unwrap(), "--keep-paths"]);
    std::os::unix::fs::symlink(dir.as_str(), inside.join("out")).unwrap();
    for (name, expected) in [
        ("k/l/m", "ok"),
        ("k/../n", "forbidden_name"),
        ("../n", "forbidden_name"),
        ("/k/n", "ok"),
        ("a/n", "forbidden_name"),
    ] {
        assert_eq!(
            word(&send(&server, &header(name, b"x"), b"x")),
            expected,
            "{name}"
        );
    }
    assert_ne!(word(&send(&server, &header("out/n", b"x"), b"x")), "ok");
    assert!(inside.join("k/l/m").is_file() && inside.join("n").is_file());
    assert_eq!(names_in(&dir), ["in"]);
}

#[test]
fn limits_are_told_before_the_body() {
    let dir = TestDir::new("upload-limits");
    let server = TestServer::start(&[
        "upload",
        dir.as_str(),
        "--max-size",
        "1KiB",
        "--quota",
        "1500",
    ]);
    let mut connection = server.connect();
    for (size, expected) in [
        (1025, "too_large"),
        (1024, "ok"),
        (477, "no_space"),
        (476, "ok"),
        (100_000_000, "too_large"),
    ] {
        let header = json!({"file_name": size.to_string(), "file_size": size});
        connection.write_all(&frame(&header)).unwrap();
        let refused = expected != "ok";
        let early = refused.then(|| answer(&connection));
        // What is too much to be dropped, nobody would read.
        let _ = connection.write_all(&content(size.min(MIB)));
        assert_eq!(
            word(&early.unwrap_or_else(|| answer(&connection))),
            expected,
            "{size}"
        );
    }
    assert_eq!(names_in(&dir), ["1024", "476"]);
    assert!(matches!(connection.read(&mut [0]), Ok(0) | Err(_)));
}

#[test]
fn two_writers_of_one_name_are_never_mixed() {
    let dir = TestDir::new("upload-two");
    let server = TestServer::start(&["upload", dir.as_str(), "--on-duplicate", "overwrite"]);
    let bodies: Vec<Vec<u8>> = (0..4u8).map(|writer| vec![writer; 2 * MIB]).collect();
    thread::scope(|scope| {
        let writers: Vec<_> = bodies
            .iter()
            .map(|body| {
                let (connection, header) = (
                    server.connect(),
                    json!({"file_name": "same", "file_size": body.len()}),
                );
                scope.spawn(move || send_on(connection, &header, body))
            })
            .collect();
        let answers: Vec<Value> = writers
            .into_iter()
            .map(|writer| writer.join().unwrap())
            .collect();
        assert!(
            answers.iter().any(|answer| word(answer) == "ok"),
            "{answers:?}"
        );
        assert!(
            answers
                .iter()
                .all(|answer| matches!(word(answer), "ok" | "busy")),
            "{answers:?}"
        );
    });
    let stored = fs::read(dir.join("same")).unwrap();
    assert!(bodies.contains(&stored));
    assert_eq!(names_in(&dir), ["same"]);
}

#[test]
fn an_upload_is_resumed_and_a_whole_one_needs_nothing() {
    let dir = TestDir::new("upload-resume");
    let server = TestServer::start(&["upload", dir.as_str()]);
    let body = content(MIB);
    let mut cut = server.connect();
    cut.write_all(&frame(&header("a", &body))).unwrap();
    cut.write_all(&body[..400_000]).unwrap();
    // Until the server has read this much, the second connection would find nothing to resume.
    wait_until("the first part is there", || partial_bytes(&dir) == 400_000);
    drop(cut);
    let (mut connection, found) = resume_when_free(&server, &header("a", &body));
    assert_eq!(found, json!({"status": "continue", "offset": 400_000}));
    connection.write_all(&body[400_000..]).unwrap();
    assert_eq!(word(&answer(&connection)), "ok");
    assert!(fs::read(dir.join("a")).unwrap() == body);
    connection
        .write_all(&frame(&resuming(header("a", &body))))
        .unwrap();
    assert_eq!(
        answer(&connection),
        json!({"status": "continue", "offset": MIB})
    );
    assert_eq!(word(&answer(&connection)), "ok");
    connection
        .write_all(&frame(&resuming(header("a", b"another"))))
        .unwrap();
    assert_eq!(word(&answer(&connection)), "exists");
    assert_eq!(partial_bytes(&dir), 0);
}

#[test]
fn python_sends_files_as_the_tutorials_do() {
    const SCRIPT: &str = "
import hashlib, json, os, socket, struct, sys
def answer(connection):
    size = struct.unpack('<i', connection.recv(4, socket.MSG_WAITALL))[0]
    return json.loads(connection.recv(size, socket.MSG_WAITALL))
data = os.urandom(300000)
with socket.create_connection(('127.0.0.1', int(sys.argv[1])), 20) as connection:
    for name in 'one.bin', 'caf\\u00e9 \\U0001f600.bin':
        digests = {'md5': hashlib.md5(data).hexdigest(),
                   'sha256': hashlib.sha256(data).hexdigest()}
        header = json.dumps({'file_size': len(data), 'file_name': 'C/' + name,
                             'mtime': 1600000000.25, **digests}).encode()
        connection.sendall(struct.pack('<i', len(header)))
        connection.sendall(header)
        connection.sendall(data)
        said = answer(connection)
        assert said == {'status': 'ok', 'file_name': name, 'file_size': len(data),
                        **digests}, said
        path = os.path.join(sys.argv[2], name)
        assert open(path, 'rb').read() == data
        assert os.stat(path).st_mtime == 1600000000.25, os.stat(path)
print('done')
";
    let dir = TestDir::new("upload-python");
    let server = TestServer::start(&["upload", dir.as_str()]);
    let port = server.address().port().to_string();
    if let Some(output) = python("python_sends_files", SCRIPT, &[&port, dir.as_str()]) {
        assert_eq!(output, "done\n");
    }
}
