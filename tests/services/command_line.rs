//! Wrong usage: one line on standard error that names what failed, and the contract's exit code.

use std::io::{Read, Write};

use crate::support::{BoundedCommand, TestDir, TestServer, run};

fn failure(arguments: &[&str]) -> (Option<i32>, String) {
    let (code, stdout, stderr) = run(arguments);
    assert_eq!(stdout, "", "{arguments:?}");
    assert_eq!(stderr.lines().count(), 1, "{arguments:?}: {stderr}");
    assert!(
        stderr.starts_with("socketserver: "),
        "{arguments:?}: {stderr}"
    );
    (code, stderr)
}

#[test]
fn wrong_usage_is_one_line_and_code_2() {
    for (arguments, says) in [
        (&[][..], "no command"),
        (&["serv"], "did you mean 'serve'"),
        (&["serve", "htpp"], "did you mean 'http'"),
        (
            &["serve", "http", "--thread", "3"],
            "did you mean '--threads'",
        ),
        (&["serve", "http", "--threads", "0"], "at least 1"),
        (&["serve", "http", "--model", "magic"], "--model"),
        (&["serve", "http", "--bind", "nonsense"], "invalid address"),
        (
            &["serve", "http", "--idle-timeout", "soon"],
            "invalid duration",
        ),
        (&["serve", "http", "--min-rate", "fast"], "invalid size"),
        (&["serve", "http", "--tls-cert", "/x"], "--tls-key"),
        (
            &[
                "serve",
                "http",
                "--tls-self-signed",
                "--tls-cert",
                "/x",
                "--tls-key",
                "/y",
            ],
            "cannot be used with",
        ),
        (
            &["serve", "http", "--allow", "300.0.0.0/8"],
            "--allow: invalid network",
        ),
        (
            &["serve", "http", "--deny", "@/no/such/file"],
            "/no/such/file",
        ),
        (&["serve", "http", "--deny", "@/no/such/file"], "--deny: "),
        (
            &["serve", "http", "--allow", "@"],
            "--allow: invalid network `@`",
        ),
        (
            &["serve", "echo", "--log-level", "foo"],
            "use error, warn, info, debug, trace or off",
        ),
        (
            &["serve", "echo", "--idle-timeout", "18446744073709551615"],
            "too long",
        ),
        (
            &["serve", "echo", "--threads", "1000"],
            "--threads 1000 exceeds --max-threads 256",
        ),
        (
            &["client", "time", "--tls-ca", "/no/such/file", "127.0.0.1:1"],
            "/no/such/file",
        ),
        (&["serve", "http", "/no/such/folder"], "/no/such/folder"),
        (
            &[
                "serve",
                "http",
                "www",
                "--access-log",
                "/no/such/folder/log",
            ],
            "--access-log",
        ),
        (
            &["serve", "http", "www", "--log-file", "/no/such/folder/log"],
            "--log-file",
        ),
        (&["serve", "http", "-v", "-q"], "cannot be used with"),
    ] {
        let (code, line) = failure(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {line}");
        assert!(line.contains(says), "{arguments:?}: {line}");
    }
}

#[test]
fn a_usage_error_names_the_help_that_has_the_options() {
    for (arguments, command) in [
        (&["serv"][..], "socketserver"),
        (&["serve", "echo", "--nope"], "socketserver serve echo"),
        (&["client", "ping"], "socketserver client ping"),
        (&["users", "add", "--nope"], "socketserver users add"),
    ] {
        let (_, line) = failure(arguments);
        let end = format!("; see '{command} --help'\n");
        assert!(line.ends_with(&end), "{arguments:?}: {line}");
    }
}

#[test]
fn the_largest_numbers_are_limits_too() {
    let largest = u64::MAX.to_string();
    let server = TestServer::start(&[
        "echo",
        "--max-connections",
        &largest,
        "--max-per-ip",
        &largest,
        "--max-threads",
        &largest,
        "--backlog",
        &u32::MAX.to_string(),
        "--min-rate",
        &largest,
    ]);
    let mut stream = server.connect();
    stream.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
}

#[test]
fn certificates_that_can_not_be_used_are_named() {
    let dir = TestDir::new("bad-tls");
    dir.write("empty.pem", "");
    let (cert, key) = (dir.join("empty.pem"), dir.join("missing.pem"));
    let (code, line) = failure(&[
        "serve",
        "http",
        dir.as_str(),
        "--tls-cert",
        cert.to_str().unwrap(),
        "--tls-key",
        key.to_str().unwrap(),
    ]);
    assert_eq!(code, Some(2));
    assert!(line.contains("empty.pem"), "{line}");
}

#[test]
fn an_address_that_is_taken_is_code_1() {
    let dir = TestDir::new("taken");
    let first = TestServer::start(&["http", dir.as_str()]);
    let (code, line) = failure(&[
        "serve",
        "http",
        dir.as_str(),
        "--bind",
        &first.address().to_string(),
    ]);
    assert_eq!(code, Some(1));
    assert!(line.contains("in use"), "{line}");
}

#[test]
fn help_completions_and_manual_come_from_one_definition() {
    for arguments in [
        &["--help"][..],
        &["serve", "http", "--help"],
        &["doctor", "ftp", "--help"],
        &["completions", "bash"],
        &["man"],
        &["--version"],
    ] {
        let (code, stdout, stderr) = run(arguments);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{arguments:?}");
        assert!(!stdout.is_empty(), "{arguments:?}");
    }
    let manual = run(&["man"]).1;
    assert!(
        manual.contains("socketserver-serve-http") && manual.contains("idle\\-timeout"),
        "the manual has no options"
    );
    assert!(manual.contains("socketserver-doctor-ftp"));
    let (_, help, _) = run(&["serve", "http", "--help"]);
    let place = |text| help.find(text).unwrap_or_else(|| panic!("no {text}"));
    assert!(place("HTTPS:") < place("--hsts") && place("--https-redirect") < place("Uploads:"));
    for option in [
        "--bind",
        "--model",
        "--max-per-ip",
        "--head-timeout",
        "--proxy-protocol",
        "--tls-key",
        "--grace",
        "--access-log",
    ] {
        assert!(help.contains(option), "{option}");
        assert!(run(&["completions", "zsh"]).1.contains(option), "{option}");
    }
}

#[test]
fn the_ready_lines_are_the_contract_s() {
    let dir = TestDir::new("ready");
    let socket = dir.join("http.sock");
    let unix = format!("unix:{}", socket.display());
    let arguments = [
        "http",
        dir.as_str(),
        "--bind",
        "127.0.0.1:0",
        "--bind",
        ":0",
        "--bind",
        "[::1]:0",
        "--bind",
        &unix,
    ];
    let server = TestServer::start_with(&arguments, 4, |command| command);
    let shape = |line: &str| {
        line.chars()
            .map(|c| if c.is_ascii_digit() { '0' } else { c })
            .collect::<String>()
    };
    assert!(
        shape(&server.ready[0]).starts_with("http listening on http://000.0.0.0:0"),
        "{:?}",
        server.ready
    );
    assert!(
        server.ready[1].starts_with("http listening on http://[::]:")
            && server.ready[1].ends_with('/')
    );
    assert!(server.ready[2].starts_with("http listening on http://[::1]:"));
    assert_eq!(server.ready[3], format!("http listening on {unix}"));
    drop(server);
}

#[test]
fn an_empty_variable_is_as_good_as_none() {
    let dir = TestDir::new("variables");
    let server = TestServer::start_with(&["http", dir.as_str()], 1, |command| {
        command
            .env("SOCKETSERVER_THREADS", "")
            .env("SOCKETSERVER_IDLE_TIMEOUT", "")
    });
    assert!(
        server
            .exchange(b"GET / HTTP/1.0\r\n\r\n")
            .starts_with(b"HTTP/1.1 200")
    );
    let (code, line) = {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_socketserver"))
            .args(["serve", "http", dir.as_str()])
            .env("SOCKETSERVER_THREADS", "many")
            .finish();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    assert_eq!(code, Some(2), "{line}");
}
