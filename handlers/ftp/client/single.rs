//! The commands for one file or folder: `get`, `put`, `ls`, `rm` and `mkdir`.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cap_std::ambient_authority;
use cap_std::fs::Dir;

use super::fault::Fault;
use super::listing::{Entry, Kind};
use super::options::{Change, ConnectionOptions, Get, Place, Put};
use super::path::{RemotePath, os, shown};
use super::report::{Report, print};
use super::session::{Session, Target};
use super::transfer::{LocalFile, RemoteFile, Transferred, receive, send};
use crate::common::progress::Progress;
use crate::service::Failure;

impl Get {
    pub(super) fn run(self, connection: ConnectionOptions) -> Result<u8, Failure> {
        let url = self.url.url()?;
        if url.is_folder {
            return Err(Failure::usage(
                "the URL names a folder: use `client ftp mirror`",
            ));
        }
        let (folder, name) = self.destination(url.path.name())?;
        let opened = Dir::open_ambient_dir(&folder, ambient_authority())
            .map_err(|error| Failure::usage(format!("{}: {error}", folder.display())))?;
        let target = Target::new(url, connection)?;
        let mut session = Session::open(&target, None)?;
        let path = &target.url.path;
        let about = |fault: Fault| fault.about(path);
        let entry = session.stat(path).map_err(about)?;
        if entry
            .as_ref()
            .is_some_and(|entry| entry.kind == Kind::Folder)
        {
            let text = format!("{path} is a folder: use `client ftp mirror`");
            return Err(Failure::run(text));
        }
        let source = RemoteFile {
            path: path.clone(),
            size: entry.as_ref().and_then(|entry| entry.size),
            modified: entry.and_then(|entry| entry.modified),
        };
        if self.transfer.dry_run {
            session.quit();
            let line = format!("get {path} -> {}\n", printable(&folder.join(os(&name))));
            return print(&line).map(|()| 0);
        }
        let progress = Progress::new("receiving", source.size);
        let manner = self.transfer.manner(&progress);
        let received = receive(&mut session, &source, &opened, &name, &manner);
        progress.finish();
        session.quit();
        finish(false, received.map_err(about)?)
    }

    /// Finds the local folder of the received file, and the name of the file in this folder.
    fn destination(&self, name: &[u8]) -> Result<(PathBuf, Vec<u8>), Failure> {
        let name = name.to_vec();
        let Some(local) = &self.local else {
            return Ok((PathBuf::from("."), name));
        };
        if local.is_dir() {
            return Ok((local.clone(), name));
        }
        let is_folder = local.as_os_str().as_bytes().ends_with(b"/");
        match local.file_name() {
            Some(name) if !is_folder => {
                let parent = local
                    .parent()
                    .filter(|parent| !parent.as_os_str().is_empty());
                let folder = parent.unwrap_or(Path::new("."));
                Ok((folder.to_owned(), name.as_bytes().to_vec()))
            }
            _ => Err(Failure::usage(format!(
                "{}: there is no such folder",
                local.display()
            ))),
        }
    }
}

impl Put {
    pub(super) fn run(self, connection: ConnectionOptions) -> Result<u8, Failure> {
        let url = self.url.url()?;
        let unusable =
            |error: io::Error| Failure::usage(format!("{}: {error}", self.local.display()));
        let source = File::open(&self.local)
            .and_then(LocalFile::of)
            .map_err(unusable)?;
        let path = if url.is_folder {
            let real = std::fs::canonicalize(&self.local).map_err(unusable)?;
            let name = self
                .local
                .file_name()
                .or(real.file_name())
                .unwrap_or_default();
            url.path.join(name.as_bytes())
        } else {
            url.path.clone()
        };
        path.check()
            .map_err(|why| Failure::usage(format!("{}: {why}", self.local.display())))?;
        let target = Target::new(url, connection)?;
        if self.transfer.dry_run {
            let line = format!("put {} -> {path}\n", printable(&self.local));
            return print(&line).map(|()| 0);
        }
        let mut session = Session::open(&target, None)?;
        let progress = Progress::new("sending", Some(source.size));
        let manner = self.transfer.manner(&progress);
        let sent = send(&mut session, &source, &path, &manner);
        progress.finish();
        session.quit();
        finish(true, sent.map_err(|fault| fault.about(&path))?)
    }
}

