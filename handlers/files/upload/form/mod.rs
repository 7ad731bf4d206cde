//! `POST` of `multipart/form-data` (RFC 7578): a form with files, as sent by a browser from a page
//! with a file input, or by `curl -F`.
//!
//! `parser` splits the body into parts, `part` parses the heads of the parts, and `answer` makes
//! the response. Each file is stored as soon as it is complete. So a form is neither held in memory
//! nor stored twice on the disk.

mod answer;
mod check;
mod parameters;
mod parser;
mod part;

pub use check::check;
pub use parser::{FormError, FormEvent, Parser};
pub use part::{Part, place_of};

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use socketserver::RFile;
use socketserver_http::engine::application::{Receiver, Reception, Stopped};
use socketserver_http::engine::body::Body;
use socketserver_http::engine::body_reader::BodyReader;
use socketserver_http::engine::exchange::Exchange;
use socketserver_http::engine::response::Response;
use socketserver_http::protocol::head::{Framing, Head};

use super::guard::Guard;
use super::refusal::{self, say};
use super::{DestinationPath, RECEIVE_TIME_PER_TURN, Sender, Shared, require_identity_encoding};
use crate::common::digest::Chunk;
use crate::common::store::{Name, OnDuplicate, Partial, StoreError};
use crate::files::site::respond::METHODS;
use answer::{Answers, Refused};
use parameters::Parameters;
use parser::MAX_OVERHEAD;

/// A form that is being received.
struct Form {
    shared: Arc<Shared>,
    sender: Sender,
    /// The folder's path below the root.
    folder: String,
    /// What happens if a name is taken.
    on_duplicate: OnDuplicate,
    parser: Parser,
    /// Received bytes that the parser could not process without the bytes after them.
    rest: Vec<u8>,
    /// The file whose content is being received, and what happens if its name is taken.
    file: Option<(Partial, OnDuplicate)>,
    answers: Answers,
}

/// Begins to receive the body of a form, unless the head shows that it cannot be stored.
pub(super) fn begin(
    shared: &Arc<Shared>,
    exchange: &Exchange<'_>,
    sender: Sender,
) -> Result<Box<dyn Receiver>, Response> {
    let head = exchange.head;
    let place = DestinationPath::folder_of(&shared.site, exchange)?;
    check_folder(shared, &place)?;
    let parser = Parser::new(&boundary(head)?);
    require_identity_encoding(head)?;
    Guard::of(head).check(shared.root(), &place.path)?;
    let on_duplicate = shared.on_duplicate.unwrap_or_default();
    if let Framing::Length(length) = head.body {
        // Only the total size of the files is known at this point.
        let least = length.saturating_sub(MAX_OVERHEAD);
        let checked = if on_duplicate == OnDuplicate::Overwrite {
            // Replaced files free space, and their sizes are not known yet.
            shared.store.check_disk(least)
        } else {
            shared.store.check_room(sender.permit.quota_user(), least)
        };
        checked.map_err(|error| refusal::of(&error))?;
    }
    let folder =
        String::from_utf8(place.path).map_err(|_| say(403, "The folder's name is not UTF-8."))?;
    Ok(Box::new(Form {
        shared: Arc::clone(shared),
        sender,
        folder,
        on_duplicate,
        parser,
        rest: Vec::new(),
        file: None,
        answers: Answers::new(head, &place.location),
    }))
}

fn check_folder(shared: &Shared, place: &DestinationPath) -> Result<(), Response> {
    let path = if place.path.is_empty() {
        Path::new(".")
    } else {
        place.path()
    };
    match shared.root().metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) if !place.trailing_slash => {
            let allow = format!("{METHODS}, PUT, DELETE, MOVE");
            Err(say(405, "Send the form to a folder.").header("Allow", &allow))
        }
        Ok(_) => Err(say(404, "There is no folder at this address.")),
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            Err(say(404, "There is nothing at this address."))
        }
        Err(error) => Err(refusal::of_system(&error)),
    }
}

fn boundary(head: &Head<'_>) -> Result<Vec<u8>, Response> {
    let media_type = head.content_type.and_then(Parameters::parse);
    let form = media_type.filter(|media_type| {
        media_type
            .essence
            .eq_ignore_ascii_case(b"multipart/form-data")
    });
    let Some(form) = form else {
        return Err(say(415, "Send the files as multipart/form-data.")
            .header("Accept-Post", "multipart/form-data"));
    };
    match form.get("boundary") {
        Some(boundary) if is_boundary(boundary) => Ok(boundary.to_vec()),
        _ => Err(say(
            400,
            "Nothing is stored: the form's boundary is missing or malformed.",
        )),
    }
}

