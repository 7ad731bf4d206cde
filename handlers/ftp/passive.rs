//! Passive mode: the ports on which the server listens for data connections, and the address in the
//! reply to PASV.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use socketserver::{
    ClientAddress, Error, Listen, MailboxSender, Networks, RunningListener, StreamRequest,
};

use super::data::{Arrival, DataHandler, Event};
use super::reply::Refused;
use super::resolver::Resolver;

/// Maximum number of consecutive ports that are tried before the system chooses a port.
const MAX_TRIED_PORTS: u16 = 16;

/// A range of ports, the value of `--passive-ports`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassivePorts(pub RangeInclusive<u16>);

impl FromStr for PassivePorts {
    type Err = String;

    fn from_str(text: &str) -> Result<PassivePorts, String> {
        let expected = || format!("invalid range of ports `{text}`: use LOW-HIGH, 1 to 65535");
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let port = text.parse::<u16>().ok();
            port.filter(|port| digits && *port > 0).ok_or_else(expected)
        };
        let range = port(low)?..=port(high)?;
        if range.is_empty() {
            return Err(expected());
        }
        Ok(PassivePorts(range))
    }
}

/// An address for the reply to PASV, a value of `--passive-address`.
#[derive(Clone, Debug)]
pub struct PassiveAddress {
    /// The network of the clients that get the address, as text and parsed; `None` for all clients.
    network: Option<(String, Networks)>,
    /// The host; `None` for the address to which the client has connected (`auto`).
    host: Option<String>,
}

impl FromStr for PassiveAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<PassiveAddress, String> {
        let (network, host) = match text.split_once('=') {
            Some((network, host)) => {
                let parsed = Networks::parse([network]).map_err(|error| error.to_string())?;
                (Some((network.to_owned(), parsed)), host)
            }
            None => (None, text),
        };
        let is_host = !host.is_empty() && !host.contains([' ', '/', '=', ',']);
        let is_v6 = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6());
        if !is_host || is_v6 {
            return Err(format!(
                "invalid address `{text}`: use an IPv4 address, a host name, auto, or CIDR=HOST"
            ));
        }
        Ok(PassiveAddress {
            network,
            host: (!host.eq_ignore_ascii_case("auto")).then(|| host.to_owned()),
        })
    }
}

/// The options of passive mode.
#[derive(Debug)]
pub struct Passive {
    /// The range of `--passive-ports`; `None` for any free port.
    ports: Option<RangeInclusive<u16>>,
    /// The ports from which the system chooses if no range is set; `None` if they are unknown.
    system_ports: Option<RangeInclusive<u16>>,
    /// The values of `--passive-address`.
    addresses: Vec<PassiveAddress>,
    /// Resolves the names in `addresses`.
    resolver: Resolver,
    /// Whether the log already has the warning about an address that a client cannot reach.
    has_warned: AtomicBool,
}

impl Passive {
    /// Passive mode with these options.
    pub fn new(ports: Option<PassivePorts>, addresses: Vec<PassiveAddress>) -> Passive {
        Passive {
            ports: ports.map(|PassivePorts(range)| range),
            system_ports: system_ports(),
            addresses,
            resolver: Resolver::default(),
            has_warned: AtomicBool::new(false),
        }
    }

    /// The IPv4 address for the reply to PASV to a client that has connected to `local`. An address
    /// for the client's network takes precedence over an address for all clients.
    ///
    /// # Errors
    /// 425 if the client has connected over IPv6, or if the host name of the address cannot be
    /// resolved.
    pub fn advertised(
        &self,
        client: &ClientAddress,
        local: IpAddr,
        now: Instant,
    ) -> Result<Ipv4Addr, Refused> {
        let IpAddr::V4(local) = local.to_canonical() else {
            return Err(Refused::new(425, "PASV can't be used over IPv6: use EPSV."));
        };
        let told = match self.host_for(client) {
            Some(host) => self.resolver.resolve(host, now).ok_or_else(|| {
                let text = "The address of this server is not known: use EPSV.";
                Refused::new(425, text)
            })?,
            None => local,
        };
        self.warn_if_unreachable(client, told);
        Ok(told)
    }

