//! The options that make clients use TLS.

use std::time::Duration;

use clap::Args;
use socketserver_http::engine::https::Https;

use crate::common::values::duration;
use crate::service::Failure;

/// What is said to clients about coming encrypted.
#[derive(Args, Debug)]
#[command(next_help_heading = "HTTPS")]
pub(crate) struct HttpsOptions {
    /// With TLS: how long browsers must use HTTPS for this site (Strict-Transport-Security); 0
    /// cancels it
    #[arg(long, value_name = "TIME", env = "SOCKETSERVER_HSTS", value_parser = duration)]
    hsts: Option<Duration>,
    /// Redirect clients without TLS to https:// on this port [default when given alone: 443; with
    /// TLS: the port of the request]
    #[arg(long, value_name = "PORT", num_args = 0..=1, require_equals = true,
        default_missing_value = "443", value_parser = clap::value_parser!(u16).range(1..))]
    https_redirect: Option<u16>,
}

impl HttpsOptions {
    /// The HTTPS settings of these options. `None` if clients without TLS are served, too.
    ///
    /// # Errors
    /// `--hsts` was given without TLS.
    pub(crate) fn open(&self, tls: bool) -> Result<Option<Https>, Failure> {
        if self.hsts.is_some() && !tls {
            return Err(Failure::usage(
                "--hsts is for encrypted connections: add --tls-cert or --tls-self-signed",
            ));
        }
        let wanted = tls || self.https_redirect.is_some();
        Ok(wanted.then_some(Https {
            hsts: self.hsts,
            port: self.https_redirect,
        }))
    }
}
