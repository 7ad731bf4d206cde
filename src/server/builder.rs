//! The settings of a server.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::address::Networks;
use crate::bind::{AddressFamily, BindOptions};
use crate::clock::Clock;
use crate::config::{Limits, Timeouts};
use crate::hooks::ServerHooks;
use crate::process::{ProcessRequest, ThreadingMixIn};
use crate::tls::Tls;
use crate::trace::Trace;

/// The settings of a server. The last call makes the server and binds its socket.
///
/// A duration may have any value. `None` is without end, and so is a duration that is too long for
/// the system's clock, such as [`Duration::MAX`]. Zero passes immediately.
///
/// ```
/// use std::time::Duration;
/// use socketserver::{Builder, Next, StreamRequest};
///
/// let hello = |request: &mut StreamRequest| {
///     request.rfile.take_all();
///     Ok(Next::Wait)
/// };
/// let builder = Builder::new().idle_timeout(Some(Duration::from_secs(60)));
/// let server = builder.tcp("127.0.0.1:0", move |_| hello).unwrap();
/// assert_ne!(server.server_address().inet().unwrap().port(), 0);
/// ```
///
/// All settings but those of TLS, with some that differ from their defaults:
///
/// ```
/// use std::time::Duration;
/// use socketserver::{
///     AddressFamily, Builder, Clock, DefaultHooks, Limits, Networks, Next, StreamRequest,
///     ThreadingMixIn, Timeouts,
/// };
///
/// let second = Some(Duration::from_secs(1));
/// let builder = Builder::new()
///     .name("greeter")
///     .process(ThreadingMixIn::new().threads(4))
///     .hooks(DefaultHooks)
///     .trace(|peer: &_, traffic: socketserver::Traffic<'_>| println!("{peer} {traffic:?}"))
///     .clock(Clock::default())
///     // The socket:
///     .address_family(AddressFamily::V4)
///     .request_queue_size(100)
///     .allow_reuse_address(true)
///     .allow_reuse_port(false)
///     .proxy_protocol(Some(Networks::parse(["10.0.0.1"])?))
///     // Deadlines:
///     .timeouts(Timeouts::default().linger(second))
///     .head_timeout(second)
///     .read_timeout(second)
///     .write_timeout(second)
///     .min_rate(0)
///     .timeout(second)
///     .poll_interval(Duration::from_millis(100))
///     .grace(Duration::from_secs(5))
///     // Limits:
///     .limits(Limits::default().max_packet_size(1400))
///     .max_connections(1000)
///     .max_per_address(Some(10))
///     .max_queue(1000)
///     .max_message(4096);
/// let close = |_: &mut StreamRequest| Ok(Next::Close);
/// let server = builder.tcp(":0", move |_| close)?;
/// # Ok::<(), socketserver::Error>(())
/// ```
#[must_use = "the settings of a builder take effect when it makes a server"]
pub struct Builder {
    pub(super) name: Option<Arc<str>>,
    pub(super) connects_in_memory: bool,
    pub(super) bind: BindOptions,
    pub(super) timeouts: Timeouts,
    pub(super) limits: Limits,
    pub(super) clock: Clock,
    pub(super) hooks: Option<Box<dyn ServerHooks>>,
    pub(super) process: Arc<dyn ProcessRequest>,
    pub(super) tls: Option<Tls>,
    pub(super) plaintext: bool,
    pub(super) proxies: Option<Networks>,
    pub(super) trace: Option<Arc<dyn Trace>>,
    pub(super) timeout: Option<Duration>,
    pub(super) poll_interval: Duration,
    pub(super) ordered_datagrams: bool,
    pub(super) grace: Duration,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("bind", &self.bind)
            .field("timeouts", &self.timeouts)
            .field("limits", &self.limits)
            .field("tls", &self.tls)
            .field("grace", &self.grace)
            .finish_non_exhaustive()
    }
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            name: None,
            connects_in_memory: false,
            bind: BindOptions::default(),
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            clock: Clock::default(),
            hooks: None,
            process: Arc::new(ThreadingMixIn::new()),
            tls: None,
            plaintext: false,
            proxies: None,
            trace: None,
            timeout: None,
            poll_interval: Duration::from_millis(500),
            ordered_datagrams: false,
            grace: Duration::from_secs(10),
        }
    }
}

