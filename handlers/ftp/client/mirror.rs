//! `mirror`: makes a local folder the same as a folder on the server, or the other way round
//! (`--reverse`).

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::Dir;

use super::fault::Fault;
use super::jobs::{self, Tally};
use super::listing::{Entry, Kind};
use super::options::{ConnectionOptions, Mirror};
use super::path::{RemotePath, os, shown};
use super::plan::{Plan, Removal, Rules, plan};
use super::report::{Report, print};
use super::session::{Session, Target};
use super::transfer::{LocalFile, Manner, RemoteFile, Transferred, receive, send};
use super::tree::{Tree, open_folder};
use crate::common::progress::Progress;
use crate::service::Failure;

/// A file that must be transferred.
struct Item {
    /// The path below the mirror's folder.
    path: Vec<u8>,
    /// The entry of the source.
    entry: Entry,
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.path))
    }
}

impl Mirror {
    pub(super) fn run(self, connection: ConnectionOptions) -> Result<u8, Failure> {
        let url = self.url.url()?;
        let local = self.local_folder(&url.path)?;
        let target = Target::new(url, connection)?;
        let root = &target.url.path;
        let folder = self.open(&local)?;
        let mut session = Session::open(&target, None)?;
        let (plan, items) = self.plan(&mut session, folder.as_ref())?;
        if self.transfer.dry_run {
            session.quit();
            return self.print_plan(&plan, &items);
        }
        let Some(folder) = folder else {
            return Err(Failure::run(format!(
                "{}: the folder is gone",
                local.display()
            )));
        };
        let total = items.iter().filter_map(|item| item.entry.size).sum();
        let label = if self.reverse { "sending" } else { "receiving" };
        let progress = Progress::new(label, Some(total));
        let transfers = Transfers {
            root,
            folder: &folder,
            to_server: self.reverse,
            manner: self.transfer.manner(&progress),
        };
        let mut report = Report::new(self.reverse, plan.up_to_date);
        report.tally.failed = plan.failed;
        report.passed_over = plan.passed_over;
        let mut changes = Changes {
            root,
            folder: &folder,
            to_server: self.reverse,
            report: &mut report,
        };
        changes.remove(&mut session, &plan.in_the_way);
        changes.make(&mut session, &plan.folders);
        let (jobs, tally) = (self.transfer.jobs, &mut report.tally);
        let session = jobs::run(&target, session, jobs, items, tally, |session, item| {
            transfers.run(session, item)
        });
        let session = session.filter(Session::is_alive);
        let changes = Changes {
            root,
            folder: &folder,
            to_server: self.reverse,
            report: &mut report,
        };
        changes.remove_the_rest(session, &plan.removals);
        progress.finish();
        report.end()
    }

    /// The path of the local folder: LOCAL, otherwise the name of the server's folder.
    fn local_folder(&self, root: &RemotePath) -> Result<PathBuf, Failure> {
        match &self.local {
            Some(local) => Ok(local.clone()),
            None if self.reverse => {
                Err(Failure::usage("--reverse needs LOCAL, the folder to send"))
            }
            None if root.name().is_empty() => Err(Failure::usage(
                "the URL has no folder name that the local folder could get: add LOCAL",
            )),
            None => Ok(PathBuf::from(os(root.name()))),
        }
    }

