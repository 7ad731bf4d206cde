//! The four forms of a request target (RFC 9112 §3.2).

use super::{HeadError, Method, authority};
use crate::protocol::target::split;

/// A request target in one of its forms. Paths are as sent: they are not decoded and not checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetForm<T> {
    /// `/path?query`.
    Origin(T),
    /// `http://host:port/path?query`. Clients send this form to proxies, but a server must accept
    /// it too.
    Absolute {
        /// Host and port. They replace the header `Host`.
        authority: T,
        /// The part after the authority. It is empty or begins with `/` or `?`. An empty path means
        /// `/`, or with OPTIONS the server as a whole (RFC 9110 §7.1).
        path: T,
    },
    /// `*`, which means the server as a whole. Only with OPTIONS.
    Asterisk,
    /// `host:port`. Only with CONNECT.
    Authority(T),
}

impl<T: Copy> TargetForm<T> {
    /// The same form with each of its parts replaced.
    pub(super) fn map<U>(&self, part: impl Fn(T) -> U) -> TargetForm<U> {
        match *self {
            TargetForm::Origin(path) => TargetForm::Origin(part(path)),
            TargetForm::Absolute { authority, path } => TargetForm::Absolute {
                authority: part(authority),
                path: part(path),
            },
            TargetForm::Asterisk => TargetForm::Asterisk,
            TargetForm::Authority(authority) => TargetForm::Authority(part(authority)),
        }
    }
}

impl<'a> TargetForm<&'a [u8]> {
    /// The path, which begins with a slash, and the query. Only requests with OPTIONS and CONNECT
    /// can have no path; for them the result is `/`.
    pub fn path_and_query(self) -> (&'a [u8], Option<&'a [u8]>) {
        match self {
            TargetForm::Origin(path) => split(path),
            TargetForm::Absolute { path, .. } => match split(path) {
                ([], query) => (b"/", query), // RFC 9110 §7.1
                parts => parts,
            },
            TargetForm::Asterisk | TargetForm::Authority(_) => (b"/", None),
        }
    }

    pub(super) fn read(target: &'a [u8], method: Method) -> Result<Self, HeadError> {
        if method == Method::Connect {
            return match authority::is_valid_with_port(target) {
                true => Ok(Self::Authority(target)),
                false => Err(HeadError::bad("CONNECT needs host:port")),
            };
        }
        match target {
            [b'/', ..] => Ok(Self::Origin(target)),
            b"*" if method == Method::Options => Ok(Self::Asterisk),
            b"*" => Err(HeadError::bad("* is for OPTIONS only")),
            _ => Self::absolute(target),
        }
    }

    fn absolute(target: &'a [u8]) -> Result<Self, HeadError> {
        let rest = [b"http://".as_slice(), b"https://"]
            .iter()
            .find_map(|scheme| {
                let (head, rest) = target.split_at_checked(scheme.len())?;
                head.eq_ignore_ascii_case(scheme).then_some(rest)
            });
        let Some(rest) = rest else {
            return Err(HeadError::bad(
                "the target is neither a path nor an http URI",
            ));
        };
        let end = rest.iter().position(|byte| b"/?".contains(byte));
        let (authority, path) = rest.split_at(end.unwrap_or(rest.len()));
        if !authority::is_valid(authority) {
            return Err(HeadError::bad("malformed host in the target"));
        }
        Ok(Self::Absolute { authority, path })
    }
}
