//! `serve http --accounts`: who may do what.

use socketserver_handlers::accounts::basic::{self, Credentials};
use socketserver_handlers::accounts::{
    ANONYMOUS, Cost, NewUser, Prefix, Rights, Store, hash_password,
};

use crate::http::raw::{Answer, Connection, request};
use crate::http::upload::read;
use crate::support::{TestDir, TestServer};

/// A site with accounts, in a folder of this test's own.
pub(crate) struct Guarded {
    pub(crate) dir: TestDir,
    pub(crate) store: Store,
}

impl Guarded {
    /// With these users, each as NAME, RIGHTS and PATH: `ada lrw / ada - /secret`. Everybody's
    /// password is `NAME:pass`.
    pub(crate) fn new(test: &str, users: &[(&str, &str, &str)]) -> Guarded {
        let dir = TestDir::new(test);
        std::fs::create_dir(dir.join("site")).unwrap();
        let store = Store::create(&dir.join("accounts.db")).unwrap();
        let guarded = Guarded { dir, store };
        users
            .iter()
            .for_each(|(name, rights, path)| guarded.allow(name, rights, path));
        guarded
    }

    /// Sets a user's rights at a path; makes the user if there is none.
    pub(crate) fn allow(&self, name: &str, rights: &str, path: &str) {
        let (rights, path): (Rights, Prefix) = (rights.parse().unwrap(), path.parse().unwrap());
        if self.store.account(name).unwrap().is_none() {
            let hash =
                (name != ANONYMOUS).then(|| hash_password(&password(name), Cost::CHEAP).unwrap());
            let user = NewUser {
                name,
                hash,
                home: Prefix::root(),
                quota: None,
                rights: Rights::NONE,
            };
            self.store.add_user(&user).unwrap();
        }
        self.store.change_rights(name, &path, |_| rights).unwrap();
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        self.dir.write(&format!("site/{name}"), content);
    }

    pub(crate) fn read(&self, name: &str) -> Option<String> {
        read(&self.dir, &format!("site/{name}"))
    }

    pub(crate) fn start(&self, options: &[&str]) -> TestServer {
        let (site, accounts) = (self.dir.join("site"), self.dir.join("accounts.db"));
        let arguments = [
            "http",
            site.to_str().unwrap(),
            "--accounts",
            accounts.to_str().unwrap(),
            "--upload",
            "--no-fsync",
        ];
        TestServer::start(&[&arguments, options].concat())
    }
}

pub(crate) fn password(name: &str) -> String {
    format!("{name}:pass")
}

/// The field with a user's name and password; `-` is nobody, and has none.
pub(crate) fn login(name: &str) -> Vec<String> {
    match name {
        "-" => Vec::new(),
        _ => vec![authorization(name, &password(name))],
    }
}

pub(crate) fn authorization(name: &str, password: &str) -> String {
    let credentials = Credentials {
        name: name.to_owned(),
        password: password.to_owned(),
    };
    format!("Authorization: {}", basic::format(&credentials))
}

/// A request of a user, on a connection of its own.
pub(crate) fn ask_as(
    server: &TestServer,
    user: &str,
    method: &str,
    target: &str,
    fields: &[&str],
) -> Answer {
    let login = login(user);
    let fields: Vec<&str> = fields
        .iter()
        .copied()
        .chain(login.iter().map(String::as_str))
        .collect();
    Connection::open(server).ask(method, target, &fields)
}

pub(crate) fn put_as(server: &TestServer, user: &str, target: &str, content: &str) -> u16 {
    let mut connection = Connection::open(server);
    let fields = [
        login(user),
        vec![format!("Content-Length: {}", content.len())],
    ]
    .concat();
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    connection.send([&request("PUT", target, &fields), content.as_bytes()].concat());
    connection.receive().status
}

