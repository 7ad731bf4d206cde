use super::*;

/// 2026-01-01 is in the first era, 2040-01-01 in the second.
const IN_2026: u64 = 1_767_225_600;
const IN_2040: u64 = 2_208_988_800;
/// 2036-02-07 06:28:16 UTC, where the second era begins.
const ROLLOVER: u64 = 2_085_978_496;

fn unix(seconds: u64, nanos: u32) -> SystemTime {
    UNIX_EPOCH + Duration::new(seconds, nanos)
}

/// A client's packet with this first byte, and a transmit timestamp of ones.
fn packet(first: u8) -> Vec<u8> {
    let mut packet = vec![0; LENGTH];
    packet[0] = first;
    packet[2] = 6;
    packet[40..].fill(0x11);
    packet
}

#[test]
fn times_become_seconds_since_1900_and_a_binary_fraction() {
    for (time, expected) in [
        (unix(0, 0), 0x83AA_7E80_0000_0000),
        (unix(0, 500_000_000), 0x83AA_7E80_8000_0000),
        (unix(ROLLOVER - 1, 750_000_000), 0xFFFF_FFFF_C000_0000),
        (unix(ROLLOVER, 0), 0),
        (unix(ROLLOVER + 1, 250_000_000), 0x0000_0001_4000_0000),
        (
            UNIX_EPOCH - Duration::from_millis(500),
            0x83AA_7E7F_8000_0000,
        ),
    ] {
        assert_eq!(Timestamp::at(time), Timestamp(expected), "{time:?}");
    }
}

#[test]
fn a_time_survives_the_way_there_and_back_from_any_era() {
    for seconds in [
        0,
        IN_2026,
        ROLLOVER - 1,
        ROLLOVER,
        ROLLOVER + 1,
        IN_2040,
        2 * ROLLOVER,
    ] {
        for nanos in [0, 1, 999, 293_444_000, 999_999_999] {
            let time = unix(seconds, nanos);
            let pivots = [
                time,
                time + Duration::from_secs(1 << 30),
                unix(seconds.saturating_sub(1 << 30), 0),
            ];
            for pivot in pivots {
                assert_eq!(Timestamp::at(time).near(pivot), time, "seen from {pivot:?}");
            }
        }
    }
}

#[test]
fn seconds_between_two_times_are_right_across_the_rollover() {
    let (before, after) = (
        Timestamp::at(unix(ROLLOVER - 1, 500_000_000)),
        Timestamp::at(unix(ROLLOVER + 2, 0)),
    );
    assert_eq!(after.since(before), 2.5);
    assert_eq!(before.since(after), -2.5);
}

#[test]
fn a_reply_has_all_that_clients_look_at() {
    let (received, transmitted) = (unix(IN_2026, 250_000_000), unix(IN_2026, 500_000_000));
    let reply = answer(&packet(0b00_100_011), received, transmitted).unwrap();
    let expected = [
        // No leap second, version 4, a server; stratum 1; the poll interval of the request; 2^-20
        // s.
        &[0b00_100_100, 1, 6, 0xEC][..],
        &[0, 0, 0, 0],
        &[0, 0, 0, 66],
        b"LOCL",
        &[0xED, 0x00, 0x37, 0x80, 0x40, 0, 0, 0],
        &[0x11; 8],
        &[0xED, 0x00, 0x37, 0x80, 0x40, 0, 0, 0],
        &[0xED, 0x00, 0x37, 0x80, 0x80, 0, 0, 0],
    ];
    assert_eq!(reply.to_vec(), expected.concat());
}

#[test]
fn versions_1_to_4_are_answered_in_their_own_version_and_requests_only() {
    let now = unix(IN_2026, 0);
    for first in 0..=255_u8 {
        let expected = match (first >> 3 & 7, first & 7) {
            (version @ 1..=4, 3) => Some(version << 3 | 4),
            (version @ 1..=4, 1) => Some(version << 3 | 2),
            (1, 0) => Some(1 << 3 | 4),
            _ => None,
        };
        let reply = answer(&packet(first), now, now);
        assert_eq!(
            reply.map(|reply| reply[0]),
            expected,
            "first byte {first:#010b}"
        );
    }
}

