//! The services of `socketserver`, and the command line that runs them.

pub mod auth;
pub mod cli;
pub mod client;
pub mod common;
mod descriptors;
pub mod echo;
pub mod exec;
pub mod http;
pub mod ping;
pub mod service;
pub mod time;
pub mod transfer;
pub mod upload;

use client::Talk;
use service::{Failure, Service};

/// The list of services: what stands here has a subcommand, its help, `make run-NAME`, and the
/// tests that every service must pass.
macro_rules! services {
    ($($(#[$about:meta])* $name:ident($service:ty $(, client: $client_about:literal $client:ty)?),)*) => {
        /// Every service, with the options it was given.
        #[derive(Debug, clap::Subcommand)]
        pub enum Services {
            $($(#[$about])* $name(Box<cli::Serve<$service>>),)*
        }

        impl Services {
            /// The services' names, in the order of the list.
            pub const NAMES: &'static [&'static str] = &[$(<$service as Service>::NAME),*];

            pub(crate) fn run(self) -> Result<u8, Failure> {
                match self {
                    $(Services::$name(arguments) => cli::serve::<$service>(*arguments),)*
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
        }

        impl Clients {
            pub(crate) fn run(self) -> Result<u8, Failure> {
                match self {
                    $($(Clients::$name(arguments) => Talk::<$client>::run(arguments),)?)*
                }
            }
        }
    };
}

services! {
    /// Serve the files below a directory by HTTP
    Http(http::Http),
    /// Return what is sent
    Echo(echo::Echo, client: "Send lines to a server that returns them" echo::client::EchoClient),
    /// Answer datagrams, with a network as bad as you like
    Ping(ping::Ping, client: "Measure round trips" ping::client::PingClient),
    /// Send one file as JSON
    Transfer(transfer::Transfer, client: "Fetch the file that a server sends" transfer::client::TransferClient),
    /// Tell the time
    Time(time::Time, client: "Ask a server for the time" time::client::TimeClient),
    /// Prove who you are, then echo
    Auth(auth::Auth, client: "Prove who you are to a server, and send lines to it" auth::client::AuthClient),
    /// Run commands for clients that prove who they are
    Exec(exec::Exec, client: "Run a command on a server" exec::client::ExecClient),
    /// Take files, whole and verified
    Upload(upload::Upload, client: "Send files and folders" upload::client::UploadClient),
}

/// The README's examples compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
