//! `exec`: commands end with their server, however it ends.

use std::io::Write;

use crate::exec::{sleepers, start, wait_for_processes};
use crate::http::upload::{put, site};
use crate::support::{TestDir, wait_until};

#[test]
fn commands_and_what_they_started_end_with_a_server_that_is_killed() {
    for (model, number) in [("pool", "71"), ("threads", "72"), ("processes", "73")] {
        let server = start(&["--framing", "raw", "--model", model]);
        let (command, mark) = sleepers(number);
        let mut client = server.connect();
        writeln!(client, "{command}").unwrap();
        wait_for_processes(&mark, 2);
        server.signal("KILL");
        wait_for_processes(&mark, 0);
    }
}

#[test]
fn a_forced_exit_kills_the_commands_that_run() {
    let (command, mark) = sleepers("74");
    let mut server = start(&["--framing", "raw"]);
    let mut client = server.connect();
    writeln!(client, "{command}").unwrap();
    wait_for_processes(&mark, 2);
    server.signal("TERM");
    server.wait_for_log("waiting for");
    assert_eq!(server.force_end("TERM"), Some(130));
    wait_for_processes(&mark, 0);
}

#[test]
fn a_command_goes_on_when_the_pool_has_shrunk() {
    let server = start(&["--framing", "raw", "--threads", "1", "--max-threads", "8"]);
    let mut clients: Vec<_> = (0..6).map(|_| server.connect()).collect();
    let mark = format!("1.3{}", std::process::id());
    for client in &mut clients {
        writeln!(client, "sleep {mark}").unwrap();
    }
    wait_for_processes(&mark, 6);
    let (command, lasting) = sleepers("75");
    let mut client = server.connect();
    writeln!(client, "{command}").unwrap();
    wait_for_processes(&lasting, 2);
    let most = server.threads();
    wait_for_processes(&mark, 0);
    wait_until("the pool shrinks", || server.threads() < most);
    wait_for_processes(&lasting, 2);
    server.signal("KILL");
    wait_for_processes(&lasting, 0);
}

#[test]
fn a_command_after_an_upload_ends_with_a_server_that_is_killed() {
    let mark = sleepers("76").1;
    let log = TestDir::new("after-killed");
    log.write("sleep.sh", format!("sleep {mark} & sleep {mark}"));
    let command = format!("/bin/sh '{}'", log.join("sleep.sh").display());
    let (_dir, server) = site("after-killed-site", &["--after-upload", &command]);
    assert_eq!(put(&server, "/a", &[], "abc").status, 201);
    wait_for_processes(&mark, 2);
    server.signal("KILL");
    wait_for_processes(&mark, 0);
}
