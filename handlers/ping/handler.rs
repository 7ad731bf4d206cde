//! Answers one datagram.

use std::io;
use std::mem;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use socketserver::{DatagramRequest, DatagramRequestHandler, Result};

use super::counters::Counters;
use super::delay::Delay;
use super::network::{Answer, Conditions, Fate, Network, Order};
use super::packet::Field;

/// What all datagrams of a server share. A part that the options don't ask for isn't there, and
/// costs nothing.
#[derive(Debug)]
pub(crate) struct Answering {
    network: Option<Mutex<Network>>,
    delay: Option<Delay>,
    counters: Option<Mutex<Counters>>,
}

impl Answering {
    /// # Errors
    /// When the system refuses the thread that sends later.
    pub(crate) fn new(conditions: Conditions, seed: u64, split: bool) -> io::Result<Answering> {
        Ok(Answering {
            delay: if conditions.take_time() {
                Some(Delay::start()?)
            } else {
                None
            },
            network: (!conditions.are_perfect())
                .then(|| Mutex::new(Network::new(conditions, seed))),
            counters: split.then(Mutex::default),
        })
    }

    /// Sends what is under way, when no more comes.
    pub(crate) fn finish(&self) {
        if let Some(delay) = &self.delay {
            delay.finish();
        }
    }

    fn fate(&self) -> Fate {
        self.network
            .as_ref()
            .map_or(Fate::Answered(Answer::default()), |network| {
                network.lock().fate()
            })
    }

    /// The same bytes in upper case, but for the count that a client of `--split` asks for.
    fn write_reply(&self, request: &DatagramRequest, reply: &mut Vec<u8>) {
        reply.extend_from_slice(request.packet());
        reply.make_ascii_uppercase();
        if let Some(counters) = &self.counters
            && let Some(field) = Field::find(reply)
        {
            let count = counters
                .lock()
                .count((request.client_address.clone(), field.session));
            field.write(reply, count);
        }
    }

    fn send(&self, request: &DatagramRequest, reply: &[u8], answer: Answer) -> Result<()> {
        let Some(delay) = &self.delay else {
            request.reply(reply)?;
            return answer.duplicate.map_or(Ok(()), |_| request.reply(reply));
        };
        let due = Instant::now() + answer.delay;
        match answer.order {
            Order::Held => delay.hold(request.pending_reply(), reply.to_owned()),
            Order::Kept | Order::Overtakes if answer.delay.is_zero() => request.reply(reply)?,
            Order::Kept | Order::Overtakes => {
                delay.send_at(due, request.pending_reply(), reply.to_owned())
            }
        }
        if answer.order == Order::Overtakes {
            delay.release(due);
        }
        if let Some(second) = answer.duplicate {
            delay.send_at(
                Instant::now() + second,
                request.pending_reply(),
                reply.to_owned(),
            );
        }
        Ok(())
    }
}

/// Answers one datagram.
#[derive(Debug)]
pub(crate) struct PingHandler(Arc<Answering>);

impl PingHandler {
    pub(crate) fn new(answering: Arc<Answering>) -> PingHandler {
        PingHandler(answering)
    }
}

impl DatagramRequestHandler for PingHandler {
    fn handle(&mut self, request: &mut DatagramRequest) -> Result<()> {
        let answer = match self.0.fate() {
            Fate::Answered(answer) => Some(answer),
            Fate::ReplyLost => None,
            Fate::RequestLost => {
                log::debug!("{}: a request gets lost", request.client_address);
                return Ok(());
            }
            Fate::Last => {
                request.server.shutdown();
                return Ok(());
            }
        };
        // Taken and put back, as its memory serves the next datagram too. The framework sends no
        // empty `wfile`, but an empty datagram has an answer like any other: so it is sent by hand.
        let mut reply = mem::take(&mut request.wfile);
        self.0.write_reply(request, &mut reply);
        let sent = match answer {
            Some(answer) => self.0.send(request, &reply, answer),
            None => {
                log::debug!("{}: a reply gets lost", request.client_address);
                Ok(())
            }
        };
        reply.clear();
        request.wfile = reply;
        sent
    }
}
