//! Options that a service cannot honour. Its help does not offer them, and on the command line they
//! are an error. Their variables are an error too if they decide who is served or whether the
//! traffic is encrypted; other variables are ignored with a warning. An option without effect would
//! let its user believe in a limit, or in a protection, that does not exist.

use clap::builder::Resettable;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use socketserver::Address;

use super::options::{Model, Serve, ServerOptions};
use crate::auth::keys::VARIABLE;
use crate::common::values::shown;
use crate::service::{FOR_CONNECTIONS, Failure, Service, Unsupported};

const NO_AUTHENTICATION: Unsupported = Unsupported {
    options: &["auth_key_file", "auth_digest"],
    reason: "this service does not ask for a key",
};
const NO_ACCESS_LOG: Unsupported = Unsupported {
    options: &["access_log"],
    reason: "only http writes an access log",
};

/// The options that decide who is served, and whether the traffic is encrypted. A server that
/// ignores one of them serves clients that its operator wanted to keep out.
const PROTECTION: [&str; 6] = [
    "allow",
    "deny",
    "auth_key_file",
    "tls_cert",
    "tls_key",
    "tls_self_signed",
];
const ONLY_UNIX: Unsupported = Unsupported {
    options: &["allow", "deny", "max_per_ip", "proxy_protocol"],
    reason: "clients of a Unix socket have no IP address",
};

/// The properties of a service that do not depend on its options.
pub(crate) struct Profile {
    name: &'static str,
    unsupported: Vec<Unsupported>,
    /// The default port.
    port: u16,
    /// The default of `--idle-timeout`.
    idle_timeout: String,
}

impl Profile {
    pub(crate) fn of<S: Service>() -> Profile {
        let authentication = (!S::AUTH).then_some(NO_AUTHENTICATION);
        let access_log = (!S::ACCESS_LOG).then_some(NO_ACCESS_LOG);
        let connections = S::DATAGRAMS.then_some(FOR_CONNECTIONS);
        let unsupported = [connections, authentication, access_log];
        Profile {
            name: S::NAME,
            unsupported: unsupported.into_iter().flatten().collect(),
            port: S::PORT,
            idle_timeout: shown(Some(S::IDLE_TIMEOUT)),
        }
    }

    /// Adds the service's own defaults to the help, and removes the options that the service never
    /// honours.
    pub(super) fn apply(&self, serve: Command) -> Command {
        serve.mut_subcommand(self.name, |service| {
            let hidden = ids(&self.unsupported);
            let service = service.mut_args(|arg| match hidden.contains(&arg.get_id().as_str()) {
                true => arg.hide(true),
                false => arg,
            });
            let port = self.port;
            service
                .mut_arg("bind", |arg| {
                    with_default(arg, &format!("127.0.0.1:{port}"))
                })
                .mut_arg("idle_timeout", |arg| with_default(arg, &self.idle_timeout))
        })
    }
}

fn with_default(arg: clap::Arg, default: &str) -> clap::Arg {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    arg.help(format!("{help} [default: {default}]"))
}

fn ids(unsupported: &[Unsupported]) -> Vec<&'static str> {
    let ids = unsupported.iter().flat_map(|group| group.options);
    ids.copied().collect()
}

/// Returns the options that the service cannot honour in combination with the given ones.
pub(crate) fn unsupported<S: Service>(arguments: &Serve<S>) -> Vec<Unsupported> {
    let mut unsupported = Profile::of::<S>().unsupported;
    unsupported.extend(arguments.service.unsupported());
    let server = &arguments.server;
    unsupported.extend(match server.model {
        Model::Pool => None,
        Model::Threads => Some(Unsupported {
            options: &["threads"],
            reason: "--model threads starts a thread for each connection",
        }),
        Model::Processes => Some(Unsupported {
            options: &["threads"],
            reason: "--model processes has no threads",
        }),
        Model::Sequential => Some(Unsupported {
            options: &["threads", "max_threads"],
            reason: "--model sequential has one thread",
        }),
    });
    let mut addresses = server.bind.iter().flat_map(|addresses| &addresses.0);
    if !server.bind.is_empty() && addresses.all(is_unix) {
        unsupported.push(ONLY_UNIX);
    }
    if server.model == Model::Processes && !server.proxy_protocol.is_empty() {
        unsupported.push(Unsupported {
            options: &["max_per_ip"],
            reason: "with --model processes and --proxy-protocol, each process learns of its own \
                     client only",
        });
    }
    unsupported
}

