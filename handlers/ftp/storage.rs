//! The files of a user: everything that the service does on the file system.
//!
//! A user has the handle of the home directory, and one of each mounted folder. The system opens
//! every path below its handle, so that neither `..` nor a symbolic link leads out. What is stored
//! goes through the shared [`store`](crate::common::store) ([`upload`](super::upload)).

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
use crate::common::accounts::{Accounts, Rights};
use crate::common::store::resolve::{real_parent, real_path};
use crate::common::store::{OnDuplicate, Store, is_reserved};

/// What all users share.
#[derive(Debug)]
pub struct Storage {
    /// The served directory. Sessions of users without a home of their own share its handle, so
    /// that an idle session has one descriptor.
    pub root: Arc<Folder>,
    /// Where uploads go.
    pub store: Store,
    /// What happens to a file whose name is taken.
    pub on_duplicate: OnDuplicate,
    /// Who may log in besides the anonymous user.
    pub accounts: Option<Arc<Accounts>>,
    /// Folders of the system that users have mounted.
    pub mounted: MountedFolders,
}

/// The files that a user sees.
#[derive(Debug)]
pub struct View {
    /// What all users share.
    pub storage: Arc<Storage>,
    /// The user.
    pub user: User,
    /// The user's home directory.
    home: Volume,
    /// The folders that the user has mounted, each at a path below the root.
    mounts: Vec<Volume>,
}

fn denied() -> Refused {
    Refused::new(550, "Permission denied: you lack the right for this.")
}

fn holds_mount() -> Refused {
    Refused::new(550, "A mounted folder is at this path or below it.")
}

impl Storage {
    /// The served directory as a folder of users.
    pub fn root(dir: Dir, store: &Store) -> Arc<Folder> {
        Arc::new(Folder {
            dir,
            store: store.clone(),
            below: Vec::new(),
        })
    }
}

impl View {
    /// The view of a user.
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

    /// The same files for the user as the accounts file has the user now. `None` if the user was
    /// removed.
    ///
    /// # Errors
    /// The file cannot be read, or the home directory cannot be opened.
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

    /// The path without symbolic links. The last name of a link whose target does not exist, or
    /// is outside of the home directory, stays. `None` if its directory cannot be resolved.
    pub(super) fn resolve(&self, path: &VirtualPath) -> Option<VirtualPath> {
        let at = &self.volume(path).at;
        let (folder, relative) = self.folder(path).ok()?;
        let real = real_path(&folder.dir, relative);
        let real = real.or_else(|_| real_parent(&folder.dir, relative));
        at.join(real.ok()?.as_os_str().as_bytes()).ok()
    }

    /// What a path lies in: the mounted folder, or else the home directory.
    fn volume(&self, path: &VirtualPath) -> &Volume {
        let covering = self.mounts.iter().filter(|mount| path.is_below(&mount.at));
        covering
            .max_by_key(|mount| mount.at.as_bytes().len())
            .unwrap_or(&self.home)
    }

