//! `auth`, and the challenge in front of other services: with our client, with sockets, and with
//! Python.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socketserver_handlers::auth::challenge::{CHALLENGE, Digest};
use socketserver_handlers::auth::keys::parse;

use crate::support::{BoundedCommand, TestDir, TestServer, python, run, run_with_input};

/// A folder with a key file in it.
fn key_file(name: &str, content: &str) -> (TestDir, String) {
    let dir = TestDir::new(name);
    dir.write("keys", content);
    let path = dir.join("keys").to_str().unwrap().to_owned();
    (dir, path)
}

/// Answers the server's challenge with this key.
fn answer(stream: &mut TcpStream, key: &str) {
    let mut challenge = [0; CHALLENGE];
    stream.read_exact(&mut challenge).unwrap();
    let key = &parse(key.as_bytes()).unwrap()[0];
    stream
        .write_all(&Digest::Sha256.answer(key, &challenge))
        .unwrap();
}

/// Whether the server lets this key in.
fn opens(server: &TestServer, key: &str) -> bool {
    let mut stream = server.connect();
    answer(&mut stream, key);
    // A server that has closed already resets what comes.
    let _ = stream.write_all(b"x");
    matches!(stream.read(&mut [0]), Ok(1))
}

/// Python's `hmac` as client: arguments are port, digest and key.
const CLIENT: &str = "
import hmac, socket, sys, time
port, digest, key = int(sys.argv[1]), sys.argv[2], sys.argv[3].encode()
def talk(change, more=b'', pause=None, hang_up=False):
    with socket.create_connection(('127.0.0.1', port), 10) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        challenge = s.recv(32, socket.MSG_WAITALL)
        assert len(challenge) == 32, challenge
        answer = change(hmac.digest(key, challenge, digest)) + more
        if pause is None:
            s.sendall(answer)
        else:
            s.sendall(answer[:pause]); time.sleep(0.002); s.sendall(answer[pause:])
        if hang_up:
            s.shutdown(socket.SHUT_WR)
        return s.recv(100)
length = len(hmac.digest(key, b'', digest))
same = lambda answer: answer
print('glued', talk(same, b'glued'))
print('cut', set(talk(same, b'cut', pause) for pause in range(length + 1)))
print('wrong', talk(lambda answer: bytes(length), b'wrong'))
print('short', talk(lambda answer: answer[:-1], hang_up=True))
print('late', talk(lambda answer: answer[:-1]))
print('silent', talk(lambda answer: b''))
";

#[test]
fn python_s_hmac_opens_with_each_digest_and_nothing_else_does() {
    for digest in ["sha256", "sha512", "md5"] {
        let (_dir, keys) = key_file(
            &format!("auth-client-{digest}"),
            "old: key\r\nnew:the right one\r\n",
        );
        let server = TestServer::start(&[
            "auth",
            "--key-file",
            &keys,
            "--digest",
            digest,
            "--head-timeout",
            "500ms",
        ]);
        let port = server.address().port().to_string();
        let Some(output) = python(
            "HMAC by Python's client",
            CLIENT,
            &[&port, digest, "the right one"],
        ) else {
            return;
        };
        let expected = "glued b'GLUED'\ncut {b'CUT'}\nwrong b''\nshort b''\nlate b''\nsilent b''\n";
        assert_eq!(output, expected, "{digest}");
        for reason in ["is wrong", "is too short", "came too late"] {
            assert!(server.wait_for_log(reason).contains("[INFO]"), "{reason}");
        }
    }
}

