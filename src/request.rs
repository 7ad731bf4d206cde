//! What a handler receives.

mod datagram;
mod encryption;
mod peer_queues;

use std::os::fd::BorrowedFd;
use std::sync::{Arc, Weak};

use crate::address::{ClientAddress, ServerAddress};
use crate::buffer::{RFile, WFile};
use crate::handle::{Origin, ServerHandle};
use crate::reach::{Link, Mailbox, MailboxSender, Outbox, Ring, Silent, Waker, mailbox};
use crate::tls::Tls;
use crate::transport::Transport;
pub(crate) use datagram::trace;
pub use datagram::{DatagramRequest, PacketReader, PendingReply, Replier};
pub(crate) use peer_queues::{PeerQueues, PeerTurn, QueueResult};

/// One connection, as its handler sees it (Python's `self.request`, `self.client_address` and
/// `self.server`).
///
/// A handler that says whom it serves:
///
/// ```
/// use std::io::Write;
/// use socketserver::testing::TestConnection;
/// use socketserver::{Builder, ClientAddress, Next, StreamRequest};
///
/// let who = |request: &mut StreamRequest| {
///     request.rfile.take_all();
///     let name = request.identity.as_deref().unwrap_or("somebody");
///     writeln!(request.wfile, "{name} at {}", request.client_address)?;
///     if let Some(address) = request.server_address() {
///         writeln!(request.wfile, "connected to {address}")?; // not in memory
///     }
///     Ok(Next::Close)
/// };
/// let address = std::net::SocketAddr::from(([192, 0, 2, 1], 50_000));
/// let address = ClientAddress::from(address);
/// let mut client = TestConnection::from(Builder::new(), address, move |_| who);
/// client.send(b"\n");
/// assert_eq!(client.received(), b"somebody at 192.0.2.1:50000\n");
/// ```
#[derive(Debug)]
pub struct StreamRequest {
    /// The client's address; after a PROXY header, the real one.
    pub client_address: ClientAddress,
    /// The bytes that the client sends (Python's `rfile`).
    pub rfile: RFile,
    /// The bytes that are sent to the client (Python's `wfile`).
    pub wfile: WFile,
    /// The server: to shut it down, or to read its statistics.
    pub server: ServerHandle,
    /// The name that the client has proved to have, set by a handler that wraps others (CGI's
    /// `REMOTE_USER`, RFC 3875 §4.1.11). Defaults to `None`: no proof was asked for, or it has no
    /// name.
    pub identity: Option<Arc<str>>,
    pub(crate) transport: Arc<Transport>,
    /// From a PROXY header.
    pub(crate) server_address: Option<Box<ServerAddress>>,
    pub(crate) linger: bool,
    /// `finish` was called: handles that are made now cannot reach the connection.
    pub(crate) has_ended: bool,
    /// Where it comes from; `None` for the listening sockets that the server was made with.
    pub(crate) origin: Option<Arc<Origin>>,
    pub(crate) cause: Cause,
    /// By which the engine knows this connection.
    pub(crate) key: usize,
    /// The handler has asked for TLS, which begins when its output is sent.
    pub(crate) starting_tls: Option<Tls>,
}

/// Why `handle` is called ([`StreamRequest::cause`]). Several causes may hold at once.
///
/// A handler that waits for a line, for a second at most, and can be woken:
///
/// ```
/// use std::io::Write;
/// use std::time::Duration;
/// use socketserver::testing::TestConnection;
/// use socketserver::{Builder, Next, StreamRequest};
///
/// let handler = |request: &mut StreamRequest| {
///     let cause = request.cause();
///     if cause.is_shutdown() {
///         return Ok(Next::Close);
///     }
///     if cause.is_woken() {
///         request.wfile.write_all(b"woken\n")?;
///     }
///     if cause.is_due() {
///         request.wfile.write_all(b"a second has passed\n")?;
///     }
///     if request.rfile.take_line(80)?.is_some() {
///         request.waker().wake(); // usually by another connection or thread
///     }
///     Ok(Next::after(Duration::from_secs(1)))
/// };
/// let mut client = TestConnection::new(Builder::new(), move |_| handler);
/// client.send(b"hello\n");
/// assert_eq!(client.received(), b"woken\n");
/// client.advance(Duration::from_secs(1));
/// assert_eq!(client.received(), b"a second has passed\n");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    pub(crate) is_woken: bool,
    pub(crate) is_due: bool,
    pub(crate) is_shutdown: bool,
}

