//! The example programs of both packages, and those of the lessons.

use std::io::BufRead;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use super::process::{BoundedCommand, Process};

/// The time limit of a build of all examples.
const BUILD_TIMEOUT: Duration = Duration::from_secs(3600);

/// The folder of a package's example programs.
pub(crate) fn examples_of(package: &'static str) -> PathBuf {
    built(package, "--examples").join("examples")
}

/// The folder of the test's profile, with the programs of a package (`--examples` or `--bins`). The
/// first call of a test program builds them. For examples, `cargo test` has done so already, unless
/// it was told to run only some tests.
pub(crate) fn built(package: &'static str, programs: &str) -> PathBuf {
    static BUILT: Mutex<Vec<&str>> = Mutex::new(Vec::new());
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().unwrap().parent().unwrap();
    let mut built = BUILT.lock().unwrap();
    if !built.contains(&package) {
        let mut build = Command::new(env!("CARGO"));
        build
            .args(["build", "--quiet", "--locked", "--package", package])
            .args([programs, "--target-dir"])
            .arg(profile.parent().unwrap())
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        if profile.ends_with("release") {
            build.arg("--release");
        }
        let output = build.finish_within(BUILD_TIMEOUT);
        assert!(output.status.success(), "{output:?}");
        built.push(package);
    }
    profile.to_owned()
}

/// An example that serves, ended at the end of the test.
pub(crate) struct Example {
    _process: Process,
    /// `HOST:PORT`.
    pub(crate) address: String,
}

impl Example {
    /// Starts it on a free port.
    pub(crate) fn start(package: &'static str, name: &str, arguments: &[&str]) -> Example {
        let mut process = Command::new(examples_of(package).join(name))
            .arg("127.0.0.1:0")
            .args(arguments)
            .stdout(Stdio::piped())
            .start();
        let mut ready = String::new();
        process.stdout().read_line(&mut ready).unwrap();
        let url = ready.trim_end().trim_end_matches('/');
        let (_, address) = url.rsplit_once('/').unwrap();
        Example {
            _process: process,
            address: address.to_owned(),
        }
    }
}
