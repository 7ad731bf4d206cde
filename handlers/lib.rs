//! The services of `socketserver`, and the command line that runs them.

pub mod accounts;
pub mod auth;
pub mod cli;
pub mod client;
pub mod common;
mod descriptors;
pub mod echo;
pub mod exec;
pub mod files;
pub mod ftp;
pub mod ping;
pub mod service;
pub mod time;
pub mod transfer;
pub mod upload;

pub use socketserver_http as http;

use cli::{Ignored, Profile};
use client::Talk;
use service::{Failure, Service, Unsupported};

/// The list of services. Each entry gets a subcommand, its help, `make run-NAME`, and the tests
/// that every service must pass. Clients whose arguments do not begin with an address are listed
/// separately, after the services.
macro_rules! services {
    (
        $($(#[$about:meta])* $name:ident(
            $service:ty $(, client: $client_about:literal $client:ty)?
        ),)*
        ; clients: $($(#[$other_about:meta])* $other_name:ident($other:ty),)*
    ) => {
        /// Every service, with the options it was given.
        #[derive(Debug, clap::Subcommand)]
        pub enum Services {
            $($(#[$about])* $name(Box<cli::Serve<$service>>),)*
        }

        impl Services {
            /// The services' names, in the order of the list.
            pub const NAMES: &'static [&'static str] = &[$(<$service as Service>::NAME),*];

            /// For each service, in the order of the list, the options of every server that it
            /// never honours, and the defaults that are its own.
            pub(crate) fn profiles() -> Vec<Profile> {
                vec![$(Profile::of::<$service>()),*]
            }

            /// The options that the service, with those that it was given, cannot honour.
            pub(crate) fn unsupported(&self) -> Vec<Unsupported> {
                match self {
                    $(Services::$name(arguments) => cli::unsupported(arguments),)*
                }
            }

            /// Runs the service. The variables are ignored, and the log says so.
            pub(crate) fn run(self, ignored: Vec<Ignored>) -> Result<u8, Failure> {
                match self {
                    $(Services::$name(arguments) => cli::serve::<$service>(*arguments, &ignored),)*
                }
            }
        }

        /// The client of every service that has one, with its arguments.
        #[derive(Debug, clap::Subcommand)]
        pub enum Clients {
            $($(
                #[doc = $client_about]
                $name(client::Talk<$client>),
            )?)*
            $($(#[$other_about])* $other_name($other),)*
        }

        impl Clients {
            pub(crate) fn run(self) -> Result<u8, Failure> {
                match self {
                    $($(Clients::$name(arguments) => Talk::<$client>::run(arguments),)?)*
                    $(Clients::$other_name(arguments) => arguments.run(),)*
                }
            }
        }
    };
}

services! {
    /// Serve the files below a directory by HTTP
    Http(files::Http),
    /// Return every byte that is sent
    Echo(echo::Echo, client: "Send lines to an echo server" echo::client::EchoClient),
    /// Answer datagrams, over a simulated lossy network
    Ping(ping::Ping, client: "Measure round-trip times" ping::client::PingClient),
    /// Send one file as JSON
    Transfer(
        transfer::Transfer,
        client: "Receive the file that a server sends" transfer::client::TransferClient
    ),
    /// Send the current time
    Time(time::Time, client: "Ask a server for the time" time::client::TimeClient),
    /// Authenticate clients with a shared key, then echo
    Auth(
        auth::Auth,
        client: "Authenticate with a shared key, then send lines to an auth server"
            auth::client::AuthClient
    ),
    /// Run commands for authenticated clients
    Exec(exec::Exec, client: "Run a command on a server" exec::client::ExecClient),
    /// Serve and receive files by FTP
    Ftp(ftp::Ftp),
    /// Receive files, complete and verified
    Upload(upload::Upload, client: "Send files and folders" upload::client::UploadClient),
    ; clients:
    /// Transfer files and mirror folders over FTP
    Ftp(ftp::client::FtpClient),
}

/// The README's examples compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The example of this package's own README compiles.
#[cfg(doctest)]
#[doc = include_str!("README.md")]
struct PackageReadme;

/// The examples of the page on connections run. One of them needs this package.
#[cfg(doctest)]
#[doc = include_str!("../docs/connections.md")]
struct ConnectionsPage;
