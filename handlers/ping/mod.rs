//! `serve ping`: returns each datagram in upper case, over a simulated lossy network.
//!
//! Each datagram passes through three modules: [`network`] decides whether it is lost or delayed,
//! `handler` answers it, and `delay` sends delayed replies.

pub mod client;
mod counters;
mod delay;
mod handler;
pub mod network;
pub mod packet;
mod random;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use crate::common::values::duration;
use crate::service::{Context, Failure, Served, Service};
use handler::{Answering, PingHandler};
use network::Conditions;

/// The options of `serve ping`.
#[derive(Debug, Args)]
pub struct Ping {
    /// Period of lost datagrams: the 1st, N+1st, 2N+1st ... get no answer
    #[arg(
        long,
        value_name = "N",
        env = "SOCKETSERVER_DROP_EVERY",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    drop_every: Option<u64>,
    /// Packet loss in percent, half of it in each direction
    #[arg(
        long,
        value_name = "PERCENT",
        default_value = "0",
        env = "SOCKETSERVER_LOSS",
        value_parser = percent
    )]
    loss: f64,
    /// Delay of each reply
    #[arg(
        long,
        value_name = "TIME",
        default_value = "0",
        env = "SOCKETSERVER_DELAY",
        value_parser = duration
    )]
    delay: Duration,
    /// Maximum random deviation from the delay, in both directions
    #[arg(
        long,
        value_name = "TIME",
        default_value = "0",
        env = "SOCKETSERVER_JITTER",
        value_parser = duration
    )]
    jitter: Duration,
    /// Replies that are sent twice, in percent
    #[arg(
        long,
        value_name = "PERCENT",
        default_value = "0",
        env = "SOCKETSERVER_DUPLICATE",
        value_parser = percent
    )]
    duplicate: f64,
    /// Replies that arrive after the next one, in percent
    #[arg(
        long,
        value_name = "PERCENT",
        default_value = "0",
        env = "SOCKETSERVER_REORDER",
        value_parser = percent
    )]
    reorder: f64,
    /// Seed of the simulated network: the same seed loses and delays the same datagrams [default:
    /// a random one]
    #[arg(long, value_name = "S", env = "SOCKETSERVER_SEED")]
    seed: Option<u64>,
    /// Number of the datagram at which the server ends; it gets no answer
    #[arg(
        long,
        value_name = "N",
        env = "SOCKETSERVER_MAX_REQUESTS",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    max_requests: Option<u64>,
    /// Count the requests of `client ping --split`, so that it can tell lost requests from lost
    /// replies
    #[arg(long, env = "SOCKETSERVER_SPLIT")]
    split: bool,
}

impl Service for Ping {
    const NAME: &'static str = "ping";
    const PORT: u16 = 12000;
    const SCHEME: &'static str = "udp";
    const DATAGRAMS: bool = true;

    fn open(self, context: &Context) -> Result<Served, Failure> {
        let conditions = Conditions {
            drop_every: self.drop_every,
            max_requests: self.max_requests,
            loss: self.loss,
            delay: self.delay,
            jitter: self.jitter,
            duplicate: self.duplicate,
            reorder: self.reorder,
        };
        if context.forks && (self.split || !conditions.are_perfect()) {
            return Err(Failure::usage(
                "ping counts its datagrams, and processes do not share the count: use another \
                 --model",
            ));
        }
        let seed = self.seed.unwrap_or_else(|| RandomState::new().hash_one(()));
        if conditions.are_random() {
            log::info!("ping: --seed {seed} repeats this network");
        }
        let answering =
            Arc::new(Answering::new(conditions, seed, self.split).map_err(Failure::run)?);
        let ending = Arc::clone(&answering);
        context.at_end.add(move || ending.finish());
        Ok(Served::Datagram(Box::new(move |_| {
            Box::new(PingHandler::new(Arc::clone(&answering)))
        })))
    }
}

/// Parses `20` or `20%` to a fraction of 1.
fn percent(text: &str) -> Result<f64, String> {
    match text.strip_suffix('%').unwrap_or(text).parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err(format!(
            "invalid percentage `{text}`: use a number from 0 to 100"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_a_part_of_one() {
        for (text, part) in [("0", 0.0), ("20", 0.2), ("12.5%", 0.125), ("100", 1.0)] {
            assert_eq!(percent(text), Ok(part), "{text}");
        }
        for text in ["", "%", "-1", "101", "nan", "inf", "a lot"] {
            assert!(percent(text).is_err(), "{text}");
        }
    }
}
