//! The URL of a file or folder on a server (RFC 1738 §3.2).

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use super::path::RemotePath;
use crate::service::Failure;

/// The default port of FTP, also with explicit TLS (RFC 4217).
const PORT: u16 = 21;
/// The default port with implicit TLS.
const IMPLICIT_PORT: u16 = 990;

/// The scheme of a URL, which says whether TLS is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// `ftp`: the options say whether TLS is used.
    Plain,
    /// `ftpes`: TLS by AUTH TLS (RFC 4217), as with `--tls`.
    Explicit,
    /// `ftps`: TLS from the first byte, as with `--tls-implicit`.
    Implicit,
}

/// The parts of a URL: a server, a user and a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FtpUrl {
    pub(super) scheme: Scheme,
    /// The user's name; `None` if the URL has none.
    pub(super) user: Option<String>,
    /// A host name or an IP address. An IPv6 address is without brackets.
    pub(super) host: String,
    /// The port; `None` if the URL has none.
    pub(super) port: Option<u16>,
    /// The path, relative to the working directory after the login. As in curl, a path that begins
    /// with `//` or `/%2F` is absolute.
    pub(super) path: RemotePath,
    /// Whether the URL names a folder: its path ends with `/`, or is empty.
    pub(super) is_folder: bool,
}

/// A URL from the command line, or the error if it is invalid. The parser of the command line must
/// not refuse the URL, because its error message would repeat the text, which may contain a
/// password.
#[derive(Clone, Debug)]
pub(super) struct GivenUrl(Result<FtpUrl, String>);

impl GivenUrl {
    /// Returns the URL.
    ///
    /// # Errors
    /// Exit code 2 if the URL is invalid.
    pub(super) fn url(&self) -> Result<FtpUrl, Failure> {
        self.0.clone().map_err(Failure::usage)
    }
}

impl FromStr for GivenUrl {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<GivenUrl, Infallible> {
        Ok(GivenUrl(text.parse()))
    }
}

impl FtpUrl {
    /// The port to connect to. Defaults to 21, and to 990 for implicit TLS.
    pub(super) fn port(&self, is_implicit: bool) -> u16 {
        let default = if is_implicit { IMPLICIT_PORT } else { PORT };
        self.port.unwrap_or(default)
    }
}

impl FromStr for FtpUrl {
    type Err = String;

    /// Parses a URL. No error message repeats the text, because it may contain a password.
    fn from_str(text: &str) -> Result<FtpUrl, String> {
        let (scheme, rest) = text
            .split_once("://")
            .ok_or("invalid URL: use ftp://[USER@]HOST[:PORT]/PATH")?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "ftp" => Scheme::Plain,
            "ftpes" => Scheme::Explicit,
            "ftps" => Scheme::Implicit,
            _ => return Err("invalid URL: its scheme must be ftp, ftps or ftpes".to_owned()),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, address) = match authority.rsplit_once('@') {
            Some((user, address)) => (Some(user_name(user)?), address),
            None => (None, authority),
        };
        let (host, port) = host_and_port(address)?;
        let decoded: Vec<u8> = percent_decode_str(path).collect();
        let is_folder = decoded.is_empty() || decoded.ends_with(b"/");
        Ok(FtpUrl {
            scheme,
            user,
            host,
            port,
            path: RemotePath::checked(&decoded)?,
            is_folder,
        })
    }
}

/// Decodes the user's name. A password after the name is an error, because other users of the
/// machine can read the command line, and shells store it.
fn user_name(text: &str) -> Result<String, String> {
    if text.contains(':') {
        return Err(
            "the URL holds a password, which others could read: remove it, and type it when \
             asked, set SOCKETSERVER_PASSWORD, or use ~/.netrc"
                .to_owned(),
        );
    }
    let name = percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| "invalid URL: its user name is not UTF-8")?;
    if name.is_empty() || name.contains(char::is_control) {
        return Err("invalid URL: its user name is empty or holds a control character".to_owned());
    }
    Ok(name.into_owned())
}

fn host_and_port(address: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest
                .split_once(']')
                .ok_or("invalid URL: the `[` of its IPv6 address has no `]`")?;
            let port = match port.strip_prefix(':') {
                None if !port.is_empty() => {
                    return Err("invalid URL: only :PORT may follow an IPv6 address".to_owned());
                }
                port => port,
            };
            (host, port)
        }
        None => match address.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        },
    };
    if host.is_empty() || host.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err("invalid URL: it names no host".to_owned());
    }
    let port = match port {
        None | Some("") => None,
        Some(port) => match port.parse() {
            Ok(port @ 1..) => Some(port),
            _ => {
                return Err(format!(
                    "invalid port `{port}`: use a number from 1 to 65535"
                ));
            }
        },
    };
    Ok((host.to_owned(), port))
}

impl fmt::Display for FtpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host)?,
            false => f.write_str(&self.host)?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        for (text, user, host, port, path, is_folder) in [
            ("ftp://h", None, "h", None, "", true),
            ("FTP://h/", None, "h", None, "", true),
            (
                "ftp://h:2121/a/b.txt",
                None,
                "h",
                Some(2121),
                "a/b.txt",
                false,
            ),
            (
                "ftp://ada@h/a%20b;type=i/",
                Some("ada"),
                "h",
                None,
                "a b;type=i",
                true,
            ),
            (
                "ftp://a%40b@h/%2Fetc/x",
                Some("a@b"),
                "h",
                None,
                "/etc/x",
                false,
            ),
            ("ftp://h//etc//x", None, "h", None, "/etc/x", false),
            (
                "ftp://[::1]:21/x?y#z",
                None,
                "::1",
                Some(21),
                "x?y#z",
                false,
            ),
            ("ftp://[::1]/%FF", None, "::1", None, "\u{FFFD}", false),
            ("ftp://h/a/./b", None, "h", None, "a/b", false),
        ] {
            let url: FtpUrl = text
                .parse()
                .unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(url.user.as_deref(), user, "{text}");
            assert_eq!((url.host.as_str(), url.port), (host, port), "{text}");
            assert_eq!(
                (url.path.to_string(), url.is_folder),
                (path.to_owned(), is_folder)
            );
        }
        let scheme = |text: &str| text.parse::<FtpUrl>().unwrap().scheme;
        assert_eq!(scheme("ftps://h/"), Scheme::Implicit);
        assert_eq!(scheme("ftpes://h/"), Scheme::Explicit);
        let url: FtpUrl = "ftp://h/".parse().unwrap();
        assert_eq!((url.port(false), url.port(true)), (21, 990));
    }

    #[test]
    fn an_invalid_url_is_refused_without_its_password() {
        for (text, why) in [
            ("", "invalid URL"),
            ("h/a", "invalid URL"),
            ("http://h/", "scheme"),
            ("ftp://", "host"),
            ("ftp:///a", "host"),
            ("ftp://h:0/", "port"),
            ("ftp://h:x/", "port"),
            ("ftp://[::1/", "IPv6"),
            ("ftp://[::1]x/", "IPv6"),
            ("ftp://@h/", "user name"),
            ("ftp://ada:secret@h/", "password"),
            ("ftp://ada:secret@h:x/", "password"),
            ("ftp://ada:se@cret@h/", "password"),
            ("ftp://h/a%0D%0AQUIT", "line break"),
            ("ftp://h/a%00", "NUL"),
            ("ftp://h/a/../b", ".."),
        ] {
            let error = text.parse::<FtpUrl>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
            assert!(
                !error.contains("secret") && !error.contains("cret@"),
                "{text}: {error}"
            );
        }
    }
}
