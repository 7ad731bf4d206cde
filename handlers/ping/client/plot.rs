//! `--plot`: draws a graph of the last round trips to each server in the terminal.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::dots::Dots;
use super::sequences::{Event, What};

/// Number of requests that a graph shows, each in a column of dots.
const SHOWN: usize = 120;
/// Height of the graph above the axis, in dots.
const HEIGHT: usize = 32;
/// Minimum time between two drawings. More drawings could not be seen, and would slow down a flood.
const PAUSE: Duration = Duration::from_millis(100);

/// The graphs of all servers, one below the other.
#[derive(Debug)]
pub struct Plot {
    servers: Vec<Server>,
    /// Whether the output is a terminal, so that a graph can be drawn again in the same place.
    live: bool,
    /// Number of lines on the terminal that the next drawing replaces.
    drawn_lines: usize,
    drawn_at: Option<Instant>,
}

#[derive(Debug)]
struct Server {
    title: String,
    points: VecDeque<Point>,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    sequence: u64,
    /// The round trip in milliseconds; `None` if the request is lost.
    millis: Option<f32>,
}

impl Plot {
    /// Creates graphs with these titles.
    pub fn new(titles: impl IntoIterator<Item = String>, live: bool) -> Plot {
        let servers = titles
            .into_iter()
            .map(|title| Server {
                title,
                points: VecDeque::new(),
            })
            .collect();
        Plot {
            servers,
            live,
            drawn_lines: 0,
            drawn_at: None,
        }
    }

    /// Adds an event to the graph of a server.
    pub(super) fn record(&mut self, index: usize, event: Event) {
        let Some(Server { points, .. }) = self.servers.get_mut(index) else {
            return;
        };
        let millis = match event.what {
            What::Duplicate(_) => return,
            What::TimedOut => None,
            What::Reply(round_trip) | What::Late(round_trip) => {
                Some(round_trip.as_secs_f32() * 1000.0)
            }
        };
        let place = points.partition_point(|point| point.sequence < event.sequence);
        match points
            .get_mut(place)
            .filter(|point| point.sequence == event.sequence)
        {
            Some(point) => point.millis = millis,
            None => points.insert(
                place,
                Point {
                    sequence: event.sequence,
                    millis,
                },
            ),
        }
        if points.len() > SHOWN {
            points.pop_front();
        }
    }

    /// Draws the graphs, unless the last drawing was a moment ago.
    pub(super) fn draw_now_and_then(&mut self, output: &mut impl Write) -> io::Result<()> {
        match self.drawn_at {
            Some(last) if last.elapsed() < PAUSE => Ok(()),
            _ => self.draw(output),
        }
    }

    /// Writes permanent lines, and draws the graphs below them.
    pub(super) fn draw_below(&mut self, output: &mut impl Write, lines: &str) -> io::Result<()> {
        self.erase(output)?;
        writeln!(output, "{lines}")?;
        self.draw(output)
    }

    /// Draws the graphs for the last time.
    pub(super) fn draw_last(&mut self, output: &mut impl Write) -> io::Result<()> {
        self.erase(output)?;
        output.write_all(self.render().as_bytes())
    }

    /// Erases the graphs, so that permanent lines can be written.
    pub(super) fn erase(&mut self, output: &mut impl Write) -> io::Result<()> {
        match std::mem::take(&mut self.drawn_lines) {
            0 => Ok(()),
            // ECMA-48: cursor up, then erase to the end of the screen.
            lines => write!(output, "\x1b[{lines}A\x1b[J"),
        }
    }

    fn draw(&mut self, output: &mut impl Write) -> io::Result<()> {
        if !self.live {
            return Ok(());
        }
        self.erase(output)?;
        let text = self.render();
        self.drawn_lines = text.lines().count();
        self.drawn_at = Some(Instant::now());
        output.write_all(text.as_bytes())?;
        output.flush()
    }

    /// Returns the graphs: milliseconds over sequence numbers.
    fn render(&self) -> String {
        self.servers
            .iter()
            .map(|server| format!("{}\n{}\n", server.title, graph(&server.points)))
            .collect()
    }
}

