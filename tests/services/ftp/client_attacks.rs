//! `client ftp` against servers that attack it, and its secrets.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::ftp::client::{client, command, ended, get, paths_in};
use crate::ftp::fake::{Fake, elsewhere};
use crate::support::{TestDir, python};
use crate::upload::{MIB, content};

#[test]
fn a_hostile_listing_leads_nowhere() {
    let home = TestDir::new("ftp-hostile");
    let mut fake = Fake::with(&[("good", b"good")]);
    let names = [
        "../evil",
        "/tmp/evil",
        "a/b",
        "..",
        ".",
        "",
        "x\r",
        "./y",
        "d/../../evil",
    ];
    let lines: Vec<String> = names
        .iter()
        .map(|name| format!("type=file;size=4; {name}\r\n"))
        .collect();
    let folders = "type=dir; ../d\r\ntype=OS.unix=slink:/etc; link\r\nrubbish\r\n";
    let good = "type=file;size=4; good\r\n";
    fake.listing = Some([&lines.concat(), folders, good].concat().into_bytes());
    let server = fake.start();
    let here = home.join("in/here");
    let mirror = [
        "mirror",
        &server.url(""),
        here.to_str().unwrap(),
        "--delete",
    ];
    home.write("in/here/mine", "mine");
    let (code, stdout, stderr) = client(&home, &mirror);
    assert_eq!(code, Some(1), "{stdout}");
    assert!(stdout.starts_with("received 1 file, 4 bytes"), "{stdout}");
    assert_eq!(
        stderr
            .lines()
            .filter(|line| line.contains("refused"))
            .count(),
        names.len() + 1,
        "{stderr}"
    );
    assert!(stderr.contains("cannot be understood") && stderr.contains("nothing is removed"));
    let all = ["in/", "in/here/", "in/here/good", "in/here/mine"];
    assert_eq!(paths_in(Path::new(home.as_str())), all);
}

#[test]
fn no_symlink_here_leads_a_mirror_out_of_its_folder() {
    let home = TestDir::new("ftp-symlink");
    home.write("outside/precious", "old");
    home.write("here/x", "");
    symlink("../outside", home.join("here/d")).unwrap();
    symlink("../outside/precious", home.join("here/f")).unwrap();
    let files: [(&str, &[u8]); 3] = [("d/", b""), ("d/precious", b"new"), ("f", b"new")];
    let server = Fake::with(&files).start();
    let here = home.join("here");
    let mirror = ["mirror", &server.url(""), here.to_str().unwrap()];
    let (code, _, stderr) = client(&home, &mirror);
    assert!(
        code == Some(1) && stderr.contains("d: something of another kind"),
        "{stderr}"
    );
    assert_eq!(fs::read(home.join("outside/precious")).unwrap(), b"old");
    assert!(
        !fs::symlink_metadata(home.join("here/f"))
            .unwrap()
            .is_symlink()
    );
    assert_eq!(
        client(&home, &[&mirror[..], &["--delete"]].concat()).0,
        Some(0)
    );
    assert_eq!(fs::read(home.join("outside/precious")).unwrap(), b"old");
    assert_eq!(fs::read(home.join("here/d/precious")).unwrap(), b"new");
}

/// Whether a client has connected.
fn has_visitor(listener: &TcpListener) -> bool {
    listener.set_nonblocking(true).unwrap();
    listener.accept().is_ok()
}

#[test]
fn a_forged_address_in_the_reply_to_pasv_is_not_used() {
    let home = TestDir::new("ftp-pasv");
    let (listener, forged) = elsewhere();
    let mut fake = Fake::with(&[("f", b"hello")]);
    fake.replies = vec![("EPSV", "500 what?")];
    let server = fake.start();
    // The address is forged and the port is right: the client comes to the server's own address.
    let soon = ["--timeout", "5s"];
    assert_eq!(get(&home, &server, &soon).0, Some(0));
    // Address and port are forged: the port is tried at the server's address.
    server.fake.lock().unwrap().passive_address = Some(forged);
    let (code, _, stderr) = get(&home, &server, &soon);
    assert!(code == Some(1) && stderr.contains("127.0.0.1:"), "{stderr}");
    assert!(!has_visitor(&listener));
    let trusting = [&soon[..], &["--trust-pasv-address"]].concat();
    get(&home, &server, &trusting);
    assert!(has_visitor(&listener), "the option trusts the address");
}

