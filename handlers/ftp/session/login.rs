//! USER, PASS, REIN and QUIT: login and logout (RFC 959 §4.1.1).

use std::sync::Arc;
use std::time::{Duration, Instant};

use socketserver::StreamRequest;

use super::{Answer, Delayed, Session};
use crate::accounts::{ANONYMOUS, Account, Verdict};
use crate::ftp::limits::SessionSlot;
use crate::ftp::path::VirtualPath;
use crate::ftp::reply::{Refused, Reply};
use crate::ftp::storage::View;
use crate::ftp::user::User;

/// Delay of the reply to the first failed login. Each further failure adds this time.
const DELAY_PER_FAILURE: Duration = Duration::from_millis(250);

/// Number of failed logins after which the delay no longer grows.
const MAX_DELAYED_FAILURES: u32 = 8;

/// Time after which the account of a user is read again.
const VIEW_INTERVAL: Duration = Duration::from_secs(1);

/// Names with which the anonymous user logs in.
const ANONYMOUS_NAMES: [&[u8]; 2] = [b"anonymous", b"ftp"];

/// The state of the login.
#[derive(Debug, Default)]
pub(super) struct Login {
    /// The name that USER has set; `None` after PASS.
    name: Option<Vec<u8>>,
    /// The files of the user who is logged in.
    pub(super) view: Option<Arc<View>>,
    /// When the account of the user was last read.
    renewed_at: Option<Instant>,
    /// Counts this session as one session of the user, for the limits of the user.
    pub(super) slot: Option<SessionSlot>,
    /// Number of failed logins in this session.
    failures: u32,
}

/// The result of checking a name and a password.
enum Verified {
    /// Both are correct.
    User(User),
    /// One of them is wrong. The reply is delayed by at least this time.
    Wrong(Duration),
    /// Too many passwords are being checked at the moment.
    Busy,
    /// The accounts cannot be read.
    Failed,
}

impl Session {
    pub(super) fn user(&mut self, argument: &[u8]) -> Answer {
        if self.shared.require_tls.control() && self.secured.is_none() {
            return Err(Refused::new(530, "TLS is required: send AUTH TLS first."));
        }
        self.log_out();
        let is_anonymous = ANONYMOUS_NAMES.contains(&argument);
        self.login.name = Some(argument.to_vec());
        let text = if is_anonymous {
            "Send any password."
        } else {
            "Send the password."
        };
        Ok(Some(Reply::new(331, text)))
    }

    pub(super) fn pass(&mut self, request: &mut StreamRequest, argument: &[u8]) -> Answer {
        if self.login.view.is_some() {
            return Err(Refused::new(503, "You are logged in already."));
        }
        let Some(name) = self.login.name.take() else {
            return Err(Refused::new(503, "Send USER first."));
        };
        let user = match self.verify(request, &name, argument) {
            Verified::User(user) => user,
            Verified::Wrong(delay) => {
                self.refuse_login(request, delay);
                return Ok(None);
            }
            Verified::Busy => {
                self.is_leaving = true;
                return Err(Refused::new(
                    421,
                    "Too many logins at the moment: try again soon.",
                ));
            }
            Verified::Failed => {
                return Err(Refused::new(451, "The accounts cannot be read."));
            }
        };
        let Some(slot) = self.shared.registry.enter(&user.name, user.limits()) else {
            self.is_leaving = true;
            return Err(Refused::new(421, "Too many sessions of this user."));
        };
        let view = View::open(&self.shared.storage, user).map_err(|error| {
            log::warn!("{}: the home directory: {error}", request.client_address);
            Refused::new(530, "The home directory cannot be opened.")
        })?;
        log::info!(
            "{}: {} has logged in",
            request.client_address,
            view.user.name.escape_debug()
        );
        request.identity = (!view.user.is_anonymous).then(|| view.user.name.as_str().into());
        self.working = VirtualPath::default();
        self.login.failures = 0;
        self.login.slot = Some(slot);
        self.login.renewed_at = Some(request.server.clock().now());
        self.login.view = Some(Arc::new(view));
        self.note_user();
        Ok(Some(Reply::new(230, "You are logged in.")))
    }

