//! A connection that is two queues of bytes: handlers are tested without sockets.

use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::sync::Arc;

use parking_lot::Mutex;

/// The server's end.
#[derive(Debug)]
pub(crate) struct MemoryStream(Arc<Mutex<MemoryState>>);

/// The test's end.
#[derive(Debug)]
pub(crate) struct MemoryPeer(Arc<Mutex<MemoryState>>);

#[derive(Debug)]
struct MemoryState {
    to_server: VecDeque<u8>,
    from_server: Vec<u8>,
    room: usize,
    peer_finished: bool,
    server_finished: bool,
    /// The peer has gone, as by a reset.
    is_reset: bool,
}

impl MemoryStream {
    /// A connection whose peer takes any number of bytes.
    pub(crate) fn pair() -> (MemoryStream, MemoryPeer) {
        let state = Arc::new(Mutex::new(MemoryState {
            to_server: VecDeque::new(),
            from_server: Vec::new(),
            room: usize::MAX,
            peer_finished: false,
            server_finished: false,
            is_reset: false,
        }));
        (MemoryStream(Arc::clone(&state)), MemoryPeer(state))
    }

    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.0.lock();
        if state.is_reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let count = buffer.len().min(state.to_server.len());
        if count == 0 && !state.peer_finished {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        for (place, byte) in buffer.iter_mut().zip(state.to_server.drain(..count)) {
            *place = byte;
        }
        Ok(count)
    }

    /// The byte that the next read begins with, which stays; `None` at the end.
    pub(crate) fn peek(&self) -> io::Result<Option<u8>> {
        let state = self.0.lock();
        if state.is_reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        match state.to_server.front() {
            None if !state.peer_finished => Err(io::ErrorKind::WouldBlock.into()),
            first => Ok(first.copied()),
        }
    }

    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.lock();
        if state.server_finished || state.is_reset {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let count = bytes.len().min(state.room);
        if count == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        state.room -= count;
        state.from_server.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    /// Whether both directions have ended.
    pub(crate) fn is_hung_up(&self) -> bool {
        let state = self.0.lock();
        state.is_reset || state.peer_finished && state.server_finished
    }

    pub(crate) fn is_reset(&self) -> bool {
        self.0.lock().is_reset
    }

    pub(crate) fn shutdown(&self, how: Shutdown) {
        let mut state = self.0.lock();
        state.server_finished |= how != Shutdown::Read;
        state.peer_finished |= how != Shutdown::Write;
    }
}

impl Drop for MemoryStream {
    fn drop(&mut self) {
        self.shutdown(Shutdown::Both);
    }
}

impl MemoryPeer {
    pub(crate) fn send(&self, bytes: &[u8]) {
        self.0.lock().to_server.extend(bytes);
    }

    pub(crate) fn finish(&self) {
        self.0.lock().peer_finished = true;
    }

    /// The peer disconnects by a reset: what it has sent and was not read is lost.
    pub(crate) fn reset(&self) {
        let mut state = self.0.lock();
        state.is_reset = true;
        state.to_server.clear();
    }

    /// Takes what the server wrote since the last call.
    pub(crate) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().from_server)
    }

    /// How many further bytes the peer takes before it blocks the server.
    pub(crate) fn set_room(&self, bytes: usize) {
        self.0.lock().room = bytes;
    }

    pub(crate) fn server_finished(&self) -> bool {
        self.0.lock().server_finished
    }
}
