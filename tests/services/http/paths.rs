//! `serve http`: listings, and that no path leads out of the root.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::http::raw::{Connection, get};
use crate::support::{TestDir, TestServer};

const SECRET: &str = "nobody may read this";

/// The (link, text) pairs of a listing's table.
fn links(html: &str) -> Vec<(&str, &str)> {
    let (rows, _) = html
        .split_once("<tbody>")
        .unwrap()
        .1
        .split_once("</tbody>")
        .unwrap();
    let anchors = rows.split("<a href=\"").skip(1);
    anchors
        .map(|anchor| {
            let (link, rest) = anchor.split_once("\">").unwrap();
            (link, rest.split_once("</a>").unwrap().0)
        })
        .collect()
}

/// What a browser makes of a relative link in the listing of `/sub/`.
fn resolve(link: &str) -> String {
    let path = link
        .strip_prefix("./")
        .unwrap_or_else(|| panic!("not below the folder: {link}"));
    format!("/sub/{path}")
}

#[test]
fn every_link_of_a_listing_leads_to_its_file() {
    let dir = TestDir::new("listing");
    let names: &[&[u8]] = &[
        b"<script>.html",
        b"a&b",
        b"a b",
        b"100%",
        b"%2e%2e",
        b"what?",
        b"#1",
        b"a:b",
        b"javascript:alert(1)",
        b"\"quoted\" & 'quoted'",
        b"caf\xc3\xa9 \xe2\x82\xac.txt",
        b"latin\xe9",
        b"semi;colon",
        b"+plus=",
        b"~tilde-_.",
        b"...",
    ];
    let visible: Vec<_> = names
        .iter()
        .filter(|name| !name.starts_with(b"."))
        .collect();
    for name in names {
        std::fs::create_dir_all(dir.join("sub")).unwrap();
        std::fs::write(
            dir.join("sub").join(std::ffi::OsStr::from_bytes(name)),
            name,
        )
        .unwrap();
    }
    dir.write("sub/z folder/below.txt", "");
    let server = TestServer::start(&["http", dir.as_str()]);
    let listing = get(&server, "/sub/");
    assert_eq!(
        (listing.status, listing.field("Content-Type")),
        (200, "text/html; charset=utf-8")
    );
    let links = links(listing.text());
    assert_eq!(links[0], ("../", "../"));
    assert_eq!(
        links[1],
        ("./z%20folder/", "z folder/"),
        "folders come first"
    );
    let mut bodies: Vec<_> = links[2..]
        .iter()
        .map(|(link, _)| get(&server, &resolve(link)))
        .collect();
    assert!(bodies.iter().all(|answer| answer.status == 200));
    bodies.sort_by(|a, b| a.body.cmp(&b.body));
    let mut expected = visible;
    expected.sort();
    assert_eq!(
        bodies
            .iter()
            .map(|answer| &answer.body[..])
            .collect::<Vec<_>>(),
        expected.into_iter().copied().collect::<Vec<_>>()
    );
    for (link, text) in &links {
        assert!(
            link.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"./%-_~".contains(&byte)),
            "{link}"
        );
        assert!(!text.contains(['<', '>', '"', '\'']), "{text}");
    }
    assert!(
        listing.text().contains(">&lt;script&gt;.html<") && listing.text().contains(">a&amp;b<")
    );
    assert_eq!(get(&server, "/sub/z%20folder/").status, 200);
}

#[test]
fn a_name_that_no_target_can_have_is_not_listed() {
    let dir = TestDir::new("unreachable");
    for name in ["a\nb", "a\r\nSet-Cookie: b", "a\\b", "a\x7f", "reachable"] {
        dir.write(name, "");
    }
    let server = TestServer::start(&["http", dir.as_str()]);
    assert_eq!(
        links(get(&server, "/").text()),
        [("./reachable", "reachable")]
    );
    for target in ["/a%0Ab", "/a%0D%0ASet-Cookie%3A%20b", "/a%5Cb", "/a%7F"] {
        let answer = get(&server, target);
        assert_eq!(
            (answer.status, answer.find("Set-Cookie")),
            (400, None),
            "{target}"
        );
    }
}

#[test]
fn a_folder_s_redirect_can_carry_no_field() {
    let dir = TestDir::new("injected");
    std::fs::create_dir(dir.join("a b\"<")).unwrap();
    let server = TestServer::start(&["http", dir.as_str()]);
    let answer = get(&server, "/a%20b%22%3C?%0d%0aSet-Cookie:x");
    assert_eq!(
        (answer.status, answer.field("Location")),
        (301, "/a%20b%22%3C/?%0d%0aSet-Cookie:x")
    );
    assert_eq!(answer.find("Set-Cookie"), None);
}

