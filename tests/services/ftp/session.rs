//! `serve ftp`: sessions, and what needs no data connection.

use std::time::{Duration, Instant};

use crate::support::ftp::{Ftp, accounts, server_of_ada};
use crate::support::{TestDir, TestServer, run, wait_until};

/// Verbs that work before the login.
const OPEN: [&str; 15] = [
    "ACCT x",
    "AUTH x",
    "CCC",
    "FEAT",
    "HELP",
    "HOST x",
    "LANG",
    "NOOP",
    "OPTS UTF8 ON",
    "PBSZ 0",
    "PROT P",
    "SITE HELP",
    "STAT",
    "SYST",
    "USER x",
];

#[test]
fn every_verb_but_the_open_ones_needs_a_login() {
    let dir = TestDir::new("ftp-login");
    let server = server_of_ada(&dir, &[]);
    let mut ftp = Ftp::connect(&server);
    let help = ftp.expect("HELP", 214);
    let names: Vec<&str> = help.split_whitespace().filter(|w| w.len() >= 3).collect();
    let verbs: Vec<&str> = names
        .into_iter()
        .filter(|word| {
            word.bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
        })
        .filter(|word| !["PASS", "REIN", "QUIT", "SITE", "STAT"].contains(word))
        .filter(|word| word.parse::<u16>().is_err())
        .collect();
    assert!(verbs.len() > 40, "{verbs:?}");
    for verb in verbs {
        let is_open = OPEN.iter().any(|open| open.split(' ').next() == Some(verb));
        let reply = ftp.command(format!("{verb} x"));
        assert_eq!(reply.starts_with("530"), !is_open, "{verb}: {reply}");
    }
    ftp.expect("STAT /", 530);
    ftp.expect("SITE CHMOD 600 x", 530);
    ftp.expect("NOSUCH", 500);
    ftp.expect("SMNT x", 502);
    ftp.expect("USER ada", 331);
    ftp.expect("PASS secret", 230);
}

#[test]
fn arguments_that_lack_or_are_too_many_are_501() {
    let dir = TestDir::new("ftp-arguments");
    let server = server_of_ada(&dir, &[]);
    let mut ftp = Ftp::ada(&server);
    for command in [
        "CWD x y",
        "RETR",
        "STOR",
        "APPE",
        "DELE",
        "MKD",
        "RMD",
        "RNFR",
        "RNTO",
        "SIZE",
        "MDTM",
        "MFMT",
        "MFMT x",
        "PORT",
        "EPRT",
        "TYPE",
        "MODE",
        "STRU",
        "REST",
        "ALLO",
        "OPTS",
        "SITE",
        "SITE CHMOD",
        "SITE CHMOD 777",
        "HASH",
        "XMD5",
        "USER",
        "ABOR x",
        "CDUP x",
        "FEAT x",
        "NOOP x",
        "PASV x",
        "PWD x",
        "QUIT x",
        "REIN x",
        "SYST x",
        "XPWD x",
        "PORT 1,2,3",
        "EPRT |1|x|y|",
        "EPSV x",
        "REST -1",
        "REST 1.5",
        "REST x",
        "ALLO x",
        "MFMT 2017 x",
        "SITE CHMOD 778 x",
        "SITE CHMOD 4755 x",
        "STRU x",
        "MODE x",
        "OPTS MLST bad",
        "OPTS HASH x",
        "OPTS NOSUCH",
        "HELP NOSUCH",
        "SITE HELP NOSUCH",
        "PBSZ",
    ] {
        let code = match command {
            "CWD x y" => 550,
            _ => 501,
        };
        ftp.expect(command, code);
    }
    for command in ["TYPE X", "TYPE E", "TYPE L 7", "STRU R", "MODE B"] {
        ftp.expect(command, 504);
    }
    ftp.expect("SITE NOSUCH", 500);
    ftp.expect("RNTO x", 503);
    ftp.expect("PASS secret", 503);
    ftp.expect("NOOP", 200);
}

#[test]
fn a_working_directory_is_kept_and_never_leaves_the_root() {
    let dir = TestDir::new("ftp-cwd");
    dir.write("root/a/b/file", "x");
    let server = server_of_ada(&dir, &[]);
    let mut ftp = Ftp::ada(&server);
    let pwd = |ftp: &mut Ftp| ftp.expect("PWD", 257).split('"').nth(1).unwrap().to_owned();
    assert_eq!(pwd(&mut ftp), "/");
    ftp.expect("CWD a/b", 250);
    assert_eq!(pwd(&mut ftp), "/a/b");
    ftp.expect("CDUP", 250);
    ftp.expect("XCUP", 250);
    ftp.expect("CDUP", 250);
    assert_eq!(pwd(&mut ftp), "/");
    ftp.expect("CWD ../../a", 250);
    assert_eq!(pwd(&mut ftp), "/a");
    ftp.expect("CWD b/file", 550);
    ftp.expect("CWD nothing", 550);
    ftp.expect("CWD", 250);
    assert_eq!(pwd(&mut ftp), "/");
    let made = ftp.expect("MKD qu\"ote", 257);
    assert!(made.starts_with("257 \"/qu\"\"ote\""), "{made}");
    ftp.expect("MKD qu\"ote", 550);
    ftp.expect("RMD /", 550);
    ftp.expect("RMD a", 550);
    ftp.expect("RMD qu\"ote", 250);
    std::os::unix::fs::symlink("/", dir.join("root/out")).unwrap();
    ftp.expect("CWD out", 550);
    ftp.expect("SIZE out/etc/hostname", 550);
}

