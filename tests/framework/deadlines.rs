//! Every deadline, in memory, with a clock set by hand.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socketserver::testing::TestConnection;
use socketserver::{
    Builder, ManualClock, Networks, Next, StreamRequest, ThreadingMixIn, Timeout, Wait,
};

use crate::subjects::{Obedient, Recorder};
use crate::support::{Gate, Running, eventually};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// No deadline at all, and the hooks that would hear of one.
pub(crate) fn without_deadlines() -> (Builder, Recorder) {
    let hooks = Recorder::default();
    let settings = Builder::new()
        .hooks(hooks.clone())
        .idle_timeout(None)
        .head_timeout(None)
        .read_timeout(None);
    (settings.write_timeout(None).min_rate(0), hooks)
}

/// Fails unless the connection is open just before `at` (from now), and is cut for `what` then.
#[track_caller]
pub(crate) fn assert_expires(
    client: &mut TestConnection,
    hooks: &Recorder,
    at: Duration,
    what: Timeout,
) {
    client.advance(at - Duration::from_millis(1));
    assert!(!client.is_closed(), "it is too early");
    assert_eq!(hooks.expiries(), []);
    client.advance(Duration::from_millis(1));
    assert!(client.is_closed(), "it is time");
    assert_eq!(hooks.expiries(), [what]);
    assert_eq!(
        (
            client.server().stats().timeouts(what),
            client.server().stats().timeouts_total()
        ),
        (1, 1)
    );
}

#[test]
fn a_client_that_says_nothing_expires_as_idle() {
    let (settings, hooks) = without_deadlines();
    let mut client =
        TestConnection::new(settings.idle_timeout(Some(60 * SECOND)), |_: &_| Obedient);
    assert_expires(&mut client, &hooks, 60 * SECOND, Timeout::Idle);
}

#[test]
fn each_message_begins_the_idle_time_anew() {
    let (settings, hooks) = without_deadlines();
    let mut client =
        TestConnection::new(settings.idle_timeout(Some(60 * SECOND)), |_: &_| Obedient);
    for _ in 0..5 {
        client.advance(59 * SECOND).send(b"still here\n");
        assert_eq!(client.received(), b"still here\n");
    }
    assert_expires(&mut client, &hooks, 60 * SECOND, Timeout::Idle);
}

#[test]
fn a_message_must_be_whole_by_the_head_time_out_however_its_bytes_drip() {
    let (settings, hooks) = without_deadlines();
    let settings = settings
        .head_timeout(Some(10 * SECOND))
        .read_timeout(Some(30 * SECOND));
    let mut client = TestConnection::new(settings, |_: &_| Obedient);
    client.advance(100 * SECOND).send(b"x");
    for _ in 0..9 {
        client.advance(SECOND).send(b"x");
    }
    assert_expires(&mut client, &hooks, SECOND, Timeout::Head);
}

#[test]
fn a_client_that_stops_within_a_message_expires_by_the_read_time_out() {
    let (settings, hooks) = without_deadlines();
    let mut client =
        TestConnection::new(settings.read_timeout(Some(30 * SECOND)), |_: &_| Obedient);
    client.send(b"one\ntw").advance(20 * SECOND).send(b"o");
    assert_eq!(client.received(), b"one\n");
    assert_expires(&mut client, &hooks, 30 * SECOND, Timeout::Read);
}

#[test]
fn a_client_that_takes_nothing_of_an_answer_expires_by_the_write_time_out() {
    let (settings, hooks) = without_deadlines();
    let mut client =
        TestConnection::new(settings.write_timeout(Some(30 * SECOND)), |_: &_| Obedient);
    client.take_only(3).send(b"answer\n");
    assert_eq!(client.received(), b"ans");
    client.advance(20 * SECOND).take_only(2);
    assert_eq!(client.received(), b"we");
    assert_expires(&mut client, &hooks, 30 * SECOND, Timeout::Write);
}

