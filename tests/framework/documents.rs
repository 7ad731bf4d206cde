//! The defaults and figures in documents and comments are those of the code.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use socketserver::{
    ClientAddress, DefaultHooks, ForkingMixIn, Limits, Next, Peers, ProcessRequest, Result,
    ServerHooks, StreamRequest, StreamRequestHandler, Synchronous, ThreadPerRequest,
    ThreadingMixIn, Timeouts,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The default of a field that nothing public returns, as the code of `Default` writes it.
fn in_code(path: &str, field: &str) -> String {
    let code = read(path);
    let (_, default) = code.split_once("impl Default for ").unwrap();
    let mut lines = default.lines().map(str::trim);
    let found = lines.find_map(|line| line.strip_prefix(&*format!("{field}: ")));
    let value = found.unwrap_or_else(|| panic!("{path} has no default of `{field}`"));
    value.trim_end_matches(',').to_owned()
}

/// The value of a field in a type's debug output.
fn in_debug(value: &dyn std::fmt::Debug, field: &str) -> String {
    let text = format!("{value:?}");
    let (_, rest) = text.split_once(&format!("{field}: ")).unwrap();
    rest.split([',', ' ']).next().unwrap().to_owned()
}

/// The number in a text such as `Some(600s)`.
fn number(text: &str) -> usize {
    let digits = text.trim_matches(|c: char| !c.is_ascii_digit());
    digits.parse().unwrap()
}

/// `Duration::from_secs(10)`, as code writes it.
fn duration_in_code(path: &str, name: &str) -> Duration {
    let text = in_code(path, name);
    let (unit, number) = text.split_once('(').unwrap();
    let number: u64 = number.trim_end_matches(')').parse().unwrap();
    match unit {
        "Duration::from_secs" => Duration::from_secs(number),
        "Duration::from_millis" => Duration::from_millis(number),
        "Duration::from_micros" => Duration::from_micros(number),
        other => panic!("{path}: {other}"),
    }
}

