//! TLS: a rustls client against certificates made on the spot.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use socketserver::{
    Builder, Error, ManualClock, Networks, Next, Result, StreamRequest, StreamRequestHandler,
    ThreadPerRequest, ThreadingMixIn, Timeout, Tls,
};

use crate::subjects::{Obedient, Recorder};
use crate::support::{Running, TestDir, eventually};

/// A certificate and its key, as files.
pub(crate) struct Files {
    dir: TestDir,
}

impl Files {
    pub(crate) fn new() -> Files {
        Files {
            dir: TestDir::new(),
        }
    }

    /// Puts another certificate into the files.
    pub(crate) fn renew(&self) -> CertificateDer<'static> {
        let CertifiedKey::<KeyPair> { cert, signing_key } =
            generate_simple_self_signed(["localhost".into()]).unwrap();
        std::fs::write(self.dir.join("cert.pem"), cert.pem()).unwrap();
        std::fs::write(self.dir.join("key.pem"), signing_key.serialize_pem()).unwrap();
        cert.der().clone()
    }

    pub(crate) fn tls(&self, alpn: &[&str]) -> Tls {
        Tls::from_pem_files(self.dir.join("cert.pem"), self.dir.join("key.pem"), alpn).unwrap()
    }
}

/// A server with a fresh certificate.
pub(crate) fn serve<H: StreamRequestHandler + Copy + Sync>(
    settings: Builder,
    handler: H,
) -> (Running, CertificateDer<'static>) {
    let files = Files::new();
    let certificate = files.renew();
    let server = settings
        .tls(Some(files.tls(&["two", "one"])))
        .tcp("127.0.0.1:0", move |_: &_| handler)
        .unwrap();
    (Running::start(server), certificate)
}

pub(crate) type TlsClient = StreamOwned<ClientConnection, socket2::Socket>;

/// A client that trusts this certificate only.
fn connect(
    server: &Running,
    certificate: &CertificateDer<'static>,
    alpn: &[&str],
) -> std::io::Result<TlsClient> {
    encrypt(server.connect().socket, certificate, alpn)
}

pub(crate) fn encrypt(
    mut socket: socket2::Socket,
    certificate: &CertificateDer<'static>,
    alpn: &[&str],
) -> std::io::Result<TlsClient> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let mut session =
        ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap())
            .unwrap();
    while session.is_handshaking() {
        session.complete_io(&mut socket)?;
    }
    Ok(StreamOwned::new(session, socket))
}

#[track_caller]
fn assert_echo(client: &mut TlsClient, line: &[u8]) {
    client.write_all(line).unwrap();
    let mut answer = vec![0; line.len()];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer, line);
}

/// Says how the connection is encrypted.
fn describe(request: &mut StreamRequest) -> Result<Next> {
    request.rfile.take_all();
    let alpn = request
        .alpn_protocol()
        .map(|name| String::from_utf8(name).unwrap());
    write!(request.wfile, "{} {alpn:?}", request.is_tls())?;
    Ok(Next::Close)
}

#[test]
fn lines_come_back_encrypted() {
    for settings in [
        Builder::new(),
        Builder::new().process(ThreadPerRequest::new()),
    ] {
        let (server, certificate) = serve(settings, Obedient);
        let mut client = connect(&server, &certificate, &[]).unwrap();
        assert_echo(&mut client, b"hello\n");
        assert_echo(&mut client, b"again\n");
        client.write_all(b"close\n").unwrap();
        let mut rest = Vec::new();
        // Without close_notify this would be an error: somebody might have cut the answer.
        client.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"");
    }
}

#[test]
fn many_messages_in_one_record_and_one_message_in_many_are_served() {
    let (server, certificate) = serve(Builder::new().max_message(1 << 20), Obedient);
    let mut client = connect(&server, &certificate, &[]).unwrap();
    assert_echo(&mut client, &b"short\n".repeat(2000));
    for byte in b"byte by byte" {
        client.write_all(&[*byte]).unwrap();
    }
    client.write_all(b"\n").unwrap();
    let mut answer = [0; 13];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"byte by byte\n");
}

