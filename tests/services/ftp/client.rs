//! `client ftp`, against a server in this process.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use crate::ftp::fake::{Fake, Running};
use crate::support::{BoundedCommand, TestDir};
use crate::upload::{MIB, content};

/// 2024-01-02 03:04:05, the time of all files of a [`Fake`].
pub(crate) const SECONDS: u64 = 1_704_164_645;

/// The client, with a home directory of the test's own and the right password.
pub(crate) fn command(home: &TestDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_socketserver"));
    command
        .args(["client", "ftp"])
        .args(arguments)
        .env("HOME", home.as_str())
        .env("SOCKETSERVER_PASSWORD", "secret")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs the client to its end: exit code, standard output, and standard error without the lines
/// that show the progress of slow transfers.
pub(crate) fn ended(mut command: Command) -> (Option<i32>, String, String) {
    let output = command.finish();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let is_progress =
        |line: &&str| line.starts_with("sending: ") || line.starts_with("receiving: ");
    let stderr = text(&output.stderr);
    let lines = stderr
        .split_inclusive('\n')
        .filter(|line| !is_progress(line));
    (output.status.code(), text(&output.stdout), lines.collect())
}

pub(crate) fn client(home: &TestDir, arguments: &[&str]) -> (Option<i32>, String, String) {
    ended(command(home, arguments))
}

/// Receives the server's file `f` as the file `f` of the home directory.
pub(crate) fn get(
    home: &TestDir,
    server: &Running,
    options: &[&str],
) -> (Option<i32>, String, String) {
    let to = home.join("f");
    let get = ["get", &server.url("f"), to.to_str().unwrap()];
    client(home, &[&get[..], options].concat())
}

/// Every path below a folder, sorted; folders end with `/`.
pub(crate) fn paths_in(folder: &Path) -> Vec<String> {
    let mut paths = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path();
            let below = path.strip_prefix(folder).unwrap().as_os_str().as_bytes();
            let mut shown = String::from_utf8_lossy(below).into_owned();
            if entry.file_type().unwrap().is_dir() {
                shown.push('/');
                waiting.push(path);
            }
            paths.push(shown);
        }
    }
    paths.sort();
    paths
}

const NASTY: [&str; 12] = [
    " lead",
    "-la",
    "~root",
    "a b",
    "quote\"d",
    "semi;colon; x",
    "\u{e9}\u{1f600}",
    "*",
    "[x]",
    "tr ",
    "\\",
    ".hidden",
];

fn nasty() -> Running {
    let mut fake = Fake::default();
    for name in NASTY {
        fake.tree
            .insert(name.as_bytes().to_vec(), name.as_bytes().to_vec());
        fake.tree
            .insert(format!("d/{name}").into_bytes(), b"below".to_vec());
    }
    for folder in ["d/", "void/", "deep/"] {
        fake.tree.insert(folder.as_bytes().to_vec(), Vec::new());
    }
    let mut deep = b"deep".to_vec();
    for _ in 0..30 {
        deep.extend_from_slice(b"/x");
        fake.tree.insert([&deep[..], b"/"].concat(), Vec::new());
    }
    fake.tree
        .insert([&deep[..], b"/bottom"].concat(), content(MIB));
    fake.tree
        .insert(b"latin-\xe9\xff".to_vec(), b"latin".to_vec());
    fake.tree.insert(b"empty".to_vec(), Vec::new());
    fake.start()
}

