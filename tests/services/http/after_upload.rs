//! `serve http --upload --after-upload`.

use std::net::TcpStream;
use std::process::Command;
use std::time::Instant;

use serde_json::Value;

use crate::http::forms::{form, post};
use crate::http::raw::get;
use crate::http::upload::{put, read, site};
use crate::support::{BoundedCommand, PATIENCE, TestDir, run, wait_until};

/// Appends what it is told to a file, and a line end.
fn notes(log: &TestDir) -> String {
    script(log, "notes.sh", "cat >> \"$1\"; echo >> \"$1\"")
        + &format!(" '{}'", log.join("told").display())
}

/// A program of this text; its name, quoted.
fn script(dir: &TestDir, name: &str, text: &str) -> String {
    dir.write(name, text);
    format!("/bin/sh '{}'", dir.join(name).display())
}

fn told(log: &TestDir) -> Vec<Value> {
    let lines = read(log, "told").unwrap_or_default();
    lines
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// Whether a process runs; one that has ended may stay until somebody asks for its status.
fn lives(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.trim()));
    status.is_ok_and(|status| !status.contains("State:\tZ"))
}

#[test]
fn the_command_is_told_of_every_file() {
    let log = TestDir::new("after-told");
    let (dir, server) = site("after", &["--after-upload", &notes(&log)]);
    assert_eq!(put(&server, "/sub/one%20a", &[], "abc").status, 201);
    let digest = "Repr-Digest: sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:";
    assert_eq!(put(&server, "/two", &[digest], "abc").status, 201);
    assert_eq!(
        post(&server, "/sub/", &[], form(&[("a", "x"), ("\\\"", "")])).status,
        201
    );
    assert_eq!(put(&server, "/refused/", &[], "x").status, 405);
    wait_until("all four are told", || told(&log).len() == 4);
    let told = told(&log);
    let root = std::fs::canonicalize(dir.as_str()).unwrap();
    for (told, (name, size, method)) in told.iter().zip([
        ("sub/one a", 3, "PUT"),
        ("two", 3, "PUT"),
        ("sub/a", 1, "POST"),
        ("sub/\"", 0, "POST"),
    ]) {
        assert_eq!(
            (&told["name"], &told["size"], &told["method"]),
            (&name.into(), &size.into(), &method.into())
        );
        assert_eq!(told["path"], root.join(name).to_str().unwrap());
        assert!(
            told["client"].as_str().unwrap().starts_with("127.0.0.1:"),
            "{told}"
        );
    }
    assert_eq!(told[0]["sha256"], Value::Null);
    assert_eq!(
        told[1]["sha256"],
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
}

#[test]
fn an_answer_waits_for_no_command() {
    let log = TestDir::new("after-slow-log");
    let command = script(
        &log,
        "wait.sh",
        "until [ -e \"$1\" ]; do sleep 0.01; done; cat >> \"$2\"; echo >> \"$2\"",
    );
    let command = format!(
        "{command} '{}' '{}'",
        log.join("go").display(),
        log.join("told").display()
    );
    let (_dir, server) = site(
        "after-slow",
        &[
            "--threads",
            "1",
            "--max-threads",
            "1",
            "--after-upload",
            &command,
        ],
    );
    for number in 0..5 {
        assert_eq!(put(&server, &format!("/{number}"), &[], "x").status, 201);
    }
    assert_eq!(get(&server, "/0").text(), "x");
    assert_eq!(told(&log).len(), 0);
    log.write("go", "");
    wait_until("each is told, in order", || {
        told(&log)
            .iter()
            .map(|told| told["name"].as_str().unwrap().to_owned())
            .eq(["0", "1", "2", "3", "4"])
    });
}

#[test]
fn a_command_that_fails_is_one_line_in_the_log() {
    let (dir, server) = site("after-missing", &["--after-upload", "/nowhere/program"]);
    assert_eq!(put(&server, "/a", &[], "x").status, 201);
    let line = server.wait_for_log("--after-upload");
    assert!(
        line.contains("/nowhere/program: No such file") && line.contains(r#""name":"a""#),
        "{line}"
    );
    assert_eq!(put(&server, "/b", &[], "x").status, 201);
    server.wait_for_log("--after-upload");
    assert_eq!(read(&dir, "b").as_deref(), Some("x"));

    // It reads nothing of what it is told, and says more than a line.
    let scripts = TestDir::new("after-failing-scripts");
    let command = script(
        &scripts,
        "fail.sh",
        "exec <&-; echo out; echo first >&2; echo last words >&2; exit 3",
    );
    let (_dir, server) = site("after-failing", &["--after-upload", &command]);
    assert_eq!(put(&server, "/a", &[], "x").status, 201);
    let line = server.wait_for_log("--after-upload");
    assert!(
        line.contains("/bin/sh: exit code 3: \"last words\"; it was told {"),
        "{line}"
    );
}

#[test]
fn a_command_is_killed_with_its_children_when_its_time_is_over() {
    let log = TestDir::new("after-time-log");
    let command = script(&log, "sleep.sh", "sleep 300 & echo $! > \"$1\"; wait");
    let command = format!("{command} '{}'", log.join("pid").display());
    let (_dir, server) = site(
        "after-time",
        &[
            "--after-upload",
            &command,
            "--after-upload-timeout",
            "500ms",
        ],
    );
    assert_eq!(put(&server, "/a", &[], "x").status, 201);
    server.wait_for_log("its time was over");
    let pid = read(&log, "pid").unwrap();
    wait_until("the child has ended", || !lives(&pid));
}

#[test]
fn commands_have_the_grace_time_when_the_server_ends() {
    let log = TestDir::new("after-grace-log");
    let command = script(
        &log,
        "wait.sh",
        "until [ -e \"$1\" ]; do sleep 0.01; done; cat >> \"$2\"; echo >> \"$2\"",
    );
    let (go, told_file) = (log.join("go"), log.join("told"));
    let command = format!("{command} '{}' '{}'", go.display(), told_file.display());
    let (_dir, mut server) = site("after-grace", &["--after-upload", &command]);
    for name in ["/a", "/b"] {
        assert_eq!(put(&server, name, &[], "x").status, 201);
    }
    server.signal("TERM");
    wait_until("the server accepts nothing more", || {
        TcpStream::connect(server.address()).is_err()
    });
    log.write("go", "");
    assert_eq!(server.wait().0, Some(0));
    assert_eq!(told(&log).len(), 2);
}

#[test]
fn at_the_end_of_the_server_no_child_remains_and_nothing_waits() {
    let log = TestDir::new("after-end-log");
    let command = script(
        &log,
        "sleep.sh",
        "sleep 300 & echo $! > \"$1.new\"; mv \"$1.new\" \"$1\"; wait",
    );
    let command = format!("{command} '{}'", log.join("pid").display());
    let (_dir, mut server) = site(
        "after-end",
        &["--grace", "200ms", "--after-upload", &command],
    );
    for name in ["/a", "/b", "/c"] {
        assert_eq!(put(&server, name, &[], "x").status, 201);
    }
    wait_until("the command runs", || read(&log, "pid").is_some());
    let pid = read(&log, "pid").unwrap();
    assert!(lives(&pid));
    let begun = Instant::now();
    server.signal("TERM");
    server.wait_for_log("the server ends before /bin/sh is done with 3 files");
    assert_eq!(server.wait().0, Some(1));
    assert!(begun.elapsed() < PATIENCE / 2);
    wait_until("the child has ended", || !lives(&pid));
}

#[test]
fn a_command_line_that_can_not_be_is_refused_at_the_start() {
    let dir = TestDir::new("after-usage");
    for (arguments, words) in [
        (
            &["--upload", "--after-upload", "'open"][..],
            "a quote isn't closed",
        ),
        (&["--upload", "--after-upload", ""], "expected a program"),
        (&["--after-upload", "true"], "--upload"),
        (
            &["--upload", "--after-upload", "true", "--model", "processes"],
            "forks",
        ),
    ] {
        let (code, _, error) = run(&[
            &["serve", "http", dir.as_str(), "--bind", "127.0.0.1:0"],
            arguments,
        ]
        .concat());
        assert!(
            code == Some(2) && error.contains(words),
            "{arguments:?}: {code:?} {error}"
        );
    }
    let help = Command::new(env!("CARGO_BIN_EXE_socketserver"))
        .args(["serve", "http", "--help"])
        .finish();
    assert!(String::from_utf8_lossy(&help.stdout).contains("--after-upload <COMMAND>"));
}
