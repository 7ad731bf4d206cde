//! `time`: every format over every transport, our client, Python, and the clients of other NTP
//! implementations.

use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Command;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;

use crate::support::{BoundedCommand, PATIENCE, TestDir, TestServer, certificate, run};

/// Central Europe's rules, whether or not the machine has a database of zones.
const BERLIN: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

const FORMATS: [&[&str]; 7] = [
    &[],
    &["--utc"],
    &["--format", "rfc3339"],
    &["--format", "rfc3339", "--utc"],
    &["--format", "rfc867"],
    &["--format", "rfc868"],
    &["--format", "at %s"],
];

/// Starts the server in a time zone that is not UTC.
pub(crate) fn start(arguments: &[&[&str]]) -> TestServer {
    TestServer::start_with(
        &[&["time"], &arguments.concat()[..]].concat(),
        1,
        |command| command.env("TZ", BERLIN),
    )
}

/// The moment that a server with these options meant.
fn meant(format: &[&str], answer: &[u8]) -> Timestamp {
    let berlin = TimeZone::posix(BERLIN).unwrap();
    let text = || std::str::from_utf8(answer).unwrap();
    let shape = || text().replace(|c: char| c.is_ascii_digit(), "0");
    match format {
        ["--format", "rfc868"] => {
            let since_1900 = u32::from_be_bytes(answer.try_into().expect("four bytes"));
            Timestamp::from_second(i64::from(since_1900) - 2_208_988_800).unwrap()
        }
        ["--format", "rfc867"] => {
            let line = text().strip_suffix("\r\n").expect("a line");
            let (time, zone) = line.rsplit_once('-').expect("a zone");
            assert!(["CET", "CEST"].contains(&zone), "{line}");
            let time = BrokenDownTime::parse("%A, %B %d, %Y %H:%M:%S", time).unwrap();
            berlin.to_timestamp(time.to_datetime().unwrap()).unwrap()
        }
        ["--format", "at %s"] => Timestamp::from_second(text()[3..].parse().unwrap()).unwrap(),
        ["--format", "rfc3339", utc @ ..] => {
            let zone = if utc.is_empty() { "+00:00" } else { "Z" };
            assert_eq!(shape(), format!("0000-00-00T00:00:00.000000{zone}"));
            text().parse().unwrap()
        }
        utc => {
            assert_eq!(shape(), "0000-00-00 00:00:00.000000");
            let zone = if utc.is_empty() {
                berlin
            } else {
                TimeZone::UTC
            };
            zone.to_timestamp(text().parse::<DateTime>().unwrap())
                .unwrap()
        }
    }
}

fn assert_now(format: &[&str], asked: SystemTime, answer: &[u8]) {
    let time = meant(format, answer);
    let (from, to) = (Timestamp::try_from(asked).unwrap(), Timestamp::now());
    // Formats of whole seconds round down.
    let from = Timestamp::from_second(from.as_second()).unwrap();
    assert!(
        from <= time && time <= to,
        "{format:?}: {from} <= {time} <= {to}"
    );
}

#[test]
fn every_format_tells_the_time_over_every_transport() {
    let dir = TestDir::new("time-formats");
    let unix = |name: &str| format!("unix:{}", dir.join(name).display());
    for (index, format) in FORMATS.into_iter().enumerate() {
        let asked = SystemTime::now();
        assert_now(format, asked, &start(&[format]).exchange(b""));

        let stream = format!("stream-{index}");
        let _server = start(&[format, &["--bind", &unix(&stream)]]);
        let mut answer = Vec::new();
        let mut connection = UnixStream::connect(dir.join(&stream)).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        connection.read_to_end(&mut answer).unwrap();
        assert_now(format, asked, &answer);

        let server = start(&[format, &["--udp"]]);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.connect(server.address()).unwrap();
        for question in [&b""[..], b"what time is it?", &[0xFF; 1000]] {
            socket.send(question).unwrap();
            let mut answer = [0; 100];
            let length = socket.recv(&mut answer).unwrap();
            assert_now(format, asked, &answer[..length]);
        }

        let (datagram, client) = (
            format!("datagram-{index}"),
            dir.join(&format!("client-{index}")),
        );
        let _server = start(&[format, &["--udp", "--bind", &unix(&datagram)]]);
        let socket = UnixDatagram::bind(client).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send_to(b"?", dir.join(&datagram)).unwrap();
        let mut answer = [0; 100];
        let length = socket.recv(&mut answer).unwrap();
        assert_now(format, asked, &answer[..length]);
    }
}

#[test]
fn a_client_that_talks_before_it_listens_gets_its_answer() {
    let server = TestServer::start(&["time"]);
    for _ in 0..20 {
        let mut stream = server.connect();
        // All of it fits into the socket, so that this write can't fail.
        stream.write_all(&[b'x'; 30_000]).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(answer.len(), 26);
    }
}