fn finish(is_sending: bool, done: Transferred) -> Result<u8, Failure> {
    let mut report = Report::new(is_sending, 0);
    report.tally.add(done);
    report.end()
}

impl Place {
    /// Runs `ls`: prints a line for each entry, sorted by name.
    pub(super) fn list(self, connection: ConnectionOptions) -> Result<u8, Failure> {
        let target = Target::new(self.url.url()?, connection)?;
        let mut session = Session::open(&target, None)?;
        let path = &target.url.path;
        let about = |fault: Fault| fault.about(path);
        let mut entry = None;
        if !target.url.is_folder {
            entry = session.stat(path).map_err(about)?;
        }
        let mut report = Report::new(false, 0);
        let mut text = String::new();
        match entry {
            Some(entry) if entry.kind != Kind::Folder => describe(&mut text, path.name(), &entry),
            _ => {
                let mut listing = session.list(path).map_err(about)?;
                listing.entries.sort_by(|(a, _), (b, _)| a.cmp(b));
                for (name, entry) in &listing.entries {
                    describe(&mut text, name, entry);
                }
                report.tally.failed = listing.refused;
            }
        }
        session.quit();
        print(&text)?;
        report.end_dry_run()
    }
}

/// Appends the line of an entry: `        1234 2024-01-02T03:04:05Z name`. A `/` follows the name
/// of a folder, and `@` the name of a link.
fn describe(text: &mut String, name: &[u8], entry: &Entry) {
    let size = entry.size.map_or("-".to_owned(), |size| size.to_string());
    let time = entry.modified.map_or("-".to_owned(), shown_time);
    let mark = match entry.kind {
        Kind::File => "",
        Kind::Folder => "/",
        Kind::Link => "@",
        Kind::Other => "?",
    };
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{size:>15} {time:20} {}{mark}", shown(name));
}

fn shown_time(time: SystemTime) -> String {
    let timestamp = jiff::Timestamp::try_from(time).unwrap_or_default();
    timestamp.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Converts a local path to text for a terminal.
fn printable(path: &Path) -> String {
    shown(path.as_os_str().as_bytes())
}

impl Change {
    /// `rm`.
    pub(super) fn remove(self, connection: ConnectionOptions) -> Result<u8, Failure> {
        let (verb, shown) = match self.url.url()?.is_folder {
            true => ("RMD", "rmdir"),
            false => ("DELE", "rm"),
        };
        self.run(connection, verb, shown, |session, path, fault| {
            let is_refused_file = verb == "DELE" && matches!(fault, Fault::Refused { .. });
            let kind = match is_refused_file {
                true => session.stat(path).ok().flatten().map(|entry| entry.kind),
                false => None,
            };
            match kind {
                Some(Kind::Folder) => Failure::run(format!(
                    "{path} is a folder: end its URL with / to remove it when it is empty"
                )),
                _ => fault.about(path),
            }
        })
    }

    /// `mkdir`.
    pub(super) fn make_folder(self, connection: ConnectionOptions) -> Result<u8, Failure> {
        self.run(connection, "MKD", "mkdir", |_, path, fault| {
            fault.about(path)
        })
    }

    fn run(
        self,
        connection: ConnectionOptions,
        verb: &str,
        shown: &str,
        explain: impl FnOnce(&mut Session<'_>, &RemotePath, Fault) -> Failure,
    ) -> Result<u8, Failure> {
        let url = self.url.url()?;
        if url.path.name().is_empty() {
            return Err(Failure::usage(
                "the URL names nothing below the server's root",
            ));
        }
        let target = Target::new(url, connection)?;
        let path = &target.url.path;
        if self.dry_run {
            return print(&format!("{shown} {path}\n")).map(|()| 0);
        }
        let mut session = Session::open(&target, None)?;
        let done = session.done(verb, Some(&path.argument()));
        let done = done.map_err(|fault| explain(&mut session, path, fault));
        session.quit();
        done.map(|_| 0)
    }
}
