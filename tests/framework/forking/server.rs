//! The server's process, and what the tests' process sees of it.

use std::io::{BufRead, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Signal;
use socketserver::{
    Builder, ClientAddress, DatagramRequest, DatagramRequestHandler, Error, ForkingMixIn, Listen,
    Next, Result, ServerAddress, ServerHooks, StreamRequest, StreamRequestHandler, Synchronous,
    ThreadPerRequest, shutdown_on_ctrl_c,
};

use crate::client::{self, Client, PATIENCE, TestDir, is_listening};
use crate::process::{BoundedCommand, Process, lines_of};

/// The first argument of the server's process.
pub(crate) const SERVE: &str = "--serve";
/// The file that a server with the setting `close` waits for.
const MAY_CLOSE: &str = "may-close";
pub(crate) const KINDS: [&str; 4] = ["tcp", "udp", "unix", "unix-datagram"];

/// Does what a line says.
#[derive(Clone, Copy)]
struct Handler {
    /// Whether `finish` writes a line.
    says_bye: bool,
}

impl Handler {
    fn obey(line: &[u8]) -> Result<String> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        match line {
            b"pid\n" => Ok(format!("{}\n", std::process::id())),
            b"count\n" => Ok(format!("{}\n", COUNT.fetch_add(1, Ordering::SeqCst) + 1)),
            b"crash\n" => std::process::abort(),
            b"exit\n" => std::process::exit(3),
            b"exit 0\n" => std::process::exit(0),
            b"panic\n" => panic!("told to panic"),
            _ => Err(Error::Protocol("told to fail".to_owned())),
        }
    }

    /// The errors of a child that tries to give its server something, a line each.
    fn reach(request: &StreamRequest) -> String {
        let server = &request.server;
        let handler = Handler { says_bye: false };
        let (_ours, theirs) = UnixStream::pair().unwrap();
        let results = [
            server.adopt(theirs, handler),
            server.connect("127.0.0.1:9", handler),
            server
                .listen("127.0.0.1:0", Listen::new(), move |_: &_| handler)
                .map(drop),
        ];
        let line = |result: Result<()>| format!("{}\n", result.unwrap_err());
        results.into_iter().map(line).collect()
    }
}

impl StreamRequestHandler for Handler {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        if request.cause().is_woken() {
            request.wfile.write_all(b"woken\n")?;
        }
        while let Some(line) = request.rfile.take_line(80)? {
            let line = &line.to_vec()[..];
            if line == b"shutdown\n" {
                request.server.shutdown();
                request.wfile.write_all(b"bye\n")?;
                continue;
            }
            if line == b"reach\n" {
                request
                    .wfile
                    .write_all(Handler::reach(request).as_bytes())?;
                continue;
            }
            if line == b"wake\n" {
                let waker = request.waker();
                std::thread::spawn(move || waker.wake());
                return Ok(Next::Wait);
            }
            if line == b"compute\n" {
                request.wfile.write_all(b"computing\n")?;
                request.wfile.flush()?;
                client::eventually("the server shuts down", || {
                    request.server.is_shutting_down()
                });
                request.wfile.write_all(b"heard\n")?;
                return Ok(Next::Close);
            }
            if line != b"wait\n" {
                request.wfile.write_all(Handler::obey(line)?.as_bytes())?;
                continue;
            }
            request.wfile.write_all(b"waiting\n")?;
            request.wfile.flush()?;
            // Unlike a read between two messages, this wait is not ended by a shutdown.
            let socket = request.fileno().unwrap();
            poll(&mut [PollFd::new(&socket, PollFlags::IN)], None).unwrap();
            let mut rest = Vec::new();
            request.rfile.read_until(b'\n', &mut rest)?;
            request.wfile.write_all(&rest)?;
            return Ok(Next::Close);
        }
        Ok(Next::Wait)
    }

    fn finish(&mut self, request: &mut StreamRequest) -> Result<()> {
        if self.says_bye {
            request.wfile.write_all(b"421 bye\n")?;
        }
        Ok(())
    }
}

impl DatagramRequestHandler for Handler {
    fn handle(&mut self, request: &mut DatagramRequest) -> Result<()> {
        request.wfile = Handler::obey(request.packet())?.into_bytes();
        Ok(())
    }
}

/// Counts the time-outs of `handle_request`.
#[derive(Clone, Default)]
struct TimeOuts(Arc<AtomicUsize>);

