//! Checks whether each passive port can be bound, and whether the number of ports is sufficient.

use std::io;
use std::net::{IpAddr, TcpListener};
use std::ops::RangeInclusive;

use super::super::passive::Passive;
use super::addresses::Listeners;
use super::{Finding, Machine, PROPOSED_PORTS};

const SUBJECT: &str = "passive ports";
/// Maximum number of ports that the report names one by one.
const MAX_SHOWN_PORTS: usize = 5;
/// The lowest port that a process without the privileges of root may bind.
const MIN_PORT: u16 = 1024;

/// The options and the state of the server that concern the ports.
#[derive(Debug)]
pub(super) struct Given {
    /// The value of `--max-connections`.
    pub(super) max_connections: usize,
    /// Whether the server runs as another user after it has bound its addresses (`--user`).
    pub(super) drops_privileges: bool,
    /// The ports of the control connections.
    pub(super) control_ports: Vec<u16>,
    /// Whether the server is already running. Then it may use some of the ports.
    pub(super) is_running: bool,
}

/// Examines the passive ports.
pub(super) fn examine(
    passive: &Passive,
    listeners: &Listeners,
    machine: &Machine,
    given: &Given,
) -> Vec<Finding> {
    let Some(ports) = passive.ports() else {
        return vec![any_port(listeners, machine)];
    };
    let mut findings = vec![bindable(ports, listeners, machine, given)];
    let count = ports.len();
    if count < given.max_connections {
        let text = format!(
            "up to {count} sessions at the same time can wait for a data connection; others of the \
             {} connections of --max-connections get the reply 425",
            given.max_connections
        );
        findings.push(Finding::note(SUBJECT, text));
    }
    let shown = shown(ports);
    if let Some(port) = given.control_ports.iter().find(|port| ports.contains(port)) {
        let text = format!("the range {shown} contains the control port {port}");
        findings.push(Finding::note(SUBJECT, text));
    }
    if machine.may_take(ports) {
        let text = "outgoing connections of this machine may use some of the ports";
        findings.push(
            Finding::note(SUBJECT, text)
                .fix(format!("sysctl net.ipv4.ip_local_reserved_ports={shown}")),
        );
    }
    findings
}

/// A range in the format of `--passive-ports`.
pub(super) fn shown(ports: &RangeInclusive<u16>) -> String {
    format!("{}-{}", ports.start(), ports.end())
}

fn any_port(listeners: &Listeners, machine: &Machine) -> Finding {
    let range = match &machine.outgoing_ports {
        Some(ports) => format!(" of {}", shown(ports)),
        None => String::new(),
    };
    if !listeners.are_exposed() {
        return Finding::good(SUBJECT, format!("any free port{range}"));
    }
    let text = format!("any free port{range}: a firewall must let all of them in");
    Finding::note(SUBJECT, text).fix(format!("--passive-ports {PROPOSED_PORTS}"))
}

fn bindable(
    ports: &RangeInclusive<u16>,
    listeners: &Listeners,
    machine: &Machine,
    given: &Given,
) -> Finding {
    let (count, range) = (ports.len(), shown(ports));
    let plural = if count == 1 { "port" } else { "ports" };
    if given.drops_privileges && *ports.start() < MIN_PORT {
        let text = format!("{range}: the user of --user cannot bind ports below {MIN_PORT}");
        return Finding::problem(SUBJECT, text).fix(format!("--passive-ports {PROPOSED_PORTS}"));
    }
    let addresses = listeners.data_addresses();
    let mut refused: Vec<u16> = Vec::new();
    let mut why = None;
    for port in ports.clone() {
        if let Some(error) = bind(&addresses, port) {
            refused.push(port);
            why.get_or_insert(error);
        }
    }
    let Some(why) = why else {
        return Finding::good(
            SUBJECT,
            format!("{count} {plural}, {range}, all can be bound"),
        );
    };
    let mut named: Vec<String> = refused.iter().map(u16::to_string).collect();
    named.truncate(MAX_SHOWN_PORTS);
    if named.len() < refused.len() {
        named.push(format!("and {} more", refused.len() - named.len()));
    }
    let reason = match why.kind() {
        io::ErrorKind::AddrInUse => "in use".to_owned(),
        io::ErrorKind::PermissionDenied => "only root may bind them".to_owned(),
        _ => why.to_string(),
    };
    let text = format!(
        "{} of {count} {plural} cannot be bound, {reason}: {}",
        refused.len(),
        named.join(", ")
    );
    let is_in_use = why.kind() == io::ErrorKind::AddrInUse && refused.len() < count;
    if is_in_use && given.is_running {
        return Finding::note(SUBJECT, format!("{text} (perhaps by the server that runs)"));
    }
    if is_in_use && !refused.iter().any(|port| machine.has_listener(*port)) {
        return Finding::note(SUBJECT, format!("{text} (by outgoing connections)"));
    }
    let fix = match free_range(&addresses, count) {
        Some(range) => format!("--passive-ports {}", shown(&range)),
        None => "--passive-ports LOW-HIGH".to_owned(),
    };
    Finding::problem(SUBJECT, text).fix(fix)
}

