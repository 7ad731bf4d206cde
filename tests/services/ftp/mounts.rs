//! `serve ftp`: folders of the system that users have mounted (`users set --mount`).

use std::os::unix::fs::symlink;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::ftp::{Ftp, accounts, server_with};
use crate::support::{BoundedCommand, TestDir, TestServer, has_tool, python, run, wait_until};

/// The home of ada is `root/ada`; the folder `photos`, which is not below `root`, is mounted at
/// `/pictures`.
struct Files {
    dir: TestDir,
    accounts: String,
}

impl Files {
    fn new(name: &str, rights: &str, options: &[&str]) -> Files {
        let dir = TestDir::new(name);
        dir.write("root/ada/own", "own");
        dir.write("photos/cat.jpg", "a cat");
        dir.write("secret", "secret");
        let options = [&["--home", "/ada"][..], options].concat();
        let accounts = accounts(&dir, &[("ada", rights, &options), ("bob", "lrwd", &[])]);
        let files = Files { dir, accounts };
        files.mount("/pictures", "photos");
        files
    }

    /// A command of `users` on ada.
    #[track_caller]
    fn users(&self, verb: &str, arguments: &[&str]) {
        let line = ["users", verb, "ada", "--accounts", &self.accounts];
        let (code, _, stderr) = run(&[&line[..], arguments].concat());
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{arguments:?}");
    }

    #[track_caller]
    fn mount(&self, at: &str, folder: &str) {
        let folder = self.dir.join(folder);
        let mount = format!("{at}={}", folder.display());
        self.users("set", &["--mount", &mount]);
    }

    fn serve(&self) -> TestServer {
        server_with(&self.dir, &self.accounts, &[])
    }
}

#[test]
fn a_mounted_folder_is_listed_entered_read_and_written() {
    let files = Files::new("ftp-mount", "lrwd", &[]);
    // What the mounted folder hides.
    files.dir.write("root/ada/pictures/hidden", "x");
    let server = files.serve();
    let mut ftp = Ftp::log_in(&server, "ada");
    assert_eq!(ftp.text("NLST"), "own\r\npictures\r\n");
    let long = ftp.text("LIST");
    let line = long.lines().find(|line| line.ends_with(" pictures"));
    assert!(line.is_some_and(|line| line.starts_with('d')), "{long}");
    let facts = ftp.text("MLSD");
    assert!(facts.contains("type=dir;perm=elcmdpf;"), "{facts}");
    assert_eq!(ftp.text("NLST pictures"), "pictures/cat.jpg\r\n");
    assert_eq!(ftp.text("NLST pict*"), "pictures\r\n");
    assert_eq!(ftp.text("RETR pictures/cat.jpg"), "a cat");
    ftp.expect("CWD pictures", 250);
    assert!(ftp.expect("PWD", 257).contains("\"/pictures\""));
    assert!(ftp.expect("SIZE cat.jpg", 213).contains("213 5"));
    assert!(ftp.expect("MLST /pictures", 250).contains("type=dir;"));
    assert!(ftp.store("STOR new", b"new").starts_with("226"));
    assert!(ftp.store("APPE new", b"er").starts_with("226"));
    let path = |name: &str| files.dir.join("photos").join(name);
    assert_eq!(std::fs::read(path("new")).unwrap(), b"newer");
    assert!(ftp.store("STOU", b"x").starts_with("226"));
    ftp.expect("MKD sub", 257);
    ftp.expect("RNFR new", 350);
    ftp.expect("RNTO sub/moved", 250);
    ftp.expect("MFMT 20240102030405 sub/moved", 213);
    ftp.expect("SITE CHMOD 600 sub/moved", 200);
    ftp.expect("CWD sub", 250);
    ftp.expect("CDUP", 250);
    ftp.expect("CDUP", 250);
    assert!(ftp.expect("PWD", 257).contains("\"/\""));
    ftp.expect("DELE pictures/sub/moved", 250);
    ftp.expect("RMD pictures/sub", 250);
    assert!(!path("sub").exists());
    // Only the user who has mounted it sees it.
    let mut bob = Ftp::log_in(&server, "bob");
    assert_eq!(bob.text("NLST ada/pictures"), "ada/pictures/hidden\r\n");
}

