//! `serve ftp` under TLS: explicit, implicit, with and without resumed sessions.

use std::io::Write;

use crate::support::ftp::{Ftp, accounts, server_of_ada, server_with};
use crate::support::{TestDir, TestServer, certificate, python};

/// A client of Python that resumes the session of the control connection, and one that does not.
const PYTHON: &str = r#"
import ftplib, io, os, socket, ssl, sys
port, what = int(sys.argv[1]), sys.argv[2]

class Resuming(ftplib.FTP_TLS):
    def ntransfercmd(self, command, rest=None):
        data, size = ftplib.FTP.ntransfercmd(self, command, rest)
        if self._prot_p:
            data = self.context.wrap_socket(
                data, server_hostname=self.host, session=self.sock.session)
        return data, size

def context(version):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    return context

def connect(kind, version=ssl.TLSVersion.TLSv1_3, name='ada'):
    ftp = kind(context=context(version), timeout=20)
    ftp.connect('127.0.0.1', port)
    ftp.login(name, 'secret')
    return ftp

def refused(call):
    try:
        call()
    except ftplib.Error as error:
        return str(error)[:3]
    return 'none'

content = os.urandom(2000000)
"#;

fn run_python(test: &str, server: &TestServer, script: &str) -> Option<String> {
    let port = server.address().port().to_string();
    python(test, &format!("{PYTHON}\n{script}"), &[&port, ""])
}

/// A server with a certificate. `None`, and a visible word, without `openssl`.
fn server(test: &str, dir: &TestDir, options: &[&str]) -> Option<TestServer> {
    let (certificate, key) = certificate(test, dir)?;
    let tls = ["--tls-cert", &certificate, "--tls-key", &key];
    Some(server_of_ada(dir, &[&tls[..], options].concat()))
}

#[test]
fn files_go_both_ways_in_resumed_sessions_of_both_versions() {
    let dir = TestDir::new("ftp-tls");
    let Some(server) = server("ftp_tls", &dir, &[]) else {
        return;
    };
    let script = r#"
for version in [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]:
    ftp = connect(Resuming, version)
    ftp.prot_p()
    for _ in range(3):
        ftp.storbinary('STOR a', io.BytesIO(content))
        received = io.BytesIO()
        ftp.retrbinary('RETR a', received.write)
        assert received.getvalue() == content
    assert ftp.nlst() == ['a']
    ftp.prot_c()
    assert ftp.nlst() == ['a']
    ftp.quit()
print('ok')
"#;
    if let Some(said) = run_python("ftp_tls", &server, script) {
        assert_eq!(said, "ok\n");
    }
}

#[test]
fn a_data_connection_must_resume_the_session_unless_the_option_is_off() {
    for (options, expected) in [
        (&[][..], "522 522 none\n"),
        (&["--tls-session-reuse", "off"], "none none none\n"),
    ] {
        let dir = TestDir::new("ftp-tls-reuse");
        let Some((certificate, key)) = certificate("ftp_tls_reuse", &dir) else {
            return;
        };
        let accounts = accounts(&dir, &[("ada", "lrwd", &[]), ("eve", "lrwd", &[])]);
        let tls = ["--tls-cert", &certificate, "--tls-key", &key];
        let server = server_with(&dir, &accounts, &[&tls[..], options].concat());
        // The second one resumes the session of another user's control connection, the third one
        // that of another control connection of the same user.
        let script = r#"
ftp = connect(ftplib.FTP_TLS)
ftp.prot_p()
first = refused(ftp.nlst)
def resume(other):
    ftp, other = connect(Resuming), connect(Resuming, name=other)
    other.voidcmd('NOOP')
    ftp.prot_p()
    def transfer(command, rest=None):
        data, size = ftplib.FTP.ntransfercmd(ftp, command, rest)
        return ftp.context.wrap_socket(
            data, server_hostname=ftp.host, session=other.sock.session), size
    ftp.context = other.context
    ftp.ntransfercmd = transfer
    return refused(ftp.nlst)
print(first, resume('eve'), resume('ada'))
"#;
        if let Some(said) = run_python("ftp_tls_reuse", &server, script) {
            assert_eq!(said, expected);
        }
    }
}

#[test]
fn an_upload_without_the_end_of_tls_is_not_stored() {
    let dir = TestDir::new("ftp-tls-cut");
    let Some(server) = server("ftp_tls_cut", &dir, &[]) else {
        return;
    };
    let script = r#"
ftp = connect(Resuming)
ftp.prot_p()
ftp.voidcmd('TYPE I')
data = ftp.transfercmd('STOR a')
data.sendall(content)
data.close()
print(refused(ftp.voidresp))
"#;
    if let Some(said) = run_python("ftp_tls_cut", &server, script) {
        assert_eq!(said, "426\n");
        assert!(!dir.join("root/a").exists());
    }
}

