//! Reads the output of a command: standard output and standard error, as soon as there are bytes.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::process::Child;

/// Both pipes of a command, and the bytes that were read from them.
pub(super) struct Pipes {
    pub(super) output: Pipe,
    pub(super) errors: Pipe,
    /// Number of bytes that may still be added before the output is too long.
    room: usize,
    pub(super) truncated: bool,
}

pub(super) struct Pipe {
    /// The pipe; `None` after its end.
    pub(super) reader: Option<Box<dyn ReadFd>>,
    pub(super) bytes: Vec<u8>,
}

pub(super) trait ReadFd: Read + AsFd {}
impl<T: Read + AsFd> ReadFd for T {}

impl Pipe {
    fn new<R: ReadFd + 'static>(reader: Option<R>) -> io::Result<Pipe> {
        if let Some(reader) = &reader {
            rustix::io::ioctl_fionbio(reader, true)?;
        }
        Ok(Pipe {
            reader: reader.map(|reader| Box::new(reader) as Box<dyn ReadFd>),
            bytes: Vec::new(),
        })
    }

    /// Reads the available bytes. If they exceed `room`, the output is marked as truncated.
    fn read(&mut self, room: &mut usize, truncated: &mut bool) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        while let Some(reader) = &mut self.reader {
            match reader.read(&mut buffer) {
                Ok(0) => self.reader = None,
                Ok(count) => {
                    let taken = count.min(*room);
                    self.bytes.extend_from_slice(&buffer[..taken]);
                    *room -= taken;
                    if taken < count {
                        *truncated = true;
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Pipes {
    pub(super) fn new(child: &mut Child, room: usize) -> io::Result<Pipes> {
        let (output, errors) = (
            Pipe::new(child.stdout.take())?,
            Pipe::new(child.stderr.take())?,
        );
        Ok(Pipes {
            output,
            errors,
            room,
            truncated: false,
        })
    }

    pub(super) fn read(&mut self, output: bool, errors: bool) -> io::Result<()> {
        if output {
            self.output.read(&mut self.room, &mut self.truncated)?;
        }
        if errors {
            self.errors.read(&mut self.room, &mut self.truncated)?;
        }
        Ok(())
    }
}
