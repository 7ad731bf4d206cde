//! Parses `~/.netrc`: the user names and passwords for hosts. ftp(1), curl and Python's `netrc`
//! read the same format.

/// The entry of a host in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) login: Option<String>,
    pub(super) password: Option<String>,
}

/// Finds the first entry that is for the host, or is `default`, and has this user name. If `user`
/// is `None`, the entry may have any user name.
pub(super) fn find(text: &str, host: &str, user: Option<&str>) -> Option<Entry> {
    let mut tokens = Tokens { rest: text };
    let mut open: Option<Entry> = None;
    let fits = |entry: &Entry| user.is_none() || entry.login.as_deref() == user;
    while let Some(token) = tokens.next() {
        match token.as_str() {
            "machine" | "default" => {
                if let Some(entry) = open.take().filter(fits) {
                    return Some(entry);
                }
                let is_it = token == "default"
                    || tokens
                        .next()
                        .is_some_and(|name| name.eq_ignore_ascii_case(host));
                open = is_it.then(Entry::default);
            }
            "login" | "user" => {
                let login = tokens.next();
                if let Some(entry) = &mut open {
                    entry.login = login;
                }
            }
            "password" | "passwd" => {
                let password = tokens.next();
                if let Some(entry) = &mut open {
                    entry.password = password;
                }
            }
            "account" => {
                tokens.next();
            }
            // A macro ends at an empty line.
            "macdef" => tokens.skip_macro(),
            _ => {}
        }
    }
    open.filter(fits)
}

/// The words of the file, which are separated by white space. A word that is only `#` begins a
/// comment, which ends at the end of the line. A longer word that begins with `#` is not a comment,
/// because a password may begin with `#`.
struct Tokens<'a> {
    /// The part of the file that was not read yet.
    rest: &'a str,
}

impl Tokens<'_> {
    /// Returns the next word. It ends at white space, or at the closing quote if it begins with a
    /// quote. Between quotes, `\` escapes `"` and `\`.
    fn next(&mut self) -> Option<String> {
        self.rest = self.rest.trim_start();
        let mut chars = self.rest.char_indices();
        let is_quoted = self.rest.starts_with('"');
        if is_quoted {
            chars.next();
        }
        let mut word = String::new();
        let mut end = self.rest.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' if is_quoted => {
                    end = at + 1;
                    break;
                }
                '\\' if is_quoted => word.extend(chars.next().map(|(_, c)| c)),
                c if !is_quoted && c.is_whitespace() => {
                    end = at;
                    break;
                }
                c => word.push(c),
            }
        }
        let is_there = !self.rest.is_empty();
        self.rest = &self.rest[end..];
        if is_there && !is_quoted && word.starts_with('#') && word.len() == 1 {
            self.rest = self.rest.split_once('\n').map_or("", |(_, rest)| rest);
            return self.next();
        }
        is_there.then_some(word)
    }

    fn skip_macro(&mut self) {
        self.rest = self.rest.split_once("\n\n").map_or("", |(_, rest)| rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
# a comment
machine a login ada password secret
machine b
    login bob
    password \"with space \\\" and \\\\\"
    account x
macdef init
machine a login mallory password wrong

machine a login other password second
machine c password only
default login anonymous password me@
";

    fn found(host: &str, user: Option<&str>) -> Option<(Option<String>, Option<String>)> {
        find(FILE, host, user).map(|entry| (entry.login, entry.password))
    }

    #[test]
    fn entries_are_found_by_host_and_user() {
        let pair =
            |login: &str, password: &str| Some((Some(login.to_owned()), Some(password.to_owned())));
        assert_eq!(found("a", None), pair("ada", "secret"));
        assert_eq!(found("A", Some("ada")), pair("ada", "secret"));
        assert_eq!(found("a", Some("other")), pair("other", "second"));
        assert_eq!(found("a", Some("mallory")), None);
        assert_eq!(found("b", None), pair("bob", "with space \" and \\"));
        assert_eq!(found("c", None), Some((None, Some("only".to_owned()))));
        assert_eq!(found("d", None), pair("anonymous", "me@"));
        assert_eq!(found("d", Some("anonymous")), pair("anonymous", "me@"));
        assert_eq!(found("d", Some("ada")), None);
    }

    #[test]
    fn a_broken_file_is_read_as_far_as_it_goes() {
        assert_eq!(find("", "a", None), None);
        assert_eq!(find("machine", "a", None), None);
        assert_eq!(find("machine a", "a", None), Some(Entry::default()));
        assert_eq!(find("machine a login", "a", None), Some(Entry::default()));
        let open = find("machine a password \"x y", "a", None).unwrap();
        assert_eq!(open.password.as_deref(), Some("x y"));
        assert_eq!(
            find("machine a password #x", "a", None)
                .unwrap()
                .password
                .unwrap(),
            "#x"
        );
        let only = find("machine a # comment\nlogin b", "a", None).unwrap();
        assert_eq!(only.login.as_deref(), Some("b"));
    }
}
