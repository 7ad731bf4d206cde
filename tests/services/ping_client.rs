//! The client of `ping`: its lines, its figures, its signals.

use crate::ping::{ping, sequences, socket_to};
use crate::support::{TestServer, run};

/// The line with everything that looks like a measured time replaced.
fn pattern(line: &str) -> String {
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    for word in &mut words {
        if word.contains('.') && word.trim_end_matches('s').parse::<f64>().is_ok() {
            *word = format!(
                "<{}>",
                word.trim_end_matches('s').split('.').nth(1).unwrap().len()
            );
        }
    }
    words.join(" ")
}

#[test]
fn the_client_prints_the_lines_of_the_contract() {
    let server = TestServer::start(&["ping", "--drop-every", "3"]);
    let (code, lines) = ping(&server, &["-c", "4", "-i", "20ms", "-W", "500ms"]);
    assert_eq!(code, Some(0));
    let lines: Vec<String> = lines.iter().map(|line| pattern(line)).collect();
    let address = server.address();
    assert_eq!(
        lines[..6],
        [
            "Sequence 2: Reply from 127.0.0.1    RTT = <6>".to_owned(),
            "Sequence 3: Reply from 127.0.0.1    RTT = <6>".to_owned(),
            "Sequence 1: Request timed out.".to_owned(),
            "Sequence 4: Request timed out.".to_owned(),
            format!("--- {address} ping statistics ---"),
            "4 sent, 2 received, 50% lost, 0 duplicates, 0 out of order".to_owned(),
        ]
    );
    assert!(
        lines[6].starts_with("rtt min/avg/max/mdev = ") && lines[6].contains(" ms, p50/p90/p99 = "),
        "{}",
        lines[6]
    );
    assert_eq!(lines.len(), 7);
}

#[test]
fn without_any_reply_the_client_fails() {
    let server = TestServer::start(&["ping", "--loss", "100"]);
    let (code, lines) = ping(&server, &["-c", "3", "-i", "10ms", "-W", "50ms"]);
    assert_eq!(code, Some(1));
    let timed_out: Vec<String> = (1..4)
        .map(|number| format!("Sequence {number}: Request timed out."))
        .collect();
    assert_eq!(lines[..3], timed_out);
    assert!(
        lines[4].starts_with("3 sent, 0 received, 100% lost"),
        "{}",
        lines[4]
    );
}

#[test]
fn nobody_there_is_told_once_and_ends_nothing() {
    let address = TestServer::start(&["ping"]).address().to_string();
    let (code, output, errors) = run(&[
        "client", "ping", &address, "-c", "3", "-i", "10ms", "-W", "30ms",
    ]);
    assert_eq!(code, Some(1));
    assert_eq!(output.matches("Request timed out.").count(), 3, "{output}");
    assert_eq!(
        errors,
        format!("socketserver: nothing listens at {address}: connection refused\n")
    );
}

#[test]
fn json_has_the_keys_of_the_contract_and_no_others() {
    let server = TestServer::start(&["ping", "--drop-every", "2"]);
    let (code, lines) = ping(&server, &["-c", "2", "-i", "10ms", "-W", "100ms", "--json"]);
    assert_eq!((code, lines.len()), (Some(0), 3), "{lines:?}");
    assert_eq!(lines[1], "{\"seq\": 1, \"timeout\": true}");
    let reply: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    assert!(
        lines[0].starts_with("{\"seq\": 2, \"from\": \"127.0.0.1\", \"rtt_ms\": "),
        "{}",
        lines[0]
    );
    assert!(reply["rtt_ms"].as_f64().unwrap() > 0.0);
    let summary: serde_json::Value = serde_json::from_str(&lines[2]).unwrap();
    let mut keys: Vec<&str> = summary
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "duplicates",
            "loss_percent",
            "received",
            "reordered",
            "rtt_avg_ms",
            "rtt_max_ms",
            "rtt_mdev_ms",
            "rtt_min_ms",
            "rtt_p50_ms",
            "rtt_p90_ms",
            "rtt_p99_ms",
            "sent"
        ]
    );
    assert_eq!(summary["loss_percent"].as_f64(), Some(50.0));
}

#[test]
fn the_client_sees_delay_and_jitter() {
    let server = TestServer::start(&["ping", "--delay", "60ms", "--jitter", "20ms"]);
    let (_, lines) = ping(&server, &["-c", "20", "-i", "5ms", "-W", "5s", "--json"]);
    let summary: serde_json::Value = serde_json::from_str(lines.last().unwrap()).unwrap();
    assert_eq!(summary["received"].as_u64(), Some(20));
    assert!(summary["rtt_min_ms"].as_f64().unwrap() >= 40.0, "{summary}");
    assert!(
        (50.0..).contains(&summary["rtt_avg_ms"].as_f64().unwrap()),
        "{summary}"
    );
    assert!(summary["rtt_mdev_ms"].as_f64().unwrap() > 2.0, "{summary}");
}

#[test]
fn the_client_sees_duplicates() {
    let server = TestServer::start(&["ping", "--duplicate", "100"]);
    let (_, lines) = ping(&server, &["-c", "3", "-i", "50ms"]);
    assert_eq!(
        sequences(&lines, "Duplicate reply from 127.0.0.1    RTT = ")[..2],
        [1, 2]
    );
    assert!(
        lines
            .iter()
            .any(|line| line.contains("3 sent, 3 received, 0% lost")),
        "{lines:?}"
    );
}

