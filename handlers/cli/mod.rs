//! The command line.

mod doctor;
#[cfg(test)]
mod help_tests;
mod honoured;
mod logging;
mod options;
mod run;
mod self_signed;
mod share;
mod start;
mod table;
mod users;

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::common::command::supervisor::{self, VERB};
use crate::service::{Failure, Unsupported};
use crate::{Clients, Services};
pub(crate) use honoured::{Ignored, Profile, unsupported};
pub use options::{Serve, ServerOptions};
pub(crate) use run::serve;

const EXAMPLES: &str = "Examples:
  socketserver serve http                        the files below ./www on http://127.0.0.1:8000/
  socketserver serve http --bind :8080 ~/public  another folder, on every interface
  socketserver serve http --tls-cert cert.pem --tls-key key.pem --access-log -";

/// Servers for several protocols in one program
#[derive(Debug, Parser)]
#[command(name = "socketserver", version, after_help = EXAMPLES, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one service in the foreground
    Serve {
        #[command(subcommand)]
        service: Box<Services>,
    },
    /// Use a service as a client
    Client {
        #[command(subcommand)]
        service: Box<Clients>,
    },
    /// Manage the accounts that http and ftp share
    #[command(subcommand)]
    Users(users::Users),
    /// Manage links that give others access to a file or a folder
    #[command(subcommand)]
    Share(share::Share),
    /// Examine what the clients of a server will meet
    #[command(subcommand)]
    Doctor(doctor::Doctor),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
    /// List the services, a name a line
    #[command(hide = true)]
    Services,
}

/// Returns the definition of the command line. Help, completions and manual are made from it.
fn command() -> clap::Command {
    let with_short_names =
        |verb: clap::Command| verb.mut_subcommand("auth", crate::auth::with_short_names);
    let serve = |serve: clap::Command| {
        let profiles = Services::profiles();
        profiles
            .iter()
            .fold(with_short_names(serve), |serve, profile| {
                profile.apply(serve)
            })
    };
    Arguments::command()
        .mut_subcommand("serve", serve)
        .mut_subcommand("doctor", doctor::with_defaults)
        .mut_subcommand("client", with_short_names)
}

/// Runs the command of the arguments, and returns the exit code.
///
/// # Errors
/// The message is one line.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> Result<u8, Failure> {
    start::clean_up()?;
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if arguments.get(1).is_some_and(|verb| verb == VERB) {
        return Ok(supervisor::supervise(&arguments[2..]));
    }
    match parse(without_empty_variables(command()), &arguments) {
        Ok((Command::Serve { .. }, _)) if start::is_first_process() => {
            start::run_as_first_process(&arguments)
        }
        Ok((command, matches)) => run_checked(command, &matches, &arguments),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            ) =>
        {
            print(error.render().to_string().as_bytes())
        }
        Err(error) => Err(Failure::usage(in_one_line(&error, &arguments))),
    }
}

fn parse(
    command: clap::Command,
    arguments: &[OsString],
) -> Result<(Command, ArgMatches), clap::Error> {
    let matches = command.try_get_matches_from(arguments)?;
    let Arguments { command } = Arguments::from_arg_matches(&matches)?;
    Ok((command, matches))
}

/// Runs a command, unless it was given an option that its service cannot honour. If the environment
/// holds the variable of such an option, the arguments are read again without it.
fn run_checked(
    command: Command,
    matches: &ArgMatches,
    arguments: &[OsString],
) -> Result<u8, Failure> {
    let unsupported = command.unsupported();
    let path = matches
        .subcommand()
        .and_then(|(verb, below)| Some((verb, below.subcommand()?)));
    let Some((verb, (name, matches))) = path.filter(|_| !unsupported.is_empty()) else {
        return command.run(Vec::new());
    };
    let definition = self::command();
    let below = |command: &clap::Command, name: &str| command.find_subcommand(name).cloned();
    let ignored = match below(&definition, verb).and_then(|verb| below(&verb, name)) {
        Some(definition) => honoured::check(&definition, matches, &unsupported)?,
        None => Vec::new(),
    };
    if ignored.is_empty() {
        return command.run(ignored);
    }
    let definition = without_empty_variables(definition).mut_subcommand(verb, |verb| {
        verb.mut_subcommand(name, |service| {
            honoured::without_variables(service, &unsupported)
        })
    });
    match parse(definition, arguments) {
        Ok((command, _)) => command.run(ignored),
        Err(error) => Err(Failure::usage(in_one_line(&error, arguments))),
    }
}

