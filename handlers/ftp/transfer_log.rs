//! Transfer logs. They have a line for each transfer, as JSON or in wu-ftpd's format (xferlog).

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::json;
use socketserver::ClientAddress;

use super::dates::{Date, seconds_since_1970};
use super::path::VirtualPath;
use super::user::User;
use crate::common::digest::to_hex;
use crate::common::log_writer::{LogWriter, Target};

/// The direction of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the client.
    Sent,
    /// From the client.
    Received,
}

impl Direction {
    /// A verb for the description of the transfer.
    pub fn verb(self) -> &'static str {
        match self {
            Direction::Sent => "RETR",
            Direction::Received => "STOR",
        }
    }
}

/// A transfer that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The address of the client.
    pub client: Option<&'a ClientAddress>,
    /// The user.
    pub user: &'a User,
    /// The path that the user sees.
    pub path: &'a VirtualPath,
    /// The direction of the transfer.
    pub direction: Direction,
    /// Number of bytes that were transferred.
    pub bytes: u64,
    /// Duration of the transfer.
    pub took: Duration,
    /// When the transfer ended.
    pub ended: SystemTime,
    /// Whether the type was text (TYPE A).
    pub is_text: bool,
    /// Whether the data connection was encrypted.
    pub is_tls: bool,
    /// Whether the transfer has succeeded.
    pub is_complete: bool,
    /// The digest of a complete file that was received; `None` for other transfers, or if no log
    /// needs it.
    pub sha256: Option<[u8; 32]>,
}

/// The files of `--transfer-log` and `--xferlog`.
#[derive(Default)]
pub struct TransferLog {
    /// The file of `--transfer-log`; `None` without the option.
    json: Option<LogWriter>,
    /// The file of `--xferlog`; `None` without the option.
    xferlog: Option<LogWriter>,
}

impl std::fmt::Debug for TransferLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TransferLog").finish_non_exhaustive()
    }
}

impl TransferLog {
    /// Opens the files for appending; `-` is standard error.
    ///
    /// # Errors
    /// A file cannot be opened, or no thread can be started.
    pub fn open(json: Option<&Path>, xferlog: Option<&Path>) -> Result<TransferLog, String> {
        let open = |option: &str, path: &Path| {
            let opened = LogWriter::open(Target::new(path)).and_then(|writer| {
                writer.start()?;
                Ok(writer)
            });
            opened.map_err(|error: io::Error| format!("{option} {}: {error}", path.display()))
        };
        Ok(TransferLog {
            json: json.map(|path| open("--transfer-log", path)).transpose()?,
            xferlog: xferlog.map(|path| open("--xferlog", path)).transpose()?,
        })
    }

    /// Whether digests must be computed, because the JSON log contains them.
    pub fn wants_digests(&self) -> bool {
        self.json.is_some()
    }

    /// Opens the files again, because log rotation may have renamed them. The new files are used
    /// after the returned function is called.
    ///
    /// # Errors
    /// A file cannot be opened.
    pub fn reopen(self: &Arc<TransferLog>) -> io::Result<impl FnOnce() + Send + use<>> {
        let open = |log: &Option<LogWriter>| log.as_ref().map(LogWriter::open_anew).transpose();
        let (json, xferlog) = (open(&self.json)?, open(&self.xferlog)?);
        let logs = Arc::clone(self);
        Ok(move || {
            for (log, opened) in [(&logs.json, json), (&logs.xferlog, xferlog)] {
                if let (Some(log), Some(opened)) = (log, opened) {
                    log.switch(opened);
                }
            }
        })
    }

    /// Writes the remaining lines, before the process ends.
    pub fn finish(&self) {
        let logs = [&self.json, &self.xferlog];
        logs.into_iter().flatten().for_each(LogWriter::finish);
    }

    /// Writes a line about a transfer to each log.
    pub fn write(&self, record: &Record<'_>) {
        if let Some(log) = &self.json {
            log.line(json_line(record).as_bytes());
        }
        if let Some(log) = &self.xferlog {
            log.line(xferlog_line(record).as_bytes());
        }
    }
}

