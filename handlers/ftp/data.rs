//! Data connections: each is a connection of the same server, with a handler of its own.
//!
//! The handler tells the session by its mailbox that the connection is there, and gets a
//! [`Job`] from it, before or after that. Until then it reads nothing and holds no thread. Whatever
//! ends the connection, the session hears of it once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use socketserver::{
    Error, Mailbox, MailboxSender, Next, Result, StreamRequest, StreamRequestHandler, Timeout, Tls,
    Wait, Waker,
};

use super::limits::Limiter;
use super::reply::Refused;
use super::tls_sessions::{OwnTlsSessions, Permit};
use super::transfer::{Done, Step, Work};

/// Bytes that are gathered before a write waits for the client: more than one turn writes.
const WRITE_BUFFER: usize = 512 * 1024;

/// Interval and maximum number of checks whether the owner of the TLS session that a data
/// connection has resumed is known: 2 s in all.
const OWNER_INTERVAL: Duration = Duration::from_millis(20);
const MAX_OWNER_CHECKS: u32 = 100;

/// What a session hears from its data connections.
#[derive(Debug)]
pub enum Event {
    /// The data connection is there.
    Connected {
        /// Its number.
        id: u64,
        /// By which it is reached.
        link: DataLink,
    },
    /// The server could not connect to the client.
    Failed {
        /// Its number.
        id: u64,
        /// Why.
        reason: String,
    },
    /// It is over.
    Ended {
        /// Its number.
        id: u64,
        /// What has become of the job.
        outcome: std::result::Result<Done, Refused>,
    },
}

/// Reaches a data connection.
#[derive(Clone, Debug)]
pub struct DataLink {
    /// Takes the job.
    pub jobs: MailboxSender<Job>,
    /// Ends the connection.
    pub waker: Waker,
}

/// Where a session and the data connection that it expects meet: so the session is woken for the
/// connection only if a command already waits for it.
#[derive(Clone, Debug, Default)]
pub struct Arrival(Arc<Mutex<ArrivalState>>);

/// | state | next | when |
/// |---|---|---|
/// | `Expected` | `Arrived` | the client connects before its command |
/// | `Expected` | `Awaited` | the command comes first: the connection sends [`Event::Connected`] |
/// | any | `Abandoned` | the session wants another data connection, or has ended |
#[derive(Debug, Default)]
enum ArrivalState {
    #[default]
    Expected,
    Awaited,
    Arrived(DataLink),
    Abandoned,
}

impl Arrival {
    /// The connection, if it is there.
    pub fn take(&self) -> Option<DataLink> {
        self.take_or(|other| other)
    }

    /// The connection, if it is there. Otherwise it will send [`Event::Connected`].
    pub fn take_or_await(&self) -> Option<DataLink> {
        self.take_or(|other| match other {
            ArrivalState::Expected => ArrivalState::Awaited,
            other => other,
        })
    }

    fn take_or(&self, next: impl FnOnce(ArrivalState) -> ArrivalState) -> Option<DataLink> {
        let mut state = self.0.lock();
        match std::mem::take(&mut *state) {
            ArrivalState::Arrived(link) => Some(link),
            other => {
                *state = next(other);
                None
            }
        }
    }

    /// The connection is not wanted any more: closes it at once.
    pub fn abandon(&self, reason: &'static str) {
        let state = std::mem::replace(&mut *self.0.lock(), ArrivalState::Abandoned);
        if let ArrivalState::Arrived(link) = state {
            link.waker.abort(reason);
        }
    }

    /// The connection is there. Returns false if nobody wants it.
    fn announce(&self, id: u64, link: DataLink, events: &MailboxSender<Event>) -> bool {
        let mut state = self.0.lock();
        match *state {
            ArrivalState::Expected => {
                *state = ArrivalState::Arrived(link);
                true
            }
            ArrivalState::Awaited => events.try_send(Event::Connected { id, link }).is_ok(),
            ArrivalState::Arrived(_) | ArrivalState::Abandoned => false,
        }
    }
}

/// What a data connection does.
#[derive(Debug)]
pub struct Job {
    /// What is sent or received.
    pub work: Work,
    /// TLS; `None` for a connection in the clear.
    pub protection: Option<Protection>,
    /// Number of bytes that have passed, for STAT.
    pub progress: Arc<AtomicU64>,
    /// The rate of the user.
    pub limiter: Option<Arc<Limiter>>,
}

/// How a data connection is encrypted.
#[derive(Clone, Debug)]
pub struct Protection {
    /// The certificate of the control connection.
    pub tls: Tls,
    /// The same for uploads. Their clients do not read, so a ticket that they get would reset the
    /// connection when they close it.
    pub tls_for_uploads: Tls,
    /// The sessions that may be resumed.
    pub sessions: Arc<OwnTlsSessions>,
    /// Whether one of them must be.
    pub is_reuse_required: bool,
}

/// Serves a data connection.
#[derive(Debug)]
pub struct DataHandler {
    id: u64,
    events: MailboxSender<Event>,
    arrival: Arrival,
    jobs: Option<Mailbox<Job>>,
    state: State,
    owner_checks: u32,
    has_ended: bool,
}

