//! `client auth`: answers the challenge of the server, and then behaves like `client echo`.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use clap::Args;
use socketserver::Address;

use crate::client::conversation::converse;
use crate::client::{Client, ClientOptions, Connection};
use crate::service::Failure;

/// The options of `client auth`: those that every client has.
#[derive(Debug, Args)]
pub struct AuthClient {}

impl Client for AuthClient {
    fn run(self, address: &Address, options: &ClientOptions) -> Result<u8, Failure> {
        options.keys.keys()?.ok_or_else(Failure::no_key)?;
        let mut server = Connection::open(address, options)?;
        // A server that does not know the key closes the connection without a message. A client
        // without input would not notice this, so it sends one byte.
        let piped = !io::stdin().is_terminal();
        let nothing_to_send = piped && io::stdin().lock().fill_buf().is_ok_and(<[u8]>::is_empty);
        let talked = if nothing_to_send {
            probe(&mut server).map_err(Failure::run)
        } else {
            converse(&mut server, piped)
        };
        talked.map_err(|failure| Failure {
            message: failure.message + "; is the key right?",
            ..failure
        })
    }
}

/// Sends one byte and reads its echo, to check whether the server accepted the key.
fn probe(server: &mut Connection) -> io::Result<u8> {
    server.write_all(b"?")?;
    server.flush()?;
    server.read_exact(&mut [0])?;
    Ok(0)
}
