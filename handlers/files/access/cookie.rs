//! The cookie that stands for a link (RFC 6265): a browser that opened a shared folder sends it
//! with what it asks for below that, as the links and pictures of a page don't have the token.

use crate::accounts::share::PARAMETER;
use socketserver_http::protocol::head::Head;

/// The field line that sets it. Without a path and an age it is for the folder of the address that
/// was asked for, until the browser is closed; what it opens is decided anew each time. Links stay
/// good when somebody else's page leads to them, hence `Lax`; no page that is shown leads others to
/// them by its `Referer`.
pub(super) fn line(token: &str) -> String {
    // The token opened something, so it is of base64url's letters only.
    format!(
        "Set-Cookie: {PARAMETER}={token}; HttpOnly; SameSite=Lax\r\n\
         Referrer-Policy: no-referrer\r\n"
    )
}

/// The tokens in a request's cookies; a browser may have several, the one of the deepest folder
/// first (RFC 6265 §5.4).
pub(super) fn tokens<'a>(head: &Head<'a>) -> impl Iterator<Item = &'a str> {
    let pairs = head
        .values("cookie")
        .flat_map(|value| value.split(|&byte| byte == b';'))
        .map(<[u8]>::trim_ascii);
    let tokens =
        pairs.filter_map(|pair| pair.strip_prefix(PARAMETER.as_bytes())?.strip_prefix(b"="));
    tokens
        .filter_map(|token| std::str::from_utf8(token).ok())
        .take(MAX_TOKENS)
}

/// Maximum number of tokens that are checked for one request, as each one reads the accounts.
const MAX_TOKENS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use socketserver_http::protocol::head::{Scanner, Status, parse};

    #[test]
    fn tokens_are_found_among_other_cookies() {
        for (fields, expected) in [
            ("", &[][..]),
            ("Cookie: share=a\r\n", &["a"]),
            (
                "Cookie: x=1; share=a; ashare=b;share=c;share\r\n",
                &["a", "c"],
            ),
            ("Cookie: share=a\r\ncookie: share=b\r\n", &["a", "b"]),
            (
                "Cookie: share=1; share=2; share=3; share=4; share=5\r\n",
                &["1", "2", "3", "4"],
            ),
        ] {
            let request = format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
            let Ok(Status::Complete { head, .. }) =
                parse(request.as_bytes(), &mut Scanner::default())
            else {
                panic!("{request}")
            };
            assert_eq!(tokens(&head).collect::<Vec<_>>(), expected, "{fields}");
        }
    }
}
