//! Checks whether a connection to the address in the reply to PASV for clients from outside arrives
//! at this machine.
//!
//! Many routers send such a connection back into the network (hairpin NAT). If the connection
//! arrives, the address is correct. If the connection does not arrive, clients from outside may
//! still reach the server. So the finding is never a problem.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use super::super::passive::Passive;
use super::Finding;

/// Maximum time to connect, and to receive the token.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const SUBJECT: &str = "from outside";

/// Listens on a passive port, and connects to that port at the address `told`. `None` if the
/// address belongs to this machine, or if no port is free.
pub(super) fn examine(told: Ipv4Addr, passive: &Passive) -> Option<Finding> {
    if UdpSocket::bind((told, 0)).is_ok() {
        return None;
    }
    let any = |port: u16| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).ok();
    let listener = match passive.ports() {
        Some(ports) => ports.clone().find_map(any)?,
        None => any(0)?,
    };
    let at = SocketAddr::new(told.into(), listener.local_addr().ok()?.port());
    Some(match leads_to(&listener, at) {
        Ok(true) => Finding::good(
            SUBJECT,
            format!("{at} is this machine: a connection from here has arrived"),
        ),
        Ok(false) => Finding::note(
            SUBJECT,
            format!("a connection from here to {at} does not arrive here: try it from outside"),
        ),
        Err(error) => Finding::note(
            SUBJECT,
            format!("{at} cannot be reached from here ({error}): try it from outside"),
        ),
    })
}

/// Whether a connection to `at` arrives at the listener. The client sends a random token, by which
/// the listener recognizes the connection.
fn leads_to(listener: &TcpListener, at: SocketAddr) -> io::Result<bool> {
    let mut client = TcpStream::connect_timeout(&at, CONNECT_TIMEOUT)?;
    let mut token = [0; 16];
    getrandom::fill(&mut token).map_err(io::Error::other)?;
    client.write_all(&token)?;
    let arrives = || -> io::Result<bool> {
        // The client's connection is established. If the connection has arrived at this listener,
        // `accept` succeeds without a wait.
        listener.set_nonblocking(true)?;
        let (mut server, _) = listener.accept()?;
        server.set_nonblocking(false)?;
        server.set_read_timeout(Some(CONNECT_TIMEOUT))?;
        let mut received = [0; 16];
        server.read_exact(&mut received)?;
        Ok(received == token)
    };
    Ok(arrives().unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_to_another_listener_is_recognized() {
        let ours = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let closed = nobody.local_addr().unwrap();
        drop(nobody);
        let at = |listener: &TcpListener| listener.local_addr().unwrap();
        assert!(leads_to(&ours, at(&ours)).unwrap());
        assert!(!leads_to(&ours, at(&other)).unwrap());
        assert!(leads_to(&ours, closed).is_err());
    }

    #[test]
    fn an_address_of_this_machine_needs_no_test() {
        let passive = Passive::new(None, Vec::new());
        assert_eq!(examine(Ipv4Addr::LOCALHOST, &passive), None);
    }
}
