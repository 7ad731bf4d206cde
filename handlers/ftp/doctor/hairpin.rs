//! Whether the address that clients from outside are told leads to this machine. The way from
//! outside cannot be tried from inside, but many routers lead such a connection back. Where they do
//! not, that says nothing about clients from outside, so it is never a problem.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use super::super::passive::Passive;
use super::Finding;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const SUBJECT: &str = "from outside";

/// Connects to the told address at a port of the range on which this process listens. `None` if
/// the address is one of this machine, or no port is free.
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
        Ok(true) => Finding::good(SUBJECT, format!("{at} leads to this machine")),
        Ok(false) => Finding::note(
            SUBJECT,
            format!("a connection from here to {at} leads elsewhere: try it from outside"),
        ),
        Err(error) => Finding::note(
            SUBJECT,
            format!("{at} cannot be reached from here ({error}): try it from outside"),
        ),
    })
}

/// Whether a connection to `at` arrives at the listener.
fn leads_to(listener: &TcpListener, at: SocketAddr) -> io::Result<bool> {
    let mut client = TcpStream::connect_timeout(&at, CONNECT_TIMEOUT)?;
    let mut token = [0; 16];
    getrandom::fill(&mut token).map_err(io::Error::other)?;
    client.write_all(&token)?;
    let arrives = || -> io::Result<bool> {
        // The connection is established, so it is there already, or it never comes.
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
    fn a_connection_that_arrives_elsewhere_is_noticed() {
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
