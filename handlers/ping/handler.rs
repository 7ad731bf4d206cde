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

/// The state that all datagrams of a server share. The parts that the options do not need are
/// `None` and cost nothing.
#[derive(Debug)]
pub(crate) struct Answering {
    network: Option<Mutex<Network>>,
    delay: Option<Delay>,
    counters: Option<Mutex<Counters>>,
}

impl Answering {
    /// # Errors
    /// The system cannot create the thread for delayed replies.
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

    /// Sends the remaining delayed replies, when no more datagrams will arrive.
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

    /// Writes the reply: the bytes of the request in upper case, with the number of requests if a
    /// client of `--split` asks for it.
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
        // The buffer is put back later, so that the next datagram uses its memory, too. The
        // framework does not send an empty `wfile`, but an empty datagram must get an empty reply.
        // So the handler sends the reply itself.
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
