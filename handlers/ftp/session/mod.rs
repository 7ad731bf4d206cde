//! A session: the control connection of a client (RFC 959 §2.3).
//!
//! Lines go from the client's bytes into a queue, and from there to the methods of the verbs. While
//! a transfer runs, its data connection is a connection of its own ([`super::data`]); this one is
//! parked, and obeys what does not concern the transfer. What the client had sent before the
//! transfer began waits for its end, so that replies come in the order of the commands; ABOR and
//! STAT never wait.

mod connect;
mod digest;
mod files;
mod information;
mod listings;
mod login;
mod parameters;
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
use secure::Secured;
use transfers::Transfer;

/// Lines that may wait in the queue. Further ones stay with the client.
const MAX_QUEUED: usize = 128;
/// Bytes that the session reads ahead: a line that is too long is recognized within them.
const READ_BUFFER: usize = 4 * MAX_LINE;
/// While so many bytes of replies are unsent, no further command is obeyed.
const MAX_UNSENT: u64 = 8 * 1024;
/// Replies of this size are sent without a copy, and without a thread that waits for the client.
const LARGE_REPLY: usize = 4 * 1024;
/// Values that data connections may leave for the session.
const MAX_EVENTS: usize = 1024;
/// While a transfer runs, its data connection has the deadlines. This one looks after it now and
/// then.
const LOOK_INTERVAL: Duration = Duration::from_secs(3600);

/// How long a control connection is silent before the system looks whether the client is there.
#[cfg(target_os = "linux")]
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(60);

/// Serves one control connection.
pub struct Session {
    shared: Arc<Shared>,
    parser: Parser,
    queue: VecDeque<Queued>,
    events: Option<(MailboxSender<Event>, Mailbox<Event>)>,
    login: Login,
    parameters: Parameters,
    working: VirtualPath,
    data: Data,
    transfer: Option<Transfer>,
    computation: Option<Box<Computation>>,
    /// A reply that is held back, because the client guesses passwords.
    delayed: Option<Delayed>,
    /// Nothing is obeyed until then.
    paused_until: Option<Instant>,
    /// Since when a cut upload is waited for that another connection holds.
    busy_until: Option<Instant>,
    /// For the log.
    client: Option<ClientAddress>,
    secured: Option<Secured>,
    is_starting_tls: bool,
    /// The client has said QUIT, or must go.
    is_leaving: bool,
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

/// A line that waits to be obeyed.
struct Queued {
    line: Line,
    /// The client sent it before the transfer began, so it waits for the end of the transfer.
    is_behind_transfer: bool,
}

impl Queued {
    /// A command that is obeyed once more.
    fn again(entry: &Entry, argument: &[u8]) -> Queued {
        Queued {
            line: Line::Command(Command {
                verb: entry.name.as_bytes().to_vec(),
                argument: argument.to_vec(),
            }),
            is_behind_transfer: false,
        }
    }
}

struct Delayed {
    until: Instant,
    replies: Vec<Reply>,
    is_last: bool,
}

/// What a verb answers: `None` if the reply comes later.
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

    /// Puts the lines that have come into the queue.
    fn read_lines(&mut self, request: &mut StreamRequest) {
        while self.queue.len() < MAX_QUEUED {
            let (taken, line) = self.parser.next(request.rfile.buffer());
            request.rfile.take_exact(taken);
            match line {
                Some(line) => self.queue.push_back(Queued {
                    line,
                    is_behind_transfer: false,
                }),
                None if taken == 0 => break,
                None => {}
            }
        }
    }

    /// Whether no command may be obeyed now.
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

    /// The next line that may be obeyed now.
    fn next_line(&mut self) -> Option<Line> {
        if self.transfer.is_none() {
            return self.queue.pop_front().map(|queued| queued.line);
        }
        let urgent = self.queue.iter().position(|queued| is_urgent(&queued.line));
        let at = urgent.or_else(|| {
            let first = self.queue.front()?;
            (!first.is_behind_transfer && self.may_run(&first.line)).then_some(0)
        });
        self.queue.remove(at?).map(|queued| queued.line)
    }

