//! `client echo`: shows a prompt on a terminal, and otherwise works as a pipe.

use std::io::{self, BufRead, IsTerminal};

use clap::Args;
use socketserver::Address;

use crate::client::conversation::{converse, print, prompt};
use crate::client::datagram::{DatagramConnection, MAX_DATAGRAM};
use crate::client::output::quietly;
use crate::client::{Client, ClientOptions, Connection};
use crate::service::Failure;

/// The options of `client echo`.
#[derive(Debug, Args)]
pub struct EchoClient {
    /// Send each line as a datagram
    #[arg(long)]
    udp: bool,
}

impl Client for EchoClient {
    fn run(self, address: &Address, options: &ClientOptions) -> Result<u8, Failure> {
        if self.udp {
            return datagrams(&DatagramConnection::open(address, options)?);
        }
        converse(&mut Connection::open(address, options)?, false)
    }
}

/// Sends each line as a datagram, and prints the answer.
fn datagrams(server: &DatagramConnection) -> Result<u8, Failure> {
    let mut buffer = vec![0; MAX_DATAGRAM];
    let mut exchange = |line: &[u8]| {
        server.send(line)?;
        let length = server.receive(&mut buffer)?;
        print(&[&buffer[..length], b"\n"])
    };
    if io::stdin().is_terminal() {
        return quietly(prompt(exchange).map(|()| 0), Failure::run);
    }
    let sent = io::stdin()
        .lock()
        .split(b'\n')
        .try_for_each(|line| exchange(&line?));
    quietly(sent.map(|()| 0), Failure::run)
}
