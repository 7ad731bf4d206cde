//! The user and the password of a login. The password comes from `SOCKETSERVER_PASSWORD`, from
//! `~/.netrc`, or from the terminal.

mod netrc;

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;

use parking_lot::Mutex;

use super::url::FtpUrl;
use crate::service::Failure;

/// The environment variable for the password of the user in the URL or in `~/.netrc`.
const VARIABLE: &str = "SOCKETSERVER_PASSWORD";
/// Maximum number of bytes of `~/.netrc` that are read.
const MAX_NETRC: u64 = 1024 * 1024;
/// The password of `anonymous`. By custom it is a mail address (RFC 1635), but servers accept any
/// text.
const ANONYMOUS_PASSWORD: &str = "anonymous@";

/// A user, and the user's password after it is known.
pub(super) struct Credentials {
    pub(super) user: String,
    password: Mutex<Option<String>>,
}

impl Credentials {
    /// The user `anonymous`, who needs no account.
    pub(super) fn anonymous() -> Credentials {
        Credentials {
            user: "anonymous".to_owned(),
            password: Mutex::new(Some(ANONYMOUS_PASSWORD.to_owned())),
        }
    }

    /// Finds the user in the URL, otherwise in `~/.netrc`. If neither has a user, it is
    /// `anonymous`. For the password, the variable takes precedence over `~/.netrc`. If neither has
    /// a password, [`password`](Credentials::password) asks for it later, and only if the server
    /// needs a password.
    ///
    /// # Errors
    /// `~/.netrc` cannot be read, or the variable is not UTF-8.
    pub(super) fn find(url: &FtpUrl) -> Result<Credentials, Failure> {
        let entry = match netrc_text()? {
            Some(text) => netrc::find(&text, &url.host, url.user.as_deref()),
            None => None,
        };
        let (login, stored) = entry.map_or((None, None), |entry| (entry.login, entry.password));
        let Some(user) = url.user.clone().or(login) else {
            return Ok(Credentials::anonymous());
        };
        let variable = match std::env::var(VARIABLE) {
            Ok(password) if !password.is_empty() => Some(password),
            Ok(_) | Err(std::env::VarError::NotPresent) => None,
            Err(std::env::VarError::NotUnicode(_)) => {
                return Err(Failure::usage(format!("{VARIABLE} is not UTF-8")));
            }
        };
        let is_anonymous = user == "anonymous" || user == "ftp";
        let default = is_anonymous.then(|| ANONYMOUS_PASSWORD.to_owned());
        let password = variable.or(stored).or(default);
        if let Some(password) = &password {
            check(password)?;
        }
        Ok(Credentials {
            user,
            password: Mutex::new(password),
        })
    }

    /// Returns the password. If the password is not known, asks for it on the terminal, once for
    /// all sessions.
    ///
    /// # Errors
    /// The password is not known, and standard input is not a terminal.
    pub(super) fn password(&self) -> Result<String, Failure> {
        let mut password = self.password.lock();
        if let Some(password) = &*password {
            return Ok(password.clone());
        }
        if !io::stdin().is_terminal() {
            return Err(Failure::usage(format!(
                "there is no password for `{}`: set {VARIABLE}, add the host to ~/.netrc, or \
                 use a terminal",
                self.user
            )));
        }
        let typed = rpassword::prompt_password(format!("Password for {}: ", self.user))
            .map_err(Failure::run)?;
        check(&typed)?;
        Ok(password.insert(typed).clone())
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Checks that a command can contain the password. A line break in the password would begin another
/// command.
fn check(password: &str) -> Result<(), Failure> {
    if password.contains(['\r', '\n', '\0']) {
        return Err(Failure::usage(
            "the password holds a line break or a NUL, which FTP cannot carry",
        ));
    }
    Ok(())
}

/// The content of `~/.netrc`, if there is such a file.
fn netrc_text() -> Result<Option<String>, Failure> {
    let Some(home) = std::env::var_os("HOME").filter(|home| !home.is_empty()) else {
        return Ok(None);
    };
    let path = PathBuf::from(home).join(".netrc");
    let unusable = |error: io::Error| Failure::usage(format!("{}: {error}", path.display()));
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unusable(error)),
    };
    let mut text = Vec::new();
    file.take(MAX_NETRC)
        .read_to_end(&mut text)
        .map_err(unusable)?;
    Ok(Some(String::from_utf8_lossy(&text).into_owned()))
}
