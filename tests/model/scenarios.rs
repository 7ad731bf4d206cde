//! The whole pool with connections: parking against readiness, deadlines against the leader's
//! sleep, shutdown against all.

use std::sync::Arc;
use std::time::Duration;

use shuttle::rand::{Rng, thread_rng};

use crate::engine::Pool;
use crate::kernel::{Clock, Fd, Poller};
use crate::registry::{ParkResult, Registry};
use crate::scheduler::PoolSize;
use crate::server::{Core, Manner, Session};
use crate::slot::Scope;
use crate::sources::{DatagramJob, Listener, Source};
use crate::sync::thread;

pub(crate) const TWO: PoolSize = PoolSize {
    min_threads: 2,
    max_threads: 2,
    max_awake: 2,
};

pub(crate) struct Server {
    pub(crate) core: Arc<Core>,
    pub(crate) engine: Arc<Pool>,
}

impl Server {
    pub(crate) fn start(size: PoolSize) -> Server {
        let engine = Pool::new(size, Clock).unwrap();
        engine.start(size.min_threads).unwrap();
        Server {
            core: Arc::default(),
            engine,
        }
    }

    pub(crate) fn listen(&self, manner: Manner) -> (Arc<Listener>, usize) {
        let listener = Listener::new(&self.core, manner);
        let index = self
            .engine
            .add_source(Source::Listener(Arc::clone(&listener)))
            .unwrap();
        (listener, index)
    }

    /// A client whose connection was accepted by somebody else.
    pub(crate) fn connect(&self, manner: Manner) -> Fd {
        let fd = Fd::open();
        self.submit(fd, manner);
        fd
    }

    pub(crate) fn submit(&self, fd: Fd, manner: Manner) {
        self.engine.submit(Session::new(&self.core, fd, manner));
    }

    /// Has another thread wake the first connection.
    fn wake_first(&self) -> thread::JoinHandle<()> {
        let wake = Arc::clone(&self.core.wakes.lock()[0]);
        let engine = Arc::clone(&self.engine);
        thread::spawn(move || wake.give(&*engine))
    }

    /// As `serve_forever` after a shutdown, but with all the grace in the world: it must not need a
    /// cut.
    pub(crate) fn shut_down(self, listener: Option<(Arc<Listener>, usize)>) {
        self.core.shut_down();
        if let Some((listener, index)) = listener {
            self.engine.remove_source(index);
            listener.close();
        }
        self.engine
            .close_idle_connections(Scope::Server(&self.core));
        self.core.wait_drained();
        // The program goes on, and its pool serves other servers.
        for _ in 0..20 {
            thread::yield_now();
        }
        self.engine.stop();
        self.core.assert_sound();
    }
}

#[test]
fn what_comes_while_a_connection_is_parked_is_not_lost() {
    crate::check(|| {
        let server = Server::start(TWO);
        let client = server.connect(Manner::default());
        let sender = thread::spawn(move || {
            // One byte is a short read, which isn't followed by another.
            client.send(1);
            client.send(1);
            client.send(2);
            assert!(client.wait_for_answers(4));
            client.send(1);
            client.finish();
            client.wait_closed();
            assert!(client.wait_for_answers(5), "the last byte was not served");
        });
        sender.join().unwrap();
        server.shut_down(None);
    });
}

#[test]
fn a_wake_at_any_point_has_the_handler_called() {
    crate::check(|| {
        let server = Server::start(TWO);
        let client = server.connect(Manner::default());
        client.send(1);
        assert!(client.wait_for_answers(1));
        let waker = server.wake_first();
        client.send(1);
        assert!(client.wait_for_answers(3), "the wake was lost");
        waker.join().unwrap();
        server.shut_down(None);
    });
}

#[test]
fn a_wake_that_races_a_shutdown_leaves_nothing_open() {
    crate::check(|| {
        let server = Server::start(TWO);
        let client = server.connect(Manner::default());
        client.send(1);
        assert!(client.wait_for_answers(1));
        let waker = server.wake_first();
        server.shut_down(None);
        waker.join().unwrap();
    });
}

#[test]
fn a_connection_that_is_parked_while_the_leader_sleeps_expires() {
    crate::check(|| {
        let server = Server::start(TWO);
        let silent = Manner {
            idle: Some(Duration::from_secs(thread_rng().gen_range(1..=3))),
            ..Manner::default()
        };
        let later = Manner {
            idle: Some(Duration::from_secs(2)),
            ..Manner::default()
        };
        let clients = [server.connect(later), server.connect(silent)];
        clients.into_iter().for_each(Fd::wait_closed);
        server.shut_down(None);
    });
}

