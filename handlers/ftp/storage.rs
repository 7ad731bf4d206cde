//! The files of a user. This module has all operations of the service on the file system, except
//! uploads.
//!
//! Each user has a handle of the home directory, and a handle of each mounted folder. Every path is
//! opened below one of these handles, so that neither `..` nor a symbolic link leads out of the
//! directory. Uploads go through the shared [`store`](crate::common::store);
//! [`upload`](super::upload) does this.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use cap_std::fs::{Dir, Metadata, OpenOptions, OpenOptionsExt, Permissions, PermissionsExt};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::mount::{Folder, MountedFolders, Volume};
use super::path::VirtualPath;
use super::reply::Refused;
use super::upload::refused;
use super::user::User;
use crate::accounts::{Account, Accounts, Mount, Rights};
use crate::common::store::resolve::{real_existing_parent, real_parent, real_path};
use crate::common::store::{OnDuplicate, Store, is_reserved};

/// The folders, the store and the accounts that all users share.
#[derive(Debug)]
pub struct Storage {
    /// The served directory. Sessions of users without a home directory share its handle, so that
    /// an idle session needs only one descriptor.
    pub root: Arc<Folder>,
    /// The store that receives uploads.
    pub store: Store,
    /// What to do with an upload if its name already exists.
    pub on_duplicate: OnDuplicate,
    /// The users who may log in; `None` if the server has only the anonymous user.
    pub accounts: Option<Arc<Accounts>>,
    /// Folders of the system that users have mounted.
    pub mounted: MountedFolders,
}

/// The files that a user sees.
#[derive(Debug)]
pub struct View {
    /// The folders, the store and the accounts that all users share.
    pub storage: Arc<Storage>,
    /// The user.
    pub user: User,
    /// The user's home directory.
    home: Volume,
    /// The folders that the user has mounted, each at a path below the root.
    mounts: Vec<Volume>,
}

/// The reply to a user who lacks a right.
pub(super) fn denied() -> Refused {
    Refused::new(550, "Permission denied: you lack the right for this.")
}

fn holds_mount() -> Refused {
    Refused::new(550, "A mounted folder is at this path or below it.")
}

impl Storage {
    /// Makes the folder of the served directory from its handle and its store.
    pub fn root(dir: Dir, store: &Store) -> Arc<Folder> {
        Arc::new(Folder {
            dir,
            store: store.clone(),
            below: Vec::new(),
        })
    }
}

impl View {
    /// Opens the home directory and the mounted folders of a user.
    ///
    /// # Errors
    /// The home directory cannot be opened.
    pub fn open(storage: &Arc<Storage>, user: User) -> io::Result<View> {
        let home = match user.home() {
            "" => Arc::clone(&storage.root),
            home => Arc::new(Folder {
                dir: storage.root.dir.open_dir(home)?,
                store: storage.store.clone(),
                below: home.as_bytes().to_vec(),
            }),
        };
        let root = VirtualPath::default();
        let mounts = user.account().map_or(&[][..], |account| &account.mounts);
        let mounts = mounts.iter().filter_map(|mount| {
            let at = root.join(mount.at.as_str().as_bytes()).ok()?;
            Some(Volume::new(at, storage.mounted.open(&mount.folder)))
        });
        Ok(View {
            storage: Arc::clone(storage),
            mounts: mounts.collect(),
            user,
            home: Volume::new(root, Some(home)),
        })
    }

    /// Reads the user from the accounts file again, and opens the user's folders with the current
    /// rights. Returns `None` if the user was removed.
    ///
    /// # Errors
    /// The accounts file cannot be read, or the home directory cannot be opened.
    pub fn renewed(&self) -> Result<Option<View>, Refused> {
        let Some(accounts) = &self.storage.accounts else {
            return Ok(Some(View {
                storage: Arc::clone(&self.storage),
                user: self.user.clone(),
                home: self.home.clone(),
                mounts: self.mounts.clone(),
            }));
        };
        let account = accounts.store().account(&self.user.name).map_err(|error| {
            log::error!("{error}");
            Refused::new(451, "The accounts cannot be read.")
        })?;
        let Some(account) = account else {
            return Ok(None);
        };
        let user = User::of_account(account, self.user.is_anonymous);
        Ok(Some(View::open(&self.storage, user)?))
    }

