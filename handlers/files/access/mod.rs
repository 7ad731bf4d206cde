//! `--accounts`: who may do what on a site.
//!
//! [`AccessControl`] is asked once for each request, by its head alone: before the application
//! hears of it, and before any of its body comes. [`needs`] says which rights a method takes at a
//! path; this is the one place for that, whatever application answers. The [`Permit`] that it gives
//! goes along with the request, for what shows only later: which file a path stands for, which
//! entries of a folder are seen, whether a name is taken.

mod cookie;
mod downloads;
mod needs;
mod permit;
mod refusal;
mod shared;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use socketserver::ClientAddress;

use crate::common::accounts::{Account, Accounts, AccountsError, Cost, Verdict};
use crate::common::basic;
use crate::common::store::resolve;
use crate::files::site::Site;
use crate::files::site::files::path_and_query;
use crate::files::site::options::Policy;
use crate::http::engine::message::Response;
use crate::http::protocol::head::{Head, Method};
use crate::http::protocol::target;
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
    /// Who may use a site; `None`: everybody.
    ///
    /// # Errors
    /// The file can't be used, or could be fetched by clients.
    pub(crate) fn open(
        &self,
        dir: &Path,
        site: &Arc<Site>,
        context: &Context,
    ) -> Result<Option<AccessControl>, Failure> {
        let Some(file) = &self.accounts else {
            return Ok(None);
        };
        let accounts = Accounts::open(file, Cost::OWASP)?;
        let within = lies_within(file, dir);
        if within
            .map_err(|error| Failure::usage(format!("--accounts {}: {error}", file.display())))?
        {
            let (file, dir) = (file.display(), dir.display());
            let message = format!(
                "the accounts in {file} would be served: move the file out of the folder {dir}"
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
            site: Arc::clone(site),
            downloads: Arc::default(),
        }))
    }
}

/// Lets requests through, or not.
pub(crate) struct AccessControl {
    accounts: Arc<Accounts>,
    site: Arc<Site>,
    downloads: Arc<Downloads>,
}

/// A request that isn't let through.
pub(crate) struct Refused {
    pub(crate) response: Response,
    /// When it is to be told so: who guesses passwords has to wait.
    pub(crate) after: Duration,
    /// Who asked, as far as that is known.
    pub(crate) permit: Permit,
}

impl AccessControl {
    /// Whom it lets in.
    pub(crate) fn accounts(&self) -> Arc<Accounts> {
        Arc::clone(&self.accounts)
    }

    /// What the client may do, if that is enough for this request.
    ///
    /// # Errors
    /// The answer to a request that isn't let through.
    pub(crate) fn admit(
        &self,
        head: &Head<'_>,
        client: &ClientAddress,
        now: Instant,
    ) -> Result<Permit, Refused> {
        if head.method == Method::Options {
            // Browsers send preflight requests without credentials, and the answer is the same for
            // every path.
            return Ok(Permit::none());
        }
        self.judge(head, client, now).map_err(|mut refused| {
            refused.response.fields += &self.site.policy.fields;
            refused
        })
    }

    fn judge(
        &self,
        head: &Head<'_>,
        client: &ClientAddress,
        now: Instant,
    ) -> Result<Permit, Refused> {
        let raw = path_and_query(&head.target);
        let target = target::parse(&raw).map_err(|error| {
            say(
                400,
                &format!("The path was refused: {error}."),
                Permit::none(),
            )
        })?;
        let Some(path) = self.policy().below_base(&target.path) else {
            return Err(say(
                404,
                "There is nothing at this address.",
                Permit::none(),
            ));
        };
        let permit = Permit::of(self.identify(head, path, target.query, client, now)?);
        match needs::of(head, path) {
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

    /// The account, with the path of its home without symlinks: rights are checked for paths
    /// without them.
    fn resolved(&self, account: Account) -> Account {
        if self.policy().follow_symlinks {
            resolve::resolve_home(self.site.root.dir(), account)
        } else {
            account
        }
    }

    fn policy(&self) -> &Policy {
        &self.site.policy
    }

    fn identify(
        &self,
        head: &Head<'_>,
        path: &[u8],
        query: Option<&[u8]>,
        client: &ClientAddress,
        now: Instant,
    ) -> Result<Visitor, Refused> {
        if let Some(shared) = self.shared(head, path, query, client, now)? {
            return Ok(Visitor::Share(shared));
        }
        match head.authorization {
            Some(credentials) => self.log_in(credentials, client, now),
            None => self
                .accounts
                .anonymous()
                .map(|account| Visitor::Anonymous(account.map(|account| self.resolved(account))))
                .map_err(|error| failed(&error)),
        }
    }

    fn log_in(
        &self,
        credentials: &[u8],
        client: &ClientAddress,
        now: Instant,
    ) -> Result<Visitor, Refused> {
        let denied = |after| Refused {
            after,
            ..Refused::at_once(refusal::unauthorized(), Permit::none())
        };
        let Ok(credentials) = basic::parse(credentials) else {
            return Err(denied(Duration::ZERO));
        };
        let verdict = self
            .accounts
            .verify(&credentials.name, &credentials.password, client, now);
        match verdict.map_err(|error| failed(&error))? {
            Verdict::Granted(account) => Ok(Visitor::User(self.resolved(*account))),
            Verdict::Denied(after) => Err(denied(after)),
            Verdict::Busy(again) => Err(Refused::at_once(refusal::busy(again), Permit::none())),
        }
    }
}

impl Refused {
    fn at_once(response: Response, permit: Permit) -> Refused {
        Refused {
            response,
            after: Duration::ZERO,
            permit,
        }
    }
}

fn say(status: u16, detail: &str, permit: Permit) -> Refused {
    Refused::at_once(refusal::page(status, detail), permit)
}

/// The accounts file cannot be read now, so no request is let through.
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
