//! A request, as applications see it.

use std::cell::OnceCell;
use std::time::Instant;

use socketserver::{ClientAddress, Clock};

use crate::protocol::head::{Framing, Head};
use crate::protocol::query::Query;
use crate::protocol::target::{self, Target, TargetError};

/// A request by its head, and who sent it. What is derived from the head is derived once.
pub struct Exchange<'a> {
    pub head: &'a Head<'a>,
    pub client_address: &'a ClientAddress,
    clock: &'a Clock,
    /// The path as sent, which begins with a slash.
    pub raw_path: &'a [u8],
    /// What follows the `?`, as sent.
    pub raw_query: Option<&'a [u8]>,
    target: OnceCell<Result<Target<'a>, TargetError>>,
}

impl<'a> Exchange<'a> {
    pub fn new(
        head: &'a Head<'a>,
        client_address: &'a ClientAddress,
        clock: &'a Clock,
    ) -> Exchange<'a> {
        let (raw_path, raw_query) = head.target.path_and_query();
        Exchange {
            head,
            client_address,
            clock,
            raw_path,
            raw_query,
            target: OnceCell::new(),
        }
    }

    /// The decoded path.
    ///
    /// # Errors
    /// The path is refused: each error is answered with 400.
    pub fn target(&self) -> Result<&Target<'a>, TargetError> {
        let parsed = self
            .target
            .get_or_init(|| target::parse_parts(self.raw_path, self.raw_query));
        parsed.as_ref().map_err(|error| *error)
    }

    /// The query; empty if there is none.
    pub fn query(&self) -> Query<'a> {
        Query(self.raw_query.unwrap_or_default())
    }

    /// Whether the head announces a body.
    pub fn has_body(&self) -> bool {
        !matches!(self.head.body, Framing::None | Framing::Length(0))
    }

    /// The present moment, on the server's clock.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }
}
