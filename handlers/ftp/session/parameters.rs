//! TYPE, MODE, STRU, REST, ALLO and OPTS: how the next transfers are made.

use super::{Answer, Session};
use crate::ftp::facts::Facts;
use crate::ftp::path::VirtualPath;
use crate::ftp::reply::{Refused, Reply};
use crate::ftp::transfer::Coding;
use crate::ftp::upload;

use super::digest::Algorithm;

/// What the client has set.
#[derive(Debug)]
pub(super) struct Parameters {
    pub(super) coding: Coding,
    /// Where the next transfer starts.
    pub(super) restart: u64,
    pub(super) facts: Facts,
    pub(super) algorithm: Algorithm,
    /// What RNFR has named.
    pub(super) rename_from: Option<VirtualPath>,
    /// The client has said that it uses EPSV only (RFC 2428 §4).
    pub(super) is_epsv_only: bool,
}

impl Default for Parameters {
    fn default() -> Parameters {
        Parameters {
            // RFC 959 §5.1: the default type is ASCII.
            coding: Coding {
                is_text: true,
                is_compressed: false,
            },
            restart: 0,
            facts: Facts::default(),
            algorithm: Algorithm::default(),
            rename_from: None,
            is_epsv_only: false,
        }
    }
}

impl Parameters {
    pub(super) fn reset(&mut self) {
        *self = Parameters::default();
    }
}

/// A number without sign.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    let is_plain = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    is_plain
        .then(|| std::str::from_utf8(text).ok()?.parse().ok())
        .flatten()
}

/// STRU: files have no structure.
pub(super) fn stru(argument: &[u8]) -> Answer {
    match &*argument.trim_ascii().to_ascii_uppercase() {
        b"F" => Ok(Some(Reply::new(200, "Structure set to F."))),
        b"R" | b"P" => Err(Refused::new(
            504,
            "This structure is not implemented: use F.",
        )),
        _ => Err(Refused::new(501, "Unknown structure: use F.")),
    }
}

impl Session {
    pub(super) fn set_type(&mut self, argument: &[u8]) -> Answer {
        let upper = argument.trim_ascii().to_ascii_uppercase();
        let is_text = match &*upper {
            b"A" | b"A N" | b"AN" => true,
            b"I" | b"L 8" | b"L8" => false,
            _ => {
                let shown = String::from_utf8_lossy(argument);
                let text = format!("Unsupported type \"{}\".", shown.escape_debug());
                return Err(Refused::new(504, text));
            }
        };
        self.parameters.coding.is_text = is_text;
        let name = if is_text { "ASCII" } else { "binary" };
        Ok(Some(Reply::new(200, format!("Type set to {name}."))))
    }

    pub(super) fn mode(&mut self, argument: &[u8]) -> Answer {
        let is_compressed = match &*argument.trim_ascii().to_ascii_uppercase() {
            b"S" => false,
            b"Z" => true,
            b"B" | b"C" => {
                return Err(Refused::new(
                    504,
                    "This mode is not implemented: use S or Z.",
                ));
            }
            _ => return Err(Refused::new(501, "Unknown mode: use S or Z.")),
        };
        self.parameters.coding.is_compressed = is_compressed;
        let name = if is_compressed { "Z" } else { "S" };
        Ok(Some(Reply::new(200, format!("Mode {name}."))))
    }

    pub(super) fn rest(&mut self, argument: &[u8]) -> Answer {
        let Some(offset) = number(argument.trim_ascii()) else {
            return Err(Refused::new(501, "Invalid parameter."));
        };
        if offset > 0 && self.parameters.coding.is_text {
            // Lines have other lengths on the network than in the file.
            let text = "REST is refused in text mode: send TYPE I first.";
            return Err(Refused::new(501, text));
        }
        self.parameters.restart = offset;
        Ok(Some(Reply::new(
            350,
            format!("Restarting at position {offset}."),
        )))
    }

    /// ALLO: the client asks whether there is room, and sets nothing aside.
    pub(super) fn allo(&mut self, argument: &[u8]) -> Answer {
        let first = argument.split(|byte| *byte == b' ').next();
        let Some(bytes) = first.and_then(number) else {
            return Err(Refused::new(
                501,
                "Syntax error: ALLO takes a number of bytes.",
            ));
        };
        let view = self.view()?;
        let quota_user = view.user.account().map(|account| account.name.as_str());
        let store = &view.storage.store;
        match store.check_room(quota_user, bytes) {
            Ok(()) => Ok(Some(Reply::new(
                202,
                "There is room; nothing is set aside.",
            ))),
            Err(error) => Err(upload::refused(&error)),
        }
    }

    pub(super) fn opts(&mut self, argument: &[u8]) -> Answer {
        let mut parts = argument.splitn(2, |byte| *byte == b' ');
        let verb = parts.next().unwrap_or_default().to_ascii_uppercase();
        let option = parts.next().unwrap_or_default();
        match &*verb {
            b"UTF8" | b"UTF-8" => match &*option.trim_ascii().to_ascii_uppercase() {
                b"" | b"ON" => Ok(Some(Reply::new(200, "Always in UTF8 mode."))),
                _ => Err(Refused::new(501, "Names are always in UTF-8.")),
            },
            b"MLST" => {
                let Some(facts) = Facts::parse(option) else {
                    return Err(Refused::new(501, "Invalid argument."));
                };
                self.parameters.facts = facts;
                let text = format!("MLST OPTS {}", facts.names());
                Ok(Some(Reply::new(200, text)))
            }
            b"HASH" => self.set_algorithm(option),
            _ => Err(Refused::new(501, "Unsupported command.")),
        }
    }
}
