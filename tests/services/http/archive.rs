//! `serve http`: folders as archives, opened by others' programs; Markdown as a page.

use std::fs::File;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use crate::http::raw::{Connection, ask, get, request};
use crate::support::{BoundedCommand, TestDir, TestServer, has_tool, python};

const MIB: usize = 1024 * 1024;

/// Bytes that don't compress, the same for the same seed.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// A folder with all that is hard about folders. Its entries' times are even seconds, as zip has no
/// others.
fn odd_folder(name: &str) -> TestDir {
    let dir = TestDir::new(name);
    let long = format!(
        "site/top/{}/{}.txt",
        "folder ".repeat(20),
        "file ".repeat(40)
    );
    for (name, content) in [
        ("site/top/large.bin", noise(5 * MIB, 1)),
        ("site/top/packed.jpg", noise(100_000, 2)),
        (
            "site/top/naïve €/😀.txt",
            "text ".repeat(10_000).into_bytes(),
        ),
        ("site/top/empty.txt", Vec::new()),
        ("site/top/.hidden/secret", b"hidden".to_vec()),
        ("site/other/linked.txt", b"linked".to_vec()),
        ("secret.txt", b"secret".to_vec()),
        (&*long, b"long".to_vec()),
    ] {
        dir.write(name, content);
        let modified = UNIX_EPOCH + Duration::from_secs(1_681_923_870);
        File::options()
            .write(true)
            .open(dir.join(name))
            .unwrap()
            .set_modified(modified)
            .unwrap();
    }
    std::fs::create_dir(dir.join("site/top/empty folder")).unwrap();
    for (target, name) in [
        ("../other/linked.txt", "to-file"),
        ("../other", "to-folder"),
        ("..", "round"),
        ("../../secret.txt", "out"),
        ("nowhere", "dangling"),
    ] {
        symlink(target, dir.join("site/top").join(name)).unwrap();
    }
    let fifo = dir.join("site/top/fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        fifo,
        rustix::fs::FileType::Fifo,
        0o644.into(),
        0,
    )
    .unwrap();
    dir
}

fn serve(dir: &TestDir, options: &[&str]) -> TestServer {
    let site = dir.join("site");
    let arguments = [&["http", site.to_str().unwrap()], options].concat();
    TestServer::start_with(&arguments, 1, |command| command.env("TZ", "UTC"))
}

/// Compares an archive with the folder, by Python's readers.
const COMPARE: &str = "
import io, os, sys, tarfile, time, urllib.request, zipfile
url, site = sys.argv[1], sys.argv[2]
def fetch(query):
    with urllib.request.urlopen(url + query, timeout=20) as answer:
        return io.BytesIO(answer.read())
expected = {'top/to-file': b'linked'}
for folder, folders, files in os.walk(os.path.join(site, 'top')):
    folders[:] = [name for name in folders
                  if name != '.hidden' and not os.path.islink(os.path.join(folder, name))]
    expected[os.path.relpath(folder, site) + '/'] = None
    for name in files:
        path = os.path.join(folder, name)
        if os.path.isfile(path) and not os.path.islink(path):
            expected[os.path.relpath(path, site)] = open(path, 'rb').read()
when = 1681923870
archive = zipfile.ZipFile(fetch('?archive=zip'))
assert archive.testzip() is None
zipped = {}
for info in archive.infolist():
    zipped[info.filename] = None if info.is_dir() else archive.read(info)
    assert info.flag_bits & 0x800, info
    assert info.is_dir() or info.date_time == time.gmtime(when)[:6], info
assert zipped == expected, sorted(zipped)
archive = tarfile.open(fileobj=fetch('?archive=tar.gz'), mode='r:gz')
tarred = {}
for member in archive:
    content = None if member.isdir() else archive.extractfile(member).read()
    tarred[member.name + ('/' if member.isdir() else '')] = content
    assert member.isdir() or (member.isreg() and member.mtime == when), member
assert tarred == expected, sorted(tarred)
print(len(expected))
";

#[test]
fn python_opens_the_archives_and_finds_the_folder_in_them() {
    let dir = odd_folder("archive-python");
    let server = serve(&dir, &[]);
    let (url, site) = (
        format!("http://{}/top/", server.address()),
        dir.join("site"),
    );
    let output = python(
        "python_opens_the_archives",
        COMPARE,
        &[&url, site.to_str().unwrap()],
    );
    assert!(output.is_none_or(|output| output == "10\n"));
}

#[test]
fn unzip_and_tar_open_the_archives() {
    let dir = odd_folder("archive-tools");
    let server = serve(&dir, &["--hidden"]);
    for (query, file, program, arguments) in [
        ("/top/?archive=zip", "a.zip", "unzip", &["-tq"][..]),
        ("/?archive=zip", "b.zip", "unzip", &["-tq"]),
        ("/top/?archive=tar.gz", "a.tar.gz", "tar", &["-tzf"]),
        ("/?archive=tar.gz", "b.tar.gz", "tar", &["-tzf"]),
    ] {
        let answer = Connection::open(&server).ask("GET", query, &[]);
        assert_eq!(answer.status, 200);
        dir.write(file, &answer.body);
        if has_tool(program, "unzip_and_tar_open_the_archives") {
            let output = Command::new(program)
                .args(arguments)
                .arg(dir.join(file))
                .finish();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(
                output.status.success(),
                "{query}: {text}{}",
                String::from_utf8_lossy(&output.stderr)
            );
            if program == "tar" {
                let folder = if query.starts_with("/top") {
                    "top/"
                } else {
                    "files/"
                };
                assert!(text.lines().all(|line| line.starts_with(folder)), "{text}");
                assert!(
                    text.contains("/.hidden/secret\n") && text.contains("/empty folder/\n"),
                    "{text}"
                );
                assert!(
                    !text.contains("fifo")
                        && !text.contains("out\n")
                        && !text.contains("secret.txt"),
                    "{text}"
                );
            }
        }
    }
}

