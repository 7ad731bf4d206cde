//! TLS that a handler starts in the middle of a connection, and sessions that clients resume.

use std::io::{Read, Write};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use socketserver::{
    Builder, ManualClock, Next, Result, StreamRequest, StreamRequestHandler, ThreadPerRequest,
    ThreadingMixIn, Tls, TlsResumption, TlsSessionId,
};

use crate::support::{Client, PATIENCE, Running};
use crate::tls::Files;

/// Returns lines. `tls` starts TLS, `session` describes it.
#[derive(Clone)]
struct Upgrading {
    tls: Tls,
    finished: mpsc::Sender<()>,
}

impl StreamRequestHandler for Upgrading {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        while let Some(line) = request.rfile.take_line(100)? {
            let line = line.to_vec();
            match &*line {
                b"tls\n" => {
                    request.wfile.write_all(b"go ahead\n")?;
                    request.start_tls(&self.tls)?;
                    return Ok(Next::Wait);
                }
                b"session\n" => {
                    let resumed = match request.tls_resumption() {
                        Some(TlsResumption::Of(Some(id))) => hex(&id),
                        Some(TlsResumption::Of(None)) => "some".to_owned(),
                        _ => "none".to_owned(),
                    };
                    let own = request.tls_session_id().map(|id| hex(&id));
                    writeln!(request.wfile, "{} {resumed}", own.unwrap_or_default())?;
                }
                _ => request.wfile.write_all(&line)?,
            }
        }
        Ok(Next::Wait)
    }

    fn finish(&mut self, _: &mut StreamRequest) -> Result<()> {
        let _ = self.finished.send(());
        Ok(())
    }
}

fn hex(id: &TlsSessionId) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

struct Subject {
    server: Running,
    certificate: CertificateDer<'static>,
    finished: mpsc::Receiver<()>,
}

fn serve(settings: Builder) -> Subject {
    let files = Files::new();
    let certificate = files.renew();
    let (finish, finished) = mpsc::channel();
    let handler = Upgrading {
        tls: files.tls(&[]),
        finished: finish,
    };
    let server = settings.tcp("127.0.0.1:0", move |_: &_| handler.clone());
    Subject {
        server: Running::start(server.unwrap()),
        certificate,
        finished,
    }
}

fn models() -> [Builder; 2] {
    [
        Builder::new().process(ThreadingMixIn::new()),
        Builder::new().process(ThreadPerRequest::new()),
    ]
}

/// A client that remembers its sessions.
fn client_of(
    certificate: &CertificateDer<'static>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

type TlsClient = StreamOwned<ClientConnection, socket2::Socket>;

fn encrypt(mut client: Client, config: &Arc<ClientConfig>) -> TlsClient {
    let name = ServerName::try_from("localhost").unwrap();
    let mut session = ClientConnection::new(Arc::clone(config), name).unwrap();
    while session.is_handshaking() {
        session.complete_io(&mut client.socket).unwrap();
    }
    StreamOwned::new(session, client.socket)
}

fn ask(client: &mut TlsClient, line: &str) -> String {
    client.write_all(line.as_bytes()).unwrap();
    let mut answer = String::new();
    while !answer.ends_with('\n') {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        answer.push(char::from(byte[0]));
    }
    answer.trim_end().to_owned()
}

#[test]
fn tls_begins_behind_the_answer_in_the_clear() {
    for settings in models() {
        let subject = serve(settings);
        let config = client_of(&subject.certificate, rustls::ALL_VERSIONS);
        let mut client = subject.server.connect();
        client.say(b"hello\n").hear(b"hello\n");
        client.say(b"tls\n").hear(b"go ahead\n");
        let mut client = encrypt(client, &config);
        assert_eq!(ask(&mut client, "hello\n"), "hello");
        assert_eq!(ask(&mut client, "again\n"), "again");
        assert_eq!(subject.server.stop().failed, 0);
    }
}

#[test]
fn bytes_in_the_clear_behind_the_request_are_dropped() {
    for settings in models() {
        let subject = serve(settings);
        let config = client_of(&subject.certificate, rustls::ALL_VERSIONS);
        let mut client = subject.server.connect();
        client.say(b"tls\nevil\n").hear(b"go ahead\n");
        let mut client = encrypt(client, &config);
        assert_eq!(ask(&mut client, "good\n"), "good");
    }
}

#[test]
fn a_resumed_session_shows_which_one_it_is() {
    for (version, shows) in [
        (&rustls::version::TLS13, true),
        (&rustls::version::TLS12, false),
    ] {
        let subject = serve(Builder::new());
        let config = client_of(&subject.certificate, &[version]);
        let mut sessions = Vec::new();
        for _ in 0..2 {
            let mut client = subject.server.connect();
            client.say(b"tls\n").hear(b"go ahead\n");
            let mut client = encrypt(client, &config);
            sessions.push(ask(&mut client, "session\n"));
        }
        let (first, resumed) = sessions[0].split_once(' ').unwrap();
        assert_eq!(resumed, "none");
        let expected = if shows { first } else { "some" };
        let (second, resumed) = sessions[1].split_once(' ').unwrap();
        assert_eq!(resumed, expected);
        assert_ne!(first, second);
        // A client that knows nothing of it makes a full handshake.
        let other = client_of(&subject.certificate, &[version]);
        let mut client = subject.server.connect();
        client.say(b"tls\n").hear(b"go ahead\n");
        let answer = ask(&mut encrypt(client, &other), "session\n");
        assert!(answer.ends_with(" none"), "{answer}");
    }
}

#[test]
fn a_handshake_that_fails_in_the_middle_finishes_the_handler() {
    for settings in models() {
        let subject = serve(settings);
        let mut client = subject.server.connect();
        client.say(b"tls\n").hear(b"go ahead\n");
        client.say(b"this is no handshake at all\n");
        subject.finished.recv_timeout(PATIENCE).unwrap();
        client.hear_end();
        assert_eq!(subject.server.stop().failed, 1);
    }
}

#[test]
fn a_silent_client_expires_by_the_head_timeout_from_the_start_of_tls() {
    let time = ManualClock::new();
    let head = Duration::from_secs(10);
    let subject = serve(Builder::new().clock(time.clock()));
    let mut client = subject.server.connect();
    client.say(b"hello\n").hear(b"hello\n");
    time.advance(head * 3);
    client.say(b"tls\n").hear(b"go ahead\n");
    // It is still there, as its time has just begun.
    time.advance(head / 2);
    subject.server.connect().say(b"hello\n").hear(b"hello\n");
    subject.finished.recv_timeout(PATIENCE).unwrap();
    assert!(subject.finished.try_recv().is_err());
    time.advance(head);
    subject.server.connect().say(b"hello\n").hear(b"hello\n");
    client.hear_end();
    subject.finished.recv_timeout(PATIENCE).unwrap();
}
