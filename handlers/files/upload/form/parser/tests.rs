use super::super::check::{ParsedForm, take};
use super::*;

const A: &str = "Content-Disposition: form-data; name=\"f\"; filename=\"a\"\r\n\r\n";
const FIELD: &str = "Content-Disposition: form-data; name=\"f\"\r\n\r\n";

/// The contents of the files, and how the form ended. Both must be the same wherever the input is
/// split.
fn contents(form: &str) -> (Vec<String>, Result<bool, u16>) {
    let taken = |step| {
        let ParsedForm { files, end } = take(b"b", form.as_bytes(), step);
        let contents: Vec<_> = files
            .into_iter()
            .map(|(_, content)| String::from_utf8(content).unwrap())
            .collect();
        (contents, end.map_err(|error| error.status))
    };
    let whole = taken(form.len());
    for step in 1..form.len().min(200) {
        assert_eq!(taken(step), whole, "{form:?} in pieces of {step}");
    }
    whole
}

#[track_caller]
fn assert_files(form: &str, expected: &[&str]) {
    let expected = expected
        .iter()
        .map(|&content| content.to_owned())
        .collect::<Vec<_>>();
    assert_eq!(contents(form), (expected, Ok(true)), "{form:?}");
}

#[test]
fn files_come_out_of_their_form_however_it_is_cut() {
    assert_files(&format!("--b\r\n{A}x\r\n--b--\r\n"), &["x"]);
    assert_files(
        &format!("--b\r\n{A}x\r\n--b\r\n{FIELD}y\r\n--b\r\n{A}\r\nz\r\n\r\n--b--"),
        &["x", "\r\nz\r\n"],
    );
    assert_files(
        &format!("before\r\n--b \t\r\n{A}x\r\n--b--behind\r\n--b\r\n{A}y\r\n--b--"),
        &["x"],
    );
    assert_files(&format!("\r\n--b\r\n{A}x\r\n--b--"), &["x"]);
    assert_files("--b--\r\n", &[]);
    assert_files(&format!("--b\r\n{FIELD}--b--"), &[]);
}

#[test]
fn empty_files_are_empty_and_unchosen_ones_are_none() {
    assert_files(&format!("--b\r\n{A}\r\n--b--"), &[""]);
    // The line end of the head is that of the delimiter as well.
    assert_files(&format!("--b\r\n{A}--b\r\n{A}x\r\n--b--"), &["", "x"]);
    let unchosen = A.replace("\"a\"", "\"\"");
    assert_files(
        &format!("--b\r\n{unchosen}\r\n--b\r\n{A}x\r\n--b--"),
        &["x"],
    );
}

#[test]
fn what_only_looks_like_a_delimiter_is_content() {
    for content in [
        "--bc",
        "-",
        "\r",
        "\n",
        "\r\n",
        "\r\n-",
        "\r\n--",
        "\r\r\n--c",
        "\n--b\n",
        "\r--b\r\n",
        "x--b--",
        "\r\n--bb\r\n",
        "\r\n--b-\r\n",
        "\r\n--b x\r\n",
        "\r\n--b\n",
        "\r\n--b\r",
        "\r\n--b \r",
        "\r\n--b -- ",
        "\r\n--B--",
        "\r\n --b--",
        "\r\n\r\n--\r\n--bc\r\n--",
        "--b x",
        "--b\n--b-",
    ] {
        assert_files(&format!("--b\r\n{A}{content}\r\n--b--"), &[content]);
    }
    let padded = format!("\r\n--b{}\r\n", " ".repeat(MAX_PADDING + 1));
    assert_files(&format!("--b\r\n{A}{padded}\r\n--b--"), &[&padded]);
}

#[test]
fn a_form_without_its_last_delimiter_is_cut() {
    let form = format!("--b\r\n{A}x\r\n--b\r\n{A}y\r\n--b--");
    for end in 0..form.len() - 1 {
        let (files, ended) = contents(&form[..end]);
        assert_eq!(ended, Ok(false), "{:?}", &form[..end]);
        assert!(files.iter().all(|content| content == "x"));
    }
    let open = A.trim_end();
    for form in [
        format!("--c\r\n{A}x\r\n--c--"),
        format!("--b\r\n{A}x\n--b--"),
        format!("--b\r\n{open}\r\nx\r\n--b--"),
    ] {
        assert_eq!(contents(&form), (vec![], Ok(false)), "{form:?}");
    }
    // A bare line feed makes the first part a preamble.
    assert_files(&format!("--b\n{A}x\r\n--b--"), &[]);
}

#[test]
fn glued_and_hostile_parts_are_refused() {
    for form in [
        "--b\r\n\r\n\r\n--b--".to_owned(),
        "--b\r\n--b\r\n\r\n".to_owned(),
        format!("--b\r\n\r\n{A}x\r\n--b--"),
        format!("--b\r\n{}x\r\n--b--", A.replace("\r\n\r\n", "\n\r\n\r\n")),
    ] {
        assert_eq!(contents(&form), (vec![], Err(400)), "{form:?}");
    }
}

#[test]
fn heads_parts_and_all_that_is_no_file_are_bounded() {
    let end = |form: &str| {
        take(b"b", form.as_bytes(), 10_000)
            .end
            .map_err(|error| error.status)
    };
    let head = |length: usize| {
        format!(
            "--b\r\nX: {}\r\n{A}x\r\n--b--",
            "x".repeat(length - "X: \r\n".len() - A.len())
        )
    };
    assert_eq!(end(&head(MAX_HEAD)), Ok(true));
    assert_eq!(end(&head(MAX_HEAD + 1)), Err(400));
    assert_eq!(
        end(&format!("--b\r\n{}", "x".repeat(MAX_HEAD + 1))),
        Err(400)
    );
    let parts = |count| format!("{}--b--", format!("--b\r\n{A}x\r\n").repeat(count));
    assert_eq!(end(&parts(MAX_PARTS)), Ok(true));
    assert_eq!(end(&parts(MAX_PARTS + 1)), Err(413));
    let large = "x".repeat(usize::try_from(MAX_OVERHEAD).unwrap());
    assert_eq!(end(&format!("{large}\r\n--b--")), Err(413));
    assert_eq!(end(&format!("--b\r\n{FIELD}{large}\r\n--b--")), Err(413));
    assert_eq!(end(&format!("--b--{large}")), Err(413));
    assert_eq!(end(&format!("--b\r\n{A}{large}\r\n--b--")), Ok(true));
}
