//! Short pages that say what went wrong.

use super::response::Response;
use super::status::reason;

/// Such a page. `detail` is HTML.
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
