//! What the tests serve: handlers that do as they are told, hooks that write down, and every server
//! as one type.

use std::io::{BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use socketserver::{
    Builder, ClientAddress, DatagramRequest, DatagramRequestHandler, Error, Next, ProcessRequest,
    Refusal, Request, Result, Server, ServerAddress, ServerHandle, ServerHooks, StreamRequest,
    StreamRequestHandler, Synchronous, ThreadPerRequest, ThreadingMixIn, Timeout,
};

use crate::support::{Client, Gate, Running, TestDir};

/// Stops at its gate for a line `stop`, and sends every line back.
pub(crate) struct Gated(Gate);

impl Gated {
    pub(crate) fn class(gate: &Gate) -> impl Fn(&ClientAddress) -> Gated + Send + Sync + 'static {
        let gate = gate.clone();
        move |_: &ClientAddress| Gated(gate.clone())
    }
}

impl StreamRequestHandler for Gated {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        while let Some(line) = request.rfile.take_line(80)? {
            if line == b"stop\n" {
                self.0.pass();
            }
            request.wfile.write_all(line)?;
        }
        Ok(Next::Wait)
    }
}

/// Does what a line says (`fail`, `panic`, `close`), and sends back every other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Obedient;

impl Obedient {
    fn obey(line: &[u8]) -> Result<()> {
        match line {
            b"fail\n" => Err(Error::Protocol("told to fail".to_owned())),
            b"panic\n" => panic!("told to panic"),
            _ => Ok(()),
        }
    }
}

impl StreamRequestHandler for Obedient {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        while let Some(line) = request.rfile.take_line(4096)? {
            if line == b"close\n" {
                return Ok(Next::Close);
            }
            Obedient::obey(line)?;
            request.wfile.write_all(line)?;
        }
        Ok(if request.rfile.is_eof() {
            Next::Close
        } else {
            Next::Wait
        })
    }
}

/// Sends lines back, and waits for each in a blocking read. Says `bye` at the end.
pub(crate) struct Blocking;

impl StreamRequestHandler for Blocking {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        let mut line = String::new();
        while request.rfile.read_line(&mut line)? > 0 {
            request.wfile.write_all(line.as_bytes())?;
            line.clear();
        }
        Ok(Next::Close)
    }

    fn finish(&mut self, request: &mut StreamRequest) -> Result<()> {
        Ok(request.wfile.write_all(b"bye\n")?)
    }
}

impl DatagramRequestHandler for Obedient {
    fn handle(&mut self, request: &mut DatagramRequest) -> Result<()> {
        Obedient::obey(request.packet())?;
        request.wfile = request.packet().to_vec();
        Ok(())
    }
}

/// A concurrency model of a user: a thread for each request, which is neither counted nor joined.
pub(crate) struct OwnModel;

impl ProcessRequest for OwnModel {
    fn process_request(&self, request: Request) {
        std::thread::spawn(move || request.run());
    }
}

/// All models but the forking one, which has its own tests.
pub(crate) fn all_models() -> [Builder; 4] {
    let [pool, threads, own] = concurrent_models();
    [pool, threads, own, Builder::new().process(Synchronous)]
}

/// Those that can serve two connections at once.
pub(crate) fn concurrent_models() -> [Builder; 3] {
    [
        Builder::new().process(ThreadingMixIn::new()),
        Builder::new().process(ThreadPerRequest::new()),
        Builder::new().process(OwnModel),
    ]
}

/// A server of [`Obedient`] that serves when this returns.
pub(crate) fn obedient(settings: Builder) -> Running {
    let server = settings.tcp("127.0.0.1:0", |_: &_| Obedient).unwrap();
    server.server_activate().unwrap();
    Running::start(server)
}

/// Hooks that write down what they hear.
#[derive(Clone, Default)]
pub(crate) struct Recorder(Arc<Record>);

#[derive(Default)]
struct Record {
    errors: Mutex<Vec<String>>,
    expiries: Mutex<Vec<Timeout>>,
    refusals: Mutex<Vec<Refusal>>,
    timeouts: AtomicUsize,
    actions: AtomicUsize,
    denies: Mutex<bool>,
}

