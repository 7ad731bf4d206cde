//! The services of `socketserver`, and the command line that runs them.

pub mod cli;
pub mod common;
mod descriptors;
pub mod http;
pub mod service;

use service::{Failure, Service};

/// The list of services: what stands here has a subcommand, its help, `make run-NAME`, and the tests that every service must pass.
macro_rules! services {
    ($($(#[$about:meta])* $name:ident($service:ty),)*) => {
        /// Every service, with the options it was given.
        #[derive(Debug, clap::Subcommand)]
        pub enum Services {
            $($(#[$about])* $name(cli::Serve<$service>),)*
        }

        impl Services {
            /// The services' names, in the order of the list.
            pub const NAMES: &'static [&'static str] = &[$(<$service as Service>::NAME),*];

            pub(crate) fn run(self) -> Result<u8, Failure> {
                match self {
                    $(Services::$name(arguments) => cli::serve::<$service>(arguments),)*
                }
            }
        }
    };
}

services! {
    /// Serve the files below a directory by HTTP
    Http(http::Http),
}
