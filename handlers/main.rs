//! The binary `socketserver`.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    match socketserver_handlers::cli::main(std::env::args_os()) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            // If nobody reads standard error, the exit code still tells.
            let _ = writeln!(std::io::stderr(), "socketserver: {}", failure.message.replace('\n', " "));
            ExitCode::from(failure.code)
        }
    }
}
