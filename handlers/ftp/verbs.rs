//! The table of verbs. The dispatch of commands, HELP, FEAT and the documentation use it.

mod table;

pub use table::VERBS;

/// The verbs for dispatch. An old name such as XCWD has the value of its verb.
#[allow(missing_docs, reason = "each is the verb of this name")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[rustfmt::skip]
pub enum Verb {
    Abor, Acct, Allo, Appe, Auth, Ccc, Cdup, Cwd, Dele, Eprt, Epsv, Feat, Hash, Help, Host, Lang,
    List, Mdtm, Mfmt, Mkd, Mlsd, Mlst, Mode, Nlst, Noop, Opts, Pass, Pasv, Pbsz, Port, Prot, Pwd,
    Quit, Rein, Rest, Retr, Rmd, Rnfr, Rnto, Site, SiteChmod, SiteHelp, SiteQuota, Size, Stat, Stor,
    Stou, Stru, Syst, Type, User, Xmd5, Xsha1, Xsha256,
}

/// Whether a verb takes an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// The verb takes no argument.
    Refused,
    /// The verb may have an argument.
    Optional,
    /// The verb must have an argument.
    Required,
}

/// The lines of a verb in the reply to FEAT (RFC 2389 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// No line, because the verb is part of RFC 959.
    None,
    /// These lines.
    Lines(&'static [&'static str]),
    /// These lines if the server has a certificate.
    WithTls(&'static [&'static str]),
    /// A line with the facts of MLST and MLSD. The selected facts are marked.
    Facts,
    /// A line with the digests of HASH. The selected digest is marked.
    Digests,
}

/// A verb of the table.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The verb for dispatch.
    pub verb: Verb,
    /// The name that the client sends, in upper case.
    pub name: &'static str,
    /// Whether the verb takes an argument.
    pub argument: Argument,
    /// The argument as HELP shows it; empty if the verb takes none.
    pub syntax: &'static str,
    /// Whether the client must be logged in.
    pub needs_login: bool,
    /// The rights that the verb needs, in the letters of pyftpdlib; empty if none.
    pub rights: &'static str,
    /// Whether the verb runs during a transfer. Otherwise it waits for the end of the transfer.
    pub during_transfer: bool,
    /// The lines of the verb in the reply to FEAT.
    pub feature: Feature,
    /// A sentence that describes the verb, for HELP and the documentation.
    pub help: &'static str,
}

const fn entry(
    verb: Verb,
    name: &'static str,
    (argument, syntax): (Argument, &'static str),
    help: &'static str,
) -> Entry {
    Entry {
        verb,
        name,
        argument,
        syntax,
        needs_login: true,
        rights: "",
        during_transfer: true,
        feature: Feature::None,
        help,
    }
}

impl Entry {
    const fn open(self) -> Entry {
        Entry {
            needs_login: false,
            ..self
        }
    }

    const fn needs(self, rights: &'static str) -> Entry {
        Entry { rights, ..self }
    }

    const fn waits(self) -> Entry {
        Entry {
            during_transfer: false,
            ..self
        }
    }

    const fn feature(self, feature: Feature) -> Entry {
        Entry { feature, ..self }
    }

    /// The name and the argument of the verb, as HELP shows them.
    pub fn usage(&self) -> String {
        match self.syntax {
            "" => self.name.to_owned(),
            syntax => format!("{} {syntax}", self.name),
        }
    }
}

/// Verbs of RFC 959 and RFC 2228 that are not implemented. The reply to them is 502.
pub const UNIMPLEMENTED: &[&str] = &["ADAT", "CONF", "ENC", "MIC", "SMNT"];

/// Finds the entry of a verb by its name in upper case.
pub fn find(name: &[u8]) -> Option<&'static Entry> {
    VERBS.iter().find(|entry| entry.name.as_bytes() == name)
}

/// The table of verbs in `docs/ftp.md`.
pub fn markdown() -> String {
    let mut table = String::from(
        "| verb | argument | before the login | rights | during a transfer | what it does |\n\
         |---|---|---|---|---|---|\n",
    );
    for entry in VERBS {
        let yes = |is: bool| if is { "yes" } else { "no" };
        let syntax = match entry.syntax {
            "" => String::new(),
            syntax => format!("`{}`", syntax.replace('|', "\\|")),
        };
        table += &format!(
            "| {} | {syntax} | {} | {} | {} | {} |\n",
            entry.name,
            yes(!entry.needs_login),
            entry.rights,
            if entry.during_transfer {
                "yes"
            } else {
                "waits"
            },
            entry.help
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_names_each_verb_once() {
        assert!(VERBS.is_sorted_by(|one, other| one.name < other.name));
        for entry in VERBS {
            let shows_argument = !entry.syntax.is_empty();
            assert_eq!(
                shows_argument,
                entry.argument != Argument::Refused,
                "{}",
                entry.name
            );
            assert!(entry.help.ends_with('.'), "{}", entry.name);
            assert_eq!(find(entry.name.as_bytes()).unwrap().verb, entry.verb);
        }
        assert!(
            UNIMPLEMENTED
                .iter()
                .all(|name| find(name.as_bytes()).is_none())
        );
    }
}
