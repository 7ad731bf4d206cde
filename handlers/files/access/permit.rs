//! What the client of a request may do.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::refusal;
use super::shared::Shared;
use crate::accounts::{Account, Rights};
use crate::common::store::OnDuplicate;
use socketserver_http::engine::response::Response;

/// What a client may do: everything, where there are no accounts. Costs nothing then, and is cheap
/// to copy in any case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Permit {
    visitor: Option<Arc<Visitor>>,
    /// The path of a mounted folder below the root, which all paths that are checked are below;
    /// `None` for the root itself.
    below: Option<Arc<[u8]>>,
}

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
        Permit {
            visitor: Some(Arc::new(visitor)),
            below: None,
        }
    }

    /// The permit of an unknown client without any right.
    pub(super) fn none() -> Permit {
        Permit::of(Visitor::Anonymous(None))
    }

    fn rights(&self, path: &[u8], of: impl Fn(&Account, &[u8]) -> Rights) -> Rights {
        let Some(visitor) = &self.visitor else {
            return Rights::ALL;
        };
        match &self.below {
            None => visitor.rights(path, of),
            Some(_) => visitor.rights(&self.path_below_root(path), of),
        }
    }

    /// The same permit for the paths of a mounted folder, which is at this path below the root.
    pub(crate) fn within(&self, folder: &[u8]) -> Permit {
        Permit {
            visitor: self.visitor.clone(),
            below: Some(folder.into()),
        }
    }

    /// The folders that the client has mounted, each with its path below the root.
    fn mounts(&self) -> impl Iterator<Item = (String, &Path)> {
        let account = match self.visitor.as_deref() {
            Some(Visitor::User(account) | Visitor::Anonymous(Some(account))) => Some(account),
            _ => None,
        };
        account.into_iter().flat_map(|account| {
            let mounts = account.mounts.iter();
            mounts.map(|mount| (mount.below_root(&account.home), &*mount.folder))
        })
    }

    /// Whether the client has mounted folders.
    pub(crate) fn has_mounts(&self) -> bool {
        self.mounts().next().is_some()
    }

    /// The mounted folder that a path below the root is in, with its path.
    pub(crate) fn mount_of(&self, path: &[u8]) -> Option<(String, &Path)> {
        let covers = |at: &str| match path.strip_prefix(at.as_bytes()) {
            Some(rest) => rest.is_empty() || rest.starts_with(b"/"),
            None => false,
        };
        let covering = self.mounts().filter(|(at, _)| covers(at));
        covering.max_by_key(|(at, _)| at.len())
    }

    /// The path below the root for one below the folder of this permit; without slashes at its
    /// ends.
    pub(crate) fn path_below_root(&self, path: &[u8]) -> Vec<u8> {
        match &self.below {
            None => path.to_vec(),
            Some(below) if path.is_empty() => below.to_vec(),
            Some(below) => [below, &b"/"[..], path].concat(),
        }
    }

    /// Whether a path is in a mounted folder other than that of this permit.
    pub(crate) fn is_in_other_mount(&self, path: &[u8]) -> bool {
        let at = self.mount_of(&self.path_below_root(path)).map(|(at, _)| at);
        at.as_deref().unwrap_or_default().as_bytes() != self.below.as_deref().unwrap_or_default()
    }

    /// The names and folders of what is mounted directly in a folder.
    pub(crate) fn mounts_in(&self, folder: &[u8]) -> Vec<(Vec<u8>, PathBuf)> {
        let folder = self.path_below_root(folder);
        let named = self.mounts().filter_map(|(at, mounted)| {
            let (parent, name) = at.rsplit_once('/').unwrap_or(("", &at));
            (parent.as_bytes() == folder).then(|| (name.as_bytes().to_vec(), mounted.to_owned()))
        });
        named.collect()
    }

    /// Whether there are no accounts.
    pub(crate) fn is_everything(&self) -> bool {
        self.visitor.is_none()
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
        match self.visitor.as_deref() {
            Some(Visitor::Anonymous(_)) | None => refusal::unauthorized(),
            Some(Visitor::User(_) | Visitor::Share(_)) => refusal::forbidden(),
        }
    }

    /// The name in the access log; `None` for everybody.
    pub(crate) fn user(&self) -> Option<&str> {
        match self.visitor.as_deref()? {
            Visitor::Anonymous(_) => None,
            Visitor::User(account) => Some(&account.name),
            Visitor::Share(shared) => Some(shared.name()),
        }
    }

    /// The user for whose quota the client's uploads count; `None` without accounts, and for a
    /// share link.
    pub(crate) fn quota_user(&self) -> Option<&str> {
        match self.visitor.as_deref()? {
            Visitor::Anonymous(account) => account.as_ref().map(|account| &*account.name),
            Visitor::User(account) => Some(&account.name),
            Visitor::Share(_) => None,
        }
    }

    /// To be called before the first byte of a file or archive goes out; `is_part`: the client
    /// asked for a range.
    ///
    /// # Errors
    /// The answer to a client whose link was used as often as it may be.
    pub(crate) fn begin_download(&self, is_part: bool) -> Result<(), Response> {
        match self.visitor.as_deref() {
            Some(Visitor::Share(shared)) => shared
                .begin_download(is_part)
                .map_err(|error| refusal::of_share(&error)),
            _ => Ok(()),
        }
    }

    /// Adds to a response what it owes to who asked: who else may be given it, the cookie by which
    /// a browser finds its way from a shared page to what that shows, and the name for the log.
    pub(crate) fn complete(&self, response: &mut Response) {
        let Some(visitor) = self.visitor.as_deref() else {
            return;
        };
        response.add_lines(match visitor {
            // The anonymous user's rights were enough (RFC 9110 §12.5.5).
            Visitor::Anonymous(Some(_)) => "Vary: Authorization\r\n",
            // Only this client (RFC 9111 §5.2.2.7).
            _ => "Cache-Control: private\r\nVary: Authorization\r\n",
        });
        if let Visitor::Share(shared) = visitor
            && matches!(response.status(), 200 | 206)
        {
            response.add_lines(&shared.cookie());
        }
        if let Some(user) = self.user() {
            response.delivery().user = Some(user.to_owned());
        }
    }
}
