//! `socketserver users` and `socketserver share`, through the binary.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::Value;
use socketserver::ClientAddress;
use socketserver_handlers::accounts::share;
use socketserver_handlers::accounts::{Accounts, Cost, Verdict};

use crate::support::{BoundedCommand, PATIENCE, TestDir, python, run, run_with_input};

/// An accounts file of this test's own, and the commands on it.
struct File(TestDir);

impl File {
    fn new(name: &str) -> File {
        File(TestDir::new(name))
    }

    fn path(&self) -> String {
        self.0.join("accounts.db").to_str().unwrap().to_owned()
    }

    fn run(&self, line: &str, input: &str) -> (Option<i32>, String, String) {
        let path = self.path();
        let mut arguments: Vec<&str> = line.split(' ').collect();
        arguments.extend(["--accounts", &path]);
        run_with_input(&arguments, input.as_bytes())
    }

    /// A command that succeeds, and says nothing on standard error; what it prints.
    #[track_caller]
    fn ok(&self, line: &str, input: &str) -> String {
        let (code, stdout, stderr) = self.run(line, input);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{line}");
        stdout
    }

    /// A command that fails with this code, and one line that says this.
    #[track_caller]
    fn fails(&self, line: &str, input: &str, code: i32, says: &str) {
        let (actual, stdout, stderr) = self.run(line, input);
        assert_eq!(
            (actual, stdout.as_str()),
            (Some(code), ""),
            "{line}: {stderr}"
        );
        assert!(
            stderr.starts_with("socketserver: ") && stderr.lines().count() == 1,
            "{line}: {stderr}"
        );
        assert!(stderr.contains(says), "{line}: {stderr}");
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.ok(line, "")).unwrap()
    }

    fn accepts(&self, name: &str, password: &str) -> bool {
        let accounts = Accounts::open(self.path().as_ref(), Cost::OWASP).unwrap();
        let verdict = accounts
            .verify(name, password, &ClientAddress::Memory, Instant::now())
            .unwrap();
        matches!(verdict, Verdict::Granted(account) if account.name == name)
    }
}

#[test]
fn a_user_is_added_listed_changed_and_removed() {
    let file = File::new("users");
    file.ok(
        "users add ada --password-stdin --quota 10MB --home /ada",
        "pass:w@rd wörd\nnot this\n",
    );
    file.ok("users add anonymous --rights r", "");
    assert!(file.accepts("ada", "pass:w@rd wörd"));
    assert!(!file.accepts("ada", "pass") && !file.accepts("anonymous", ""));
    let table = "NAME       RIGHTS   HOME  USED  QUOTA\n\
                 ada        lr:/ada  /ada  0     10000000\n\
                 anonymous  r:/      /     0     -\n";
    assert_eq!(file.ok("users list", ""), table);
    file.ok("users passwd ada --password-stdin", "other\r\n");
    assert!(file.accepts("ada", "other") && !file.accepts("ada", "pass:w@rd wörd"));
    file.ok("users set ada --home / --quota none", "");
    assert_eq!(file.ok("users allow ada w /ada/in", ""), "/ada/in lrw\n");
    assert_eq!(file.ok("users deny ada lr ada/in/", ""), "/ada/in w\n");
    assert_eq!(file.ok("users deny anonymous r", ""), "/ -\n");
    let rights = serde_json::json!({"/ada": "lr", "/ada/in": "w"});
    let ada = serde_json::json!({
        "name": "ada",
        "password": true,
        "home": "/",
        "quota": null,
        "used": 0,
        "rights": rights,
        "rate_limit": null,
        "max_sessions": null,
        "mounts": {},
    });
    let users = file.json("users list --json");
    assert_eq!(users[0], ada);
    assert_eq!(users[1]["password"], Value::Bool(false));
    file.ok("users remove ada", "");
    assert_eq!(file.json("users list --json").as_array().unwrap().len(), 1);
    assert!(!file.accepts("ada", "other"));
}

