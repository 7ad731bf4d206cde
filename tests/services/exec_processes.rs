//! `exec`: what becomes of a command's processes.

use crate::support::{TestDir, wait_until};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use crate::exec::{client, sleepers, start, wait_for_processes};

/// The time after a request within which the end of the client's side means that it waits for the
/// answer (docs of `exec`).
const HALF_CLOSE_TIMEOUT: Duration = Duration::from_millis(50);

#[test]
fn a_time_out_kills_the_whole_group_and_keeps_the_output_so_far() {
    let server = start(&["--command-timeout", "300ms"]);
    let (command, mark) = sleepers("1");
    assert_eq!(
        client(&server, &[&command]),
        (Some(124), "begun\n".to_owned(), String::new())
    );
    wait_for_processes(&mark, 0);
}

#[test]
fn commands_leave_no_descriptor_and_no_zombie() {
    let server = start(&["--max-output", "100"]);
    let once = || {
        ["true", "yes", "no-such-command"]
            .iter()
            .for_each(|command| drop(client(&server, &[command])))
    };
    once();
    let before = server.descriptors();
    (0..5).for_each(|_| once());
    wait_until("no descriptor is left", || server.descriptors() <= before);
    let threads = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let children = threads
        .map(|thread| std::fs::read_to_string(thread.unwrap().path().join("children")).unwrap());
    assert_eq!(children.collect::<String>(), "");
}

#[test]
fn what_a_command_leaves_behind_ends_with_it() {
    let server = start(&[]);
    let mark = sleepers("2").1;
    let (code, out, _) = client(&server, &["sh", "-c", &format!("sleep {mark} & echo done")]);
    assert_eq!((code, out.as_str()), (Some(0), "done\n"));
    wait_for_processes(&mark, 0);
}

#[test]
fn a_client_that_goes_away_takes_its_command_along() {
    let server = start(&[]);
    let (command, mark) = sleepers("3");
    let mut stream = server.connect();
    writeln!(stream, "{command}").unwrap();
    wait_for_processes(&mark, 2);
    // An end that comes sooner after the request is taken for the end of the client's side only.
    std::thread::sleep(2 * HALF_CLOSE_TIMEOUT);
    drop(stream);
    wait_for_processes(&mark, 0);
    assert!(server.wait_for_log("its client has gone").contains(&mark));
}

#[test]
fn a_client_that_ends_only_its_side_gets_its_answer() {
    for (request, framing) in [
        (&b"sh -c 'sleep 0.3; echo late'"[..], "raw"),
        (b"sh -c 'sleep 0.3; echo late'\n", "raw"),
    ] {
        let server = start(&["--framing", framing]);
        let mut stream = server.connect();
        stream.write_all(request).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "late\n");
    }
}

#[test]
fn a_shutdown_lets_a_command_end_within_the_grace_and_kills_it_afterwards() {
    for (model, number) in [("pool", "5"), ("threads", "6")] {
        let mut server = start(&["--framing", "raw", "--model", model]);
        let mark = format!("0.4{}{number}", std::process::id());
        let mut stream = server.connect();
        writeln!(stream, "sh -c 'sleep {mark}; echo in time'").unwrap();
        wait_for_processes(&mark, 1);
        server.signal("TERM");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(
            (answer.as_str(), server.wait().0),
            ("in time\n", Some(0)),
            "{model}"
        );

        let mut server = start(&["--grace", "200ms", "--model", model]);
        let (command, mark) = sleepers(&format!("{number}1"));
        let mut held = server.connect();
        writeln!(held, "{command}").unwrap();
        wait_for_processes(&mark, 2);
        server.signal("TERM");
        assert_eq!(server.wait().0, Some(1), "{model}");
        wait_for_processes(&mark, 0);
    }
}

#[test]
fn commands_do_not_wait_for_each_other() {
    let server = start(&["--threads", "1", "--max-threads", "20", "--framing", "raw"]);
    let dir = TestDir::new("exec-beside-each-other");
    // Each command ends when all ten run.
    dir.write(
        "wait.sh",
        "touch $$\nuntil [ $(ls [0-9]* | wc -l) -eq 10 ]; do sleep 0.02; done\necho x\n",
    );
    let command = format!("sh -c 'cd {} && . ./wait.sh'\n", dir.as_str());
    let mut streams: Vec<TcpStream> = (0..10).map(|_| server.connect()).collect();
    for stream in &mut streams {
        stream.write_all(command.as_bytes()).unwrap();
    }
    for stream in &mut streams {
        stream.read_exact(&mut [0; 2]).unwrap();
    }
}
