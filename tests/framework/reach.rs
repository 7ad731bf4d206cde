//! Connections that are reached from outside: wakers, mailboxes, outboxes.

use std::io::Write;
use std::sync::mpsc::{self, TrySendError};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use socketserver::testing::{TestConnection, TestServer};
use socketserver::{
    Builder, ClientAddress, Error, Mailbox, MailboxSender, Next, Outbox, Result, StreamRequest,
    StreamRequestHandler, ThreadPerRequest, Wait, Waker,
};

use crate::subjects::{Recorder, all_models};
use crate::support::{Gate, PATIENCE, Running};

/// Without sockets' sizes: small enough for a slow reader to fill it soon.
pub(crate) const CAPACITY: usize = 64 * 1024;

/// Hands out its waker and outbox, and says why it was called.
#[derive(Clone)]
pub(crate) struct Reachable {
    announce: mpsc::Sender<(Waker, Outbox)>,
    in_message: bool,
}

impl Reachable {
    pub(crate) fn class() -> (impl Fn(&ClientAddress) -> Reachable + Clone, Reached) {
        let (announce, reached) = mpsc::channel();
        let handler = Reachable {
            announce,
            in_message: false,
        };
        (move |_: &ClientAddress| handler.clone(), Reached(reached))
    }
}

pub(crate) struct Reached(mpsc::Receiver<(Waker, Outbox)>);

impl Reached {
    pub(crate) fn next(&self) -> (Waker, Outbox) {
        self.0.recv_timeout(PATIENCE).unwrap()
    }
}

impl StreamRequestHandler for Reachable {
    fn setup(&mut self, request: &mut StreamRequest) -> Result<()> {
        let reach = (request.waker(), request.outbox(CAPACITY));
        self.announce.send(reach).unwrap();
        Ok(())
    }

    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        let cause = request.cause();
        if cause.is_woken() {
            request.wfile.write_all(b"woken\n")?;
        }
        if cause.is_due() {
            request.wfile.write_all(b"due\n")?;
        }
        if cause.is_shutdown() && self.in_message {
            request.wfile.write_all(b"shutdown\n")?;
            return Ok(Next::Close);
        }
        if request.rfile.is_eof() {
            return Ok(Next::Close);
        }
        match request.rfile.take_all() {
            b"message\n" => {
                self.in_message = true;
                request.wfile.write_all(b"begun\n")?;
            }
            b"later\n" => return Ok(Next::after(Duration::from_millis(20))),
            line => {
                let line = line.to_vec();
                request.wfile.write_all(&line)?;
            }
        }
        Ok(if self.in_message {
            Wait::new().in_message().into()
        } else {
            Next::Wait
        })
    }

    fn finish(&mut self, request: &mut StreamRequest) -> Result<()> {
        Ok(request.wfile.write_all(b"bye\n")?)
    }
}

#[test]
fn a_wake_has_the_handler_of_a_parked_connection_called() {
    for settings in all_models() {
        let (class, reached) = Reachable::class();
        let server = Running::start(settings.tcp("127.0.0.1:0", class).unwrap());
        let mut client = server.connect();
        let (waker, _) = reached.next();
        client.say(b"hello\n").hear(b"hello\n");
        for _ in 0..100 {
            waker.wake();
            client.hear(b"woken\n");
        }
        client.say(b"later\n").hear(b"due\n");
        assert!(!waker.is_closed());
        drop(client);
        crate::support::eventually("the waker knows the end", || waker.is_closed());
        waker.wake();
        assert_eq!(server.stop().failed, 0);
    }
}

#[test]
fn wakes_from_many_threads_are_neither_lost_nor_more_than_they_were() {
    const THREADS: usize = 8;
    const WAKES: usize = 2000;
    for settings in all_models() {
        let (class, reached) = Reachable::class();
        let server = Running::start(settings.tcp("127.0.0.1:0", class).unwrap());
        let mut client = server.connect();
        let (waker, _) = reached.next();
        let together = Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    together.wait();
                    for _ in 0..WAKES {
                        waker.wake();
                    }
                });
            }
        });
        // Each thread's last wake was answered, and then this one.
        client.hear(b"woken\n");
        waker.close("the test is over");
        let rest = client.hear_end();
        let woken = rest.strip_suffix(b"bye\n").unwrap().len() / b"woken\n".len();
        assert!(woken < THREADS * WAKES, "{woken} calls");
    }
}

