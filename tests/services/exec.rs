//! `exec`: its framings and refusals, what becomes of a command's processes, and its client.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::support::{TestDir, TestServer, python, run, wait_until};

pub(crate) fn start(options: &[&str]) -> TestServer {
    TestServer::start(&[&["exec", "--no-auth"], options].concat())
}

/// Runs `client exec` with a command of these words.
pub(crate) fn client(server: &TestServer, command: &[&str]) -> (Option<i32>, String, String) {
    run(&[&["client", "exec", &server.address().to_string()], command].concat())
}

/// So many processes have this text in their command line.
fn processes(text: &str) -> usize {
    let lines = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok());
    // Neither the test nor a server or client that was told the command.
    lines
        .filter(|line| {
            line.starts_with(b"sleep\0")
                && line.windows(text.len()).any(|part| part == text.as_bytes())
        })
        .count()
}

pub(crate) fn wait_for_processes(text: &str, count: usize) {
    let what = format!("{count} processes have {text}");
    wait_until(&what, || processes(text) == count);
}

/// A command that has started two processes in its group, which last for ever.
pub(crate) fn sleepers(number: &str) -> (String, String) {
    let time = format!("{}.{number}", 80_000 + std::process::id() % 1000);
    (
        format!("sh -c 'echo begun; sleep {time} & sleep {time}'"),
        time,
    )
}

/// Python as client: each framing, with a frame and with text, in one piece and byte by byte.
const CLIENT: &str = "
import json, socket, struct, sys, time
framing, port = sys.argv[1], int(sys.argv[2])
s = socket.create_connection(('127.0.0.1', port), 10)
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
read = lambda count: s.recv(count, socket.MSG_WAITALL) if count else b''
def answer():
    if framing == 'json':
        head = json.loads(read(struct.unpack('<i', read(4))[0]))
        return read(head.pop('data_size')), head
    if framing == 'struct':
        return read(struct.unpack('<i', read(4))[0])
    if framing == 'ack':
        length = int(s.recv(10))
        s.sendall(b'recv_ready')
        return read(length)
    return read(int(sys.argv[3]))
text = sys.argv[4]
body = json.dumps({'cmd': text}).encode()
frame = struct.pack('<i', len(body)) + body

for request in frame, (text + '\\n').encode(), (text + '\\r\\n').encode(), text.encode():
    s.sendall(request)
    print(answer())
    for byte in request:
        s.sendall(bytes([byte]))
    print(answer())
";

#[test]
fn each_framing_answers_frames_lines_and_text_without_an_end() {
    let text = "sh -c 'echo out; echo err >&2; exit 3'";
    for (framing, expected) in [
        (
            "json",
            "(b'out\\nerr\\n', {'exit_code': 3, 'stderr_size': 4})",
        ),
        ("struct", "b'out\\nerr\\n'"),
        ("ack", "b'out\\nerr\\n'"),
        ("raw", "b'out\\nerr\\n'"),
    ] {
        let server = start(&["--framing", framing]);
        let arguments = [framing, &server.address().port().to_string(), "8", text];
        let Some(output) = python("exec with Python's client", CLIENT, &arguments) else {
            return;
        };
        let lines: Vec<&str> = output.lines().collect();
        assert_eq!(lines, [expected; 8], "{framing}");
    }
}

