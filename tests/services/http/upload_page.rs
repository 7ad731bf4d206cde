//! `serve http --upload`: the upload area of a folder's page, without and with a browser.

use std::fs::File;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::json;

use crate::http::raw::{ask, get};
use crate::http::upload::{read, site};
use crate::support::browser::Browser;
use crate::support::{TestDir, TestServer, wait_until};

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
    let server = TestServer::start(&["http", dir.as_str()]);
    let page = ask(&server, "GET", "/", &[HTML]);
    assert!(!page.text().contains("<script") && !page.text().contains("class=\"upload\""));
    assert!(!page.field("Content-Security-Policy").contains("script-src"));
    assert_eq!(get(&server, "/.socketserver-partial/upload.js").status, 404);
}

/// Bytes per second, at which a large file takes long enough to be interrupted.
const SLOW: i64 = 4_000_000;

/// What a person does with the upload area of a folder's page.
struct Person {
    browser: Browser,
    files: TestDir,
    url: String,
}

/// The row of an upload, as an expression.
fn row(name: &str) -> String {
    let name = json!(name);
    format!(
        "[...document.querySelectorAll('.uploads li')]\
         .find((row) => row.querySelector('.name').textContent === {name})"
    )
}

/// Whether the listing has this name, as an expression.
fn is_listed(name: &str) -> String {
    let name = json!(name);
    format!("[...document.querySelectorAll('.list td a')].some((a) => a.textContent === {name})")
}

impl Person {
    fn pick(&mut self, names: &[&str]) {
        let paths: Vec<_> = names.iter().map(|name| self.files.join(name)).collect();
        self.browser.pick("#files", &paths);
    }

    #[track_caller]
    fn wait_for_state(&mut self, name: &str, state: &str) {
        let row = row(name);
        self.browser
            .until(&format!("{row}?.dataset.state === '{state}'"));
    }

    #[track_caller]
    fn wait_for_progress(&mut self, name: &str, bytes: u64) {
        let row = row(name);
        self.browser
            .until(&format!("{row}?.querySelector('progress').value > {bytes}"));
    }

    fn click(&mut self, name: &str, label: &str) {
        let row = row(name);
        self.browser.evaluate(&format!(
            "[...{row}.querySelectorAll('button')]\
             .find((button) => button.textContent === '{label}').click()"
        ));
    }

    fn limit_rate(&mut self, bytes_per_second: i64) {
        let conditions = json!({
            "offline": false,
            "latency": 0,
            "downloadThroughput": -1,
            "uploadThroughput": bytes_per_second,
        });
        self.browser
            .call("Network.emulateNetworkConditions", conditions);
    }

    #[track_caller]
    fn assert_no_complaint(&mut self) {
        let mut complaints = self.browser.complaints();
        // The server may learn of the end of a request later than the page: then another one is
        // locked out, and tried again.
        complaints.retain(|complaint| !complaint.contains("423 (Locked)"));
        assert_eq!(complaints, [""; 0]);
    }

    fn stores_what_is_picked(&mut self, hostile: &str) {
        self.browser.open(&self.url);
        self.pick(&["small", hostile]);
        for name in ["small", hostile] {
            self.wait_for_state(name, "done");
            self.browser.until(&is_listed(name));
        }
        let images = "document.querySelectorAll('.uploads img, .list img').length";
        assert_eq!(self.browser.evaluate(images), 0);
        let status = "document.querySelector('[role=status]').textContent";
        assert_eq!(self.browser.evaluate(status), "2 stored.");
        self.assert_no_complaint();
    }

    fn is_told_why_not(&mut self) {
        self.browser.open(&self.url);
        self.pick(&["small"]);
        self.wait_for_state("small", "failed");
        let facts = format!("{}.querySelector('.facts').textContent", row("small"));
        let facts = self.browser.evaluate(&facts);
        let why = "a file of this name exists";
        assert!(facts.as_str().unwrap().contains(why), "{facts}");
        // Chromium tells of every refusal in its console, whether a page has asked for it or not.
        let complaints = self.browser.complaints();
        assert!(
            complaints.len() == 1 && complaints[0].contains("409"),
            "{complaints:?}"
        );
    }

