//! A headless Chromium, driven by its DevTools protocol.

use std::io::{BufRead, ErrorKind};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use super::{BoundedCommand, PATIENCE, Process, TestDir, has_tool, wait_until};

/// A browser with one page, ended at the end of the test.
pub(crate) struct Browser {
    _process: Process,
    socket: WebSocket<TcpStream>,
    session: Option<String>,
    asked: u64,
    /// What the page told since it was last asked.
    events: Vec<Value>,
    _profile: TestDir,
}

impl Browser {
    /// `None`, and a visible word, if there is no Chromium.
    pub(crate) fn start(test: &str) -> Option<Browser> {
        if !has_tool("chromium", test) {
            return None;
        }
        let profile = TestDir::new(test);
        let mut command = Command::new("chromium");
        // In a container there is little shared memory, and no sandbox for root. What a proxy
        // answers says nothing of this server.
        command.args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-proxy-server",
        ]);
        command.args([
            "--remote-debugging-port=0",
            &format!("--user-data-dir={}", profile.as_str()),
            "about:blank",
        ]);
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .start();
        let url = debugger_of(&mut process);
        let address = url
            .strip_prefix("ws://")
            .unwrap()
            .split('/')
            .next()
            .unwrap();
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (socket, _) = tungstenite::client(&url, stream).unwrap();
        let mut browser = Browser {
            _process: process,
            socket,
            session: None,
            asked: 0,
            events: Vec::new(),
            _profile: profile,
        };
        let page = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let target = json!({"targetId": page["targetId"], "flatten": true});
        browser.session = browser.call("Target.attachToTarget", target)["sessionId"]
            .as_str()
            .map(str::to_owned);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.call(domain, json!({}));
        }
        Some(browser)
    }

    /// Gives a command and waits for its result.
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let mut message = json!({"id": self.asked, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.socket
            .send(Message::text(message.to_string()))
            .unwrap();
        loop {
            let message = self.receive();
            if message["id"] == self.asked {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].clone();
            }
            self.events.push(message);
        }
    }

    fn receive(&mut self) -> Value {
        // A signal to this process, from another test, ends a read that has a timeout (signal(7)).
        let message = loop {
            match self.socket.read() {
                Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::Interrupted => {}
                read => break read.unwrap(),
            }
        };
        serde_json::from_str(message.to_text().unwrap()).unwrap()
    }

    /// Waits for an event that wasn't waited for yet; its parameters.
    pub(crate) fn wait_for(&mut self, event: &str) -> Value {
        loop {
            let mut found = self.take(|told| told["method"] == event);
            if !found.is_empty() {
                return found.swap_remove(0)["params"].take();
            }
            let message = self.receive();
            self.events.push(message);
        }
    }

    /// The events of this kind that came so far, and are not taken yet.
    fn take(&mut self, is_wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        self.events.extract_if(.., |told| is_wanted(told)).collect()
    }

    /// The requests of this method that pages have sent, and that are not taken yet. Needs the
    /// domain `Network`.
    pub(crate) fn requests(&mut self, method: &str) -> Vec<Value> {
        self.evaluate("0"); // what was told before the answer is here now
        let is_request = |told: &Value| {
            told["method"] == "Network.requestWillBeSent"
                && told["params"]["request"]["method"] == method
        };
        let mut told = self.take(is_request);
        let requests = told.iter_mut();
        requests
            .map(|told| told["params"]["request"].take())
            .collect()
    }

    /// Opens a page, and waits until it is there with all that belongs to it.
    pub(crate) fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({"url": url}));
        self.wait_for("Page.loadEventFired");
    }

    /// Opens the page once more.
    pub(crate) fn reload(&mut self) {
        self.call("Page.reload", json!({}));
        self.wait_for("Page.loadEventFired");
    }

    /// Waits until an expression holds in the page.
    #[track_caller]
    pub(crate) fn until(&mut self, expression: &str) {
        let holds = format!("Boolean({expression})");
        wait_until(expression, || self.evaluate(&holds) == true);
    }

    /// Has a person pick files in the element that a selector finds. Needs the domain `DOM`.
    pub(crate) fn pick(&mut self, selector: &str, files: &[PathBuf]) {
        let document = self.call("DOM.getDocument", json!({}));
        let query = json!({"nodeId": document["root"]["nodeId"], "selector": selector});
        let node = self.call("DOM.querySelector", query);
        let picked = json!({"nodeId": node["nodeId"], "files": files});
        self.call("DOM.setFileInputFiles", picked);
    }

    /// Has a person drop a file or folder onto the middle of the page.
    pub(crate) fn drop_onto_page(&mut self, file: &Path) {
        let data = json!({"items": [], "files": [file], "dragOperationsMask": 1});
        for kind in ["dragEnter", "dragOver", "drop"] {
            let event = json!({"type": kind, "x": 300, "y": 100, "data": data});
            self.call("Input.dispatchDragEvent", event);
        }
    }

    /// The value of an expression in the page, or what a promise becomes.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let result = self.call("Runtime.evaluate", params);
        assert!(
            result["exceptionDetails"].is_null(),
            "{expression}: {result}"
        );
        result["result"]["value"].clone()
    }

    /// Presses and releases a key; a character, `Tab` or `Enter`.
    pub(crate) fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            key => (0, key),
        };
        let down =
            json!({"type": "keyDown", "key": key, "windowsVirtualKeyCode": code, "text": text});
        self.call("Input.dispatchKeyEvent", down);
        self.call(
            "Input.dispatchKeyEvent",
            json!({"type": "keyUp", "key": key, "windowsVirtualKeyCode": code}),
        );
    }

    /// Presses Tab until the element with this text, or label, has the focus.
    pub(crate) fn tab_to(&mut self, text: &str) {
        let focus = "(e => (e.labels?.[0] ?? e).textContent.trim())(document.activeElement)";
        for _ in 0..50 {
            self.press("Tab");
            if self.evaluate(focus) == text {
                return;
            }
        }
        panic!("no Tab leads to {text}");
    }

    /// Presses Enter, and waits for the page that it leads to.
    pub(crate) fn enter(&mut self) {
        self.press("Enter");
        self.wait_for("Page.loadEventFired");
    }

    /// What pages complained of since the last call: errors, warnings and dialogs.
    pub(crate) fn complaints(&mut self) -> Vec<String> {
        self.evaluate("0"); // what was told before the answer is here now
        let kinds = [
            "Runtime.consoleAPICalled",
            "Runtime.exceptionThrown",
            "Log.entryAdded",
            "Page.javascriptDialogOpening",
        ];
        let is_complaint = |told: &Value| kinds.iter().any(|kind| told["method"] == *kind);
        // For what is no page and so can't name an icon, the browser asks where one may be.
        let is_icon = |told: &&Value| {
            told["params"]["entry"]["url"]
                .as_str()
                .is_some_and(|url| url.ends_with("/favicon.ico"))
        };
        let complaints = self.take(is_complaint);
        complaints
            .iter()
            .filter(|told| !is_icon(told))
            .map(Value::to_string)
            .collect()
    }
}

/// Where Chromium says that it can be driven.
fn debugger_of(process: &mut Process) -> String {
    let (sender, receiver) = mpsc::channel();
    let stderr = process.stderr();
    // It reads to the end: Chromium must not block on a full pipe.
    std::thread::spawn(move || {
        for line in stderr.lines().map_while(Result::ok) {
            if let Some(url) = line.strip_prefix("DevTools listening on ") {
                let _ = sender.send(url.to_owned());
            }
        }
    });
    receiver
        .recv_timeout(2 * PATIENCE)
        .expect("Chromium tells no address")
}
