//! Tests of patterns: the requests that a route gets, and the routes that a router refuses.

use std::panic::catch_unwind;

use super::*;
use crate::Route;

fn route(method: &'static str, pattern: &str) -> Route {
    let text = format!("{method} {pattern}");
    Route::new(method, pattern, move |_| Ok(Response::text(text.clone())))
}

/// The message of the panic when these routes are added. `None` if there is no panic.
fn refusal(routes: &[(&'static str, &'static str)]) -> Option<String> {
    let added = catch_unwind(|| {
        routes
            .iter()
            .fold(Router::new(), |router, (method, pattern)| {
                router.add_route(route(method, pattern))
            })
    });
    let panic = added.err()?;
    Some(panic.downcast_ref::<String>().unwrap().clone())
}

#[test]
fn a_pattern_that_cannot_match_is_refused_by_name() {
    for (pattern, why) in [
        ("a", "begin it with a slash"),
        ("", "begin it with a slash"),
        ("/a/{*rest}/b", "`{*rest}` takes all that follows"),
        ("/{*rest}/", "`{*rest}` takes all that follows"),
        ("/{a}/{a}", "`a` is there twice"),
        ("/{a}/{*a}", "`a` is there twice"),
        ("/{}", "`{}` has no name"),
        ("/{*}", "`{*}` has no name"),
        ("/a{b}", "braces must be around a whole part"),
        ("/{a", "braces must be around a whole part"),
        ("/{a}{b}", "braces must be around a whole part"),
        ("/a//b", "paths have no empty parts"),
        ("//", "paths have no empty parts"),
        ("/a/../b", "`..` is removed from the paths of requests"),
        ("/a\\b", "are refused"),
    ] {
        let message = refusal(&[("GET", pattern)]).unwrap_or_else(|| panic!("{pattern} is taken"));
        let expected = format!("invalid pattern `{pattern}`: ");
        assert!(message.starts_with(&expected), "{message}");
        assert!(message.contains(why), "{pattern}: {message}");
    }
    let message = refusal(&[("get", "/")]).unwrap();
    assert!(message.contains("invalid method `get`"), "{message}");
}

#[test]
fn a_route_that_would_never_be_called_is_refused() {
    for (first, second) in [
        ("/a", "/a"),
        ("/{a}", "/{b}"),
        ("/{a}", "/b"),
        ("/a/{*rest}", "/a/{b}/c"),
        ("/a/{*rest}", "/a/"),
    ] {
        let message = refusal(&[("GET", first), ("GET", second)])
            .unwrap_or_else(|| panic!("{second} is taken"));
        let expected = format!("`GET {second}` would never be called");
        assert!(message.starts_with(&expected), "{message}");
        assert_eq!(refusal(&[("GET", first), ("POST", second)]), None);
    }
    for (first, second) in [
        ("/b", "/{a}"),
        ("/{a}", "/{a}/"),
        ("/{a}", "/{*rest}"),
        ("/{a}/{b}", "/{*rest}"),
        ("/a/{*rest}", "/a"),
        ("/{a}", "/"),
    ] {
        assert_eq!(
            refusal(&[("GET", first), ("GET", second)]),
            None,
            "{second}"
        );
    }
}

#[test]
fn head_may_have_a_route_of_its_own() {
    let router = Router::new()
        .get("/both", |_| Ok(Response::text("get")))
        .route("HEAD", "/both", |_| {
            Ok(Response::new(200).header("X", "head"))
        })
        .route("HEAD", "/alone", |_| {
            Ok(Response::new(200).header("X", "alone"))
        });
    for (request, wanted) in [
        ("HEAD /both", "X: head\r\n"),
        ("GET /both", "get"),
        ("HEAD /alone", "X: alone\r\n"),
        ("GET /alone", "Allow: HEAD, OPTIONS\r\n"),
    ] {
        let mut client = connect(router.clone());
        client.send(format!("{request} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
        let answer = String::from_utf8(client.received()).unwrap();
        assert!(answer.contains(wanted), "{request}: {answer}");
    }
}

#[test]
fn filters_see_the_requests_that_the_router_refuses() {
    let router = router().filter(|request, inner| {
        let path = request.path().to_owned();
        Ok(inner.respond(request)?.header("X-Path", &path))
    });
    for (target, status, path) in [
        ("/a%00", 400, "/a%00"),
        ("/a%2Fb?x", 400, "/a%2Fb"),
        ("/%ff", 400, "/%ff"),
        ("/../a", 400, "/../a"),
        ("/nowhere", 404, "/nowhere"),
    ] {
        let mut client = connect(router.clone());
        client.send(format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
        let answer = String::from_utf8(client.received()).unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(answer.contains(&format!("X-Path: {path}\r\n")), "{answer}");
    }
    let mut client = connect(router);
    let body = format!("Content-Length: {}\r\n\r\n", 2 << 20);
    client.send(format!("POST /sum HTTP/1.1\r\nHost: h\r\n{body}").as_bytes());
    let answer = String::from_utf8(client.received()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("X-Path: /sum\r\n"));
}

#[test]
fn a_method_that_another_path_knows_is_405_and_not_501() {
    let router = Router::new()
        .route("PURGE", "/a", |_| Ok(Response::new(204)))
        .get("/b", |_| Ok(Response::new(204)));
    for (request, status) in [("PURGE /a", 204), ("PURGE /b", 405), ("BREW /b", 501)] {
        let mut client = connect(router.clone());
        client.send(format!("{request} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
        let answer = String::from_utf8(client.received()).unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
}
