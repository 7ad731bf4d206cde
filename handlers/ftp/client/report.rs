//! The summary at the end of a run, and the exit code.

use std::io::{self, Write};

use super::jobs::Tally;
use crate::service::Failure;

/// The result of a run.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) tally: Tally,
    /// A message for each entry that was not transferred on purpose.
    pub(super) passed_over: Vec<String>,
    /// Number of entries that were removed.
    pub(super) removed: u64,
    /// Number of files that were already the same on both sides.
    up_to_date: u64,
    /// Whether the client sends files; otherwise it receives them.
    is_sending: bool,
}

impl Report {
    pub(super) fn new(is_sending: bool, up_to_date: u64) -> Report {
        Report {
            tally: Tally::default(),
            passed_over: Vec::new(),
            removed: 0,
            up_to_date,
            is_sending,
        }
    }

    /// Prints the failures and the summary. Returns the exit code.
    pub(super) fn end(self) -> Result<u8, Failure> {
        complain(&self.passed_over);
        complain(&self.tally.failed);
        print(&format!("{}\n", self.summary()))?;
        match self.tally.broken {
            Some(failure) if self.tally.left > 0 => Err(Failure {
                message: format!(
                    "{}; not begun: {} files",
                    failure.message.trim_end_matches('.'),
                    self.tally.left
                ),
                ..failure
            }),
            Some(failure) => Err(failure),
            None => Ok(u8::from(!self.tally.failed.is_empty())),
        }
    }

    /// Prints the failures of a dry run. Returns the exit code.
    pub(super) fn end_dry_run(self) -> Result<u8, Failure> {
        complain(&self.passed_over);
        complain(&self.tally.failed);
        Ok(u8::from(!self.tally.failed.is_empty()))
    }

    fn summary(&self) -> String {
        let verb = if self.is_sending { "sent" } else { "received" };
        let tally = &self.tally;
        let (files, bytes) = (tally.files, tally.bytes);
        let plural = if files == 1 { "" } else { "s" };
        let mut text = format!("{verb} {files} file{plural}, {bytes} bytes");
        let unverified = files.saturating_sub(tally.digests + tally.lengths);
        for (count, how) in [
            (tally.digests, "verified by digest"),
            (tally.lengths, "verified by length"),
            (unverified, "not verified"),
        ] {
            match count {
                0 => {}
                count if count == files => text += &format!(", {how}"),
                count => text += &format!(", {count} {how}"),
            }
        }
        if self.up_to_date > 0 {
            text += &format!("; {} up to date", self.up_to_date);
        }
        if self.removed > 0 {
            text += &format!("; {} removed", self.removed);
        }
        text
    }
}

/// Prints errors and notes to standard error, each on its own line.
fn complain(lines: &[String]) {
    for line in lines {
        // An error is ignored, because standard error may be closed.
        let _ = writeln!(io::stderr(), "socketserver: {line}");
    }
}

/// Writes to standard output. It is not an error if the reader has closed it.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::run(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_says_how_the_files_were_verified() {
        let mut report = Report::new(false, 0);
        assert_eq!(report.summary(), "received 0 files, 0 bytes");
        report.tally.files = 1;
        report.tally.bytes = 5;
        assert_eq!(report.summary(), "received 1 file, 5 bytes, not verified");
        report.tally.lengths = 1;
        assert_eq!(
            report.summary(),
            "received 1 file, 5 bytes, verified by length"
        );
        (report.tally.lengths, report.tally.digests) = (0, 1);
        assert_eq!(
            report.summary(),
            "received 1 file, 5 bytes, verified by digest"
        );
        (report.tally.files, report.tally.lengths) = (3, 1);
        (report.up_to_date, report.removed, report.is_sending) = (2, 1, true);
        assert_eq!(
            report.summary(),
            "sent 3 files, 5 bytes, 1 verified by digest, 1 verified by length, 1 not \
             verified; 2 up to date; 1 removed"
        );
    }
}
