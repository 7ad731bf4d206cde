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
use crate::request::{DatagramRequest, PeerQueues, PeerTurn, QueueResult, trace};
use crate::trace::Traffic;

/// Requests that are kept for their buffers.
const MAX_SPARE_REQUESTS: usize = 8;

/// Datagrams that are put into the queues of their peers before other ready jobs get their turn.
const MAX_QUEUED_PER_TURN: usize = 64;

/// Serves one datagram by a handler of its own; returns what failed. Never panics.
pub(crate) type DatagramClass = Arc<dyn Fn(&mut DatagramRequest) -> Vec<Error> + Send + Sync>;

/// Who serves the datagrams of a server, and in which order.
#[derive(Clone)]
pub(crate) struct DatagramService {
    pub(crate) class: DatagramClass,
    /// Whether the datagrams of one peer are served one after the other.
    pub(crate) is_ordered: bool,
}

/// A datagram socket with what its datagrams need.
pub(crate) struct DatagramJob {
    socket: Arc<Datagram>,
    core: Arc<Core>,
    class: DatagramClass,
    /// The datagrams that wait for an earlier one of their peer, where the order is kept.
    queues: Option<Arc<PeerQueues>>,
    /// Held, where the order is kept, from the receipt of a datagram until it has its place in the
    /// order. A server that serves again may have two threads that receive for a moment.
    receiving: Mutex<()>,
    #[allow(
        clippy::vec_box,
        reason = "requests travel boxed; unboxing them here would copy them twice"
    )]
    spare: Mutex<Vec<Box<DatagramRequest>>>,
}

impl DatagramJob {
    pub(crate) fn new(
        socket: Arc<Datagram>,
        core: Arc<Core>,
        service: &DatagramService,
    ) -> DatagramJob {
        DatagramJob {
            socket,
            core,
            class: Arc::clone(&service.class),
            queues: service.is_ordered.then(Arc::default),
            receiving: Mutex::default(),
            spare: Mutex::default(),
        }
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    pub(crate) fn server_address(&self) -> ServerAddress {
        self.socket.server_address().clone()
    }

    /// The next datagram that is to be served; `None` when no more is there, or when other jobs
    /// must get their turn.
    pub(crate) fn receive(&self) -> io::Result<Option<Box<DatagramRequest>>> {
        let Some(queues) = &self.queues else {
            return self.receive_next();
        };
        for _ in 0..MAX_QUEUED_PER_TURN {
            let receiving = self.receiving.lock();
            let Some(request) = self.receive_next()? else {
                return Ok(None);
            };
            let result = queues.admit(request);
            drop(receiving); // a refusal calls a hook of the user
            match result {
                QueueResult::Serve(request) => return Ok(Some(request)),
                QueueResult::Queued => {}
                QueueResult::Full(request) => {
                    refuse(&self.core, &request.client_address, Refusal::QueueFull);
                    self.put_back(request);
                }
            }
        }
        // The caller watches the socket again, which is still readable if more is there.
        Ok(None)
    }

    fn receive_next(&self) -> io::Result<Option<Box<DatagramRequest>>> {
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
        if !request.has_whole_buffer() {
            return;
        }
        let mut spare = self.spare.lock();
        if spare.len() < MAX_SPARE_REQUESTS {
            spare.push(request);
        }
    }

    /// Serves one datagram, and then those of the same peer that waited for it. Never panics.
    pub(crate) fn handle(&self, request: Box<DatagramRequest>) {
        let mut next = Some(request);
        while let Some(mut request) = next {
            serve(&self.core, &self.class, &mut request);
            let turn = request.turn.take();
            self.put_back(request);
            // Without a pause for other jobs: the queue is bounded, and only other threads add to
            // it. While all threads serve peers, none receives, so all queues become empty.
            next = turn.and_then(PeerTurn::next);
        }
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
    let queued_at = request.queued_at.take();
    let errors = class(request);
    core.stats.handled(
        queued_at.map_or(Duration::ZERO, |at| begun.saturating_duration_since(at)),
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
    let _handler = core.enter_handler();
    core.stats.refused(why);
    core.call_hook(client, |hooks| {
        hooks.handle_refusal(client, why);
    });
}
