//! `serve ftp`: rights, also where symbolic links lead.

use std::io::Write;
use std::os::unix::fs::symlink;

use crate::support::ftp::{Ftp, accounts, server_with};
use crate::support::{TestDir, TestServer, run, wait_until};

/// Bob has these rights per prefix, and `lr` everywhere else.
fn server_of_bob(dir: &TestDir, rules: &[(&str, &str)]) -> TestServer {
    let accounts = accounts(dir, &[("bob", "lr", &[])]);
    for (prefix, rights) in rules {
        let set = ["users", "allow", "--accounts", &accounts, "bob"];
        let all = ["users", "deny", "--accounts", &accounts, "bob"];
        assert_eq!(run(&[&all[..], &["lrwd", prefix]].concat()).0, Some(0));
        if *rights != "-" {
            assert_eq!(run(&[&set[..], &[rights, prefix]].concat()).0, Some(0));
        }
    }
    server_with(dir, &accounts, &[])
}

#[test]
fn a_link_is_not_moved_to_a_folder_from_where_it_leads_past_the_rights() {
    let dir = TestDir::new("ftp-moved-link");
    dir.write("root/pub/d/file", "x");
    dir.write("root/pub/releases/own", "own");
    dir.write("root/releases/foreign", "foreign");
    symlink("../releases", dir.join("root/pub/d/current")).unwrap();
    symlink("file", dir.join("root/pub/d/near")).unwrap();
    let server = server_of_bob(&dir, &[("/pub", "lrwd"), ("/releases", "-")]);
    let mut ftp = Ftp::log_in(&server, "bob");
    ftp.expect("RNFR pub/d/current", 350);
    ftp.expect("RNTO pub/current", 550);
    assert!(!dir.join("root/pub/current").is_symlink());
    // Within its folder it keeps its target, and from elsewhere it may lead to what bob sees.
    for (from, to) in [("d/current", "d/other"), ("d/near", "releases/near")] {
        ftp.expect(format!("RNFR pub/{from}"), 350);
        ftp.expect(format!("RNTO pub/{to}"), 250);
    }
}

#[test]
fn listings_show_what_the_user_may_see_where_links_lead() {
    let dir = TestDir::new("ftp-listed-links");
    dir.write("root/secret/b", "a secret");
    dir.write("root/other/hidden/c", "x");
    dir.write("root/other/shown", "x");
    std::fs::create_dir_all(dir.join("root/pub")).unwrap();
    symlink("../secret/b", dir.join("root/pub/link")).unwrap();
    symlink("../other", dir.join("root/pub/folder")).unwrap();
    symlink("../other/shown", dir.join("root/pub/readable")).unwrap();
    let rules = [("/pub", "lrwd"), ("/secret", "-"), ("/other/hidden", "-")];
    let server = server_of_bob(&dir, &rules);
    let mut ftp = Ftp::log_in(&server, "bob");
    let mut text = |command: &str| ftp.text(command);
    let facts = text("MLSD pub");
    assert!(!facts.contains("size=8;"), "{facts}");
    // The rights are those that hold at the path and at what it leads to.
    let line = facts.lines().find(|line| line.ends_with("; readable"));
    assert!(line.unwrap().contains("perm=r;"), "{facts}");
    assert_eq!(text("NLST pub/folder"), "pub/folder/shown\r\n");
    assert_eq!(text("LIST pub/folder").lines().count(), 1);
    assert!(text("MLSD pub/folder").contains("perm=r;"));
    let described = ftp.expect("MLST pub/readable", 250);
    assert!(described.contains("perm=r;"), "{described}");
}

#[test]
fn to_replace_a_file_takes_the_right_to_delete_where_its_path_leads() {
    let dir = TestDir::new("ftp-replaced-links");
    dir.write("root/other/file", "old");
    std::fs::create_dir_all(dir.join("root/pub")).unwrap();
    symlink("../other", dir.join("root/pub/folder")).unwrap();
    let server = server_of_bob(&dir, &[("/pub", "lrwd"), ("/other", "lrw")]);
    let mut ftp = Ftp::log_in(&server, "bob");
    ftp.listen();
    ftp.expect("STOR pub/folder/file", 550);
    assert_eq!(std::fs::read(dir.join("root/other/file")).unwrap(), b"old");
    assert!(ftp.store("STOR pub/folder/new", b"x").starts_with("226"));
}

