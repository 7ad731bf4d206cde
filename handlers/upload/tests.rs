//! Tests of complete connections in memory, with the bytes split at any position.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use socketserver::testing::TestConnection;
use socketserver::{Builder, StreamRequest, StreamRequestHandler};

use super::*;
use crate::common::framing::{self, Status};

/// A service with its own folder, which is removed when this value is dropped.
struct Service {
    folder: PathBuf,
    settings: Arc<Settings>,
}

impl Service {
    fn new() -> Service {
        Service::with(|_, _| {})
    }

    fn with(change: impl FnOnce(&mut StoreOptions, &mut Settings)) -> Service {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "socketserver-upload-{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        let open = |options| Store::open(&folder, options).unwrap();
        let mut options = StoreOptions {
            sync: false,
            ..StoreOptions::default()
        };
        let mut settings = Settings {
            store: open(options.clone()),
            on_duplicate: OnDuplicate::Error,
            keep_paths: false,
        };
        change(&mut options, &mut settings);
        settings.store = open(options);
        Service {
            folder,
            settings: Arc::new(settings),
        }
    }

    fn connect(&self) -> TestConnection {
        let settings = Arc::clone(&self.settings);
        TestConnection::new(Builder::new(), move |_| {
            UploadHandler::new(Arc::clone(&settings))
        })
    }

    fn read(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.folder.join(name)).ok()
    }

    /// The names of the published files.
    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = entries.filter(|name| !name.starts_with('.')).collect();
        names.sort();
        names
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    framing::write(&mut bytes, payload).unwrap();
    bytes
}

fn upload(header: Value, body: &[u8]) -> Vec<u8> {
    [frame(header.to_string().as_bytes()), body.to_vec()].concat()
}

fn answers(mut bytes: &[u8]) -> Vec<Value> {
    let mut answers = Vec::new();
    while let Ok(Status::Complete { payload, consumed }) = framing::parse(bytes, 1 << 16) {
        answers.push(serde_json::from_slice(payload).unwrap());
        bytes = &bytes[consumed..];
    }
    assert!(bytes.is_empty(), "half an answer: {}", bytes.escape_ascii());
    answers
}

/// For each answer: `ok`, `continue` with its offset, or the code of the error.
fn words(connection: &mut TestConnection) -> Vec<String> {
    let word = |answer: &Value| match answer["status"].as_str().unwrap() {
        "error" => answer["code"].as_str().unwrap().to_owned(),
        "continue" => format!("continue {}", answer["offset"]),
        other => other.to_owned(),
    };
    answers(&connection.received()).iter().map(word).collect()
}

#[test]
fn a_file_is_stored_and_its_digests_told() {
    let service = Service::new();
    let mut connection = service.connect();
    let header = json!({
        "file_size": 3,
        "file_name": "a.txt",
        "md5": "900150983CD24FB0D6963F7D28E17F72",
        "mtime": 1.5,
    });
    connection.send(&upload(header, b"abc"));
    let answer = json!({
        "status": "ok",
        "file_name": "a.txt",
        "file_size": 3,
        "md5": "900150983cd24fb0d6963f7d28e17f72",
    });
    assert_eq!(answers(&connection.received()), [answer]);
    assert_eq!(service.read("a.txt").unwrap(), b"abc");
    assert!(!connection.is_closed());
}

#[test]
fn uploads_follow_one_another_however_they_are_cut() {
    let conversation = [
        upload(json!({"file_size": 5, "file_name": "a"}), b"hello"),
        upload(json!({"file_size": 0, "file_name": "empty"}), b""),
        upload(
            json!({"file_size": 4, "file_name": "a"}),
            b"\xff\xff\xff\xff",
        ),
        upload(json!({"file_size": 2, "file_name": "..", "x": 1}), b"\0\0"),
        upload(
            json!({"file_size": 3, "file_name": "w", "md5": "0".repeat(32)}),
            b"abc",
        ),
        upload(json!({"file_size": 3, "file_name": "/d/z"}), b"abc"),
    ]
    .concat();
    let check = |service: &Service, mut connection: TestConnection, how: &str| {
        assert_eq!(
            words(&mut connection),
            [
                "ok",
                "ok",
                "exists",
                "forbidden_name",
                "checksum_mismatch",
                "ok"
            ],
            "{how}"
        );
        assert_eq!(service.files(), ["a", "empty", "z"], "{how}");
        assert_eq!(service.read("a").unwrap(), b"hello", "{how}");
        assert!(connection.finish().is_closed(), "{how}");
    };
    for cut in 0..conversation.len() {
        let service = Service::new();
        let mut connection = service.connect();
        connection
            .send(&conversation[..cut])
            .send(&conversation[cut..]);
        check(&service, connection, &format!("cut at {cut}"));
    }
    let service = Service::new();
    let mut connection = service.connect();
    connection.send_bytewise(&conversation);
    check(&service, connection, "byte by byte");
}

