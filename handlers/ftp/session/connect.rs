//! PORT, EPRT, PASV and EPSV: these commands set up the next data connection.

use std::net::{IpAddr, SocketAddr};

use socketserver::{RunningListener, StreamRequest};

use super::{Answer, Session};
use crate::ftp::address::{
    EprtError, EpsvArgument, format_epsv, format_pasv, parse_eprt, parse_epsv, parse_port,
};
use crate::ftp::command::number;
use crate::ftp::data::{Arrival, DataLink};
use crate::ftp::passive::local_ip;
use crate::ftp::reply::{Refused, Reply};

/// Lowest port that the server connects to. Lower ports belong to system services, which a client
/// could attack through the server (RFC 2577 §3).
const MIN_ACTIVE_PORT: u16 = 1024;

/// The state of the data connection. A session has at most one.
///
/// | state | next | when |
/// |---|---|---|
/// | any | `Listening` | PASV or EPSV |
/// | any | `Target` | PORT or EPRT |
/// | `Target` | `Connecting` | a transfer begins |
/// | `Listening` | `Connected` | the client has connected |
/// | `Connecting` | `Connected` | the server has connected to the client |
/// | any | `None` | the transfer or the connection has ended or failed |
#[derive(Debug, Default)]
pub(super) enum Data {
    /// The client has not asked for a data connection.
    #[default]
    None,
    /// PASV or EPSV: the server listens for the client.
    Listening {
        id: u64,
        arrival: Arrival,
        /// The server listens until this value is dropped.
        _listener: RunningListener,
    },
    /// PORT or EPRT: the server will connect to this address when a transfer begins.
    Target(SocketAddr),
    /// PORT or EPRT: the server is connecting to the client.
    Connecting { id: u64 },
    /// The connection is established.
    Connected { id: u64, link: DataLink },
}

impl Data {
    pub(super) fn is_none(&self) -> bool {
        matches!(self, Data::None)
    }

    /// The number of the data connection. A connection has its number before it is established.
    pub(super) fn id(&self) -> Option<u64> {
        match self {
            Data::None | Data::Target(_) => None,
            Data::Listening { id, .. } | Data::Connecting { id } | Data::Connected { id, .. } => {
                Some(*id)
            }
        }
    }

    /// Changes to `Connected` if the client has connected. Otherwise, if `is_awaited`, the session
    /// will get an event when the client connects.
    pub(super) fn take_arrival(&mut self, is_awaited: bool) {
        let Data::Listening { id, arrival, .. } = self else {
            return;
        };
        let link = if is_awaited {
            arrival.take_or_await()
        } else {
            arrival.take()
        };
        if let Some(link) = link {
            *self = Data::Connected { id: *id, link };
        }
    }

    /// Closes the data connection immediately. Unsent bytes are lost.
    pub(super) fn abort(&mut self, reason: &'static str) {
        match std::mem::take(self) {
            Data::Connected { link, .. } => link.waker.abort(reason),
            Data::Listening { arrival, .. } => arrival.abandon(reason),
            Data::None | Data::Target(_) | Data::Connecting { .. } => {}
        }
    }

    /// The line in the reply to STAT.
    pub(super) fn status(&self) -> &'static str {
        match self {
            Data::None => "No data connection",
            Data::Listening { .. } => "Waiting for a data connection",
            Data::Target(_) | Data::Connecting { .. } => "Ready to make a data connection",
            Data::Connected { .. } => "Data connection open",
        }
    }
}

impl Session {
    fn check_not_epsv_only(&self, verb: &str) -> Result<(), Refused> {
        if self.parameters.is_epsv_only {
            let text = format!("{verb} is refused after EPSV ALL: use EPSV.");
            return Err(Refused::new(501, text));
        }
        Ok(())
    }

    /// Aborts the data connection, and sets the state of the next one.
    fn set_data(&mut self, data: Data) {
        self.data
            .abort("the client has asked for another data connection");
        self.data = data;
    }

    pub(super) fn pasv(&mut self, request: &StreamRequest) -> Answer {
        self.check_not_epsv_only("PASV")?;
        let local = local_ip(request)?;
        let passive = &self.shared.passive;
        let now = request.server.clock().now();
        let told = passive.advertised(&request.client_address, local, now)?;
        let port = self.listen(request)?;
        let shown = format_pasv(told, port);
        Ok(Some(Reply::new(
            227,
            format!("Entering Passive Mode {shown}."),
        )))
    }

    pub(super) fn epsv(&mut self, request: &StreamRequest, argument: &[u8]) -> Answer {
        let is_v4 = local_ip(request)?.is_ipv4();
        let own = if is_v4 { 1 } else { 2 };
        match parse_epsv(argument) {
            EpsvArgument::All => {
                self.parameters.is_epsv_only = true;
                let text = "From now on only EPSV sets up data connections.";
                return Ok(Some(Reply::new(200, text)));
            }
            EpsvArgument::Same => {}
            EpsvArgument::V4 if is_v4 => {}
            EpsvArgument::V6 if !is_v4 => {}
            EpsvArgument::V4 | EpsvArgument::V6 | EpsvArgument::UnknownFamily => {
                return Err(unsupported_family(own));
            }
            EpsvArgument::Syntax => {
                return Err(Refused::new(
                    501,
                    "Invalid argument: EPSV takes 1, 2 or ALL.",
                ));
            }
        }
        let shown = format_epsv(self.listen(request)?);
        let text = format!("Entering Extended Passive Mode {shown}");
        Ok(Some(Reply::new(229, text)))
    }

