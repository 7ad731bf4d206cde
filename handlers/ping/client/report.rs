//! The output for the user: a line for each event, and a summary at the end.

use std::io::{self, Write};
use std::time::Duration;

use super::plot::Plot;
use super::sequences::{Event, What};
use super::statistics::{Directions, Figures, Statistics};

/// The format of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The server that a line is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The server as the user named it. Lines begin with it if there are several servers.
    pub target: String,
    /// The address that the replies come from.
    pub from: String,
}

/// Writes the lines: results go to `output`, and other messages to `errors`.
#[derive(Debug)]
pub struct Report<O, E> {
    output: O,
    errors: E,
    format: Format,
    several: bool,
    quiet: bool,
    plot: Option<Plot>,
}

impl<O: Write, E: Write> Report<O, E> {
    /// `several` is whether lines name their server. `quiet` is whether only the summary is
    /// printed.
    pub fn new(
        output: O,
        errors: E,
        format: Format,
        several: bool,
        quiet: bool,
        plot: Option<Plot>,
    ) -> Report<O, E> {
        Report {
            output,
            errors,
            format,
            several,
            quiet,
            plot,
        }
    }

    /// Reports an event of a request to the server with this index.
    ///
    /// # Errors
    /// Those of the output.
    pub fn event(&mut self, index: usize, source: &Source, event: Event) -> io::Result<()> {
        if let Some(plot) = &mut self.plot {
            plot.record(index, event);
            // The graph shows replies. A loss also gets a line immediately.
            if matches!(event.what, What::Reply(_)) {
                return plot.draw_now_and_then(&mut self.output);
            }
        }
        if self.quiet {
            return Ok(());
        }
        let line = match self.format {
            Format::Text => text_line(source, event),
            Format::Json => json_line(source, event),
        };
        let line = self.named(source, line);
        match &mut self.plot {
            Some(plot) => plot.draw_below(&mut self.output, &line),
            None => writeln!(self.output, "{line}"),
        }
    }

    /// Prints a message that is not part of the results.
    ///
    /// # Errors
    /// Those of the output.
    pub fn notice(&mut self, text: &str) -> io::Result<()> {
        if let Some(plot) = &mut self.plot {
            plot.erase(&mut self.output)?;
        }
        // An error is ignored: the lost requests still show the problem.
        let _ = writeln!(self.errors, "socketserver: {text}");
        Ok(())
    }

    /// Prints an interim summary to the output, or to standard error if programs read the output.
    ///
    /// # Errors
    /// Those of the output.
    pub fn interim(
        &mut self,
        source: &Source,
        statistics: &Statistics,
        split: bool,
    ) -> io::Result<()> {
        let text = text_summary(source, statistics, split);
        match (&mut self.plot, self.format) {
            (Some(plot), _) => plot.draw_below(&mut self.output, &text),
            (None, Format::Text) => writeln!(self.output, "{text}"),
            (None, Format::Json) => writeln!(self.errors, "{text}"),
        }
    }

    /// Prints the summary.
    ///
    /// # Errors
    /// Those of the output.
    pub fn summary(
        &mut self,
        source: &Source,
        statistics: &Statistics,
        split: bool,
    ) -> io::Result<()> {
        if let Some(mut plot) = self.plot.take() {
            plot.draw_last(&mut self.output)?;
        }
        match self.format {
            Format::Text => writeln!(self.output, "{}", text_summary(source, statistics, split)),
            Format::Json => {
                let line = self.named(source, json_summary(statistics, split));
                writeln!(self.output, "{line}")
            }
        }?;
        self.output.flush()
    }

    /// Adds the name of the server to a line if there are several servers.
    fn named(&self, source: &Source, line: String) -> String {
        match (self.several, self.format) {
            (false, _) => line,
            (true, Format::Text) => format!("{}: {line}", source.target),
            (true, Format::Json) => format!(
                "{{\"target\": {}, {}",
                json_string(&source.target),
                &line[1..]
            ),
        }
    }
}

/// Formats a line of text as the contract defines it.
fn text_line(source: &Source, event: Event) -> String {
    let (kind, round_trip) = match event.what {
        What::TimedOut => return format!("Sequence {}: Request timed out.", event.sequence),
        What::Reply(round_trip) => ("Reply", round_trip),
        What::Late(round_trip) => ("Late reply", round_trip),
        What::Duplicate(round_trip) => ("Duplicate reply", round_trip),
    };
    let seconds = round_trip.as_secs_f64();
    format!(
        "Sequence {}: {kind} from {}    RTT = {seconds:.6}s",
        event.sequence, source.from
    )
}

