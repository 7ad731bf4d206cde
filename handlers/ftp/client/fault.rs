//! Why a step of a client failed.

use std::fmt;
use std::io;

use super::reply::Reply;
use crate::service::Failure;

/// Why a step failed, and what that means for the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The server refused a command. The session goes on.
    Refused { code: u16, text: String },
    /// The session cannot go on.
    Broken(String),
    /// Something on this side failed, or what the server sent cannot be used.
    Local(String),
}

impl Fault {
    pub(super) fn refused(reply: &Reply) -> Fault {
        Fault::Refused {
            code: reply.code,
            text: reply.text(),
        }
    }

    /// The connection failed.
    pub(super) fn broken(error: &io::Error) -> Fault {
        Fault::Broken(match error.kind() {
            io::ErrorKind::UnexpectedEof => "the server closed the connection".to_owned(),
            _ => error.to_string(),
        })
    }

    pub(super) fn local(error: impl fmt::Display) -> Fault {
        Fault::Local(error.to_string())
    }

    /// The failure of the program, with what it is about.
    pub(super) fn about(self, what: impl fmt::Display) -> Failure {
        Failure::run(format!("{what}: {self}"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Refused { text, .. } | Fault::Broken(text) | Fault::Local(text) => {
                f.write_str(text)
            }
        }
    }
}