#[test]
fn what_is_no_header_is_refused_and_ends_the_connection() {
    for (bytes, why) in [
        (i32::to_le_bytes(-1).to_vec(), "negative"),
        (i32::MIN.to_le_bytes().to_vec(), "negative"),
        (65_537i32.to_le_bytes().to_vec(), "more than 65536"),
        (frame(b""), "JSON"),
        (frame(b"not JSON"), "JSON"),
        (frame(b"[1]"), "object"),
        (frame(br#"{"file_size": 1}"#), "file_name"),
        (
            frame(br#"{"file_size": 1, "file_name": "a", "file_name": "b"}"#),
            "twice",
        ),
    ] {
        let service = Service::new();
        let mut connection = service.connect();
        connection.send(&bytes).send(b"what follows doesn't matter");
        let answers = answers(&connection.received());
        assert_eq!(answers.len(), 1, "{why}");
        assert_eq!(answers[0]["code"], "bad_header", "{why}");
        assert!(
            answers[0]["message"].as_str().unwrap().contains(why),
            "{why}: {}",
            answers[0]
        );
        assert!(connection.is_closed(), "{why}");
        assert!(service.files().is_empty(), "{why}");
    }
}

#[test]
fn the_longest_header_is_taken() {
    let service = Service::new();
    let mut connection = service.connect();
    let mut header = json!({"file_size": 1, "file_name": "a"}).to_string();
    header.push_str(&" ".repeat(65_536 - header.len()));
    connection.send(&frame(header.as_bytes())).send(b"x");
    assert_eq!(words(&mut connection), ["ok"]);
}

#[test]
fn an_end_within_a_message_is_told() {
    let whole = upload(json!({"file_size": 5, "file_name": "a"}), b"hello");
    for (end, word) in [
        (2, "bad_header"),
        (10, "bad_header"),
        (whole.len() - 5, "truncated"),
        (whole.len() - 1, "truncated"),
    ] {
        let service = Service::new();
        let mut connection = service.connect();
        connection.send(&whole[..end]).finish();
        assert_eq!(words(&mut connection), [word], "{end}");
        assert!(
            connection.is_closed() && service.files().is_empty(),
            "{end}"
        );
    }
}

#[test]
fn a_refused_file_is_dropped_up_to_a_limit() {
    let service = Service::with(|options, _| options.max_size = Some(10));
    let mut connection = service.connect();
    connection.send(&upload(
        json!({"file_size": 1_000_000, "file_name": "a"}),
        b"",
    ));
    assert_eq!(words(&mut connection), ["too_large"]);
    for _ in 0..10 {
        connection.send(&vec![0xff; 100_000]);
    }
    connection.send(&upload(
        json!({"file_size": 10, "file_name": "b"}),
        b"0123456789",
    ));
    assert_eq!(words(&mut connection), ["ok"]);
    connection.send(&upload(
        json!({"file_size": (64 << 20) + 1, "file_name": "c"}),
        b"",
    ));
    assert_eq!(words(&mut connection), ["too_large"]);
    assert!(connection.is_closed());
    assert_eq!(service.files(), ["b"]);
}

#[test]
fn an_upload_goes_on_where_another_connection_was_cut() {
    let service = Service::new();
    let sha256 = "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882";
    let header = json!({"file_size": 10, "file_name": "a", "sha256": sha256});
    let mut resume = header.clone();
    resume["resume"] = true.into();
    let mut connection = service.connect();
    connection.send(&upload(header, b"0123"));
    drop(connection);
    let mut connection = service.connect();
    connection.send(&upload(resume.clone(), b""));
    assert_eq!(words(&mut connection), ["continue 4"]);
    connection.send(b"456789");
    assert_eq!(words(&mut connection), ["ok"]);
    assert_eq!(service.read("a").unwrap(), b"0123456789");
    connection.send(&upload(resume.clone(), b""));
    assert_eq!(words(&mut connection), ["continue 10", "ok"]);
    resume["file_size"] = 9.into();
    connection.send(&upload(resume.clone(), b""));
    connection.send(&upload(json!({"file_size": 1, "file_name": "b"}), b"b"));
    assert_eq!(words(&mut connection), ["exists", "ok"]);
}

#[test]
fn nobody_goes_on_with_the_upload_of_somebody_else() {
    let service = Service::new();
    let connect_as = |who: &'static str| {
        let settings = Arc::clone(&service.settings);
        TestConnection::new(Builder::new(), move |_| {
            let mut handler = UploadHandler::new(Arc::clone(&settings));
            move |request: &mut StreamRequest| {
                request.identity = Some(who.into());
                handler.handle(request)
            }
        })
    };
    let header = json!({"file_size": 4, "file_name": "a", "resume": true});
    connect_as("ada")
        .send(&upload(header.clone(), b""))
        .send(b"01");
    for (who, offset) in [("bob", "continue 0"), ("ada", "continue 2")] {
        let mut connection = connect_as(who);
        connection.send(&upload(header.clone(), b""));
        assert_eq!(words(&mut connection), [offset], "{who}");
    }
}

#[test]
fn whoever_resumes_waits_a_moment_for_the_one_who_was_cut() {
    let service = Service::new();
    let (first, resume) = (
        json!({"file_size": 4, "file_name": "a"}),
        json!({"file_size": 4, "file_name": "a", "resume": true}),
    );
    let mut cut = service.connect();
    cut.send(&upload(first.clone(), b"01"));
    let mut second = service.connect();
    second.send(&upload(first, b"0123"));
    assert_eq!(words(&mut second), ["busy"]);
    second
        .send(&upload(resume.clone(), b""))
        .advance(Duration::from_millis(900));
    assert_eq!(words(&mut second), [""; 0]);
    second.advance(Duration::from_millis(200));
    assert_eq!(words(&mut second), ["busy"]);
    second
        .send(&upload(resume, b""))
        .advance(Duration::from_millis(100));
    drop(cut);
    second.advance(Duration::from_millis(100));
    assert_eq!(words(&mut second), ["continue 2"]);
    second.send(b"23");
    assert_eq!(words(&mut second), ["ok"]);
    assert_eq!(service.read("a").unwrap(), b"0123");
}

#[test]
fn names_are_numbered_overwritten_or_kept_with_their_folders_as_asked() {
    let service = Service::with(|_, settings| settings.on_duplicate = OnDuplicate::Rename);
    let mut connection = service.connect();
    for _ in 0..3 {
        connection.send(&upload(
            json!({"file_size": 1, "file_name": "d/a.txt"}),
            b"x",
        ));
    }
    let names: Vec<Value> = answers(&connection.received())
        .iter()
        .map(|answer| answer["file_name"].clone())
        .collect();
    assert_eq!(names, ["a.txt", "a (1).txt", "a (2).txt"]);

    let service = Service::with(|_, settings| {
        (settings.on_duplicate, settings.keep_paths) = (OnDuplicate::Overwrite, true)
    });
    let mut connection = service.connect();
    for (name, body) in [
        ("d/e/a", b"1"),
        ("d/e/a", b"2"),
        ("d/../a", b"3"),
        ("/d/b", b"4"),
    ] {
        connection.send(&upload(json!({"file_size": 1, "file_name": name}), body));
    }
    assert_eq!(words(&mut connection), ["ok", "ok", "forbidden_name", "ok"]);
    assert_eq!(service.read("d/e/a").unwrap(), b"2");
    assert_eq!(service.files(), ["b", "d"]);
}

#[test]
fn a_sender_that_is_too_slow_within_a_file_is_told_so_and_one_between_files_is_idle() {
    let service = Service::new();
    // Too slow at the end of the first window; silent until the read timeout.
    for (every, cut_after) in [(1, 10), (60, 30)] {
        let mut connection = service.connect();
        connection.send(&upload(json!({"file_size": 500, "file_name": "a"}), b"he"));
        let mut seconds = 0;
        while !connection.is_closed() {
            assert!(seconds <= cut_after);
            seconds += 1;
            connection.advance(Duration::from_secs(1));
            if seconds % every == 0 {
                connection.send(b"x");
            }
        }
        assert_eq!(seconds, cut_after);
        assert_eq!(words(&mut connection), ["truncated"]);
    }
    let mut connection = service.connect();
    connection.send(&upload(json!({"file_size": 2000, "file_name": "b"}), b""));
    for _ in 0..20 {
        connection
            .send(&[b'x'; 100])
            .advance(Duration::from_millis(950));
    }
    connection.advance(Duration::from_secs(599));
    assert!(!connection.is_closed());
    assert_eq!(words(&mut connection), ["ok"]);
    connection.advance(Duration::from_secs(1));
    assert!(connection.is_closed());
}

#[test]
fn a_shutdown_leaves_a_file_under_way_its_time_and_ends_the_idle() {
    let service = Service::new();
    let mut busy = service.connect();
    busy.send(&upload(json!({"file_size": 5, "file_name": "a"}), b"he"))
        .shutdown();
    busy.send(b"llo");
    assert_eq!(words(&mut busy), ["ok"]);
    assert!(busy.is_closed());
    let mut idle = service.connect();
    assert!(idle.shutdown().is_closed());
}