/// As documents write it: `10 min`, `30 s`, `500 ms`.
fn time(duration: Duration) -> String {
    let (millis, seconds) = (duration.as_millis(), duration.as_secs());
    match seconds {
        0 => format!("{millis} ms"),
        _ if seconds % 60 == 0 => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

/// As documents write it: `16,384`.
fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn kib(bytes: usize) -> String {
    assert_eq!(bytes % 1024, 0);
    format!("{} KiB", bytes / 1024)
}

/// A handler with every default.
struct Plain;

impl StreamRequestHandler for Plain {
    fn handle(&mut self, _: &mut StreamRequest) -> Result<Next> {
        Ok(Next::Close)
    }
}

/// The defaults of the code, by file and item.
fn defaults() -> BTreeMap<(&'static str, &'static str), String> {
    const BUILDER: &str = "src/server/builder.rs";
    const BIND: &str = "src/bind/mod.rs";
    const PROCESS: &str = "src/process/mod.rs";
    let (timeouts, limits) = (Timeouts::default(), Limits::default());
    let threads = ThreadPerRequest::new();
    let of_pool = |field| count(number(&in_debug(&ThreadingMixIn::new(), field)));
    let of_peers = |field| number(&in_debug(&Peers::<u8>::default(), field));
    let builders = |field| in_code(BUILDER, field);
    let own = |field: &str| time(duration_in_code(BUILDER, field));
    let optional = |limit: Option<Duration>| time(limit.unwrap());
    let backlog: usize = in_code(BIND, "request_queue_size").parse().unwrap();
    let all = [
        ("src/config.rs", "head", optional(timeouts.head)),
        ("src/config.rs", "idle", optional(timeouts.idle)),
        ("src/config.rs", "read", optional(timeouts.read)),
        ("src/config.rs", "write", optional(timeouts.write)),
        ("src/config.rs", "linger", optional(timeouts.linger)),
        ("src/config.rs", "min_rate", timeouts.min_rate.to_string()),
        (
            "src/config.rs",
            "max_connections",
            count(limits.max_connections),
        ),
        ("src/config.rs", "max_queue", count(limits.max_queue)),
        ("src/config.rs", "max_message", kib(limits.max_message)),
        (
            "src/config.rs",
            "max_packet_size",
            count(limits.max_packet_size),
        ),
        ("src/peers.rs", "max_peers", count(of_peers("max_peers"))),
        (
            "src/peers.rs",
            "expiry",
            time(Duration::from_secs(of_peers("expiry") as u64)),
        ),
        (BUILDER, "head_timeout", optional(timeouts.head)),
        (BUILDER, "idle_timeout", optional(timeouts.idle)),
        (BUILDER, "read_timeout", optional(timeouts.read)),
        (BUILDER, "write_timeout", optional(timeouts.write)),
        (BUILDER, "min_rate", timeouts.min_rate.to_string()),
        (BUILDER, "max_connections", count(limits.max_connections)),
        (BUILDER, "max_queue", count(limits.max_queue)),
        (BUILDER, "max_message", kib(limits.max_message)),
        (BUILDER, "max_packet_size", count(limits.max_packet_size)),
        (BUILDER, "poll_interval", own("poll_interval")),
        (BUILDER, "grace", own("grace")),
        (BUILDER, "allow_plaintext", builders("plaintext")),
        (BUILDER, "ordered_datagrams", builders("ordered_datagrams")),
        (BUILDER, "request_queue_size", count(backlog)),
        (
            BUILDER,
            "allow_reuse_address",
            in_code(BIND, "allow_reuse_address"),
        ),
        (
            BUILDER,
            "allow_reuse_port",
            in_code(BIND, "allow_reuse_port"),
        ),
        (
            "src/process/pool/mod.rs",
            "max_threads",
            of_pool("max_threads"),
        ),
        (
            "src/process/thread_per_request.rs",
            "max_threads",
            in_debug(&threads, "max_threads"),
        ),
        (
            "src/process/thread_per_request.rs",
            "daemon_threads",
            in_debug(&threads, "daemon_threads"),
        ),
        (
            "src/process/thread_per_request.rs",
            "block_on_close",
            in_debug(&threads, "block_on_close"),
        ),
        (
            "src/process/forking.rs",
            "max_children",
            in_debug(&ForkingMixIn::new(), "max_children"),
        ),
        (
            "src/process/forking.rs",
            "block_on_close",
            ForkingMixIn::new().blocks_on_close().to_string(),
        ),
        (PROCESS, "pending", Synchronous.pending().to_string()),
        (PROCESS, "is_full", Synchronous.is_full().to_string()),
        (
            PROCESS,
            "blocks_on_close",
            Synchronous.blocks_on_close().to_string(),
        ),
        (PROCESS, "forks", Synchronous.forks().to_string()),
        (
            PROCESS,
            "is_concurrent",
            ThreadPerRequest::new().is_concurrent().to_string(),
        ),
        (
            "src/hooks.rs",
            "verify_request",
            DefaultHooks
                .verify_request(&ClientAddress::Memory)
                .to_string(),
        ),
        (
            "src/handler.rs",
            "speaks_first",
            Plain.speaks_first().to_string(),
        ),
        (
            "src/handler.rs",
            "needs_concurrency",
            Plain::needs_concurrency().to_string(),
        ),
        (
            "src/handler.rs",
            "disable_nagle_algorithm",
            Plain.disable_nagle_algorithm().to_string(),
        ),
        ("src/handler.rs", "wbufsize", kib(Plain.wbufsize())),
        (
            "src/handler/next.rs",
            "in_message",
            in_debug(&socketserver::Wait::new(), "in_message"),
        ),
        (
            "src/handler/next.rs",
            "paused",
            in_debug(&socketserver::Wait::new(), "is_paused"),
        ),
        (
            "src/handler/next.rs",
            "outlasts_shutdown",
            in_debug(&socketserver::Wait::new(), "outlasts_shutdown"),
        ),
    ];
    let entry = |(file, item, value)| ((file, item), value);
    all.into_iter().map(entry).collect()
}

/// Every Rust file of the library, by its path from the root.
fn sources() -> Vec<(String, String)> {
    let mut folders = vec![root().join("src")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}

/// The defaults that the comments of a file state: the item, and the value without what explains
/// it.
fn documented(code: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut comment = String::new();
    for line in code.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            comment.push_str(text);
        } else if !line.starts_with("#[") {
            if let Some((_, default)) = comment.split_once("Defaults to ") {
                let end = [". ", "; ", ", ", " (", ": "]
                    .iter()
                    .filter_map(|mark| default.find(mark))
                    .min();
                let value = default[..end.unwrap_or(default.len())].trim_end_matches(['.', ':']);
                let item = line
                    .trim_start_matches("pub ")
                    .trim_start_matches("fn ")
                    .split(|c: char| !c.is_alphanumeric() && c != '_')
                    .next();
                found.push((item.unwrap_or_default().to_owned(), value.to_owned()));
            }
            comment.clear();
        }
    }
    found
}

#[test]
fn every_default_in_a_comment_is_the_one_of_the_code() {
    let mut expected = defaults();
    for (file, code) in sources() {
        for (item, value) in documented(&code) {
            let key = expected
                .keys()
                .find(|key| **key == (&*file, &*item))
                .copied();
            match key.and_then(|key| expected.remove(&key)) {
                Some(of_code) => assert_eq!(value, of_code, "{file}: {item}"),
                // A default without a value (a log line, `None`, another setting).
                None => assert!(
                    !value.contains(|c: char| c.is_ascii_digit())
                        && !["true", "false"].contains(&&*value),
                    "{file}: no test compares the default of `{item}`, {value}, with the code"
                ),
            }
        }
    }
    assert!(expected.is_empty(), "not documented: {expected:?}");
}

#[test]
fn the_default_number_of_threads_is_as_documented() {
    let cores = std::thread::available_parallelism().unwrap().get();
    assert_eq!(ThreadingMixIn::default_threads(), (2 * cores).max(4));
    let code = read("src/process/pool/mod.rs").replace("\n    ///", "");
    assert!(code.contains("Defaults to twice the number of cores, at least 4."));
    assert!(code.contains("(2 * cores()).max(4)"));
}

#[test]
fn the_table_of_deadlines_is_that_of_the_code() {
    let timeouts = Timeouts::default();
    let text = read("docs/deadlines.md");
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| deadline"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let names: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    let expected = [
        ("head, PROXY header", time(timeouts.head.unwrap())),
        ("head, TLS", time(timeouts.head.unwrap())),
        (
            "head, TLS that a handler starts",
            time(timeouts.head.unwrap()),
        ),
        ("head, connecting", time(timeouts.head.unwrap())),
        ("head, message", time(timeouts.head.unwrap())),
        ("idle", time(timeouts.idle.unwrap())),
        ("read", time(timeouts.read.unwrap())),
        ("write", time(timeouts.write.unwrap())),
        ("minimum rate", format!("{} bytes/s", timeouts.min_rate)),
        ("the handler's time", "none".to_owned()),
        ("linger", time(timeouts.linger.unwrap())),
        (
            "grace",
            time(duration_in_code("src/server/builder.rs", "grace")),
        ),
    ];
    assert_eq!(names, expected.each_ref().map(|(name, _)| *name));
    for (row, (name, default)) in rows.iter().zip(&expected) {
        // The table of services has its own test: `(http: 60 s)`.
        let value = row[1].split(" (").next().unwrap();
        assert_eq!(value, default, "{name}");
    }
    let window = format!("a window of {}", time(Timeouts::RATE_WINDOW));
    assert!(text.contains(&window), "{window}");
}
