//! Parses and formats the addresses of data connections in commands and replies (RFC 959 §4.1.2,
//! RFC 2428).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};

use super::command::number;

/// Why the argument of EPRT is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EprtError {
    /// The argument does not have the form `|FAMILY|ADDRESS|PORT|`.
    Syntax,
    /// The family is neither IPv4 nor IPv6.
    Family,
}

/// The argument of EPSV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpsvArgument {
    /// No argument: use the address family of the control connection.
    Same,
    /// `1`: IPv4.
    V4,
    /// `2`: IPv6.
    V6,
    /// `ALL`: the client will use no other command for data connections.
    All,
    /// The number of another family.
    UnknownFamily,
    /// A malformed argument.
    Syntax,
}

/// Parses the argument of PORT: `h1,h2,h3,h4,p1,p2`. Returns `None` if it is malformed.
pub fn parse_port(argument: &[u8]) -> Option<SocketAddrV4> {
    let mut numbers = [0_u8; 6];
    let mut parts = argument.trim_ascii().split(|byte| *byte == b',');
    for place in &mut numbers {
        *place = number(parts.next()?)?;
    }
    let [a, b, c, d, high, low] = numbers;
    let port = u16::from_be_bytes([high, low]);
    parts
        .next()
        .is_none()
        .then(|| SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), port))
}

/// Parses the argument of EPRT: `|1|132.235.1.2|6275|`. Any printable character may replace `|`.
///
/// # Errors
/// The argument is malformed, or the family is unknown.
pub fn parse_eprt(argument: &[u8]) -> Result<SocketAddr, EprtError> {
    let argument = argument.trim_ascii();
    let delimiter = *argument.first().ok_or(EprtError::Syntax)?;
    if !(33..=126).contains(&delimiter) {
        return Err(EprtError::Syntax);
    }
    let mut parts = argument.split(|byte| *byte == delimiter).skip(1);
    let mut next = || parts.next().ok_or(EprtError::Syntax);
    let (family, address, port, end) = (next()?, next()?, next()?, next()?);
    if !end.is_empty() || parts.next().is_some() {
        return Err(EprtError::Syntax);
    }
    let family: u32 = number(family).ok_or(EprtError::Syntax)?;
    let address = std::str::from_utf8(address).map_err(|_| EprtError::Syntax)?;
    let ip = match family {
        1 => address.parse::<Ipv4Addr>().map(IpAddr::V4),
        2 => address.parse::<Ipv6Addr>().map(IpAddr::V6),
        _ => return Err(EprtError::Family),
    };
    let ip = ip.map_err(|_| EprtError::Syntax)?;
    let port = number(port).ok_or(EprtError::Syntax)?;
    Ok(SocketAddr::new(ip, port))
}

/// Parses the argument of EPSV.
pub fn parse_epsv(argument: &[u8]) -> EpsvArgument {
    match argument.trim_ascii() {
        b"" => EpsvArgument::Same,
        b"1" => EpsvArgument::V4,
        b"2" => EpsvArgument::V6,
        all if all.eq_ignore_ascii_case(b"ALL") => EpsvArgument::All,
        other if number::<u64>(other).is_some() => EpsvArgument::UnknownFamily,
        _ => EpsvArgument::Syntax,
    }
}

/// The address in the reply to PASV: `(h1,h2,h3,h4,p1,p2)`.
pub fn format_pasv(ip: Ipv4Addr, port: u16) -> impl fmt::Display {
    let [a, b, c, d] = ip.octets();
    let [high, low] = port.to_be_bytes();
    format!("({a},{b},{c},{d},{high},{low})")
}

/// The port in the reply to EPSV: `(|||PORT|)`.
pub fn format_epsv(port: u16) -> impl fmt::Display {
    format!("(|||{port}|)")
}

/// The check of the fuzzer: an accepted address does not change when it is formatted and parsed
/// again.
#[doc(hidden)]
pub fn check(argument: &[u8]) {
    if let Some(address) = parse_port(argument) {
        let written = format_pasv(*address.ip(), address.port()).to_string();
        let inner = written.trim_matches(['(', ')']);
        assert_eq!(parse_port(inner.as_bytes()), Some(address));
    }
    if let Ok(address) = parse_eprt(argument) {
        let family = if address.is_ipv4() { 1 } else { 2 };
        let written = format!("|{family}|{}|{}|", address.ip(), address.port());
        assert_eq!(parse_eprt(written.as_bytes()), Ok(address));
    }
    let _ = parse_epsv(argument);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_argument_of_port_is_six_numbers() {
        let address = parse_port(b"127,0,0,1,4,1").unwrap();
        assert_eq!(address, "127.0.0.1:1025".parse().unwrap());
        assert_eq!(parse_port(b" 1,2,3,4,255,255 ").unwrap().port(), 65535);
        for wrong in [
            "",
            "1,2,3,4,5",
            "1,2,3,4,5,6,7",
            "256,0,0,1,1,1",
            "127,0,0,1,256,1",
            "127,0,0,1,-1,0",
            "X,0,0,1,1,1",
            "127,0,0,1,1.1",
            "127,0,0,1,+1,1",
            "127, 0,0,1,1,1",
            "127,0,0,1,,1",
        ] {
            assert_eq!(parse_port(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn the_argument_of_eprt_is_a_family_an_address_and_a_port() {
        for (text, address) in [
            ("|1|132.235.1.2|6275|", "132.235.1.2:6275"),
            (
                "|2|1080::8:800:200C:417A|5282|",
                "[1080::8:800:200c:417a]:5282",
            ),
            ("!1!1.2.3.4!80!", "1.2.3.4:80"),
        ] {
            assert_eq!(parse_eprt(text.as_bytes()), Ok(address.parse().unwrap()));
        }
        for wrong in [
            "",
            "|",
            "||",
            "||||",
            "|1|1.2.3.4|80",
            "|1|1.2.3.4|80|x",
            "|1|1.2.3.4|65536|",
            "|1|1.2.3.4|-1|",
            "|1|1.2.3.4.5|80|",
            "|1|::1|80|",
            "|2|1.2.3.4|80|",
            "|x|1.2.3.4|80|",
            "|1|1.2.3.4|80||",
            " 1 1.2.3.4 80 ",
            "|1|1.2.3.4||",
        ] {
            assert_eq!(
                parse_eprt(wrong.as_bytes()),
                Err(EprtError::Syntax),
                "{wrong}"
            );
        }
        for family in ["|3|1.2.3.4|80|", "|0|::1|80|"] {
            assert_eq!(parse_eprt(family.as_bytes()), Err(EprtError::Family));
        }
    }

    #[test]
    fn the_argument_of_epsv_is_a_family_or_all() {
        for (text, argument) in [
            ("", EpsvArgument::Same),
            ("1", EpsvArgument::V4),
            ("2", EpsvArgument::V6),
            ("all", EpsvArgument::All),
            ("3", EpsvArgument::UnknownFamily),
            ("x", EpsvArgument::Syntax),
            ("-1", EpsvArgument::Syntax),
        ] {
            assert_eq!(parse_epsv(text.as_bytes()), argument, "{text}");
        }
    }

    #[test]
    fn replies_are_what_clients_parse() {
        let pasv = format_pasv(Ipv4Addr::new(192, 0, 2, 1), 1025).to_string();
        assert_eq!(pasv, "(192,0,2,1,4,1)");
        assert_eq!(format_epsv(6446).to_string(), "(|||6446|)");
    }
}