    /// The host whose address is in the reply to PASV; `None` for the address to which the client
    /// has connected.
    pub fn host_for(&self, client: &ClientAddress) -> Option<&str> {
        let is_for = |address: &&PassiveAddress| {
            let network = address.network.as_ref();
            network.is_some_and(|(_, network)| network.contains(client))
        };
        let for_all = |address: &&PassiveAddress| address.network.is_none();
        let addresses = || self.addresses.iter();
        let chosen = addresses()
            .find(is_for)
            .or_else(|| addresses().find(for_all));
        chosen.and_then(|address| address.host.as_deref())
    }

    /// The range of ports; `None` if any port may be used.
    pub fn ports(&self) -> Option<&RangeInclusive<u16>> {
        self.ports.as_ref()
    }

    /// The networks that have their own address in the options, each with its host. The host is
    /// `None` for the address to which the client has connected.
    pub fn by_network(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.addresses.iter().filter_map(|address| {
            let (network, _) = address.network.as_ref()?;
            Some((network.as_str(), address.host.as_deref()))
        })
    }

    /// The IPv4 address of a host; `None` if its name cannot be resolved. This call may wait for
    /// the name service.
    pub fn resolve(&self, host: &str, now: Instant) -> Option<Ipv4Addr> {
        self.resolver.resolve(host, now)
    }

    /// The hosts that are names, not addresses.
    fn names(&self) -> impl Iterator<Item = &str> {
        let hosts = self
            .addresses
            .iter()
            .filter_map(|address| address.host.as_deref());
        hosts.filter(|host| host.parse::<Ipv4Addr>().is_err())
    }

    /// Resolves the names once, so that the log has a warning at the start if a name has no
    /// address. This happens on a separate thread, so that a slow name service does not delay the
    /// start. Later, names are also resolved again on separate threads, unless the server `forks`.
    pub fn resolve_names_in_background(self: &Arc<Self>, forks: bool) {
        if self.names().next().is_none() {
            return;
        }
        if !forks {
            self.resolver.resolve_in_background();
        }
        let passive = Arc::clone(self);
        let resolve = move || {
            for name in passive.names() {
                passive.resolver.resolve(name, Instant::now());
            }
        };
        let thread = std::thread::Builder::new().name("resolve".to_owned());
        if let Err(error) = thread.spawn(resolve) {
            log::warn!("--passive-address is not resolved at the start: {error}");
        }
    }

    /// Makes the next PASV resolve the names of `--passive-address` again.
    pub fn expire_names(&self, now: Instant) {
        self.resolver.expire(now);
    }

    /// Logs a warning if a client with a public address gets a private address, to which it cannot
    /// connect. The warning is logged only once.
    fn warn_if_unreachable(&self, client: &ClientAddress, told: Ipv4Addr) {
        let is_outside = client.ip().is_some_and(is_public);
        if is_outside && !is_public(told.into()) && !self.has_warned.swap(true, Ordering::Relaxed) {
            log::warn!(
                "{client}: PASV tells this client the address {told}, which only clients in the \
                 same network reach: add --passive-address ADDRESS with the public address of \
                 this server"
            );
        }
    }

