//! Where servers listen, and where clients come from.

mod networks;
mod to_address;

use std::fmt;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::{Error, Result};
pub use networks::{AddressFilter, Networks};
pub use to_address::ToAddress;

/// An address to listen on: `HOST:PORT`, `:PORT` (every interface, IPv4 and IPv6),
/// `[::1]:PORT` or `unix:PATH`.
///
/// ```
/// use socketserver::Address;
/// let address: Address = "unix:/run/echo.sock".parse().unwrap();
/// assert_eq!(address, Address::Unix("/run/echo.sock".into()));
/// assert!("localhost".parse::<Address>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// A name or number, and a port; port 0 takes a free one.
    Inet {
        /// A host name, an IPv4 address, or an IPv6 address without brackets, which may have a
        /// zone (`fe80::1%2`).
        host: String,
        /// The port.
        port: u16,
    },
    /// Every interface, IPv4 and IPv6.
    Every {
        /// The port.
        port: u16,
    },
    /// A Unix socket's path.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Address> {
        let wrong = |what: &str| {
            Error::Address(format!(
                "invalid address `{text}`: {what}; expected HOST:PORT, :PORT, [IPV6]:PORT or \
                 unix:PATH"
            ))
        };
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() {
                Err(wrong("the path is empty"))
            } else {
                Ok(Address::Unix(path.into()))
            };
        }
        let (host, port) = text
            .rsplit_once(':')
            .ok_or_else(|| wrong("the port is missing"))?;
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let port = port
            .parse()
            .ok()
            .filter(|_| digits)
            .ok_or_else(|| wrong("the port must be a number up to 65535"))?;
        let host = match host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            Some(v6) if is_ipv6(v6) => v6,
            Some(_) => return Err(wrong("no IPv6 address stands between the brackets")),
            None if host.contains([':', '[', ']']) => {
                return Err(wrong("an IPv6 address needs brackets"));
            }
            None if host.contains(char::is_whitespace) => {
                return Err(wrong("a space is in the host"));
            }
            None => host,
        };
        if host.is_empty() {
            Ok(Address::Every { port })
        } else {
            Ok(Address::Inet {
                host: host.to_owned(),
                port,
            })
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Inet { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Inet { host, port } => write!(f, "{host}:{port}"),
            Address::Every { port } => write!(f, ":{port}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        let ip = address.ip();
        Address::Inet {
            host: match address {
                SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("{ip}%{}", v6.scope_id()),
                _ => ip.to_string(),
            },
            port: address.port(),
        }
    }
}

/// Whether this is an IPv6 address, with or without a zone, such as `fe80::1%2` (RFC 4007 §11).
fn is_ipv6(host: &str) -> bool {
    let (ip, zone) = host.split_once('%').unwrap_or((host, "0"));
    let is_zone_char = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    ip.parse::<std::net::Ipv6Addr>().is_ok() && !zone.is_empty() && zone.chars().all(is_zone_char)
}

/// The address that a socket is bound to (Python's `server_address`), with the real port after port
/// 0.
///
/// ```
/// use std::net::SocketAddr;
/// use socketserver::ServerAddress;
///
/// let address = ServerAddress::from(SocketAddr::from(([127, 0, 0, 1], 8000)));
/// assert_eq!(address.inet().unwrap().port(), 8000);
/// assert_eq!(address.to_string(), "127.0.0.1:8000");
/// assert_eq!(address.url("http"), "http://127.0.0.1:8000/");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ServerAddress {
    /// An IP address and port.
    Inet(SocketAddr),
    /// A Unix socket's path; `None` for one without a name.
    Unix(Option<PathBuf>),
}

impl From<SocketAddr> for ServerAddress {
    fn from(address: SocketAddr) -> ServerAddress {
        ServerAddress::Inet(address)
    }
}

impl ServerAddress {
    /// The IP address and port, if it has one.
    pub fn inet(&self) -> Option<SocketAddr> {
        match self {
            ServerAddress::Inet(address) => Some(*address),
            ServerAddress::Unix(_) => None,
        }
    }

    /// A URL with this scheme. URLs of `http`, `https`, `ftp` and `ftps` end in a slash. A Unix
    /// socket is `unix:PATH` with every scheme.
    pub fn url(&self, scheme: &str) -> String {
        let slash = if matches!(scheme, "http" | "https" | "ftp" | "ftps") {
            "/"
        } else {
            ""
        };
        match self {
            ServerAddress::Inet(address) => format!("{scheme}://{address}{slash}"),
            ServerAddress::Unix(_) => self.to_string(),
        }
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerAddress::Inet(address) => write!(f, "{address}"),
            ServerAddress::Unix(Some(path)) => write!(f, "unix:{}", path.display()),
            ServerAddress::Unix(None) => f.write_str("unix:"),
        }
    }
}

