//! `serve http`: names that look alike, or run from right to left, are each their own in every form
//! that names take.

use std::collections::{BTreeMap, BTreeSet};

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::http::raw::{ask, get};
use crate::support::{TestDir, TestServer, python};

/// Pairs that some systems take for one, and scripts that some programs stumble over.
const NAMES: [&str; 16] = [
    "caf\u{e9}",
    "cafe\u{301}",
    "CAF\u{c9}",
    "Cafe",
    "cafe",
    "fi",
    "\u{fb01}",
    "K",
    "\u{212a}",
    "stra\u{df}e",
    "STRASSE",
    "\u{1f389} \u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}",
    "\u{5e9}\u{5dc}\u{5d5}\u{5dd}",
    "\u{202e}gpj.exe",
    "\u{65e5}\u{672c}\u{8a9e}",
    "\u{fe0f}\u{200b}",
];

/// Reads the names in the archives, and the contents.
const ARCHIVES: &str = r#"
import io, json, sys, tarfile, urllib.request, zipfile
def fetch(query): return io.BytesIO(urllib.request.urlopen(sys.argv[1] + query, timeout=20).read())
archive = zipfile.ZipFile(fetch('?archive=zip'))
zipped = {info.filename: archive.read(info).decode() for info in archive.infolist() if not info.is_dir()}
archive = tarfile.open(fileobj=fetch('?archive=tar.gz'), mode='r:gz')
tarred = {member.name: archive.extractfile(member).read().decode() for member in archive if member.isfile()}
assert zipped == tarred, (zipped, tarred)
print(json.dumps(zipped))
"#;

/// `NAME/in NAME` for each name; every file holds its folder's name.
fn folders(name: &str) -> (TestDir, TestServer) {
    let dir = TestDir::new(name);
    for name in NAMES {
        dir.write(&format!("site/{name}/in {name}"), name);
    }
    let server = TestServer::start(&["http", dir.join("site").to_str().unwrap()]);
    (dir, server)
}

fn encoded(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}

#[test]
fn names_that_look_alike_lead_to_files_of_their_own() {
    let (_dir, server) = folders("names-alike");
    for name in NAMES {
        let target = format!("/{}/{}", encoded(name), encoded(&format!("in {name}")));
        assert_eq!(get(&server, &target).text(), name, "{target}");
    }
    // Another form of a name is another name.
    for target in [
        "/CAFE/",
        "/cAFE/",
        "/STRA%C3%9FE/",
        "/cafe%CC%81%CC%81/",
        "/k/",
    ] {
        assert_eq!(get(&server, target).status, 404, "{target}");
    }
}

#[test]
fn every_form_of_a_listing_tells_names_as_they_are() {
    let (_dir, server) = folders("names-listed");
    let wanted: BTreeSet<String> = NAMES.map(|name| format!("{name}/")).into();
    let html = get(&server, "/");
    let cells = html.text().split("<tr><td><a href=\"./").skip(1);
    let (mut linked, mut shown) = (BTreeSet::new(), BTreeSet::new());
    for cell in cells {
        let (href, rest) = cell.split_once("\">").unwrap();
        linked.insert(percent_decode_str(href).decode_utf8().unwrap().into_owned());
        shown.insert(rest.split("</a>").next().unwrap().to_owned());
    }
    assert_eq!((&linked, &shown), (&wanted, &wanted));
    let json: serde_json::Value = serde_json::from_slice(&get(&server, "/?json").body).unwrap();
    let entries = json["entries"]
        .as_array()
        .unwrap_or_else(|| panic!("{json}"));
    let named: BTreeSet<String> = entries
        .iter()
        .map(|entry| format!("{}/", entry["name"].as_str().unwrap()))
        .collect();
    assert_eq!(named, wanted);
    let text = ask(&server, "GET", "/", &["User-Agent: curl/8"]);
    let lines: BTreeSet<String> = text.text().lines().map(str::to_owned).collect();
    assert_eq!(lines, wanted);
}

#[test]
fn archives_and_their_names_tell_names_as_they_are() {
    let (_dir, server) = folders("names-archived");
    for name in NAMES {
        let answer = get(&server, &format!("/{}/?archive=zip", encoded(name)));
        let disposition = answer.field("Content-Disposition");
        assert!(disposition.is_ascii(), "{disposition}");
        let extended = disposition.split("filename*=UTF-8''").nth(1).unwrap();
        assert_eq!(
            percent_decode_str(extended).decode_utf8().unwrap(),
            format!("{name}.zip")
        );
    }
    let url = format!("http://{}/", server.address());
    let Some(told) = python(
        "archives_and_their_names_tell_names_as_they_are",
        ARCHIVES,
        &[&url],
    ) else {
        return;
    };
    let held: BTreeMap<String, String> = serde_json::from_str(&told).unwrap();
    let wanted = NAMES.map(|name| (format!("files/{name}/in {name}"), name.to_owned()));
    assert_eq!(held, wanted.into());
}
