//! An HTTP service of your own: `cargo run --package socketserver-handlers --example http_service
//! [HOST:PORT]`.

use std::io::Write;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use socketserver::{Builder, Result, shutdown_on_ctrl_c};
use socketserver_handlers::http::{Cookie, Produced, Response, Route, Router, events, websocket};

#[derive(Deserialize)]
struct Numbers {
    numbers: Vec<i64>,
}

#[derive(Serialize)]
struct Sum {
    sum: i64,
}

// This `Result` is `socketserver::Result`. A route returns `std::io::Result<Response>` instead, so
// `?` in a route takes any `io::Error`, and an `HttpError`, which has the status of the answer.
fn main() -> Result<()> {
    let router = Router::new()
        .get("/hello/{name}", |request| {
            Ok(Response::text(format!(
                "Hello, {}!\n",
                request.parameter("name")
            )))
        })
        // `curl -d '{"numbers": [1, 2]}' -H 'Content-Type: application/json' 127.0.0.1:8000/sum`
        .post("/sum", |request| {
            let Numbers { numbers } = request.json()?;
            let sum = numbers.iter().fold(0_i64, |sum, n| sum.saturating_add(*n));
            Response::json(&Sum { sum })
        })
        // `curl -d name=Ada 127.0.0.1:8000/login`
        .post("/login", |request| {
            let name = request.form()?.get("name").unwrap_or("nobody").to_owned();
            Ok(Response::see_other("/me").cookie(Cookie::new("name", name)))
        })
        .get("/me", |request| {
            let name = request.cookie("name").unwrap_or_default();
            Ok(Response::text(format!("You are {name:?}.\n")))
        })
        // A long body is read piece by piece and never held in memory.
        .add_route(
            Route::new("PUT", "/count", |request| {
                let count = std::io::copy(request.body(), &mut std::io::sink())?;
                Ok(Response::text(format!("{count} bytes\n")))
            })
            .max_body(1 << 30),
        )
        // `curl 127.0.0.1:8000/countdown`: one event a second, and then the end of the response.
        .get("/countdown", |_| {
            let mut left = 10;
            Ok(events(move |to| {
                to.data(&left.to_string());
                if left == 0 {
                    return Produced::Over;
                }
                left -= 1;
                Produced::After(Duration::from_secs(1))
            }))
        })
        .get("/echo", |request| {
            Ok(websocket(request, |message, to| drop(to.send(message))))
        })
        // A filter sees every answer, also the ones that come from errors and panics of routes.
        .filter(|request, inner| {
            Ok(inner
                .respond(request)?
                .header("X-Content-Type-Options", "nosniff"))
        });

    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:8000".to_owned());
    let mut server = Builder::new().tcp(&address, router)?;
    shutdown_on_ctrl_c(server.handle())?;
    writeln!(
        std::io::stdout(),
        "http listening on {}",
        server.server_address().url("http")
    )?;
    server.serve_forever()
}
