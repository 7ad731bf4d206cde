//! `serve http`: the files below a directory, served and received over HTTP.
//!
//! `access` decides who may do what, `site` answers from files, `upload` changes them. A request
//! that an access decision lets through goes to the mounted folder that it is in, then to `upload`
//! or `site`.

pub mod access;
mod mounts;
pub mod site;
pub mod upload;

#[doc(hidden)]
pub use upload::form;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use socketserver::Refusal;

use crate::http::HttpHandler;
use crate::http::engine::application::Application;
use crate::http::engine::https::HttpsOptions;
use crate::service::{Context, Failure, Served, Service};
use access::AccessOptions;
use mounts::{MountOptions, Mounts};
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
        let options = MountOptions {
            site: self.site.clone(),
            listing: self.listing,
            upload: self.upload.clone(),
            forks: context.forks,
        };
        let site = Arc::new(Site::open(&self.dir, self.site, self.listing).map_err(fail)?);
        let main_site = Arc::clone(&site);
        let access = self.access.open(&self.dir, &site, context)?.map(Arc::new);
        if self.upload.after_upload.is_some() && context.forks {
            return Err(Failure::usage(
                "--after-upload needs a thread, which a server that forks can't have",
            ));
        }
        let application: Arc<dyn Application> = if self.upload.upload {
            let accounts = access.as_ref().map(|access| access.accounts());
            let uploads =
                Arc::new(Uploads::new(site, &self.dir, &self.upload, accounts).map_err(fail)?);
            if !context.forks {
                uploads.expire_in_background();
            }
            let to_end = Arc::clone(&uploads);
            context.at_end.add_until(move |until| to_end.end(until));
            uploads
        } else {
            site
        };
        let application = match &access {
            Some(access) => {
                let mounts = Mounts::new(application, main_site, options, access.accounts());
                let mounts = Arc::new(mounts);
                let to_end = Arc::clone(&mounts);
                context.at_end.add_until(move |until| to_end.end(until));
                mounts
            }
            None => application,
        };
        let access_log = context.access_log.clone();
        Ok(Served::Stream {
            class: Box::new(move |_| {
                Box::new(
                    HttpHandler::new(application.clone(), access_log.clone())
                        .with_https(https)
                        .with_access(access.clone()),
                )
            }),
            refusal,
        })
    }
}

/// Overload has an answer; who isn't let in gets none.
fn refusal(why: Refusal) -> Option<&'static [u8]> {
    const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nServer: socketserver\r\n\
        X-Content-Type-Options: nosniff\r\nRetry-After: 5\r\n\
        Content-Type: text/plain; charset=utf-8\r\n\
        Content-Length: 34\r\nConnection: close\r\n\r\n\
        The server is busy. Try again soon";
    (why != Refusal::Denied).then_some(BUSY)
}
