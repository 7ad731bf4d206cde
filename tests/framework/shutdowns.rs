//! What a shutdown means for the connections and handlers of each concurrency model.

use std::io::{BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use socketserver::{
    Builder, DatagramRequest, Next, Result, ServerHandle, ServerHooks, StreamRequest,
    StreamRequestHandler, Synchronous, ThreadPerRequest, Wait,
};

use crate::subjects::{Obedient, all_models};
use crate::support::{Client, Gate, PATIENCE, Running, TestDir};

/// Those in which a thread holds an idle connection.
fn blocking_models() -> [Builder; 2] {
    [
        Builder::new().process(ThreadPerRequest::new()),
        Builder::new().process(Synchronous),
    ]
}

/// Echoes, and says goodbye in `finish`.
struct Polite;

impl StreamRequestHandler for Polite {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        Obedient.handle(request)
    }

    fn finish(&mut self, request: &mut StreamRequest) -> Result<()> {
        Ok(request.wfile.write_all(b"421 bye\n")?)
    }
}

#[test]
fn an_idle_client_gets_the_output_of_finish_at_a_shutdown() {
    for settings in all_models() {
        let server = settings.tcp("127.0.0.1:0", |_: &_| Polite).unwrap();
        let server = Running::start(server);
        let mut client = server.connect();
        client.say(b"hello\n").hear(b"hello\n");
        assert_eq!(server.stop().aborted, 0);
        assert_eq!(client.hear_end(), b"421 bye\n");
    }
}

#[test]
fn a_request_that_arrived_before_the_shutdown_is_answered() {
    for process in all_models() {
        // A write to a Unix socket has arrived when it returns.
        let dir = TestDir::new();
        let settings = process.timeout(Some(PATIENCE));
        let mut server = settings
            .unix_stream(dir.join("server"), |_: &_| Obedient)
            .unwrap();
        for _ in 0..50 {
            std::thread::scope(|scope| {
                let mut client = Client::connect(server.server_address());
                let handle = server.handle();
                let running = scope.spawn(|| server.serve_forever().unwrap());
                client.say(b"first\n").hear(b"first\n");
                client.say(b"second\n");
                handle.shutdown();
                assert_eq!(client.hear_end(), b"second\n");
                running.join().unwrap();
            });
        }
    }
}

/// Stays within a message: in a read that waits, or in what `Next` asks for.
#[derive(Clone, Copy, Debug)]
enum How {
    Read,
    Wait,
    After,
}

struct Busy(How, Gate);

impl StreamRequestHandler for Busy {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        if request.rfile.is_eof() {
            return Ok(Next::Close);
        }
        self.1.pass();
        match self.0 {
            How::Read => {
                request.rfile.read_until(b'\n', &mut Vec::new())?;
                Ok(Next::Close)
            }
            How::Wait => Ok(Next::Wait),
            How::After => {
                request.rfile.take_all();
                Ok(Next::WaitFor(Wait::new().after(PATIENCE * 2).in_message()))
            }
        }
    }
}

#[test]
fn an_abort_ends_a_request_of_a_blocking_model_at_once() {
    for how in [How::Read, How::Wait, How::After] {
        for is_shut_down in [false, true] {
            for settings in blocking_models() {
                let gate = Gate::default();
                gate.open(1);
                let handlers = gate.clone();
                let class = move |_: &_| Busy(how, handlers.clone());
                let settings = settings.grace(Duration::MAX);
                let server = settings.tcp("127.0.0.1:0", class).unwrap();
                let mut server = Running::start(server);
                let mut client = server.connect();
                client.say(b"half a line");
                gate.wait_entered(1);
                if is_shut_down {
                    server.handle.shutdown();
                }
                server.handle.abort();
                client.hear_end();
                server.join();
                assert_eq!(server.stats().aborted, 1, "{how:?}");
            }
        }
    }
}

#[test]
fn a_datagram_handler_that_waits_for_its_own_server_goes_on() {
    for settings in all_models() {
        let class = |_: &_| {
            |request: &mut DatagramRequest| {
                request.server.shutdown();
                let ended = request.server.wait(Some(PATIENCE * 2));
                request.wfile = ended.to_string().into_bytes();
                Ok(())
            }
        };
        let server = settings.grace(Duration::MAX);
        let mut server = Running::start(server.udp("127.0.0.1:0", class).unwrap());
        Client::datagrams(server.address()).say(b"x").hear(b"false");
        server.join();
    }
}

/// Waits for its own server in the hooks of the serving thread.
#[derive(Clone, Default)]
struct Waiting {
    server: Arc<Mutex<Option<ServerHandle>>>,
    waited: Arc<AtomicUsize>,
}

impl Waiting {
    fn wait(&self) {
        let server = self.server.lock().clone().unwrap();
        server.shutdown();
        let begun = Instant::now();
        assert!(!server.wait(Some(PATIENCE)));
        assert!(begun.elapsed() < PATIENCE / 2, "it waited for itself");
        self.waited.fetch_add(1, Ordering::SeqCst);
    }
}

impl ServerHooks for Waiting {
    fn service_actions(&self) {
        self.wait();
    }

    fn handle_timeout(&self) {
        self.wait();
    }
}

#[test]
fn a_hook_of_the_serving_thread_that_waits_for_its_own_server_goes_on() {
    for settings in all_models() {
        let hooks = Waiting::default();
        let mut server = settings
            .hooks(hooks.clone())
            .timeout(Some(Duration::ZERO))
            .poll_interval(Duration::from_millis(1))
            .tcp("127.0.0.1:0", |_: &_| Obedient)
            .unwrap();
        *hooks.server.lock() = Some(server.handle());
        server.handle_request().unwrap();
        server.serve_forever().unwrap(); // ends the shutdown of the first hook
        let mut running = Running::start(server);
        running.join();
        assert_eq!(hooks.waited.load(Ordering::SeqCst), 2);
    }
}
