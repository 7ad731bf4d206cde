//! `--tls-self-signed`: a certificate for development, which is created once and then reused.
//!
//! The key is created once and never changes. Only the certificate is replaced, and its file names
//! the key that it belongs to. Each file appears complete, by one system call, so a server that
//! starts at the same time as another one always reads a matching pair.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, PublicKeyData, SerialNumber,
};
use rustls::pki_types::ServerName;
use sha2::{Digest, Sha256};
use socketserver::Address;

use crate::common::digest::to_hex;
use crate::service::Failure;

const LIFETIME: SignedDuration = SignedDuration::from_hours(365 * 24);
/// A certificate that expires within this time is replaced.
const RENEWED_BEFORE: SignedDuration = SignedDuration::from_hours(7 * 24);
/// The certificate is valid from this time before its creation, because the clocks of clients may
/// be slow.
const VALID_SINCE: SignedDuration = SignedDuration::from_hours(24);

/// The paths of the two files.
#[derive(Debug)]
pub(super) struct SelfSigned {
    /// The certificate. Clients may be configured to trust it.
    pub(super) certificate: PathBuf,
    /// The private key of the certificate. Only the server may read it.
    pub(super) key: PathBuf,
}

impl SelfSigned {
    /// Finds the files below `$XDG_STATE_HOME`, by default `~/.local/state`. Creates missing files,
    /// and renews a certificate that expires soon or lacks a name.
    pub(super) fn for_server(bind: &[Address]) -> Result<SelfSigned, Failure> {
        let folder = state_folder().ok_or_else(|| {
            Failure::usage(
                "--tls-self-signed finds no place for its files: set HOME or XDG_STATE_HOME to \
                 an absolute path",
            )
        })?;
        SelfSigned::in_folder(&folder, names(bind), Timestamp::now()).map_err(|error| {
            Failure::usage(format!("--tls-self-signed: {}: {error}", folder.display()))
        })
    }

    fn in_folder(folder: &Path, names: BTreeSet<String>, now: Timestamp) -> io::Result<SelfSigned> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let one_at_a_time = File::open(folder)?;
        // Some file systems have no locks. Without a lock, the only harm is that a server that
        // starts at the same moment may omit names of this one from the certificate.
        let _ = one_at_a_time.lock();
        let files = SelfSigned {
            certificate: folder.join("development-certificate.pem"),
            key: folder.join("development-key.pem"),
        };
        let key = files.key_pair()?;
        let fingerprint = to_hex(&Sha256::digest(key.subject_public_key_info()));
        let mut wanted = Facts {
            names,
            expires: now + LIFETIME,
            key: fingerprint,
        };
        let standing = fs::read_to_string(&files.certificate)
            .ok()
            .and_then(|text| Facts::read(&text));
        if let Some(standing) =
            standing.filter(|facts| facts.key == wanted.key && now + RENEWED_BEFORE < facts.expires)
        {
            if wanted.names.is_subset(&standing.names) {
                return Ok(files);
            }
            // The new certificate keeps the old names. Otherwise servers with different addresses
            // would replace each other's certificate again and again.
            wanted.names.extend(standing.names);
        }
        let text = format!("{wanted}{}", wanted.certificate(&key, now)?);
        let aside = Aside::write(&files.certificate, &text, 0o644)?;
        fs::rename(&aside.0, &files.certificate)?;
        Ok(files)
    }

    /// Returns the existing key, or creates one. If several servers start at the same time, all of
    /// them use the key that was created first.
    fn key_pair(&self) -> io::Result<KeyPair> {
        if !self.key.try_exists()? {
            let aside = Aside::write(
                &self.key,
                &KeyPair::generate()
                    .map_err(io::Error::other)?
                    .serialize_pem(),
                0o600,
            )?;
            match fs::hard_link(&aside.0, &self.key) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        let unusable = |error| {
            io::Error::other(format!(
                "{}: invalid key ({error}): remove the file",
                self.key.display()
            ))
        };
        KeyPair::from_pem(&fs::read_to_string(&self.key)?).map_err(unusable)
    }
}

/// A temporary file. It is removed if it does not get its final name.
struct Aside(PathBuf);

impl Aside {
    fn write(target: &Path, text: &str, mode: u32) -> io::Result<Aside> {
        let aside = Aside(target.with_extension(to_hex(&random()?)));
        let mut file: File = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&aside.0)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        Ok(aside)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // After a rename the temporary name does not exist any more, so an error is ignored.
        let _ = fs::remove_file(&self.0);
    }
}

fn random() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

/// The text above the certificate in its file, for readers and for the next start. PEM parsers skip
/// it (RFC 7468 §2).
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    names: BTreeSet<String>,
    expires: Timestamp,
    /// The SHA-256 of the public key.
    key: String,
}

impl Facts {
    fn read(text: &str) -> Option<Facts> {
        let value = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        };
        Some(Facts {
            names: value("Names")?.split(' ').map(str::to_owned).collect(),
            expires: value("Expires")?.parse().ok()?,
            key: value("Key")?.to_owned(),
        })
    }

    fn certificate(&self, key: &KeyPair, now: Timestamp) -> io::Result<String> {
        let names: Vec<String> = self.names.iter().cloned().collect();
        let mut certificate = CertificateParams::new(names).map_err(io::Error::other)?;
        certificate
            .distinguished_name
            .push(DnType::CommonName, "socketserver development");
        certificate.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let at = |time: Timestamp| {
            rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(time.as_second().unsigned_abs())
        };
        (certificate.not_before, certificate.not_after) = (at(now - VALID_SINCE), at(self.expires));
        let mut serial = random()?;
        // The serial number must be positive (RFC 5280 §4.1.2.2). By default it would be derived
        // from the key, but a browser that knows a certificate refuses another one with the same
        // number.
        serial[0] = serial[0] & 0x7f | 0x40;
        certificate.serial_number = Some(SerialNumber::from(serial.to_vec()));
        Ok(certificate
            .self_signed(key)
            .map_err(io::Error::other)?
            .pem())
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        writeln!(
            f,
            "For development only, made by socketserver --tls-self-signed, which replaces it \
             when it must."
        )?;
        writeln!(
            f,
            "Names: {}\nExpires: {:.0}\nKey: {}",
            names.join(" "),
            self.expires,
            self.key
        )
    }
}

/// Returns the folder `socketserver` in the state folder of the user (XDG Base Directory
/// Specification).
fn state_folder() -> Option<PathBuf> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let state =
        absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(state.join("socketserver"))
}

/// Returns the names that clients may use for the server: the local names, the host name, and the
/// addresses to listen on.
fn names(bind: &[Address]) -> BTreeSet<String> {
    let host_name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let bound = bind.iter().filter_map(|address| match address {
        Address::Inet { host, .. } => Some(host.clone()),
        _ => None,
    });
    let names = ["localhost".to_owned(), host_name]
        .into_iter()
        .chain(bound)
        .map(|name| name.to_ascii_lowercase());
    // A client cannot request a name that TLS does not accept as a server name.
    let names = names
        .filter(|name| ServerName::try_from(name.as_str()).is_ok())
        .map(|name| match name.parse::<IpAddr>() {
            Ok(ip) if ip.is_unspecified() => None,
            Ok(ip) => Some(ip.to_string()),
            Err(_) => Some(name),
        });
    names
        .flatten()
        .chain(["127.0.0.1".to_owned(), "::1".to_owned()])
        .collect()
}

#[cfg(test)]
mod tests;
