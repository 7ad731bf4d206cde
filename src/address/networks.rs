//! Lists of networks: who may come in, and who may speak for others.

use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;

use super::ClientAddress;
use crate::error::{Error, Result};

/// Networks in CIDR notation; a bare address is a network of one.
///
/// ```
/// use std::net::SocketAddr;
/// use socketserver::{ClientAddress, Networks};
///
/// let local = Networks::parse(["192.0.2.0/24", "::1"])?;
/// assert!(!local.is_empty());
/// let client = |ip: [u8; 4]| ClientAddress::from(SocketAddr::from((ip, 50_000)));
/// assert!(local.contains(&client([192, 0, 2, 7])));
/// assert!(!local.contains(&client([198, 51, 100, 7])));
/// # Ok::<(), socketserver::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Reads a list in which each item is a CIDR, an address, or `@FILE` with one of these per
    /// line. In files, empty lines and lines that begin with `#` are ignored.
    ///
    /// # Errors
    /// [`Error::Address`] with the invalid item, or
    /// [`Error::File`] with the file and the line.
    pub fn parse<'a>(items: impl IntoIterator<Item = &'a str>) -> Result<Networks> {
        let mut networks = Vec::new();
        for item in items {
            match item.strip_prefix('@') {
                Some(path) => read_file(Path::new(path), &mut networks)?,
                None => networks
                    .push(parse_network(item).ok_or_else(|| Error::Address(not_a_network(item)))?),
            }
        }
        Ok(Networks(networks))
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the client's address is in one of the networks. A client without an IP address is in
    /// none.
    pub fn contains(&self, client: &ClientAddress) -> bool {
        client.ip().is_some_and(|ip| self.contains_ip(ip))
    }

    fn contains_ip(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|network| network.contains(&ip))
    }
}

fn parse_network(text: &str) -> Option<IpNet> {
    let network = text
        .parse::<IpNet>()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))?;
    // ::ffff:192.0.2.0/120 means 192.0.2.0/24: clients are compared by their IPv4 address.
    match network {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => match v6.addr().to_ipv4_mapped() {
            Some(v4) => IpNet::new(v4.into(), v6.prefix_len() - 96).ok(),
            None => Some(network),
        },
        _ => Some(network),
    }
}

fn not_a_network(text: &str) -> String {
    format!("invalid network `{text}`: use an address or a CIDR such as 192.0.2.0/24")
}

fn read_file(path: &Path, networks: &mut Vec<IpNet>) -> Result<()> {
    let wrong = |reason: String| Error::File {
        path: path.to_owned(),
        reason,
        source: None,
    };
    let text = std::fs::read_to_string(path).map_err(|error| Error::file(path, error))?;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if !line.is_empty() && !line.starts_with('#') {
            let network = parse_network(line);
            networks.push(
                network.ok_or_else(|| {
                    wrong(format!("line {}: {}", number + 1, not_a_network(line)))
                })?,
            );
        }
    }
    Ok(())
}

/// The clients that may connect. Denied networks may not. If there are allowed networks, no other
/// clients may.
///
/// A server asks it in [`verify_request`](crate::ServerHooks::verify_request):
///
/// ```
/// use std::net::SocketAddr;
/// use socketserver::{AddressFilter, ClientAddress, Networks, ServerHooks};
///
/// struct Filtered(AddressFilter);
///
/// impl ServerHooks for Filtered {
///     fn verify_request(&self, client_address: &ClientAddress) -> bool {
///         self.0.permits(client_address)
///     }
/// }
///
/// let allow = Networks::parse(["192.0.2.0/24"])?;
/// let deny = Networks::parse(["192.0.2.66"])?;
/// let hooks = Filtered(AddressFilter::new(allow, deny));
/// let client = |ip: [u8; 4]| ClientAddress::from(SocketAddr::from((ip, 50_000)));
/// assert!(hooks.verify_request(&client([192, 0, 2, 1])));
/// assert!(!hooks.verify_request(&client([192, 0, 2, 66])));
/// # Ok::<(), socketserver::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressFilter {
    allow: Networks,
    deny: Networks,
}

impl AddressFilter {
    /// A filter of these lists.
    pub fn new(allow: Networks, deny: Networks) -> AddressFilter {
        AddressFilter { allow, deny }
    }

    /// Whether this client may connect. Clients without an IP address (Unix sockets) always may,
    /// because the rights of the file system decide for them.
    pub fn permits(&self, client: &ClientAddress) -> bool {
        match client.ip() {
            None => true,
            Some(ip) => {
                !self.deny.contains_ip(ip) && (self.allow.is_empty() || self.allow.contains_ip(ip))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(ip: &str) -> ClientAddress {
        ClientAddress::Inet(std::net::SocketAddr::new(ip.parse().unwrap(), 1))
    }

    fn filter(allow: &[&str], deny: &[&str]) -> AddressFilter {
        let parse = |list: &[&str]| Networks::parse(list.iter().copied()).unwrap();
        AddressFilter::new(parse(allow), parse(deny))
    }

    #[test]
    fn denial_wins_and_any_allowance_excludes_the_others() {
        assert!(filter(&[], &[]).permits(&client("192.0.2.1")));
        assert!(!filter(&[], &["192.0.2.0/24"]).permits(&client("192.0.2.1")));
        assert!(!filter(&["198.51.100.0/24"], &[]).permits(&client("192.0.2.1")));
        assert!(!filter(&["192.0.2.0/24"], &["192.0.2.1"]).permits(&client("192.0.2.1")));
        assert!(filter(&["192.0.2.0/24"], &["192.0.2.1"]).permits(&client("192.0.2.2")));
        assert!(filter(&["192.0.2.0/24"], &[]).permits(&ClientAddress::Unix(None)));
    }

    #[test]
    fn mapped_addresses_and_networks_are_their_ipv4_ones() {
        assert!(!filter(&[], &["::ffff:192.0.2.0/120"]).permits(&client("192.0.2.9")));
        assert!(!filter(&[], &["192.0.2.0/24"]).permits(&client("::ffff:192.0.2.9")));
    }

    #[test]
    fn a_bad_line_is_named_with_its_file_and_number() {
        let path = std::env::temp_dir().join(format!("networks-{}", std::process::id()));
        std::fs::write(&path, "# friends\n192.0.2.0/24\n\nnonsense\n").unwrap();
        let item = format!("@{}", path.display());
        let error = Networks::parse([item.as_str()]).unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        assert!(
            error.contains("line 4") && error.contains("`nonsense`"),
            "{error}"
        );
        assert!(Networks::parse(["192.0.2.0/33"]).is_err());
    }
}
