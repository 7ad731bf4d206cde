//! TLS through the binary: certificates made by it, by openssl and on the spot; a port that takes
//! plain HTTP too.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedKey, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::{BoundedCommand, PATIENCE, TestDir, TestServer, has_tool, python, run};

type TlsClient = StreamOwned<ClientConnection, std::net::TcpStream>;

/// A connection to `localhost` that trusts this file only.
fn connect(server: &TestServer, ca: &Path) -> std::io::Result<TlsClient> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(ca).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let session =
        ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap())
            .unwrap();
    let mut client = StreamOwned::new(session, server.connect());
    while client.conn.is_handshaking() {
        client.conn.complete_io(&mut client.sock)?;
    }
    Ok(client)
}

#[track_caller]
fn assert_echo(client: &mut TlsClient, line: &str) {
    client.write_all(line.as_bytes()).unwrap();
    let mut answer = vec![0; line.len()];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer, line.as_bytes());
}

/// Asks once, and reads until the server closes.
fn ask(server: &TestServer, ca: &Path, request: &str) -> String {
    let mut client = connect(server, ca).unwrap();
    client.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

/// Puts a certificate for `localhost` and its key into `cert.pem` and `key.pem`, and a copy of the
/// certificate into `ca`.
fn renew(dir: &TestDir, ca: &str) {
    let CertifiedKey::<KeyPair> { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    dir.write("cert.pem", cert.pem());
    dir.write("key.pem", signing_key.serialize_pem());
    dir.write(ca, cert.pem());
}

/// Starts a server with `cert.pem` and `key.pem`.
fn start(arguments: &[&str], dir: &TestDir) -> TestServer {
    let (certificate, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    let files = [
        "--tls-cert",
        certificate.to_str().unwrap(),
        "--tls-key",
        key.to_str().unwrap(),
    ];
    TestServer::start(&[arguments, &files].concat())
}

fn start_self_signed(arguments: &[&str], state: &TestDir) -> TestServer {
    TestServer::start_with(
        &[arguments, &["--tls-self-signed"]].concat(),
        1,
        |command| command.env("XDG_STATE_HOME", state.as_str()),
    )
}

const DEVELOPMENT: &str = "socketserver/development-certificate.pem";

#[test]
fn a_development_certificate_is_made_once_and_named_to_the_user() {
    let state = TestDir::new("self-signed");
    let first = start_self_signed(&["time"], &state);
    assert!(first.ready[0].contains("tls://"), "{}", first.ready[0]);
    let path = state.join(DEVELOPMENT).to_str().unwrap().to_owned();
    let line = first.wait_for_log("development certificate");
    assert!(line.contains(&format!("--tls-ca {path}")), "{line}");
    let made = std::fs::read(&path).unwrap();

    let second = start_self_signed(&["time"], &state);
    assert_eq!(std::fs::read(&path).unwrap(), made);
    for server in [&first, &second] {
        for host in ["127.0.0.1", "localhost"] {
            let address = format!("{host}:{}", server.address().port());
            let (code, _, errors) = run(&["client", "time", &address, "--tls-ca", &path]);
            assert_eq!(code, Some(0), "{errors}");
        }
    }
}

#[test]
fn other_programs_take_a_development_certificate() {
    let dir = TestDir::new("self-signed-curl");
    dir.write("www/a.txt", "through TLS");
    let server = start_self_signed(&["http", dir.join("www").to_str().unwrap()], &dir);
    let (ca, port) = (dir.join(DEVELOPMENT), server.address().port());
    let script = "import ssl, sys, urllib.request\n\
        context = ssl.create_default_context(cafile=sys.argv[1])\n\
        address = f'https://127.0.0.1:{sys.argv[2]}/a.txt'\n\
        print(urllib.request.urlopen(address, context=context).read().decode())";
    let name = "other_programs_take_a_development_certificate";
    if let Some(output) = python(name, script, &[ca.to_str().unwrap(), &port.to_string()]) {
        assert_eq!(output, "through TLS\n");
    }
    if has_tool("curl", name) {
        let output = Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--location",
                "--max-time",
                &PATIENCE.as_secs().to_string(),
            ])
            .args(["--proto", "=http,https", "--noproxy", "*", "--cacert"])
            .arg(&ca)
            .arg(format!("http://localhost:{port}/a.txt"))
            .finish();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "through TLS",
            "{output:?}"
        );
    }
}

#[test]
fn without_a_home_a_development_certificate_has_no_place() {
    let output = Command::new(env!("CARGO_BIN_EXE_socketserver"))
        .args([
            "serve",
            "echo",
            "--tls-self-signed",
            "--bind",
            "127.0.0.1:0",
        ])
        .env_remove("HOME")
        .env("XDG_STATE_HOME", "relative/paths/do/not/count")
        .finish();
    assert_eq!(output.status.code(), Some(2));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        errors.contains("XDG_STATE_HOME") && errors.lines().count() == 1,
        "{errors}"
    );
}

