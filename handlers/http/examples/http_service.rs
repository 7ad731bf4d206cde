//! An example of an HTTP service: `cargo run --package socketserver-http --example http_service
//! [HOST:PORT]`.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use socketserver::{Builder, Group, Result, shutdown_on_ctrl_c};
use socketserver_http::{
    Cookie, EventSender, Message, Produced, Response, Route, Router, WebSocketHandler,
    WebSocketPeer, encode_message, event_channel, events, websocket, websocket_with,
};

#[derive(Deserialize)]
struct Numbers {
    numbers: Vec<i64>,
}

#[derive(Serialize)]
struct Sum {
    sum: i64,
}

/// One client of the chat.
struct Chat(Group);

impl WebSocketHandler for Chat {
    fn on_open(&mut self, peer: &mut WebSocketPeer<'_>) {
        self.0.join(peer.sender(64 * 1024).outbox());
    }

    fn on_message(&mut self, message: Message, _: &mut WebSocketPeer<'_>) {
        self.0.broadcast(encode_message(&message));
    }
}

// This `Result` is `socketserver::Result`. A route returns `std::io::Result<Response>` instead, so
// `?` in a route takes any `io::Error`, and an `HttpError`, which has the response's status.
fn main() -> Result<()> {
    let room = Group::new();
    let readers = Arc::new(Mutex::new(Vec::<EventSender>::new()));
    let new_readers = Arc::clone(&readers);
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
        // A chat over WebSocket: each message is sent to all clients. No thread waits for messages.
        .get("/chat", move |request| {
            Ok(websocket_with(request, Chat(room.clone())))
        })
        // `curl -N 127.0.0.1:8000/news`, and `curl -d 'it rains' 127.0.0.1:8000/news` elsewhere.
        .get("/news", move |_| {
            let (sender, response) = event_channel(100);
            new_readers.lock().push(sender);
            Ok(response)
        })
        .post("/news", move |request| {
            let mut news = String::new();
            request.body().read_to_string(&mut news)?;
            // Clients that have disconnected, or do not read, are removed.
            readers
                .lock()
                .retain(|sender| sender.try_send(|to| to.data(&news)).is_ok());
            Ok(Response::new(204))
        })
        // A filter gets every response, including those that errors and panics of routes cause.
        .filter(|request, inner| {
            Ok(inner
                .respond(request)?
                .header("X-Content-Type-Options", "nosniff"))
        });

    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:8000".to_owned());
    let mut server = Builder::new().tcp(&address, router.into_class())?;
    shutdown_on_ctrl_c(server.handle())?;
    writeln!(
        std::io::stdout(),
        "http listening on {}",
        server.server_address().url("http")
    )?;
    server.serve_forever()
}