#[test]
fn a_connection_that_is_closed_from_outside_finishes_and_a_hook_hears_why() {
    for settings in all_models() {
        let hooks = Recorder::default();
        let (class, reached) = Reachable::class();
        let settings = settings.hooks(hooks.clone());
        let server = Running::start(settings.tcp("127.0.0.1:0", class).unwrap());
        let mut client = server.connect();
        let (waker, outbox) = reached.next();
        client.say(b"hello\n").hear(b"hello\n");
        waker.close("kicked by the test");
        assert_eq!(client.hear_end(), b"bye\n");
        drop(client);
        crate::support::eventually("the end", || outbox.is_closed());
        assert!(matches!(
            outbox.try_send(*b"late"),
            Err(TrySendError::Disconnected(bytes)) if *bytes == *b"late"
        ));
        assert_eq!(server.stop().failed, 0);
        assert_eq!(hooks.errors(), ["closed: kicked by the test"]);
    }
}

#[test]
fn bytes_in_an_outbox_are_sent_in_order_without_a_call_of_the_handler() {
    for settings in all_models() {
        let (class, reached) = Reachable::class();
        let server = Running::start(settings.tcp("127.0.0.1:0", class).unwrap());
        let mut client = server.connect();
        let (_, outbox) = reached.next();
        let mut expected = Vec::new();
        for number in 0..1000 {
            let line = format!("{number}\n").into_bytes();
            expected.extend_from_slice(&line);
            outbox.try_send(line).unwrap();
        }
        client.hear(&expected);
        let large: Arc<[u8]> = vec![7; CAPACITY].into();
        crate::support::eventually("the outbox is empty", || outbox.bytes_unsent() == 0);
        outbox.try_send(Arc::clone(&large)).unwrap();
        client.hear(&large);
        assert_eq!(server.stats().handled, 0);
    }
}

#[test]
fn an_outbox_is_bounded_and_the_sender_learns_of_it() {
    let (class, reached) = Reachable::class();
    let mut client = TestConnection::new(Builder::new(), class);
    let (_, outbox) = reached.next();
    client.take_only(0);
    let piece: Arc<[u8]> = vec![1; 1024].into();
    let mut sent = 0;
    let refused = loop {
        match outbox.try_send(Arc::clone(&piece)) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        client.is_closed(); // serves what was left
    };
    assert!(matches!(refused, TrySendError::Full(bytes) if Arc::ptr_eq(&bytes, &piece)));
    assert!(outbox.bytes_unsent() <= CAPACITY);
    client.take_only(usize::MAX);
    assert_eq!(client.received().len(), sent * 1024);
    outbox.try_send(*b"again").unwrap();
    assert_eq!(client.received(), b"again");
}

#[test]
fn what_is_in_the_outbox_at_the_end_is_still_sent() {
    let (class, reached) = Reachable::class();
    let mut client = TestConnection::new(Builder::new(), class);
    let (waker, outbox) = reached.next();
    outbox.try_send(*b"last words\n").unwrap();
    waker.close("over");
    assert_eq!(client.received(), b"last words\nbye\n");
    assert!(client.is_closed());
}

#[test]
fn a_wake_waits_until_the_peer_has_taken_the_output() {
    let (class, reached) = Reachable::class();
    let mut client = TestConnection::new(Builder::new(), class);
    let (waker, _) = reached.next();
    client.take_only(3).send(b"hello\n");
    waker.wake();
    assert_eq!(client.received(), b"hel");
    client.take_only(100);
    assert_eq!(client.received(), b"lo\nwoken\n");
}

