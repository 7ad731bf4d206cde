//! The response to a form: a page for browsers, JSON or lines of text for programs.

use serde_json::json;
use socketserver_http::engine::response::Response;
use socketserver_http::engine::status::reason;
use socketserver_http::protocol::accept;
use socketserver_http::protocol::head::Head;

use super::parser::FormError;
use crate::common::store::StoreError;
use crate::files::site::pages::markup::{escape, plain};
use crate::files::upload::refusal;

/// The format of the response.
#[derive(Clone, Copy, Debug)]
enum Reader {
    Browser,
    Json,
    Text,
}

/// Collects the results for the response to a form.
#[derive(Debug)]
pub(super) struct Answers {
    reader: Reader,
    /// The URL path of the folder, with a slash at its end.
    folder: String,
    stored: Vec<Stored>,
}

/// A file that was stored.
#[derive(Debug)]
struct Stored {
    name: String,
    size: u64,
    location: String,
}

/// Why the rest of a form is refused.
#[derive(Debug)]
pub(super) struct Refused {
    status: u16,
    /// The file that was being received.
    file: Option<String>,
    reason: String,
}

impl Refused {
    /// The body ended before the form did.
    pub(super) fn cut() -> Refused {
        FormError::bad("it was cut before its end").into()
    }

    /// The refusal if a file can't be stored.
    pub(super) fn file(name: &str, error: &StoreError) -> Refused {
        let (status, reason) = refusal::explain(error);
        Refused {
            status,
            file: Some(name.to_owned()),
            reason,
        }
    }

    fn sentence(&self) -> String {
        match &self.file {
            Some(name) => format!("{name}: {}", self.reason),
            None => self.reason.clone(),
        }
    }
}

impl From<FormError> for Refused {
    fn from(error: FormError) -> Refused {
        Refused {
            status: error.status,
            file: None,
            reason: format!("The form can't be taken: {}.", error.reason),
        }
    }
}

impl Answers {
    pub(super) fn new(head: &Head<'_>, folder: &str) -> Answers {
        let reader = if accept::names(head, b"text/html") {
            Reader::Browser
        } else if accept::names(head, b"application/json") {
            Reader::Json
        } else {
            Reader::Text
        };
        Answers {
            reader,
            folder: format!("{}/", folder.trim_end_matches('/')),
            stored: Vec::new(),
        }
    }

    /// Records a stored file.
    pub(super) fn stored(&mut self, name: &str, size: u64, location: String) {
        self.stored.push(Stored {
            name: name.to_owned(),
            size,
            location,
        });
    }

    /// The response to a complete form.
    pub(super) fn success(&self) -> Response {
        if self.stored.is_empty() {
            return self.failure(&Refused {
                status: 400,
                file: None,
                reason: "No file was chosen.".to_owned(),
            });
        }
        let response = match self.reader {
            Reader::Browser => return Response::see_other(&self.folder),
            Reader::Json => json_of(201, &self.list()),
            Reader::Text => Response::text(self.lines()).with_status(201),
        };
        match &self.stored[..] {
            [only] => response.header("Location", &only.location),
            _ => response,
        }
    }

    /// The response if the rest of the form was refused. Files before that point remain stored.
    pub(super) fn failure(&self, refused: &Refused) -> Response {
        let sentence = refused.sentence();
        match self.reader {
            Reader::Browser => {
                Response::html(self.page(refused.status, &sentence)).with_status(refused.status)
            }
            Reader::Json => {
                let answer =
                    json!({ "error": sentence, "file": refused.file, "stored": self.list() });
                json_of(refused.status, &answer)
            }
            Reader::Text => {
                let sentence = plain(sentence.as_bytes());
                Response::text(format!("{sentence}\n{}", self.lines())).with_status(refused.status)
            }
        }
    }

    fn list(&self) -> serde_json::Value {
        let file = |file: &Stored| {
            let (name, size, location) = (&file.name, file.size, &file.location);
            json!({ "name": name, "size": size, "location": location })
        };
        self.stored.iter().map(file).collect()
    }

    fn lines(&self) -> String {
        let line = |file: &Stored| {
            format!(
                "Stored {}, {} bytes: {}\n",
                plain(file.name.as_bytes()),
                file.size,
                file.location
            )
        };
        self.stored.iter().map(line).collect()
    }

    fn page(&self, status: u16, sentence: &str) -> String {
        let title = format!("{status} {}", reason(status));
        let item = |file: &Stored| {
            let name = escape(file.name.as_bytes());
            format!(
                "<li><a href=\"{}\">{name}</a>, {} bytes</li>\n",
                file.location, file.size
            )
        };
        let stored = match &self.stored[..] {
            [] => String::new(),
            files => format!(
                "<p>Stored before:</p>\n<ul>\n{}</ul>\n",
                files.iter().map(item).collect::<String>()
            ),
        };
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>\
             {title}</title>\
             <meta name=\"viewport\" content=\"width=device-width\"><meta name=\"color-scheme\" \
             content=\"light dark\"></head>\n\
             <body><h1>{title}</h1>\n<p>{}</p>\n{stored}<p><a href=\"{}\">Back to the folder</a>\
             </p></body>\n</html>\n",
            escape(sentence.as_bytes()),
            self.folder,
        )
    }
}

fn json_of(status: u16, value: &serde_json::Value) -> Response {
    Response::new(status).content("application/json", format!("{value}\n").into_bytes())
}
