//! `socketserver users import`

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;

use crate::accounts::{
    ANONYMOUS, AccountsError, Imported, NewUser, Prefix, Rights, Store, check_hash, check_name,
};
use crate::service::Failure;

/// Maximum length of a line in bytes.
const MAX_LINE: usize = 4096;
/// Maximum number of lines, and of lines that are reported.
const MAX_LINES: usize = 1_000_000;
const SECONDS_PER_DAY: u64 = 24 * 60 * 60;

/// The file, and what its users get.
#[derive(Debug, Args)]
pub(in crate::cli) struct Import {
    /// The file of htpasswd, or with lines like those of passwd or shadow; - for standard input
    #[arg(value_name = "FILE")]
    from: PathBuf,
    #[command(flatten)]
    file: super::AccountsFile,
    /// What the new users may do below their home directories: letters of lrwd (list, read, write,
    /// delete), or -
    #[arg(
        long,
        value_name = "RIGHTS",
        default_value = "lr",
        allow_hyphen_values = true
    )]
    rights: Rights,
    /// Home directory, below the served one, of new users whose line has none
    #[arg(long, value_name = "PATH", default_value = "/")]
    home: Prefix,
    /// The served directory: the home directories in FILE are paths of the system below it
    /// [default: they are paths below the served directory]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Change the passwords of users that exist already; their home directories, rights and limits
    /// stay
    #[arg(long)]
    overwrite: bool,
}

/// A line of the file, with a hash that logins are possible with.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    name: String,
    hash: String,
    /// The home directory of a line like those of passwd.
    home: Option<String>,
}

/// A line that cannot be imported: its number, and the reason.
type Refused = (usize, String);
/// A line that can be imported, with its number. The first line is 1.
type Numbered = (usize, Line);

impl Import {
    /// Imports the users, and prints their number and a line for each one that cannot be imported.
    ///
    /// # Errors
    /// The file cannot be read, or the accounts file cannot be written.
    pub(super) fn run(self) -> Result<u8, Failure> {
        let shown = self.from.display().to_string();
        let failed = |error: io::Error| Failure::usage(format!("{shown}: {error}"));
        let lines = if self.from == Path::new("-") {
            read(io::stdin().lock())
        } else {
            File::open(&self.from).and_then(|file| read(BufReader::new(file)))
        };
        let (lines, mut refused) = lines.map_err(failed)?;
        let mut users = Vec::new();
        for (number, line) in &lines {
            match self.user(line) {
                Ok(user) => users.push((*number, user)),
                Err(reason) => refused.push((*number, reason)),
            }
        }
        let counts = self.store(users, &mut refused)?;
        refused.sort_unstable();
        for (number, reason) in &refused {
            let line = format!("socketserver: {shown}:{number}: {reason}\n");
            // An error is ignored, because the exit code shows the failure, too.
            let _ = io::stderr().write_all(line.as_bytes());
        }
        crate::cli::print(summary(counts, refused.len()).as_bytes())?;
        Ok(u8::from(!refused.is_empty()))
    }

