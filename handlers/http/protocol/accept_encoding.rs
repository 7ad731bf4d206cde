//! `Accept-Encoding` (RFC 9110 §12.5.3): the content codings that a client accepts, and which of
//! them it prefers.

#[cfg(test)]
mod tests;

/// A content coding (RFC 9110 §8.4.1) that the server can send. The order is the server's
/// preference: the coding with the smallest result is first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// `br` (RFC 7932)
    Brotli,
    /// `zstd` (RFC 8878)
    Zstd,
    /// `gzip` (RFC 1952)
    Gzip,
}

impl Coding {
    /// All codings, in the order of preference.
    pub const ALL: [Coding; 3] = [Coding::Brotli, Coding::Zstd, Coding::Gzip];

    /// The name of the coding in `Content-Encoding`.
    pub fn name(self) -> &'static str {
        match self {
            Coding::Brotli => "br",
            Coding::Zstd => "zstd",
            Coding::Gzip => "gzip",
        }
    }

    /// The extension of a file that is stored in this coding, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Coding::Brotli => "br",
            Coding::Zstd => "zst",
            Coding::Gzip => "gz",
        }
    }

    fn named(name: &[u8]) -> Option<Coding> {
        // §8.4.1.3: `x-gzip` is the old name of gzip.
        let name = if name.eq_ignore_ascii_case(b"x-gzip") {
            b"gzip"
        } else {
            name
        };
        Coding::ALL
            .into_iter()
            .find(|coding| name.eq_ignore_ascii_case(coding.name().as_bytes()))
    }
}

/// The codings that a client accepts. Weights are in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// In the order of [`Coding::ALL`]. The weight 0 means that the coding is not acceptable.
    weights: [u16; 3],
    /// The weight of the content without a coding.
    identity: u16,
}

/// Parses the values of all `Accept-Encoding` headers. Malformed elements are ignored. If a coding
/// has two weights, the last one counts.
pub fn parse<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Accepted {
    let (mut named, mut identity, mut any) = ([None; 3], None, None);
    for (name, weight) in lines.flat_map(weighted) {
        if let Some(coding) = Coding::named(name) {
            named[coding as usize] = Some(weight);
        } else if name.eq_ignore_ascii_case(b"identity") {
            identity = Some(weight);
        } else if name == b"*" {
            any = Some(weight);
        }
    }
    // A client that does not name `identity` accepts it, but prefers every coding that it names.
    const LEAST: u16 = 1;
    Accepted {
        weights: named.map(|weight| weight.or(any).unwrap_or(0)),
        identity: identity.or(any).unwrap_or(LEAST),
    }
}

impl Accepted {
    /// The codings that the client prefers to the content without a coding, best first. A client
    /// that does not accept `identity` may still get it, because that is more useful than an error.
    pub fn ranked(&self) -> impl Iterator<Item = Coding> + use<> {
        let Accepted { weights, identity } = *self;
        let mut codings = Coding::ALL;
        codings.sort_by_key(|coding| std::cmp::Reverse(weights[*coding as usize]));
        codings.into_iter().filter(move |coding| {
            let weight = weights[*coding as usize];
            weight > 0 && weight >= identity
        })
    }
}

/// The elements of a list with weights (RFC 9110 §12.4.2): the name without parameters, and the
/// weight in thousandths.
fn weighted(line: &[u8]) -> impl Iterator<Item = (&[u8], u16)> {
    line.split(|&byte| byte == b',').filter_map(|element| {
        let mut parts = element.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().filter(|name| !name.is_empty())?;
        let weight = parts.find_map(|part| match part {
            [b'q' | b'Q', b'=', value @ ..] => Some(value),
            _ => None,
        });
        Some((name, weight.map_or(Some(1000), thousandths)?))
    })
}

/// Parses a `qvalue` (§12.4.2): `0.5` becomes 500.
fn thousandths(value: &[u8]) -> Option<u16> {
    let (whole, digits) = match value {
        [whole @ (b'0' | b'1')] => (whole, &[][..]),
        [whole @ (b'0' | b'1'), b'.', digits @ ..] if digits.len() <= 3 => (whole, digits),
        _ => return None,
    };
    let mut thousandths = u16::from(whole - b'0');
    for place in 0..3 {
        let digit = digits.get(place).copied().unwrap_or(b'0');
        if !digit.is_ascii_digit() {
            return None;
        }
        thousandths = thousandths * 10 + u16::from(digit - b'0');
    }
    (thousandths <= 1000).then_some(thousandths)
}

/// Panics if `data` breaks a property that holds for all input. For fuzzing.
#[doc(hidden)]
pub fn check(data: &[u8]) {
    let accepted = parse(std::iter::once(data));
    let weight = |coding: Coding| accepted.weights[coding as usize];
    assert!(
        accepted
            .weights
            .iter()
            .chain([&accepted.identity])
            .all(|weight| *weight <= 1000)
    );
    let ranked: Vec<Coding> = accepted.ranked().collect();
    assert!(ranked.iter().all(|coding| weight(*coding) > 0));
    assert!(ranked.is_sorted_by(
        |a, b| weight(*a) > weight(*b) || (weight(*a) == weight(*b) && *a as u8 <= *b as u8)
    ));
    let fraction = |weight: u16| format!("{}.{:03}", weight / 1000, weight % 1000);
    let written =
        Coding::ALL.map(|coding| format!("{};q={}", coding.name(), fraction(weight(coding))));
    let written = format!(
        "{}, identity;q={}",
        written.join(","),
        fraction(accepted.identity)
    );
    assert_eq!(parse(std::iter::once(written.as_bytes())), accepted);
    // A list may be spread over several headers.
    assert_eq!(parse(data.split(|&byte| byte == b',')), accepted);
}
