//! The answers of the server to an upload.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::LazyLock;

use serde::Serialize;
use socketserver::Refusal;

use crate::common::digest::{Digests, to_hex};
use crate::common::framing;
use crate::common::store::{Published, StoreError};
use crate::service::refusal_line;

/// An answer. The keys of the JSON object are those of the contract.
#[derive(Debug, Serialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub(super) enum Answer<'a> {
    Ok {
        file_name: Cow<'a, str>,
        file_size: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        md5: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        sha256: Option<String>,
    },
    Continue {
        offset: u64,
    },
    Error {
        code: &'a str,
        message: String,
    },
}

impl<'a> Answer<'a> {
    pub(super) fn stored(published: &'a Published) -> Answer<'a> {
        let Published {
            name,
            size,
            digests: Digests { md5, sha256, .. },
        } = published;
        let (md5, sha256) = (
            md5.map(|digest| to_hex(&digest)),
            sha256.map(|digest| to_hex(&digest)),
        );
        Answer::Ok {
            file_name: name.text(),
            file_size: *size,
            md5,
            sha256,
        }
    }

    pub(super) fn refused(error: &StoreError) -> Answer<'a> {
        Answer::Error {
            code: error.code(),
            message: error.to_string(),
        }
    }

    pub(super) fn bad_header(message: impl ToString) -> Answer<'a> {
        Answer::Error {
            code: "bad_header",
            message: message.to_string(),
        }
    }

    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        framing::write(out, &serde_json::to_vec(self)?)
    }
}

/// The frame for a connection that is refused. Its code is always `busy`, because the protocol has
/// no code for a denied address; the message gives the reason.
pub(super) fn to_refused(why: Refusal) -> Option<&'static [u8]> {
    static FRAMES: LazyLock<Vec<(Refusal, Vec<u8>)>> = LazyLock::new(|| {
        let frames = Refusal::ALL.iter().map(|why| (*why, refusal_frame(*why)));
        frames.collect()
    });
    let frame = FRAMES.iter().find(|(listed, _)| *listed == why);
    frame.map(|(_, frame)| &**frame)
}

fn refusal_frame(why: Refusal) -> Vec<u8> {
    let answer = Answer::Error {
        code: "busy",
        message: refusal_line(why).trim_end().to_owned(),
    };
    let mut frame = Vec::new();
    let written = answer.write(&mut frame);
    debug_assert!(written.is_ok(), "a line fits a frame");
    frame
}
