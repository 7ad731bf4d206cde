//! Servers on tokio to compare with: `tokio-contestant broadcast|websocket [gathering]`.
//!
//! Each is written as tokio's documentation and examples show it, with a task for each direction,
//! and one write for each message. With `gathering` it does more than the examples: messages that
//! wait for one client are sent in one write.

use std::io::{Error, Result};
use std::net::Ipv4Addr;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

/// Bytes of one message.
const SIZE: usize = 64;
/// Messages that may wait for a slow member. It misses the oldest of more.
const CAPACITY: usize = 1024;
/// Maximum number of bytes that are gathered into one write.
const MAX_WRITE: usize = 16 * 1024;

type Bytes = [u8; SIZE];

#[tokio::main]
async fn main() -> Result<()> {
    let mode = std::env::args().nth(1).unwrap_or_default();
    let gathers = std::env::args()
        .nth(2)
        .is_some_and(|word| word == "gathering");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("tokio listening on tcp://{}", listener.local_addr()?);
    let raw = broadcast::Sender::<Bytes>::new(CAPACITY);
    let framed = broadcast::Sender::<Message>::new(CAPACITY);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        match mode.as_str() {
            "broadcast" => drop(tokio::spawn(member(stream, raw.clone(), gathers))),
            "websocket" => drop(tokio::spawn(websocket(stream, framed.clone(), gathers))),
            _ => {
                let usage = "usage: tokio-contestant broadcast|websocket [gathering]";
                return Err(Error::other(usage));
            }
        }
    }
}

/// Sends each message of a client to all clients.
async fn member(stream: TcpStream, room: broadcast::Sender<Bytes>, gathers: bool) -> Result<()> {
    let mut messages = room.subscribe();
    let (mut input, mut output) = stream.into_split();
    let writer = tokio::spawn(async move {
        let mut gathered = Vec::new();
        loop {
            match messages.recv().await {
                Ok(message) => gathered.extend_from_slice(&message),
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return Ok(()),
            }
            while gathers
                && gathered.len() < MAX_WRITE
                && let Ok(message) = messages.try_recv()
            {
                gathered.extend_from_slice(&message);
            }
            output.write_all(&gathered).await?;
            gathered.clear();
        }
    });
    let mut message = [0; SIZE];
    while input.read_exact(&mut message).await.is_ok() {
        let _ = room.send(message);
    }
    writer.abort();
    match writer.await {
        Ok(result) => result,
        Err(_) => Ok(()),
    }
}

/// `/echo` sends each message back; `/chat` sends each message of a client to all clients.
async fn websocket(
    stream: TcpStream,
    room: broadcast::Sender<Message>,
    gathers: bool,
) -> Result<()> {
    let mut is_chat = false;
    #[allow(clippy::result_large_err)]
    let note_path = |request: &Request, response: Response| {
        is_chat = request.uri().path() == "/chat";
        Ok(response)
    };
    let mut socket = tokio_tungstenite::accept_hdr_async(stream, note_path)
        .await
        .map_err(Error::other)?;
    if !is_chat {
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() || message.is_binary() {
                socket.send(message).await.map_err(Error::other)?;
            }
        }
        return Ok(());
    }
    let mut messages = room.subscribe();
    let (mut output, mut input) = socket.split();
    let writer = tokio::spawn(async move {
        loop {
            match messages.recv().await {
                Ok(message) => output.feed(message).await.map_err(Error::other)?,
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return Ok::<(), Error>(()),
            }
            while gathers && let Ok(message) = messages.try_recv() {
                output.feed(message).await.map_err(Error::other)?;
            }
            output.flush().await.map_err(Error::other)?;
        }
    });
    while let Some(Ok(message)) = input.next().await {
        if message.is_text() || message.is_binary() {
            let _ = room.send(message);
        }
    }
    writer.abort();
    Ok(())
}
