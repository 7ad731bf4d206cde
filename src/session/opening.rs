//! How a connection begins: PROXY header, `verify_request`, TLS handshake, `setup`.

use std::io;
use std::sync::Arc;

use super::{Phase, Session, Step, Waiting, guard};
use crate::address::ServerAddress;
use crate::buffer::Fill;
use crate::error::{Error, Refusal, Result};
use crate::proxy;
use crate::transport::{Handshake, TlsSession};

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
                self.phase = Phase::Verify;
                Ok(None)
            }
            proxy::Status::Partial => match rfile.fill()? {
                Fill::More => Ok(None),
                Fill::Eof => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Fill::Nothing => {
                    self.waiting = Waiting::ForHead;
                    Ok(Some(Step::Wait { writing: false, until: self.head_deadline_from(self.since) }))
                }
            },
        }
    }

    pub(super) fn verify(&mut self) -> Result<Option<Step>> {
        let core = Arc::clone(self.core());
        if let Some(admission) = &mut self.admission {
            admission.count_address(&self.request.client_address).map_err(Error::Refused)?;
        }
        if !core.hooks.verify_request(&self.request.client_address) {
            return Err(Error::Refused(Refusal::Denied));
        }
        if let Some(tls) = &self.service.tls {
            let session = TlsSession::new(tls.config(), self.request.rfile.take_all()).map_err(Error::Tls)?;
            self.request.transport.start_tls(session);
        }
        self.phase = Phase::Handshake;
        Ok(None)
    }

    pub(super) fn handshake(&mut self) -> Result<Option<Step>> {
        match self.request.transport.handshake()? {
            Handshake::Done => {}
            wants => {
                self.waiting = Waiting::ForHandshake;
                self.request.rfile.woken(false);
                let until = self.head_deadline_from(self.since);
                return Ok(Some(Step::Wait { writing: wants == Handshake::WantsWrite, until }));
            }
        }
        self.begin()?;
        Ok(None)
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
        self.phase = Phase::Serving;
        Ok(())
    }
}
