//! Connections that the program makes: adopted streams, outgoing connections, forwarders.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use socketserver::{
    Builder, Error, Forwarder, Next, Refusal, Result, StreamRequest, StreamRequestHandler,
    ThreadingMixIn, Wait,
};

use crate::subjects::{Obedient, Recorder, all_models, concurrent_models, obedient};
use crate::support::{PATIENCE, Running, alone, assert_closed, eventually};

fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn inet(server: &Running) -> SocketAddr {
    server.address().inet().unwrap()
}

#[test]
fn an_adopted_stream_has_the_life_of_an_accepted_one() {
    for settings in all_models() {
        let server = obedient(settings);
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        server.handle.adopt(theirs, Obedient).unwrap();
        ours.write_all(b"hello\n").unwrap();
        let mut answer = [0; 6];
        ours.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"hello\n");
        let stats = server.stats();
        assert_eq!((stats.open, stats.accepted), (1, 1));
        server.stop();
        assert_eq!(ours.read(&mut answer).unwrap(), 0);
    }
}

#[test]
fn an_adopted_stream_counts_towards_the_limit_and_a_wrong_one_is_refused() {
    let server = obedient(Builder::new().max_connections(1));
    let (_ours, theirs) = UnixStream::pair().unwrap();
    server.handle.adopt(theirs, Obedient).unwrap();
    let (_ours, theirs) = UnixStream::pair().unwrap();
    let refused = server.handle.adopt(theirs, Obedient);
    assert!(matches!(
        refused,
        Err(Error::Refused(Refusal::MaxConnections))
    ));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(matches!(
        server.handle.adopt(listener, Obedient),
        Err(Error::Io(_))
    ));
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    assert!(matches!(
        server.handle.adopt(datagrams, Obedient),
        Err(Error::Io(_))
    ));
    let handle = server.handle.clone();
    server.stop();
    let (_ours, theirs) = UnixStream::pair().unwrap();
    assert!(matches!(handle.adopt(theirs, Obedient), Err(Error::Io(_))));
}

/// Says hello to the server that it was connected to, and reports the answer to the test.
struct Caller(mpsc::Sender<String>);

impl StreamRequestHandler for Caller {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        match request.rfile.take_line(100)? {
            None => request.wfile.write_all(b"hello\n")?,
            Some(line) => {
                let line = String::from_utf8_lossy(line).into_owned();
                self.0.send(line).unwrap();
                return Ok(Next::Close);
            }
        }
        Ok(Next::Wait)
    }

    fn connect_failed(&mut self, error: &Error) {
        self.0.send(error.to_string()).unwrap();
    }

    fn speaks_first(&self) -> bool {
        true
    }
}

#[test]
fn a_connection_of_the_servers_own_is_made_and_served() {
    let upstream = obedient(Builder::new());
    for settings in all_models() {
        let server = obedient(settings);
        let (tell, told) = mpsc::channel();
        let handle = &server.handle;
        handle.connect(inet(&upstream), Caller(tell)).unwrap();
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "hello\n");
        eventually("the connection ends", || server.stats().open == 0);
        assert_eq!(server.stop().failed, 0);
    }
}

#[test]
fn an_address_to_connect_to_has_the_forms_of_one_to_listen_on_and_no_name() {
    let upstream = obedient(Builder::new());
    let server = obedient(Builder::new());
    let address = inet(&upstream);
    let connect = |to: &dyn Fn(Caller) -> Result<()>| {
        let (tell, told) = mpsc::channel();
        to(Caller(tell)).unwrap();
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "hello\n");
    };
    let handle = &server.handle;
    connect(&|caller| handle.connect(address.to_string(), caller));
    connect(&|caller| handle.connect((address.ip(), address.port()), caller));
    connect(&|caller| handle.connect(upstream.address(), caller));
    for name in ["localhost:80", ":80", "[fe80::1%nowhere]:80", "80"] {
        let (tell, _told) = mpsc::channel();
        let refused = handle.connect(name, Caller(tell)).unwrap_err();
        assert!(matches!(refused, Error::Address(_)), "{refused:?}");
        assert!(refused.to_string().contains(name), "{refused}");
    }
}