impl Cause {
    /// Whether [`Waker::wake`] was called, or a value was put into a [`Mailbox`], since `handle`
    /// was last called.
    pub fn is_woken(&self) -> bool {
        self.is_woken
    }

    /// Whether the time of [`Wait::after`](crate::Wait::after) has passed.
    pub fn is_due(&self) -> bool {
        self.is_due
    }

    /// Whether the connection is to end because its server is shutting down, or its listening
    /// socket is [drained](crate::RunningListener::drain). If the handler has asked for a
    /// [`Waker`], an [`Outbox`] or a [`Mailbox`], and the connection is within a message, `handle`
    /// is called once when the shutdown begins. The handler can then end the message. Otherwise the
    /// connection may last until the end of the grace time.
    pub fn is_shutdown(&self) -> bool {
        self.is_shutdown
    }
}

impl StreamRequest {
    /// The address that the client connected to, after a PROXY header.
    pub fn server_address(&self) -> Option<ServerAddress> {
        self.server_address.as_deref().cloned().or_else(|| {
            self.transport
                .stream()
                .and_then(|s| s.server_address().ok())
        })
    }

    /// The connection's descriptor (Python's `fileno`), for a handler that waits for its client and
    /// for something else at the same time, by poll(2). A client that left shows as a hang-up, and
    /// so does the abort at the end of the grace time. Not for reading or writing: `rfile` may hold
    /// bytes already. `None` for a test's connection in memory.
    ///
    /// A handler that waits for its client and for something else, and holds its thread meanwhile:
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use std::net::TcpStream;
    /// use std::os::{fd::AsFd, unix::net::UnixStream};
    /// use std::sync::Arc;
    /// use rustix::event::{PollFd, PollFlags, poll};
    /// use socketserver::{Builder, Error, Next, StreamRequest};
    ///
    /// let (ours, mut other) = UnixStream::pair()?;
    /// let ours = Arc::new(ours);
    /// let handler = move |request: &mut StreamRequest| {
    ///     request.rfile.take_all();
    ///     let client = request.fileno().ok_or_else(|| Error::handler("in memory"))?;
    ///     let both = [client, ours.as_fd()];
    ///     let mut both = both.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    ///     poll(&mut both, None).map_err(std::io::Error::from)?;
    ///     let [from_client, from_other] = both.map(|fd| !fd.revents().is_empty());
    ///     write!(request.wfile, "client: {from_client}, other: {from_other}")?;
    ///     Ok(Next::Close)
    /// };
    /// let server = Builder::new().tcp("127.0.0.1:0", move |_| handler.clone())?.spawn()?;
    /// let mut client = TcpStream::connect(server.server_address().inet().unwrap())?;
    /// client.write_all(b"\n")?;
    /// other.write_all(b"\n")?;
    /// let mut answer = String::new();
    /// client.read_to_string(&mut answer)?;
    /// assert_eq!(answer, "client: false, other: true");
    /// server.stop()?;
    /// # Ok::<(), socketserver::Error>(())
    /// ```
    pub fn fileno(&self) -> Option<BorrowedFd<'_>> {
        self.transport.fd()
    }

    /// Why `handle` is called. Whether bytes have arrived, and whether they were the last ones, is
    /// what [`rfile`](StreamRequest::rfile) says.
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// A handle by which other threads, and the handlers of other connections, have `handle` called
    /// or close this connection.
    ///
    /// Under [`ForkingMixIn`](crate::ForkingMixIn) it works in the process that serves this
    /// connection: connections in other processes cannot be reached.
    ///
    /// Connections that another one closes:
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    /// use socketserver::testing::TestServer;
    /// use socketserver::{Builder, Next, StreamRequest, Waker};
    ///
    /// let wakers = Arc::new(Mutex::new(Vec::<Waker>::new()));
    /// let handler = move |request: &mut StreamRequest| {
    ///     let mut wakers = wakers.lock().unwrap();
    ///     match request.rfile.take_all() {
    ///         b"close all" => wakers.drain(..).for_each(|waker| waker.close("the end")),
    ///         _ => wakers.push(request.waker()),
    ///     }
    ///     Ok(Next::Wait)
    /// };
    /// let server = TestServer::new(Builder::new(), move |_| handler.clone());
    /// let (mut first, mut second) = (server.connect(), server.connect());
    /// first.send(b"hello");
    /// second.send(b"close all");
    /// assert!(first.is_closed() && !second.is_closed());
    /// ```
    pub fn waker(&self) -> Waker {
        Waker(Arc::clone(self.reachable_link()))
    }

    /// A queue of at most `capacity` values, at least 1, that other threads and connections fill,
    /// and this handler empties. Each value wakes the handler as [`waker`](StreamRequest::waker)
    /// does, with the same restriction under [`ForkingMixIn`](crate::ForkingMixIn).
    ///
    /// A handler whose answer another thread computes. It holds no thread while it waits:
    ///
    /// ```
    /// use std::io::Write;
    /// use socketserver::testing::TestConnection;
    /// use socketserver::{Builder, Mailbox, Next, Result, StreamRequest, StreamRequestHandler};
    ///
    /// #[derive(Default)]
    /// struct Sum(Option<Mailbox<u64>>);
    ///
    /// impl StreamRequestHandler for Sum {
    ///     fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
    ///         if request.cause().is_woken()
    ///             && let Some(sum) = self.0.as_ref().and_then(Mailbox::take)
    ///         {
    ///             writeln!(request.wfile, "{sum}")?;
    ///             return Ok(Next::Close);
    ///         }
    ///         if let Some(line) = request.rfile.take_line(80)? {
    ///             let end: u64 = std::str::from_utf8(line)?.trim().parse()?;
    ///             let (sender, mailbox) = request.mailbox(1);
    ///             self.0 = Some(mailbox);
    ///             std::thread::spawn(move || sender.try_send((1..=end).sum()));
    ///         }
    ///         Ok(Next::in_message())
    ///     }
    /// }
    ///
    /// let mut client = TestConnection::new(Builder::new(), |_| Sum::default());
    /// client.send(b"1000\n");
    /// # let began = std::time::Instant::now();
    /// while !client.is_closed() {
    ///     std::thread::yield_now(); // a test in memory: a server would send it by itself
    /// #     assert!(began.elapsed().as_secs() < 60);
    /// }
    /// assert_eq!(client.received(), b"500500\n");
    /// ```
    pub fn mailbox<T>(&self, capacity: usize) -> (MailboxSender<T>, Mailbox<T>) {
        mailbox(capacity, self.waker())
    }

    /// A handle by which other threads and connections send bytes to this client. At most
    /// `capacity` bytes may be unsent. All outboxes of a connection are the same one; the last
    /// capacity counts. Restricted under [`ForkingMixIn`](crate::ForkingMixIn) as
    /// [`waker`](StreamRequest::waker) is.
    ///
    /// Whatever a client sends, the client that came before gets it:
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    /// use socketserver::testing::TestServer;
    /// use socketserver::{Builder, Next, Outbox, StreamRequest};
    ///
    /// let last = Arc::new(Mutex::new(None::<Outbox>));
    /// let handler = move |request: &mut StreamRequest| {
    ///     let own = request.outbox(64 * 1024);
    ///     if let Some(before) = last.lock().unwrap().replace(own) {
    ///         let _ = before.try_send(request.rfile.take_all()); // may be full, or gone
    ///     }
    ///     Ok(Next::Wait)
    /// };
    /// let server = TestServer::new(Builder::new(), move |_| handler.clone());
    /// let (mut first, mut second) = (server.connect(), server.connect());
    /// first.send(b"hello");
    /// second.send(b"are you there?");
    /// assert_eq!(first.received(), b"are you there?");
    /// ```
    pub fn outbox(&self, capacity: usize) -> Outbox {
        Outbox::open(Arc::clone(self.reachable_link()), capacity)
    }

    /// Says what this connection is doing, for [`ServerHandle::connections`]: one short line, such
    /// as the command that is running. Defaults to nothing.
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use std::net::TcpStream;
    /// use socketserver::{Builder, Next, StreamRequest};
    ///
    /// let handler = |request: &mut StreamRequest| {
    ///     let command = String::from_utf8_lossy(request.rfile.take_all()).into_owned();
    ///     match &*command {
    ///         "idle" => request.clear_doing(),
    ///         _ => request.set_doing(command),
    ///     }
    ///     request.wfile.write_all(b"ok")?;
    ///     Ok(Next::Wait)
    /// };
    /// let server = Builder::new().tcp("127.0.0.1:0", move |_| handler)?.spawn()?;
    /// let mut client = TcpStream::connect(server.server_address().inet().unwrap())?;
    /// let mut doing_after = |command: &str| -> std::io::Result<Option<String>> {
    ///     client.write_all(command.as_bytes())?;
    ///     client.read_exact(&mut [0; 2])?;
    ///     let doing = server.handle().connections().remove(0).doing;
    ///     Ok(doing.map(|doing| doing.to_string()))
    /// };
    /// assert_eq!(doing_after("list")?.as_deref(), Some("list"));
    /// assert_eq!(doing_after("idle")?, None);
    /// server.stop()?;
    /// # Ok::<(), socketserver::Error>(())
    /// ```
    pub fn set_doing(&self, what: impl Into<Arc<str>>) {
        self.link().set_doing(Some(what.into()));
    }

    /// The connection does nothing in particular any more.
    pub fn clear_doing(&self) {
        if let Some(link) = self.transport.link() {
            link.set_doing(None);
        }
    }

    fn link(&self) -> &Arc<Link> {
        self.transport.link_or_init(|| {
            let ring = self.server.0.ring();
            let ring = ring.unwrap_or_else(|| Weak::<Silent>::new() as Weak<dyn Ring>);
            let link = Link::new(ring, self.key);
            if self.has_ended {
                link.end();
            }
            link
        })
    }

    /// The link, for a handle that others get.
    fn reachable_link(&self) -> &Arc<Link> {
        let link = self.link();
        link.make_reachable();
        link
    }

    /// Whether others may have a handle.
    pub(crate) fn is_reachable(&self) -> bool {
        let link = self.transport.link();
        link.is_some_and(|link| link.is_reachable())
    }

    /// Whether this connection is to end after the present message: its server is shutting down, or
    /// its listening socket is [drained](crate::RunningListener::drain). A long handler can use
    /// this to end early.
    ///
    /// ```
    /// use std::io::Write;
    /// use socketserver::testing::TestConnection;
    /// use socketserver::{Builder, Next, StreamRequest};
    ///
    /// let handler = |request: &mut StreamRequest| {
    ///     for step in request.rfile.take_all().to_vec() {
    ///         if request.is_shutting_down() {
    ///             break;
    ///         }
    ///         writeln!(request.wfile, "step {step}")?;
    ///     }
    ///     Ok(Next::Wait)
    /// };
    /// let mut client = TestConnection::new(Builder::new(), move |_| handler);
    /// client.send(&[1, 2]);
    /// assert_eq!(client.received(), b"step 1\nstep 2\n");
    /// ```
    pub fn is_shutting_down(&self) -> bool {
        self.server.is_shutting_down() || !self.server.0.is_serving_for(self.origin.as_ref())
    }

    /// Announces that the client may go on sending bytes that the handler will not read. They are
    /// dropped for the linger time after the answer, because closing immediately would send a
    /// reset, which destroys the answer (RFC 9112 §9.6).
    ///
    /// A handler that refuses an upload without reading it:
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use std::net::TcpStream;
    /// use socketserver::{Builder, Next, StreamRequest};
    ///
    /// let refuse = |request: &mut StreamRequest| {
    ///     request.wfile.write_all(b"too large\n")?;
    ///     request.linger();
    ///     Ok(Next::Close)
    /// };
    /// let server = Builder::new().tcp("127.0.0.1:0", move |_| refuse)?.spawn()?;
    /// let mut client = TcpStream::connect(server.server_address().inet().unwrap())?;
    /// client.write_all(&[b'x'; 100_000])?;
    /// let mut answer = String::new();
    /// client.read_to_string(&mut answer)?; // no reset has destroyed it
    /// assert_eq!(answer, "too large\n");
    /// server.stop()?;
    /// # Ok::<(), socketserver::Error>(())
    /// ```
    pub fn linger(&mut self) {
        self.linger = true;
    }
}