/// The settings.
impl Builder {
    /// The defaults.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// The name of the server, which [`ConnectionInfo::service`](crate::ConnectionInfo::service)
    /// shows. Defaults to none.
    pub fn name(self, name: impl Into<Arc<str>>) -> Builder {
        Builder {
            name: Some(name.into()),
            ..self
        }
    }

    /// The concurrency model: where requests are processed. Defaults to a [`ThreadingMixIn`] of the
    /// server's own.
    pub fn process(self, how: impl ProcessRequest) -> Builder {
        Builder {
            process: Arc::new(how),
            ..self
        }
    }

    /// The hooks that decide which clients are served and are informed of events. Defaults to
    /// [`DefaultHooks`](crate::DefaultHooks).
    pub fn hooks(self, hooks: impl ServerHooks) -> Builder {
        Builder {
            hooks: Some(Box::new(hooks)),
            ..self
        }
    }

    /// Maximum number of connections that the system keeps until they are accepted (the listen
    /// backlog). The system lowers it to its own limit, on Linux `net.core.somaxconn`. Defaults to
    /// 1,024 (5 in Python).
    pub fn request_queue_size(mut self, backlog: u32) -> Builder {
        self.bind.request_queue_size = backlog;
        self
    }

    /// Whether a TCP port can be bound again while connections of an earlier server on it are in
    /// TIME_WAIT (`SO_REUSEADDR`). Defaults to true (false in Python's `TCPServer`, true in its
    /// HTTP server).
    pub fn allow_reuse_address(mut self, yes: bool) -> Builder {
        self.bind.allow_reuse_address = yes;
        self
    }

    /// Whether several servers may bind the same port, and share its connections
    /// (`SO_REUSEPORT`). Defaults to false.
    pub fn allow_reuse_port(mut self, yes: bool) -> Builder {
        self.bind.allow_reuse_port = yes;
        self
    }

    /// The IP address family to listen on. Defaults to [`AddressFamily::Any`]: the family of the
    /// address; `:PORT` is both families on one socket.
    pub fn address_family(mut self, family: AddressFamily) -> Builder {
        self.bind.address_family = family;
        self
    }

    /// Maximum time that `handle_request` waits for a request. Defaults to `None`: without end.
    pub fn timeout(self, timeout: Option<Duration>) -> Builder {
        Builder { timeout, ..self }
    }

    /// The pause between two calls of `service_actions`, at least 1 ms. A shutdown never waits for
    /// it. A server without hooks makes no pauses. Defaults to 500 ms.
    pub fn poll_interval(self, interval: Duration) -> Builder {
        Builder {
            poll_interval: interval.max(Duration::from_millis(1)),
            ..self
        }
    }

    /// Maximum time that requests in flight may take after a shutdown, from the call of
    /// [`shutdown`](crate::ServerHandle::shutdown) or from the signal. Then they are aborted. Zero
    /// aborts them immediately; [`Duration::MAX`] waits without end. Defaults to 10 s.
    pub fn grace(self, grace: Duration) -> Builder {
        Builder { grace, ..self }
    }

    /// All deadlines. Defaults to [`Timeouts::default`].
    pub fn timeouts(self, timeouts: Timeouts) -> Builder {
        Builder { timeouts, ..self }
    }

    /// Maximum pause between two messages, and before the first. See [`Timeouts::idle`]. Defaults
    /// to 10 min.
    pub fn idle_timeout(mut self, time: Option<Duration>) -> Builder {
        self.timeouts.idle = time;
        self
    }

    /// Maximum time for a TLS handshake, a PROXY header, or the head of a message. See
    /// [`Timeouts::head`]. Defaults to 10 s.
    pub fn head_timeout(mut self, time: Option<Duration>) -> Builder {
        self.timeouts.head = time;
        self
    }

