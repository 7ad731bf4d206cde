//! `--redirect`: redirects a path to another path or to a URL.

use socketserver_http::protocol::target;

/// The redirect of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    status: u16,
    /// The path, decoded and without a slash at either end.
    from: Vec<u8>,
    to: String,
}

impl Redirect {
    /// Parses `[STATUS:]FROM=TO`. FROM is a path below the site's root. TO is such a path too, or
    /// an `http` or `https` URL. The status is 301, 302, 307 or 308. Defaults to 301.
    ///
    /// # Errors
    /// The text is invalid. The error says what is expected.
    pub fn parse(text: &str) -> Result<Redirect, String> {
        let (status, rule) = match text.split_once(':') {
            Some((status, rule)) if !status.starts_with('/') => (status, rule),
            _ => ("301", text),
        };
        let status = match status {
            "301" => 301,
            "302" => 302,
            "307" => 307,
            "308" => 308,
            _ => {
                return Err(
                    "expected /FROM=TO, or 302:/FROM=TO; the status is 301, 302, 307 or 308"
                        .to_owned(),
                );
            }
        };
        let (from, to) = rule.split_once('=').ok_or("expected /FROM=TO")?;
        let target =
            target::parse(from.as_bytes()).map_err(|error| format!("`{from}`: {error}"))?;
        if target.query.is_some() {
            return Err(format!("`{from}`: a path has no `?`"));
        }
        let is_url = to.starts_with("https://") || to.starts_with("http://");
        // Browsers read `//host` as a URL on another host.
        if !is_url && (!to.starts_with('/') || to.starts_with("//"))
            || !to.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(format!(
                "invalid target `{}`: use a path or a URL of http or https",
                to.escape_debug()
            ));
        }
        if target::parse(to.as_bytes()).is_ok_and(|to| to.path == target.path) {
            return Err(format!("`{from}` would lead to itself"));
        }
        Ok(Redirect {
            status,
            from: target.path.into_owned(),
            to: to.to_owned(),
        })
    }

    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    pub(crate) fn is_of(&self, path: &[u8]) -> bool {
        self.from == path
    }

    /// The `Location`. `root` is the URL path of the site's root, with a slash at its end. The
    /// query of the request is added, unless the rule has a query.
    pub(crate) fn location(&self, root: &str, query: Option<&[u8]>) -> String {
        let mut location = match self.to.strip_prefix('/') {
            Some(path) => format!("{root}{path}"),
            None => self.to.clone(),
        };
        if let Some(query) = query.filter(|_| !location.contains(['?', '#'])) {
            location.push('?');
            location.push_str(&target::encode_query(query));
        }
        location
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_leads_from_a_path_to_a_path_or_a_url() {
        for (rule, path, status, location) in [
            ("/old=/new", "old", 301, "/base/new?q=1"),
            ("/a%20b/=/c?d=e", "a b", 301, "/base/c?d=e"),
            ("302:/a=https://h:8/b=c", "a", 302, "https://h:8/b=c?q=1"),
            ("308:/=/home", "", 308, "/base/home?q=1"),
            ("307:/a=/b#part", "a", 307, "/base/b#part"),
        ] {
            let redirect = Redirect::parse(rule).unwrap();
            assert!(
                redirect.is_of(path.as_bytes()) && !redirect.is_of(b"other"),
                "{rule}"
            );
            assert_eq!(
                (
                    redirect.status(),
                    &*redirect.location("/base/", Some(b"q=1"))
                ),
                (status, location)
            );
        }
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for rule in [
            "",
            "/a",
            "a=/b",
            "/a=b",
            "/a=",
            "/a=//host",
            "/a=javascript:x",
            "/a=ftp://h",
            "200:/a=/b",
            "303:/a=/b",
            ":/a=/b",
            "/a?b=/c",
            "/../a=/b",
            "/a=/b\r\nC: d",
            "/a=/b c",
            "/a=/a",
            "/a=/./a?b",
        ] {
            assert!(Redirect::parse(rule).is_err(), "{rule:?}");
        }
    }
}