#[test]
fn alpn_takes_what_the_server_likes_best() {
    for (offered, expected) in [
        (&["one", "two"][..], "true Some(\"two\")"),
        (&["one"], "true Some(\"one\")"),
        (&[], "true None"),
    ] {
        let (server, certificate) = serve(
            Builder::new(),
            describe as fn(&mut StreamRequest) -> Result<Next>,
        );
        let mut client = connect(&server, &certificate, offered).unwrap();
        client.write_all(b"?").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, expected);
    }
    let (server, certificate) = serve(Builder::new(), Obedient);
    assert!(
        connect(&server, &certificate, &["three"]).is_err(),
        "nothing in common"
    );
}

#[test]
fn a_client_that_is_silent_in_the_handshake_expires_by_the_head_time_out() {
    silence_in_the_handshake_expires(Builder::new());
}

#[test]
fn so_does_one_whose_first_byte_is_awaited() {
    silence_in_the_handshake_expires(Builder::new().allow_plaintext(true));
}

fn silence_in_the_handshake_expires(settings: Builder) {
    let (hand, hooks) = (ManualClock::new(), Recorder::default());
    let settings = settings
        .clock(hand.clock())
        .hooks(hooks.clone())
        .head_timeout(Some(Duration::from_secs(10)));
    let pool = ThreadingMixIn::new().threads(1).max_threads(1);
    let (server, certificate) = serve(settings.process(pool), Obedient);
    let mut silent = server.connect();
    let mut halfway = server.connect();
    halfway.say(&[0x16, 0x03, 0x01, 0x02]);
    eventually("both are parked", || server.stats().parked == 2);
    assert_echo(
        &mut connect(&server, &certificate, &[]).unwrap(),
        b"no thread is held\n",
    );
    hand.advance(Duration::from_secs(10));
    silent.hear_end();
    halfway.hear_end();
    eventually("both are counted", || {
        server.stats().timeouts(Timeout::Handshake) == 2
    });
    assert_eq!(hooks.expiries(), [Timeout::Handshake; 2]);
}

#[test]
fn a_client_that_speaks_in_the_clear_is_an_error_of_its_own() {
    let hooks = Recorder::default();
    let (server, certificate) = serve(Builder::new().hooks(hooks.clone()), Obedient);
    let alert = server.connect().say(b"GET / HTTP/1.1\r\n\r\n").hear_end();
    assert_eq!(alert.first(), Some(&0x15), "a TLS alert tells why");
    eventually("it is counted", || server.stats().failed == 1);
    assert_eq!(hooks.errors().len(), 1);
    assert_echo(
        &mut connect(&server, &certificate, &[]).unwrap(),
        b"unharmed\n",
    );
}

#[test]
fn where_plaintext_is_allowed_the_first_byte_tells_it_from_tls() {
    for settings in [
        Builder::new(),
        Builder::new().process(ThreadPerRequest::new()),
    ] {
        let handler = describe as fn(&mut StreamRequest) -> Result<Next>;
        let (server, certificate) = serve(settings.allow_plaintext(true), handler);
        let mut encrypted = connect(&server, &certificate, &[]).unwrap();
        let mut plain = server.connect();
        encrypted.write_all(b"?").unwrap();
        let mut answer = String::new();
        encrypted.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "true None");
        assert_eq!(plain.say(b"?").hear_end(), b"false None");
    }
}

#[test]
fn a_client_that_leaves_before_its_first_byte_is_closed_without_a_fuss() {
    let (server, certificate) = serve(Builder::new().allow_plaintext(true), Obedient);
    drop(server.connect());
    eventually("it is gone", || {
        server.stats().accepted == 1 && server.stats().open == 0
    });
    assert_eq!(server.stats().failed, 0);
    assert_echo(
        &mut connect(&server, &certificate, &[]).unwrap(),
        b"unharmed\n",
    );
}

