//! `client transfer`: fetches the file that a server sends.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use clap::Args;
use socketserver::Address;

use super::decode::Decoder;
use super::save::Unpublished;
use crate::client::{Client, ClientOptions, Connection};
use crate::common::progress::Progress;
use crate::service::{Failure, begins_refusal, refusal_in};

/// Maximum number of bytes of one read.
const SEGMENT: usize = 128 * 1024;

/// The options of `client transfer`.
#[derive(Debug, Args)]
pub struct TransferClient {
    /// Folder for the file
    #[arg(short, long = "output", value_name = "DIR", default_value = ".")]
    output: PathBuf,
    /// Replace an existing file of the same name
    #[arg(long)]
    force: bool,
}

impl Client for TransferClient {
    fn run(self, address: &Address, options: &ClientOptions) -> Result<u8, Failure> {
        let dir = Dir::open_ambient_dir(&self.output, ambient_authority()).map_err(|error| {
            Failure::usage(format!("the folder {}: {error}", self.output.display()))
        })?;
        let unsaved = |error: io::Error| {
            Failure::run(format!(
                "nothing is saved in {}: {error}",
                self.output.display()
            ))
        };
        let mut file = Unpublished::new(&dir).map_err(unsaved)?;
        let mut connection = Connection::open(address, options)?;
        let (name, size) = self.receive(&mut connection, &dir, file.file())?;
        file.publish(&name, self.force)
            .map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => self.exists(&name),
                _ => unsaved(error),
            })?;
        let told = writeln!(
            io::stdout(),
            "saved {}, {size} bytes",
            printable(&self.output.join(&name))
        );
        match told {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::run(error)),
            _ => Ok(0),
        }
    }
}

impl TransferClient {
    /// Receives the object. Returns the name to save the file under, and its size.
    fn receive(
        &self,
        connection: &mut Connection,
        dir: &Dir,
        file: &mut impl Write,
    ) -> Result<(String, u64), Failure> {
        let progress = Progress::new("receiving", None);
        let (mut decoder, mut segment, mut data) =
            (Decoder::default(), vec![0; SEGMENT], Vec::new());
        let (mut name, mut size) = (None, 0);
        loop {
            let count = match connection.read(&mut segment) {
                Ok(0) => {
                    return Err(Failure::run(
                        "the connection ended before the file was whole: nothing is saved",
                    ));
                }
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(Failure::run(format!(
                        "the connection broke: {error}: nothing is saved"
                    )));
                }
            };
            data.clear();
            let whole = match decoder.push(&segment[..count], &mut data) {
                Ok(whole) => whole,
                Err(fault) => {
                    let reason = refusal(connection, &segment[..count]);
                    return Err(Failure::run(reason.map_or_else(
                        || format!("the server sent {fault}: nothing is saved"),
                        |reason| format!("the server refused the connection: {reason}"),
                    )));
                }
            };
            file.write_all(&data)
                .map_err(|error| Failure::run(format!("nothing is saved: {error}")))?;
            size += data.len() as u64;
            progress.advance(data.len() as u64);
            if let (None, Some(sent)) = (&name, decoder.name()) {
                // The name is checked early, so that a long transfer does not fail at its end.
                name = Some(self.usable(sent, dir)?);
            }
            if whole && let Some(name) = name.take() {
                progress.finish();
                return Ok((name, size));
            }
        }
    }

    fn usable(&self, sent: &str, dir: &Dir) -> Result<String, Failure> {
        let name = file_name(sent).ok_or_else(|| {
            Failure::run(format!(
                "the server's file name {sent:?} can't be used: nothing is saved"
            ))
        })?;
        if !self.force && dir.symlink_metadata(name).is_ok() {
            return Err(self.exists(name));
        }
        Ok(name.to_owned())
    }

    fn exists(&self, name: &str) -> Failure {
        Failure::run(format!(
            "{} exists already: --force replaces it",
            printable(&self.output.join(name))
        ))
    }
}

/// Returns the reason of a refusal that begins with these bytes. The rest of the line is read from
/// the connection, because the network may have split the line.
fn refusal(connection: &mut Connection, first: &[u8]) -> Option<&'static str> {
    let mut line = first.to_vec();
    while begins_refusal(&line) && refusal_in(&line).is_none() {
        let mut byte = [0];
        connection.read_exact(&mut byte).ok()?;
        line.extend(byte);
    }
    refusal_in(&line)
}

/// Returns the last component of a received name, if it is a valid file name. A `\` is an ordinary
/// character here.
pub(super) fn file_name(sent: &str) -> Option<&str> {
    let last = sent.rsplit('/').next().unwrap_or(sent);
    let usable = !matches!(last, "" | "." | "..") && !sent.contains('\0');
    usable.then_some(last)
}

/// Formats the path for a terminal. Control characters in a server's file name are replaced,
/// because they could control the terminal.
fn printable(path: &Path) -> String {
    path.to_string_lossy().replace(char::is_control, "\u{FFFD}")
}
