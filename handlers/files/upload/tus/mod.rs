//! tus 1.0.0: resumable uploads in chunks (<https://tus.io/protocols/resumable-upload>).
//!
//! | request | effect |
//! |---|---|
//! | `POST` to a folder | registers an upload in the [`store`](crate::common::store) |
//! | `HEAD` of the upload | returns the number of received bytes |
//! | `PATCH` of the upload | appends bytes; with the last byte, the file gets its name |
//! | `DELETE` of the upload | removes it |
//!
//! The response to `POST` contains the URL of the upload: `.socketserver-partial/ID` in the folder.
//! No files are ever served from there. Received bytes are kept even if the connection breaks or
//! the server is killed.

mod create;
mod piece;
mod resource;

use socketserver_http::engine::exchange::Exchange;
use socketserver_http::engine::response::Response;
use socketserver_http::protocol::head::{Head, Method};
use socketserver_http::protocol::tus_fields::ALGORITHMS;

use super::origin;
use super::refusal::{self, say};
use super::{BeginReceiver, Sender, Shared};
use crate::common::store::{Name, OnDuplicate, Partial, StoreError};

const VERSION: &str = "1.0.0";
const EXTENSIONS: &str = "creation,creation-with-upload,checksum,expiration,termination";

/// The headers of a response that pages of other origins may read.
const EXPOSED: &str = "Content-Location, Location, Tus-Checksum-Algorithm, Tus-Extension, \
                       Tus-Max-Size, Tus-Resumable, \
    Tus-Version, Upload-Expires, Upload-Length, Upload-Metadata, Upload-Offset";

/// The kind of a tus request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Create,
    Piece,
    Progress,
    Terminate,
}

impl Verb {
    /// The kind of a request. `None` if it does not come from a tus client. Tus clients send their
    /// version in `Tus-Resumable`, and only they send PATCH. OPTIONS never counts as a tus request,
    /// because all clients may send it.
    pub(super) fn of(head: &Head<'_>) -> Option<Verb> {
        let is_tus =
            head.method != Method::Options && head.values("tus-resumable").next().is_some();
        let verb = match head
            .values("x-http-method-override")
            .next()
            .filter(|_| is_tus)
            .unwrap_or(head.method_name)
        {
            b"POST" => Verb::Create,
            b"PATCH" => Verb::Piece,
            b"HEAD" => Verb::Progress,
            b"DELETE" => Verb::Terminate,
            _ => return None,
        };
        (is_tus || head.method_name == b"PATCH").then_some(verb)
    }

    /// The function that begins to receive the body, if requests of this kind have one.
    pub(super) fn receiver(self) -> Option<BeginReceiver> {
        match self {
            Verb::Create => Some(create::begin),
            Verb::Piece => Some(piece::begin),
            Verb::Progress | Verb::Terminate => None,
        }
    }
}

/// The response to a request without a body.
pub(super) fn respond(
    shared: &Shared,
    verb: Verb,
    exchange: &Exchange<'_>,
    sender: &Sender,
) -> Response {
    let checked = origin::check(&shared.site.policy, exchange.head)
        .and_then(|()| check_version(exchange.head));
    let answer = checked.and_then(|()| match verb {
        Verb::Progress => resource::progress(shared, exchange, sender),
        Verb::Terminate => resource::terminate(shared, exchange),
        Verb::Create | Verb::Piece => Err(say(
            400,
            "GET and HEAD cannot stand for a method with a body: send POST.",
        )),
    });
    answer.unwrap_or_else(|refused| refused)
}

/// Adds the headers that describe the server's tus support to the response to OPTIONS.
pub(super) fn add_abilities(shared: &Shared, response: Response) -> Response {
    let response = response
        .header("Tus-Version", VERSION)
        .header("Tus-Extension", EXTENSIONS)
        .header("Tus-Checksum-Algorithm", ALGORITHMS);
    let mut response = match shared.max_size {
        Some(max) => response.header("Tus-Max-Size", &max.to_string()),
        None => response,
    };
    add_headers(shared, &mut response);
    response
}

fn check_version(head: &Head<'_>) -> Result<(), Response> {
    match only(head, "tus-resumable") {
        Some(b"1.0.0") => Ok(()),
        _ => Err(say(412, "Tus-Resumable must be 1.0.0.").header("Tus-Version", VERSION)),
    }
}

/// Adds the headers of every response to a tus client.
pub(super) fn add_headers(shared: &Shared, response: &mut Response) {
    response.add_lines(&format!("Tus-Resumable: {VERSION}\r\n"));
    if shared.site.policy.cors {
        response.add_lines(&format!("Access-Control-Expose-Headers: {EXPOSED}\r\n"));
    }
}

fn refused(error: &StoreError) -> Response {
    match error {
        StoreError::Busy => {
            say(423, "Another connection is sending this upload.").header("Retry-After", "1")
        }
        StoreError::ChecksumMismatch(_) => say(460, &format!("The chunk is dropped: {error}.")),
        _ => refusal::of(error),
    }
}

/// The value of a header, if it occurs exactly once.
fn only<'a>(head: &Head<'a>, name: &str) -> Option<&'a [u8]> {
    let mut values = head.values(name);
    values.next().filter(|_| values.next().is_none())
}

/// What happens if the name of the sender's file is taken.
fn on_duplicate(shared: &Shared, sender: &Sender, name: &Name) -> Result<OnDuplicate, Response> {
    sender
        .permit
        .check_store(name.as_bytes(), shared.on_duplicate.unwrap_or_default())
}

/// Stores a complete upload under its name. The response contains the name.
fn publish(
    shared: &Shared,
    sender: &Sender,
    partial: Partial,
    answer: Response,
) -> Result<Response, Response> {
    let on_duplicate = on_duplicate(shared, sender, &partial.intent().name)?;
    let published = partial
        .publish(on_duplicate)
        .map_err(|error| refused(&error))?;
    shared.stored(&published, sender, "tus");
    Ok(answer.header(
        "Content-Location",
        &shared
            .site
            .policy
            .base_path
            .url_path(published.name.as_bytes()),
    ))
}
