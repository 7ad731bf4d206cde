//! What a shutdown means for the connections and handlers of each concurrency model.

use std::io::Write;

use socketserver::{
    Builder, Next, Result, StreamRequest, StreamRequestHandler, Synchronous, ThreadPerRequest,
    ThreadingMixIn,
};

use crate::subjects::Obedient;
use crate::support::{Client, PATIENCE, Running, TestDir};

fn all_models() -> [Builder; 3] {
    [
        Builder::new().process(ThreadingMixIn::new()),
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
    for process in [
        Builder::new().process(ThreadPerRequest::new()),
        Builder::new().process(Synchronous),
    ] {
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