fn is_unix(address: &Address) -> bool {
    matches!(address, Address::Unix(_))
}

/// Warns if some of the addresses are Unix sockets and an option has no effect on their clients.
pub(super) fn warn_about_unix_sockets(options: &ServerOptions, addresses: &[Address]) {
    let Some(socket) = addresses.iter().find(|address| is_unix(address)) else {
        return;
    };
    for (is_given, option) in [
        (!options.allow.is_empty(), "--allow"),
        (!options.deny.is_empty(), "--deny"),
        (options.max_per_ip.is_some(), "--max-per-ip"),
        (!options.proxy_protocol.is_empty(), "--proxy-protocol"),
    ] {
        if is_given {
            log::warn!("{option} has no effect on {socket}: {}", ONLY_UNIX.reason);
        }
    }
}

/// A variable of the environment that has no effect.
pub(crate) struct Ignored {
    variable: String,
    reason: &'static str,
}

impl Ignored {
    /// Logs a warning about the variable.
    pub(super) fn warn(&self) {
        log::warn!("{} is ignored: {}", self.variable, self.reason);
    }
}

/// Returns the variables that are set although the service cannot honour their options.
///
/// # Errors
/// Such an option is on the command line, or it is in the environment and one of [`PROTECTION`].
pub(super) fn check(
    service: &Command,
    matches: &ArgMatches,
    unsupported: &[Unsupported],
) -> Result<Vec<Ignored>, Failure> {
    let mut ignored: Vec<Ignored> = Vec::new();
    for group in unsupported {
        for id in group.options {
            let arg = service.get_arguments().find(|arg| arg.get_id() == id);
            let Some(arg) = arg else { continue };
            if matches.value_source(id) == Some(ValueSource::CommandLine) {
                let option = arg.get_long().unwrap_or(id);
                return Err(Failure::usage(format!(
                    "--{option} does not apply: {}",
                    group.reason
                )));
            }
            let variable = arg.get_env().map(|name| name.to_string_lossy());
            if let Some(variable) = variable.filter(|variable| is_set(variable)) {
                if PROTECTION.contains(id) && !is_off(arg, matches) {
                    return Err(not_honoured(&variable, group.reason));
                }
                ignored.push(Ignored {
                    variable: variable.into_owned(),
                    reason: group.reason,
                });
            }
        }
        // `SOCKETSERVER_KEY` replaces the key file and has no option of its own.
        if group.options.contains(&"auth_key_file") && is_set(VARIABLE) {
            return Err(not_honoured(VARIABLE, group.reason));
        }
    }
    ignored.dedup_by(|one, other| one.variable == other.variable);
    Ok(ignored)
}

fn not_honoured(variable: &str, reason: &str) -> Failure {
    Failure::usage(format!(
        "{variable} does not apply: {reason}; unset it to serve without this protection"
    ))
}

/// Whether the argument is a flag whose variable says `false`.
fn is_off(arg: &Arg, matches: &ArgMatches) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue) && !matches.get_flag(arg.get_id().as_str())
}

fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}

/// Returns the service's command, changed so that it does not read the variables of these options.
pub(super) fn without_variables(service: Command, unsupported: &[Unsupported]) -> Command {
    let ids = ids(unsupported);
    service.mut_args(|arg| match ids.contains(&arg.get_id().as_str()) {
        true => arg.env(Resettable::Reset),
        false => arg,
    })
}
