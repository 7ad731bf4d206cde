//! Share links: finds the share for the token in a request's query or cookie.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use socketserver::ClientAddress;
use socketserver_http::engine::exchange::Exchange;
use socketserver_http::protocol::head::Method;

use super::downloads::{Download, Downloads};
use super::{AccessControl, Permit, Refused, cookie, refusal};
use crate::accounts::share::{Share, ShareError, token_in};
use crate::accounts::{Accounts, Rights};

/// A request with a valid share link.
#[derive(Debug)]
pub(super) struct Shared {
    share: Share,
    /// The name in logs, such as `share:7`. It can't be a user's name, because those contain no
    /// colon.
    name: String,
    /// The token, if it was in the query. The response then sets the cookie.
    token: Option<String>,
    path: Vec<u8>,
    client: ClientAddress,
    now: Instant,
    accounts: Arc<Accounts>,
    downloads: Arc<Downloads>,
}

impl AccessControl {
    /// The share that the request's link opens. `None` for a request without a share link.
    ///
    /// # Errors
    /// The response to a request with a share link that is not valid.
    pub(super) fn shared(
        &self,
        exchange: &Exchange<'_>,
        path: &[u8],
    ) -> Result<Option<Shared>, Refused> {
        let head = exchange.head;
        // Share links only allow reading.
        if !matches!(head.method, Method::Get | Method::Head) {
            return Ok(None);
        }
        let open = |token: &str| self.open_share(exchange, path, token);
        if let Some(token) = exchange.raw_query.and_then(token_in) {
            let shared = open(token)
                .map_err(|error| Refused::at_once(refusal::of_share(&error), Permit::none()))?;
            return Ok(Some(Shared {
                token: Some(token.to_owned()),
                ..shared
            }));
        }
        if head.authorization.is_some() {
            return Ok(None);
        }
        // Browsers send cookies automatically. So an invalid token in a cookie is ignored and does
        // not block a request that is allowed without it.
        Ok(cookie::tokens(head).find_map(|token| open(token).ok()))
    }

    fn open_share(
        &self,
        exchange: &Exchange<'_>,
        path: &[u8],
        token: &str,
    ) -> Result<Shared, ShareError> {
        let share = self
            .accounts
            .store()
            .shares()
            .check(token, path, SystemTime::now())?;
        let shared = Shared {
            name: format!("share:{}", share.id),
            share,
            token: None,
            path: path.to_vec(),
            client: exchange.client_address.clone(),
            now: exchange.now(),
            accounts: Arc::clone(&self.accounts),
            downloads: Arc::clone(&self.downloads),
        };
        let goes_on = || exchange.head.range.is_some() && shared.is_begun();
        if shared.share.is_used_up() && !goes_on() {
            Err(ShareError::UsedUp)
        } else {
            Ok(shared)
        }
    }
}

impl Shared {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn rights(&self, path: &[u8]) -> Rights {
        if self.share.path.covers(path) {
            Rights::LIST | Rights::READ
        } else {
            Rights::NONE
        }
    }

    fn download(&self) -> Download<'_> {
        Download {
            share: self.share.id,
            client: self.client.ip(),
            path: &self.path,
        }
    }

    fn is_begun(&self) -> bool {
        self.downloads.is_begun(self.download(), self.now)
    }

    /// Counts a download, unless this request is a further part of a counted one.
    ///
    /// # Errors
    /// The share has no downloads left.
    pub(super) fn begin_download(&self, is_part: bool) -> Result<(), ShareError> {
        if !(is_part && self.is_begun()) {
            self.accounts.store().shares().take(&self.share)?;
        }
        self.downloads.note(self.download(), self.now);
        Ok(())
    }

    pub(super) fn cookie(&self) -> String {
        self.token.as_deref().map_or(String::new(), cookie::line)
    }
}