#[test]
fn the_first_byte_is_the_one_behind_a_proxy_header() {
    const HEADER: &[u8] = b"PROXY TCP4 198.51.100.7 203.0.113.9 5000 443\r\n";
    let trusted = Networks::parse(["127.0.0.0/8"]).unwrap();
    let settings = Builder::new()
        .allow_plaintext(true)
        .proxy_protocol(Some(trusted));
    let (server, certificate) = serve(settings, describe as fn(&mut StreamRequest) -> Result<Next>);
    assert_eq!(
        server.connect().say(&[HEADER, b"?"].concat()).hear_end(),
        b"false None"
    );

    let mut later = server.connect();
    later.say(HEADER);
    eventually("the header is read", || server.stats().parked == 1);
    assert_eq!(later.say(b"?").hear_end(), b"false None");

    let mut proxied = server.connect();
    proxied.say(HEADER);
    let mut encrypted = encrypt(proxied.socket, &certificate, &[]).unwrap();
    encrypted.write_all(b"?").unwrap();
    let mut answer = String::new();
    encrypted.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "true None");
}

#[test]
fn a_certificate_is_replaced_while_the_server_runs() {
    let files = Files::new();
    let old = files.renew();
    let tls = files.tls(&[]);
    let server = Builder::new()
        .tls(Some(tls.clone()))
        .tcp("127.0.0.1:0", |_: &_| Obedient)
        .unwrap();
    let server = Running::start(server);
    let mut standing = connect(&server, &old, &[]).unwrap();
    assert_echo(&mut standing, b"before\n");

    let new = files.renew();
    assert!(connect(&server, &new, &[]).is_err(), "it isn't read yet");
    tls.reload().unwrap();
    assert_echo(
        &mut connect(&server, &new, &[]).unwrap(),
        b"with the new one\n",
    );
    assert!(connect(&server, &old, &[]).is_err());
    assert_echo(&mut standing, b"still standing\n");

    std::fs::write(files.dir.join("cert.pem"), "no certificate").unwrap();
    let error = tls.reload().unwrap_err();
    assert!(
        matches!(&error, Error::File { path, .. } if path.ends_with("cert.pem")),
        "{error}"
    );
    assert_echo(
        &mut connect(&server, &new, &[]).unwrap(),
        b"the last good one stays\n",
    );
}

#[test]
fn a_key_that_does_not_fit_its_certificate_is_refused() {
    let (files, others) = (Files::new(), Files::new());
    files.renew();
    others.renew();
    let error = Tls::from_pem_files(files.dir.join("cert.pem"), others.dir.join("key.pem"), &[])
        .unwrap_err();
    assert!(error.to_string().contains("doesn't fit"), "{error}");
    let error =
        Tls::from_pem_files(files.dir.join("missing"), files.dir.join("key.pem"), &[]).unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
}

#[test]
fn close_notify_arrives_although_the_client_reads_late() {
    const LENGTH: usize = 1 << 20;
    let files = Files::new();
    let certificate = files.renew();
    let class = |_: &_| {
        |request: &mut StreamRequest| {
            request.rfile.take_all();
            request
                .wfile
                .send_shared(vec![b'a'; LENGTH].into(), 0..LENGTH)?;
            Ok(Next::Close)
        }
    };
    let dir = TestDir::new();
    for model in 0..2 {
        let settings = match model {
            0 => Builder::new().process(ThreadingMixIn::new()),
            _ => Builder::new().process(ThreadPerRequest::new()),
        };
        let path = dir.join(format!("socket-{model}"));
        let settings = settings.tls(Some(files.tls(&[])));
        let server = Running::start(settings.unix_stream(path, class).unwrap());
        for round in 0..20 {
            let mut client = connect(&server, &certificate, &[]).unwrap();
            client.write_all(b"x").unwrap();
            client.flush().unwrap();
            std::thread::sleep(Duration::from_millis(round));
            let mut bytes = Vec::new();
            // Without close_notify, rustls reports an unexpected end.
            client.read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes.len(), LENGTH);
        }
    }
}

