use super::*;

/// The names of the codings in the order of preference.
fn ranked(lines: &[&str]) -> String {
    lines.iter().for_each(|line| check(line.as_bytes()));
    let accepted = parse(lines.iter().map(|line| line.as_bytes()));
    accepted
        .ranked()
        .map(Coding::name)
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn the_heaviest_coding_comes_first_and_the_smallest_among_equals() {
    for (header, expected) in [
        ("gzip", "gzip"),
        ("GZip", "gzip"),
        ("x-gzip", "gzip"),
        ("gzip, deflate, br, zstd", "br zstd gzip"),
        ("gzip;q=1.0, br;q=0.8", "gzip br"),
        ("br;q=0.001", "br"),
        ("br ; q=0.5 ,\tgzip;q=0.501", "gzip br"),
        ("br;level=1;Q=0.5, zstd;q=0.75", "zstd br"),
        (",, gzip ,", "gzip"),
        ("*", "br zstd gzip"),
        ("br;q=0, *;q=0.5", "zstd gzip"),
        ("gzip;q=0.2, gzip;q=0", ""),
    ] {
        assert_eq!(ranked(&[header]), expected, "{header}");
    }
    assert_eq!(
        ranked(&["gzip;q=0.5", "deflate", "br"]),
        "br gzip",
        "the list may come in several lines"
    );
}

#[test]
fn the_plain_form_is_sent_to_whom_likes_it_best() {
    for header in [
        "",
        "identity",
        "identity, gzip;q=0.5",
        "deflate, compress",
        "br;q=0",
        "*;q=0",
        "gzip;q=0.000",
        "gzip;q=0.2, *;q=0.5, br;q=0, zstd;q=0",
    ] {
        assert_eq!(ranked(&[header]), "", "{header}");
    }
    assert_eq!(
        ranked(&["identity;q=0.5, gzip;q=0.5"]),
        "gzip",
        "among equals the smaller one"
    );
    assert_eq!(ranked(&["identity;q=0, gzip"]), "gzip");
}

#[test]
fn a_malformed_weight_takes_its_element_away_and_no_other() {
    for weight in [
        "", "2", "1.001", "0.1234", "-1", ".5", "0,5", "0.x", "1e0", "00.5", "0.5 5",
    ] {
        assert_eq!(
            ranked(&[&format!("br;q={weight}, gzip")]),
            "gzip",
            "{weight}"
        );
    }
    assert_eq!(ranked(&["brr, b r, br/1, gzip"]), "gzip");
}