    fn verify(&self, request: &StreamRequest, name: &[u8], password: &[u8]) -> Verified {
        let shared = &self.shared;
        let is_anonymous = ANONYMOUS_NAMES.contains(&name);
        let Some(accounts) = &shared.storage.accounts else {
            return match shared.anonymous {
                Some(rights) if is_anonymous => Verified::User(User::anonymous(rights)),
                _ => Verified::Wrong(Duration::ZERO),
            };
        };
        let failed = |error| {
            log::error!("{error}");
            Verified::Failed
        };
        if is_anonymous {
            let found: Result<Option<Account>, _> = accounts.anonymous();
            match found {
                Ok(Some(account)) => return Verified::User(User::of_account(account, true)),
                Ok(None) if name == ANONYMOUS.as_bytes() => {
                    return Verified::Wrong(Duration::ZERO);
                }
                // There is no anonymous account, so `ftp` can be the name of a user.
                Ok(None) => {}
                Err(error) => return failed(error),
            }
        }
        let (Ok(name), Ok(password)) = (std::str::from_utf8(name), std::str::from_utf8(password))
        else {
            return Verified::Wrong(Duration::ZERO);
        };
        let now = request.server.clock().now();
        match accounts.verify(name, password, &request.client_address, now) {
            Ok(Verdict::Granted(account)) => Verified::User(User::of_account(*account, false)),
            Ok(Verdict::Denied(delay)) => Verified::Wrong(delay),
            Ok(Verdict::Busy(_)) => Verified::Busy,
            Err(error) => failed(error),
        }
    }

    /// Sends the reply to a failed login after a delay. After too many failed logins the session
    /// ends.
    fn refuse_login(&mut self, request: &StreamRequest, delay: Duration) {
        self.login.failures += 1;
        let failures = self.login.failures;
        log::info!("{}: login failed", request.client_address);
        let mut replies = vec![Reply::new(530, "Wrong user name or password.")];
        let is_last = failures >= self.shared.max_login_failures;
        if is_last {
            replies.push(Reply::new(421, "Too many failed logins."));
        }
        let delay = delay.max(DELAY_PER_FAILURE * failures.min(MAX_DELAYED_FAILURES));
        self.delayed = Some(Delayed {
            until: request.server.clock().now() + delay,
            replies,
            is_last,
        });
    }

    pub(super) fn log_out(&mut self) {
        let failures = self.login.failures;
        self.login = Login {
            failures,
            ..Login::default()
        };
        self.note_user();
        self.parameters.reset();
        self.working = VirtualPath::default();
        if self.transfer.is_none() {
            self.data.abort("the user has logged out");
        }
    }

    /// Reads the account of the user again, at most once per [`VIEW_INTERVAL`].
    pub(super) fn renew_view(&mut self, request: &StreamRequest) -> Result<(), Refused> {
        let now = request.server.clock().now();
        let Some(view) = &self.login.view else {
            return Ok(());
        };
        let is_fresh = |at: Instant| now.saturating_duration_since(at) < VIEW_INTERVAL;
        if self.shared.storage.accounts.is_none() || self.login.renewed_at.is_some_and(is_fresh) {
            return Ok(());
        }
        match view.renewed()? {
            Some(view) => {
                if let Some(slot) = &mut self.login.slot {
                    slot.renew(view.user.limits());
                }
                self.login.view = Some(Arc::new(view));
                self.login.renewed_at = Some(now);
                Ok(())
            }
            None => {
                self.log_out();
                Err(Refused::new(530, "This user was removed."))
            }
        }
    }

    pub(super) fn rein(&mut self) -> Answer {
        self.log_out();
        Ok(Some(Reply::new(220, "Ready for a new user.")))
    }

    pub(super) fn quit(&mut self) -> Answer {
        self.is_leaving = true;
        self.queue.clear();
        Ok(Some(Reply::new(221, "Goodbye.")))
    }
}