/// Whether this is a valid boundary (RFC 2046 §5.1.1).
fn is_boundary(boundary: &[u8]) -> bool {
    let is_possible = |byte: &u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(byte);
    boundary.len() <= 70
        && boundary.last().is_some_and(|&last| last != b' ')
        && boundary.iter().all(is_possible)
}

impl Receiver for Form {
    fn receive(&mut self, body: &mut Body, rfile: &mut RFile) -> Result<Reception, Stopped> {
        let until = Instant::now() + RECEIVE_TIME_PER_TURN;
        let mut more = true;
        while more && Instant::now() < until {
            let mut window = Chunk::take();
            window.space()[..self.rest.len()].copy_from_slice(&self.rest);
            window.fill(self.rest.len());
            let filled = loop {
                match body.try_read(rfile, window.space()) {
                    Ok(Some(count)) if count > 0 => window.fill(count),
                    other => break other,
                }
            };
            // A full window also ends the loop above. Then more bytes may be available.
            more = window.space().is_empty();
            let taken = self
                .take(&window)
                .map_err(|refused| Stopped::from(self.answers.failure(&refused)))?;
            self.rest = window[taken..].to_vec();
            filled.map_err(Stopped::reading)?;
        }
        Ok(Reception::WantsAll)
    }

    fn finish(self: Box<Self>, _: &Exchange<'_>, _: BodyReader<'_>) -> Response {
        if self.parser.is_done() {
            self.answers.success()
        } else {
            self.answers.failure(&Refused::cut())
        }
    }
}

impl Form {
    /// Processes as much of the input as possible. Returns the number of processed bytes.
    fn take(&mut self, input: &[u8]) -> Result<usize, Refused> {
        let mut taken = 0;
        loop {
            let rest = &input[taken..];
            taken += match self.parser.next(rest)? {
                FormEvent::Partial => return Ok(taken),
                FormEvent::Framing(count) => count,
                FormEvent::Head(count, part) => {
                    self.file = part
                        .filename
                        .filter(|name| !name.is_empty())
                        .map(|name| self.open(&name))
                        .transpose()?;
                    count
                }
                FormEvent::Data(count) => {
                    if let Some((file, _)) = &mut self.file {
                        let written = file.write(&rest[..count]);
                        written
                            .map_err(|error| Refused::file(&file.intent().name.text(), &error))?;
                    }
                    count
                }
                FormEvent::End(count) => {
                    self.publish()?;
                    count
                }
            };
        }
    }

    fn open(&self, filename: &str) -> Result<(Partial, OnDuplicate), Refused> {
        let begin = || {
            let place = place_of(filename).map_err(StoreError::ForbiddenName)?;
            let name = match &*self.folder {
                "" => Name::path(place)?,
                folder => Name::path(&format!("{folder}/{place}"))?,
            };
            if self.shared.site.root.crosses_symlink(name.as_path()) {
                return Err(StoreError::ForbiddenName(
                    "the path crosses a symbolic link, which this server does not follow",
                ));
            }
            let name = Name::of_bytes(&self.shared.store.resolve_parent(name.as_bytes())?)?;
            let on_duplicate = self
                .sender
                .permit
                .check_store(name.as_bytes(), self.on_duplicate);
            let on_duplicate = on_duplicate
                .map_err(|_| StoreError::ForbiddenName("this account may store nothing there"))?;
            Ok((
                self.shared
                    .store
                    .begin_unresumable(self.sender.intent(name), on_duplicate)?,
                on_duplicate,
            ))
        };
        begin().map_err(|error| Refused::file(filename, &error))
    }

    fn publish(&mut self) -> Result<(), Refused> {
        let Some((file, on_duplicate)) = self.file.take() else {
            return Ok(());
        };
        let name = file.intent().name.clone();
        let published = file
            .publish(on_duplicate)
            .map_err(|error| Refused::file(&name.text(), &error))?;
        self.shared.stored(&published, &self.sender, "POST");
        let location = self
            .shared
            .site
            .policy
            .base_path
            .url_path(published.name.as_bytes());
        let name = published.name.split().1.to_string_lossy();
        self.answers.stored(&name, published.size, location);
        Ok(())
    }
}
