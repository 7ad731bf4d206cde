//! Gathers the first part of a request's body before the route is called. Meanwhile the connection
//! is parked and holds no thread.

use socketserver::RFile;

use super::{Response, Router};
use crate::engine::application::{Receiver, Reception, Stopped};
use crate::engine::body::{Body, CUT_SHORT, Progress};
use crate::engine::body_reader::BodyReader;
use crate::engine::exchange::Exchange;
use crate::protocol::head::{Framing, Head};

/// Maximum number of bytes of a body that are gathered before the route is called. The route reads
/// the rest of a longer body. A client therefore holds a thread only after it has sent this many
/// bytes; announcing a long body is not enough.
const MAX_GATHERED: usize = 64 * 1024;

/// A body that is being gathered for its route.
pub(super) struct Gathering {
    router: Router,
    /// The part of the body that was gathered.
    content: Vec<u8>,
    /// Maximum length of `content`, in bytes.
    max: usize,
}

impl Gathering {
    /// `limit` is the maximum length of the whole body. Nothing is gathered if the client waits for
    /// 100 (Continue), because the route decides whether it may send the body. Nothing is gathered
    /// either if the body is too long.
    pub(super) fn new(router: Router, head: &Head<'_>, limit: u64) -> Gathering {
        let max = match head.body {
            _ if head.expect_continue => 0,
            Framing::Length(length) if length > limit => 0,
            Framing::Length(_) | Framing::None => MAX_GATHERED,
            // One byte above the limit is gathered, to detect a body that is too long.
            Framing::Chunked => {
                let limit = usize::try_from(limit).unwrap_or(usize::MAX);
                limit.saturating_add(1).min(MAX_GATHERED)
            }
        };
        Gathering {
            router,
            content: Vec::new(),
            max,
        }
    }
}

impl Receiver for Gathering {
    fn receive(&mut self, body: &mut Body, rfile: &mut RFile) -> Result<Reception, Stopped> {
        let left = self.max.saturating_sub(self.content.len());
        if left == 0 {
            return Ok(Reception::Enough);
        }
        let taken = body.take_up_to(rfile, left, |piece| self.content.extend_from_slice(piece));
        match taken {
            Ok(Progress::Partial) if self.content.len() < self.max => Ok(Reception::WantsAll),
            Ok(Progress::Partial | Progress::Whole) => Ok(Reception::Enough),
            Ok(Progress::CutShort) => Err(Stopped::Malformed(CUT_SHORT)),
            Err(malformed) => Err(Stopped::Malformed(malformed)),
        }
    }

    /// The route requests the body by reading it.
    fn sends_continue(&self) -> bool {
        false
    }

    fn finish(self: Box<Self>, exchange: &Exchange<'_>, rest: BodyReader<'_>) -> Response {
        let Gathering {
            router, content, ..
        } = *self;
        router.0.respond(exchange, rest.with_gathered(content))
    }
}