    fn pauses_resumes_and_cancels(&mut self, server: &TestServer) {
        self.browser.open(&self.url);
        self.browser.requests("PATCH");
        self.limit_rate(SLOW);
        self.pick(&["large"]);
        self.wait_for_progress("large", 1_000_000);
        let row = row("large");
        self.browser.until(&format!(
            "/ of .*B, .*B\\/s, .* left$/.test({row}.querySelector('.facts').textContent)"
        ));
        self.click("large", "Pause");
        self.wait_for_state("large", "paused");
        self.click("large", "Resume");
        self.wait_for_state("large", "sending");
        self.click("large", "Cancel");
        self.browser.until(&format!("!{row}"));
        let request = self.browser.requests("PATCH").swap_remove(0);
        let upload = request["url"].as_str().unwrap();
        let target = format!("/{}", upload.strip_prefix(&self.url).unwrap());
        wait_until("the upload is gone", || {
            ask(server, "HEAD", &target, &["Tus-Resumable: 1.0.0"]).status >= 400
        });
        self.assert_no_complaint();
    }

    fn resumes_after_a_reload(&mut self) {
        self.browser.open(&self.url);
        self.pick(&["large"]);
        self.wait_for_progress("large", 2_000_000);
        self.browser.reload();
        self.wait_for_state("large", "interrupted");
        self.limit_rate(-1);
        self.browser.requests("PATCH");
        self.pick(&["large"]);
        self.wait_for_state("large", "done");
        let first = self.browser.requests("PATCH").swap_remove(0);
        let offset = first["headers"]["Upload-Offset"].as_str().unwrap();
        assert_ne!(offset, "0", "it began again");
        self.browser.until(&is_listed("large"));
        assert_eq!(self.browser.evaluate("localStorage.length"), 0);
        self.assert_no_complaint();
    }

    fn drops_a_folder(&mut self) {
        self.browser.open(&self.url);
        self.browser.drop_onto_page(&self.files.join("tree"));
        self.wait_for_state("tree/inner/leaf", "done");
        self.browser.until(&is_listed("tree/"));
        self.assert_no_complaint();
    }

    /// Pastes a text file of this name and content, and a screenshot, onto an element.
    fn paste(&mut self, text: &str, element: &str) {
        self.browser.evaluate(&format!(
            "{{
                const clipboardData = new DataTransfer();
                const date = {{ lastModified: 1_000_000_000_250 }};
                clipboardData.items.add(new File(['{text}'], '{text}', date));
                clipboardData.items.add(new File(['image'], 'image.png'));
                const event = new ClipboardEvent('paste', {{ clipboardData, bubbles: true }});
                {element}.dispatchEvent(event);
            }}"
        ));
    }

    fn pastes(&mut self) {
        self.browser.open(&self.url);
        self.paste("pasted", "document.body");
        self.wait_for_state("pasted", "done");
        // Another screenshot has the same name.
        self.paste("again", "document.body");
        self.wait_for_state("again", "done");
        self.browser.until(
            "[...document.querySelectorAll('.uploads li[data-state=done] .name')]\
             .filter((name) => /^image \\d.*\\.png$/.test(name.textContent)).length === 2",
        );
        let form = "document.querySelector('form.upload').textContent";
        let form = self.browser.evaluate(form);
        assert!(form.as_str().unwrap().contains("paste"), "{form}");
        // What is pasted into a field is no upload.
        let field = "document.body.appendChild(document.createElement('input'))";
        self.paste("typed", field);
        let rows = "document.querySelectorAll('.uploads li').length";
        assert_eq!(self.browser.evaluate(rows), 4);
        self.assert_no_complaint();
    }

    fn needs_no_mouse(&mut self) {
        self.browser.open(&self.url);
        let intercept = json!({"enabled": true});
        self.browser
            .call("Page.setInterceptFileChooserDialog", intercept);
        self.browser.evaluate("document.activeElement.blur()");
        self.browser.tab_to("choose files");
        self.browser.press("Enter");
        let chooser = self.browser.wait_for("Page.fileChooserOpened");
        let typed = [self.files.join("typed")];
        let picked = json!({"backendNodeId": chooser["backendNodeId"], "files": typed});
        self.browser.call("DOM.setFileInputFiles", picked);
        self.wait_for_state("typed", "done");
        self.assert_no_complaint();
    }
}

#[test]
fn a_person_uploads_pauses_resumes_after_a_reload_and_drops_folders() {
    let test = "a_person_uploads_pauses_resumes_after_a_reload_and_drops_folders";
    let Some(mut browser) = Browser::start(test) else {
        return;
    };
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
    for domain in ["Network.enable", "DOM.enable"] {
        browser.call(domain, json!({}));
    }
    let mut person = Person {
        browser,
        files,
        url: format!("http://{}/", server.address()),
    };
    person.stores_what_is_picked(hostile);
    person.is_told_why_not();
    person.pauses_resumes_and_cancels(&server);
    person.resumes_after_a_reload();
    person.drops_a_folder();
    person.pastes();
    person.needs_no_mouse();
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
    wait_until("nothing is left", no_part);
}
