//! Listings of folders on disk, without a server.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::html::Html;
use super::*;

/// A folder for one test. It is removed at the end of the test.
struct Root(PathBuf);

impl Root {
    fn new(name: &str) -> Root {
        let path = std::env::temp_dir().join(format!(
            "socketserver-listing-{name}-{}",
            std::process::id()
        ));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Root(path)
    }

    fn write(&self, name: impl AsRef<Path>, size: usize, modified: u64) {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, vec![b'x'; size]).unwrap();
        let modified = UNIX_EPOCH + Duration::from_secs(modified);
        std::fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(modified)
            .unwrap();
    }

    fn folder(&self, path: &str) -> Folder {
        let root = crate::files::site::root::Root::open(&self.0, true).unwrap();
        let dir = root
            .open_file(Path::new(if path.is_empty() { "." } else { path }))
            .unwrap();
        Folder::new(Arc::new(root), dir.into(), path.as_bytes())
    }

    fn list(&self, path: &str, form: Form, query: &str, hidden: bool) -> String {
        let query = Query(query.as_bytes());
        let content = Listing::open(self.folder(path), form, query, hidden, None)
            .unwrap()
            .whole()
            .unwrap();
        String::from_utf8(content).unwrap()
    }

    fn names(&self, path: &str, query: &str) -> Vec<String> {
        self.list(path, Form::Text, query, false)
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn folders_come_first_in_every_order() {
    let root = Root::new("order");
    for (name, size, modified) in [
        ("b10", 5, 300),
        ("B9", 50, 100),
        ("a", 5, 200),
        ("z/x", 1, 1),
        ("Y/x", 1, 1),
    ] {
        root.write(name, size, modified);
    }
    for (query, expected) in [
        ("", ["Y/", "z/", "a", "B9", "b10"]),
        ("order=desc", ["z/", "Y/", "b10", "B9", "a"]),
        ("sort=size", ["Y/", "z/", "a", "b10", "B9"]),
        ("sort=size&order=desc", ["Y/", "z/", "B9", "a", "b10"]),
    ] {
        assert_eq!(root.names("", query), expected, "{query}");
    }
    assert_eq!(root.names("", "sort=date")[2..], ["B9", "a", "b10"]);
    assert_eq!(
        root.names("", "sort=date&order=desc")[2..],
        ["b10", "a", "B9"]
    );
}

#[test]
fn a_filter_is_a_part_of_the_name_in_any_case() {
    let root = Root::new("filter");
    for name in ["Report.pdf", "reports/x", "other", "ÉTÉ"] {
        root.write(name, 0, 0);
    }
    assert_eq!(root.names("", "filter=REPORT"), ["reports/", "Report.pdf"]);
    assert_eq!(root.names("", "filter=%C3%A9t%C3%A9"), ["ÉTÉ"]);
    assert_eq!(root.names("", "filter=nothing"), [""; 0]);
    assert_eq!(root.names("", "filter=").len(), 4);
}

#[test]
fn dot_files_are_shown_on_demand_only() {
    let root = Root::new("hidden");
    root.write(".secret", 0, 0);
    root.write("open", 0, 0);
    assert_eq!(root.names("", ""), ["open"]);
    assert_eq!(root.list("", Form::Text, "", true), ".secret\nopen\n");
}

#[test]
fn links_are_shown_as_what_they_lead_to_within_the_root() {
    let root = Root::new("links");
    root.write("file", 3, 0);
    root.write("sub/below", 0, 0);
    std::fs::create_dir(root.0.join("links")).unwrap();
    for (target, name) in [
        ("../file", "links/to-file"),
        ("../sub", "links/to-folder"),
        ("../../", "links/out"),
        ("/etc/passwd", "links/absolute"),
        ("nowhere", "links/dangling"),
        ("loop", "links/loop"),
    ] {
        symlink(target, root.0.join(name)).unwrap();
    }
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.0.join("links/fifo"),
        rustix::fs::FileType::Fifo,
        0o644.into(),
        0,
    )
    .unwrap();
    assert_eq!(root.names("links", ""), ["to-folder/", "to-file"]);
    assert_eq!(root.names("links", "sort=size"), ["to-folder/", "to-file"]);
    assert!(
        root.list("links", Form::Json, "", false)
            .contains(r#"{"name": "to-file", "type": "file", "size": 3,"#)
    );
}

#[test]
fn json_is_valid_for_every_name() {
    let root = Root::new("json");
    let path = OsStr::from_bytes(b"sub/\"\xff\xe2\x80\xa8<>'");
    root.write(path, 7, 1_681_923_870);
    root.write("sub/a/x", 0, 0);
    let text = root.list("sub", Form::Json, "", false);
    let (begin, rest) = text.split_once("\n").unwrap();
    assert_eq!(begin, r#"{"path": "/sub/", "entries": ["#);
    let lines: Vec<_> = rest.lines().collect();
    assert!(
        lines[0].starts_with(r#"{"name": "a", "type": "directory", "size": null, "modified": "20"#),
        "{}",
        lines[0]
    );
    assert_eq!(lines[2], "]}");
    let name = "\"\u{FFFD}\u{2028}<>'";
    assert_eq!(
        lines[1],
        format!(
            r#"{{"name": "\{name}", "type": "file", "size": 7, "modified": "2023-04-19T17:04:30Z"}}"#
        )
    );
    assert_eq!(
        Root::new("json-empty").list("", Form::Json, "", false),
        "{\"path\": \"/\", \"entries\": [\n]}\n"
    );
}

#[test]
fn a_page_shows_no_name_as_markup() {
    let root = Root::new("markup");
    let evil = "<img src=x onerror=alert(1)>\"'&";
    root.write(format!("{evil}/{evil}.md"), 0, 0);
    root.write(format!("{evil}/javascript:alert(1)"), 1, 0);
    for (query, page) in [
        ("", root.list(evil, Form::Html, "", false)),
        (
            "filter",
            root.list(
                evil,
                Form::Html,
                "filter=%22%3E%3Cimg+src%3Dx%20onerror=alert(1)%3E",
                false,
            ),
        ),
        (
            "sort",
            root.list(
                evil,
                Form::Html,
                "sort=%22%3E%3Cimg%3E&order=%22%3E%3Cimg%3E",
                false,
            ),
        ),
    ] {
        assert!(
            !page.contains("<img") && !page.contains("href=\"javascript"),
            "{query}: {page}"
        );
    }
    let page = root.list(evil, Form::Html, "", false);
    assert!(page.contains("<a href=\"./javascript%3Aalert%281%29\">javascript:alert(1)</a>"));
    assert!(page.contains(
        "<a href=\"./%3Cimg%20src%3Dx%20onerror%3Dalert%281%29%3E%22%27%26.md\">&lt;img src=x"
    ));
}

#[test]
fn a_page_tells_its_order_its_filter_and_the_way_up() {
    let root = Root::new("page");
    root.write("a/b c/file1", 1536, 1_681_923_870);
    let page = root.list(
        "a/b c",
        Form::Html,
        "sort=size&order=desc&filter=File",
        false,
    );
    for part in [
        "<title>Index of /a/b c/</title>",
        "<a href=\"../../\">Home</a> / <a href=\"../\">a</a> / <span aria-current=\"page\">b \
         c</span>",
        "<th scope=\"col\"><a href=\"?sort=name&amp;order=asc&amp;filter=File\">Name</a></th>",
        "<th scope=\"col\" aria-sort=\"descending\"><a \
         href=\"?sort=size&amp;order=asc&amp;filter=File\">Size</a></th>",
        "<input type=\"search\" name=\"filter\" value=\"File\">",
        "<td title=\"1,536 bytes\">1.5 KiB</td>",
        "<time datetime=\"2023-04-19T17:04:30Z\">2023-04-",
        "<p>0 folders, 1 file.",
        "<tr><td><a href=\"../\">../</a></td>",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    assert!(!root.list("", Form::Html, "", false).contains("../"));
}

#[test]
fn a_readme_is_shown_below() {
    let root = Root::new("readme");
    std::fs::write(
        root.0.join("Readme.md"),
        "# Hello\n<script>alert(1)</script>",
    )
    .unwrap();
    let page = root.list("", Form::Html, "", false);
    assert!(
        page.contains("</table>\n")
            && page.contains("<article aria-label=\"Readme.md\">\n<h1>Hello</h1>\n"),
        "{page}"
    );
    assert!(!page.contains("alert"));
    std::fs::write(root.0.join("Readme.md"), vec![b'x'; 2 << 20]).unwrap();
    assert!(!root.list("", Form::Html, "", false).contains("<article"));
}

#[test]
fn an_entry_that_is_gone_is_left_out_and_one_that_is_not_told_of_is_shown() {
    let root = Root::new("gone");
    for name in ["a", "b"] {
        root.write(name, 0, 0);
    }
    for query in ["", "sort=date"] {
        root.write("a", 0, 0);
        let mut listing = Listing::open(
            root.folder(""),
            Form::Text,
            Query(query.as_bytes()),
            false,
            None,
        )
        .unwrap();
        assert!(listing.read(MAX_ENTRIES_READ_AT_FIRST).unwrap());
        std::fs::remove_file(root.0.join("a")).unwrap();
        assert_eq!(listing.whole().unwrap(), b"b\n", "{query}");
    }
    let mut page = Html::new(Order::default(), String::new(), None);
    let mut to = Vec::new();
    page.row(
        &Row {
            name: b"closed",
            kind: Kind::File,
            facts: None,
        },
        &mut to,
    );
    assert_eq!(
        to,
        b"<tr><td><a href=\"./closed\">closed</a></td><td></td><td></td></tr>\n"
    );
}

#[test]
fn the_first_rows_are_made_before_the_last_entries_are_looked_at() {
    let root = Root::new("streamed");
    for number in 0..3000 {
        std::fs::write(root.0.join(number.to_string()), "").unwrap();
    }
    let mut listing = Listing::open(root.folder(""), Form::Html, Query(b""), false, None).unwrap();
    assert!(!listing.read(MAX_ENTRIES_READ_AT_FIRST).unwrap());
    let mut piece = Vec::new();
    assert_eq!(listing.produce(&mut piece).unwrap(), Produced::More);
    assert!(
        piece.ends_with(b"<tbody>\n") && listing.names.entries.len() <= MAX_ENTRIES_READ_AT_FIRST,
        "before the names are read"
    );
    let mut rows = Vec::new();
    while rows.is_empty() {
        assert_eq!(listing.produce(&mut rows).unwrap(), Produced::More);
    }
    assert!(
        listing.next < 1000 && rows.len() < 2 * PIECE_SIZE,
        "{} rows in {} bytes",
        listing.next,
        rows.len()
    );
    let rest = listing.whole().unwrap();
    let rows = [rows, rest].concat();
    assert_eq!(
        String::from_utf8(rows).unwrap().matches("<tr>").count(),
        3000
    );
}
