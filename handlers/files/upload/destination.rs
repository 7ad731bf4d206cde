//! The `Destination` of a MOVE (RFC 4918 §10.3).

/// Why a destination is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DestinationError {
    /// It is not a URI.
    Malformed,
    /// It is on another server.
    Elsewhere,
}

/// The path of a destination. The destination is a path, or an absolute URI on the host of the
/// request. A query and a fragment remain part of the result.
///
/// # Errors
/// See [`DestinationError`].
pub(super) fn path<'a>(
    destination: &'a [u8],
    host: Option<&[u8]>,
) -> Result<&'a [u8], DestinationError> {
    if destination.starts_with(b"/") && !destination.starts_with(b"//") {
        return Ok(destination);
    }
    let scheme = memchr::memmem::find(destination, b"://").ok_or(DestinationError::Malformed)?;
    let (scheme, rest) = (&destination[..scheme], &destination[scheme + 3..]);
    let default_port: &[u8] = match scheme {
        b"http" => b":80",
        b"https" => b":443",
        _ => return Err(DestinationError::Malformed),
    };
    let slash = memchr::memchr(b'/', rest).ok_or(DestinationError::Malformed)?;
    let (authority, path) = rest.split_at(slash);
    let without_port = |name: &'a [u8]| name.strip_suffix(default_port).unwrap_or(name);
    let asked = host.map(|host| host.strip_suffix(default_port).unwrap_or(host));
    match asked {
        Some(asked) if asked.eq_ignore_ascii_case(without_port(authority)) => Ok(path),
        _ => Err(DestinationError::Elsewhere),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_a_path_on_the_same_host() {
        for (destination, path) in [
            ("/b", "/b"),
            ("/b%20c?d", "/b%20c?d"),
            ("http://h/b", "/b"),
            ("https://H/b", "/b"),
            ("http://h:80/b", "/b"),
            ("https://h:443/", "/"),
            ("http://h/b/http://i/", "/b/http://i/"),
        ] {
            assert_eq!(
                super::path(destination.as_bytes(), Some(b"h")),
                Ok(path.as_bytes()),
                "{destination}"
            );
        }
        assert_eq!(path(b"http://h:8000/b", Some(b"h:8000")), Ok(&b"/b"[..]));
        for elsewhere in [
            "http://i/b",
            "http://h:81/b",
            "https://h:80/b",
            "http://h@i/b",
            "http:///b",
        ] {
            assert_eq!(
                path(elsewhere.as_bytes(), Some(b"h")),
                Err(DestinationError::Elsewhere),
                "{elsewhere}"
            );
        }
        assert_eq!(path(b"http://h/b", None), Err(DestinationError::Elsewhere));
        for malformed in [
            "",
            "b",
            "//h/b",
            "ftp://h/b",
            "http://h",
            "http:/h",
            "://h/",
        ] {
            assert_eq!(
                path(malformed.as_bytes(), Some(b"h")),
                Err(DestinationError::Malformed),
                "{malformed}"
            );
        }
    }
}
