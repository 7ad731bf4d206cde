//! A partial file: a file that is being received. It is in its final folder, under a hidden name.
//! This name identifies the file on the server, so that a later run can continue the transfer.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::time::{SystemTime, UNIX_EPOCH};

use cap_std::fs::Dir;
use rustix::fs::{
    AtFlags, FlockOperation, Mode, OFlags, flock, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;

use super::path::os;
use crate::common::digest::to_hex;

/// The end of the name of a partial file.
const SUFFIX: &[u8] = b".ftp-part";
/// Number of hexadecimal digits that identify the file on the server.
const DIGITS: usize = 16;
/// Maximum length of a file name in bytes (`NAME_MAX`).
const MAX_NAME: usize = 255;
/// Maximum number of attempts to open and lock the file. Another process may rename the file before
/// it is locked.
const MAX_ATTEMPTS: u32 = 16;

/// Identifies the file on the server to which a partial file belongs. If the file on the server has
/// changed, its identity is another one, and the partial file is not continued.
#[derive(Debug)]
pub(super) struct Identity<'a> {
    /// The host and the port of the server.
    pub(super) url: &'a str,
    /// The path on the server.
    pub(super) path: &'a [u8],
    pub(super) size: Option<u64>,
    pub(super) modified: Option<SystemTime>,
}

impl Identity<'_> {
    fn digits(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let seconds = self.modified.map(seconds);
        hasher.update(self.url.as_bytes()).update(b"\0");
        hasher.update(self.path).update(b"\0");
        hasher.update(format!("{:?} {seconds:?}", self.size).as_bytes());
        to_hex(&hasher.finalize().as_bytes()[..DIGITS / 2])
    }

    /// The name of the partial file: `.NAME.DIGITS.ftp-part`. NAME is shortened if it is too long.
    fn file_name(&self, name: &[u8]) -> OsString {
        let room = MAX_NAME - DIGITS - SUFFIX.len() - 2;
        let name = &name[..name.len().min(room)];
        OsString::from_vec([b".", name, b".", self.digits().as_bytes(), SUFFIX].concat())
    }
}

/// The number of whole seconds since 1970; 0 for earlier times.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// Whether this is the name of a partial file.
pub(super) fn is_partial(name: &[u8]) -> bool {
    let digits = name
        .strip_prefix(b".")
        .and_then(|name| name.strip_suffix(SUFFIX))
        .and_then(|name| name.split_last_chunk::<DIGITS>());
    digits.is_some_and(|(before, digits)| {
        before.ends_with(b".") && digits.iter().all(u8::is_ascii_hexdigit)
    })
}

/// A partial file. It is locked, so that no other process receives the same file.
#[derive(Debug)]
pub(super) struct Partial<'a> {
    folder: &'a Dir,
    /// The name of the partial file.
    part: OsString,
    pub(super) file: File,
    /// Number of bytes that an earlier run has received.
    pub(super) length: u64,
}

impl Partial<'_> {
    /// Opens the partial file of `name`. Removes its content, unless `resume` is set.
    ///
    /// # Errors
    /// `ResourceBusy` if another process receives the same file, and the errors of the system.
    pub(super) fn open<'a>(
        folder: &'a Dir,
        name: &[u8],
        identity: &Identity<'_>,
        resume: bool,
    ) -> io::Result<Partial<'a>> {
        let part = identity.file_name(name);
        for _ in 0..MAX_ATTEMPTS {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = File::from(openat(folder, &part, flags, Mode::from_raw_mode(0o666))?);
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Err(busy()),
                Err(error) => return Err(error.into()),
            }
            // Another process may have completed and renamed the file before it was locked here.
            let ours = rustix::fs::fstat(&file)?;
            match statat(folder, &part, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(now) if now.st_ino == ours.st_ino && now.st_dev == ours.st_dev => {}
                _ => continue,
            }
            if !resume {
                file.set_len(0)?;
            }
            let length = file.metadata()?.len();
            return Ok(Partial {
                folder,
                part,
                file,
                length,
            });
        }
        Err(busy())
    }

    /// Removes the content, so that the transfer begins again.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.length = 0;
        self.file.set_len(0)
    }

    /// Gives the file its final name. A file that already has the name is replaced. With `sync`,
    /// first writes the file to the disk, and afterwards its folder.
    pub(super) fn publish(
        self,
        name: &[u8],
        modified: Option<SystemTime>,
        sync: bool,
    ) -> io::Result<()> {
        if let Some(modified) = modified {
            self.file.set_modified(modified)?;
        }
        if sync {
            self.file.sync_all()?;
        }
        renameat(self.folder, &self.part, self.folder, os(name))?;
        if sync {
            self.folder.open(".")?.sync_all()?;
        }
        Ok(())
    }

    /// Removes the file.
    pub(super) fn discard(self) {
        // An error is ignored. The user needs the error that came before, not the error of the
        // removal.
        let _ = unlinkat(self.folder, &self.part, AtFlags::empty());
    }
}

