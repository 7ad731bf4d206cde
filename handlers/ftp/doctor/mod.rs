//! `doctor ftp`: finds the problems that clients of a server with these options will have.
//!
//! Each module returns [`Finding`]s:
//!
//! - `addresses`: the addresses that can be bound, and the address in the reply to PASV,
//! - `ports`: the passive ports,
//! - `certificate`: the names and the dates of the certificate,
//! - `self_test`: a session with a real server on loopback,
//! - `hairpin`: whether a connection to the public address arrives at this machine.
//!
//! After the examination no address stays bound. The only change on the disk is an empty temporary
//! folder, which is removed.

mod addresses;
mod certificate;
mod hairpin;
mod machine;
mod ports;
mod self_test;
mod x509;

use std::path::{Path, PathBuf};

use socketserver::{Address, Builder, Tls};

use super::options::Ftp;
use super::passive::Passive;
use addresses::Listeners;
pub use machine::{Machine, this_container};

/// The value of `--passive-ports` that is proposed if the option is missing.
pub const PROPOSED_PORTS: &str = "50000-50100";

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// No change is necessary.
    Good,
    /// The operator should know this, but most clients have no problem.
    Note,
    /// Some clients will fail.
    Problem,
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The severity.
    pub level: Level,
    /// The subject, in one or two words.
    pub subject: &'static str,
    /// A description of the finding.
    pub text: String,
    /// The options that solve the problem. For a note, this may also be a command.
    pub fix: Option<String>,
}

impl Finding {
    fn new(level: Level, subject: &'static str, text: impl Into<String>) -> Finding {
        Finding {
            level,
            subject,
            text: text.into(),
            fix: None,
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

    fn fix(mut self, fix: impl Into<String>) -> Finding {
        self.fix = Some(fix.into());
        self
    }
}

/// The options that all services have.
#[derive(Debug)]
pub struct Plan {
    /// The addresses on which the server will listen.
    pub addresses: Vec<Address>,
    /// The networks of `--allow`.
    pub allow: Vec<String>,
    /// Whether clients come through a proxy (`--proxy-protocol`).
    pub has_proxy: bool,
    /// The value of `--max-connections`.
    pub max_connections: usize,
    /// The certificate; `None` if the server has no certificate.
    pub tls: Option<Tls>,
    /// The file of the certificate; `None` if there is no certificate, or a self-signed one that is
    /// made at the start.
    pub certificate: Option<PathBuf>,
    /// The builder of a server with these options.
    pub builder: Builder,
}

/// Examines a server with these options on this machine. Returns the findings in the order of the
/// report.
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
    findings.push(self_test::examine(ftp, passive, plan.tls, plan.builder));
    findings
}

fn without_tls(sends_passwords: bool) -> Finding {
    if sends_passwords {
        let text = "passwords cross the network in the clear";
        return Finding::note("TLS", text)
            .fix("--tls-cert FILE --tls-key FILE --require-tls control");
    }
    Finding::good(
        "TLS",
        "no certificate is configured, so clients cannot use TLS",
    )
}

fn with_certificate(file: &Path) -> Finding {
    match certificate::Facts::read(file) {
        Ok(facts) => facts.finding(jiff::Timestamp::now()),
        // The server can read the certificate, so clients can probably read it, too.
        Err(error) => Finding::note("TLS", format!("{}: {error}", file.display())),
    }
}

/// The options that a server in a container needs.
pub fn options_in_container() -> String {
    format!("--passive-ports {PROPOSED_PORTS} --passive-address HOST")
}

impl Ftp {
    fn passive(&self) -> Passive {
        Passive::new(self.passive_ports.clone(), self.passive_address.clone())
    }
}