#[test]
fn a_tree_with_nasty_names_is_mirrored_both_ways() {
    let home = TestDir::new("ftp-mirror");
    let server = nasty();
    let here = home.join("here");
    let arguments = [
        "mirror",
        &server.url(""),
        here.to_str().unwrap(),
        "--jobs",
        "3",
    ];
    let (code, stdout, stderr) = client(&home, &arguments);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    let size = 2 * NASTY.len() + 3;
    assert!(
        stdout.starts_with(&format!("received {size} files, ")),
        "{stdout}"
    );
    assert!(stdout.ends_with(", verified by digest\n"), "{stdout}");
    let mut expected = server.paths();
    expected.sort();
    assert_eq!(paths_in(&here), expected);
    let latin = here.join(OsStr::from_bytes(b"latin-\xe9\xff"));
    assert_eq!(fs::read(&latin).unwrap(), b"latin");
    let time = fs::metadata(&latin).unwrap().modified().unwrap();
    assert_eq!(time, UNIX_EPOCH + Duration::from_secs(SECONDS));

    let (code, stdout, _) = client(&home, &arguments);
    assert_eq!(code, Some(0));
    assert_eq!(
        stdout,
        format!("received 0 files, 0 bytes; {size} up to date\n")
    );

    let empty = Fake::default().start();
    let back = [
        "mirror",
        &empty.url("new/copy"),
        here.to_str().unwrap(),
        "--reverse",
    ];
    let (code, stdout, stderr) = client(&home, &[&back[..], &["--jobs", "3"]].concat());
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    assert!(
        stdout.starts_with(&format!("sent {size} files, ")),
        "{stdout}"
    );
    let below = |(path, content): (&Vec<u8>, &Vec<u8>)| {
        ([b"new/copy/", &path[..]].concat(), content.clone())
    };
    let mut tree: std::collections::BTreeMap<_, _> =
        server.fake.lock().unwrap().tree.iter().map(below).collect();
    tree.insert(b"new/".to_vec(), Vec::new());
    tree.insert(b"new/copy/".to_vec(), Vec::new());
    assert!(
        empty.fake.lock().unwrap().tree == tree,
        "{:?}",
        empty.paths()
    );
    assert_eq!(empty.commands("MFMT").len(), size);
}

#[test]
fn a_server_without_mlsd_is_mirrored_too() {
    let home = TestDir::new("ftp-list");
    let mut server = Fake::with(&[("a b", b"1"), ("d/", b""), ("d/e", b"22")]);
    server.features = vec!["SIZE", "MDTM"];
    server.replies = vec![
        ("PWD", "257 \"/home\" x"),
        ("CWD", "250 ok"),
        ("EPSV", "500 what?"),
    ];
    server.tree.retain(|path, _| !path.starts_with(b"d"));
    let server = server.start();
    let here = home.join("here");
    let arguments = ["mirror", &server.url(""), here.to_str().unwrap()];
    let (code, stdout, stderr) = client(&home, &arguments);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    assert_eq!(stdout, "received 1 file, 1 bytes, verified by length\n");
    assert_eq!(fs::read(here.join("a b")).unwrap(), b"1");
    let time = fs::metadata(here.join("a b")).unwrap().modified().unwrap();
    assert_eq!(
        time,
        UNIX_EPOCH + Duration::from_secs(SECONDS),
        "LIST has no time of day"
    );
    assert_eq!(
        client(&home, &arguments).1,
        "received 0 files, 0 bytes; 1 up to date\n"
    );
    assert_eq!(server.commands("EPSV").len(), 2, "asked once in each run");
}

#[test]
fn delete_and_exclude_and_dry_run() {
    let home = TestDir::new("ftp-delete");
    let files: [(&str, &[u8]); 5] = [
        ("new", b"1"),
        ("d/", b""),
        ("d/same", b"22"),
        ("d/x.tmp", b"3"),
        ("skip/", b""),
    ];
    let server = Fake::with(&files).start();
    for name in [
        "here/old/deep/x",
        "here/d/same",
        "here/kept.tmp",
        "here/skip/mine",
    ] {
        home.write(name, "old");
    }
    let here = home.join("here");
    let mirror = [
        "mirror",
        &server.url(""),
        here.to_str().unwrap(),
        "--delete",
    ];
    let exclude = ["--exclude", "*.tmp", "--exclude", "/skip/"];
    let dry = [&mirror[..], &exclude, &["--dry-run"]].concat();
    let (code, stdout, stderr) = client(&home, &dry);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    let plan = "get d/same\nget new\nrm old/deep/x\nrmdir old/deep\nrmdir old\n";
    assert_eq!(stdout, plan);
    assert_eq!(server.commands("RETR"), [""; 0]);
    let (code, stdout, stderr) = client(&home, &[&mirror[..], &exclude].concat());
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    assert!(stdout.ends_with("; 3 removed\n"), "{stdout}");
    let left = ["d/", "d/same", "kept.tmp", "new", "skip/", "skip/mine"];
    assert_eq!(paths_in(&here), left);

    let back = [
        "mirror",
        &server.url(""),
        here.to_str().unwrap(),
        "--reverse",
        "--delete",
    ];
    fs::remove_file(here.join("new")).unwrap();
    let (code, stdout, stderr) = client(&home, &[&back[..], &exclude].concat());
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    assert_eq!(stdout, "sent 0 files, 0 bytes; 1 up to date; 1 removed\n");
    assert_eq!(server.paths(), ["d/", "d/same", "d/x.tmp", "skip/"]);
}

