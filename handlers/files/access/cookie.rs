//! The cookie that contains the token of a share link (RFC 6265). The links and pictures of a
//! shared page do not have the token in their URLs, so the browser sends the cookie with their
//! requests.

use socketserver_http::protocol::head::Head;

use crate::accounts::share::PARAMETER;

/// The header line that sets the cookie, and a `Referrer-Policy`. The cookie has no path and no
/// age, so the browser uses it for the folder of the requested URL and until the browser is closed.
/// The server checks the token for each request. With `Lax`, share links also work from pages of
/// other sites. The `Referrer-Policy` keeps the token out of `Referer` headers to other sites.
pub(super) fn line(token: &str) -> String {
    // The token was valid, so it has only characters of base64url.
    format!(
        "Set-Cookie: {PARAMETER}={token}; HttpOnly; SameSite=Lax\r\n\
         Referrer-Policy: no-referrer\r\n"
    )
}

/// The tokens in a request's cookies. A browser may send several. The token of the deepest folder
/// is the first (RFC 6265 §5.4).
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

/// Maximum number of tokens that are checked for one request. Each check reads the accounts file.
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
