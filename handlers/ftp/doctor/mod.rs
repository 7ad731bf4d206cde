//! `doctor ftp`: what the clients of a server with these options will meet.
//!
//! Each part returns [`Finding`]s: [`addresses`] what is bound and told, [`ports`] the passive
//! range, [`certificate`] TLS, [`rehearsal`] a session with a real server on loopback, and
//! [`hairpin`] whether the told address leads here. Nothing stays bound, and nothing is written but
//! an empty temporary folder.

mod addresses;
mod certificate;
mod hairpin;
mod machine;
mod ports;
mod rehearsal;

use std::path::{Path, PathBuf};

use socketserver::{Address, Builder, Tls};

use super::options::Ftp;
use super::passive::Passive;
use addresses::Listeners;
pub use machine::{Machine, this_container};

/// The range of ports that is proposed where there is none.
pub const PROPOSED_PORTS: &str = "50000-50100";

/// How good a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Nothing is to be done.
    Good,
    /// Something to know. Most clients are served all the same.
    Note,
    /// Some clients will fail.
    Problem,
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How good it is.
    pub level: Level,
    /// What it is about, in a word or two.
    pub subject: &'static str,
    /// What was found.
    pub text: String,
    /// The options that mend it, or for a note also a command.
    pub mend: Option<String>,
}

impl Finding {
    fn new(level: Level, subject: &'static str, text: impl Into<String>) -> Finding {
        Finding {
            level,
            subject,
            text: text.into(),
            mend: None,
        }
    }

    fn good(subject: &'static str, text: impl Into<String>) -> Finding {
        Finding::new(Level::Good, subject, text)
    }

    fn note(subject: &'static str, text: impl Into<String>) -> Finding {
        Finding::new(Level::Note, subject, text)
    }

    fn problem(subject: &'static str, text: impl Into<String>) -> Finding {
        Finding::new(Level::Problem, subject, text)
    }

    fn mend(mut self, mend: impl Into<String>) -> Finding {
        self.mend = Some(mend.into());
        self
    }
}

/// What the options of every server say.
#[derive(Debug)]
pub struct Plan {
    /// Where the server will listen.
    pub addresses: Vec<Address>,
    /// The networks of `--allow`.
    pub allow: Vec<String>,
    /// Whether clients come through a proxy (`--proxy-protocol`).
    pub has_proxy: bool,
    /// The value of `--max-connections`.
    pub max_connections: usize,
    /// The certificate.
    pub tls: Option<Tls>,
    /// The file that it is in, unless it is made for development.
    pub certificate: Option<PathBuf>,
    /// Makes a server with these options.
    pub builder: Builder,
}

/// Examines a server with these options on a machine.
pub fn examine(ftp: &Ftp, plan: Plan, machine: &Machine) -> Vec<Finding> {
    let passive = ftp.passive();
    let listeners = Listeners::of(&plan.addresses, machine);
    let (mut findings, is_running) = addresses::control(&plan.addresses, ftp.tls_implicit);
    let control_ports: Vec<u16> = plan.addresses.iter().filter_map(addresses::port).collect();
    findings.push(addresses::container(
        &listeners,
        &passive,
        machine,
        &control_ports,
    ));
    if plan.has_proxy {
        let text = "it must forward the passive ports, too; clients of PASV are told the address \
                    in the PROXY header unless --passive-address names another";
        findings.push(Finding::note("proxy", text));
    }
    let (told, outside) = addresses::told(&listeners, &passive, machine, &plan.allow);
    findings.extend(told);
    findings.extend(ports::examine(
        &passive,
        &listeners,
        machine,
        &ports::Given {
            max_connections: plan.max_connections,
            drops_privileges: ftp.user.is_some(),
            control_ports,
            is_running,
        },
    ));
    let is_exposed = listeners.are_exposed();
    findings.push(match (&plan.tls, plan.certificate.as_deref()) {
        (None, _) => without_tls(ftp.accounts.is_some() && is_exposed),
        (Some(_), Some(file)) => with_certificate(file),
        (Some(_), None) => Finding::note("TLS", "a certificate for development"),
    });
    if let Some(outside) = outside.filter(|_| is_exposed) {
        findings.extend(hairpin::examine(outside, &passive));
    }
    findings.push(rehearsal::examine(ftp, passive, plan.tls, plan.builder));
    findings
}

fn without_tls(sends_passwords: bool) -> Finding {
    if sends_passwords {
        let text = "passwords cross the network in the clear";
        return Finding::note("TLS", text)
            .mend("--tls-cert FILE --tls-key FILE --require-tls control");
    }
    Finding::good("TLS", "there is no certificate: clients cannot use TLS")
}

fn with_certificate(file: &Path) -> Finding {
    match certificate::Facts::read(file) {
        Ok(facts) => facts.finding(jiff::Timestamp::now()),
        // The server reads it, so clients may as well.
        Err(error) => Finding::note("TLS", format!("{}: {error}", file.display())),
    }
}

/// The options of a server in a container that has neither.
pub fn mend_in_container() -> String {
    format!("--passive-ports {PROPOSED_PORTS} --passive-address HOST")
}

impl Ftp {
    fn passive(&self) -> Passive {
        Passive::new(self.passive_ports.clone(), self.passive_address.clone())
    }
}
