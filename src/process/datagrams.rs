//! Taking datagrams off a socket, and calling their handlers.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use parking_lot::Mutex;

use crate::address::{ClientAddress, ServerAddress};
use crate::bind::{Datagram, DatagramSink};
use crate::error::{Error, Refusal};
use crate::handle::Core;
use crate::request::{DatagramRequest, trace};
use crate::trace::Traffic;

/// Requests that are kept for their buffers.
const MAX_SPARE_REQUESTS: usize = 8;

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
        request.begin(received);
        Ok(Some(request))
    }

    fn new_request(&self) -> Box<DatagramRequest> {
        let sink = Arc::clone(&self.socket) as Arc<dyn DatagramSink>;
        Box::new(DatagramRequest::new(&self.core, sink))
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
        serve(&self.core, &self.class, &mut request);
        self.put_back(request);
    }
}

impl AsFd for DatagramJob {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Asks `verify_request`, has one datagram served by its handler, counts and reports what failed.
/// Never panics.
pub(crate) fn serve(core: &Arc<Core>, class: &DatagramClass, request: &mut DatagramRequest) {
    let _handler = core.enter_handler();
    let client = &request.client_address;
    trace(core, client, Traffic::Received(request.packet()));
    if !is_allowed(core, client) {
        return;
    }
    let begun = core.config.clock.now();
    let errors = class(request);
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
}

/// Asks `verify_request`. A panic of the hook counts as a refusal.
fn is_allowed(core: &Core, client: &ClientAddress) -> bool {
    let verified = core.call_hook(client, |hooks| hooks.verify_request(client));
    if verified != Some(true) {
        refuse(core, client, Refusal::Denied);
    }
    verified == Some(true)
}

/// Counts a datagram that is not served, and informs the hook. The answer of the hook is ignored: a
/// refused datagram gets no answer.
fn refuse(core: &Core, client: &ClientAddress, why: Refusal) {
    core.stats.refused(why);
    core.call_hook(client, |hooks| {
        hooks.handle_refusal(client, why);
    });
}