#[test]
fn an_offset_within_a_file_takes_the_right_to_delete() {
    let dir = TestDir::new("ftp-offset-rights");
    dir.write("root/file", "old");
    let server = server_of_bob(&dir, &[("/", "lrw")]);
    let mut ftp = Ftp::log_in(&server, "bob");
    ftp.listen();
    ftp.expect("REST 1", 350);
    ftp.expect("STOR file", 550);
    assert_eq!(std::fs::read(dir.join("root/file")).unwrap(), b"old");
    // At its end it appends.
    ftp.expect("REST 3", 350);
    assert!(ftp.store("STOR file", b"+").starts_with("226"));
    assert!(ftp.store("APPE file", b"+").starts_with("226"));
    assert_eq!(std::fs::read(dir.join("root/file")).unwrap(), b"old++");
}

#[test]
fn a_home_may_be_a_link() {
    let dir = TestDir::new("ftp-linked-home");
    dir.write("root/real/ada/d/file", "x");
    symlink("real/ada", dir.join("root/ada")).unwrap();
    symlink("../d", dir.join("root/real/ada/d/link")).unwrap();
    let options = ["--home", "/ada", "--quota", "100"];
    let accounts = accounts(&dir, &[("ada", "lrwd", &options)]);
    let server = server_with(&dir, &accounts, &[]);
    let mut ftp = Ftp::log_in(&server, "ada");
    assert!(ftp.store("STOR d/new", &[1; 60]).starts_with("226"));
    assert!(dir.join("root/real/ada/d/new").exists());
    assert!(ftp.expect("SITE QUOTA", 200).contains("60 of 100 bytes"));
    ftp.expect("MKD made", 257);
    ftp.expect("RNFR d/new", 350);
    ftp.expect("RNTO made/moved", 250);
    ftp.expect("RNFR d/link", 350);
    ftp.expect("RNTO made/link", 250);
    assert!(ftp.expect("SITE QUOTA", 200).contains("60 of 100 bytes"));
    ftp.expect("DELE made/moved", 250);
    assert!(ftp.expect("SITE QUOTA", 200).contains("0 of 100 bytes"));
}

/// The status of a request of ada by HTTP.
fn http_status(server: &TestServer, method: &str, path: &str) -> String {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YWRhOnNlY3JldA==\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n"
    );
    let response = server.exchange(request.as_bytes());
    String::from_utf8_lossy(&response[9..12]).into_owned()
}

