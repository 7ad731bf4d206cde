//! A listing for browsers: a table that needs no JavaScript and loads nothing from other sites.

use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;

use jiff::tz::TimeZone;
use socketserver_http::protocol::{query, target};

use super::entries::{Folder, Kind};
use super::human::{self, Date};
use super::page::{Page, Row};
use super::sort::{Order, SortKey};
use crate::accounts::Rights;
use crate::files::site::pages::markup::escape;
use crate::files::site::pages::upload_area::{self, Nonce};
use crate::files::site::pages::{document, markdown};
use crate::files::site::root::Opened;

/// A page with a table.
#[derive(Debug)]
pub(crate) struct Html {
    order: Order,
    filter: String,
    zone: TimeZone,
    /// Numbers of folders and files so far.
    folders: u64,
    files: u64,
    /// The name of the README among the entries.
    readme: Option<Vec<u8>>,
    /// The nonce of the upload area, if the page has one.
    upload: Option<Nonce>,
}

impl Html {
    pub(crate) fn new(order: Order, filter: String, upload: Option<Nonce>) -> Html {
        Html {
            order,
            filter,
            zone: TimeZone::system(),
            folders: 0,
            files: 0,
            readme: None,
            upload,
        }
    }

    /// The query of this listing in another order, with the same filter.
    fn link(&self, order: Order) -> String {
        let filter = if self.filter.is_empty() {
            ""
        } else {
            "&amp;filter="
        };
        format!(
            "?sort={}&amp;order={}{filter}{}",
            order.key.name(),
            order.direction(),
            query::encode(&self.filter)
        )
    }

    fn form(&self) -> String {
        format!(
            "<form role=\"search\">\n<label>Filter by name <input type=\"search\" \
             name=\"filter\" value=\"{}\"></label>\n\
             <input type=\"hidden\" name=\"sort\" value=\"{}\"><input type=\"hidden\" \
             name=\"order\" value=\"{}\">\n\
             <button>Filter</button>\n</form>\n",
            escape(self.filter.as_bytes()),
            self.order.key.name(),
            self.order.direction(),
        )
    }

    fn table_head(&self, to: &mut Vec<u8>) {
        to.extend(b"<table class=\"list\">\n<thead><tr>");
        for (key, title) in [
            (SortKey::Name, "Name"),
            (SortKey::Size, "Size"),
            (SortKey::Date, "Modified"),
        ] {
            let sorted = match (self.order.key == key, self.order.descending) {
                (false, _) => "",
                (true, false) => " aria-sort=\"ascending\"",
                (true, true) => " aria-sort=\"descending\"",
            };
            let link = self.link(self.order.next(key));
            // Writing to a Vec can't fail.
            let _ = write!(
                to,
                "<th scope=\"col\"{sorted}><a href=\"{link}\">{title}</a></th>"
            );
        }
        to.extend(b"</tr></thead>\n<tbody>\n");
    }
}

impl Page for Html {
    fn begin(&mut self, folder: &Folder, to: &mut Vec<u8>) {
        let shown = folder.shown_path();
        let path = escape(&shown);
        let title = format!("Index of /{path}{}", if path.is_empty() { "" } else { "/" });
        document::begin(&title, to);
        breadcrumbs(&shown, to);
        let _ = writeln!(to, "<h1>{title}</h1>");
        if let Some(nonce) = &self.upload {
            upload_area::write(nonce, to);
        }
        to.extend(self.form().into_bytes());
        self.table_head(to);
        if !path.is_empty() {
            to.extend(b"<tr><td><a href=\"../\">../</a></td><td></td><td></td></tr>\n");
        }
    }

    fn row(&mut self, row: &Row<'_>, to: &mut Vec<u8>) {
        let (name, href) = (escape(row.name), target::encode_path(row.name));
        // `./` keeps a name such as `javascript:x` from being read as a scheme.
        let _ = match row.kind {
            Kind::Directory => write!(
                to,
                "<tr><td><a href=\"./{href}/\">{name}/</a></td><td></td><td>"
            ),
            Kind::File => write!(to, "<tr><td><a href=\"./{href}\">{name}</a></td>"),
        };
        match row.kind {
            Kind::Directory => self.folders += 1,
            Kind::File => {
                self.files += 1;
                let _ = match row.facts {
                    Some(facts) => {
                        write!(
                            to,
                            "<td title=\"{}\">{}</td><td>",
                            human::exact(facts.size),
                            human::size(facts.size)
                        )
                    }
                    None => write!(to, "<td></td><td>"),
                };
                if self.readme.is_none() && row.name.eq_ignore_ascii_case(b"README.md") {
                    self.readme = Some(row.name.to_vec());
                }
            }
        }
        if let Some(date) = row.facts.and_then(|facts| Date::new(facts.modified)) {
            let _ = write!(
                to,
                "<time datetime=\"{}\">{}</time>",
                date.rfc_3339(),
                date.local(&self.zone)
            );
        }
        to.extend(b"</td></tr>\n");
    }

    fn end(&mut self, folder: &Folder, to: &mut Vec<u8>) {
        to.extend(b"</tbody>\n</table>\n");
        let _ = writeln!(
            to,
            "<p>{}, {}. Download all: <a href=\"?archive=zip\">zip</a>, <a \
             href=\"?archive=tar.gz\">tar.gz</a></p>",
            counted(self.folders, "folder"),
            counted(self.files, "file"),
        );
        if let Some((name, text)) = self
            .readme
            .take()
            .and_then(|name| Some((escape(&name), read(folder, &name)?)))
        {
            let _ = writeln!(
                to,
                "<article aria-label=\"{name}\">\n{}</article>",
                markdown::render(&text)
            );
        }
        document::end(to);
    }
}

/// Writes links to all parent folders. The links are relative, so that they work below any prefix.
fn breadcrumbs(path: &[u8], to: &mut Vec<u8>) {
    to.extend(b"<nav aria-label=\"Breadcrumbs\">");
    let names: Vec<_> = path
        .split(|&byte| byte == b'/')
        .filter(|name| !name.is_empty())
        .collect();
    let trail = [&b"Home"[..]].into_iter().chain(names.iter().copied());
    for (at, name) in trail.enumerate() {
        let up = names.len() - at;
        let _ = match up {
            0 => write!(to, "<span aria-current=\"page\">{}</span>", escape(name)),
            _ => write!(
                to,
                "<a href=\"{}\">{}</a> / ",
                "../".repeat(up),
                escape(name)
            ),
        };
    }
    to.extend(b"</nav>\n");
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The README as HTML, if it can be shown.
fn read(folder: &Folder, name: &[u8]) -> Option<String> {
    let path = folder.path_of(name);
    let Opened { file, real } = folder.root().open_resolved(&path).ok()?;
    let judged = real.as_ref().unwrap_or(&path).as_os_str().as_bytes();
    if !folder.permit().may(Rights::READ, judged) {
        return None;
    }
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = Vec::new();
    file.take(markdown::MAX_LENGTH + 1)
        .read_to_end(&mut text)
        .ok()?;
    (text.len() as u64 <= markdown::MAX_LENGTH).then(|| String::from_utf8_lossy(&text).into_owned())
}
