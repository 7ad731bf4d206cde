//! Concurrency models of the user: a panic in any of their methods ends neither the server nor the
//! thread that calls it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use socketserver::{Builder, InFlight, ProcessRequest, Request};

use crate::subjects::{Obedient, Recorder};
use crate::support::Running;

/// Serves synchronously, and panics wherever else it is called.
struct Panicking;

impl ProcessRequest for Panicking {
    fn process_request(&self, request: Request) {
        request.run();
    }

    fn is_full(&self) -> bool {
        panic!("is_full panics")
    }

    fn pending(&self) -> usize {
        panic!("pending panics")
    }

    fn in_flight(&self) -> Vec<InFlight> {
        panic!("in_flight panics")
    }

    fn blocks_on_close(&self) -> bool {
        panic!("blocks_on_close panics")
    }

    fn server_close(&self) {
        panic!("server_close panics")
    }
}

#[test]
fn a_panic_in_a_custom_model_ends_neither_the_server_nor_its_drop() {
    let hooks = Recorder::default();
    let settings = Builder::new().process(Panicking).hooks(hooks.clone());
    let server = settings.tcp("127.0.0.1:0", |_: &_| Obedient).unwrap();
    let mut server = Running::start(server);
    server.connect().say(b"served\n").hear(b"served\n");
    let handle = server.handle.clone();
    let listed = catch_unwind(AssertUnwindSafe(|| handle.in_flight()));
    assert!(listed.is_ok());
    handle.shutdown();
    server.join();
    let errors = hooks.errors().join("\n");
    for method in [
        "is_full",
        "pending",
        "in_flight",
        "blocks_on_close",
        "server_close",
    ] {
        assert!(errors.contains(&format!("{method} panics")), "{errors}");
    }
}
