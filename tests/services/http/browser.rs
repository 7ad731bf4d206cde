//! `serve http`: its listing in a browser, for those who use no mouse, like it dark, or name files
//! to do harm.

use std::collections::HashMap;

use serde_json::json;

use crate::http::raw::get;
use crate::support::browser::Browser;
use crate::support::{TestDir, TestServer};

/// Names that would do something if they weren't taken for text. A name holds no slash.
const HOSTILE: [&str; 6] = [
    "<img src=x onerror=alert(1)>.txt",
    "\"onfocus=\"alert(1)\" autofocus=\".txt",
    "'><svg onload=alert(1)>",
    "javascript:alert(1)",
    "&lt;script&gt;alert(1)&lt;.txt",
    "%3Cscript%3Ealert(1)",
];

/// How many elements a page has that a listing has not.
const HARM: &str =
    "document.querySelectorAll('img, svg, script, [onerror], [onfocus], [autofocus]').length";

fn listing(test: &str) -> (TestDir, TestServer, String) {
    let dir = TestDir::new(test);
    dir.write("sub/inner.txt", "the inner text");
    dir.write("other.txt", "");
    let server = TestServer::start(&["http", dir.as_str(), "--render-markdown"]);
    let url = format!("http://{}", server.address());
    (dir, server, url)
}

#[test]
fn names_that_would_do_harm_are_text_in_a_browser() {
    let Some(mut browser) = Browser::start("browser-names") else {
        return;
    };
    let (dir, server, url) = listing("hostile");
    for name in HOSTILE {
        dir.write(name, name);
        dir.write(&format!("{name}-folder/file"), "");
    }
    dir.write(
        "README.md",
        "<script>alert(2)</script>\n\n[x](javascript:alert(3)) <img src=x onerror=alert(4)>\n",
    );
    browser.open(&url);
    let links = "[...document.querySelectorAll('tbody a')].map(a => [a.textContent, a.origin + \
                 a.pathname])";
    let links: HashMap<String, String> =
        serde_json::from_value(browser.evaluate(&format!("Object.fromEntries({links})"))).unwrap();
    for name in HOSTILE {
        let path = links[name]
            .strip_prefix(&url)
            .unwrap_or_else(|| panic!("{name} leads to {}", links[name]));
        assert_eq!(get(&server, path).text(), name);
        assert!(links.contains_key(&format!("{name}-folder/")), "{links:?}");
    }
    assert_eq!(browser.evaluate(HARM), 0);
    for name in HOSTILE {
        browser.open(&format!("{url}/"));
        browser.tab_to(&format!("{name}-folder/"));
        browser.enter();
        assert_eq!(
            browser.evaluate("document.querySelector('h1').textContent"),
            format!("Index of /{name}-folder/")
        );
        assert_eq!(browser.evaluate(HARM), 0);
    }
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn a_listing_is_used_by_keyboard_alone_and_the_console_stays_empty() {
    let Some(mut browser) = Browser::start("browser-keyboard") else {
        return;
    };
    let (_dir, _server, url) = listing("keyboard");
    browser.open(&url);
    browser.tab_to("sub/");
    assert_ne!(
        browser.evaluate("getComputedStyle(document.activeElement).outlineStyle"),
        "none",
        "the focus is seen"
    );
    browser.enter();
    assert_eq!(browser.evaluate("location.pathname"), "/sub/");
    browser.tab_to("inner.txt");
    browser.enter();
    assert_eq!(
        browser.evaluate("document.body.textContent"),
        "the inner text"
    );
    browser.open(&format!("{url}/sub/"));
    browser.tab_to("Home");
    browser.enter();
    assert_eq!(browser.evaluate("location.pathname"), "/");
    browser.tab_to("Filter by name");
    for key in ["o", "t", "h"] {
        browser.press(key);
    }
    browser.enter();
    let names = "[...document.querySelectorAll('tbody a')].map(a => a.textContent)";
    assert_eq!(browser.evaluate(names), json!(["other.txt"]));
    browser.tab_to("Size");
    browser.enter();
    assert_eq!(
        browser.evaluate("document.querySelector('[aria-sort]').textContent"),
        "Size"
    );
    assert_eq!(
        browser.evaluate(names),
        json!(["other.txt"]),
        "the filter stays"
    );
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn a_listing_is_dark_for_those_who_like_it_dark() {
    let Some(mut browser) = Browser::start("browser-dark") else {
        return;
    };
    let (_dir, _server, url) = listing("dark");
    // How light text and ground are, from 0 to 255.
    let lightness = "(() => {
        const probe = document.body.appendChild(document.createElement('i'));
        probe.style.background = 'Canvas';
        const own = getComputedStyle(document.body).backgroundColor;
        const ground = own == 'rgba(0, 0, 0, 0)' ? getComputedStyle(probe).backgroundColor : own;
        const text = getComputedStyle(document.body).color;
        return [text, ground].map(color => +color.match(/\\d+/)[0]);
    })()";
    let mut pictures = Vec::new();
    for (scheme, is_dark) in [("light", false), ("dark", true)] {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        browser.call("Emulation.setEmulatedMedia", features);
        browser.open(&url);
        pictures.push(browser.call("Page.captureScreenshot", json!({}))["data"].clone());
        let told = browser.evaluate(lightness);
        let [text, ground] = [&told[0], &told[1]].map(|value| value.as_i64().unwrap());
        assert!((text - ground).abs() > 150, "{scheme}: {told}");
        assert_eq!(ground < 100, is_dark, "{scheme}: {told}");
    }
    assert_ne!(pictures[0], pictures[1]);
    assert_eq!(browser.complaints(), [""; 0]);
}