fn json_line(source: &Source, event: Event) -> String {
    let Event { sequence, what } = event;
    let arrived = |round_trip: Duration, kind: &str| {
        let (from, millis) = (json_string(&source.from), round_trip.as_secs_f64() * 1000.0);
        format!("{{\"seq\": {sequence}, \"from\": {from}, \"rtt_ms\": {millis:.3}{kind}}}")
    };
    match what {
        What::TimedOut => format!("{{\"seq\": {sequence}, \"timeout\": true}}"),
        What::Reply(round_trip) => arrived(round_trip, ""),
        What::Late(round_trip) => arrived(round_trip, ", \"late\": true"),
        What::Duplicate(round_trip) => arrived(round_trip, ", \"duplicate\": true"),
    }
}

fn text_summary(source: &Source, statistics: &Statistics, split: bool) -> String {
    let Statistics {
        sent,
        received,
        duplicates,
        reordered,
        late,
        ..
    } = *statistics;
    let mut text = format!(
        "--- {} ping statistics ---\n\
         {sent} sent, {received} received, {}% lost, {duplicates} duplicates, \
         {reordered} out of order",
        source.target,
        tenths(statistics.loss_percent())
    );
    for (count, what) in [(late, "late"), (statistics.in_flight(), "in flight")] {
        if count > 0 {
            text += &format!(", {count} {what}");
        }
    }
    if split {
        text += &match statistics.directions() {
            Some(Directions {
                requests,
                replies,
                unknown: 0,
            }) => {
                format!("\nrequest loss {requests}, reply loss {replies}")
            }
            Some(Directions {
                requests,
                replies,
                unknown,
            }) => {
                format!("\nrequest loss {requests}, reply loss {replies}, unknown {unknown}")
            }
            None => "\nrequest loss and reply loss unknown: no reply came with a count \
                     (serve ping --split)"
                .to_owned(),
        };
    }
    if let Some(Figures {
        min,
        avg,
        max,
        mdev,
        p50,
        p90,
        p99,
        jitter,
    }) = statistics.round_trips.figures()
    {
        text += &format!(
            "\nrtt min/avg/max/mdev = {min:.3}/{avg:.3}/{max:.3}/{mdev:.3} ms, \
             p50/p90/p99 = {p50:.3}/{p90:.3}/{p99:.3} ms, jitter {jitter:.3} ms"
        );
    }
    text
}

/// Formats the summary with exactly the keys of the contract. The keys of `--split` are there only
/// with that option.
fn json_summary(statistics: &Statistics, split: bool) -> String {
    let Statistics {
        sent,
        received,
        duplicates,
        reordered,
        ..
    } = *statistics;
    let mut text = format!(
        "{{\"sent\": {sent}, \"received\": {received}, \"loss_percent\": {}, \
         \"duplicates\": {duplicates}, \"reordered\": {reordered}",
        tenths(statistics.loss_percent())
    );
    let figures = statistics.round_trips.figures();
    let mut figure = |key: &str, of: fn(&Figures) -> f64| {
        let value = figures
            .as_ref()
            .map_or("null".to_owned(), |figures| format!("{:.3}", of(figures)));
        text += &format!(", \"rtt_{key}_ms\": {value}");
    };
    figure("min", |figures| figures.min);
    figure("avg", |figures| figures.avg);
    figure("max", |figures| figures.max);
    figure("mdev", |figures| figures.mdev);
    figure("p50", |figures| figures.p50);
    figure("p90", |figures| figures.p90);
    figure("p99", |figures| figures.p99);
    if split {
        let directions = statistics.directions();
        let count = |count: Option<u64>| count.map_or("null".to_owned(), |count| count.to_string());
        let (requests, replies) = (
            directions.map(|of| of.requests),
            directions.map(|of| of.replies),
        );
        text += &format!(
            ", \"request_loss\": {}, \"reply_loss\": {}",
            count(requests),
            count(replies)
        );
    }
    text + "}"
}

/// Rounds to at most one digit after the decimal point.
fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests;
