//! Nothing is left behind: no descriptor, no thread. Each test has a process of its own, to count
//! them.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex, mpsc};

use rustix::process::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};
use socketserver::{
    AddressFamily, Builder, Error, Next, StreamRequest, Synchronous, ThreadPerRequest,
    ThreadingMixIn,
};

use crate::subjects::Obedient;
use crate::support::{PATIENCE, Running, alone, descriptors, eventually, threads};

fn serve(settings: Builder) -> Running {
    Running::start(settings.tcp("127.0.0.1:0", |_: &_| Obedient).unwrap())
}

#[test]
fn a_thousand_resets_leave_no_descriptor_and_no_thread_behind() {
    alone(|| {
        let answer: Arc<[u8]> = vec![b'x'; 1 << 20].into();
        let class = move |_: &_| {
            let answer = answer.clone();
            move |request: &mut StreamRequest| {
                match request.rfile.buffer() {
                    b"begun" => {}
                    _ => {
                        request.rfile.take_all();
                        request.wfile.send_shared(answer.clone(), 0..answer.len())?;
                    }
                }
                Ok(Next::Wait)
            }
        };
        let pool = ThreadingMixIn::new().threads(4).max_threads(4);
        let server = Running::start(
            Builder::new()
                .process(pool)
                .tcp("127.0.0.1:0", class)
                .unwrap(),
        );
        server.connect().say(b"warm").hear(b"x");
        eventually("the first has gone", || server.stats().open == 0);
        let before = (descriptors(), threads());
        for round in 0..1000 {
            let mut client = server.connect();
            match round % 4 {
                0 => {}
                1 => _ = client.say(b"begun"),
                2 => _ = client.say(b"give"),
                _ => _ = client.say(b"give").hear(b"x"),
            }
            client.reset();
        }
        eventually("all have gone", || {
            server.stats().accepted == 1001 && server.stats().open == 0
        });
        // The first one's socket may have been counted just before it closed.
        eventually("nothing is left", || {
            descriptors() <= before.0 && threads() <= before.1
        });
    });
}

#[test]
fn a_server_that_has_ended_leaves_nothing_behind() {
    alone(|| {
        let round = || {
            for settings in [
                Builder::new().process(ThreadingMixIn::new()),
                Builder::new().process(ThreadPerRequest::new()),
                Builder::new().process(Synchronous),
            ] {
                let server = serve(settings);
                let mut client = server.connect();
                client.say(b"hello\n").hear(b"hello\n");
                server.stop();
                assert_eq!(client.hear_end(), b"");
            }
        };
        let before = (descriptors(), threads());
        (0..20).for_each(|_| round());
        eventually("nothing is left", || (descriptors(), threads()) == before);
    });
}

#[test]
fn a_bind_that_fails_leaves_no_descriptor_behind() {
    alone(|| {
        let holder = Builder::new().tcp("127.0.0.1:0", |_: &_| Obedient).unwrap();
        let address = holder.server_address().to_string();
        let before = descriptors();
        for _ in 0..50 {
            let refused = Builder::new().tcp(&address, |_: &_| Obedient);
            assert!(matches!(refused, Err(Error::Bind { .. })));
            let other_family = Builder::new()
                .address_family(AddressFamily::V6)
                .tcp(&address, |_: &_| Obedient);
            assert!(matches!(other_family, Err(Error::Bind { .. })));
        }
        assert_eq!(descriptors(), before);
    });
}

/// Passes the lines of the log on.
struct Tell(Mutex<mpsc::Sender<String>>);

impl log::Log for Tell {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        let _ = self.0.lock().unwrap().send(record.args().to_string());
    }
    fn flush(&self) {}
}

#[test]
fn a_server_without_descriptors_goes_on_when_it_has_some_again() {
    alone(|| {
        let (tell, lines) = mpsc::channel();
        log::set_logger(Box::leak(Box::new(Tell(Mutex::new(tell))))).unwrap();
        log::set_max_level(log::LevelFilter::Warn);
        for settings in [
            Builder::new(),
            Builder::new().process(ThreadPerRequest::new()),
        ] {
            let server = serve(settings);
            server.connect().say(b"before\n").hear(b"before\n");
            let enough = getrlimit(Resource::Nofile);
            let mut none = enough;
            // Those that are open stay open; no number below 3 is free for another.
            none.current = Some(3);
            let connecting = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            let address = server.address().inet().unwrap();
            setrlimit(Resource::Nofile, none).unwrap();
            connecting
                .connect_timeout(&address.into(), PATIENCE)
                .unwrap();
            for _ in 0..3 {
                let line = lines
                    .recv_timeout(PATIENCE)
                    .expect("the accept fails, again and again");
                assert!(
                    line.contains("accept: ") && line.contains("trying again in"),
                    "{line}"
                );
            }
            setrlimit(Resource::Nofile, enough).unwrap();
            connecting.set_read_timeout(Some(PATIENCE)).unwrap();
            (&connecting).write_all(b"late\n").unwrap();
            let mut answer = [0; 5];
            (&connecting).read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"late\n");
            server.connect().say(b"after\n").hear(b"after\n");
        }
    });
}
