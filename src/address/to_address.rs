//! What a server takes for an address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use super::{Address, ServerAddress, is_ipv6};
use crate::error::{Error, Result};

/// What can be used as an address to listen on, or to connect to: text (`HOST:PORT`, `:PORT`,
/// `[::1]:PORT`, `unix:PATH`), a pair of host and port, a [`SocketAddr`], an [`Address`] or a
/// [`ServerAddress`], or a reference to one of these. A host name is looked up when the address is
/// bound.
///
/// ```
/// use std::net::{Ipv4Addr, SocketAddr};
/// use socketserver::{Builder, Next, StreamRequest, ToAddress};
///
/// let class = |_: &_| |_: &mut StreamRequest| Ok(Next::Close);
/// Builder::new().tcp("127.0.0.1:0", class)?;
/// Builder::new().tcp(("127.0.0.1", 0), class)?;
/// Builder::new().tcp((Ipv4Addr::LOCALHOST, 0), class)?;
/// Builder::new().tcp(SocketAddr::from(([127, 0, 0, 1], 0)), class)?;
/// assert_eq!(("::1", 80).to_address()?.to_string(), "[::1]:80");
/// # Ok::<(), socketserver::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an address",
    label = "not an address",
    note = "use text such as `\"127.0.0.1:8000\"` or `\":8000\"`, a pair such as \
            `(\"127.0.0.1\", 8000)`, a `SocketAddr`, or a `socketserver::Address`"
)]
pub trait ToAddress {
    /// The address. Looks up no name.
    ///
    /// # Errors
    /// [`Error::Address`] if this is not a valid address.
    fn to_address(&self) -> Result<Address>;
}

impl<T: ToAddress + ?Sized> ToAddress for &T {
    fn to_address(&self) -> Result<Address> {
        (**self).to_address()
    }
}

impl ToAddress for Address {
    fn to_address(&self) -> Result<Address> {
        Ok(self.clone())
    }
}

impl ToAddress for ServerAddress {
    fn to_address(&self) -> Result<Address> {
        match self {
            ServerAddress::Inet(address) => Ok((*address).into()),
            ServerAddress::Unix(Some(path)) => Ok(Address::Unix(path.clone())),
            ServerAddress::Unix(None) => {
                let text = "a Unix socket without a path has no address";
                Err(Error::Address(text.to_owned()))
            }
        }
    }
}

impl ToAddress for str {
    fn to_address(&self) -> Result<Address> {
        self.parse()
    }
}

impl ToAddress for String {
    fn to_address(&self) -> Result<Address> {
        self.parse()
    }
}

/// An empty host is every interface, IPv4 and IPv6, as in `:PORT`.
impl ToAddress for (&str, u16) {
    fn to_address(&self) -> Result<Address> {
        let (host, port) = *self;
        let wrong = |what: &str| {
            Error::Address(format!(
                "invalid host `{host}`: {what}; expected a host name or an IP address"
            ))
        };
        if host.is_empty() {
            return Ok(Address::Every { port });
        }
        if host.contains(char::is_whitespace) {
            return Err(wrong("a space is in the host"));
        }
        if host.contains([':', '[', ']']) && !is_ipv6(host) {
            return Err(wrong("it is not an IPv6 address"));
        }
        Ok(Address::Inet {
            host: host.to_owned(),
            port,
        })
    }
}

impl ToAddress for (String, u16) {
    fn to_address(&self) -> Result<Address> {
        (&*self.0, self.1).to_address()
    }
}

/// For types that a [`SocketAddr`] is made from.
macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl ToAddress for $type {
            fn to_address(&self) -> Result<Address> {
                Ok(SocketAddr::from(*self).into())
            }
        }
    )*};
}

numbers!(
    SocketAddr,
    SocketAddrV4,
    SocketAddrV6,
    (IpAddr, u16),
    (Ipv4Addr, u16),
    (Ipv6Addr, u16)
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_an_address_is_read() {
        let forms: [(&dyn ToAddress, &str); 14] = [
            (&"localhost:80", "localhost:80"),
            (&"localhost:80".to_owned(), "localhost:80"),
            (&":80", ":80"),
            (&"unix:/run/a", "unix:/run/a"),
            (&("localhost", 80), "localhost:80"),
            (&("localhost".to_owned(), 80), "localhost:80"),
            (&("::1", 80), "[::1]:80"),
            (&("", 80), ":80"),
            (&(Ipv6Addr::LOCALHOST, 80), "[::1]:80"),
            (&SocketAddr::from(([127, 0, 0, 1], 80)), "127.0.0.1:80"),
            (&Address::Every { port: 80 }, ":80"),
            (&("fe80::1%2", 80), "[fe80::1%2]:80"),
            (&ServerAddress::Unix(Some("/run/a".into())), "unix:/run/a"),
            (
                &ServerAddress::from(SocketAddr::from(([127, 0, 0, 1], 80))),
                "127.0.0.1:80",
            ),
        ];
        for (form, text) in forms {
            assert_eq!(form.to_address().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_host_is_refused_in_one_line() {
        for host in ["a b", "[::1]", "localhost:80", "::x"] {
            let error = (host, 80).to_address().unwrap_err().to_string();
            assert!(
                error.contains(&format!("invalid host `{host}`: ")),
                "{error}"
            );
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
