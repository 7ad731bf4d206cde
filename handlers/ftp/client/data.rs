//! Data connections. The client always opens them (passive mode), to the address of the control
//! connection.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use rustix::net::sockopt;

use super::fault::Fault;
use super::reply::Reply;
use super::session::{Passive, Session};
use crate::client::Connection;

/// Maximum time to wait for the server's TLS tickets after an upload.
const TICKETS_TIMEOUT: Duration = Duration::from_millis(200);
/// Maximum time to wait for the reply that says why a data connection has failed.
const REASON_TIMEOUT: Duration = Duration::from_secs(2);

/// The direction of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Receive,
    Send,
}

impl Session<'_> {
    /// Begins a transfer: opens a data connection, and sends the command. The transfer begins at
    /// `offset` (REST, RFC 3659 §5).
    ///
    /// # Errors
    /// The session can continue after `Refused` and `Local`.
    pub(super) fn begin(
        &mut self,
        verb: &str,
        argument: Option<&[u8]>,
        offset: u64,
        direction: Direction,
    ) -> Result<Connection, Fault> {
        let address = self.passive()?;
        let timeout = self.target.options.timeout;
        let failed = |error: io::Error| {
            Fault::Local(format!(
                "cannot open a data connection to {address}: {error}"
            ))
        };
        let stream = TcpStream::connect_timeout(&address, timeout).map_err(failed)?;
        stream
            .set_read_timeout(Some(timeout))
            .and(stream.set_write_timeout(Some(timeout)))
            .map_err(failed)?;
        if direction == Direction::Send {
            // For the server, the end of the connection is the end of the file. So with this option
            // the system resets the connection if this process is killed during the transfer.
            // Otherwise the system would close the connection normally, and the server would store
            // a part of the file as the complete file.
            sockopt::set_socket_linger(&stream, Some(Duration::ZERO))
                .map_err(|error| failed(error.into()))?;
        }
        if offset > 0 {
            let reply = self.command("REST", Some(offset.to_string().as_bytes()))?;
            if reply.code != 350 {
                return Err(Fault::refused(&reply));
            }
        }
        let reply = self.command(verb, argument)?;
        if !reply.is_preliminary() {
            return Err(Fault::refused(&reply));
        }
        let data = Connection::over(stream, timeout, self.target.options.trace);
        let Some(tls) = self.tls.clone() else {
            return Ok(data);
        };
        data.secure(tls.config, tls.name).map_err(|error| {
            let error = io::Error::new(error.kind(), format!("TLS for data: {error}"));
            self.reason_for(&error)
        })
    }

    /// Ends a transfer after all bytes were transferred, and waits for the last reply. After an
    /// upload of many bytes the wait may be longer, because the server may write the bytes to its
    /// disk before it replies.
    ///
    /// # Errors
    /// `Refused` if the server replies that the transfer has failed.
    pub(super) fn end(
        &mut self,
        mut data: Connection,
        direction: Direction,
        bytes: u64,
    ) -> Result<(), Fault> {
        if direction == Direction::Send {
            let ended = match data.tcp() {
                Some(stream) => sockopt::set_socket_linger(stream, None).map_err(io::Error::from),
                None => Ok(()),
            };
            if let Err(error) = ended.and_then(|()| data.finish_writing()) {
                drop(data);
                return Err(self.reason_for(&error));
            }
            let reply = self.receive(bytes)?;
            // The server may have sent new TLS tickets. The next data connection may need them.
            // Also, a connection that is closed with unread bytes is reset.
            if self.tls.is_some() && data.set_read_timeout(Some(TICKETS_TIMEOUT)).is_ok() {
                let mut rest = [0; 1024];
                while matches!(io::Read::read(&mut data, &mut rest), Ok(1..)) {}
            }
            return verdict(&reply);
        }
        drop(data);
        let reply = self.receive(0)?;
        verdict(&reply)
    }

    /// Ends a transfer before it is complete. The session ends too, because servers send different
    /// replies after an abort.
    pub(super) fn abort(&mut self, data: Connection) {
        drop(data);
        self.give_up();
    }

    /// Returns why a data connection has failed: the server's reply if the server sends one in
    /// time, otherwise the error.
    pub(super) fn reason_for(&mut self, error: &io::Error) -> Fault {
        let patience = self.target.options.timeout.min(REASON_TIMEOUT);
        let reply = self
            .control()
            .map(|control| control.receive_within(patience));
        match reply {
            // This was the last reply of the transfer, so the session can continue.
            Ok(Ok(reply)) if reply.code >= 400 && reply.code != 421 => Fault::refused(&reply),
            Ok(Ok(reply)) => {
                self.give_up();
                Fault::Broken(format!("{error} ({})", reply.text()))
            }
            _ => {
                self.give_up();
                Fault::broken(error)
            }
        }
    }

    /// Asks the server for a data connection. Returns the address to which the client must connect.
    fn passive(&mut self) -> Result<SocketAddr, Fault> {
        let trust = self.target.options.trust_pasv_address;
        if self.passive == Passive::Extended && !trust {
            let reply = self.command("EPSV", None)?;
            if reply.is_done() {
                let port = extended_port(&reply).ok_or_else(|| unusable("EPSV", &reply))?;
                return Ok(SocketAddr::new(self.peer, port));
            }
            if reply.code / 100 != 5 || !self.peer.to_canonical().is_ipv4() {
                return Err(Fault::refused(&reply));
            }
            self.passive = Passive::Classic;
        }
        let reply = self.done("PASV", None)?;
        let (address, port) = classic_address(&reply).ok_or_else(|| unusable("PASV", &reply))?;
        // Without `--trust-pasv-address`, the address in the reply is not used. A server could name
        // the address of a machine that only the client can reach. Also, the address is often wrong
        // behind NAT.
        let host = if trust {
            IpAddr::V4(address)
        } else {
            self.peer
        };
        Ok(SocketAddr::new(host, port))
    }
}