#[test]
fn no_path_leads_out_of_the_root() {
    let dir = TestDir::new("escape");
    dir.write("secret.txt", SECRET);
    dir.write("site/inside.txt", "inside");
    dir.write("site/sub/file", "");
    let outside = dir.join("secret.txt");
    symlink(&outside, dir.join("site/absolute")).unwrap();
    symlink("../secret.txt", dir.join("site/relative")).unwrap();
    symlink("../../secret.txt", dir.join("site/sub/deeper")).unwrap();
    symlink("..", dir.join("site/up")).unwrap();
    symlink("/", dir.join("site/slash")).unwrap();
    symlink("loop", dir.join("site/loop")).unwrap();
    symlink("inside.txt", dir.join("site/link")).unwrap();
    symlink("../inside.txt", dir.join("site/sub/link")).unwrap();
    let server = TestServer::start(&["http", dir.join("site").to_str().unwrap()]);
    let absolute = format!("/slash{}", outside.display());
    for (target, status) in [
        ("/../secret.txt", 400),
        ("/..", 400),
        ("/sub/../../secret.txt", 400),
        ("/%2e%2e/secret.txt", 400),
        ("/%2E%2e/secret.txt", 400),
        ("/.%2e/secret.txt", 400),
        ("/sub/..%2f..%2fsecret.txt", 400),
        ("/..%5csecret.txt", 400),
        ("/..\\secret.txt", 400),
        ("/sub\\..\\..\\secret.txt", 400),
        ("/inside.txt%00", 400),
        ("/%00", 400),
        ("/inside.txt%00.html", 400),
        ("/%0a", 400),
        ("/%", 400),
        ("/%zz", 400),
        ("/%252e%252e/secret.txt", 404),
        ("/..%252fsecret.txt", 404),
        ("/%c0%ae%c0%ae/secret.txt", 404),
        ("/.../secret.txt", 404),
        ("/..;/secret.txt", 404),
        ("/absolute", 404),
        ("/relative", 404),
        ("/sub/deeper", 404),
        ("/up", 404),
        ("/up/", 404),
        ("/up/secret.txt", 404),
        ("/up/site/inside.txt", 404),
        ("/slash/", 404),
        ("/slash/etc/passwd", 404),
        (&absolute, 404),
        ("/loop", 404),
        ("/inside.txt/..", 200),
        ("http://h/../secret.txt", 400),
    ] {
        let answer = get(&server, target);
        assert_eq!(answer.status, status, "{target}");
        assert!(
            !answer.text().contains(SECRET) && !answer.text().contains("root:"),
            "{target}"
        );
    }
    for inside in [
        "/link",
        "/sub/link",
        "/sub/../inside.txt",
        "/%69nside.txt",
        "/./sub//../link",
    ] {
        assert_eq!(get(&server, inside).text(), "inside", "{inside}");
    }
    // Nothing that would answer 404 is shown either.
    let listing = get(&server, "/");
    let shown: Vec<_> = links(listing.text())
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    assert_eq!(shown, ["sub/", "inside.txt", "link"]);
}

#[test]
fn a_path_too_long_for_the_system_is_not_found() {
    let dir = TestDir::new("long");
    let server = TestServer::start(&["http", dir.as_str()]);
    for target in [
        format!("/{}", "a".repeat(300)),
        format!("/{}", "a/".repeat(3000)),
    ] {
        assert_eq!(get(&server, &target).status, 404);
    }
}

#[test]
fn what_is_no_file_is_not_found_at_once() {
    let dir = TestDir::new("special");
    let make = |name: &str, kind: FileType, device: u64| {
        mknodat(CWD, dir.join(name), kind, Mode::from(0o644), device)
    };
    make("fifo", FileType::Fifo, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.join("socket")).unwrap();
    symlink("/dev/zero", dir.join("zero")).unwrap();
    symlink("fifo", dir.join("to-fifo")).unwrap();
    // Only root may make one: /dev/zero's numbers.
    let device = make(
        "device",
        FileType::CharacterDevice,
        rustix::fs::makedev(1, 5),
    )
    .is_ok();
    let server = TestServer::start(&["http", dir.as_str()]);
    let names = ["fifo", "to-fifo", "socket", "zero", "device"];
    let names = if device { &names[..] } else { &names[..4] };
    for name in names {
        for target in [format!("/{name}"), format!("/{name}/")] {
            // Whoever opens a FIFO, or reads a device to its end, waits for ever.
            assert_eq!(get(&server, &target).status, 404, "{target}");
        }
    }
    // As an index page, too.
    for name in names {
        std::fs::create_dir(dir.join(&format!("in-{name}"))).unwrap();
        symlink(
            Path::new("..").join(name),
            dir.join(&format!("in-{name}/index.html")),
        )
        .unwrap();
        let answer = get(&server, &format!("/in-{name}/"));
        assert!(
            matches!(answer.status, 200 | 404) && answer.body.len() < 10_000,
            "{name}: {}",
            answer.status
        );
    }
    let mut connection = Connection::open(&server);
    assert_eq!(
        links(connection.ask("GET", "/", &[]).text()).len(),
        names.len(),
        "the folders alone are listed"
    );
}