    /// Opens the local folder. Makes it first if it is the destination. Returns `None` in a dry run
    /// if the folder does not exist and would be made.
    fn open(&self, local: &Path) -> Result<Option<Dir>, Failure> {
        let shown = local.display();
        let failed = |error: io::Error| format!("{shown}: {error}");
        if !self.reverse && !self.transfer.dry_run {
            std::fs::create_dir_all(local)
                .map_err(failed)
                .map_err(Failure::run)?;
        }
        match Dir::open_ambient_dir(local, ambient_authority()) {
            Ok(dir) => Ok(Some(dir)),
            Err(error) if !self.reverse && error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::usage(failed(error))),
        }
    }

    fn plan(
        &self,
        session: &mut Session<'_>,
        folder: Option<&Dir>,
    ) -> Result<(Plan, Vec<Item>), Failure> {
        let here = folder.map(|folder| Tree::local(folder, &self.exclude, self.reverse));
        let here = here.unwrap_or_default();
        let mut there = self.remote_tree(session)?;
        let target = session.target;
        make_exact(session, &target.url.path, &mut there, &here)
            .map_err(|fault| fault.about(&target.url))?;
        let rules = Rules {
            delete: self.delete,
            keeps_times: !self.reverse || session.features.mfmt,
            to_server: self.reverse,
        };
        let (source, destination) = match self.reverse {
            true => (&here, &there),
            false => (&there, &here),
        };
        let mut plan = plan(source, destination, rules);
        plan.failed.extend(here.failed.iter().cloned());
        plan.failed.extend(there.failed.iter().cloned());
        let items = plan.files.iter().filter_map(|path| {
            let entry = source.entries.get(path)?.clone();
            let path = path.clone();
            Some(Item { path, entry })
        });
        let items = items.collect();
        Ok((plan, items))
    }

    /// Reads the tree on the server. If its folder is the destination and does not exist, makes the
    /// folder.
    fn remote_tree(&self, session: &mut Session<'_>) -> Result<Tree, Failure> {
        let target = session.target;
        let root = &target.url.path;
        let about = |fault: Fault| fault.about(format!("{}/{root}", target.url));
        match Tree::remote(session, root, &self.exclude) {
            Err(Fault::Refused { .. }) if self.reverse && self.transfer.dry_run => {
                Ok(Tree::default())
            }
            Err(refused @ Fault::Refused { .. }) if self.reverse && !root.is_empty() => {
                match make_root(session, root) {
                    Ok(()) => Ok(Tree::default()),
                    // The folder exists, or cannot be made. The reply to the listing is the better
                    // error message.
                    Err(Fault::Refused { .. }) => Err(about(refused)),
                    Err(fault) => Err(about(fault)),
                }
            }
            tree => tree.map_err(about),
        }
    }

    fn print_plan(&self, plan: &Plan, items: &[Item]) -> Result<u8, Failure> {
        let verb = if self.reverse { "put" } else { "get" };
        let mut text = String::new();
        let removals = |text: &mut String, removals: &[Removal]| {
            for Removal { path, is_folder } in removals {
                let verb = if *is_folder { "rmdir" } else { "rm" };
                *text += &format!("{verb} {}\n", shown(path));
            }
        };
        removals(&mut text, &plan.in_the_way);
        for path in &plan.folders {
            text += &format!("mkdir {}\n", shown(path));
        }
        for item in items {
            text += &format!("{verb} {item}\n");
        }
        removals(&mut text, &plan.removals);
        print(&text)?;
        let mut report = Report::new(self.reverse, plan.up_to_date);
        report.tally.failed = plan.failed.clone();
        report.passed_over = plan.passed_over.clone();
        report.end_dry_run()
    }
}

/// Makes a folder, and its parent folders if necessary.
fn make_root(session: &mut Session<'_>, root: &RemotePath) -> Result<(), Fault> {
    let mut made = session.done("MKD", Some(&root.argument()));
    if matches!(made, Err(Fault::Refused { .. })) {
        for folder in root.ancestors() {
            // The reply is ignored, because the server refuses to make a folder that already
            // exists.
            session.command("MKD", Some(&folder.argument()))?;
        }
        made = session.done("MKD", Some(&root.argument()));
    }
    made.map(|_| ())
}

