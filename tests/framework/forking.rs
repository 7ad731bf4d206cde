//! `ForkingMixIn`, which needs a process with a single thread: each test starts this binary once
//! more, as the server.

#[allow(dead_code, reason = "the other tests use the rest")]
#[path = "support/client.rs"]
mod client;
#[path = "../support/process.rs"]
mod process;
#[path = "forking/server.rs"]
mod server;

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use client::{Client, PATIENCE, eventually};
use server::{KINDS, Server};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments
        .first()
        .is_some_and(|first| first == server::SERVE)
    {
        return server::serve(&arguments[1..]);
    }
    let names: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let mut out = std::io::stdout();
    for (name, test) in TESTS {
        if names.is_empty() || names.iter().any(|wanted| name.contains(wanted.as_str())) {
            // A failure ends the process, and so the test target, with its message.
            test();
            writeln!(out, "test {name} ... ok").unwrap();
        }
    }
}

macro_rules! tests {
    ($($name:ident)*) => {
        const TESTS: &[(&str, fn())] = &[$((stringify!($name), $name)),*];
    };
}

tests! {
    each_client_is_served_by_a_process_of_its_own
    shutdown_ends_a_server_that_nobody_uses
    what_a_handler_changes_stays_in_its_process
    a_crash_costs_one_process
    a_failure_or_panic_costs_one_connection
    a_shutdown_waits_for_the_children
    an_idle_client_gets_the_output_of_finish_at_a_shutdown
    a_handler_that_computes_sees_the_shutdown
    children_that_outlast_the_grace_time_are_cut_and_counted
    no_more_children_than_may_be_serve_at_once
    children_are_reaped_as_they_end
    handle_request_serves_one_request_and_tells_of_a_time_out
    server_close_waits_for_the_children_unless_told_otherwise
    a_child_that_outlives_its_server_keeps_no_port
    the_parent_counts_the_failures_and_panics_of_its_children
    a_child_that_a_signal_ends_is_counted_and_reported
    a_child_that_ends_with_an_exit_code_is_counted_and_reported
    a_child_that_ends_itself_with_success_is_no_failure
    a_panic_in_verify_request_does_not_run_the_program_twice
    a_handler_may_shut_its_server_down
    a_process_that_cannot_be_started_is_counted_and_reported
    a_thread_that_cannot_be_started_is_counted_and_reported
    a_limit_per_address_that_cannot_hold_is_refused
    a_child_is_woken_in_its_process_and_gives_its_server_nothing
    the_parent_listens_and_adopts_while_it_serves_and_cannot_drain
    a_synchronous_server_hears_a_signal_while_its_client_pipelines
    a_synchronous_server_hears_a_signal_while_its_client_is_slow
}

fn each_client_is_served_by_a_process_of_its_own() {
    for kind in KINDS {
        let server = Server::start(&[kind]);
        let mut processes = vec![server.pid()];
        for _ in 0..3 {
            let mut client = server.connect();
            client.say(b"pid\n");
            let mut answer = [0; 100];
            let count = client.socket.read(&mut answer).unwrap();
            processes.push(
                std::str::from_utf8(&answer[..count])
                    .unwrap()
                    .trim()
                    .parse()
                    .unwrap(),
            );
        }
        processes.sort_unstable();
        processes.dedup();
        assert_eq!(processes.len(), 4, "{kind}");
        server.end("accepted 3, cut 0");
    }
}

fn shutdown_ends_a_server_that_nobody_uses() {
    for kind in KINDS {
        Server::start(&[kind]).end("accepted 0, cut 0");
    }
}

fn what_a_handler_changes_stays_in_its_process() {
    let server = Server::start(&["tcp"]);
    for _ in 0..2 {
        server
            .connect()
            .say(b"count\n")
            .hear(b"1\n")
            .say(b"count\n")
            .hear(b"2\n");
    }
}

fn a_crash_costs_one_process() {
    let server = Server::start(&["tcp"]);
    let mut neighbour = server.connect();
    neighbour.say(b"count\n").hear(b"1\n");
    assert_eq!(server.connect().say(b"crash\n").hear_end(), b"");
    server.connect().say(b"count\n").hear(b"1\n");
    neighbour.say(b"count\n").hear(b"2\n");
    drop(neighbour);
    server.terminate();
    server.expect("failed 1, panics 0");
    server.expect("accepted 3, cut 0");
}

fn a_failure_or_panic_costs_one_connection() {
    let server = Server::start(&["tcp"]);
    for order in [&b"fail\n"[..], b"panic\n"] {
        assert_eq!(server.connect().say(order).hear_end(), b"");
        server.connect().say(b"count\n").hear(b"1\n");
    }
}

fn a_shutdown_waits_for_the_children() {
    let server = Server::start(&["tcp"]);
    let mut client = server.connect();
    client.say(b"wait\n").hear(b"waiting\n");
    server.terminate();
    server.expect_nothing();
    client.say(b"goes on\n").hear(b"goes on\n");
    drop(client);
    server.expect("accepted 1, cut 0");
}

