//! `client transfer`: what it understands, and what it makes of it.

use std::fs::{self, File};
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use crate::support::{BoundedCommand, PythonServer, TestDir, has_tool, run};
use crate::transfer::{MIB, assert_refused, client, content, fetch, fetch_bytes, names_in};

/// Python's socketserver, for one client; prints its port first.
const PYTHON_SERVER: &str = "
import base64, json, socketserver, sys
class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        name = 'caf\\u00e9 \\U0001f600/\\\"x\\\".bin'
        data = base64.b64encode(open(sys.argv[1], 'rb').read()).decode()
        spaced = {'x': [1, {'filename': None}], 'filename': name, 'filedata': data}
        compact = {'ensure_ascii': False, 'separators': (',', ':')}
        backwards = {'filedata': data, 'filename': name}
        message = {
            'plain': lambda: json.dumps({'filename': name, 'filedata': data}),
            'other order': lambda: json.dumps({'filedata': data, 'filename': name}),
            'indented': lambda: json.dumps(spaced, indent=4),
            'utf-8': lambda: json.dumps({'filename': name, 'filedata': data}, **compact),
            'slashes': lambda: json.dumps(backwards).replace('/', '\\\\/'),
        }[sys.argv[2]]()
        self.request.sendall(message.encode())
with socketserver.TCPServer(('127.0.0.1', 0), Handler) as server:
    server.timeout = 20
    print(server.server_address[1], flush=True)
    server.handle_request()
";

#[test]
fn the_client_understands_pythons_json_in_every_form() {
    if !has_tool(
        "python3",
        "the_client_understands_pythons_json_in_every_form",
    ) {
        return;
    }
    let from = TestDir::new("transfer-python-from");
    from.write("data", content(MIB + 1));
    for form in ["plain", "other order", "indented", "utf-8", "slashes"] {
        let to = TestDir::new("transfer-python-to");
        let data = from.join("data");
        let python = PythonServer::start(PYTHON_SERVER, &[data.to_str().unwrap(), form]);
        let output = fetch(python.address, &to);
        assert!(
            output.status.success(),
            "{form}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(names_in(&to), ["\"x\".bin"], "{form}");
        assert!(
            fs::read(to.join("\"x\".bin")).unwrap() == content(MIB + 1),
            "{form}"
        );
    }
}

