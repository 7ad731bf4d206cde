//! `serve http`: the files below a directory, served and received over HTTP.
//!
//! `access` decides what a client may do. `site` makes responses from files. `upload` changes
//! files. A request that `access` admits goes to the folder that its path is in (the served folder
//! or a mounted folder), and there to `upload` or `site`:
//!
//! ```text
//! request ─▶ access ─▶ mounts ─┬▶ upload   requests that change something
//!                              └▶ site     all other requests
//! ```

pub mod access;
mod access_log;
mod https;
mod mounts;
mod service;
pub mod site;
pub mod upload;

#[doc(hidden)]
pub use upload::form;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use socketserver::Refusal;
use socketserver_http::HttpHandler;
use socketserver_http::engine::application::Application;
use socketserver_http::engine::log::RequestLog;

use crate::service::{Context, Failure, Served, Service};
use access::{AccessControl, AccessOptions};
use access_log::FileLog;
use https::HttpsOptions;
use mounts::{MountOptions, Mounts};
use service::{FileService, ServedFolder};
use site::Site;
use site::listing::ListingOptions;
use site::options::SiteOptions;
use upload::{UploadOptions, Uploads};

/// The options of `serve http`.
#[derive(Debug, Args)]
pub struct Http {
    /// The folder to serve
    #[arg(value_name = "DIR", default_value = "www")]
    dir: PathBuf,
    #[command(flatten)]
    site: SiteOptions,
    #[command(flatten)]
    listing: ListingOptions,
    #[command(flatten)]
    https: HttpsOptions,
    #[command(flatten)]
    upload: UploadOptions,
    #[command(flatten)]
    access: AccessOptions,
}

impl Service for Http {
    const NAME: &'static str = "http";
    const PORT: u16 = 8000;
    const SCHEME: &'static str = "http";
    const TLS_SCHEME: &'static str = "https";
    const ALPN: &'static [&'static str] = &["http/1.1"];
    const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
    const AUTH: bool = false;
    const PLAINTEXT: bool = true;
    const ACCESS_LOG: bool = true;

    fn open(mut self, context: &Context) -> Result<Served, Failure> {
        let https = self.https.open(context.tls)?;
        self.listing.upload = self.upload.upload;
        let fail = |error| {
            Failure::usage(format!(
                "the folder {} can't be served: {error}",
                self.dir.display()
            ))
        };
        let mount_options = MountOptions {
            site: self.site.clone(),
            listing: self.listing,
            upload: self.upload.clone(),
            forks: context.forks,
        };
        let base_path = self.site.base_path.clone().unwrap_or_default();
        let site = Arc::new(Site::open(&self.dir, self.site, self.listing).map_err(fail)?);
        let homes = site.dir_of_homes().map_err(fail)?;
        let access = self.access.open(&self.dir, base_path, homes, context)?;
        if self.upload.after_upload.is_some() && context.forks {
            return Err(Failure::usage(
                "--after-upload needs a thread, which a server that forks can't have",
            ));
        }
        let uploads = if self.upload.upload {
            let accounts = access.as_ref().map(AccessControl::accounts);
            let uploads = Uploads::new(Arc::clone(&site), &self.dir, &self.upload, accounts);
            let uploads = Arc::new(uploads.map_err(fail)?);
            if !context.forks {
                uploads.expire_in_background();
            }
            let to_end = Arc::clone(&uploads);
            context.at_end.add_until(move |until| to_end.end(until));
            Some(uploads)
        } else {
            None
        };
        let accounts = access.map(|access| {
            let mounts = Arc::new(Mounts::new(mount_options, access.accounts()));
            let to_end = Arc::clone(&mounts);
            context.at_end.add_until(move |until| to_end.end(until));
            (access, mounts)
        });
        let hides_tokens = accounts.is_some();
        let log = context.access_log.clone();
        let log = log.map(|log| Arc::new(FileLog { log, hides_tokens }) as Arc<dyn RequestLog>);
        let main = ServedFolder { site, uploads };
        let application: Arc<dyn Application> = Arc::new(FileService { main, accounts });
        Ok(Served::Stream {
            class: Box::new(move |_| {
                let handler = HttpHandler::new(Arc::clone(&application), log.clone());
                Box::new(handler.with_https(https))
            }),
            refusal,
        })
    }
}

/// The response to a connection that the server refuses. Only clients refused because of overload
/// get one.
fn refusal(why: Refusal) -> Option<&'static [u8]> {
    const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nServer: socketserver\r\n\
        X-Content-Type-Options: nosniff\r\nRetry-After: 5\r\n\
        Content-Type: text/plain; charset=utf-8\r\n\
        Content-Length: 34\r\nConnection: close\r\n\r\n\
        The server is busy. Try again soon";
    (why != Refusal::Denied).then_some(BUSY)
}
