//! The rights of the client of a request.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use socketserver_http::engine::response::Response;

use super::refusal;
use super::shared::Shared;
use crate::accounts::{Account, Rights};
use crate::common::store::OnDuplicate;

/// The rights of a client. Without accounts, the default permit allows everything and costs
/// nothing. A permit is always cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Permit {
    /// `None` on a server without accounts.
    visitor: Option<Arc<Visitor>>,
    /// The path of the mounted folder below the root. All checked paths are relative to it. `None`
    /// for the root itself.
    below: Option<Arc<[u8]>>,
}

/// How the client was identified.
#[derive(Debug)]
pub(super) enum Visitor {
    /// A client without credentials. It has the rights of the anonymous user, if that exists.
    Anonymous(Option<Account>),
    /// A user with a name and a correct password.
    User(Account),
    /// A client with a share link.
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

    /// The permit of an unidentified client without any right.
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

    /// This permit for the paths of a mounted folder. `folder` is its path below the root.
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

    /// The mounted folder that a path below the root is in, with the path where it is mounted.
    pub(crate) fn mount_of(&self, path: &[u8]) -> Option<(String, &Path)> {
        let covers = |at: &str| match path.strip_prefix(at.as_bytes()) {
            Some(rest) => rest.is_empty() || rest.starts_with(b"/"),
            None => false,
        };
        let covering = self.mounts().filter(|(at, _)| covers(at));
        covering.max_by_key(|(at, _)| at.len())
    }

    /// Converts a path below this permit's folder to a path below the root, without slashes at the
    /// ends.
    pub(crate) fn path_below_root(&self, path: &[u8]) -> Vec<u8> {
        match &self.below {
            None => path.to_vec(),
            Some(below) if path.is_empty() => below.to_vec(),
            Some(below) => [below, &b"/"[..], path].concat(),
        }
    }

    /// Whether a path is in another mounted folder than this permit's folder.
    pub(crate) fn is_in_other_mount(&self, path: &[u8]) -> bool {
        let at = self.mount_of(&self.path_below_root(path)).map(|(at, _)| at);
        at.as_deref().unwrap_or_default().as_bytes() != self.below.as_deref().unwrap_or_default()
    }

    /// The folders that are mounted directly in a folder, each with its name there.
    pub(crate) fn mounts_in(&self, folder: &[u8]) -> Vec<(Vec<u8>, PathBuf)> {
        let folder = self.path_below_root(folder);
        let named = self.mounts().filter_map(|(at, mounted)| {
            let (parent, name) = at.rsplit_once('/').unwrap_or(("", &at));
            (parent.as_bytes() == folder).then(|| (name.as_bytes().to_vec(), mounted.to_owned()))
        });
        named.collect()
    }

    /// Whether the server has no accounts, so that this permit allows everything.
    pub(crate) fn is_everything(&self) -> bool {
        self.visitor.is_none()
    }

    /// Whether the client has all of these rights at a path.
    pub(crate) fn may(&self, rights: Rights, path: &[u8]) -> bool {
        self.rights(path, Account::rights).contain(rights)
    }

    /// Whether the client has at least one of these rights at a path.
    pub(super) fn may_any(&self, rights: Rights, path: &[u8]) -> bool {
        self.rights(path, Account::rights) & rights != Rights::NONE
    }

    /// Whether the client has all of these rights at a path and everywhere below it.
    pub(crate) fn may_throughout(&self, rights: Rights, path: &[u8]) -> bool {
        self.rights(path, Account::rights_throughout)
            .contain(rights)
    }

    /// Whether a listing shows this path. It does if the client has any right at the path or below
    /// it.
    pub(crate) fn sees(&self, path: &[u8]) -> bool {
        self.rights(path, Account::rights_anywhere) != Rights::NONE
    }

    /// Checks that the client has all of these rights at a path.
    ///
    /// # Errors
    /// The response to a client that does not.
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
    /// The response to a client without these rights.
    pub(crate) fn check_throughout(&self, rights: Rights, path: &[u8]) -> Result<(), Response> {
        if self.may_throughout(rights, path) {
            Ok(())
        } else {
            Err(self.refusal())
        }
    }

    /// Checks that the client may store a file at a path. Returns what happens if the name is
    /// taken. Replacing a file needs the right to delete it.
    ///
    /// # Errors
    /// The response to a client that must not store files there.
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

    /// Checks that the client may move a file, or a folder with its content, to another path.
    ///
    /// # Errors
    /// The response to a client that may not.
    pub(crate) fn check_move(&self, from: &[u8], to: &[u8]) -> Result<(), Response> {
        // Otherwise a client could move a file that it may delete but not read to a path where it
        // may read it.
        let shown = self.rights(to, Account::rights_anywhere) & (Rights::LIST | Rights::READ);
        let may = self.may_throughout(Rights::DELETE | shown, from)
            && self.may_throughout(Rights::WRITE, to);
        if may { Ok(()) } else { Err(self.refusal()) }
    }

    /// The response to a client without the needed right. An anonymous client gets 401, so that it
    /// can log in; others get 403.
    pub(crate) fn refusal(&self) -> Response {
        match self.visitor.as_deref() {
            Some(Visitor::Anonymous(_)) | None => refusal::unauthorized(),
            Some(Visitor::User(_) | Visitor::Share(_)) => refusal::forbidden(),
        }
    }

    /// The name of the user or share link in the access log. `None` for an anonymous client.
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

    /// Counts a download. Call it before the first byte of a file or archive is sent. `is_part` is
    /// true if the client requested a range.
    ///
    /// # Errors
    /// The response to a client whose share link has no downloads left.
    pub(crate) fn begin_download(&self, is_part: bool) -> Result<(), Response> {
        match self.visitor.as_deref() {
            Some(Visitor::Share(shared)) => shared
                .begin_download(is_part)
                .map_err(|error| refusal::of_share(&error)),
            _ => Ok(()),
        }
    }

    /// Adds to a response what depends on the client: the headers that control caches, the cookie
    /// of a share link, and the user's name for the access log.
    pub(crate) fn complete(&self, response: &mut Response) {
        let Some(visitor) = self.visitor.as_deref() else {
            return;
        };
        response.add_lines(match visitor {
            // The anonymous user's rights were sufficient, so caches may share the response with
            // other clients without credentials (RFC 9110 §12.5.5).
            Visitor::Anonymous(Some(_)) => "Vary: Authorization\r\n",
            // Only the cache of this client may store the response (RFC 9111 §5.2.2.7).
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