#[test]
fn what_is_no_format_is_refused_at_the_start_in_one_line() {
    for (arguments, told) in [
        (&["--format", "%!"][..], "%!"),
        (&["--format", "100%"], "100%"),
        (&["--format", "rfc3393"], "neither rfc3339"),
        (&["--format", ""], "--format"),
        (&["--sntp", "--utc"], "--utc"),
        (&["--sntp", "--format", "rfc868"], "--format"),
    ] {
        let arguments = [&["serve", "time", "--bind", "127.0.0.1:0"], arguments].concat();
        let (code, output, errors) = run(&arguments);
        assert_eq!(
            (code, output.as_str(), errors.lines().count()),
            (Some(2), "", 1),
            "{arguments:?}: {errors}"
        );
        assert!(
            errors.starts_with("socketserver: ") && errors.contains(told),
            "{arguments:?}: {errors}"
        );
    }
}

/// `offset +0.000123s delay 0.000456s`
pub(crate) fn offset_and_delay(line: &str) -> (f64, f64) {
    let numbers = line
        .strip_prefix("offset ")
        .and_then(|rest| rest.strip_suffix("s\n"))
        .unwrap_or_else(|| panic!("{line}"));
    let (offset, delay) = numbers.split_once("s delay ").unwrap();
    assert!(offset.starts_with(['+', '-']), "{line}");
    (offset.parse().unwrap(), delay.parse().unwrap())
}

#[test]
fn our_client_understands_our_server_over_every_transport() {
    let dir = TestDir::new("time-client");
    let (stream, datagram) = (dir.join("stream"), dir.join("datagram"));
    let (stream, datagram) = (
        format!("unix:{}", stream.display()),
        format!("unix:{}", datagram.display()),
    );
    for (served, asked) in [
        (&["--bind", "127.0.0.1:0"][..], None),
        (&["--udp", "--bind", "127.0.0.1:0"], Some("--udp")),
        (&["--sntp", "--bind", "127.0.0.1:0"], Some("--sntp")),
        (&["--format", "rfc868", "--bind", "127.0.0.1:0"], None),
        (
            &["--udp", "--format", "rfc868", "--bind", "127.0.0.1:0"],
            Some("--udp"),
        ),
        (&["--format", "rfc867", "--bind", "127.0.0.1:0"], None),
        (
            &["--format", "rfc3339", "--utc", "--bind", "127.0.0.1:0"],
            None,
        ),
        (&["--bind", &stream], None),
        (&["--udp", "--bind", &datagram], Some("--udp")),
    ] {
        let server = start(&[served]);
        let address = server.ready[0].split(" on ").nth(1).unwrap();
        let address = address.split("://").last().unwrap();
        let client = |more: &[&str]| {
            let output = Command::new(env!("CARGO_BIN_EXE_socketserver"))
                .args(["client", "time", address])
                .args(asked)
                .args(more)
                .env("TZ", BERLIN)
                .finish();
            assert!(output.status.success(), "{served:?}: {output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let before = SystemTime::now();
        let line = client(&[]);
        let time = line.strip_suffix('\n').expect("a line");
        match served {
            ["--format", style @ ("rfc867" | "rfc3339"), utc @ ..] => {
                let ending = if *style == "rfc867" { "\r\n" } else { "" };
                let utc = if utc[0] == "--utc" { &utc[..1] } else { &[] };
                assert_now(
                    &[&["--format", style], utc].concat(),
                    before,
                    format!("{time}{ending}").as_bytes(),
                );
            }
            _ => assert_now(
                &[],
                SystemTime::now() - (before.elapsed().unwrap() + Duration::from_secs(1)),
                time.as_bytes(),
            ),
        }
        let line = client(&["--offset"]);
        let (offset, delay) = offset_and_delay(&line.replace(" ± 0.5 s", ""));
        let coarse = served.contains(&"rfc868") || served.contains(&"rfc867");
        assert_eq!(line.contains(" ± 0.5 s"), coarse, "{served:?}: {line}");
        // The same clock: what isn't rounding is the delay, however long that is on a busy machine.
        assert!(
            offset.abs() <= delay + if coarse { 0.5 } else { 0.001 },
            "{served:?}: {offset} {delay}"
        );
        assert!(
            (0.0..PATIENCE.as_secs_f64()).contains(&delay),
            "{served:?}: {delay}"
        );
    }
}

#[test]
fn the_time_comes_through_tls() {
    let dir = TestDir::new("time-tls");
    let Some((certificate, key)) = certificate("the_time_comes_through_tls", &dir) else {
        return;
    };
    let server = TestServer::start(&["time", "--tls-cert", &certificate, "--tls-key", &key]);
    let address = server.address().to_string();
    for more in [&[][..], &["--offset"]] {
        let (code, output, errors) =
            run(&[&["client", "time", &address, "--tls-insecure"], more].concat());
        assert_eq!((code, errors.as_str()), (Some(0), ""));
        assert!(output.len() > 26, "{output}");
    }
}
