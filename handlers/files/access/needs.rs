//! The rights that a request needs, computed from its method and its path only.

use socketserver_http::engine::exchange::Exchange;
use socketserver_http::protocol::head::Method;

use crate::accounts::Rights;
use crate::common::store::is_reserved;

/// The rights that a client must have before a request is processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Needs {
    pub(super) rights: Rights,
    /// True: all of `rights` are needed, at the path and at everything below it. False: one of
    /// `rights` is needed, at the path only.
    pub(super) throughout: bool,
}

/// The rights that a request needs at this decoded path below the root.
///
/// It is not known yet whether the path names a folder or a file. So to read it, one of the rights
/// list and read is enough here, and the site later checks the one that is needed. A client with
/// neither right does not learn whether the path exists. An unknown method needs all rights.
pub(super) fn of(exchange: &Exchange<'_>, path: &[u8]) -> Needs {
    let one_of = |rights| Needs {
        rights,
        throughout: false,
    };
    // The path of a partial upload. A client with the right to write into its folder may resume,
    // query and delete it. Only the sender of the upload knows its random name.
    if path.split(|&byte| byte == b'/').any(is_reserved) {
        return one_of(Rights::WRITE);
    }
    let is_folder = exchange.raw_path.ends_with(b"/");
    match (exchange.head.method, exchange.head.method_name) {
        // A client with only the right to write gets an upload page without a listing.
        (Method::Get | Method::Head, _) if is_folder => {
            one_of(Rights::LIST | Rights::READ | Rights::WRITE)
        }
        (Method::Get | Method::Head, _) => one_of(Rights::LIST | Rights::READ),
        (Method::Put | Method::Post | Method::Patch, _) | (_, b"MKCOL") => one_of(Rights::WRITE),
        // Everything below a folder is removed or moved with it. The rights that a MOVE needs at
        // its destination are checked once the destination is known.
        (Method::Delete, _) | (_, b"MOVE") => Needs {
            rights: Rights::DELETE,
            throughout: true,
        },
        _ => Needs {
            rights: Rights::ALL,
            throughout: true,
        },
    }
}

#[cfg(test)]
mod tests {
    use socketserver::{ClientAddress, Clock};

    use super::*;
    use crate::common::store::PARTIALS;
    use socketserver_http::protocol::head::{Scanner, Status, parse};

    fn needs(method: &str, path: &str) -> (String, bool) {
        let request = format!("{method} /{path} HTTP/1.1\r\nHost: h\r\n\r\n");
        let Ok(Status::Complete { head, .. }) = parse(request.as_bytes(), &mut Scanner::default())
        else {
            panic!("{request}")
        };
        let clock = Clock::default();
        let exchange = Exchange::new(&head, &ClientAddress::Memory, &clock);
        let Needs { rights, throughout } = of(&exchange, path.as_bytes());
        (rights.to_string(), throughout)
    }

    #[test]
    fn every_method_has_its_rights_and_an_unknown_one_takes_all() {
        for (method, rights, throughout) in [
            ("GET", "lr", false),
            ("HEAD", "lr", false),
            ("PUT", "w", false),
            ("POST", "w", false),
            ("PATCH", "w", false),
            ("MKCOL", "w", false),
            ("DELETE", "d", true),
            ("MOVE", "d", true),
            ("COPY", "lrwd", true),
            ("PROPFIND", "lrwd", true),
            ("get", "lrwd", true),
            ("TRACE", "lrwd", true),
        ] {
            assert_eq!(
                needs(method, "a/b"),
                (rights.to_owned(), throughout),
                "{method}"
            );
        }
        assert_eq!(needs("GET", "a/"), ("lrw".to_owned(), false));
    }

    #[test]
    fn an_upload_that_is_under_way_is_for_those_who_may_store_in_its_folder() {
        for method in ["GET", "HEAD", "POST", "PATCH", "DELETE"] {
            for folder in ["", "a/", "a/b/"] {
                assert_eq!(
                    needs(method, &format!("{folder}{PARTIALS}/x")),
                    ("w".to_owned(), false),
                    "{method}"
                );
            }
        }
    }
}
