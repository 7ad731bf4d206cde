//! Clients: the options of every client, and connections to servers.
#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "doc comments are help texts here, where brackets are brackets"
)]

pub mod conversation;
pub mod datagram;
pub(crate) mod output;
pub(crate) mod secured;

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ALL_VERSIONS, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore,
    SignatureScheme, StreamOwned, SupportedProtocolVersion,
};
use socketserver::Address;

use crate::auth::keys::KeyOptions;
use crate::common::trace;
use crate::common::values::patience;
use crate::service::Failure;

/// A client of one service, with its options.
pub trait Client: clap::Args + fmt::Debug + 'static {
    /// Runs the client, and returns the exit code.
    ///
    /// # Errors
    /// Code 1 if it fails, 2 if the arguments cannot be used.
    fn run(self, address: &Address, options: &ClientOptions) -> Result<u8, Failure>;
}

/// A client's arguments: everybody's, then its own.
#[derive(Debug, Args)]
pub struct Talk<C: Client> {
    /// Address of the server: HOST:PORT, [IPV6]:PORT or unix:PATH
    #[arg(value_name = "ADDRESS")]
    address: Address,
    #[command(flatten)]
    client: C,
    #[command(flatten)]
    options: ClientOptions,
}

impl<C: Client> Talk<C> {
    pub(crate) fn run(self) -> Result<u8, Failure> {
        self.client.run(&self.address, &self.options)
    }
}

/// The options that every client has.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Connection")]
pub struct ClientOptions {
    /// Use TLS
    #[arg(long)]
    pub tls: bool,
    /// Trust only the certificates in this PEM file (implies --tls)
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// Trust any certificate (implies --tls)
    #[arg(long, conflicts_with = "tls_ca")]
    pub tls_insecure: bool,
    /// Maximum time to wait for the server at each step (500ms, 30s, 2m; off)
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = patience)]
    pub timeout: Duration,
    /// Show all traffic on standard error: time, direction, bytes
    #[arg(long)]
    pub trace: bool,
    /// How the client proves who it is.
    #[command(flatten)]
    pub keys: KeyOptions,
}

impl ClientOptions {
    /// Refuses the options for TLS and keys, because datagrams can be neither encrypted nor
    /// authenticated.
    fn refuse_stream_only(&self) -> Result<(), Failure> {
        let option = match (self.wants_tls(), self.keys.is_asked_for()) {
            (true, _) => "--tls",
            (false, true) => "--auth-key-file",
            (false, false) => return Ok(()),
        };
        Err(Failure::usage(format!(
            "{option} does not apply: datagrams have no connection"
        )))
    }

    fn wants_tls(&self) -> bool {
        self.tls || self.tls_insecure || self.tls_ca.is_some()
    }
}

/// A connection to a server, with or without TLS. Reads and writes fail with `TimedOut` after the
/// timeout.
pub struct Connection {
    kind: Kind,
    trace: bool,
    timeout: Duration,
}

enum Kind {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Connection {
    /// Connects, and answers the server's challenge if a key is given.
    ///
    /// # Errors
    /// Code 2 for a key file that cannot be used; code 1 if the connection fails.
    pub fn open(address: &Address, options: &ClientOptions) -> Result<Connection, Failure> {
        let keys = options.keys.keys()?;
        let mut connection = Connection::connect(address, options)?;
        if let Some(keys) = keys {
            keys.prove(&mut connection).map_err(|error| {
                Failure::run(format!(
                    "{address} can't be asked for its challenge: {error}"
                ))
            })?;
        }
        Ok(connection)
    }

