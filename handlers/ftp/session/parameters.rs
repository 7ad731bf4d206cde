//! TYPE, MODE, STRU, REST, ALLO and OPTS: the parameters of transfers.

use super::digest::Algorithm;
use super::{Answer, Session};
use crate::ftp::command::number;
use crate::ftp::facts::Facts;
use crate::ftp::path::VirtualPath;
use crate::ftp::reply::{Refused, Reply};
use crate::ftp::transfer::Coding;
use crate::ftp::upload;

/// The parameters that the client has set.
#[derive(Debug)]
pub(super) struct Parameters {
    /// TYPE and MODE.
    pub(super) coding: Coding,
    /// The offset in bytes at which the next transfer starts.
    pub(super) restart: u64,
    /// The facts that MLST and MLSD send.
    pub(super) facts: Facts,
    /// The digest that HASH computes.
    pub(super) algorithm: Algorithm,
    /// The path that RNFR has set; `None` after RNTO.
    pub(super) rename_from: Option<VirtualPath>,
    /// Set by EPSV ALL: the client will use only EPSV (RFC 2428 §4).
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

/// The text of the reply that refuses an offset in text mode.
pub(super) const REST_NEEDS_BINARY: &str = "REST is refused in text mode: send TYPE I first.";

/// STRU: the server supports only F (files without a structure).
pub(super) fn stru(argument: &[u8]) -> Answer {
    match &*argument.trim_ascii().to_ascii_uppercase() {
        b"F" => Ok(Some(Reply::new(200, "The structure is F."))),
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
                let text = format!(
                    "Unknown type \"{}\": use A, I or L 8.",
                    shown.escape_debug()
                );
                return Err(Refused::new(504, text));
            }
        };
        self.parameters.coding.is_text = is_text;
        let name = if is_text { "ASCII" } else { "binary" };
        Ok(Some(Reply::new(200, format!("The type is {name} now."))))
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
        Ok(Some(Reply::new(200, format!("The mode is {name} now."))))
    }

    pub(super) fn rest(&mut self, argument: &[u8]) -> Answer {
        let Some(offset) = number(argument.trim_ascii()) else {
            let text = "Invalid offset: REST takes a number of bytes.";
            return Err(Refused::new(501, text));
        };
        if offset > 0 && self.parameters.coding.is_text {
            // In text mode, line ends are converted. So an offset on the network is not an offset
            // in the file.
            return Err(Refused::new(501, REST_NEEDS_BINARY));
        }
        self.parameters.restart = offset;
        Ok(Some(Reply::new(
            350,
            format!("The next transfer starts at byte {offset}."),
        )))
    }

    /// ALLO checks whether the disk and the quota have room for a file. It reserves nothing.
    pub(super) fn allo(&mut self, argument: &[u8]) -> Answer {
        let first = argument.split(|byte| *byte == b' ').next();
        let Some(bytes) = first.and_then(number) else {
            return Err(Refused::new(
                501,
                "Invalid size: ALLO takes a number of bytes.",
            ));
        };
        let view = self.view()?;
        let quota_user = view.user.account().map(|account| account.name.as_str());
        let store = view.store_of(&self.working)?;
        match store.check_room(quota_user, bytes) {
            Ok(()) => Ok(Some(Reply::new(
                202,
                "There is room for the file. Nothing is reserved.",
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
                b"" | b"ON" => Ok(Some(Reply::new(200, "UTF-8 is always on."))),
                _ => Err(Refused::new(501, "UTF-8 cannot be switched off.")),
            },
            b"MLST" => {
                let Some(facts) = Facts::parse(option) else {
                    let text = "Invalid facts: use names that FEAT lists, each with a \";\".";
                    return Err(Refused::new(501, text));
                };
                self.parameters.facts = facts;
                let text = format!("MLST OPTS {}", facts.names());
                Ok(Some(Reply::new(200, text)))
            }
            b"HASH" => self.set_algorithm(option),
            _ => Err(Refused::new(501, "Unknown option: use UTF8, MLST or HASH.")),
        }
    }
}
