//! Data connections. Each data connection is a connection of the same server, and has its own
//! handler.
//!
//! When the connection is established, the handler announces it by the [`Arrival`] that it shares
//! with the session. When the client asks for a transfer, the session sends a [`Job`] to the
//! mailbox of the handler. Until then the handler reads nothing and holds no thread. When the
//! connection ends for any reason, the session gets one [`Event::Ended`].

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

/// Size of the write buffer in bytes. One turn writes fewer bytes than this, so a write does not
/// wait for the client.
const WRITE_BUFFER: usize = 512 * 1024;

/// Time between two checks whether the owner of the resumed TLS session is known
/// ([`Permit::NotYet`]).
const OWNER_INTERVAL: Duration = Duration::from_millis(20);
/// Maximum number of these checks. After them the data connection is refused.
const MAX_OWNER_CHECKS: u32 = 100;

/// A message from a data connection to its session.
#[derive(Debug)]
pub enum Event {
    /// The data connection is established.
    Connected {
        /// Its number.
        id: u64,
        /// Sends jobs to the data connection, and ends it.
        link: DataLink,
    },
    /// The server could not connect to the client.
    Failed {
        /// Its number.
        id: u64,
        /// A description of the error.
        reason: String,
    },
    /// The data connection has ended.
    Ended {
        /// Its number.
        id: u64,
        /// The result of the job.
        outcome: std::result::Result<Done, Refused>,
    },
}

/// The session's access to a data connection.
#[derive(Clone, Debug)]
pub struct DataLink {
    /// Sends the job.
    pub jobs: MailboxSender<Job>,
    /// Ends the connection.
    pub waker: Waker,
}

/// The state that a session shares with its next data connection. It saves a wake-up, because the
/// data connection wakes the session only if a transfer already waits for the connection.
#[derive(Clone, Debug, Default)]
pub struct Arrival(Arc<Mutex<ArrivalState>>);

/// | state | next | when |
/// |---|---|---|
/// | `Expected` | `Arrived` | the client connects before it sends the command of the transfer |
/// | `Expected` | `Awaited` | the command comes first: the connection sends [`Event::Connected`] |
/// | any | `Abandoned` | the session needs another data connection, or has ended |
#[derive(Debug, Default)]
enum ArrivalState {
    /// The connection is not established, and no transfer waits for it.
    #[default]
    Expected,
    /// The connection is not established, and a transfer waits for it.
    Awaited,
    /// The connection is established, and the session has not taken it yet.
    Arrived(DataLink),
    /// The session does not need the connection.
    Abandoned,
}

impl Arrival {
    /// Takes the data connection if it is established.
    pub fn take(&self) -> Option<DataLink> {
        self.take_or(|other| other)
    }

    /// Takes the data connection if it is established. Otherwise the data connection will send
    /// [`Event::Connected`] when it is established.
    pub fn take_or_await(&self) -> Option<DataLink> {
        self.take_or(|other| match other {
            ArrivalState::Expected => ArrivalState::Awaited,
            other => other,
        })
    }

    /// Takes the data connection if it is established. Otherwise sets the state to `next`.
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

    /// Closes the data connection immediately. If it is not established yet, it will be closed when
    /// it is established.
    pub fn abandon(&self, reason: &'static str) {
        let state = std::mem::replace(&mut *self.0.lock(), ArrivalState::Abandoned);
        if let ArrivalState::Arrived(link) = state {
            link.waker.abort(reason);
        }
    }

