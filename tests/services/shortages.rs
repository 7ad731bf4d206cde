//! A system that refuses threads to the binary.

use std::io::{BufRead, Write};
use std::process::{Command, Stdio};

use crate::support::{BoundedCommand, has_tool};

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
        .args(["-c", "ulimit -n 10 && exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_socketserver"))
        .args(["serve", "echo", "--bind", "127.0.0.1:0"])
        .finish();
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
    if !limited(1000).arg("--version").succeeds() {
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
            .start();
        let mut ready = String::new();
        server.stdout().read_line(&mut ready).unwrap();
        if !ready.is_empty() {
            break;
        }
        let output = server.finish();
        let (status, errors) = (output.status, String::from_utf8_lossy(&output.stderr));
        assert_eq!(status.code(), Some(1), "{errors}");
        assert!(
            errors.starts_with("socketserver: cannot start ") && errors.lines().count() == 1,
            "{errors}"
        );
        some_but_not_all |= errors.contains("thread 4 of 8: ");
    }
    assert!(some_but_not_all, "no limit let only some threads start");
}
