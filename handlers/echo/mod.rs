//! `serve echo`: returns every byte as it was sent (RFC 862), or in upper case.

pub mod client;

use clap::Args;

use crate::common::echo::EchoHandler;
use crate::service::{Context, FOR_CONNECTIONS, Failure, Served, Service, Unsupported};

/// The options of `serve echo`.
#[derive(Debug, Args)]
pub struct Echo {
    /// Return ASCII letters in upper case
    #[arg(long, env = "SOCKETSERVER_UPPER")]
    upper: bool,
    /// Serve datagrams instead of connections
    #[arg(long, env = "SOCKETSERVER_UDP")]
    udp: bool,
}

impl Service for Echo {
    const NAME: &'static str = "echo";
    const PORT: u16 = 7007;

    fn unsupported(&self) -> Vec<Unsupported> {
        self.udp.then_some(FOR_CONNECTIONS).into_iter().collect()
    }

    fn open(self, _: &Context) -> Result<Served, Failure> {
        let handler = EchoHandler { upper: self.upper };
        Ok(match self.udp {
            true => Served::Datagram(Box::new(move |_| Box::new(handler))),
            false => Served::stream(move |_| Box::new(handler)),
        })
    }
}
