//! A session: the control connection of a client (RFC 959 §2.3).
//!
//! The session splits the received bytes into lines, queues the lines, and runs the commands one
//! after the other. A transfer has its own connection ([`super::data`]). While a transfer runs, the
//! session still runs commands that do not concern the transfer. Commands that the client sent
//! before the transfer began wait for the end of the transfer, so that replies come in the order of
//! the commands. ABOR and STAT without a path never wait.

mod connect;
mod digest;
mod files;
mod information;
mod listings;
mod login;
mod parameters;
mod queue;
mod secure;
mod transfers;

use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use socketserver::{
    ClientAddress, Mailbox, MailboxSender, Next, Result, StreamRequest, StreamRequestHandler,
    Timeout, Wait,
};

use super::Shared;
use super::command::{Command, Line, MAX_LINE, Parser};
use super::data::Event;
use super::path::VirtualPath;
use super::reply::{Refused, Reply};
use super::storage::View;
use super::user;
use super::verbs::{self, Argument, Entry, Verb};
use connect::Data;
use digest::Computation;
use login::Login;
use parameters::Parameters;
use queue::Queued;
use secure::Secured;
use transfers::Transfer;

/// Size of the read buffer in bytes. It holds more than one line of maximum length, so that a line
/// that is too long can be recognized.
const READ_BUFFER: usize = 4 * MAX_LINE;
/// Number of unsent bytes of replies above which no further command runs.
const MAX_UNSENT: u64 = 8 * 1024;
/// Size in bytes from which a reply is sent without a copy, and without a thread that waits for the
/// client.
const LARGE_REPLY: usize = 4 * 1024;
/// Maximum number of events of data connections in the mailbox of the session.
const MAX_EVENTS: usize = 1024;
/// Maximum time that the session waits during a transfer. The data connection has the timeouts of
/// the transfer, and wakes the session when it ends.
const MAX_TRANSFER_WAIT: Duration = Duration::from_secs(3600);

/// Time without bytes after which the system checks whether the client is still connected.
#[cfg(target_os = "linux")]
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(60);

/// Serves one control connection.
pub struct Session {
    shared: Arc<Shared>,
    /// Splits the received bytes into lines.
    parser: Parser,
    /// The lines that have not run yet.
    queue: VecDeque<Queued>,
    /// The mailbox for events of data connections; `None` before `setup`.
    events: Option<(MailboxSender<Event>, Mailbox<Event>)>,
    login: Login,
    parameters: Parameters,
    /// The working directory.
    working: VirtualPath,
    /// The data connection.
    data: Data,
    /// The transfer that has begun; `None` if there is no transfer.
    transfer: Option<Transfer>,
    /// The digest that is being computed; `None` if there is none.
    computation: Option<Box<Computation>>,
    /// The reply to a failed login, which is delayed to slow down password guessing.
    delayed: Option<Delayed>,
    /// No command runs before this time; `None` if commands may run.
    paused_until: Option<Instant>,
    /// When the session stops waiting for an interrupted upload to which another connection still
    /// writes; `None` if it does not wait for one.
    busy_until: Option<Instant>,
    /// The address of the client, for the transfer log.
    client: Option<ClientAddress>,
    /// The state of TLS; `None` without TLS.
    secured: Option<Secured>,
    /// Whether the TLS handshake of AUTH is not complete yet.
    is_starting_tls: bool,
    /// Whether the session ends, because the client has sent QUIT or must be disconnected.
    is_leaving: bool,
    /// Whether the reply 421 was sent, which announces the end of the connection.
    has_said_goodbye: bool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("working", &self.working)
            .field("data", &self.data)
            .field("transfer", &self.transfer)
            .finish_non_exhaustive()
    }
}

/// Replies that are sent later.
struct Delayed {
    /// When the replies are sent.
    until: Instant,
    replies: Vec<Reply>,
    /// Whether the session ends after them.
    is_last: bool,
}

/// The result of a command; `None` if the reply comes later.
type Answer = std::result::Result<Option<Reply>, Refused>;

