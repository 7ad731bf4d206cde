//! A system that refuses threads to the binary.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use crate::support::has_tool;

/// The binary as the user `nobody`, whose processes and threads are limited: root's are not.
fn limited(limit: u32) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.args(["prlimit", &format!("--nproc={limit}")]);
    command.arg(env!("CARGO_BIN_EXE_socketserver"));
    command
}

#[test]
fn a_start_without_enough_descriptors_says_so_and_what_to_raise() {
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 10 && exec timeout 20 \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_socketserver"))
        .args(["serve", "echo", "--bind", "127.0.0.1:0"])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    let line = errors.lines().last().unwrap();
    assert!(
        line.starts_with("socketserver: cannot open another file or socket: ")
            && line.contains("ulimit -n"),
        "{errors}"
    );
}

#[test]
fn a_start_without_enough_threads_is_one_line_and_exit_1_before_the_ready_line() {
    const TEST: &str = "a_start_without_enough_threads";
    if !has_tool("setpriv", TEST) || !has_tool("prlimit", TEST) {
        return;
    }
    let version = limited(1000).arg("--version").output();
    if !version.is_ok_and(|output| output.status.success()) {
        let why = "this user cannot run the binary as `nobody`";
        let _ = writeln!(std::io::stderr(), "SKIPPED {TEST}: {why}");
        return;
    }
    let mut some_but_not_all = false;
    // Other processes of this user may come and go, so each limit is tried from below.
    for limit in 1..200 {
        let mut server = limited(limit)
            .args(["serve", "time", "--bind", "127.0.0.1:0", "--threads", "8"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        let mut stdout = BufReader::new(server.stdout.take().unwrap());
        stdout.read_line(&mut ready).unwrap();
        if !ready.is_empty() {
            server.kill().unwrap();
            server.wait().unwrap();
            break;
        }
        let status = server.wait().unwrap();
        let mut errors = String::new();
        let mut stderr = server.stderr.take().unwrap();
        stderr.read_to_string(&mut errors).unwrap();
        assert_eq!(status.code(), Some(1), "{errors}");
        assert!(
            errors.starts_with("socketserver: cannot start ") && errors.lines().count() == 1,
            "{errors}"
        );
        some_but_not_all |= errors.contains("thread 4 of 8: ");
    }
    assert!(some_but_not_all, "no limit let only some threads start");
}
