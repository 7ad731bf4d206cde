//! `socketserver users import`: the users of a web or FTP server that was there before.

use std::process::Command;

use rusqlite::Connection;
use serde_json::Value;

use crate::support::ftp::{Ftp, server_with};
use crate::support::{BoundedCommand, TestDir, TestServer, has_tool, run, run_with_input};

/// Hashes of `secret`: `htpasswd -B`, and `openssl passwd -5` and `-6`.
const BCRYPT: &str = "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a";
const SHA256: &str = "$5$abc$qsg6EHbUzHQzF1POlD7zUwBINSELQxypPaeDcZe6vH0";
const SHA512: &str = "$6$saltstring$AIsRs/Ee56G/tC8MEHhvReZTfx8u3rXXMl6eYrjCG9ibix19DxoMBLogdTET5\
                      Ukw9Sf7eZTITsuk0Ry5qulYz.";

/// As in /etc/shadow of Debian.
const YESCRYPT: &str = "$y$j9T$abcdefgh$IUWJt2doU4Kf6E/JP1UkAT3S5O3Q7SSA8SJirXIlEu9";

struct Files {
    dir: TestDir,
    accounts: String,
    from: String,
}

impl Files {
    fn new(name: &str, text: &str) -> Files {
        let dir = TestDir::new(name);
        dir.write("passwords", text);
        let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
        let (accounts, from) = (path("accounts.db"), path("passwords"));
        Files {
            dir,
            accounts,
            from,
        }
    }

    /// The exit code, and what is printed on both streams.
    fn import(&self, options: &[&str]) -> (Option<i32>, String, String) {
        let line = ["users", "import", &self.from, "--accounts", &self.accounts];
        run(&[&line[..], options].concat())
    }

    fn users(&self) -> Value {
        let (_, json, _) = run(&["users", "list", "--json", "--accounts", &self.accounts]);
        serde_json::from_str(&json).unwrap()
    }

    fn hash(&self, name: &str) -> String {
        let select = "SELECT hash FROM users WHERE name = ?1";
        let file = Connection::open(&self.accounts).unwrap();
        file.query_row(select, [name], |row| row.get(0)).unwrap()
    }
}

fn log_in(server: &TestServer, name: &str, password: &str) -> String {
    let mut ftp = Ftp::connect(server);
    ftp.expect(format!("USER {name}"), 331);
    ftp.command(format!("PASS {password}"))
}

