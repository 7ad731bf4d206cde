//! The limits and deadlines of a server, as [`Builder`](crate::Builder) sets them.

use std::time::Duration;

/// The deadlines of a connection.
///
#[doc = include_str!("../docs/deadlines.md")]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// Maximum time for a PROXY header, a TLS handshake, or the bytes of a message that the handler
    /// leaves in the buffer. Defaults to 10 s.
    pub head: Option<Duration>,
    /// Maximum silence between two messages and before the first one. Defaults to 10 min.
    pub idle: Option<Duration>,
    /// Maximum pause between bytes of one message. Defaults to 30 s.
    pub read: Option<Duration>,
    /// Maximum time in which the peer takes nothing of the output. Defaults to 30 s.
    pub write: Option<Duration>,
    /// Maximum time for which unread input is dropped after the last byte, so that no reset
    /// destroys the answer; `None` waits until the peer closes, zero does not wait. Defaults to
    /// 2 s.
    pub linger: Option<Duration>,
    /// Minimum number of bytes a second within a message, measured over windows of
    /// [`Timeouts::RATE_WINDOW`]; 0 is off. Defaults to 100.
    pub min_rate: u64,
}

impl Timeouts {
    /// Length of the windows over which [`min_rate`](Timeouts::min_rate) is measured.
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