impl Session {
    /// The handler of a new control connection.
    pub fn new(shared: Arc<Shared>) -> Session {
        Session {
            shared,
            parser: Parser::default(),
            queue: VecDeque::new(),
            events: None,
            login: Login::default(),
            parameters: Parameters::default(),
            working: VirtualPath::default(),
            data: Data::None,
            transfer: None,
            computation: None,
            delayed: None,
            paused_until: None,
            busy_until: None,
            client: None,
            secured: None,
            is_starting_tls: false,
            is_leaving: false,
            has_said_goodbye: false,
        }
    }

    fn reply(request: &mut StreamRequest, reply: &Reply) -> Result<()> {
        let bytes = reply.to_bytes();
        if bytes.len() < LARGE_REPLY {
            return Ok(request.wfile.write_all(&bytes)?);
        }
        let range = 0..bytes.len();
        Ok(request.wfile.send_shared(bytes.into(), range)?)
    }

    /// Whether no command may run now.
    fn is_blocked(&self, request: &StreamRequest) -> bool {
        let wfile = &request.wfile;
        self.is_starting_tls
            || self.is_leaving
            || self.delayed.is_some()
            || self.computation.is_some()
            || self.paused_until.is_some()
            || wfile.has_tail()
            || wfile.bytes_unsent() > MAX_UNSENT
    }

    fn obey(&mut self, request: &mut StreamRequest, line: Line) -> Result<()> {
        let answer = match line {
            Line::TooLong => Err(Refused::new(
                500,
                format!("The line is longer than {MAX_LINE} bytes."),
            )),
            Line::Command(command) => self.dispatch(request, command),
        };
        match answer {
            Ok(None) => Ok(()),
            Ok(Some(reply)) | Err(reply) => Session::reply(request, &reply),
        }
    }

    fn dispatch(&mut self, request: &mut StreamRequest, command: Command) -> Answer {
        let Command { verb, argument } = command;
        let Some(entry) = verbs::find(&verb) else {
            let is_known = verbs::UNIMPLEMENTED
                .iter()
                .any(|name| name.as_bytes() == verb);
            if is_known {
                return Err(Refused::new(502, "Command not implemented."));
            }
            return Err(information::unknown(&verb, "HELP"));
        };
        if entry.verb == Verb::Site {
            return self.site(request, &argument);
        }
        self.run(request, entry, &argument)
    }

    /// Checks the login and the argument of a command, and runs it.
    fn run(&mut self, request: &mut StreamRequest, entry: &Entry, argument: &[u8]) -> Answer {
        let lists = entry.verb == Verb::Stat && !argument.is_empty();
        if (entry.needs_login || lists) && self.login.view.is_none() {
            return Err(not_logged_in());
        }
        match entry.argument {
            Argument::Required if argument.is_empty() => {
                return Err(Refused::new(501, "This command needs an argument."));
            }
            Argument::Refused if !argument.trim_ascii().is_empty() => {
                let text = "This command takes no argument.";
                return Err(Refused::new(501, text));
            }
            _ => {}
        }
        if !entry.rights.is_empty() {
            self.renew_view(request)?;
        }
        self.call(request, entry, argument)
    }