#[test]
fn passwords_are_never_in_the_url_or_the_trace() {
    let home = TestDir::new("ftp-password");
    let server = Fake::with(&[("f", b"1")]).start();
    let url = server.url("f");
    let with = |url: &str, password: Option<&str>| {
        let mut command = command(&home, &["ls", url, "--trace"]);
        match password {
            Some(password) => command.env("SOCKETSERVER_PASSWORD", password),
            None => command.env_remove("SOCKETSERVER_PASSWORD"),
        };
        ended(command)
    };
    let (code, _, stderr) = with(&url, Some("wrong-one"));
    assert!(
        code == Some(1) && stderr.contains("530 Login incorrect"),
        "{stderr}"
    );
    assert!(
        !stderr.contains("wrong-one") && stderr.contains("PASS ***"),
        "{stderr}"
    );
    let (code, _, stderr) = with(&url, None);
    assert!(
        code == Some(2) && stderr.contains("SOCKETSERVER_PASSWORD"),
        "{stderr}"
    );
    let (code, _, stderr) = with(&url, Some("a\nQUIT"));
    assert!(code == Some(2) && stderr.contains("line break"), "{stderr}");
    let sessions = server.seen.lock().unwrap().sessions;
    let (code, _, stderr) = with(&url.replace("ada@", "ada:secret@"), None);
    assert!(code == Some(2) && !stderr.contains("secret"), "{stderr}");
    assert_eq!(
        server.seen.lock().unwrap().sessions,
        sessions,
        "the server was not asked"
    );

    home.write(".netrc", "machine 127.0.0.1 login ada password secret\n");
    for url in [url.clone(), url.replace("ada@", "")] {
        assert_eq!(with(&url, None).0, Some(0), "{url}");
    }
    assert_eq!(
        with(&url, Some("wrong")).0,
        Some(1),
        "the variable comes first"
    );
    home.write(".netrc", "machine elsewhere login ada password secret\n");
    assert_eq!(with(&url, None).0, Some(2));
    with(&url.replace("ada@", ""), None);
    assert!(
        server
            .commands("USER")
            .contains(&"USER anonymous".to_owned())
    );
}

#[test]
fn tls_is_never_left_out() {
    let home = TestDir::new("ftp-no-tls");
    let server = Fake::with(&[("f", b"1")]).start();
    let (code, _, stderr) = client(&home, &["ls", &server.url("f"), "--tls-insecure"]);
    assert!(
        code == Some(1) && stderr.contains("refuses TLS: 502"),
        "{stderr}"
    );
    assert_eq!(
        server.commands("USER"),
        [""; 0],
        "nothing is sent in the clear"
    );
    let (code, _, stderr) = client(&home, &["ls", &server.url("f"), "--tls-implicit"]);
    assert!(code == Some(1) && stderr.contains("use --tls"), "{stderr}");

    let mut fake = Fake::with(&[("f", b"1")]);
    fake.tickets = Some(2);
    fake.injected = "\r\n230 you are in";
    let server = fake.start();
    let (code, _, stderr) = client(&home, &["ls", &server.url("f"), "--tls-insecure"]);
    assert!(code == Some(1) && stderr.contains("TLS with"), "{stderr}");
    assert_eq!(server.commands("USER"), [""; 0]);
    // No authority has signed the certificate.
    server.fake.lock().unwrap().injected = "";
    let (code, _, stderr) = client(&home, &["ls", &server.url("f"), "--tls"]);
    assert!(
        code == Some(1) && stderr.contains("certificate"),
        "{stderr}"
    );
    assert_eq!(
        client(&home, &["ls", &server.url("f"), "--tls-insecure"]).0,
        Some(0)
    );
}