    fn user<'a>(&self, line: &'a Line) -> Result<NewUser<'a>, String> {
        let home = match &line.home {
            Some(home) => self.home_of(home)?,
            None => self.home.clone(),
        };
        Ok(NewUser {
            name: &line.name,
            hash: Some(line.hash.clone()),
            home,
            quota: None,
            rights: self.rights,
        })
    }

    fn home_of(&self, home: &str) -> Result<Prefix, String> {
        let Some(root) = &self.root else {
            return home.parse();
        };
        let below = Path::new(home).strip_prefix(root).map_err(|_| {
            let root = root.display();
            format!(
                "the home directory {} is not below {root}",
                home.escape_debug()
            )
        })?;
        format!("/{}", below.display()).parse()
    }

    /// Stores the users. Returns the number of new users, and the number of changed passwords.
    fn store(
        &self,
        users: Vec<(usize, NewUser<'_>)>,
        refused: &mut Vec<Refused>,
    ) -> Result<[usize; 2], Failure> {
        if users.is_empty() {
            return Ok([0; 2]);
        }
        let store = Store::create(&self.file.accounts)?;
        let (numbers, users): (Vec<usize>, Vec<NewUser<'_>>) = users.into_iter().unzip();
        let mut counts = [0; 2];
        let imported = store.import(&users, self.overwrite)?;
        for ((number, user), imported) in numbers.iter().zip(&users).zip(imported) {
            match imported {
                Imported::Added => counts[0] += 1,
                Imported::PasswordChanged => counts[1] += 1,
                Imported::Exists => refused.push((
                    *number,
                    format!(
                        "there is a user '{}' already; --overwrite changes the password",
                        user.name
                    ),
                )),
            }
        }
        Ok(counts)
    }
}

fn summary([added, changed]: [usize; 2], refused: usize) -> String {
    let counts = [("passwords changed", changed), ("lines refused", refused)];
    let counts = counts.iter().filter(|(_, count)| *count > 0);
    let counts: String = counts
        .map(|(what, count)| format!(", {what}: {count}"))
        .collect();
    format!("users added: {added}{counts}\n")
}

/// Reads a file. Returns the lines that can be imported with their numbers, and those that cannot.
fn read(mut input: impl BufRead) -> io::Result<(Vec<Numbered>, Vec<Refused>)> {
    let (mut lines, mut refused) = (Vec::new(), Vec::new());
    let mut numbers: HashMap<String, usize> = HashMap::new();
    for number in 1.. {
        let mut bytes = Vec::new();
        let limit = MAX_LINE as u64 + 1;
        if input.by_ref().take(limit).read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        if number > MAX_LINES {
            return Err(io::Error::other(format!("more than {MAX_LINES} lines")));
        }
        if bytes.len() > MAX_LINE {
            if !bytes.ends_with(b"\n") {
                input.skip_until(b'\n')?;
            }
            refused.push((number, format!("the line is longer than {MAX_LINE} bytes")));
            continue;
        }
        match parse(&bytes) {
            Ok(None) => {}
            Ok(Some(line)) => match numbers.insert(line.name.clone(), number) {
                None => lines.push((number, line)),
                Some(first) => {
                    numbers.insert(line.name.clone(), first);
                    let name = line.name;
                    refused.push((
                        number,
                        format!("the user '{name}' is in line {first} already"),
                    ));
                }
            },
            Err(reason) => refused.push((number, reason)),
        }
    }
    Ok((lines, refused))
}

/// Parses a line with its line end: `name:hash`, optionally followed by a comment (htpasswd), or
/// the fields of passwd or shadow. `None` for an empty line and for a comment.
///
/// The last but one field of passwd is the home directory, an absolute path. That of shadow is a
/// date.
fn parse(line: &[u8]) -> Result<Option<Line>, String> {
    let line = std::str::from_utf8(line).map_err(|_| "the line is not UTF-8".to_owned())?;
    let line = line.strip_suffix('\n').unwrap_or(line);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.trim().is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let fields: Vec<&str> = line.split(':').collect();
    let [name, hash, ..] = fields[..] else {
        return Err("there is no `:`: the line must be NAME:HASH".to_owned());
    };
    check_name(name).map_err(|error: AccountsError| error.to_string())?;
    if name == ANONYMOUS {
        let text = "the user 'anonymous' has no password: add it with `users add`";
        return Err(text.to_owned());
    }
    check_hash(hash)?;
    if has_expired(&fields, today()) {
        return Err("the account has expired (field 8 of shadow)".to_owned());
    }
    let home = match fields[..] {
        [_, _, .., home, _] if home.starts_with('/') => Some(home.to_owned()),
        _ => None,
    };
    Ok(Some(Line {
        name: name.to_owned(),
        hash: hash.to_owned(),
        home,
    }))
}

/// Whether a line of shadow is of an expired account. Such an account keeps its password after
/// `usermod --expiredate`, but no login is allowed: shadow(5), field 8, in days since 1970.
fn has_expired(fields: &[&str], today: u64) -> bool {
    let [_, _, _, _, _, _, _, expires, _] = fields else {
        return false;
    };
    expires.parse().is_ok_and(|expires: u64| expires <= today)
}

/// Returns the number of days since 1970, in UTC.
fn today() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs() / SECONDS_PER_DAY
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$5$abc$qsg6EHbUzHQzF1POlD7zUwBINSELQxypPaeDcZe6vH0";

    fn line(name: &str, home: Option<&str>) -> Line {
        Line {
            name: name.to_owned(),
            hash: HASH.to_owned(),
            home: home.map(str::to_owned),
        }
    }

    #[test]
    fn lines_of_htpasswd_passwd_and_shadow_are_read() {
        for (rest, home) in [
            ("", None),
            (":a comment", None),
            (":1000:1000:Ada, room 7:/srv/ada:/bin/sh", Some("/srv/ada")),
            (":1000:1000::/srv/ada:", Some("/srv/ada")),
            (":1000:1000:::", None),
            (":19000:0:99999:7:::", None),
            (":19000:0:99999:7::9999999:", None),
            (":/srv/ada:/bin/sh", Some("/srv/ada")),
            (":/a comment", None),
        ] {
            for end in ["", "\n", "\r\n"] {
                let text = format!("ada:{HASH}{rest}{end}");
                let parsed = parse(text.as_bytes());
                assert_eq!(parsed, Ok(Some(line("ada", home))), "{text:?}");
            }
        }
        for text in ["", "\n", "  \n", "# comment\n", "#ada:x\r\n"] {
            assert_eq!(parse(text.as_bytes()), Ok(None), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_line_of_a_user_has_a_reason() {
        for (text, reason) in [
            (&b"ada"[..], "NAME:HASH"),
            (b"ada:", "no password hash"),
            (b":x", "invalid user name"),
            (b"a/b:x", "invalid user name"),
            (b"ada:\xff", "not UTF-8"),
            (b"anonymous:x", "no password"),
            (b"ada:$apr1$a$b", "$apr1$"),
        ] {
            let refused = parse(text).unwrap_err();
            assert!(refused.contains(reason), "{refused}");
        }
    }

    #[test]
    fn an_account_of_shadow_that_has_expired_is_refused() {
        let expires = |day: u64| format!("ada:{HASH}:19000:0:99999:7::{day}:");
        for day in [0, 1, 19_000, today()] {
            let refused = parse(expires(day).as_bytes()).unwrap_err();
            assert!(refused.contains("has expired"), "{refused}");
        }
        let later = parse(expires(today() + 2).as_bytes());
        assert_eq!(later, Ok(Some(line("ada", None))));
        // The lines of other files have no such field.
        let passwd = format!("ada:{HASH}:1:1:Ada:/srv/ada:/bin/sh");
        assert!(parse(passwd.as_bytes()).is_ok());
    }

    #[test]
    fn long_lines_and_repeated_names_are_refused_by_number() {
        let long = "x".repeat(MAX_LINE);
        let text = format!("ada:{HASH}\n{long}\nbob:{long}\nada:{HASH}\ncyd:{HASH}");
        let (lines, refused) = read(text.as_bytes()).unwrap();
        assert_eq!(lines, [(1, line("ada", None)), (5, line("cyd", None))]);
        let numbers: Vec<usize> = refused.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [2, 3, 4]);
        assert!(refused[2].1.contains("line 1"), "{refused:?}");
    }
}