#[test]
fn only_the_last_component_of_an_evil_name_is_used_and_some_have_none() {
    let long = "a".repeat(300);
    for (name, saved) in [
        ("../../etc/passwd", "passwd"),
        ("a/b", "b"),
        ("/dev/null", "null"),
        ("..\\\\x", "..\\x"),
    ] {
        let dir = TestDir::new("transfer-evil-saved");
        let output = fetch_bytes(
            format!(r#"{{"filename":"{name}","filedata":"aGk="}}"#),
            &dir,
            &["--force"],
        );
        assert!(
            output.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(
            (names_in(&dir), fs::read(dir.join(saved)).unwrap()),
            (vec![saved.to_owned()], b"hi".to_vec())
        );
    }
    for (name, reason) in [
        ("", "can't be used"),
        (".", "can't be used"),
        ("..", "can't be used"),
        ("a/", "can't be used"),
        ("a/..", "can't be used"),
        ("a\\u0000", "can't be used"),
        (&long, "more than 255 bytes"),
    ] {
        let dir = TestDir::new("transfer-evil-refused");
        for text in [
            format!(r#"{{"filename":"{name}","filedata":"aGk="}}"#),
            format!(r#"{{"filedata":"aGk=","filename":"{name}"}}"#),
        ] {
            assert_refused(&fetch_bytes(text, &dir, &["--force"]), reason);
            assert_eq!(names_in(&dir), [""; 0], "{name}");
        }
    }
}

#[test]
fn what_is_not_the_whole_object_leaves_nothing() {
    let dir = TestDir::new("transfer-bad");
    for (text, reason) in [
        ("", "ended before"),
        (r#"{"filename":"a","filedata":"aGkh"#, "ended before"),
        (r#"{"filename":"a","filedata":"aGkh""#, "ended before"),
        (r#"{"filename":"a"}"#, "missing"),
        (r#"{"filename":"a","filedata":"aG k="}"#, "isn't base64"),
        (r#"{"filename":"a","filedata":"aGk"}"#, "isn't base64"),
        ("<html>not here</html>", "not a JSON object"),
        (r#"["filename","a","filedata",""]"#, "not a JSON object"),
        (
            r#"{"filename":"a","filename":"b","filedata":""}"#,
            "comes twice",
        ),
        (
            r#"{"filedata":"aGk=","filename":"a","filedata":"aGk="}"#,
            "comes twice",
        ),
        (r#"{"filename":7,"filedata":""}"#, "isn't a string"),
    ] {
        assert_refused(&fetch_bytes(text, &dir, &[]), reason);
        assert_eq!(names_in(&dir), [""; 0], "{text}");
    }
}

#[test]
fn a_file_is_replaced_only_by_force() {
    let dir = TestDir::new("transfer-exists");
    dir.write("a", "old");
    for text in [
        r#"{"filename":"a","filedata":"bmV3"}"#,
        r#"{"filedata":"bmV3","filename":"a"}"#,
    ] {
        assert_refused(
            &fetch_bytes(text, &dir, &[]),
            "exists already: --force replaces it",
        );
        assert_eq!(fs::read(dir.join("a")).unwrap(), b"old");
    }
    let forced = fetch_bytes(r#"{"filename":"a","filedata":"bmV3"}"#, &dir, &["--force"]);
    assert!(
        forced.status.success(),
        "{}",
        String::from_utf8_lossy(&forced.stderr)
    );
    assert_eq!(
        (fs::read(dir.join("a")).unwrap(), names_in(&dir)),
        (b"new".to_vec(), vec!["a".to_owned()])
    );
}

#[test]
fn a_symlink_is_replaced_and_never_followed() {
    let dir = TestDir::new("transfer-symlink");
    dir.write("precious", "old");
    std::os::unix::fs::symlink("precious", dir.join("a")).unwrap();
    std::os::unix::fs::symlink("nowhere", dir.join("b")).unwrap();
    for name in ["a", "b"] {
        let text = format!(r#"{{"filename":"{name}","filedata":"bmV3"}}"#);
        assert_refused(&fetch_bytes(&*text, &dir, &[]), "exists already");
        assert!(fetch_bytes(text, &dir, &["--force"]).status.success());
        assert_eq!(fs::read(dir.join(name)).unwrap(), b"new");
    }
    assert_eq!(
        (
            fs::read(dir.join("precious")).unwrap(),
            dir.join("nowhere").exists()
        ),
        (b"old".to_vec(), false)
    );
}

#[test]
fn a_folder_that_cannot_be_written_or_is_none_is_told() {
    let dir = TestDir::new("transfer-read-only");
    let missing = run(&[
        "client",
        "transfer",
        "-o",
        dir.join("missing").to_str().unwrap(),
        "127.0.0.1:1",
    ]);
    assert_eq!(missing.0, Some(2), "{}", missing.2);
    let nowhere = run(&["client", "transfer", "-o", "/proc", "127.0.0.1:1"]);
    assert!(
        nowhere.0 == Some(1) && nowhere.2.contains("nothing is saved in /proc"),
        "{}",
        nowhere.2
    );
    set_mode(&dir.join(""), 0o555);
    if File::create(dir.join("probe")).is_ok() {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED a_folder_that_cannot_be_written: root may write everywhere"
        );
        return;
    }
    let output = client(SocketAddr::from(([127, 0, 0, 1], 1)), &dir).finish();
    set_mode(&dir.join(""), 0o755);
    assert_refused(&output, "nothing is saved in");
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn a_client_that_is_killed_leaves_nothing_behind() {
    let dir = TestDir::new("transfer-killed");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut child = client(listener.local_addr().unwrap(), &dir).start();
    let (mut stream, _) = listener.accept().unwrap();
    stream
        .write_all(br#"{"filename":"a","filedata":"aGkh"#)
        .unwrap();
    child.kill();
    assert_eq!(names_in(&dir), [""; 0]);
}
