//! An HTTP service of one's own: `cargo run --package socketserver-handlers --example http_service
//! [HOST:PORT]`.

use std::io::{Read, Write};
use std::time::Duration;

use socketserver::{Builder, Result, shutdown_on_ctrl_c};
use socketserver_handlers::http::{Produced, Response, Router, events, websocket};

fn main() -> Result<()> {
    let router = Router::new()
        .get("/hello/{name}", |request| {
            Ok(Response::text(format!(
                "Hello, {}!\n",
                request.parameter("name")
            )))
        })
        .post("/upper", |request| {
            let mut text = String::new();
            request.body().take(64 * 1024).read_to_string(&mut text)?;
            Ok(Response::text(text.to_uppercase()))
        })
        .get("/clock", |_| {
            Ok(events(|to| {
                to.data(&format!("{:?}", std::time::SystemTime::now()));
                Produced::After(Duration::from_secs(1))
            }))
        })
        .get("/echo", |request| {
            Ok(websocket(request, |message, to| drop(to.send(message))))
        })
        .filter(|request, inner| {
            Ok(inner
                .respond(request)?
                .field("X-Content-Type-Options", "nosniff"))
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