#[test]
fn what_can_not_be_done_is_one_line_with_the_exit_code_of_its_kind() {
    let file = File::new("users-wrong");
    file.fails("users list", "", 2, "no such file");
    file.fails("users allow ada lr", "", 2, "no such file");
    file.fails("users add ada --password-stdin", "\n", 2, "is empty");
    file.fails(
        "users add ada --password-stdin",
        "a\tb",
        2,
        "control characters",
    );
    file.fails(
        "users add a:b --password-stdin",
        "x",
        2,
        "invalid user name 'a:b'",
    );
    file.fails("users add ada", "x", 2, "--password-stdin");
    file.fails("users add ada --password x", "", 2, "--password");
    file.fails(
        "users add ada --rights rx --password-stdin",
        "x",
        2,
        "are no rights",
    );
    file.fails(
        "users add ada --home /a/../b --password-stdin",
        "x",
        2,
        "..",
    );
    file.fails(
        "users add anonymous --password-stdin",
        "x",
        2,
        "no password",
    );
    assert!(!file.0.join("accounts.db").exists(), "nothing was made");
    file.ok("users add ada --password-stdin", "x");
    file.fails(
        "users add ada --password-stdin",
        "x",
        1,
        "there is a user 'ada' already",
    );
    file.fails(
        "users passwd bob --password-stdin",
        "x",
        1,
        "unknown user 'bob'",
    );
    file.fails(
        "users passwd anonymous --password-stdin",
        "x",
        2,
        "no password",
    );
    file.fails("users remove bob", "", 1, "unknown user 'bob'");
    file.fails("users set bob --quota 1", "", 1, "unknown user 'bob'");
    file.fails("users set ada", "", 2, "--home");
    file.fails("users deny bob lr", "", 1, "unknown user 'bob'");
    file.fails("users allow ada lr ..", "", 2, "..");
    let (code, _, stderr) = run(&["users", "list"]);
    assert!(code == Some(2) && stderr.contains("--accounts"), "{stderr}");
    let (code, _, stderr) = run(&[
        "users",
        "add",
        "ada",
        "--accounts",
        "/no/such/folder/a.db",
        "--password-stdin",
    ]);
    assert!(code == Some(2) && stderr.contains("is empty"), "{stderr}");
    let (code, _, stderr) = run_with_input(
        &[
            "users",
            "add",
            "ada",
            "--accounts",
            "/no/such/folder/a.db",
            "--password-stdin",
        ],
        b"x",
    );
    assert!(
        code == Some(2) && stderr.contains("/no/such/folder/a.db"),
        "{stderr}"
    );
}

#[test]
fn another_file_is_named_and_left_alone() {
    let file = File::new("users-foreign");
    let text =
        "no accounts at all, but long enough to be read as the head of a database\n".repeat(10);
    file.0.write("accounts.db", &text);
    file.fails(
        "users add ada --password-stdin",
        "x",
        2,
        "accounts.db: this is not an accounts file",
    );
    file.fails("users list", "", 2, "this is not an accounts file");
    assert_eq!(std::fs::read_to_string(file.path()).unwrap(), text);
    std::fs::remove_file(file.path()).unwrap();
    Connection::open(file.path())
        .unwrap()
        .execute_batch("CREATE TABLE users (name)")
        .unwrap();
    file.fails("users list", "", 2, "this is not an accounts file");
}

#[test]
fn only_the_owner_may_read_the_file() {
    let file = File::new("users-mode");
    file.ok("users add ada --password-stdin", "x");
    let left: Vec<_> = std::fs::read_dir(file.0.as_str())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["accounts.db"], "nothing else stays behind");
    // While it is open its log is there too.
    let open = Connection::open(file.path()).unwrap();
    open.execute_batch("UPDATE users SET used = 1").unwrap();
    for entry in std::fs::read_dir(file.0.as_str())
        .unwrap()
        .map(Result::unwrap)
    {
        assert_eq!(
            entry.metadata().unwrap().permissions().mode() & 0o777,
            0o600,
            "{:?}",
            entry.file_name()
        );
    }
}

