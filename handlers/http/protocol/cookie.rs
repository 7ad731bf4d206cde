//! Cookies (RFC 6265) for services of authors.

use std::fmt::{self, Write};
use std::time::Duration;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode, utf8_percent_encode};

use crate::protocol::head::Head;

/// Characters that are percent-encoded in a cookie's value: those that RFC 6265 §4.1.1 does not
/// allow, and `%`.
const NOT_IN_VALUE: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b',')
    .add(b';')
    .add(b'\\')
    .add(b'%');

/// Whether browsers send a cookie with requests that come from other sites (RFC 6265bis
/// §4.1.2.7).
///
/// ```
/// use socketserver_http::{Cookie, SameSite};
///
/// // Other sites may embed this one and find the user logged in.
/// let cookie = Cookie::new("session", "a1b2").same_site(SameSite::None);
/// assert!(cookie.to_string().ends_with("Secure; HttpOnly; SameSite=None"));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SameSite {
    /// Never with requests from other sites.
    Strict,
    /// Only if the user follows a link.
    #[default]
    Lax,
    /// With all requests. Browsers then require [`Cookie::secure`], so it is set too.
    None,
}

/// A cookie that a response sets with [`Response::cookie`](crate::Response::cookie).
///
/// By default it is valid for the whole site (`Path=/`) and until the end of the browser's session.
/// Scripts can't read it (`HttpOnly`), and other sites can only cause it to be sent with links
/// (`SameSite=Lax`).
///
/// ```
/// use std::time::Duration;
/// use socketserver_http::{Cookie, Response, SameSite};
///
/// let week = Duration::from_secs(7 * 24 * 3600);
/// let welcome = Response::text("welcome").cookie(Cookie::new("session", "a1b2").max_age(week));
/// let goodbye = Response::text("goodbye").cookie(Cookie::removal("session"));
///
/// let cookie = Cookie::new("theme", "dark")
///     .domain("example.org")
///     .path("/app")
///     .secure(true)
///     .http_only(false) // a script of the page reads it
///     .same_site(SameSite::Strict);
/// assert!(cookie.to_string().starts_with("theme=dark; Path=/app; Domain=example.org"));
/// # drop((welcome, goodbye));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    name: String,
    value: String,
    path: String,
    domain: Option<String>,
    max_age: Option<Duration>,
    is_secure: bool,
    is_http_only: bool,
    same_site: SameSite,
}

impl Cookie {
    /// Creates a cookie. Characters that are not allowed in a value are percent-encoded, and
    /// [`Request::cookie`](crate::Request::cookie) decodes them.
    ///
    /// # Panics
    /// If the name is not a token (RFC 9110 §5.6.2): letters, digits and ``!#$%&'*+-.^_`|~``.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Cookie {
        let name = name.into();
        assert!(
            is_token(&name),
            "invalid cookie name `{}`: use letters, digits, `-` and `_`",
            name.escape_debug()
        );
        Cookie {
            name,
            value: value.into(),
            path: "/".to_owned(),
            domain: None,
            max_age: None,
            is_secure: false,
            is_http_only: true,
            same_site: SameSite::default(),
        }
    }

    /// Creates a cookie that makes browsers delete the cookie with this name. Path and domain must
    /// be the same as when the cookie was set.
    ///
    /// # Panics
    /// In the cases of [`new`](Cookie::new).
    pub fn removal(name: impl Into<String>) -> Cookie {
        Cookie::new(name, "").max_age(Duration::ZERO)
    }

    /// The cookie is sent with requests for this path and all paths below it. Defaults to `/`.
    pub fn path(self, path: impl Into<String>) -> Cookie {
        Cookie {
            path: path.into(),
            ..self
        }
    }

    /// The cookie is sent to this domain and all its subdomains. Defaults to only the host that
    /// set the cookie.
    pub fn domain(self, domain: impl Into<String>) -> Cookie {
        Cookie {
            domain: Some(domain.into()),
            ..self
        }
    }

    /// How long browsers keep the cookie, in whole seconds. Defaults to the browser's session.
    pub fn max_age(self, age: Duration) -> Cookie {
        Cookie {
            max_age: Some(age),
            ..self
        }
    }

    /// Whether the cookie is sent over HTTPS only. Defaults to false.
    pub fn secure(self, is_secure: bool) -> Cookie {
        Cookie { is_secure, ..self }
    }

    /// Whether the cookie is hidden from the page's scripts. Defaults to true.
    pub fn http_only(self, is_http_only: bool) -> Cookie {
        Cookie {
            is_http_only,
            ..self
        }
    }

    /// Whether the cookie is sent with requests from other sites. Defaults to
    /// [`SameSite::Lax`].
    pub fn same_site(self, same_site: SameSite) -> Cookie {
        Cookie { same_site, ..self }
    }
}

