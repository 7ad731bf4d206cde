//! `doctor ftp`: what clients will meet, and what mends it.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;

use crate::support::ftp::server_of_ada;
use crate::support::{BoundedCommand, TestDir, TestServer, certificate, run};

/// Runs `doctor ftp` for the folder of the test: exit code, report, error.
fn doctor(dir: &TestDir, options: &[&str]) -> (Option<i32>, String, String) {
    std::fs::create_dir_all(dir.join("root")).unwrap();
    let root = dir.join("root").to_str().unwrap().to_owned();
    let free: &[&str] = match options.contains(&"--bind") {
        true => &[],
        false => &["--bind", "127.0.0.1:0"],
    };
    run(&[&["doctor", "ftp", &root][..], free, options].concat())
}

/// The lines of a report about a subject, each with its level.
fn about<'a>(report: &'a str, subject: &str) -> Vec<&'a str> {
    let is_about = |line: &&str| line.get(9..).is_some_and(|rest| rest.starts_with(subject));
    report.lines().filter(is_about).collect()
}

#[test]
fn a_server_on_loopback_is_well() {
    let dir = TestDir::new("doctor-well");
    let log = dir.join("transfers.log");
    let options = ["--transfer-log", log.to_str().unwrap()];
    let (code, report, error) = doctor(&dir, &options);
    assert_eq!((code, error.as_str()), (Some(0), ""), "{report}");
    for (subject, text) in [
        ("control", "127.0.0.1:0 can be bound"),
        ("loopback", "are told 127.0.0.1"),
        ("passive ports", "any free port"),
        ("self-test", "a listing came over a passive data connection"),
    ] {
        let lines = about(&report, subject);
        assert_eq!(lines.len(), 1, "{subject}: {report}");
        assert!(
            lines[0].starts_with("ok ") && lines[0].contains(text),
            "{report}"
        );
    }
    assert!(
        report.lines().all(|line| line.chars().count() <= 80),
        "{report}"
    );
    assert!(!log.exists(), "a log was created");
}

