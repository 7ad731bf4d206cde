//! Forwards every connection to another server, as HAProxy's `mode tcp` does:
//! `cargo run --example forwarder HOST:PORT UPSTREAM_IP:PORT`.
//!
//! Two connections carry each other's bytes. Neither holds a thread while it waits, and a side that
//! does not read stops the other one from sending.

use std::io::Write;
use std::net::SocketAddr;

use socketserver::{Builder, Error, Forwarder, Result, shutdown_on_ctrl_c};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(upstream)) = (arguments.next(), arguments.next()) else {
        return Err(Error::Address(
            "usage: forwarder HOST:PORT UPSTREAM_IP:PORT".to_owned(),
        ));
    };
    let upstream: SocketAddr = upstream
        .parse()
        .map_err(|_| Error::Address(format!("invalid address `{upstream}`: use IP:PORT")))?;
    let mut server = Builder::new().tcp(&address, move |_| Forwarder::to(upstream))?;
    shutdown_on_ctrl_c(server.handle())?;
    writeln!(
        std::io::stdout(),
        "forwarder listening on {}",
        server.server_address().url("tcp")
    )?;
    server.serve_forever()
}