#[test]
fn a_locked_file_is_waited_for_and_then_named() {
    let file = File::new("users-locked");
    file.ok("users add ada --password-stdin", "x");
    let lock = Connection::open(file.path()).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(
        file.ok("users list", "").contains("ada"),
        "readers don't wait for writers"
    );
    let begun = Instant::now();
    file.fails("users remove ada", "", 1, "locked");
    assert!(
        begun.elapsed() >= Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    lock.execute_batch("ROLLBACK").unwrap();
    file.ok("users remove ada", "");
}

#[test]
fn processes_that_write_at_once_all_succeed() {
    let file = File::new("users-at-once");
    // The file isn't there yet: all of them want to make it.
    let children: Vec<_> = (0..6)
        .map(|number| {
            let name = format!("user{number}");
            let mut command = Command::new(env!("CARGO_BIN_EXE_socketserver"));
            command.args([
                "users",
                "add",
                &name,
                "--accounts",
                &file.path(),
                "--password-stdin",
            ]);
            let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).start();
            std::io::Write::write_all(&mut child.stdin(), b"x\n").unwrap();
            child
        })
        .collect();
    for child in children {
        let output = child.finish();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    assert_eq!(file.json("users list --json").as_array().unwrap().len(), 6);
}

#[test]
fn a_terminal_is_asked_twice_and_shows_nothing() {
    let file = File::new("users-terminal");
    // Types each answer when its prompt has come; then prints the exit code and all that the
    // terminal showed.
    let script = r#"
import os, pty, sys, termios, time
def ask(answers, *command):
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(command[0], command)
    shown = b""
    try:
        for answer in answers:
            at = len(shown)
            while b": " not in shown[at:]:
                shown += os.read(terminal, 1000)
            # Nobody types as fast as this: the echo goes off right behind the prompt.
            while termios.tcgetattr(terminal)[3] & termios.ECHO:
                time.sleep(0.001)
            os.write(terminal, answer + b"\n")
        while True:
            piece = os.read(terminal, 1000)
            if not piece: break
            shown += piece
    except OSError:
        pass
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), repr(shown))
ask([b"top:secret", b"top:secret"], sys.argv[1], "users", "add", "ada", "--accounts", sys.argv[2])
ask([b"one thing", b"another"], sys.argv[1], "users", "passwd", "ada", "--accounts", sys.argv[2])
"#;
    let arguments = [env!("CARGO_BIN_EXE_socketserver"), &file.path()];
    let Some(output) = python(
        "a_terminal_is_asked_twice_and_shows_nothing",
        script,
        &arguments,
    ) else {
        return;
    };
    let lines: Vec<&str> = output.lines().collect();
    assert!(
        lines[0].starts_with("0 ") && lines[0].contains("Password for ada: "),
        "{output}"
    );
    assert!(
        lines[1].starts_with("2 ") && lines[1].contains("the two passwords differ"),
        "{output}"
    );
    assert!(
        !output.contains("secret") && !output.contains("another"),
        "{output}"
    );
    assert!(file.accepts("ada", "top:secret"));
}

#[test]
fn a_link_is_made_listed_and_revoked() {
    let file = File::new("share");
    file.fails("share add /a", "", 2, "no such file");
    file.ok("users add anonymous", "");
    let link = file.ok(
        "share add /my/ü.txt --uses 2 --base-url https://files.example/x/",
        "",
    );
    let token = link
        .trim_end()
        .strip_prefix("https://files.example/x/my/%C3%BC.txt?share=")
        .unwrap();
    assert_eq!(token.len(), 64);
    file.ok("share add docs --expires never", "");
    let accounts = Accounts::open(file.path().as_ref(), Cost::OWASP).unwrap();
    let now = std::time::SystemTime::now();
    let check = |at| {
        accounts
            .store()
            .shares()
            .check(token, "my/ü.txt".as_bytes(), at)
    };
    let seven_days = Duration::from_secs(7 * 86400);
    assert!(check(now).is_ok() && check(now + seven_days - PATIENCE * 2).is_ok());
    assert!(matches!(
        check(now + seven_days + PATIENCE),
        Err(share::ShareError::Expired)
    ));
    accounts
        .store()
        .shares()
        .take(&check(now).unwrap())
        .unwrap();

    let shares = file.json("share list --json");
    assert_eq!(shares[0]["path"], "/my/ü.txt");
    assert_eq!(
        (&shares[0]["used"], &shares[0]["max_uses"]),
        (&Value::from(1), &Value::from(2))
    );
    assert_eq!(
        (&shares[1]["expires"], &shares[1]["state"]),
        (&Value::Null, &Value::from("open"))
    );
    let table = file.ok("share list", "");
    assert!(
        table.contains("1/2") && table.contains("never") && !table.contains(token),
        "{table}"
    );

    file.ok("share revoke 1", "");
    assert!(
        matches!(check(now), Err(share::ShareError::Invalid)),
        "a running server knows at once"
    );
    file.fails("share revoke 1", "", 1, "unknown share 1");
    file.fails("share add /a --uses 0", "", 2, "at least 1");
    file.fails(
        "share add /a --expires soon",
        "",
        2,
        "invalid duration `soon`",
    );
    file.fails(
        "share add /a --base-url files.example",
        "",
        2,
        "invalid URL",
    );
    file.fails("share add ../a", "", 2, "..");
}

#[test]
fn a_qr_code_follows_the_link() {
    let file = File::new("share-qr");
    file.ok("users add anonymous", "");
    let output = file.ok("share add /a --qr", "");
    let (link, code) = output.split_once('\n').unwrap();
    assert!(link.starts_with("http://127.0.0.1:8000/a?share="), "{link}");
    assert!(
        code.lines().count() > 15 && code.chars().all(|c| " ▀▄█\n".contains(c)),
        "{code}"
    );
}
