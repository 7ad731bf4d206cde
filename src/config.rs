//! The limits and deadlines of a server, as [`Builder`](crate::Builder) sets them.

use std::time::Duration;

/// The deadlines of a connection.
///
#[doc = include_str!("../docs/deadlines.md")]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// Maximum time until a PROXY header or a TLS handshake is complete, and for which a handler
    /// may leave the bytes of a message in the buffer. Defaults to 10 s.
    pub head: Option<Duration>,
    /// Maximum silence between two messages and before the first one. Defaults to 10 min.
    pub idle: Option<Duration>,
    /// Maximum pause between bytes of one message. Defaults to 30 s.
    pub read: Option<Duration>,
    /// Maximum time for which output waits while the peer takes none of it. Defaults to 30 s.
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

/// The limits of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Maximum number of open connections. Further ones are accepted and then refused; 0 refuses
    /// all. Defaults to 16,384.
    pub max_connections: usize,
    /// Maximum number of open connections of one client address, which a PROXY header may name.
    /// Defaults to `None`: no limit.
    pub max_per_address: Option<usize>,
    /// Maximum number of connections that are ready and wait for a thread of the pool. Beyond it
    /// new connections are refused. Defaults to 16,384.
    pub max_queue: usize,
    /// Maximum number of bytes that a handler may leave unread in the buffer while it waits for the
    /// rest of its message. More end the connection with [`Error::MessageTooLong`]. At least 1.
    /// Defaults to 64 KiB.
    ///
    /// [`Error::MessageTooLong`]: crate::Error::MessageTooLong
    pub max_message: usize,
    /// Maximum size of a datagram in bytes (Python's `max_packet_size`). A longer datagram is
    /// truncated. Range: 1 to 1 MiB; other values are moved into it. Defaults to 8,192.
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
