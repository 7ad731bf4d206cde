//! Lists a folder on the server, and finds the properties of one path.

use std::io::{self, BufRead, BufReader, Read};

use super::data::Direction;
use super::fault::Fault;
use super::listing::{Entry, Kind, Line, check_entry, list, mlsd, without_line_end};
use super::path::{RemotePath, shown};
use super::session::Session;

/// Maximum number of entries of one folder.
const MAX_ENTRIES: usize = 1_000_000;
/// Maximum length of one line of a listing in bytes.
const MAX_LINE: u64 = 16 * 1024;

/// The entries of a folder.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The name and the properties of each entry.
    pub(super) entries: Vec<(Vec<u8>, Entry)>,
    /// A message for each line that was left out because it is malformed or has an invalid name.
    pub(super) refused: Vec<String>,
}

/// The lines of one data connection.
#[derive(Default)]
struct Lines {
    listing: Listing,
    /// Whether there was a line for the folder itself. `LIST -a` returns such a line, unless the
    /// server does not know `-a`.
    has_self: bool,
}

impl Session<'_> {
    /// The entries of a folder, without the folder itself and its parent.
    pub(super) fn list(&mut self, folder: &RemotePath) -> Result<Listing, Fault> {
        if self.features.mlst {
            let argument = folder.argument();
            let argument = (!folder.is_empty()).then_some(&*argument);
            match self.lines("MLSD", argument, |line| (mlsd::parse(line), false)) {
                Err(Fault::Refused {
                    code: 500 | 502, ..
                }) => self.features.mlst = false,
                lines => return lines.map(|lines| lines.listing),
            }
        }
        if folder.is_empty() {
            return self.list_here();
        }
        // LIST is sent without an argument, because a server may take parts of an argument for
        // wildcards or options. So the session first changes to the folder.
        let home = self.home()?;
        self.done("CWD", Some(&folder.argument()))?;
        let listing = self.list_here();
        if self.is_alive() {
            self.done("CWD", Some(&home))?;
        }
        listing
    }

    /// Lists the working directory of the session by LIST. The listing contains hidden files if the
    /// server knows the option `-a` of `ls`.
    fn list_here(&mut self) -> Result<Listing, Fault> {
        let today = jiff::Zoned::now().date();
        let parse = |line: &[u8]| {
            let is_self = line.starts_with(b"d") && without_line_end(line).ends_with(b" .");
            (list::parse(line, today), is_self)
        };
        if self.list_all != Some(false) {
            match self.lines("LIST", Some(b"-a"), parse) {
                Ok(lines) if lines.has_self => {
                    self.list_all = Some(true);
                    return Ok(lines.listing);
                }
                Ok(_) | Err(Fault::Refused { .. }) => self.list_all = Some(false),
                Err(fault) => return Err(fault),
            }
        }
        self.lines("LIST", None, parse).map(|lines| lines.listing)
    }

    /// The working directory after the login, from the reply to PWD (RFC 959).
    fn home(&mut self) -> Result<Vec<u8>, Fault> {
        if let Some(home) = &self.home {
            return Ok(home.clone());
        }
        let reply = self.done("PWD", None)?;
        let line = reply.lines.first().map(Vec::as_slice).unwrap_or_default();
        let home = quoted(line).ok_or_else(|| {
            Fault::Local(format!(
                "the reply to PWD names no folder: {}",
                reply.text()
            ))
        })?;
        Ok(self.home.insert(home).clone())
    }

    fn lines(
        &mut self,
        verb: &str,
        argument: Option<&[u8]>,
        parse: impl Fn(&[u8]) -> (Line, bool),
    ) -> Result<Lines, Fault> {
        let data = self.begin(verb, argument, 0, Direction::Receive)?;
        let mut data = BufReader::with_capacity(64 * 1024, data);
        let mut lines = Lines::default();
        match lines.read(&mut data, parse) {
            Ok(()) => self.end(data.into_inner(), Direction::Receive, 0)?,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                self.abort(data.into_inner());
                return Err(Fault::Broken(error.to_string()));
            }
            Err(error) => {
                drop(data);
                return Err(self.reason_for(&error));
            }
        }
        Ok(lines)
    }

    /// Returns the properties of one path. `None` if the path does not exist, or if the server
    /// returns no properties.
    pub(super) fn stat(&mut self, path: &RemotePath) -> Result<Option<Entry>, Fault> {
        if self.features.mlst {
            let reply = self.command("MLST", Some(&path.argument()))?;
            if reply.is_done() {
                let facts = reply.lines.iter().skip(1).find_map(|line| {
                    // A space comes before the facts. The name is not used.
                    match mlsd::parse(line.strip_prefix(b" ").unwrap_or(line)) {
                        Line::Entry(_, entry) => Some(entry),
                        _ => None,
                    }
                });
                // If the reply contains no entry, its type is `cdir` or `pdir`, so the path is a
                // folder.
                return Ok(facts.or(Some(FOLDER)));
            }
            if !reply.is_unknown_command() {
                return Ok(None);
            }
            self.features.mlst = false;
        }
        let size = self.size(path)?;
        let Some(size) = size else {
            return Ok(None);
        };
        let modified = self.modified(path)?;
        Ok(Some(Entry {
            kind: Kind::File,
            size: Some(size),
            modified,
            is_exact: true,
        }))
    }
}

