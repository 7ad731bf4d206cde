//! The facts of MLST and MLSD (RFC 3659 §7).

/// A fact that the server can send about a file.
#[allow(missing_docs, reason = "each is the fact of this name")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fact {
    Type,
    Perm,
    Size,
    Modify,
    Unique,
    UnixMode,
    UnixUid,
    UnixGid,
}

/// All facts with their names, in the order in which they are sent.
pub const FACTS: [(Fact, &str); 8] = [
    (Fact::Type, "type"),
    (Fact::Perm, "perm"),
    (Fact::Size, "size"),
    (Fact::Modify, "modify"),
    (Fact::Unique, "unique"),
    (Fact::UnixMode, "unix.mode"),
    (Fact::UnixUid, "unix.uid"),
    (Fact::UnixGid, "unix.gid"),
];

/// The facts that a client has selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts(u8);

impl Default for Facts {
    /// The facts that all clients use, and `unique`. The value of `unique` is the same for all
    /// links to one file.
    fn default() -> Facts {
        let chosen = [
            Fact::Type,
            Fact::Perm,
            Fact::Size,
            Fact::Modify,
            Fact::Unique,
        ];
        chosen.into_iter().fold(Facts(0), Facts::with)
    }
}

impl Facts {
    fn with(self, fact: Fact) -> Facts {
        Facts(self.0 | 1 << fact as u8)
    }

    /// Whether the client has selected this fact.
    pub fn has(self, fact: Fact) -> bool {
        self.0 & 1 << fact as u8 != 0
    }

    /// Parses the argument of `OPTS MLST`: names, each followed by `;`. Unknown facts are ignored
    /// (RFC 3659 §7.9). `None` if the argument is malformed.
    pub fn parse(argument: &[u8]) -> Option<Facts> {
        let argument = argument.trim_ascii();
        if argument.is_empty() {
            return Some(Facts(0));
        }
        let names = argument.strip_suffix(b";")?;
        let is_name = |name: &[u8]| !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
        let mut facts = Facts(0);
        for name in names.split(|byte| *byte == b';') {
            if !is_name(name) {
                return None;
            }
            let known = FACTS
                .iter()
                .find(|(_, own)| name.eq_ignore_ascii_case(own.as_bytes()));
            facts = known.map_or(facts, |(fact, _)| facts.with(*fact));
        }
        Some(facts)
    }

    /// The names of the selected facts, each followed by `;`.
    pub fn names(self) -> String {
        let chosen = FACTS.iter().filter(|(fact, _)| self.has(*fact));
        chosen.map(|(_, name)| format!("{name};")).collect()
    }

    /// The names of all facts for FEAT, each followed by `;`. A `*` marks the selected facts.
    pub fn feature(self) -> String {
        let shown = FACTS.iter().map(|(fact, name)| {
            let mark = if self.has(*fact) { "*" } else { "" };
            format!("{name}{mark};")
        });
        shown.collect()
    }
}

/// The check of the fuzzer: the selected facts do not change when they are formatted and parsed
/// again.
#[doc(hidden)]
pub fn check(argument: &[u8]) {
    if let Some(facts) = Facts::parse(argument) {
        assert_eq!(Facts::parse(facts.names().as_bytes()), Some(facts));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_chooses_facts() {
        for (argument, names) in [
            ("", ""),
            ("type;", "type;"),
            ("TyPe;SIZE;", "type;size;"),
            ("size;type;", "type;size;"),
            ("fish;cakes;", ""),
            ("fish;unix.mode;", "unix.mode;"),
        ] {
            let facts = Facts::parse(argument.as_bytes());
            assert_eq!(
                facts.map(Facts::names).as_deref(),
                Some(names),
                "{argument}"
            );
        }
        for wrong in ["type", ";", "type;;", "type; size;", "type ;", "bad_fact"] {
            assert_eq!(Facts::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn feat_marks_what_is_chosen() {
        let feature = Facts::default().feature();
        assert!(feature.starts_with("type*;perm*;size*;modify*;unique*;unix.mode;"));
        let one = Facts::parse(b"type;").unwrap().feature();
        assert!(one.starts_with("type*;perm;size;modify;"));
    }
}