    /// The same folder, and the path below it.
    fn folder<'a>(&self, path: &'a VirtualPath) -> io::Result<(&Folder, &'a Path)> {
        let volume = self.volume(path);
        Ok((volume.folder()?, path.relative_to(&volume.at)))
    }

    /// Whether the path is that of the home directory or of a mounted folder.
    pub(super) fn is_top(&self, path: &VirtualPath) -> bool {
        path == &self.volume(path).at
    }

    /// Whether a folder is mounted at a path or below it.
    fn holds_mount(&self, path: &VirtualPath) -> bool {
        self.mounts.iter().any(|mount| mount.at.is_below(path))
    }

    /// The folders that are mounted directly in a directory.
    pub(super) fn mounts_in(&self, folder: &VirtualPath) -> impl Iterator<Item = &Volume> {
        let is_in = move |mount: &&Volume| mount.at.parent() == *folder;
        self.mounts.iter().filter(is_in)
    }

    /// Where the files of a directory are stored.
    ///
    /// # Errors
    /// The mounted folder cannot be opened.
    pub fn store_of(&self, path: &VirtualPath) -> io::Result<&Store> {
        Ok(&self.volume(path).folder()?.store)
    }

    /// The rights that the user has both at a path and at what it leads to.
    pub fn rights(&self, path: &VirtualPath) -> Rights {
        let rights = self.user.rights(path);
        if self.user.is_uniform() {
            return rights;
        }
        let real = self.resolve(path);
        real.map_or(rights, |real| rights & self.user.rights(&real))
    }

    /// Checks that the user has these rights at a path, and where it leads.
    ///
    /// # Errors
    /// 550.
    pub fn check(&self, path: &VirtualPath, rights: Rights) -> Result<(), Refused> {
        self.check_by(path, |path| self.user.rights(path).contain(rights))
    }

    /// The same for a path and everything below it.
    ///
    /// # Errors
    /// 550.
    pub fn check_throughout(&self, path: &VirtualPath, rights: Rights) -> Result<(), Refused> {
        self.check_by(path, |path| {
            self.user.rights_throughout(path).contain(rights)
        })
    }

    /// Checks that the user may enter a directory: something in it, or below it, may be listed.
    ///
    /// # Errors
    /// 550.
    pub fn check_enter(&self, path: &VirtualPath) -> Result<(), Refused> {
        self.check_by(path, |path| {
            self.user.rights_anywhere(path).contain(Rights::LIST)
        })
    }

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

    /// What a path leads to.
    ///
    /// # Errors
    /// Those of the system.
    pub fn metadata(&self, path: &VirtualPath) -> io::Result<Metadata> {
        let (folder, path) = self.folder(path)?;
        folder.dir.metadata(path)
    }

    /// What stands at a path, be it a symbolic link.
    ///
    /// # Errors
    /// Those of the system.
    pub fn symlink_metadata(&self, path: &VirtualPath) -> io::Result<Metadata> {
        let (folder, path) = self.folder(path)?;
        folder.dir.symlink_metadata(path)
    }

    /// Opens a file for reading, without waiting: a FIFO would wait for its writer.
    ///
    /// # Errors
    /// Those of the system; 550 for what is not a plain file.
    pub fn open_file(&self, path: &VirtualPath) -> Result<(File, u64), Refused> {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        let (folder, path) = self.folder(path)?;
        let file = folder.dir.open_with(path, &options)?.into_std();
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(Refused::new(550, "Is a directory."));
        }
        if !metadata.is_file() {
            return Err(Refused::new(550, "Not a plain file."));
        }
        Ok((file, metadata.len()))
    }

    /// Opens a directory.
    ///
    /// # Errors
    /// Those of the system.
    pub fn open_dir(&self, path: &VirtualPath) -> io::Result<Dir> {
        let (folder, path) = self.folder(path)?;
        folder.dir.open_dir(path)
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// 550.
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
    /// 550.
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

    /// Removes a file, or a symbolic link itself.
    ///
    /// # Errors
    /// 550.
    pub fn remove_file(&self, path: &VirtualPath) -> Result<(), Refused> {
        if self.symlink_metadata(path)?.is_dir() {
            return Err(io::Error::from(Errno::ISDIR).into());
        }
        let (store, path) = self.resolved_in_store(path)?;
        let removed = store.remove_file(&path);
        removed.map_err(|error| refused(&error))
    }

    /// Gives a file or directory another path.
    ///
    /// # Errors
    /// 550, and 553 for a name that is taken.
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
                "Files are not moved between mounted folders: copy them.",
            ));
        }
        // Otherwise something that may not be read could be moved to where it may.
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

    /// A relative symbolic link has another target in another directory. It may not be moved to
    /// where its target would be something that the user may not see.
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

    /// The store, and the path in it that leads to the same place through no link, but for the last
    /// name.
    fn resolved_in_store(&self, path: &VirtualPath) -> io::Result<(&Store, Vec<u8>)> {
        let (store, path) = self.in_store(path)?;
        Ok((store, store.resolve_parent(&path)?))
    }

    /// Sets the permissions of what a path leads to.
    ///
    /// # Errors
    /// Those of the system.
    pub fn set_mode(&self, path: &VirtualPath, mode: u32) -> io::Result<()> {
        let permissions = Permissions::from_mode(mode);
        let (folder, path) = self.folder(path)?;
        folder.dir.set_permissions(path, permissions)
    }

    /// Sets when a file was modified.
    ///
    /// # Errors
    /// Those of the system.
    pub fn set_modified(&self, path: &VirtualPath, time: SystemTime) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        let (folder, path) = self.folder(path)?;
        let file = folder.dir.open_with(path, &options)?.into_std();
        file.set_times(
            std::fs::FileTimes::new()
                .set_modified(time)
                .set_accessed(time),
        )
    }

    /// The store, and the path in it to where a path leads: the links in its directories are
    /// followed, so that the store, which may see more, stays in the home directory or the mounted
    /// folder.
    ///
    /// # Errors
    /// The directory does not exist, or is not one.
    pub(super) fn in_store(&self, path: &VirtualPath) -> io::Result<(&Store, Vec<u8>)> {
        if self.is_top(path) {
            return Err(io::ErrorKind::InvalidFilename.into());
        }
        if !self.metadata(&path.parent())?.is_dir() {
            return Err(Errno::NOTDIR.into());
        }
        let (folder, relative) = self.folder(path)?;
        let real = real_parent(&folder.dir, relative)?;
        let real = VirtualPath::default()
            .join(real.as_os_str().as_bytes())
            .map_err(|_| io::ErrorKind::InvalidFilename)?;
        Ok((&folder.store, folder.path_in_store(real.relative())))
    }

    /// Whether a listing shows an entry of a directory: the user has a right at the entry or below
    /// it, both by the path of the directory and by its `real` path.
    pub fn shows(&self, folder: &VirtualPath, real: &VirtualPath, name: &[u8]) -> bool {
        if is_reserved(name) {
            return false;
        }
        let is_seen = |path: VirtualPath| self.user.rights_anywhere(&path) != Rights::NONE;
        self.user.is_uniform()
            || is_seen(folder.child(name)) && (real == folder || is_seen(real.child(name)))
    }
}
