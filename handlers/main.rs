//! The binary `socketserver`.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    match socketserver_handlers::cli::main(std::env::args_os()) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            // The message is written with one call, so that it stays one line among the output of
            // other processes. If this fails, the exit code still shows the failure.
            let line = format!("socketserver: {}\n", failure.message.replace('\n', " "));
            let _ = std::io::stderr().write_all(line.as_bytes());
            ExitCode::from(failure.code)
        }
    }
}
