//! The path of URLs below which a site is served.

use super::target;

/// A path of URLs below which a site is served; the default is the root of all URLs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BasePath {
    /// Decoded, without a slash at either end.
    decoded: Vec<u8>,
}

impl BasePath {
    /// A decoded path without a slash at either end.
    pub fn of(decoded: Vec<u8>) -> BasePath {
        BasePath { decoded }
    }

    /// The path below the site's root for a decoded path of a URL; `None` if it lies outside.
    pub fn below<'a>(&self, path: &'a [u8]) -> Option<&'a [u8]> {
        if self.decoded.is_empty() {
            return Some(path);
        }
        match path.strip_prefix(&self.decoded[..])? {
            [] => Some(b""),
            [b'/', path @ ..] => Some(path),
            _ => None, // another name that begins alike
        }
    }

    /// The decoded path of a URL for a path below the site's root, without slashes at its ends.
    pub fn path_in_base(&self, path: &[u8]) -> Vec<u8> {
        if self.decoded.is_empty() {
            return path.to_vec();
        }
        [&self.decoded, &b"/"[..], path].concat()
    }

    /// The path of a URL for a path below the site's root.
    pub fn url_path(&self, path: &[u8]) -> String {
        let path = target::encode_path(path);
        if self.decoded.is_empty() {
            return format!("/{path}");
        }
        format!("/{}/{path}", target::encode_path(&self.decoded))
    }
}
