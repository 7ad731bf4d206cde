//! What the interface spares the authors of handlers.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use socketserver::testing::TestConnection;
use socketserver::{
    Address, AddressFamily, Builder, ClientAddress, Error, Limits, Next, RequestHandlerClass,
    Result, StreamRequest, StreamRequestHandler, Timeouts, ToAddress,
};

use crate::subjects::{Obedient, Recorder};
use crate::support::TestDir;

#[test]
fn a_closure_needs_no_type_of_its_argument_to_be_a_handler_class() {
    let dir = TestDir::new();
    Builder::new().tcp("127.0.0.1:0", |_| Obedient).unwrap();
    Builder::new().udp("127.0.0.1:0", |_| Obedient).unwrap();
    Builder::new()
        .unix_stream(dir.join("stream"), |_| Obedient)
        .unwrap();
    Builder::new()
        .unix_datagram(dir.join("datagram"), |_| Obedient)
        .unwrap();
    Builder::new().bind("127.0.0.1:0", |_| Obedient).unwrap();
    Builder::new()
        .bind_datagram("127.0.0.1:0", |_| Obedient)
        .unwrap();
    let mut client = TestConnection::new(Builder::new(), |client| {
        assert_eq!(*client, ClientAddress::Memory);
        Obedient
    });
    client.send(b"hello\n");
    assert_eq!(client.received(), b"hello\n");
}

/// A type of the program's own gives its handlers away as a closure.
#[test]
fn a_method_can_return_a_handler_class() {
    fn class() -> impl RequestHandlerClass<Box<dyn StreamRequestHandler>> {
        |_: &ClientAddress| Box::new(Obedient) as Box<dyn StreamRequestHandler>
    }
    let mut client = TestConnection::new(Builder::new(), class());
    client.send(b"hello\n");
    assert_eq!(client.received(), b"hello\n");
}

#[test]
fn servers_listen_on_whatever_names_a_host_and_a_port() {
    fn listen(at: impl ToAddress) -> Result<String> {
        let settings = Builder::new().address_family(AddressFamily::V4);
        let mut server = settings.tcp(&at, |_| Obedient)?;
        server.listen_also(&at)?;
        Builder::new().udp(&at, |_| Obedient)?;
        Builder::new().bind(&at, |_| Obedient)?;
        Builder::new().bind_datagram(&at, |_| Obedient)?;
        let port = server.server_address().inet().unwrap().port();
        let address = server.server_address().to_string();
        Ok(address.replace(&format!(":{port}"), ":PORT"))
    }
    let loopback = "127.0.0.1:PORT";
    assert_eq!(listen("127.0.0.1:0").unwrap(), loopback);
    assert_eq!(listen("127.0.0.1:0".to_owned()).unwrap(), loopback);
    assert_eq!(listen(("127.0.0.1", 0)).unwrap(), loopback);
    assert_eq!(listen((Ipv4Addr::LOCALHOST, 0)).unwrap(), loopback);
    assert_eq!(
        listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap(),
        loopback
    );
    assert_eq!(
        listen("127.0.0.1:0".parse::<Address>().unwrap()).unwrap(),
        loopback
    );
    assert_eq!(listen(":0").unwrap(), "0.0.0.0:PORT");
    let errors = [
        (
            "localhost",
            "invalid address `localhost`: the port is missing",
        ),
        (
            "unix:/run/a",
            "`unix:/run/a` is a Unix socket; expected HOST:PORT",
        ),
    ];
    for (text, message) in errors {
        assert!(listen(text).unwrap_err().to_string().starts_with(message));
    }
}

#[test]
fn limits_and_deadlines_are_set_in_one_expression() {
    let second = Some(Duration::from_secs(1));
    let timeouts = Timeouts::default().head(second).idle(None).read(second);
    let timeouts = timeouts.write(second).linger(None).min_rate(7);
    assert_eq!(
        (timeouts.head, timeouts.idle, timeouts.read),
        (second, None, second)
    );
    assert_eq!(
        (timeouts.write, timeouts.linger, timeouts.min_rate),
        (second, None, 7)
    );
    let limits = Limits::default()
        .max_connections(1)
        .max_per_address(Some(2));
    let limits = limits.max_queue(3).max_message(4).max_packet_size(5);
    assert_eq!(
        (limits.max_connections, limits.max_per_address),
        (1, Some(2))
    );
    assert_eq!(
        (limits.max_queue, limits.max_message, limits.max_packet_size),
        (3, 4, 5)
    );
    let text = format!("{:?}", Builder::new().limits(limits).timeouts(timeouts));
    assert!(
        text.contains("max_message: 4") && text.contains("min_rate: 7"),
        "{text}"
    );
}

/// `?` in a handler: errors of parsing, boxed ones, and those of other crates.
#[test]
fn a_handler_fails_with_an_error_of_its_own() {
    type AnyError = Box<dyn std::error::Error + Send + Sync>;
    fn answer(text: &str) -> Result<(), AnyError> {
        let _: serde_json::Value = serde_json::from_str(text)?;
        Err("it is valid".into())
    }
    fn handle(request: &mut StreamRequest) -> Result<Next> {
        let line = std::str::from_utf8(request.rfile.take_all())?;
        if let Some(number) = line.strip_prefix('#') {
            number.parse::<u8>()?;
        }
        if let Some(json) = line.strip_prefix("json ") {
            let _: serde_json::Value = serde_json::from_str(json).map_err(Error::handler)?;
        }
        answer(line)?;
        Ok(Next::Wait)
    }
    let kind = |input: &[u8]| {
        let hooks = Recorder::default();
        let mut client = TestConnection::new(Builder::new().hooks(hooks.clone()), |_| handle);
        client.send(input);
        assert!(client.is_closed());
        assert_eq!(client.server().stats().failed, 1);
        hooks.errors()
    };
    assert_eq!(
        kind(b"\xff"),
        ["invalid utf-8 sequence of 1 bytes from index 0"]
    );
    assert_eq!(kind(b"#256"), ["number too large to fit in target type"]);
    assert_eq!(
        kind(b"json {"),
        ["EOF while parsing an object at line 1 column 1"]
    );
    assert_eq!(
        kind(b"{"),
        ["EOF while parsing an object at line 1 column 1"]
    );
    assert_eq!(kind(b"1"), ["it is valid"]);
}

/// A method of the same name would be hidden or change its meaning where a trait is imported.
#[test]
fn no_method_of_rfile_has_the_name_of_one_of_read() {
    use std::io::{BufRead, Read};
    let class = |_: &_| {
        |request: &mut StreamRequest| {
            // These are the methods of `Read` and `BufRead`, without a qualification.
            let mut two = Vec::new();
            request.rfile.by_ref().take(2).read_to_end(&mut two)?;
            let three = request.rfile.take_exact(3).map(<[u8]>::to_vec);
            assert_eq!((&*two, three.as_deref()), (&b"ab"[..], Some(&b"cde"[..])));
            let line = request.rfile.by_ref().lines().next().transpose()?;
            std::io::Write::write_all(&mut request.wfile, line.unwrap_or_default().as_bytes())?;
            Ok(Next::Wait)
        }
    };
    let mut client = TestConnection::new(Builder::new(), class);
    client.send(b"abcdef\n");
    assert_eq!(client.received(), b"f");
}
