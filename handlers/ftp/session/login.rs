//! USER, PASS, REIN and QUIT: who the client is (RFC 959 §4.1.1).

use std::sync::Arc;
use std::time::{Duration, Instant};

use socketserver::StreamRequest;

use super::{Answer, Delayed, Session};
use crate::common::accounts::{ANONYMOUS, Account, Verdict};
use crate::ftp::limits::SessionSlot;
use crate::ftp::path::VirtualPath;
use crate::ftp::reply::{Refused, Reply};
use crate::ftp::storage::View;
use crate::ftp::user::User;

/// The reply to each wrong password comes later by this.
const DELAY_PER_FAILURE: Duration = Duration::from_millis(250);

/// How long the rights of a user are not read again.
const VIEW_TIME: Duration = Duration::from_secs(1);

/// Names of the anonymous user.
const ANONYMOUS_NAMES: [&[u8]; 2] = [b"anonymous", b"ftp"];

/// Who the client is, as far as that is known.
#[derive(Debug, Default)]
pub(super) struct Login {
    /// The name of USER, until PASS.
    name: Option<Vec<u8>>,
    /// The files of the user who is logged in.
    pub(super) view: Option<Arc<View>>,
    renewed_at: Option<Instant>,
    pub(super) slot: Option<SessionSlot>,
    failures: u32,
}

/// What a name and a password lead to.
enum Verified {
    User(User),
    Wrong(Duration),
    Busy,
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
            "Any password will do."
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
                return Err(Refused::new(451, "The accounts cannot be read now."));
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
                // A user may have the name `ftp`.
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

    /// Answers a wrong password, but later. After too many of them the client must go.
    fn refuse_login(&mut self, request: &StreamRequest, delay: Duration) {
        self.login.failures += 1;
        let failures = self.login.failures;
        log::info!("{}: login failed", request.client_address);
        let mut replies = vec![Reply::new(530, "Wrong user name or password.")];
        let is_last = failures >= self.shared.max_login_failures;
        if is_last {
            replies.push(Reply::new(421, "Too many failed logins."));
        }
        let delay = delay.max(DELAY_PER_FAILURE * failures.min(8));
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

    /// Reads the rights of the user again, but not for each command.
    pub(super) fn renew_view(&mut self, request: &StreamRequest) -> Result<(), Refused> {
        let now = request.server.clock().now();
        let Some(view) = &self.login.view else {
            return Ok(());
        };
        let is_fresh = |at: Instant| now.saturating_duration_since(at) < VIEW_TIME;
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
