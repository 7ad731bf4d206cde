//! A server in a terminal: what SIGHUP means to it.

use crate::support::python;

/// Starts the server as the leader of a session that has a terminal, waits for its ready line,
/// does what it is told, and prints the exit code, or that the server goes on.
const SCRIPT: &str = r#"
import os, pty, signal, subprocess, sys, time
what, program, arguments = sys.argv[1], sys.argv[2], sys.argv[3:]
master, slave = pty.openpty()
def begin():
    os.setsid()
    import fcntl, termios
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    if what == 'nohup':
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
server = subprocess.Popen([program] + arguments, stdin=slave, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, preexec_fn=begin)
os.close(slave)
server.stdout.readline()
if what == 'kill':
    server.send_signal(signal.SIGHUP)
else:
    os.close(master)
    if what == 'nohup':
        server.send_signal(signal.SIGHUP)
for line in server.stderr:
    if b'reloaded' in line:
        print('reloaded', server.poll() is None)
        server.kill()
print(server.wait(10))
"#;

fn in_a_terminal(test: &str, what: &str) -> Option<String> {
    let program = env!("CARGO_BIN_EXE_socketserver");
    let server = ["serve", "echo", "--bind", "127.0.0.1:0"];
    python(test, SCRIPT, &[&[what, program], &server[..]].concat())
}

#[test]
fn a_closing_terminal_ends_the_server() {
    if let Some(output) = in_a_terminal("a_closing_terminal", "close") {
        assert_eq!(output, "0\n");
    }
}

#[test]
fn a_hangup_while_the_terminal_is_open_reloads() {
    if let Some(output) = in_a_terminal("a_hangup_while", "kill") {
        assert_eq!(output, "reloaded True\n-9\n");
    }
}

#[test]
fn under_nohup_a_closing_terminal_reloads() {
    if let Some(output) = in_a_terminal("under_nohup", "nohup") {
        assert!(output.starts_with("reloaded True\n"), "{output}");
    }
}
