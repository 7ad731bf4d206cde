//! `serve http --accounts`: how clients say who they are, and what it costs not to know a password.

use std::io::Write;
use std::net::Shutdown;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::http::raw::{Connection, request};
use crate::http::users::{Guarded, ask_as, authorization, login};
use crate::support::{BoundedCommand, TestServer, has_tool, python, run};

/// A site with a file `a` for ada.
fn site(test: &str, options: &[&str]) -> (Guarded, TestServer) {
    let guarded = Guarded::new(test, &[("ada", "lrwd", "/"), ("bob", "r", "/")]);
    guarded.write("a", "content");
    let server = guarded.start(options);
    (guarded, server)
}

fn ask_wrongly(server: &TestServer) -> u16 {
    Connection::open(server)
        .ask("GET", "/a", &[&authorization("ada", "wrong")])
        .status
}

#[test]
fn a_late_refusal_reaches_a_client_that_has_ended_its_side() {
    let (_guarded, server) = site("login-half-close", &[]);
    let wrong = authorization("ada", "wrong");
    // From the second wrong password on, the answer comes late.
    for _ in 0..3 {
        let mut connection = Connection::open(&server);
        connection.send(request("GET", "/a", &[&wrong]));
        connection.stream().shutdown(Shutdown::Write).unwrap();
        assert_eq!(connection.receive().status, 401);
    }
}

#[test]
fn curl_and_python_log_in() {
    let (_guarded, server) = site("login-clients", &[]);
    let url = format!("http://{}/a", server.address());
    if has_tool("curl", "curl_and_python_log_in") {
        for (login, expected) in [
            ("ada:ada:pass", "content200"),
            ("ada:pass", "401"),
            ("bob:bob:pass", "content200"),
        ] {
            let output = Command::new("curl")
                .args(["-s", "-m", "20", "-w", "%{http_code}", "-u", login, &url])
                .finish();
            let said = String::from_utf8(output.stdout).unwrap();
            assert!(said.ends_with(expected), "{login}: {said}");
        }
    }
    let script = r#"
import sys, urllib.request, urllib.error
url = sys.argv[1]
passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
passwords.add_password("socketserver", url, "ada", sys.argv[2])
opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(passwords))
try:
    print(opener.open(url, timeout=20).read().decode())
except urllib.error.HTTPError as error:
    print(error.code)
"#;
    for (password, expected) in [("ada:pass", "content\n"), ("wrong", "401\n")] {
        if let Some(said) = python("curl_and_python_log_in", script, &[&url, password]) {
            assert_eq!(said, expected);
        }
    }
}

#[test]
fn every_request_of_a_connection_is_judged_by_its_own_credentials() {
    let (_guarded, server) = site("login-changing", &[]);
    let mut connection = Connection::open(&server);
    for (user, method, target, status) in [
        ("-", "GET", "/a", 401),
        ("ada", "GET", "/a", 200),
        ("-", "GET", "/a", 401),
        ("bob", "GET", "/a", 200),
        ("bob", "GET", "/", 403),
        ("ada", "GET", "/?json", 200),
        ("bob", "DELETE", "/a", 403),
        ("ada", "DELETE", "/a", 204),
        ("-", "GET", "/a", 401),
    ] {
        let login = login(user);
        let login: Vec<&str> = login.iter().map(String::as_str).collect();
        assert_eq!(
            connection.ask(method, target, &login).status,
            status,
            "{user} {method} {target}"
        );
    }
}

