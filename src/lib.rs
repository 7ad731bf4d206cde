//! Python's `socketserver`, reborn in Rust: servers for your own protocol, in plain blocking code.
//!
//! Each connection has a handler, which keeps the state of the connection. The server calls its
//! [`handle`](StreamRequestHandler::handle) when bytes have arrived. The handler takes them and
//! returns [`Next::Wait`]. The connection is then *parked* in the system's poller until more bytes
//! arrive: it holds no thread and little memory (`benches/RESULTS.md` has the measured cost). The
//! server looks after deadlines, limits, overload and a graceful end, so that the handler need not.
//!
//! ```no_run
//! use std::io::Write;
//! use socketserver::{Builder, Next, Result, shutdown_on_ctrl_c};
//! use socketserver::{StreamRequest, StreamRequestHandler};
//!
//! struct Echo;
//!
//! impl StreamRequestHandler for Echo {
//!     fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
//!         while let Some(line) = request.rfile.take_line(4096)? {
//!             request.wfile.write_all(line)?;
//!         }
//!         Ok(if request.rfile.is_eof() { Next::Close } else { Next::Wait })
//!     }
//! }
//!
//! fn main() -> Result<()> {
//!     let mut server = Builder::new().tcp("127.0.0.1:7007", |_| Echo)?;
//!     shutdown_on_ctrl_c(server.handle())?;
//!     server.serve_forever()
//! }
//! ```
//!
//! - Servers: [`Server`], made by [`Builder`], which has every setting with its default.
//!   [`TcpServer`], [`UdpServer`], [`UnixStreamServer`] and [`UnixDatagramServer`] are aliases of
//!   [`Server`]. [`Server::spawn`] runs one on a thread of its own, for tests and embedding.
//! - Concurrency models: [`ThreadingMixIn`] (the default: a pool whose idle connections hold no
//!   thread), [`ThreadPerRequest`], [`ForkingMixIn`], [`Synchronous`], or your own
//!   [`ProcessRequest`].
//! - What a connection waits for: [`Next`] and [`Wait`]. Deadlines: [`Timeouts`]. Limits:
//!   [`Limits`].
//! - Connections that reach one another: [`Waker`], [`Mailbox`], [`Outbox`], [`Group`].
//! - Listening sockets of a running server: [`ServerHandle::listen`]. Its connections:
//!   [`ServerHandle::connections`]. Those of them with limits, deadlines and statistics of their
//!   own: [`Service`].
//! - Connections that the program makes: [`ServerHandle::adopt`], [`ServerHandle::connect`],
//!   [`Forwarder`].
//! - Decisions and events: [`ServerHooks`]. Control from outside: [`ServerHandle`]. Statistics:
//!   [`StatsSnapshot`].
//! - State per client of a datagram server: [`Peers`].
//! - TLS: [`Tls`], which may ask clients for certificates. The crate [`rustls`] is re-exported for
//!   [`Tls::from_config`] and [`StreamRequest::peer_certificates`].
//! - Signals: [`shutdown_on_ctrl_c`], [`reload_on_hangup`], [`reset_inherited_signals`].
//! - Tests of handlers, without sockets and without waiting: [`testing`].
//!
//! # Systems
//!
//! The library needs a Unix system. It is tested on Linux. It compiles for macOS and FreeBSD, where
//! it has not been run. On other systems it is a compile error.
//!
//! # Features
//!
//! `tls`, which is on by default, is TLS by rustls and ring. Without it neither is compiled, and
//! [`Tls`], [`Builder::tls`] and everything else that names TLS do not exist.
//!
//! The feature `portable-poller` replaces epoll by the poller of other systems, and
//! `portable-sockets` replaces the system calls that only Linux has. They exist so that this code
//! is tested on Linux; a program does not need them.
//!
//! # From Python
//!
//! Every public class, method and attribute of Python's `socketserver` (3.12 and later; 3.11 lacks
//! two forking Unix servers), what it is here, and the reason for each difference.
//!
//! | Python | here | what differs, and why |
//! |---|---|---|
//! | `BaseServer` | [`Server`] | one type for all servers, because Rust has no subclassing; what Python reaches by subclassing is [`ServerHooks`] and [`ProcessRequest`] |
//! | `TCPServer`, `UDPServer` | [`TcpServer`], [`UdpServer`] | UDP on a wildcard address answers from the address that the request was sent to, because a client drops an answer from another one |
//! | `UnixStreamServer`, `UnixDatagramServer` | [`UnixStreamServer`], [`UnixDatagramServer`] | the path is removed at the end, where Python leaves it; a stale path is taken over, and a path of a running server is an error |
//! | `ThreadingMixIn` | [`ThreadingMixIn`] | a pool with a maximum size; an idle connection holds no thread. Python's thread for each request, with a maximum, is [`ThreadPerRequest`] |
//! | `ForkingMixIn` | [`ForkingMixIn`] | refuses to begin in a process that has other threads, because the child may deadlock; the parent's statistics include the children; a handler's `shutdown` reaches the parent |
//! | `ThreadingTCPServer`, `ThreadingUDPServer`, `ThreadingUnixStreamServer`, `ThreadingUnixDatagramServer`, `ForkingTCPServer`, `ForkingUDPServer`, `ForkingUnixStreamServer`, `ForkingUnixDatagramServer` | [`Builder::process`] | a setting instead of a class for each combination |
//! | `BaseRequestHandler` | [`StreamRequestHandler`], [`DatagramRequestHandler`] | one value for each connection or datagram |
//! | `StreamRequestHandler`, `DatagramRequestHandler` | the same names | `handle` may return [`Next::Wait`] and is called again when bytes have arrived, so that an idle client holds no thread |
//! | `BaseServer(server_address, RequestHandlerClass)` | [`Builder::bind`] for any address; [`Builder::tcp`], [`Builder::udp`], [`Builder::unix_stream`], [`Builder::unix_datagram`] | an address is text, a pair, a `SocketAddr` or an [`Address`] ([`ToAddress`]); the class is a closure that makes handlers ([`RequestHandlerClass`]) |
//! | `bind_and_activate`, `server_bind` | [`Builder::bind`], [`Builder::from_listener`], [`Builder::from_datagram_socket`] | binding and listening are one step, so a server without a socket does not exist; a socket that was bound elsewhere is accepted as well |
//! | `server_activate()` | [`Server::server_activate`] | the socket listens already; this starts the pool's threads, so that a lack of threads is known before the server says that it is ready. `serve_forever` calls it |
//! | `serve_forever(poll_interval)` | [`Server::serve_forever`] | returns when the requests in flight have ended or the grace time is over; Python's returns without waiting and leaves that to `server_close` |
//! | `threading.Thread(target=server.serve_forever)` | [`Server::spawn`] | the same, and the server ends with its [`ServerGuard`] |
//! | `poll_interval` | [`Builder::poll_interval`] | only the pause between calls of `service_actions`; a shutdown does not wait for it (python/cpython#88932) |
//! | `shutdown()` | [`ServerHandle::shutdown`] | as in Python, the socket stays open and `serve_forever` works again. Does not wait, so it may be called by a handler, where Python deadlocks, and before `serve_forever`; [`ServerHandle::wait`] waits. [`ServerHandle::close`] also closes the sockets, so that new clients are refused at once |
//! | `handle_request()` | [`Server::handle_request`] | the same; returns at once after a shutdown that no `serve_forever` has obeyed |
//! | `timeout` (of the server) | [`Builder::timeout`] | the same |
//! | `handle_timeout()` | [`ServerHooks::handle_timeout`] | the same; children are collected elsewhere |
//! | `service_actions()` | [`ServerHooks::service_actions`] | called every `poll_interval`, and not after each request as well: that would be a hook on the hot path |
//! | `verify_request(request, client_address)` | [`ServerHooks::verify_request`] | gets the client's real address, after a PROXY header, and not the socket; called on the thread that will serve the request, because it may block |
//! | `process_request(request, client_address)` | [`ProcessRequest::process_request`] | the same, with one [`Request`] as the argument |
//! | `finish_request`, `process_request_thread` | [`Request::run`] | makes the handler and serves the request to its end |
//! | `shutdown_request`, `close_request` | none | the connection closes by itself, and lingers so that no reset destroys the answer |
//! | `handle_error(request, client_address)` | [`ServerHooks::handle_error`] | gets the error as a value; logs one line instead of a traceback. It also gets panics and missed deadlines, and does not get a peer that disconnected. Called after `finish`, as in Python |
//! | `get_request()` | none | accepting cannot be replaced; TLS and PROXY headers are settings |
//! | `server_close()` | [`Server::server_close`] | the same as dropping the server: waits for the requests in flight within the grace time, then aborts them, where Python waits without end |
//! | `with server:` (`__enter__`, `__exit__`) | dropping the value | waits as `server_close` does, in Python and here |
//! | `fileno()` | [`Server::fileno`] | `None` instead of -1 once the socket is closed |
//! | `server_address` | [`Server::server_address`] | the real address, after port 0 |
//! | `socket` | [`Server::fileno`] | only the descriptor, because the framework sets the options of the socket |
//! | `RequestHandlerClass` | the last argument of [`Builder::bind`] | cannot be read later |
//! | `address_family` | [`Builder::address_family`] | `:PORT` is IPv4 and IPv6 on one socket, where Python's default is IPv4 only |
//! | `socket_type` | none | [`Builder::bind`] makes stream servers, [`Builder::bind_datagram`] datagram servers |
//! | `request_queue_size` | [`Builder::request_queue_size`] | 1,024 instead of 5, because a burst of clients beyond the backlog waits for retransmissions |
//! | `allow_reuse_address` | [`Builder::allow_reuse_address`] | true instead of false, so that a server can start again at once; applies to TCP only |
//! | `allow_reuse_port` | [`Builder::allow_reuse_port`] | the same |
//! | `max_packet_size` | [`Builder::max_packet_size`] | the same 8,192; a handler can see that a datagram was truncated |
//! | `daemon_threads`, `block_on_close` (threads) | [`ThreadPerRequest::daemon_threads`], [`ThreadPerRequest::block_on_close`] | the same; dropping a server of the pool waits for the handlers of this server, within the grace time |
//! | `max_children`, `block_on_close` (forking) | [`ForkingMixIn::max_children`], [`ForkingMixIn::block_on_close`] | the same 40 and true |
//! | `active_children`, `collect_children()` | [`ProcessRequest::pending`], automatic | a child that a signal ended is counted as failed and reported |
//! | `ForkingMixIn.timeout` | none | children are collected as they end, not after 300 s of silence |
//! | `setup()`, `handle()`, `finish()` | the same names | `handle` gets the request as an argument; after a failed `setup`, `finish` is not called, as in Python |
//! | `self.request`, `self.connection` | [`StreamRequest`] | of the socket only the descriptor, to wait for it: [`StreamRequest::fileno`]. `rfile` and `wfile` hold data that a read of the socket would miss |
//! | `self.client_address`, `self.server` | [`StreamRequest::client_address`], [`StreamRequest::server`] | the server is its [`ServerHandle`] |
//! | `rfile` | [`StreamRequest::rfile`] | also returns what has arrived without waiting. A blocking read first sends what the handler has written |
//! | `wfile` | [`StreamRequest::wfile`] | gathers small writes and sends them when `handle` returns or a read waits; Python's sends each write. [`WFile::shutdown_write`] ends the server's side |
//! | `rbufsize`, `wbufsize` | [`StreamRequestHandler::rbufsize`], [`StreamRequestHandler::wbufsize`] | `rbufsize` is the maximum of unread bytes; `wbufsize` is 16 KiB instead of 0, to save system calls |
//! | `timeout` (of the handler) | [`StreamRequestHandler::timeout`] | `None` means the server's deadlines instead of none; see [`Timeouts`] |
//! | `disable_nagle_algorithm` | [`StreamRequestHandler::disable_nagle_algorithm`] | true instead of false, because answers are gathered already |
//! | `packet`, `self.request[0]` | [`DatagramRequest::packet`] | the same |
//! | `rfile` (of a datagram) | [`DatagramRequest::rfile`] | the same |
//! | `self.request[1]`, `socket` | [`DatagramRequest::reply`], [`DatagramRequest::replier`], [`DatagramRequest::pending_reply`] | send from the address that the request was sent to |
//! | `wfile` (of a datagram) | [`DatagramRequest::wfile`] | an empty one sends nothing, where Python sends an empty datagram; sent even if `handle` failed, as in Python |

