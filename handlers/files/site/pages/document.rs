//! The beginning and the end of every HTML page that the server makes.

use std::io::Write;

/// The `Content-Security-Policy` of a page (Content Security Policy Level 3). Browsers load only
/// the page's own style and the site's own images, and run no script. So even a script that gets
/// into a page by mistake does not run.
pub(crate) const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; \
    img-src 'self' data:; form-action 'self'; base-uri 'none'";

/// Writes the beginning of a page, up to its content. `title` must be escaped.
pub(crate) fn begin(title: &str, to: &mut Vec<u8>) {
    // Without the empty icon, browsers request /favicon.ico. Writing to a Vec can't fail.
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

/// Writes the end of a page, after its content.
pub(crate) fn end(to: &mut Vec<u8>) {
    to.extend(b"</body>\n</html>\n");
}
