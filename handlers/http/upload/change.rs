//! `DELETE`, `MKCOL` and `MOVE` (RFC 9110 §9.3.5, RFC 4918 §9.3 and §9.9): changes of the tree that
//! carry no content.
//!
//! Folders are entered through the directory handle of the root, symlinks are changed and never
//! followed.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use cap_std::fs::Dir;
use rustix::fs::renameat;
use rustix::io::Errno;

use super::destination::{self, DestinationError};
use super::guard::{self, Guard};
use super::refusal::{of_system, say};
use super::{ALLOW, DestinationPath, Shared};
use crate::common::accounts::Rights;
use crate::common::rename::rename_new;
use crate::common::store::OnDuplicate;
use crate::http::access::Permit;
use crate::http::head::{Framing, Head};
use crate::http::message::Response;

/// Removes a file, or a folder in which nothing is.
pub(super) fn delete(shared: &Shared, head: &Head<'_>) -> Result<Response, Response> {
    let place = DestinationPath::of(&shared.site, head)?;
    let path = existing(shared, &place)?;
    Guard::of(head).check(shared.root(), &place.path)?;
    let root = shared.root();
    let removed = if is_folder(root, path)? {
        root.remove_dir(path)
    } else {
        root.remove_file(path)
    };
    removed.map_err(|error| of_system(&error))?;
    shared.store.removed(&place.path);
    shared.site.cache.forget(&place.path);
    Ok(Response::new(204))
}

/// Makes a folder within one that is there.
pub(super) fn make_collection(shared: &Shared, head: &Head<'_>) -> Result<Response, Response> {
    if head.body != Framing::None {
        return Err(say(415, "MKCOL takes no request body.")); // RFC 4918 §9.3
    }
    let place = DestinationPath::of(&shared.site, head)?;
    match shared.root().create_dir(place.path()) {
        Ok(()) => Ok(Response::new(201).header("Location", &format!("{}/", place.location))),
        _ if place.path.is_empty() => Err(exists()),
        Err(error) => Err(match error.kind() {
            io::ErrorKind::AlreadyExists => exists(),
            io::ErrorKind::NotFound => say(409, "The parent folder does not exist."),
            _ => of_system(&error),
        }),
    }
}

fn exists() -> Response {
    say(405, "A file or folder of this name exists.").header("Allow", ALLOW) // RFC 4918 §9.3.1
}

/// Gives a file or folder another name, or place.
pub(super) fn move_to(
    shared: &Shared,
    head: &Head<'_>,
    permit: &Permit,
) -> Result<Response, Response> {
    let (source, target) = (
        DestinationPath::of(&shared.site, head)?,
        destination(shared, head)?,
    );
    permit.check_move(&source.path, &target.path)?;
    let root = shared.root();
    let from = existing(shared, &source)?;
    Guard::of(head).check(root, &source.path)?;
    let below = target.path.strip_prefix(&*source.path);
    if below.is_some_and(|rest| rest.is_empty() || rest[0] == b'/') {
        return Err(say(403, "A folder cannot be moved onto or into itself."));
    }
    if target.trailing_slash && !is_folder(root, from)? {
        return Err(say(409, "The name of a file must not end with a slash."));
    }
    let replace = match head.joined("overwrite").as_deref() {
        None | Some(b"T") => !matches!(
            shared.on_duplicate,
            Some(OnDuplicate::Error | OnDuplicate::Rename)
        ),
        Some(b"F") => false,
        Some(_) => return Err(say(400, "Overwrite must be `T` or `F`.")), // RFC 4918 §10.6
    };
    let may_replace = permit.may_throughout(Rights::DELETE, &target.path);
    let taken = || {
        if may_replace {
            guard::failed()
        } else {
            permit.refusal()
        }
    };
    let is_new = rename(root, from, target.path(), replace && may_replace, taken)?;
    shared.store.moved(&source.path, &target.path);
    shared.site.cache.forget(&source.path);
    shared.site.cache.forget(&target.path);
    Ok(if is_new {
        Response::new(201).header("Location", &target.location)
    } else {
        Response::new(204)
    })
}

fn destination(shared: &Shared, head: &Head<'_>) -> Result<DestinationPath, Response> {
    let mut values = head.values("destination");
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(say(
            400,
            "Send one Destination header that says where to move it.",
        ));
    };
    let path = destination::path(value, head.host).map_err(|error| match error {
        DestinationError::Malformed => {
            say(400, "The Destination is not a URL or an absolute path.")
        }
        // RFC 4918 §9.9.4
        DestinationError::Elsewhere => say(502, "The Destination is on another server."),
    })?;
    let place = DestinationPath::at(&shared.site, path)?;
    if place.path.is_empty() {
        Err(say(403, "The root cannot be replaced."))
    } else {
        Ok(place)
    }
}

/// Renames, and tells whether the name was free. If it is not to be `replace`d, `taken` is the
/// answer.
fn rename(
    root: &Dir,
    from: &Path,
    to: &Path,
    replace: bool,
    taken: impl FnOnce() -> Response,
) -> Result<bool, Response> {
    let system = |error: io::Error| of_system(&error);
    let (from_folder, from) = parent(root, from).map_err(system)?;
    let (to_folder, to) = parent(root, to).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => say(409, "The destination's folder does not exist."),
        _ => of_system(&error),
    })?;
    // Not every file system knows the flag; then somebody may take the name between the look and
    // the move.
    let moved = match rename_new(&from_folder, from, &to_folder, to) {
        Err(Errno::INVAL | Errno::NOSYS) if to_folder.symlink_metadata(to).is_ok() => {
            Err(Errno::EXIST)
        }
        Err(Errno::INVAL | Errno::NOSYS) => renameat(&from_folder, from, &to_folder, to),
        moved => moved,
    };
    match moved {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) if !replace => Err(taken()),
        Err(Errno::EXIST) => match renameat(&from_folder, from, &to_folder, to) {
            Ok(()) => Ok(false),
            // A folder with something in it is never replaced.
            Err(Errno::NOTEMPTY | Errno::EXIST) => {
                Err(say(409, "The destination is a folder that is not empty."))
            }
            Err(error) => Err(of_system(&error.into())),
        },
        Err(error) => Err(of_system(&error.into())),
    }
}

/// The folder in which a path's last component stands, and that component.
fn parent<'a>(root: &Dir, path: &'a Path) -> io::Result<(Dir, &'a OsStr)> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => root.open_dir(folder)?,
        _ => root.try_clone()?,
    };
    Ok((folder, name))
}

/// The path of something that is there, and isn't the root.
fn existing<'a>(shared: &Shared, place: &'a DestinationPath) -> Result<&'a Path, Response> {
    if place.path.is_empty() {
        return Err(say(403, "The root cannot be moved or removed."));
    }
    let path = place.path();
    let is_folder = is_folder(shared.root(), path)?;
    if place.trailing_slash && !is_folder {
        return Err(say(404, "There is no folder at this address."));
    }
    Ok(path)
}

fn is_folder(root: &Dir, path: &Path) -> Result<bool, Response> {
    root.symlink_metadata(path)
        .map(|metadata| metadata.is_dir())
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotADirectory => say(404, "There is nothing at this address."),
            _ => of_system(&error),
        })
}
