//! `serve time`: sends the time to each client and closes, or answers datagrams, as text or by
//! SNTP.
//!
//! Over UDP the sender address of a datagram may be forged, so a server can be made to send its
//! answers to a victim. An SNTP reply is never longer than its request. A text can be longer: 26
//! bytes for an empty datagram, which is 1.9 times as much with the headers. On an open network,
//! use `--sntp`, or text over TCP.

pub mod client;
pub mod format;
pub mod sntp;

use std::sync::Arc;
use std::time::SystemTime;

use clap::Args;
use jiff::tz::TimeZone;
use socketserver::{
    DatagramRequest, DatagramRequestHandler, Next, Result, StreamRequest, StreamRequestHandler,
};

use crate::common::reflectors::answers_itself;
use crate::service::{
    Context, FOR_CONNECTIONS, Failure, Served, Service, Unsupported, refusal_line,
};
use format::{Format, Style};

/// The options of `serve time`.
#[derive(Debug, Args)]
pub struct Time {
    /// Format of the time: rfc3339, rfc867 (a line of text), rfc868 (4 bytes), or a strftime
    /// pattern [default: 2023-04-19 17:04:30.293444]
    #[arg(long, env = "SOCKETSERVER_FORMAT", verbatim_doc_comment)]
    format: Option<Style>,
    /// Send UTC instead of the local time
    #[arg(long, env = "SOCKETSERVER_UTC")]
    utc: bool,
    /// Answer datagrams instead of connections
    #[arg(long, env = "SOCKETSERVER_UDP")]
    udp: bool,
    /// Answer SNTP clients (implies --udp)
    #[arg(long, env = "SOCKETSERVER_SNTP")]
    sntp: bool,
}

/// The options that apply only to text.
const FOR_TEXT: Unsupported = Unsupported {
    options: &["format", "utc"],
    reason: "SNTP has a format of its own, in UTC",
};

impl Service for Time {
    const NAME: &'static str = "time";
    const PORT: u16 = 9999;

    fn unsupported(&self) -> Vec<Unsupported> {
        let datagrams = (self.udp || self.sntp).then_some(FOR_CONNECTIONS);
        let text = self.sntp.then_some(FOR_TEXT);
        datagrams.into_iter().chain(text).collect()
    }

    fn open(self, _: &Context) -> std::result::Result<Served, Failure> {
        if self.sntp {
            return Ok(Served::Datagram(Box::new(|_| Box::new(answer_sntp))));
        }
        let style = self.format.unwrap_or_default();
        let is_binary = matches!(style, Style::Rfc868);
        let format = Arc::new(Format::new(style, zone(self.utc)));
        Ok(match self.udp {
            true => Served::Datagram(Box::new(move |_| {
                Box::new(TimeHandler(Arc::clone(&format)))
            })),
            false => Served::Stream {
                class: Box::new(move |_| Box::new(TimeHandler(Arc::clone(&format)))),
                // A client of RFC 868 would interpret the first four bytes of a line as the time.
                refusal: match is_binary {
                    true => |_| None,
                    false => |why| Some(refusal_line(why).as_bytes()),
                },
            },
        })
    }
}

/// Returns the time zone of the answers: the system's zone (`TZ`, or otherwise `/etc/localtime`) or
/// UTC.
fn zone(utc: bool) -> TimeZone {
    if utc {
        TimeZone::UTC
    } else {
        TimeZone::system()
    }
}

/// Sends the time, and closes the connection.
struct TimeHandler(Arc<Format>);

impl StreamRequestHandler for TimeHandler {
    fn speaks_first(&self) -> bool {
        true
    }

    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        self.0.write(SystemTime::now(), &mut request.wfile)?;
        request.wfile.close_follows();
        Ok(Next::Close)
    }
}

impl DatagramRequestHandler for TimeHandler {
    fn handle(&mut self, request: &mut DatagramRequest) -> Result<()> {
        if !answers_itself(&request.client_address) {
            self.0.write(SystemTime::now(), &mut request.wfile)?;
        }
        Ok(())
    }
}

fn answer_sntp(request: &mut DatagramRequest) -> Result<()> {
    let received = SystemTime::now();
    if let Some(reply) = sntp::answer(request.packet(), received, SystemTime::now()) {
        request.reply(&reply)?;
    }
    Ok(())
}
