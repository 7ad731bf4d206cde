//! Certificates: read from files, and replaceable while the server runs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::{AnyError, Error, Result};

/// A server's certificate and key. Clones share them: [`reload`](Tls::reload) on one clone takes
/// effect in all servers that use the others, from their next connection.
///
/// A server whose certificate is read again after its renewal. The example makes one with the crate
/// `rcgen`:
///
/// ```
/// use socketserver::{Builder, Next, StreamRequest, Tls};
///
/// let folder = std::env::temp_dir().join(format!("tls-{}", std::process::id()));
/// std::fs::create_dir_all(&folder)?;
/// let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
/// let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
/// std::fs::write(&cert, made.cert.pem())?;
/// std::fs::write(&key, made.signing_key.serialize_pem())?;
///
/// let tls = Tls::from_pem_files(&cert, &key, &[])?;
/// let close = |_: &mut StreamRequest| Ok(Next::Close);
/// let server = Builder::new().tls(Some(tls.clone())).tcp("127.0.0.1:0", move |_| close)?;
/// let before = tls.snapshot();
/// let for_uploads = tls.without_new_tickets();
/// tls.reload()?; // in `reload_on_hangup`, for example
/// # drop((before, for_uploads));
/// # std::fs::remove_dir_all(&folder)?;
/// # drop(server);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Tls(Arc<TlsShared>);

struct TlsShared {
    /// `None` for a configuration of the program's own.
    files: Option<TlsFiles>,
    alpn: Vec<Vec<u8>>,
    config: RwLock<Arc<ServerConfig>>,
}

#[derive(Clone, Debug)]
struct TlsFiles {
    certificate: PathBuf,
    key: PathBuf,
    /// Defaults to `None`: no client is asked for a certificate.
    clients: Option<ClientAuthorities>,
}

/// Who signs the certificates of clients.
#[derive(Clone, Debug)]
struct ClientAuthorities {
    file: PathBuf,
    is_required: bool,
}

impl Tls {
    /// Reads a certificate chain and its key (RSA, EC or PKCS#8), both PEM. `alpn` lists the
    /// offered protocols, the preferred one first; empty for none.
    ///
    /// # Errors
    /// [`Error::File`] with the file that cannot be read or used; [`Error::Tls`] if rustls rejects
    /// the pair.
    pub fn from_pem_files(
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
        alpn: &[&str],
    ) -> Result<Tls> {
        let files = TlsFiles {
            certificate: certificate.as_ref().to_owned(),
            key: key.as_ref().to_owned(),
            clients: None,
        };
        let alpn = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Tls::from_files(files, alpn)
    }

    fn from_files(files: TlsFiles, alpn: Vec<Vec<u8>>) -> Result<Tls> {
        let config = RwLock::new(read(&files, &alpn)?);
        Ok(Tls(Arc::new(TlsShared {
            files: Some(files),
            alpn,
            config,
        })))
    }

