use std::time::Duration;

use super::Outcome::{NotModified, PreconditionFailed, Proceed};
use super::*;

const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
const SAME_RFC_850: &str = "Sunday, 06-Nov-94 08:49:37 GMT";
const SAME_ASCTIME: &str = "Sun Nov  6 08:49:37 1994";

const WHOLE: Outcome = Proceed {
    honour_range: false,
};
const GO_ON: Outcome = Proceed { honour_range: true };

/// Evaluates a request's headers for a representation with the entity tag `"a"` that was changed
/// half a second after `SAME`.
fn evaluated(is_get_or_head: bool, headers: &[(&str, &str)]) -> Outcome {
    let current = Validators {
        etag: Some(b"\"a\""),
        last_modified: Some(UNIX_EPOCH + Duration::from_millis(784_111_777_500)),
    };
    evaluate(&conditions(headers), Some(&current), is_get_or_head)
}

fn conditions<'a>(headers: &[(&str, &'a str)]) -> Conditions<'a> {
    let mut conditions = Conditions::default();
    for (name, value) in headers {
        check(value.as_bytes());
        let field = match *name {
            "If-Match" => &mut conditions.if_match,
            "If-Unmodified-Since" => &mut conditions.if_unmodified_since,
            "If-None-Match" => &mut conditions.if_none_match,
            "If-Modified-Since" => &mut conditions.if_modified_since,
            "If-Range" => &mut conditions.if_range,
            other => panic!("no conditional header: {other}"),
        };
        *field = Some(value.as_bytes());
    }
    conditions
}

fn get(headers: &[(&str, &str)]) -> Outcome {
    evaluated(true, headers)
}

fn put(headers: &[(&str, &str)]) -> Outcome {
    evaluated(false, headers)
}

#[test]
fn without_conditions_the_range_counts() {
    assert_eq!(get(&[]), GO_ON);
    assert_eq!(put(&[]), GO_ON);
}

#[test]
fn if_match_compares_strongly() {
    for (value, outcome) in [
        ("\"a\"", GO_ON),
        ("\"b\", \"a\"", GO_ON),
        ("*", GO_ON),
        ("W/\"a\"", PreconditionFailed),
        ("\"b\"", PreconditionFailed),
        ("\"A\"", PreconditionFailed),
        ("a", PreconditionFailed),
        ("", PreconditionFailed),
        ("\"a\" x", PreconditionFailed),
    ] {
        assert_eq!(get(&[("If-Match", value)]), outcome, "{value}");
        assert_eq!(put(&[("If-Match", value)]), outcome, "{value}");
    }
}

#[test]
fn if_none_match_compares_weakly() {
    for value in [
        "\"a\"",
        "W/\"a\"",
        "*",
        "\"b\",\"a\"",
        "\"b,\" ,\t\"a\"",
        ", ,\"a\",",
        "\"a\",\"c\"",
    ] {
        assert_eq!(get(&[("If-None-Match", value)]), NotModified, "{value}");
        let put = put(&[("If-None-Match", value)]);
        assert_eq!(put, PreconditionFailed, "{value}");
    }
    for value in ["\"b\"", "W/\"b\"", "\"\"", "\"a,\"", "\"\u{e9}\""] {
        assert_eq!(get(&[("If-None-Match", value)]), GO_ON, "{value}");
        assert_eq!(put(&[("If-None-Match", value)]), GO_ON, "{value}");
    }
}

#[test]
fn a_malformed_if_none_match_gets_the_whole_file_but_changes_nothing() {
    for value in [
        "",
        ",",
        "a",
        "\"a",
        "a\"",
        "w/\"a\"",
        "W/a",
        "W/",
        "W/ \"a\"",
        "\"a\" \"b\"",
        "\"a\"; \"b\"",
        "\"b\", *",
        "*, \"a\"",
        "**",
        "\"a b\"",
        "\"a\", \"b\t\"",
    ] {
        assert_eq!(get(&[("If-None-Match", value)]), GO_ON, "{value}");
        let put = put(&[("If-None-Match", value)]);
        assert_eq!(put, PreconditionFailed, "{value}");
    }
}

#[test]
fn if_modified_since_is_met_by_an_older_file() {
    for (value, outcome) in [
        (BEFORE, GO_ON),
        (SAME, NotModified),
        (SAME_RFC_850, NotModified),
        (SAME_ASCTIME, NotModified),
        (AFTER, NotModified),
        ("Sun, 06 Nov 1994 08:49:37", GO_ON),
        ("yesterday", GO_ON),
        ("", GO_ON),
    ] {
        assert_eq!(get(&[("If-Modified-Since", value)]), outcome, "{value}");
        assert_eq!(put(&[("If-Modified-Since", value)]), GO_ON, "{value}");
    }
}