    /// Whether the account of the user now grants rights at a path of this view. Returns false if
    /// the account has another home directory or mounted folder now, because the path would be
    /// another file. This function opens no folder, so it may be called in a transaction of the
    /// ledger.
    pub(super) fn still_permits(
        &self,
        account: &Account,
        path: &VirtualPath,
        rights: Rights,
    ) -> bool {
        let (root, top) = (VirtualPath::default(), &self.volume(path).at);
        let is_at_top =
            |mount: &&Mount| root.join(mount.at.as_str().as_bytes()).as_ref() == Ok(top);
        let is_same = |before: &Account| {
            before.home == account.home
                && before.mounts.iter().find(is_at_top) == account.mounts.iter().find(is_at_top)
        };
        if !self.user.account().is_some_and(is_same) {
            return false;
        }
        let now = View {
            storage: Arc::clone(&self.storage),
            user: User::of_account(account.clone(), self.user.is_anonymous),
            home: self.home.clone(),
            mounts: self.mounts.clone(),
        };
        now.check(path, rights).is_ok()
    }

    /// Resolves the symbolic links of a path. If the last name is a link whose target does not
    /// exist, or is outside of the home directory, that link is not resolved. `None` if the
    /// directory of the path cannot be resolved.
    pub(super) fn resolve(&self, path: &VirtualPath) -> Option<VirtualPath> {
        let at = &self.volume(path).at;
        let (folder, relative) = self.folder(path).ok()?;
        let real = real_path(&folder.dir, relative);
        let real = real.or_else(|_| real_parent(&folder.dir, relative));
        at.join(real.ok()?.as_os_str().as_bytes()).ok()
    }

    /// The folder that contains a path: a mounted folder or the home directory.
    fn volume(&self, path: &VirtualPath) -> &Volume {
        let covering = self.mounts.iter().filter(|mount| path.is_below(&mount.at));
        covering
            .max_by_key(|mount| mount.at.as_bytes().len())
            .unwrap_or(&self.home)
    }