/// Draws the graph of one server. Neighbouring points are connected unless a request between them
/// is lost.
fn graph(points: &VecDeque<Point>) -> String {
    let last = points.back().map_or(0, |point| point.sequence);
    let first = (last + 1).saturating_sub(SHOWN as u64).max(1);
    let round_trips = points.iter().filter_map(|point| point.millis);
    let highest = round_trips.fold(0.0, f32::max);
    // Without a reply there is no scale, so any value will do.
    let top = if highest > 0.0 { highest * 1.1 } else { 1.0 };
    let dot = |point: &Point| {
        let column = point.sequence.checked_sub(first)? as usize;
        let height = point.millis? / top * HEIGHT as f32;
        Some((column, HEIGHT - height.round() as usize))
    };
    let mut dots = Dots::new(SHOWN, HEIGHT + 1);
    // The horizontal axis.
    for column in (0..SHOWN).step_by(3) {
        dots.set((column, HEIGHT));
    }
    let mut before = None;
    for dot in points.iter().map(dot) {
        if let Some(dot) = dot {
            dots.line(before.unwrap_or(dot), dot);
        }
        before = dot;
    }
    let label = (first + SHOWN as u64 - 1).to_string();
    let rows = dots
        .to_string()
        .replacen('\n', &format!(" {top:.3} ms\n"), 1);
    let width = SHOWN / 2 - label.len();
    format!("{rows} 0.000 ms\n{first:<width$}{label}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(millis: &[Option<u64>]) -> Plot {
        let mut plot = Plot::new(["a".to_owned()], true);
        for (sequence, millis) in (1..).zip(millis) {
            let what = millis.map_or(What::TimedOut, |millis| {
                What::Reply(Duration::from_millis(millis))
            });
            plot.record(0, Event { sequence, what });
        }
        plot
    }

    fn dots(text: &str) -> u32 {
        let is_braille = |c: &char| ('\u{2800}'..='\u{28ff}').contains(c);
        text.chars()
            .filter(is_braille)
            .map(|c| (c as u32 - 0x2800).count_ones())
            .sum()
    }

    #[test]
    fn a_graph_shows_its_round_trips_and_a_gap_for_what_is_lost() {
        let whole = recorded(&[Some(10); 60]).render();
        let with_gap = recorded(&[[Some(10); 20], [None; 20], [Some(10); 20]].concat()).render();
        assert!(whole.contains(" 11.000 ms"), "the scale: {whole}");
        assert!(dots(&whole) >= dots(&with_gap) + 18, "{whole}\n{with_gap}");
        assert!(
            dots(&with_gap) > dots(&Plot::new(["a".to_owned()], true).render()),
            "{with_gap}"
        );
    }

    #[test]
    fn a_late_reply_fills_its_gap_and_old_points_go() {
        let mut plot = recorded(&[None; 3 * SHOWN]);
        assert_eq!(plot.servers[0].points.len(), SHOWN);
        plot.record(
            0,
            Event {
                sequence: 3 * SHOWN as u64 - 5,
                what: What::Late(Duration::from_secs(1)),
            },
        );
        assert_eq!(
            plot.servers[0]
                .points
                .iter()
                .filter(|point| point.millis.is_some())
                .count(),
            1
        );
        assert_eq!(plot.servers[0].points.len(), SHOWN);
    }

    #[test]
    fn a_live_graph_is_drawn_in_its_place_and_lines_stay_above() {
        let (mut plot, mut output) = (recorded(&[Some(1)]), Vec::new());
        plot.draw_now_and_then(&mut output).unwrap();
        let lines = String::from_utf8(output.clone()).unwrap().lines().count();
        plot.draw_now_and_then(&mut output).unwrap();
        assert_eq!(
            String::from_utf8(output).unwrap().lines().count(),
            lines,
            "not so soon again"
        );
        let mut output = Vec::new();
        plot.draw_below(&mut output, "word").unwrap();
        assert!(output.starts_with(format!("\x1b[{lines}A\x1b[Jword\n").as_bytes()));
        let mut off_terminal = Vec::new();
        Plot {
            live: false,
            ..recorded(&[Some(1)])
        }
        .draw_below(&mut off_terminal, "word")
        .unwrap();
        assert_eq!(off_terminal, b"word\n");
    }

    #[test]
    fn each_server_has_its_graph() {
        let one = Plot::new(["a".to_owned()], true).render();
        let three = Plot::new(["a", "b", "c"].map(str::to_owned), true).render();
        assert_eq!(three.lines().count(), 3 * one.lines().count());
        assert!(three.contains("\nb\n"), "{three}");
    }
}
