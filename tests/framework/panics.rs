//! What a panic of the program's own code costs: a connection at most, never `serve_forever`,
//! whatever the concurrency model. Each is counted, and `handle_error` sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use socketserver::{
    Builder, ClientAddress, DatagramRequest, DatagramRequestHandler, Error, Next, ProcessRequest,
    Request, Result, ServerHooks, StreamRequest, StreamRequestHandler, Synchronous,
    ThreadPerRequest, ThreadingMixIn,
};

use crate::support::{Client, Running, eventually};

/// Hooks of which the named ones panic, once each.
#[derive(Clone, Default)]
struct Panicking {
    verify: Arc<AtomicUsize>,
    actions: Arc<AtomicUsize>,
    timeout: Arc<AtomicUsize>,
    errors: Arc<Mutex<Vec<String>>>,
}

impl Panicking {
    fn in_verify_request() -> Panicking {
        let hooks = Panicking::default();
        hooks.verify.store(1, Ordering::SeqCst);
        hooks
    }

    /// True as often as was stored.
    fn is_due(count: &AtomicUsize) -> bool {
        let less = |count: usize| count.checked_sub(1);
        count
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
            .is_ok()
    }

    fn errors(&self) -> Vec<String> {
        self.errors.lock().clone()
    }
}

impl ServerHooks for Panicking {
    fn verify_request(&self, _: &ClientAddress) -> bool {
        assert!(!Panicking::is_due(&self.verify), "verify_request panics");
        true
    }

    fn service_actions(&self) {
        assert!(!Panicking::is_due(&self.actions), "service_actions panics");
    }

    fn handle_timeout(&self) {
        assert!(!Panicking::is_due(&self.timeout), "handle_timeout panics");
    }

    fn handle_error(&self, _: &ClientAddress, error: &Error) {
        self.errors.lock().push(error.to_string());
    }
}

fn models() -> [Builder; 3] {
    [
        Builder::new().process(ThreadingMixIn::new().threads(1).max_threads(1)),
        Builder::new().process(ThreadPerRequest::new()),
        Builder::new().process(Synchronous),
    ]
}

/// Echoes one message; panics when it is dropped, if it is told so.
#[derive(Clone)]
struct Echo {
    panics_in_drop: bool,
}

impl StreamRequestHandler for Echo {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        let bytes = request.rfile.take_all();
        std::io::Write::write_all(&mut request.wfile, bytes)?;
        Ok(Next::Close)
    }
}

impl DatagramRequestHandler for Echo {
    fn handle(&mut self, request: &mut DatagramRequest) -> Result<()> {
        request.reply(request.packet())
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        assert!(!self.panics_in_drop, "drop panics");
    }
}

/// The next client is served, and the one panic is known.
fn assert_survives(server: Running, hooks: &Panicking, panic: &str) {
    eventually("the panic is reported", || !hooks.errors().is_empty());
    assert_eq!(hooks.errors(), [format!("the handler panicked: {panic}")]);
    assert_eq!(server.stop().panics, 1);
}

#[test]
fn a_panic_in_verify_request_costs_one_connection() {
    for settings in models() {
        let hooks = Panicking::in_verify_request();
        let class = |_: &_| Echo {
            panics_in_drop: false,
        };
        let server = settings.hooks(hooks.clone()).tcp("127.0.0.1:0", class);
        let server = Running::start(server.unwrap());
        assert_eq!(server.connect().say(b"x").hear_end(), b"");
        assert_eq!(server.connect().say(b"next").hear_end(), b"next");
        assert_survives(server, &hooks, "verify_request panics");
    }
}

#[test]
fn a_panic_in_the_class_costs_one_connection() {
    for settings in models() {
        let (hooks, made) = (Panicking::default(), AtomicUsize::new(0));
        let class = move |_: &_| {
            assert!(made.fetch_add(1, Ordering::SeqCst) > 0, "the class panics");
            Echo {
                panics_in_drop: false,
            }
        };
        let server = settings.hooks(hooks.clone()).tcp("127.0.0.1:0", class);
        let server = Running::start(server.unwrap());
        assert_eq!(server.connect().say(b"x").hear_end(), b"");
        assert_eq!(server.connect().say(b"next").hear_end(), b"next");
        assert_survives(server, &hooks, "the class panics");
    }
}