#[test]
fn nothing_is_left_behind() {
    let dir = TestDir::new("doctor-traces");
    std::fs::create_dir_all(dir.join("root")).unwrap();
    std::fs::create_dir_all(dir.join("tmp")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_socketserver"))
        .args(["doctor", "ftp", "--bind", "127.0.0.1:0"])
        .arg(dir.join("root"))
        .env("TMPDIR", dir.join("tmp"))
        .finish();
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(about(&report, "self-test")[0].starts_with("ok"), "{report}");
    for folder in ["root", "tmp"] {
        let left = std::fs::read_dir(dir.join(folder)).unwrap().count();
        assert_eq!(left, 0, "{folder}");
    }
}

#[test]
fn an_address_in_use_is_a_problem_unless_the_server_itself_has_it() {
    let dir = TestDir::new("doctor-in-use");
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    // A program that is no FTP server: it closes without a line.
    let closes = std::thread::spawn(move || drop(taken.accept()));
    let (code, report, error) = doctor(&dir, &["--bind", &address]);
    assert_eq!(code, Some(1), "{report}");
    assert!(
        error.starts_with("socketserver: 1 problem for clients of ftp; use --bind"),
        "{error}"
    );
    assert_eq!(error.lines().count(), 1);
    closes.join().unwrap();
    let server = server_of_ada(&dir, &[]);
    let address = server.address().to_string();
    let (code, report, _) = doctor(&dir, &["--bind", &address]);
    assert_eq!(code, Some(0), "{report}");
    assert!(about(&report, "control")[0].starts_with("note"), "{report}");
}

#[test]
fn a_port_of_the_range_that_is_in_use_is_a_problem() {
    let dir = TestDir::new("doctor-range");
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let range = format!("{port}-{port}");
    let (code, report, error) = doctor(&dir, &["--passive-ports", &range]);
    assert_eq!(code, Some(1), "{report}");
    assert!(error.contains("use --passive-ports "), "{error}");
    // No listing can come while the only port is taken.
    let test = about(&report, "self-test");
    assert!(test[0].starts_with("problem"), "{report}");
    // What the report says mends it.
    let mend = error.split("--passive-ports ").nth(1).unwrap();
    let mend = mend.split([';', '\n']).next().unwrap();
    let (_, report, _) = doctor(&dir, &["--passive-ports", mend]);
    assert!(
        about(&report, "passive ports")[0].contains("can be bound"),
        "{report}"
    );
    drop(taken);
    let output = Command::new(env!("CARGO_BIN_EXE_socketserver"))
        .args(["doctor", "ftp", "--bind", "127.0.0.1:0"])
        .arg(dir.join("root"))
        .env("SOCKETSERVER_PASSIVE_PORTS", &range)
        .finish();
    assert_eq!(output.status.code(), Some(0));
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(report.contains("1 port"), "{report}");
}

#[test]
fn an_address_that_clients_cannot_use_is_a_problem() {
    let dir = TestDir::new("doctor-told");
    for (told, mend) in [
        ("10.1.2.3", "--passive-address PUBLIC-ADDRESS"),
        ("no..name", "--passive-address ADDRESS"),
    ] {
        let ports = ["--passive-ports", "61100-61199"];
        let options = [&["--bind", ":0", "--passive-address", told], &ports[..]].concat();
        let (code, report, error) = doctor(&dir, &options);
        assert_eq!(code, Some(1), "{told}: {report}");
        assert!(error.contains(mend), "{told}: {error}");
        assert!(report.contains(&format!("use {mend}")), "{report}");
    }
    let options = ["--passive-address", "no..name"];
    assert_eq!(
        doctor(&dir, &options).0,
        Some(1),
        "loopback clients are told it too"
    );
}

#[test]
fn a_proxy_must_forward_the_ports_and_the_self_test_does_without_it() {
    let dir = TestDir::new("doctor-proxy");
    let (code, report, _) = doctor(&dir, &["--proxy-protocol", "127.0.0.0/8"]);
    assert_eq!(code, Some(0), "{report}");
    assert!(about(&report, "proxy")[0].starts_with("note"), "{report}");
    assert!(about(&report, "self-test")[0].starts_with("ok"), "{report}");
}

#[test]
fn the_self_test_uses_the_certificate() {
    let dir = TestDir::new("doctor-tls");
    let Some((certificate, key)) = certificate("the_self_test_uses_the_certificate", &dir) else {
        return;
    };
    let files = ["--tls-cert", &certificate, "--tls-key", &key];
    for more in [&[][..], &["--require-tls", "all"], &["--tls-implicit"]] {
        let (code, report, error) = doctor(&dir, &[&files, more].concat());
        assert_eq!((code, error.as_str()), (Some(0), ""), "{more:?}: {report}");
        let line = about(&report, "self-test")[0];
        assert!(
            line.contains("over an encrypted passive"),
            "{more:?}: {report}"
        );
        let line = about(&report, "TLS");
        assert_eq!(line.len(), 1, "{report}");
    }
}

#[test]
fn what_serve_refuses_is_refused_in_the_same_way() {
    let dir = TestDir::new("doctor-usage");
    dir.write("root/accounts.db", "");
    let within = dir.join("root/accounts.db").to_str().unwrap().to_owned();
    for options in [
        &["--require-tls", "all"][..],
        &["--tls-implicit"],
        &["--tls-cert", "/nonexistent", "--tls-key", "/nonexistent"],
        &["--accounts", "/nonexistent/accounts.db"],
        &["--accounts", &within],
        &["--model", "processes"],
        &["--auth-key-file", "/nonexistent"],
        &["--passive-ports", "2-1"],
        &["--allow", "nowhere"],
        &["--no-such-option"],
    ] {
        let (code, report, error) = doctor(&dir, options);
        assert_eq!(
            (code, report.as_str()),
            (Some(2), ""),
            "{options:?}: {error}"
        );
        let root = dir.join("root").to_str().unwrap().to_owned();
        let serve = ["serve", "ftp", &root, "--bind", "127.0.0.1:0"];
        let (code, _, served) = run(&[&serve[..], options].concat());
        assert_eq!(code, Some(2), "{options:?}");
        let served = served.lines().last().unwrap_or_default();
        let error = error.replace("doctor ftp", "serve ftp");
        assert_eq!(error.trim_end(), served, "{options:?}");
    }
    let (code, _, error) = run(&["doctor", "ftp", "/nonexistent"]);
    assert_eq!(code, Some(2), "{error}");
    assert_eq!(run(&["doctor"]).0, Some(2));
}

#[test]
fn the_log_warns_of_a_container_where_the_doctor_does() {
    let dir = TestDir::new("doctor-container");
    let (_, report, error) = doctor(&dir, &["--bind", ":0"]);
    let is_container = about(&report, "container")[0].starts_with("problem");
    assert_eq!(
        error.contains("--passive-ports 50000-50100"),
        is_container,
        "{error}"
    );
    let root = dir.join("root").to_str().unwrap().to_owned();
    for (options, warns) in [
        (&["--bind", ":0"][..], is_container),
        (&["--bind", ":0", "--passive-ports", "61100-61199"], false),
        (&["--bind", "127.0.0.1:0"], false),
    ] {
        let server = TestServer::start(&[&["ftp", &root], options].concat());
        server.signal("HUP");
        let mut lines = Vec::new();
        while !lines.iter().any(|line: &String| line.contains("reloaded")) {
            lines.push(server.wait_for_log(""));
        }
        let is_warning = |line: &String| line.contains("--passive-ports 50000-50100");
        assert_eq!(
            lines.iter().any(is_warning),
            warns,
            "{options:?}: {lines:?}"
        );
    }
}
