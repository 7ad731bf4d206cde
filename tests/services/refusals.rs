//! Each limit that refuses a connection says so in the words of the service.

use std::net::TcpStream;

use serde_json::Value;

use crate::support::{TestDir, TestServer, run};

/// The refusals, by the options that bring them about. Each needs one open connection before.
const LIMITS: [(&[&str], &str); 3] = [
    (&["--max-connections", "1"], "busy: too many connections\n"),
    (&["--max-per-ip", "1"], "busy: too many from you\n"),
    (&["--deny", "127.0.0.0/8"], "denied\n"),
];

/// What a connection gets to read while another one is open.
fn refused(service: &[&str], options: &[&str]) -> Vec<u8> {
    let server = TestServer::start(&[service, options].concat());
    let first = held(&server, options);
    let answer = server.exchange(b"");
    drop(first);
    answer
}

/// A connection that the server has counted.
fn held(server: &TestServer, options: &[&str]) -> TcpStream {
    let first = server.connect();
    if options[0] == "--max-per-ip" {
        // Each address is counted when its connection is accepted, and that comes in order.
        drop(server.connect());
    }
    first
}

fn framed(answer: &[u8]) -> Value {
    let (length, json) = answer.split_at(4);
    let length = u32::from_le_bytes(length.try_into().unwrap()) as usize;
    serde_json::from_slice(&json[..length]).unwrap()
}

#[test]
fn text_services_say_it_in_a_line() {
    let dir = TestDir::new("refusals");
    dir.write("file", "content");
    dir.write("key", "secret");
    let (file, key) = (dir.join("file"), dir.join("key"));
    let (file, key) = (file.to_str().unwrap(), key.to_str().unwrap());
    for (options, says) in LIMITS {
        for service in [
            &["echo"][..],
            &["auth", "--key-file", key],
            &["echo", "--auth-key-file", key],
        ] {
            let answer = refused(service, options);
            assert_eq!(
                String::from_utf8_lossy(&answer),
                says,
                "{service:?} {options:?}"
            );
        }
    }
    // What these serve ends at once: nothing keeps the first connection open.
    for service in [
        &["time"][..],
        &["transfer", file],
        &["time", "--format", "rfc867"],
    ] {
        let answer = refused(service, LIMITS[2].0);
        assert_eq!(String::from_utf8_lossy(&answer), "denied\n", "{service:?}");
    }
    // Four bytes of text would be a time.
    let answer = refused(&["time", "--format", "rfc868"], LIMITS[2].0);
    assert_eq!(answer, b"");
}

#[test]
fn clients_report_a_refusal_as_a_failure() {
    let dir = TestDir::new("refused-clients");
    dir.write("file", "content");
    let file = dir.join("file");
    for service in [&["time"][..], &["transfer", file.to_str().unwrap()]] {
        let server = TestServer::start(&[service, &["--deny", "127.0.0.0/8"]].concat());
        let address = server.address().to_string();
        let (code, out, error) = run(&["client", service[0], &address]);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{service:?}: {error}");
        assert_eq!(
            error, "socketserver: the server refused the connection: denied\n",
            "{service:?}"
        );
    }
}

#[test]
fn upload_has_its_error_frame() {
    let dir = TestDir::new("refused-upload");
    for (options, says) in LIMITS {
        let server = TestServer::start(&[&["upload", dir.as_str()], options].concat());
        let first = held(&server, options);
        let answer = framed(&server.exchange(b""));
        assert_eq!(
            (&answer["status"], &answer["code"]),
            (&"error".into(), &"busy".into())
        );
        dir.write("a-file", "content");
        let path = dir.join("a-file");
        let address = server.address().to_string();
        let (exit, _, error) = run(&["client", "upload", &address, path.to_str().unwrap()]);
        assert_eq!(exit, Some(1));
        assert!(error.contains(says.trim()), "{error}");
        drop(first);
    }
}

#[test]
fn exec_answers_in_its_framing() {
    for (options, says) in LIMITS {
        for framing in ["json", "struct", "ack", "raw"] {
            let service = ["exec", "--no-auth", "--framing", framing];
            let server = TestServer::start(&[&service, options].concat());
            let first = held(&server, options);
            let answer = server.exchange(b"");
            let (head, text) = answer.split_at(answer.len() - says.len());
            assert_eq!(String::from_utf8_lossy(text), says, "{framing}");
            match framing {
                "json" => {
                    let code = if says == "denied\n" { 126 } else { 75 };
                    assert_eq!(framed(head)["exit_code"], code, "{framing}");
                    let address = server.address().to_string();
                    let (exit, _, error) = run(&["client", "exec", &address, "true"]);
                    assert_eq!((exit, error.as_str()), (Some(code), says));
                }
                "struct" => assert_eq!(head, (says.len() as u32).to_le_bytes()),
                "ack" => {
                    assert_eq!(head, b"", "a length that no acknowledgement can follow");
                    let address = server.address().to_string();
                    let client = ["client", "exec", "--framing", "ack", &address, "true"];
                    let (exit, _, error) = run(&client);
                    assert_eq!(exit, Some(1), "{error}");
                    assert!(error.contains(says.trim_end()), "{error}");
                }
                _ => assert_eq!(head, b""),
            }
            drop(first);
        }
    }
}