#[test]
fn a_panic_in_a_handlers_drop_costs_nothing_more() {
    for settings in models() {
        let (hooks, made) = (Panicking::default(), AtomicUsize::new(0));
        let class = move |_: &_| Echo {
            panics_in_drop: made.fetch_add(1, Ordering::SeqCst) == 0,
        };
        let server = settings.hooks(hooks.clone()).tcp("127.0.0.1:0", class);
        let server = Running::start(server.unwrap());
        server.connect().say(b"x").hear_end();
        assert_eq!(server.connect().say(b"next").hear_end(), b"next");
        assert_survives(server, &hooks, "drop panics");
    }
}

#[test]
fn a_panic_in_a_datagram_handlers_drop_costs_nothing_more() {
    for settings in models() {
        let (hooks, made) = (Panicking::default(), AtomicUsize::new(0));
        let class = move |_: &_| Echo {
            panics_in_drop: made.fetch_add(1, Ordering::SeqCst) == 0,
        };
        let server = settings.hooks(hooks.clone()).udp("127.0.0.1:0", class);
        let server = Running::start(server.unwrap());
        let mut client = Client::datagrams(server.address());
        client.say(b"x").hear(b"x").say(b"next").hear(b"next");
        assert_survives(server, &hooks, "drop panics");
    }
}

#[test]
fn a_panic_in_service_actions_does_not_end_the_server() {
    for settings in models() {
        let hooks = Panicking::default();
        hooks.actions.store(1, Ordering::SeqCst);
        let class = |_: &_| Echo {
            panics_in_drop: false,
        };
        let settings = settings.hooks(hooks.clone());
        let settings = settings.poll_interval(Duration::from_millis(1));
        let server = Running::start(settings.tcp("127.0.0.1:0", class).unwrap());
        eventually("it has panicked", || server.stats().panics == 1);
        assert_eq!(server.connect().say(b"next").hear_end(), b"next");
        assert_survives(server, &hooks, "service_actions panics");
    }
}

#[test]
fn a_panic_in_handle_timeout_leaves_handle_request_to_return() {
    for settings in models() {
        let hooks = Panicking::default();
        hooks.timeout.store(1, Ordering::SeqCst);
        let settings = settings.hooks(hooks.clone());
        let settings = settings.timeout(Some(Duration::from_millis(1)));
        let class = |_: &_| Echo {
            panics_in_drop: false,
        };
        let mut server = settings.tcp("127.0.0.1:0", class).unwrap();
        server.handle_request().unwrap();
        assert_eq!(
            hooks.errors(),
            ["the handler panicked: handle_timeout panics"]
        );
    }
}

/// A concurrency model of one's own that panics for the first request.
struct PanickingModel(AtomicUsize);

impl ProcessRequest for PanickingModel {
    fn process_request(&self, request: Request) {
        assert!(
            self.0.fetch_add(1, Ordering::SeqCst) > 0,
            "the model panics"
        );
        request.run();
    }
}

#[test]
fn a_panic_in_a_concurrency_model_costs_one_connection() {
    let hooks = Panicking::default();
    let class = |_: &_| Echo {
        panics_in_drop: false,
    };
    let server = Builder::new()
        .process(PanickingModel(AtomicUsize::new(0)))
        .hooks(hooks.clone())
        .tcp("127.0.0.1:0", class)
        .unwrap();
    let server = Running::start(server);
    assert_eq!(server.connect().say(b"x").hear_end(), b"");
    assert_eq!(server.connect().say(b"next").hear_end(), b"next");
    assert_survives(server, &hooks, "the model panics");
}

#[test]
fn a_panic_in_handle_refusal_loses_no_other_client() {
    #[derive(Clone, Default)]
    struct Refusing;
    impl ServerHooks for Refusing {
        fn handle_refusal(&self, _: &ClientAddress, _: socketserver::Refusal) -> Option<&[u8]> {
            panic!("handle_refusal panics")
        }
    }
    for settings in models() {
        let class = |_: &_| Echo {
            panics_in_drop: false,
        };
        let server = settings.hooks(Refusing).max_connections(0);
        let server = Running::start(server.tcp("127.0.0.1:0", class).unwrap());
        for _ in 0..3 {
            assert_eq!(server.connect().hear_end(), b"");
        }
        assert_eq!(server.stop().panics, 3);
    }
}
