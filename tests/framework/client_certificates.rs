//! TLS: the certificates of clients, and the name that a client asks for.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use socketserver::{Builder, Error, Next, Result, ServerGuard, StreamRequest, Tls};

use crate::support::{Client, TestDir};

/// A CA that signs the certificates of the server and of clients.
struct Authority {
    dir: TestDir,
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

/// A certificate and its key.
type Identity = (CertificateDer<'static>, PrivateKeyDer<'static>);

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let dir = TestDir::new();
        std::fs::write(dir.join("ca.pem"), certificate.pem()).unwrap();
        Authority {
            dir,
            certificate: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    fn ca_file(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    fn sign(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    fn identity(&self, name: &str) -> Identity {
        let (certificate, key) = self.sign(name);
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        (certificate.der().clone(), key)
    }

    /// A server's certificate, without a wish for those of clients.
    fn tls(&self) -> Tls {
        let (certificate, key) = self.sign("localhost");
        let files = [self.dir.join("cert.pem"), self.dir.join("key.pem")];
        std::fs::write(&files[0], certificate.pem()).unwrap();
        std::fs::write(&files[1], key.serialize_pem()).unwrap();
        Tls::from_pem_files(&files[0], &files[1], &[]).unwrap()
    }

    /// What [`describe`] says to a client with this certificate.
    fn ask(&self, server: &ServerGuard, identity: Option<&Identity>) -> std::io::Result<String> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match identity {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => config
                .with_client_auth_cert(vec![certificate.clone()], key.clone_key())
                .unwrap(),
        };
        let name = ServerName::try_from("localhost").unwrap();
        let session = ClientConnection::new(Arc::new(config), name).unwrap();
        let socket = Client::connect(server.server_address()).socket;
        let mut stream = StreamOwned::new(session, socket);
        stream.write_all(b"?")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

/// Says which name the client asked for, and how long its certificate is.
fn describe(request: &mut StreamRequest) -> Result<Next> {
    request.rfile.take_all();
    let certificates = request.peer_certificates();
    let length = certificates.map(|chain| chain[0].len());
    write!(request.wfile, "{:?} {length:?}", request.server_name())?;
    Ok(Next::Close)
}

fn serve(tls: Tls) -> ServerGuard {
    let settings = Builder::new().tls(Some(tls));
    settings
        .tcp("127.0.0.1:0", |_| describe)
        .unwrap()
        .spawn()
        .unwrap()
}

#[test]
fn a_required_certificate_reaches_the_handler_and_a_client_without_one_is_refused() {
    let authority = Authority::new();
    let tls = authority.tls();
    let tls = tls
        .require_client_certificates(authority.ca_file())
        .unwrap();
    let server = serve(tls.clone());
    let ada = authority.identity("ada");
    let expected = format!("Some(\"localhost\") Some({})", ada.0.len());
    assert_eq!(authority.ask(&server, Some(&ada)).unwrap(), expected);
    tls.reload().unwrap();
    assert_eq!(authority.ask(&server, Some(&ada)).unwrap(), expected);
    assert!(authority.ask(&server, None).is_err());
    let stranger = Authority::new().identity("ada");
    assert!(authority.ask(&server, Some(&stranger)).is_err());
}

#[test]
fn a_certificate_may_be_asked_for_and_not_required() {
    let authority = Authority::new();
    let tls = authority.tls();
    let tls = tls.accept_client_certificates(authority.ca_file()).unwrap();
    let server = serve(tls);
    let ada = authority.identity("ada");
    let expected = format!("Some(\"localhost\") Some({})", ada.0.len());
    assert_eq!(authority.ask(&server, Some(&ada)).unwrap(), expected);
    let without = "Some(\"localhost\") None";
    assert_eq!(authority.ask(&server, None).unwrap(), without);
    let stranger = Authority::new().identity("ada");
    assert!(authority.ask(&server, Some(&stranger)).is_err());
}

#[test]
fn nobody_is_asked_for_a_certificate_by_default() {
    let authority = Authority::new();
    let server = serve(authority.tls());
    let ada = authority.identity("ada");
    let answer = authority.ask(&server, Some(&ada)).unwrap();
    assert_eq!(answer, "Some(\"localhost\") None");
}

#[test]
fn a_file_without_a_ca_is_an_error_that_names_it() {
    let authority = Authority::new();
    for content in [
        "",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        std::fs::write(authority.ca_file(), content).unwrap();
        let failed = authority
            .tls()
            .require_client_certificates(authority.ca_file());
        let error = failed.unwrap_err();
        assert!(matches!(&error, Error::File { path, .. } if *path == authority.ca_file()));
    }
    let missing = authority.dir.join("missing.pem");
    assert!(authority.tls().accept_client_certificates(missing).is_err());
    let config = Tls::from_config(Arc::new(
        rustls::ServerConfig::builder_with_provider(Arc::new(
            rustls::crypto::ring::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::server::ResolvesServerCertUsingSni::new())),
    ));
    let failed = config.require_client_certificates(authority.ca_file());
    assert!(matches!(failed, Err(Error::Unsupported(_))));
}
