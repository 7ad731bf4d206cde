//! The transfer of one file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::time::SystemTime;

use cap_std::fs::Dir;
use rustix::io::Errno;

use super::data::Direction;
use super::fault::Fault;
use super::features::DigestCommand;
use super::partial::{Identity, Partial};
use super::path::RemotePath;
use super::session::Session;
use crate::client::Connection;
use crate::common::digest::{Digests, Hasher};
use crate::common::progress::Progress;

/// Number of bytes that are read and written at a time.
const PIECE: usize = 256 * 1024;

/// The settings for all transfers of a run.
#[derive(Debug)]
pub(super) struct Manner<'a> {
    /// Whether interrupted transfers are continued (`--resume`).
    pub(super) resume: bool,
    /// Whether the client asks the server for digests.
    pub(super) digest: bool,
    /// Whether a received file is written to the disk before it gets its name.
    pub(super) sync: bool,
    pub(super) progress: &'a Progress,
}

impl Manner<'_> {
    fn hasher(&self, session: &Session<'_>) -> Hasher {
        let wanted = session
            .features
            .digest
            .filter(|_| self.digest)
            .map(|command: DigestCommand| command.algorithm().wanted());
        Hasher::of(&wanted.unwrap_or_default())
    }
}

/// A file on the server.
#[derive(Clone, Debug)]
pub(super) struct RemoteFile {
    pub(super) path: RemotePath,
    /// The length of the file in bytes; `None` if the server does not return it.
    pub(super) size: Option<u64>,
    /// When the file was last changed; `None` if the server does not return a time that is exact to
    /// the second.
    pub(super) modified: Option<SystemTime>,
}

/// How a transferred file was compared on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verified {
    Digest,
    Length,
    /// Not compared: the server returns neither a digest nor a length, only that the transfer has
    /// succeeded.
    Nothing,
}

/// A file that was transferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Transferred {
    /// The length of the whole file in bytes.
    pub(super) bytes: u64,
    pub(super) verified: Verified,
}

/// Receives a file into a folder. The bytes are stored in a [`Partial`]. The file gets its name
/// after it is complete and verified.
///
/// # Errors
/// The transfer has failed. The received bytes are kept for `--resume`, unless they are damaged. If
/// the disk is full, they are kept only if this run has `--resume`.
pub(super) fn receive(
    session: &mut Session<'_>,
    source: &RemoteFile,
    folder: &Dir,
    name: &[u8],
    manner: &Manner<'_>,
) -> Result<Transferred, Fault> {
    let url = session.target.url.to_string();
    let identity = Identity {
        url: &url,
        path: source.path.as_bytes(),
        size: source.size,
        modified: source.modified,
    };
    let mut partial =
        Partial::open(folder, name, &identity, manner.resume).map_err(Fault::local)?;
    if source.size.is_some_and(|size| partial.length > size) {
        partial.clear().map_err(Fault::local)?;
    }
    let mut hasher = manner.hasher(session);
    hasher.update_from(&partial.file, 0).map_err(Fault::local)?;
    let is_whole = partial.length > 0 && source.size == Some(partial.length);
    let bytes = if is_whole {
        manner.progress.advance(partial.length);
        partial.length
    } else {
        match fetch(session, source, &mut partial, &mut hasher, manner) {
            Ok(bytes) => bytes,
            Err((fault, keep)) => {
                if !keep {
                    partial.discard();
                }
                return Err(fault);
            }
        }
    };
    if let Some(size) = source.size.filter(|size| *size != bytes) {
        return Err(Fault::Local(format!(
            "only {bytes} of {size} bytes came; --resume continues"
        )));
    }
    let has_digest = match check_digest(session, &source.path, bytes, hasher.finish()) {
        Err(fault @ Fault::Local(_)) => {
            partial.discard();
            return Err(fault);
        }
        checked => checked?,
    };
    partial
        .publish(name, source.modified, manner.sync)
        .map_err(Fault::local)?;
    let verified = match (has_digest, source.size) {
        (true, _) => Verified::Digest,
        (false, Some(_)) => Verified::Length,
        (false, None) => Verified::Nothing,
    };
    Ok(Transferred { bytes, verified })
}