#[test]
fn a_client_below_the_least_rate_is_too_slow_although_it_never_stalls() {
    let (settings, hooks) = without_deadlines();
    let settings = settings.min_rate(100).read_timeout(Some(30 * SECOND));
    let mut client = TestConnection::new(settings, |_: &_| Obedient);
    client.send(b"x");
    for _ in 0..9 {
        client.advance(SECOND).send(b"x");
    }
    assert_expires(&mut client, &hooks, SECOND, Timeout::TooSlow);
}

#[test]
fn a_client_above_the_least_rate_may_go_on() {
    let (settings, hooks) = without_deadlines();
    let settings = settings
        .min_rate(100)
        .read_timeout(Some(30 * SECOND))
        .max_message(1 << 20);
    let hoard = |_: &_| |_: &mut StreamRequest| Ok(Next::Wait);
    let mut client = TestConnection::new(settings, hoard);
    client.send(b"x");
    for _ in 0..60 {
        client.advance(SECOND).send(&[b'x'; 120]);
    }
    assert!(!client.is_closed(), "{:?}", hooks.errors());
}

#[test]
fn a_slow_reader_below_the_least_rate_is_too_slow() {
    let (settings, hooks) = without_deadlines();
    let settings = settings.min_rate(100).write_timeout(Some(30 * SECOND));
    let answer: Arc<[u8]> = vec![b'x'; 100_000].into();
    let class = move |_: &_| {
        let answer = answer.clone();
        move |request: &mut StreamRequest| {
            request.rfile.take_all();
            request.wfile.send_shared(answer.clone(), 0..answer.len())?;
            Ok(Next::Wait)
        }
    };
    let mut client = TestConnection::new(settings, class);
    client.take_only(1).send(b"give");
    for _ in 0..9 {
        client.advance(SECOND).take_only(1);
    }
    assert_expires(&mut client, &hooks, SECOND, Timeout::TooSlow);
}

#[test]
pub(crate) fn without_deadlines_a_connection_stays_for_years() {
    let (settings, _) = without_deadlines();
    let mut client = TestConnection::new(settings, |_: &_| Obedient);
    client
        .advance(10_000_000 * SECOND)
        .send(b"hal")
        .advance(10_000_000 * SECOND)
        .send(b"lo\n");
    assert_eq!(client.received(), b"hallo\n");
}

#[test]
fn a_proxy_that_sends_no_header_expires_by_the_head_time_out() {
    let (settings, hooks) = without_deadlines();
    let trusted = Networks::parse(["192.0.2.0/24"]).unwrap();
    let settings = settings
        .head_timeout(Some(10 * SECOND))
        .proxy_protocol(Some(trusted));
    let proxy: SocketAddr = "192.0.2.1:5000".parse().unwrap();
    let mut client = TestConnection::from(settings, proxy.into(), |_: &_| Obedient);
    client.send(b"PROXY TCP4 ");
    assert_expires(&mut client, &hooks, 10 * SECOND, Timeout::Head);
}

#[test]
fn a_handler_that_works_and_answers_in_between_is_not_too_slow() {
    let working = |_: &_| {
        move |request: &mut StreamRequest| {
            if request.rfile.take_all().is_empty() {
                request.wfile.write_all(b".")?;
            }
            let wait = Wait::new().in_message();
            Ok(wait.after(Duration::from_millis(900)).into())
        }
    };
    let mut client = TestConnection::new(Builder::new(), working);
    client.send(b"job").advance(90 * SECOND);
    assert_eq!(client.received().len(), 100);
    assert_eq!(client.server().stats().timeouts_total(), 0);
}

#[test]
fn a_long_job_is_waited_for_longer_than_the_read_timeout() {
    let working = |_: &_| {
        |request: &mut StreamRequest| {
            if request.rfile.take_all().is_empty() {
                request.wfile.write_all(b"done")?;
                return Ok(Next::Close);
            }
            Ok(Wait::new().in_message().after(250 * SECOND).into())
        }
    };
    let mut client = TestConnection::new(Builder::new(), working);
    client.send(b"job").advance(250 * SECOND);
    assert_eq!(client.received(), b"done");
}

