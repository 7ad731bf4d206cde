//! The ends of what reaches a connection: the last bytes of an outbox, handles of a connection that
//! is over, room that comes back, groups that are closed.

use std::io::Write;
use std::sync::mpsc::{self, TrySendError};

use socketserver::testing::{TestConnection, TestServer};
use socketserver::{
    Builder, Group, Mailbox, MailboxSender, Next, Outbox, Result, StreamRequest,
    StreamRequestHandler, Waker,
};

use crate::reach::{CAPACITY, Reachable};
use crate::subjects::{Recorder, all_models};
use crate::support::{Gate, Running, eventually};

#[test]
fn the_last_bytes_of_an_outbox_have_room_and_nothing_follows_them() {
    let (class, reached) = Reachable::class();
    let mut client = TestConnection::new(Builder::new(), class);
    let (waker, outbox) = reached.next();
    client.take_only(0);
    outbox.try_send(vec![b'.'; CAPACITY]).unwrap();
    assert!(matches!(
        outbox.try_send(*b"more"),
        Err(TrySendError::Full(_))
    ));
    assert!(!outbox.is_closed() && !outbox.has_last_bytes());
    assert!(outbox.close_with(*b"last"));
    assert!(outbox.is_closed() && outbox.has_last_bytes());
    assert!(!outbox.close_with(*b"again"));
    let late = outbox.try_send(*b"late");
    assert!(matches!(late, Err(TrySendError::Disconnected(bytes)) if *bytes == *b"late"));
    let room = Group::new();
    room.join(&outbox);
    assert_eq!(room.broadcast(*b"late").delivered, 0);
    client.take_only(usize::MAX);
    let sent = client.received();
    assert_eq!(
        (sent.len(), &sent[CAPACITY..]),
        (CAPACITY + 4, &b"last"[..])
    );
    // The connection itself goes on.
    assert!(!waker.is_closed());
    client.send(b"hello\n");
    assert_eq!(client.received(), b"hello\n");
}

#[test]
fn the_servers_side_can_end_behind_the_outbox() {
    let (class, reached) = Reachable::class();
    let mut client = TestConnection::new(Builder::new(), class);
    let (waker, outbox) = reached.next();
    outbox.try_send(*b"last words\n").unwrap();
    outbox.shutdown_write();
    assert!(client.is_closed());
    assert_eq!(client.received(), b"last words\n");
    assert!(outbox.is_closed());
    assert!(!waker.is_closed(), "the client may go on sending");
    client.finish();
    assert!(waker.is_closed());
}

#[test]
fn the_servers_side_can_end_though_the_client_has_gone() {
    for settings in all_models() {
        let gate = Gate::default();
        let inside = gate.clone();
        let class = move |_: &_| {
            let gate = inside.clone();
            move |request: &mut StreamRequest| {
                request.rfile.take_all();
                gate.pass();
                request.outbox(100).shutdown_write();
                Ok(Next::Wait)
            }
        };
        let server = Running::start(settings.tcp("127.0.0.1:0", class).unwrap());
        let mut client = server.connect();
        client.say(b"go");
        gate.wait_entered(1);
        client.reset();
        gate.open(2);
        eventually("it is over", || server.stats().open == 0);
        assert_eq!(server.stop().failed, 0);
    }
}

/// Takes its handles in `finish`, when it is too late.
struct Late(mpsc::Sender<(Waker, Outbox, MailboxSender<u8>)>);

impl StreamRequestHandler for Late {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        request.rfile.take_all();
        Ok(Next::Close)
    }

    fn finish(&mut self, request: &mut StreamRequest) -> Result<()> {
        let (sender, mailbox) = request.mailbox(1);
        std::mem::forget(mailbox); // only the connection ends
        let handles = (request.waker(), request.outbox(100), sender);
        assert!(handles.1.try_send(*b"too late").is_err());
        self.0.send(handles).unwrap();
        Ok(request.wfile.write_all(b"bye")?)
    }
}

#[test]
fn handles_that_are_taken_in_finish_know_that_the_connection_is_over() {
    let (tell, handles) = mpsc::channel();
    let class = move |_: &_| Late(tell.clone());
    let mut client = TestConnection::new(Builder::new(), class);
    client.take_only(1).send(b"go");
    // The output of `finish` is on its way: the session lives.
    let (waker, outbox, sender) = handles.recv().unwrap();
    assert!(waker.is_closed() && outbox.is_closed() && sender.is_closed());
    assert_eq!(sender.try_send(1), Err(TrySendError::Disconnected(1)));
    client.take_only(usize::MAX);
    assert_eq!(client.received(), b"bye");
}

