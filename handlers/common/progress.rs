//! Shows the progress of a long transfer on standard error: a bar on a terminal, and otherwise a
//! line at an interval.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;

/// Interval of the lines when the output is not a terminal.
const INTERVAL: Duration = Duration::from_secs(5);

/// Shows the progress of one transfer. Several threads may advance it.
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
    /// Starts to show a transfer with the text `label`. `total` is its size in bytes, `None` if
    /// unknown.
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
        // The templates are valid. The fallback is a bar in the default style.
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        bar.set_message(label.to_owned());
        Progress(Kind::Bar(bar))
    }

    /// Adds transferred bytes.
    pub fn advance(&self, bytes: u64) {
        match &self.0 {
            Kind::Bar(bar) => bar.inc(bytes),
            Kind::Lines(lines) => {
                if let Some(line) = lines.lock().advance(bytes, Instant::now()) {
                    // An error is ignored: the transfer continues if standard error is closed.
                    let _ = writeln!(io::stderr(), "{line}");
                }
            }
        }
    }

    /// Ends the display; the caller prints the result. Dropping the value does the same.
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
    /// Adds bytes, and returns the next line if it is due.
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