    /// Listens for a data connection, and returns the port.
    fn listen(&mut self, request: &StreamRequest) -> Result<u16, Refused> {
        let Some((sender, _)) = &self.events else {
            return Err(Refused::new(425, "No data connection is possible."));
        };
        let sender = sender.clone();
        // The port of the previous data connection must be free before the server listens again,
        // because the range may have only one port.
        self.set_data(Data::None);
        let id = next_id();
        let arrival = Arrival::default();
        let passive = &self.shared.passive;
        let (listener, port) = passive.listen(request, id, (&sender, &arrival))?;
        self.data = Data::Listening {
            id,
            arrival,
            _listener: listener,
        };
        Ok(port)
    }

    pub(super) fn port(&mut self, request: &StreamRequest, argument: &[u8]) -> Answer {
        self.check_not_epsv_only("PORT")?;
        if !local_ip(request)?.is_ipv4() {
            return Err(Refused::new(
                501,
                "PORT can't be used over IPv6: use EPRT or EPSV.",
            ));
        }
        let Some(target) = parse_port(argument) else {
            return Err(Refused::new(
                501,
                "Invalid argument: PORT takes six numbers, H1,H2,H3,H4,P1,P2.",
            ));
        };
        self.set_target(request, target.into(), "PORT")
    }

    pub(super) fn eprt(&mut self, request: &StreamRequest, argument: &[u8]) -> Answer {
        self.check_not_epsv_only("EPRT")?;
        let is_v4 = local_ip(request)?.is_ipv4();
        let own = if is_v4 { 1 } else { 2 };
        match parse_eprt(argument) {
            Ok(target) if target.ip().to_canonical().is_ipv4() == is_v4 => {
                self.set_target(request, target, "EPRT")
            }
            Ok(_) | Err(EprtError::Family) => Err(unsupported_family(own)),
            // An unsupported family takes precedence over a malformed address, because addresses of
            // unknown families may have any form.
            Err(EprtError::Syntax) if names_other_family(argument, own) => {
                Err(unsupported_family(own))
            }
            Err(EprtError::Syntax) => Err(Refused::new(
                501,
                "Invalid argument: EPRT takes |FAMILY|ADDRESS|PORT|.",
            )),
        }
    }

    fn set_target(
        &mut self,
        request: &StreamRequest,
        target: SocketAddr,
        verb: &'static str,
    ) -> Answer {
        if !self.shared.is_active_allowed {
            let text = "Active mode is switched off: use PASV or EPSV.";
            return Err(Refused::new(502, text));
        }
        if request.client_address.ip() != Some(target.ip().to_canonical()) {
            log::warn!("{}: {verb} to {target} is refused", request.client_address);
            let text = format!(
                "The address {} is refused: use your address on the control connection.",
                target.ip()
            );
            return Err(Refused::new(501, text));
        }
        if target.port() < MIN_ACTIVE_PORT {
            let text = format!("The port is refused: use {MIN_ACTIVE_PORT} or above.");
            return Err(Refused::new(501, text));
        }
        let ip: IpAddr = target.ip().to_canonical();
        self.set_data(Data::Target(SocketAddr::new(ip, target.port())));
        Ok(Some(Reply::new(200, format!("{verb} accepted."))))
    }
}

fn unsupported_family(own: u8) -> Refused {
    // RFC 2428 §2: the families in parentheses are those that may be used.
    Refused::new(
        522,
        format!("This network protocol is not supported here, use ({own})"),
    )
}

/// Whether an argument of EPRT names another family than `own`, even if the address is malformed.
fn names_other_family(argument: &[u8], own: u8) -> bool {
    let Some((delimiter, rest)) = argument.split_first() else {
        return false;
    };
    let parts: Vec<&[u8]> = rest.split(|byte| byte == delimiter).collect();
    let [family, _, _, b""] = parts[..] else {
        return false;
    };
    number(family).is_some_and(|family: u64| family != u64::from(own))
}

/// A new number for a data connection.
pub(super) fn next_id() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_family_is_recognized_before_its_address() {
        for (argument, is_other) in [
            (&b"|2|1.2.3.256|2048|"[..], true),
            (b"|3|x|y|", true),
            (b"|1|1.2.3.256|2048|", false),
            (b"|2|::1|2048", false),
            (b"", false),
            (b"|", false),
            (b"||||", false),
        ] {
            assert_eq!(names_other_family(argument, 1), is_other, "{argument:?}");
        }
    }
}
