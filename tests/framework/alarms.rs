//! What a handler has to do with deadlines: its last word, its own time-out, its alarms; and
//! servers that obey a clock set by hand.

use std::io::Write;
use std::time::Duration;

use socketserver::testing::TestConnection;
use socketserver::{
    Builder, ManualClock, Next, Result, StreamRequest, StreamRequestHandler, ThreadPerRequest,
    ThreadingMixIn, Timeout,
};

use crate::deadlines::{SECOND, assert_expires, without_deadlines};
use crate::support::{Running, eventually};

/// Has a time-out of its own, says which deadline has passed, and can be told to wait in several
/// ways.
struct Patient;

impl StreamRequestHandler for Patient {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        match request.rfile.take_all() {
            b"" => request.wfile.write_all(b"awake\n")?,
            b"wake me" => return Ok(Next::after(5 * SECOND)),
            b"working" => return Ok(Next::in_message()),
            _ => {}
        }
        Ok(Next::Wait)
    }

    fn on_timeout(&mut self, request: &mut StreamRequest, what: Timeout) {
        let _ = request.wfile.write_all(format!("{what:?}\n").as_bytes());
    }

    fn timeout(&self) -> Option<Duration> {
        Some(7 * SECOND)
    }
}

#[test]
fn a_handler_has_the_last_word_when_a_deadline_has_passed() {
    let (settings, hooks) = without_deadlines();
    let mut client = TestConnection::new(settings.idle_timeout(Some(60 * SECOND)), |_: &_| Patient);
    assert_expires(&mut client, &hooks, 60 * SECOND, Timeout::Idle);
    assert_eq!(client.received(), b"Idle\n");
}

#[test]
fn a_wait_with_a_time_calls_the_handler_once_instead_of_the_idle_time_out() {
    let (settings, hooks) = without_deadlines();
    let mut client = TestConnection::new(settings.idle_timeout(Some(3 * SECOND)), |_: &_| Patient);
    client
        .send(b"wake me")
        .advance(5 * SECOND - Duration::from_nanos(1));
    assert_eq!(
        client.received(),
        b"",
        "and the idle time-out didn't end it"
    );
    client.advance(Duration::from_nanos(1));
    assert_eq!(client.received(), b"awake\n");
    assert_expires(&mut client, &hooks, 3 * SECOND, Timeout::Idle);
}

#[test]
fn bytes_that_come_before_the_alarm_silence_it() {
    let (settings, _) = without_deadlines();
    let mut client = TestConnection::new(settings, |_: &_| Patient);
    client
        .send(b"wake me")
        .advance(SECOND)
        .send(b"x")
        .advance(100 * SECOND);
    assert_eq!(client.received(), b"");
}

#[test]
fn a_connection_that_stays_in_flight_has_the_read_time_out_and_survives_a_shutdown() {
    let (settings, hooks) = without_deadlines();
    let settings = settings
        .idle_timeout(Some(2 * SECOND))
        .head_timeout(Some(3 * SECOND));
    let mut client = TestConnection::new(settings, |_: &_| Patient);
    client.send(b"working").shutdown();
    assert!(!client.is_closed());
    assert_expires(&mut client, &hooks, 7 * SECOND, Timeout::Read);
    assert_eq!(client.received(), b"Read\n");
    let mut idle = TestConnection::new(Builder::new(), |_: &_| Patient);
    assert!(idle.send(b"not working").shutdown().is_closed());
}

#[test]
fn a_server_with_a_clock_set_by_hand_obeys_it() {
    let hand = ManualClock::new();
    let settings = || {
        Builder::new()
            .clock(hand.clock())
            .idle_timeout(Some(60 * SECOND))
    };
    let server = Running::start(
        settings()
            .process(ThreadingMixIn::new())
            .tcp("127.0.0.1:0", |_: &_| Patient)
            .unwrap(),
    );
    let mut client = server.connect();
    eventually("it is parked", || server.stats().parked == 1);
    hand.advance(59 * SECOND);
    client.say(b"wake me");
    eventually("it is parked again", || {
        server.stats().handled == 1 && server.stats().parked == 1
    });
    hand.advance(5 * SECOND);
    client.hear(b"awake\n");
    eventually("it is parked once more", || {
        server.stats().handled == 2 && server.stats().parked == 1
    });
    hand.advance(60 * SECOND);
    assert_eq!(client.hear_end(), b"Idle\n");
}

#[test]
fn a_thread_per_request_obeys_the_same_deadlines() {
    let settings = Builder::new()
        .process(ThreadPerRequest::new())
        .idle_timeout(Some(Duration::from_millis(20)));
    let server = Running::start(settings.tcp("127.0.0.1:0", |_: &_| Patient).unwrap());
    assert_eq!(server.connect().hear_end(), b"Idle\n");
    assert_eq!(server.stats().timeouts(Timeout::Idle), 1);
}
