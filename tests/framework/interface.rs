//! What the interface spares the authors of handlers.

use socketserver::testing::TestConnection;
use socketserver::{Builder, ClientAddress, RequestHandlerClass, StreamRequestHandler};

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
