//! `serve http`: the options of a site.

use std::os::unix::fs::symlink;

use crate::http::raw::{Answer, ask, get};
use crate::support::{TestDir, TestServer, run, wait_until};

/// A server of this folder with these options.
fn serve(dir: &TestDir, options: &[&str]) -> TestServer {
    TestServer::start(&[&["http", dir.as_str()], options].concat())
}

const PAGE: &str = "Accept: text/html,application/xhtml+xml,*/*;q=0.8";

#[test]
fn no_browser_is_to_guess_a_type() {
    let dir = TestDir::new("nosniff");
    dir.write("a.txt", "text");
    let server = serve(&dir, &[]);
    let tag = get(&server, "/a.txt").field("ETag").to_owned();
    for (method, target, field, status) in [
        ("GET", "/a.txt", "A: b", 200),
        ("GET", "/a.txt", "Range: bytes=0-0", 206),
        ("GET", "/a.txt", "Range: bytes=9-", 416),
        ("GET", "/a.txt", &format!("If-None-Match: {tag}"), 304),
        ("GET", "/", "A: b", 200),
        ("GET", "/missing", "A: b", 404),
        ("GET", "/%00", "A: b", 400),
        ("OPTIONS", "/", "A: b", 204),
        ("DELETE", "/", "A: b", 405),
    ] {
        let answer = ask(&server, method, target, &[field]);
        assert_eq!(
            (answer.status, answer.field("X-Content-Type-Options")),
            (status, "nosniff"),
            "{method} {target}"
        );
    }
}

#[test]
fn a_download_is_saved_under_its_own_name() {
    let dir = TestDir::new("download");
    dir.write("a.txt", "text");
    dir.write("caf\u{e9} \"1\".html", "<p>");
    dir.write("sub/index.html", "<p>");
    let server = serve(&dir, &[]);
    for (target, name) in [
        (
            "/a.txt?download",
            r#"filename="a.txt"; filename*=UTF-8''a.txt"#,
        ),
        (
            "/a.txt?x=1&download=1",
            r#"filename="a.txt"; filename*=UTF-8''a.txt"#,
        ),
        (
            "/caf%C3%A9%20%221%22.html?download",
            r#"filename="caf_ _1_.html"; filename*=UTF-8''caf%C3%A9%20%221%22.html"#,
        ),
        (
            "/sub/?download",
            r#"filename="index.html"; filename*=UTF-8''index.html"#,
        ),
    ] {
        let answer = get(&server, target);
        assert_eq!(
            (answer.status, answer.field("Content-Disposition")),
            (200, &*format!("attachment; {name}")),
            "{target}"
        );
    }
    let part = ask(&server, "GET", "/a.txt?download", &["Range: bytes=0-0"]);
    assert_eq!(
        (part.status, part.field("Content-Disposition")),
        (
            206,
            r#"attachment; filename="a.txt"; filename*=UTF-8''a.txt"#
        )
    );
    for target in ["/a.txt", "/a.txt?", "/a.txt?downloads", "/a.txt?x=download"] {
        assert_eq!(
            get(&server, target).find("Content-Disposition"),
            None,
            "{target}"
        );
    }
}

#[test]
fn the_first_index_that_is_there_is_the_page_of_a_folder() {
    let dir = TestDir::new("indexes");
    dir.write("index.html", "not asked for");
    dir.write("a/home.htm", "home");
    dir.write("b/start.html", "start");
    dir.write("b/home.htm", "home");
    let server = serve(&dir, &["--index", "start.html", "--index", "home.htm"]);
    assert_eq!(get(&server, "/a/").text(), "home");
    assert_eq!(get(&server, "/b/").text(), "start");
    assert!(get(&server, "/").text().contains("index.html"), "a listing");
    dir.write("a/start.html", "new");
    wait_until("an index before the cached one", || {
        get(&server, "/a/").text() == "new"
    });
}

