//! Tests that each default in a help text is the one that the code uses.

use std::time::Duration;

use clap::{ArgMatches, Command};
use socketserver::{Limits, ThreadingMixIn, Timeouts};

use super::{command, options::Model};
use crate::Services;
use crate::common::store::StoreOptions;
use crate::common::values::{Addresses, FOREVER, TimeOut, addresses, time_out};
use crate::service::Service;

/// Defaults that the help describes in words, because they depend on the machine or the moment.
/// Only descriptions with a digit must be listed.
const DESCRIBED: [&str; 3] = [
    "2 for each core, at least 4",
    "60s, the default of servers, plus --timeout",
    "2023-04-19 17:04:30.293444",
];

fn service(name: &str) -> Command {
    let serve = command().find_subcommand("serve").unwrap().clone();
    serve.find_subcommand(name).unwrap().clone()
}

/// Returns the default that the text of an option's help names, if it names one.
fn told(service: &Command, id: &str) -> Option<String> {
    let arg = service.get_arguments().find(|arg| arg.get_id() == id)?;
    let help = arg.get_help()?.to_string().replace('\n', " ");
    let (_, default) = help.rsplit_once("[default: ")?;
    Some(default.trim_end_matches(']').to_owned())
}

fn defaults(service: &Command) -> ArgMatches {
    let arguments: &[&str] = match service.get_name() {
        "transfer" => &["transfer", "FILE"],
        name => &[name],
    };
    let mut without_variables = service.clone();
    without_variables = without_variables.mut_args(|arg| arg.env(clap::builder::Resettable::Reset));
    without_variables.get_matches_from(arguments)
}

#[test]
fn every_servers_defaults_are_the_library_s() {
    let (timeouts, limits) = (Timeouts::default(), Limits::default());
    for name in Services::NAMES {
        let defaults = defaults(&service(name));
        let time = |id: &str| defaults.get_one::<TimeOut>(id).unwrap().0;
        assert_eq!(time("head_timeout"), timeouts.head, "{name}");
        assert_eq!(time("read_timeout"), timeouts.read, "{name}");
        assert_eq!(time("write_timeout"), timeouts.write, "{name}");
        assert_eq!(
            defaults.get_one("min_rate"),
            Some(&timeouts.min_rate),
            "{name}"
        );
        let connections = defaults.get_one("max_connections");
        assert_eq!(connections, Some(&limits.max_connections), "{name}");
        assert_eq!(
            defaults.get_one("max_per_ip"),
            limits.max_per_address.as_ref(),
            "{name}"
        );
        // The defaults of the contract.
        assert_eq!(defaults.get_one("backlog"), Some(&1024u32), "{name}");
        assert_eq!(defaults.get_one("max_threads"), Some(&256usize), "{name}");
        assert_eq!(
            defaults.get_one("grace"),
            Some(&Duration::from_secs(10)),
            "{name}"
        );
        assert_eq!(defaults.get_one("model"), Some(&Model::Pool), "{name}");
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    assert_eq!(ThreadingMixIn::default_threads(), (2 * cores).max(4));
}

fn check_own<S: Service>() {
    let service = service(S::NAME);
    let bind = told(&service, "bind").unwrap();
    let Addresses(bind) = addresses(&bind).unwrap();
    let expected = format!("127.0.0.1:{}", S::PORT).parse().unwrap();
    assert_eq!(bind, [expected], "{}", S::NAME);
    let idle = told(&service, "idle_timeout").unwrap();
    assert_eq!(
        time_out(&idle),
        Ok(TimeOut(Some(S::IDLE_TIMEOUT))),
        "{}",
        S::NAME
    );
}

#[test]
fn the_default_address_and_idle_time_out_are_the_service_s() {
    check_own::<crate::files::Http>();
    check_own::<crate::echo::Echo>();
    check_own::<crate::ping::Ping>();
    check_own::<crate::transfer::Transfer>();
    check_own::<crate::time::Time>();
    check_own::<crate::auth::Auth>();
    check_own::<crate::exec::Exec>();
    check_own::<crate::upload::Upload>();
    check_own::<crate::ftp::Ftp>();
    let upload = defaults(&service("upload"));
    let expiry = StoreOptions::default().partial_expiry;
    assert_eq!(upload.get_one("partial_expiry"), Some(&expiry));
    assert!(expiry < FOREVER);
}

/// A default in the text of a help is a copy of the default in the code, and may become wrong. So a
/// help text may contain only defaults that are checked above or described in words.
#[test]
fn no_help_text_has_a_default_that_is_not_checked() {
    let command = command();
    let mut commands = vec![&command];
    while let Some(command) = commands.pop() {
        for arg in command.get_arguments() {
            let id = arg.get_id().as_str();
            if ["bind", "idle_timeout"].contains(&id) {
                continue;
            }
            if let Some(default) = told(command, id) {
                let is_number = default.contains(|c: char| c.is_ascii_digit());
                let is_known = !is_number || DESCRIBED.contains(&default.as_str());
                assert!(
                    is_known,
                    "{} --{id}: [default: {default}]",
                    command.get_name()
                );
            }
        }
        commands.extend(command.get_subcommands());
    }
}
