//! What a handler's methods are called for, in which order, and what becomes of its errors.

use std::io::{BufRead, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use socketserver::testing::TestConnection;
use socketserver::{
    Builder, DatagramRequest, Error, Next, Result, StreamRequest, StreamRequestHandler,
};

use crate::subjects::{Obedient, Recorder};
use crate::support::{Client, Running};

/// Writes its calls down; fails in the one that it is told.
#[derive(Clone)]
struct Diary {
    calls: Arc<Mutex<Vec<&'static str>>>,
    fails_in: &'static str,
}

impl Diary {
    fn failing_in(fails_in: &'static str) -> Diary {
        Diary {
            calls: Arc::default(),
            fails_in,
        }
    }

    fn note(&self, call: &'static str) -> Result<()> {
        self.calls.lock().push(call);
        if call == self.fails_in {
            Err(Error::Protocol(format!("failed in {call}")))
        } else {
            Ok(())
        }
    }
}

impl StreamRequestHandler for Diary {
    fn setup(&mut self, request: &mut StreamRequest) -> Result<()> {
        request.wfile.write_all(b"hello\n")?;
        self.note("setup")
    }

    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        request.wfile.write_all(request.rfile.take_all())?;
        self.note("handle")?;
        Ok(if request.rfile.is_eof() {
            Next::Close
        } else {
            Next::Wait
        })
    }

    fn finish(&mut self, request: &mut StreamRequest) -> Result<()> {
        request.wfile.write_all(b"goodbye\n")?;
        self.note("finish")
    }
}

#[test]
fn setup_handle_and_finish_are_called_in_this_order() {
    let diary = Diary::failing_in("nothing");
    let calls = Arc::clone(&diary.calls);
    let mut client = TestConnection::new(Builder::new(), move |_: &_| diary.clone());
    assert_eq!(
        client.received(),
        b"hello\n",
        "setup's greeting goes out before the client says a word"
    );
    assert_eq!(*calls.lock(), ["setup"]);
    client.send(b"a").send(b"b").finish();
    assert_eq!(client.received(), b"abgoodbye\n");
    assert!(client.is_closed());
    assert_eq!(
        *calls.lock(),
        ["setup", "handle", "handle", "handle", "finish"]
    );
}

#[test]
fn finish_is_called_after_a_handle_that_failed_but_not_after_such_a_setup() {
    for (fails_in, expected, heard) in [
        ("setup", vec!["setup"], &b"hello\n"[..]),
        (
            "handle",
            vec!["setup", "handle", "finish"],
            b"hello\nxgoodbye\n",
        ),
        (
            "finish",
            vec!["setup", "handle", "handle", "finish"],
            b"hello\nxgoodbye\n",
        ),
    ] {
        let (hooks, diary) = (Recorder::default(), Diary::failing_in(fails_in));
        let calls = Arc::clone(&diary.calls);
        let mut client = TestConnection::new(Builder::new().hooks(hooks.clone()), move |_: &_| {
            diary.clone()
        });
        client.send(b"x").finish();
        assert!(client.is_closed());
        assert_eq!(*calls.lock(), expected);
        assert_eq!(hooks.errors(), [format!("failed in {fails_in}")]);
        assert_eq!(
            client.received(),
            heard,
            "what was written before a failure in {fails_in}"
        );
    }
}

#[test]
fn a_handler_that_speaks_first_is_called_before_the_client_sends() {
    struct Clock;
    impl StreamRequestHandler for Clock {
        fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
            request.wfile.write_all(b"noon\n")?;
            Ok(Next::Close)
        }
        fn speaks_first(&self) -> bool {
            true
        }
    }
    let server = Running::start(Builder::new().tcp("127.0.0.1:0", |_: &_| Clock).unwrap());
    assert_eq!(server.connect().hear_end(), b"noon\n");
}

#[test]
fn a_handler_in_the_style_of_python_reads_and_writes_blockingly() {
    let class = |_: &_| {
        |request: &mut StreamRequest| {
            let mut line = String::new();
            request.rfile.read_line(&mut line)?;
            let mut body = vec![
                0;
                line.trim_end()
                    .parse()
                    .map_err(|_| Error::Protocol("no number".to_owned()))?
            ];
            request.rfile.read_exact(&mut body)?;
            body.reverse();
            request.wfile.write_all(&body)?;
            request.wfile.flush()?;
            Ok(Next::Close)
        }
    };
    let server = Running::start(Builder::new().tcp("127.0.0.1:0", class).unwrap());
    let body: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
    let mut client = server.connect();
    client.say(b"2000");
    client
        .say(b"00\n")
        .say(&body[..70_000])
        .say(&body[70_000..]);
    assert_eq!(
        client.hear_end(),
        body.iter().rev().copied().collect::<Vec<u8>>()
    );
}