    /// Announces an established data connection. Returns false if the session does not need it.
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

/// The transfer of a data connection.
#[derive(Debug)]
pub struct Job {
    /// The file or listing that is sent, or the file that is received.
    pub work: Work,
    /// How the connection is encrypted; `None` without TLS.
    pub protection: Option<Protection>,
    /// Number of bytes that were transferred, for STAT.
    pub progress: Arc<AtomicU64>,
    /// The transfer rate of the user; `None` without a limit.
    pub limiter: Option<Arc<Limiter>>,
}

/// How a data connection is encrypted.
#[derive(Clone, Debug)]
pub struct Protection {
    /// The certificate of the control connection.
    pub tls: Tls,
    /// The certificate for uploads, with which the server sends no session tickets. A client does
    /// not read from the data connection of an upload. If unread tickets were in its receive
    /// buffer, the connection would be reset when the client closes it.
    pub tls_for_uploads: Tls,
    /// The TLS sessions that the data connection may resume.
    pub sessions: Arc<OwnTlsSessions>,
    /// Whether the data connection must resume one of them.
    pub is_reuse_required: bool,
}

/// Serves a data connection.
#[derive(Debug)]
pub struct DataHandler {
    id: u64,
    /// Sends events to the session.
    events: MailboxSender<Event>,
    /// The state that the handler shares with the session.
    arrival: Arrival,
    /// The mailbox that receives the job; `None` before `setup`.
    jobs: Option<Mailbox<Job>>,
    state: DataState,
    /// Number of checks so far that have found no owner of the TLS session.
    owner_checks: u32,
    /// Whether the session was told the result of this connection.
    has_ended: bool,
}

/// The state of a data connection.
///
/// | state | next | when |
/// |---|---|---|
/// | `Waiting` | `Running` | the session sends a job without TLS |
/// | `Waiting` | `Handshake` | the session sends a job with TLS |
/// | `Handshake` | `Running` | the handshake is complete, and the TLS session has a known owner |
/// | `Waiting` | `Ended` | `setup` finds that the session does not need the connection |
#[derive(Debug)]
enum DataState {
    /// The session has sent no job yet.
    Waiting,
    /// The TLS handshake runs, or the owner of the resumed TLS session is not known yet.
    Handshake(Job),
    /// The transfer runs.
    Running(Job),
    /// The session does not need this connection, which closes immediately.
    Ended,
}

impl DataHandler {
    /// The handler of the data connection with the number `id`, which reports to `events`.
    pub fn new(id: u64, events: MailboxSender<Event>, arrival: Arrival) -> DataHandler {
        DataHandler {
            id,
            events,
            arrival,
            jobs: None,
            state: DataState::Waiting,
            owner_checks: 0,
            has_ended: false,
        }
    }

    fn report(&mut self, outcome: std::result::Result<Done, Refused>) {
        if !std::mem::replace(&mut self.has_ended, true) {
            let id = self.id;
            // `try_send` fails only if the session has ended. Then nothing needs the report.
            let _ = self.events.try_send(Event::Ended { id, outcome });
        }
    }

    /// Reports a failure, and ends the connection. The connection lingers, because the client may
    /// still send bytes.
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
        self.state = DataState::Handshake(job);
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
                self.state = DataState::Handshake(job);
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
                self.state = DataState::Running(job);
                Ok(Next::Again)
            }
            Ok(Step::WaitForBytes) => {
                self.state = DataState::Running(job);
                Ok(Next::in_message())
            }
            Ok(Step::Pause(time)) => {
                self.state = DataState::Running(job);
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
            self.state = DataState::Ended;
        }
        Ok(())
    }

    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        match std::mem::replace(&mut self.state, DataState::Waiting) {
            DataState::Waiting => self.begin(request),
            DataState::Handshake(job) => self.check_session(request, job),
            DataState::Running(job) => self.run(request, job),
            DataState::Ended => Ok(Next::Close),
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
    /// Reports the end of the connection, unless it was reported before. Without this report, the
    /// session would wait for the end of the transfer forever.
    fn drop(&mut self) {
        let refused = match &self.state {
            DataState::Handshake(_) => Refused::new(522, "The TLS handshake failed."),
            _ => Refused::new(426, "Data connection closed, transfer aborted."),
        };
        self.report(Err(refused));
    }
}
