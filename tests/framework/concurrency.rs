//! Handlers that reach one another, with the concurrency models that cannot serve them.

use std::net::SocketAddr;

use socketserver::{
    Builder, Error, ForkingMixIn, Forwarder, Listen, ProcessRequest, Request, StreamRequestHandler,
    Synchronous,
};

use crate::subjects::{Recorder, obedient};
use crate::support::{Running, eventually};

fn nobody() -> SocketAddr {
    "127.0.0.1:9".parse().unwrap()
}

/// The line of an error that the combination is not supported.
#[track_caller]
fn refusal<T>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::Unsupported(text)) => text,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it was accepted"),
    }
}

#[test]
fn a_forwarder_is_refused_at_the_start_where_it_cannot_work() {
    let must =
        "handlers that reach one another must be served at the same time in one process, but";
    let advice = "use ThreadingMixIn or ThreadPerRequest";
    for (settings, why) in [
        (
            Builder::new().process(Synchronous),
            "this concurrency model serves one after the other",
        ),
        (
            Builder::new().process(ForkingMixIn::new()),
            "ForkingMixIn serves each in a process of its own",
        ),
    ] {
        let made = settings.tcp("127.0.0.1:0", |_| Forwarder::to(nobody()));
        assert_eq!(refusal(made), format!("{must} {why}: {advice}"));
    }
    let server = obedient(Builder::new().process(Synchronous));
    let class = |_: &_| Forwarder::to(nobody());
    let listening = server.handle.listen("127.0.0.1:0", Listen::new(), class);
    assert!(refusal(listening).ends_with(advice));
}

/// Serves on the accepting thread, and does not say so.
struct Inline;

impl ProcessRequest for Inline {
    fn process_request(&self, request: Request) {
        request.run();
    }
}

#[test]
fn a_forwarder_that_was_not_recognized_fails_with_a_clear_error() {
    for settings in [
        Builder::new().process(Synchronous),
        Builder::new().process(Inline),
    ] {
        let hooks = Recorder::default();
        let settings = settings.hooks(hooks.clone());
        let class = |_: &_| -> Box<dyn StreamRequestHandler> { Box::new(Forwarder::to(nobody())) };
        let server = Running::start(settings.tcp("127.0.0.1:0", class).unwrap());
        assert_eq!(server.connect().hear_end(), b"");
        eventually("the hook hears", || hooks.errors().len() == 1);
        let error = &hooks.errors()[0];
        assert!(error.contains("serves one after the other"), "{error}");
    }
}
