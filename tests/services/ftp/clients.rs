//! `serve ftp` with the clients that people use: each stores a tree of nasty names and fetches it.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use crate::support::ftp::server_of_ada;
use crate::support::{BoundedCommand, TestDir, TestServer, certificate, has_tool};

/// Names that clients and servers stumble over.
const NASTY: [&[u8]; 20] = [
    b"plain.txt",
    b" leading",
    b"trailing ",
    b"two  spaces",
    b"-dash",
    b"quo\"te",
    b"apo'strophe",
    b"caf\xc3\xa9",
    b"caf\xe9",
    b"a&b;c|d$e`f",
    b"star*",
    b"[brack]",
    b"q?",
    b"back\\slash",
    b"tab\there",
    b"\xff\xfe",
    b"percent%41",
    b"#hash",
    b"~tilde",
    b".hidden",
];

fn make_tree(root: &Path, names: &[&[u8]]) {
    for name in names {
        let name = std::ffi::OsStr::from_bytes(name);
        fs::create_dir_all(root.join("sub").join(name)).unwrap();
        fs::write(root.join("sub").join(name).join("file"), "x").unwrap();
        fs::write(root.join(name), name.as_bytes().repeat(100)).unwrap();
    }
    fs::write(root.join("large"), vec![42; 3_000_000]).unwrap();
    fs::write(root.join("empty"), "").unwrap();
}

#[track_caller]
fn assert_same(one: &Path, other: &Path) {
    let output = Command::new("diff").arg("-r").args([one, other]).finish();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

/// Runs a client to its end.
#[track_caller]
fn run(command: &mut Command) {
    let output = command.finish();
    let said = [&output.stdout[..], &output.stderr].concat();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&said)
    );
}

fn with_tls(test: &str, dir: &TestDir) -> Option<TestServer> {
    let (certificate, key) = certificate(test, dir)?;
    Some(server_of_ada(
        dir,
        &["--tls-cert", &certificate, "--tls-key", &key],
    ))
}

#[test]
fn lftp_mirrors_nasty_names_both_ways_in_the_clear_and_over_tls() {
    if !has_tool("lftp", "lftp_mirrors") {
        return;
    }
    let dir = TestDir::new("ftp-lftp");
    let Some(server) = with_tls("lftp_mirrors", &dir) else {
        return;
    };
    make_tree(&dir.join("source"), &NASTY);
    for tls in ["no", "yes"] {
        let there = format!("there-{tls}");
        let back = dir.join(&format!("back-{tls}"));
        let script = format!(
            "set cmd:fail-exit yes; set net:max-retries 2; set net:timeout 20; \
             set ssl:verify-certificate no; set ftp:ssl-allow {tls}; set ftp:ssl-force {tls}; \
             set ftp:ssl-protect-data {tls}; open -u ada,secret ftp://{}; \
             mirror -R {} {there}; mirror {there} {}",
            server.address(),
            dir.join("source").display(),
            back.display()
        );
        run(Command::new("lftp").args(["-c", &script]));
        assert_same(&dir.join("source"), &dir.join("root").join(&there));
        assert_same(&dir.join("source"), &back);
    }
}

#[test]
fn curl_stores_fetches_and_resumes() {
    if !has_tool("curl", "curl_stores") {
        return;
    }
    let dir = TestDir::new("ftp-curl");
    let Some(server) = with_tls("curl_stores", &dir) else {
        return;
    };
    let content: Vec<u8> = (0..2_000_000_u32).map(|n| (n % 249) as u8).collect();
    dir.write("whole", &content);
    dir.write("part", &content[..700_000]);
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let url = |name: &str| format!("ftp://{}/{name}", server.address());
    let curl = |arguments: &[&str]| {
        let common = ["-sS", "-k", "-u", "ada:secret", "--max-time", "50"];
        run(Command::new("curl").args(common).args(arguments));
    };
    let tls13: &[&str] = &["--ssl-reqd"];
    let tls12: &[&str] = &["--ssl-reqd", "--tls-max", "1.2"];
    for (name, options) in [("clear", &[][..]), ("1.3", tls13), ("1.2", tls12)] {
        let (there, back) = (format!("new/{name}"), path(&format!("back-{name}")));
        let store = ["--ftp-create-dirs", "-T", &path("whole"), &url(&there)];
        curl(&[options, &store].concat());
        assert!(fs::read(dir.join("root").join(&there)).unwrap() == content);
        curl(&[options, &[&url(&there), "-o", &back]].concat());
        assert!(fs::read(&back).unwrap() == content);
        curl(&[options, &["-l", &url("new/")]].concat());
    }
    curl(&["-P", "-", &url("new/clear"), "-o", &path("active")]);
    assert!(fs::read(path("active")).unwrap() == content);
    curl(&["-r", "100-199", &url("new/clear"), "-o", &path("range")]);
    assert_eq!(fs::read(path("range")).unwrap(), &content[100..200]);
    fs::copy(path("part"), path("resumed")).unwrap();
    curl(&["-C", "-", &url("new/clear"), "-o", &path("resumed")]);
    assert!(fs::read(path("resumed")).unwrap() == content);
    curl(&["-T", &path("part"), &url("grown")]);
    curl(&["-C", "-", "-T", &path("whole"), &url("grown")]);
    assert!(fs::read(dir.join("root/grown")).unwrap() == content);
}

