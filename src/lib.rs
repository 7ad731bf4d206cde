//! Python's `socketserver`, reborn in Rust: servers of your own protocol, in plain blocking code.
//!
//! A handler is a value per connection. Its [`handle`](StreamRequestHandler::handle) takes what has
//! come and answers [`Next::Wait`]: the connection is then *parked* in the system's poller, where
//! it costs some hundred bytes and no thread, until more comes. Deadlines, limits, overload and a
//! graceful end are the server's business, not the handler's.
//!
//! ```no_run
//! use std::io::Write;
//! use socketserver::{
//!     Builder, Next, Result, StreamRequest, StreamRequestHandler, shutdown_on_ctrl_c,
//! };
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
//!     let mut server = Builder::new().tcp("127.0.0.1:7007", |_: &_| Echo)?;
//!     shutdown_on_ctrl_c(server.handle())?;
//!     server.serve_forever()
//! }
//! ```
//!
//! - Servers: [`Server`], made by [`Builder`], which has every setting with its default.
//!   [`TcpServer`], [`UdpServer`], [`UnixStreamServer`] and [`UnixDatagramServer`] are other names
//!   of it.
//! - Ways to process requests: [`ThreadingMixIn`] (the default: a pool whose idle connections hold
//!   no thread), [`ThreadPerRequest`], [`ForkingMixIn`], [`Synchronous`], or your own
//!   [`ProcessRequest`].
//! - Decisions and events: [`ServerHooks`]. From outside: [`ServerHandle`]. Figures:
//!   [`StatsSnapshot`].
//! - Tests of handlers, without sockets and without waiting: [`testing`].
//!
//! # From Python
//!
//! Every class, method and attribute of Python 3.14's `socketserver`, and what it is here.
//!
//! | Python | here | what differs, and why |
//! |---|---|---|
//! | `BaseServer` | [`Server`] | one type for all servers; what Python reaches by subclassing is [`ServerHooks`] and [`ProcessRequest`] |
//! | `TCPServer`, `UDPServer` | [`TcpServer`], [`UdpServer`] | UDP on a wildcard address answers from the address that was asked |
//! | `UnixStreamServer`, `UnixDatagramServer` | [`UnixStreamServer`], [`UnixDatagramServer`] | the path is removed at the end; a stale one is taken over, a living server's is an error |
//! | `ThreadingMixIn` | [`ThreadingMixIn`] | a bounded pool; an idle connection holds no thread. Python's thread for each request, with a cap, is [`ThreadPerRequest`] |
//! | `ForkingMixIn` | [`ForkingMixIn`] | refuses to begin in a process that has other threads, where Python may deadlock; counts what the children do; a handler's `shutdown` reaches the parent |
//! | `ThreadingTCPServer` and the seven others | [`Builder::process`] | a setting instead of a class for each combination |
//! | `BaseRequestHandler` | [`StreamRequestHandler`], [`DatagramRequestHandler`] | a value for each connection, or datagram |
//! | `StreamRequestHandler`, `DatagramRequestHandler` | the same | `handle` may return early with [`Next::Wait`] and is called again |
//! | `BaseServer(server_address, RequestHandlerClass)` | [`Builder::tcp`] and its sisters, [`Builder::bind`] for any address | the class is anything that makes handlers: a closure ([`RequestHandlerClass`]) |
//! | `bind_and_activate`, `server_bind`, `server_activate` | [`Builder::tcp`], [`Builder::from_listener`] | binding and listening are one step; a socket that somebody else bound is taken as well. [`Server::server_activate`] starts the pool's threads |
//! | `serve_forever(poll_interval)` | [`Server::serve_forever`] | returns when the requests in flight have ended or the grace time is over; Python's returns at once, and leaves them to `server_close` |
//! | `poll_interval` | [`Builder::poll_interval`] | only paces `service_actions`: a shutdown doesn't wait for it (python/cpython#88932) |
//! | `shutdown()` | [`ServerHandle::shutdown`] | as in Python, the socket listens on, and `serve_forever` works again; [`ServerHandle::close`] refuses clients at once. Returns at once; callable from handlers, where Python deadlocks, and before `serve_forever`. [`ServerHandle::wait`] waits |
//! | `handle_request()` | [`Server::handle_request`] | the same; returns at once after a shutdown that no `serve_forever` has obeyed |
//! | `timeout` (of the server) | [`Builder::timeout`] | the same |
//! | `handle_timeout()` | [`ServerHooks::handle_timeout`] | the same |
//! | `service_actions()` | [`ServerHooks::service_actions`] | called every `poll_interval`, not after each request too |
//! | `verify_request(request, client_address)` | [`ServerHooks::verify_request`] | sees the client's real address, after a PROXY header; called on the thread that will serve the request |
//! | `process_request(request, client_address)` | [`ProcessRequest::process_request`] | the same |
//! | `finish_request`, `process_request_thread` | [`Request::run`] | instantiates the handler and serves the request to its end |
//! | `shutdown_request`, `close_request` | none | the connection closes by itself, lingering so that no reset destroys the answer |
//! | `handle_error(request, client_address)` | [`ServerHooks::handle_error`] | gets the error; panics and deadlines arrive there too, a peer that vanished doesn't |
//! | `get_request()` | none | accepting can't be replaced; TLS and PROXY are settings |
//! | `server_close()` | [`Server::server_close`] | the same as dropping the server: waits for the requests in flight for the grace time, then aborts them |
//! | `with server:` | dropping the value | waits as `server_close` does, in Python and here |
//! | `fileno()` | [`Server::fileno`] | `None` instead of -1 once the socket is closed |
//! | `server_address` | [`Server::server_address`] | the real one, after port 0 |
//! | `socket` | [`Server::fileno`] | of the socket only the descriptor is handed out |
//! | `RequestHandlerClass` | the builder's last argument | not readable later |
//! | `address_family` | [`Builder::address_family`] | `:PORT` is IPv4 and IPv6 on one socket |
//! | `socket_type` | none | [`Builder::bind`] makes stream servers, [`Builder::bind_datagram`] datagram servers |
//! | `request_queue_size` | [`Builder::request_queue_size`] | 1,024 instead of 5, at which 3,000 connects took minutes |
//! | `allow_reuse_address` | [`Builder::allow_reuse_address`] | true instead of false |
//! | `allow_reuse_port` | [`Builder::allow_reuse_port`] | the same |
//! | `max_packet_size` | [`Builder::max_packet_size`] | the same 8,192; a handler learns of a truncation |
//! | `daemon_threads`, `block_on_close` (threads) | [`ThreadPerRequest::daemon_threads`], [`ThreadPerRequest::block_on_close`] | of the pool's threads, dropping the server waits for those that serve it, no longer than the grace time |
//! | `max_children`, `block_on_close` (forking) | [`ForkingMixIn::max_children`], [`ForkingMixIn::block_on_close`] | the same 40 |
//! | `active_children`, `collect_children()` | [`ProcessRequest::pending`], automatic | a child that a signal ended is counted as failed, and reported |
//! | `ForkingMixIn.timeout` | none | children are reaped as they end, not after 300 s of silence |
//! | `setup()`, `handle()`, `finish()` | the same | `handle` gets the request as an argument; `finish` isn't called after a failed `setup`, as in Python |
//! | `self.request`, `self.connection` | [`StreamRequest`] | of the socket itself only the descriptor is handed out, to wait for it: [`StreamRequest::fileno`] |
//! | `self.client_address`, `self.server` | [`StreamRequest::client_address`], [`StreamRequest::server`] | the server is its [`ServerHandle`] |
//! | `rfile`, `wfile` | [`StreamRequest::rfile`], [`StreamRequest::wfile`] | `rfile` can be asked what is there; `wfile` gathers, and goes out when `handle` returns |
//! | `rbufsize`, `wbufsize` | [`StreamRequestHandler::rbufsize`], [`StreamRequestHandler::wbufsize`] | how much may lie unread; 16 KiB of gathered output instead of none |
//! | `timeout` (of the handler) | [`StreamRequestHandler::timeout`] | on top of the server's deadlines by phase, which Python has not |
//! | `disable_nagle_algorithm` | [`StreamRequestHandler::disable_nagle_algorithm`] | true instead of false, as answers are gathered |
//! | `packet`, `self.request[0]` | [`DatagramRequest::packet`] | |
//! | `rfile` (of a datagram) | [`DatagramRequest::rfile`] | |
//! | `self.request[1]`, `socket` | [`DatagramRequest::reply`], [`DatagramRequest::replier`] | answers from the right address |
//! | `wfile` (of a datagram) | [`DatagramRequest::wfile`] | an empty one sends nothing |

