//! `socketserver share`: links that open a file or a folder for others.
#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "doc comments are help texts here, where brackets are brackets"
)]

use std::io::{self, IsTerminal};
use std::time::{Duration, SystemTime};

use clap::Subcommand;
use jiff::Timestamp;
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use serde_json::{Value, json};

use super::table::table;
use super::users::AccountsFile;
use crate::accounts::Prefix;
use crate::accounts::share::{self, link};
use crate::common::values::{at_least_one, duration};
use crate::service::Failure;

/// What to do with the links.
#[derive(Debug, Subcommand)]
pub(super) enum Share {
    /// Make a link, and print it
    Add {
        /// The file or folder, as a path below the served directory
        path: Prefix,
        #[command(flatten)]
        file: AccountsFile,
        /// How long the link opens it: 2h, 7d, or never
        #[arg(long, value_name = "TIME", default_value = "7d", value_parser = expiry)]
        expires: Expiry,
        /// How many downloads it is good for; the parts of one that is resumed within an hour count
        /// once [default: no limit]
        #[arg(long, value_name = "N", value_parser = at_least_one)]
        uses: Option<usize>,
        /// Where others reach the server
        #[arg(
            long,
            value_name = "URL",
            default_value = "http://127.0.0.1:8000",
            value_parser = base_url
        )]
        base_url: String,
        /// Draw the link as a QR code too
        #[arg(long)]
        qr: bool,
    },
    /// Show all links, but for their secret part
    List {
        #[command(flatten)]
        file: AccountsFile,
        /// Show them as JSON
        #[arg(long)]
        json: bool,
    },
    /// End a link
    Revoke {
        /// The number that `share list` shows
        id: i64,
        #[command(flatten)]
        file: AccountsFile,
    },
}

/// The time for which a link is valid; `None` means forever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expiry(Option<Duration>);

fn expiry(text: &str) -> Result<Expiry, String> {
    match text {
        "never" => Ok(Expiry(None)),
        _ => match duration(text)? {
            time if time < Duration::from_secs(1) => Err("it must be at least 1s".to_owned()),
            time => Ok(Expiry(Some(time))),
        },
    }
}

fn base_url(text: &str) -> Result<String, String> {
    let host = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"));
    let odd =
        |c: char| c.is_control() || c.is_whitespace() || matches!(c, '?' | '#' | '"' | '<' | '>');
    match host {
        Some(host) if !host.trim_matches('/').is_empty() && !host.contains(odd) => {
            Ok(text.to_owned())
        }
        _ => Err(format!(
            "invalid URL `{}`: use one like https://files.example",
            text.escape_debug()
        )),
    }
}

impl Share {
    pub(super) fn run(self) -> Result<u8, Failure> {
        match self {
            Share::Add {
                path,
                file,
                expires: Expiry(expires),
                uses,
                base_url,
                qr,
            } => {
                let expires = expires.map(|time| SystemTime::now() + time);
                let store = file.open()?;
                let (_, token) =
                    store
                        .shares()
                        .add(&path, expires, uses.map(|uses| uses as u64))?;
                let link = link(&base_url, &path, &token);
                let code = if qr {
                    qr_code(&link, io::stdout().is_terminal())?
                } else {
                    String::new()
                };
                super::print(format!("{link}\n{code}").as_bytes())
            }
            Share::List { file, json } => {
                let (shares, now) = (file.open()?.shares().list()?, SystemTime::now());
                if json {
                    let shares: Vec<Value> =
                        shares.iter().map(|share| as_json(share, now)).collect();
                    return super::print(format!("{}\n", Value::from(shares)).as_bytes());
                }
                let rows: Vec<[String; 5]> =
                    shares.iter().map(|share| as_row(share, now)).collect();
                super::print(table(&["ID", "STATE", "EXPIRES", "USES", "PATH"], &rows).as_bytes())
            }
            Share::Revoke { id, file } => {
                file.open()?.shares().revoke(id)?;
                Ok(0)
            }
        }
    }
}

fn state(share: &share::Share, now: SystemTime) -> &'static str {
    match share {
        share if share.is_expired(now) => "expired",
        share if share.is_used_up() => "used up",
        _ => "open",
    }
}

fn expires(share: &share::Share) -> Option<String> {
    share
        .expires
        .and_then(|end| Timestamp::try_from(end).ok())
        .map(|end| end.to_string())
}

fn as_row(share: &share::Share, now: SystemTime) -> [String; 5] {
    let most = share
        .max_uses
        .map_or_else(String::new, |most| format!("/{most}"));
    [
        share.id.to_string(),
        state(share, now).to_owned(),
        expires(share).unwrap_or_else(|| "never".to_owned()),
        format!("{}{most}", share.used),
        share.path.to_string(),
    ]
}

fn as_json(share: &share::Share, now: SystemTime) -> Value {
    json!({
        "id": share.id, "state": state(share, now), "expires": expires(share),
        "used": share.used, "max_uses": share.max_uses, "path": share.path.as_str(),
    })
}

/// Formats the link as a QR code (ISO/IEC 18004) of half blocks. On a terminal, the colours are set
/// to dark on light, because many cameras do not read inverted codes.
fn qr_code(link: &str, terminal: bool) -> Result<String, Failure> {
    let code = QrCode::with_error_correction_level(link, EcLevel::L);
    let code =
        code.map_err(|_| Failure::run("the link is too long for a QR code; leave --qr away"))?;
    let drawn = code.render::<Dense1x2>().build();
    let (before, after) = if terminal {
        ("\x1b[30;107m", "\x1b[0m")
    } else {
        ("", "")
    };
    Ok(drawn
        .lines()
        .map(|line| format!("{before}{line}{after}\n"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_lasts_from_a_second_to_for_ever() {
        assert_eq!(
            expiry("7d"),
            Ok(Expiry(Some(Duration::from_secs(7 * 86400))))
        );
        assert_eq!(expiry("never"), Ok(Expiry(None)));
        for text in ["0", "500ms", "soon", "-1", ""] {
            assert!(expiry(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_base_url_is_one_that_a_path_can_follow() {
        for text in [
            "http://h",
            "https://files.example/below/",
            "http://[::1]:8000",
        ] {
            assert_eq!(base_url(text), Ok(text.to_owned()));
        }
        for text in [
            "",
            "h",
            "ftp://h",
            "http://",
            "http:///",
            "http://h?x",
            "http://h/#x",
            "http://h\n",
            "http://a b",
        ] {
            assert!(base_url(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_qr_code_is_square_with_a_quiet_zone_and_dark_on_light_on_a_terminal() {
        let plain = qr_code("http://127.0.0.1:8000/a?share=x", false).unwrap();
        let width = plain.lines().next().unwrap().chars().count();
        assert!(plain.lines().all(|line| line.chars().count() == width));
        assert_eq!(plain.lines().count(), width.div_ceil(2));
        // Four modules of light on every side; below them the two corners of seven dark ones.
        let row: String = plain.lines().nth(2).unwrap().into();
        assert!(
            row.starts_with("    █▀▀▀▀▀█ ") && row.ends_with(" █▀▀▀▀▀█    "),
            "{row}"
        );
        assert!(plain.lines().take(2).all(|line| line.trim().is_empty()));
        let coloured = qr_code("x", true).unwrap();
        assert!(
            coloured
                .lines()
                .all(|line| line.starts_with("\x1b[30;107m") && line.ends_with("\x1b[0m"))
        );
        assert!(qr_code(&"x".repeat(5000), false).is_err());
    }
}