impl fmt::Display for Cookie {
    /// The value of `Set-Cookie`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = utf8_percent_encode(&self.value, NOT_IN_VALUE);
        write!(f, "{}={value}; Path=", self.name)?;
        attribute(f, &self.path)?;
        if let Some(domain) = &self.domain {
            f.write_str("; Domain=")?;
            attribute(f, domain)?;
        }
        if let Some(age) = self.max_age {
            write!(f, "; Max-Age={}", age.as_secs())?;
        }
        if self.is_secure || self.same_site == SameSite::None {
            f.write_str("; Secure")?;
        }
        if self.is_http_only {
            f.write_str("; HttpOnly")?;
        }
        write!(f, "; SameSite={:?}", self.same_site)
    }
}

/// Writes the value of an attribute. Semicolons are removed, because a semicolon would begin
/// another attribute.
fn attribute(f: &mut fmt::Formatter<'_>, value: &str) -> fmt::Result {
    let allowed = value.chars().filter(|c| *c != ';' && !c.is_control());
    allowed.into_iter().try_for_each(|c| f.write_char(c))
}

fn is_token(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_allowed)
}

/// The decoded value of the first cookie with this name in a request (RFC 6265 §4.2.1).
pub fn find(head: &Head<'_>, name: &str) -> Option<String> {
    head.values("cookie")
        .flat_map(|value| value.split(|&byte| byte == b';'))
        .find_map(|pair| {
            let value = pair.trim_ascii().strip_prefix(name.as_bytes())?;
            Some(unquoted(value.strip_prefix(b"=")?))
        })
        .map(|value| percent_decode(value).decode_utf8_lossy().into_owned())
}

/// Removes the optional quotation marks around a value (RFC 6265 §4.1.1).
fn unquoted(value: &[u8]) -> &[u8] {
    let inside = value.strip_prefix(b"\"");
    inside
        .and_then(|value| value.strip_suffix(b"\""))
        .unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::head::{Scanner, Status, parse};

    fn found(cookies: &str, name: &str) -> Option<String> {
        let request = format!("GET / HTTP/1.1\r\nHost: h\r\n{cookies}\r\n");
        match parse(request.as_bytes(), &mut Scanner::default()) {
            Ok(Status::Complete { head, .. }) => find(&head, name),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_cookie_has_safe_attributes_unless_told_otherwise() {
        assert_eq!(
            Cookie::new("a", "1").to_string(),
            "a=1; Path=/; HttpOnly; SameSite=Lax"
        );
        let all = Cookie::new("a", "")
            .path("/x; Domain=evil.example\r\n")
            .domain("example.org")
            .max_age(Duration::from_millis(90_500))
            .http_only(false)
            .same_site(SameSite::None);
        assert_eq!(
            all.to_string(),
            "a=; Path=/x Domain=evil.example; Domain=example.org; Max-Age=90; Secure; SameSite=None"
        );
        assert!(
            Cookie::removal("a")
                .to_string()
                .starts_with("a=; Path=/; Max-Age=0;")
        );
    }

    #[test]
    fn a_value_that_was_set_is_read_as_the_same() {
        for value in [
            "",
            "abc",
            "a b;c=\"d\",e\\%25",
            "é\r\nSet-Cookie: x=1",
            "\"",
        ] {
            let set = Cookie::new("name", value).to_string();
            assert!(
                set.bytes()
                    .all(|byte| byte.is_ascii_graphic() || byte == b' '),
                "{set}"
            );
            let pair = set.split(';').next().unwrap();
            let sent = format!("Cookie: other=1; {pair}; names=2\r\n");
            assert_eq!(found(&sent, "name").as_deref(), Some(value));
        }
    }

    #[test]
    fn cookies_are_found_by_their_whole_name() {
        let sent = "Cookie: ab=1;a=2; a=3\r\ncookie: c=\"4\"; d\r\n";
        for (name, value) in [
            ("ab", Some("1")),
            ("a", Some("2")),
            ("c", Some("4")),
            ("d", None),
            ("b", None),
            ("A", None),
        ] {
            assert_eq!(found(sent, name).as_deref(), value, "{name}");
        }
    }

    #[test]
    #[should_panic(expected = "invalid cookie name `a=b`")]
    fn a_name_that_is_not_a_token_is_refused() {
        let _ = Cookie::new("a=b", "");
    }
}