impl Recorder {
    /// From now on `verify_request` says no, or yes again.
    pub(crate) fn deny(&self, yes: bool) {
        *self.0.denies.lock() = yes;
    }

    /// What `handle_error` was told, each error as its line.
    pub(crate) fn errors(&self) -> Vec<String> {
        self.0.errors.lock().clone()
    }

    /// The deadlines among the errors.
    pub(crate) fn expiries(&self) -> Vec<Timeout> {
        self.0.expiries.lock().clone()
    }

    pub(crate) fn refusals(&self) -> Vec<Refusal> {
        self.0.refusals.lock().clone()
    }

    /// How often `handle_timeout` was called.
    pub(crate) fn timeouts(&self) -> usize {
        self.0.timeouts.load(Ordering::SeqCst)
    }

    /// How often `service_actions` was called.
    pub(crate) fn actions(&self) -> usize {
        self.0.actions.load(Ordering::SeqCst)
    }
}

impl ServerHooks for Recorder {
    fn verify_request(&self, _: &ClientAddress) -> bool {
        !*self.0.denies.lock()
    }

    fn handle_error(&self, _: &ClientAddress, error: &Error) {
        if let Error::Timeout(what) = error {
            self.0.expiries.lock().push(*what);
        }
        self.0.errors.lock().push(error.to_string());
    }

    fn handle_refusal(&self, _: &ClientAddress, why: Refusal) -> Option<&[u8]> {
        self.0.refusals.lock().push(why);
        Some(b"go away\n")
    }

    fn handle_timeout(&self) {
        self.0.timeouts.fetch_add(1, Ordering::SeqCst);
    }

    fn service_actions(&self) {
        self.0.actions.fetch_add(1, Ordering::SeqCst);
    }
}

/// What all servers can do, whatever their sockets.
pub(crate) trait AnyServer: Send {
    fn serve_forever(&mut self) -> Result<()>;
    fn handle_request(&mut self) -> Result<()>;
    fn server_close(self: Box<Self>);
    fn server_address(&self) -> &ServerAddress;
    fn handle(&self) -> ServerHandle;
    fn start(self: Box<Self>) -> Running;
}

impl AnyServer for Server {
    fn serve_forever(&mut self) -> Result<()> {
        Server::serve_forever(self)
    }
    fn handle_request(&mut self) -> Result<()> {
        Server::handle_request(self)
    }
    fn server_close(self: Box<Self>) {
        Server::server_close(*self);
    }
    fn server_address(&self) -> &ServerAddress {
        Server::server_address(self)
    }
    fn handle(&self) -> ServerHandle {
        Server::handle(self)
    }
    fn start(self: Box<Self>) -> Running {
        Running::start(*self)
    }
}

/// The four kinds of servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tcp,
    Udp,
    UnixStream,
    UnixDatagram,
}

impl Kind {
    pub(crate) fn is_stream(self) -> bool {
        matches!(self, Kind::Tcp | Kind::UnixStream)
    }

    /// A server of this kind whose handlers are copies of `handler`.
    pub(crate) fn build<H>(self, settings: Builder, dir: &TestDir, handler: H) -> Box<dyn AnyServer>
    where
        H: StreamRequestHandler + DatagramRequestHandler + Clone + Sync,
    {
        let class = move |_: &_| handler.clone();
        match self {
            Kind::Tcp => Box::new(settings.tcp("127.0.0.1:0", class).unwrap()),
            Kind::Udp => Box::new(settings.udp("127.0.0.1:0", class).unwrap()),
            Kind::UnixStream => Box::new(settings.unix_stream(dir.join("server"), class).unwrap()),
            Kind::UnixDatagram => {
                Box::new(settings.unix_datagram(dir.join("server"), class).unwrap())
            }
        }
    }

    pub(crate) fn connect(self, server: &ServerAddress) -> Client {
        if self.is_stream() {
            Client::connect(server)
        } else {
            Client::datagrams(server)
        }
    }
}
