//! The state that a server, its connections and its handles share.

mod admissions;
mod drain;
mod from_children;
mod handler_thread;
mod life_cycle;
mod server_handle;
mod service;
mod serving_thread;

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::address::ClientAddress;
use crate::bind::{Datagram, DropCount};
use crate::clock::Clock;
use crate::config::{Limits, Timeouts};
use crate::error::{Error, Result, panic_message};
use crate::hooks::ServerHooks;
use crate::reach::Ring;
use crate::stats::{Stats, StatsSnapshot};
use crate::sys::Shared;
use crate::trace::{Tap, Trace};
use crate::wake_pipe::WakePipe;
use admissions::Admissions;
pub(crate) use admissions::{Admission, RefusalSlot};
pub(crate) use drain::OriginInterrupt;
use from_children::FromChildren;
use life_cycle::LifeCycle;
pub(crate) use life_cycle::LifecyclePhase;
pub use server_handle::{ConnectionInfo, ConnectionPhase, InFlight, ServerHandle};
pub(crate) use service::Origin;
pub use service::Service;
use serving_thread::ServingThread;

/// What a server's handles ask of its engine.
pub(crate) trait EngineView: Send + Sync {
    /// The server is going down: idle connections that no thread waits for must end. Defaults to
    /// nothing.
    fn phase_changed(&self) {}
    /// Where others ring to have a connection served.
    fn ring(&self) -> Weak<dyn Ring>;
    /// Takes over a connection or a listening socket. Returns the index of the latter.
    fn add(&self, newcomer: Newcomer) -> io::Result<usize>;
    /// Lets go of a listening socket that [`add`](EngineView::add) has taken over.
    fn remove_source(&self, index: usize);
    /// All connections that a thread has looked at.
    fn connections(&self) -> Vec<ConnectionInfo>;
    /// Ends the connections of this origin, and aborts what is left at `abort_at` on the server's
    /// clock.
    fn drain(&self, origin: &Arc<Origin>, abort_at: Option<Instant>);
    /// Shuts the socket of a connection down; false if it is not open any more.
    fn abort_connection(&self, id: u64) -> bool;
    /// The connections that are within a message.
    fn in_flight(&self) -> Vec<InFlight>;
    /// Fills in what the engine knows of the present moment.
    fn gauges(&self, snapshot: &mut StatsSnapshot);
}

/// A connection or a listening socket on its way from a [`ServerHandle`] to the engine. It is a
/// `NewcomerKind`, which this floor cannot name.
pub(crate) struct Newcomer(pub(crate) Box<dyn Any + Send>);

/// The error for what is given to a server that does not serve.
pub(crate) fn not_serving() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the server does not serve")
}

/// What a server was built with. It never changes.
pub(crate) struct Configuration {
    /// The name under which its connections are listed.
    pub(crate) name: Option<Arc<str>>,
    /// Whether connections to other servers are made in memory, for a test.
    pub(crate) connects_in_memory: bool,
    pub(crate) timeouts: Timeouts,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    pub(crate) hooks: Box<dyn ServerHooks>,
    pub(crate) trace: Option<Arc<dyn Trace>>,
    /// How long requests in flight may go on after a shutdown.
    pub(crate) grace: Duration,
}

/// What a server's concurrency model can do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ModelTraits {
    /// It serves in forked children.
    pub(crate) forks: bool,
    /// It serves several connections at the same time in one process.
    pub(crate) is_concurrent: bool,
}

impl ModelTraits {
    /// Checks that the model can serve handlers that reach one another, if that is needed.
    pub(crate) fn check_concurrency(self, is_needed: bool) -> Result<()> {
        if self.is_concurrent || !is_needed {
            return Ok(());
        }
        let how = if self.forks {
            "ForkingMixIn serves each in a process of its own"
        } else {
            "this concurrency model serves one after the other"
        };
        Err(Error::Unsupported(format!(
            "handlers that reach one another must be served at the same time in one process, but \
             {how}: use ThreadingMixIn or ThreadPerRequest"
        )))
    }
}

/// One server's state.
pub(crate) struct Core {
    pub(crate) config: Configuration,
    model: ModelTraits,
    /// Forked children count here too.
    pub(crate) stats: Shared<Stats>,
    pub(crate) wake_pipe: WakePipe,
    from_children: Shared<FromChildren>,
    life_cycle: LifeCycle,
    admissions: Admissions,
    serving_thread: ServingThread,
    /// For each datagram socket that the server has or had.
    drop_counts: Mutex<Vec<DropCount>>,
    /// The engine, once there is one.
    engine_view: Mutex<Option<Arc<dyn EngineView>>>,
}