#[test]
fn an_archive_is_saved_under_its_folder_s_name_and_the_connection_goes_on() {
    let dir = odd_folder("archive-names");
    let server = serve(&dir, &[]);
    let mut connection = Connection::open(&server);
    for (target, media_type, disposition) in [
        (
            "/?archive=zip",
            "application/zip",
            "attachment; filename=\"files.zip\"; filename*=UTF-8''files.zip",
        ),
        (
            "/top/na%C3%AFve%20%E2%82%AC/?archive=tar.gz",
            "application/gzip",
            "attachment; filename=\"na_ve _.tar.gz\"; \
             filename*=UTF-8''na%C3%AFve%20%E2%82%AC.tar.gz",
        ),
    ] {
        connection.send(
            [
                request("GET", target, &[]),
                request("GET", "/other/linked.txt", &[]),
            ]
            .concat(),
        );
        let answer = connection.receive();
        assert_eq!(
            (answer.status, answer.field("Content-Type")),
            (200, media_type)
        );
        assert_eq!(answer.field("Content-Disposition"), disposition);
        assert_eq!(answer.find("Content-Length"), None);
        assert_eq!(connection.receive().text(), "linked");
        let head = connection.ask("HEAD", target, &[]);
        assert_eq!(head.without_date().fields, answer.without_date().fields);
    }
    assert_eq!(get(&server, "/?archive=rar").status, 400);
}

#[test]
fn an_archive_of_200_mib_takes_little_memory() {
    let dir = TestDir::new("archive-memory");
    for number in 0..4 {
        dir.write(&format!("site/{number}.bin"), noise(50 * MIB, number));
    }
    let server = serve(&dir, &[]);
    for format in ["zip", "tar.gz"] {
        let mut connection = Connection::open(&server);
        connection.send(request("GET", &format!("/?archive={format}"), &[]));
        assert_eq!(connection.receive_head().status, 200);
        assert!(connection.copy_chunks(&mut std::io::sink()) > 200 * MIB as u64);
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let peak: usize = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 64 * 1024, "{peak} KiB");
}

#[test]
fn an_archive_of_what_shrinks_meanwhile_has_no_end() {
    let dir = TestDir::new("archive-shrinks");
    File::create(dir.join("large.mp4"))
        .unwrap()
        .set_len(64 * MIB as u64)
        .unwrap();
    let server = TestServer::start(&["http", dir.as_str()]);
    for format in ["zip", "tar.gz"] {
        let file = File::options()
            .write(true)
            .open(dir.join("large.mp4"))
            .unwrap();
        file.set_len(1 << 32).unwrap();
        let mut connection = Connection::open(&server);
        connection.send(request("GET", &format!("/?archive={format}"), &[]));
        assert_eq!(connection.receive_head().status, 200);
        connection.skip(10); // the first piece: the file is open
        file.set_len(100).unwrap();
        assert!(!connection.rest().ends_with(b"\r\n0\r\n\r\n"), "{format}");
    }
}

#[test]
fn markdown_is_a_page_in_browsers_and_itself_elsewhere() {
    let dir = TestDir::new("render-markdown");
    dir.write(
        "a & b.md",
        "# Title\n[evil](javascript:alert(1)) <script>alert(1)</script>",
    );
    let server = TestServer::start(&["http", dir.as_str(), "--render-markdown"]);
    const BROWSER: &str = "Accept: text/html,*/*;q=0.8";
    let target = "/a%20%26%20b.md";
    let page = ask(&server, "GET", target, &[BROWSER]);
    assert_eq!(
        (page.status, page.field("Content-Type")),
        (200, "text/html; charset=utf-8")
    );
    assert!(
        page.text().contains("<title>a &amp; b.md</title>")
            && page.text().contains("<h1>Title</h1>")
    );
    assert!(!page.text().contains("script:") && !page.text().contains("<script"));
    assert!(
        page.field("Content-Security-Policy")
            .starts_with("default-src 'none'")
    );
    let source = ask(&server, "GET", target, &["Accept: */*"]);
    assert_eq!(
        (source.status, source.field("Content-Type")),
        (200, "text/markdown; charset=utf-8")
    );
    assert!(source.text().starts_with("# Title"));
    assert_eq!(
        ask(&server, "GET", &format!("{target}?raw"), &[BROWSER]).text(),
        source.text()
    );
    assert_ne!(page.field("ETag"), source.field("ETag"));
    for (answer, accept) in [(&page, BROWSER), (&source, "Accept: */*")] {
        let tag = format!("If-None-Match: {}", answer.field("ETag"));
        let again = ask(&server, "GET", target, &[accept, &tag]);
        assert_eq!(
            (answer.field("Vary"), again.status, again.field("Vary")),
            ("Accept", 304, "Accept")
        );
        let head = ask(&server, "HEAD", target, &[accept]);
        assert_eq!(
            head.without_date().fields,
            answer.clone().without_date().fields
        );
    }
    assert_eq!(
        ask(&server, "GET", target, &["Accept: */*", "Range: bytes=0-6"]).text(),
        "# Title"
    );
    let plain = TestServer::start(&["http", dir.as_str()]);
    let source = ask(&plain, "GET", target, &[BROWSER]);
    assert_eq!(
        (source.field("Content-Type"), source.find("Vary")),
        ("text/markdown; charset=utf-8", Some("Accept-Encoding"))
    );
}
