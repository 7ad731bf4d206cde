//! The upload area of a folder's page: a form, and a script that extends it.
//!
//! The script is served below the folder under a name that no file can have. The page's policy
//! allows only this script to run, with a nonce (Content Security Policy Level 3).

use std::fmt;
use std::io::{self, Write};

use base64_simd::URL_SAFE_NO_PAD;
use socketserver_http::engine::error_page::error_page;
use socketserver_http::engine::response::Response;

use super::document;
use super::markup::escape;
use crate::common::store::PARTIALS;

const SCRIPT: &str = concat!(
    include_str!("upload_area/files.js"),
    include_str!("upload_area/memory.js"),
    include_str!("upload_area/tus.js"),
    include_str!("upload_area/row.js"),
    include_str!("upload_area/page.js"),
);
const NAME: &str = "upload.js";

/// The nonce that allows the script to run on one page.
#[derive(Debug)]
pub(crate) struct Nonce(String);

impl Nonce {
    /// Creates a random nonce.
    ///
    /// # Errors
    /// The system provides no random numbers.
    pub(crate) fn new() -> io::Result<Nonce> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Nonce(URL_SAFE_NO_PAD.encode_to_string(bytes)))
    }

    /// The `Content-Security-Policy` of the page.
    pub(crate) fn policy(&self) -> String {
        format!(
            "{}; script-src 'nonce-{}'; connect-src 'self'",
            document::POLICY,
            self.0
        )
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Writes the upload area.
pub(crate) fn write(nonce: &Nonce, to: &mut Vec<u8>) {
    // With the version in the URL, browsers may cache the script forever. Writing to a Vec can't
    // fail.
    let _ = write!(
        to,
        "<section aria-label=\"Upload\">\n<form class=\"upload\" method=\"post\" \
         enctype=\"multipart/form-data\" action=\"./\">\n\
         <label>Upload files <input type=\"file\" name=\"file\" multiple required></label>\n\
         <button>Upload</button>\n</form>\n\
         <script type=\"module\" nonce=\"{nonce}\" src=\"./{PARTIALS}/{NAME}?{}\"></script>\n\
         </section>\n",
        version(),
    );
}

/// The page of a drop box: a folder that accepts files and shows none. For an anonymous client it
/// has the link `?login`. The server refuses that request, so that the browser asks for a user name
/// and a password.
pub(crate) fn drop_box(path: &[u8], is_anonymous: bool) -> Response {
    let Ok(nonce) = Nonce::new() else {
        return error_page(500, "The system has no random numbers.");
    };
    let path = escape(path);
    let title = format!(
        "Upload to /{path}{}",
        if path.is_empty() { "" } else { "/" }
    );
    let mut page = Vec::new();
    document::begin(&title, &mut page);
    // Writing to a Vec can't fail.
    let login = if is_anonymous {
        " <a href=\"?login\">Log in</a> to see more."
    } else {
        ""
    };
    let _ = writeln!(
        page,
        "<h1>{title}</h1>\n<p>What you store here, others may read; you may not.{login}</p>"
    );
    write(&nonce, &mut page);
    document::end(&mut page);
    let response = Response::new(200).content("text/html; charset=utf-8", page);
    response
        .header("Content-Security-Policy", &nonce.policy())
        .header("Vary", "Accept")
}

/// The response with the script, if this is the script's path.
pub(crate) fn script(raw_path: &[u8]) -> Option<Response> {
    let path = raw_path.strip_suffix(NAME.as_bytes())?.strip_suffix(b"/")?;
    path.ends_with(PARTIALS.as_bytes()).then(|| {
        let script = Response::new(200).content("text/javascript; charset=utf-8", SCRIPT.into());
        script.header("Cache-Control", "max-age=31536000, immutable")
    })
}

/// The version of the script. It changes with the script's content.
fn version() -> String {
    blake3::hash(SCRIPT.as_bytes()).to_hex()[..16].to_owned()
}
