//! A system that refuses threads: the pool says so, and goes on with those it has.
//!
//! The limit on processes does not hold for root. So these tests run again in a process of the user
//! `nobody`, in which the limit can be set.

use std::io::Write;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socketserver::{Builder, ThreadingMixIn};

use crate::pool::{serve, stopped_clients};
use crate::subjects::Obedient;
use crate::support::{BoundedCommand, Gate, PATIENCE, Running, eventually, run_test, threads};

fn skipped(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}

/// Runs `body` in a process of the user `nobody`. Skipped, with a visible line, where that is not
/// possible.
#[track_caller]
fn as_nobody(body: impl FnOnce()) {
    const MARK: &str = "FRAMEWORK_TEST_AS_NOBODY";
    if std::env::var_os(MARK).is_some() {
        return body();
    }
    let this = std::thread::current();
    let test = this.name().unwrap();
    if !rustix::process::geteuid().is_root() {
        skipped(test, "only root can become another user");
        return;
    }
    let nobody = |program: &std::ffi::OsStr| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command.arg(program);
        command
    };
    let binary = std::env::current_exe().unwrap();
    if !nobody(binary.as_os_str()).arg("--list").succeeds() {
        skipped(
            test,
            "`setpriv` is missing, or `nobody` cannot run the tests",
        );
        return;
    }
    run_test(nobody(binary.as_os_str()).env(MARK, "1"), test);
}

/// From now on the system refuses threads, until the limit is set to what this returns.
fn refuse_threads() -> Rlimit {
    let before = getrlimit(Resource::Nproc);
    let none = Rlimit {
        current: Some(1),
        maximum: before.maximum,
    };
    setrlimit(Resource::Nproc, none).unwrap();
    before
}

#[test]
fn a_pool_that_could_not_grow_grows_when_there_are_threads_again() {
    as_nobody(|| {
        let gate = Gate::default();
        let server = serve(Builder::new(), 2, 8, &gate);
        server.connect().say(b"before\n").hear(b"before\n");
        for round in 1..=2 {
            let enough = refuse_threads();
            // A busy machine may have had the pool grow before.
            eventually("it is small", || server.stats().threads == 2);
            let failures = server.stats().thread_failures;
            let mut stopped = stopped_clients(&server, 4);
            eventually("threads are refused, again and again", || {
                server.stats().thread_failures >= failures + 3
            });
            assert_eq!(server.stats().threads, 2);
            setrlimit(Resource::Nproc, enough).unwrap();
            eventually("the pool grows", || server.stats().threads >= 4);
            gate.wait_entered(round * 4);
            server.connect().say(b"served\n").hear(b"served\n");
            gate.open(4);
            for client in &mut stopped {
                client.hear(b"stop\n");
            }
            eventually("it is as small as it was", || server.stats().threads == 2);
        }
    });
}

#[test]
fn connections_are_accepted_and_refused_while_no_thread_can_be_had() {
    as_nobody(|| {
        let gate = Gate::default();
        let server = serve(Builder::new().max_connections(3), 1, 8, &gate);
        server.connect().say(b"before\n").hear(b"before\n");
        eventually("the first has gone", || server.stats().open == 0);
        let _enough = refuse_threads();
        let _stopped = stopped_clients(&server, 3);
        gate.wait_entered(1);
        eventually("they are open", || server.stats().open == 3);
        assert_eq!(server.connect().hear_end(), b"");
        gate.open(3);
    });
}

#[test]
fn a_server_that_gets_no_threads_says_so_and_may_try_again() {
    as_nobody(|| {
        let pool = ThreadingMixIn::new().threads(4);
        let settings = Builder::new().process(pool);
        let mut server = settings.tcp("127.0.0.1:0", |_: &_| Obedient).unwrap();
        let before = threads();
        let enough = refuse_threads();
        for _ in 0..3 {
            let error = server.server_activate().unwrap_err().to_string();
            assert!(
                error.starts_with("cannot start thread 1 of 4: ") && error.lines().count() == 1,
                "{error}"
            );
        }
        let (tell, result) = mpsc::channel();
        setrlimit(Resource::Nproc, enough).unwrap();
        std::thread::scope(|scope| {
            let handle = server.handle();
            scope.spawn(move || tell.send(server.serve_forever()));
            assert!(result.recv_timeout(Duration::from_millis(100)).is_err());
            handle.shutdown();
            result.recv_timeout(PATIENCE).unwrap().unwrap();
        });
        eventually("no thread is left", || threads() <= before);
    });
}

#[test]
fn a_server_that_gets_some_threads_but_not_all_leaves_none_behind() {
    as_nobody(|| {
        let before = threads();
        let enough = getrlimit(Resource::Nproc);
        // Other processes of this user may come and go: the limit is tried from below.
        let mut refused = 0;
        for limit in 1..200 {
            let few = Rlimit {
                current: Some(limit),
                maximum: enough.maximum,
            };
            setrlimit(Resource::Nproc, few).unwrap();
            let pool = ThreadingMixIn::new().threads(8);
            let settings = Builder::new().process(pool);
            let server = settings.tcp("127.0.0.1:0", |_: &_| Obedient).unwrap();
            let started = server.server_activate();
            setrlimit(Resource::Nproc, enough).unwrap();
            drop(server);
            eventually("no thread is left", || threads() <= before);
            match started {
                Ok(()) => break,
                Err(error) if error.to_string().contains("thread 1 of 8") => {}
                Err(_) => refused += 1,
            }
        }
        assert!(refused > 0, "no limit let only some threads start");
    });
}

#[test]
fn a_pool_of_as_many_threads_as_a_number_can_say_serves() {
    let pool = ThreadingMixIn::new().threads(2).max_threads(usize::MAX);
    let settings = Builder::new().process(pool);
    let server = Running::start(settings.tcp("127.0.0.1:0", |_: &_| Obedient).unwrap());
    server.connect().say(b"hello\n").hear(b"hello\n");
    drop(ThreadingMixIn::new().threads(usize::MAX));
}
