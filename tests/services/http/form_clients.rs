//! `serve http --upload`: forms that curl and Python send.

use crate::http::upload::{read, site};
use crate::support::{BoundedCommand, PATIENCE, TestDir, has_tool, python};

#[test]
fn curl_sends_forms() {
    if !has_tool("curl", "curl_sends_forms") {
        return;
    }
    let (dir, server) = site("form-curl", &[]);
    let source = TestDir::new("form-curl-source");
    let large: Vec<u8> = (0..2_000_000_u32).flat_map(u32::to_le_bytes).collect();
    source.write("large", &large);
    source.write("quo\"te;.txt", "small");
    let patience = PATIENCE.as_secs().to_string();
    let output = std::process::Command::new("curl")
        .args([
            "-sS",
            "-m",
            &patience,
            "-w",
            " %{http_code}",
            "-F",
            "comment=hello",
        ])
        .args([
            "-F",
            "f=@large",
            "-F",
            "f=@\"quo\\\"te;.txt\"",
            "-F",
            "f=@-;filename=stdin",
        ])
        .arg(format!("http://{}/", server.address()))
        .current_dir(source.as_str())
        .finish();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.ends_with(" 201"),
        "{text} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        std::fs::read(dir.join("large")).unwrap() == large,
        "another content was stored"
    );
    assert_eq!(read(&dir, "quo\"te;.txt").as_deref(), Some("small"));
    assert_eq!(read(&dir, "stdin").as_deref(), Some(""));
}

#[test]
fn python_sends_forms() {
    let (dir, server) = site("form-python", &[]);
    let script = r#"
import json, sys, urllib.request
boundary = "===== a'b ====="
body = b""
for name, content in (("one.bin", bytes(range(256)) * 1000), ("nai\u0308ve.txt", b"--" + boundary.encode()[:-1])):
    body += b"--" + boundary.encode() + b"\r\n"
    body += f'Content-Disposition: form-data; name="f"; filename="{name}"\r\n'.encode()
    body += b"Content-Type: application/octet-stream\r\n\r\n" + content + b"\r\n"
body += b"--" + boundary.encode() + b"--\r\n"
headers = {"Content-Type": f'multipart/form-data; charset=utf-8; boundary="{boundary}"', "Accept": "application/json"}
with urllib.request.urlopen(urllib.request.Request(sys.argv[1], body, headers), timeout=20) as answer:
    print(answer.status, [file["size"] for file in json.load(answer)])
"#;
    let url = format!("http://{}/", server.address());
    let Some(output) = python("python_sends_forms", script, &[&url]) else {
        return;
    };
    assert_eq!(output, "201 [256000, 16]\n");
    let expected: Vec<u8> = (0..=255).cycle().take(256_000).collect();
    assert!(
        std::fs::read(dir.join("one.bin")).unwrap() == expected,
        "another content was stored"
    );
    assert_eq!(
        read(&dir, "nai\u{308}ve.txt").as_deref(),
        Some("--===== a'b ====")
    );
}
