//! Notes of small uploads that have no row in the ledger.
//!
//! Such an upload is entered into the ledger only when it gets its name, with one transaction
//! instead of two. The symbolic link `ID.note` in the hidden folder describes the upload, so that
//! the ledger can be corrected if the server is killed in between. The link exists from before the
//! first byte of the upload until its file is entered. One system call creates a link with all of
//! its text, so a note is never incomplete.
//!
//! The next server enters the uploads of the remaining notes ([`recovery`](super::recovery)).

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{readlinkat, symlinkat};

use super::staging::Staging;

#[cfg(test)]
mod tests;

/// The contents of a note: what a row of the ledger would contain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) quota_user: Option<String>,
    /// The inode of the upload's file in the hidden folder.
    pub(super) inode: u64,
    /// The path that the file is to get.
    pub(super) target: Vec<u8>,
}

impl Note {
    /// `USER:INODE:PATH`: the name of a user is never empty, and contains no colon.
    fn to_bytes(&self) -> Vec<u8> {
        let user = self.quota_user.as_deref().unwrap_or_default();
        let mut text = format!("{user}:{}:", self.inode).into_bytes();
        text.extend_from_slice(&self.target);
        text
    }

    fn parse(text: &[u8]) -> Option<Note> {
        let mut parts = text.splitn(3, |byte| *byte == b':');
        let mut part = || parts.next();
        let (user, inode, target) = (part()?, part()?, part()?);
        let user = std::str::from_utf8(user).ok()?;
        Some(Note {
            quota_user: (!user.is_empty()).then(|| user.to_owned()),
            inode: std::str::from_utf8(inode).ok()?.parse().ok()?,
            target: target.to_vec(),
        })
    }
}

impl Staging {
    /// Writes the note of an upload. Fails if there is one already, if it is too long for a link,
    /// or if the file system has no links: then the upload needs a row in the ledger.
    pub(super) fn write_note(&self, id: &str, note: &Note) -> io::Result<()> {
        let text = note.to_bytes();
        Ok(symlinkat(
            OsStr::from_bytes(&text),
            self.folder(),
            file_name(id),
        )?)
    }

    /// Removes the note of an upload. A missing note is not an error.
    pub(super) fn remove_note(&self, id: &str) -> io::Result<()> {
        self.remove_file(&file_name(id))
    }

    /// The notes, each with the id of its upload.
    pub(super) fn notes(&self) -> io::Result<Vec<(String, Note)>> {
        let mut notes = Vec::new();
        for entry in self.folder().entries()? {
            let name = entry?.file_name();
            if let Some(id) = name.to_str().and_then(|name| name.strip_suffix(".note"))
                && let Ok(text) = readlinkat(self.folder(), &name, Vec::new())
                && let Some(note) = Note::parse(text.as_bytes())
            {
                notes.push((id.to_owned(), note));
            }
        }
        Ok(notes)
    }
}

fn file_name(id: &str) -> String {
    format!("{id}.note")
}
