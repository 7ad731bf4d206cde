//! `socketserver users set`

use std::path::Path;

use clap::Args;

use crate::accounts::{Prefix, Store};
use crate::common::store::is_reserved;
use crate::common::values::{at_least_one, size};
use crate::service::Failure;

/// What is changed.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(in crate::cli) struct Settings {
    /// The directory, below the served one, that the user can't leave
    #[arg(long, value_name = "PATH")]
    home: Option<Prefix>,
    /// How much the user may have stored, in files that are still there and uploads that are under
    /// way: 64KiB, 10MB, a number of bytes, or `none` for no limit
    #[arg(long, value_name = "SIZE", value_parser = size_or_none)]
    quota: Option<Setting<u64>>,
    /// Maximum rate of the user by FTP over all sessions, in bytes per second, in place of the
    /// --rate-limit of `serve ftp`: 64KiB, 10MB, or a number of bytes; 0 switches the limit off,
    /// and `none` returns to the rate of the server
    #[arg(long, value_name = "SIZE", value_parser = size_or_none)]
    rate_limit: Option<Setting<u64>>,
    /// Maximum number of FTP sessions of the user at the same time, in place of the
    /// --max-sessions-per-user of `serve ftp`: a number from 1 on, or `none` for the number of the
    /// server
    #[arg(long, value_name = "N", value_parser = sessions_or_none)]
    max_sessions: Option<Setting<u32>>,
    /// Folder of the system that the user sees at PATH below the home directory, or `none` to
    /// remove it; may be repeated. Rights are those at PATH
    #[arg(long = "mount", value_name = "/PATH=DIR", value_parser = mount)]
    mounts: Vec<MountSetting>,
}

/// A folder to mount at a path; `None` removes it.
#[derive(Clone, Debug)]
struct MountSetting {
    at: Prefix,
    folder: Option<String>,
}

/// The new value; `None` removes the old one.
#[derive(Clone, Copy, Debug)]
struct Setting<T>(Option<T>);

fn setting<T>(
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Setting<T>, String> {
    match text {
        "none" => Ok(Setting(None)),
        _ => parse(text).map(|value| Setting(Some(value))),
    }
}

fn size_or_none(text: &str) -> Result<Setting<u64>, String> {
    setting(text, size)
}

fn sessions_or_none(text: &str) -> Result<Setting<u32>, String> {
    setting(text, |text| {
        let number = at_least_one(text)?;
        u32::try_from(number)
            .map_err(|_| format!("{number} is too large: the maximum is {}", u32::MAX))
    })
}

fn mount(text: &str) -> Result<MountSetting, String> {
    let expected = || format!("invalid mount `{text}`: use /PATH=DIR, or /PATH=none");
    // Logs and errors name the folder in a line.
    if text.contains(char::is_control) {
        let text = text.escape_debug();
        return Err(format!(
            "invalid mount `{text}`: it must have no control characters"
        ));
    }
    let (at, folder) = text.split_once('=').ok_or_else(expected)?;
    let at: Prefix = at.parse()?;
    if at == Prefix::root() {
        return Err("a folder cannot be mounted at `/`: --home sets what is there".to_owned());
    }
    if at
        .as_str()
        .split('/')
        .any(|name| is_reserved(name.as_bytes()))
    {
        return Err(format!(
            "invalid mount `{text}`: the server uses this name itself"
        ));
    }
    let folder = match folder {
        "" => return Err(expected()),
        "none" => None,
        folder => Some(absolute(Path::new(folder))?),
    };
    Ok(MountSetting { at, folder })
}

/// Returns the absolute path of an existing folder. Links are not resolved, so that they may be
/// changed later.
fn absolute(folder: &Path) -> Result<String, String> {
    let shown = folder.display();
    let found = std::fs::metadata(folder).map_err(|error| format!("{shown}: {error}"))?;
    if !found.is_dir() {
        return Err(format!("{shown}: this is not a folder"));
    }
    let path = std::path::absolute(folder).map_err(|error| format!("{shown}: {error}"))?;
    let path = path.into_os_string().into_string();
    path.map_err(|_| format!("{shown}: the path of a mounted folder must be UTF-8"))
}

impl Settings {
    /// Checks the folders to mount.
    fn check(&self, store: &Store) -> Result<(), Failure> {
        for folder in self.mounts.iter().filter_map(|mount| mount.folder.as_ref()) {
            let lies_in = store.lies_in(Path::new(folder));
            if lies_in.map_err(|error| Failure::usage(format!("{folder}: {error}")))? {
                return Err(Failure::usage(format!(
                    "the accounts would be served: move their file out of the folder {folder}"
                )));
            }
        }
        Ok(())
    }

    /// Changes the user in the file.
    ///
    /// # Errors
    /// The user does not exist, or the file cannot be written.
    pub(super) fn apply(self, store: &Store, name: &str) -> Result<(), Failure> {
        self.check(store)?;
        // Changes that may be refused come first, so that a refused command changes nothing else.
        for MountSetting { at, folder } in self.mounts {
            match folder {
                Some(folder) => store.mount(name, &at, &folder)?,
                None => store.unmount(name, &at)?,
            }
        }
        if let Some(home) = self.home {
            store.set_home(name, &home)?;
        }
        if let Some(Setting(quota)) = self.quota {
            store.set_quota(name, quota)?;
        }
        if let Some(Setting(rate)) = self.rate_limit {
            store.set_rate_limit(name, rate)?;
        }
        if let Some(Setting(max)) = self.max_sessions {
            store.set_max_sessions(name, max)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_a_path_and_an_existing_folder_of_one_line() {
        let temporary = std::env::temp_dir();
        let parsed = mount(&format!("/a={}", temporary.display())).unwrap();
        assert_eq!(parsed.at.as_str(), "/a");
        assert_eq!(parsed.folder.as_deref().map(Path::new), Some(&*temporary));
        assert_eq!(mount("/a=none").unwrap().folder, None);
        for (text, reason) in [
            ("/a", "use /PATH=DIR"),
            ("/a=", "use /PATH=DIR"),
            ("/=/", "--home"),
            ("/a=/does/not/exist", "/does/not/exist: "),
            (
                "/a=/\n",
                "invalid mount `/a=/\\n`: it must have no control characters",
            ),
            ("/a\u{1b}=/", "no control characters"),
        ] {
            let refused = mount(text).unwrap_err();
            assert!(refused.contains(reason), "{refused}");
            assert!(!refused.contains(char::is_control), "{refused:?}");
        }
    }
}