fn ip(client: Option<&ClientAddress>) -> Option<IpAddr> {
    client.and_then(ClientAddress::ip)
}

/// A line of JSON.
fn json_line(record: &Record<'_>) -> String {
    let seconds = seconds_since_1970(record.ended);
    let line = json!({
        "time": Date::of_seconds(seconds).for_json().to_string(),
        "client": ip(record.client).map(|ip| ip.to_string()),
        "user": record.user.name,
        "direction": match record.direction {
            Direction::Sent => "download",
            Direction::Received => "upload",
        },
        "path": String::from_utf8_lossy(record.path.as_bytes()),
        "bytes": record.bytes,
        "seconds": record.took.as_secs_f64(),
        "type": if record.is_text { "ascii" } else { "binary" },
        "tls": record.is_tls,
        "complete": record.is_complete,
        "sha256": record.sha256.map(|digest| to_hex(&digest)),
    });
    format!("{line}\n")
}

/// A line of xferlog(5): `Mon Nov 28 12:00:00 2026 1 192.0.2.1 5 /a.txt b _ o r ada ftp 0 * c`
fn xferlog_line(record: &Record<'_>) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let seconds = seconds_since_1970(record.ended);
    // January 1, 1970 was a Thursday. The index is less than 7, because it is a remainder of a
    // division by 7.
    let weekday = DAYS[usize::try_from(seconds.div_euclid(86_400).rem_euclid(7)).unwrap_or(0)];
    let date = Date::of_seconds(seconds).for_xferlog();
    let took = record.took.as_secs_f64().round();
    let host = ip(record.client).map_or("-".to_owned(), |ip| ip.to_string());
    // Spaces separate the fields, so spaces in the path are replaced.
    let path: String = String::from_utf8_lossy(record.path.as_bytes())
        .chars()
        .map(|c| {
            if c.is_whitespace() || c.is_control() {
                '_'
            } else {
                c
            }
        })
        .collect();
    let kind = if record.is_text { 'a' } else { 'b' };
    let direction = match record.direction {
        Direction::Sent => 'o',
        Direction::Received => 'i',
    };
    let access = if record.user.is_anonymous { 'a' } else { 'r' };
    let user = record.user.name.replace(char::is_whitespace, "_");
    let status = if record.is_complete { 'c' } else { 'i' };
    format!(
        "{weekday} {date} {took} {host} {} {path} {kind} _ {direction} {access} {user} ftp 0 * \
         {status}\n",
        record.bytes
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::Rights;
    use std::time::UNIX_EPOCH;

    fn with_record(check: impl FnOnce(&Record<'_>)) {
        let user = User::anonymous(Rights::READ);
        let path = VirtualPath::default().join(b"a b\n.txt").unwrap();
        let client: ClientAddress = "192.0.2.1:5000"
            .parse::<std::net::SocketAddr>()
            .unwrap()
            .into();
        check(&Record {
            client: Some(&client),
            user: &user,
            path: &path,
            direction: Direction::Sent,
            bytes: 5,
            took: Duration::from_millis(1500),
            ended: UNIX_EPOCH + Duration::from_secs(1_000_000_000),
            is_text: false,
            is_tls: false,
            is_complete: true,
            sha256: Some([0xab; 32]),
        });
    }

    #[test]
    fn a_transfer_is_one_line_of_json() {
        with_record(|record| {
            let line = json_line(record);
            assert!(line.ends_with('\n') && line.matches('\n').count() == 1);
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(value["time"], "2001-09-09T01:46:40Z");
            assert_eq!(value["path"], "/a b\n.txt");
            assert_eq!(value["direction"], "download");
            assert_eq!(value["sha256"], "ab".repeat(32));
        });
    }

    #[test]
    fn a_transfer_is_one_line_of_xferlog() {
        with_record(|record| {
            let expected = "Sun Sep 09 01:46:40 2001 2 192.0.2.1 5 /a_b_.txt b _ o a anonymous ftp \
                            0 * c\n";
            assert_eq!(xferlog_line(record), expected);
        });
    }
}
