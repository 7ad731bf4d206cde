//! A short session for `doctor ftp`: logs in as anonymous, and lists the folder.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

pub(in crate::ftp) use super::options::TlsMode;

use super::data::Direction;
use super::fault::Fault;
use super::options::ConnectionOptions;
use super::session::{Session, Target};
use super::url::FtpUrl;
use crate::service::Failure;

/// Maximum time to wait for the server at each step. The server is on this machine, but the machine
/// may be busy.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// Logs in, and lists the working directory after the login.
///
/// # Errors
/// A message that says what has failed.
pub(in crate::ftp) fn list(address: SocketAddr, mode: TlsMode) -> Result<(), Failure> {
    let url: FtpUrl = format!("ftp://{address}/").parse().map_err(Failure::run)?;
    let options = ConnectionOptions {
        tls: mode == TlsMode::Explicit,
        tls_implicit: mode == TlsMode::Implicit,
        tls_ca: None,
        // The certificate contains the names of the server for its clients, but not the address of
        // loopback.
        tls_insecure: mode != TlsMode::Off,
        timeout: STEP_TIMEOUT,
        trace: false,
        trust_pasv_address: false,
    };
    let target = Target::anonymous(url, options)?;
    let mut session = Session::open(&target, None)?;
    let listed = session
        .begin("LIST", None, 0, Direction::Receive)
        .and_then(|mut data| {
            let count = io::copy(&mut data, &mut io::sink()).map_err(|e| Fault::broken(&e))?;
            session.end(data, Direction::Receive, count)
        });
    session.quit();
    listed.map_err(|fault| Failure::run(fault.to_string()))
}