    /// Maximum pause between bytes of one message. See [`Timeouts::read`]. Defaults to 30 s.
    pub fn read_timeout(mut self, time: Option<Duration>) -> Builder {
        self.timeouts.read = time;
        self
    }

    /// Maximum time in which the peer accepts no byte of the output. See [`Timeouts::write`].
    /// Defaults to 30 s.
    pub fn write_timeout(mut self, time: Option<Duration>) -> Builder {
        self.timeouts.write = time;
        self
    }

    /// Minimum rate within a message, in bytes per second over windows of 10 s; a slower peer's
    /// connection ends. See [`Timeouts::min_rate`]. 0 is off. Defaults to 100.
    pub fn min_rate(mut self, bytes_per_second: u64) -> Builder {
        self.timeouts.min_rate = bytes_per_second;
        self
    }

    /// All limits. Defaults to [`Limits::default`].
    pub fn limits(self, limits: Limits) -> Builder {
        Builder { limits, ..self }
    }

    /// Maximum number of open connections; more are refused. 0 refuses all. Defaults to 16,384.
    pub fn max_connections(mut self, count: usize) -> Builder {
        self.limits.max_connections = count;
        self
    }

    /// Maximum number of open connections of one client address. Defaults to `None`: no limit.
    pub fn max_per_address(mut self, count: Option<usize>) -> Builder {
        self.limits.max_per_address = count;
        self
    }

    /// Maximum number of connections that are ready and wait for a thread of the pool; beyond it
    /// new ones are refused. Defaults to 16,384.
    pub fn max_queue(mut self, count: usize) -> Builder {
        self.limits.max_queue = count;
        self
    }

    /// Maximum size, in bytes, of an unfinished message that is kept for its handler. Defaults to
    /// 64 KiB.
    pub fn max_message(mut self, bytes: usize) -> Builder {
        self.limits.max_message = bytes;
        self
    }

    /// Maximum size of a datagram in bytes, from 1 to 1 MiB; longer ones are truncated. A value
    /// outside of the range means the nearest one in it. Defaults to 8,192, Python's.
    pub fn max_packet_size(mut self, bytes: usize) -> Builder {
        self.limits.max_packet_size = bytes;
        self
    }

    /// Size of the receive buffer of a UDP socket, in bytes (`SO_RCVBUF`, socket(7)): the system
    /// keeps datagrams there until the server receives them, and drops those that do not fit
    /// ([`datagrams_dropped`](crate::StatsSnapshot::datagrams_dropped)). A burst needs a buffer
    /// that holds all of it.
    ///
    /// Linux doubles the value, because it counts its own bookkeeping too: a datagram of a few
    /// bytes takes about 800. It lowers the value to `net.core.rmem_max`, without an error. FreeBSD
    /// and macOS refuse a value above `kern.ipc.maxsockbuf`. Values above 2 GiB mean 2 GiB. The
    /// setting has no effect on connections, and none on Unix sockets on Linux (unix(7)).
    ///
    /// An error of the system is an [`Error::Bind`](crate::Error::Bind) of the call that binds the
    /// socket. Defaults to `None`: the system's size, on Linux `net.core.rmem_default`.
    ///
    /// ```
    /// use socketserver::{Builder, DatagramRequest};
    ///
    /// let class = |_: &_| |request: &mut DatagramRequest| request.reply(b"received");
    /// let settings = Builder::new().receive_buffer(Some(100_000));
    /// let server = settings.udp("127.0.0.1:0", class).unwrap();
    /// assert_eq!(server.handle().stats().datagrams_dropped, 0);
    /// ```
    pub fn receive_buffer(mut self, bytes: Option<usize>) -> Builder {
        self.bind.receive_buffer = bytes;
        self
    }

