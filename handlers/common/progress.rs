//! How far a long transfer has come: a bar on a terminal, else a plain line now and then; always on
//! standard error.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;

/// Without a terminal, a line is written this often.
const INTERVAL: Duration = Duration::from_secs(5);

/// Shows the progress of one transfer. May be advanced by several threads.
#[derive(Debug)]
pub struct Progress(Kind);

#[derive(Debug)]
enum Kind {
    Bar(ProgressBar),
    Lines(Mutex<Lines>),
}

#[derive(Debug)]
struct Lines {
    label: String,
    total: Option<u64>,
    done: u64,
    begun: Instant,
    next: Instant,
}

impl Progress {
    /// Begins to show `label`. `total` is in bytes, and may be unknown.
    pub fn new(label: &str, total: Option<u64>) -> Progress {
        if !io::stderr().is_terminal() {
            let begun = Instant::now();
            let lines = Lines {
                label: label.to_owned(),
                total,
                done: 0,
                begun,
                next: begun + INTERVAL,
            };
            return Progress(Kind::Lines(Mutex::new(lines)));
        }
        let template = match total {
            Some(_) => "{msg} [{bar:30}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
            None => "{spinner} {msg} {bytes}, {bytes_per_sec}",
        };
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        // The templates are well-formed; a bar in the default style is a bar as well.
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        bar.set_message(label.to_owned());
        Progress(Kind::Bar(bar))
    }

    /// So many more bytes are through.
    pub fn advance(&self, bytes: u64) {
        match &self.0 {
            Kind::Bar(bar) => bar.inc(bytes),
            Kind::Lines(lines) => {
                if let Some(line) = lines.lock().advance(bytes, Instant::now()) {
                    // If nobody reads standard error, the transfer goes on all the same.
                    let _ = writeln!(io::stderr(), "{line}");
                }
            }
        }
    }

    /// The transfer has ended; what it came to is the caller's to say. Dropping the value does the
    /// same.
    pub fn finish(self) {}
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Kind::Bar(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

impl Lines {
    /// The line that is due, if one is.
    fn advance(&mut self, bytes: u64, now: Instant) -> Option<String> {
        self.done += bytes;
        if now < self.next {
            return None;
        }
        self.next = now + INTERVAL;
        let elapsed = now.saturating_duration_since(self.begun).as_secs_f64();
        let speed = HumanBytes((self.done as f64 / elapsed) as u64);
        let total = self
            .total
            .map(|total| format!(" of {}", HumanBytes(total)))
            .unwrap_or_default();
        Some(format!(
            "{}: {}{total}, {speed}/s",
            self.label,
            HumanBytes(self.done)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_terminal_a_line_comes_every_five_seconds_at_most() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut lines = Lines {
            label: "up".to_owned(),
            total: Some(4096),
            done: 0,
            begun,
            next: at(5),
        };
        assert_eq!(lines.advance(1024, at(4)), None);
        assert_eq!(
            lines.advance(1024, at(8)).as_deref(),
            Some("up: 2.00 KiB of 4.00 KiB, 256 B/s")
        );
        assert_eq!(lines.advance(1024, at(12)), None);
        lines.total = None;
        assert_eq!(
            lines.advance(0, at(16)).as_deref(),
            Some("up: 3.00 KiB, 192 B/s")
        );
    }
}
