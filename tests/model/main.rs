//! The pool under a model checker: `shuttle` runs its threads under thousands of schedules, and
//! with timeouts that fire at any moment.
//!
//! The pool's own files are compiled here once more, with locks, threads, sockets and time
//! replaced: `scheduler.rs` and `workers.rs`, `engine.rs`, `leader.rs`, `connections.rs`,
//! `ending.rs` and `woken.rs`, and `registry.rs` with `slot.rs` and `deadlines.rs`. A schedule
//! after which no thread can go on is a deadlock, and shuttle fails the test. So a lost wake-up, a
//! connection that is never served and a worker that never ends are all found without a clock. A
//! failing schedule is printed; `shuttle::replay` repeats it.

// `registry.rs` names parking_lot. Here that is this crate, and its locks are the model's.
extern crate self as parking_lot;

use shuttle::scheduler::{PctScheduler, RandomScheduler};

mod endings;
mod kernel;
mod scenarios;
mod server;
mod sources;
mod sync;
mod threads;
mod turns;

#[path = "../../src/process/pool/connections.rs"]
mod connections;
#[path = "../../src/process/deadlines.rs"]
mod deadlines;
#[path = "../../src/process/pool/ending.rs"]
mod ending;
#[path = "../../src/process/pool/engine.rs"]
mod engine;
#[path = "../../src/process/pool/leader.rs"]
mod leader;
#[path = "../../src/process/registry.rs"]
#[expect(dead_code, reason = "the server calls more of it than the model")]
mod registry;
#[path = "../../src/process/pool/scheduler.rs"]
#[expect(dead_code, reason = "nobody in the model asks what is queued")]
mod scheduler;
#[path = "../../src/process/slot.rs"]
#[expect(
    dead_code,
    reason = "nobody in the model asks for a list of connections"
)]
mod slot;
#[path = "../../src/process/pool/usage.rs"]
mod usage;
#[path = "../../src/process/pool/woken.rs"]
#[expect(dead_code, reason = "nobody in the model asks what waits")]
mod woken;
#[path = "../../src/process/pool/workers.rs"]
mod workers;

/// The modules that the pool's files name, with the model's contents.
mod address {
    pub(crate) use crate::server::ClientAddress;
}
mod clock {
    pub(crate) use crate::kernel::Clock;
}
mod error {
    pub(crate) use crate::server::Error;
}
mod sys {
    pub(crate) use crate::kernel::ThreadUsage;
}
mod handle {
    pub(crate) use crate::server::{Core, Origin};
}
mod poller {
    pub(crate) use crate::kernel::{Events, Interest, Mode, Poller};
}
mod process {
    pub(crate) use crate::registry;
    pub(crate) use crate::slot;
    pub(crate) mod datagrams {
        pub(crate) use crate::sources::DatagramJob;
    }
    pub(crate) mod sources {
        pub(crate) use crate::sources::{Source, Sources};
    }
}
mod reach {
    pub(crate) use crate::server::Ring;
}
mod session {
    pub(crate) use crate::server::{Session, Step};
}
mod stats {
    pub(crate) use crate::server::Stats;
}
mod transport {
    pub(crate) use crate::server::Transport;
}

pub(crate) use sync::Mutex;

const RANDOM_SCHEDULES: usize = 1_500;
const SCHEDULES_OF_FEW_SWITCHES: usize = 500;
/// Every run checks the same schedules; another seed, others.
const SEED: u64 = 1;
/// Longer than any schedule that makes progress.
const MAX_STEPS: usize = 50_000;

/// Runs a scenario under random schedules, and under schedules with few switches between threads.
/// The latter find what happens only if one thread is far ahead of the others.
fn check(scenario: fn()) {
    let mut config = shuttle::Config::new();
    config.max_steps = shuttle::MaxSteps::FailAfter(MAX_STEPS);
    // Shuttle warns that it treats atomics as sequentially consistent. Ours are, but for counters.
    config.silence_warnings = true;
    let random = RandomScheduler::new_from_seed(SEED, RANDOM_SCHEDULES);
    shuttle::Runner::new(random, config.clone()).run(scenario);
    let few_switches = PctScheduler::new_from_seed(SEED, 3, SCHEDULES_OF_FEW_SWITCHES);
    shuttle::Runner::new(few_switches, config).run(scenario);
}