#[test]
fn who_may_not_store_a_file_is_told_before_sending_it() {
    let (guarded, server) = site("login-body", &[]);
    let expecting = ["Content-Length: 1000000", "Expect: 100-continue"];
    for (login, status) in [
        (login("-"), 401),
        (login("bob"), 403),
        (vec![authorization("ada", "wrong")], 401),
    ] {
        let fields: Vec<&str> = expecting
            .iter()
            .copied()
            .chain(login.iter().map(String::as_str))
            .collect();
        let mut connection = Connection::open(&server);
        // `receive` takes the first status that comes: a 100 would be it.
        assert_eq!(connection.ask("PUT", "/new", &fields).status, status);
        connection.assert_closed();
    }
    let mut connection = Connection::open(&server);
    let short = [
        &request("PUT", "/new", &["Content-Length: 5"]),
        &b"12345"[..],
    ]
    .concat();
    connection.send(short);
    assert_eq!(connection.receive().status, 401);
    assert_eq!(
        connection.ask("GET", "/a", &[&login("ada")[0]]).text(),
        "content",
        "the connection goes on"
    );
    // Not even a whole body, sent unasked, is more than dropped.
    let mut connection = Connection::open(&server);
    connection.send(request("PUT", "/new", &["Content-Length: 10000000"]));
    let _ = connection.stream().write_all(&vec![b'x'; 10_000_000]);
    assert_eq!(connection.receive().status, 401);
    assert_eq!(guarded.read("new"), None);
    assert!(!guarded.dir.join("site/.socketserver-partial").exists());
}

#[test]
fn who_guesses_waits_and_only_passwords_wait_with_him() {
    let (_guarded, server) = site("login-guesses", &["--threads", "1", "--max-threads", "1"]);
    assert_eq!(ask_as(&server, "ada", "GET", "/a", &[]).status, 200);
    // The ninth answer takes two seconds.
    (0..8).for_each(|_| {
        assert_eq!(ask_wrongly(&server), 401);
        server.wait_for_log("wrong name or password");
    });
    let begun = Instant::now();
    let mut guessing = Connection::open(&server);
    guessing.send(request(
        "PUT",
        "/guessed",
        &[&authorization("ada", "wrong"), "Content-Length: 300000"],
    ));
    guessing.send(vec![b'x'; 300_000]);
    server.wait_for_log("wrong name or password");
    // No other password of this address is looked at until then, and who was let in before still
    // is: the one thread there is doesn't wait.
    let refused = ask_as(&server, "bob", "GET", "/a", &[]);
    assert_eq!(refused.status, 503);
    assert!(matches!(refused.field("Retry-After"), "1" | "2"));
    assert_eq!(ask_as(&server, "ada", "GET", "/a", &[]).status, 200);
    guessing.stream().set_nonblocking(true).unwrap();
    assert!(
        guessing.stream().peek(&mut [0]).is_err(),
        "the guess was answered at once"
    );
    guessing.stream().set_nonblocking(false).unwrap();
    assert_eq!(guessing.receive().status, 401);
    assert!(
        begun.elapsed() >= Duration::from_secs(2),
        "it came after {:?}",
        begun.elapsed()
    );
    assert_eq!(ask_as(&server, "bob", "GET", "/a", &[]).status, 200);
}

#[test]
fn what_changes_in_the_accounts_counts_from_the_next_request_on() {
    let (guarded, server) = site("login-changes", &[]);
    let mut connection = Connection::open(&server);
    let mut status = |user: &str| connection.ask("GET", "/a", &[&login(user)[0]]).status;
    assert_eq!(
        (status("ada"), status("bob"), status("eve")),
        (200, 200, 401)
    );
    guarded.allow("ada", "l", "/");
    guarded.allow("eve", "r", "/");
    assert_eq!(
        (status("ada"), status("bob"), status("eve")),
        (403, 200, 200)
    );
    guarded.store.remove_user("bob").unwrap();
    let accounts = guarded.dir.join("accounts.db");
    let (code, ..) = run(&[
        "users",
        "remove",
        "eve",
        "--accounts",
        accounts.to_str().unwrap(),
    ]);
    assert_eq!((code, status("bob"), status("eve")), (Some(0), 401, 401));
}