#[test]
fn the_place_of_a_mounted_folder_stays_as_it_is() {
    let files = Files::new("ftp-mount-fixed", "lrwd", &[]);
    std::fs::create_dir_all(files.dir.join("root/ada/deep")).unwrap();
    files.dir.write("music/song", "la");
    files.mount("/deep/music", "music");
    let server = files.serve();
    let mut ftp = Ftp::log_in(&server, "ada");
    assert_eq!(ftp.text("NLST deep"), "deep/music\r\n");
    for path in ["pictures", "deep/music", "deep"] {
        ftp.expect(format!("RMD {path}"), 550);
        ftp.expect(format!("RNFR {path}"), 350);
        ftp.expect("RNTO other", 550);
        ftp.expect("RNFR own", 350);
        ftp.expect(format!("RNTO {path}"), 550);
    }
    ftp.expect("MKD pictures", 550);
    ftp.expect("DELE pictures", 550);
    ftp.listen();
    ftp.expect("STOR pictures", 550);
    // A move would have to copy.
    for (from, to) in [
        ("own", "pictures/own"),
        ("pictures/cat.jpg", "deep/music/cat"),
    ] {
        ftp.expect(format!("RNFR {from}"), 350);
        let reply = ftp.expect(format!("RNTO {to}"), 550);
        assert!(reply.contains("copy them"), "{reply}");
    }
    assert!(files.dir.join("photos/cat.jpg").exists());
    assert!(files.dir.join("music/song").exists());
}

#[test]
fn nothing_leads_out_of_a_mounted_folder_or_into_it_by_a_link() {
    let files = Files::new("ftp-mount-confined", "lrwd", &[]);
    let photos = files.dir.join("photos");
    symlink("../secret", photos.join("up")).unwrap();
    symlink(files.dir.join("secret"), photos.join("absolute")).unwrap();
    symlink("..", photos.join("folder")).unwrap();
    symlink("cat.jpg", photos.join("near")).unwrap();
    symlink(&photos, files.dir.join("root/ada/link")).unwrap();
    let server = files.serve();
    let mut ftp = Ftp::log_in(&server, "ada");
    ftp.listen();
    for path in [
        "pictures/up",
        "pictures/absolute",
        "pictures/folder/secret",
        "pictures/../secret",
        "link/cat.jpg",
    ] {
        ftp.expect(format!("RETR {path}"), 550);
    }
    for path in ["pictures/folder", "link"] {
        ftp.expect(format!("CWD {path}"), 550);
    }
    ftp.expect("STOR pictures/folder/new", 550);
    ftp.expect("MKD pictures/folder/new", 550);
    // `..` leads to what the user sees above.
    assert_eq!(ftp.text("RETR pictures/../own"), "own");
    assert_eq!(ftp.text("RETR pictures/near"), "a cat");
    assert!(ftp.store("STOR pictures/up", b"new").starts_with("226"));
    assert_eq!(std::fs::read(files.dir.join("secret")).unwrap(), b"secret");
}

#[test]
fn a_mounted_folder_may_hold_another_one() {
    let files = Files::new("ftp-mount-nested", "lrwd", &[]);
    files.dir.write("music/song", "la");
    files.mount("/pictures/music", "music");
    let server = files.serve();
    let mut ftp = Ftp::log_in(&server, "ada");
    assert_eq!(
        ftp.text("NLST pictures"),
        "pictures/cat.jpg\r\npictures/music\r\n"
    );
    assert_eq!(ftp.text("RETR pictures/music/song"), "la");
    assert!(
        ftp.store("STOR pictures/music/new", b"x")
            .starts_with("226")
    );
    assert!(files.dir.join("music/new").exists());
    ftp.expect("RMD pictures/music", 550);
    ftp.expect("RNFR pictures/cat.jpg", 350);
    ftp.expect("RNTO pictures/music/cat.jpg", 550);
    ftp.expect("CWD pictures/music", 250);
    ftp.expect("CDUP", 250);
    assert!(ftp.expect("PWD", 257).contains("\"/pictures\""));
}

#[test]
fn rights_are_those_of_the_path_that_the_user_sees() {
    let files = Files::new("ftp-mount-rights", "lrwd", &[]);
    files.dir.write("photos/private/diary", "x");
    symlink("private", files.dir.join("photos/open")).unwrap();
    files.users("deny", &["wd", "/ada/pictures"]);
    files.users("deny", &["lrwd", "/ada/pictures/private"]);
    let server = files.serve();
    let mut ftp = Ftp::log_in(&server, "ada");
    assert_eq!(ftp.text("RETR pictures/cat.jpg"), "a cat");
    assert!(ftp.expect("MLST pictures", 250).contains("perm=el;"));
    let names = ftp.text("NLST pictures");
    assert!(!names.contains("private"), "{names}");
    ftp.listen();
    for command in [
        "STOR pictures/new",
        "DELE pictures/cat.jpg",
        "MKD pictures/new",
        "RETR pictures/private/diary",
        "RETR pictures/open/diary",
        "CWD pictures/private",
    ] {
        ftp.expect(command, 550);
    }
    assert!(ftp.store("STOR new", b"x").starts_with("226"));
    files.users("deny", &["lr", "/ada/pictures"]);
    let mut ftp = Ftp::log_in(&server, "ada");
    assert_eq!(ftp.text("NLST"), "new\r\nown\r\n");
    ftp.expect("CWD pictures", 550);
}

