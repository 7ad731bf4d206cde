//! HELP, FEAT, STAT and SITE: information about the server and the session.

use std::sync::Arc;

use socketserver::StreamRequest;

use super::{Answer, Session};
use crate::ftp::command::split_at_space;
use crate::ftp::glob;
use crate::ftp::listing::{Format, Listing, without_options};
use crate::ftp::reply::{Refused, Reply};
use crate::ftp::verbs::{self, Entry, Feature, VERBS};

/// Maximum number of characters of an unknown command that the reply shows.
const MAX_SHOWN_NAME: usize = 32;
/// Number of names in a line of HELP.
const NAMES_PER_LINE: usize = 8;
/// Maximum size in bytes of a listing that STAT sends on the control connection.
const MAX_STAT_LISTING: usize = 1 << 20;

/// HELP: lists the commands, or describes one.
pub(super) fn help(argument: &[u8]) -> Answer {
    let wanted = argument.trim_ascii().to_ascii_uppercase();
    if !wanted.is_empty() {
        return describe(&wanted, "Unknown command: see HELP.");
    }
    let names = VERBS
        .iter()
        .map(|entry| entry.name)
        .filter(|name| !name.contains(' '));
    Ok(Some(list_names(
        ("Commands:", "Send HELP with a command for its syntax."),
        names,
    )))
}

/// SITE HELP: lists the commands of SITE, or describes one.
pub(super) fn site_help(argument: &[u8]) -> Answer {
    let wanted = argument.trim_ascii().to_ascii_uppercase();
    if !wanted.is_empty() {
        let name = [b"SITE ", &wanted[..]].concat();
        return describe(&name, "Unknown SITE command: see SITE HELP.");
    }
    let names = VERBS
        .iter()
        .filter_map(|entry| entry.name.strip_prefix("SITE "));
    Ok(Some(list_names(
        (
            "Commands of SITE:",
            "Send SITE HELP with a command for its syntax.",
        ),
        names,
    )))
}

fn describe(name: &[u8], unknown: &str) -> Answer {
    match verbs::find(name) {
        Some(entry) => {
            let text = format!("Syntax: {}. {}", entry.usage(), entry.help);
            Ok(Some(Reply::new(214, text)))
        }
        None => Err(Refused::new(501, unknown)),
    }
}

fn list_names<'a>((first, last): (&str, &str), names: impl Iterator<Item = &'a str>) -> Reply {
    let names: Vec<&str> = names.collect();
    let lines = names.chunks(NAMES_PER_LINE);
    lines.fold(Reply::list(214, first, last), |reply, names| {
        let line: String = names.iter().map(|name| format!(" {name:<7}")).collect();
        reply.line(line.trim_end().to_owned())
    })
}

/// The reply to a command that is not in the table. `help` is the command that lists all commands.
pub(super) fn unknown(name: &[u8], help: &str) -> Refused {
    let shown = String::from_utf8_lossy(name);
    let shown: String = shown.chars().take(MAX_SHOWN_NAME).collect();
    let text = format!("Unknown command \"{}\": see {help}.", shown.escape_debug());
    Refused::new(500, text)
}

impl Session {
    /// FEAT: lists the features (RFC 2389).
    pub(super) fn feat(&self) -> Reply {
        let mut lines = Vec::new();
        for entry in VERBS {
            match entry.feature {
                Feature::None => {}
                Feature::Lines(own) => lines.extend(own.iter().map(|line| (*line).to_owned())),
                Feature::WithTls(own) if self.shared.tls.is_some() => {
                    lines.extend(own.iter().map(|line| (*line).to_owned()));
                }
                Feature::WithTls(_) => {}
                Feature::Facts => {
                    lines.push(format!("MLST {}", self.parameters.facts.feature()));
                }
                Feature::Digests => {
                    lines.push(format!("HASH {}", self.parameters.algorithm.feature()));
                }
            }
        }
        lines.sort_unstable();
        let list = Reply::list(211, "Features:", "End");
        lines
            .into_iter()
            .fold(list, |reply, line| reply.line(format!(" {line}")))
    }

    /// STAT without a path: shows the state of the session and of the transfer.
    pub(super) fn stat(&self, request: &StreamRequest) -> Reply {
        let mut reply = Reply::list(211, "Session:", "End")
            .line(format!(" Client: {}", request.client_address));
        reply = match &self.login.view {
            Some(view) => reply.line(format!(" User: {}", view.user.name.escape_debug())),
            None => reply.line(" User: not logged in"),
        };
        let coding = self.parameters.coding;
        let kind = if coding.is_text { "ASCII" } else { "binary" };
        let mode = if coding.is_compressed {
            "compressed"
        } else {
            "stream"
        };
        reply = reply.line(format!(" Type: {kind}; structure: file; mode: {mode}"));
        let control = if self.secured.is_some() {
            "TLS"
        } else {
            "clear"
        };
        let data = if self.is_private() { "TLS" } else { "clear" };
        reply = reply.line(format!(
            " Control connection: {control}; data connections: {data}"
        ));
        match &self.transfer {
            Some(transfer) => reply.line(transfer.status()),
            None => reply.line(format!(" {}", self.data.status())),
        }
    }

    /// STAT with a path: sends the listing of LIST on the control connection.
    pub(super) fn stat_path(&mut self, entry: &Entry, argument: &[u8]) -> Answer {
        let argument = without_options(argument);
        let (view, path) = self.target(entry, argument)?;
        let is_pattern = path.name().is_some_and(glob::is_pattern);
        if is_pattern && view.symlink_metadata(&path).is_err() {
            return Err(Refused::new(550, "STAT takes no patterns: use LIST."));
        }
        let mut listing = Listing::open(&Arc::clone(&view), &path, argument, Format::Long)?;
        let mut lines = Vec::new();
        let mut is_cut = false;
        while listing.next_lines(&mut lines) {
            is_cut = lines.len() > MAX_STAT_LISTING;
            if is_cut {
                break;
            }
        }
        let first = [&b"Listing of "[..], path.as_bytes(), b":"];
        let last = match is_cut {
            true => "The listing is cut off: use LIST for all of it.",
            false => "End",
        };
        let reply = Reply::list(213, first, last);
        let lines = lines.split(|byte| *byte == b'\n');
        let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line).to_vec());
        Ok(Some(
            lines
                .filter(|line| !line.is_empty())
                .fold(reply, Reply::line),
        ))
    }

    /// SITE: runs the command that is the first word of the argument.
    pub(super) fn site(&mut self, request: &mut StreamRequest, argument: &[u8]) -> Answer {
        if argument.trim_ascii().is_empty() {
            let text = "Missing argument: SITE COMMAND.";
            return Err(Refused::new(501, text));
        }
        let (word, rest) = split_at_space(argument).unwrap_or((argument, b""));
        let name = [b"SITE ", &word.to_ascii_uppercase()[..]].concat();
        let Some(entry) = verbs::find(&name) else {
            return Err(unknown(&name, "SITE HELP"));
        };
        self.run(request, entry, rest)
    }

    /// HOST (RFC 7151): refused, because the server has no virtual hosts.
    pub(super) fn host(&self) -> Answer {
        match self.login.view {
            Some(_) => Err(Refused::new(503, "HOST must come before the login.")),
            None => Err(Refused::new(504, "This server has no virtual hosts.")),
        }
    }
}
