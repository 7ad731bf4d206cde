//! Handlers that read until they are done, as in Python: they hold their thread, within the limits.

use std::io::{BufRead, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, poll};
use socketserver::{
    Builder, ManualClock, Next, Result, StreamRequest, StreamRequestHandler, Synchronous,
    ThreadPerRequest, ThreadingMixIn, Timeout,
};

use crate::deadlines::SECOND;
use crate::support::{PATIENCE, ReadBytes, Running, eventually};

/// A shutdown does not end within this time if it waits for somebody.
const A_MOMENT: Duration = Duration::from_millis(20);

/// Sends every line back without ever flushing, until the client leaves.
#[derive(Clone, Default)]
struct Lines {
    own_timeout: Option<Option<Duration>>,
    timed_out: Arc<Mutex<Vec<Timeout>>>,
    /// Does not answer.
    silent: bool,
}

impl StreamRequestHandler for Lines {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        if let Some(timeout) = self.own_timeout {
            request.rfile.set_timeout(timeout);
        }
        let mut line = String::new();
        while request.rfile.read_line(&mut line)? > 0 {
            if !self.silent {
                request.wfile.write_all(line.as_bytes())?;
            }
            line.clear();
        }
        Ok(Next::Close)
    }

    fn on_timeout(&mut self, _: &mut StreamRequest, timeout: Timeout) {
        self.timed_out.lock().push(timeout);
    }
}

fn models() -> [Builder; 3] {
    [
        Builder::new().process(ThreadingMixIn::new()),
        Builder::new().process(ThreadPerRequest::new()),
        Builder::new().process(Synchronous),
    ]
}

fn serve(settings: Builder, lines: Lines) -> Running {
    let class = move |_: &_| lines.clone();
    Running::start(settings.tcp("127.0.0.1:0", class).unwrap())
}

#[test]
fn what_was_written_is_sent_before_a_read_waits() {
    for settings in models() {
        let server = serve(settings, Lines::default());
        let mut client = server.connect();
        for _ in 0..3 {
            client.say(b"hello\n").hear(b"hello\n");
        }
    }
}

#[test]
fn a_user_who_types_a_line_now_and_then_is_not_too_slow() {
    for silent in [false, true] {
        let clock = ManualClock::new();
        let lines = Lines {
            silent,
            ..Lines::default()
        };
        let read = ReadBytes::default();
        let settings = Builder::new().clock(clock.clock()).trace(read.trace());
        let server = serve(settings, lines);
        let mut client = server.connect();
        for line in 0..30 {
            // In two segments: the minimum rate would see both.
            client.say(b"a");
            read.wait_for(3 * line + 1);
            client.say(b"b\n");
            read.wait_for(3 * line + 3);
            if !silent {
                client.hear(b"ab\n");
            }
            clock.advance(if line == 15 { 300 * SECOND } else { 3 * SECOND });
        }
        assert_eq!(server.stats().timeouts_total(), 0);
        assert_eq!(server.stats().open, 1);
    }
}

#[test]
fn silence_between_two_messages_ends_at_the_idle_timeout() {
    let lines = Lines::default();
    let timed_out = Arc::clone(&lines.timed_out);
    let idle = Duration::from_millis(150);
    let settings = Builder::new().idle_timeout(Some(idle));
    let server = serve(settings.read_timeout(Some(idle / 10)), lines);
    let mut client = server.connect();
    client.say(b"hello\n").hear(b"hello\n");
    let begun = Instant::now();
    client.hear_end();
    assert!(begun.elapsed() >= idle * 9 / 10, "{:?}", begun.elapsed());
    assert_eq!(server.stats().timeouts(Timeout::Idle), 1);
    assert_eq!(*timed_out.lock(), [Timeout::Idle]);
}

#[test]
fn a_message_that_stops_ends_at_the_read_timeout() {
    let lines = Lines::default();
    let timed_out = Arc::clone(&lines.timed_out);
    let settings = Builder::new().read_timeout(Some(Duration::from_millis(50)));
    let server = serve(settings, lines);
    let mut client = server.connect();
    client.say(b"hello\n").hear(b"hello\n").say(b"half a li");
    client.hear_end();
    assert_eq!(server.stats().timeouts(Timeout::Read), 1);
    assert_eq!(*timed_out.lock(), [Timeout::Read]);
}

#[test]
fn a_handler_that_sets_no_timeout_waits_without_end() {
    let (clock, read) = (ManualClock::new(), ReadBytes::default());
    let settings = Builder::new().clock(clock.clock()).trace(read.trace());
    let lines = Lines {
        own_timeout: Some(None),
        ..Lines::default()
    };
    let server = serve(settings, lines);
    let mut client = server.connect();
    client.say(b"hello\n").hear(b"hello\n");
    eventually("it is read", || server.handle.in_flight().len() == 1);
    for _ in 0..100 {
        clock.advance(100 * SECOND);
    }
    client.say(b"half");
    read.wait_for(b"hello\nhalf".len());
    clock.advance(10_000 * SECOND);
    client.say(b" a line\n").hear(b"half a line\n");
    assert_eq!(server.stats().timeouts_total(), 0);
}

#[test]
fn a_shutdown_reaches_a_handler_that_waits_for_its_next_message() {
    for settings in models() {
        // `join` waits for less than the grace time.
        let mut server = serve(settings.grace(10 * PATIENCE), Lines::default());
        let mut client = server.connect();
        client.say(b"hello\n").hear(b"hello\n");
        server.handle.shutdown();
        server.join();
        assert_eq!(client.hear_end(), b"");
        assert_eq!((server.stats().aborted, server.stats().failed), (0, 0));
    }
}