#[test]
fn a_connection_that_cannot_be_made_is_reported_to_its_handler_and_the_hook() {
    // Bound and dropped: nobody listens there.
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for settings in all_models() {
        let hooks = Recorder::default();
        let server = obedient(settings.hooks(hooks.clone()));
        let (tell, told) = mpsc::channel();
        let refused = server.handle.connect(nobody, Caller(tell));
        let expected = format!("can't connect to {nobody}: Connection refused (os error 111)");
        match refused {
            Ok(()) => assert_eq!(told.recv_timeout(PATIENCE).unwrap(), expected),
            Err(error) => assert_eq!(error.to_string(), expected),
        }
        eventually("the connection ends", || server.stats().open == 0);
        assert_eq!(server.stop().failed, 1);
        assert_eq!(hooks.errors(), [expected]);
    }
}

#[test]
fn connecting_holds_no_thread_and_ends_at_the_head_timeout() {
    // A listener whose backlog is full does not answer.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    full.bind(&any.into()).unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let _fill: Vec<_> = (0..4)
        .map(|_| TcpStream::connect_timeout(&address, Duration::from_millis(100)))
        .collect();
    let settings = Builder::new()
        .process(ThreadingMixIn::new().threads(1).max_threads(1))
        .head_timeout(Some(Duration::from_millis(300)));
    let server = obedient(settings);
    let (tell, told) = mpsc::channel();
    server.handle.connect(address, Caller(tell)).unwrap();
    let mut client = server.connect();
    client.say(b"hello\n").hear(b"hello\n");
    let failed = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(failed, "the handshake took too long");
}

/// A server that forwards to `upstream`.
fn forwarder(settings: Builder, upstream: SocketAddr) -> Running {
    let class = move |_: &_| Forwarder::to(upstream);
    Running::start(settings.tcp("127.0.0.1:0", class).unwrap())
}

#[test]
fn a_forwarder_carries_the_bytes_of_both_sides() {
    let upstream = obedient(Builder::new());
    for settings in concurrent_models() {
        let server = forwarder(settings, inet(&upstream));
        let mut client = server.connect();
        for _ in 0..100 {
            client.say(b"hello\n").hear(b"hello\n");
        }
        client.socket.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.hear_end(), b"");
        eventually("both connections end", || server.stats().open == 0);
        let stats = server.stop();
        assert_eq!((stats.failed, stats.aborted, stats.accepted), (0, 0, 2));
    }
}

#[test]
fn a_forwarder_passes_a_half_close_on() {
    for settings in concurrent_models() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = forwarder(settings, listener.local_addr().unwrap());
        let mut client = server.connect();
        let mut upstream = patient(listener.accept().unwrap().0);
        client.say(b"all that I have");
        client.socket.shutdown(Shutdown::Write).unwrap();
        let mut heard = String::new();
        upstream.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "all that I have");
        // Later, and in pieces.
        for piece in ["a late ", "answer"] {
            std::thread::sleep(Duration::from_millis(50));
            upstream.write_all(piece.as_bytes()).unwrap();
        }
        drop(upstream);
        assert_eq!(client.hear_end(), b"a late answer");
        eventually("both connections end", || server.stats().open == 0);
    }
}

#[test]
fn a_forwarder_loses_no_byte_of_a_peer_that_reads_slowly_and_keeps_few() {
    const SIZE: usize = 16 << 20;
    for settings in concurrent_models() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = forwarder(settings, listener.local_addr().unwrap());
        let client = server.connect();
        let mut upstream = patient(listener.accept().unwrap().0);
        let mut sender = client.socket.try_clone().unwrap();
        let bytes: Vec<u8> = (0..SIZE)
            .map(|index| ((index * index) >> 7) as u8)
            .collect();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                sender.write_all(&bytes).unwrap();
                sender.shutdown(Shutdown::Write).unwrap();
            });
            let mut heard = Vec::new();
            let mut piece = vec![0; 1 << 20];
            loop {
                match upstream.read(&mut piece).unwrap() {
                    0 => break,
                    count => heard.extend_from_slice(&piece[..count]),
                }
                if heard.len() < SIZE / 2 {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
            assert!(heard == bytes, "{} of {SIZE} bytes", heard.len());
        });
    }
}

