//! What the client of a request may do.

use std::sync::Arc;

use super::refusal;
use super::shared::Shared;
use crate::common::accounts::{Account, Rights};
use crate::common::store::OnDuplicate;
use crate::http::message::Response;
use crate::http::reply::Sharing;

/// What a client may do: everything, where there are no accounts. Costs nothing then, and is cheap
/// to copy in any case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Permit(Option<Arc<Visitor>>);

/// Who asks.
#[derive(Debug)]
pub(super) enum Visitor {
    /// An unknown client, with the rights of the anonymous user, if there are any.
    Anonymous(Option<Account>),
    /// A user with a name and a correct password.
    User(Account),
    /// A client with a link.
    Share(Shared),
}

impl Visitor {
    /// Rights at a path below the root.
    fn rights(&self, path: &[u8], of: impl Fn(&Account, &[u8]) -> Rights) -> Rights {
        match self {
            Visitor::Anonymous(None) => Rights::NONE,
            Visitor::Anonymous(Some(account)) | Visitor::User(account) => of(account, path),
            Visitor::Share(shared) => shared.rights(path),
        }
    }
}

impl Permit {
    pub(super) fn of(visitor: Visitor) -> Permit {
        Permit(Some(Arc::new(visitor)))
    }

    /// The permit of an unknown client without any right.
    pub(super) fn none() -> Permit {
        Permit::of(Visitor::Anonymous(None))
    }

    fn rights(&self, path: &[u8], of: impl Fn(&Account, &[u8]) -> Rights) -> Rights {
        self.0
            .as_ref()
            .map_or(Rights::ALL, |visitor| visitor.rights(path, of))
    }

    /// Whether there are no accounts.
    pub(crate) fn is_everything(&self) -> bool {
        self.0.is_none()
    }

    /// Whether all of these rights hold at a path below the root.
    pub(crate) fn may(&self, rights: Rights, path: &[u8]) -> bool {
        self.rights(path, Account::rights).contain(rights)
    }

    /// Whether one of these rights holds at a path.
    pub(super) fn may_any(&self, rights: Rights, path: &[u8]) -> bool {
        self.rights(path, Account::rights) & rights != Rights::NONE
    }

    /// Whether all of these rights hold at a path and everywhere below it.
    pub(crate) fn may_throughout(&self, rights: Rights, path: &[u8]) -> bool {
        self.rights(path, Account::rights_throughout)
            .contain(rights)
    }

    /// Whether a listing shows this path: something may be done there, or below it.
    pub(crate) fn sees(&self, path: &[u8]) -> bool {
        self.rights(path, Account::rights_anywhere) != Rights::NONE
    }

    /// # Errors
    /// The answer to a client that doesn't have these rights at a path.
    pub(crate) fn check(&self, rights: Rights, path: &[u8]) -> Result<(), Response> {
        if self.may(rights, path) {
            Ok(())
        } else {
            Err(self.refusal())
        }
    }

    /// Checks that the client has these rights at a path and at all paths below it.
    ///
    /// # Errors
    /// The answer to a client that does not.
    pub(crate) fn check_throughout(&self, rights: Rights, path: &[u8]) -> Result<(), Response> {
        if self.may_throughout(rights, path) {
            Ok(())
        } else {
            Err(self.refusal())
        }
    }

    /// What is done when a file is to be stored under a name that is taken: replacing one takes the
    /// right to delete it.
    ///
    /// # Errors
    /// The answer to a client that may store nothing there.
    pub(crate) fn check_store(
        &self,
        path: &[u8],
        wanted: OnDuplicate,
    ) -> Result<OnDuplicate, Response> {
        self.check(Rights::WRITE, path)?;
        let replaces = wanted == OnDuplicate::Overwrite && self.may(Rights::DELETE, path);
        Ok(if replaces || wanted == OnDuplicate::Rename {
            wanted
        } else {
            OnDuplicate::Error
        })
    }

    /// # Errors
    /// The answer to a client that may not move what stands at one path, and all below it, to
    /// another.
    pub(crate) fn check_move(&self, from: &[u8], to: &[u8]) -> Result<(), Response> {
        // Else a file that may be deleted but not read could be moved to where it may.
        let shown = self.rights(to, Account::rights_anywhere) & (Rights::LIST | Rights::READ);
        let may = self.may_throughout(Rights::DELETE | shown, from)
            && self.may_throughout(Rights::WRITE, to);
        if may { Ok(()) } else { Err(self.refusal()) }
    }

    /// The answer to a client without the right: it may try a name, or it knows enough.
    pub(crate) fn refusal(&self) -> Response {
        match self.0.as_deref() {
            Some(Visitor::Anonymous(_)) | None => refusal::unauthorized(),
            Some(Visitor::User(_) | Visitor::Share(_)) => refusal::forbidden(),
        }
    }

    /// The name in the access log; `None` for everybody.
    pub(crate) fn user(&self) -> Option<&str> {
        match self.0.as_deref()? {
            Visitor::Anonymous(_) => None,
            Visitor::User(account) => Some(&account.name),
            Visitor::Share(shared) => Some(shared.name()),
        }
    }

    /// The user for whose quota the client's uploads count; `None` without accounts, and for a
    /// share link.
    pub(crate) fn quota_user(&self) -> Option<&str> {
        match self.0.as_deref()? {
            Visitor::Anonymous(account) => account.as_ref().map(|account| &*account.name),
            Visitor::User(account) => Some(&account.name),
            Visitor::Share(_) => None,
        }
    }

    /// Who else may be given the answer.
    pub(crate) fn sharing(&self) -> Sharing {
        match self.0.as_deref() {
            None => Sharing::Free,
            Some(Visitor::Anonymous(Some(_))) => Sharing::SameCredentials,
            Some(_) => Sharing::Private,
        }
    }

    /// To be called before the first byte of a file or archive goes out; `is_part`: the client
    /// asked for a range.
    ///
    /// # Errors
    /// The answer to a client whose link was used as often as it may be.
    pub(crate) fn begin_download(&self, is_part: bool) -> Result<(), Response> {
        match self.0.as_deref() {
            Some(Visitor::Share(shared)) => shared
                .begin_download(is_part)
                .map_err(|error| refusal::of_share(&error)),
            _ => Ok(()),
        }
    }

    /// A field line by which a browser finds its way from a shared page to what it shows and links
    /// to; mostly empty.
    pub(crate) fn cookie(&self) -> String {
        match self.0.as_deref() {
            Some(Visitor::Share(shared)) => shared.cookie(),
            _ => String::new(),
        }
    }
}