fn busy() -> io::Error {
    io::Error::new(
        io::ErrorKind::ResourceBusy,
        "another process is receiving the same file",
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::time::Duration;

    use cap_std::ambient_authority;

    use super::*;

    const IDENTITY: Identity<'_> = Identity {
        url: "h",
        path: b"a",
        size: Some(5),
        modified: None,
    };

    fn in_a_folder(test: &str, check: impl Fn(&Dir)) {
        let name = format!("socketserver-ftp-{test}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        check(&Dir::open_ambient_dir(&path, ambient_authority()).unwrap());
        fs::remove_dir_all(&path).unwrap();
    }

    fn names(dir: &Dir) -> Vec<OsString> {
        dir.entries()
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect()
    }

    #[test]
    fn the_name_of_a_partial_file_identifies_the_file_on_the_server() {
        let name = IDENTITY.file_name(b"a.txt").into_vec();
        assert!(is_partial(&name), "{name:?}");
        let other = Identity {
            size: Some(6),
            ..IDENTITY
        };
        assert_ne!(other.file_name(b"a.txt").into_vec(), name);
        let modified = Some(UNIX_EPOCH + Duration::from_secs(1));
        assert_ne!(
            Identity {
                modified,
                ..IDENTITY
            }
            .file_name(b"a.txt")
            .into_vec(),
            name
        );
        let long = IDENTITY.file_name(&[b'x'; 255]).into_vec();
        assert!(long.len() == MAX_NAME && is_partial(&long));
        for name in [
            "a.ftp-part",
            ".a.ftp-part",
            ".a.0123456789abcdef.part",
            ".ftp-part",
            ".",
        ] {
            assert!(!is_partial(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn only_resuming_keeps_the_bytes_of_an_earlier_run() {
        in_a_folder("resume", |dir| {
            for (resume, length) in [(false, 0), (true, 5), (false, 0)] {
                let mut partial = Partial::open(dir, b"a", &IDENTITY, resume).unwrap();
                assert_eq!(partial.length, length);
                let again = Partial::open(dir, b"a", &IDENTITY, resume).unwrap_err();
                assert_eq!(again.kind(), io::ErrorKind::ResourceBusy);
                partial
                    .file
                    .write_all(&b"hello"[length as usize..])
                    .unwrap();
            }
            let partial = Partial::open(dir, b"a", &IDENTITY, true).unwrap();
            partial.publish(b"a", Some(UNIX_EPOCH), true).unwrap();
            assert_eq!(
                (names(dir), dir.read("a").unwrap()),
                (vec!["a".into()], b"hello".into())
            );
            Partial::open(dir, b"a", &IDENTITY, true).unwrap().discard();
            assert_eq!(names(dir), ["a"]);
        });
    }

    #[test]
    fn a_symlink_in_its_place_is_not_followed() {
        in_a_folder("link", |dir| {
            dir.write("precious", "old").unwrap();
            dir.symlink("precious", IDENTITY.file_name(b"a")).unwrap();
            Partial::open(dir, b"a", &IDENTITY, false).unwrap_err();
            assert_eq!(dir.read("precious").unwrap(), b"old");
        });
    }
}
