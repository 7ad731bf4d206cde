//! `--cors`: allows pages of other origins to use the files (the Fetch standard, "HTTP-CORS
//! protocol").

use socketserver_http::protocol::head::{self, Head};

/// Parses an origin in the format of the header `Origin` (RFC 6454 §6.2), or `*`.
///
/// # Errors
/// The origin is invalid. The error says what is expected.
pub(crate) fn origin(text: &str) -> Result<String, String> {
    let wrong = || {
        format!(
            "invalid origin `{}`: use * or https://HOST[:PORT]",
            text.escape_debug()
        )
    };
    if text == "*" {
        return Ok(text.to_owned());
    }
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
        .ok_or_else(wrong)?;
    let is_host = |byte: u8| {
        byte.is_ascii_graphic() && !b"/?#@\\*,\"<>".contains(&byte) && !byte.is_ascii_uppercase()
    };
    // Browsers compare the value byte by byte with the origin of the page.
    if host.is_empty() || !host.bytes().all(is_host) {
        Err(wrong())
    } else {
        Ok(text.to_owned())
    }
}

/// The header lines for every response.
pub(crate) fn headers(origin: &str) -> String {
    format!(
        "Access-Control-Allow-Origin: {origin}\r\n\
         Access-Control-Expose-Headers: Accept-Ranges, Content-Digest, Content-Disposition, \
         Content-Encoding, \
         Content-Range, ETag, Repr-Digest\r\n"
    )
}

/// The additional header lines for the response to a preflight request. `methods` are the allowed
/// methods. `None` if the request is not a preflight request. The page may send all headers that it
/// asks for, because they do not change the response.
pub(crate) fn preflight(head: &Head<'_>, methods: &str) -> Option<String> {
    head.values("origin").next()?;
    head.values("access-control-request-method").next()?;
    let is_list = |value: &&[u8]| {
        value
            .iter()
            .all(|byte| head::is_token(*byte) || matches!(byte, b',' | b' ' | b'\t'))
    };
    let asked = head
        .values("access-control-request-headers")
        .next()
        .filter(is_list);
    let allowed = asked.map_or(String::new(), |list| {
        format!(
            "Access-Control-Allow-Headers: {}\r\n",
            String::from_utf8_lossy(list)
        )
    });
    Some(format!(
        "Access-Control-Allow-Methods: {methods}\r\n{allowed}Access-Control-Max-Age: 7200\r\n\
         Vary: Access-Control-Request-Headers\r\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_a_host_and_a_port() {
        for text in [
            "*",
            "https://example.org",
            "http://127.0.0.1:8000",
            "https://[::1]:8",
        ] {
            assert_eq!(origin(text).as_deref(), Ok(text));
        }
        for text in [
            "",
            "example.org",
            "https://",
            "https://h/",
            "https://H",
            "https://a,https://b",
            "ftp://h",
            "https://h\r\nA: b",
            "https://*",
        ] {
            assert!(origin(text).is_err(), "{text:?}");
        }
    }
}
