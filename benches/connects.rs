//! New connections a second, for `services.py`: `connects read|auth PORT CLIENTS SECONDS [KEY]`.
//!
//! CLIENTS threads connect, read everything, and close, again and again. With `auth` they answer
//! the HMAC challenge and have one byte echoed. Ends with one line of JSON.
//!
//! Each thread connects from its own loopback address. The side that closes first keeps its port
//! for a minute, and with `auth` that is the client. With a single address, the search for a free
//! port would soon take longer than the connection.

use std::env;
use std::error::Error;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use socket2::{Domain, Socket, Type};

fn connect(from: Ipv4Addr, port: u16, key: Option<&[u8]>) -> Result<(), Box<dyn Error>> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut bytes = [0; 64];
    if let Some(key) = key {
        stream.set_nodelay(true)?;
        stream.read_exact(&mut bytes[..32])?;
        let mut mac = Hmac::<Sha256>::new_from_slice(key)?;
        mac.update(&bytes[..32]);
        let answer = [&mac.finalize().into_bytes()[..], b"x"].concat();
        stream.write_all(&answer)?;
        stream.read_exact(&mut bytes[..1])?;
        return if bytes[0] == b'X' {
            Ok(())
        } else {
            Err("the echo is wrong".into())
        };
    }
    let mut whole = 0;
    loop {
        match stream.read(&mut bytes)? {
            0 if whole == 0 => return Err("the server said nothing".into()),
            0 => return Ok(()),
            count => whole += count,
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().collect();
    let [_, mode, port, clients, seconds, key @ ..] = &arguments[..] else {
        return Err("usage: connects read|auth PORT CLIENTS SECONDS [KEY]".into());
    };
    let (port, clients, seconds): (u16, usize, f64) =
        (port.parse()?, clients.parse()?, seconds.parse()?);
    let key = (mode == "auth").then(|| key.concat().into_bytes());
    let begun = Instant::now();
    let end = begun + Duration::from_secs_f64(seconds);
    let workers: Vec<_> = (0..clients)
        .map(|number| {
            let key = key.clone();
            let from = Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 1).to_bits() + number as u32);
            thread::spawn(move || {
                let (mut done, mut failed) = (0u64, 0u64);
                while Instant::now() < end {
                    match connect(from, port, key.as_deref()) {
                        Ok(()) => done += 1,
                        Err(_) => failed += 1,
                    }
                }
                (done, failed)
            })
        })
        .collect();
    let counts = workers
        .into_iter()
        .map(|worker| worker.join().unwrap_or((0, 1)));
    let (done, failed) = counts.fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
    let seconds = begun.elapsed().as_secs_f64();
    writeln!(
        std::io::stdout(),
        "{{\"messages\": {done}, \"seconds\": {seconds:.6}, \"lost\": {failed}}}"
    )?;
    Ok(())
}
