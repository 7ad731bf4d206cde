//! The base path: the URL path below which a site is served.

use super::target;

/// The URL path below which a site is served. Defaults to `/`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BasePath {
    /// Decoded, without a slash at either end.
    decoded: Vec<u8>,
}

impl BasePath {
    /// Creates a base path from a decoded path without a slash at either end.
    pub fn of(decoded: Vec<u8>) -> BasePath {
        BasePath { decoded }
    }

    /// Converts the decoded path of a URL to a path below the site's root. `None` if the URL is
    /// not below the base path.
    pub fn below<'a>(&self, path: &'a [u8]) -> Option<&'a [u8]> {
        if self.decoded.is_empty() {
            return Some(path);
        }
        match path.strip_prefix(&self.decoded[..])? {
            [] => Some(b""),
            [b'/', path @ ..] => Some(path),
            _ => None, // another name with the same beginning
        }
    }

    /// Converts a path below the site's root to the decoded path of its URL, without slashes at
    /// the ends.
    pub fn path_in_base(&self, path: &[u8]) -> Vec<u8> {
        if self.decoded.is_empty() {
            return path.to_vec();
        }
        [&self.decoded, &b"/"[..], path].concat()
    }

    /// Converts a path below the site's root to the encoded path of its URL.
    pub fn url_path(&self, path: &[u8]) -> String {
        let path = target::encode_path(path);
        if self.decoded.is_empty() {
            return format!("/{path}");
        }
        format!("/{}/{path}", target::encode_path(&self.decoded))
    }
}
