//! The binary `socketserver`.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    match socketserver_handlers::cli::main(std::env::args_os()) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            // In one write, so that it stays one line beside others; if nobody reads it, the exit
            // code still tells.
            let line = format!("socketserver: {}\n", failure.message.replace('\n', " "));
            let _ = std::io::stderr().write_all(line.as_bytes());
            ExitCode::from(failure.code)
        }
    }
}