#[cfg(not(unix))]
compile_error!("socketserver needs a Unix system, such as Linux, macOS or FreeBSD");

mod address;
mod bind;
mod buffer;
mod clock;
mod config;
mod error;
mod forward;
mod handle;
mod handler;
mod hooks;
mod inherited;
mod pace;
mod peers;
mod poller;
mod privileges;
mod process;
mod proxy;
mod reach;
mod request;
mod server;
mod session;
mod signals;
mod stats;
mod sys;
pub mod testing;
mod tls;
mod trace;
mod transport;
mod wake_pipe;

pub use address::{Address, AddressFilter, ClientAddress, Networks, ServerAddress, ToAddress};
pub use bind::AddressFamily;
pub use buffer::{RFile, WFile};
pub use clock::{Clock, ManualClock};
pub use config::{Limits, Timeouts};
pub use error::{Error, Refusal, Result, Timeout};
pub use forward::Forwarder;
pub use handle::{ConnectionInfo, ConnectionPhase, InFlight, ServerHandle, Service};
pub use handler::{DatagramRequestHandler, Next, RequestHandlerClass, StreamRequestHandler, Wait};
pub use hooks::{DefaultHooks, ServerHooks};
pub use inherited::{close_inherited_on_exec, inherited_descriptor};
pub use peers::Peers;
pub use privileges::drop_privileges;
pub use process::{
    Accepting, ForkingMixIn, ProcessRequest, Request, Synchronous, ThreadPerRequest, ThreadingMixIn,
};
pub use reach::{Broadcast, Group, Mailbox, MailboxSender, Outbox, SlowMembers, Waker};
pub use request::{Cause, DatagramRequest, PacketReader, PendingReply, Replier, StreamRequest};
#[cfg(feature = "tls")]
pub use rustls;
pub use server::{
    Builder, Listen, RunningListener, Server, ServerGuard, TcpServer, UdpServer,
    UnixDatagramServer, UnixStreamServer,
};
pub use signals::{reload_on_hangup, reset_inherited_signals, shutdown_on_ctrl_c};
pub use stats::{Histogram, StatsSnapshot};
#[cfg(feature = "tls")]
pub use tls::Tls;
pub use tls::{TlsResumption, TlsSessionId};
pub use trace::{Trace, Traffic};

/// What the fuzz targets call.
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::proxy::check as proxy;
}