#[derive(Debug)]
enum State {
    /// No job has come.
    Waiting,
    /// TLS begins.
    Handshake(Job),
    Running(Job),
    Over,
}

impl DataHandler {
    /// The handler of the connection with this number.
    pub fn new(id: u64, events: MailboxSender<Event>, arrival: Arrival) -> DataHandler {
        DataHandler {
            id,
            events,
            arrival,
            jobs: None,
            state: State::Waiting,
            owner_checks: 0,
            has_ended: false,
        }
    }

    fn report(&mut self, outcome: std::result::Result<Done, Refused>) {
        if !std::mem::replace(&mut self.has_ended, true) {
            let id = self.id;
            // Fails only if the session is over.
            let _ = self.events.try_send(Event::Ended { id, outcome });
        }
    }

    /// Ends the connection after a failure. The client may go on sending.
    fn give_up(&mut self, request: &mut StreamRequest, refused: Refused) -> Next {
        self.report(Err(refused));
        request.linger();
        Next::Close
    }

    fn begin(&mut self, request: &mut StreamRequest) -> Result<Next> {
        let Some(job) = self.jobs.as_ref().and_then(Mailbox::take) else {
            if request.cause().is_shutdown() || self.events.is_closed() {
                return Ok(Next::Close);
            }
            return Ok(Wait::new().paused().into());
        };
        let Some(protection) = &job.protection else {
            return self.run(request, job);
        };
        let tls = match job.work {
            Work::Send(_) => &protection.tls,
            Work::Receive(_) => &protection.tls_for_uploads,
        };
        request.start_tls(tls)?;
        self.state = State::Handshake(job);
        Ok(Next::in_message())
    }

    fn check_session(&mut self, request: &mut StreamRequest, job: Job) -> Result<Next> {
        if let Some(protection) = &job.protection {
            let permit = match protection.is_reuse_required {
                true => protection.sessions.permit(request.tls_resumption()),
                false => Permit::Yes,
            };
            if permit == Permit::NotYet && self.owner_checks < MAX_OWNER_CHECKS {
                self.owner_checks += 1;
                self.state = State::Handshake(job);
                return Ok(Wait::new().paused().after(OWNER_INTERVAL).into());
            }
            if permit != Permit::Yes {
                let text = "The data connection must resume the TLS session of the control \
                            connection.";
                return Ok(self.give_up(request, Refused::new(522, text)));
            }
            protection.sessions.add(request.tls_session_id());
        }
        self.run(request, job)
    }

    fn run(&mut self, request: &mut StreamRequest, mut job: Job) -> Result<Next> {
        let limiter = job.limiter.clone();
        let step = job.work.step(request, limiter.as_deref());
        job.progress.store(job.work.bytes(), Ordering::Relaxed);
        match step {
            Ok(Step::Again) => {
                self.state = State::Running(job);
                Ok(Next::Again)
            }
            Ok(Step::WaitForBytes) => {
                self.state = State::Running(job);
                Ok(Next::in_message())
            }
            Ok(Step::Pause(time)) => {
                self.state = State::Running(job);
                Ok(Wait::new().paused().after(time).into())
            }
            Ok(Step::Done(done)) => {
                self.report(Ok(done));
                Ok(Next::Close)
            }
            Err(refused) => Ok(self.give_up(request, refused)),
        }
    }
}

impl StreamRequestHandler for DataHandler {
    fn setup(&mut self, request: &mut StreamRequest) -> Result<()> {
        let (jobs, mailbox) = request.mailbox(1);
        self.jobs = Some(mailbox);
        let link = DataLink {
            jobs,
            waker: request.waker(),
        };
        if !self.arrival.announce(self.id, link, &self.events) {
            self.state = State::Over;
        }
        Ok(())
    }

    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        match std::mem::replace(&mut self.state, State::Waiting) {
            State::Waiting => self.begin(request),
            State::Handshake(job) => self.check_session(request, job),
            State::Running(job) => self.run(request, job),
            State::Over => Ok(Next::Close),
        }
    }

    fn on_timeout(&mut self, _: &mut StreamRequest, what: Timeout) {
        let code = if what == Timeout::Handshake { 522 } else { 426 };
        self.report(Err(Refused::new(
            code,
            format!("Transfer aborted: {what}."),
        )));
    }

    fn connect_failed(&mut self, error: &Error) {
        self.has_ended = true;
        let (id, reason) = (self.id, error.to_string());
        let _ = self.events.try_send(Event::Failed { id, reason });
    }

    fn speaks_first(&self) -> bool {
        true
    }

    fn wbufsize(&self) -> usize {
        WRITE_BUFFER
    }
}

impl Drop for DataHandler {
    /// Whatever ended the connection, the session must not wait for it.
    fn drop(&mut self) {
        let refused = match &self.state {
            State::Handshake(_) => Refused::new(522, "The TLS handshake failed."),
            _ => Refused::new(426, "Data connection closed, transfer aborted."),
        };
        self.report(Err(refused));
    }
}
