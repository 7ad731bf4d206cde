//! The programs that the tests run.

use std::fmt::Display;
use std::io::Write;
use std::process::Command;

use socketserver::reset_inherited_signals;

pub(crate) fn run(name: &str) {
    match name {
        "reset" => reset(),
        other => panic!("no program {other}"),
    }
}

fn print(what: impl Display) {
    writeln!(std::io::stdout(), "{what}").unwrap();
}

fn reset() {
    reset_inherited_signals().unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mask = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        u64::from_str_radix(line.unwrap().trim(), 16).unwrap()
    };
    // The C library keeps the signals 32 and 33 for itself: nobody can change them.
    let own = 3 << 31;
    print(format_args!("ignored {:x}", mask("SigIgn:") & !own));
    print(format_args!("blocked {:x}", mask("SigBlk:")));
    // With SIGCHLD ignored, wait(2) fails: there is no exit code.
    let status = Command::new("sh").args(["-c", "exit 3"]).status().unwrap();
    print(format_args!(
        "a command ended with {}",
        status.code().unwrap()
    ));
}
