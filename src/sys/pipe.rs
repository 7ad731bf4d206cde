//! Bytes that pass from one socket to another without being copied into this process.

use std::io;
use std::os::fd::BorrowedFd;

#[cfg(all(target_os = "linux", not(feature = "portable-sockets")))]
mod linux {
    use std::os::fd::OwnedFd;

    use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

    use super::{BorrowedFd, io};

    /// The size that is asked for. A process with many pipes gets the system's default of 64 KiB.
    const PIPE_BYTES: usize = 1 << 20;

    /// A pipe that holds bytes on their way (splice(2)).
    #[derive(Debug)]
    pub(crate) struct SplicePipe {
        read_end: OwnedFd,
        write_end: OwnedFd,
        len: usize,
    }

    impl SplicePipe {
        pub(crate) fn new() -> io::Result<SplicePipe> {
            let (read_end, write_end) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
            let _ = fcntl_setpipe_size(&write_end, PIPE_BYTES);
            Ok(SplicePipe {
                read_end,
                write_end,
                len: 0,
            })
        }

        /// How many bytes it holds.
        pub(crate) fn len(&self) -> usize {
            self.len
        }

        /// Takes bytes that have come at `socket`; 0 is the end of file. Call it only while the
        /// pipe is empty: `WouldBlock` then means that nothing has come.
        pub(crate) fn take_from(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
            let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
            let count = splice(socket, None, &self.write_end, None, PIPE_BYTES, flags)?;
            self.len += count;
            Ok(count)
        }

        /// Sends as many bytes as `socket` takes now.
        pub(crate) fn send_to(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
            let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
            let count = splice(&self.read_end, None, socket, None, self.len, flags)?;
            self.len -= count.min(self.len);
            Ok(count)
        }
    }
}

/// Not available on this system: [`SplicePipe::new`] returns an error.
#[cfg(not(all(target_os = "linux", not(feature = "portable-sockets"))))]
mod portable {
    use super::{BorrowedFd, io};

    #[derive(Debug)]
    pub(crate) enum SplicePipe {}

    impl SplicePipe {
        pub(crate) fn new() -> io::Result<SplicePipe> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(crate) fn len(&self) -> usize {
            match *self {}
        }

        pub(crate) fn take_from(&mut self, _: BorrowedFd<'_>) -> io::Result<usize> {
            match *self {}
        }

        pub(crate) fn send_to(&mut self, _: BorrowedFd<'_>) -> io::Result<usize> {
            match *self {}
        }
    }
}

#[cfg(all(target_os = "linux", not(feature = "portable-sockets")))]
pub(crate) use linux::SplicePipe;
#[cfg(not(all(target_os = "linux", not(feature = "portable-sockets"))))]
pub(crate) use portable::SplicePipe;