/// An empty variable counts as unset (puma/puma#3539). clap would take it as a value.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    let command = command.mut_args(|arg| match arg.get_env() {
        Some(name) if is_empty(name) => arg.env(Resettable::Reset),
        _ => arg,
    });
    command.mut_subcommands(without_empty_variables)
}

impl Command {
    /// Returns the options that the service of the command cannot honour.
    fn unsupported(&self) -> Vec<Unsupported> {
        match self {
            Command::Serve { service } => service.unsupported(),
            Command::Doctor(doctor) => doctor.unsupported(),
            _ => Vec::new(),
        }
    }

    /// Runs the command. `ignored` are variables without effect; a server logs them.
    fn run(self, ignored: Vec<Ignored>) -> Result<u8, Failure> {
        match self {
            Command::Serve { service } => service.run(ignored),
            Command::Doctor(doctor) => doctor.run(),
            Command::Client { service } => service.run(),
            Command::Users(command) => command.run(),
            Command::Share(command) => command.run(),
            Command::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut command(), "socketserver", &mut script);
                print(&script)
            }
            Command::Man => {
                let mut pages = Vec::new();
                manual(&mut command(), "socketserver", &mut pages).map_err(Failure::run)?;
                print(&pages)
            }
            Command::Services => print(format!("{}\n", Services::NAMES.join("\n")).as_bytes()),
        }
    }
}

/// Appends the manual: a page for the command, and one for each subcommand.
fn manual(command: &mut clap::Command, name: &str, pages: &mut Vec<u8>) -> io::Result<()> {
    command.build();
    clap_mangen::Man::new(command.clone().name(name.to_owned()))
        .title(name.replace(' ', "-"))
        .render(pages)?;
    for below in command
        .get_subcommands_mut()
        .filter(|below| !below.is_hide_set())
    {
        let name = format!("{name} {}", below.get_name());
        manual(below, &name, pages)?;
    }
    Ok(())
}

/// Writes to standard output. A reader that has closed it is not an error.
fn print(text: &[u8]) -> Result<u8, Failure> {
    match io::stdout()
        .write_all(text)
        .and_then(|()| io::stdout().flush())
    {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::run(error)),
        _ => Ok(0),
    }
}

/// Converts clap's error of several lines to one line: the error, the suggestion, and where to find
/// help.
fn in_one_line(error: &clap::Error, arguments: &[OsString]) -> String {
    let text = error.render().to_string();
    let first = text.split("\n\n").next().unwrap_or(&text);
    let first = first.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let mut line = first.strip_prefix("error: ").unwrap_or(&first).to_owned();
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        line = "no command is given".to_owned();
    }
    let suggestions = [
        ContextKind::SuggestedArg,
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedValue,
    ];
    for suggestion in suggestions.iter().filter_map(|kind| error.get(*kind)) {
        match suggestion {
            ContextValue::String(name) => line += &format!("; did you mean '{name}'?"),
            ContextValue::Strings(names) => {
                if let Some(best) = names.last() {
                    line += &format!("; did you mean '{best}'?");
                }
            }
            _ => {}
        }
    }
    format!("{line}; see '{} --help'", command_path(arguments))
}

/// Returns the program and the subcommands in the arguments, which is the command whose help
/// describes the options.
fn command_path(arguments: &[OsString]) -> String {
    let mut command = command();
    let mut path = command.get_name().to_owned();
    for argument in arguments.iter().skip(1) {
        let Some(below) = command.find_subcommand(argument).cloned() else {
            break;
        };
        path = format!("{path} {}", below.get_name());
        command = below;
    }
    path
}