    fn connect(address: &Address, options: &ClientOptions) -> Result<Connection, Failure> {
        let failed =
            |error: &dyn fmt::Display| Failure::run(format!("can't connect to {address}: {error}"));
        let trace = options.trace;
        // The TLS files are read before connecting: a file that cannot be used is wrong usage,
        // whatever the server does.
        let tls = options
            .wants_tls()
            .then(|| {
                tls_config(
                    options.tls_ca.as_deref(),
                    options.tls_insecure,
                    ALL_VERSIONS,
                )
            })
            .transpose()?;
        let kind = match address {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).map_err(|error| failed(&error))?;
                stream
                    .set_read_timeout(Some(options.timeout))
                    .and(stream.set_write_timeout(Some(options.timeout)))
                    .map_err(|error| failed(&error))?;
                Kind::Unix(stream)
            }
            Address::Inet { host, port } => {
                let stream =
                    connect(host, *port, options.timeout).map_err(|error| failed(&error))?;
                let Some(tls) = tls else {
                    return Ok(Connection {
                        kind: Kind::Tcp(stream),
                        trace,
                        timeout: options.timeout,
                    });
                };
                let name = ServerName::try_from(host.clone()).map_err(|error| failed(&error))?;
                let session = ClientConnection::new(tls, name).map_err(|error| failed(&error))?;
                Kind::Tls(Box::new(StreamOwned::new(session, stream)))
            }
            _ => {
                return Err(Failure::usage(format!(
                    "{address} names no host to connect to"
                )));
            }
        };
        Ok(Connection {
            kind,
            trace,
            timeout: options.timeout,
        })
    }

    /// Returns the maximum time to wait for the server at each step.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Ends the client's side of the connection.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn finish_writing(&mut self) -> io::Result<()> {
        if self.trace {
            trace::client("->", b"");
        }
        match &mut self.kind {
            Kind::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Kind::Unix(stream) => stream.shutdown(Shutdown::Write),
            Kind::Tls(stream) => {
                stream.conn.send_close_notify();
                stream.flush()?;
                stream.sock.shutdown(Shutdown::Write)
            }
        }
    }

    /// Sets the maximum time that a read waits; `None` means no limit.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn set_read_timeout(&self, time: Option<Duration>) -> io::Result<()> {
        match &self.kind {
            Kind::Tcp(stream) => stream.set_read_timeout(time),
            Kind::Unix(stream) => stream.set_read_timeout(time),
            Kind::Tls(stream) => stream.sock.set_read_timeout(time),
        }
    }
}

/// Connects to the first address of the name that accepts the connection. The timeout applies to
/// connecting, and to each read and write.
pub(crate) fn connect(host: &str, port: u16, timeout: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The TLS settings of a client. It trusts the certificates in the file `ca`, or any certificate if
/// `is_insecure`, or otherwise the certificates of the system. It offers the server `versions`.
///
/// # Errors
/// The file has no certificates that can be used: exit code 2.
pub(crate) fn tls_config(
    ca: Option<&Path>,
    is_insecure: bool,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<Arc<ClientConfig>, Failure> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder
        .with_protocol_versions(versions)
        .map_err(Failure::run)?;
    if is_insecure {
        let verifier = Arc::new(TrustAnything(provider));
        return Ok(Arc::new(
            builder
                .dangerous()
                .with_custom_certificate_verifier(verifier)
                .with_no_client_auth(),
        ));
    }
    let bundle = ca.unwrap_or(Path::new("/etc/ssl/certs/ca-certificates.crt"));
    let unusable = |error: &dyn fmt::Display| {
        Failure::usage(format!(
            "{}: no PEM certificates: {error}",
            bundle.display()
        ))
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(bundle).map_err(|error| unusable(&error))? {
        let certificate = certificate.map_err(|error| unusable(&error))?;
        let added = roots.add(certificate);
        // The certificates of the system may include one that rustls does not accept. A file that
        // the user names must contain only valid certificates.
        if ca.is_some() {
            added.map_err(|error| unusable(&error))?;
        }
    }
    if roots.is_empty() {
        return Err(unusable(&"it is empty"));
    }
    Ok(Arc::new(
        builder.with_root_certificates(roots).with_no_client_auth(),
    ))
}

/// For `--tls-insecure`: accepts any certificate, so the identity of the server is not verified.
#[derive(Debug)]
struct TrustAnything(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAnything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = timed_out(match &mut self.kind {
            Kind::Tcp(stream) => stream.read(buffer),
            Kind::Unix(stream) => stream.read(buffer),
            Kind::Tls(stream) => stream.read(buffer),
        })?;
        if self.trace {
            trace::client("<-", &buffer[..count]);
        }
        Ok(count)
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = timed_out(match &mut self.kind {
            Kind::Tcp(stream) => stream.write(bytes),
            Kind::Unix(stream) => stream.write(bytes),
            Kind::Tls(stream) => stream.write(bytes),
        })?;
        if self.trace {
            trace::client("->", &bytes[..count]);
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.kind {
            Kind::Tcp(stream) => stream.flush(),
            Kind::Unix(stream) => stream.flush(),
            Kind::Tls(stream) => stream.flush(),
        }
    }
}

/// Converts the `WouldBlock` of a socket's timeout to `TimedOut`, because `WouldBlock` does not
/// help a user.
fn timed_out<T>(result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => no_answer(),
        _ => error,
    })
}

/// The error after a timeout.
fn no_answer() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the server doesn't answer")
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.kind {
            Kind::Tcp(stream) => stream.as_fd(),
            Kind::Unix(stream) => stream.as_fd(),
            Kind::Tls(stream) => stream.sock.as_fd(),
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}