#[test]
fn the_log_has_the_name_as_one_field_and_never_the_password() {
    let guarded = Guarded::new("login-log", &[("ada \"l", "r", "/")]);
    guarded.write("a", "content");
    let server = guarded.start(&["--access-log", "-", "-v"]);
    ask_as(&server, "ada \"l", "GET", "/a", &[]);
    let line = server.wait_for_log("GET /a");
    assert!(line.starts_with(r"127.0.0.1 - ada\x20\x22l ["), "{line}");
    for (user, password) in [("ada \"l", "opensesame"), ("opensesame", "opensesame")] {
        Connection::open(&server).ask("GET", "/b", &[&authorization(user, password)]);
        let line = server.wait_for_log("GET /b");
        assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
    }
    drop(server);
    let again = guarded.start(&["--access-log", "-", "-v"]);
    Connection::open(&again).ask("GET", "/c", &[&authorization("eve", "opensesame")]);
    loop {
        let line = again.wait_for_log("");
        assert!(!line.contains("opensesame"), "{line}");
        if line.contains("GET /c") {
            break;
        }
    }
}

#[test]
fn what_is_no_request_is_logged_as_nobodys() {
    let (_guarded, server) = site("login-malformed", &["--access-log", "-"]);
    let mut connection = Connection::open(&server);
    connection.ask("GET", "/a", &[&login("ada")[0]]);
    connection.send("BAD\r\n\r\n");
    assert_eq!(connection.receive().status, 400);
    let line = server.wait_for_log("BAD");
    assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
}

#[test]
fn a_page_of_another_origin_may_ask_before_it_logs_in() {
    let (_guarded, server) = site("login-cors", &["--cors", "https://example.org"]);
    let origin = "Origin: https://example.org";
    let fields = [
        origin,
        "Access-Control-Request-Method: GET",
        "Access-Control-Request-Headers: authorization",
    ];
    let preflight = Connection::open(&server).ask("OPTIONS", "/a", &fields);
    assert_eq!(
        (
            preflight.status,
            preflight.field("Access-Control-Allow-Headers")
        ),
        (204, "authorization")
    );
    for (user, status) in [("-", 401), ("ada", 200)] {
        let answer = ask_as(&server, user, "GET", "/a", &[origin]);
        assert_eq!(
            (answer.status, answer.field("Access-Control-Allow-Origin")),
            (status, "https://example.org")
        );
    }
}

#[test]
fn passwords_in_the_clear_on_a_network_are_warned_of() {
    let guarded = Guarded::new("login-warning", &[]);
    let server = guarded.start(&["--bind", "127.0.0.1:0", "--bind", "0.0.0.0:0"]);
    assert!(server.wait_for_log("in the clear").contains("0.0.0.0:0"));
    // Said before the ready line, or never.
    let server = guarded.start(&["--access-log", "-"]);
    ask_as(&server, "-", "GET", "/a", &[]);
    assert!(!server.wait_for_log("").contains("in the clear"));
}

#[test]
fn processes_that_each_count_wrong_passwords_are_warned_of() {
    let guarded = Guarded::new("login-processes", &[]);
    let server = guarded.start(&["--model", "processes"]);
    assert!(server.wait_for_log("guessing").contains("each process"));
}

#[test]
fn accounts_that_are_missing_or_would_be_served_are_refused() {
    let guarded = Guarded::new("login-refused", &[]);
    let (dir, accounts) = (guarded.dir.as_str(), guarded.dir.join("accounts.db"));
    for (dir, accounts, says) in [
        (dir, accounts.to_str().unwrap(), "would be served"),
        (dir, "/none/accounts.db", "/none/accounts.db"),
    ] {
        let (code, _, stderr) = run(&[
            "serve",
            "http",
            dir,
            "--bind",
            "127.0.0.1:0",
            "--accounts",
            accounts,
        ]);
        assert_eq!(code, Some(2), "{stderr}");
        assert!(
            stderr.contains(says) && stderr.lines().count() == 1,
            "{stderr}"
        );
    }
}