/// Python's `hmac` as server of our client: arguments are the binary, digest, key file and key.
const SERVER: &str = "
import hmac, os, socket, subprocess, sys
binary, digest, keys, key = sys.argv[1:5]
with socket.create_server(('127.0.0.1', 0)) as listener:
    listener.settimeout(10)
    client = subprocess.Popen(
        [binary, 'client', 'auth', '127.0.0.1:%d' % listener.getsockname()[1],
         '--key-file', keys, '--digest', digest],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    s, _ = listener.accept()
    with s:
        s.settimeout(10)
        challenge = os.urandom(32)
        s.sendall(challenge[:7]); s.sendall(challenge[7:])
        expected = hmac.digest(key.encode(), challenge, digest)
        answer = s.recv(len(expected), socket.MSG_WAITALL)
        print(hmac.compare_digest(answer, expected))
        client.stdin.write(b'hello'); client.stdin.close()
        s.sendall(s.recv(5, socket.MSG_WAITALL)[::-1])
    print(client.stdout.read(), client.wait(10))
";

#[test]
fn our_client_proves_itself_to_python_with_each_digest() {
    let (_dir, keys) = key_file(
        "auth-server",
        "# the first counts\n\nme:first:key\nsecond\n",
    );
    for digest in ["sha256", "sha512", "md5"] {
        let arguments = [
            env!("CARGO_BIN_EXE_socketserver"),
            digest,
            &keys,
            "first:key",
        ];
        let Some(output) = python("HMAC by Python's server", SERVER, &arguments) else {
            return;
        };
        assert_eq!(output, "True\nb'olleh' 0\n", "{digest}");
    }
}

#[test]
fn the_challenge_stands_before_any_service_and_the_variable_holds_a_key() {
    let dir = TestDir::new("auth-any");
    let (_keys_dir, keys) = key_file("auth-any-keys", "secret");
    let unix = format!("unix:{}", dir.join("socket").display());
    for model in ["pool", "threads", "processes", "sequential"] {
        let arguments = [
            "echo",
            "--model",
            model,
            "--bind",
            &unix,
            "--bind",
            "127.0.0.1:0",
        ];
        let server = TestServer::start_with(&arguments, 2, |command| {
            command.env("SOCKETSERVER_KEY", "secret")
        });
        server.wait_for_log("SOCKETSERVER_KEY is set");
        let tcp = server.ready[1].split("//").nth(1).unwrap();
        for address in [&unix, tcp] {
            let answer = run_with_input(
                &["client", "echo", address, "--auth-key-file", &keys],
                b"hello",
            );
            assert_eq!(
                answer,
                (Some(0), "hello".to_owned(), String::new()),
                "{model} {address}"
            );
        }
        let stranger = run_with_input(
            &["client", "auth", tcp, "--key-file", "/dev/null"],
            b"hello",
        );
        assert!(
            stranger.0 == Some(2) && stranger.2.contains("no key"),
            "{stranger:?}"
        );
    }
}

#[test]
fn a_wrong_key_is_one_line_and_code_1() {
    let (_dir, keys) = key_file("auth-wrong", "secret");
    let (_other_dir, other) = key_file("auth-other", "other");
    let server = TestServer::start(&["auth", "--key-file", &keys]);
    let (code, output, errors) = run_with_input(
        &[
            "client",
            "auth",
            &server.address().to_string(),
            "--key-file",
            &other,
        ],
        b"hello",
    );
    assert_eq!(
        (code, output.as_str(), errors.lines().count()),
        (Some(1), "", 1),
        "{errors}"
    );
    assert!(errors.contains("is the key right?"), "{errors}");
}

#[test]
fn a_thousand_silent_connections_hold_no_thread() {
    const SILENT: usize = 1000;
    let limit = getrlimit(Resource::Nofile);
    let wanted = Some(4 * SILENT as u64);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: wanted.min(limit.maximum.or(wanted)),
            ..limit
        },
    )
    .unwrap();
    let (_dir, keys) = key_file("auth-silent", "secret");
    // If each held a thread, two threads would be too few.
    let threads = ["--threads", "2", "--max-threads", "2"];
    let arguments = [&["auth", "--key-file", &keys][..], &threads].concat();
    let mut server = TestServer::start(&arguments);
    let mut silent: Vec<TcpStream> = (0..SILENT).map(|_| server.connect()).collect();
    for stream in &mut silent {
        stream.read_exact(&mut [0; CHALLENGE]).unwrap();
    }
    assert!(opens(&server, "secret"));
    server.signal("TERM");
    // They are parked: nothing is in flight.
    assert_eq!(server.wait().0, Some(0));
}

