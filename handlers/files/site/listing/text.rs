//! A listing for terminals: one name per line, with a `/` after the names of folders.

use super::entries::{Folder, Kind};
use super::page::{Page, Row};
use crate::files::site::pages::markup;

/// Writes a listing as plain text.
#[derive(Debug)]
pub(crate) struct Text;

impl Page for Text {
    fn begin(&mut self, _: &Folder, _: &mut Vec<u8>) {}

    fn row(&mut self, row: &Row<'_>, to: &mut Vec<u8>) {
        to.extend(markup::plain(row.name).bytes());
        to.extend(match row.kind {
            Kind::Directory => &b"/\n"[..],
            Kind::File => b"\n",
        });
    }

    fn end(&mut self, _: &Folder, _: &mut Vec<u8>) {}
}