#[test]
fn every_method_needs_its_right() {
    let guarded = Guarded::new(
        "users-matrix",
        &[
            ("lister", "l", "/"),
            ("reader", "r", "/"),
            ("writer", "w", "/"),
            ("deleter", "d", "/"),
            ("ada", "lrwd", "/"),
        ],
    );
    let server = guarded.start(&[]);
    let users = ["-", "lister", "reader", "writer", "deleter", "ada"];
    for (method, target, fields, expected) in [
        ("GET", "/d/", &[][..], [401, 200, 403, 403, 403, 200]),
        ("GET", "/d/?json", &[], [401, 200, 403, 403, 403, 200]),
        (
            "GET",
            "/d/?archive=tar.gz",
            &[],
            [401, 200, 403, 403, 403, 200],
        ),
        ("HEAD", "/d/", &[], [401, 200, 403, 403, 403, 200]),
        ("GET", "/d", &[], [401, 301, 301, 403, 403, 301]),
        ("GET", "/d/f", &[], [401, 403, 200, 403, 403, 200]),
        ("GET", "/d/f?download", &[], [401, 403, 200, 403, 403, 200]),
        ("HEAD", "/d/f", &[], [401, 403, 200, 403, 403, 200]),
        (
            "GET",
            "/d/f",
            &["If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT"],
            [401, 403, 304, 403, 403, 304],
        ),
        (
            "GET",
            "/d/f",
            &["Range: bytes=0-0"],
            [401, 403, 206, 403, 403, 206],
        ),
        (
            "GET",
            "/d/f",
            &["If-Match: \"x\""],
            [401, 403, 412, 403, 403, 412],
        ),
        ("GET", "/index/", &[], [401, 403, 200, 403, 403, 200]),
        ("GET", "/none", &[], [401, 404, 404, 403, 403, 404]),
        ("GET", "/%2e%2e/x", &[], [400; 6]),
        ("MKCOL", "/new", &[], [401, 403, 403, 201, 403, 201]),
        ("DELETE", "/d/f", &[], [401, 403, 403, 403, 204, 204]),
        ("DELETE", "/none", &[], [401, 403, 403, 403, 404, 404]),
        (
            "MOVE",
            "/d/f",
            &["Destination: /g"],
            [401, 403, 403, 403, 403, 201],
        ),
        (
            "POST",
            "/d/",
            &["Content-Length: 0"],
            [401, 403, 403, 415, 403, 415],
        ),
        (
            "PATCH",
            "/d/f",
            &["Content-Length: 0"],
            [401, 403, 403, 412, 403, 412],
        ),
        ("COPY", "/d/f", &[], [401, 403, 403, 403, 403, 501]),
        ("OPTIONS", "/d/f", &[], [204; 6]),
    ] {
        for (user, status) in users.into_iter().zip(expected) {
            for (name, content) in [("d/f", "content"), ("index/index.html", "page")] {
                guarded.write(name, content);
            }
            let _ = std::fs::remove_dir(guarded.dir.join("site/new"));
            let _ = std::fs::remove_file(guarded.dir.join("site/g"));
            let answer = ask_as(&server, user, method, target, fields);
            assert_eq!(answer.status, status, "{user} {method} {target} {fields:?}");
            let challenge = r#"Basic realm="socketserver", charset="UTF-8""#;
            assert_eq!(
                answer.find("WWW-Authenticate"),
                (status == 401).then_some(challenge),
                "{user} {method}"
            );
        }
    }
    for (user, new, taken) in [
        ("-", 401, 401),
        ("reader", 403, 403),
        ("writer", 201, 403),
        ("ada", 201, 204),
    ] {
        let _ = std::fs::remove_file(guarded.dir.join("site/p"));
        assert_eq!(put_as(&server, user, "/p", "one"), new, "{user}");
        guarded.write("p", "old");
        assert_eq!(put_as(&server, user, "/p", "two"), taken, "{user}");
        assert_eq!(
            guarded.read("p").as_deref(),
            Some(if taken == 204 { "two" } else { "old" })
        );
    }
}

#[test]
fn the_deepest_rule_decides_and_what_may_not_be_seen_does_not_show() {
    let rules = [
        ("ada", "lr", "/"),
        ("ada", "-", "/secret"),
        ("ada", "lr", "/secret/open"),
        ("ada", "l", "/names"),
    ];
    let guarded = Guarded::new("users-paths", &rules);
    guarded.allow("ada", "-", "/hidden");
    for name in [
        "a",
        "secret/b",
        "secret/open/c",
        "hidden/d",
        "names/e",
        "names/README.md",
    ] {
        guarded.write(name, "# Unspoken");
    }
    let server = guarded.start(&["--hidden"]);
    for (target, status) in [
        ("/a", 200),
        ("/secret", 403),
        ("/secret/", 403),
        ("/secret/b", 403),
        ("/secret/none", 403),
        ("/secret/open/c", 200),
        ("/secret/./b", 403),
        ("/x/../secret/b", 403),
        ("//secret//b", 403),
        ("/%73ecret/b", 403),
        ("/secretary", 404),
        ("/names/e", 403),
        ("/accounts.db", 404),
    ] {
        assert_eq!(
            ask_as(&server, "ada", "GET", target, &[]).status,
            status,
            "{target}"
        );
    }
    let page = ask_as(&server, "ada", "GET", "/?json", &[]);
    for (name, shown) in [
        ("\"a\"", true),
        ("secret", true),
        ("hidden", false),
        ("names", true),
    ] {
        assert_eq!(page.text().contains(name), shown, "{name}: {}", page.text());
    }
    // A name may be seen where the content may not.
    let names = ask_as(&server, "ada", "GET", "/names/", &["Accept: text/html"]);
    assert!(names.text().contains("README.md") && !names.text().contains("Unspoken"));
    let archive = ask_as(&server, "ada", "GET", "/?archive=tar.gz", &[]);
    let mut plain = Vec::new();
    std::io::Read::read_to_end(
        &mut flate2::read::GzDecoder::new(&archive.body[..]),
        &mut plain,
    )
    .unwrap();
    let packed = String::from_utf8_lossy(&plain);
    for (name, inside) in [
        ("files/a", true),
        ("secret", false),
        ("hidden", false),
        ("names/e", false),
    ] {
        assert_eq!(packed.contains(name), inside, "{name}");
    }
}