#[test]
fn rclone_copies_and_finds_no_difference_in_the_clear_and_over_tls() {
    if !has_tool("rclone", "rclone_copies") {
        return;
    }
    let dir = TestDir::new("ftp-rclone");
    let Some(server) = with_tls("rclone_copies", &dir) else {
        return;
    };
    // rclone itself writes other names for those that end with a space, hold control characters or
    // are no UTF-8.
    let is_kept = |name: &&&[u8]| {
        let text = std::str::from_utf8(name);
        text.is_ok_and(|text| !text.ends_with(' ') && !text.contains(char::is_control))
    };
    let names: Vec<&[u8]> = NASTY.iter().filter(is_kept).copied().collect();
    make_tree(&dir.join("source"), &names);
    let obscured = Command::new("rclone").args(["obscure", "secret"]).finish();
    let password = String::from_utf8(obscured.stdout).unwrap();
    let port = server.address().port().to_string();
    let source = dir.join("source");
    for tls in ["false", "true"] {
        let rclone = |arguments: &[&str]| {
            let mut command = Command::new("rclone");
            command.args(["--config", "/dev/null"]).args(arguments);
            for (name, value) in [
                ("TYPE", "ftp"),
                ("HOST", "127.0.0.1"),
                ("PORT", &port),
                ("USER", "ada"),
                ("PASS", password.trim()),
                ("EXPLICIT_TLS", tls),
                ("NO_CHECK_CERTIFICATE", "true"),
            ] {
                command.env(format!("RCLONE_CONFIG_THERE_{name}"), value);
            }
            run(&mut command);
        };
        let (there, back) = (format!("copy-{tls}"), dir.join(&format!("back-{tls}")));
        let remote = format!("THERE:{there}");
        rclone(&["copy", source.to_str().unwrap(), &remote]);
        rclone(&["check", source.to_str().unwrap(), &remote]);
        rclone(&["copy", &remote, back.to_str().unwrap()]);
        assert_same(&source, &dir.join("root").join(&there));
        assert_same(&source, &back);
    }
}

#[test]
fn wget_fetches_a_tree_in_the_clear_and_over_tls() {
    if !has_tool("wget", "wget_fetches") {
        return;
    }
    let dir = TestDir::new("ftp-wget");
    let Some(server) = with_tls("wget_fetches", &dir) else {
        return;
    };
    // wget reads LIST, in which it skips spaces, and takes `%41` in a name for an escape.
    let is_fetched = |name: &&&[u8]| {
        let is_plain = !name.starts_with(b" ") && !name.ends_with(b" ");
        let text = std::str::from_utf8(name);
        is_plain && text.is_ok_and(|text| !text.contains(['%', '\t']))
    };
    let names: Vec<&[u8]> = NASTY.iter().filter(is_fetched).copied().collect();
    make_tree(&dir.join("root/tree"), &names);
    for scheme in ["ftp", "ftps"] {
        let back = dir.join(scheme);
        let mut wget = Command::new("wget");
        wget.args(["-q", "-r", "-nH", "--user=ada", "--password=secret"]);
        // Names are kept as they are.
        wget.args(["--no-check-certificate", "--restrict-file-names=nocontrol"]);
        let url = format!("{scheme}://{}/tree", server.address());
        run(wget.arg("-P").arg(&back).arg(&url));
        assert_same(&dir.join("root/tree"), &back.join("tree"));
    }
}

#[test]
fn ncftp_fetches_and_stores_a_tree() {
    if !has_tool("ncftpget", "ncftp_fetches") {
        return;
    }
    let dir = TestDir::new("ftp-ncftp");
    let server = server_of_ada(&dir, &[]);
    make_tree(
        &dir.join("root/tree"),
        &[
            b"plain.txt",
            b"with space",
            b"caf\xc3\xa9",
            b"-dash",
            b"#hash",
        ],
    );
    let (back, port) = (dir.join("ncftp"), server.address().port().to_string());
    fs::create_dir(&back).unwrap();
    let login = ["-V", "-u", "ada", "-p", "secret", "-P", &port, "-R"];
    let login = [&login[..], &["127.0.0.1"]].concat();
    run(Command::new("ncftpget")
        .args(&login)
        .arg(&back)
        .arg("/tree"));
    assert_same(&dir.join("root/tree"), &back.join("tree"));
    let mut put = Command::new("ncftpput");
    put.arg("-m").args(&login).arg("/put");
    run(put.arg(back.join("tree")));
    assert_same(&dir.join("root/tree"), &dir.join("root/put/tree"));
}

#[test]
fn ftplib_of_python_lists_facts_and_transfers_lines() {
    let script = r#"
import ftplib, io, sys
ftp = ftplib.FTP(encoding='utf-8')
ftp.connect('127.0.0.1', int(sys.argv[1]), timeout=20)
ftp.login('ada', 'secret')
ftp.storlines('STOR lines', io.BytesIO(b'one\ntwo\n'))
lines = []
ftp.retrlines('RETR lines', lines.append)
assert lines == ['one', 'two'], lines
assert ftp.mkd('folder') == '/folder'
facts = dict(ftp.mlsd(facts=['type', 'size']))
assert facts == {'lines': {'type': 'file', 'size': '8'},
                 'folder': {'type': 'dir', 'size': facts['folder']['size']}}, facts
ftp.rename('lines', 'folder/moved')
ftp.voidcmd('TYPE I')
assert ftp.size('folder/moved') == 8
ftp.set_pasv(False)
ftp.retrbinary('RETR folder/moved', lines.append)
ftp.delete('folder/moved')
ftp.rmd('folder')
assert ftp.nlst() == []
ftp.abort()
print(ftp.quit()[:3])
"#;
    let dir = TestDir::new("ftp-ftplib");
    let server = server_of_ada(&dir, &[]);
    let port = server.address().port().to_string();
    if let Some(said) = crate::support::python("ftplib_of_python", script, &[&port]) {
        assert_eq!(said, "221\n");
    }
}
