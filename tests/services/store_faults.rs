//! The store when the system refuses it something: folders that cannot be read, no descriptors.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::http::raw::{Connection, get, request};
use crate::http::upload::{put, site};
use crate::support::{BoundedCommand, TestDir, TestServer, has_tool, wait_until};

/// A user without rights, whom permissions bind.
const NOBODY: u32 = 65534;

/// The names in a folder that are not hidden, sorted.
pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort();
    names
}

/// Does something while the server can open no further file or socket.
pub(crate) fn without_descriptors<T>(server: &TestServer, act: impl FnOnce() -> T) -> T {
    let pid = Pid::from_raw(server.pid().cast_signed());
    let limits = rustix::process::getrlimit(Resource::Nofile);
    // At 3, `try_clone` would be refused as invalid: it asks for a number from 3 on.
    let none = Rlimit {
        current: Some(4),
        maximum: limits.maximum,
    };
    let old = prlimit(pid, Resource::Nofile, none).unwrap();
    let done = act();
    prlimit(pid, Resource::Nofile, old).unwrap();
    done
}

#[test]
fn a_put_without_descriptors_is_503_and_leaves_no_file() {
    let (dir, server) = site("put-descriptors", &["--on-duplicate", "overwrite"]);
    dir.write("folder/old", "the old content");
    for (target, status) in [("/folder/new", 201), ("/folder/old", 204)] {
        let mut connection = Connection::open(&server);
        connection.send([&request("PUT", target, &["Content-Length: 2"])[..], b"x"].concat());
        wait_until("the upload has begun", || {
            let staged = fs::read_dir(dir.join(".socketserver-partial"));
            staged.is_ok_and(|mut parts| {
                parts.any(|part| part.unwrap().metadata().is_ok_and(|part| part.len() == 1))
            })
        });
        let answer = without_descriptors(&server, || {
            connection.send("y");
            connection.receive()
        });
        assert_eq!(answer.status, 503, "{target}: {}", answer.text());
        assert!(!answer.text().contains("no_space"), "{}", answer.text());
        assert_eq!(names_in(&dir.join("folder")), ["old"], "{target}");
        assert_eq!(get(&server, "/folder/old").text(), "the old content");
        assert_eq!(put(&server, "/later", &[], "x").status / 100, 2);
        assert_eq!(put(&server, target, &[], "xy").status, status);
        let _ = fs::remove_file(dir.join("folder/new"));
        dir.write("folder/old", "the old content");
    }
}

#[test]
fn an_upload_is_refused_while_a_folder_cannot_be_counted() {
    const TEST: &str = "an_upload_is_refused_while_a_folder_cannot_be_counted";
    let dir = TestDir::new("quota-unreadable");
    dir.write("site/closed/large", "x".repeat(90));
    let (site, closed) = (dir.join("site"), dir.join("site/closed"));
    let is_root = rustix::process::geteuid().is_root();
    let as_nobody = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    let mut program = &as_nobody[..0];
    if is_root {
        if !has_tool("setpriv", TEST) {
            return;
        }
        let mut version = Command::new("setpriv");
        version.args(&as_nobody[1..]);
        version.args([env!("CARGO_BIN_EXE_socketserver"), "--version"]);
        if !version.succeeds() {
            let why = "this user cannot run the binary as `nobody`";
            let _ = writeln!(std::io::stderr(), "SKIPPED {TEST}: {why}");
            return;
        }
        program = &as_nobody;
        chown(&site, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let set_mode = |mode| fs::set_permissions(&closed, fs::Permissions::from_mode(mode)).unwrap();
    set_mode(0o000);
    let arguments = ["http", site.to_str().unwrap(), "--upload", "--quota", "100"];
    let server = TestServer::start_by(program, &arguments, 1, |command| command);
    // The 90 bytes of the closed folder may leave no room for it.
    let refused = put(&server, "/a", &[], "x".repeat(11));
    assert!(matches!(refused.status, 503 | 507), "{}", refused.text());
    assert_eq!(names_in(&site), ["closed"]);
    set_mode(0o755);
    wait_until("the folder is counted", || {
        put(&server, "/b", &[], "x".repeat(10)).status == 201
    });
    assert_eq!(put(&server, "/c", &[], "x").status, 507);
    assert_eq!(names_in(&site), ["b", "closed"]);
}
