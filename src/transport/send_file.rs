//! What a handler sends from a file.

use std::fs::File;
use std::io::{self, IoSlice};

use super::Transport;
#[cfg(all(target_os = "linux", not(feature = "portable-sockets")))]
use super::{Socket, add, connection_error};
#[cfg(all(target_os = "linux", not(feature = "portable-sockets")))]
use crate::trace::Traffic;

/// Bytes of a file that are read and encrypted at a time: several records, which one system call
/// sends. A peer that reads nothing costs as much memory.
const TLS_PIECE: usize = 64 * 1024;

impl Transport {
    /// Sends at most `count` bytes of `file` from `offset`, by `sendfile(2)` where nothing has to
    /// be encrypted. Other systems than Linux declare that call differently; they read the file.
    pub(crate) fn send_file(&self, file: &File, offset: u64, count: u64) -> io::Result<usize> {
        const MAX_SENDFILE_BYTES: u64 = 2 << 20;
        let count = count.min(MAX_SENDFILE_BYTES) as usize;
        #[cfg(all(target_os = "linux", not(feature = "portable-sockets")))]
        if let (None, Socket::Stream(stream)) = (self.tls(), &self.socket) {
            let mut offset = offset;
            let count = rustix::fs::sendfile(stream, file, Some(&mut offset), count)
                .map_err(|error| connection_error(error.into()))?;
            add(&self.sent, count as u64);
            if let Some(tap) = &self.tap {
                tap.note(Traffic::SentFile(count));
            }
            return Ok(count);
        }
        let mut piece = vec![0; count.min(TLS_PIECE)];
        let read = std::os::unix::fs::FileExt::read_at(file, &mut piece, offset)?;
        if read == 0 {
            Ok(0)
        } else {
            self.write_vectored(&[IoSlice::new(&piece[..read])])
        }
    }
}