    fn call(&mut self, request: &mut StreamRequest, entry: &Entry, argument: &[u8]) -> Answer {
        match entry.verb {
            Verb::Abor => self.abor(request),
            Verb::Acct => Ok(Some(Reply::new(202, "No account is needed."))),
            Verb::Allo => self.allo(argument),
            Verb::Appe | Verb::Stor | Verb::Stou => self.store(request, entry, argument),
            Verb::Auth => self.auth(request, argument),
            Verb::Ccc => self.ccc(),
            Verb::Cdup => self.cwd(entry, b".."),
            Verb::Cwd => self.cwd(entry, argument),
            Verb::Dele => self.dele(entry, argument),
            Verb::Eprt => self.eprt(request, argument),
            Verb::Epsv => self.epsv(request, argument),
            Verb::Feat => Ok(Some(self.feat())),
            Verb::Hash | Verb::Xmd5 | Verb::Xsha1 | Verb::Xsha256 => self.hash(entry, argument),
            Verb::Help => information::help(argument),
            Verb::Host => self.host(),
            Verb::Lang => Err(Refused::new(504, "Replies are in English only.")),
            Verb::List | Verb::Nlst | Verb::Mlsd => self.list(request, entry, argument),
            Verb::Mdtm => self.mdtm(entry, argument),
            Verb::Mfmt => self.mfmt(entry, argument),
            Verb::Mkd => self.mkd(entry, argument),
            Verb::Mlst => self.mlst(entry, argument),
            Verb::Mode => self.mode(argument),
            Verb::Noop => Ok(Some(Reply::new(200, "Nothing done."))),
            Verb::Opts => self.opts(argument),
            Verb::Pass => self.pass(request, argument),
            Verb::Pasv => self.pasv(request),
            Verb::Pbsz => self.pbsz(argument),
            Verb::Port => self.port(request, argument),
            Verb::Prot => self.prot(argument),
            Verb::Pwd => Ok(Some(self.pwd())),
            Verb::Quit => self.quit(),
            Verb::Rein => self.rein(),
            Verb::Rest => self.rest(argument),
            Verb::Retr => self.retr(request, entry, argument),
            Verb::Rmd => self.rmd(entry, argument),
            Verb::Rnfr => self.rnfr(entry, argument),
            Verb::Rnto => self.rnto(entry, argument),
            // `dispatch` passes the argument of SITE to `Session::site`, so this line is not
            // reached.
            Verb::Site => Err(Refused::new(502, "Command not implemented.")),
            Verb::SiteChmod => self.chmod(entry, argument),
            Verb::SiteHelp => information::site_help(argument),
            Verb::SiteQuota => self.quota(),
            Verb::Size => self.size(entry, argument),
            Verb::Stat if argument.is_empty() => Ok(Some(self.stat(request))),
            Verb::Stat => self.stat_path(entry, argument),
            Verb::Stru => parameters::stru(argument),
            Verb::Syst => Ok(Some(Reply::new(215, "UNIX Type: L8"))),
            Verb::Type => self.set_type(argument),
            Verb::User => self.user(argument),
        }
    }

    /// The files of the user who is logged in.
    fn view(&self) -> std::result::Result<&Arc<View>, Refused> {
        let view = self.login.view.as_ref();
        view.ok_or_else(not_logged_in)
    }

    fn path(&self, argument: &[u8]) -> std::result::Result<VirtualPath, Refused> {
        let joined = self.working.join(argument);
        joined.map_err(|error| Refused::new(550, format!("{error}.")))
    }

    /// Returns the files of the user, and the path of an argument. Checks that the user has the
    /// rights that the verb needs at this path.
    fn target(
        &self,
        entry: &Entry,
        argument: &[u8],
    ) -> std::result::Result<(Arc<View>, VirtualPath), Refused> {
        let view = Arc::clone(self.view()?);
        let path = self.path(argument)?;
        view.check(&path, user::needed(entry.rights))?;
        Ok((view, path))
    }

    /// The event for which the connection waits next.
    fn next(&mut self, request: &mut StreamRequest) -> Result<Next> {
        let now = request.server.clock().now();
        if self.is_starting_tls {
            return Ok(Next::Wait);
        }
        if request.wfile.has_tail() || request.wfile.bytes_unsent() > MAX_UNSENT {
            return Ok(Next::Again);
        }
        if let Some(delayed) = &self.delayed {
            return Ok(Next::after(delayed.until.saturating_duration_since(now)));
        }
        if self.computation.is_some() {
            // With `Again` the session would not notice that the client closes the connection.
            return Ok(Wait::new().in_message().after(Duration::ZERO).into());
        }
        if let Some(until) = self.paused_until {
            let wait = until.saturating_duration_since(now);
            return Ok(Wait::new().in_message().after(wait).into());
        }
        let is_over = request.rfile.is_eof() && self.queue.is_empty();
        if let Some(transfer) = &self.transfer {
            // If the client has closed the connection without QUIT, the transfer is aborted.
            if is_over && !self.is_leaving {
                return Ok(Next::Close);
            }
            let deadline = transfer.deadline();
            let wait = deadline.map_or(MAX_TRANSFER_WAIT, |at| at.saturating_duration_since(now));
            return Ok(Wait::new().in_message().after(wait).into());
        }
        if self.is_leaving || is_over {
            return Ok(Next::Close);
        }
        if request.server.is_shutting_down() {
            self.say_goodbye(request)?;
            return Ok(Next::Close);
        }
        Ok(Next::Wait)
    }