#[test]
fn a_line_or_message_that_is_too_long_is_an_error() {
    let hooks = Recorder::default();
    let mut client = TestConnection::new(Builder::new().hooks(hooks.clone()), |_: &_| Obedient);
    client.send(&[b'x'; 5000]);
    assert!(client.is_closed());
    let hoard = |_: &_| |_: &mut StreamRequest| Ok(Next::Wait);
    let settings = Builder::new().hooks(hooks.clone()).max_message(20_000);
    let mut client = TestConnection::new(settings, hoard);
    client.send(&[b'x'; 19_000]);
    assert!(!client.is_closed());
    client.send(&[b'x'; 1_001]);
    assert!(client.is_closed());
    assert_eq!(
        hooks.errors(),
        [
            "a line is longer than 4096 bytes",
            "a message is longer than 20000 bytes"
        ]
    );
}

#[test]
fn an_answer_is_not_lost_although_the_client_sends_what_nobody_reads() {
    let class = |_: &_| {
        |request: &mut StreamRequest| {
            request.wfile.write_all(b"enough\n")?;
            request.linger();
            Ok(Next::Close)
        }
    };
    let server = Running::start(Builder::new().tcp("127.0.0.1:0", class).unwrap());
    for _ in 0..20 {
        let mut client = server.connect();
        client.say(&vec![b'x'; 500_000]).hear(b"enough\n");
        assert_eq!(client.hear_end(), b"");
    }
}

#[test]
fn a_handler_knows_both_addresses() {
    let class = |_: &_| {
        |request: &mut StreamRequest| {
            request.rfile.take_all();
            let text = format!(
                "{} {}\n",
                request.client_address,
                request.server_address().unwrap()
            );
            request.wfile.write_all(text.as_bytes())?;
            Ok(Next::Wait)
        }
    };
    let server = Running::start(Builder::new().tcp("127.0.0.1:0", class).unwrap());
    let mut client = server.connect();
    let own = client.socket.local_addr().unwrap().as_socket().unwrap();
    let expected = format!("{own} {}\n", server.address());
    client.say(b"who?").hear(expected.as_bytes());
}

#[test]
fn a_datagram_handler_may_answer_never_often_and_later() {
    let (tell, repliers) = std::sync::mpsc::channel();
    let class = move |_: &_| {
        let tell = tell.clone();
        move |request: &mut DatagramRequest| {
            match request.packet() {
                b"never" => {}
                b"often" => (0..3).try_for_each(|_| request.reply(b"often"))?,
                _ => tell.send(request.replier()).unwrap(),
            }
            Ok(())
        }
    };
    let server = Running::start(Builder::new().udp("127.0.0.1:0", class).unwrap());
    let mut client = Client::datagrams(server.address());
    client
        .say(b"never")
        .say(b"often")
        .hear(b"often")
        .hear(b"often")
        .hear(b"often")
        .say(b"later");
    repliers
        .recv_timeout(Duration::from_secs(10))
        .unwrap()
        .reply(b"now")
        .unwrap();
    client.hear(b"now");
}

#[test]
fn a_datagram_longer_than_the_buffer_is_marked_as_truncated() {
    let class = |_: &_| {
        |request: &mut DatagramRequest| {
            request.wfile =
                format!("{} {}", request.packet().len(), request.is_truncated()).into_bytes();
            Ok(())
        }
    };
    for address in ["127.0.0.1:0", "0.0.0.0:0"] {
        let server = Running::start(
            Builder::new()
                .max_packet_size(8)
                .udp(address, class)
                .unwrap(),
        );
        let mut at = server.address().inet().unwrap();
        at.set_ip([127, 0, 0, 1].into());
        let mut client = Client::datagrams(&socketserver::ServerAddress::Inet(at));
        client
            .say(b"12345678")
            .hear(b"8 false")
            .say(b"123456789")
            .hear(b"8 true");
    }
}