#[test]
fn a_single_page_application_answers_browsers_for_every_path_that_leads_nowhere() {
    let dir = TestDir::new("spa");
    dir.write("app/main page.html", "<p>app");
    dir.write("style.css", "p{}");
    let server = serve(&dir, &["--spa", "app/main page.html"]);
    for method in ["GET", "HEAD"] {
        let answer = ask(&server, method, "/users/1?tab=2", &[PAGE]);
        assert_eq!((answer.status, answer.field("Content-Length")), (200, "6"));
    }
    for target in ["/users", "/a/b/c/", "/missing.html"] {
        let answer = ask(&server, "GET", target, &[PAGE]);
        assert_eq!((answer.status, answer.text()), (200, "<p>app"), "{target}");
        assert_eq!(answer.field("Content-Type"), "text/html; charset=utf-8");
        assert!(
            answer
                .fields
                .contains(&("Vary".to_owned(), "Accept".to_owned())),
            "{:?}",
            answer.fields
        );
    }
    assert_eq!(ask(&server, "GET", "/style.css", &[PAGE]).text(), "p{}");
    for field in [
        "Accept: */*",
        "Accept: image/png,*/*;q=0.8",
        "Accept: text/html;q=0",
        "A: b",
    ] {
        assert_eq!(
            ask(&server, "GET", "/logo.png", &[field]).status,
            404,
            "{field}"
        );
    }
    assert_eq!(ask(&server, "GET", "/%00", &[PAGE]).status, 400);
    dir.write("app/main page.html", "<p>second");
    wait_until("the changed application", || {
        ask(&server, "GET", "/x", &[PAGE]).text() == "<p>second"
    });
}

#[test]
fn a_page_is_found_without_its_ending() {
    let dir = TestDir::new("try-html");
    dir.write("about.html", "<p>about");
    dir.write("about/more.html", "<p>more");
    dir.write("plain", "plain");
    dir.write("plain.html", "<p>plain");
    dir.write("sub/x.txt", "");
    let server = serve(&dir, &["--try-html"]);
    for (target, status, body) in [
        ("/about", 200, "<p>about"),
        ("/about.html", 200, "<p>about"),
        ("/about?x", 200, "<p>about"),
        ("/about/more", 200, "<p>more"),
        ("/plain", 200, "plain"),
        ("/sub", 301, "sub"),
        ("/missing", 404, "Not Found"),
        ("/plain/", 404, "Not Found"),
    ] {
        for _ in 0..2 {
            let answer = get(&server, target);
            assert!(
                answer.status == status && answer.text().contains(body),
                "{target}: {answer:?}"
            );
        }
    }
    assert_eq!(get(&serve(&dir, &[]), "/plain.htm").status, 404);
    assert_eq!(get(&serve(&dir, &[]), "/missing").status, 404);
}

#[test]
fn the_header_fields_given_go_out_with_every_answer() {
    let dir = TestDir::new("header");
    dir.write("a.txt", "text");
    dir.write("sub/x", "");
    let fields = [
        "--header",
        "X-Frame-Options: DENY",
        "--header",
        "Referrer-Policy:no-referrer",
    ];
    let server = serve(
        &dir,
        &[&fields[..], &["--cache-control", "public, max-age=60"]].concat(),
    );
    let tag = get(&server, "/a.txt").field("ETag").to_owned();
    for (target, field, status, cached) in [
        ("/a.txt", "A: b", 200, true),
        ("/a.txt", "Range: bytes=0-0", 206, true),
        ("/a.txt", "Range: bytes=0-0,2-2", 206, true),
        ("/a.txt", &format!("If-None-Match: {tag}"), 304, true),
        ("/", "A: b", 200, false),
        ("/sub", "A: b", 301, false),
        ("/missing", "A: b", 404, false),
    ] {
        let answer = ask(&server, "GET", target, &[field]);
        assert_eq!(
            (answer.status, answer.field("X-Frame-Options")),
            (status, "DENY"),
            "{target}"
        );
        assert_eq!(answer.field("Referrer-Policy"), "no-referrer");
        assert_eq!(
            answer.find("Cache-Control"),
            cached.then_some("public, max-age=60"),
            "{target} {field}"
        );
    }
    dir.write("404.html", "<p>ours");
    let ours = get(&server, "/missing");
    assert_eq!(
        (ours.text(), ours.field("X-Frame-Options")),
        ("<p>ours", "DENY")
    );
}

