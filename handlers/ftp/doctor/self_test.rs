//! The self-test: a session with a real server.
//!
//! The server starts with the given options on a free port of loopback, and serves an empty
//! temporary folder. A client logs in, and lists the folder over a passive data connection.

use std::fmt;
use std::fs::{self, DirBuilder};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use socketserver::{Address, Builder, ServerGuard, StreamRequestHandler, Tls};

use super::super::client::probe;
use super::super::limits::{Registry, UserLimits};
use super::super::mount::MountedFolders;
use super::super::options::Ftp;
use super::super::passive::Passive;
use super::super::storage::Storage;
use super::super::transfer_log::TransferLog;
use super::super::{Session, Shared};
use super::Finding;
use crate::accounts::Rights;
use crate::common::digest::to_hex;
use crate::common::store::{OnDuplicate, Store, StoreOptions};

const SUBJECT: &str = "self-test";

/// Starts the server, and lists the folder.
pub(super) fn examine(ftp: &Ftp, passive: Passive, tls: Option<Tls>, builder: Builder) -> Finding {
    let mode = match &tls {
        None => probe::TlsMode::Off,
        Some(_) if ftp.tls_implicit => probe::TlsMode::Implicit,
        Some(_) => probe::TlsMode::Explicit,
    };
    let folder = match TemporaryFolder::new() {
        Ok(folder) => folder,
        Err(error) => {
            let text = format!("not run: no temporary folder can be created: {error}");
            return Finding::note(SUBJECT, text);
        }
    };
    let failed = |what: &str, error: &dyn fmt::Display| {
        Finding::problem(SUBJECT, format!("{what}: {error}"))
    };
    let server = folder
        .storage()
        .and_then(|storage| start(ftp.shared_for_test(storage, passive, tls), builder));
    let server = match server {
        Ok(server) => server,
        Err(error) => return failed("no server could be started on loopback", &error),
    };
    let Some(address) = server.server_address().inet() else {
        return failed("no server could be started on loopback", &"no address");
    };
    match probe::list(address, mode) {
        Ok(()) => {
            let over = match mode {
                probe::TlsMode::Off => "a passive data connection",
                _ => "an encrypted passive data connection",
            };
            Finding::good(SUBJECT, format!("a listing came over {over} on loopback"))
        }
        Err(failure) => failed("no listing came over loopback", &failure.message),
    }
}

fn start(shared: Shared, builder: Builder) -> io::Result<ServerGuard> {
    let shared = Arc::new(shared);
    let class = move |_: &socketserver::ClientAddress| -> Box<dyn StreamRequestHandler> {
        Box::new(Session::new(Arc::clone(&shared)))
    };
    // A machine may have only IPv6.
    let has_v4 = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).is_ok();
    let loopback = match has_v4 {
        true => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        false => SocketAddr::from((Ipv6Addr::LOCALHOST, 0)),
    };
    let server = builder.bind(Address::from(loopback), class);
    server
        .and_then(socketserver::Server::spawn)
        .map_err(io::Error::other)
}

impl Ftp {
    /// The shared state of the test server. It has the given options for connections, and an
    /// anonymous user who may only list. Other clients could connect during the test. So the server
    /// has no access to the served folder and the accounts in the options.
    fn shared_for_test(&self, storage: Storage, passive: Passive, tls: Option<Tls>) -> Shared {
        Shared {
            storage: Arc::new(storage),
            anonymous: Some(Rights::LIST),
            registry: Registry::new(UserLimits::default()),
            tls,
            require_tls: self.require_tls,
            is_reuse_required: self.is_reuse_required(),
            tls_sessions: Default::default(),
            passive: Arc::new(passive),
            is_active_allowed: false,
            banner: self.banner.clone(),
            max_login_failures: self.max_login_failures,
            transfer_log: Arc::new(TransferLog::default()),
        }
    }
}

/// A temporary folder, which is removed when the value is dropped.
struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    fn new() -> io::Result<TemporaryFolder> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let name = format!("socketserver-doctor-{}", to_hex(&random));
        let path = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(TemporaryFolder(path))
    }

    fn storage(&self) -> io::Result<Storage> {
        let path: &Path = &self.0;
        let options = StoreOptions {
            sync: false,
            ..StoreOptions::default()
        };
        let store = Store::with_accounts(path, options.clone(), None)?;
        Ok(Storage {
            root: Storage::root(Dir::open_ambient_dir(path, ambient_authority())?, &store),
            mounted: MountedFolders::new(path, store.clone(), options, None, false)?,
            store,
            on_duplicate: OnDuplicate::Error,
            accounts: None,
        })
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use clap::{FromArgMatches, Parser};

    use super::*;

    #[derive(Parser)]
    struct Options {
        #[command(flatten)]
        ftp: Ftp,
    }

    #[test]
    fn the_self_test_serves_an_empty_folder_for_lists_only() {
        let definition = <Options as clap::CommandFactory>::command();
        let definition = definition.mut_args(|arg| arg.env(clap::builder::Resettable::Reset));
        let matches = definition.get_matches_from(["doctor", ".", "--anonymous-write"]);
        let Options { ftp } = Options::from_arg_matches(&matches).unwrap();
        let folder = TemporaryFolder::new().unwrap();
        let path = folder.0.clone();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let passive = Passive::new(None, Vec::new());
        let shared = ftp.shared_for_test(folder.storage().unwrap(), passive, None);
        assert_eq!(shared.anonymous, Some(Rights::LIST));
        assert!(shared.storage.accounts.is_none());
        assert_eq!(shared.storage.root.dir.entries().unwrap().count(), 0);
        drop(folder);
        assert!(!path.exists());
    }
}
