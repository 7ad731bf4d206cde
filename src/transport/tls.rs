//! A server's side of TLS over a socket that doesn't block (rustls).

use std::io::{self, IoSlice, Read, Write};

use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use rustls::{HandshakeKind, ServerConnection};

use super::{Handshake, Socket};
use crate::error::{Error, Result};
use crate::tls::{Tls, TlsResumption, TlsSessionId};

/// One TLS connection. The lock is never contended: the one worker that holds the connection reads
/// and writes.
#[derive(Debug)]
pub(crate) struct TlsSession {
    connection: Mutex<ServerConnection>,
    id: TlsSessionId,
}

impl TlsSession {
    /// A session whose client has sent `received` already: bytes that came along with a PROXY
    /// header.
    pub(crate) fn new(tls: &Tls, mut received: &[u8]) -> Result<TlsSession> {
        let config = tls.config();
        let mut id = TlsSessionId::default();
        if config
            .crypto_provider()
            .secure_random
            .fill(&mut id)
            .is_err()
        {
            return Err(Error::Tls(rustls::Error::FailedToGetRandomBytes));
        }
        let mut tls = ServerConnection::new(config).map_err(Error::Tls)?;
        // It comes back when a client resumes this session.
        tls.set_resumption_data(&id);
        while !received.is_empty() {
            // Reading from memory fails only when rustls' own buffer is full of what can't be a
            // handshake.
            if tls.read_tls(&mut received).is_err() {
                let text = "too much before the handshake".to_owned();
                return Err(Error::Tls(rustls::Error::General(text)));
            }
            tls.process_new_packets().map_err(Error::Tls)?;
        }
        Ok(TlsSession {
            connection: Mutex::new(tls),
            id,
        })
    }

    /// The number that the tickets of this connection carry.
    pub(crate) fn id(&self) -> TlsSessionId {
        self.id
    }

    /// Whether the client has resumed an earlier session.
    pub(crate) fn resumption(&self) -> TlsResumption {
        let tls = self.connection.lock();
        if tls.handshake_kind() != Some(HandshakeKind::Resumed) {
            return TlsResumption::None;
        }
        // rustls does not return it for TLS 1.2.
        let id = tls.received_resumption_data();
        TlsResumption::Of(id.and_then(|id| id.try_into().ok()))
    }

    /// The protocol that both ends agreed on by ALPN.
    pub(crate) fn alpn_protocol(&self) -> Option<Vec<u8>> {
        self.connection.lock().alpn_protocol().map(<[u8]>::to_vec)
    }

    /// The name of the server that the client asked for (SNI).
    pub(crate) fn server_name(&self) -> Option<String> {
        self.connection.lock().server_name().map(str::to_owned)
    }

    /// The client's certificate chain, its own certificate first.
    pub(crate) fn peer_certificates(&self) -> Option<Vec<CertificateDer<'static>>> {
        self.connection
            .lock()
            .peer_certificates()
            .map(<[_]>::to_vec)
    }

    pub(super) fn handshake(&self, mut socket: &Socket) -> io::Result<Handshake> {
        let mut tls = self.connection.lock();
        loop {
            match send_pending(&mut tls, socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Handshake::WantsWrite);
                }
                other => other?,
            }
            if !tls.is_handshaking() {
                return Ok(Handshake::Done);
            }
            match tls.read_tls(&mut socket) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => process(&mut tls, socket)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Handshake::WantsRead);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn read(&self, mut socket: &Socket, buffer: &mut [u8]) -> io::Result<usize> {
        let mut tls = self.connection.lock();
        loop {
            // Decrypted bytes first: nothing on the socket announces them (curl/curl#1156).
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
            match tls.read_tls(&mut socket) {
                // rustls distinguishes an end without close_notify, at the next `reader().read`,
                // from a clean one.
                Ok(_) => process(&mut tls, socket)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn write(&self, socket: &Socket, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut tls = self.connection.lock();
        // What rustls holds back is bounded by sending it first: a peer that reads nothing costs
        // one record.
        send_pending(&mut tls, socket)?;
        let taken = tls.writer().write_vectored(slices)?;
        match send_pending(&mut tls, socket) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(taken),
        }
    }

    pub(super) fn flush(&self, socket: &Socket) -> io::Result<()> {
        send_pending(&mut self.connection.lock(), socket)
    }

    /// Queues the last record: the server sends nothing more.
    pub(super) fn queue_close_notify(&self) {
        self.connection.lock().send_close_notify();
    }
}

fn process(tls: &mut ServerConnection, socket: &Socket) -> io::Result<()> {
    if let Err(error) = tls.process_new_packets() {
        // The alert that gives the reason is already queued. It may not reach the peer.
        let _ = send_pending(tls, socket);
        return Err(Error::Tls(error).into());
    }
    Ok(())
}

fn send_pending(tls: &mut ServerConnection, mut socket: &Socket) -> io::Result<()> {
    while tls.wants_write() {
        match tls.write_tls(&mut socket) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