#[test]
fn a_client_that_is_refused_before_its_handshake_gets_an_alert() {
    let (server, certificate) = serve(Builder::new().max_connections(1), Obedient);
    let _only = connect(&server, &certificate, &[]).unwrap();
    let error = connect(&server, &certificate, &[]).unwrap_err();
    assert!(error.to_string().contains("AccessDenied"), "{error}");
}

#[test]
fn so_does_one_where_plaintext_is_allowed_too() {
    let settings = Builder::new().max_connections(1).allow_plaintext(true);
    let (server, certificate) = serve(settings, Obedient);
    let _only = connect(&server, &certificate, &[]).unwrap();
    let error = connect(&server, &certificate, &[]).unwrap_err();
    assert!(error.to_string().contains("AccessDenied"), "{error}");
}

/// Writes where nothing is sent by `handle` itself.
#[derive(Clone, Copy)]
enum Writes {
    InFinish,
    BeforeShutdown,
    InFailingSetup,
}

impl StreamRequestHandler for Writes {
    fn setup(&mut self, request: &mut StreamRequest) -> Result<()> {
        if let Writes::InFailingSetup = self {
            request.wfile.write_all(b"last words")?;
            return Err(Error::Protocol("told to fail".to_owned()));
        }
        Ok(())
    }

    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        request.rfile.take_all();
        if let Writes::BeforeShutdown = self {
            request.wfile.write_all(b"last words")?;
            request.wfile.shutdown_write()?;
        }
        Ok(Next::Close)
    }

    fn finish(&mut self, request: &mut StreamRequest) -> Result<()> {
        if let Writes::InFinish = self {
            request.wfile.write_all(b"last words")?;
        }
        Ok(())
    }
}

#[test]
fn what_is_written_last_arrives_before_close_notify() {
    for writes in [
        Writes::InFinish,
        Writes::BeforeShutdown,
        Writes::InFailingSetup,
    ] {
        let (server, certificate) = serve(Builder::new(), writes);
        let mut client = connect(&server, &certificate, &[]).unwrap();
        let _ = client.write_all(b"x");
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"last words");
    }
}

/// Sends as many KiB from its outbox as the client's line says, and then ends its side.
#[derive(Clone, Copy)]
struct Sending;

impl StreamRequestHandler for Sending {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        let line = String::from_utf8_lossy(request.rfile.take_all()).into_owned();
        let outbox = request.outbox(1 << 20);
        let sent = outbox.try_send(vec![b'.'; line.trim().parse::<usize>()? * 1024]);
        assert!(sent.is_ok(), "the outbox has room for it");
        outbox.shutdown_write();
        Ok(Next::Wait)
    }
}

#[test]
fn a_close_notify_behind_an_outbox_that_does_not_fit_holds_no_thread() {
    let files = Files::new();
    let certificate = files.renew();
    let pool = ThreadingMixIn::new().threads(1).max_threads(1);
    let settings = Builder::new().process(pool);
    let settings = settings.tls(Some(files.tls(&["two", "one"])));
    let dir = TestDir::new();
    let class = |_: &_| Sending;
    let server = settings.unix_stream(dir.join("server"), class).unwrap();
    let server = Running::start(server);
    let ask = |kib: usize| {
        let mut client = connect(&server, &certificate, &["one"]).unwrap();
        client.write_all(format!("{kib}\n").as_bytes()).unwrap();
        client
    };
    // These clients read nothing. With some of the sizes the socket is full just behind the last
    // byte of the outbox, and has no room for `close_notify`.
    let _full: Vec<TlsClient> = (0..512).step_by(4).map(ask).collect();
    let mut client = ask(1);
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).unwrap();
    assert_eq!(heard.len(), 1024);
}