#[test]
fn if_unmodified_since_is_failed_by_a_newer_file() {
    for (value, outcome) in [
        (BEFORE, PreconditionFailed),
        (SAME, GO_ON),
        (AFTER, GO_ON),
        ("yesterday", GO_ON),
    ] {
        assert_eq!(get(&[("If-Unmodified-Since", value)]), outcome, "{value}");
        assert_eq!(put(&[("If-Unmodified-Since", value)]), outcome, "{value}");
    }
}

#[test]
fn if_range_wants_the_same_strong_validator() {
    for (value, outcome) in [
        ("\"a\"", GO_ON),
        (SAME, GO_ON),
        (SAME_ASCTIME, GO_ON),
        ("W/\"a\"", WHOLE),
        ("\"b\"", WHOLE),
        ("\"a\", \"b\"", WHOLE),
        ("*", WHOLE),
        ("", WHOLE),
        (BEFORE, WHOLE),
        (AFTER, WHOLE),
        ("yesterday", WHOLE),
    ] {
        assert_eq!(get(&[("If-Range", value)]), outcome, "{value}");
    }
}

#[test]
fn entity_tags_rule_out_dates() {
    let (newer, older) = ("\"b\"", "\"a\"");
    for (headers, outcome) in [
        (
            [("If-Match", older), ("If-Unmodified-Since", BEFORE)],
            GO_ON,
        ),
        (
            [("If-Match", newer), ("If-Unmodified-Since", AFTER)],
            PreconditionFailed,
        ),
        (
            [("If-None-Match", newer), ("If-Modified-Since", AFTER)],
            GO_ON,
        ),
        (
            [("If-None-Match", "malformed"), ("If-Modified-Since", AFTER)],
            GO_ON,
        ),
        (
            [("If-None-Match", older), ("If-Modified-Since", BEFORE)],
            NotModified,
        ),
    ] {
        assert_eq!(get(&headers), outcome, "{headers:?}");
    }
}

#[test]
fn a_failed_precondition_comes_before_not_modified() {
    let unmodified = ("If-Unmodified-Since", BEFORE);
    for first in [("If-Match", "\"b\""), unmodified] {
        let headers = [first, ("If-None-Match", "\"a\"")];
        assert_eq!(get(&headers), PreconditionFailed);
    }
    let both = [("If-Match", "\"a\""), ("If-None-Match", "\"a\"")];
    assert_eq!(get(&both), NotModified);
    let stale_range = [("If-None-Match", "\"b\""), ("If-Range", "\"b\"")];
    assert_eq!(get(&stale_range), WHOLE);
}

#[test]
fn a_target_that_does_not_exist_matches_nothing() {
    for (header, outcome) in [
        (("If-Match", "*"), PreconditionFailed),
        (("If-Match", "\"a\""), PreconditionFailed),
        (("If-None-Match", "*"), GO_ON),
        (("If-None-Match", "\"a\""), GO_ON),
        (("If-Unmodified-Since", BEFORE), GO_ON),
        (("If-Range", "\"a\""), WHOLE),
    ] {
        let conditions = conditions(&[header]);
        assert_eq!(evaluate(&conditions, None, false), outcome, "{header:?}");
    }
}

#[test]
fn a_file_from_before_1970_has_no_date() {
    let current = Validators {
        etag: None,
        last_modified: Some(UNIX_EPOCH - Duration::from_secs(1)),
    };
    for (name, outcome) in [
        ("If-Modified-Since", GO_ON),
        ("If-Unmodified-Since", GO_ON),
        ("If-Range", WHOLE),
    ] {
        let conditions = conditions(&[(name, SAME)]);
        assert_eq!(evaluate(&conditions, Some(&current), true), outcome);
    }
}

#[test]
fn a_weak_current_tag_matches_only_weakly() {
    let current = Validators {
        etag: Some(b"W/\"a\""),
        last_modified: None,
    };
    for (header, outcome) in [
        (("If-Match", "W/\"a\""), PreconditionFailed),
        (("If-None-Match", "\"a\""), NotModified),
        (("If-Range", "W/\"a\""), WHOLE),
    ] {
        let conditions = conditions(&[header]);
        assert_eq!(evaluate(&conditions, Some(&current), true), outcome);
    }
}