/// Returns the error if a port is in use, or if the process may not bind it. Other errors are
/// ignored. For example, the finding for the control connection already reports an address that
/// does not belong to this machine.
fn bind(addresses: &[IpAddr], port: u16) -> Option<io::Error> {
    let bind = |ip: &IpAddr| TcpListener::bind((*ip, port)).err();
    let mut errors = addresses.iter().filter_map(bind);
    errors.find(|error| {
        matches!(
            error.kind(),
            io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied
        )
    })
}

/// Finds a range of `count` ports that can all be bound.
fn free_range(addresses: &[IpAddr], count: usize) -> Option<RangeInclusive<u16>> {
    let last = u16::try_from(count.checked_sub(1)?).ok()?;
    let ranges = (50_000..=64_000).step_by(1000).filter_map(|low: u16| {
        let high = low.checked_add(last)?;
        Some(low..=high)
    });
    let is_free = |range: &RangeInclusive<u16>| range.clone().all(|p| bind(addresses, p).is_none());
    ranges.into_iter().find(is_free)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use socketserver::Address;

    use super::super::super::passive::PassivePorts;
    use super::super::Level;
    use super::*;

    fn given() -> Given {
        Given {
            max_connections: 100,
            drops_privileges: false,
            control_ports: vec![2121],
            is_running: false,
        }
    }

    fn findings(ports: &str, bind: &str, given: &Given) -> Vec<Finding> {
        let passive = Passive::new(Some(ports.parse().unwrap()), Vec::new());
        let address: Address = bind.parse().unwrap();
        let machine = Machine {
            outgoing_ports: Some(60000..=60999),
            ..Machine::this()
        };
        let listeners = Listeners::of(&[address], &machine);
        examine(&passive, &listeners, &machine, given)
    }

    #[test]
    fn a_port_that_is_in_use_is_named() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let range = format!("{port}-{port}");
        for bind in ["127.0.0.1:2121", ":2121"] {
            let found = findings(&range, bind, &given());
            assert_eq!(found[0].level, Level::Problem, "{found:?}");
            let text = format!("1 of 1 port cannot be bound, in use: {port}");
            assert_eq!(found[0].text, text);
            let fix = found[0].fix.as_deref().unwrap();
            let free = fix.strip_prefix("--passive-ports ").unwrap();
            assert_eq!(
                findings(free, bind, &given())[0].level,
                Level::Good,
                "{free}"
            );
        }
        // The running server may use some of the ports, but not all.
        let running = Given {
            is_running: true,
            ..given()
        };
        assert_eq!(
            findings(&range, "127.0.0.1:2121", &running)[0].level,
            Level::Problem
        );
        drop(taken);
        assert_eq!(
            findings(&range, "127.0.0.1:2121", &given())[0].level,
            Level::Good
        );
    }

    #[test]
    fn a_port_of_an_outgoing_connection_is_no_problem() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let at = listener.local_addr().unwrap();
        let outgoing = std::net::TcpStream::connect(at).unwrap();
        let port = outgoing.local_addr().unwrap().port();
        // Other programs may use neighbouring ports.
        let machine = Machine {
            listening: Some([at.port()].into()),
            ..Machine::default()
        };
        let level = |low: u16, high: u16| {
            let passive = Passive::new(Some(PassivePorts(low..=high)), Vec::new());
            let address: Address = "127.0.0.1:2121".parse().unwrap();
            let listeners = Listeners::of(&[address], &machine);
            examine(&passive, &listeners, &machine, &given())[0].level
        };
        // At least one of the ports is free.
        let (low, high) = (port - 100, port.saturating_add(100));
        let expected = match (low..=high).contains(&at.port()) {
            true => Level::Problem,
            false => Level::Note,
        };
        assert_eq!(level(low, high), expected);
        assert_eq!(
            level(port, port),
            Level::Problem,
            "the only port of the range"
        );
    }

    #[test]
    fn a_range_is_compared_with_what_else_needs_ports() {
        let texts = |ports: &str| {
            let found = findings(ports, "127.0.0.1:2121", &given());
            let texts: Vec<String> = found.into_iter().map(|finding| finding.text).collect();
            texts.join("\n")
        };
        let small = texts("60990-60999");
        assert!(small.contains("10 sessions") && small.contains("100 connections"));
        assert!(small.contains("outgoing connections"));
        let large = texts("2100-2300");
        assert!(
            large.contains("201 ports") || large.contains("of 201"),
            "{large}"
        );
        assert!(large.contains("control port 2121") && !large.contains("outgoing"));
        assert!(!large.contains("sessions at the same time"));
    }

    #[test]
    fn the_user_of_the_server_cannot_bind_low_ports() {
        let given = Given {
            drops_privileges: true,
            ..given()
        };
        let found = findings("900-1100", "127.0.0.1:2121", &given);
        assert_eq!(found[0].level, Level::Problem);
        assert!(found[0].text.contains("--user"), "{}", found[0].text);
    }
}