#[test]
fn what_is_stored_in_a_mounted_folder_counts_for_the_quota() {
    let files = Files::new("ftp-mount-quota", "lrwd", &["--quota", "100"]);
    // This one lies below the served folder.
    files.dir.write("root/shared/old", "x");
    files.mount("/shared", "root/shared");
    let server = files.serve();
    let mut ftp = Ftp::log_in(&server, "ada");
    let mut used = 0;
    let store = |ftp: &mut Ftp, path: &str, bytes: usize, code: &str| {
        let reply = ftp.store(format!("STOR {path}"), &vec![1; bytes]);
        assert!(reply.starts_with(code), "{path}: {reply}");
    };
    for (path, bytes) in [("a", 20), ("pictures/a", 30), ("shared/a", 40)] {
        store(&mut ftp, path, bytes, "226");
        used += bytes;
        let quota = ftp.expect("SITE QUOTA", 200);
        assert!(quota.contains(&format!("{used} of 100 bytes")), "{quota}");
    }
    for path in ["b", "pictures/b", "shared/b"] {
        store(&mut ftp, path, 11, "552");
    }
    assert!(!files.dir.join("photos/b").exists());
    // What is replaced counts as free.
    store(&mut ftp, "pictures/a", 40, "226");
    store(&mut ftp, "shared/a", 10, "226");
    assert!(ftp.expect("SITE QUOTA", 200).contains("70 of 100 bytes"));
    // In the folder of the server it is the same file.
    let mut bob = Ftp::log_in(&server, "bob");
    bob.expect("DELE shared/a", 250);
    ftp.expect("DELE pictures/a", 250);
    assert!(ftp.expect("SITE QUOTA", 200).contains("20 of 100 bytes"));
    drop((ftp, bob, server));
    // Another server finds the same counts.
    let server = files.serve();
    let mut ftp = Ftp::log_in(&server, "ada");
    store(&mut ftp, "pictures/c", 81, "552");
    store(&mut ftp, "pictures/c", 80, "226");
}

#[test]
fn a_cut_upload_to_a_mounted_folder_goes_on() {
    let files = Files::new("ftp-mount-cut", "lrwd", &[]);
    let server = files.serve();
    let mut ftp = Ftp::log_in(&server, "ada");
    let mut data = ftp.data();
    ftp.expect("STOR pictures/movie", 150);
    std::io::Write::write_all(&mut data, b"hello ").unwrap();
    wait_until("the bytes are there", || {
        ftp.command("STAT").contains("6 bytes")
    });
    ftp.send(b"ABOR\r\n");
    while !ftp.reply().starts_with("226") {}
    drop(data);
    assert!(!files.dir.join("photos/movie").exists());
    assert!(ftp.expect("SIZE pictures/movie", 213).contains("213 6"));
    ftp.expect("SIZE movie", 550);
    ftp.expect("REST 6", 350);
    assert!(
        ftp.store("STOR pictures/movie", b"world")
            .starts_with("226")
    );
    let movie = std::fs::read(files.dir.join("photos/movie")).unwrap();
    assert_eq!(movie, b"hello world");
    assert_eq!(ftp.text("NLST pictures").lines().count(), 2);
}

#[test]
fn a_mounted_folder_that_is_not_there_is_not_replaced_by_the_home() {
    let files = Files::new("ftp-mount-gone", "lrwd", &[]);
    files.dir.write("root/ada/pictures/own", "x");
    let server = files.serve();
    let mut ftp = Ftp::log_in(&server, "ada");
    assert!(ftp.text("NLST pictures").contains("cat.jpg"));
    std::fs::rename(files.dir.join("photos"), files.dir.join("moved")).unwrap();
    let mut ftp = Ftp::log_in(&server, "ada");
    assert_eq!(ftp.text("NLST"), "own\r\n");
    ftp.listen();
    let reply = ftp.expect("STOR pictures/new", 550);
    assert!(
        reply.contains("The mounted folder is not available"),
        "{reply}"
    );
    ftp.expect("RETR pictures/own", 550);
    server.wait_for_log("the mounted folder");
    files.dir.write("photos/other", "back");
    let mut ftp = Ftp::log_in(&server, "ada");
    assert_eq!(ftp.text("RETR pictures/other"), "back");
}

