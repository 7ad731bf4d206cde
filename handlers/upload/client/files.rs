//! Collects the files to send: the files that the user names, and those in the folders that the
//! user names.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::service::Failure;

/// A file to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) path: PathBuf,
    /// The name that is announced to the server.
    pub(super) name: String,
    /// The size in bytes when the file was found.
    pub(super) size: u64,
}

#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) items: Vec<Item>,
    /// A line for each file that cannot be sent.
    pub(super) failed: Vec<String>,
    /// A line for each file that is skipped on purpose.
    pub(super) passed_over: Vec<String>,
}

/// Finds the files. The names of files in a folder begin with the folder's name. The name of a
/// single file contains its folders only with `keep_paths`.
///
/// # Errors
/// A path that the user named does not exist.
pub(super) fn collect(paths: &[PathBuf], keep_paths: bool) -> Result<Found, Failure> {
    let mut found = Found::default();
    for path in paths {
        let unusable = |error: io::Error| Failure::usage(format!("{}: {error}", path.display()));
        // A path that the user names is followed even if it is a symbolic link.
        let metadata = fs::metadata(path).map_err(unusable)?;
        let real = fs::canonicalize(path).map_err(unusable)?;
        let parts = if keep_paths { below(path) } else { None };
        let name = parts.unwrap_or_else(|| {
            path.file_name()
                .or(real.file_name())
                .unwrap_or_default()
                .into()
        });
        if metadata.is_dir() {
            walk(path, &name, &real, &mut found);
        } else {
            found.add(path, &name, &metadata);
        }
    }
    Ok(found)
}

/// Converts a path to a relative one below the server's folder; `None` if nothing is left of it.
fn below(path: &Path) -> Option<PathBuf> {
    let named = path
        .components()
        .filter(|component| matches!(component, Component::Normal(_)));
    // After a `..`, the components before it do not apply any more.
    let kept: PathBuf = if path
        .components()
        .any(|component| component == Component::ParentDir)
    {
        path.file_name()?.into()
    } else {
        named.collect()
    };
    kept.file_name().map(|_| kept.clone())
}

fn walk(folder: &Path, name: &Path, top: &Path, found: &mut Found) {
    let entries =
        match fs::read_dir(folder).and_then(|entries| entries.collect::<io::Result<Vec<_>>>()) {
            Ok(entries) => entries,
            Err(error) => return found.fail(folder, &error.to_string()),
        };
    let mut names: Vec<_> = entries.iter().map(fs::DirEntry::file_name).collect();
    names.sort();
    for entry in names {
        let (path, name) = (folder.join(&entry), name.join(&entry));
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => walk(&path, &name, top, found),
            Ok(metadata) if metadata.is_symlink() => follow(&path, &name, top, found),
            Ok(metadata) => found.add(&path, &name, &metadata),
            Err(error) => found.fail(&path, &error.to_string()),
        }
    }
}

/// Follows a symbolic link to a file inside the folder. Links to the outside are skipped, because
/// the user did not ask for these files.
fn follow(path: &Path, name: &Path, top: &Path, found: &mut Found) {
    match fs::canonicalize(path).and_then(|real| Ok((fs::metadata(&real)?, real))) {
        Ok((metadata, real)) if metadata.is_file() && real.starts_with(top) => {
            found.add(path, name, &metadata)
        }
        Ok((metadata, _)) if metadata.is_dir() => {
            found.passed_over.push(format!(
                "{}: a symlink to a folder is passed over",
                path.display()
            ));
        }
        Ok(_) => found.fail(path, "a symlink that leads out of the folder"),
        Err(error) => found.fail(path, &error.to_string()),
    }
}

impl Found {
    fn add(&mut self, path: &Path, name: &Path, metadata: &fs::Metadata) {
        if !metadata.is_file() {
            return self.fail(path, "not a file");
        }
        match name
            .components()
            .map(|part| OsStr::to_str(part.as_os_str()))
            .collect::<Option<Vec<_>>>()
        {
            Some(parts) => self.items.push(Item {
                path: path.to_owned(),
                name: parts.join("/"),
                size: metadata.len(),
            }),
            None => self.fail(path, "its name isn't in UTF-8"),
        }
    }

    fn fail(&mut self, path: &Path, why: &str) {
        self.failed.push(format!("{}: {why}", path.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_kept_as_far_as_it_leads_down() {
        for (path, kept) in [
            ("a/b.txt", Some("a/b.txt")),
            ("./a/./b", Some("a/b")),
            ("/etc/hosts", Some("etc/hosts")),
            ("../a/b", Some("b")),
            ("a/../b", Some("b")),
            ("..", None),
            ("/", None),
            (".", None),
        ] {
            assert_eq!(below(Path::new(path)), kept.map(PathBuf::from), "{path}");
        }
    }
}
