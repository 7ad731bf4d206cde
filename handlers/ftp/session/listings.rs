//! LIST, NLST and MLSD.

use std::sync::Arc;

use rustix::io::Errno;
use socketserver::StreamRequest;

use super::{Answer, Session};
use crate::ftp::glob;
use crate::ftp::listing::{Format, Listing, without_options};
use crate::ftp::path::VirtualPath;
use crate::ftp::reply::Refused;
use crate::ftp::storage::View;
use crate::ftp::transfer::{Coding, Sending};
use crate::ftp::verbs::{Entry, Verb};

impl Session {
    pub(super) fn list(
        &mut self,
        request: &mut StreamRequest,
        entry: &Entry,
        argument: &[u8],
    ) -> Answer {
        self.parameters.restart = 0;
        let argument = match entry.verb {
            Verb::Mlsd => argument,
            _ => self.without_options(argument)?,
        };
        let (view, path) = self.target(entry, argument)?;
        let format = match entry.verb {
            Verb::Nlst => Format::Names,
            Verb::Mlsd => Format::Facts(self.parameters.facts),
            _ => Format::Long,
        };
        if entry.verb == Verb::Mlsd && !view.metadata(&path)?.is_dir() {
            return Err(Refused::new(501, "Not a directory: use MLST."));
        }
        let listing = open(&view, &path, argument, format)?;
        self.check_ready()?;
        let coding = Coding {
            is_text: false,
            ..self.parameters.coding
        };
        self.start_listing(request, Sending::listing(listing, coding))
    }

    /// Removes options of `ls` before the path. If a file with the whole argument as its name
    /// exists, nothing is removed.
    fn without_options<'a>(&self, argument: &'a [u8]) -> Result<&'a [u8], Refused> {
        let path = without_options(argument);
        if path.len() == argument.len() {
            return Ok(path);
        }
        let whole = self.path(argument)?;
        let exists = self.view()?.symlink_metadata(&whole).is_ok();
        Ok(if exists { argument } else { path })
    }
}

/// Opens the listing of a directory, of a file, or of all names that match a pattern.
fn open(
    view: &Arc<View>,
    path: &VirtualPath,
    argument: &[u8],
    format: Format,
) -> Result<Listing, Refused> {
    let opened = Listing::open(view, path, argument, format);
    let Some(name) = path.name().filter(|name| glob::is_pattern(name)) else {
        return opened;
    };
    let is_missing = || {
        let missing = view.symlink_metadata(path).err();
        missing.and_then(|error| Errno::from_io_error(&error)) == Some(Errno::NOENT)
    };
    match opened {
        Err(_) if is_missing() && !matches!(format, Format::Facts(_)) => {
            Listing::matching(view, &path.parent(), (name, argument), format)
        }
        opened => opened,
    }
}
