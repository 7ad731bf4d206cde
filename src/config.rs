//! The limits and deadlines of a server, as [`Builder`](crate::Builder) sets them.

use std::time::Duration;

/// How long a peer may take, phase by phase. `None` is without end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// From the beginning of a TLS handshake, a PROXY header or a message until the handler took it
    /// whole from the buffer. Defaults to 10 s.
    pub head: Option<Duration>,
    /// Parked between messages, or before the first byte. Defaults to 10 min.
    pub idle: Option<Duration>,
    /// No byte came within a message. Defaults to 30 s.
    pub read: Option<Duration>,
    /// The peer took no byte of an answer. Defaults to 30 s.
    pub write: Option<Duration>,
    /// After the last byte: how long unread input is dropped before the socket closes, so that an
    /// answer isn't lost to a reset. Defaults to 2 s.
    pub linger: Option<Duration>,
    /// Bytes per second, over windows of [`Timeouts::RATE_WINDOW`], below which a peer is cut
    /// within a message; 0 is off. Defaults to 100.
    pub min_rate: u64,
}

impl Timeouts {
    /// Over how long [`min_rate`](Timeouts::min_rate) is measured.
    pub const RATE_WINDOW: Duration = Duration::from_secs(10);
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            head: Some(Duration::from_secs(10)),
            idle: Some(Duration::from_secs(600)),
            read: Some(Duration::from_secs(30)),
            write: Some(Duration::from_secs(30)),
            linger: Some(Duration::from_secs(2)),
            min_rate: 100,
        }
    }
}

/// How much a server takes on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Open connections; more are refused after the accept. Defaults to 16,384.
    pub max_connections: usize,
    /// Open connections of one client address. Defaults to no limit.
    pub max_per_address: Option<usize>,
    /// Connections that are ready and wait for a thread; past that, new ones are refused. Defaults
    /// to 16,384.
    pub max_queue: usize,
    /// Bytes of one message that a handler may leave unread in the buffer while it waits for the
    /// rest. Defaults to 64 KiB.
    pub max_message: usize,
    /// Bytes of a datagram, from 1 to 1 MiB; a value outside of this range means the nearest one in
    /// it. A longer datagram is truncated (Python's `max_packet_size`). Defaults to 8,192.
    pub max_packet_size: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_connections: 16_384,
            max_per_address: None,
            max_queue: 16_384,
            max_message: 64 * 1024,
            max_packet_size: 8192,
        }
    }
}
