//! `client ping`: measures round trips and losses.
//!
//! | module | task |
//! |---|---|
//! | `pinger` | sends and receives; the only module with sockets and a clock |
//! | [`sequences`] | tracks the requests without a reply |
//! | [`statistics`] | computes the summary |
//! | [`report`] | formats events and the summary |
//! | [`plot`] | draws the graph |

mod dots;
mod pinger;
pub mod plot;
pub mod report;
pub mod sequences;
mod signals;
pub mod statistics;

use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::Args;
use socketserver::Address;

use crate::client::datagram::{DatagramConnection, MAX_DATAGRAM};
use crate::client::{Client, ClientOptions};
use crate::common::values::duration;
use crate::service::Failure;
use pinger::{Pinger, Target};
use plot::Plot;
use report::{Format, Report};
use signals::Signals;

const EXAMPLES: &str = "\
  Ctrl-C      prints the summary and ends; requests in flight are not counted as lost
  Ctrl-\\      prints the summary so far and continues

Exit code: 0 with at least one reply, 1 with none.";

/// The options of `client ping`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PingClient {
    /// More servers, measured at the same time
    #[arg(value_name = "MORE")]
    more: Vec<Address>,
    /// Number of requests to each server [default: until Ctrl-C]
    #[arg(short, long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Time between two requests
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,
    /// Maximum time to wait for a reply
    #[arg(
        short = 'W',
        long = "wait",
        value_name = "TIME",
        default_value = "1s",
        value_parser = interval
    )]
    wait: Duration,
    /// Maximum time of the whole run [default: no limit]
    #[arg(short = 'w', long, value_name = "TIME", value_parser = interval)]
    deadline: Option<Duration>,
    /// Minimum size of a request in bytes; shorter ones are padded
    #[arg(
        short,
        long,
        value_name = "BYTES",
        default_value = "0",
        value_parser = clap::value_parser!(u32).range(..=MAX_DATAGRAM as i64)
    )]
    size: u32,
    /// Send the next request as soon as the last is answered, and at least 100 a second
    #[arg(long, conflicts_with = "interval")]
    flood: bool,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// Draw a graph of the round trips instead of a line for each; without a terminal, once at the
    /// end
    #[arg(long, conflicts_with = "json")]
    plot: bool,
    /// Print only the summary
    #[arg(short, long)]
    quiet: bool,
    /// Report request loss and reply loss separately, from the counts of `serve ping --split`
    #[arg(long)]
    split: bool,
}

impl Client for PingClient {
    fn run(self, address: &Address, options: &ClientOptions) -> Result<u8, Failure> {
        let addresses: Vec<&Address> = std::iter::once(address).chain(&self.more).collect();
        let several = addresses.len() > 1;
        let mut targets = Vec::new();
        for address in &addresses {
            let connection = DatagramConnection::open(address, options)?;
            targets.push(
                Target::new(address, connection, self.wait, self.split).map_err(Failure::run)?,
            );
        }
        let titles = addresses.iter().map(ToString::to_string);
        let plot = self
            .plot
            .then(|| Plot::new(titles, io::stdout().is_terminal()));
        let format = if self.json {
            Format::Json
        } else {
            Format::Text
        };
        let report = Report::new(
            io::stdout(),
            io::stderr(),
            format,
            several,
            self.quiet,
            plot,
        );
        let signals = Signals::catch().map_err(Failure::run)?;
        Pinger::new(self, targets, report, signals)
            .run()
            .map_err(Failure::run)
    }
}

/// Parses a duration that is long enough to be an interval.
fn interval(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        time if time < Duration::from_millis(1) => Err("it must be at least 1ms".to_owned()),
        time => Ok(time),
    }
}
