//! `DELETE`, `MKCOL` and `MOVE` (RFC 9110 §9.3.5, RFC 4918 §9.3 and §9.9): changes of files and
//! folders without content in the request.
//!
//! The store makes the changes. A symlink at the end of a path is not followed: the symlink itself
//! is changed. Other symlinks in the path are resolved, and rights are checked for the result.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cap_std::fs::Dir;
use socketserver_http::engine::exchange::Exchange;
use socketserver_http::engine::response::Response;
use socketserver_http::protocol::head::{Framing, Head};

use super::destination::{self, DestinationError};
use super::guard::{self, Guard};
use super::refusal::{of_change, of_system, say};
use super::{ALLOW, DestinationPath, Shared};
use crate::accounts::Rights;
use crate::common::store::{OnDuplicate, StoreError};
use crate::files::access::Permit;

/// Removes a file or an empty folder.
pub(super) fn delete(
    shared: &Shared,
    exchange: &Exchange<'_>,
    permit: &Permit,
) -> Result<Response, Response> {
    let head = exchange.head;
    let place = DestinationPath::of(&shared.site, exchange)?;
    permit.check_throughout(Rights::DELETE, &place.path)?;
    let path = existing(shared, &place)?;
    Guard::of(head).check(shared.root(), &place.path)?;
    let removed = if is_folder(shared.root(), path)? {
        shared.store.remove_folder(&place.path)
    } else {
        shared.store.remove_file(&place.path)
    };
    removed.map_err(|error| of_change(&error))?;
    forget(shared, &place);
    Ok(Response::new(204))
}

/// Removes a changed path from the cache: the requested path, and the one without symlinks.
fn forget(shared: &Shared, place: &DestinationPath) {
    shared.site.cache.forget(&place.path);
    shared.site.cache.forget(&place.asked);
}

/// Creates a folder in an existing folder.
pub(super) fn make_collection(
    shared: &Shared,
    exchange: &Exchange<'_>,
    permit: &Permit,
) -> Result<Response, Response> {
    let head = exchange.head;
    if head.body != Framing::None {
        return Err(say(415, "MKCOL takes no request body.")); // RFC 4918 §9.3
    }
    let place = DestinationPath::of(&shared.site, exchange)?;
    permit.check(Rights::WRITE, &place.path)?;
    if place.path.is_empty() {
        return Err(exists());
    }
    match shared.store.make_folder(&place.path) {
        Ok(()) => Ok(Response::new(201).header("Location", &format!("{}/", place.location))),
        Err(StoreError::Io(error)) => Err(match error.kind() {
            io::ErrorKind::AlreadyExists => exists(),
            io::ErrorKind::NotFound => say(409, "The parent folder does not exist."),
            _ => of_system(&error),
        }),
        Err(error) => Err(of_change(&error)),
    }
}

fn exists() -> Response {
    say(405, "A file or folder of this name exists.").header("Allow", ALLOW) // RFC 4918 §9.3.1
}

/// Renames a file or folder, or moves it to another folder.
pub(super) fn move_to(
    shared: &Shared,
    exchange: &Exchange<'_>,
    permit: &Permit,
) -> Result<Response, Response> {
    let head = exchange.head;
    let (source, target) = (
        DestinationPath::of(&shared.site, exchange)?,
        destination(shared, head)?,
    );
    if permit.is_in_other_mount(&target.asked) {
        return Err(say(
            403,
            "Files are not moved between mounted folders: copy them.",
        ));
    }
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
    check_link(shared, permit, from, target.path())?;
    let replace = match head.joined("overwrite").as_deref() {
        None | Some(b"T") => !matches!(
            shared.on_duplicate,
            Some(OnDuplicate::Error | OnDuplicate::Rename)
        ),
        Some(b"F") => false,
        Some(_) => return Err(say(400, "Overwrite must be `T` or `F`.")), // RFC 4918 §10.6
    };
    let may_replace = permit.may_throughout(Rights::DELETE, &target.path);
    let to_folder = target.path().parent().unwrap_or(Path::new(""));
    if !to_folder.as_os_str().is_empty() && root.metadata(to_folder).is_err() {
        return Err(say(409, "The destination's folder does not exist."));
    }
    let renamed = shared
        .store
        .rename(&source.path, &target.path, replace && may_replace);
    let replaced = renamed.map_err(|error| match error {
        StoreError::Exists if may_replace => guard::failed(),
        StoreError::Exists => permit.refusal(),
        StoreError::Io(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
            say(409, "The destination is a folder that is not empty.")
        }
        error => of_change(&error),
    })?;
    forget(shared, &source);
    forget(shared, &target);
    Ok(if replaced {
        Response::new(204)
    } else {
        Response::new(201).header("Location", &target.location)
    })
}

/// Checks the new target of a relative symlink, which changes when the link is moved to another
/// folder. A client must not move a link so that it leads to a file that the client may not see.
fn check_link(shared: &Shared, permit: &Permit, from: &Path, to: &Path) -> Result<(), Response> {
    let Ok(link) = shared.root().read_link_contents(from) else {
        return Ok(());
    };
    if permit.is_everything() || from.parent() == to.parent() {
        return Ok(());
    }
    let leads_to = to.parent().unwrap_or(Path::new("")).join(link);
    let real = shared.site.root.real_path(&leads_to);
    let is_seen = |real: std::path::PathBuf| {
        permit.may(Rights::LIST | Rights::READ, real.as_os_str().as_bytes())
    };
    // A link that leads out of the root is never followed, so it may be moved.
    if real.map_or(true, is_seen) {
        Ok(())
    } else {
        Err(permit.refusal())
    }
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

/// The path of an existing file or folder that is not the root.
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
