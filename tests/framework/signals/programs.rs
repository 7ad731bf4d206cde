//! The programs that the tests run.

use std::fmt::Display;
use std::io::Write;
use std::process::Command;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use socketserver::{
    Builder, ClientAddress, Next, Result, ServerHandle, StreamRequest, TcpServer, reload_on_hangup,
    reset_inherited_signals, shutdown_on_ctrl_c,
};

use crate::process::BoundedCommand;

pub(crate) fn run(arguments: &[String]) {
    match &*arguments[0] {
        "reset" => reset(),
        "serve" => {
            if let Some(terminal) = arguments.get(1) {
                take_terminal(terminal);
            }
            serve();
        }
        "serve-twice" => (0..2).for_each(|_| serve()),
        "drop-servers" => drop_servers(),
        "outlive-server" => outlive_server(),
        "reload" => reload(),
        other => panic!("no program {other}"),
    }
}

fn print(what: impl Display) {
    // The test may have seen enough.
    let _ = writeln!(std::io::stdout(), "{what}");
}

fn reset() {
    reset_inherited_signals().unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mask = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        u64::from_str_radix(line.unwrap().trim(), 16).unwrap()
    };
    // The C library keeps the signals 32 and 33 for itself: nobody can change them.
    let own = 3 << 31;
    print(format_args!("ignored {:x}", mask("SigIgn:") & !own));
    print(format_args!("blocked {:x}", mask("SigBlk:")));
    // With SIGCHLD ignored, wait(2) fails: there is no exit code.
    let status = Command::new("sh").args(["-c", "exit 3"]).finish().status;
    print(format_args!(
        "a command ended with {}",
        status.code().unwrap()
    ));
}

/// Makes this terminal the one of a session of our own.
fn take_terminal(path: &str) {
    rustix::process::setsid().unwrap();
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let _terminal = rustix::fs::open(path, flags, Mode::empty()).unwrap();
}

/// Returns each line. After `wait` a message is under way until the next line, with which it ends.
fn class(_: &ClientAddress) -> impl FnMut(&mut StreamRequest) -> Result<Next> + use<> {
    let mut waits = false;
    move |request| {
        while let Some(line) = request.rfile.take_line(80)? {
            if line == b"wait\n" {
                request.wfile.write_all(b"waiting\n")?;
                waits = true;
                continue;
            }
            request.wfile.write_all(line)?;
            if waits {
                return Ok(Next::Close);
            }
        }
        Ok(if waits {
            Next::in_message()
        } else {
            Next::Wait
        })
    }
}

fn server() -> TcpServer {
    Builder::new().tcp("127.0.0.1:0", class).unwrap()
}

/// Serves until a signal.
fn serve_until_signal(mut server: TcpServer) {
    shutdown_on_ctrl_c(server.handle()).unwrap();
    print(server.server_address());
    let printing = print_shutdown(server.handle());
    server.serve_forever().unwrap();
    printing.join().unwrap();
}

fn print_shutdown(handle: ServerHandle) -> JoinHandle<()> {
    std::thread::spawn(move || {
        while !handle.is_shutting_down() {
            std::thread::sleep(Duration::from_millis(1));
        }
        print("shutting down");
    })
}

fn serve() {
    let server = server();
    reload_on_hangup(&server.handle(), || print("reloaded")).unwrap();
    serve_until_signal(server);
    print("ended");
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn drop_servers() {
    let register = || {
        let server = server();
        shutdown_on_ctrl_c(server.handle()).unwrap();
        reload_on_hangup(&server.handle(), || {}).unwrap();
    };
    register();
    let before = descriptors();
    (0..50).for_each(|_| register());
    print(format_args!("{} descriptors more", descriptors() - before));
}

fn outlive_server() {
    let server = server();
    let handle = server.handle();
    shutdown_on_ctrl_c(handle.clone()).unwrap();
    reload_on_hangup(&handle, || {}).unwrap();
    drop(server); // the handle stays
    print("no server any more");
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn reload() {
    let server = server();
    let handle = server.handle();
    let inner = handle.clone();
    let first = move || {
        let second = || {
            print("second");
            panic!("told to panic");
        };
        reload_on_hangup(&inner, second).unwrap();
        print("first");
    };
    reload_on_hangup(&handle, first).unwrap();
    serve_until_signal(server);
    print(format_args!("ended; panics: {}", handle.stats().panics));
}
