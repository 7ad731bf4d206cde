//! Short HTML pages for error responses.

use super::response::Response;
use super::status::reason;

/// A response with a short HTML page. `detail` is HTML and is not escaped.
pub fn error_page(status: u16, detail: &str) -> Response {
    let reason = reason(status);
    let page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{status} \
         {reason}</title>\
         <meta name=\"color-scheme\" content=\"light dark\"></head>\n\
         <body><h1>{status} {reason}</h1><p>{detail}</p></body>\n</html>\n"
    );
    Response::html(page).with_status(status)
}
