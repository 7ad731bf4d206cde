//! Certificates, with the feature `tls`.

#[cfg(feature = "tls")]
mod certificates;

#[cfg(feature = "tls")]
pub use certificates::Tls;

/// Without the feature `tls` no server has a certificate: this type has no value.
#[cfg(not(feature = "tls"))]
#[derive(Clone, Debug)]
pub(crate) enum Tls {}

/// Identifies a TLS session over all connections that resume it
/// ([`StreamRequest::tls_session_id`](crate::StreamRequest::tls_session_id)).
pub type TlsSessionId = [u8; 16];

/// How a TLS connection began
/// ([`StreamRequest::tls_resumption`](crate::StreamRequest::tls_resumption)).
///
/// ```
/// use socketserver::{StreamRequest, TlsResumption, TlsSessionId};
///
/// /// Whether a data connection has the client of the control connection with this session.
/// fn is_same_client(request: &StreamRequest, control: TlsSessionId) -> bool {
///     match request.tls_resumption() {
///         Some(TlsResumption::Of(Some(session))) => session == control,
///         Some(TlsResumption::Of(None)) => true, // TLS 1.2 does not say of which one
///         _ => false,
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsResumption {
    /// By a full handshake.
    None,
    /// The client has resumed the session of another connection. TLS 1.2 does not show which one
    /// (`None`).
    Of(Option<TlsSessionId>),
}
