//! The application of `serve http`: it checks access and passes a request to its folder.

use std::sync::Arc;

use socketserver_http::engine::application::{Application, Begun};
use socketserver_http::engine::error_page::error_page;
use socketserver_http::engine::exchange::Exchange;
use socketserver_http::engine::response::Response;

use super::access::{AccessControl, Permit};
use super::mounts::{Found, Mounts};
use super::site::Site;
use super::upload::Uploads;

/// A folder that is served, with the part that stores files in it.
#[derive(Clone)]
pub(super) struct ServedFolder {
    pub(super) site: Arc<Site>,
    pub(super) uploads: Option<Arc<Uploads>>,
}

impl ServedFolder {
    fn begin(&self, exchange: &Exchange<'_>, permit: &Permit) -> Begun {
        let uploads = self.uploads.as_ref();
        uploads
            .and_then(|uploads| uploads.begin(exchange, permit))
            .unwrap_or_else(|| Begun::Respond(self.site.respond(exchange, permit)))
    }
}

/// The application of `serve http`.
pub(super) struct FileService {
    pub(super) main: ServedFolder,
    /// Access control and the mounted folders of users. `None` if every client may do everything.
    pub(super) accounts: Option<(AccessControl, Arc<Mounts>)>,
}

impl Application for FileService {
    fn begin(&self, exchange: &Exchange<'_>) -> Begun {
        let Some((access, mounts)) = &self.accounts else {
            return self.complete(self.main.begin(exchange, &Permit::default()), None);
        };
        let permit = match access.admit(exchange) {
            Ok(permit) => permit,
            Err(refused) => {
                return self.complete(Begun::Refuse(refused.into_response()), None);
            }
        };
        let begun = match mounts.find(exchange, &permit) {
            Found::Main => self.main.begin(exchange, &permit),
            Found::Mounted(folder, permit) => folder.begin(exchange, &permit),
            Found::Missing => {
                let detail = "The mounted folder is not available.";
                Begun::Respond(error_page(404, detail))
            }
        };
        self.complete(begun, Some(permit))
    }
}

impl FileService {
    /// Adds the headers that all responses of the service have. They are added only here.
    fn complete(&self, begun: Begun, permit: Option<Permit>) -> Begun {
        let complete = |site: &Site, permit: Option<&Permit>, response: &mut Response| {
            response.add_lines(&site.policy.headers);
            if let Some(permit) = permit {
                permit.complete(response);
            }
        };
        match begun {
            // The usual case, which does not copy the site and the permit into a closure.
            Begun::Respond(mut response) => {
                complete(&self.main.site, permit.as_ref(), &mut response);
                Begun::Respond(response)
            }
            begun => {
                let site = Arc::clone(&self.main.site);
                begun.completed(move |response| complete(&site, permit.as_ref(), response))
            }
        }
    }
}
