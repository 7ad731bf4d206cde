//! `serve ftp`: what `socketserver users set` changes for a user.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::ftp::{Ftp, accounts, server_with};
use crate::support::{TestDir, run};

/// Runs a command of `users` on an accounts file, which must succeed; what it prints.
#[track_caller]
fn users(accounts: &str, line: &[&str]) -> String {
    let line = [&["users", line[0], "--accounts", accounts], &line[1..]].concat();
    let (code, stdout, stderr) = run(&line);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{line:?}");
    stdout
}

/// Sends USER and PASS; the reply to the last of them.
fn log_in(ftp: &mut Ftp, name: &str) -> String {
    ftp.expect(format!("USER {name}"), 331);
    ftp.command("PASS secret")
}

#[test]
fn the_number_of_sessions_of_a_user_overrides_that_of_the_server() {
    let dir = TestDir::new("ftp-user-sessions");
    let accounts = accounts(&dir, &[("ada", "lr", &[]), ("bob", "lr", &[])]);
    users(&accounts, &["set", "ada", "--max-sessions", "2"]);
    let server = server_with(&dir, &accounts, &["--max-sessions-per-user", "1"]);
    let _first = Ftp::log_in(&server, "ada");
    let _second = Ftp::log_in(&server, "ada");
    let mut third = Ftp::connect(&server);
    let reply = log_in(&mut third, "ada");
    assert!(reply.starts_with("421 Too many sessions"), "{reply}");
    let _bob = Ftp::log_in(&server, "bob");
    let reply = log_in(&mut Ftp::connect(&server), "bob");
    assert!(reply.starts_with("421 Too many sessions"), "{reply}");
    // A change counts from the next login on.
    users(&accounts, &["set", "ada", "--max-sessions", "3"]);
    let _third = Ftp::log_in(&server, "ada");
    users(&accounts, &["set", "ada", "--max-sessions", "none"]);
    let reply = log_in(&mut Ftp::connect(&server), "ada");
    assert!(reply.starts_with("421 Too many sessions"), "{reply}");
}

#[test]
fn the_rate_of_a_user_overrides_that_of_the_server() {
    let dir = TestDir::new("ftp-user-rate");
    dir.write("root/file", vec![7; 70_000]);
    let accounts = accounts(&dir, &[("ada", "lrwd", &[]), ("bob", "lrwd", &[])]);
    users(&accounts, &["set", "ada", "--rate-limit", "200000"]);
    users(&accounts, &["set", "bob", "--rate-limit", "0"]);
    // At this rate the file takes a day.
    let server = server_with(&dir, &accounts, &["--rate-limit", "1"]);
    let mut ada = Ftp::log_in(&server, "ada");
    let begun = Instant::now();
    assert_eq!(ada.receive("RETR file").len(), 70_000);
    // A quarter of a second's worth may pass at once, the rest takes 100 ms.
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(90), "{took:?}");
    let mut bob = Ftp::log_in(&server, "bob");
    assert_eq!(bob.receive("RETR file").len(), 70_000);
    assert!(bob.store("STOR up", &[1; 70_000]).starts_with("226"));
}

#[test]
fn the_limits_of_users_are_set_listed_and_removed() {
    let dir = TestDir::new("users-limits");
    let accounts = accounts(&dir, &[("ada", "lr", &[]), ("bob", "lr", &[])]);
    let set = ["set", "ada", "--rate-limit", "1MiB", "--max-sessions", "3"];
    users(&accounts, &set);
    assert_eq!(
        users(&accounts, &["list"]),
        "NAME  RIGHTS  HOME  USED  QUOTA  RATE     SESSIONS\n\
         ada   lr:/    /     0     -      1048576  3\n\
         bob   lr:/    /     0     -      -        -\n"
    );
    let listed: Value = serde_json::from_str(&users(&accounts, &["list", "--json"])).unwrap();
    assert_eq!(listed[0]["rate_limit"], json!(1_048_576));
    assert_eq!(listed[0]["max_sessions"], json!(3));
    assert_eq!(listed[1]["rate_limit"], Value::Null);
    users(&accounts, &["set", "ada", "--rate-limit", "none"]);
    assert!(!users(&accounts, &["list"]).contains("RATE"));
    users(&accounts, &["set", "ada", "--max-sessions", "none"]);
    assert!(!users(&accounts, &["list"]).contains("SESSIONS"));
    for (option, value, says) in [
        ("--rate-limit", "fast", "invalid size `fast`"),
        ("--max-sessions", "0", "it must be at least 1"),
        ("--max-sessions", "-1", "invalid number `-1`"),
        ("--max-sessions", "4294967296", "is too large"),
    ] {
        let value = format!("{option}={value}");
        let line = ["users", "set", "ada", &value, "--accounts", &accounts];
        let (code, _, stderr) = run(&line);
        assert_eq!((code, stderr.lines().count()), (Some(2), 1), "{stderr}");
        assert!(stderr.contains(says), "{stderr}");
    }
}
