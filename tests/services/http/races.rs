//! `serve http` while somebody swaps what is served for symbolic links to elsewhere, between its
//! looking and its opening.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::http::raw::{Connection, request};
use crate::support::{PATIENCE, TestDir, TestServer};

/// What no answer may hold: the text and the name of the files outside.
pub(crate) const SECRET: &str = "SECRET-OF-THE-OUTSIDE";
const LONG_ENOUGH: Duration = Duration::from_secs(2);

/// A site with a folder, a deeper one and a file, each beside a link of another name that leads
/// outside.
pub(crate) fn site(name: &str) -> TestDir {
    let dir = TestDir::new(name);
    let below = ["dir", "deep/er/dir"];
    dir.write(&format!("outside/{SECRET}.txt"), SECRET);
    dir.write("outside/file.txt", SECRET);
    for folder in below {
        dir.write(&format!("site/{folder}/file.txt"), "the inner text");
        symlink(
            dir.join("outside"),
            dir.join(&format!("site/{folder}-link")),
        )
        .unwrap();
    }
    dir.write("site/file.txt", "the inner text");
    symlink(dir.join("outside/file.txt"), dir.join("site/file.txt-link")).unwrap();
    dir
}

/// Swaps each with its link, in one step of the system's, until told to stop.
pub(crate) fn swap(site: &Path, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        for name in ["dir", "deep/er/dir", "file.txt"] {
            let (real, link) = (site.join(name), site.join(format!("{name}-link")));
            renameat_with(CWD, &real, CWD, &link, RenameFlags::EXCHANGE).unwrap();
        }
    }
}

/// Asks until it was answered in both ways, for some time at least.
fn ask_while_swapped(server: SocketAddr, method: &str, target: &str) {
    let (mut found, mut missed) = (0, 0);
    let begun = Instant::now();
    while begun.elapsed() < LONG_ENOUGH || found == 0 || missed == 0 {
        assert!(
            begun.elapsed() < PATIENCE,
            "{method} {target}: {found} successes, {missed} failures"
        );
        let body: &[u8] = if method == "PUT" { b"uploaded" } else { b"" };
        let head = request(
            method,
            target,
            &[
                "Connection: close",
                &format!("Content-Length: {}", body.len()),
            ],
        );
        let mut stream = TcpStream::connect(server).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&[&head, body].concat()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(!answer.contains(SECRET), "{method} {target}: {answer}");
        match answer
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3))
        {
            Some("200" | "201" | "204") => found += 1,
            Some("403" | "404" | "409") => missed += 1,
            _ => panic!("{method} {target}: {answer}"),
        }
    }
}

#[test]
fn no_byte_of_what_is_outside_is_served_or_written_while_folders_become_links() {
    for symlinks in ["inside", "off"] {
        let dir = site(&format!("races-{symlinks}"));
        let root = dir.join("site");
        let server = TestServer::start(&[
            "http",
            root.to_str().unwrap(),
            "--upload",
            "--no-fsync",
            "--symlinks",
            symlinks,
        ]);
        let (address, stop) = (server.address(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let swapper = scope.spawn(|| swap(&root, &stop));
            let askers: Vec<_> = [
                ("GET", "/dir/file.txt"),
                ("GET", "/deep/er/dir/file.txt"),
                ("GET", "/file.txt"),
                ("GET", "/dir/"),
                ("GET", "/dir/?json"),
                ("PUT", "/dir/uploaded.txt"),
            ]
            .map(|(method, target)| scope.spawn(move || ask_while_swapped(address, method, target)))
            .into_iter()
            .map(|asker| asker.join())
            .collect();
            stop.store(true, Ordering::Relaxed);
            swapper.join().unwrap();
            for asked in askers {
                asked.unwrap();
            }
        });
        let outside = std::fs::read_dir(dir.join("outside")).unwrap().count();
        assert_eq!(outside, 2, "something was written outside");
        assert_eq!(
            std::fs::read_to_string(dir.join("outside/file.txt")).unwrap(),
            SECRET
        );
    }
}

#[test]
fn no_archive_holds_what_is_outside_while_folders_become_links() {
    let dir = site("races-archive");
    let root = dir.join("site");
    let server = TestServer::start(&["http", root.to_str().unwrap()]);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let swapper = scope.spawn(|| swap(&root, &stop));
        let begun = Instant::now();
        let mut whole = Vec::new();
        while begun.elapsed() < LONG_ENOUGH {
            let mut connection = Connection::open(&server);
            connection.send(request("GET", "/?archive=zip", &["Connection: close"]));
            whole.push(connection.rest());
        }
        stop.store(true, Ordering::Relaxed);
        swapper.join().unwrap();
        let holds = |archive: &Vec<u8>, text: &str| {
            memchr::memmem::find(archive, text.as_bytes()).is_some()
        };
        assert!(
            whole.iter().any(|archive| holds(archive, "file.txt")),
            "no archive held anything"
        );
        assert!(
            !whole.iter().any(|archive| holds(archive, SECRET)),
            "an archive leads outside"
        );
    });
}
