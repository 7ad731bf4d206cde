//! A request in the form that applications get.

use std::cell::OnceCell;
use std::time::Instant;

use socketserver::{ClientAddress, Clock};

use crate::protocol::head::{Framing, Head};
use crate::protocol::query::Query;
use crate::protocol::target::{self, Target, TargetError};

/// A request's head and its client's address. Values derived from the head are computed once.
pub struct Exchange<'a> {
    pub head: &'a Head<'a>,
    pub client_address: &'a ClientAddress,
    clock: &'a Clock,
    /// The path as sent, not decoded. It begins with a slash.
    pub raw_path: &'a [u8],
    /// The query as sent: the part after the `?`.
    pub raw_query: Option<&'a [u8]>,
    /// The decoded path, once it was needed.
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
    /// The path is not acceptable. Each error should get the status 400.
    pub fn target(&self) -> Result<&Target<'a>, TargetError> {
        let parsed = self
            .target
            .get_or_init(|| target::parse_parts(self.raw_path, self.raw_query));
        parsed.as_ref().map_err(|error| *error)
    }

    /// The query. It is empty if the target has none.
    pub fn query(&self) -> Query<'a> {
        Query(self.raw_query.unwrap_or_default())
    }

    /// Whether the head announces a body.
    pub fn has_body(&self) -> bool {
        !matches!(self.head.body, Framing::None | Framing::Length(0))
    }

    /// The current time of the server's clock.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }
}
