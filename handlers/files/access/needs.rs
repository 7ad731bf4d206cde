//! Which rights a request needs: pure, on its method and path.

use crate::accounts::Rights;
use crate::common::store::is_reserved;
use socketserver_http::engine::exchange::Exchange;
use socketserver_http::protocol::head::Method;

/// What must be allowed at a path before a request is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Needs {
    pub(super) rights: Rights,
    /// All of them are needed, and at everything below the path as well; if not, one of them at the
    /// path itself.
    pub(super) throughout: bool,
}

/// The rights for a request to this path, decoded and below the root.
///
/// A path that is read is a folder's or a file's, which isn't known yet: whoever may neither list
/// nor read there is not told whether there is anything; the site asks for the right one of the
/// two. What isn't known to be harmless takes the most.
pub(super) fn of(exchange: &Exchange<'_>, path: &[u8]) -> Needs {
    let one_of = |rights| Needs {
        rights,
        throughout: false,
    };
    // An upload that is under way: whoever may store in its folder may go on with it, ask for it
    // and end it, for only its sender knows its name.
    if path.split(|&byte| byte == b'/').any(is_reserved) {
        return one_of(Rights::WRITE);
    }
    let is_folder = exchange.raw_path.ends_with(b"/");
    match (exchange.head.method, exchange.head.method_name) {
        // Who may only store files in a folder gets a page for that, which tells nothing.
        (Method::Get | Method::Head, _) if is_folder => {
            one_of(Rights::LIST | Rights::READ | Rights::WRITE)
        }
        (Method::Get | Method::Head, _) => one_of(Rights::LIST | Rights::READ),
        (Method::Put | Method::Post | Method::Patch, _) | (_, b"MKCOL") => one_of(Rights::WRITE),
        // Of a folder all goes along. What a MOVE needs where it leads to is asked for when that is
        // known.
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
