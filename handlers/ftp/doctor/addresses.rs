//! Checks the addresses on which the server listens, and the addresses in its replies to PASV.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use socketserver::{Address, ClientAddress};

use super::super::passive::{Passive, is_public};
use super::{Finding, Machine, PROPOSED_PORTS};

const CONTROL: &str = "control";
const CONTAINER: &str = "container";
const LOOPBACK: &str = "loopback";
const NETWORK: &str = "own network";
const ADDRESSES: &str = "addresses";
const OUTSIDE: &str = "from outside";
/// Maximum time to connect to a server that already uses the port, and to read its first reply.
const BANNER_TIMEOUT: Duration = Duration::from_secs(2);

/// The address of a client on the Internet. It is reserved for documentation, so the networks of
/// `--passive-address` probably do not contain it.
const OUTSIDE_CLIENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

/// The IP addresses on which the server listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listeners {
    /// Whether the server listens on all addresses of IPv4 or IPv6 (`0.0.0.0`, `[::]` or `:PORT`).
    every: bool,
    /// The addresses that are named one by one.
    ips: Vec<IpAddr>,
    /// Whether clients of other machines can connect over IPv4.
    has_v4: bool,
    /// Whether clients on this machine can connect over IPv4.
    has_v4_loopback: bool,
    /// The IPv4 address to which clients of the same network connect; `None` if there is none.
    pub(super) own: Option<Ipv4Addr>,
}

impl Listeners {
    pub(super) fn of(addresses: &[Address], machine: &Machine) -> Listeners {
        let mut listeners = Listeners::default();
        let mut is_every_v4 = false;
        for address in addresses {
            for ip in resolve(address).iter().map(SocketAddr::ip) {
                is_every_v4 |= ip.is_unspecified() && ip.is_ipv4();
                match ip.is_unspecified() {
                    true => listeners.every = true,
                    false => listeners.ips.push(ip.to_canonical()),
                }
            }
            is_every_v4 |= matches!(address, Address::Every { .. });
        }
        let mut of_one = listeners.ips.iter().filter(|ip| !ip.is_loopback());
        listeners.own = of_one
            .find_map(|ip| match ip {
                IpAddr::V4(ip) => Some(*ip),
                IpAddr::V6(_) => None,
            })
            .or(machine.address.filter(|_| is_every_v4));
        let is_v4_loopback = |ip: &IpAddr| ip.is_loopback() && ip.is_ipv4();
        listeners.has_v4_loopback = is_every_v4 || listeners.ips.iter().any(is_v4_loopback);
        listeners.has_v4 = is_every_v4 || listeners.own.is_some();
        listeners
    }

    /// Whether other machines can connect to the server.
    pub(super) fn are_exposed(&self) -> bool {
        self.every || self.ips.iter().any(|ip| !ip.is_loopback())
    }

    /// The addresses on which the server listens for data connections.
    pub(super) fn data_addresses(&self) -> Vec<IpAddr> {
        if self.every || self.ips.is_empty() {
            return vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        }
        self.ips.clone()
    }
}

/// The port of a TCP address; 0 means any free port.
pub(super) fn port(address: &Address) -> Option<u16> {
    match address {
        Address::Inet { port, .. } | Address::Every { port } => Some(*port),
        _ => None,
    }
}

fn resolve(address: &Address) -> Vec<SocketAddr> {
    match address {
        Address::Inet { host, port } => (host.as_str(), *port)
            .to_socket_addrs()
            .map(Iterator::collect)
            .unwrap_or_default(),
        Address::Every { port } => vec![(Ipv6Addr::UNSPECIFIED, *port).into()],
        _ => Vec::new(),
    }
}

/// Checks whether each address can be bound. Also returns whether an FTP server already answers at
/// one of them, which is probably the examined server.
pub(super) fn control(addresses: &[Address], is_implicit: bool) -> (Vec<Finding>, bool) {
    let mut is_running = false;
    let findings = addresses.iter().map(|address| {
        if let Address::Unix(_) = address {
            let text = format!("{address}: data connections need TCP");
            return Finding::problem(CONTROL, text).fix("--bind HOST:PORT");
        }
        match bind(address) {
            Ok(()) => Finding::good(CONTROL, format!("{address} can be bound")),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let greets = !is_implicit && has_ftp_server(address);
                is_running |= greets;
                match greets {
                    true => Finding::note(
                        CONTROL,
                        format!("{address}: an FTP server answers at this address"),
                    ),
                    false => {
                        let text =
                            format!("{address} is in use by another program: use a free port");
                        Finding::problem(CONTROL, text).fix("--bind HOST:PORT")
                    }
                }
            }
            Err(error) => {
                let finding = format!("{address} cannot be bound: {error}");
                match error.kind() {
                    io::ErrorKind::PermissionDenied => {
                        let text = format!("{finding}; start as root, and become another user");
                        Finding::problem(CONTROL, text).fix("--user NAME")
                    }
                    _ => Finding::problem(CONTROL, finding).fix("--bind HOST:PORT"),
                }
            }
        }
    });
    let findings = findings.collect();
    (findings, is_running)
}