#[test]
fn data_connections_resume_the_tls_session_of_their_own_control_connection() {
    let home = TestDir::new("ftp-tls-resume");
    let mut bodies = Vec::new();
    for number in 0..12 {
        bodies.push((format!("f{number}"), content(number * 1000)));
    }
    // A server may send new tickets on a data connection, or none, as proftpd and ours do with
    // uploads.
    for tickets in [2, 1, 0] {
        let mut fake = Fake {
            tickets: Some(tickets),
            ..Fake::default()
        };
        for (name, body) in &bodies {
            fake.tree.insert(name.as_bytes().to_vec(), body.clone());
        }
        // A listing needs a data connection too.
        for folder in ["d1/", "d2/", "d3/", "d4/"] {
            fake.tree.insert(folder.as_bytes().to_vec(), Vec::new());
        }
        let server = fake.start();
        let here = home.join(&format!("here{tickets}"));
        let mirror = [
            "mirror",
            &server.url(""),
            here.to_str().unwrap(),
            "--tls-insecure",
        ];
        let (code, stdout, stderr) = client(&home, &[&mirror[..], &["--jobs", "3"]].concat());
        assert_eq!(
            (code, stderr.as_str()),
            (Some(0), ""),
            "{tickets}: {stdout}"
        );
        let url = server.url("copy");
        let back = [
            "mirror",
            &url,
            here.to_str().unwrap(),
            "--reverse",
            "--tls-insecure",
        ];
        let (code, stdout, stderr) = client(&home, &[&back[..], &["--jobs", "2"]].concat());
        assert_eq!(
            (code, stderr.as_str()),
            (Some(0), ""),
            "{tickets}: {stdout}"
        );
        for (name, body) in &bodies {
            assert!(
                fs::read(here.join(name)).unwrap() == *body,
                "{tickets}: {name}"
            );
            assert!(
                server.content(&format!("copy/{name}")).unwrap() == *body,
                "{name}"
            );
        }
        assert!(server.seen.lock().unwrap().ends.iter().all(Result::is_ok));
    }
}

#[test]
fn an_endless_listing_is_refused() {
    let home = TestDir::new("ftp-endless");
    let fake = Fake {
        listing: Some(vec![b'x'; 4 * MIB]),
        ..Fake::default()
    };
    let server = fake.start();
    let (code, _, stderr) = client(&home, &["ls", &server.url("")]);
    assert!(code == Some(1) && stderr.contains("16 KiB"), "{stderr}");
    // Every listing has one more folder, without end.
    server.fake.lock().unwrap().listing = Some(b"type=dir; d\r\n".to_vec());
    server.fake.lock().unwrap().tree = (1..200)
        .map(|depth| (b"d/".repeat(depth), Vec::new()))
        .collect();
    let here = home.join("here");
    let (code, _, stderr) = client(&home, &["mirror", &server.url(""), here.to_str().unwrap()]);
    assert!(
        code == Some(1) && stderr.contains("more than 100 folders"),
        "{stderr}"
    );
}

/// Runs a program in a terminal, types the password when it is asked, and prints what the terminal
/// shows and the exit code.
const TERMINAL: &str = r#"
import os, pty, sys, termios, time
pid, master = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
shown, typed = b'', 0
while True:
    try:
        piece = os.read(master, 4096)
    except OSError:
        break
    if not piece:
        break
    shown += piece
    if shown.count(b'Password for ada: ') > typed:
        typed += 1
        # The prompt comes before the terminal stops showing what is typed.
        while termios.tcgetattr(master)[3] & termios.ECHO:
            time.sleep(0.001)
        os.write(master, b'secret\n')
print(shown.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), typed)
"#;

#[test]
fn a_terminal_is_asked_once_for_all_sessions_and_shows_no_password() {
    let home = TestDir::new("ftp-terminal");
    let server = Fake::with(&[("a", b"1"), ("b", b"2"), ("c", b"3")]).start();
    let program = env!("CARGO_BIN_EXE_socketserver");
    let here = home.join("here");
    let (home_variable, url) = (format!("HOME={}", home.as_str()), server.url(""));
    let mirror = [
        "client",
        "ftp",
        "mirror",
        &url,
        here.to_str().unwrap(),
        "--jobs",
        "3",
    ];
    let environment = [
        "/usr/bin/env",
        "-u",
        "SOCKETSERVER_PASSWORD",
        &home_variable,
        program,
    ];
    let test = "a_terminal_is_asked_once_for_all_sessions_and_shows_no_password";
    let Some(shown) = python(test, TERMINAL, &[&environment[..], &mirror].concat()) else {
        return;
    };
    assert!(
        shown.ends_with(" 0 1\n") && shown.contains("received 3 files"),
        "{shown}"
    );
    assert!(!shown.contains("secret"), "{shown}");
}
