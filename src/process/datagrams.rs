//! Taking datagrams off a socket, and calling their handlers.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use parking_lot::Mutex;

use crate::address::{ClientAddress, ServerAddress};
use crate::bind::Datagram;
use crate::error::{Error, Refusal};
use crate::handle::{Core, ServerHandle};
use crate::request::{DatagramRequest, PacketReader, trace};
use crate::trace::Traffic;

/// Requests that are kept for their buffers.
const MAX_SPARE_REQUESTS: usize = 8;

/// The largest buffer for one datagram. UDP carries at most 65,527 bytes (RFC 768, RFC 8200); a
/// Unix socket may carry more.
const MAX_PACKET_SIZE: usize = 1 << 20;

/// Serves one datagram by a handler of its own; returns what failed. Never panics.
pub(crate) type DatagramClass = Arc<dyn Fn(&mut DatagramRequest) -> Vec<Error> + Send + Sync>;

/// A datagram socket with what its datagrams need.
pub(crate) struct DatagramJob {
    socket: Arc<Datagram>,
    core: Arc<Core>,
    class: DatagramClass,
    #[allow(
        clippy::vec_box,
        reason = "requests travel boxed; unboxing them here would copy them twice"
    )]
    spare: Mutex<Vec<Box<DatagramRequest>>>,
}

impl DatagramJob {
    pub(crate) fn new(socket: Arc<Datagram>, core: Arc<Core>, class: DatagramClass) -> DatagramJob {
        DatagramJob {
            socket,
            core,
            class,
            spare: Mutex::default(),
        }
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    pub(crate) fn server_address(&self) -> ServerAddress {
        self.socket.server_address().clone()
    }

    /// The next datagram that is to be served; `None` when no more is there.
    pub(crate) fn receive(&self) -> io::Result<Option<Box<DatagramRequest>>> {
        let spare = self.spare.lock().pop();
        let mut request = spare.unwrap_or_else(|| self.new_request());
        // Counted before the server's phase is read: a shutdown is either seen here, or waits for
        // this datagram. What comes later stays in the socket, for a server that serves again.
        request.begin_in_flight();
        if !self.core.is_serving() {
            self.put_back(request);
            return Ok(None);
        }
        let received = match self.socket.recv_from(&mut request.rfile.buffer) {
            Ok(received) => received,
            Err(error) => {
                self.put_back(request);
                // Nothing has come, or another thread took it.
                let nothing = [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted];
                return if nothing.contains(&error.kind()) {
                    Ok(None)
                } else {
                    Err(error)
                };
            }
        };
        self.core.stats.accepted.fetch_add(1, Relaxed);
        request.rfile.begin(received.len);
        request.client_address = received.client;
        request.truncated = received.truncated;
        request.local = received.local;
        Ok(Some(request))
    }

    fn new_request(&self) -> Box<DatagramRequest> {
        let size = self
            .core
            .config
            .limits
            .max_packet_size
            .clamp(1, MAX_PACKET_SIZE);
        Box::new(DatagramRequest {
            client_address: ClientAddress::Memory,
            rfile: PacketReader::new(vec![0; size]),
            wfile: Vec::new(),
            server: ServerHandle(Arc::clone(&self.core)),
            socket: Arc::clone(&self.socket),
            truncated: false,
            local: None,
            in_flight: false,
        })
    }

    fn put_back(&self, mut request: Box<DatagramRequest>) {
        request.end_in_flight();
        request.wfile.clear();
        let mut spare = self.spare.lock();
        if spare.len() < MAX_SPARE_REQUESTS {
            spare.push(request);
        }
    }

    /// Serves one datagram. Never panics.
    pub(crate) fn handle(&self, mut request: Box<DatagramRequest>) {
        let core = &self.core;
        let _handler = core.enter_handler();
        let client = &request.client_address;
        trace(core, client, Traffic::Received(request.packet()));
        if !self.is_allowed(client) {
            return self.put_back(request);
        }
        let begun = core.config.clock.now();
        let errors = (self.class)(&mut request);
        core.stats.handled(
            Duration::ZERO,
            core.config.clock.now().saturating_duration_since(begun),
        );
        for error in &errors {
            match error {
                Error::Panicked(_) => &core.stats.panics,
                _ => &core.stats.failed,
            }
            .fetch_add(1, Relaxed);
            core.report(&request.client_address, error);
        }
        self.put_back(request);
    }

    /// Asks `verify_request`. A panic of the hook counts as a refusal.
    fn is_allowed(&self, client: &ClientAddress) -> bool {
        let core = &self.core;
        let verified = core.call_hook(client, |hooks| hooks.verify_request(client));
        if verified == Some(true) {
            return true;
        }
        core.stats.refused(Refusal::Denied);
        // The answer of the hook is ignored: a refused datagram gets no answer.
        core.call_hook(client, |hooks| {
            hooks.handle_refusal(client, Refusal::Denied);
        });
        false
    }
}

impl AsFd for DatagramJob {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
