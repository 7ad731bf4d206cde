//! `serve http --upload` and tus-js-client, the client that most pages use.

use std::io::{BufRead, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::http::upload::site;
use crate::support::{BoundedCommand, Process, TestServer, has_tool};

const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/clients");

/// Whether a package from npm is there; says so visibly if not.
fn has_package(name: &str, test: &str) -> bool {
    let found = Path::new(CLIENTS).join("node_modules").join(name).exists();
    if !found {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED {test}: npm's {name} is missing; `make deps` installs it"
        );
    }
    found && has_tool("node", test)
}

fn client(server: &TestServer, file: &Path) -> Process {
    let endpoint = format!("http://{}/", server.address());
    let mut command = Command::new("node");
    command
        .args(["tus.js", &endpoint])
        .arg(file)
        .current_dir(CLIENTS);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).start()
}

#[test]
fn tus_js_client_uploads_resumes_and_terminates() {
    if !has_package(
        "tus-js-client",
        "tus_js_client_uploads_resumes_and_terminates",
    ) {
        return;
    }
    let (dir, mut server) = site("tus-js", &[]);
    let address = server.address().to_string();
    let content: Vec<u8> = (0..250_000_u32).flat_map(u32::to_le_bytes).collect();
    dir.write("original", &content);
    let mut client = client(&server, &dir.join("original"));
    let mut lines = client.stdout().lines().map(|line| line.unwrap());
    assert_eq!(lines.next().as_deref(), Some("whole"));
    assert_eq!(lines.next().as_deref(), Some("cut"));
    server.signal("KILL");
    server.wait();
    let _server = TestServer::start(&["http", dir.as_str(), "--upload", "--bind", &address]);
    client.stdin().write_all(b"\n").unwrap();
    assert_eq!(lines.next().as_deref(), Some("resumed at 262144"));
    assert_eq!(lines.next().as_deref(), Some("terminated"));
    assert!(client.wait().success());
    for name in ["whole.bin", "cut.bin"] {
        assert!(
            std::fs::read(dir.join(name)).unwrap() == content,
            "{name} differs"
        );
    }
    assert!(!dir.join("given-up.bin").exists());
}
