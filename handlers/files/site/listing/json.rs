//! A listing for programs: `{"path": "/a/", "entries": [{"name", "type", "size", "modified"},
//! ...]}`.

use std::io::Write;

use super::entries::{Folder, Kind};
use super::human::Date;
use super::page::{Page, Row};

/// Writes JSON (RFC 8259). Invalid UTF-8 in names is replaced by U+FFFD.
#[derive(Debug, Default)]
pub(crate) struct Json {
    rows: bool,
}

impl Page for Json {
    fn begin(&mut self, folder: &Folder, to: &mut Vec<u8>) {
        let path = folder.shown_path();
        let slash: &[u8] = if path.is_empty() { b"" } else { b"/" };
        to.extend(b"{\"path\": ");
        push_string(&[b"/", &*path, slash].concat(), to);
        to.extend(b", \"entries\": [");
    }

    fn row(&mut self, row: &Row<'_>, to: &mut Vec<u8>) {
        to.extend(if std::mem::replace(&mut self.rows, true) {
            &b",\n"[..]
        } else {
            b"\n"
        });
        to.extend(b"{\"name\": ");
        push_string(row.name, to);
        to.extend(match row.kind {
            Kind::Directory => &b", \"type\": \"directory\", \"size\": "[..],
            Kind::File => b", \"type\": \"file\", \"size\": ",
        });
        // Writing to a Vec can't fail.
        let _ = match row.facts.filter(|_| row.kind == Kind::File) {
            Some(facts) => write!(to, "{}", facts.size),
            None => write!(to, "null"),
        };
        let _ = match row.facts.and_then(|facts| Date::new(facts.modified)) {
            Some(date) => write!(to, ", \"modified\": \"{}\"}}", date.rfc_3339()),
            None => write!(to, ", \"modified\": null}}"),
        };
    }

    fn end(&mut self, _: &Folder, to: &mut Vec<u8>) {
        to.extend(b"\n]}\n");
    }
}

fn push_string(bytes: &[u8], to: &mut Vec<u8>) {
    // Writing a string to a Vec can't fail.
    let _ = serde_json::to_writer(to, &String::from_utf8_lossy(bytes));
}