#[test]
fn commands_in_the_clear_behind_auth_are_dropped() {
    let dir = TestDir::new("ftp-tls-injection");
    let Some(server) = server("ftp_tls_injection", &dir, &[]) else {
        return;
    };
    let script = r#"
stream = socket.create_connection(('127.0.0.1', port), timeout=20)
lines = stream.makefile('rb', buffering=0)
lines.readline()
stream.sendall(b'AUTH TLS\r\nUSER evil\r\nPASS evil\r\n')
lines.readline()
tls = context(ssl.TLSVersion.TLSv1_3).wrap_socket(stream)
tls.sendall(b'NOOP\r\n')
print(tls.recv(1000)[:3].decode())
"#;
    if let Some(said) = run_python("ftp_tls_injection", &server, script) {
        assert_eq!(said, "200\n");
    }
}

#[test]
fn tls_is_required_where_the_option_says_so() {
    for (required, user, list) in [("control", 530, 425), ("data", 331, 521), ("all", 530, 521)] {
        let dir = TestDir::new("ftp-tls-required");
        let Some(server) = server("ftp_tls_required", &dir, &["--require-tls", required]) else {
            return;
        };
        let mut ftp = Ftp::connect(&server);
        ftp.expect("USER ada", user);
        let script = r#"
ftp = connect(Resuming)
print(refused(lambda: ftp.voidcmd('LIST')), end=' ')
ftp.makepasv()
print(refused(lambda: ftp.voidcmd('LIST')) if what == 'data' else '', end='')
ftp.prot_p()
print(ftp.nlst())
"#;
        if let Some(said) = run_python("ftp_tls_required", &server, script) {
            let list = if required == "control" { list } else { 425 };
            assert_eq!(said, format!("{list} []\n"), "{required}");
        }
    }
}

#[test]
fn the_verbs_of_tls_have_their_order() {
    let dir = TestDir::new("ftp-tls-verbs");
    let without_tls = server_of_ada(&dir, &[]);
    let mut plain = Ftp::connect(&without_tls);
    plain.expect("AUTH TLS", 502);
    let dir = TestDir::new("ftp-tls-order");
    let Some(server) = server("ftp_tls_order", &dir, &[]) else {
        return;
    };
    let mut ftp = Ftp::connect(&server);
    ftp.expect("PBSZ 0", 503);
    ftp.expect("PROT P", 503);
    ftp.expect("CCC", 533);
    ftp.expect("AUTH KERBEROS", 504);
    let script = r#"
ftp = connect(Resuming)
print(*[refused(lambda: ftp.voidcmd(command)) for command in [
    'AUTH TLS', 'PROT P', 'PBSZ x', 'PBSZ 0', 'PROT S', 'PROT X', 'PROT P', 'CCC', 'NOOP']])
"#;
    if let Some(said) = run_python("ftp_tls_order", &server, script) {
        assert_eq!(said, "503 503 501 none 536 504 none 534 none\n");
    }
}

#[test]
fn implicit_tls_begins_with_the_first_byte() {
    let dir = TestDir::new("ftp-tls-implicit");
    let Some(server) = server("ftp_tls_implicit", &dir, &["--tls-implicit"]) else {
        return;
    };
    assert!(server.ready[0].starts_with("ftp listening on ftps://127.0.0.1:"));
    let script = r#"
class Implicit(Resuming):
    @property
    def sock(self):
        return self._sock
    @sock.setter
    def sock(self, stream):
        if stream is not None and not isinstance(stream, ssl.SSLSocket):
            stream = self.context.wrap_socket(stream)
        self._sock = stream
ftp = Implicit(context=context(ssl.TLSVersion.TLSv1_3), timeout=20)
ftp.connect('127.0.0.1', port)
ftp.login('ada', 'secret', secure=False)
ftp.prot_p()
ftp.storbinary('STOR a', io.BytesIO(content))
received = io.BytesIO()
ftp.retrbinary('RETR a', received.write)
print(received.getvalue() == content)
"#;
    if let Some(said) = run_python("ftp_tls_implicit", &server, script) {
        assert_eq!(said, "True\n");
    }
}

#[test]
fn an_unfinished_handshake_ends_by_its_deadline() {
    let dir = TestDir::new("ftp-tls-handshake");
    let Some(server) = server("ftp_tls_handshake", &dir, &["--head-timeout", "300ms"]) else {
        return;
    };
    let mut ftp = Ftp::connect(&server);
    ftp.expect("AUTH TLS", 234);
    ftp.stream.write_all(&[22]).unwrap();
    let mut rest = Vec::new();
    let _ = std::io::Read::read_to_end(&mut ftp.stream, &mut rest);
    server.wait_for_log("handshake");
}
