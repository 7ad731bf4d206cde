//! A server on a thread of its own.

use std::thread::{self, JoinHandle};

use super::Server;
use crate::address::ServerAddress;
use crate::error::{Error, Result, panic_message};
use crate::handle::ServerHandle;

impl Server {
    /// Runs [`serve_forever`](Server::serve_forever) on a new thread, and returns a guard that ends
    /// the server when it is dropped. For tests, and for programs that do something else as well.
    /// The server is ready when this returns: clients may connect.
    ///
    /// # Errors
    /// As for [`server_activate`](Server::server_activate). [`Error::Io`] when the system refuses
    /// the thread. [`Error::Unsupported`] for a [`ForkingMixIn`](crate::ForkingMixIn), which needs
    /// a process with a single thread.
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use std::net::TcpStream;
    /// use socketserver::{Builder, Next, StreamRequest};
    ///
    /// let echo = |request: &mut StreamRequest| {
    ///     request.wfile.write_all(request.rfile.take_all())?;
    ///     Ok(Next::Wait)
    /// };
    /// let server = Builder::new().tcp("127.0.0.1:0", move |_| echo)?.spawn()?;
    ///
    /// let mut client = TcpStream::connect(server.server_address().inet().unwrap())?;
    /// client.write_all(b"hello")?;
    /// let mut answer = [0; 5];
    /// client.read_exact(&mut answer)?;
    /// assert_eq!(&answer, b"hello");
    /// server.stop()?;
    /// # Ok::<(), socketserver::Error>(())
    /// ```
    pub fn spawn(mut self) -> Result<ServerGuard> {
        if self.process.forks() {
            let text = "forking needs a process with a single thread: call `serve_forever` \
                        instead of `spawn`, or use ThreadingMixIn";
            return Err(Error::Unsupported(text.to_owned()));
        }
        self.server_activate()?;
        let (handle, addresses) = (self.handle(), self.addresses.clone());
        let thread = thread::Builder::new()
            .name("serve_forever".to_owned())
            .spawn(move || self.serve_forever())?;
        Ok(ServerGuard {
            handle,
            addresses,
            thread: Some(thread),
        })
    }
}

/// A server that runs on a thread of its own, from [`Server::spawn`].
///
/// Dropping it shuts the server down as [`stop`](ServerGuard::stop) does, and logs an error of
/// `serve_forever`. A drop by a handler or a hook of the same server does not wait, because the
/// server waits for them. A drop while its owner panics waits for the grace time at most.
///
/// ```
/// use socketserver::{Builder, Next, StreamRequest};
///
/// let close = |_: &mut StreamRequest| Ok(Next::Close);
/// let mut server = Builder::new().tcp("127.0.0.1:0", move |_| close)?;
/// server.listen_also("127.0.0.1:0")?;
/// let guard = server.spawn()?;
/// assert_eq!(guard.server_addresses()[0], *guard.server_address());
/// assert_eq!(guard.server_addresses().len(), 2);
///
/// guard.handle().close(); // another thread, a handler or a signal does this
/// guard.join()?;
///
/// let guard = Builder::new().tcp("127.0.0.1:0", move |_| close)?.spawn()?;
/// guard.stop()?; // both
/// # Ok::<(), socketserver::Error>(())
/// ```
#[must_use = "the server ends when its guard is dropped"]
#[derive(Debug)]
pub struct ServerGuard {
    handle: ServerHandle,
    addresses: Vec<ServerAddress>,
    /// `None` once it was joined.
    thread: Option<JoinHandle<Result<()>>>,
}

impl ServerGuard {
    /// A handle to look at the server, or to shut it down from any thread.
    pub fn handle(&self) -> &ServerHandle {
        &self.handle
    }

    /// The address on which the server listens, with the real port after port 0. The first one if
    /// there are several.
    pub fn server_address(&self) -> &ServerAddress {
        &self.addresses[0]
    }

    /// All addresses on which the server listens.
    pub fn server_addresses(&self) -> &[ServerAddress] {
        &self.addresses
    }

    /// Closes the listening sockets, lets the requests in flight end within the
    /// [grace time](crate::Builder::grace), and waits for the end of the server. It serves its
    /// clients no longer when this returns.
    ///
    /// # Errors
    /// Those of [`serve_forever`](Server::serve_forever). [`Error::Panicked`] if its thread
    /// panicked. [`Error::Unsupported`] in a handler or a hook of the same server, which cannot
    /// wait for its own end; the server then shuts down meanwhile.
    pub fn stop(mut self) -> Result<()> {
        self.handle.close();
        self.wait()
    }

    /// Waits until the server ends, which something else must cause: a signal after
    /// [`shutdown_on_ctrl_c`](crate::shutdown_on_ctrl_c), a handler, another thread, or an error.
    ///
    /// # Errors
    /// As for [`stop`](ServerGuard::stop).
    pub fn join(mut self) -> Result<()> {
        self.wait()
    }

    fn wait(&mut self) -> Result<()> {
        if self.is_own_server() {
            self.thread = None;
            let text = "a handler or a hook cannot wait for the end of its own server";
            return Err(Error::Unsupported(text.to_owned()));
        }
        match self.thread.take() {
            Some(thread) => thread
                .join()
                .unwrap_or_else(|panic| Err(Error::Panicked(panic_message(&*panic)))),
            None => Ok(()),
        }
    }

    /// Whether the server waits for the calling thread.
    fn is_own_server(&self) -> bool {
        let thread = self.thread.as_ref().map(|thread| thread.thread().id());
        thread == Some(thread::current().id()) || self.handle.0.is_called_by_handler()
    }
}

impl Drop for ServerGuard {
    fn drop(&mut self) {
        if self.thread.is_none() {
            return;
        }
        self.handle.close();
        if self.is_own_server() {
            return;
        }
        if thread::panicking() {
            // The threads of handlers may have no end, and the cause of the panic must be seen.
            self.handle.wait(None);
        } else if let Err(error) = self.wait() {
            log::error!("the server on {}: {error}", self.server_address());
        }
    }
}
