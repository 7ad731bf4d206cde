//! Taking datagrams off a socket, and calling their handlers.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use parking_lot::Mutex;

use crate::address::{ClientAddress, ServerAddress};
use crate::bind::Datagram;
use crate::error::{Error, Refusal, Result, panic_message};
use crate::handle::{Core, ServerHandle};
use crate::request::DatagramRequest;
use crate::trace::Traffic;

/// Requests that are kept for their buffers.
const MAX_SPARE_REQUESTS: usize = 8;

/// Serves one datagram: makes its handler, and calls it.
pub(crate) type DatagramClass = Arc<dyn Fn(&mut DatagramRequest) -> Result<()> + Send + Sync>;

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
        let received = match self.socket.recv_from(&mut request.buffer) {
            Ok(received) => received,
            Err(error) => {
                self.put_back(request);
                // An ICMP error of an earlier reply concerns nobody here.
                let nothing = [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted];
                return if nothing.contains(&error.kind()) {
                    Ok(None)
                } else {
                    Err(error)
                };
            }
        };
        request.begin_in_flight();
        if !self.core.is_serving() {
            return Ok(None);
        }
        self.core.stats.accepted.fetch_add(1, Relaxed);
        request.client_address = received.client;
        (request.length, request.truncated, request.local) =
            (received.len, received.truncated, received.local);
        Ok(Some(request))
    }

    fn new_request(&self) -> Box<DatagramRequest> {
        Box::new(DatagramRequest {
            client_address: ClientAddress::Memory,
            wfile: Vec::new(),
            server: ServerHandle(Arc::clone(&self.core)),
            socket: Arc::clone(&self.socket),
            buffer: vec![0; self.core.limits.max_packet_size],
            length: 0,
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
        if let Some(trace) = &core.trace {
            trace.traffic(&request.client_address, Traffic::Received(request.packet()));
        }
        if !core.hooks.verify_request(&request.client_address) {
            core.stats.refused(Refusal::Denied);
            core.hooks
                .handle_refusal(&request.client_address, Refusal::Denied);
            return self.put_back(request);
        }
        let begun = core.clock.now();
        let result = catch_unwind(AssertUnwindSafe(|| {
            (self.class)(&mut request).and_then(|()| request.finish())
        }));
        let error = match result {
            Ok(Ok(())) => None,
            Ok(Err(error)) => {
                core.stats.failed.fetch_add(1, Relaxed);
                Some(error)
            }
            Err(panic) => {
                core.stats.panics.fetch_add(1, Relaxed);
                Some(Error::Panicked(panic_message(&*panic)))
            }
        };
        core.stats.handled(
            std::time::Duration::ZERO,
            core.clock.now().saturating_duration_since(begun),
        );
        if let Some(error) = error {
            // A hook that panics must not take the worker along.
            let _ = catch_unwind(AssertUnwindSafe(|| {
                core.hooks.handle_error(&request.client_address, &error)
            }));
        }
        self.put_back(request);
    }
}

impl AsFd for DatagramJob {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
