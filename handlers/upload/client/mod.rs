//! `client upload`: sends files and folders.

mod files;
mod send;

use std::io::{self, Write};
use std::path::PathBuf;
use std::thread;

use clap::Args;
use parking_lot::Mutex;
use socketserver::Address;

use crate::client::{Client, ClientOptions, Connection};
use crate::common::digest::Digests;
use crate::common::progress::Progress;
use crate::service::Failure;
use files::Item;
use send::{Broken, Sender};

/// The options of `client upload`.
#[derive(Debug, Args)]
pub struct UploadClient {
    /// Files and folders to send
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Continue an interrupted upload of the same file
    #[arg(long)]
    resume: bool,
    /// Keep the folders of PATH in the file names
    #[arg(long)]
    keep_paths: bool,
    /// Number of connections that send at the same time, 1 to 64
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=64)
    )]
    jobs: u16,
    /// Verify the files with MD5
    #[arg(long)]
    md5: bool,
    /// Verify the files with SHA-256; this is the default
    #[arg(long)]
    sha256: bool,
    /// Verify only the length, so that each file is read once
    #[arg(long, conflicts_with_all = ["md5", "sha256"])]
    no_digest: bool,
}

impl UploadClient {
    /// The kinds of digests to compute. The values do not matter.
    fn digests(&self) -> Digests {
        let sha256 = self.sha256 || !(self.md5 || self.no_digest);
        Digests {
            md5: self.md5.then_some([0; 16]),
            sha256: sha256.then_some([0; 32]),
            ..Digests::default()
        }
    }
}

/// The results of all jobs together.
#[derive(Debug, Default)]
struct Tally {
    stored: u64,
    bytes: u64,
    /// Lines to print at the end.
    renamed: Vec<String>,
    failed: Vec<String>,
    /// The error after which no more files can be sent.
    broken: Option<Failure>,
}

impl Client for UploadClient {
    fn run(self, address: &Address, options: &ClientOptions) -> Result<u8, Failure> {
        let found = files::collect(&self.paths, self.keep_paths)?;
        complain(&found.passed_over);
        let tally = Mutex::new(Tally {
            failed: found.failed,
            ..Tally::default()
        });
        let total = found.items.iter().map(|item| item.size).sum();
        let jobs = usize::from(self.jobs).min(found.items.len());
        let queue = Mutex::new(found.items.into_iter());
        let sender = Sender {
            resume: self.resume,
            digests: self.digests(),
            timeout: options.timeout,
            progress: Progress::new("sending", Some(total)),
        };
        thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| job(address, options, &sender, &queue, &tally));
            }
        });
        sender.progress.finish();
        let left = queue.into_inner().count();
        report(tally.into_inner(), left)
    }
}

/// Sends one file after the other, over one connection as long as it lasts.
fn job(
    address: &Address,
    options: &ClientOptions,
    sender: &Sender,
    queue: &Mutex<impl Iterator<Item = Item>>,
    tally: &Mutex<Tally>,
) {
    let mut connection = None;
    while tally.lock().broken.is_none() {
        let open = match connection
            .take()
            .map_or_else(|| Connection::open(address, options), Ok)
        {
            Ok(open) => open,
            Err(failure) => {
                tally.lock().broken.get_or_insert(failure);
                return;
            }
        };
        let mut open = open;
        let Some(item) = queue.lock().next() else {
            return;
        };
        let sent = sender.send(&mut open, &item);
        let mut tally = tally.lock();
        match sent {
            Ok(stored) => {
                tally.stored += 1;
                tally.bytes += item.size;
                if item.name.rsplit('/').next() != stored.rsplit('/').next() {
                    tally.renamed.push(format!(
                        "{} is stored as {}",
                        item.path.display(),
                        printable(&stored)
                    ));
                }
                connection = Some(open);
            }
            Err(Broken {
                message,
                connection: holds,
            }) => {
                tally
                    .failed
                    .push(format!("{}: {}", item.path.display(), printable(&message)));
                connection = holds.then_some(open);
            }
        }
    }
}

fn complain(lines: &[String]) {
    for line in lines {
        // An error is ignored: if standard error is closed, no one reads the message.
        let _ = writeln!(io::stderr(), "socketserver: {line}");
    }
}

/// Prints the summary and the failures. Returns the exit code.
fn report(tally: Tally, left: usize) -> Result<u8, Failure> {
    complain(&tally.failed);
    let mut text: String = tally
        .renamed
        .iter()
        .map(|line| format!("{line}\n"))
        .collect();
    let plural = if tally.stored == 1 { "" } else { "s" };
    text += &format!(
        "stored {} file{plural}, {} bytes\n",
        tally.stored, tally.bytes
    );
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(Failure::run(error)),
        _ => {}
    }
    match tally.broken {
        Some(failure) if left > 0 => Err(Failure {
            message: format!("{}; not sent: {left} of the files", failure.message),
            ..failure
        }),
        Some(failure) => Err(failure),
        None => Ok(u8::from(!tally.failed.is_empty())),
    }
}

/// Replaces control characters in a server's text, because they could control the terminal.
fn printable(text: &str) -> String {
    text.replace(char::is_control, "\u{FFFD}")
}
