//! The figures and names in documents are those of the code, and of Python.

use crate::documents::read;
use crate::support::BoundedCommand;

/// A sentence of a document, and the constant that it is about.
type Figure = (&'static str, &'static str, &'static str);

fn check_figures(document: &str, figures: &[Figure]) {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = words(&read(document));
    for (sentence, path, constant) in figures {
        assert!(text.contains(sentence), "{document} lacks: {sentence}");
        let code = read(path);
        assert!(
            code.contains(constant),
            "{path} lacks `{constant}`: change {document}"
        );
    }
}

#[test]
fn the_figures_of_architecture_md_are_those_of_the_code() {
    const ACCEPT: &str = "src/process/accept.rs";
    const SCHEDULER: &str = "src/process/pool/scheduler.rs";
    const WORKERS: &str = "src/process/pool/workers.rs";
    const ENGINE: &str = "src/process/pool/engine.rs";
    check_figures(
        "ARCHITECTURE.md",
        &[
            (
                "disarmed for 5 ms",
                ACCEPT,
                "MIN_ACCEPT_PAUSE: Duration = Duration::from_millis(5)",
            ),
            (
                "doubling to 1 s",
                ACCEPT,
                "MAX_ACCEPT_PAUSE: Duration = Duration::from_secs(1)",
            ),
            (
                "After 32 calls in a row",
                "src/session/serving.rs",
                "CALLS_PER_TURN: u32 = 32",
            ),
            (
                "must reach 50 µs",
                WORKERS,
                "MIN_WORK_TO_WAKE: Duration = Duration::from_micros(50)",
            ),
            (
                "sleep for 0.5 ms or more",
                WORKERS,
                "BLOCKING_SLEEP: Duration = Duration::from_micros(500)",
            ),
            (
                "checks every 2 ms",
                ENGINE,
                "SUPERVISOR_INTERVAL: Duration = Duration::from_millis(2)",
            ),
            (
                "every 16 ms while all",
                SCHEDULER,
                "MAX_SUPERVISOR_TICKS: u32 = 8",
            ),
            (
                "no work for 2 s",
                ENGINE,
                "KEEP_ALIVE: Duration = Duration::from_secs(2)",
            ),
            (
                "64 events per poll",
                "src/poller/epoll.rs",
                "EVENTS_PER_WAIT: usize = 64",
            ),
            (
                "only 500 ms after the first",
                "src/sys/signals.rs",
                "FORCED_AFTER_MILLIS: u64 = 500",
            ),
        ],
    );
}

#[test]
fn the_figures_of_the_readme_are_those_of_the_code() {
    check_figures(
        "README.md",
        &[
            (
                "at least 500 ms later",
                "src/sys/signals.rs",
                "FORCED_AFTER_MILLIS: u64 = 500",
            ),
            (
                "exit code 130",
                "src/sys/signals.rs",
                "FORCED_EXIT_CODE: i32 = 130",
            ),
            (
                "The first 64 KiB of a body are gathered",
                "handlers/http/engine/router/gathering.rs",
                "MAX_GATHERED: usize = 64 * 1024",
            ),
            (
                "above 1 MiB gets status 413",
                "handlers/http/engine/router.rs",
                "MAX_BODY: u64 = 1 << 20",
            ),
            (
                "Rust (1.95 or newer)",
                "Cargo.toml",
                "rust-version = \"1.95",
            ),
        ],
    );
}

/// The public names of Python's module, one a line, and the attributes that only objects have.
const PYTHON_NAMES: &str = "
import inspect, socketserver
for name, thing in vars(socketserver).items():
    if inspect.isclass(thing) and thing.__module__ == 'socketserver' and name[0] != '_':
        print(name)
        for member in vars(thing):
            if member[0] != '_' or member in ('__enter__', '__exit__'):
                print(member)
print('server_address socket RequestHandlerClass request connection client_address server')
print('rfile wfile packet poll_interval bind_and_activate')
";

#[test]
fn every_public_name_of_pythons_socketserver_has_its_row() {
    use std::io::Write as _;
    let mut python = std::process::Command::new("python3");
    if !python.arg("--version").succeeds() {
        let _ = writeln!(std::io::stderr(), "SKIPPED: python3 is missing");
        return;
    }
    let mut python = std::process::Command::new("python3");
    let output = python.args(["-c", PYTHON_NAMES]).finish();
    assert!(output.status.success());
    let page = read("src/lib.rs");
    let rows = page.lines().filter_map(|line| line.strip_prefix("//! | "));
    let first_column: String = rows.filter_map(|row| row.split(" | ").next()).collect();
    let documented: Vec<&str> = first_column
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .collect();
    let names = String::from_utf8(output.stdout).unwrap();
    assert!(names.split_whitespace().count() > 60);
    for name in names.split_whitespace() {
        assert!(documented.contains(&name), "no row for `{name}`");
    }
}

/// The cost of an idle connection is measured: benches/RESULTS.md alone states it.
#[test]
fn no_other_document_states_what_an_idle_connection_costs() {
    for path in ["README.md", "ARCHITECTURE.md", "SECURITY.md", "src/lib.rs"] {
        for sentence in read(path).split(['.', '|']) {
            let states_a_cost = sentence.contains("idle connection")
                && ["KiB", "bytes", "MiB"]
                    .iter()
                    .any(|unit| sentence.contains(unit));
            assert!(!states_a_cost, "{path}: {sentence}");
        }
    }
}