#[test]
fn a_deadline_holds_even_if_the_supervisor_led_for_a_moment() {
    crate::check(|| {
        let server = Server::start(TWO);
        // Both threads are stuck in these until both have begun; meanwhile the supervisor leads.
        let busy = Manner {
            meets: 2,
            ..Manner::default()
        };
        let busy = [server.connect(busy), server.connect(busy)];
        busy.into_iter().for_each(|client| client.send(1));
        let silent = server.connect(Manner {
            idle: Some(Duration::from_secs(1)),
            ..Manner::default()
        });
        silent.wait_closed();
        server.shut_down(None);
    });
}

#[test]
fn a_shutdown_at_any_point_closes_every_connection() {
    crate::check(|| {
        let server = Server::start(TWO);
        let clients = [
            server.connect(Manner::default()),
            server.connect(Manner::default()),
        ];
        let sender = thread::spawn(move || {
            clients.into_iter().for_each(|client| client.send(1));
            clients.into_iter().for_each(Fd::wait_closed);
        });
        server.shut_down(None);
        sender.join().unwrap();
    });
}

#[test]
fn a_shutdown_at_any_point_lets_nobody_in_any_more() {
    crate::check(|| {
        let server = Server::start(TWO);
        let (listener, index) = server.listen(Manner::default());
        let door = Arc::clone(&listener);
        let clients = thread::spawn(move || {
            let first = door.connect();
            first.send(1);
            first
        });
        let first = clients.join().unwrap();
        server.shut_down(Some((listener, index)));
        first.wait_closed();
    });
}

#[test]
fn connections_are_accepted_and_served_while_a_handler_blocks() {
    crate::check(|| {
        let server = Server::start(PoolSize {
            min_threads: 1,
            max_threads: 2,
            max_awake: 1,
        });
        let door = server.listen(Manner {
            meets: 2,
            ..Manner::default()
        });
        // Whichever is served first, its handler waits for the other's.
        let clients = [door.0.connect(), door.0.connect()];
        clients[0].send(1);
        let late = thread::spawn(move || clients[1].send(1));
        assert!(clients.into_iter().all(|client| client.wait_for_answers(1)));
        late.join().unwrap();
        server.shut_down(Some(door));
    });
}

#[test]
fn datagrams_are_served_while_a_handler_blocks() {
    crate::check(|| {
        let server = Server::start(PoolSize {
            min_threads: 1,
            max_threads: 2,
            max_awake: 1,
        });
        let socket = Fd::open();
        let job = DatagramJob {
            core: Arc::clone(&server.core),
            fd: socket,
            meets: 2,
        };
        let index = server
            .engine
            .add_source(Source::Datagrams(Arc::new(job)))
            .unwrap();
        socket.send(1);
        socket.send(1);
        assert!(socket.wait_for_answers(2));
        server.engine.remove_source(index);
        server.shut_down(None);
    });
}

#[test]
fn the_heap_of_deadlines_stays_small_while_short_alarms_and_long_waits_alternate() {
    crate::check(|| {
        let core = Arc::<Core>::default();
        let registry = Arc::new(Registry::new());
        let leader = {
            let registry = Arc::clone(&registry);
            thread::spawn(move || {
                for _ in 0..4 {
                    registry.sleep();
                    registry.wake(Clock.now());
                }
            })
        };
        for _ in 0..2 {
            // The second connection gets the first one's slot, and the entry that it left.
            let mut session = Session::new(&core, Fd::open(), Manner::default());
            let key = registry.insert(&mut session).unwrap();
            for _ in 0..5 {
                let long = session.now() + Duration::from_secs(60);
                let parked = registry.park(key, session, Some(long));
                assert!(matches!(parked, ParkResult::Parked { .. }));
                session = registry.take(key, false, &Poller).unwrap();

                let alarm = session.now() + Duration::from_millis(1);
                let parked = registry.park(key, session, Some(alarm));
                assert!(matches!(parked, ParkResult::Parked { .. }));
                let mut expired = Vec::new();
                registry.take_expired(alarm, &mut expired);
                let (expired_key, expired_session) = expired.pop().expect("the alarm was lost");
                assert_eq!(expired_key, key);
                session = expired_session;
                session.ready_at = alarm;
            }
            let parked = registry.park(key, session, Some(Clock.now() + Duration::from_secs(60)));
            assert!(matches!(parked, ParkResult::Parked { .. }));
            session = registry.take(key, false, &Poller).unwrap();
            registry.remove(key);
            drop(session);
            assert_eq!(registry.scheduled_deadlines(), 1, "the heap grows");
        }
        leader.join().unwrap();
    });
}
