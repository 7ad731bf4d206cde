//! Directories and files: CWD, PWD, MKD, RMD, DELE, RNFR, RNTO, SIZE, MDTM, MFMT, SITE CHMOD.

use cap_std::fs::MetadataExt;
use rustix::io::Errno;

use super::{Answer, Session};
use crate::ftp::command::split_at_space;
use crate::ftp::dates::{Date, seconds_since_1970};
use crate::ftp::listing;
use crate::ftp::reply::{Refused, Reply, quoted};
use crate::ftp::user;
use crate::ftp::verbs::Entry;

impl Session {
    pub(super) fn pwd(&self) -> Reply {
        let path = quoted(self.working.as_bytes());
        Reply::new(257, [&path[..], b" is the working directory."])
    }

    /// CWD and CDUP. Without an argument, CWD changes to the root, as in other servers.
    pub(super) fn cwd(&mut self, entry: &Entry, argument: &[u8]) -> Answer {
        let view = self.view()?;
        let argument = if argument.is_empty() { b"/" } else { argument };
        let path = self.path(argument)?;
        debug_assert_eq!(entry.rights, "e");
        view.check_enter(&path)?;
        if !view.metadata(&path)?.is_dir() {
            return Err(std::io::Error::from(Errno::NOTDIR).into());
        }
        // `open_dir` fails if the server may not read the directory.
        view.open_dir(&path)?;
        let shown = quoted(path.as_bytes());
        self.working = path;
        Ok(Some(Reply::new(
            250,
            [&shown[..], b" is the working directory."],
        )))
    }

    pub(super) fn mkd(&mut self, entry: &Entry, argument: &[u8]) -> Answer {
        let (view, path) = self.target(entry, argument)?;
        view.make_dir(&path)?;
        let shown = quoted(path.as_bytes());
        Ok(Some(Reply::new(257, [&shown[..], b" is created."])))
    }

    pub(super) fn rmd(&mut self, entry: &Entry, argument: &[u8]) -> Answer {
        let (view, path) = self.target(entry, argument)?;
        view.remove_dir(&path)?;
        Ok(Some(Reply::new(250, "The directory is removed.")))
    }

    pub(super) fn dele(&mut self, entry: &Entry, argument: &[u8]) -> Answer {
        let (view, path) = self.target(entry, argument)?;
        view.remove_file(&path)?;
        Ok(Some(Reply::new(250, "The file is removed.")))
    }

    pub(super) fn rnfr(&mut self, entry: &Entry, argument: &[u8]) -> Answer {
        self.parameters.rename_from = None;
        let (view, path) = self.target(entry, argument)?;
        if path.is_root() {
            return Err(Refused::new(550, "The home directory cannot be renamed."));
        }
        view.symlink_metadata(&path)?;
        self.parameters.rename_from = Some(path);
        Ok(Some(Reply::new(350, "Send RNTO with the new name.")))
    }

    pub(super) fn rnto(&mut self, _: &Entry, argument: &[u8]) -> Answer {
        let Some(from) = self.parameters.rename_from.take() else {
            let text = "RNTO needs RNFR: send RNFR first.";
            return Err(Refused::new(503, text));
        };
        let to = self.path(argument)?;
        self.view()?.rename(&from, &to)?;
        Ok(Some(Reply::new(250, "Renamed.")))
    }

    pub(super) fn size(&mut self, entry: &Entry, argument: &[u8]) -> Answer {
        let (view, path) = self.target(entry, argument)?;
        if self.parameters.coding.is_text {
            // In text mode, the size on the network depends on the number of line ends. The server
            // would have to read the whole file to count them.
            return Err(Refused::new(
                550,
                "SIZE is refused in text mode: send TYPE I first.",
            ));
        }
        let size = match view.metadata(&path) {
            Ok(metadata) if metadata.is_file() => metadata.len(),
            Ok(_) => return Err(Refused::new(550, "Not a plain file.")),
            // A client that resumes an interrupted upload asks for the number of received bytes.
            Err(error) => match view.partial_size(&path) {
                Some(size) => size,
                None => return Err(error.into()),
            },
        };
        Ok(Some(Reply::new(213, size.to_string())))
    }

    pub(super) fn mdtm(&mut self, entry: &Entry, argument: &[u8]) -> Answer {
        let (view, path) = self.target(entry, argument)?;
        let metadata = view.metadata(&path)?;
        if !metadata.is_file() {
            return Err(Refused::new(550, "Not a plain file."));
        }
        let date = Date::of_seconds(metadata.mtime());
        Ok(Some(Reply::new(213, date.to_string())))
    }

    pub(super) fn mfmt(&mut self, entry: &Entry, argument: &[u8]) -> Answer {
        let Some((time, name)) = split_at_space(argument) else {
            let text = "Invalid argument: MFMT takes a time and a path.";
            return Err(Refused::new(501, text));
        };
        let Some(modified) = Date::parse(time) else {
            let text = "Invalid time: use YYYYMMDDHHMMSS.";
            return Err(Refused::new(501, text));
        };
        let (view, path) = self.target(entry, name)?;
        view.set_modified(&path, modified)?;
        let date = Date::of_seconds(seconds_since_1970(modified)).to_string();
        let text = [b"Modify=", date.as_bytes(), b"; ", path.as_bytes()].concat();
        Ok(Some(Reply::new(213, text)))
    }

    pub(super) fn chmod(&mut self, entry: &Entry, argument: &[u8]) -> Answer {
        let Some((mode, name)) = split_at_space(argument) else {
            let text = "Invalid argument: SITE CHMOD takes a mode and a path.";
            return Err(Refused::new(501, text));
        };
        let is_octal =
            matches!(mode.len(), 3 | 4) && mode.iter().all(|b| (b'0'..=b'7').contains(b));
        let text = std::str::from_utf8(mode).unwrap_or_default();
        let mode = u32::from_str_radix(text, 8).ok().filter(|_| is_octal);
        // The set-user-ID, set-group-ID and sticky bits are refused.
        let Some(mode) = mode.filter(|mode| *mode <= 0o777) else {
            return Err(Refused::new(
                501,
                "Invalid mode: use octal digits, 000 to 777.",
            ));
        };
        let (view, path) = self.target(entry, name)?;
        view.set_mode(&path, mode)?;
        Ok(Some(Reply::new(200, "Mode changed.")))
    }

    pub(super) fn quota(&mut self) -> Answer {
        let view = self.view()?;
        let account = match &view.storage.accounts {
            Some(accounts) => accounts.store().account(&view.user.name).map_err(|error| {
                log::error!("{error}");
                Refused::new(451, "The accounts cannot be read.")
            })?,
            None => None,
        };
        let text = match account {
            Some(account) => match account.quota {
                Some(quota) => {
                    let left = quota.saturating_sub(account.used);
                    let used = account.used;
                    format!("{used} of {quota} bytes used, {left} left.")
                }
                None => format!("{} bytes used, no quota.", account.used),
            },
            None => "No quota.".to_owned(),
        };
        Ok(Some(Reply::new(200, text)))
    }

    pub(super) fn mlst(&mut self, entry: &Entry, argument: &[u8]) -> Answer {
        let (view, path) = self.target(entry, argument)?;
        debug_assert_eq!(user::needed(entry.rights), user::needed("l"));
        let line = listing::describe(&view, &path, self.parameters.facts)?;
        let first = [&b"Facts of "[..], path.as_bytes(), b":"];
        Ok(Some(Reply::list(250, first, "End").line(line)))
    }
}