fn bind(address: &Address) -> io::Result<()> {
    let bound = match address {
        Address::Inet { host, port } => TcpListener::bind((host.as_str(), *port)),
        Address::Every { port } => match TcpListener::bind((Ipv6Addr::UNSPECIFIED, *port)) {
            // This may fail because the machine has no IPv6, so IPv4 is tried.
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port))
            }
            bound => bound,
        },
        _ => return Ok(()),
    };
    bound.map(|_| ())
}

fn has_ftp_server(address: &Address) -> bool {
    let greets = |at: SocketAddr| -> io::Result<bool> {
        let ip = match at.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let at = SocketAddr::new(ip, at.port());
        let mut stream = TcpStream::connect_timeout(&at, BANNER_TIMEOUT)?;
        stream.set_read_timeout(Some(BANNER_TIMEOUT))?;
        let mut code = [0; 3];
        stream.read_exact(&mut code)?;
        Ok(&code == b"220")
    };
    resolve(address)
        .into_iter()
        .any(|at| greets(at).is_ok_and(|greets| greets))
}

/// Checks whether the ports of a container must be published.
pub(super) fn container(
    listeners: &Listeners,
    passive: &Passive,
    machine: &Machine,
    control_ports: &[u16],
) -> Finding {
    let Some(name) = machine.container else {
        return Finding::good(CONTAINER, "this process is not in a container");
    };
    if !listeners.are_exposed() {
        let text = format!("{name}: only clients in the container reach a loopback address");
        return Finding::note(CONTAINER, text).fix("--bind :PORT");
    }
    let control: Vec<String> = control_ports
        .iter()
        .map(|port| format!("-p {port}:{port}"))
        .collect();
    let control = control.join(" ");
    match passive.ports() {
        None => {
            let text = format!(
                "{name}: clients reach only published ports; start it with docker run {control} \
                 -p {PROPOSED_PORTS}:{PROPOSED_PORTS}"
            );
            Finding::problem(CONTAINER, text).fix(format!("--passive-ports {PROPOSED_PORTS}"))
        }
        Some(ports) => {
            let ports = super::ports::shown(ports);
            let text =
                format!("{name}: publish the ports with docker run {control} -p {ports}:{ports}");
            Finding::note(CONTAINER, text)
        }
    }
}

/// Finds the address in the reply to PASV for each kind of client. Also returns the address for
/// clients from outside if it is public.
pub(super) fn told(
    listeners: &Listeners,
    passive: &Passive,
    machine: &Machine,
    allow: &[String],
) -> (Vec<Finding>, Option<Ipv4Addr>) {
    let mut findings: Vec<Finding> = Vec::new();
    if listeners.has_v4_loopback {
        findings.push(for_loopback(passive));
    }
    if !listeners.has_v4 {
        if findings.is_empty() {
            let text = "over IPv6 clients use EPSV, which needs no address";
            findings.push(Finding::good(ADDRESSES, text));
        }
        return (findings, None);
    }
    let own = listeners.own;
    if let Some(own) = own.filter(|own| !is_public((*own).into())) {
        findings.push(for_network(passive, own));
    }
    for (network, host) in passive.by_network() {
        let told = match host {
            None => own.map_or("the address they connect to".to_owned(), |ip| {
                ip.to_string()
            }),
            Some(host) => match resolved(passive, host) {
                Some(ip) => ip.to_string(),
                None => {
                    findings.push(without_address(NETWORK, host));
                    continue;
                }
            },
        };
        let text = format!("clients of {network} are told {told}");
        findings.push(Finding::good(NETWORK, text));
    }
    let (finding, outside) = for_outside(passive, own, machine, allow);
    findings.push(finding);
    (findings, outside)
}

fn client(ip: Ipv4Addr) -> ClientAddress {
    SocketAddr::new(ip.into(), 0).into()
}

fn resolved(passive: &Passive, host: &str) -> Option<Ipv4Addr> {
    passive.resolve(host, Instant::now())
}

fn without_address(subject: &'static str, host: &str) -> Finding {
    Finding::problem(subject, format!("the name {host} has no IPv4 address"))
        .fix("--passive-address ADDRESS")
}

