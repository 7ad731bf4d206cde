//! The time limit of the programs that tests start.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::time::Duration;

use crate::exec::{sleepers, wait_for_processes};
use crate::support::BoundedCommand;

#[test]
fn a_program_that_does_not_end_is_killed_with_what_it_started_and_fails_its_test() {
    let (command, mark) = sleepers("80");
    let mut shell = Command::new("sh");
    shell.args(["-c", &command]);
    let run = || shell.finish_within(Duration::from_secs(3));
    let failure = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
    let message = failure.downcast_ref::<String>().unwrap();
    assert!(
        message.contains("did not end in time; standard output: begun"),
        "{message}"
    );
    wait_for_processes(&mark, 0);
}