fn verdict(reply: &Reply) -> Result<(), Fault> {
    if reply.is_done() {
        Ok(())
    } else {
        Err(Fault::refused(reply))
    }
}

fn unusable(verb: &str, reply: &Reply) -> Fault {
    Fault::Local(format!(
        "the reply to {verb} names no port: {}",
        reply.text()
    ))
}

/// The port in `Entering Extended Passive Mode (|||6446|)` (RFC 2428 §3).
fn extended_port(reply: &Reply) -> Option<u16> {
    let text = String::from_utf8_lossy(reply.lines.first()?).into_owned();
    let (_, inner) = text.split_once('(')?;
    let (inner, _) = inner.split_once(')')?;
    let delimiter = inner.chars().next()?;
    let mut parts = inner.split(delimiter);
    let port = parts.nth(3)?.parse().ok()?;
    (port != 0 && parts.next() == Some("")).then_some(port)
}

/// The address and port in `227 Entering Passive Mode (h1,h2,h3,h4,p1,p2)`. Some servers leave out
/// the parentheses (RFC 1123 §4.1.2.6).
fn classic_address(reply: &Reply) -> Option<(Ipv4Addr, u16)> {
    let text = String::from_utf8_lossy(reply.lines.first()?).into_owned();
    let is_number = |c: char| c.is_ascii_digit() || c == ',';
    let numbers = text
        .split(|c| !is_number(c))
        .find(|part| part.matches(',').count() == 5)?;
    let numbers: Vec<u8> = numbers
        .split(',')
        .map(|number| number.parse().ok())
        .collect::<Option<_>>()?;
    let [a, b, c, d, high, low] = numbers[..] else {
        return None;
    };
    let port = u16::from_be_bytes([high, low]);
    (port != 0).then_some((Ipv4Addr::new(a, b, c, d), port))
}

/// The port in a reply if it is the reply to EPSV, and if it is the reply to PASV. The fuzzer calls
/// this function.
pub(super) fn ports_in(reply: &Reply) -> (Option<u16>, Option<u16>) {
    (
        extended_port(reply),
        classic_address(reply).map(|(_, port)| port),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str) -> Reply {
        Reply {
            code: 227,
            lines: vec![text.as_bytes().to_vec()],
        }
    }

    #[test]
    fn ports_are_found_in_replies() {
        for (text, port) in [
            ("Entering Extended Passive Mode (|||6446|)", Some(6446)),
            ("ok (!!!80!).", Some(80)),
            ("(|||0|)", None),
            ("(|||65536|)", None),
            ("(|||80)", None),
            ("(||||)", None),
            ("()", None),
            ("|||80|", None),
        ] {
            assert_eq!(extended_port(&reply(text)), port, "{text}");
        }
        let home = Ipv4Addr::LOCALHOST;
        for (text, address) in [
            (
                "Entering Passive Mode (127,0,0,1,25,46)",
                Some((home, 6446)),
            ),
            ("Entering Passive Mode. 127,0,0,1,25,46", Some((home, 6446))),
            ("3 modes (127,0,0,1,25,46).", Some((home, 6446))),
            ("(127,0,0,1,25)", None),
            ("(127,0,0,256,25,46)", None),
            ("(127,0,0,1,0,0)", None),
            ("(,,,,,)", None),
            ("", None),
        ] {
            assert_eq!(classic_address(&reply(text)), address, "{text}");
        }
    }
}