#[test]
fn imported_users_log_in_with_their_old_passwords() {
    let text = format!(
        "# users\nada:{BCRYPT}\n\nbob:{SHA256}:a comment\r\ncyd:{SHA512}\n\
         dan:{YESCRYPT}:19000:0:99999:7:::\n"
    );
    let files = Files::new("import-htpasswd", &text);
    let (code, stdout, stderr) = files.import(&["--rights", "lrw", "--home", "/home"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert_eq!(stdout, "users added: 4\n");
    let users = files.users();
    assert_eq!(users[0]["home"], "/home");
    assert_eq!(users[2]["rights"]["/home"], "lrw");
    std::fs::create_dir_all(files.dir.join("root/home")).unwrap();
    let server = server_with(&files.dir, &files.accounts, &[]);
    for (name, old) in [
        ("ada", BCRYPT),
        ("bob", SHA256),
        ("cyd", SHA512),
        ("dan", YESCRYPT),
    ] {
        let reply = log_in(&server, name, "Secret");
        assert!(reply.starts_with("530"), "{name}: {reply}");
        assert_eq!(files.hash(name), old);
        // The second login finds our own hash in place of the imported one.
        for _ in 0..2 {
            let reply = log_in(&server, name, "secret");
            assert!(reply.starts_with("230"), "{name}: {reply}");
            let hash = files.hash(name);
            assert!(hash.starts_with("$argon2id$"), "{name}: {hash}");
        }
    }
    drop(server);
    // A server that remembers nothing of them, and wrong passwords stay wrong.
    let server = server_with(&files.dir, &files.accounts, &[]);
    assert!(log_in(&server, "ada", "secret").starts_with("230"));
    assert!(log_in(&server, "bob", "wrong").starts_with("530"));
}

#[test]
fn curl_logs_in_by_http_with_an_imported_password() {
    if !has_tool("curl", "curl_logs_in_by_http_with_an_imported_password") {
        return;
    }
    let files = Files::new("import-curl", &format!("ada:{BCRYPT}\n"));
    files.dir.write("root/file", "content");
    assert_eq!(files.import(&[]).0, Some(0));
    let root = files.dir.join("root").to_str().unwrap().to_owned();
    let server = TestServer::start(&["http", &root, "--accounts", &files.accounts]);
    let url = format!("http://{}/file", server.address());
    for (user, expected) in [("ada:secret", "content200"), ("ada:secret", "content200")] {
        let curl = Command::new("curl")
            .args([
                "-s",
                "--max-time",
                "60",
                "-w",
                "%{http_code}",
                "-u",
                user,
                &url,
            ])
            .finish();
        assert_eq!(String::from_utf8_lossy(&curl.stdout), expected);
    }
    assert!(files.hash("ada").starts_with("$argon2id$"));
}

#[test]
fn lines_that_cannot_be_imported_are_named_and_the_others_are_imported() {
    let text = format!(
        "ada:{BCRYPT}\n\
         old:$apr1$abc$PZF73YJz5hJ9yyI.7OP.R.\n\
         no hash here\n\
         root:x:0:0:root:/root:/bin/bash\n\
         ada:{SHA256}\n\
         locked:!{SHA512}\n\
         bob:{SHA512}\n"
    );
    let files = Files::new("import-errors", &text);
    let (code, stdout, stderr) = files.import(&[]);
    assert_eq!(code, Some(1), "{stderr}");
    assert_eq!(stdout, "users added: 2, lines refused: 5\n");
    let lines: Vec<&str> = stderr.lines().collect();
    for (line, (number, reason)) in lines.iter().zip([
        (2, "unsupported password hash of the scheme $apr1$"),
        (3, "NAME:HASH"),
        (4, "shadow file"),
        (5, "line 1 already"),
        (6, "locked"),
    ]) {
        let begin = format!("socketserver: {}:{number}: ", files.from);
        assert!(line.starts_with(&begin) && line.contains(reason), "{line}");
    }
    assert_eq!(lines.len(), 5, "{stderr}");
    assert!(!stderr.contains("PZF73"), "no hash is printed: {stderr}");
    let users = files.users();
    let names: Vec<&Value> = users
        .as_array()
        .unwrap()
        .iter()
        .map(|user| &user["name"])
        .collect();
    assert_eq!(names, ["ada", "bob"]);
    assert_eq!(files.hash("ada"), BCRYPT);
}

#[test]
fn users_that_exist_keep_their_passwords_unless_they_are_to_be_overwritten() {
    let files = Files::new("import-again", &format!("ada:{BCRYPT}\nbob:{SHA256}\n"));
    let add = [
        "users",
        "add",
        "ada",
        "--rights",
        "w",
        "--accounts",
        &files.accounts,
    ];
    let add = [&add[..], &["--password-stdin", "--home", "/ada"]].concat();
    assert_eq!(run_with_input(&add, b"own\n").0, Some(0));
    let own = files.hash("ada");
    let (code, stdout, stderr) = files.import(&[]);
    assert_eq!(
        (code, stdout.as_str()),
        (Some(1), "users added: 1, lines refused: 1\n")
    );
    assert!(
        stderr.contains(":1: there is a user 'ada' already; --overwrite"),
        "{stderr}"
    );
    assert_eq!(files.hash("ada"), own);
    let (code, stdout, _) = files.import(&["--overwrite", "--rights", "lrwd", "--home", "/x"]);
    assert_eq!(code, Some(0));
    assert_eq!(stdout, "users added: 0, passwords changed: 2\n");
    assert_eq!(files.hash("ada"), BCRYPT);
    let users = files.users();
    assert_eq!(
        (&users[0]["home"], &users[0]["rights"]["/ada"]),
        (&"/ada".into(), &"w".into())
    );
}

#[test]
fn the_homes_of_a_passwd_file_become_homes_below_the_served_directory() {
    let text = format!(
        "ada:{BCRYPT}:1000:1000:Ada:/srv/ftp/ada:/bin/false\n\
         bob:{SHA256}:1001:1001::/srv/ftp:/bin/false\n\
         cyd:{SHA512}:1002:1002::/var/cyd:/bin/sh\n"
    );
    let files = Files::new("import-homes", &text);
    let (code, _, stderr) = files.import(&["--root", "/srv/ftp"]);
    assert_eq!(code, Some(1));
    assert!(
        stderr.contains(":3: the home directory /var/cyd is not below /srv/ftp")
            && stderr.lines().count() == 1,
        "{stderr}"
    );
    let users = files.users();
    assert_eq!(
        (&users[0]["home"], &users[1]["home"]),
        (&"/ada".into(), &"/".into())
    );
    assert_eq!(users[0]["rights"], serde_json::json!({"/ada": "lr"}));
    // Without --root they are paths below the served directory already.
    let files = Files::new("import-homes-as-they-are", &text);
    assert_eq!(files.import(&[]).0, Some(0));
    assert_eq!(files.users()[2]["home"], "/var/cyd");
}

#[test]
fn a_file_that_cannot_be_read_makes_no_accounts_file() {
    let files = Files::new("import-nothing", "ada:plain\n");
    let (code, stdout, stderr) = files.import(&[]);
    assert_eq!(
        (code, stdout.as_str()),
        (Some(1), "users added: 0, lines refused: 1\n")
    );
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    let line = [
        "users",
        "import",
        "/no/such/file",
        "--accounts",
        &files.accounts,
    ];
    let (code, _, stderr) = run(&line);
    assert_eq!(code, Some(2));
    assert!(
        stderr.contains("/no/such/file: ") && stderr.lines().count() == 1,
        "{stderr}"
    );
    assert!(!files.dir.join("accounts.db").exists());
    let line = ["users", "import", "-", "--accounts", &files.accounts];
    let (code, stdout, _) = run_with_input(&line, format!("ada:{SHA256}").as_bytes());
    assert_eq!((code, stdout.as_str()), (Some(0), "users added: 1\n"));
}
