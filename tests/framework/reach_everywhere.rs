//! Wakers, groups, adopted streams, outgoing connections and run-time listeners in every
//! concurrency model: deadlines, fairness, and that nothing is left behind.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use socketserver::{
    Builder, Forwarder, Group, Listen, Next, Outbox, Result, StreamRequest, StreamRequestHandler,
    ThreadPerRequest, ThreadingMixIn, Timeout,
};

use crate::reach::{CAPACITY, Reachable};
use crate::subjects::{Obedient, Recorder, all_models, concurrent_models, obedient};
use crate::support::{Client, PATIENCE, Running, alone, descriptors, eventually, threads};

fn patient(stream: UnixStream) -> UnixStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn a_client_that_reads_nothing_of_others_output_ends_at_the_write_timeout() {
    for settings in all_models() {
        let hooks = Recorder::default();
        let (class, reached) = Reachable::class();
        let short = Some(Duration::from_millis(50));
        let settings = settings.write_timeout(short).hooks(hooks.clone());
        let server = Running::start(settings.tcp("127.0.0.1:0", class).unwrap());
        let _client = server.connect();
        let (waker, outbox) = reached.next();
        let piece: Arc<[u8]> = vec![b'.'; CAPACITY].into();
        eventually("it ends", || {
            let _ = outbox.try_send(Arc::clone(&piece));
            waker.is_closed()
        });
        eventually("it is reported", || hooks.expiries() == [Timeout::Write]);
    }
}

#[test]
fn connections_that_the_program_makes_end_at_the_idle_timeout() {
    let upstream = obedient(Builder::new());
    for settings in all_models() {
        let hooks = Recorder::default();
        let short = Some(Duration::from_millis(20));
        let server = obedient(settings.idle_timeout(short).hooks(hooks.clone()));
        let (ours, theirs) = UnixStream::pair().unwrap();
        server.handle.adopt(theirs, Obedient).unwrap();
        assert_eq!(patient(ours).read(&mut [0; 1]).unwrap(), 0);
        server.handle.connect(upstream.address(), Obedient).unwrap();
        let class = |_: &_| Obedient;
        let listening = server.handle.listen("127.0.0.1:0", Listen::new(), class);
        let listener = listening.unwrap();
        let mut client = Client::connect(listener.server_address());
        assert_eq!(client.hear_end(), b"");
        eventually("all are reported", || {
            hooks.expiries() == [Timeout::Idle; 3]
        });
        eventually("all are over", || server.stats().open == 0);
    }
}

/// What a line says, all hear.
struct Chat(Group, Option<Outbox>);

impl StreamRequestHandler for Chat {
    fn setup(&mut self, request: &mut StreamRequest) -> Result<()> {
        let outbox = request.outbox(CAPACITY);
        self.0.join(&outbox);
        self.1 = Some(outbox);
        Ok(())
    }

    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        while let Some(line) = request.rfile.take_line(4096)? {
            self.0.broadcast(line);
        }
        Ok(Next::Wait)
    }
}

#[test]
fn a_flood_of_broadcasts_starves_no_other_connection() {
    let one = ThreadingMixIn::new().threads(1).max_threads(1);
    let [_, threads, own] = concurrent_models();
    for settings in [Builder::new().process(one), threads, own] {
        let room = Group::new();
        let chat = room.clone();
        let class = move |_: &_| Chat(chat.clone(), None);
        let server = settings.tcp("127.0.0.1:0", class).unwrap();
        server.server_activate().unwrap();
        let server = Running::start(server);
        let listening = server
            .handle
            .listen("127.0.0.1:0", Listen::new(), |_: &_| Obedient);
        let listener = listening.unwrap();
        let members: Vec<Client> = (0..20).map(|_| server.connect()).collect();
        eventually("all have joined", || room.len() == members.len());
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for member in &members {
                let mut socket = member.socket.try_clone().unwrap();
                scope.spawn(move || std::io::copy(&mut socket, &mut std::io::sink()));
            }
            let mut talker = members[0].socket.try_clone().unwrap();
            let (room, is_over) = (&room, &is_over);
            // One floods from a thread of the program, one as a client of its own.
            scope.spawn(move || {
                let message: Arc<[u8]> = vec![b'.'; 1024].into();
                while !is_over.load(SeqCst) {
                    room.broadcast(Arc::clone(&message));
                }
            });
            scope.spawn(move || {
                let line = [&[b'.'; 1023][..], b"\n"].concat();
                while !is_over.load(SeqCst) && talker.write_all(&line).is_ok() {}
            });
            for _ in 0..3 {
                let mut other = Client::connect(listener.server_address());
                for _ in 0..20 {
                    other.say(b"hello\n").hear(b"hello\n");
                }
            }
            is_over.store(true, SeqCst);
            server.handle.close();
        });
        drop(members);
        assert_eq!(server.stop().failed, 0);
    }
}

/// Everything that reaches a connection, once.
fn use_all(settings: Builder, upstream: &Running, is_concurrent: bool) {
    let (class, reached) = Reachable::class();
    let server = Running::start(settings.tcp("127.0.0.1:0", class).unwrap());
    let handle = &server.handle;
    let room = Group::new();
    {
        let mut client = server.connect();
        let (waker, outbox) = reached.next();
        room.join(&outbox);
        waker.wake();
        client.hear(b"woken\n");
        room.broadcast(*b"news\n");
        client.hear(b"news\n");
        waker.close("over");
        assert_eq!(client.hear_end(), b"bye\n");
    }
    eventually("it is over", || server.stats().open == 0);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut ours = patient(ours);
    handle.adopt(theirs, Obedient).unwrap();
    ours.write_all(b"hello\n").unwrap();
    ours.read_exact(&mut [0; 6]).unwrap();
    drop(ours);
    eventually("it is over", || server.stats().open == 0);
    handle.connect(upstream.address(), Obedient).unwrap();
    eventually("the outgoing connection is aborted", || {
        let listed = handle.connections();
        listed.len() == 1 && handle.abort_connection(listed[0].id)
    });
    eventually("all are over", || server.stats().open == 0);
    for options in [
        Listen::new(),
        Listen::new().once(Some(Duration::ZERO)),
        Listen::new().once(None),
    ] {
        let listening = handle.listen("127.0.0.1:0", options, |_: &_| Obedient);
        let listener = listening.unwrap();
        let client = std::net::TcpStream::connect(listener.server_address().inet().unwrap());
        drop(client);
        listener.drain(PATIENCE).unwrap();
    }
    if is_concurrent {
        let to = upstream.address().inet().unwrap();
        let class = move |_: &_| Forwarder::to(to);
        let listening = handle.listen("127.0.0.1:0", Listen::new(), class);
        let listener = listening.unwrap();
        let mut client = Client::connect(listener.server_address());
        client.say(b"hello\n").hear(b"hello\n");
        drop(client);
    }
    eventually("all are over", || server.stats().open == 0);
    server.stop();
    assert!(room.is_empty());
}

#[test]
fn whatever_reaches_a_connection_leaves_nothing_behind() {
    alone(|| {
        let settings = Builder::new().process(ThreadPerRequest::new());
        let upstream = obedient(settings);
        let round = || {
            for settings in concurrent_models() {
                use_all(settings, &upstream, true);
            }
            let [.., synchronous] = all_models();
            use_all(synchronous, &upstream, false);
        };
        round();
        eventually("the other server is idle", || upstream.stats().open == 0);
        let before = (descriptors(), threads());
        (0..5).for_each(|_| round());
        eventually("nothing is left", || {
            descriptors() <= before.0 && threads() <= before.1
        });
    });
}