impl Core {
    pub(crate) fn new(config: Configuration, model: ModelTraits) -> io::Result<Core> {
        let forks = model.forks;
        let life_cycle = LifeCycle::new(config.grace);
        Ok(Core {
            config,
            model,
            stats: Shared::new(Stats::default(), forks)?,
            wake_pipe: WakePipe::new()?,
            from_children: Shared::new(FromChildren::default(), forks)?,
            life_cycle,
            admissions: Admissions::default(),
            serving_thread: ServingThread::default(),
            drop_counts: Mutex::default(),
            engine_view: Mutex::new(None),
        })
    }

    pub(crate) fn phase(&self) -> LifecyclePhase {
        self.life_cycle.phase()
    }

    pub(crate) fn is_serving(&self) -> bool {
        self.phase() == LifecyclePhase::Serving
    }

    /// Moves on to `phase`, and wakes those who wait; going back is ignored. In a forked child this
    /// asks the parent to.
    pub(crate) fn enter(&self, phase: LifecyclePhase) {
        if self.life_cycle.is_forked() {
            self.from_children.ask(phase);
            self.wake_pipe.wake();
            return;
        }
        let announce = || {
            self.wake_pipe.wake();
            self.wake_pipe.close();
        };
        if self.life_cycle.enter(phase, announce) {
            self.life_cycle.notify();
            self.phase_changed();
        }
    }

    fn phase_changed(&self) {
        // Cloned, as the engine may call back into this core.
        let view = self.engine_view.lock().clone();
        if let Some(view) = view {
            view.phase_changed();
        }
    }

    /// As [`enter`](Core::enter) with `Draining`; the server then closes its sockets, and never
    /// serves again.
    pub(crate) fn close(&self) {
        if self.life_cycle.is_forked() {
            self.from_children.ask_to_close();
        } else {
            self.life_cycle.close();
        }
        self.enter(LifecyclePhase::Draining);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.life_cycle.is_closed()
    }

    /// `serve_forever` is called. False if it must return at once.
    pub(crate) fn begin(&self) -> bool {
        self.life_cycle.begin(|| self.wake_pipe.reopen())
    }

    /// `handle_request` is called. False if it must return at once.
    pub(crate) fn begin_request(&self) -> bool {
        let reopen = || self.wake_pipe.reopen();
        self.is_serving() || self.life_cycle.begin_request(reopen)
    }

    /// Whether `serve_forever` is running, and so ends what a shutdown must end.
    pub(crate) fn is_running(&self) -> bool {
        self.life_cycle.is_running()
    }

    /// When the grace time is over. `None` while the server serves, and for a grace time without
    /// end.
    pub(crate) fn grace_deadline(&self) -> Option<Instant> {
        self.life_cycle.grace_deadline()
    }

    /// Calls one of the server's hooks for `client`. A panic in it is counted and reported to
    /// `handle_error`; it ends neither the thread nor the server. Returns `None` after a panic.
    pub(crate) fn call_hook<T>(
        &self,
        client: &ClientAddress,
        call: impl FnOnce(&dyn ServerHooks) -> T,
    ) -> Option<T> {
        self.guard(client, || call(&*self.config.hooks))
    }

    /// Calls code of the user for `client`. A panic in it is counted and reported to
    /// `handle_error`; it ends neither the thread nor the server. Returns `None` after a panic.
    pub(crate) fn guard<T>(&self, client: &ClientAddress, call: impl FnOnce() -> T) -> Option<T> {
        catch_unwind(AssertUnwindSafe(call))
            .inspect_err(|panic| self.report_panic(client, &**panic))
            .ok()
    }

    /// Reports an error to `handle_error`. A panic of the hook itself is only logged.
    pub(crate) fn report(&self, client: &ClientAddress, error: &Error) {
        let report = || self.config.hooks.handle_error(client, error);
        if catch_unwind(AssertUnwindSafe(report)).is_err() {
            log::error!("{client}: handle_error panicked; it was called for: {error}");
        }
    }

    /// Counts a panic that no other guard caught, and reports it to `handle_error`.
    pub(crate) fn report_panic(&self, client: &ClientAddress, panic: &(dyn Any + Send)) {
        self.stats.panics.fetch_add(1, Ordering::Relaxed);
        self.report(client, &Error::Panicked(panic_message(panic)));
    }

    /// Counts a connection that could not be served, or that its process did not serve to its end,
    /// and reports it to `handle_error`.
    pub(crate) fn report_failure(&self, client: &ClientAddress, error: &Error) {
        self.stats.failed.fetch_add(1, Ordering::Relaxed);
        self.report(client, error);
    }

    pub(crate) fn set_engine_view(&self, view: Option<Arc<dyn EngineView>>) {
        let before = std::mem::replace(&mut *self.engine_view.lock(), view);
        drop(before); // not under the lock: it may be the last that holds a pool
    }