#[test]
fn who_fails_often_gets_challenges_later_while_others_are_served() {
    let (_dir, keys) = key_file("auth-backoff", "secret");
    let server = TestServer::start(&[
        "auth",
        "--key-file",
        &keys,
        "--threads",
        "1",
        "--max-threads",
        "1",
    ]);
    for _ in 0..7 {
        assert!(!opens(&server, "wrong"));
    }
    let begun = Instant::now();
    let waiting: Vec<TcpStream> = (0..100).map(|_| server.connect()).collect();
    for mut stream in waiting {
        stream.read_exact(&mut [0; CHALLENGE]).unwrap();
        assert!(
            begun.elapsed() >= Duration::from_millis(500),
            "{:?}",
            begun.elapsed()
        );
    }
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "one after the other: {:?}",
        begun.elapsed()
    );
    assert!(opens(&server, "secret"));
}

#[test]
fn keys_are_exchanged_on_sighup_and_a_bad_file_keeps_the_old_ones() {
    let (dir, keys) = key_file("auth-hup", "old");
    let server = TestServer::start(&["auth", "--key-file", &keys]);
    let mut open = server.connect();
    answer(&mut open, "old");
    let echo = |stream: &mut TcpStream| {
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut [0]).unwrap();
    };
    echo(&mut open);
    dir.write("keys", "old\nnew\n");
    server.signal("HUP");
    server.wait_for_log("reloaded");
    assert!(opens(&server, "old") && opens(&server, "new"));
    dir.write("keys", "# nothing\n");
    server.signal("HUP");
    let line = server.wait_for_log("nothing is reloaded");
    assert!(line.contains("no key") && line.contains(&keys), "{line}");
    assert!(opens(&server, "old") && opens(&server, "new"));
    dir.write("keys", "new\n");
    server.signal("HUP");
    server.wait_for_log("reloaded");
    assert!(!opens(&server, "old") && opens(&server, "new"));
    echo(&mut open);
}

#[test]
fn keys_where_they_can_not_be_used_are_one_line_and_code_2() {
    let (dir, keys) = key_file("auth-usage", "secret");
    let folder = dir.join("").to_str().unwrap().to_owned();
    for (arguments, says) in [
        (&["serve", "auth"][..], "SOCKETSERVER_KEY"),
        (&["client", "auth", "127.0.0.1:1"], "SOCKETSERVER_KEY"),
        (
            &["serve", "auth", "--key-file", "/no/such/file"],
            "/no/such/file",
        ),
        (
            &["serve", "echo", "--auth-key-file", "/dev/null"],
            "holds no key",
        ),
        (
            &["serve", "http", &folder, "--auth-key-file", &keys],
            "--auth-key-file does not apply",
        ),
        (
            &["serve", "echo", "--udp", "--auth-key-file", &keys],
            "datagrams",
        ),
        (
            &[
                "client",
                "echo",
                "--udp",
                "127.0.0.1:1",
                "--auth-key-file",
                &keys,
            ],
            "datagrams",
        ),
        (
            &["serve", "auth", "--key-file", &keys, "--digest", "crc32"],
            "--auth-digest",
        ),
    ] {
        let (code, stdout, stderr) = run(arguments);
        assert_eq!(
            (code, stdout.as_str(), stderr.lines().count()),
            (Some(2), "", 1),
            "{arguments:?}: {stderr}"
        );
        assert!(stderr.contains(says), "{arguments:?}: {stderr}");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_socketserver"))
        .args(["client", "auth", "--help"])
        .finish();
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(
        help.contains("--key-file") && help.contains("--digest"),
        "{help}"
    );
}
