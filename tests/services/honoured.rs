//! Options that a service cannot honour, and `off` for every time-out.

use std::process::Command;

use crate::support::{BoundedCommand, TestDir, TestServer, run};

/// For each service, or its mode: what it cannot honour.
const CASES: &[(&[&str], &[&str])] = &[
    (&["ping"], DATAGRAMS),
    (&["echo", "--udp"], DATAGRAMS),
    (&["time", "--udp"], DATAGRAMS),
    (&["time", "--sntp"], DATAGRAMS),
    (&["time", "--sntp"], &["--utc", "--format=rfc3339"]),
    (
        &["http", "DIR"],
        &["--auth-key-file=/dev/null", "--auth-digest=md5"],
    ),
    (&["echo"], &["--access-log=-"]),
    (&["upload", "DIR"], &["--access-log=-"]),
    (&["echo", "--model=threads"], &["--threads=3"]),
    (&["echo", "--model=processes"], &["--threads=3"]),
    (
        &["echo", "--model=sequential"],
        &["--threads=3", "--max-threads=3"],
    ),
    (
        &["echo", "--model=processes", "--proxy-protocol=127.0.0.0/8"],
        &["--max-per-ip=1"],
    ),
];

const DATAGRAMS: &[&str] = &[
    "--proxy-protocol=127.0.0.0/8",
    "--tls-self-signed",
    "--auth-key-file=/dev/null",
    "--auth-digest=md5",
    "--max-connections=1",
    "--max-per-ip=1",
    "--backlog=1",
    "--idle-timeout=1s",
    "--head-timeout=1s",
    "--read-timeout=1s",
    "--write-timeout=1s",
    "--min-rate=1",
    "--access-log=-",
];

#[test]
fn an_option_that_a_service_cannot_honour_is_wrong_usage() {
    let dir = TestDir::new("honoured");
    for (service, options) in CASES {
        let service: Vec<&str> = service
            .iter()
            .map(|word| if *word == "DIR" { dir.as_str() } else { word })
            .collect();
        for option in *options {
            let line = [&["serve"], &service[..], &[option, "--bind=127.0.0.1:0"]].concat();
            let (code, out, error) = run(&line);
            let name = option.split('=').next().unwrap();
            assert_eq!((code, out.as_str()), (Some(2), ""), "{line:?}: {error}");
            assert_eq!(error.lines().count(), 1, "{line:?}: {error}");
            let expected = format!("socketserver: {name} does not apply: ");
            assert!(error.starts_with(&expected), "{line:?}: {error}");
        }
    }
}

#[test]
fn help_offers_only_what_a_service_can_honour() {
    let help = |service| run(&["serve", service, "--help"]).1;
    let offers = |help: &str, option: &str| {
        let option = option.split('=').next().unwrap().to_owned();
        help.lines().any(|line| {
            let line = line.trim_start();
            line == option || line.starts_with(&format!("{option} "))
        })
    };
    let ping = help("ping");
    for option in DATAGRAMS {
        assert!(!offers(&ping, option), "{option}: {ping}");
    }
    assert!(
        offers(&ping, "--grace") && offers(&ping, "--allow"),
        "{ping}"
    );
    let http = help("http");
    assert!(
        !http.contains("SOCKETSERVER_KEY") && !http.contains("--auth"),
        "{http}"
    );
    assert!(offers(&http, "--access-log"), "{http}");
    let echo = help("echo");
    assert!(
        offers(&echo, "--auth-key-file") && !offers(&echo, "--access-log"),
        "{echo}"
    );
}

#[test]
fn help_says_when_a_server_of_processes_removes_expired_uploads() {
    for service in ["upload", "http"] {
        let (_, help, _) = run(&["serve", service, "--help"]);
        let words: Vec<&str> = help.split_whitespace().collect();
        let help = words.join(" ");
        let says = "with --model processes, when the next upload begins";
        assert!(help.contains(says), "{help}");
    }
}