#[cfg(not(unix))]
compile_error!("socketserver needs a Unix system, such as Linux, macOS or FreeBSD");

mod address;
mod bind;
mod buffer;
mod clock;
mod config;
mod error;
mod handle;
mod handler;
mod hooks;
mod inherited;
mod pace;
mod poller;
mod process;
mod proxy;
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

pub use address::{Address, AddressFilter, ClientAddress, Networks, ServerAddress};
pub use bind::AddressFamily;
pub use buffer::{RFile, WFile};
pub use clock::{Clock, ManualClock};
pub use config::{Limits, Timeouts};
pub use error::{Error, Refusal, Result, Timeout};
pub use handle::{InFlight, ServerHandle};
pub use handler::{DatagramRequestHandler, Next, RequestHandlerClass, StreamRequestHandler, Wait};
pub use hooks::{DefaultHooks, ServerHooks};
pub use inherited::{close_inherited_on_exec, inherited_descriptor};
pub use process::{
    Accepting, ForkingMixIn, ProcessRequest, Request, Synchronous, ThreadPerRequest, ThreadingMixIn,
};
pub use request::{DatagramRequest, PacketReader, PendingReply, Replier, StreamRequest};
pub use server::{Builder, Server, TcpServer, UdpServer, UnixDatagramServer, UnixStreamServer};
pub use signals::{reload_on_hangup, reset_inherited_signals, shutdown_on_ctrl_c};
pub use stats::{Histogram, StatsSnapshot};
pub use tls::Tls;
pub use trace::{Trace, Traffic};

/// What the fuzz targets call.
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::proxy::check as proxy;
}
