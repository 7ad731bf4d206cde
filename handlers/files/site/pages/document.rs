//! What every page that is made here has around its content.

use std::io::Write;

/// Its `Content-Security-Policy`. Nothing but the page's own style and the site's own pictures is
/// loaded, and no script runs: should a page ever carry what it mustn't, that stays dead (Content
/// Security Policy Level 3).
pub(crate) const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; \
    img-src 'self' data:; form-action 'self'; base-uri 'none'";

/// Up to the content. `title` is escaped already.
pub(crate) fn begin(title: &str, to: &mut Vec<u8>) {
    // Without the empty icon, browsers ask for /favicon.ico. Writing to a Vec can't fail.
    let _ = write!(
        to,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <title>{title}</title>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<link rel=\"icon\" href=\"data:,\">\n\
         <style>\n{}</style>\n</head>\n<body>\n",
        include_str!("document.css")
    );
}

/// From the content on.
pub(crate) fn end(to: &mut Vec<u8>) {
    to.extend(b"</body>\n</html>\n");
}
