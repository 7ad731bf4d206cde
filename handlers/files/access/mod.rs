//! `--accounts`: the rights of clients on a site.
//!
//! `AccessControl` decides once per request, before the site or the upload part gets the request
//! and before its body is read. `needs` is the only place that maps a method to the rights that it
//! needs at a path. An admitted request gets a `Permit`. It is used for the checks that need more
//! than the head: which file a path names, which entries of a folder are visible, and whether a
//! name is already taken.

mod cookie;
mod downloads;
mod needs;
mod permit;
mod refusal;
mod shared;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cap_std::fs::Dir;
use clap::Args;
use socketserver_http::engine::error_page::error_page;
use socketserver_http::engine::exchange::Exchange;
use socketserver_http::engine::response::Response;
use socketserver_http::protocol::base_path::BasePath;
use socketserver_http::protocol::head::Method;

use crate::accounts::basic;
use crate::accounts::{Account, Accounts, AccountsError, Cost, Verdict};
use crate::common::store::resolve;
use crate::service::{Context, Failure};
use downloads::Downloads;
use needs::Needs;
pub(crate) use permit::Permit;
use permit::Visitor;

/// Who may use a site.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Accounts")]
#[non_exhaustive]
pub struct AccessOptions {
    /// Accounts file of `socketserver users` and `socketserver share`: only users and links with
    /// rights are served [default: every client may do everything that the server offers]
    #[arg(long, value_name = "FILE", env = "SOCKETSERVER_ACCOUNTS")]
    pub accounts: Option<PathBuf>,
}

impl AccessOptions {
    /// Opens the accounts file. Returns `None` without `--accounts`: every client then may do
    /// everything. If symlinks are followed, `homes` is the folder in which the home folders of
    /// users are resolved.
    ///
    /// # Errors
    /// The file can't be used, or it is inside the served folder, where clients could download it.
    pub(super) fn open(
        &self,
        folder: &Path,
        base_path: BasePath,
        homes: Option<Dir>,
        context: &Context,
    ) -> Result<Option<AccessControl>, Failure> {
        let Some(file) = &self.accounts else {
            return Ok(None);
        };
        let accounts = Accounts::open(file, Cost::OWASP)?;
        let within = lies_within(file, folder);
        if within
            .map_err(|error| Failure::usage(format!("--accounts {}: {error}", file.display())))?
        {
            let (file, folder) = (file.display(), folder.display());
            let message = format!(
                "the accounts in {file} would be served: move the file out of the folder {folder}"
            );
            return Err(Failure::usage(message));
        }
        if let Some(address) = context.exposed().filter(|_| !context.tls) {
            log::warn!(
                "passwords cross the network in the clear on {address}: add --tls-cert, or bind \
                 to loopback"
            );
        }
        if context.forks {
            log::warn!(
                "each process counts wrong passwords by itself: with another --model, guessing \
                 is slowed down"
            );
        }
        Ok(Some(AccessControl {
            accounts: Arc::new(accounts),
            base_path,
            homes,
            downloads: Arc::default(),
        }))
    }
}

/// Admits or refuses requests.
pub(crate) struct AccessControl {
    accounts: Arc<Accounts>,
    base_path: BasePath,
    /// The folder in which home folders are resolved. `None` if symlinks are not followed.
    homes: Option<Dir>,
    downloads: Arc<Downloads>,
}

/// The refusal of a request.
pub(crate) struct Refused {
    pub(crate) response: Response,
    /// The delay of the response. It slows down clients that guess passwords.
    pub(crate) after: Duration,
    /// The permit of the client, as far as it was identified.
    pub(crate) permit: Permit,
}

impl AccessControl {
    /// The accounts on which the decisions are based.
    pub(crate) fn accounts(&self) -> Arc<Accounts> {
        Arc::clone(&self.accounts)
    }

    /// Identifies the client and checks its rights for this request. Returns the client's permit.
    ///
    /// # Errors
    /// The request is refused, with this response.
    pub(crate) fn admit(&self, exchange: &Exchange<'_>) -> Result<Permit, Refused> {
        if exchange.head.method == Method::Options {
            // Browsers send preflight requests without credentials, and the response is the same
            // for every path.
            return Ok(Permit::none());
        }
        let target = exchange.target().map_err(|error| {
            say(
                400,
                &format!("The path was refused: {error}."),
                Permit::none(),
            )
        })?;
        let Some(path) = self.base_path.below(&target.path) else {
            return Err(say(
                404,
                "There is nothing at this address.",
                Permit::none(),
            ));
        };
        let permit = Permit::of(self.identify(exchange, path)?);
        match needs::of(exchange, path) {
            Needs {
                rights,
                throughout: true,
            } if permit.may_throughout(rights, path) => Ok(permit),
            Needs {
                rights,
                throughout: false,
            } if permit.may_any(rights, path) => Ok(permit),
            _ => Err(Refused::at_once(permit.refusal(), permit)),
        }
    }

    /// Resolves the symlinks in the path of an account's home folder. Rights are checked for paths
    /// without symlinks.
    fn resolved(&self, account: Account) -> Account {
        match &self.homes {
            Some(homes) => resolve::resolve_home(homes, account),
            None => account,
        }
    }

    fn identify(&self, exchange: &Exchange<'_>, path: &[u8]) -> Result<Visitor, Refused> {
        if let Some(shared) = self.shared(exchange, path)? {
            return Ok(Visitor::Share(shared));
        }
        match exchange.head.authorization {
            Some(credentials) => self.log_in(credentials, exchange),
            None => self
                .accounts
                .anonymous()
                .map(|account| Visitor::Anonymous(account.map(|account| self.resolved(account))))
                .map_err(|error| failed(&error)),
        }
    }

    fn log_in(&self, credentials: &[u8], exchange: &Exchange<'_>) -> Result<Visitor, Refused> {
        let denied = |after| Refused {
            after,
            ..Refused::at_once(refusal::unauthorized(), Permit::none())
        };
        let Ok(credentials) = basic::parse(credentials) else {
            return Err(denied(Duration::ZERO));
        };
        let verdict = self.accounts.verify(
            &credentials.name,
            &credentials.password,
            exchange.client_address,
            exchange.now(),
        );
        match verdict.map_err(|error| failed(&error))? {
            Verdict::Granted(account) => Ok(Visitor::User(self.resolved(*account))),
            Verdict::Denied(after) => Err(denied(after)),
            Verdict::Busy(again) => Err(Refused::at_once(refusal::busy(again), Permit::none())),
        }
    }
}

impl Refused {
    /// The response, with the client's headers and the delay.
    pub(crate) fn into_response(self) -> Response {
        let mut response = self.response;
        self.permit.complete(&mut response);
        if !self.after.is_zero() {
            response.delivery().delay = self.after;
        }
        response
    }

    fn at_once(response: Response, permit: Permit) -> Refused {
        Refused {
            response,
            after: Duration::ZERO,
            permit,
        }
    }
}

fn say(status: u16, detail: &str, permit: Permit) -> Refused {
    Refused::at_once(error_page(status, detail), permit)
}

/// Refuses a request because the accounts file cannot be read.
fn failed(error: &AccountsError) -> Refused {
    log::error!("{error}");
    say(
        500,
        "The server cannot look up who may do this.",
        Permit::none(),
    )
}

fn lies_within(file: &Path, dir: &Path) -> io::Result<bool> {
    Ok(file.canonicalize()?.starts_with(dir.canonicalize()?))
}
