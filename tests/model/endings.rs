//! How connections end while every thread is stuck, and while other things happen to them.

use std::time::Duration;

use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::atomic::Ordering::SeqCst;

use crate::engine::Pool;
use crate::kernel::Fd;
use crate::scenarios::{Server, TWO};
use crate::server::Manner;
use crate::slot::Scope;
use crate::sync::thread;

const SHORT_IDLE: Manner = Manner {
    meets: 0,
    awaits_ended: 0,
    // Two looks of the supervisor, in whose looks time passes.
    idle: Some(Duration::from_millis(3)),
    refused: false,
};

/// Both threads of the pool are stuck in handlers until a connection has ended.
fn stick_until_one_ends(server: &Server) -> [Fd; 2] {
    let stuck = Manner {
        awaits_ended: 1,
        ..Manner::default()
    };
    let clients = [server.connect(stuck), server.connect(stuck)];
    clients.into_iter().for_each(|client| client.send(1));
    clients
}

#[test]
fn an_idle_connection_expires_though_every_thread_is_stuck() {
    crate::check(|| {
        let server = Server::start(TWO);
        let silent = server.connect(SHORT_IDLE);
        silent.send(1);
        silent.wait_for_answers(1);
        let stuck = stick_until_one_ends(&server);
        silent.wait_closed();
        assert!(stuck.into_iter().all(|client| client.wait_for_answers(1)));
        server.shut_down(None);
    });
}

#[test]
fn a_refused_connection_ends_though_every_thread_is_stuck() {
    crate::check(|| {
        let server = Server::start(TWO);
        let stuck = stick_until_one_ends(&server);
        let refused = Manner {
            refused: true,
            ..Manner::default()
        };
        let door = server.listen(refused);
        let client = door.0.connect();
        client.send(3);
        client.finish();
        client.wait_closed();
        assert!(stuck.into_iter().all(|client| client.wait_for_answers(1)));
        server.shut_down(Some(door));
    });
}

#[test]
fn a_client_that_leaves_while_it_is_queued_is_dropped() {
    crate::check(|| {
        let server = Server::start(TWO);
        let stuck = stick_until_one_ends(&server);
        let door = server.listen(Manner::default());
        let client = door.0.connect();
        client.finish();
        client.wait_closed();
        assert!(stuck.into_iter().all(|client| client.wait_for_answers(1)));
        server.shut_down(Some(door));
    });
}

#[test]
fn bytes_that_come_at_the_deadline_are_served_or_the_connection_ends() {
    crate::check(|| {
        let server = Server::start(TWO);
        let clients = [server.connect(SHORT_IDLE), server.connect(SHORT_IDLE)];
        let sender = thread::spawn(move || {
            for client in clients {
                client.send(1);
                // Whatever comes first, the client learns of it.
                client.wait_for_answers(1);
                client.wait_closed();
            }
        });
        sender.join().unwrap();
        server.shut_down(None);
    });
}

#[test]
fn bytes_and_deadlines_that_race_a_shutdown_leave_nothing_open() {
    crate::check(|| {
        let server = Server::start(TWO);
        let refused = Manner {
            refused: true,
            ..SHORT_IDLE
        };
        let clients = [server.connect(SHORT_IDLE), server.connect(refused)];
        let sender = thread::spawn(move || {
            clients.into_iter().for_each(|client| client.send(2));
            clients.into_iter().for_each(Fd::wait_closed);
        });
        server.shut_down(None);
        sender.join().unwrap();
    });
}

#[test]
fn an_abort_at_any_point_ends_what_is_queued_parked_or_held() {
    crate::check(|| {
        let server = Server::start(TWO);
        let clients = [(); 3].map(|()| server.connect(Manner::default()));
        let sender = thread::spawn(move || {
            clients.into_iter().for_each(|client| client.send(1));
            clients.into_iter().for_each(Fd::wait_closed);
        });
        if thread_rng().gen_bool(0.5) {
            thread::yield_now();
        }
        server.core.shut_down();
        Pool::abort(&server.engine, Scope::Server(&server.core));
        sender.join().unwrap();
        server.shut_down(None);
    });
}

#[test]
fn a_connection_that_cannot_be_watched_is_counted_and_closed() {
    crate::check(|| {
        let server = Server::start(TWO);
        let core = std::sync::Arc::clone(&server.core);
        let good = server.connect(Manner::default());
        let bad = Fd::open();
        bad.make_unwatchable();
        server.submit(bad, Manner::default());
        bad.wait_closed();
        good.send(1);
        assert!(good.wait_for_answers(1));
        server.shut_down(None);
        assert_eq!(core.stats.failed.load(SeqCst), 1);
    });
}