#[test]
fn mounts_are_listed_checked_and_removed_and_running_sessions_see_it() {
    let files = Files::new("users-mounts", "lrwd", &[]);
    let photos = files.dir.join("photos").to_str().unwrap().to_owned();
    let list = |options: &[&str]| {
        let line = ["users", "list", "--accounts", &files.accounts];
        run(&[&line[..], options].concat()).1
    };
    assert!(
        list(&[]).contains(&format!("/pictures={photos}")),
        "{}",
        list(&[])
    );
    let listed: Value = serde_json::from_str(&list(&["--json"])).unwrap();
    assert_eq!(listed[0]["mounts"], json!({"/pictures": photos}));
    let server = files.serve();
    let mut ftp = Ftp::log_in(&server, "ada");
    assert_eq!(ftp.text("NLST"), "own\r\npictures\r\n");
    for (mount, code, says) in [
        ("/a", 2, "use /PATH=DIR"),
        ("/a=", 2, "use /PATH=DIR"),
        (&format!("/={photos}"), 2, "--home"),
        (&format!("/a/../b={photos}"), 2, ".."),
        (&format!("/.socketserver-partial={photos}"), 2, "this name"),
        ("/a=/no/such/folder", 2, "/no/such/folder: "),
        (&format!("/a={photos}/cat.jpg"), 2, "not a folder"),
        (
            &format!("/a={}", files.dir.as_str()),
            2,
            "the accounts would be served",
        ),
        ("/a=none", 1, "no folder is mounted at /a"),
    ] {
        let line = ["users", "set", "ada", "--accounts", &files.accounts];
        let (actual, _, stderr) = run(&[&line[..], &["--mount", mount]].concat());
        assert_eq!(
            (actual, stderr.lines().count()),
            (Some(code), 1),
            "{stderr}"
        );
        assert!(stderr.contains(says), "{mount}: {stderr}");
    }
    let line = ["users", "set", "ada", "--accounts", &files.accounts];
    let options = ["--quota", "7", "--home", "/a", "--mount", "/a=none"];
    let (code, _, _) = run(&[&line[..], &options].concat());
    let listed: Value = serde_json::from_str(&list(&["--json"])).unwrap();
    let unchanged = (&listed[0]["quota"], &listed[0]["home"]);
    assert_eq!((code, unchanged), (Some(1), (&Value::Null, &json!("/ada"))));
    files.users("set", &["--mount", "/pictures=none"]);
    assert!(!list(&[]).contains("MOUNTS"));
    wait_until("the session sees it", || ftp.text("NLST") == "own\r\n");
}

#[test]
fn curl_and_ftplib_use_a_mounted_folder() {
    let name = "curl_and_ftplib_use_a_mounted_folder";
    let files = Files::new("ftp-mount-clients", "lrwd", &[]);
    let server = files.serve();
    let (host, port) = (server.address().ip(), server.address().port().to_string());
    let script = "
import ftplib, io, sys
ftp = ftplib.FTP(timeout=60)
ftp.connect(sys.argv[1], int(sys.argv[2]))
ftp.login('ada', 'secret')
assert ftp.nlst() == ['own', 'pictures'], ftp.nlst()
assert ('pictures', 'dir') in [(name, facts['type']) for name, facts in ftp.mlsd()]
ftp.cwd('pictures')
ftp.storbinary('STOR dog.jpg', io.BytesIO(b'a dog'))
got = io.BytesIO()
ftp.retrbinary('RETR /pictures/dog.jpg', got.write)
assert got.getvalue() == b'a dog'
ftp.quit()
";
    if python(name, script, &[&host.to_string(), &port]).is_some() {
        assert_eq!(
            std::fs::read(files.dir.join("photos/dog.jpg")).unwrap(),
            b"a dog"
        );
    }
    if has_tool("curl", name) {
        let url = format!("ftp://{host}:{port}/pictures/cat.jpg");
        let curl = Command::new("curl")
            .args(["-sS", "--max-time", "60", "-u", "ada:secret", &url])
            .finish();
        let stderr = String::from_utf8_lossy(&curl.stderr);
        assert_eq!(String::from_utf8_lossy(&curl.stdout), "a cat", "{stderr}");
    }
}
