//! What the interface spares the authors of handlers.

use std::time::Duration;

use socketserver::testing::TestConnection;
use socketserver::{
    Builder, ClientAddress, Limits, RequestHandlerClass, StreamRequestHandler, Timeouts,
};

use crate::subjects::Obedient;
use crate::support::TestDir;

#[test]
fn a_closure_needs_no_type_of_its_argument_to_be_a_handler_class() {
    let dir = TestDir::new();
    let tcp = Builder::new().tcp("127.0.0.1:0", |_| Obedient).unwrap();
    Builder::new().udp("127.0.0.1:0", |_| Obedient).unwrap();
    Builder::new()
        .unix_stream(dir.join("stream"), |_| Obedient)
        .unwrap();
    Builder::new()
        .unix_datagram(dir.join("datagram"), |_| Obedient)
        .unwrap();
    let address = tcp.server_address().to_string();
    drop(tcp);
    let address = address.parse().unwrap();
    Builder::new().bind(&address, |_| Obedient).unwrap();
    Builder::new()
        .bind_datagram(&address, |_| Obedient)
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
