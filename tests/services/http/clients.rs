//! `serve http`: the clients that people use, against `www/` and files of a test's own.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::{BoundedCommand, TestDir, TestServer, has_tool};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

fn www() -> TestServer {
    TestServer::start(&[
        "http",
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .unwrap()
            .join("www")
            .to_str()
            .unwrap(),
    ])
}

fn url(server: &TestServer, path: &str) -> String {
    format!("http://{}{path}", server.address())
}

/// Runs a client to its end, which must come in time.
fn run(program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    // What a proxy answers says nothing of this server.
    command
        .args(arguments)
        .env("no_proxy", "*")
        .env("NO_PROXY", "*")
        .finish()
}

/// What a client prints, which must succeed.
fn output_of(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = run(program, arguments);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}; {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

fn curl(arguments: &[&str]) -> String {
    String::from_utf8(output_of(
        "curl",
        &[&["--silent", "--show-error", "--max-time", "20"], arguments].concat(),
    ))
    .unwrap()
}

#[test]
fn curl_gets_files_heads_ranges_and_old_versions() {
    if !has_tool("curl", "curl_gets_files_heads_ranges_and_old_versions") {
        return;
    }
    let dir = TestDir::new("curl");
    dir.write("digits.txt", "0123456789");
    dir.write("sub/index.html", "<p>below");
    let server = TestServer::start(&["http", dir.as_str()]);
    let digits = url(&server, "/digits.txt");
    assert_eq!(curl(&[&digits]), "0123456789");
    assert_eq!(curl(&["--compressed", &digits]), "0123456789");
    assert_eq!(curl(&["-r", "2-4", &digits]), "234");
    assert_eq!(curl(&["-r", "-2", &digits]), "89");
    assert_eq!(
        curl(&["--http1.0", "--include", &digits])
            .split("\r\n\r\n")
            .nth(1),
        Some("0123456789")
    );
    assert_eq!(curl(&["--location", &url(&server, "/sub")]), "<p>below");
    let head = curl(&["-I", &digits]);
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("\r\nContent-Length: 10\r\n"),
        "{head}"
    );
    assert_eq!(
        curl(&[
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            &url(&server, "/missing")
        ]),
        "404"
    );
    assert_eq!(
        curl(&[
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "-T",
            dir.join("digits.txt").to_str().unwrap(),
            &digits
        ]),
        "405"
    );
    let not_modified = curl(&[
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "-z",
        dir.join("digits.txt").to_str().unwrap(),
        &digits,
    ]);
    assert_eq!(not_modified, "304");
}

#[test]
fn curl_resumes_a_download() {
    if !has_tool("curl", "curl_resumes_a_download") {
        return;
    }
    let dir = TestDir::new("resume");
    let content: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
    dir.write("root/large.bin", &content);
    dir.write("half", &content[..123_456]);
    let server = TestServer::start(&["http", dir.join("root").to_str().unwrap()]);
    let half = dir.join("half");
    let told = curl(&[
        "-C",
        "-",
        "-o",
        half.to_str().unwrap(),
        "-w",
        "%{http_code}",
        &url(&server, "/large.bin"),
    ]);
    assert_eq!(told, "206");
    assert!(std::fs::read(&half).unwrap() == content);
}

#[test]
fn curl_keeps_one_connection_for_two_files() {
    if !has_tool("curl", "curl_keeps_one_connection_for_two_files") {
        return;
    }
    let server = www();
    let told = curl(&[
        "-o",
        "/dev/null",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %{num_connects}\n",
        &url(&server, "/"),
        &url(&server, "/style.css"),
    ]);
    assert_eq!(told, "200 1\n200 0\n");
}

#[test]
fn python_s_client_keeps_its_connection_through_a_hundred_requests() {
    if !has_tool(
        "python3",
        "python_s_client_keeps_its_connection_through_a_hundred_requests",
    ) {
        return;
    }
    const SCRIPT: &str = r#"
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=20)
def ask(path, method="GET", **headers):
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    return response.status, response.read()
connection.connect()
socket = connection.sock
for number in range(100):
    assert ask("/digits.txt") == (200, b"0123456789"), number
assert ask("/digits.txt", Range="bytes=3-5") == (206, b"345")
status, page = ask("/missing")
assert status == 404 and b"Not Found" in page, status
assert ask("/digits.txt", method="HEAD") == (200, b"")
assert ask("/digits.txt", method="DELETE")[0] == 405
assert connection.sock is socket, "another connection"
assert ask("/digits.txt", Connection="close") == (200, b"0123456789")
assert connection.sock is None, "the connection stays open"
print("done")
"#;
    let dir = TestDir::new("python");
    dir.write("digits.txt", "0123456789");
    let server = TestServer::start(&["http", dir.as_str()]);
    let told = output_of(
        "python3",
        &["-c", SCRIPT, &server.address().port().to_string()],
    );
    assert_eq!(told, b"done\n");
}

#[test]
fn wrk_sees_no_error() {
    if !has_tool("wrk", "wrk_sees_no_error") {
        return;
    }
    let server = www();
    for arguments in [&["-d2s"][..], &["-d1s", "-H", "Connection: close"]] {
        let url = url(&server, "/HelloWorld.html");
        let told = output_of("wrk", &[&["-t1", "-c64"], arguments, &[&url]].concat());
        let told = String::from_utf8(told).unwrap();
        assert!(
            !told.contains("Socket errors") && !told.contains("Non-2xx"),
            "{told}"
        );
        let requests = told
            .lines()
            .find_map(|line| line.trim().split_once(" requests in "))
            .unwrap()
            .0;
        assert!(requests.parse::<u64>().unwrap() > 64, "{told}");
    }
}

#[test]
fn a_browser_shows_the_site() {
    if !has_tool("chromium", "a_browser_shows_the_site") {
        return;
    }
    let server = www();
    let dir = TestDir::new("browser");
    let profile = format!("--user-data-dir={}", dir.join("profile").display());
    let picture = dir.join("page.png");
    let screenshot = format!("--screenshot={}", picture.display());
    // In a container there is little shared memory, and no sandbox for root.
    let common = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-proxy-server",
        &profile,
    ];
    let page = url(&server, "/");
    let dom = output_of("chromium", &[&common[..], &["--dump-dom", &page]].concat());
    let dom = String::from_utf8_lossy(&dom);
    assert!(
        dom.contains("<title>socketserver") && dom.contains("</html>"),
        "{dom:.500}"
    );
    output_of(
        "chromium",
        &[&common[..], &["--window-size=800,600", &screenshot, &page]].concat(),
    );
    let png = std::fs::read(&picture).unwrap();
    assert!(
        png.starts_with(PNG) && png.len() > 1000,
        "{} bytes",
        png.len()
    );
}
