//! `PATCH`: appends bytes to an upload (the core protocol and the extension checksum).

use std::sync::Arc;
use std::time::SystemTime;

use socketserver::RFile;
use socketserver_http::engine::application::{Receiver, Reception, Stopped};
use socketserver_http::engine::body::Body;
use socketserver_http::engine::body_reader::BodyReader;
use socketserver_http::engine::exchange::Exchange;
use socketserver_http::engine::response::Response;
use socketserver_http::protocol::date;
use socketserver_http::protocol::head::{Framing, Head};
use socketserver_http::protocol::tus_fields::{self, Checksum};

use super::{check_version, only, publish, refused, resource};
use crate::common::digest::Digests;
use crate::common::store::{Partial, Progress};
use crate::files::upload::refusal::{of_system, say};
use crate::files::upload::{Sender, Shared, receive, require_identity_encoding};

/// A chunk of an upload that is being received.
pub(super) struct UploadChunk {
    shared: Arc<Shared>,
    sender: Sender,
    partial: Partial,
    /// The URL path of the upload, if the same request created it.
    created: Option<String>,
}

/// Begins to receive the body of a PATCH, if its offset is the end of the received bytes.
pub(super) fn begin(
    shared: &Arc<Shared>,
    exchange: &Exchange<'_>,
    sender: Sender,
) -> Result<Box<dyn Receiver>, Response> {
    let head = exchange.head;
    check_version(head)?;
    let (id, registered) = resource::find(shared, exchange)?;
    check_content(head)?;
    let offset = only(head, "upload-offset").and_then(tus_fields::number);
    let offset = offset.ok_or_else(|| say(400, "Send the chunk's offset as Upload-Offset."))?;
    let digests = announced_digests(head)?;
    if matches!(registered.progress, Progress::Stored(_)) {
        return Err(say(409, "The upload is complete, so nothing can be added."));
    }
    let partial = shared
        .store
        .resume_registered(&id)
        .map_err(|error| refused(&error))?;
    if partial.offset() != offset {
        let there = partial.offset();
        return Err(say(
            409,
            &format!("Upload-Offset is wrong: {there} bytes are there."),
        ));
    }
    Ok(Box::new(UploadChunk::begin(
        shared, head, sender, partial, digests, None,
    )?))
}

/// Checks that the body has the media type of tus and no content coding.
pub(super) fn check_content(head: &Head<'_>) -> Result<(), Response> {
    let is_piece =
        |media_type: &[u8]| media_type.eq_ignore_ascii_case(b"application/offset+octet-stream");
    if !head.content_type.is_some_and(is_piece) {
        return Err(say(
            415,
            "Send the chunk as Content-Type: application/offset+octet-stream.",
        ));
    }
    require_identity_encoding(head)
}

/// The digest of the chunk that the client announces.
pub(super) fn announced_digests(head: &Head<'_>) -> Result<Digests, Response> {
    if head.values("upload-checksum").next().is_none() {
        return Ok(Digests::default());
    }
    let checksum = tus_fields::checksum(only(head, "upload-checksum").unwrap_or_default())
        .map_err(|error| say(400, &format!("The chunk is dropped: {error}.")))?;
    let mut digests = Digests::default();
    match checksum {
        Checksum::Md5(digest) => digests.md5 = Some(digest),
        Checksum::Sha1(digest) => digests.sha1 = Some(digest),
        Checksum::Sha256(digest) => digests.sha256 = Some(digest),
    }
    Ok(digests)
}

impl UploadChunk {
    pub(super) fn begin(
        shared: &Arc<Shared>,
        head: &Head<'_>,
        sender: Sender,
        partial: Partial,
        digests: Digests,
        created: Option<String>,
    ) -> Result<UploadChunk, Response> {
        let mut piece = UploadChunk {
            shared: Arc::clone(shared),
            sender,
            partial,
            created,
        };
        let begun = match head.body {
            Framing::Length(length)
                if piece.partial.remaining().is_some_and(|left| length > left) =>
            {
                Err(too_long())
            }
            _ => piece
                .partial
                .begin_piece(digests)
                .map_err(|error| of_system(&error)),
        };
        match begun {
            Ok(()) => Ok(piece),
            Err(refused) => Err(piece.give_up(refused)),
        }
    }

    /// Refuses the chunk. If the same request created the upload, no client knows its URL yet, so
    /// the upload is removed.
    fn give_up(self, refused: Response) -> Response {
        if self.created.is_some()
            && let Err(error) = self.partial.discard()
        {
            log::debug!("a refused upload can't be removed: {error}");
        }
        refused
    }

    fn take(&mut self, body: &mut Body, rfile: &mut RFile) -> Result<(), Stopped> {
        receive(&mut self.partial, body, rfile, refused)?;
        if self.partial.remaining() == Some(0) && !body.is_whole() {
            // A chunked body does not announce its length, so a body that is too long is detected
            // only here.
            if body
                .try_read(rfile, &mut [0])
                .map_err(Stopped::reading)?
                .is_some_and(|count| count > 0)
            {
                self.partial
                    .drop_piece()
                    .map_err(|error| of_system(&error))?;
                return Err(too_long().into());
            }
        }
        Ok(())
    }

    fn answer(mut self) -> Result<Response, Response> {
        match self.partial.end_piece() {
            Ok(()) => {}
            Err(error) => return Err(self.give_up(refused(&error))),
        }
        let UploadChunk {
            shared,
            sender,
            partial,
            created,
        } = self;
        let answer = match created {
            Some(location) => Response::new(201).header("Location", &location),
            None => Response::new(204),
        };
        let answer = answer.header("Upload-Offset", &partial.offset().to_string());
        if partial.remaining() == Some(0) {
            return publish(&shared, &sender, partial, answer);
        }
        let expires = partial.expires().map_err(|error| of_system(&error))?;
        Ok(with_expiry(answer, expires))
    }
}

/// Adds the time at which the upload is removed if no more bytes arrive.
pub(super) fn with_expiry(answer: Response, expires: Option<SystemTime>) -> Response {
    match expires.and_then(date::http_date) {
        Some(date) => answer.header("Upload-Expires", &String::from_utf8_lossy(&date)),
        None => answer,
    }
}

fn too_long() -> Response {
    say(413, "The chunk is longer than the rest of the upload.")
}

impl Receiver for UploadChunk {
    fn receive(&mut self, body: &mut Body, rfile: &mut RFile) -> Result<Reception, Stopped> {
        self.take(body, rfile)?;
        Ok(Reception::WantsAll)
    }

    fn finish(self: Box<Self>, _: &Exchange<'_>, _: BodyReader<'_>) -> Response {
        self.answer().unwrap_or_else(|refused| refused)
    }
}