    /// Whether the datagrams of one peer are served one after the other, in the order in which the
    /// system delivered them to the socket. Datagrams of different peers are still served at the
    /// same time, and a peer that waits holds no thread. A peer is an address and port; Unix
    /// clients without an address count as one peer. With several listening sockets the order holds
    /// for each of them.
    ///
    /// While a datagram of a peer is served, at most 64 more of the same peer wait in memory.
    /// Further ones are dropped, counted as [`Refusal::QueueFull`](crate::Refusal::QueueFull), and
    /// reported to [`handle_refusal`](crate::ServerHooks::handle_refusal). UDP itself may lose,
    /// repeat and reorder datagrams on their way (RFC 768), so a protocol that needs every datagram
    /// in order still numbers them.
    ///
    /// The setting costs a lock and an entry in a map for each datagram. It has no effect on
    /// connections, and none on [`Synchronous`](crate::Synchronous), which keeps the order anyway.
    /// Building a datagram server with it and a [`ForkingMixIn`](crate::ForkingMixIn) is an error.
    /// See [`DatagramRequestHandler`](crate::DatagramRequestHandler) for the order without it.
    /// Defaults to false.
    ///
    /// ```
    /// use socketserver::{Builder, DatagramRequest};
    ///
    /// // A later position of a player never overtakes an earlier one.
    /// let class = |_: &_| |request: &mut DatagramRequest| request.reply(b"moved");
    /// let server = Builder::new().ordered_datagrams(true).udp("127.0.0.1:0", class).unwrap();
    /// # assert_ne!(server.server_address().inet().unwrap().port(), 0);
    /// ```
    pub fn ordered_datagrams(self, yes: bool) -> Builder {
        Builder {
            ordered_datagrams: yes,
            ..self
        }
    }

    /// The certificate, with which every connection is encrypted. Needs the feature `tls`. Defaults
    /// to `None`: no TLS.
    #[cfg(feature = "tls")]
    pub fn tls(self, tls: Option<Tls>) -> Builder {
        Builder { tls, ..self }
    }

    /// With TLS, whether a client that does not use TLS is served too. The first byte decides: 0x16
    /// begins a TLS handshake (RFC 8446 §5.1). [`is_tls`](crate::StreamRequest::is_tls) says which
    /// it was; the handler should only redirect a plain client. The handler is made when that byte
    /// has arrived, so a protocol in which the server speaks first does not work without TLS.
    /// Needs the feature `tls`. Defaults to false: the client gets an alert, and its connection
    /// closes.
    ///
    /// ```
    /// use socketserver::{Builder, Next, StreamRequest, Tls};
    ///
    /// # let folder = std::env::temp_dir().join(format!("plaintext-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder)?;
    /// # let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    /// # let [cert, key] = ["cert.pem", "key.pem"].map(|f| folder.join(f));
    /// # std::fs::write(&cert, made.cert.pem())?;
    /// # std::fs::write(&key, made.signing_key.serialize_pem())?;
    /// let redirect = |request: &mut StreamRequest| {
    ///     assert!(!request.is_tls());
    ///     Ok(Next::Close)
    /// };
    /// let tls = Tls::from_pem_files(&cert, &key, &[])?;
    /// let builder = Builder::new().tls(Some(tls)).allow_plaintext(true);
    /// let server = builder.tcp("127.0.0.1:0", move |_| redirect)?;
    /// # std::fs::remove_dir_all(&folder)?;
    /// # drop(server);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "tls")]
    pub fn allow_plaintext(self, yes: bool) -> Builder {
        Builder {
            plaintext: yes,
            ..self
        }
    }

    /// The peers that must begin each connection with a PROXY header (v1 or v2), which names the
    /// real client. From all other peers the same bytes are data. Defaults to `None`.
    pub fn proxy_protocol(self, peers: Option<Networks>) -> Builder {
        Builder {
            proxies: peers.filter(|peers| !peers.is_empty()),
            ..self
        }
    }

    /// An observer of all bytes that are received and sent. Defaults to none.
    pub fn trace(self, trace: impl Trace) -> Builder {
        Builder {
            trace: Some(Arc::new(trace)),
            ..self
        }
    }

    /// The clock of deadlines. Defaults to the system's monotonic clock.
    pub fn clock(self, clock: Clock) -> Builder {
        Builder { clock, ..self }
    }
}