#[test]
fn what_others_send_begins_the_idle_time_anew() {
    const SECOND: Duration = Duration::from_secs(1);
    let (class, reached) = Reachable::class();
    let settings = Builder::new().idle_timeout(Some(10 * SECOND));
    let mut client = TestConnection::new(settings, class);
    let (_, outbox) = reached.next();
    for _ in 0..5 {
        client.advance(9 * SECOND);
        outbox.try_send(*b"news").unwrap();
        assert_eq!(client.received(), b"news");
    }
    client.advance(10 * SECOND);
    assert!(client.is_closed());
}

#[test]
fn a_wake_of_a_handler_that_runs_causes_another_call() {
    struct Slow(mpsc::Sender<Waker>, Gate);
    impl StreamRequestHandler for Slow {
        fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
            if request.cause().is_woken() {
                request.wfile.write_all(b"woken\n")?;
                return Ok(Next::Close);
            }
            request.rfile.take_all();
            self.0.send(request.waker()).unwrap();
            self.1.pass();
            Ok(Next::Wait)
        }
    }
    for settings in all_models() {
        let (announce, wakers) = mpsc::channel();
        let gate = Gate::default();
        let open = gate.clone();
        let class = move |_: &_| Slow(announce.clone(), gate.clone());
        let server = Running::start(settings.tcp("127.0.0.1:0", class).unwrap());
        let mut client = server.connect();
        client.say(b"go");
        let waker = wakers.recv_timeout(PATIENCE).unwrap();
        waker.wake();
        open.open(1);
        client.hear(b"woken\n");
        assert_eq!(client.hear_end(), b"");
    }
}

#[test]
fn a_handler_within_a_message_is_told_of_a_shutdown() {
    for settings in all_models() {
        let (class, reached) = Reachable::class();
        let settings = settings.timeout(Some(PATIENCE));
        let server = Running::start(settings.tcp("127.0.0.1:0", class).unwrap());
        let mut client = server.connect();
        let _reach = reached.next();
        client.say(b"message\n").hear(b"begun\n");
        assert_eq!(server.stop().aborted, 0);
        assert_eq!(client.hear_end(), b"shutdown\nbye\n");
    }
}

/// Sends what its mailbox gets, a line for each value.
struct Printer {
    announce: mpsc::Sender<MailboxSender<u32>>,
    mailbox: Option<Mailbox<u32>>,
}

impl StreamRequestHandler for Printer {
    fn setup(&mut self, request: &mut StreamRequest) -> Result<()> {
        let (sender, mailbox) = request.mailbox(2);
        self.announce.send(sender).unwrap();
        self.mailbox = Some(mailbox);
        Ok(())
    }

    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        let mailbox = self.mailbox.as_ref().unwrap();
        while let Some(value) = mailbox.take() {
            writeln!(request.wfile, "{value}")?;
        }
        Ok(if request.rfile.is_eof() {
            Next::Close
        } else {
            Next::Wait
        })
    }
}

#[test]
fn values_reach_the_handler_in_order_and_a_full_mailbox_says_so() {
    let (announce, senders) = mpsc::channel();
    let class = move |_: &_| Printer {
        announce: announce.clone(),
        mailbox: None,
    };
    let mut client = TestConnection::new(Builder::new(), class);
    let sender = senders.recv().unwrap();
    sender.try_send(1).unwrap();
    sender.try_send(2).unwrap();
    assert_eq!(sender.try_send(3), Err(TrySendError::Full(3)));
    assert_eq!(client.received(), b"1\n2\n");
    sender.try_send(4).unwrap();
    assert_eq!(client.received(), b"4\n");
    client.finish();
    assert!(client.is_closed());
    assert!(sender.is_closed());
    assert_eq!(sender.try_send(5), Err(TrySendError::Disconnected(5)));
}

