//! Reads that stop before the socket is empty: urgent data, and descriptors that travel with bytes.

use std::io::IoSlice;
use std::os::fd::AsFd;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, send, sendmsg};
use socketserver::{Builder, ThreadingMixIn};

use crate::subjects::Obedient;
use crate::support::{Running, TestDir};

#[test]
fn bytes_behind_urgent_data_are_not_forgotten() {
    let server = Running::start(Builder::new().tcp("127.0.0.1:0", |_: &_| Obedient).unwrap());
    for round in 0..50 {
        let mut client = server.connect();
        if round % 2 == 0 {
            client.say(b"first\n").hear(b"first\n");
        }
        client.socket.set_tcp_nodelay(false).unwrap();
        // Held back until the last call: all three travel in one segment.
        send(&client.socket, b"ab", SendFlags::MORE).unwrap();
        send(&client.socket, b"!", SendFlags::OOB | SendFlags::MORE).unwrap();
        send(&client.socket, b"cd\n", SendFlags::empty()).unwrap();
        client.hear(b"abcd\n");
        client.say(b"last\n").hear(b"last\n");
    }
}

#[test]
fn bytes_behind_a_descriptor_are_not_forgotten() {
    let dir = TestDir::new();
    let settings = Builder::new().process(ThreadingMixIn::new());
    let server = settings.unix_stream(dir.join("socket"), |_: &_| Obedient);
    let server = Running::start(server.unwrap());
    let null = std::fs::File::open("/dev/null").unwrap();
    for _ in 0..50 {
        let mut client = server.connect();
        client.say(b"first\n").hear(b"first\n");
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = [null.as_fd()];
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
        let bytes = [IoSlice::new(b"ab")];
        sendmsg(&client.socket, &bytes, &mut control, SendFlags::empty()).unwrap();
        client.say(b"cd\n").hear(b"abcd\n");
    }
}