#[test]
fn failed_logins_are_slowed_down_and_then_closed() {
    let dir = TestDir::new("ftp-failures");
    let server = server_of_ada(&dir, &["--max-login-failures", "2"]);
    let begun = Instant::now();
    let mut sessions: Vec<Ftp> = (0..3).map(|_| Ftp::connect(&server)).collect();
    for ftp in &mut sessions {
        ftp.expect("USER ada", 331);
        ftp.send(b"PASS wrong\r\n");
    }
    let mut ftp = sessions.remove(0);
    ftp.expect_reply(530);
    assert!(begun.elapsed() >= Duration::from_millis(250));
    ftp.expect("USER nobody", 331);
    ftp.expect("PASS secret", 530);
    ftp.expect_reply(421);
    assert!(ftp.is_at_end());
}

#[test]
fn a_failed_login_that_waits_holds_no_thread() {
    let dir = TestDir::new("ftp-waiting");
    let threads = ["--threads", "2", "--max-threads", "2"];
    let server = TestServer::start(&[&["ftp", dir.as_str()], &threads[..]].concat());
    let begun = Instant::now();
    let mut sessions: Vec<Ftp> = (0..50).map(|_| Ftp::connect(&server)).collect();
    for ftp in &mut sessions {
        ftp.expect("USER nobody", 331);
        ftp.send(b"PASS wrong\r\n");
    }
    for ftp in &mut sessions {
        ftp.expect_reply(530);
    }
    // Most of them wait for two seconds. On two threads they would take 45 seconds.
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(30), "{took:?}");
}

#[test]
fn without_accounts_anonymous_users_read_and_with_anonymous_write_they_add() {
    let dir = TestDir::new("ftp-anonymous");
    dir.write("a", "hello");
    for (options, may_write) in [(&[][..], false), (&["--anonymous-write"], true)] {
        let server = TestServer::start(&[&["ftp", dir.as_str()], options].concat());
        let mut ftp = Ftp::connect(&server);
        ftp.expect("USER root", 331);
        ftp.expect("PASS x", 530);
        ftp.expect("USER anonymous", 331);
        ftp.expect("PASS", 230);
        ftp.expect("TYPE I", 200);
        assert_eq!(ftp.receive("RETR a"), b"hello");
        for command in ["DELE a", "RNFR a", "RMD a"] {
            ftp.expect(command, 550);
        }
        // What is there is never replaced.
        ftp.expect("STOR a", 550);
        if may_write {
            assert!(ftp.store("STOR new", b"x").starts_with("226"));
        } else {
            ftp.expect("STOR new", 550);
            ftp.expect("MKD new", 550);
        }
    }
}

#[test]
fn rights_hold_per_folder_and_through_links() {
    let dir = TestDir::new("ftp-rights");
    dir.write("root/pub/a", "public");
    dir.write("root/secret/b", "secret");
    std::os::unix::fs::symlink("../secret/b", dir.join("root/pub/link")).unwrap();
    let accounts = accounts(&dir, &[("bob", "lr", &[])]);
    for [change, rights, prefix] in [["deny", "lr", "/secret"], ["allow", "w", "/pub"]] {
        let line = [
            "users",
            change,
            "--accounts",
            &accounts,
            "bob",
            rights,
            prefix,
        ];
        assert_eq!(run(&line).0, Some(0));
    }
    let root = dir.join("root").to_str().unwrap().to_owned();
    let server = TestServer::start(&["ftp", &root, "--accounts", &accounts]);
    let mut ftp = Ftp::connect(&server);
    ftp.expect("USER bob", 331);
    ftp.expect("PASS secret", 230);
    ftp.expect("TYPE I", 200);
    assert_eq!(ftp.receive("RETR pub/a"), b"public");
    for command in [
        "RETR secret/b",
        "RETR pub/link",
        "SIZE secret/b",
        "CWD secret",
    ] {
        let reply = ftp.command(command);
        assert!(
            reply.starts_with("550 Permission denied"),
            "{command}: {reply}"
        );
    }
    assert!(
        !String::from_utf8(ftp.receive("NLST"))
            .unwrap()
            .contains("secret")
    );
    assert!(ftp.store("STOR pub/new", b"x").starts_with("226"));
    ftp.expect("STOR pub/a", 550);
    ftp.expect("DELE pub/a", 550);
    ftp.expect("STOR new", 550);
}

