//! Keys: the key file, the variable that replaces it, and how keys are exchanged while the server
//! runs.

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use parking_lot::RwLock;
use socketserver::Error;

use super::challenge::{CHALLENGE, Digest};

/// The variable that contains one key as its whole value. A key file has precedence.
pub const VARIABLE: &str = "SOCKETSERVER_KEY";

/// The variable with the path of a key file.
const FILE_VARIABLE: &str = "SOCKETSERVER_AUTH_KEY_FILE";

/// A shared secret with an optional id.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// The part of the line before the first colon.
    pub id: Option<Arc<str>>,
    pub(super) secret: Vec<u8>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Parses a key file, which contains one key per line. A line is `ID:KEY` if the part before its
/// first colon consists of 1 to 32 characters of `A-Za-z0-9_-`, and `KEY` otherwise. Empty lines,
/// and lines that begin with `#`, are skipped.
///
/// # Errors
/// The file contains no key, or a line contains an id without a key. The error names the line.
pub fn parse(file: &[u8]) -> Result<Vec<Key>, String> {
    let mut keys = Vec::new();
    for (index, line) in file.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let line = line
            .strip_suffix(b"\n")
            .map_or(line, |line| line.strip_suffix(b"\r").unwrap_or(line));
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let (id, secret) = split_id(line);
        if secret.is_empty() {
            return Err(format!("line {} has an id, but no key", index + 1));
        }
        keys.push(Key {
            id: id.map(Arc::from),
            secret: secret.to_vec(),
        });
    }
    if keys.is_empty() {
        Err("it holds no key".to_owned())
    } else {
        Ok(keys)
    }
}

fn split_id(line: &[u8]) -> (Option<&str>, &[u8]) {
    const MAX_ID_LENGTH: usize = 32;
    let is_id = |id: &[u8]| {
        (1..=MAX_ID_LENGTH).contains(&id.len())
            && id
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(byte))
    };
    let colon = line.iter().position(|byte| *byte == b':');
    let parts = colon
        .map(|at| (&line[..at], &line[at + 1..]))
        .filter(|(id, _)| is_id(id));
    match parts.and_then(|(id, secret)| Some((std::str::from_utf8(id).ok()?, secret))) {
        Some((id, secret)) => (Some(id), secret),
        None => (None, line),
    }
}

/// Where keys come from: options that servers and clients share.
///
/// The variable `SOCKETSERVER_KEY` holds a key and can be used instead of a key file. It turns
/// authentication on, as the option does: otherwise a server that was given a key would serve
/// everybody.
#[derive(Clone, Debug, Args)]
#[command(
    next_help_heading = "Authentication (HMAC; the variable SOCKETSERVER_KEY may hold a key itself)"
)]
pub struct KeyOptions {
    /// File with one key per line, KEY or ID:KEY; servers accept each of them, clients use the
    /// first; read again on SIGHUP
    #[arg(long, value_name = "FILE", env = FILE_VARIABLE)]
    pub auth_key_file: Option<PathBuf>,
    /// Digest of the HMAC
    #[arg(
        long,
        value_enum,
        value_name = "DIGEST",
        default_value = "sha256",
        env = "SOCKETSERVER_AUTH_DIGEST"
    )]
    pub auth_digest: Digest,
}

impl KeyOptions {
    /// Whether a key file is given on the command line. The variable does not count, because it
    /// applies to all services and clients, including those that cannot use a key.
    pub(crate) fn is_asked_for(&self) -> bool {
        self.auth_key_file.is_some()
            && self.auth_key_file.as_deref().map(Path::as_os_str)
                != std::env::var_os(FILE_VARIABLE).as_deref()
    }

    /// Returns the keys; `None` if none are given.
    ///
    /// # Errors
    /// The file cannot be read, or contains no key.
    pub fn keys(&self) -> Result<Option<Keys>, Error> {
        let list = match &self.auth_key_file {
            Some(path) => read(path)?,
            None => match std::env::var_os(VARIABLE).filter(|key| !key.is_empty()) {
                Some(key) => vec![Key {
                    id: None,
                    secret: key.into_vec(),
                }],
                None => return Ok(None),
            },
        };
        Ok(Some(Keys {
            file: self.auth_key_file.clone(),
            digest: self.auth_digest,
            list: RwLock::new(list.into()),
        }))
    }
}

/// The keys of a server or client, and the digest for the HMAC. The file can be read again while
/// the server runs.
#[derive(Debug)]
pub struct Keys {
    file: Option<PathBuf>,
    /// The digest of the HMAC.
    pub digest: Digest,
    list: RwLock<Arc<[Key]>>,
}

impl Keys {
    /// Creates keys that do not come from a file.
    pub fn new(list: Vec<Key>, digest: Digest) -> Keys {
        Keys {
            file: None,
            digest,
            list: RwLock::new(list.into()),
        }
    }

    /// Returns the current keys.
    pub fn list(&self) -> Arc<[Key]> {
        Arc::clone(&self.list.read())
    }