/// The address of a client (Python's `client_address`).
///
/// ```
/// use std::net::{IpAddr, SocketAddr, SocketAddrV6};
/// use socketserver::ClientAddress;
///
/// let client = ClientAddress::from(SocketAddr::from(([192, 0, 2, 1], 50_000)));
/// assert_eq!(client.ip(), Some(IpAddr::from([192, 0, 2, 1])));
/// assert_eq!(client.to_string(), "192.0.2.1:50000");
/// assert_eq!(ClientAddress::Memory.ip(), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClientAddress {
    /// An IP address and port; an IPv4 client of a dual-stack listener has its IPv4 address.
    Inet(SocketAddr),
    /// A Unix socket's path; most clients have none. On Linux a path that begins with a NUL byte is
    /// a name in the abstract namespace (unix(7)), displayed with `@` instead.
    Unix(Option<Arc<PathBuf>>),
    /// A test's connection in memory.
    Memory,
}

impl ClientAddress {
    /// The client's IP address.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            ClientAddress::Inet(address) => Some(address.ip()),
            _ => None,
        }
    }
}

impl From<SocketAddr> for ClientAddress {
    fn from(address: SocketAddr) -> ClientAddress {
        ClientAddress::Inet(match address {
            SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
                Some(v4) => SocketAddr::new(v4.into(), v6.port()),
                // The flow differs between packets of one client. The scope is part of where it is.
                None => SocketAddrV6::new(*v6.ip(), v6.port(), 0, v6.scope_id()).into(),
            },
            v4 => v4,
        })
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientAddress::Inet(address) => write!(f, "{address}"),
            ClientAddress::Unix(Some(path)) => match path.as_os_str().as_bytes() {
                [0, name @ ..] => write!(f, "unix:@{}", name.escape_ascii()),
                _ => write!(f, "unix:{}", path.display()),
            },
            ClientAddress::Unix(None) => f.write_str("unix:"),
            ClientAddress::Memory => f.write_str("memory"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_alike() {
        for text in [
            "127.0.0.1:8000",
            "localhost:0",
            ":8000",
            "[::1]:65535",
            "[fe80::1%2]:80",
            "[fe80::1%eth0]:80",
            "unix:/run/a b.sock",
            "unix:relative",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_in_one_line() {
        for text in [
            "",
            "8000",
            "localhost",
            "host:",
            "host:65536",
            "host:+1",
            "::1:80",
            "[::1]",
            "[x]:1",
            "[fe80::1%]:1",
            "[fe80::1% ]:1",
            "a b:1",
            "unix:",
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(
                error.contains("invalid address") && !error.contains('\n'),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn urls_end_as_the_contract_says() {
        let v6 = ServerAddress::Inet("[::]:8000".parse().unwrap());
        assert_eq!(v6.url("http"), "http://[::]:8000/");
        assert_eq!(v6.url("tcp"), "tcp://[::]:8000");
        assert_eq!(
            ServerAddress::Unix(Some("/run/echo.sock".into())).url("tcp"),
            "unix:/run/echo.sock"
        );
    }

    #[test]
    fn the_scope_of_an_ipv6_address_is_kept() {
        let scoped: SocketAddr = "[fe80::1%2]:80".parse().unwrap();
        assert_eq!(Address::from(scoped).to_string(), "[fe80::1%2]:80");
        assert_eq!(ClientAddress::from(scoped), ClientAddress::Inet(scoped));
        let SocketAddr::V6(mut flowing) = scoped else {
            unreachable!("it is an IPv6 address");
        };
        flowing.set_flowinfo(7);
        assert_eq!(
            ClientAddress::from(SocketAddr::from(flowing)),
            ClientAddress::Inet(scoped)
        );
    }

    #[test]
    fn a_mapped_client_has_its_ipv4_address() {
        let mapped: SocketAddr = "[::ffff:192.0.2.1]:7".parse().unwrap();
        assert_eq!(ClientAddress::from(mapped).to_string(), "192.0.2.1:7");
        assert!(size_of::<ClientAddress>() <= 40);
    }
}