/// Python as server of our client.
const SERVER: &str = "
import json, socket, struct, subprocess, sys
binary, framing = sys.argv[1:3]
with socket.create_server(('127.0.0.1', 0)) as listener:
    listener.settimeout(10)
    client = subprocess.Popen(
        [binary, 'client', 'exec', '--framing', framing,
         '127.0.0.1:%d' % listener.getsockname()[1], 'ls', '-l', 'a b'],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    s, _ = listener.accept()
    with s:
        s.settimeout(10)
        length, = struct.unpack('<i', s.recv(4, socket.MSG_WAITALL))
        print(json.loads(s.recv(length, socket.MSG_WAITALL)))
        if framing == 'json':
            head = {'stderr_size': 3, 'exit_code': 7, 'data_size': 6, 'new': None}
            head = json.dumps(head).encode()
            for byte in struct.pack('<i', len(head)) + head + b'outerr':
                s.sendall(bytes([byte]))
        elif framing == 'struct':
            s.sendall(struct.pack('<i', 6) + b'outerr')
        elif framing == 'ack':
            s.sendall(b'6')
            print(s.recv(10, socket.MSG_WAITALL))
            s.sendall(b'outerr')
        else:
            s.sendall(b'outerr')
    print(*client.communicate(timeout=10), client.returncode)
";

#[test]
fn our_client_understands_python_s_answers_in_each_framing() {
    let request = "{'cmd': \"ls -l 'a b'\"}\n";
    for (framing, expected) in [
        ("json", "b'out' b'err' 7\n"),
        ("struct", "b'outerr' b'' 0\n"),
        ("ack", "b'recv_ready'\nb'outerr' b'' 0\n"),
        ("raw", "b'outerr' b'' 0\n"),
    ] {
        let arguments = [env!("CARGO_BIN_EXE_socketserver"), framing];
        let Some(output) = python("exec with Python's server", SERVER, &arguments) else {
            return;
        };
        assert_eq!(output, format!("{request}{expected}"), "{framing}");
    }
}

#[test]
fn the_client_has_the_command_s_streams_and_exit_code() {
    let server = start(&[]);
    let text = |code, out: &str, err: &str| (Some(code), out.to_owned(), err.to_owned());
    assert_eq!(
        client(&server, &["sh", "-c", "echo out; echo err >&2; exit 42"]),
        text(42, "out\n", "err\n")
    );
    assert_eq!(
        client(&server, &["printf", "%s|", "a b", "c'd", "$HOME"]),
        text(0, "a b|c'd|$HOME|", "")
    );
    assert_eq!(
        client(&server, &["printf '%s|' 'a b' c"]),
        text(0, "a b|c|", "")
    );
    assert_eq!(client(&server, &["sh -c 'kill -9 $$'"]), text(137, "", ""));
    assert_eq!(client(&server, &["cat"]), text(0, "", ""));
    for (framing, server) in
        ["struct", "ack", "raw"].map(|framing| (framing, start(&["--framing", framing])))
    {
        let answer = client(
            &server,
            &[
                "--framing",
                framing,
                "sh",
                "-c",
                "echo out; echo err >&2; exit 42",
            ],
        );
        assert_eq!(answer, text(0, "out\nerr\n", ""), "{framing}");
    }
    let (code, out, err) = run(&["client", "exec", "127.0.0.1:1", "ls"]);
    assert_eq!(
        (code, out.as_str(), err.lines().count()),
        (Some(1), "", 1),
        "{err}"
    );
}

#[test]
fn what_is_not_run_has_its_code_and_one_line() {
    let any = start(&[]);
    let list = start(&["--allow-command", "echo", "--allow-command", "true"]);
    let shell = start(&["--shell"]);
    let dir = TestDir::new("exec-refused");
    dir.write("plain", "text");
    let plain = dir.join("plain").to_str().unwrap().to_owned();
    for (server, command, code, says) in [
        (
            &any,
            "no-such-command -x",
            127,
            "no-such-command: not found",
        ),
        (&any, "   ", 127, "no command"),
        (&any, "", 127, "no command"),
        (&any, &plain, 126, "plain: "),
        (&any, "echo 'half", 2, "quote"),
        (&list, "ls", 126, "ls: not allowed"),
        (&list, "/bin/echo hi", 126, "/bin/echo: not allowed"),
        (&shell, "no-such-command", 127, "no-such-command"),
    ] {
        let (found, out, err) = client(server, &[command]);
        assert_eq!(
            (found, out.as_str(), err.lines().count()),
            (Some(code), "", 1),
            "{command}: {err}"
        );
        assert!(err.contains(says), "{command}: {err}");
    }
    assert_eq!(client(&list, &["echo", "allowed"]).1, "allowed\n");
    // Without a shell, what means something to one is a word like others.
    assert_eq!(
        client(&any, &["echo $HOME; echo 2 | cat"]).1,
        "$HOME; echo 2 | cat\n"
    );
    assert_eq!(
        client(&shell, &["echo one; echo two | cat"]).1,
        "one\ntwo\n"
    );
}

#[test]
fn a_command_sees_little_of_the_server() {
    let server = TestServer::start_with(&["exec", "--no-auth"], 1, |command| {
        command.env("SECRET", "x").env("LANG", "C")
    });
    let (_, environment, _) = client(&server, &["env"]);
    let mut names: Vec<&str> = environment
        .lines()
        .map(|line| line.split('=').next().unwrap())
        .collect();
    names.sort_unstable();
    assert!(
        names.contains(&"PATH") && names.contains(&"LANG") && names.len() <= 3,
        "{names:?}"
    );
    // What the server opens is none of a command's: connections change nothing.
    let descriptors = || client(&server, &["ls", "/proc/self/fd"]).1;
    let before = descriptors();
    let _connections: Vec<TcpStream> = (0..10).map(|_| server.connect()).collect();
    assert_eq!(descriptors(), before);
}

#[test]
fn both_pipes_are_read_at_once() {
    let server = start(&[]);
    let script =
        "head -c 1048576 /dev/zero >&2; head -c 1048576 /dev/zero; head -c 1048576 /dev/zero >&2";
    let (code, out, err) = client(&server, &["sh", "-c", script]);
    assert_eq!((code, out.len(), err.len()), (Some(0), 1 << 20, 2 << 20));
}

#[test]
fn an_output_that_is_too_long_is_cut_and_its_command_killed() {
    let server = start(&["--max-output", "10000"]);
    let exact = client(
        &server,
        &[
            "sh",
            "-c",
            "head -c 6000 /dev/zero; head -c 4000 /dev/zero >&2",
        ],
    );
    assert_eq!(
        (exact.0, exact.1.len(), exact.2.len()),
        (Some(0), 6000, 4000)
    );
    let (code, out, err) = client(&server, &["yes"]);
    assert_eq!(
        (code, out.len(), err.lines().count()),
        (Some(137), 10_000, 1),
        "{err}"
    );
    let mut stream = server.connect();
    stream.write_all(b"yes\n").unwrap();
    let head = read_json_head(&mut stream);
    assert!(
        head.contains("\"truncated\":true") && head.contains("\"data_size\":10000"),
        "{head}"
    );
}

fn read_json_head(stream: &mut TcpStream) -> String {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut head = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut head).unwrap();
    String::from_utf8(head).unwrap()
}

