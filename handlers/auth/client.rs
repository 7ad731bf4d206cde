//! `client auth`: proves who it is, then talks as `client echo` does.

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
        // A server that doesn't know the key closes without a word.
        converse(&mut server).map_err(|failure| Failure { message: failure.message + "; is the key right?", ..failure })
    }
}
