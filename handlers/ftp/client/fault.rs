//! Why a step of a client failed.

use std::fmt;
use std::io;

use super::reply::Reply;
use crate::service::Failure;

/// Why a step failed, and whether the session can continue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The server refused a command. The session can continue.
    Refused { code: u16, text: String },
    /// The session cannot continue.
    Broken(String),
    /// A step on this machine failed, or the client cannot use the bytes that the server has sent.
    Local(String),
}

impl Fault {
    pub(super) fn refused(reply: &Reply) -> Fault {
        Fault::Refused {
            code: reply.code,
            text: reply.text(),
        }
    }

    /// The error of a connection that has failed.
    pub(super) fn broken(error: &io::Error) -> Fault {
        Fault::Broken(match error.kind() {
            io::ErrorKind::UnexpectedEof => "the server closed the connection".to_owned(),
            _ => error.to_string(),
        })
    }

    pub(super) fn local(error: impl fmt::Display) -> Fault {
        Fault::Local(error.to_string())
    }

    /// Converts the fault to a failure of the program. `what` is the subject of the message.
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