#[test]
fn requests_that_are_glued_are_answered_in_turn() {
    let server = start(&["--framing", "raw"]);
    let frame = b"\x11\0\0\0{\"cmd\": \"echo 2\"}";
    let requests = [&b"echo 1\n"[..], frame, b"echo 3\n", frame, b"echo 4"].concat();
    let mut stream = server.connect();
    stream.write_all(&requests).unwrap();
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"1\n2\n3\n2\n4\n");
}

#[test]
fn a_bad_frame_is_code_2_with_one_line_and_then_closed() {
    let server = start(&[]);
    for bytes in [
        &b"\x05\0\0\0hello"[..],
        b"\0\0\0\0",
        b"\x01\x02\x03\x04",
        b"\x02\0\0\x80{}",
        b"\xff\xff\xff\xff",
        b"\x02\0\0\0[]",
        b"\x0a\0\0\0{\"cmd\": 1}",
        b"\x17\0\0\0{\"cmd\":\"a\",\"cmd\":\"b\"}  ",
        b"a\0b\0c",
    ] {
        let mut stream = server.connect();
        stream.write_all(bytes).unwrap();
        let head = read_json_head(&mut stream);
        assert!(
            head.contains("\"exit_code\":2"),
            "{}: {head}",
            bytes.escape_ascii()
        );
        let mut line = String::new();
        stream.read_to_string(&mut line).unwrap();
        assert!(
            line.starts_with("bad request: ") && line.lines().count() == 1,
            "{line}"
        );
    }
    let half = start(&["--framing", "raw"]);
    let mut stream = half.connect();
    stream.write_all(b"\x05\0\0").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut line = String::new();
    stream.read_to_string(&mut line).unwrap();
    assert_eq!(line, "bad request: the frame ends before its length\n");
}

