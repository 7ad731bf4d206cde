//! `serve http --upload`: the upload area of a folder's page, without and with a browser.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use crate::http_raw::{ask, eventually, get};
use crate::http_upload::{read, site};
use crate::support::{BoundedCommand, TestDir, has_tool};

const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/clients");
const HTML: &str = "Accept: text/html";

#[test]
fn the_area_is_a_plain_form_and_one_script_that_may_run() {
    let (dir, server) = site("page", &["--base-path", "/files"]);
    dir.write("folder/x", "");
    dir.write("folder/.socketserver-partial/upload.js", "alert(1)");
    let page = ask(&server, "GET", "/files/folder/", &[HTML]);
    let form =
        "<form class=\"upload\" method=\"post\" enctype=\"multipart/form-data\" action=\"./\">";
    assert!(
        page.text().contains(form) && page.text().contains("name=\"file\" multiple"),
        "{}",
        page.text()
    );
    let script = page
        .text()
        .split("<script")
        .nth(1)
        .unwrap()
        .split('>')
        .next()
        .unwrap();
    let value = |name: &str| {
        script
            .split(name)
            .nth(1)
            .unwrap()
            .split('"')
            .nth(1)
            .unwrap()
    };
    let policy = page.field("Content-Security-Policy");
    assert!(policy.contains("default-src 'none'"), "{policy}");
    assert!(
        policy.contains(&format!("script-src 'nonce-{}'", value("nonce="))),
        "{policy}"
    );
    let again = ask(&server, "GET", "/files/folder/", &[HTML]);
    assert_ne!(again.field("Content-Security-Policy"), policy);
    let served = get(
        &server,
        &format!("/files/folder/{}", value("src=").trim_start_matches("./")),
    );
    assert_eq!(
        (served.status, served.field("Content-Type")),
        (200, "text/javascript; charset=utf-8")
    );
    assert!(
        served.text().contains("Upload-Offset")
            && served.field("Cache-Control").contains("immutable")
    );
}

#[test]
fn without_uploads_there_is_no_area_and_no_script() {
    let dir = TestDir::new("page-off");
    let server = crate::support::TestServer::start(&["http", dir.as_str()]);
    let page = ask(&server, "GET", "/", &[HTML]);
    assert!(!page.text().contains("<script") && !page.text().contains("class=\"upload\""));
    assert!(!page.field("Content-Security-Policy").contains("script-src"));
    assert_eq!(get(&server, "/.socketserver-partial/upload.js").status, 404);
}

#[test]
fn a_person_uploads_pauses_resumes_after_a_reload_and_drops_folders() {
    let test = "a_person_uploads_pauses_resumes_after_a_reload_and_drops_folders";
    if !has_tool("chromium", test) || !has_tool("node", test) {
        return;
    }
    let (dir, server) = site("page-browser", &[]);
    let files = TestDir::new("page-files");
    let hostile = "<img src=x onerror=alert(1)>";
    for (name, content) in [
        ("small", "small"),
        ("typed", "typed"),
        (hostile, ""),
        ("tree/inner/leaf", "leaf"),
    ] {
        files.write(name, content);
    }
    let large: Vec<u8> = (0..10_000_000_u32).flat_map(u32::to_le_bytes).collect();
    files.write("large", &large);
    let date = UNIX_EPOCH + Duration::from_millis(1_234_567_890_125);
    File::options()
        .write(true)
        .open(files.join("small"))
        .unwrap()
        .set_modified(date)
        .unwrap();
    let profile = TestDir::new("page-profile");
    let url = format!("http://{}/", server.address());
    let output = Command::new("timeout")
        .args([
            "60",
            "node",
            "page.js",
            &url,
            profile.as_str(),
            files.as_str(),
        ])
        .current_dir(Path::new(CLIENTS))
        .finish();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for (name, content) in [
        ("small", "small"),
        ("typed", "typed"),
        (hostile, ""),
        ("tree/inner/leaf", "leaf"),
    ] {
        assert_eq!(read(&dir, name).as_deref(), Some(content), "{name}");
    }
    assert_eq!(read(&dir, "pasted").as_deref(), Some("pasted"));
    for (name, date) in [
        ("small", date),
        (
            "pasted",
            UNIX_EPOCH + Duration::from_millis(1_000_000_000_250),
        ),
    ] {
        let stored = std::fs::metadata(dir.join(name))
            .unwrap()
            .modified()
            .unwrap();
        let apart = stored
            .duration_since(date)
            .unwrap_or_else(|error| error.duration());
        assert!(apart < Duration::from_millis(1), "{name}: {stored:?}");
    }
    assert!(
        std::fs::read(dir.join("large")).unwrap() == large,
        "what was resumed differs"
    );
    // What was cancelled is gone: no other upload is left unfinished.
    let no_part = || {
        let mut entries = std::fs::read_dir(dir.join(".socketserver-partial")).unwrap();
        !entries.any(|entry| {
            entry
                .unwrap()
                .path()
                .extension()
                .is_some_and(|extension| extension == "part")
        })
    };
    eventually("nothing is left", no_part);
}