#[test]
fn variables_that_do_not_apply_are_ignored_with_a_warning() {
    let dir = TestDir::new("ignored");
    for (arguments, variable, value) in [
        (
            &["http", dir.as_str()][..],
            "SOCKETSERVER_AUTH_DIGEST",
            "md5",
        ),
        (&["ping"], "SOCKETSERVER_MAX_CONNECTIONS", "1"),
        (&["echo", "--udp"], "SOCKETSERVER_TLS_SELF_SIGNED", "false"),
        (
            &["echo", "--udp"],
            "SOCKETSERVER_PROXY_PROTOCOL",
            "nonsense",
        ),
        (&["time", "--sntp"], "SOCKETSERVER_UTC", "true"),
        (&["echo"], "SOCKETSERVER_ACCESS_LOG", "/no/such/folder/log"),
        (&["echo", "--model", "threads"], "SOCKETSERVER_THREADS", "3"),
    ] {
        let server = TestServer::start_with(arguments, 1, |command| command.env(variable, value));
        let line = server.wait_for_log(&format!("{variable} is ignored: "));
        assert!(line.contains("WARN"), "{line}");
    }
}

#[test]
fn a_variable_of_a_protection_that_does_not_apply_is_refused() {
    let dir = TestDir::new("unprotected");
    let (http, socket) = (dir.as_str(), format!("unix:{}/s", dir.as_str()));
    for (service, variable, value) in [
        (&["http", http][..], "SOCKETSERVER_AUTH_KEY_FILE", "/no/key"),
        (&["http", http, "-q"], "SOCKETSERVER_KEY", "secret"),
        (&["ping"], "SOCKETSERVER_KEY", "secret"),
        (&["ping"], "SOCKETSERVER_TLS_SELF_SIGNED", "true"),
        (&["echo", "--udp"], "SOCKETSERVER_KEY", "secret"),
        (&["echo", "--bind", &socket], "SOCKETSERVER_ALLOW", "::1"),
        (&["echo", "--bind", &socket], "SOCKETSERVER_DENY", "::1"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_socketserver"));
        command.arg("serve").args(service).env(variable, value);
        if !service.contains(&"--bind") {
            command.args(["--bind", "127.0.0.1:0"]);
        }
        let output = command.finish();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{service:?}: {error}");
        let expected = format!("socketserver: {variable} does not apply: ");
        assert!(error.starts_with(&expected), "{service:?}: {error}");
    }
}

#[test]
fn options_about_client_addresses_do_not_apply_to_a_unix_socket() {
    let dir = TestDir::new("unix-options");
    let socket = format!("unix:{}/s", dir.as_str());
    for (option, value) in [
        ("--allow", "::1"),
        ("--deny", "::1"),
        ("--max-per-ip", "1"),
        ("--proxy-protocol", "::1"),
    ] {
        let (code, _, error) = run(&["serve", "echo", "--bind", &socket, option, value]);
        assert_eq!(code, Some(2), "{error}");
        let expected = format!("socketserver: {option} does not apply: ");
        assert!(error.starts_with(&expected), "{error}");
        let tcp = "127.0.0.1:0";
        let arguments = ["echo", "--bind", &socket, "--bind", tcp, option, value];
        let server = TestServer::start_with(&arguments, 2, |command| command);
        server.wait_for_log(&format!("{option} has no effect on unix:"));
    }
}

#[test]
fn a_variable_that_applies_is_no_matter_for_a_warning() {
    let server = TestServer::start_with(&["echo"], 1, |command| {
        command
            .env("SOCKETSERVER_MAX_CONNECTIONS", "1")
            .env("SOCKETSERVER_UDP", "")
    });
    let first = server.connect();
    let second = server.exchange(b"");
    assert!(second.starts_with(b"busy"), "{second:?}");
    drop(first);
    assert!(
        !server
            .stderr_so_far()
            .iter()
            .any(|line| line.contains("ignored"))
    );
}

#[test]
fn every_time_out_can_be_off() {
    let dir = TestDir::new("off");
    let all = [
        "--idle-timeout",
        "--head-timeout",
        "--read-timeout",
        "--write-timeout",
        "--min-rate",
        "--grace",
    ];
    let options: Vec<&str> = all.iter().flat_map(|option| [option, "off"]).collect();
    let mut server = TestServer::start(&[&["echo"], &options[..]].concat());
    server.signal("TERM");
    assert_eq!(server.wait().0, Some(0));
    let options = [
        &["upload", dir.as_str(), "--partial-expiry", "off"],
        &options[..],
    ]
    .concat();
    drop(TestServer::start(&options));
    let exec = ["exec", "--no-auth", "--command-timeout", "off"];
    let server = TestServer::start(&[&exec, &options[4..]].concat());
    let address = server.address().to_string();
    let (code, out, _) = run(&["client", "exec", &address, "--timeout", "off", "echo", "x"]);
    assert_eq!((code, out.as_str()), (Some(0), "x\n"));
}
