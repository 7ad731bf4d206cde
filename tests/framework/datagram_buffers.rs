//! The system's receive buffer of a datagram socket, and what it drops.

use std::net::{Ipv4Addr, UdpSocket};

use socket2::SockRef;
use socketserver::{
    Builder, ClientAddress, DatagramRequest, DatagramRequestHandler, Result, Server, ServerAddress,
    Synchronous,
};

use crate::subjects::Obedient;
use crate::support::{Client, Gate, Running, TestDir, eventually};

/// The size of the receive buffer, as the system counts it.
fn receive_buffer(server: &Server) -> usize {
    let socket = server.fileno().unwrap();
    SockRef::from(&socket).recv_buffer_size().unwrap()
}

#[test]
fn the_receive_buffer_of_a_datagram_socket_has_the_size_that_was_asked_for() {
    let settings = || Builder::new().receive_buffer(Some(20_000));
    let class = |_: &_| Obedient;
    let bound = settings().udp("127.0.0.1:0", class).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let adopted = settings().from_datagram_socket(socket, class).unwrap();
    for server in [bound, adopted] {
        // Linux doubles it.
        let expected = if cfg!(target_os = "linux") {
            40_000
        } else {
            20_000
        };
        assert_eq!(receive_buffer(&server), expected);
        let server = Running::start(server);
        Client::datagrams(server.address()).say(b"x").hear(b"x");
    }
    let default = Builder::new().udp("127.0.0.1:0", class).unwrap();
    assert_eq!(
        receive_buffer(&default),
        SockRef::from(&UdpSocket::bind("127.0.0.1:0").unwrap())
            .recv_buffer_size()
            .unwrap()
    );
}

#[cfg(target_os = "linux")]
#[test]
fn an_extreme_receive_buffer_is_moved_into_the_systems_range() {
    let class = |_: &_| Obedient;
    let largest = std::fs::read_to_string("/proc/sys/net/core/rmem_max").unwrap();
    let largest: usize = largest.trim().parse().unwrap();
    let dir = TestDir::new();
    for (number, bytes) in [usize::MAX, 0].into_iter().enumerate() {
        let settings = || Builder::new().receive_buffer(Some(bytes));
        let server = settings().udp("127.0.0.1:0", class).unwrap();
        match bytes {
            0 => assert!((1..10_000).contains(&receive_buffer(&server))),
            _ => assert_eq!(receive_buffer(&server), 2 * largest),
        }
        let server = Running::start(server);
        Client::datagrams(server.address()).say(b"x").hear(b"x");
        let path = dir.join(format!("s{number}"));
        let server = Running::start(settings().unix_datagram(path, class).unwrap());
        Client::datagrams(server.address()).say(b"x").hear(b"x");
    }
}

/// Whether the system says how many datagrams it dropped.
const IS_COUNTED: bool = cfg!(all(target_os = "linux", not(feature = "portable-sockets")));

/// Waits at the gate for each packet `wait`.
fn gated(gate: &Gate) -> impl Fn(&ClientAddress) -> Box<dyn DatagramRequestHandler> + use<> {
    let gate = gate.clone();
    move |_| {
        let gate = gate.clone();
        Box::new(move |request: &mut DatagramRequest| -> Result<()> {
            if request.packet() == b"wait" {
                gate.pass();
            }
            Ok(())
        })
    }
}

#[test]
fn datagrams_that_the_system_drops_are_counted_for_every_socket() {
    const SENT: u64 = 100;
    for bound in ["127.0.0.1:0", "0.0.0.0:0"] {
        let gate = Gate::default();
        let settings = Builder::new()
            .process(Synchronous)
            .receive_buffer(Some(5_000));
        let mut server = settings.udp(bound, gated(&gate)).unwrap();
        server.listen_also("127.0.0.1:0").unwrap();
        let server = Running::start(server);
        let clients = server.addresses.iter().map(|address| {
            let mut address = address.inet().unwrap();
            address.set_ip(Ipv4Addr::LOCALHOST.into());
            Client::datagrams(&ServerAddress::Inet(address))
        });
        let mut clients: Vec<Client> = clients.collect();
        clients[0].say(b"wait");
        gate.wait_entered(1);
        // The only thread waits at the gate, so these fill both receive buffers.
        for client in &mut clients {
            for _ in 0..SENT {
                client.say(&[7; 1000]);
            }
        }
        let dropped = if IS_COUNTED {
            eventually("most are dropped", || {
                server.stats().datagrams_dropped > 2 * SENT * 3 / 4
            });
            server.stats().datagrams_dropped
        } else {
            0
        };
        gate.open(1);
        if IS_COUNTED {
            eventually("the others are served", || {
                server.stats().handled == 1 + 2 * SENT - dropped
            });
        }
        // The count outlives the sockets.
        let stats = server.stop();
        assert_eq!(stats.datagrams_dropped, dropped);
        assert_eq!((stats.failed, stats.refused_total()), (0, 0));
    }
}

#[test]
fn datagrams_that_were_dropped_before_the_server_had_the_socket_do_not_count() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    SockRef::from(&socket).set_recv_buffer_size(5_000).unwrap();
    let address = ServerAddress::Inet(socket.local_addr().unwrap());
    let mut client = Client::datagrams(&address);
    for _ in 0..100 {
        client.say(&[7; 1000]);
    }
    let settings = Builder::new().process(Synchronous);
    let class = |_: &_| |_: &mut DatagramRequest| Ok(());
    let server = Running::start(settings.from_datagram_socket(socket, class).unwrap());
    eventually("what was kept is served", || server.stats().handled > 0);
    let stats = server.stop();
    assert!(stats.handled < 100, "nothing was dropped");
    assert_eq!(stats.datagrams_dropped, 0);
}