    /// The folder that contains a path, and the path below that folder.
    fn folder<'a>(&self, path: &'a VirtualPath) -> io::Result<(&Folder, &'a Path)> {
        let volume = self.volume(path);
        Ok((volume.folder()?, path.relative_to(&volume.at)))
    }

    /// Whether the path is the root of the home directory or of a mounted folder.
    pub(super) fn is_top(&self, path: &VirtualPath) -> bool {
        path == &self.volume(path).at
    }

    /// Whether a folder is mounted at a path, or anywhere below it.
    fn holds_mount(&self, path: &VirtualPath) -> bool {
        self.mounts.iter().any(|mount| mount.at.is_below(path))
    }

    /// The folders that are mounted directly in a directory.
    pub(super) fn mounts_in(&self, folder: &VirtualPath) -> impl Iterator<Item = &Volume> {
        let is_in = move |mount: &&Volume| mount.at.parent() == *folder;
        self.mounts.iter().filter(is_in)
    }

    /// The store that contains a directory.
    ///
    /// # Errors
    /// The mounted folder cannot be opened.
    pub fn store_of(&self, path: &VirtualPath) -> io::Result<&Store> {
        Ok(&self.volume(path).folder()?.store)
    }

    /// The rights that the user has both at a path and at the target of its symbolic links.
    pub fn rights(&self, path: &VirtualPath) -> Rights {
        let rights = self.user.rights(path);
        if self.user.is_uniform() {
            return rights;
        }
        let real = self.resolve(path);
        real.map_or(rights, |real| rights & self.user.rights(&real))
    }

    /// Checks that the user has these rights at a path, and at the target of its symbolic links.
    ///
    /// # Errors
    /// 550 if the user lacks a right.
    pub fn check(&self, path: &VirtualPath, rights: Rights) -> Result<(), Refused> {
        self.check_by(path, |path| self.user.rights(path).contain(rights))
    }

    /// Checks that the user has these rights at a path and everywhere below it.
    ///
    /// # Errors
    /// 550 if the user lacks a right.
    pub fn check_throughout(&self, path: &VirtualPath, rights: Rights) -> Result<(), Refused> {
        self.check_by(path, |path| {
            self.user.rights_throughout(path).contain(rights)
        })
    }

    /// Checks that the user may enter a directory: the user has the right to list at least one path
    /// at or below the directory.
    ///
    /// # Errors
    /// 550 if the user lacks the right.
    pub fn check_enter(&self, path: &VirtualPath) -> Result<(), Refused> {
        self.check_by(path, |path| {
            self.user.rights_anywhere(path).contain(Rights::LIST)
        })
    }

    /// Checks a path, and the target of its symbolic links.
    fn check_by(
        &self,
        path: &VirtualPath,
        permits: impl Fn(&VirtualPath) -> bool,
    ) -> Result<(), Refused> {
        if !permits(path) {
            return Err(denied());
        }
        if self.user.is_uniform() {
            return Ok(());
        }
        match self.resolve(path) {
            Some(real) if real != *path && !permits(&real) => Err(denied()),
            _ => Ok(()),
        }
    }

    /// The metadata of a path. Symbolic links are followed.
    ///
    /// # Errors
    /// The system refuses.
    pub fn metadata(&self, path: &VirtualPath) -> io::Result<Metadata> {
        let (folder, path) = self.folder(path)?;
        folder.dir.metadata(path)
    }

    /// The metadata of a path. A symbolic link as the last name is not followed.
    ///
    /// # Errors
    /// The system refuses.
    pub fn symlink_metadata(&self, path: &VirtualPath) -> io::Result<Metadata> {
        let (folder, path) = self.folder(path)?;
        folder.dir.symlink_metadata(path)
    }

    /// Opens a file for reading, and returns its size.
    ///
    /// # Errors
    /// The system refuses, or the path is not a plain file (550).
    pub fn open_file(&self, path: &VirtualPath) -> Result<(File, u64), Refused> {
        let file = self.open_for_reading(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(Refused::new(550, "Is a directory."));
        }
        if !metadata.is_file() {
            return Err(Refused::new(550, "Not a plain file."));
        }
        Ok((file, metadata.len()))
    }

    /// Opens a path for reading. The call does not block, even if the path is a FIFO without a
    /// writer.
    fn open_for_reading(&self, path: &VirtualPath) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        let (folder, path) = self.folder(path)?;
        Ok(folder.dir.open_with(path, &options)?.into_std())
    }

    /// Opens a directory.
    ///
    /// # Errors
    /// The system refuses.
    pub fn open_dir(&self, path: &VirtualPath) -> io::Result<Dir> {
        let (folder, path) = self.folder(path)?;
        folder.dir.open_dir(path)
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// The path already exists, or the store refuses.
    pub fn make_dir(&self, path: &VirtualPath) -> Result<(), Refused> {
        if self.is_top(path) {
            return Err(io::Error::from(Errno::EXIST).into());
        }
        let (store, path) = self.resolved_in_store(path)?;
        let made = store.make_folder(&path);
        made.map_err(|error| refused(&error))
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// The path is the root, a folder is mounted there, or the store refuses.
    pub fn remove_dir(&self, path: &VirtualPath) -> Result<(), Refused> {
        if path.is_root() {
            return Err(Refused::new(550, "The root directory cannot be removed."));
        }
        if self.holds_mount(path) {
            return Err(holds_mount());
        }
        let (store, path) = self.resolved_in_store(path)?;
        let removed = store.remove_folder(&path);
        removed.map_err(|error| refused(&error))
    }

    /// Removes a file or a symbolic link. The target of the link stays.
    ///
    /// # Errors
    /// The path is a directory, or the store refuses.
    pub fn remove_file(&self, path: &VirtualPath) -> Result<(), Refused> {
        if self.symlink_metadata(path)?.is_dir() {
            return Err(io::Error::from(Errno::ISDIR).into());
        }
        let (store, path) = self.resolved_in_store(path)?;
        let removed = store.remove_file(&path);
        removed.map_err(|error| refused(&error))
    }

    /// Moves a file or directory to another path.
    ///
    /// # Errors
    /// 550 if it may not be moved, and 553 if the new name already exists and may not be replaced.
    pub fn rename(&self, from: &VirtualPath, to: &VirtualPath) -> Result<(), Refused> {
        if to.is_root() {
            return Err(Refused::new(550, "The root directory cannot be replaced."));
        }
        if to.is_below(from) && to != from {
            return Err(Refused::new(550, "A directory can't be moved into itself."));
        }
        if self.holds_mount(from) || self.holds_mount(to) {
            return Err(holds_mount());
        }
        if self.volume(from).at != self.volume(to).at {
            return Err(Refused::new(
                550,
                "Files cannot be moved into or out of a mounted folder: copy them.",
            ));
        }
        // A user who may list or read the new path must have the same right at the old path.
        // Otherwise the user could read a file by moving it.
        let shown = self.user.rights_anywhere(to) & (Rights::LIST | Rights::READ);
        self.check_throughout(from, Rights::DELETE | shown)?;
        self.check_throughout(to, Rights::WRITE)?;
        let replaces = self.symlink_metadata(to).is_ok() && from != to;
        let may_replace = self.storage.on_duplicate == OnDuplicate::Overwrite
            && self.check_throughout(to, Rights::DELETE).is_ok();
        if replaces && !may_replace {
            return Err(Refused::new(553, "A file of this name exists."));
        }
        self.check_moved_link(from, to)?;
        let (store, from) = self.resolved_in_store(from)?;
        let (_, to) = self.resolved_in_store(to)?;
        match store.rename(&from, &to, may_replace) {
            Ok(_) => Ok(()),
            Err(error) => Err(refused(&error)),
        }
    }

    /// Refuses to move a relative symbolic link to a directory in which its target would be a path
    /// that the user may not see.
    fn check_moved_link(&self, from: &VirtualPath, to: &VirtualPath) -> Result<(), Refused> {
        if self.user.is_uniform() || from.parent() == to.parent() {
            return Ok(());
        }
        let at = &self.volume(from).at;
        let (folder, relative) = self.folder(from)?;
        let Ok(link) = folder.dir.read_link_contents(relative) else {
            return Ok(());
        };
        let target = real_path(&folder.dir, &to.parent().relative_to(at).join(link));
        let is_seen = |real: PathBuf| {
            let real = at.join(real.as_os_str().as_bytes());
            let rights = real.map(|real| self.user.rights(&real));
            rights.is_ok_and(|rights| rights.contain(Rights::LIST | Rights::READ))
        };
        // A target outside of the home directory cannot be reached.
        match target.map_or(true, is_seen) {
            true => Ok(()),
            false => Err(denied()),
        }
    }

    /// The store that contains a path, and the path in the store. Symbolic links are resolved,
    /// except in the last name.
    fn resolved_in_store(&self, path: &VirtualPath) -> io::Result<(&Store, Vec<u8>)> {
        let (store, path) = self.in_store(path)?;
        Ok((store, store.resolve_parent(&path)?))
    }

    /// Sets the permissions of a path. Symbolic links are followed.
    ///
    /// # Errors
    /// The system refuses.
    pub fn set_mode(&self, path: &VirtualPath, mode: u32) -> io::Result<()> {
        let permissions = Permissions::from_mode(mode);
        let (folder, path) = self.folder(path)?;
        folder.dir.set_permissions(path, permissions)
    }

    /// Sets the times of modification and of access of a file.
    ///
    /// # Errors
    /// The system refuses.
    pub fn set_modified(&self, path: &VirtualPath, time: SystemTime) -> io::Result<()> {
        let file = self.open_for_reading(path)?;
        file.set_times(
            std::fs::FileTimes::new()
                .set_modified(time)
                .set_accessed(time),
        )
    }

    /// The store that contains a path, and the path in the store. The links of the path's
    /// directories are resolved below the handle of the user's folder. Otherwise the store, which
    /// sees the whole served directory, could follow a link out of the home directory or the
    /// mounted folder.
    ///
    /// # Errors
    /// The parent of the path does not exist, or is not a directory.
    pub(super) fn in_store(&self, path: &VirtualPath) -> io::Result<(&Store, Vec<u8>)> {
        if self.is_top(path) {
            return Err(io::ErrorKind::InvalidFilename.into());
        }
        let (folder, relative) = self.folder(path)?;
        let real = real_existing_parent(&folder.dir, relative)?;
        let real = VirtualPath::default()
            .join(real.as_os_str().as_bytes())
            .map_err(|_| io::ErrorKind::InvalidFilename)?;
        Ok((&folder.store, folder.path_in_store(real.relative())))
    }

    /// Whether a listing shows an entry of a directory. The user must have a right at the entry or
    /// below it. This must hold for the path of the directory, and for its path without symbolic
    /// links (`real`).
    pub fn shows(&self, folder: &VirtualPath, real: &VirtualPath, name: &[u8]) -> bool {
        if is_reserved(name) {
            return false;
        }
        let is_seen = |path: VirtualPath| self.user.rights_anywhere(&path) != Rights::NONE;
        self.user.is_uniform()
            || is_seen(folder.child(name)) && (real == folder || is_seen(real.child(name)))
    }
}