#[test]
fn a_move_shows_nothing_that_could_not_be_read_before() {
    let rules = [
        ("ada", "wd", "/box"),
        ("ada", "lrwd", "/mine"),
        ("ada", "wd", "/other"),
        ("ada", "lr", "/fixed"),
    ];
    let guarded = Guarded::new("users-move", &rules);
    let server = guarded.start(&[]);
    for (from, to, status) in [
        ("/box/f", "/mine/f", 403),
        ("/box/f", "/other/f", 201),
        ("/box/f", "/fixed/f", 403),
        ("/fixed/f", "/mine/f", 403),
        ("/mine/f", "/box/f", 201),
        ("/mine/f", "/mine/g", 201),
        ("/mine/f", "/mine/taken", 204),
    ] {
        for name in ["box/f", "mine/f", "mine/taken", "fixed/f", "other/x"] {
            guarded.write(name, name);
        }
        for name in ["other/f", "mine/g"] {
            let _ = std::fs::remove_file(guarded.dir.join(&format!("site/{name}")));
        }
        if to == "/box/f" {
            std::fs::remove_file(guarded.dir.join("site/box/f")).unwrap();
        }
        let destination = format!("Destination: {to}");
        assert_eq!(
            ask_as(&server, "ada", "MOVE", from, &[&destination]).status,
            status,
            "{from} {to}"
        );
    }
    guarded.allow("ada", "lrw", "/mine/kept");
    guarded.write("mine/kept", "kept");
    assert_eq!(
        ask_as(
            &server,
            "ada",
            "MOVE",
            "/mine/taken",
            &["Destination: /mine/kept"]
        )
        .status,
        403
    );
    assert_eq!(guarded.read("mine/kept").as_deref(), Some("kept"));
    // A folder goes with all that is in it.
    assert_eq!(
        ask_as(
            &server,
            "ada",
            "MOVE",
            "/mine",
            &["Destination: /other/mine"]
        )
        .status,
        403
    );
}

#[test]
fn everybody_has_the_rights_of_the_anonymous_user() {
    let guarded = Guarded::new(
        "users-anonymous",
        &[
            (ANONYMOUS, "lr", "/"),
            (ANONYMOUS, "-", "/private"),
            ("ada", "lrw", "/"),
        ],
    );
    guarded.write("a", "open");
    guarded.write("private/b", "closed");
    let server = guarded.start(&[]);
    let open = ask_as(&server, "-", "GET", "/a", &[]);
    assert_eq!(
        (open.status, open.field("Vary"), open.find("Cache-Control")),
        (200, "Authorization", None)
    );
    let closed = ask_as(&server, "-", "GET", "/private/b", &[]);
    assert_eq!(
        (closed.status, closed.field("Vary")),
        (401, "Authorization")
    );
    assert_eq!(
        ask_as(&server, "-", "GET", "/private/none", &[]).status,
        401
    );
    assert!(
        !ask_as(&server, "-", "GET", "/?json", &[])
            .text()
            .contains("private")
    );
    assert_eq!(put_as(&server, "-", "/new", "x"), 401);
    assert_eq!(put_as(&server, "ada", "/new", "x"), 201);
    let own = ask_as(&server, "ada", "GET", "/private/b", &[]);
    assert_eq!(
        (own.text(), own.field("Cache-Control"), own.field("Vary")),
        ("closed", "private", "Authorization")
    );
    // Who gives a name is told that it is wrong, whatever everybody may do; and nobody is
    // `anonymous` by a password.
    for (name, password) in [("ada", "wrong"), ("eve", "x"), (ANONYMOUS, "")] {
        let answer = Connection::open(&server).ask("GET", "/a", &[&authorization(name, password)]);
        assert_eq!(answer.status, 401, "{name}");
    }
    for value in ["Basic", "Basic !", "Bearer x", "Basic YWJj"] {
        let answer =
            Connection::open(&server).ask("GET", "/a", &[&format!("Authorization: {value}")]);
        assert_eq!(answer.status, 401, "{value}");
    }
}
