use super::*;

const MICROS_123: Duration = Duration::from_micros(123);

fn source() -> Source {
    Source {
        target: "localhost:12000".to_owned(),
        from: "127.0.0.1".to_owned(),
    }
}

fn statistics(sent: u64, whats: &[What]) -> Statistics {
    let mut statistics = Statistics::default();
    statistics.sent = sent;
    for (sequence, what) in (1..).zip(whats) {
        statistics.record(Event {
            sequence,
            what: *what,
        });
    }
    statistics
}

/// Returns the text that was written to the output, and to the errors.
fn written(
    format: Format,
    several: bool,
    quiet: bool,
    write: impl Fn(&mut Report<&mut Vec<u8>, &mut Vec<u8>>) -> io::Result<()>,
) -> (String, String) {
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    write(&mut Report::new(
        &mut output,
        &mut errors,
        format,
        several,
        quiet,
        None,
    ))
    .unwrap();
    (
        String::from_utf8(output).unwrap(),
        String::from_utf8(errors).unwrap(),
    )
}

fn event_line(format: Format, several: bool, what: What) -> String {
    written(format, several, false, |report| {
        report.event(0, &source(), Event { sequence: 1, what })
    })
    .0
}

#[test]
fn lines_are_those_of_the_contract() {
    let text = |what| event_line(Format::Text, false, what);
    assert_eq!(
        text(What::Reply(MICROS_123)),
        "Sequence 1: Reply from 127.0.0.1    RTT = 0.000123s\n"
    );
    assert_eq!(text(What::TimedOut), "Sequence 1: Request timed out.\n");
    assert_eq!(
        text(What::Late(MICROS_123)),
        "Sequence 1: Late reply from 127.0.0.1    RTT = 0.000123s\n"
    );
    assert_eq!(
        text(What::Duplicate(MICROS_123)),
        "Sequence 1: Duplicate reply from 127.0.0.1    RTT = 0.000123s\n"
    );
}

#[test]
fn json_lines_are_those_of_the_contract() {
    let json = |what| event_line(Format::Json, false, what);
    assert_eq!(
        json(What::Reply(MICROS_123)),
        "{\"seq\": 1, \"from\": \"127.0.0.1\", \"rtt_ms\": 0.123}\n"
    );
    assert_eq!(json(What::TimedOut), "{\"seq\": 1, \"timeout\": true}\n");
    let late = "{\"seq\": 1, \"from\": \"127.0.0.1\", \"rtt_ms\": 0.123, \"late\": true}\n";
    assert_eq!(json(What::Late(MICROS_123)), late);
}

#[test]
fn with_several_servers_each_line_names_its_own() {
    assert_eq!(
        event_line(Format::Text, true, What::TimedOut),
        "localhost:12000: Sequence 1: Request timed out.\n"
    );
    let expected = "{\"target\": \"localhost:12000\", \"seq\": 1, \"timeout\": true}\n";
    assert_eq!(event_line(Format::Json, true, What::TimedOut), expected);
}

#[test]
fn a_path_is_quoted_as_json_wants_it() {
    let odd = Source {
        from: "unix:/a\"\\\u{1}é".to_owned(),
        ..source()
    };
    let line = json_line(
        &odd,
        Event {
            sequence: 1,
            what: What::Reply(MICROS_123),
        },
    );
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["from"], odd.from);
}

#[test]
fn a_summary_has_all_that_the_contract_asks_for() {
    let reply = What::Reply(Duration::from_millis(2));
    let statistics = statistics(4, &[reply, What::TimedOut, reply]);
    let expected = "--- localhost:12000 ping statistics ---\n\
        4 sent, 2 received, 33.3% lost, 0 duplicates, 0 out of order, 1 in flight\n\
        rtt min/avg/max/mdev = 2.000/2.000/2.000/0.000 ms, \
        p50/p90/p99 = 2.000/2.000/2.000 ms, jitter 0.000 ms\n";
    let text = written(Format::Text, false, true, |report| {
        report.summary(&source(), &statistics, false)
    })
    .0;
    assert_eq!(text, expected);
    let json = written(Format::Json, false, true, |report| {
        report.summary(&source(), &statistics, false)
    })
    .0;
    assert_eq!(
        json,
        "{\"sent\": 4, \"received\": 2, \"loss_percent\": 33.3, \"duplicates\": 0, \
         \"reordered\": 0, \"rtt_min_ms\": 2.000, \
         \"rtt_avg_ms\": 2.000, \"rtt_max_ms\": 2.000, \"rtt_mdev_ms\": 0.000, \
         \"rtt_p50_ms\": 2.000, \"rtt_p90_ms\": 2.000, \
         \"rtt_p99_ms\": 2.000}\n"
    );
}

#[test]
fn without_any_reply_there_are_no_round_trips() {
    let statistics = statistics(1, &[What::TimedOut]);
    let text = text_summary(&source(), &statistics, false);
    assert!(
        text.ends_with("1 sent, 0 received, 100% lost, 0 duplicates, 0 out of order"),
        "{text}"
    );
    let value: serde_json::Value = serde_json::from_str(&json_summary(&statistics, true)).unwrap();
    for key in ["rtt_min_ms", "rtt_p99_ms", "request_loss", "reply_loss"] {
        assert!(value[key].is_null(), "{key}");
    }
}

#[test]
fn which_way_the_lost_went_is_told_if_the_server_counts() {
    let reply = What::Reply(MICROS_123);
    let mut statistics = statistics(
        5,
        &[reply, What::TimedOut, What::TimedOut, reply, What::TimedOut],
    );
    assert!(text_summary(&source(), &statistics, true).contains("no reply came with a count"));
    statistics.record_count(3);
    let text = text_summary(&source(), &statistics, true);
    assert!(
        text.contains("\nrequest loss 1, reply loss 1, unknown 1\n"),
        "{text}"
    );
    let value: serde_json::Value = serde_json::from_str(&json_summary(&statistics, true)).unwrap();
    assert_eq!(
        (value["request_loss"].as_u64(), value["reply_loss"].as_u64()),
        (Some(1), Some(1))
    );
}

#[test]
fn an_interim_summary_does_not_come_between_json_lines() {
    let statistics = Statistics::default();
    let interim = |format| {
        written(format, false, false, |report| {
            report.interim(&source(), &statistics, false)
        })
    };
    let (output, errors) = interim(Format::Json);
    assert!(output.is_empty() && errors.contains("0 sent"), "{errors}");
    let (output, errors) = interim(Format::Text);
    assert!(output.contains("0 sent") && errors.is_empty(), "{output}");
}

#[test]
fn quiet_leaves_the_summary_and_notices() {
    let (output, errors) = written(Format::Text, false, true, |report| {
        report.event(
            0,
            &source(),
            Event {
                sequence: 1,
                what: What::TimedOut,
            },
        )?;
        report.notice("a notice")
    });
    assert_eq!(
        (output.as_str(), errors.as_str()),
        ("", "socketserver: a notice\n")
    );
}
