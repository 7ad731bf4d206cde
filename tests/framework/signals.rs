//! Signals, which belong to a whole process: each test starts this binary once more, as a program
//! of its own.

#[allow(dead_code, reason = "the other tests use the rest")]
#[path = "support/client.rs"]
mod client;
#[path = "../support/process.rs"]
mod process;
#[path = "signals/program.rs"]
mod program;
#[path = "signals/programs.rs"]
mod programs;

use std::io::Write;
use std::time::{Duration, Instant};

use client::Client;
use program::{Program, Terminal};
use rustix::process::Signal;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == program::RUN) {
        return programs::run(&arguments[1..]);
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
    two_signals_within_half_a_second_are_one
    a_second_signal_after_half_a_second_forces_the_end
    each_server_has_a_first_signal_of_its_own
    dropped_servers_leave_no_descriptor
    after_the_last_server_a_signal_has_its_default_action
    a_reload_may_panic_or_register_another
    a_server_ends_with_its_terminal
    a_server_under_nohup_outlives_its_terminal
    a_hangup_while_the_terminal_is_open_reloads
}

fn inherited_signal_state_is_reset_but_for_nohup() {
    let changed = [
        "env",
        "--ignore-signal=CHLD,USR1,QUIT,TERM,HUP,PIPE,TTOU",
        "--block-signal=TERM,INT,USR2",
    ];
    let mut program = Program::start_by(&changed, &["reset"]);
    // Each bit of a mask is a signal: HUP is the first, PIPE the 13th, TTOU the 22nd.
    program.expect(&format!("ignored {:x}", 1 | 1 << 12 | 1 << 21));
    program.expect("blocked 0");
    program.expect("a command ended with 3");
    program.expect_code(0);
}

fn two_signals_within_half_a_second_are_one() {
    for (first, second) in [(Signal::TERM, Signal::TERM), (Signal::INT, Signal::TERM)] {
        // On a busy machine the second one may come late: then the round proves nothing.
        let in_time = (0..20).any(|_| {
            let mut program = Program::start(&["serve"]);
            let mut client = Client::connect(&program.address());
            client.say(b"wait\n").hear(b"waiting\n");
            let begun = Instant::now();
            program.signal(first);
            program.expect("shutting down");
            program.signal(second);
            if begun.elapsed() > Duration::from_millis(400) {
                return false;
            }
            client.say(b"still served\n").hear(b"still served\n");
            program.expect("ended");
            program.expect_code(0);
            true
        });
        assert!(
            in_time,
            "the machine is too busy for two signals within 400 ms"
        );
    }
}

fn a_second_signal_after_half_a_second_forces_the_end() {
    for (first, second) in [(Signal::TERM, Signal::TERM), (Signal::TERM, Signal::INT)] {
        let mut program = Program::start(&["serve"]);
        let mut client = Client::connect(&program.address());
        client.say(b"wait\n").hear(b"waiting\n");
        program.signal(first);
        program.expect("shutting down");
        std::thread::sleep(Duration::from_millis(510));
        program.signal(second);
        program.expect_code(130);
    }
}

fn each_server_has_a_first_signal_of_its_own() {
    let mut program = Program::start(&["serve-twice"]);
    for _ in 0..2 {
        let mut client = Client::connect(&program.address());
        client.say(b"wait\n").hear(b"waiting\n");
        program.signal(Signal::TERM);
        program.expect("shutting down");
        std::thread::sleep(Duration::from_millis(510));
        client.say(b"still served\n").hear(b"still served\n");
        program.expect("ended");
    }
    program.expect_code(0);
}

fn dropped_servers_leave_no_descriptor() {
    let mut program = Program::start(&["drop-servers"]);
    program.expect("0 descriptors more");
    program.expect_code(0);
}

fn after_the_last_server_a_signal_has_its_default_action() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut program = Program::start(&["outlive-server"]);
        program.expect("no server any more");
        program.signal(signal);
        program.expect_killed_by(signal);
    }
}

fn a_reload_may_panic_or_register_another() {
    let mut program = Program::start(&["reload"]);
    let address = program.address();
    for line in ["first", "second", "second"] {
        program.signal(Signal::HUP);
        program.expect(line);
        Client::connect(&address).say(b"echo\n").hear(b"echo\n");
    }
    program.signal(Signal::TERM);
    program.expect("shutting down");
    program.expect("ended; panics: 2");
    program.expect_code(0);
}

fn a_server_ends_with_its_terminal() {
    let terminal = Terminal::open();
    let mut program = Program::start(&["serve", &terminal.path]);
    Client::connect(&program.address())
        .say(b"echo\n")
        .hear(b"echo\n");
    drop(terminal);
    program.expect("shutting down");
    program.expect("ended");
    program.expect_code(0);
}

fn a_server_under_nohup_outlives_its_terminal() {
    let terminal = Terminal::open();
    let nohup = ["env", "--ignore-signal=HUP"];
    let mut program = Program::start_by(&nohup, &["serve", &terminal.path]);
    let address = program.address();
    drop(terminal);
    program.expect("reloaded");
    Client::connect(&address).say(b"echo\n").hear(b"echo\n");
    program.signal(Signal::HUP);
    program.expect("reloaded");
}

fn a_hangup_while_the_terminal_is_open_reloads() {
    let terminal = Terminal::open();
    let mut program = Program::start(&["serve", &terminal.path]);
    let address = program.address();
    program.signal(Signal::HUP);
    program.expect("reloaded");
    Client::connect(&address).say(b"echo\n").hear(b"echo\n");
}
