//! How a connection begins: PROXY header, `verify_request`, first byte, TLS handshake, `setup`.

use std::io;
use std::sync::Arc;

use super::serving::Serving;
use super::{Session, SessionState, Step, WaitReason};
use crate::address::ServerAddress;
use crate::buffer::Fill;
use crate::clock::deadline;
use crate::error::{Error, Refusal, Result};
use crate::pace::MAX_OVERSLEEP;
use crate::proxy;
use crate::tls::Tls;
use crate::transport::{Handshake, Readiness, TlsSession};

/// The first byte of every TLS connection: the content type of a handshake record (RFC 8446 §5.1).
pub(super) const HANDSHAKE_RECORD: u8 = 0x16;

impl Session {
    pub(super) fn read_proxy_header(&mut self) -> Result<Option<Step>> {
        let rfile = &mut self.request.rfile;
        match proxy::parse(rfile.buffer()).map_err(Error::Proxy)? {
            proxy::Status::Complete { header, consumed } => {
                rfile.take_exact(consumed);
                self.request.transport.uncount_received(consumed);
                if let Some((client, server)) = header.addresses() {
                    self.request.client_address = client.into();
                    self.request.server_address = Some(Box::new(ServerAddress::Inet(server)));
                }
                self.state = SessionState::Verify;
                Ok(None)
            }
            proxy::Status::Partial => match rfile.fill()? {
                Fill::More => Ok(None),
                Fill::Eof => Err(client_left()),
                Fill::Nothing => Ok(Some(self.wait_to_open(WaitReason::ProxyHeader, false))),
            },
        }
    }

    /// Waits until the peer has accepted a connection that the program makes.
    pub(super) fn connect(&mut self) -> Result<Option<Step>> {
        let transport = &self.request.transport;
        if !transport.is_ready(Readiness::Writable) {
            return Ok(Some(self.wait_to_open(WaitReason::Connect, true)));
        }
        let failed = match transport.stream() {
            Some(stream) => stream.take_error()?,
            None => None,
        };
        match failed {
            Some(source) => Err(Error::Connect {
                address: self.request.client_address.to_string(),
                source,
            }),
            None => {
                self.state = SessionState::Setup;
                Ok(None)
            }
        }
    }

    pub(super) fn verify(&mut self) -> Result<Option<Step>> {
        let core = Arc::clone(self.core());
        let client = &self.request.client_address;
        if let Some(admission) = &mut self.admission {
            admission.count_address(client).map_err(Error::Refused)?;
        }
        if !Session::guard(|| Ok(core.config.hooks.verify_request(client)))? {
            return Err(Error::Refused(Refusal::Denied));
        }
        match &self.service.tls {
            None => self.state = SessionState::Setup,
            Some(_) if self.service.plaintext => self.state = SessionState::FirstByte,
            Some(_) => self.start_tls_at_once()?,
        }
        Ok(None)
    }

    /// Waits for the first byte, and begins TLS unless the client does not use it. The byte stays
    /// on the socket for the handshake or the handler.
    pub(super) fn look_at_first_byte(&mut self) -> Result<Option<Step>> {
        let request = &mut self.request;
        let first = match request.rfile.buffer().first() {
            Some(came_with_proxy_header) => Some(*came_with_proxy_header),
            None => match request.transport.peek() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Some(self.wait_to_open(WaitReason::Handshake, false)));
                }
                first => first?,
            },
        };
        request.rfile.note_readable(false);
        match first {
            Some(HANDSHAKE_RECORD) => self.start_tls_at_once()?,
            Some(_) => self.state = SessionState::Setup,
            None => return Err(client_left()),
        }
        Ok(None)
    }

    /// Begins TLS with the bytes that came along with a PROXY header.
    fn start_tls_at_once(&mut self) -> Result<()> {
        let Some(tls) = self.service.tls.clone() else {
            return Ok(());
        };
        let received = self.request.rfile.take_all().to_vec();
        self.start_tls(&tls, &received)
    }

    pub(super) fn start_tls(&mut self, tls: &Tls, received: &[u8]) -> Result<()> {
        let session = TlsSession::new(tls, received)?;
        self.request.transport.start_tls(session);
        self.request.rfile.note_readable(false);
        self.state = SessionState::Handshake;
        Ok(())
    }

    pub(super) fn handshake(&mut self) -> Result<Option<Step>> {
        match self.request.transport.handshake()? {
            // The handler has started TLS in the middle of the connection, and goes on.
            Handshake::Done if self.handler.is_some() => {
                self.state = SessionState::Serving(Serving::new(true));
                Ok(None)
            }
            Handshake::Done => {
                self.state = SessionState::Setup;
                Ok(None)
            }
            wants => {
                let writing = wants == Handshake::WantsWrite;
                Ok(Some(self.wait_to_open(WaitReason::Handshake, writing)))
            }
        }
    }

    /// Waits for something that must be complete within the head timeout, counted from the accept.
    /// If the process stood still beyond that deadline, the time begins anew: the peer may have
    /// done its part.
    fn wait_to_open(&mut self, reason: WaitReason, writing: bool) -> Step {
        let (now, head) = (self.now(), self.timeouts().head);
        let overslept = deadline(self.accepted_at, head)
            .is_some_and(|at| now.saturating_duration_since(at) > MAX_OVERSLEEP);
        if overslept {
            self.accepted_at = now;
        }
        self.waiting = reason;
        self.request.rfile.note_readable(false);
        Step::Wait {
            writing,
            until: deadline(self.accepted_at, head),
        }
    }

    /// Tells the hooks that the connection is open.
    fn report_opened(&mut self) {
        self.is_open = true;
        let client = &self.request.client_address;
        self.core()
            .call_hook(client, |hooks| hooks.connection_opened(client));
    }

    /// Makes the handler, applies its settings to the connection, and calls `setup`.
    pub(super) fn setup(&mut self) -> Result<Option<Step>> {
        self.report_opened();
        let (class, client) = (&self.service.class, &self.request.client_address);
        let mut handler = Session::guard(|| Ok(class(client)))?;
        let request = &mut self.request;
        let set_up = Session::guard(|| {
            if let Some(limit) = handler.rbufsize() {
                request.rfile.set_limit(limit);
            }
            request.wfile.set_capacity(handler.wbufsize());
            if let Some(timeout) = handler.timeout() {
                request.rfile.set_timeout(Some(timeout));
                request.wfile.set_timeout(Some(timeout));
            }
            if !handler.disable_nagle_algorithm()
                && let Some(crate::bind::Stream::Tcp(stream)) = request.transport.stream()
            {
                stream.set_nodelay(false)?;
            }
            handler.setup(request)?;
            Ok(handler.speaks_first())
        });
        let speaks_first = match set_up {
            Ok(speaks_first) => speaks_first,
            Err(error) => {
                // `finish` belongs to a `setup` that succeeded.
                self.drop_handler(handler);
                return Err(error);
            }
        };
        let has_input = !self.request.rfile.buffer().is_empty();
        self.handler = Some(handler);
        self.state = SessionState::Serving(Serving::new(speaks_first || has_input));
        Ok(None)
    }
}

fn client_left() -> Error {
    Error::Disconnected(io::ErrorKind::UnexpectedEof.into())
}