#[test]
fn a_forwarder_whose_one_side_only_listens_does_not_expire() {
    const IDLE: Duration = Duration::from_secs(2);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = Builder::new().idle_timeout(Some(IDLE));
    let server = forwarder(settings, listener.local_addr().unwrap());
    let mut client = server.connect();
    let mut upstream = patient(listener.accept().unwrap().0);
    let begun = Instant::now();
    while begun.elapsed() < IDLE * 3 / 2 {
        client.say(b"x");
        upstream.read_exact(&mut [0]).unwrap();
    }
    upstream.write_all(b"still there\n").unwrap();
    client.hear(b"still there\n");
}

#[test]
fn a_forwarder_carries_both_directions_at_once() {
    const SIZE: usize = 20 << 20;
    for settings in concurrent_models() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = forwarder(settings, listener.local_addr().unwrap());
        let mut client = server.connect();
        let mut upstream = patient(listener.accept().unwrap().0);
        let mut echo = upstream.try_clone().unwrap();
        std::thread::scope(|scope| {
            // Sends without a look at what comes, while another thread reads.
            scope.spawn(move || {
                std::io::copy(&mut upstream, &mut std::io::sink()).unwrap();
            });
            scope.spawn(move || {
                echo.write_all(&vec![7; SIZE]).unwrap();
                echo.shutdown(Shutdown::Write).unwrap();
            });
            // Everything is written before anything is read.
            client.say(&vec![8; SIZE]);
            client.socket.shutdown(Shutdown::Write).unwrap();
            assert_eq!(client.hear_end().len(), SIZE);
        });
    }
}

#[test]
fn a_forwarder_ends_the_client_when_the_other_server_is_away_or_breaks_off() {
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for settings in concurrent_models() {
        let server = forwarder(settings, nobody);
        assert_eq!(server.connect().hear_end(), b"");
    }
    for settings in concurrent_models() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = forwarder(settings, listener.local_addr().unwrap());
        let mut client = server.connect();
        let upstream = socket2::Socket::from(listener.accept().unwrap().0);
        upstream.set_linger(Some(Duration::ZERO)).unwrap();
        drop(upstream);
        assert_eq!(client.hear_end(), b"");
        eventually("both connections end", || server.stats().open == 0);
    }
}

#[test]
fn a_forwarder_goes_on_in_both_directions_at_a_shutdown_until_both_have_ended() {
    for settings in concurrent_models() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = forwarder(
            settings.grace(10 * PATIENCE),
            listener.local_addr().unwrap(),
        );
        let mut client = server.connect();
        let mut upstream = patient(listener.accept().unwrap().0);
        client.say(b"before");
        upstream.read_exact(&mut [0; 6]).unwrap();
        let handle = server.handle.clone();
        handle.close();
        assert_closed(server.address());
        for _ in 0..10 {
            client.say(b"request");
            upstream.read_exact(&mut [0; 7]).unwrap();
            upstream.write_all(b"answer").unwrap();
            client.hear(b"answer");
        }
        eventually("both are in flight", || handle.in_flight().len() == 2);
        client.socket.shutdown(Shutdown::Write).unwrap();
        assert_eq!(upstream.read(&mut [0; 1]).unwrap(), 0);
        upstream.write_all(b"the last").unwrap();
        drop(upstream);
        assert_eq!(client.hear_end(), b"the last");
        assert_eq!(server.stop().aborted, 0);
    }
}

#[test]
fn idle_forwarded_pairs_are_aborted_at_the_end_of_the_grace_time() {
    for settings in concurrent_models() {
        let upstream = obedient(Builder::new());
        let settings = settings.grace(Duration::from_millis(50));
        let server = forwarder(settings, inet(&upstream));
        let mut client = server.connect();
        client.say(b"hello\n").hear(b"hello\n");
        assert_eq!(server.stop().aborted, 2);
        assert_eq!(client.hear_end(), b"");
    }
}