#[test]
fn a_packet_of_less_than_48_bytes_is_not_answered_and_a_longer_one_by_48() {
    let now = unix(IN_2026, 0);
    let whole = packet(0x23);
    for length in 0..LENGTH {
        assert_eq!(answer(&whole[..length], now, now), None, "{length} bytes");
    }
    let with_authentication = [whole.as_slice(), &[0xAA; 20]].concat();
    assert_eq!(
        answer(&with_authentication, now, now),
        answer(&whole, now, now)
    );
}

#[test]
fn a_clock_that_was_never_set_says_so() {
    for time in [UNIX_EPOCH - Duration::from_secs(1), unix(7, 0)] {
        let reply = answer(&packet(0x23), time, time).unwrap();
        assert_eq!(
            (reply[0] >> 6, reply[1], &reply[12..16]),
            (3, 0, &b"INIT"[..])
        );
        let read = Reply::read(&reply, Timestamp(0x1111_1111_1111_1111));
        assert_eq!(
            read,
            Err(Useless::Refused(
                "the server gives no time: its clock is not set yet (INIT)".into()
            ))
        );
    }
}

#[test]
fn the_first_instant_of_an_era_is_not_sent_as_no_time() {
    let reply = answer(&packet(0x23), unix(ROLLOVER, 0), unix(ROLLOVER, 0)).unwrap();
    assert_eq!(&reply[40..], [0, 0, 0, 0, 0, 0, 0, 1]);
}

#[test]
fn a_client_believes_only_a_synchronised_server_that_answers_its_request() {
    let sent = Timestamp::at(unix(IN_2026, 0));
    let good = answer(&request(sent), unix(IN_2026, 1), unix(IN_2026, 2)).unwrap();
    assert!(Reply::read(&good, sent).is_ok());
    let not_ours = |why| Useless::NotOurs(why);
    let refused = |why: &str| Useless::Refused(why.to_owned());
    let changes: [(usize, &[u8], Useless); 13] = [
        (0, &[0x23], not_ours("it is no reply of a server")),
        (0, &[0x25], not_ours("it is no reply of a server")),
        (0, &[0x04], not_ours("its version is unknown")),
        (0, &[0x2C], not_ours("its version is unknown")),
        (31, &[0x55], not_ours("it answers another request")),
        (24, &[0; 8], not_ours("it answers another request")),
        (
            0,
            &[0xE4],
            refused("the server's clock is not synchronised"),
        ),
        (1, &[16], refused("the server's clock is not synchronised")),
        (40, &[0; 8], refused("the server sent no time")),
        (
            1,
            b"\0\x06\xEC\0\0\0\0\0\0\0\0RATE",
            refused("the server gives no time: asked too often (RATE)"),
        ),
        (
            1,
            b"\0\x06\xEC\0\0\0\0\0\0\0\0DENY",
            refused("the server gives no time: access denied (DENY)"),
        ),
        (
            1,
            b"\0\x06\xEC\0\0\0\0\0\0\0\0AUTH",
            refused("the server gives no time: kiss-o'-death (AUTH)"),
        ),
        (
            1,
            b"\0\x06\xEC\0\0\0\0\0\0\0\0\x1B[\0\0",
            refused("the server gives no time: kiss-o'-death (\\x1b[)"),
        ),
    ];
    for (at, bytes, expected) in changes {
        let mut bad = good;
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        assert_eq!(Reply::read(&bad, sent), Err(expected), "{bytes:?} at {at}");
    }
    assert_eq!(
        Reply::read(&good[..47], sent),
        Err(not_ours("it is too short for SNTP"))
    );
}

#[test]
fn offset_and_delay_come_from_four_time_stamps() {
    // The server is 10 s ahead. The request takes 0.25 s, the server 0.125 s, and the reply 0.25 s.
    // The server's era ends meanwhile.
    let millis = |ms: u64| {
        Timestamp::at(UNIX_EPOCH + Duration::from_secs(ROLLOVER - 10) + Duration::from_millis(ms))
    };
    let reply = Reply {
        receive: millis(10_250),
        transmit: millis(10_375),
    };
    assert_eq!(
        reply.estimate(millis(0), millis(625)),
        Estimate {
            offset: 10.0,
            delay: 0.625 - 0.125
        }
    );
}

#[test]
fn a_delay_is_never_negative() {
    let at = |nanos| Timestamp::at(unix(IN_2026, nanos));
    let reply = Reply {
        receive: at(0),
        transmit: at(100),
    };
    assert_eq!(reply.estimate(at(0), at(50)).delay, 0.0);
}