#[test]
fn silence_within_a_message_ends_at_the_read_timeout_not_at_the_minimum_rate() {
    let (settings, hooks) = without_deadlines();
    let settings = settings.min_rate(100).read_timeout(Some(30 * SECOND));
    let waiting = |_: &_| {
        |request: &mut StreamRequest| {
            request.rfile.take_all();
            Ok(Next::in_message())
        }
    };
    let mut client = TestConnection::new(settings, waiting);
    client.send(b"x");
    assert_expires(&mut client, &hooks, 30 * SECOND, Timeout::Read);
    let (settings, _) = without_deadlines();
    let mut client = TestConnection::new(settings.min_rate(100), waiting);
    client.send(b"x").advance(1000 * SECOND);
    assert!(!client.is_closed(), "the read timeout is off");
}

#[test]
fn an_answer_that_nobody_reads_ends_at_the_write_timeout_not_at_the_minimum_rate() {
    let (settings, hooks) = without_deadlines();
    let settings = settings.min_rate(100).write_timeout(Some(30 * SECOND));
    let mut client = TestConnection::new(settings, |_: &_| Obedient);
    client.take_only(3).send(b"hello\n");
    assert_expires(&mut client, &hooks, 30 * SECOND, Timeout::Write);
}

#[test]
fn timeouts_without_end_are_no_deadlines() {
    let settings = Builder::new()
        .idle_timeout(Some(Duration::MAX))
        .head_timeout(Some(Duration::MAX))
        .read_timeout(Some(Duration::MAX))
        .write_timeout(Some(Duration::MAX))
        .min_rate(u64::MAX);
    let mut client = TestConnection::new(settings, |_: &_| Obedient);
    client.send(b"half").advance(1_000_000 * SECOND).send(b"\n");
    assert_eq!(client.received(), b"half\n");
}

#[test]
fn a_time_without_end_is_waited_for() {
    let waits = |_: &_| {
        |request: &mut StreamRequest| {
            request.rfile.take_all();
            Ok(Wait::new().in_message().after(Duration::MAX).into())
        }
    };
    let mut client = TestConnection::new(Builder::new(), waits);
    client.send(b"x").advance(10_000 * SECOND);
    assert!(!client.is_closed());
}

#[test]
fn a_client_that_trickles_into_reads_without_waiting_is_too_slow() {
    let class = |_: &_| {
        |request: &mut StreamRequest| {
            let mut bytes = [0; 64];
            while let Some(1..) = request.rfile.try_read(&mut bytes)? {}
            Ok(Next::in_message())
        }
    };
    let mut client = TestConnection::new(Builder::new(), class);
    client.send(b"x");
    for second in 0..20 {
        if !client.is_closed() {
            client.advance(SECOND).send(b"x");
        }
        assert_eq!(client.is_closed(), second >= 9, "{second}");
    }
    assert_eq!(client.server().stats().timeouts(Timeout::TooSlow), 1);
}

#[test]
fn time_in_the_queue_does_not_make_a_client_slow() {
    let (clock, gate) = (ManualClock::new(), Gate::default());
    let stop = gate.clone();
    let class = move |_: &_| {
        let gate = stop.clone();
        move |request: &mut StreamRequest| {
            if request.rfile.buffer().ends_with(b"block\n") {
                gate.pass();
            }
            let waits = !request.rfile.buffer().ends_with(b"\n");
            if !waits {
                let bytes = request.rfile.take_all();
                request.wfile.write_all(bytes)?;
            }
            Ok(Next::Wait)
        }
    };
    let pool = ThreadingMixIn::new().threads(1).max_threads(1);
    let settings = Builder::new().process(pool).clock(clock.clock());
    let settings = settings.head_timeout(None).read_timeout(None);
    let server = Running::start(settings.tcp("127.0.0.1:0", class).unwrap());
    let mut client = server.connect();
    client.say(b"half");
    eventually("it is under way", || server.handle.in_flight().len() == 1);
    let mut other = server.connect();
    other.say(b"block\n");
    gate.wait_entered(1);
    client.say(b" a line\n");
    eventually("it waits for the thread", || server.stats().queued == 1);
    clock.advance(60 * SECOND);
    gate.open(1);
    other.hear(b"block\n");
    client.hear(b"half a line\n");
    assert_eq!(server.stats().timeouts_total(), 0);
}