impl ServerHooks for TimeOuts {
    fn handle_timeout(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Writes a line for each error, from whichever process.
struct Errors {
    verify_panics: bool,
    /// Whether the server gets a second thread while it serves.
    starts_thread: bool,
}

impl ServerHooks for Errors {
    fn verify_request(&self, _: &ClientAddress) -> bool {
        assert!(!self.verify_panics, "verify_request panics");
        true
    }

    fn handle_error(&self, _: &ClientAddress, error: &Error) {
        let digits = |word: &str| word.parse::<u32>().is_ok_and(|number| number > 100);
        let error = error.to_string();
        let words = error
            .split(' ')
            .map(|word| if digits(word) { "PID" } else { word });
        tell(words.collect::<Vec<_>>().join(" "));
    }

    fn service_actions(&self) {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        if self.starts_thread && STARTED.fetch_add(1, Ordering::SeqCst) == 0 {
            std::thread::spawn(std::thread::park);
            tell("a thread was started");
        }
    }
}

/// The whole life of the server's process: `KIND SETTING... DIRECTORY`.
pub(crate) fn serve(arguments: &[String]) {
    let is = |setting: &str| arguments.iter().any(|argument| argument == setting);
    let path = format!("{}/server", arguments.last().unwrap());
    let mut process = ForkingMixIn::new().block_on_close(!is("no-block"));
    if is("one-child") {
        process = process.max_children(1);
    }
    let mut settings = Builder::new().process(process);
    if is("synchronous") {
        settings = settings.process(Synchronous);
    }
    if is("threads") {
        settings = settings.process(ThreadPerRequest::new());
    }
    if is("errors") {
        let hooks = Errors {
            verify_panics: is("panic-in-verify"),
            starts_thread: is("late-thread"),
        };
        settings = settings
            .hooks(hooks)
            .poll_interval(Duration::from_millis(5));
    }
    if is("grace") {
        settings = settings.grace(Duration::from_millis(30));
    }
    let handler = Handler {
        says_bye: is("bye"),
    };
    let class = move |_: &_| handler;
    if is("handle-request") {
        let time_outs = TimeOuts::default();
        settings = settings
            .hooks(time_outs.clone())
            .timeout(Some(Duration::from_secs(1)));
        match &*arguments[0] {
            "tcp" => handle_two_requests(settings.tcp("127.0.0.1:0", class).unwrap(), &time_outs),
            "udp" => handle_two_requests(settings.udp("127.0.0.1:0", class).unwrap(), &time_outs),
            "unix" => handle_two_requests(settings.unix_stream(path, class).unwrap(), &time_outs),
            _ => handle_two_requests(settings.unix_datagram(path, class).unwrap(), &time_outs),
        }
    } else if is("run-time") {
        serve_run_time(settings.tcp("127.0.0.1:0", class).unwrap(), handler);
    } else if is("close") {
        let mut server = settings.tcp("127.0.0.1:0", class).unwrap();
        tell(server.server_address());
        server.handle_request().unwrap();
        // A connection that has said nothing yet would be closed at once.
        let may_close =
            || std::fs::exists(Path::new(arguments.last().unwrap()).join(MAY_CLOSE)).unwrap();
        client::eventually("the client has spoken", may_close);
        server.server_close();
        tell("closed");
    } else {
        match &*arguments[0] {
            "tcp" => serve_until_terminated(settings.tcp("127.0.0.1:0", class).unwrap()),
            "udp" => serve_until_terminated(settings.udp("127.0.0.1:0", class).unwrap()),
            "unix" => serve_until_terminated(settings.unix_stream(path, class).unwrap()),
            _ => serve_until_terminated(settings.unix_datagram(path, class).unwrap()),
        }
    }
}

fn tell(what: impl std::fmt::Display) {
    let mut out = std::io::stdout();
    writeln!(out, "{what}").unwrap();
}

fn serve_until_terminated(server: socketserver::Server) {
    serve_until_terminated_after(server, &[]);
}

/// Writes these lines when it is ready.
fn serve_until_terminated_after(mut server: socketserver::Server, lines: &[String]) {
    shutdown_on_ctrl_c(server.handle()).unwrap();
    tell(server.server_address());
    lines.iter().for_each(tell);
    let served = catch_unwind(AssertUnwindSafe(|| server.serve_forever()));
    let stats = server.handle().stats();
    if stats.failed + stats.panics > 0 {
        tell(format_args!(
            "failed {}, panics {}",
            stats.failed, stats.panics
        ));
    }
    tell(match served {
        Ok(Ok(())) => format!("accepted {}, cut {}", stats.accepted, stats.aborted),
        Ok(Err(error)) => format!("an error: {error}"),
        Err(_) => "a second copy of the program".to_owned(),
    });
}

/// With another listener, and a stream of the program.
fn serve_run_time(server: socketserver::Server, handler: Handler) {
    let handle = server.handle();
    server.server_activate().unwrap();
    let listen = || {
        let class = move |_: &_| handler;
        handle.listen("127.0.0.1:0", Listen::new(), class).unwrap()
    };
    let refused = listen().drain(Duration::ZERO).unwrap_err();
    let listener = listen();
    let (mut adopted, theirs) = UnixStream::pair().unwrap();
    handle.adopt(theirs, handler).unwrap();
    let mut client = TcpStream::connect(listener.server_address().inet().unwrap()).unwrap();
    adopted.write_all(b"count\n").unwrap();
    client.write_all(b"count\n").unwrap();
    serve_until_terminated_after(server, &[refused.to_string()]);
    let answer = |stream: &mut dyn Read| {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.trim_end().to_owned()
    };
    tell(format_args!("the adopted stream: {}", answer(&mut adopted)));
    tell(format_args!("the second listener: {}", answer(&mut client)));
}

/// The second of which never comes.
fn handle_two_requests(mut server: socketserver::Server, time_outs: &TimeOuts) {
    tell(server.server_address());
    for _ in 0..2 {
        server.handle_request().unwrap();
        tell(format_args!(
            "handled; time-outs: {}",
            time_outs.0.load(Ordering::SeqCst)
        ));
    }
}

/// A server's process, as the tests see it.
pub(crate) struct Server {
    process: Process,
    kind: String,
    address: ServerAddress,
    lines: mpsc::Receiver<String>,
    dir: TestDir,
}

impl Server {
    /// A server of this kind, with these settings.
    pub(crate) fn start(arguments: &[&str]) -> Server {
        Server::start_with(arguments, |command| command)
    }

    pub(crate) fn start_with(
        arguments: &[&str],
        prepare: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Server {
        let dir = TestDir::new();
        let mut command = Command::new(std::env::current_exe().unwrap());
        prepare(&mut command);
        command.arg(SERVE).args(arguments).arg(dir.join(""));
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).start();
        let lines = lines_of(process.stdout());
        let ready = lines
            .recv_timeout(PATIENCE)
            .expect("the server isn't ready");
        let address = match ready.strip_prefix("unix:") {
            Some(path) => ServerAddress::Unix(Some(path.into())),
            None => ServerAddress::Inet(ready.parse().unwrap()),
        };
        Server {
            process,
            kind: arguments[0].to_owned(),
            address,
            lines,
            dir,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn connect(&self) -> Client {
        match &*self.kind {
            "tcp" | "unix" => Client::connect(&self.address),
            _ => Client::datagrams(&self.address),
        }
    }

    /// How many processes the server has, ended ones that it hasn't reaped too.
    pub(crate) fn children(&self) -> usize {
        let path = format!("/proc/{0}/task/{0}/children", self.pid());
        std::fs::read_to_string(path)
            .unwrap()
            .split_whitespace()
            .count()
    }

    /// Ends the server's process, and leaves its children to themselves.
    pub(crate) fn kill(&mut self) {
        self.process.signal(Signal::KILL);
        self.process.wait();
    }

    pub(crate) fn is_listening(&self) -> bool {
        is_listening(&self.address)
    }

    /// Lets a server with the setting `close` do so.
    pub(crate) fn let_close(&self) {
        std::fs::write(self.dir.join(MAY_CLOSE), "").unwrap();
    }

    pub(crate) fn terminate(&self) {
        self.process.signal(Signal::TERM);
    }

    /// Waits for the server's next line.
    #[track_caller]
    pub(crate) fn expect(&self, line: &str) {
        assert_eq!(self.lines.recv_timeout(PATIENCE).as_deref(), Ok(line));
    }

    /// Waits for the server's next line, whatever it says.
    #[track_caller]
    pub(crate) fn expect_some(&self) {
        self.lines.recv_timeout(PATIENCE).unwrap();
    }

    /// The server says nothing for a moment.
    #[track_caller]
    pub(crate) fn expect_nothing(&self) {
        assert_eq!(
            self.lines.recv_timeout(Duration::from_millis(30)),
            Err(mpsc::RecvTimeoutError::Timeout)
        );
    }

    #[track_caller]
    pub(crate) fn end(self, line: &str) {
        self.terminate();
        self.expect(line);
    }
}
