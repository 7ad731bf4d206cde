//! The response for a folder without an index page: a listing as a page, as JSON or as text, or an
//! archive of the folder.
//!
//! The names are read first. Sizes and dates are read while the rows are sent. So of 100,000
//! entries only the names are in memory, and the first rows are sent long before the last entry is
//! examined.

pub(crate) mod entries;
mod html;
mod human;
mod json;
pub(crate) mod page;
pub(crate) mod sort;
#[cfg(test)]
mod tests;
mod text;

use std::cmp::Ordering;
use std::io;

use clap::Args;
use socketserver_http::engine::produce::{Produce, Produced};
use socketserver_http::engine::response::Response;
use socketserver_http::protocol::head::Head;
use socketserver_http::protocol::query::Query;

use self::entries::{Facts, Folder, Kind, Name, Names, Reader};
use self::page::{Form, Page, Row};
use self::sort::{Order, SortKey};
use crate::accounts::Rights;
use crate::files::site::archive;
use crate::files::site::pages::document;
use crate::files::site::pages::upload_area::Nonce;

/// Maximum number of entries of a listing that is completed before it is sent, with its length. The
/// listing of a larger folder is sent while it is made.
const MAX_ENTRIES_READ_AT_FIRST: usize = 1000;
/// Maximum number of entries that one turn reads or examines. This takes a few milliseconds.
const MAX_ENTRIES_PER_TURN: usize = 5000;
/// Minimum size of a piece of rows, in bytes, except for the last one.
const PIECE_SIZE: usize = 32 * 1024;

/// How folders without an index page are answered.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Listings")]
#[non_exhaustive]
pub struct ListingOptions {
    /// List dot files too, and put them into archives; asked for by name, they are always served
    #[arg(long)]
    pub hidden: bool,
    /// List no folder and archive none: 404 unless it has an index.html
    #[arg(long)]
    pub no_listing: bool,
    /// Show Markdown as a page in browsers; `?raw` gives its source
    #[arg(long)]
    pub render_markdown: bool,
    /// Whether pages have an upload area for clients that may store files. This is not a separate
    /// option: `--upload` sets it.
    #[arg(skip)]
    pub(crate) upload: bool,
}

/// The response with a listing, or with an archive if the query requests one. A short listing is
/// completed first; a longer one is made while it is sent.
///
/// # Errors
/// A status and what is wrong.
pub(crate) fn respond(
    head: &Head<'_>,
    folder: Folder,
    query: Query<'_>,
    options: ListingOptions,
) -> Result<Response, (u16, &'static str)> {
    if let Some(format) = query.get("archive") {
        return archive::respond(folder, &format, options.hidden);
    }
    let form = Form::wanted(head, query);
    let made = || {
        let takes_files = options.upload && folder.permit().may(Rights::WRITE, folder.path());
        let nonce = if takes_files && form == Form::Html {
            Some(Nonce::new()?)
        } else {
            None
        };
        let policy = nonce
            .as_ref()
            .map_or_else(|| document::POLICY.to_owned(), Nonce::policy);
        let mut listing = Listing::open(folder, form, query, options.hidden, nonce)?;
        let whole = if listing.read(MAX_ENTRIES_READ_AT_FIRST)? {
            Some(listing.whole()?)
        } else {
            None
        };
        let response = match whole {
            Some(content) => Response::new(200).content(form.content_type(), content),
            None => Response::new(200).stream(form.content_type(), listing),
        };
        Ok((response, policy))
    };
    let (response, policy) = made().map_err(|error: io::Error| {
        log::warn!("a folder can't be read: {error}");
        (500, "The folder can't be read.")
    })?;
    let response = response.header("Vary", "Accept, User-Agent");
    Ok(if form == Form::Html {
        response.header("Content-Security-Policy", &policy)
    } else {
        response
    })
}

/// A listing that is being made.
struct Listing {
    folder: Folder,
    order: Order,
    page: Box<dyn Page>,
    reader: Reader,
    names: Names,
    /// The entries with their metadata. Only used if the order depends on the metadata.
    weighed: Vec<(Name, Option<Facts>)>,
    /// The index of the next entry that is examined or shown.
    next: usize,
    stage: Stage,
}

/// What the next turn does. The order is `Beginning`, `Reading`, `Weighing` (only if the listing is
/// sorted by size or date), `Rows`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Write the beginning of the page.
    Beginning,
    /// Read names.
    Reading,
    /// Read the metadata of all entries, because the order depends on it.
    Weighing,
    /// Write rows.
    Rows,
}

