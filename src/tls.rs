//! Certificates: read from files, and replaceable while the server runs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::{Error, Result};

/// A server's certificate and key. Clones share them: [`reload`](Tls::reload) on one clone takes
/// effect in all servers that use the others, from their next connection.
#[derive(Clone)]
pub struct Tls(Arc<TlsShared>);

struct TlsShared {
    files: Option<(PathBuf, PathBuf)>,
    alpn: Vec<Vec<u8>>,
    config: RwLock<Arc<ServerConfig>>,
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
        let files = (certificate.as_ref().to_owned(), key.as_ref().to_owned());
        let alpn: Vec<Vec<u8>> = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let config = RwLock::new(read(&files, &alpn)?);
        Ok(Tls(Arc::new(TlsShared {
            files: Some(files),
            alpn,
            config,
        })))
    }

    /// Uses a configuration of rustls unchanged. It cannot be reloaded.
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

fn read((certificate, key): &(PathBuf, PathBuf), alpn: &[Vec<u8>]) -> Result<Arc<ServerConfig>> {
    let wrong = |path: &Path, reason: String, source| Error::File {
        path: path.to_owned(),
        reason,
        source,
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| {
            let reason = format!("no PEM certificate: {error}");
            wrong(certificate, reason, Some(error.into()))
        })?;
    if chain.is_empty() {
        let reason = "no PEM certificate is in it".to_owned();
        return Err(wrong(certificate, reason, None));
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| {
        let reason = format!("no PEM private key: {error}");
        wrong(key, reason, Some(error.into()))
    })?;
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(Error::Tls)?;
    let mut config = config
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|error| {
            let fits = if matches!(error, rustls::Error::InconsistentKeys(_)) {
                "doesn't fit"
            } else {
                "can't be used with"
            };
            let certificate = certificate.display();
            let reason = format!("it {fits} the certificate {certificate}: {error}");
            wrong(key, reason, Some(error.into()))
        })?;
    config.alpn_protocols = alpn.to_vec();
    config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(Error::Tls)?;
    Ok(Arc::new(config))
}