#[test]
fn a_home_that_is_a_link_has_the_same_rights_by_ftp_and_by_http() {
    let dir = TestDir::new("ftp-http-linked-home");
    for path in ["open/file", "closed/file", "upper"] {
        dir.write(&format!("root/real/ada/{path}"), "content");
    }
    dir.write("root/real/other", "content");
    dir.write("outside/file", "content");
    symlink("real/ada", dir.join("root/ada")).unwrap();
    symlink("closed", dir.join("root/real/ada/to-closed")).unwrap();
    symlink("../other", dir.join("root/real/ada/to-other")).unwrap();
    symlink("open", dir.join("root/real/ada/to-open")).unwrap();
    let accounts = accounts(&dir, &[("ada", "lrwd", &["--home", "/ada"])]);
    let set = |verb: &str, rights: &str, path: &str| {
        let line = ["users", verb, "--accounts", &accounts, "ada", rights, path];
        assert_eq!(run(&line).0, Some(0));
    };
    // A rule for the path in the home holds, one for the path behind the link does not.
    set("deny", "lrwd", "/ada/closed");
    set("deny", "lrwd", "/real/ada/open");
    let root = dir.join("root").to_str().unwrap().to_owned();
    let ftp = server_with(&dir, &accounts, &[]);
    let http = TestServer::start(&["http", &root, "--upload", "--accounts", &accounts]);
    let mut session = Ftp::log_in(&ftp, "ada");
    for (path, is_allowed) in [
        ("upper", true),
        ("open/file", true),
        ("to-open/file", true),
        ("closed/file", false),
        ("to-closed/file", false),
        ("to-other", false),
    ] {
        let command = format!("RETR {path}");
        if is_allowed {
            assert_eq!(session.receive(command), b"content", "{path}");
        } else {
            session.listen();
            session.expect(command, 550);
        }
        let status = http_status(&http, "GET", &format!("/ada/{path}"));
        assert_eq!(status == "200", is_allowed, "{path}: {status}");
        // By HTTP the path behind the link is that of the same file.
        let status = http_status(&http, "GET", &format!("/real/ada/{path}"));
        assert_eq!(status == "200", is_allowed, "{path}: {status}");
    }
    assert!(session.store("STOR open/ftp", b"x").starts_with("226"));
    assert_eq!(http_status(&http, "PUT", "/ada/open/http"), "201");
    assert!(dir.join("root/real/ada/open/http").exists());
    session.listen();
    session.expect("STOR closed/ftp", 550);
    assert_eq!(http_status(&http, "PUT", "/ada/closed/http"), "403");
    // A home that leads out of the served folder is none.
    std::fs::remove_file(dir.join("root/ada")).unwrap();
    symlink(dir.join("outside"), dir.join("root/ada")).unwrap();
    let mut late = Ftp::connect(&ftp);
    late.expect("USER ada", 331);
    late.expect("PASS secret", 530);
    assert_ne!(http_status(&http, "GET", "/ada/file"), "200");
}

#[test]
fn an_upload_is_refused_if_its_user_may_not_store_it_any_more_when_it_ends() {
    let dir = TestDir::new("ftp-rights-changed");
    std::fs::create_dir_all(dir.join("root/other")).unwrap();
    let names = ["ada", "bob", "eve", "kim", "leo", "mia", "ned", "pam"];
    let accounts = accounts(&dir, &names.map(|name| (name, "lrwd", &[][..])));
    let server = server_with(&dir, &accounts, &[]);
    // The server has bytes of the upload before the change, or gets it as a whole after it.
    for (name, has_bytes, change, is_stored) in [
        ("ada", true, ["deny", "ada", "w", "/"], false),
        ("bob", false, ["deny", "bob", "w", "/"], false),
        ("eve", true, ["set", "eve", "--home", "/other"], false),
        ("kim", false, ["set", "kim", "--home", "/other"], false),
        ("leo", true, ["remove", "leo", "", ""], false),
        ("mia", false, ["remove", "mia", "", ""], false),
        ("ned", true, ["set", "ned", "--quota", "1000"], true),
        ("pam", false, ["set", "pam", "--quota", "1000"], true),
    ] {
        let mut ftp = Ftp::log_in(&server, name);
        let mut data = ftp.data();
        ftp.expect(format!("STOR {name}"), 150);
        if has_bytes {
            data.write_all(b"some ").unwrap();
            wait_until("the first bytes are stored", || {
                let staged = std::fs::read_dir(dir.join("root/.socketserver-partial"));
                let mut staged = staged.into_iter().flatten().flatten();
                staged.any(|entry| entry.metadata().is_ok_and(|found| found.len() == 5))
            });
        }
        let change = change.iter().filter(|word| !word.is_empty());
        let [verb, rest @ ..] = &change.copied().collect::<Vec<_>>()[..] else {
            panic!("no command");
        };
        let change = [&["users", verb, "--accounts", &accounts], rest].concat();
        assert_eq!(run(&change).0, Some(0), "{change:?}");
        data.write_all(b"bytes").unwrap();
        drop(data);
        let reply = ftp.reply();
        let code = if is_stored { "226" } else { "550" };
        assert!(reply.starts_with(code), "{name}: {reply}");
        let folders = [dir.join("root"), dir.join("root/other")];
        let exists = folders.iter().any(|folder| folder.join(name).exists());
        assert_eq!(exists, is_stored, "{name}");
    }
}