    /// Whether a line is obeyed while a transfer runs.
    fn may_run(&self, line: &Line) -> bool {
        let Line::Command(command) = line else {
            return true;
        };
        let Some(entry) = verbs::find(&command.verb) else {
            return true;
        };
        // What is refused anyway need not wait.
        entry.during_transfer || entry.needs_login && self.login.view.is_none()
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
            let shown = String::from_utf8_lossy(&verb);
            let shown: String = shown.chars().take(32).collect();
            let text = format!("Command \"{}\" not understood.", shown.escape_debug());
            return Err(Refused::new(500, text));
        };
        if entry.verb == Verb::Site {
            return self.site(request, &argument);
        }
        self.run(request, entry, &argument)
    }

    /// Runs a verb of the table, once it is clear that the client may use it.
    fn run(&mut self, request: &mut StreamRequest, entry: &Entry, argument: &[u8]) -> Answer {
        let lists = entry.verb == Verb::Stat && !argument.is_empty();
        if (entry.needs_login || lists) && self.login.view.is_none() {
            return Err(Refused::new(530, "Please log in with USER and PASS."));
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
            // `dispatch` runs the command behind SITE instead.
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

    /// The files of the user.
    fn view(&self) -> std::result::Result<&Arc<View>, Refused> {
        let view = self.login.view.as_ref();
        view.ok_or_else(|| Refused::new(530, "Please log in with USER and PASS."))
    }

    fn path(&self, argument: &[u8]) -> std::result::Result<VirtualPath, Refused> {
        let joined = self.working.join(argument);
        joined.map_err(|error| Refused::new(550, format!("{error}.")))
    }

    /// The path of an argument, and the files of the user, who has the rights of this verb there.
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

    /// What to wait for.
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
            // Not `Again`: the end of the connection must be noticed meanwhile.
            return Ok(Wait::new().in_message().after(Duration::ZERO).into());
        }
        if let Some(until) = self.paused_until {
            let wait = until.saturating_duration_since(now);
            return Ok(Wait::new().in_message().after(wait).into());
        }
        let is_over = request.rfile.is_eof() && self.queue.is_empty();
        if let Some(transfer) = &self.transfer {
            // A client that has left gets nothing more, unless it has said QUIT.
            if is_over && !self.is_leaving {
                return Ok(Next::Close);
            }
            let deadline = transfer.deadline();
            let wait = deadline.map_or(LOOK_INTERVAL, |at| at.saturating_duration_since(now));
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

    /// Sends what was held back, if it is time.
    fn look_at_time(&mut self, request: &mut StreamRequest) -> Result<()> {
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

/// Whether a line is obeyed although others came before it.
fn is_urgent(line: &Line) -> bool {
    match line {
        Line::Command(command) => {
            command.verb == b"ABOR" || command.verb == b"STAT" && command.argument.is_empty()
        }
        Line::TooLong => false,
    }
}

impl StreamRequestHandler for Session {
    fn setup(&mut self, request: &mut StreamRequest) -> Result<()> {
        self.events = Some(request.mailbox(MAX_EVENTS));
        self.client = Some(request.client_address.clone());
        if let Some(fd) = request.fileno() {
            // Clients send ABOR as urgent data (RFC 959 §4.1.3), of which the last byte would
            // otherwise not be part of the stream. A Unix socket has no urgent data.
            let _ = sockopt::set_socket_oobinline(fd, true);
            // Firewalls forget a connection that is silent during a long transfer.
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
        self.look_at_time(request)?;
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
        // It may not arrive: the client may have left.
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
    /// Without a control connection there are no data connections.
    fn drop(&mut self) {
        self.data.abort("the control connection has ended");
        if let Some(transfer) = self.transfer.take() {
            self.log_transfer(&transfer, None);
        }
    }
}
