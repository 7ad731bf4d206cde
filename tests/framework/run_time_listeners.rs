//! Listening sockets that a running server gains and loses.

use std::net::IpAddr;
use std::time::Duration;

use socketserver::{
    Address, Builder, Error, Listen, ManualClock, Next, Refusal, Result, RunningListener,
    StreamRequest, StreamRequestHandler,
};

use crate::subjects::{Obedient, concurrent_models, obedient};
use crate::support::{Client, Running, assert_closed, eventually};

fn any_port() -> Address {
    "127.0.0.1:0".parse().unwrap()
}

fn listen(server: &Running, options: Listen) -> RunningListener {
    let handle = &server.handle;
    handle
        .listen(any_port(), options, |_: &_| Obedient)
        .unwrap()
}

#[test]
fn a_listener_that_is_added_serves_until_it_is_dropped_and_its_connections_stay() {
    for settings in concurrent_models() {
        let server = obedient(settings);
        let listener = listen(&server, Listen::new());
        let address = listener.server_address().clone();
        let mut clients = [Client::connect(&address), Client::connect(&address)];
        for client in &mut clients {
            client.say(b"hello\n").hear(b"hello\n");
        }
        drop(listener);
        assert_closed(&address);
        for client in &mut clients {
            client.say(b"still here\n").hear(b"still here\n");
        }
        server.connect().say(b"hello\n").hear(b"hello\n");
        assert_eq!(server.stop().accepted, 3);
    }
}

#[test]
fn a_listener_for_one_connection_closes_after_it_or_at_its_time() {
    for settings in concurrent_models() {
        let time = ManualClock::new();
        let server = obedient(settings.clock(time.clock()));
        let minute = Duration::from_secs(60);
        let listener = listen(&server, Listen::new().once(Some(minute)));
        let address = listener.server_address().clone();
        let mut client = Client::connect(&address);
        client.say(b"hello\n").hear(b"hello\n");
        assert_closed(&address);
        client.say(b"still here\n").hear(b"still here\n");

        let listener = listen(&server, Listen::new().once(Some(minute)));
        time.advance(minute);
        // The thread that accepts looks at the clock when something happens.
        eventually("it closes", || {
            server.connect();
            server.stats().open < 50 && {
                let own = listener.server_address().inet().unwrap();
                std::net::TcpListener::bind(own).is_ok()
            }
        });
        drop(client);
    }
}

#[test]
fn a_listener_for_one_client_refuses_others() {
    for settings in concurrent_models() {
        let server = obedient(settings);
        let peer: IpAddr = "127.0.0.2".parse().unwrap();
        let listener = listen(&server, Listen::new().peer(peer).once(None));
        let address = listener.server_address();
        assert_eq!(Client::connect(address).hear_end(), b"");
        eventually("it is counted", || {
            server.stats().refused(Refusal::Denied) == 1
        });
        let mut expected = Client::connect_from("127.0.0.2", address);
        expected.say(b"hello\n").hear(b"hello\n");
        drop(expected);
        eventually("both are over", || server.stats().open == 0);
    }
}

#[test]
fn a_listener_takes_a_free_port_of_its_range() {
    let server = obedient(Builder::new());
    // A port that is free, and one that is taken.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let handle = &server.handle;
    let range = |ports| handle.listen(any_port(), Listen::new().ports(ports), |_: &_| Obedient);
    let Err(Error::Bind { address, .. }) = range(port..=port) else {
        panic!("a port that another socket has was bound");
    };
    assert_eq!(address, format!("127.0.0.1:{port}"));
    let listener = range(port..=port.saturating_add(50)).unwrap();
    let found = listener.server_address().inet().unwrap().port();
    assert!(found > port && found <= port + 50);
    #[expect(clippy::reversed_empty_ranges, reason = "that is the mistake")]
    let none = range(2..=1);
    assert!(matches!(none, Err(Error::Address(_))));
}

/// Opens a listener for a second connection, and tells its port.
struct Opener(Option<RunningListener>);

impl StreamRequestHandler for Opener {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        request.rfile.take_all();
        let options = Listen::new().once(None);
        let listener = request
            .server
            .listen(any_port(), options, |_: &_| Obedient)?;
        let port = listener
            .server_address()
            .inet()
            .map(|address| address.port());
        self.0 = Some(listener);
        let text = format!("{:05}\n", port.unwrap_or_default());
        std::io::Write::write_all(&mut request.wfile, text.as_bytes())?;
        Ok(Next::Wait)
    }
}

#[test]
fn a_handler_can_open_a_listener_for_a_second_connection() {
    for settings in concurrent_models() {
        let server = settings.tcp("127.0.0.1:0", |_: &_| Opener(None)).unwrap();
        let server = Running::start(server);
        let mut control = server.connect();
        control.say(b"open\n");
        let mut text = [0; 6];
        std::io::Read::read_exact(&mut control.socket, &mut text).unwrap();
        let port = std::str::from_utf8(&text).unwrap().trim_end();
        let address: std::net::SocketAddr = format!("127.0.0.1:{port}").parse().unwrap();
        let mut data = Client::connect(&address.into());
        data.say(b"data\n").hear(b"data\n");
    }
}

#[test]
fn listeners_end_with_the_server_and_none_is_added_after_it() {
    for settings in concurrent_models() {
        let server = obedient(settings);
        let listener = listen(&server, Listen::new());
        let handle = server.handle.clone();
        let address = listener.server_address().clone();
        server.stop();
        assert_closed(&address);
        let late = handle.listen(any_port(), Listen::new(), |_: &_| Obedient);
        assert!(matches!(late, Err(Error::Io(_))));
    }
}

#[test]
fn secondary_connections_do_not_count_for_their_address_and_get_no_refusal() {
    for settings in concurrent_models() {
        let server = obedient(settings.max_per_address(Some(1)).max_connections(3));
        let mut client = server.connect();
        client.say(b"hello\n").hear(b"hello\n");
        let listener = listen(&server, Listen::new().secondary());
        let mut data = [(); 2].map(|()| Client::connect(listener.server_address()));
        for data in &mut data {
            data.say(b"hello\n").hear(b"hello\n");
        }
        let refused = server.stats().refused(Refusal::MaxConnections);
        assert_eq!(Client::connect(listener.server_address()).hear_end(), b"");
        eventually("it is counted", || {
            server.stats().refused(Refusal::MaxConnections) == refused + 1
        });
    }
}