#[test]
fn pages_of_the_origin_named_may_use_the_files() {
    let dir = TestDir::new("cors");
    dir.write("a.json", "{}");
    for origin in ["*", "https://example.org:8443"] {
        let server = serve(&dir, &["--cors", origin]);
        for (target, status) in [("/a.json", 200), ("/missing", 404)] {
            let answer = ask(
                &server,
                "GET",
                target,
                &["Origin: https://example.org:8443"],
            );
            assert_eq!(
                (answer.status, answer.field("Access-Control-Allow-Origin")),
                (status, origin)
            );
            assert!(
                answer
                    .field("Access-Control-Expose-Headers")
                    .contains("Content-Range")
            );
        }
        let preflight = |fields: &[&str]| ask(&server, "OPTIONS", "/a.json", fields);
        let asked = [
            "Origin: https://x",
            "Access-Control-Request-Method: GET",
            "Access-Control-Request-Headers: range, x-a",
        ];
        let answer = preflight(&asked);
        assert_eq!(
            (answer.status, answer.field("Access-Control-Allow-Origin")),
            (204, origin)
        );
        assert_eq!(
            answer.field("Access-Control-Allow-Methods"),
            "GET, HEAD, OPTIONS"
        );
        assert_eq!(answer.field("Access-Control-Allow-Headers"), "range, x-a");
        let answer = preflight(&asked[..1]);
        assert_eq!(
            (answer.status, answer.find("Access-Control-Allow-Methods")),
            (204, None),
            "no preflight"
        );
    }
    let without = ask(
        &serve(&dir, &[]),
        "GET",
        "/a.json",
        &["Origin: https://example.org"],
    );
    assert!(
        without
            .fields
            .iter()
            .all(|(name, _)| !name.starts_with("Access-Control"))
    );
}

#[test]
fn a_site_stands_at_its_base_path_and_nowhere_else() {
    let dir = TestDir::new("base");
    dir.write("index.html", "<p>top");
    dir.write("sub/index.html", "<p>below");
    dir.write("files/a.txt", "a");
    let server = serve(
        &dir,
        &["--base-path", "/my%20site/v1", "--redirect", "/old=/files/"],
    );
    let at = |answer: &Answer| {
        (
            answer.status,
            answer.find("Location").unwrap_or("").to_owned(),
        )
    };
    for (target, status, expected) in [
        ("/my%20site/v1/", 200, "<p>top"),
        ("/my%20site//v1/./", 200, "<p>top"),
        ("/my%20site/v1/sub/", 200, "<p>below"),
        ("/my%20site/v1/files/a.txt", 200, "a"),
        ("/my%20site/v1", 301, "/my%20site/v1/"),
        ("/my%20site/v1/sub?q", 301, "/my%20site/v1/sub/?q"),
        ("/my%20site/v1/old", 301, "/my%20site/v1/files/"),
        ("/", 404, ""),
        ("/my%20site/", 404, ""),
        ("/my%20site/v10/", 404, ""),
        ("/files/a.txt", 404, ""),
        ("/old", 404, ""),
    ] {
        for _ in 0..2 {
            let answer = get(&server, target);
            let found = if status == 200 {
                (200, answer.text().to_owned())
            } else {
                at(&answer)
            };
            assert_eq!(found, (status, expected.to_owned()), "{target}");
        }
    }
    let listing = get(&server, "/my%20site/v1/files/");
    let links = links(&listing);
    assert!(
        links.contains(&"./a.txt") && !links.iter().any(|link| link.starts_with('/')),
        "{links:?}"
    );
}