    /// Reads a server's challenge, and answers it with the first key.
    ///
    /// # Errors
    /// Those of the connection; `UnexpectedEof` if the server sends less than a challenge. The
    /// error then contains the line that the server sent instead.
    pub fn prove(&self, server: &mut (impl Read + Write)) -> io::Result<()> {
        let challenge = read_challenge(server)?;
        if let Some(key) = self.list().first() {
            server.write_all(&self.digest.answer(key, &challenge))?;
        }
        server.flush()
    }

    /// Reads the file again, and returns its keys. They are not used yet.
    ///
    /// # Errors
    /// The file cannot be read, or contains no key.
    pub fn reread(&self) -> Result<Vec<Key>, Error> {
        match &self.file {
            Some(path) => read(path),
            None => Ok(self.list().to_vec()),
        }
    }

    /// Replaces the accepted keys.
    pub fn replace(&self, list: Vec<Key>) {
        *self.list.write() = list.into();
    }
}

fn read_challenge(server: &mut impl Read) -> io::Result<[u8; CHALLENGE]> {
    let mut challenge = [0; CHALLENGE];
    let mut length = 0;
    while length < CHALLENGE {
        match server.read(&mut challenge[length..]) {
            Ok(0) => {
                let line = String::from_utf8_lossy(&challenge[..length]);
                let reason = match line.trim_end() {
                    "" => "the server closed the connection".to_owned(),
                    line => format!("the server says {line:?}"),
                };
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
            }
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(challenge)
}

fn read(path: &Path) -> Result<Vec<Key>, Error> {
    let unusable = |reason: String, source| Error::File {
        path: path.to_owned(),
        reason,
        source,
    };
    let file = fs::read(path).map_err(|error| {
        let reason = format!("the keys can't be read: {error}");
        unusable(reason, Some(error.into()))
    })?;
    parse(&file).map_err(|reason| unusable(reason, None))
}

/// Fuzz target: every key is part of its line, and the result does not depend on the kind of line
/// ends.
#[doc(hidden)]
pub fn check(file: &[u8]) {
    let Ok(keys) = parse(file) else { return };
    for key in &keys {
        assert!(!key.secret.is_empty() && !key.secret.contains(&b'\n'));
        assert!(
            file.windows(key.secret.len())
                .any(|window| window == key.secret)
        );
        assert!(
            key.id
                .as_ref()
                .is_none_or(|id| (1..=32).contains(&id.len()) && !id.contains(':'))
        );
    }
    let mut written = Vec::new();
    for key in &keys {
        if let Some(id) = &key.id {
            written.extend_from_slice(id.as_bytes());
            written.push(b':');
        }
        written.extend_from_slice(&key.secret);
        written.extend_from_slice(b"\r\n");
    }
    assert_eq!(parse(&written).as_ref(), Ok(&keys));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(file: &[u8]) -> Vec<(Option<String>, Vec<u8>)> {
        let name = |key: Key| (key.id.map(|id| id.to_string()), key.secret);
        parse(file).unwrap().into_iter().map(name).collect()
    }

    #[test]
    fn a_line_is_a_key_or_an_id_and_a_key() {
        let plain = |key: &[u8]| vec![(None, key.to_vec())];
        let named = |id: &str, key: &[u8]| vec![(Some(id.to_owned()), key.to_vec())];
        let longest = "x".repeat(32);
        for (file, expected) in [
            (&b"secret"[..], plain(b"secret")),
            (b"secret\n", plain(b"secret")),
            (b"secret\r\n", plain(b"secret")),
            (b"\n\r\n# a comment\n#x:y\nsecret\n\n", plain(b"secret")),
            (b" secret \n", plain(b" secret ")),
            (b"sec\rret\r", plain(b"sec\rret\r")),
            (b"ci-2:secret", named("ci-2", b"secret")),
            (b"A_z:a:b:c\r\n", named("A_z", b"a:b:c")),
            (b"a b:c", plain(b"a b:c")),
            (b":c", plain(b":c")),
            (b"\xc3\xa9:c", plain(b"\xc3\xa9:c")),
            (b"\xff\0\x80", plain(b"\xff\0\x80")),
            (b"id:#key", named("id", b"#key")),
            (format!("{longest}:k").as_bytes(), named(&longest, b"k")),
            (
                format!("{longest}x:k").as_bytes(),
                plain(format!("{longest}x:k").as_bytes()),
            ),
        ] {
            assert_eq!(keys(file), expected, "{}", file.escape_ascii());
        }
        assert_eq!(keys(b"one\nb:two\n#\nthree").len(), 3);
    }

    #[test]
    fn a_file_without_a_key_says_so() {
        for file in [&b""[..], b"\n\r\n", b"# only a comment"] {
            assert_eq!(parse(file).unwrap_err(), "it holds no key");
        }
        assert_eq!(
            parse(b"a:b\nc:\r\n").unwrap_err(),
            "line 2 has an id, but no key"
        );
    }

    #[test]
    fn a_key_is_never_shown() {
        assert_eq!(
            format!("{:?}", parse(b"id:secret").unwrap()),
            "[Key { id: Some(\"id\"), .. }]"
        );
    }
}
