//! `serve http` under `slowhttptest`, whose clients hold what they can for as long as they can.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::http::raw::ask;
use crate::support::{BoundedCommand, Process, TestDir, TestServer, has_tool};

/// What a client that means well waits at most; undisturbed it is about a millisecond. On a busy
/// machine one answer in a hundred may take longer.
const PROMPT: Duration = Duration::from_secs(1);

/// The modes: what is sent slowly, and what of. All with 250 connections, for 12 seconds.
const ATTACKS: [(&str, &str); 4] = [
    ("slow heads", "-H -i 1 -u URL/small.txt"),
    (
        "slow bodies",
        "-B -i 1 -t PUT -s 100000 -u URL/uploaded.bin",
    ),
    (
        "slow reading",
        "-X -w 512 -y 1024 -n 1 -z 32 -k 3 -u URL/large.bin",
    ),
    ("many ranges", "-R -a 1 -b 3000 -u URL/small.txt"),
];

fn attack(url: &str, arguments: &str) -> Process {
    let arguments = format!("-c 250 -r 125 -l 12 -p 5 {}", arguments.replace("URL", url));
    let mut command = Command::new("slowhttptest");
    command
        .args(arguments.split(' '))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .start()
}

#[test]
fn a_good_client_is_served_promptly_beside_a_thousand_slow_ones() {
    if !has_tool(
        "slowhttptest",
        "a_good_client_is_served_promptly_beside_a_thousand_slow_ones",
    ) {
        return;
    }
    let dir = TestDir::new("slow-clients");
    dir.write("small.txt", [b'x'; 4096]);
    dir.write("large.bin", vec![b'x'; 8 << 20]);
    let server = TestServer::start(&["http", dir.as_str(), "--upload", "--no-fsync"]);
    let url = format!("http://{}", server.address());
    let mut attacks = ATTACKS.map(|(what, arguments)| (what, attack(&url, arguments)));
    let (mut most, mut times) = (0, Vec::new());
    while attacks
        .iter_mut()
        .any(|(_, child)| child.try_wait().is_none())
    {
        let begun = Instant::now();
        assert_eq!(ask(&server, "GET", "/small.txt", &[]).body.len(), 4096);
        times.push(begun.elapsed());
        most = most.max(server.descriptors());
        std::thread::sleep(Duration::from_millis(20)); // a rate, not a wait
    }
    let late = times.iter().filter(|time| **time >= PROMPT).count();
    assert!(late * 100 <= times.len(), "{late} late answers: {times:?}");
    assert!(
        most > 500,
        "the attacks held no more than {most} connections at once"
    );
    for (what, child) in attacks {
        let output = child.finish();
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && told.contains("Exit status"),
            "{what}: {told}"
        );
        // Its own probes, which wait for 5 seconds.
        assert_eq!(
            told.matches("service available").count(),
            told.matches("YES\x1b").count(),
            "{what}: {told}"
        );
    }
}