#[test]
fn who_does_not_acknowledge_gets_nothing() {
    let server = start(&["--framing", "ack"]);
    let mut stream = server.connect();
    stream.write_all(b"echo hello\n").unwrap();
    let mut length = [0; 1];
    stream.read_exact(&mut length).unwrap();
    assert_eq!(&length, b"6");
    stream.write_all(b"recv_no").unwrap();
    let mut rest = Vec::new();
    // It is closed, perhaps by a reset.
    let _ = stream.read_to_end(&mut rest);
    assert_eq!(rest, b"");
}

#[test]
fn without_a_key_it_starts_for_this_machine_only_and_if_told_so() {
    for arguments in [
        &["serve", "exec"][..],
        &["serve", "exec", "--bind", "127.0.0.1:0"],
        &["serve", "exec", "--no-auth", "--bind", ":0"],
        &[
            "serve",
            "exec",
            "--no-auth",
            "--bind",
            "127.0.0.1:0",
            "--bind",
            "0.0.0.0:0",
        ],
        &[
            "serve",
            "exec",
            "--no-auth",
            "--auth-key-file",
            "/dev/null",
            "--bind",
            "127.0.0.1:0",
        ],
        &[
            "serve",
            "exec",
            "--no-auth",
            "--shell",
            "--allow-command",
            "ls",
        ],
        &["serve", "exec", "--no-auth", "--max-output", "2GiB"],
    ] {
        let (code, out, err) = run(arguments);
        assert_eq!(
            (code, out.as_str(), err.lines().count()),
            (Some(2), "", 1),
            "{arguments:?}: {err}"
        );
    }
    let dir = TestDir::new("exec-unix");
    let unix = format!("unix:{}", dir.join("socket").display());
    let server = TestServer::start_with(
        &[
            "exec",
            "--no-auth",
            "--bind",
            &unix,
            "--bind",
            "localhost:0",
        ],
        2,
        |command| command,
    );
    assert_eq!(
        run(&["client", "exec", &unix, "echo", "hello"]).1,
        "hello\n"
    );
    drop(server);
}

#[test]
fn each_command_is_written_down_with_its_client_and_key() {
    let dir = TestDir::new("exec-audit");
    dir.write("keys", "deploy:secret\n");
    let keys = dir.join("keys").to_str().unwrap().to_owned();
    let server = TestServer::start(&["exec", "--auth-key-file", &keys]);
    let address = server.address().to_string();
    let answer = run(&[
        "client",
        "exec",
        &address,
        "--auth-key-file",
        &keys,
        "sh",
        "-c",
        "exit 9",
    ]);
    assert_eq!(answer.0, Some(9), "{}", answer.2);
    let line = server.wait_for_log("exit code 9");
    for part in [
        "[INFO]",
        "127.0.0.1:",
        "key deploy",
        "\"sh -c 'exit 9'\"",
        " s",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    dir.write("other", "wrong\n");
    let other = dir.join("other").to_str().unwrap().to_owned();
    let (code, out, err) = run(&["client", "exec", &address, "--auth-key-file", &other, "ls"]);
    assert_eq!(
        (code, out.as_str(), err.lines().count()),
        (Some(1), "", 1),
        "{err}"
    );
}

#[test]
fn what_ran_is_written_down_even_by_a_quiet_server() {
    for (options, audited) in [
        (&["-q"][..], true),
        (&["--log-level", "warn"], true),
        (&["--log-level", "off"], false),
    ] {
        let mut server = TestServer::start(&[&["exec", "--no-auth"], options].concat());
        let address = server.address().to_string();
        assert_eq!(
            run(&["client", "exec", &address, "echo", "hello"]),
            (Some(0), "hello\n".to_owned(), String::new())
        );
        if audited {
            server.wait_for_log("\"echo hello\": exit code 0");
        }
        server.signal("TERM");
        server.wait();
        assert_eq!(server.stderr_so_far(), [""; 0], "{options:?}");
    }
}