#[test]
fn a_thousand_idle_forwarded_pairs_hold_no_thread() {
    alone(|| {
        const PAIRS: usize = 1000;
        let upstream = obedient(Builder::new());
        let server = forwarder(Builder::new(), inet(&upstream));
        let mut clients: Vec<_> = (0..PAIRS).map(|_| server.connect()).collect();
        for client in &mut clients {
            client.say(b"hello\n").hear(b"hello\n");
        }
        eventually("all are parked", || server.stats().active == 0);
        let stats = server.stats();
        assert_eq!(stats.open, 2 * PAIRS);
        // Threads that a busy machine had it start leave after a while.
        let few = ThreadingMixIn::default_threads() + 2;
        eventually("few threads are left", || server.stats().threads <= few);
        let begun = Instant::now();
        drop(clients);
        eventually("all have ended", || server.stats().open == 0);
        assert!(begun.elapsed() < PATIENCE);
    });
}

/// Reads nothing, whatever comes, and hands out its waker.
struct Paused(mpsc::Sender<socketserver::Waker>);

impl StreamRequestHandler for Paused {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        if request.cause().is_woken() {
            return Ok(Next::Close);
        }
        // Nobody listens once the test is over.
        let _ = self.0.send(request.waker());
        Ok(Wait::new().paused().into())
    }

    fn speaks_first(&self) -> bool {
        true
    }
}

#[test]
fn a_paused_connection_costs_no_time_and_ends_by_a_reset_an_abort_a_wake_or_a_shutdown() {
    alone(|| {
        for settings in concurrent_models() {
            let (announce, wakers) = mpsc::channel();
            let class = move |_: &_| Paused(announce.clone());
            let settings = settings.grace(Duration::from_millis(200));
            let server = Running::start(settings.tcp("127.0.0.1:0", class).unwrap());
            let mut clients = [(); 4].map(|()| {
                let mut client = server.connect();
                wakers.recv_timeout(PATIENCE).unwrap();
                client.say(b"unread");
                client
            });
            let nanos = |text: &str| text.split(' ').next().unwrap().parse::<u64>().unwrap();
            let all = || {
                let tasks = std::fs::read_dir("/proc/self/task").unwrap();
                let stats = tasks.filter_map(|task| {
                    std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()
                });
                stats.map(|text| nanos(&text)).sum::<u64>()
            };
            let before = all();
            std::thread::sleep(Duration::from_millis(300));
            let spent = Duration::from_nanos(all() - before);
            assert!(spent < Duration::from_millis(100), "{spent:?} of 300 ms");

            let [reset, aborted, woken, _last] = clients.each_mut();
            let linger = Some(Duration::ZERO);
            reset.socket.set_linger(linger).unwrap();
            let own = aborted.socket.local_addr().unwrap().as_socket().unwrap();
            let listed = server.handle.connections();
            let found = listed
                .iter()
                .find(|listed| listed.client_address == own.into());
            assert!(server.handle.abort_connection(found.unwrap().id));
            assert_eq!(aborted.hear_end(), b"");
            woken.socket.shutdown(Shutdown::Write).unwrap();
            let [reset, _aborted, _woken, _last] = clients;
            reset.reset();
            eventually("two are over", || server.stats().open == 2);
            server.stop();
        }
    });
}

#[test]
fn a_handler_that_may_not_adopt_has_its_own_failure() {
    /// Adopts a second connection, which is one too many.
    struct Greedy;
    impl StreamRequestHandler for Greedy {
        fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
            request.rfile.take_all();
            request.wfile.write_all(b"before\n")?;
            let (_ours, theirs) = UnixStream::pair()?;
            request.server.adopt(theirs, Obedient)?;
            Ok(Next::Close)
        }

        fn finish(&mut self, request: &mut StreamRequest) -> Result<()> {
            Ok(request.wfile.write_all(b"finished\n")?)
        }
    }
    let hooks = Recorder::default();
    let settings = Builder::new().max_connections(1).hooks(hooks.clone());
    let server = Running::start(settings.tcp("127.0.0.1:0", |_: &_| Greedy).unwrap());
    let mut client = server.connect();
    client.say(b"go");
    assert_eq!(client.hear_end(), b"before\nfinished\n");
    let stats = server.stop();
    assert_eq!(
        (stats.accepted, stats.refused_total(), stats.failed),
        (1, 0, 1)
    );
    assert_eq!(hooks.errors(), ["refused: too many connections"]);
}
