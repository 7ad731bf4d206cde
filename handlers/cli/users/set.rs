//! `socketserver users set`

use clap::Args;

use crate::cli::values::{at_least_one, size};
use crate::common::accounts::{Prefix, Store};
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
    /// --rate-limit of `serve ftp`: 64KiB, 10MB, a number of bytes (0 is no limit), or `none` for
    /// the rate of the server
    #[arg(long, value_name = "SIZE", value_parser = size_or_none)]
    rate_limit: Option<Setting<u64>>,
    /// Maximum number of FTP sessions of the user at the same time, in place of the
    /// --max-sessions-per-user of `serve ftp`: a number from 1 on, or `none` for the number of the
    /// server
    #[arg(long, value_name = "N", value_parser = sessions_or_none)]
    max_sessions: Option<Setting<u32>>,
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

impl Settings {
    /// Changes the user in the file.
    ///
    /// # Errors
    /// There is no such user, or the file cannot be written.
    pub(super) fn apply(self, store: &Store, name: &str) -> Result<(), Failure> {
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