/// A folder without known properties.
const FOLDER: Entry = Entry {
    kind: Kind::Folder,
    size: None,
    modified: None,
    is_exact: true,
};

impl Lines {
    /// Reads and parses all lines.
    ///
    /// # Errors
    /// `InvalidData` if a limit is exceeded, and the errors of the connection.
    fn read(
        &mut self,
        data: &mut impl BufRead,
        parse: impl Fn(&[u8]) -> (Line, bool),
    ) -> io::Result<()> {
        let too_much = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let mut line = Vec::new();
        loop {
            line.clear();
            if data.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            if line.len() as u64 == MAX_LINE && !line.ends_with(b"\n") {
                return Err(too_much("a line of the listing has more than 16 KiB"));
            }
            if self.listing.entries.len() + self.listing.refused.len() >= MAX_ENTRIES {
                return Err(too_much("the listing has more than a million entries"));
            }
            let (parsed, is_self) = parse(&line);
            self.has_self |= is_self;
            self.listing.take(parsed, &line);
        }
    }
}

impl Listing {
    fn take(&mut self, parsed: Line, line: &[u8]) {
        match parsed {
            Line::Nothing => {}
            Line::Unknown => {
                let line = shown(without_line_end(line));
                self.refused.push(format!(
                    "a line of the listing cannot be understood: {line}"
                ));
            }
            Line::Entry(name, entry) => match check_entry(&name) {
                Ok(()) => self.entries.push((name, entry)),
                Err(why) => {
                    let name = shown(&name);
                    self.refused.push(format!(
                        "the server lists `{name}`, which is refused: {why}"
                    ));
                }
            },
        }
    }
}

/// The text between the first and the last quote. In this text, two quotes mean one quote (RFC 959
/// appendix II).
fn quoted(line: &[u8]) -> Option<Vec<u8>> {
    let first = line.iter().position(|byte| *byte == b'"')?;
    let mut text = Vec::new();
    let mut bytes = line[first + 1..].iter().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' if bytes.peek() == Some(&&b'"') => {
                bytes.next();
                text.push(b'"');
            }
            b'"' => return Some(text),
            byte => text.push(*byte),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> io::Result<Lines> {
        let mut lines = Lines::default();
        lines
            .read(&mut BufReader::new(bytes), |line| {
                (mlsd::parse(line), false)
            })
            .map(|()| lines)
    }

    #[test]
    fn names_that_lead_elsewhere_are_left_out_and_reported() {
        let listing = read(
            b"type=file;size=1; a\r\ntype=dir; ..\r\ntype=file; ../x\r\ntype=file; /etc/p\r\n\
              type=file; \r\nrubbish\r\ntype=cdir; .\r\ntype=dir; d\n",
        )
        .unwrap()
        .listing;
        let names: Vec<_> = listing
            .entries
            .iter()
            .map(|(name, _)| shown(name))
            .collect();
        assert_eq!(names, ["a", "d"]);
        assert_eq!(listing.refused.len(), 5, "{:?}", listing.refused);
    }

    #[test]
    fn a_line_without_end_is_refused() {
        assert!(read(&vec![b'a'; 1 << 20]).is_err());
        assert!(read(&[b"type=file; ".to_vec(), vec![b'a'; 4000]].concat()).is_ok());
    }

    #[test]
    fn the_folder_is_found_in_the_reply_to_pwd() {
        for (line, folder) in [
            ("\"/a b\" is the current directory", Some("/a b")),
            ("\"/a\"\"b\"", Some("/a\"b")),
            ("\"\"", Some("")),
            ("\"/a", None),
            ("/a", None),
        ] {
            assert_eq!(
                quoted(line.as_bytes()).as_deref(),
                folder.map(str::as_bytes),
                "{line}"
            );
        }
    }
}
