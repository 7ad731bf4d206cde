//! Signals, which belong to a whole process: each test starts this binary once more, as a program
//! of its own.

#[allow(dead_code, reason = "the other tests use the rest")]
#[path = "support/client.rs"]
mod client;
#[path = "signals/process.rs"]
mod process;
#[path = "signals/programs.rs"]
mod programs;

use std::io::Write;

use process::Process;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == process::RUN) {
        return programs::run(&arguments[1]);
    }
    let is_wanted = |name: &str| {
        let mut names = arguments.iter().filter(|name| !name.starts_with('-'));
        names.clone().count() == 0 || names.any(|wanted| name.contains(wanted.as_str()))
    };
    let mut out = std::io::stdout();
    for (name, test) in TESTS.iter().filter(|(name, _)| is_wanted(name)) {
        // A failure ends the process, and so the test target, with its message.
        test();
        writeln!(out, "test {name} ... ok").unwrap();
    }
}

macro_rules! tests {
    ($($name:ident)*) => {
        const TESTS: &[(&str, fn())] = &[$((stringify!($name), $name)),*];
    };
}

tests! {
    inherited_signal_state_is_reset_but_for_nohup
}

fn inherited_signal_state_is_reset_but_for_nohup() {
    let changed = [
        "env",
        "--ignore-signal=CHLD,USR1,QUIT,TERM,HUP,PIPE,TTOU",
        "--block-signal=TERM,INT,USR2",
    ];
    let mut process = Process::start_by(&changed, "reset");
    // Each bit of a mask is a signal: HUP is the first, PIPE the 13th, TTOU the 22nd.
    process.expect(&format!("ignored {:x}", 1 | 1 << 12 | 1 << 21));
    process.expect("blocked 0");
    process.expect("a command ended with 3");
    process.expect_code(0);
}