#[test]
fn tls_is_refused_where_nothing_would_be_encrypted() {
    let dir = TestDir::new("tls-datagrams");
    renew(&dir, "ca.pem");
    let (certificate, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    let files = [
        "--tls-cert",
        certificate.to_str().unwrap(),
        "--tls-key",
        key.to_str().unwrap(),
    ];
    let (code, _, errors) =
        run(&[&["serve", "ping", "--bind", "127.0.0.1:0"][..], &files].concat());
    assert_eq!(code, Some(2));
    assert!(errors.contains("datagrams"), "{errors}");
}

#[test]
fn keys_of_every_kind_and_form_are_read() {
    if !has_tool("openssl", "keys_of_every_kind_and_form_are_read") {
        return;
    }
    let dir = TestDir::new("tls-keys");
    let openssl = |arguments: &str| {
        let output = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(dir.as_str())
            .finish();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    for (algorithm, form, label) in [
        (
            "RSA -pkeyopt rsa_keygen_bits:2048",
            " -traditional",
            "BEGIN RSA PRIVATE KEY",
        ),
        ("RSA -pkeyopt rsa_keygen_bits:2048", "", "BEGIN PRIVATE KEY"),
        (
            "EC -pkeyopt ec_paramgen_curve:P-256",
            " -traditional",
            "BEGIN EC PRIVATE KEY",
        ),
        (
            "EC -pkeyopt ec_paramgen_curve:P-384",
            "",
            "BEGIN PRIVATE KEY",
        ),
        ("ED25519", "", "BEGIN PRIVATE KEY"),
    ] {
        openssl(&format!("genpkey -algorithm {algorithm} -out made.pem"));
        openssl(&format!("pkey -in made.pem{form} -out key.pem"));
        openssl("req -x509 -new -key key.pem -subj /CN=localhost -out cert.pem");
        let key = std::fs::read_to_string(dir.join("key.pem")).unwrap();
        assert!(key.contains(label), "{algorithm}{form}: {key}");
        let server = start(&["time"], &dir);
        let (code, _, errors) = run(&[
            "client",
            "time",
            &server.address().to_string(),
            "--tls-insecure",
        ]);
        assert_eq!(code, Some(0), "{algorithm}{form}: {errors}");
    }
}

#[test]
fn a_key_of_another_certificate_is_one_line_that_names_both() {
    let dir = TestDir::new("tls-mismatch");
    renew(&dir, "other.pem");
    renew(&dir, "ca.pem");
    let (certificate, key) = (dir.join("other.pem"), dir.join("key.pem"));
    let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    let (code, _, errors) = run(&["serve", "echo", "--tls-cert", certificate, "--tls-key", key]);
    assert_eq!(code, Some(2));
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(
        errors.contains(certificate) && errors.contains(key) && errors.contains("doesn't fit"),
        "{errors}"
    );
}

#[test]
fn intermediate_certificates_are_sent_along() {
    let dir = TestDir::new("tls-chain");
    let authority = |name: &str| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params, KeyPair::generate().unwrap())
    };
    let ((root, root_key), (intermediate, intermediate_key)) =
        (authority("root"), authority("intermediate"));
    dir.write("ca.pem", root.self_signed(&root_key).unwrap().pem());
    let signed = intermediate
        .signed_by(&intermediate_key, &Issuer::new(root, root_key))
        .unwrap()
        .pem();
    let leaf_key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let leaf = leaf
        .signed_by(&leaf_key, &Issuer::new(intermediate, intermediate_key))
        .unwrap()
        .pem();
    dir.write("key.pem", leaf_key.serialize_pem());

    dir.write("cert.pem", format!("{leaf}{signed}"));
    let server = start(&["echo"], &dir);
    assert_echo(
        &mut connect(&server, &dir.join("ca.pem")).unwrap(),
        "the chain reaches the root\n",
    );

    dir.write("cert.pem", leaf);
    let server = start(&["echo"], &dir);
    assert!(
        connect(&server, &dir.join("ca.pem")).is_err(),
        "nothing leads to the root"
    );
}

#[test]
fn certificates_are_reread_on_sighup() {
    let dir = TestDir::new("tls-reload");
    renew(&dir, "old.pem");
    let server = start(&["echo"], &dir);
    let mut standing = connect(&server, &dir.join("old.pem")).unwrap();
    assert_echo(&mut standing, "before\n");

    renew(&dir, "new.pem");
    server.signal("HUP");
    server.wait_for_log("reloaded");
    assert_echo(
        &mut connect(&server, &dir.join("new.pem")).unwrap(),
        "with the new one\n",
    );
    assert!(connect(&server, &dir.join("old.pem")).is_err());
    assert_echo(&mut standing, "still standing\n");

    dir.write("key.pem", "no key");
    server.signal("HUP");
    let line = server.wait_for_log("nothing is reloaded");
    assert!(line.contains("key.pem"), "{line}");
    assert_echo(
        &mut connect(&server, &dir.join("new.pem")).unwrap(),
        "the last good one stays\n",
    );
    assert_echo(&mut standing, "still standing\n");
}