fn an_idle_client_gets_the_output_of_finish_at_a_shutdown() {
    let server = Server::start(&["tcp", "bye"]);
    let mut client = server.connect();
    client.say(b"count\n").hear(b"1\n");
    server.terminate();
    assert_eq!(client.hear_end(), b"421 bye\n");
    server.expect("accepted 1, cut 0");
}

fn a_handler_that_computes_sees_the_shutdown() {
    let server = Server::start(&["tcp"]);
    let mut client = server.connect();
    client.say(b"compute\n").hear(b"computing\n");
    server.terminate();
    client.hear(b"heard\n");
    server.expect("accepted 1, cut 0");
}

fn children_that_outlast_the_grace_time_are_cut_and_counted() {
    let server = Server::start(&["tcp", "grace"]);
    let mut client = server.connect();
    client.say(b"wait\n").hear(b"waiting\n");
    server.terminate();
    assert_eq!(client.hear_end(), b"");
    server.expect("accepted 1, cut 1");
}

fn no_more_children_than_may_be_serve_at_once() {
    let server = Server::start(&["tcp", "one-child"]);
    let mut first = server.connect();
    first.say(b"wait\n").hear(b"waiting\n");
    let mut second = server.connect();
    second.say(b"count\n");
    second
        .socket
        .set_read_timeout(Some(Duration::from_millis(30)))
        .unwrap();
    assert_eq!(
        second.socket.read(&mut [0; 8]).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    drop(first);
    second.socket.set_read_timeout(Some(PATIENCE)).unwrap();
    second.hear(b"1\n");
}

fn children_are_reaped_as_they_end() {
    let server = Server::start(&["tcp"]);
    let mut clients: Vec<Client> = (0..5).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.say(b"count\n").hear(b"1\n");
    }
    assert_eq!(server.children(), 5);
    clients.truncate(1);
    eventually(
        "one child is left, although nobody connects any more",
        || server.children() == 1,
    );
}

fn handle_request_serves_one_request_and_tells_of_a_time_out() {
    let servers = KINDS.map(|kind| {
        let server = Server::start(&[kind, "handle-request"]);
        let mut client = server.connect();
        client.say(b"count\n").hear(b"1\n");
        server
    });
    for server in servers {
        server.expect("handled; time-outs: 0");
        server.expect("handled; time-outs: 1");
    }
}

fn server_close_waits_for_the_children_unless_told_otherwise() {
    let server = Server::start(&["tcp", "close"]);
    let mut client = server.connect();
    client.say(b"wait\n").hear(b"waiting\n");
    server.let_close();
    server.expect_nothing();
    client.say(b"go\n").hear(b"go\n");
    drop(client);
    server.expect("closed");

    let server = Server::start(&["tcp", "close", "no-block"]);
    let mut client = server.connect();
    client.say(b"wait\n").hear(b"waiting\n");
    server.let_close();
    server.expect("closed");
    client.say(b"left to itself\n").hear(b"left to itself\n");
}

fn a_child_that_outlives_its_server_keeps_no_port() {
    let mut server = Server::start(&["tcp"]);
    let mut client = server.connect();
    client.say(b"wait\n").hear(b"waiting\n");
    server.kill();
    assert!(!server.is_listening());
    client.say(b"still served\n").hear(b"still served\n");
}

fn the_parent_counts_the_failures_and_panics_of_its_children() {
    for kind in KINDS {
        let server = Server::start(&[kind, "errors"]);
        server.connect().say(b"fail\n");
        server.expect("told to fail");
        server.connect().say(b"panic\n");
        server.expect("the handler panicked: told to panic");
        server.terminate();
        server.expect("failed 1, panics 1");
        server.expect("accepted 2, cut 0");
    }
}

fn a_child_that_a_signal_ends_is_counted_and_reported() {
    for kind in KINDS {
        let server = Server::start(&[kind, "errors"]);
        server.connect().say(b"crash\n");
        server.expect("the request's process PID was ended by signal 6");
        server.terminate();
        server.expect("failed 1, panics 0");
        server.expect("accepted 1, cut 0");
    }
}

fn a_child_that_ends_with_an_exit_code_is_counted_and_reported() {
    for kind in KINDS {
        let server = Server::start(&[kind, "errors"]);
        server.connect().say(b"exit\n");
        server.expect("the request's process PID ended with exit code 3");
        server.terminate();
        server.expect("failed 1, panics 0");
        server.expect("accepted 1, cut 0");
    }
}

fn a_child_that_ends_itself_with_success_is_no_failure() {
    let server = Server::start(&["tcp", "errors"]);
    assert_eq!(server.connect().say(b"exit 0\n").hear_end(), b"");
    server.end("accepted 1, cut 0");
}

fn a_panic_in_verify_request_does_not_run_the_program_twice() {
    for kind in ["tcp", "udp"] {
        let server = Server::start(&[kind, "errors", "panic-in-verify"]);
        server.connect().say(b"count\n");
        server.expect("the handler panicked: verify_request panics");
        server.terminate();
        server.expect("failed 0, panics 1");
        server.expect("accepted 1, cut 0");
    }
}

