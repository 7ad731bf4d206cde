//! What a server inherits from the program that starts it: signals, descriptors, orphans.

use std::fs::read_to_string;
use std::io::Write;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{BoundedCommand, TestServer, has_tool, run, wait_until};

fn exec_by(program: &[&str]) -> TestServer {
    TestServer::start_by(program, &["exec", "--no-auth"], 1, |command| command)
}

fn client(server: &TestServer, command: &[&str]) -> (Option<i32>, String, String) {
    run(&[&["client", "exec", &server.address().to_string()], command].concat())
}

#[test]
fn a_command_has_its_exit_code_where_the_parent_ignored_sigchld() {
    let server = exec_by(&["env", "--ignore-signal=CHLD"]);
    let (code, out, errors) = client(&server, &["sh", "-c", "echo out; exit 3"]);
    assert_eq!((code, out.as_str()), (Some(3), "out\n"), "{errors}");
}

#[test]
fn sigterm_ends_a_server_whose_parent_blocked_it() {
    let mut server = exec_by(&["env", "--block-signal=TERM,INT"]);
    server.signal("TERM");
    assert_eq!(server.wait().0, Some(0));
}

#[test]
fn commands_get_no_descriptor_of_the_server_or_its_parent() {
    let server = exec_by(&[
        "sh",
        "-c",
        "exec 7</dev/null 9</dev/null; exec \"$0\" \"$@\"",
    ]);
    // The fourth is the listing itself.
    let (code, out, _) = client(&server, &["sh", "-c", "cd /proc/$$/fd && echo *"]);
    assert_eq!((code, out.as_str()), (Some(0), "0 1 2 3\n"));
}

/// The processes of this name whose parent is `parent`, the ended ones that are not reaped too.
fn children(parent: u32, name: &str) -> usize {
    let status = |entry: std::fs::DirEntry| read_to_string(entry.path().join("status")).ok();
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| status(entry.ok()?))
        .filter(|status| status.contains(&format!("\nPPid:\t{parent}\n")))
        .filter(|status| status.starts_with(&format!("Name:\t{name}\n")))
        .count()
}

#[test]
fn as_process_1_it_reaps_orphans_and_ends_by_a_signal() {
    const NAME: &str = "as_process_1_it_reaps_orphans_and_ends_by_a_signal";
    let unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    if !has_tool("unshare", NAME)
        || !std::process::Command::new(unshare[0])
            .args(&unshare[1..])
            .arg("true")
            .succeeds()
    {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED {NAME}: no namespace of processes can be made"
        );
        return;
    }
    let mut server = exec_by(&unshare);
    let child = format!("/proc/{0}/task/{0}/children", server.pid());
    let first: u32 = read_to_string(child).unwrap().trim().parse().unwrap();
    // `setsid` leaves the command's group: nobody kills the process, and its parent ends.
    let (code, ..) = client(&server, &["sh", "-c", "setsid sleep 0.2 & sleep 0.1"]);
    assert_eq!(code, Some(0));
    // The command has ended, so the process is an orphan of the server now.
    wait_until("the orphan is reaped", || children(first, "sleep") == 0);
    let first = Pid::from_raw(first.cast_signed()).unwrap();
    kill_process(first, Signal::TERM).unwrap();
    assert_eq!(server.wait().0, Some(0));
}