/// Receives the missing bytes. Returns the length of the whole file.
///
/// # Errors
/// The transfer has failed. The boolean says whether the partial file is kept.
fn fetch(
    session: &mut Session<'_>,
    source: &RemoteFile,
    partial: &mut Partial<'_>,
    hasher: &mut Hasher,
    manner: &Manner<'_>,
) -> Result<u64, (Fault, bool)> {
    let keep = |fault| (fault, true);
    let argument = source.path.argument();
    let mut begun = session.begin("RETR", Some(&argument), partial.length, Direction::Receive);
    if partial.length > 0 && matches!(&begun, Err(fault) if refuses_offset(fault)) {
        partial.clear().map_err(Fault::local).map_err(keep)?;
        *hasher = manner.hasher(session);
        begun = session.begin("RETR", Some(&argument), 0, Direction::Receive);
    }
    let is_new = partial.length == 0;
    let mut data = begun.map_err(|fault| (fault, !is_new))?;
    manner.progress.advance(partial.length);
    let mut total = partial.length;
    match pull(source, &mut data, partial, &mut total, hasher, manner) {
        Ok(()) => {}
        Err(Cut::Here(fault, is_kept)) => {
            session.abort(data);
            return Err((fault, is_kept));
        }
        Err(Cut::There(error)) => {
            drop(data);
            return Err((session.reason_for(&error), total > 0));
        }
    }
    session
        .end(data, Direction::Receive, 0)
        .map_err(|fault| (fault, total > 0))?;
    Ok(total)
}

/// Whether the server refuses only the offset (RFC 3659 §5), and not the file.
fn refuses_offset(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::Refused {
            code: 500..=504 | 551 | 554,
            ..
        }
    )
}

/// Why a transfer was interrupted.
enum Cut {
    /// An error on this machine. The boolean says whether the partial file is kept.
    Here(Fault, bool),
    /// An error of the connection or the server.
    There(io::Error),
}

/// Receives bytes until the end of the data connection.
fn pull(
    source: &RemoteFile,
    data: &mut Connection,
    partial: &mut Partial<'_>,
    total: &mut u64,
    hasher: &mut Hasher,
    manner: &Manner<'_>,
) -> Result<(), Cut> {
    let end = SeekFrom::Start(partial.length);
    let sought = partial.file.seek(end);
    sought.map_err(|error| Cut::Here(Fault::local(error), true))?;
    let mut piece = vec![0; PIECE];
    loop {
        let count = match data.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // Some servers end TLS without close_notify. If all bytes were received, the file is
            // complete.
            Err(error)
                if error.kind() == io::ErrorKind::UnexpectedEof && source.size == Some(*total) =>
            {
                return Ok(());
            }
            Err(error) => return Err(Cut::There(error)),
        };
        *total += count as u64;
        if let Some(size) = source.size.filter(|size| *total > *size) {
            let text = format!("the server sent more than the {size} bytes of the file");
            return Err(Cut::Here(Fault::Local(text), false));
        }
        let bytes = &piece[..count];
        hasher.update(bytes);
        if let Err(error) = partial.file.write_all(bytes) {
            // Without `--resume`, the partial file would only occupy the full disk.
            let is_kept = manner.resume || !is_disk_full(&error);
            return Err(Cut::Here(Fault::local(error), is_kept));
        }
        manner.progress.advance(count as u64);
    }
}

fn is_disk_full(error: &io::Error) -> bool {
    [Errno::NOSPC, Errno::DQUOT]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Compares the digests with the server's digest. Returns false if the server returns no digest,
/// which may also happen for a single file. Then only the length can be compared.
fn check_digest(
    session: &mut Session<'_>,
    path: &RemotePath,
    bytes: u64,
    ours: Digests,
) -> Result<bool, Fault> {
    if ours.is_empty() {
        return Ok(false);
    }
    let Some(theirs) = session.digest(path, bytes)? else {
        return Ok(false);
    };
    match theirs.difference(&ours) {
        None => Ok(true),
        Some(digest) => Err(Fault::Local(format!(
            "the {digest} digests here and on the server differ"
        ))),
    }
}

/// A local file.
#[derive(Debug)]
pub(super) struct LocalFile {
    pub(super) file: File,
    pub(super) size: u64,
    pub(super) modified: Option<SystemTime>,
}

impl LocalFile {
    /// Takes an open file with its current length and time.
    ///
    /// # Errors
    /// The errors of the system, and an error if `file` is a folder or another special file.
    pub(super) fn of(file: File) -> io::Result<LocalFile> {
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            let text = "it is a folder: use `client ftp mirror --reverse`";
            return Err(io::Error::new(io::ErrorKind::IsADirectory, text));
        }
        if !metadata.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is not a file",
            ));
        }
        Ok(LocalFile {
            size: metadata.len(),
            modified: metadata.modified().ok(),
            file,
        })
    }
}