fn for_loopback(passive: &Passive) -> Finding {
    let own = Ipv4Addr::LOCALHOST;
    match passive.host_for(&client(own)) {
        None => Finding::good(LOOPBACK, format!("clients of this machine are told {own}")),
        Some(host) => match resolved(passive, host) {
            None => without_address(LOOPBACK, host),
            Some(ip) if ip.is_loopback() => {
                Finding::good(LOOPBACK, format!("clients of this machine are told {ip}"))
            }
            Some(ip) => Finding::note(LOOPBACK, format!("clients of this machine are told {ip}"))
                .fix("--passive-address 127.0.0.0/8=auto"),
        },
    }
}

/// The finding for clients in the same private network.
fn for_network(passive: &Passive, own: Ipv4Addr) -> Finding {
    let host = passive.host_for(&client(own));
    let told = match host {
        None => own,
        Some(host) => match resolved(passive, host) {
            None => return without_address(NETWORK, host),
            Some(ip) => ip,
        },
    };
    let text = format!("clients in the network of {own} are told {told}");
    if !is_public(told.into()) {
        return Finding::good(NETWORK, text);
    }
    let network = match own.octets() {
        [10, ..] => "10.0.0.0/8",
        [172, ..] => "172.16.0.0/12",
        [192, ..] => "192.168.0.0/16",
        _ => "CIDR",
    };
    let text = format!("{text}: not every router sends such connections back");
    Finding::note(NETWORK, text).fix(format!("--passive-address {network}=auto"))
}

fn for_outside(
    passive: &Passive,
    own: Option<Ipv4Addr>,
    machine: &Machine,
    allow: &[String],
) -> (Finding, Option<Ipv4Addr>) {
    if !serves_outside(allow) {
        let text = "clients from other networks are refused (--allow)";
        return (Finding::good(OUTSIDE, text), None);
    }
    let host = passive.host_for(&client(OUTSIDE_CLIENT));
    let told = match (host, own) {
        (None, Some(own)) => own,
        (None, None) => {
            let text = "this machine has no route to other networks";
            return (Finding::note(OUTSIDE, text), None);
        }
        (Some(host), _) => match resolved(passive, host) {
            None => return (without_address(OUTSIDE, host), None),
            Some(ip) => ip,
        },
    };
    let text = format!("clients from outside are told {told}");
    let is_inner = host.is_none() && machine.container.is_some();
    if is_public(told.into()) && !is_inner {
        return (Finding::good(OUTSIDE, text), Some(told));
    }
    let text = match is_inner {
        true => format!("{text}, the address within the container"),
        false if told.is_loopback() => format!("{text}, which only this machine reaches"),
        false => format!("{text}, which only its own network reaches"),
    };
    let fix = "--passive-address PUBLIC-ADDRESS";
    (Finding::problem(OUTSIDE, text).fix(fix), None)
}

