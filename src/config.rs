//! The limits and deadlines of a server, as [`Builder`](crate::Builder) sets them.

use std::time::Duration;

/// The deadlines of a connection.
///
/// ```
/// use std::time::Duration;
/// use socketserver::{Builder, Timeouts};
///
/// // For clients on slow lines, which also stay for days:
/// let patient = Timeouts::default()
///     .idle(None)
///     .head(Some(Duration::from_secs(60)))
///     .read(Some(Duration::from_secs(300)))
///     .write(Some(Duration::from_secs(300)))
///     .linger(Some(Duration::from_secs(10)))
///     .min_rate(10);
/// let builder = Builder::new().timeouts(patient);
/// ```
///
#[doc = include_str!("../docs/deadlines.md")]
#[must_use]
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

/// Each method sets the field of the same name, whose documentation states the default.
impl Timeouts {
    /// Length of the windows over which [`min_rate`](Timeouts::min_rate) is measured.
    pub const RATE_WINDOW: Duration = Duration::from_secs(10);

    /// Sets [`head`](Timeouts::head), the maximum time for a handshake, a PROXY header or the head
    /// of a message. `None` is without end.
    pub fn head(self, time: Option<Duration>) -> Timeouts {
        Timeouts { head: time, ..self }
    }

    /// Sets [`idle`](Timeouts::idle), the maximum silence between two messages. `None` is without
    /// end.
    pub fn idle(self, time: Option<Duration>) -> Timeouts {
        Timeouts { idle: time, ..self }
    }

    /// Sets [`read`](Timeouts::read), the maximum pause between bytes of one message. `None` is
    /// without end.
    pub fn read(self, time: Option<Duration>) -> Timeouts {
        Timeouts { read: time, ..self }
    }

    /// Sets [`write`](Timeouts::write), the maximum time for which the peer takes no output. `None`
    /// is without end.
    pub fn write(self, time: Option<Duration>) -> Timeouts {
        Timeouts {
            write: time,
            ..self
        }
    }

    /// Sets [`linger`](Timeouts::linger), the maximum time for which unread input is dropped after
    /// the last byte. `None` waits until the peer closes, zero does not wait.
    pub fn linger(self, time: Option<Duration>) -> Timeouts {
        Timeouts {
            linger: time,
            ..self
        }
    }

    /// Sets [`min_rate`](Timeouts::min_rate), the minimum number of bytes a second within a
    /// message. 0 is off.
    pub fn min_rate(self, bytes_per_second: u64) -> Timeouts {
        Timeouts {
            min_rate: bytes_per_second,
            ..self
        }
    }
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
///
/// ```
/// use socketserver::{Builder, Limits};
///
/// let small = Limits::default()
///     .max_connections(100)
///     .max_per_address(Some(4))
///     .max_queue(100)
///     .max_message(4096)
///     .max_packet_size(1400);
/// let builder = Builder::new().limits(small);
/// ```
#[must_use]
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
    /// new connections are refused. Connections that others have woken, such as by a broadcast, do
    /// not count. Defaults to 16,384.
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

/// Each method sets the field of the same name, whose documentation states the default.
impl Limits {
    /// Sets [`max_connections`](Limits::max_connections), the maximum number of open connections. 0
    /// refuses all.
    pub fn max_connections(self, count: usize) -> Limits {
        Limits {
            max_connections: count,
            ..self
        }
    }

    /// Sets [`max_per_address`](Limits::max_per_address), the maximum number of open connections of
    /// one client address.
    pub fn max_per_address(self, count: Option<usize>) -> Limits {
        Limits {
            max_per_address: count,
            ..self
        }
    }

    /// Sets [`max_queue`](Limits::max_queue), the maximum number of connections that are ready and
    /// wait for a thread of the pool.
    pub fn max_queue(self, count: usize) -> Limits {
        Limits {
            max_queue: count,
            ..self
        }
    }

    /// Sets [`max_message`](Limits::max_message), the maximum number of bytes that a handler may
    /// leave unread. At least 1.
    pub fn max_message(self, bytes: usize) -> Limits {
        Limits {
            max_message: bytes,
            ..self
        }
    }

    /// Sets [`max_packet_size`](Limits::max_packet_size), the maximum size of a datagram in bytes,
    /// from 1 to 1 MiB.
    pub fn max_packet_size(self, bytes: usize) -> Limits {
        Limits {
            max_packet_size: bytes,
            ..self
        }
    }
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