fn a_handler_may_shut_its_server_down() {
    let server = Server::start(&["tcp"]);
    let mut idle = server.connect();
    idle.say(b"count\n").hear(b"1\n");
    let mut busy = server.connect();
    busy.say(b"wait\n").hear(b"waiting\n");
    let mut client = server.connect();
    client.say(b"shutdown\n").hear(b"bye\n");
    assert_eq!(client.hear_end(), b"");
    assert_eq!(idle.hear_end(), b"");
    server.expect_nothing();
    busy.say(b"goes on\n").hear(b"goes on\n");
    server.expect("accepted 3, cut 0");
}

fn a_process_that_cannot_be_started_is_counted_and_reported() {
    let server = Server::start(&["tcp", "errors", "late-thread"]);
    server.expect("a thread was started");
    assert_eq!(server.connect().say(b"count\n").hear_end(), b"");
    server.expect("can't fork a process that has other threads");
    server.terminate();
    server.expect("failed 1, panics 0");
    server.expect("accepted 1, cut 0");
}

fn a_thread_that_cannot_be_started_is_counted_and_reported() {
    // No stack of this size can be had.
    let server = Server::start_with(&["tcp", "errors", "threads"], |command| {
        command.env("RUST_MIN_STACK", (1_u64 << 46).to_string())
    });
    assert_eq!(server.connect().say(b"count\n").hear_end(), b"");
    server.expect_some();
    server.terminate();
    server.expect("failed 1, panics 0");
    server.expect("accepted 1, cut 0");
}

fn a_limit_per_address_that_cannot_hold_is_refused() {
    let networks = || socketserver::Networks::parse(["127.0.0.0/8"]).unwrap();
    let class = |_: &_| |_: &mut socketserver::StreamRequest| Ok(socketserver::Next::Close);
    let settings = || {
        socketserver::Builder::new()
            .max_per_address(Some(1))
            .proxy_protocol(Some(networks()))
    };
    let refused = settings()
        .process(socketserver::ForkingMixIn::new())
        .tcp("127.0.0.1:0", class)
        .unwrap_err();
    assert!(refused.to_string().contains("PROXY"), "{refused}");
    settings().tcp("127.0.0.1:0", class).unwrap();
}

fn a_synchronous_server_hears_a_signal_while_its_client_pipelines() {
    let server = Server::start(&["tcp", "synchronous", "grace"]);
    let client = server.connect();
    let mut answers = client.socket.try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        let lines = b"count\n".repeat(1000);
        while (&client.socket).write_all(&lines).is_ok() {}
    });
    let (is_answered, answered) = std::sync::mpsc::channel();
    let receiving = std::thread::spawn(move || {
        let mut bytes = [0; 65_536];
        while answers.read(&mut bytes).is_ok_and(|count| count > 0) {
            let _ = is_answered.send(());
        }
    });
    answered
        .recv_timeout(PATIENCE)
        .expect("it is busy with them");
    server.terminate();
    // Whether it was cut depends on whether the client was between two messages just then.
    server.expect_some();
    sending.join().unwrap();
    receiving.join().unwrap();
}

fn a_synchronous_server_hears_a_signal_while_its_client_is_slow() {
    let server = Server::start(&["tcp", "synchronous", "grace"]);
    let mut client = server.connect();
    client.say(b"pid\ncou");
    client.socket.read_exact(&mut [0; 2]).unwrap();
    server.terminate();
    server.expect("failed 1, panics 0"); // the handler got half a line, and the end of the stream
    server.expect("accepted 1, cut 1");
    client.hear_end();

    let server = Server::start(&["tcp", "synchronous"]);
    let mut client = server.connect();
    client.say(b"count\ncou").hear(b"1\n");
    server.terminate();
    client.say(b"nt\n").hear(b"2\n");
    server.expect("accepted 1, cut 0");
    assert_eq!(client.hear_end(), b"");
}

fn a_child_is_woken_in_its_process_and_gives_its_server_nothing() {
    let server = Server::start(&["tcp"]);
    let mut client = server.connect();
    client.say(b"wake\n").hear(b"woken\n");
    let connection = b"a forked child cannot give its server a connection\n";
    client.say(b"reach\n").hear(connection).hear(connection);
    client.hear(b"a forked child cannot give its server a listening socket\n");
    drop(client);
    server.end("accepted 1, cut 0");
}

fn the_parent_listens_and_adopts_while_it_serves_and_cannot_drain() {
    let server = Server::start(&["tcp", "run-time"]);
    server.expect(
        "a forking server cannot end the connections of one listening socket, which are in other \
         processes: use `close`, or another concurrency model",
    );
    let mut client = server.connect();
    client.say(b"count\n").hear(b"1\n");
    eventually("each has a child", || server.children() == 3);
    server.terminate();
    server.expect("accepted 3, cut 0");
    server.expect("the adopted stream: 1");
    server.expect("the second listener: 1");
}
