use super::Ranges::{Ignore, Satisfiable, Unsatisfiable};
use super::*;

fn of_1000(header: &str) -> Ranges {
    check(header.as_bytes());
    parse(header.as_bytes(), 1000)
}

#[test]
fn one_range_is_cut_to_the_representation() {
    for (header, range) in [
        ("bytes=0-0", 0..1),
        ("bytes=0-499", 0..500),
        ("bytes=500-999", 500..1000),
        ("bytes=500-1000", 500..1000),
        ("bytes=999-", 999..1000),
        ("bytes=0-", 0..1000),
        ("bytes=-1", 999..1000),
        ("bytes=-1000", 0..1000),
        ("bytes=-5000", 0..1000),
        ("bytes=0000-0009", 0..10),
        ("BYTES=1-2", 1..3),
        ("Bytes=1-2", 1..3),
        ("bytes= 1-2\t", 1..3),
        ("bytes=,1-2", 1..3),
        ("bytes=1-2 ,", 1..3),
        ("bytes=0-18446744073709551615", 0..1000),
        ("bytes=0-99999999999999999999999", 0..1000),
        ("bytes=-99999999999999999999999", 0..1000),
    ] {
        assert_eq!(of_1000(header), Satisfiable(vec![range]), "{header}");
    }
}

#[test]
fn several_ranges_keep_their_order() {
    let header = "bytes=500-599, -1\t,\t, 0-0";
    assert_eq!(
        of_1000(header),
        Satisfiable(vec![500..600, 999..1000, 0..1])
    );
}

#[test]
fn ranges_behind_the_end_are_left_out() {
    let header = "bytes=1000-,5-6,2000-3000,-0,8-8";
    assert_eq!(of_1000(header), Satisfiable(vec![5..7, 8..9]));
}

#[test]
fn a_set_without_a_byte_of_the_file_is_unsatisfiable() {
    for header in [
        "bytes=1000-",
        "bytes=1000-1000",
        "bytes=1000-2000,3000-",
        "bytes=-0",
        "bytes=18446744073709551615-",
        "bytes=99999999999999999999999-99999999999999999999999",
    ] {
        assert_eq!(of_1000(header), Unsatisfiable, "{header}");
    }
}

#[test]
fn a_malformed_header_is_ignored() {
    for header in [
        "",
        "bytes",
        "bytes=",
        "bytes= , ,",
        "bytes 0-1",
        "bytes =0-1",
        " bytes=0-1",
        "items=0-1",
        "bytes=-",
        "bytes=--1",
        "bytes=1",
        "bytes=2-1",
        "bytes=2000-1999",
        "bytes=+1-2",
        "bytes=1-+2",
        "bytes=0x0-1",
        "bytes=1 -2",
        "bytes=1- 2",
        "bytes=1-2 3-4",
        "bytes=1-2;3-4",
        "bytes=0-1,x",
        "bytes=0-1,2-1",
        "bytes=1-2-3",
    ] {
        assert_eq!(of_1000(header), Ignore, "{header}");
    }
}

#[test]
fn more_than_sixteen_ranges_are_ignored() {
    let header = |count: u64| {
        let specs: Vec<String> = (0..count).map(|i| format!("{0}-{0}", i * 2)).collect();
        format!("bytes={}", specs.join(","))
    };
    assert!(matches!(of_1000(&header(16)), Satisfiable(ranges) if ranges.len() == 16));
    assert_eq!(of_1000(&header(17)), Ignore);
    let unsatisfiable = vec!["1000-"; 17].join(",");
    assert_eq!(of_1000(&format!("bytes={unsatisfiable}")), Ignore);
}

#[test]
fn overlapping_ranges_are_ignored() {
    let adjacent = vec![10..20, 0..10, 20..30];
    assert_eq!(of_1000("bytes=10-19,0-9,20-29"), Satisfiable(adjacent));
    for header in [
        "bytes=0-9,9-10",
        "bytes=5-14,20-29,0-5",
        "bytes=0-,0-",
        "bytes=-1,999-",
        "bytes=0-999,500-500",
    ] {
        assert_eq!(of_1000(header), Ignore, "{header}");
    }
}

#[test]
fn an_empty_file_has_no_ranges() {
    for header in ["bytes=0-", "bytes=-1", "bytes=0-0"] {
        assert_eq!(parse(header.as_bytes(), 0), Ignore, "{header}");
    }
}

#[test]
fn the_greatest_length_does_not_overflow() {
    let all = 0..u64::MAX;
    let header = format!("bytes=0-{}", u64::MAX);
    assert_eq!(parse(header.as_bytes(), u64::MAX), Satisfiable(vec![all]));
}