#[test]
fn plain_http_to_an_https_port_is_sent_to_https() {
    let dir = TestDir::new("tls-redirect");
    renew(&dir, "ca.pem");
    let server = start(&["http", dir.as_str()], &dir);
    assert!(server.ready[0].contains("https://"), "{}", server.ready[0]);
    let body = "x".repeat(100_000);
    for (request, location) in [
        (
            "GET /a%20b?c HTTP/1.1\r\nHost: a.example:8443\r\n\r\n".to_owned(),
            "https://a.example:8443/a%20b?c",
        ),
        (
            "HEAD / HTTP/1.0\r\nHost: a.example\r\n\r\n".to_owned(),
            "https://a.example/",
        ),
        (
            format!("POST /p HTTP/1.1\r\nHost: [::1]:1\r\nContent-Length: 100000\r\n\r\n{body}"),
            "https://[::1]:1/p",
        ),
    ] {
        let answer = String::from_utf8(server.exchange(request.as_bytes())).unwrap();
        assert!(answer.starts_with("HTTP/1.1 308 "), "{answer}");
        for field in [
            &format!("Location: {location}"),
            "Connection: close",
            "Cache-Control: no-store",
        ] {
            assert!(
                answer.contains(&format!("\r\n{field}\r\n")),
                "{field}: {answer}"
            );
        }
    }
    for nowhere in [&b"GET / HTTP/1.0\r\n\r\n"[..], b"HELLO\r\n\r\n"] {
        let answer = String::from_utf8(server.exchange(nowhere)).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    let answer = ask(
        &server,
        &dir.join("ca.pem"),
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    );
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(!answer.contains("Strict-Transport-Security"), "{answer}");
}

#[test]
fn a_plain_client_that_sends_byte_by_byte_is_sent_to_https_too() {
    let dir = TestDir::new("tls-redirect-slow");
    renew(&dir, "ca.pem");
    let server = start(&["http", dir.as_str()], &dir);
    let mut client = server.connect();
    client.set_nodelay(true).unwrap();
    for byte in b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" {
        client.write_all(&[*byte]).unwrap();
    }
    let mut line = String::new();
    BufReader::new(client).read_line(&mut line).unwrap();
    assert_eq!(line, "HTTP/1.1 308 Permanent Redirect\r\n");
}

#[test]
fn a_server_without_tls_sends_everybody_to_https_elsewhere() {
    let dir = TestDir::new("https-redirect");
    assert_eq!(
        run(&[
            "serve",
            "http",
            dir.as_str(),
            "--https-redirect=0",
            "--bind",
            "127.0.0.1:0"
        ])
        .0,
        Some(2)
    );
    dir.write("a.txt", "a");
    for (option, location) in [
        ("--https-redirect", "https://a.example/a.txt"),
        ("--https-redirect=8443", "https://a.example:8443/a.txt"),
    ] {
        let server = TestServer::start(&["http", dir.as_str(), option]);
        let answer = server.exchange(b"GET /a.txt HTTP/1.1\r\nHost: a.example:8080\r\n\r\n");
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 308 "), "{answer}");
        assert!(
            answer.contains(&format!("\r\nLocation: {location}\r\n")),
            "{answer}"
        );
    }
}

#[test]
fn other_services_close_a_plain_client_with_an_alert() {
    let dir = TestDir::new("tls-plain");
    renew(&dir, "ca.pem");
    let server = start(&["echo"], &dir);
    assert_eq!(
        server.exchange(b"hello in the clear\n").first(),
        Some(&0x15)
    );
}

#[test]
fn hsts_is_said_by_tls_only() {
    let dir = TestDir::new("tls-hsts");
    renew(&dir, "ca.pem");
    dir.write("a.txt", "a");
    let server = start(&["http", dir.as_str(), "--hsts", "365days"], &dir);
    for (target, status) in [
        ("/a.txt", "200"),
        ("/nothing", "404"),
        ("/", "200"),
        ("bad", "400"),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let answer = ask(&server, &dir.join("ca.pem"), &request);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert_eq!(
            answer
                .matches("\r\nStrict-Transport-Security: max-age=31536000\r\n")
                .count(),
            1,
            "{answer}"
        );
    }
    let plain = String::from_utf8(server.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
    assert!(
        plain.starts_with("HTTP/1.1 308 ") && !plain.contains("Strict-Transport"),
        "{plain}"
    );

    let (code, _, errors) = run(&["serve", "http", dir.as_str(), "--hsts", "1h"]);
    assert_eq!(code, Some(2));
    assert!(errors.contains("--tls-cert"), "{errors}");
}
