//! What a handler learns about the encryption of its connection.

#[cfg(feature = "tls")]
use rustls::pki_types::CertificateDer;

use super::StreamRequest;
#[cfg(feature = "tls")]
use crate::error::{Error, Result};
#[cfg(feature = "tls")]
use crate::tls::Tls;
use crate::tls::{TlsResumption, TlsSessionId};

/// TLS.
impl StreamRequest {
    /// Whether the connection is encrypted.
    ///
    /// ```
    /// use std::io::Write;
    /// use socketserver::testing::TestConnection;
    /// use socketserver::{Builder, Next, StreamRequest};
    ///
    /// let describe = |request: &mut StreamRequest| {
    ///     request.rfile.take_all();
    ///     if request.is_tls() {
    ///         let name = request.server_name().unwrap_or_default();
    ///         let protocol = request.alpn_protocol().unwrap_or_default();
    ///         writeln!(request.wfile, "TLS to `{name}`: {}", protocol.escape_ascii())?;
    ///     } else {
    ///         request.wfile.write_all(b"in the clear\n")?;
    ///     }
    ///     Ok(Next::Close)
    /// };
    /// let mut client = TestConnection::new(Builder::new(), move |_| describe);
    /// client.send(b"\n");
    /// assert_eq!(client.received(), b"in the clear\n");
    /// ```
    pub fn is_tls(&self) -> bool {
        self.transport.tls().is_some()
    }

    /// The protocol that TLS agreed on (ALPN), if any.
    pub fn alpn_protocol(&self) -> Option<Vec<u8>> {
        self.transport.tls().and_then(|tls| tls.alpn_protocol())
    }

    /// The name of the server that the client asked for (SNI, RFC 6066 §3), in lower case. `None`
    /// without TLS, and for a client that sent no name, such as one that connects to an IP address.
    /// The client may send any name: check it before you use it as a path or a key.
    pub fn server_name(&self) -> Option<String> {
        self.transport.tls().and_then(|tls| tls.server_name())
    }

    /// The client's certificate chain, its own certificate first. A CA of
    /// [`Tls::require_client_certificates`](crate::Tls::require_client_certificates) or
    /// [`accept_client_certificates`](crate::Tls::accept_client_certificates) has signed it, and
    /// the client has proved that it has the key. `None` without TLS, and for a client that sent
    /// none. Each call copies the chain, so a handler calls this once, in `setup`. Needs the
    /// feature `tls`.
    ///
    /// ```
    /// use socketserver::{Error, Result, StreamRequest};
    ///
    /// /// In a handler's `setup`: refuses a client that has no certificate of its own.
    /// fn check(request: &StreamRequest) -> Result<()> {
    ///     let certificates = request.peer_certificates().unwrap_or_default();
    ///     let certificate = certificates.first().ok_or_else(|| Error::handler("no certificate"))?;
    ///     log::info!("{}: a certificate of {} bytes", request.client_address, certificate.len());
    ///     Ok(())
    /// }
    /// ```
    #[cfg(feature = "tls")]
    pub fn peer_certificates(&self) -> Option<Vec<CertificateDer<'static>>> {
        self.transport.tls().and_then(|tls| tls.peer_certificates())
    }

    /// Starts TLS on a connection that is in the clear (STARTTLS of RFC 3207, AUTH TLS of RFC
    /// 4217). What the handler has written is sent in the clear. The handshake follows it, within
    /// [`Timeouts::head`](crate::Timeouts::head), and then `handle` is called again. If the
    /// handshake fails, `finish` is called.
    ///
    /// Bytes that the client has sent already are dropped. Otherwise somebody between the client
    /// and the server could add commands that seem to come through TLS (CVE-2011-0411). Needs the
    /// feature `tls`.
    ///
    /// ```
    /// use std::io::Write;
    /// use socketserver::{Next, Result, StreamRequest, Tls};
    ///
    /// /// In a `handle`: the answer to a client that asks for TLS.
    /// fn start(request: &mut StreamRequest, tls: &Tls) -> Result<Next> {
    ///     request.wfile.write_all(b"220 go ahead\r\n")?;
    ///     request.start_tls(tls)?;
    ///     Ok(Next::Wait)
    /// }
    /// ```
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the connection is encrypted already.
    #[cfg(feature = "tls")]
    pub fn start_tls(&mut self, tls: &Tls) -> Result<()> {
        if self.is_tls() {
            let text = "the connection is encrypted already";
            return Err(Error::Unsupported(text.to_owned()));
        }
        self.rfile.take_all();
        self.starting_tls = Some(tls.clone());
        Ok(())
    }

    /// The number of this connection's TLS session: random, and part of the tickets that the
    /// client gets. A connection that resumes the session shows it by
    /// [`tls_resumption`](StreamRequest::tls_resumption), and has a number of its own. `None`
    /// without TLS.
    ///
    /// ```
    /// use std::io::Write;
    /// use socketserver::testing::TestConnection;
    /// use socketserver::{Builder, Next, StreamRequest};
    ///
    /// let handler = |request: &mut StreamRequest| {
    ///     request.rfile.take_all();
    ///     let (session, resumed) = (request.tls_session_id(), request.tls_resumption());
    ///     write!(request.wfile, "{session:?} {resumed:?}")?;
    ///     Ok(Next::Wait)
    /// };
    /// let mut client = TestConnection::new(Builder::new(), move |_| handler);
    /// client.send(b"\n");
    /// assert_eq!(client.received(), b"None None"); // in memory there is no TLS
    /// ```
    pub fn tls_session_id(&self) -> Option<TlsSessionId> {
        self.transport.tls().map(|tls| tls.id())
    }

    /// Whether the client has resumed the TLS session of an earlier connection, and which one. The
    /// server of a protocol with several connections (FTP) can require that, so that it knows that
    /// they have the same client. `None` without TLS.
    pub fn tls_resumption(&self) -> Option<TlsResumption> {
        self.transport.tls().map(|tls| tls.resumption())
    }
}