/// Sends a file. With `--resume`, continues at the end of the file on the server.
pub(super) fn send(
    session: &mut Session<'_>,
    source: &LocalFile,
    path: &RemotePath,
    manner: &Manner<'_>,
) -> Result<Transferred, Fault> {
    path.check().map_err(Fault::Local)?;
    let mut there = match manner.resume {
        true => session.size(path)?.filter(|size| *size <= source.size),
        false => None,
    };
    if there == Some(source.size) {
        // The file on the server may be complete already. If the digests differ, it is another
        // file, and the transfer begins at the first byte.
        let mut hasher = manner.hasher(session);
        hash_prefix(&mut hasher, &source.file, source.size)?;
        match check_digest(session, path, source.size, hasher.finish()) {
            Ok(has_digest) => {
                manner.progress.advance(source.size);
                return Ok(Transferred {
                    bytes: source.size,
                    verified: if has_digest {
                        Verified::Digest
                    } else {
                        Verified::Length
                    },
                });
            }
            Err(Fault::Local(_)) => there = None,
            Err(fault) => return Err(fault),
        }
    }
    // The digest of the first bytes is computed before the transfer begins, because the server's
    // timeout runs during the transfer.
    let mut hasher = manner.hasher(session);
    hash_prefix(&mut hasher, &source.file, there.unwrap_or(0))?;
    let (data, offset) = begin_sending(session, path, there.unwrap_or(0))?;
    if offset == 0 {
        hasher = manner.hasher(session);
    }
    manner.progress.advance(offset);
    let data = push(session, source, data, offset, &mut hasher, manner)?;
    session.end(data, Direction::Send, source.size)?;
    let verified = verify_sent(session, source, path, hasher.finish())?;
    if let Some(modified) = source.modified {
        session.set_modified(path, modified)?;
    }
    Ok(Transferred {
        bytes: source.size,
        verified,
    })
}

fn verify_sent(
    session: &mut Session<'_>,
    source: &LocalFile,
    path: &RemotePath,
    ours: Digests,
) -> Result<Verified, Fault> {
    if check_digest(session, path, source.size, ours)? {
        return Ok(Verified::Digest);
    }
    match session.size(path)? {
        None => Ok(Verified::Nothing),
        Some(size) if size == source.size => Ok(Verified::Length),
        Some(size) => Err(Fault::Local(format!(
            "the server has {size} of {} bytes",
            source.size
        ))),
    }
}

/// Begins to send at an offset, by REST and STOR or otherwise by APPE. If the server refuses both,
/// begins at the first byte. Returns the data connection and the offset.
fn begin_sending(
    session: &mut Session<'_>,
    path: &RemotePath,
    offset: u64,
) -> Result<(Connection, u64), Fault> {
    let argument = path.argument();
    let refused = |begun: &Result<_, Fault>| matches!(begun, Err(Fault::Refused { .. }));
    if offset > 0 {
        if session.features.rest {
            let begun = session.begin("STOR", Some(&argument), offset, Direction::Send);
            if !refused(&begun) {
                return begun.map(|data| (data, offset));
            }
        }
        let begun = session.begin("APPE", Some(&argument), 0, Direction::Send);
        if !refused(&begun) {
            return begun.map(|data| (data, offset));
        }
    }
    let data = session.begin("STOR", Some(&argument), 0, Direction::Send)?;
    Ok((data, 0))
}

/// Sends the file from `offset` up to the length that the file had when it was opened.
fn push(
    session: &mut Session<'_>,
    source: &LocalFile,
    mut data: Connection,
    offset: u64,
    hasher: &mut Hasher,
    manner: &Manner<'_>,
) -> Result<Connection, Fault> {
    let mut piece = vec![0; PIECE];
    let mut offset = offset;
    while offset < source.size {
        let left = usize::try_from(source.size - offset).unwrap_or(PIECE);
        let space = &mut piece[..left.min(PIECE)];
        let count = match source.file.read_at(space, offset) {
            Ok(0) => {
                session.abort(data);
                return Err(shrunk());
            }
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                session.abort(data);
                return Err(Fault::local(error));
            }
        };
        let bytes = &space[..count];
        hasher.update(bytes);
        if let Err(error) = data.write_all(bytes) {
            drop(data);
            return Err(session.reason_for(&error));
        }
        offset += count as u64;
        manner.progress.advance(count as u64);
    }
    match data.flush() {
        Ok(()) => Ok(data),
        Err(error) => {
            drop(data);
            Err(session.reason_for(&error))
        }
    }
}

fn shrunk() -> Fault {
    Fault::Local("the file became shorter while it was sent".to_owned())
}

/// Adds the first `length` bytes of a file to a digest.
fn hash_prefix(hasher: &mut Hasher, file: &File, length: u64) -> Result<(), Fault> {
    if hasher.is_idle() {
        return Ok(());
    }
    let mut piece = vec![0; PIECE];
    let mut offset = 0;
    while offset < length {
        let left = usize::try_from(length - offset).unwrap_or(PIECE);
        let space = &mut piece[..left.min(PIECE)];
        match file.read_at(space, offset).map_err(Fault::local)? {
            0 => {
                return Err(shrunk());
            }
            count => {
                hasher.update(&space[..count]);
                offset += count as u64;
            }
        }
    }
    Ok(())
}
