//! What the compiler says about a wrong argument is an instruction to the author of a handler.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{BoundedCommand, TestDir};

/// The compiler's complaints about `statement`, with the library as these tests use it.
fn complaints(dir: &TestDir, statement: &str) -> String {
    let program = format!(
        "#![allow(unused)]\n#![deny(unused_must_use)]\nuse socketserver::*;\nstruct Wrong;\n\
         fn main() {{ let _ = {statement}; }}"
    );
    let source = dir.join("program.rs");
    fs::write(&source, program).unwrap();
    let libraries = std::env::current_exe().unwrap();
    let libraries = libraries.parent().unwrap();
    let output = Command::new("rustc")
        .args(["--edition", "2024", "--emit", "metadata", "--extern"])
        .arg(format!(
            "socketserver={}",
            newest_library(libraries).display()
        ))
        .arg("-L")
        .arg(format!("dependency={}", libraries.display()))
        .arg("-o")
        .arg(dir.join("program.rmeta"))
        .arg(&source)
        .finish();
    assert!(!output.status.success(), "`{statement}` compiles");
    String::from_utf8(output.stderr).unwrap()
}

/// Builds with other features have other names in the same folder.
fn newest_library(folder: &Path) -> PathBuf {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let ours = files.filter(|file| {
        let name = file.file_name().into_string().unwrap_or_default();
        name.starts_with("libsocketserver-") && name.ends_with(".rlib")
    });
    let newest = ours.max_by_key(|file| file.metadata().unwrap().modified().unwrap());
    newest.unwrap().path()
}

#[test]
fn a_wrong_argument_is_a_compile_error_that_says_what_is_expected() {
    let dir = TestDir::new();
    for (statement, message, advice) in [
        (
            "Builder::new().tcp(\"127.0.0.1:0\", Wrong)",
            "`Wrong` does not make handlers",
            "write `|_| handler` instead of `handler`",
        ),
        (
            "Builder::new().tcp(\"127.0.0.1:0\", |_| Wrong)",
            "`Wrong` does not handle connections",
            "a handler implements `socketserver::StreamRequestHandler`",
        ),
        (
            "Builder::new().udp(\"127.0.0.1:0\", |_| Wrong)",
            "`Wrong` does not handle datagrams",
            "a handler implements `socketserver::DatagramRequestHandler`",
        ),
        (
            "Builder::new().tcp(7007, |_| Wrong)",
            "`{integer}` is not an address",
            "a pair such as `(\"127.0.0.1\", 8000)`",
        ),
        (
            "Builder::new().process(Wrong)",
            "`Wrong` is not a concurrency model",
            "use `ThreadingMixIn::new()`",
        ),
        (
            "Builder::new().hooks(Wrong)",
            "`Wrong` has no hooks of a server",
            "write `impl socketserver::ServerHooks for Wrong { … }`",
        ),
    ] {
        let text = complaints(&dir, statement);
        assert!(text.contains(message), "{statement}: {text}");
        assert!(text.contains(advice), "{statement}: {text}");
    }
}

#[test]
fn settings_that_make_no_server_are_a_warning() {
    let dir = TestDir::new();
    let statement = "{ Builder::new().max_connections(5); }";
    let text = complaints(&dir, statement);
    assert!(text.contains("when it makes a server"), "{text}");
}
