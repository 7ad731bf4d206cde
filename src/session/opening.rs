//! How a connection begins: PROXY header, `verify_request`, first byte, TLS handshake, `setup`.

use std::io;
use std::sync::Arc;

use super::{Session, SessionState, Step, WaitReason, guard};
use crate::address::ServerAddress;
use crate::buffer::Fill;
use crate::error::{Error, Refusal, Result};
use crate::proxy;
use crate::transport::{Handshake, TlsSession};

/// The first byte of every TLS connection: the content type of a handshake record (RFC 8446 §5.1).
const HANDSHAKE: u8 = 0x16;

impl Session {
    pub(super) fn read_proxy_header(&mut self) -> Result<Option<Step>> {
        let rfile = &mut self.request.rfile;
        match proxy::parse(rfile.buffer()).map_err(Error::Proxy)? {
            proxy::Status::Complete { header, consumed } => {
                rfile.take(consumed);
                if let Some((client, server)) = header.addresses() {
                    self.request.client_address = client.into();
                    self.request.server_address = Some(ServerAddress::Inet(server));
                }
                self.phase = SessionState::Verify;
                Ok(None)
            }
            proxy::Status::Partial => match rfile.fill()? {
                Fill::More => Ok(None),
                Fill::Eof => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Fill::Nothing => {
                    self.waiting = WaitReason::ForHead;
                    Ok(Some(Step::Wait {
                        writing: false,
                        until: self.head_deadline_from(self.since),
                    }))
                }
            },
        }
    }

    pub(super) fn verify(&mut self) -> Result<Option<Step>> {
        let core = Arc::clone(self.core());
        if let Some(admission) = &mut self.admission {
            admission
                .count_address(&self.request.client_address)
                .map_err(Error::Refused)?;
        }
        if !core.hooks.verify_request(&self.request.client_address) {
            return Err(Error::Refused(Refusal::Denied));
        }
        if self.service.plaintext && self.service.tls.is_some() {
            self.phase = SessionState::FirstByte;
        } else {
            self.start_tls()?;
        }
        Ok(None)
    }

    /// Waits for what the client begins with, and begins TLS unless it speaks in the clear. The
    /// byte stays where it is, for the handshake or the handler to read.
    pub(super) fn look_at_first_byte(&mut self) -> Result<Option<Step>> {
        let request = &mut self.request;
        let first = match request.rfile.buffer().first() {
            Some(came_with_proxy_header) => Some(*came_with_proxy_header),
            None => match request.transport.peek() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Some(self.wait_for_handshake(false)));
                }
                first => first?,
            },
        };
        request.rfile.note_readable(false);
        match first {
            Some(HANDSHAKE) => self.start_tls()?,
            Some(_) => self.phase = SessionState::Handshake,
            None => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        }
        Ok(None)
    }

    /// What follows is encrypted, if the service is.
    fn start_tls(&mut self) -> Result<()> {
        if let Some(tls) = &self.service.tls {
            let session =
                TlsSession::new(tls.config(), self.request.rfile.take_all()).map_err(Error::Tls)?;
            self.request.transport.start_tls(session);
        }
        self.phase = SessionState::Handshake;
        Ok(())
    }

    pub(super) fn handshake(&mut self) -> Result<Option<Step>> {
        match self.request.transport.handshake()? {
            Handshake::Done => {}
            wants => {
                return Ok(Some(
                    self.wait_for_handshake(wants == Handshake::WantsWrite),
                ));
            }
        }
        self.begin()?;
        Ok(None)
    }

    fn wait_for_handshake(&mut self, writing: bool) -> Step {
        self.waiting = WaitReason::ForHandshake;
        self.request.rfile.note_readable(false);
        Step::Wait {
            writing,
            until: self.head_deadline_from(self.since),
        }
    }

    /// Makes the handler, gives it what it asks for, and calls `setup`.
    fn begin(&mut self) -> Result<()> {
        let class = &self.service.class;
        let client = &self.request.client_address;
        let mut handler = guard(|| Ok(class(client)))?;
        if let Some(limit) = handler.rbufsize() {
            self.request.rfile.set_limit(limit);
        }
        self.request.wfile.set_capacity(handler.wbufsize());
        if let Some(timeout) = handler.timeout() {
            self.request.rfile.set_timeout(Some(timeout));
            self.request.wfile.set_timeout(Some(timeout));
        }
        if !handler.disable_nagle_algorithm()
            && let Some(crate::bind::Stream::Tcp(stream)) = self.request.transport.stream()
        {
            stream.set_nodelay(false)?;
        }
        let request = &mut self.request;
        guard(|| handler.setup(request))?; // an error drops the handler: `finish` belongs to a `setup` that succeeded
        self.due = handler.speaks_first() || !request.rfile.buffer().is_empty();
        self.handler = Some(handler);
        self.phase = SessionState::Serving;
        Ok(())
    }
}