    fn say_goodbye(&mut self, request: &mut StreamRequest) -> Result<()> {
        if self.is_leaving || std::mem::replace(&mut self.has_said_goodbye, true) {
            return Ok(());
        }
        Session::reply(request, &Reply::new(421, "The server is shutting down."))
    }

    /// Sends delayed replies that are due, and ends a transfer without a data connection.
    fn check_deadlines(&mut self, request: &mut StreamRequest) -> Result<()> {
        let now = request.server.clock().now();
        self.paused_until = self.paused_until.filter(|until| *until > now);
        if let Some(delayed) = self.delayed.take_if(|delayed| delayed.until <= now) {
            for reply in &delayed.replies {
                Session::reply(request, reply)?;
            }
            self.is_leaving |= delayed.is_last;
        }
        let is_late = |transfer: &Transfer| transfer.deadline().is_some_and(|at| at <= now);
        if self.transfer.as_ref().is_some_and(is_late) {
            let text = "No data connection was made in time.";
            self.end_transfer(request, Err(Refused::new(425, text)))?;
        }
        Ok(())
    }
}

/// The reply to a command that needs a login.
fn not_logged_in() -> Refused {
    Refused::new(530, "Please log in with USER and PASS.")
}

impl StreamRequestHandler for Session {
    fn setup(&mut self, request: &mut StreamRequest) -> Result<()> {
        self.events = Some(request.mailbox(MAX_EVENTS));
        self.client = Some(request.client_address.clone());
        if let Some(fd) = request.fileno() {
            // Clients send ABOR as urgent data (RFC 959 §4.1.3). Without this option, the last
            // urgent byte would not be part of the stream. Errors are ignored, because a Unix
            // socket has no urgent data.
            let _ = sockopt::set_socket_oobinline(fd, true);
            // Without keep-alive probes, firewalls drop the idle control connection during a long
            // transfer.
            let _ = sockopt::set_socket_keepalive(fd, true);
            #[cfg(target_os = "linux")]
            let _ = sockopt::set_tcp_keepidle(fd, KEEP_ALIVE_INTERVAL);
        }
        if request.is_tls() {
            self.note_secured(request);
        }
        Session::reply(request, &Reply::of_lines(220, &self.shared.banner))
    }

    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        if std::mem::take(&mut self.is_starting_tls) {
            self.note_secured(request);
        }
        self.take_events(request)?;
        self.check_deadlines(request)?;
        self.compute(request)?;
        loop {
            self.read_lines(request);
            if self.is_blocked(request) {
                break;
            }
            let Some(line) = self.next_line() else {
                break;
            };
            self.obey(request, line)?;
        }
        self.next(request)
    }

    fn finish(&mut self, request: &mut StreamRequest) -> Result<()> {
        if request.server.is_shutting_down() {
            self.say_goodbye(request)?;
        }
        Ok(())
    }

    fn on_timeout(&mut self, request: &mut StreamRequest, what: Timeout) {
        // An error is ignored: the client may have closed the connection.
        let text = format!("Closing the control connection: {what}.");
        let _ = Session::reply(request, &Reply::new(421, text));
        self.has_said_goodbye = true;
    }

    fn speaks_first(&self) -> bool {
        false
    }

    fn rbufsize(&self) -> Option<usize> {
        Some(READ_BUFFER)
    }
}

impl Drop for Session {
    /// Ends the data connection, and logs the transfer as incomplete.
    fn drop(&mut self) {
        self.data.abort("the control connection has ended");
        if let Some(transfer) = self.transfer.take() {
            self.log_transfer(&transfer, None);
        }
    }
}