#[test]
fn files_are_received_and_sent_listed_and_removed() {
    let home = TestDir::new("ftp-single");
    let server = Fake::with(&[("a b", b"hello"), ("d/", b""), ("d/\x1b[2J", b"")]).start();
    let to = home.join("copy");
    let (code, stdout, _) = client(&home, &["get", &server.url("a%20b"), to.to_str().unwrap()]);
    assert_eq!(code, Some(0));
    assert_eq!(stdout, "received 1 file, 5 bytes, verified by digest\n");
    assert_eq!(fs::read(&to).unwrap(), b"hello");
    let into = client(&home, &["get", &server.url("a%20b"), home.as_str()]);
    assert_eq!(
        (into.0, fs::read(home.join("a b")).unwrap()),
        (Some(0), b"hello".to_vec())
    );

    home.write("copy", "changed");
    let put = client(&home, &["put", &server.url("d/"), to.to_str().unwrap()]);
    assert_eq!(
        put.1, "sent 1 file, 7 bytes, verified by digest\n",
        "{}",
        put.2
    );
    assert_eq!(server.content("d/copy").unwrap(), b"changed");
    let put = client(&home, &["put", &server.url("other"), to.to_str().unwrap()]);
    assert_eq!(
        (put.0, server.content("other").unwrap()),
        (Some(0), b"changed".to_vec())
    );

    let time = "2024-01-02T03:04:05Z";
    let line = |size: &str, name: &str| format!("{size:>15} {time} {name}\n");
    let lines = [line("5", "a b"), line("-", "d/"), line("7", "other")].concat();
    assert_eq!(client(&home, &["ls", &server.url("")]).1, lines);
    assert_eq!(
        client(&home, &["ls", &server.url("other")]).1,
        line("7", "other")
    );
    let below = [line("0", "\u{FFFD}[2J"), line("7", "copy")].concat();
    assert_eq!(client(&home, &["ls", &server.url("d")]).1, below);

    let dry = client(&home, &["rm", &server.url("d/copy"), "--dry-run"]);
    assert_eq!(
        (dry.1.as_str(), server.commands("DELE").len()),
        ("rm d/copy\n", 0)
    );
    assert_eq!(client(&home, &["rm", &server.url("d/copy")]).0, Some(0));
    assert_eq!(client(&home, &["mkdir", &server.url("new")]).0, Some(0));
    assert_eq!(client(&home, &["rm", &server.url("new/")]).0, Some(0));
    assert_eq!(server.paths(), ["a b", "d/", "d/\u{1b}[2J", "other"]);
}

#[test]
fn an_entry_that_is_missing_or_of_the_wrong_kind_is_one_line_of_error() {
    let home = TestDir::new("ftp-missing");
    let server = Fake::with(&[("d/", b""), ("f", b"1")]).start();
    home.write("file", "x");
    let file = home.join("file");
    let file = file.to_str().unwrap();
    let url = |path| server.url(path);
    for (arguments, code, why) in [
        (vec!["get", &url("nothing")], 1, "nothing: 550 no"),
        (vec!["get", &url("d")], 1, "use `client ftp mirror`"),
        (vec!["get", &url("d/")], 2, "use `client ftp mirror`"),
        (
            vec!["get", &url("f"), "no/such/folder/f"],
            2,
            "no/such/folder",
        ),
        (vec!["get", &url("f"), "no/such/"], 2, "no such folder"),
        (vec!["put", &url("x"), "missing"], 2, "missing"),
        (vec!["put", &url("x"), home.as_str()], 2, "mirror --reverse"),
        (vec!["put", &url("x")], 2, "LOCAL"),
        (vec!["ls", &url("nothing")], 1, "550"),
        (vec!["rm", &url("nothing")], 1, "550 no"),
        (vec!["rm", &url("d")], 1, "is a folder"),
        (vec!["rm", &url("")], 2, "nothing below"),
        (vec!["mkdir", &url("f")], 1, "550 no"),
        (vec!["mirror", &url("nothing"), "x"], 1, "550"),
        (vec!["mirror", &url("")], 2, "LOCAL"),
        (vec!["mirror", &url("x"), "--reverse"], 2, "LOCAL"),
        (vec!["mirror", &url("x"), file, "--reverse"], 2, "file"),
        (
            vec!["mirror", &url("x"), "--exclude", "[", "x"],
            2,
            "invalid pattern",
        ),
        (vec!["get", "http://h/x"], 2, "scheme"),
        (vec!["get"], 2, "URL"),
        (
            vec!["ls", &url("d"), "--tls-ca", "no/such/file"],
            2,
            "no/such/file",
        ),
    ] {
        let mut command = command(&home, &arguments);
        command.current_dir(home.as_str());
        let (ended, _, stderr) = ended(command);
        assert_eq!(ended, Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(why), "{arguments:?}: {stderr}");
        let is_one_line = stderr.lines().count() == 1 && stderr.starts_with("socketserver: ");
        assert!(is_one_line, "{arguments:?}: {stderr}");
    }
    // Only the mirror's folder was made, and no partial file was left.
    assert_eq!(paths_in(Path::new(home.as_str())), ["file", "x/"]);
}