    /// Where others ring to have a connection of this server served; `None` without an engine.
    pub(crate) fn ring(&self) -> Option<Weak<dyn Ring>> {
        self.engine_view.lock().as_ref().map(|view| view.ring())
    }

    /// What shows the bytes of a connection to the server's trace, if there is one.
    pub(crate) fn tap(self: &Arc<Core>, client: &ClientAddress) -> Option<Tap> {
        let trace = self.config.trace.as_ref()?;
        let core = Arc::clone(self);
        let on_panic = move |client: &_, panic: &_| core.report_panic(client, panic);
        Some(Tap::new(trace, client, on_panic))
    }

    /// Has the engine take over a connection or a listening socket. Returns the index of the
    /// latter.
    pub(crate) fn add(&self, newcomer: Newcomer) -> Result<usize> {
        // Cloned, as the engine may serve it on this thread.
        let view = self.engine_view.lock().clone();
        let view = view.filter(|_| self.is_serving());
        let view = view.ok_or_else(not_serving)?;
        Ok(view.add(newcomer)?)
    }

    /// Lets go of a listening socket that [`add`](Core::add) has returned.
    pub(crate) fn remove_source(&self, index: usize) {
        let view = self.engine_view.lock().clone();
        if let Some(view) = view {
            view.remove_source(index);
        }
    }

    /// Ends the connections of this origin, and aborts at `abort_at` what is left.
    pub(crate) fn drain(&self, origin: &Arc<Origin>, abort_at: Option<Instant>) {
        let view = self.engine_view.lock().clone();
        if let Some(view) = view {
            view.drain(origin, abort_at);
        }
    }

    /// Checks that the handler on this thread can be served at the same time as another one. A
    /// model of the user's may call handlers on the accepting thread without saying so.
    pub(crate) fn check_concurrency(&self) -> Result<()> {
        let is_concurrent = self.model.is_concurrent && !self.is_serving_thread();
        let model = ModelTraits {
            is_concurrent,
            ..self.model
        };
        model.check_concurrency(true)
    }

    /// What the concurrency model can do.
    pub(crate) fn model(&self) -> ModelTraits {
        self.model
    }

    /// From now on the statistics include the datagrams that the system drops at this socket.
    pub(crate) fn count_drops(&self, socket: &Arc<Datagram>) {
        self.drop_counts.lock().push(DropCount::of(socket));
    }

    fn datagrams_dropped(&self) -> u64 {
        self.drop_counts.lock().iter().map(DropCount::get).sum()
    }

    pub(crate) fn open_connections(&self) -> usize {
        self.admissions.open()
    }

    /// `serve_forever` has returned, or never will be called.
    pub(crate) fn end(&self) {
        if self.is_closed() {
            self.wake_pipe.end_signals();
        }
        self.life_cycle.end();
    }

    pub(crate) fn datagram_started(&self) {
        self.admissions.datagram_started();
    }

    pub(crate) fn datagram_finished(&self) {
        if self.admissions.datagram_finished() {
            self.notify_if_drained();
        }
    }

    /// Wakes the threads in [`wait_drained`](Core::wait_drained).
    fn notify_if_drained(&self) {
        if !self.is_serving() {
            self.life_cycle.notify();
        }
    }

    /// Waits until no connection is open and no datagram is being served; false when `until` or the
    /// end of `phase` came first.
    pub(crate) fn wait_drained(&self, phase: LifecyclePhase, until: Option<Instant>) -> bool {
        self.life_cycle
            .wait_drained(phase, until, || self.admissions.is_empty())
    }

    /// This process is a child that serves one request.
    pub(crate) fn mark_forked(&self) {
        self.life_cycle.mark_forked();
    }

    /// Whether this process is a child that serves one request.
    pub(crate) fn is_forked(&self) -> bool {
        self.life_cycle.is_forked()
    }

    /// Whether this process is a forked child whose server is shutting down. The child's own phase
    /// changes only when it waits for its peer; a handler that computes must learn of it as well.
    fn is_parent_closing(&self) -> bool {
        self.is_forked() && self.wake_pipe.is_closing()
    }

    /// The wake pipe is readable: obeys a signal, and what forked children asked for.
    pub(crate) fn handle_wake(&self) {
        let wake = self.wake_pipe.drain();
        for message in wake.panics {
            self.stats.panics.fetch_add(1, Ordering::Relaxed);
            self.report(&ClientAddress::Memory, &Error::Panicked(message));
        }
        if wake.terminate {
            self.close();
        }
        self.handle_children();
    }

    /// Obeys what forked children asked for.
    pub(crate) fn handle_children(&self) {
        let asked = self.from_children.take();
        if asked.close {
            self.close();
        }
        if let Some(phase) = asked.phase {
            self.enter(phase);
        }
    }
}