#[test]
fn the_client_sees_replies_out_of_order() {
    let server = TestServer::start(&["ping", "--reorder", "100"]);
    let (_, lines) = ping(&server, &["-c", "4", "-i", "20ms", "-W", "10s"]);
    assert_eq!(sequences(&lines, "Reply"), [2, 1, 4, 3]);
    assert!(
        lines
            .iter()
            .any(|line| line.contains("0 duplicates, 2 out of order")),
        "{lines:?}"
    );
}

#[test]
fn a_late_reply_is_told_and_not_lost() {
    let server = TestServer::start(&["ping", "--delay", "150ms"]);
    let (code, lines) = ping(&server, &["-c", "3", "-i", "200ms", "-W", "50ms"]);
    assert_eq!(code, Some(0));
    assert_eq!(
        sequences(&lines, "Late reply from 127.0.0.1    RTT = 0.")[..2],
        [1, 2]
    );
    assert!(
        lines
            .iter()
            .any(|line| line.contains("3 sent, 2 received, 33.3% lost")),
        "{lines:?}"
    );
    assert!(
        lines.iter().any(|line| line.ends_with("2 late")),
        "{lines:?}"
    );
}

#[test]
fn split_tells_lost_requests_from_lost_replies() {
    let server = TestServer::start(&[
        "ping",
        "--split",
        "--loss",
        "50",
        "--seed",
        "3",
        "--log-level",
        "debug",
    ]);
    let (_, lines) = ping(
        &server,
        &[
            "-c", "60", "-i", "2ms", "-W", "300ms", "--split", "--json", "-s", "100",
        ],
    );
    let answered: Vec<u64> = lines[..60]
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|line| line["rtt_ms"].is_number())
        .map(|line| line["seq"].as_u64().unwrap())
        .collect();
    let last = *answered.iter().max().unwrap();
    // The truth, as the server logged it, one line for each loss.
    let (mut requests, mut replies, mut unanswered) = (0, 0, 0);
    for sequence in 1..=last {
        if !answered.contains(&sequence) {
            unanswered += 1;
            let line = server.wait_for_log("gets lost");
            requests += u64::from(line.contains("a request"));
            replies += u64::from(line.contains("a reply"));
        }
    }
    assert!(
        requests > 3 && replies > 3 && requests + replies == unanswered,
        "{requests} + {replies} of {unanswered}"
    );
    let summary: serde_json::Value = serde_json::from_str(lines.last().unwrap()).unwrap();
    assert_eq!(
        (
            summary["request_loss"].as_u64(),
            summary["reply_loss"].as_u64()
        ),
        (Some(requests), Some(replies))
    );
}

#[test]
fn a_server_that_does_not_count_changes_nothing() {
    let server = TestServer::start(&["ping"]);
    let (code, lines) = ping(&server, &["-c", "1", "--split"]);
    assert_eq!(code, Some(0));
    assert!(
        lines
            .iter()
            .any(|line| line.contains("no reply came with a count")),
        "{lines:?}"
    );
    let socket = socket_to(&server);
    let request = b"Ping 1 1.000000 split=00000001:0000000000";
    socket.send(request).unwrap();
    let mut answer = [0; 100];
    let length = socket.recv(&mut answer).unwrap();
    assert_eq!(answer[..length], request.to_ascii_uppercase());
}

#[test]
fn several_servers_are_measured_at_once() {
    let (good, bad) = (
        TestServer::start(&["ping"]),
        TestServer::start(&["ping", "--loss", "100"]),
    );
    let other = bad.address().to_string();
    let (code, lines) = ping(&good, &[&other, "-c", "2", "-i", "10ms", "-W", "50ms"]);
    assert_eq!(code, Some(0));
    let replies = lines
        .iter()
        .filter(|line| line.starts_with(&format!("{}: Sequence ", good.address())));
    assert_eq!(
        replies.filter(|line| line.contains("Reply from")).count(),
        2
    );
    let lost = lines
        .iter()
        .filter(|line| line.starts_with(&format!("{other}: Sequence ")));
    assert_eq!(lost.filter(|line| line.ends_with("timed out.")).count(), 2);
    assert_eq!(
        lines.iter().filter(|line| line.starts_with("--- ")).count(),
        2
    );
}

#[test]
fn a_flood_waits_for_nobody() {
    let server = TestServer::start(&["ping"]);
    let (code, lines) = ping(&server, &["--flood", "-c", "500", "-q"]);
    assert_eq!(code, Some(0));
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(
        lines[1].starts_with("500 sent, 500 received, 0% lost"),
        "{}",
        lines[1]
    );
}

#[test]
fn off_a_terminal_the_plot_comes_once_at_the_end() {
    let server = TestServer::start(&["ping"]);
    let (_, lines) = ping(&server, &["--plot", "-c", "5", "-i", "5ms"]);
    assert_eq!(lines[0], server.address().to_string());
    assert!(
        ('\u{2800}'..='\u{28ff}').contains(&lines[1].chars().next().unwrap()),
        "no dots: {lines:?}"
    );
    assert!(
        lines.iter().all(|line| !line.contains('\u{1b}')),
        "{lines:?}"
    );
    assert_eq!(
        lines
            .iter()
            .filter(|line| line.ends_with(" ms") && !line.contains("rtt"))
            .count(),
        2,
        "the scale"
    );
}

#[test]
fn a_deadline_ends_the_run() {
    let server = TestServer::start(&["ping"]);
    let (code, lines) = ping(&server, &["-w", "100ms", "-i", "10ms", "-q"]);
    assert_eq!(code, Some(0));
    assert!(lines[1].contains("0% lost"), "{lines:?}");
}
