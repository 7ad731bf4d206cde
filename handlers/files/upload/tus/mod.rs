//! tus 1.0.0: uploads in pieces, that go on where they were cut
//! (<https://tus.io/protocols/resumable-upload>).
//!
//! `POST` to a folder registers an upload in the [`store`](crate::common::store), and answers where
//! it is to be sent: to the folder's `.socketserver-partial/ID`, a name under which nothing is ever
//! served. What is sent there by `PATCH` is kept, also when the connection is cut or the server
//! killed; with the last byte, the file gets its name.

mod create;
mod piece;
mod resource;

use std::sync::Arc;

use super::origin;
use super::refusal::{self, say};
use super::{BeginReceiver, Sender, Shared};
use crate::common::store::{Name, OnDuplicate, Partial, StoreError};
use socketserver_http::engine::application::Receiver;
use socketserver_http::engine::exchange::Exchange;
use socketserver_http::engine::response::Response;
use socketserver_http::protocol::head::{Head, Method};
use socketserver_http::protocol::tus_fields::ALGORITHMS;

const VERSION: &str = "1.0.0";
const EXTENSIONS: &str = "creation,creation-with-upload,checksum,expiration,termination";

/// What pages of other origins may read of an answer.
const EXPOSED: &str = "Content-Location, Location, Tus-Checksum-Algorithm, Tus-Extension, \
                       Tus-Max-Size, Tus-Resumable, \
    Tus-Version, Upload-Expires, Upload-Length, Upload-Metadata, Upload-Offset";

/// What a tus client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Create,
    Piece,
    Progress,
    Terminate,
}

impl Verb {
    /// `None` if this isn't a request of a tus client: those name the version that they speak, and
    /// nobody else sends PATCH. OPTIONS stands for no other method, as everybody may send it.
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

    /// Who begins to take the body of such a request, if it has one.
    pub(super) fn receiver(self) -> Option<BeginReceiver> {
        match self {
            Verb::Create => Some(create),
            Verb::Piece => Some(take_piece),
            Verb::Progress | Verb::Terminate => None,
        }
    }
}

fn create(
    shared: &Arc<Shared>,
    exchange: &Exchange<'_>,
    sender: Sender,
) -> Result<Box<dyn Receiver>, Response> {
    check_version(exchange.head)?;
    create::begin(shared, exchange, sender)
}

fn take_piece(
    shared: &Arc<Shared>,
    exchange: &Exchange<'_>,
    sender: Sender,
) -> Result<Box<dyn Receiver>, Response> {
    check_version(exchange.head)?;
    piece::begin(shared, exchange, sender)
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

/// Adds what the server can do to the response to OPTIONS.
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

/// Adds what every response to a tus client says.
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

/// The value of a field that came once.
fn only<'a>(head: &Head<'a>, name: &str) -> Option<&'a [u8]> {
    let mut values = head.values(name);
    values.next().filter(|_| values.next().is_none())
}

/// What happens to a file of this sender if its name is taken.
fn on_duplicate(shared: &Shared, sender: &Sender, name: &Name) -> Result<OnDuplicate, Response> {
    sender
        .permit
        .check_store(name.as_bytes(), shared.on_duplicate.unwrap_or_default())
}

/// Gives a complete upload its name. The answer says which that is.
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