    /// Listens for one data connection of the client of this control connection.
    ///
    /// # Errors
    /// 425 if no port of the range is free, or the system refuses.
    pub fn listen(
        &self,
        request: &StreamRequest,
        id: u64,
        (events, arrival): (&MailboxSender<Event>, &Arrival),
    ) -> Result<(RunningListener, u16), Refused> {
        let local = local_ip(request)?;
        let options = Listen::new()
            .once(request.server.timeouts().idle)
            .secondary();
        let options = match request.client_address.ip() {
            Some(peer) => options.peer(peer),
            None => options,
        };
        let class = || {
            let (events, arrival) = (events.clone(), arrival.clone());
            move |_: &ClientAddress| DataHandler::new(id, events.clone(), arrival.clone())
        };
        let bound = match self.listen_at(request, local, &options, class) {
            // Behind a proxy, the address to which the client has connected does not belong to this
            // machine.
            Err(Error::Bind { source, .. })
                if source.kind() == std::io::ErrorKind::AddrNotAvailable =>
            {
                let any: IpAddr = match local {
                    IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                    IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
                };
                self.listen_at(request, any, &options, class)
            }
            bound => bound,
        };
        let listener = bound.map_err(|error| {
            log::warn!("{}: no passive port: {error}", request.client_address);
            Refused::new(
                425,
                "No port for a data connection is free: try again soon.",
            )
        })?;
        let port = listener
            .server_address()
            .inet()
            .map(|address| address.port());
        port.map(|port| (listener, port))
            .ok_or_else(|| Refused::new(425, "The port for the data connection is not known."))
    }

    fn listen_at<C>(
        &self,
        request: &StreamRequest,
        ip: IpAddr,
        options: &Listen,
        class: impl Fn() -> C,
    ) -> socketserver::Result<RunningListener>
    where
        C: Fn(&ClientAddress) -> DataHandler + Send + Sync + 'static,
    {
        let listen = |options: Listen| {
            let address = SocketAddr::new(ip, 0);
            request.server.listen(address, options, class())
        };
        let Some(ports) = &self.ports else {
            // The system needs a long time to choose a port if thousands of earlier data
            // connections are in TIME_WAIT. Random ports avoid this, because the system allows a
            // program to listen on the ports of such connections.
            if let Some(ports) = &self.system_ports {
                let first = random_port(ports);
                let last = first.saturating_add(MAX_TRIED_PORTS - 1).min(*ports.end());
                match listen(options.clone().ports(first..=last)) {
                    Err(error) if is_in_use(&error) => {}
                    bound => return bound,
                }
            }
            return listen(options.clone());
        };
        let (low, middle) = (*ports.start(), random_port(ports));
        match listen(options.clone().ports(middle..=*ports.end())) {
            Err(error) if middle > low && is_in_use(&error) => {
                listen(options.clone().ports(low..=middle - 1))
            }
            bound => bound,
        }
    }
}

/// Whether an address is public, so that clients of other networks can reach it.
pub fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            // Providers use 100.64.0.0/10 between their own network and their customers (RFC 6598).
            let is_shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_unspecified()
                || is_shared)
        }
        IpAddr::V6(ip) => {
            !(ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_unique_local()
                || ip.is_unicast_link_local())
        }
    }
}

/// A random port of a range, so that an attacker cannot predict the next port.
fn random_port(ports: &RangeInclusive<u16>) -> u16 {
    let (low, high) = (*ports.start(), *ports.end());
    let count = u32::from(high.saturating_sub(low)) + 1;
    let random = getrandom::u32().unwrap_or_default() % count;
    low.saturating_add(u16::try_from(random).unwrap_or(0))
}

/// The ports from which the system chooses; `None` if they are unknown, or if some of them are
/// reserved for other programs.
fn system_ports() -> Option<RangeInclusive<u16>> {
    let read = |name| std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).ok();
    let is_any_reserved = !read("ip_local_reserved_ports")?.trim().is_empty();
    parse_system_ports(&read("ip_local_port_range")?).filter(|_| !is_any_reserved)
}

/// Parses the text of `ip_local_port_range`.
pub(super) fn parse_system_ports(text: &str) -> Option<RangeInclusive<u16>> {
    let (low, high) = text.trim().split_once(char::is_whitespace)?;
    let range = low.parse().ok()?..=high.trim().parse().ok()?;
    (*range.start() > 0 && !range.is_empty()).then_some(range)
}