#[test]
fn a_home_is_the_root_of_its_user() {
    let dir = TestDir::new("ftp-home");
    dir.write("root/ada/own", "own");
    dir.write("root/other/foreign", "foreign");
    std::os::unix::fs::symlink("../other", dir.join("root/ada/link")).unwrap();
    let accounts = accounts(&dir, &[("ada", "lrwd", &["--home", "/ada"])]);
    let root = dir.join("root").to_str().unwrap().to_owned();
    let server = TestServer::start(&["ftp", &root, "--accounts", &accounts]);
    let mut ftp = Ftp::ada(&server);
    assert_eq!(ftp.receive("RETR /own"), b"own");
    ftp.expect("RETR /../other/foreign", 550);
    ftp.expect("RETR link/foreign", 550);
    ftp.expect("STOR link/new", 550);
    assert!(ftp.store("STOR new", b"x").starts_with("226"));
    assert!(dir.join("root/ada/new").exists());
    assert!(!dir.join("root/other/new").exists());
}

#[test]
fn a_user_has_so_many_sessions() {
    let dir = TestDir::new("ftp-sessions");
    let server = server_of_ada(&dir, &["--max-sessions-per-user", "1"]);
    let mut first = Ftp::ada(&server);
    let mut second = Ftp::connect(&server);
    second.expect("USER ada", 331);
    second.expect("PASS secret", 421);
    assert!(second.is_at_end());
    first.expect("QUIT", 221);
    assert!(first.is_at_end());
    wait_until("ada may log in again", || {
        let mut ftp = Ftp::connect(&server);
        ftp.expect("USER ada", 331);
        ftp.command("PASS secret").starts_with("230")
    });
}

#[test]
fn rein_and_user_log_out() {
    let dir = TestDir::new("ftp-rein");
    let server = server_of_ada(&dir, &[]);
    let mut ftp = Ftp::ada(&server);
    ftp.expect("REIN", 220);
    ftp.expect("PWD", 530);
    ftp.expect("USER ada", 331);
    ftp.expect("PASS secret", 230);
    ftp.expect("USER ada", 331);
    ftp.expect("PWD", 530);
    ftp.expect("PASS wrong", 530);
    ftp.expect("PASS secret", 503);
}

#[test]
fn clients_that_are_idle_or_too_many_are_told_so() {
    let dir = TestDir::new("ftp-idle");
    let server = server_of_ada(&dir, &["--idle-timeout", "300ms", "--max-per-ip", "1"]);
    let mut ftp = Ftp::connect(&server);
    let mut second = Ftp::silent(server.address());
    second.expect_reply(421);
    ftp.expect_reply(421);
    assert!(ftp.is_at_end());
    let mut server = server_of_ada(&TestDir::new("ftp-shutdown"), &[]);
    let mut ftp = Ftp::connect(&server);
    server.signal("TERM");
    ftp.expect_reply(421);
    assert_eq!(server.wait().0, Some(0));
}

#[test]
fn a_removed_user_is_logged_out() {
    let dir = TestDir::new("ftp-removed");
    let server = server_of_ada(&dir, &[]);
    let mut ftp = Ftp::ada(&server);
    ftp.expect("SIZE nothing", 550);
    let accounts = dir.join("accounts.db").to_str().unwrap().to_owned();
    assert_eq!(
        run(&["users", "remove", "--accounts", &accounts, "ada"]).0,
        Some(0)
    );
    wait_until("the session ends", || {
        ftp.command("SIZE nothing").starts_with("530")
    });
}

#[test]
fn what_cannot_work_is_refused_at_the_start() {
    let dir = TestDir::new("ftp-usage");
    for (options, word) in [
        (&["--model", "processes"][..], "--model"),
        (&["--model", "sequential"], "--model"),
        (&["--require-tls", "all"], "--require-tls"),
        (&["--tls-implicit"], "--tls-implicit"),
        (&["--passive-ports", "5-1"], "--passive-ports"),
        (&["--passive-address", "::1"], "--passive-address"),
        (&["--accounts", "/nowhere"], "/nowhere"),
        (&["--auth-key-file", "/dev/null"], "--auth-key-file"),
        (&["--max-login-failures", "0"], "--max-login-failures"),
    ] {
        let line = [&["serve", "ftp", dir.as_str()], options].concat();
        let (code, _, error) = run(&line);
        assert_eq!(code, Some(2), "{options:?}: {error}");
        assert!(
            error.contains(word) && error.lines().count() == 1,
            "{error}"
        );
    }
}

#[test]
fn the_documentation_has_the_table_of_verbs() {
    let table = socketserver_handlers::ftp::verbs::markdown();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/ftp.md");
    let page = std::fs::read_to_string(path).unwrap();
    assert!(
        page.contains(&table),
        "docs/ftp.md must contain this table:\n{table}"
    );
}
