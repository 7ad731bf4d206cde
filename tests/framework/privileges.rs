//! A process that gives up root.

use std::io::Write;

use socketserver::{Next, StreamRequest, drop_privileges};

use crate::support::{Running, alone};

const NOBODY: u32 = 65534;

#[test]
fn a_process_that_gives_up_root_serves_on_the_port_that_root_has_bound() {
    if !rustix::process::geteuid().is_root() {
        let _ = writeln!(std::io::stderr(), "SKIPPED: only root can give up root");
        return;
    }
    alone(|| {
        let who = |request: &mut StreamRequest| {
            request.rfile.take_all();
            let user = rustix::process::geteuid().as_raw();
            writeln!(request.wfile, "{user}")?;
            Ok(Next::Wait)
        };
        let server = socketserver::Builder::new().tcp("127.0.0.1:0", move |_| who);
        let server = Running::start(server.unwrap());
        let mut client = server.connect();
        client.say(b"?").hear(b"0\n");
        drop_privileges(NOBODY, NOBODY).unwrap();
        // The threads that ran already have changed as well.
        client.say(b"?").hear(b"65534\n");
        assert!(drop_privileges(0, 0).is_err());
    });
}