impl Listing {
    fn open(
        folder: Folder,
        form: Form,
        query: Query<'_>,
        hidden: bool,
        upload: Option<Nonce>,
    ) -> io::Result<Listing> {
        let (order, filter) = (Order::of(query), query.get("filter").unwrap_or_default());
        Ok(Listing {
            reader: Reader::open(&folder, hidden, &filter)?,
            folder,
            order,
            page: form.page(order, filter, upload),
            names: Names::default(),
            weighed: Vec::new(),
            next: 0,
            stage: Stage::Beginning,
        })
    }

    fn read(&mut self, most: usize) -> io::Result<bool> {
        self.reader.read(&self.folder, &mut self.names, most)
    }

    fn whole(&mut self) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        while self.produce(&mut content)? == Produced::More {}
        Ok(content)
    }

    /// Sorts the names once all of them are read, unless the metadata is needed for that.
    fn names_read(&mut self) -> Stage {
        if self.order.key != SortKey::Name {
            return Stage::Weighing;
        }
        let order = self.order;
        self.names.sort_by(|a, kind_a, b, kind_b| {
            folders_first(kind_a, kind_b).then_with(|| order.apply(sort::natural(a, b)))
        });
        Stage::Rows
    }

    fn weigh(&mut self) -> Stage {
        let end = self
            .names
            .entries
            .len()
            .min(self.next + MAX_ENTRIES_PER_TURN);
        for name in &self.names.entries[self.next..end] {
            // Entries that no longer exist are left out.
            match self
                .folder
                .look_at(self.names.bytes_of(*name), name.is_link)
            {
                Ok(None) => {}
                Ok(facts) => self.weighed.push((*name, facts)),
                Err(_) => self.weighed.push((*name, None)),
            }
        }
        self.next = end;
        if end < self.names.entries.len() {
            return Stage::Weighing;
        }
        let (order, names) = (self.order, &self.names);
        self.weighed.sort_unstable_by(|(a, facts_a), (b, facts_b)| {
            let by_name = || sort::natural(names.bytes_of(*a), names.bytes_of(*b));
            let by_key = || compare(order.key, a.kind, facts_a.as_ref(), facts_b.as_ref());
            folders_first(a.kind, b.kind)
                .then_with(|| order.apply(by_key()))
                .then_with(by_name)
        });
        self.names.entries.clear();
        self.next = 0;
        Stage::Rows
    }

    /// Writes rows up to the size of a piece. Returns whether these were the last.
    fn rows(&mut self, to: &mut Vec<u8>) -> bool {
        let full = to.len() + PIECE_SIZE;
        while to.len() < full {
            let (name, facts) = if let Some(weighed) = self.weighed.get(self.next) {
                *weighed
            } else if let Some(&name) = self.names.entries.get(self.next) {
                match self.folder.look_at(self.names.bytes_of(name), name.is_link) {
                    Ok(None) => {
                        self.next += 1;
                        continue; // the entry no longer exists
                    }
                    Ok(facts) => (name, facts),
                    Err(_) => (name, None),
                }
            } else {
                return true;
            };
            self.next += 1;
            let kind = facts.map_or(name.kind, |facts| facts.kind);
            self.page.row(
                &Row {
                    name: self.names.bytes_of(name),
                    kind,
                    facts,
                },
                to,
            );
        }
        false
    }
}

impl Produce for Listing {
    fn produce(&mut self, piece: &mut Vec<u8>) -> io::Result<Produced> {
        self.stage = match self.stage {
            Stage::Beginning => {
                self.page.begin(&self.folder, piece);
                Stage::Reading
            }
            Stage::Reading => {
                if self.read(MAX_ENTRIES_PER_TURN)? {
                    self.names_read()
                } else {
                    Stage::Reading
                }
            }
            Stage::Weighing => self.weigh(),
            Stage::Rows => {
                if self.rows(piece) {
                    self.page.end(&self.folder, piece);
                    return Ok(Produced::Over);
                }
                Stage::Rows
            }
        };
        Ok(Produced::More)
    }
}

fn folders_first(a: Kind, b: Kind) -> Ordering {
    (a == Kind::File).cmp(&(b == Kind::File))
}

/// Compares entries by size or date. The sizes of folders are meaningless and count as equal.
fn compare(key: SortKey, kind: Kind, a: Option<&Facts>, b: Option<&Facts>) -> Ordering {
    match key {
        SortKey::Size if kind == Kind::File => {
            a.map(|facts| facts.size).cmp(&b.map(|facts| facts.size))
        }
        SortKey::Date => a
            .map(|facts| facts.modified)
            .cmp(&b.map(|facts| facts.modified)),
        SortKey::Size | SortKey::Name => Ordering::Equal,
    }
}