fn is_in_use(error: &Error) -> bool {
    matches!(error, Error::Bind { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse)
}

/// The address to which the client of the control connection has connected.
///
/// # Errors
/// 425 for a Unix socket.
pub fn local_ip(request: &StreamRequest) -> Result<IpAddr, Refused> {
    let address = request.server_address().and_then(|address| address.inet());
    address
        .map(|address| address.ip().to_canonical())
        .ok_or_else(|| Refused::new(425, "Data connections need TCP."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(ip: &str) -> ClientAddress {
        SocketAddr::new(ip.parse().unwrap(), 5000).into()
    }

    #[test]
    fn ports_are_a_range() {
        let range = |text: &str| {
            text.parse::<PassivePorts>()
                .map(|PassivePorts(range)| range)
        };
        assert_eq!(range("50000-50010"), Ok(50000..=50010));
        assert_eq!(range("7"), Ok(7..=7));
        for wrong in [
            "", "-", "2-1", "0-1", "1-65536", "a-b", "1-2-3", "+1-2", "1 - 2",
        ] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_port_is_one_of_the_range() {
        assert_eq!(parse_system_ports("32768\t60999\n"), Some(32768..=60999));
        for wrong in ["", "1", "2 1", "0 9", "1 65536", "a b"] {
            assert_eq!(parse_system_ports(wrong), None, "{wrong}");
        }
        for range in [7..=7, 7..=9, 1..=u16::MAX] {
            assert!((0..100).all(|_| range.contains(&random_port(&range))));
        }
    }

    #[test]
    fn a_client_is_told_the_address_for_its_network() {
        let addresses = [
            "203.0.113.7",
            "10.0.0.0/8=auto",
            "192.168.0.0/16=192.168.0.1",
        ];
        let addresses = addresses.map(|text| text.parse().unwrap()).to_vec();
        let passive = Passive::new(None, addresses);
        let local: IpAddr = "10.0.0.5".parse().unwrap();
        let now = Instant::now();
        for (ip, told) in [
            ("198.51.100.1", "203.0.113.7"),
            ("10.1.2.3", "10.0.0.5"),
            ("192.168.3.4", "192.168.0.1"),
        ] {
            let address = passive.advertised(&client(ip), local, now).unwrap();
            assert_eq!(address.to_string(), told, "{ip}");
        }
        let none = Passive::new(None, Vec::new());
        for (passive, ip, local) in [
            (&none, "::1", "::1"),
            (&passive, "2001:db8::1", "2001:db8::2"),
        ] {
            let v6 = passive.advertised(&client(ip), local.parse().unwrap(), now);
            assert_eq!(v6.unwrap_err().code(), 425);
        }
        let mapped = "::ffff:192.0.2.1".parse().unwrap();
        assert!(none.advertised(&client("192.0.2.9"), mapped, now).is_ok());
    }

    #[test]
    fn addresses_of_private_networks_are_not_public() {
        for private in [
            "10.1.2.3",
            "172.17.0.2",
            "192.168.0.1",
            "127.0.0.1",
            "169.254.1.1",
            "100.64.0.1",
            "0.0.0.0",
            "::ffff:10.0.0.1",
            "::1",
            "fd00::1",
            "fe80::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in ["203.0.113.7", "172.32.0.1", "100.128.0.1", "2001:db8::1"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn an_invalid_address_is_refused() {
        for wrong in ["", "a b", "x=", "10.0.0.0/33=1.2.3.4", "::1", "1.2.3.4/8"] {
            assert!(wrong.parse::<PassiveAddress>().is_err(), "{wrong}");
        }
        for right in ["auto", "ftp.example.org", "1.2.3.4", "::/0=1.2.3.4"] {
            assert!(right.parse::<PassiveAddress>().is_ok(), "{right}");
        }
    }
}