#[test]
fn a_message_that_never_ends_has_the_grace_period() {
    for settings in models() {
        let grace = Duration::from_millis(100);
        let read = ReadBytes::default();
        let settings = settings.grace(grace).trace(read.trace());
        let mut server = serve(settings, Lines::default());
        let mut client = server.connect();
        client.say(b"hello\n").hear(b"hello\n").say(b"half a li");
        read.wait_for(b"hello\nhalf a li".len());
        let begun = Instant::now();
        server.handle.shutdown();
        server.join();
        assert!(begun.elapsed() >= grace * 9 / 10, "{:?}", begun.elapsed());
        client.hear_end();
    }
}

#[test]
fn frames_that_are_read_exactly_are_messages_too() {
    let (clock, read) = (ManualClock::new(), ReadBytes::default());
    let class = |_: &_| {
        |request: &mut StreamRequest| {
            let mut frame = [0; 10];
            while request.rfile.read_exact(&mut frame).is_ok() {}
            Ok(Next::Close)
        }
    };
    let settings = Builder::new().clock(clock.clock()).trace(read.trace());
    let server = Running::start(settings.tcp("127.0.0.1:0", class).unwrap());
    let mut client = server.connect();
    for frame in 1..=20 {
        client.say(b"0123456789");
        read.wait_for(10 * frame);
        clock.advance(3 * SECOND);
    }
    assert_eq!(
        (server.stats().timeouts_total(), server.stats().open),
        (0, 1)
    );
}

#[test]
fn a_handler_can_wait_for_its_descriptor_by_itself() {
    let class = |_: &_| {
        |request: &mut StreamRequest| {
            request.rfile.take_all();
            let mut bytes = [0; 64];
            // Nothing is there for now: the socket is known to be empty.
            assert_eq!(request.rfile.try_read(&mut bytes)?, None);
            request.wfile.write_all(b"ready\n")?;
            request.wfile.flush()?;
            if let Some(fd) = request.fileno() {
                poll(&mut [PollFd::new(&fd, PollFlags::IN)], None).unwrap();
            }
            let count = request.rfile.try_read(&mut bytes)?;
            request.wfile.write_all(format!("{count:?}\n").as_bytes())?;
            Ok(Next::Close)
        }
    };
    let server = Running::start(Builder::new().tcp("127.0.0.1:0", class).unwrap());
    let mut client = server.connect();
    client.say(b"x").hear(b"ready\n").say(b"four");
    assert_eq!(client.hear_end(), b"Some(4)\n");
}

#[test]
fn a_line_that_has_begun_is_completed_during_a_shutdown() {
    for settings in models() {
        let mut server = serve(settings.grace(PATIENCE), Lines::default());
        let mut client = server.connect();
        client.say(b"a\nb").hear(b"a\n");
        server.handle.shutdown();
        assert!(!server.handle.wait(Some(A_MOMENT)));
        client.say(b"c\n").hear(b"bc\n");
        server.join();
        assert_eq!(server.stats().aborted, 0);
    }
}

#[test]
fn the_rest_of_a_line_behind_an_answered_one_has_the_read_timeout() {
    let settings = Builder::new().read_timeout(Some(Duration::from_millis(50)));
    let server = serve(settings, Lines::default());
    let mut client = server.connect();
    client.say(b"a\nb").hear(b"a\n");
    client.hear_end();
    assert_eq!(server.stats().timeouts(Timeout::Read), 1);
}

#[test]
fn a_loop_of_plain_reads_outlives_a_sender_that_pauses() {
    let (clock, read) = (ManualClock::new(), ReadBytes::default());
    let class = |_: &_| {
        |request: &mut StreamRequest| {
            let mut bytes = [0; 1024];
            let mut count = 0;
            loop {
                match request.rfile.read(&mut bytes)? {
                    0 => break,
                    some => count += some,
                }
            }
            write!(request.wfile, "{count}")?;
            Ok(Next::Close)
        }
    };
    let settings = Builder::new().clock(clock.clock()).trace(read.trace());
    let server = Running::start(settings.tcp("127.0.0.1:0", class).unwrap());
    let mut client = server.connect();
    for line in 1..=20 {
        client.say(b"a line\n");
        read.wait_for(7 * line);
        clock.advance(3 * SECOND);
    }
    client.socket.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.hear_end(), b"140");
    assert_eq!(server.stats().timeouts_total(), 0);
}

#[test]
fn a_body_that_is_read_exactly_is_completed_during_a_shutdown() {
    let class = |_: &_| {
        |request: &mut StreamRequest| {
            let mut head = [0; 4];
            request.rfile.read_exact(&mut head)?;
            let mut body = [0; 6];
            request.rfile.read_exact(&mut body)?;
            request.wfile.write_all(b"stored")?;
            Ok(Next::Close)
        }
    };
    for settings in models() {
        let read = ReadBytes::default();
        let settings = settings.grace(PATIENCE).trace(read.trace());
        let mut server = Running::start(settings.tcp("127.0.0.1:0", class).unwrap());
        let mut client = server.connect();
        client.say(b"head");
        read.wait_for(b"head".len());
        server.handle.shutdown();
        assert!(!server.handle.wait(Some(A_MOMENT)));
        client.say(b"a body");
        assert_eq!(client.hear_end(), b"stored");
        server.join();
    }
}