#[test]
fn a_mirror_goes_on_after_a_failure() {
    let home = TestDir::new("ftp-some");
    home.write("here/good", "good");
    home.write("outside", "secret");
    home.write("here/new\nline", "x");
    std::os::unix::fs::symlink("../outside", home.join("here/leads-out")).unwrap();
    std::os::unix::fs::symlink("good", home.join("here/link")).unwrap();
    std::os::unix::fs::symlink(".", home.join("here/round")).unwrap();
    let server = Fake::with(&[("to/", b""), ("to/good/", b"")]).start();
    let here = home.join("here");
    let arguments = [
        "mirror",
        &server.url("to"),
        here.to_str().unwrap(),
        "--reverse",
    ];
    let (code, stdout, stderr) = client(&home, &arguments);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stdout.starts_with("sent 1 file, 4 bytes"), "{stdout}");
    for (name, why) in [
        ("good", "another kind"),
        ("new\u{FFFD}line", "line break"),
        ("leads-out", "out of the folder"),
        ("round", "passed over"),
    ] {
        let is_reported = |line: &str| line.contains(name) && line.contains(why);
        assert!(stderr.lines().any(is_reported), "{name}: {stderr}");
    }
    assert_eq!(stderr.lines().count(), 4, "{stderr}");
    assert_eq!(server.paths(), ["to/", "to/good/", "to/link"]);
    assert_eq!(server.content("to/link").unwrap(), b"good");
}

#[test]
fn digests_are_compared_where_the_server_has_them() {
    let home = TestDir::new("ftp-digest");
    let mut fake = Fake::with(&[("f", b"hello")]);
    fake.lies = true;
    let server = fake.start();
    let to = home.join("f");
    let to = to.to_str().unwrap();
    let (code, _, stderr) = get(&home, &server, &[]);
    assert_eq!(code, Some(1));
    assert!(
        stderr.contains("SHA-256") && stderr.contains("differ"),
        "{stderr}"
    );
    assert_eq!(paths_in(Path::new(home.as_str())), [""; 0]);
    assert_eq!(get(&home, &server, &["--no-digest"]).0, Some(0));
    assert_eq!(client(&home, &["put", &server.url("g"), to]).0, Some(1));
    server.fake.lock().unwrap().lies = false;
    assert_eq!(client(&home, &["put", &server.url("g"), to]).0, Some(0));

    server.fake.lock().unwrap().features = vec![];
    let put = client(&home, &["put", &server.url("g"), to]);
    assert_eq!(put.1, "sent 1 file, 5 bytes, not verified\n", "{}", put.2);
    let (_, stdout, stderr) = get(&home, &server, &[]);
    assert_eq!(
        stdout, "received 1 file, 5 bytes, not verified\n",
        "{stderr}"
    );
    server.fake.lock().unwrap().features = vec!["SIZE"];
    server.fake.lock().unwrap().replies = vec![("SIZE", "213 4")];
    let (code, _, stderr) = client(&home, &["put", &server.url("g"), to]);
    assert!(
        code == Some(1) && stderr.contains("4 of 5 bytes"),
        "{stderr}"
    );
    let (code, _, stderr) = get(&home, &server, &[]);
    assert!(
        code == Some(1) && stderr.contains("more than the 4 bytes"),
        "{stderr}"
    );
}