#[test]
fn handles_of_a_connection_whose_setup_failed_know_it_before_its_output_is_sent() {
    struct Failing(mpsc::Sender<Waker>);
    impl StreamRequestHandler for Failing {
        fn setup(&mut self, request: &mut StreamRequest) -> Result<()> {
            self.0.send(request.waker()).unwrap();
            request.wfile.write_all(b"no")?;
            Err(socketserver::Error::Protocol("told to fail".to_owned()))
        }

        fn handle(&mut self, _: &mut StreamRequest) -> Result<Next> {
            Ok(Next::Close)
        }
    }
    let (tell, wakers) = mpsc::channel();
    let class = move |_: &_| Failing(tell.clone());
    let mut client = TestConnection::new(Builder::new(), class);
    assert!(wakers.recv().unwrap().is_closed());
    assert_eq!(client.received(), b"no");
}

#[test]
fn a_handler_that_only_says_what_it_does_hears_of_no_shutdown() {
    for is_reachable in [false, true] {
        let handler = move |request: &mut StreamRequest| {
            request.rfile.take_all();
            request.set_doing("counting");
            if is_reachable {
                request.waker();
            }
            let is_shutdown = request.cause().is_shutdown();
            writeln!(request.wfile, "{is_shutdown}")?;
            Ok(Next::in_message())
        };
        let mut client = TestConnection::new(Builder::new(), move |_| handler);
        client.send(b"go");
        assert_eq!(client.received(), b"false\n");
        client.shutdown();
        let expected: &[u8] = if is_reachable { b"true\n" } else { b"" };
        assert_eq!(client.received(), expected);
    }
}

/// Says when it is woken, and hands its waker out.
struct Woken(mpsc::Sender<Waker>);

impl StreamRequestHandler for Woken {
    fn setup(&mut self, request: &mut StreamRequest) -> Result<()> {
        self.0.send(request.waker()).unwrap();
        Ok(())
    }

    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        request.rfile.take_all();
        if request.cause().is_woken() {
            request.wfile.write_all(b"woken\n")?;
        }
        Ok(Next::Wait)
    }
}

/// Takes one value for each byte that its client sends.
struct Taker(mpsc::Sender<MailboxSender<u32>>, Option<Mailbox<u32>>);

impl StreamRequestHandler for Taker {
    fn setup(&mut self, request: &mut StreamRequest) -> Result<()> {
        let (sender, mailbox) = request.mailbox(2);
        self.0.send(sender).unwrap();
        self.1 = Some(mailbox);
        Ok(())
    }

    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        for _ in request.rfile.take_all() {
            self.1.as_ref().and_then(Mailbox::take);
        }
        Ok(Next::Wait)
    }
}

#[test]
fn a_sender_is_woken_when_a_mailbox_has_room_again_or_is_gone() {
    let (tell, senders) = mpsc::channel();
    let class = move |_: &_| Taker(tell.clone(), None);
    let mut taker = TestConnection::new(Builder::new(), class);
    let sender = senders.recv().unwrap();
    let (tell, wakers) = mpsc::channel();
    let class = move |_: &_| Woken(tell.clone());
    let mut waiting = TestConnection::new(Builder::new(), class);
    let waker = wakers.recv().unwrap();

    sender.wake_when_room(&waker);
    assert_eq!(waiting.received(), b"woken\n", "there is room");
    sender.try_send(1).unwrap();
    sender.try_send(2).unwrap();
    taker.received();
    assert_eq!(sender.try_send(3), Err(TrySendError::Full(3)));
    sender.wake_when_room(&waker);
    sender.wake_when_room(&waker);
    assert_eq!(waiting.received(), b"");
    taker.send(b"x");
    assert_eq!(waiting.received(), b"woken\n");
    sender.try_send(3).unwrap();
    taker.send(b"x");
    assert_eq!(waiting.received(), b"", "one wait is one wake");
    sender.try_send(4).unwrap();
    sender.wake_when_room(&waker);
    assert_eq!(waiting.received(), b"");
    taker.finish();
    assert_eq!(waiting.received(), b"woken\n");
    sender.wake_when_room(&waker);
    assert_eq!(waiting.received(), b"woken\n");
}

#[test]
fn a_group_that_is_closed_ends_its_members_and_can_be_used_again() {
    let hooks = Recorder::default();
    let (class, reached) = Reachable::class();
    let server = TestServer::new(Builder::new().hooks(hooks.clone()), class);
    let room = Group::new();
    let mut members = [(); 3].map(|()| {
        let client = server.connect();
        let (_, outbox) = reached.next();
        room.join(&outbox);
        client
    });
    let mut other = server.connect();
    let (_, outbox) = reached.next();
    members[2].finish();
    room.broadcast(*b"last\n");
    assert_eq!(room.close("the room closes"), 2);
    for client in &mut members[..2] {
        assert_eq!(client.received(), b"last\nbye\n");
        assert!(client.is_closed());
    }
    assert_eq!(hooks.errors(), ["closed: the room closes"; 2]);
    assert!(room.is_empty());
    room.join(&outbox);
    assert_eq!(room.broadcast(*b"again\n").delivered, 1);
    assert_eq!(other.received(), b"again\n");
    room.leave(&outbox);
    room.join(&outbox);
    assert_eq!(room.len(), 1);
}