/// Replaces times from LIST, which are exact only to the minute or the day, by times from MDTM,
/// which are exact to the second. It asks only for files with the same length on both sides,
/// because the others differ anyway.
fn make_exact(
    session: &mut Session<'_>,
    root: &RemotePath,
    there: &mut Tree,
    here: &Tree,
) -> Result<(), Fault> {
    for (path, entry) in &mut there.entries {
        let is_candidate = entry.kind == Kind::File
            && !entry.is_exact
            && here
                .entries
                .get(path)
                .is_some_and(|ours| ours.size == entry.size);
        if is_candidate && let Some(modified) = session.modified(&root.join(path))? {
            entry.modified = Some(modified);
            entry.is_exact = true;
        }
    }
    Ok(())
}

/// The state of the transfers of a mirror, which all sessions share.
struct Transfers<'a> {
    /// The mirror's folder on the server.
    root: &'a RemotePath,
    /// The mirror's local folder.
    folder: &'a Dir,
    /// Whether the destination is the server (`--reverse`).
    to_server: bool,
    manner: Manner<'a>,
}

impl Transfers<'_> {
    fn run(&self, session: &mut Session<'_>, item: &Item) -> Result<Transferred, Fault> {
        let path = self.root.join(&item.path);
        if self.to_server {
            let source = open_file(self.folder, &item.path).map_err(Fault::local)?;
            return send(session, &source, &path, &self.manner);
        }
        let modified = match item.entry.modified.filter(|_| item.entry.is_exact) {
            None => session.modified(&path)?,
            exact => exact,
        };
        let (parent, name) = split(&item.path);
        let parent = open_folder(self.folder, parent).map_err(Fault::local)?;
        let source = RemoteFile {
            path,
            size: item.entry.size,
            modified,
        };
        receive(session, &source, &parent, name, &self.manner)
    }
}

/// Opens a file below a folder. A symlink that leads out of the folder is an error.
fn open_file(folder: &Dir, path: &[u8]) -> io::Result<LocalFile> {
    let file = folder.open(os(path))?.into_std();
    LocalFile::of(file)
}

/// Splits a path into its folder and its name.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// Makes and removes entries of the destination.
struct Changes<'a> {
    /// The mirror's folder on the server.
    root: &'a RemotePath,
    /// The mirror's local folder.
    folder: &'a Dir,
    /// Whether the destination is the server (`--reverse`).
    to_server: bool,
    report: &'a mut Report,
}

impl Changes<'_> {
    fn make(&mut self, session: &mut Session<'_>, folders: &[Vec<u8>]) {
        for path in folders {
            let made = match self.to_server {
                true => {
                    let there = self.root.join(path);
                    session.done("MKD", Some(&there.argument())).map(|_| ())
                }
                false => self.folder.create_dir(os(path)).map_err(Fault::local),
            };
            self.note(path, &made);
        }
    }

    fn remove(&mut self, session: &mut Session<'_>, removals: &[Removal]) {
        for Removal { path, is_folder } in removals {
            let removed = match (self.to_server, is_folder) {
                (true, _) => {
                    let verb = if *is_folder { "RMD" } else { "DELE" };
                    let there = self.root.join(path);
                    session.done(verb, Some(&there.argument())).map(|_| ())
                }
                (false, true) => self.folder.remove_dir(os(path)).map_err(Fault::local),
                (false, false) => self.folder.remove_file(os(path)).map_err(Fault::local),
            };
            if self.note(path, &removed) {
                self.report.removed += 1;
            }
        }
    }

    /// Removes the entries that the source does not have. Without a working session, removes
    /// nothing, and reports this.
    fn remove_the_rest(mut self, session: Option<Session<'_>>, removals: &[Removal]) {
        let Some(mut session) = session else {
            if !removals.is_empty() {
                let line = "nothing is removed, because the session broke".to_owned();
                self.report.tally.failed.push(line);
            }
            return;
        };
        self.remove(&mut session, removals);
        session.quit();
    }

    fn note(&mut self, path: &[u8], result: &Result<(), Fault>) -> bool {
        let tally: &mut Tally = &mut self.report.tally;
        if let Err(fault) = result {
            tally.fail(shown(path), fault);
        }
        result.is_ok()
    }
}