/// Whether `--allow` permits clients of the Internet.
fn serves_outside(allow: &[String]) -> bool {
    let is_outside = |network: &String| {
        let (ip, prefix) = network.split_once('/').unwrap_or((network, ""));
        // A value that is not an address, such as `@FILE`, may contain any network.
        prefix == "0" || ip.parse::<IpAddr>().map_or(true, is_public)
    };
    allow.is_empty() || allow.iter().any(is_outside)
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    fn passive(ports: Option<&str>, addresses: &[&str]) -> Passive {
        let addresses = addresses.iter().map(|text| text.parse().unwrap());
        Passive::new(ports.map(|text| text.parse().unwrap()), addresses.collect())
    }

    fn machine(address: &str, container: Option<&'static str>) -> Machine {
        Machine {
            container,
            address: Some(address.parse().unwrap()),
            ..Machine::default()
        }
    }

    fn listeners(addresses: &[&str], machine: &Machine) -> Listeners {
        let addresses: Vec<Address> = addresses.iter().map(|a| a.parse().unwrap()).collect();
        Listeners::of(&addresses, machine)
    }

    /// The levels and the texts of the findings, and the fix of the last finding.
    fn told_by(
        bind: &[&str],
        options: &[&str],
        machine: &Machine,
        allow: &[&str],
    ) -> (Vec<(Level, String)>, Option<String>) {
        let allow: Vec<String> = allow.iter().map(|&text| text.to_owned()).collect();
        let listeners = listeners(bind, machine);
        let (told, _) = told(&listeners, &passive(None, options), machine, &allow);
        let fix = told.last().and_then(|finding| finding.fix.clone());
        let lines = told
            .into_iter()
            .map(|finding| (finding.level, finding.text));
        (lines.collect(), fix)
    }

    #[test]
    fn a_private_address_is_no_address_for_clients_from_outside() {
        let lan = machine("192.168.1.5", None);
        let public = "--passive-address PUBLIC-ADDRESS";
        for (bind, options, level, fix) in [
            (":2121", &[][..], Level::Problem, Some(public)),
            ("0.0.0.0:2121", &["auto"], Level::Problem, Some(public)),
            ("192.168.1.5:2121", &[], Level::Problem, Some(public)),
            (":2121", &["10.1.1.1"], Level::Problem, Some(public)),
            (":2121", &["203.0.113.7"], Level::Good, None),
            ("203.0.113.7:2121", &[], Level::Good, None),
            (
                ":2121",
                &["no..name"],
                Level::Problem,
                Some("--passive-address ADDRESS"),
            ),
        ] {
            let (lines, fixed_by) = told_by(&[bind], options, &lan, &[]);
            let (last, text) = lines.last().unwrap();
            assert_eq!(*last, level, "{bind} {options:?}: {text}");
            assert_eq!(fixed_by.as_deref(), fix, "{bind} {options:?}");
        }
        let (lines, _) = told_by(&[":2121"], &[], &lan, &["192.168.0.0/16", "10.1.2.3"]);
        assert_eq!(lines.last().unwrap().0, Level::Good, "{lines:?}");
        for allow in ["0.0.0.0/0", "203.0.113.0/24", "@file"] {
            let (lines, _) = told_by(&[":2121"], &[], &lan, &[allow]);
            assert_eq!(lines.last().unwrap().0, Level::Problem, "{allow}");
        }
    }

    #[test]
    fn each_kind_of_client_has_its_line() {
        let lan = machine("192.168.1.5", None);
        let shown = |bind: &[&str], options: &[&str]| {
            let (lines, _) = told_by(bind, options, &lan, &[]);
            let lines: Vec<String> = lines.into_iter().map(|(_, text)| text).collect();
            lines.join("\n")
        };
        let all = shown(
            &[":2121"],
            &["203.0.113.7", "192.168.0.0/16=auto", "10.0.0.0/8=10.0.0.1"],
        );
        for line in [
            "clients of this machine are told 203.0.113.7",
            "clients in the network of 192.168.1.5 are told 192.168.1.5",
            "clients of 10.0.0.0/8 are told 10.0.0.1",
            "clients of 192.168.0.0/16 are told 192.168.1.5",
            "clients from outside are told 203.0.113.7",
        ] {
            assert!(all.contains(line), "{line} is not in\n{all}");
        }
        let alone = shown(&["127.0.0.1:2121"], &[]);
        assert_eq!(alone, "clients of this machine are told 127.0.0.1");
        let v6 = shown(&["[::1]:2121"], &[]);
        assert!(v6.contains("EPSV") && !v6.contains("told"), "{v6}");
        let v6 = shown(&["[2001:db8::1]:2121"], &[]);
        assert!(v6.contains("EPSV") && !v6.contains("told"), "{v6}");
        // The router may not send connections of clients in the network back into the network.
        let (lines, _) = told_by(&[":2121"], &["203.0.113.7"], &lan, &[]);
        assert!(
            lines
                .iter()
                .filter(|(level, _)| *level == Level::Note)
                .count()
                == 2
        );
    }

    #[test]
    fn a_container_needs_a_range_and_an_address() {
        let docker = machine("172.17.0.2", Some("Docker"));
        let level = |bind: &str, ports| {
            let listeners = listeners(&[bind], &docker);
            container(&listeners, &passive(ports, &[]), &docker, &[2121])
        };
        let without = level(":2121", None);
        assert_eq!(without.level, Level::Problem);
        let fix = without.fix.as_deref();
        assert_eq!(fix, Some("--passive-ports 50000-50100"));
        let with = level(":2121", Some("50000-50010"));
        assert_eq!(with.level, Level::Note);
        let publish = "-p 2121:2121 -p 50000-50010:50000-50010";
        assert!(with.text.contains(publish), "{}", with.text);
        assert_eq!(level("127.0.0.1:2121", None).level, Level::Note);
        // Clients outside cannot reach the address within the container, even if it is public.
        let odd = machine("203.0.113.9", Some("Docker"));
        let (lines, _) = told_by(&[":2121"], &[], &odd, &[]);
        assert_eq!(lines.last().unwrap().0, Level::Problem, "{lines:?}");
        let (lines, _) = told_by(&[":2121"], &["203.0.113.7"], &odd, &[]);
        assert_eq!(lines.last().unwrap().0, Level::Good, "{lines:?}");
    }
}