#[test]
fn a_flood_of_output_from_others_holds_up_neither_input_nor_a_wake_nor_a_shutdown() {
    for settings in all_models() {
        let (class, reached) = Reachable::class();
        let settings = settings.timeout(Some(PATIENCE));
        let server = Running::start(settings.tcp("127.0.0.1:0", class).unwrap());
        let mut client = server.connect();
        let (waker, outbox) = reached.next();
        let is_over = std::sync::atomic::AtomicBool::new(false);
        let order = std::sync::atomic::Ordering::SeqCst;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let piece: Arc<[u8]> = vec![b'.'; 4096].into();
                while !is_over.load(order) && !outbox.is_closed() {
                    let _ = outbox.try_send(Arc::clone(&piece));
                }
            });
            // Reads everything, and waits for these words among it.
            let mut expect = |words: &[u8]| {
                let mut heard = Vec::new();
                let mut piece = vec![0; 64 * 1024];
                while !heard.windows(words.len()).any(|found| found == words) {
                    let count = std::io::Read::read(&mut client.socket, &mut piece).unwrap();
                    assert!(count > 0, "the end came before {words:?}");
                    heard.drain(..heard.len().saturating_sub(words.len()));
                    heard.extend_from_slice(&piece[..count]);
                }
            };
            waker.wake();
            expect(b"woken\n");
            server.handle.shutdown();
            expect(b"bye\n");
            is_over.store(true, order);
        });
        assert_eq!(server.stop().aborted, 0);
    }
}

#[test]
fn a_slow_reader_of_others_output_is_still_heard() {
    let (class, reached) = Reachable::class();
    let mut client = TestConnection::new(Builder::new(), class);
    let (waker, outbox) = reached.next();
    client.take_only(10);
    outbox.try_send(vec![b'.'; 100]).unwrap();
    client.send(b"quick\n");
    waker.wake();
    assert_eq!(client.received(), b"..........");
    client.take_only(usize::MAX);
    let rest = [&[b'.'; 90][..], b"quick\n", b"woken\n"].concat();
    assert_eq!(client.received(), rest);
}

#[test]
fn a_handle_that_is_kept_keeps_no_descriptor() {
    crate::support::alone(|| {
        let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let (class, reached) = Reachable::class();
        let settings = Builder::new().process(ThreadPerRequest::new());
        let server = Running::start(settings.tcp("127.0.0.1:0", class).unwrap());
        let serve_one = || {
            let mut client = server.connect();
            client.say(b"hello\n").hear(b"hello\n");
            drop(client);
            crate::support::eventually("it is over", || server.stats().open == 0);
            reached.next()
        };
        let first = serve_one();
        let before = descriptors();
        let kept: Vec<_> = (0..20).map(|_| serve_one()).collect();
        assert!(descriptors() < before + 5, "{} of them", descriptors());
        drop((first, kept));
    });
}

#[test]
fn the_clock_of_a_test_goes_on_after_its_connections_are_gone() {
    let (class, _reached) = Reachable::class();
    let server = TestServer::new(Builder::new(), class);
    drop(server.connect());
    let mut client = server.connect();
    server.advance(Duration::from_secs(3600));
    assert!(client.is_closed());
    let other = server.connect();
    server.shutdown();
    server.advance(Duration::from_secs(3600));
    assert!(other.is_closed());
    assert_eq!(client.received(), b"bye\n");
}

#[test]
fn an_error_from_outside_keeps_its_reason() {
    let error = Error::Closed("maintenance".into());
    assert_eq!(error.to_string(), "closed: maintenance");
    assert!(!error.is_disconnect());
}

#[test]
fn an_abort_drops_what_a_slow_reader_has_not_taken() {
    const LENGTH: usize = 64 << 20;
    for settings in all_models() {
        let (announce, wakers) = mpsc::channel();
        let handler = move |request: &mut StreamRequest| {
            request.rfile.take_all();
            request
                .wfile
                .send_shared(vec![0; LENGTH].into(), 0..LENGTH)?;
            announce.send(request.waker()).unwrap();
            Ok(Next::Wait)
        };
        let class = move |_: &ClientAddress| handler.clone();
        let server = Running::start(settings.tcp("127.0.0.1:0", class).unwrap());
        let mut client = server.connect();
        client.say(b"send\n").hear(&[0; 1000]);
        let waker = wakers.recv_timeout(PATIENCE).unwrap();
        waker.abort("enough");
        crate::support::eventually("it ends", || waker.is_closed());
        let received = client.hear_end().len();
        assert!(received < LENGTH - 1000, "{received}");
    }
}
