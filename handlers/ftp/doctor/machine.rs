//! The properties of this machine: its container, its address, and the ports of its connections.

use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::ops::RangeInclusive;
use std::path::Path;

use super::super::passive::{PassivePorts, parse_system_ports};

/// An address on the Internet. Nothing is sent to it. The system only chooses the local address
/// from which it would send.
const REMOTE_ADDRESS: (Ipv4Addr, u16) = (Ipv4Addr::new(198, 51, 100, 1), 9);

/// The properties of a machine. Tests set their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// The kind of container in which the process runs; `None` outside of a container.
    pub container: Option<&'static str>,
    /// The local IPv4 address from which the machine reaches other networks; `None` without a
    /// route.
    pub address: Option<Ipv4Addr>,
    /// The ports that the system uses for outgoing connections; `None` if they are unknown.
    pub outgoing_ports: Option<RangeInclusive<u16>>,
    /// The ports that the system does not use for outgoing connections, although they are in the
    /// range `outgoing_ports`.
    pub reserved_ports: Vec<RangeInclusive<u16>>,
    /// The ports on which programs listen; `None` if they are unknown.
    pub listening: Option<HashSet<u16>>,
}

impl Machine {
    /// The properties of this machine. Unknown properties are empty.
    pub fn this() -> Machine {
        let address = own_address();
        let read = |name: &str| fs::read_to_string(Path::new("/proc/sys/net/ipv4").join(name));
        let outgoing = read("ip_local_port_range").ok();
        let reserved = read("ip_local_reserved_ports").unwrap_or_default();
        Machine {
            container: container(Path::new("/"), address),
            address,
            outgoing_ports: outgoing.as_deref().and_then(parse_system_ports),
            reserved_ports: reserved
                .trim()
                .split(',')
                .filter_map(|range| range.parse().ok())
                .map(|PassivePorts(range)| range)
                .collect(),
            listening: listening(),
        }
    }

    /// Whether a program listens on a port that is in use. Then the port stays in use. Otherwise an
    /// outgoing connection uses the port, and the port will soon be free. Returns true if the
    /// listeners are unknown.
    pub(super) fn has_listener(&self, port: u16) -> bool {
        let listening = self.listening.as_ref();
        listening.is_none_or(|listening| listening.contains(&port))
    }

    /// Whether outgoing connections may use ports of this range.
    pub(super) fn may_take(&self, ports: &RangeInclusive<u16>) -> bool {
        let Some(outgoing) = &self.outgoing_ports else {
            return false;
        };
        let low = *ports.start().max(outgoing.start());
        let high = *ports.end().min(outgoing.end());
        let is_reserved = |port: u16| self.reserved_ports.iter().any(|r| r.contains(&port));
        (low..=high).any(|port| !is_reserved(port))
    }
}

fn own_address() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(REMOTE_ADDRESS).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(ip) if !ip.is_unspecified() && !ip.is_loopback() => Some(ip),
        _ => None,
    }
}

fn listening() -> Option<HashSet<u16>> {
    let v4 = fs::read_to_string("/proc/net/tcp").ok()?;
    let v6 = fs::read_to_string("/proc/net/tcp6").unwrap_or_default();
    Some(
        v4.lines()
            .chain(v6.lines())
            .filter_map(listening_port)
            .collect(),
    )
}

/// The port in a line of `/proc/net/tcp` (proc_pid_net(5)); `None` if the line does not describe a
/// listener.
fn listening_port(line: &str) -> Option<u16> {
    const LISTEN: &str = "0A";
    let mut fields = line.split_whitespace().skip(1);
    let (_, port) = fields.next()?.rsplit_once(':')?;
    let state = fields.nth(1)?;
    let port = u16::from_str_radix(port, 16).ok();
    port.filter(|_| state == LISTEN)
}

/// The kind of container in which this process runs; `None` outside of a container.
pub fn this_container() -> Option<&'static str> {
    container(Path::new("/"), own_address())
}

/// The kind of the container, which is known by its files below `root`, or by its default network
/// if this contains the address.
fn container(root: &Path, address: Option<Ipv4Addr>) -> Option<&'static str> {
    for (file, name) in [(".dockerenv", "Docker"), ("run/.containerenv", "Podman")] {
        if root.join(file).exists() {
            return Some(name);
        }
    }
    for file in ["proc/1/cgroup", "proc/self/cgroup"] {
        let text = fs::read_to_string(root.join(file)).unwrap_or_default();
        for (word, name) in [
            ("kubepods", "Kubernetes"),
            ("docker", "Docker"),
            ("libpod", "Podman"),
            ("/lxc", "LXC"),
            ("containerd", "containerd"),
        ] {
            if text.contains(word) {
                return Some(name);
            }
        }
    }
    match address?.octets() {
        [172, 17, ..] => Some("the network of Docker"),
        [10, 88, ..] => Some("the network of Podman"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_recognized_by_its_files_or_address() {
        let root = std::env::temp_dir().join(format!("ftp-container-{}", std::process::id()));
        let write = |file: &str, text: &str| {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let lan = Some(Ipv4Addr::new(192, 168, 1, 5));
        write("proc/1/cgroup", "0::/init.scope\n");
        write("proc/self/cgroup", "0::/user.slice/session-1.scope\n");
        assert_eq!(container(&root, lan), None);
        assert_eq!(container(&root, None), None);
        let docker = Some(Ipv4Addr::new(172, 17, 0, 2));
        assert_eq!(container(&root, docker), Some("the network of Docker"));
        let podman = Some(Ipv4Addr::new(10, 88, 0, 7));
        assert_eq!(container(&root, podman), Some("the network of Podman"));
        write("proc/self/cgroup", "4:memory:/kubepods/pod1/abc\n");
        assert_eq!(container(&root, lan), Some("Kubernetes"));
        write("run/.containerenv", "");
        assert_eq!(container(&root, lan), Some("Podman"));
        write(".dockerenv", "");
        assert_eq!(container(&root, lan), Some("Docker"));
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn listeners_are_told_from_connections() {
        for (line, port) in [
            ("  sl  local_address rem_address   st tx_queue", None),
            (
                "   0: 0100007F:1F40 00000000:0000 0A 00000000:00000000",
                Some(8000),
            ),
            (
                "   1: 0100007F:1F40 0100007F:C350 01 00000000:00000000",
                None,
            ),
            (
                "   2: 00000000000000000000000000000000:0849 \
                 00000000000000000000000000000000:0000 0A 0:0",
                Some(2121),
            ),
            ("", None),
        ] {
            assert_eq!(listening_port(line), port, "{line}");
        }
        let ours = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = ours.local_addr().unwrap().port();
        assert!(Machine::this().has_listener(port));
    }

    #[test]
    fn ports_of_outgoing_connections_are_known_unless_reserved() {
        let mut machine = Machine {
            outgoing_ports: Some(32768..=60999),
            ..Machine::default()
        };
        assert!(machine.may_take(&(50000..=50100)));
        assert!(machine.may_take(&(60999..=61100)));
        assert!(!machine.may_take(&(61000..=61100)) && !machine.may_take(&(1024..=32767)));
        machine.reserved_ports = vec![50000..=50050, 50051..=50100];
        assert!(!machine.may_take(&(50000..=50100)));
        assert!(machine.may_take(&(50000..=50101)));
        let real = Machine::this();
        assert!(real.outgoing_ports.is_none_or(|ports| !ports.is_empty()));
    }
}