    /// Requires that each client has a certificate that a CA of this PEM file has signed (mutual
    /// TLS). The handshake of any other client fails. The handler finds the certificate in
    /// [`StreamRequest::peer_certificates`](crate::StreamRequest::peer_certificates). Defaults to
    /// not asking for one. Clones that were made before are not affected.
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be read or has no certificate of a CA, and as for
    /// [`from_pem_files`](Tls::from_pem_files). [`Error::Unsupported`] after
    /// [`from_config`](Tls::from_config): set the verifier in that configuration.
    ///
    /// ```
    /// use socketserver::Tls;
    ///
    /// # let folder = std::env::temp_dir().join(format!("mtls-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder)?;
    /// # let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    /// # let [certificate, key, ca] = ["cert.pem", "key.pem", "ca.pem"].map(|f| folder.join(f));
    /// # std::fs::write(&certificate, made.cert.pem())?;
    /// # std::fs::write(&key, made.signing_key.serialize_pem())?;
    /// # std::fs::write(&ca, made.cert.pem())?;
    /// let tls = Tls::from_pem_files(&certificate, &key, &[])?;
    /// let required = tls.clone().require_client_certificates(&ca)?;
    /// let optional = tls.accept_client_certificates(&ca)?;
    /// # std::fs::remove_dir_all(&folder)?;
    /// # drop((required, optional));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn require_client_certificates(self, ca: impl AsRef<Path>) -> Result<Tls> {
        self.with_client_authorities(ca.as_ref(), true)
    }

    /// Asks each client for a certificate as
    /// [`require_client_certificates`](Tls::require_client_certificates) does, but serves clients
    /// without one as well. A certificate that no CA of the file has signed still fails the
    /// handshake.
    ///
    /// # Errors
    /// As for [`require_client_certificates`](Tls::require_client_certificates).
    pub fn accept_client_certificates(self, ca: impl AsRef<Path>) -> Result<Tls> {
        self.with_client_authorities(ca.as_ref(), false)
    }

    fn with_client_authorities(self, ca: &Path, is_required: bool) -> Result<Tls> {
        let Some(files) = &self.0.files else {
            let text = "the configuration of rustls has its own verifier of clients: set it there";
            return Err(Error::Unsupported(text.to_owned()));
        };
        let clients = Some(ClientAuthorities {
            file: ca.to_owned(),
            is_required,
        });
        let files = TlsFiles {
            clients,
            ..files.clone()
        };
        Tls::from_files(files, self.0.alpn.clone())
    }

    /// Uses a configuration of rustls unchanged. It cannot be reloaded.
    ///
    /// A server with two certificates, chosen by the name that the client asks for:
    ///
    /// ```
    /// use std::sync::Arc;
    /// use socketserver::Tls;
    /// use socketserver::rustls::ServerConfig;
    /// use socketserver::rustls::crypto::ring::{default_provider, sign};
    /// use socketserver::rustls::server::ResolvesServerCertUsingSni;
    /// use socketserver::rustls::sign::CertifiedKey;
    ///
    /// let mut certificates = ResolvesServerCertUsingSni::new();
    /// for name in ["a.example", "b.example"] {
    ///     let made = rcgen::generate_simple_self_signed([name.to_owned()])?;
    ///     let key = sign::any_supported_type(&made.signing_key.into())?;
    ///     certificates.add(name, CertifiedKey::new(vec![made.cert.into()], key))?;
    /// }
    /// let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
    ///     .with_safe_default_protocol_versions()?
    ///     .with_no_client_auth()
    ///     .with_cert_resolver(Arc::new(certificates));
    /// let tls = Tls::from_config(Arc::new(config));
    /// # drop(tls);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_config(config: Arc<ServerConfig>) -> Tls {
        Tls(Arc::new(TlsShared {
            files: None,
            alpn: Vec::new(),
            config: RwLock::new(config),
        }))
    }

    /// Reads the files again. Open connections keep their certificate.
    ///
    /// # Errors
    /// As for [`from_pem_files`](Tls::from_pem_files); the old certificate then stays in use.
    pub fn reload(&self) -> Result<()> {
        if let Some(files) = &self.0.files {
            let config = read(files, &self.0.alpn)?;
            *self.0.config.write() = config;
        }
        Ok(())
    }

    /// The present certificate, key and tickets, which a later [`reload`](Tls::reload) of this
    /// value does not change. A client can resume a session only with the tickets with which it
    /// began.
    pub fn snapshot(&self) -> Tls {
        Tls::from_config(self.config())
    }

    /// As [`snapshot`](Tls::snapshot), but clients get no new tickets of TLS 1.3. They can resume
    /// sessions by the tickets that they have.
    ///
    /// For connections on which only the client sends: a client that closes before it has read the
    /// tickets resets the connection, and what it has sent may be lost.
    pub fn without_new_tickets(&self) -> Tls {
        let mut config = ServerConfig::clone(&self.config());
        config.send_tls13_tickets = 0;
        Tls::from_config(Arc::new(config))
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.config.read())
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("files", &self.0.files)
            .finish_non_exhaustive()
    }
}

fn file_error(path: &Path, reason: String, source: impl Into<AnyError>) -> Error {
    Error::File {
        path: path.to_owned(),
        reason,
        source: Some(source.into()),
    }
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| file_error(path, format!("no PEM certificate: {error}"), error))?;
    if certificates.is_empty() {
        return Err(Error::File {
            path: path.to_owned(),
            reason: "no PEM certificate is in it".to_owned(),
            source: None,
        });
    }
    Ok(certificates)
}

fn client_verifier(
    clients: Option<&ClientAuthorities>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>> {
    let Some(ClientAuthorities { file, is_required }) = clients else {
        return Ok(WebPkiClientVerifier::no_client_auth());
    };
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(file)? {
        roots
            .add(certificate)
            .map_err(|error| file_error(file, format!("no CA certificate: {error}"), error))?;
    }
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = if *is_required {
        builder
    } else {
        builder.allow_unauthenticated()
    };
    builder
        .build()
        .map_err(|error| file_error(file, format!("no CA certificate: {error}"), error))
}

fn read(files: &TlsFiles, alpn: &[Vec<u8>]) -> Result<Arc<ServerConfig>> {
    let TlsFiles {
        certificate,
        key,
        clients,
    } = files;
    let chain = read_certificates(certificate)?;
    let secret = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| file_error(key, format!("no PEM private key: {error}"), error))?;
    let provider = Arc::new(default_provider());
    let verifier = client_verifier(clients.as_ref(), &provider)?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::Tls)?;
    let mut config = config
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, secret)
        .map_err(|error| {
            let fits = if matches!(error, rustls::Error::InconsistentKeys(_)) {
                "doesn't fit"
            } else {
                "can't be used with"
            };
            let certificate = certificate.display();
            let reason = format!("it {fits} the certificate {certificate}: {error}");
            file_error(key, reason, error)
        })?;
    config.alpn_protocols = alpn.to_vec();
    config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(Error::Tls)?;
    Ok(Arc::new(config))
}
