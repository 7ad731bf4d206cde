//! The pool under a model checker: `shuttle` runs its threads under thousands of schedules, and with timeouts that fire at any
//! moment.
//!
//! The pool's own files are compiled here once more: `lead.rs`, `engine.rs` and `registry.rs` as they are, with locks, threads,
//! sockets and time replaced. A schedule after which nobody can go on is a deadlock, and shuttle fails the test: so a lost wake-up,
//! a connection that is never served and a worker that never ends are all found without a clock. A failing schedule is
//! printed; `shuttle::replay` repeats it.

// `registry.rs` names parking_lot: here that is this crate, and its locks are the model's.
extern crate self as parking_lot;

//mod connections;
//mod kernel;
//mod server;
mod sync;
mod threads;
mod turns;

#[path = "../../src/process/pool/lead.rs"]
mod lead;
pub(crate) use sync::Mutex;

/// Longer than any schedule that gets somewhere.
const MOST_STEPS: usize = 50_000;

/// Runs a scenario under random schedules, and under schedules with few switches, which find what needs a long head start.
fn check(scenario: fn()) {
    let mut config = shuttle::Config::new();
    config.max_steps = shuttle::MaxSteps::FailAfter(MOST_STEPS);
    config.failure_persistence = shuttle::FailurePersistence::Print;
    config.silence_warnings = true;
    let random = shuttle::scheduler::RandomScheduler::new(RANDOM);
    shuttle::Runner::new(random, config.clone()).run(scenario);
    let few_switches = shuttle::scheduler::PctScheduler::new(3, FEW_SWITCHES);
    shuttle::Runner::new(few_switches, config).run(scenario);
}

const RANDOM: usize = 3_000;
const FEW_SWITCHES: usize = 1_000;
