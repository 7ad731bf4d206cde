//! Replaces TLS if the feature `tls` is off. The type of a TLS session then has no values, so the
//! compiler removes the code that would use one.

use std::io::{self, IoSlice};

use super::{Handshake, Socket};
use crate::error::Result;
use crate::tls::{Tls, TlsResumption, TlsSessionId};

#[derive(Debug)]
pub(crate) enum TlsSession {}

impl TlsSession {
    pub(crate) fn new(tls: &Tls, _: &[u8]) -> Result<TlsSession> {
        match *tls {}
    }

    pub(crate) fn id(&self) -> TlsSessionId {
        match *self {}
    }

    pub(crate) fn resumption(&self) -> TlsResumption {
        match *self {}
    }

    pub(crate) fn alpn_protocol(&self) -> Option<Vec<u8>> {
        match *self {}
    }

    pub(crate) fn server_name(&self) -> Option<String> {
        match *self {}
    }

    pub(super) fn handshake(&self, _: &Socket) -> io::Result<Handshake> {
        match *self {}
    }

    pub(super) fn read(&self, _: &Socket, _: &mut [u8]) -> io::Result<usize> {
        match *self {}
    }

    pub(super) fn write(&self, _: &Socket, _: &[IoSlice<'_>]) -> io::Result<usize> {
        match *self {}
    }

    pub(super) fn flush(&self, _: &Socket) -> io::Result<()> {
        match *self {}
    }

    pub(super) fn queue_close_notify(&self) {
        match *self {}
    }
}
