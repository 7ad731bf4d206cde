//! Groups: messages that many connections get.

use std::io::Write;
use std::sync::Arc;

use socketserver::testing::TestServer;
use socketserver::{
    Builder, Group, Next, Refusal, Result, SlowMembers, StreamRequest, StreamRequestHandler,
    ThreadPerRequest, ThreadingMixIn,
};

use crate::reach::{CAPACITY, Reachable};
use crate::subjects::Recorder;
use crate::support::{Gate, Running, eventually};

/// A chat: what one says, all hear.
struct Chat(Group);

impl StreamRequestHandler for Chat {
    fn setup(&mut self, request: &mut StreamRequest) -> Result<()> {
        self.0.join(&request.outbox(CAPACITY));
        Ok(())
    }

    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        while let Some(line) = request.rfile.take_line(1024)? {
            self.0.broadcast(line);
        }
        Ok(if request.rfile.is_eof() {
            Next::Close
        } else {
            Next::Wait
        })
    }
}

#[test]
fn all_members_of_a_group_hear_the_same_in_the_same_order() {
    const MEMBERS: usize = 20;
    const LINES: usize = 50;
    for settings in [
        Builder::new().process(ThreadingMixIn::new()),
        Builder::new().process(ThreadPerRequest::new()),
    ] {
        let room = Group::new();
        let chat = room.clone();
        let class = move |_: &_| Chat(chat.clone());
        let server = Running::start(settings.tcp("127.0.0.1:0", class).unwrap());
        let mut clients: Vec<_> = (0..MEMBERS).map(|_| server.connect()).collect();
        eventually("all have joined", || room.len() == MEMBERS);
        let heard: Vec<Vec<u8>> = std::thread::scope(|scope| {
            let talks: Vec<_> = clients
                .iter_mut()
                .enumerate()
                .map(|(number, client)| {
                    scope.spawn(move || {
                        for line in 0..LINES {
                            client.say(format!("{number:02} {line:02}\n").as_bytes());
                        }
                        let mut heard = vec![0; MEMBERS * LINES * b"00 00\n".len()];
                        std::io::Read::read_exact(&mut client.socket, &mut heard).unwrap();
                        heard
                    })
                })
                .collect();
            talks.into_iter().map(|talk| talk.join().unwrap()).collect()
        });
        for other in &heard[1..] {
            assert!(other == &heard[0], "two members heard different things");
        }
        drop(clients);
        eventually("all have left", || room.is_empty());
    }
}

#[test]
fn a_slow_member_misses_messages_or_is_closed_and_holds_up_nobody() {
    for rule in [SlowMembers::Skip, SlowMembers::Close] {
        let hooks = Recorder::default();
        let room = Group::with_slow_members(rule);
        let chat = room.clone();
        let settings = Builder::new().hooks(hooks.clone());
        let server = TestServer::new(settings, move |_: &_| Chat(chat.clone()));
        let (mut quick, mut slow) = (server.connect(), server.connect());
        slow.take_only(0);
        let message: Arc<[u8]> = vec![1; CAPACITY / 4].into();
        let mut found = Vec::new();
        for _ in 0..10 {
            found.push(room.broadcast(Arc::clone(&message)));
            assert_eq!(quick.received().len(), message.len());
        }
        assert_eq!(found[0].delivered, 2);
        let missed: usize = found.iter().map(|broadcast| broadcast.slow).sum();
        if rule == SlowMembers::Skip {
            assert!(missed > 1);
            assert_eq!(room.len(), 2);
            slow.take_only(usize::MAX);
            assert_eq!(slow.received().len(), (10 - missed) * message.len());
        } else {
            assert_eq!(missed, 1);
            assert_eq!(room.len(), 1);
            slow.take_only(usize::MAX);
            assert!(slow.is_closed());
            assert_eq!(hooks.errors(), ["closed: it reads too slowly"]);
        }
    }
}

#[test]
fn a_member_can_leave_and_a_sender_can_be_left_out() {
    let (class, reached) = Reachable::class();
    let server = TestServer::new(Builder::new(), class);
    let (mut alice, mut bob) = (server.connect(), server.connect());
    let ((_, to_alice), (_, to_bob)) = (reached.next(), reached.next());
    let room = Group::new();
    for outbox in [&to_alice, &to_bob, &to_bob] {
        room.join(outbox);
    }
    assert_eq!(room.len(), 2, "joining twice counts once");
    assert_eq!(room.broadcast_from(&to_alice, *b"1").delivered, 1);
    room.leave(&to_bob);
    assert_eq!(room.broadcast(*b"2").delivered, 1);
    assert_eq!(alice.received(), b"2");
    assert_eq!(bob.received(), b"1");
}

#[test]
fn members_that_a_broadcast_wakes_keep_no_client_out() {
    const MEMBERS: usize = 20;
    let (room, gate) = (Group::new(), Gate::default());
    let (chat, stop) = (room.clone(), gate.clone());
    let class = move |_: &_| {
        let (mut chat, stop) = (Chat(chat.clone()), stop.clone());
        move |request: &mut StreamRequest| {
            if request.rfile.buffer() == b"stop\n" {
                request.rfile.take_all();
                stop.pass();
                return Ok(Next::Wait);
            }
            if request.rfile.buffer() == b"join\n" {
                request.rfile.take_all();
                chat.setup(request)?;
                request.wfile.write_all(b"joined\n")?;
            }
            chat.handle(request)
        }
    };
    let pool = ThreadingMixIn::new().threads(1).max_threads(1);
    let settings = Builder::new().process(pool).max_queue(2);
    let server = Running::start(settings.tcp("127.0.0.1:0", class).unwrap());
    // One after the other: the queue is short.
    let join = |_| {
        let mut member = server.connect();
        member.say(b"join\n").hear(b"joined\n");
        member
    };
    let mut members: Vec<_> = (0..MEMBERS).map(join).collect();
    let mut stopped = server.connect();
    stopped.say(b"stop\n");
    gate.wait_entered(1);
    assert_eq!(room.broadcast(*b"news\n").delivered, MEMBERS);
    assert_eq!(server.stats().queued, MEMBERS);
    let mut newcomer = server.connect();
    eventually("it is accepted", || {
        server.stats().accepted == MEMBERS as u64 + 2
    });
    assert_eq!(server.stats().refused(Refusal::QueueFull), 0);
    gate.open(1);
    newcomer.say(b"join\n").hear(b"joined\n");
    for member in &mut members {
        member.hear(b"news\n");
    }
}
