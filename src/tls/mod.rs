//! Certificates, with the feature `tls`.

#[cfg(feature = "tls")]
mod certificates;

#[cfg(feature = "tls")]
pub use certificates::Tls;

/// Without the feature `tls` no server has a certificate: this type has no value.
#[cfg(not(feature = "tls"))]
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tls {}