fn links(answer: &Answer) -> Vec<&str> {
    answer
        .text()
        .split("href=\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .collect()
}

#[test]
fn a_redirect_leads_away_before_any_file_is_looked_for() {
    let dir = TestDir::new("redirect");
    dir.write("old/index.html", "hidden by the redirect");
    let rules = [
        "--redirect",
        "/old=/new page",
        "--redirect",
        "302:/docs=https://example.org/d?v=1",
        "--redirect",
        "/a%26b=/x",
    ];
    let refused = run(&[&["serve", "http", dir.as_str()][..], &rules].concat());
    assert_eq!(
        refused.0,
        Some(2),
        "a space is no part of a URL: {}",
        refused.2
    );
    let rules = rules.map(|rule| {
        if rule.starts_with("/old") {
            "/old=/new"
        } else {
            rule
        }
    });
    let server = serve(&dir, &rules);
    for (target, status, location) in [
        ("/old", 301, "/new"),
        ("/old/", 301, "/new"),
        ("/%6fld?q=%20&r", 301, "/new?q=%20&r"),
        ("/docs?q", 302, "https://example.org/d?v=1"),
        ("/a&b", 301, "/x"),
    ] {
        let answer = get(&server, target);
        assert_eq!(
            (answer.status, answer.field("Location")),
            (status, location),
            "{target}"
        );
        assert!(
            !answer.text().contains("&r\""),
            "a query is text in the page: {}",
            answer.text()
        );
    }
    assert_eq!(get(&server, "/older").status, 404);
}

#[test]
fn symbolic_links_are_followed_inside_or_not_at_all() {
    let dir = TestDir::new("symlinks");
    dir.write("secret.txt", "secret");
    dir.write("site/sub/file.txt", "file");
    symlink("sub/file.txt", dir.join("site/link.txt")).unwrap();
    symlink("sub", dir.join("site/folder")).unwrap();
    symlink("../secret.txt", dir.join("site/out.txt")).unwrap();
    std::fs::create_dir(dir.join("site/page")).unwrap();
    symlink("../sub/file.txt", dir.join("site/page/index.html")).unwrap();
    let root = dir.join("site");
    for (options, linked) in [
        (&[][..], 200),
        (&["--symlinks", "inside"], 200),
        (&["--symlinks", "off"], 404),
    ] {
        let server = TestServer::start(&[&["http", root.to_str().unwrap()], options].concat());
        for (target, status) in [
            ("/sub/file.txt", 200),
            ("/link.txt", linked),
            ("/folder/file.txt", linked),
            ("/folder/", linked),
            ("/page/", linked),
            ("/out.txt", 404),
        ] {
            assert_eq!(get(&server, target).status, status, "{options:?} {target}");
        }
        let (listing, archive) = (get(&server, "/?json"), get(&server, "/?archive=zip"));
        assert!(listing.text().contains(r#""sub""#), "{}", listing.text());
        assert_eq!(
            listing.text().contains(r#""link.txt""#),
            linked == 200,
            "no dead link is shown"
        );
        let archived = archive.body.windows(8).any(|bytes| bytes == b"link.txt");
        assert_eq!(
            (archive.status, archived),
            (200, linked == 200),
            "nor packed"
        );
    }
    let server = TestServer::start(&["http", root.to_str().unwrap(), "--symlinks", "off"]);
    assert_eq!(get(&server, "/sub/file.txt").text(), "file");
    std::fs::rename(dir.join("site/sub"), dir.join("site/moved")).unwrap();
    symlink("moved", dir.join("site/sub")).unwrap();
    wait_until("a folder that became a link", || {
        get(&server, "/sub/file.txt").status == 404
    });
}

#[test]
fn an_option_of_no_use_ends_the_program_with_one_line() {
    let dir = TestDir::new("bad-options");
    for options in [
        &["--index", "a/b"][..],
        &["--spa", "/etc/passwd"],
        &["--spa", "missing.html"],
        &["--header", "no colon"],
        &["--header", "Content-Length: 3"],
        &["--header", "A: b\r\nC: d"],
        &["--cors", "example.org"],
        &["--cors", "https://example.org/path"],
        &["--base-path", "no-slash"],
        &["--base-path", "/../x"],
        &["--redirect", "/a"],
        &["--redirect", "/a=//evil"],
        &["--redirect", "200:/a=/b"],
        &["--redirect", "/a=/a"],
        &["--cache-control", ""],
        &["--symlinks", "always"],
        &["--compress", "yes"],
    ] {
        let (code, stdout, stderr) = run(&[
            &["serve", "http", dir.as_str(), "--bind", "127.0.0.1:0"],
            options,
        ]
        .concat());
        assert_eq!(
            (code, &*stdout, stderr.lines().count()),
            (Some(2), "", 1),
            "{options:?}: {stderr}"
        );
    }
}
