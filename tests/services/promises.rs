//! What SECURITY.md and docs/deadlines.md promise: the limits are the defaults of the binary, and
//! each promise names the tests that check it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::support::run;

const OPENING: &str = "<!-- test: ";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The default that a service's help names for an option.
fn default_of(service: &str, option: &str) -> String {
    let (code, help, _) = run(&["serve", service, "--help"]);
    assert_eq!(code, Some(0));
    let start = format!("\n      {option} ");
    let (_, rest) = help
        .split_once(&start)
        .unwrap_or_else(|| panic!("`serve {service}` has no {option}"));
    let block = rest.split("\n      --").next().unwrap();
    let words = block.split_whitespace().collect::<Vec<_>>().join(" ");
    let (_, default) = words
        .split_once("[default: ")
        .unwrap_or_else(|| panic!("`serve {service} {option}` has no default"));
    default.split(']').next().unwrap().to_owned()
}

/// Documents write `60 s` and `10 min` where options take `1m` and `10m`.
fn seconds(text: &str) -> u64 {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let number: u64 = digits.parse().unwrap();
    match text[digits.len()..].trim() {
        "s" => number,
        "m" | "min" => 60 * number,
        unit => panic!("{text}: {unit}"),
    }
}

/// The parts of SECURITY.md that promise something.
fn promises() -> Vec<String> {
    let security = read("SECURITY.md");
    let (_, rest) = security.split_once("\n## Limits\n").unwrap();
    let (text, _) = rest.split_once("\n## What you must do yourself\n").unwrap();
    points(text)
}

/// The text of each bullet and table row.
fn points(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut in_bullet = false;
    for line in text.lines() {
        let heads = ["| limit |", "| deadline |"];
        let is_row = line.starts_with("| ") && !heads.iter().any(|head| line.starts_with(head));
        if line.starts_with("- ") || is_row {
            found.push(line.to_owned());
            in_bullet = !is_row;
        } else if in_bullet && line.starts_with("  ") {
            let bullet = found.last_mut().unwrap();
            bullet.push(' ');
            bullet.push_str(line.trim());
        } else {
            in_bullet = false;
        }
    }
    found
}

/// The names of all tests: of every function in the folders of tests that is not ignored.
fn tests() -> BTreeSet<String> {
    let mut folders = ["tests", "handlers", "src"]
        .map(|name| root().join(name))
        .to_vec();
    let mut names = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let code = fs::read_to_string(&path).unwrap();
                let mut is_ignored = false;
                for line in code.lines().map(str::trim) {
                    is_ignored |= line.starts_with("#[ignore");
                    if let Some(name) = line
                        .strip_prefix("fn ")
                        .and_then(|rest| rest.split_once("() {"))
                    {
                        names.extend((!is_ignored).then(|| name.0.to_owned()));
                        is_ignored = false;
                    }
                }
            }
        }
    }
    names
}

#[test]
fn every_limit_of_security_md_is_the_default_of_its_option() {
    let mut options = Vec::new();
    for row in promises().iter().filter(|text| text.starts_with("| ")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let in_code = |cell: &str| cell.split('`').nth(1).unwrap().to_owned();
        let (option, default) = (in_code(cells[1]), in_code(cells[2]));
        assert_eq!(default, default_of("http", &option), "{option}");
        options.push(option);
    }
    assert_eq!(options.len(), 7, "{options:?}");
}

#[test]
fn the_idle_timeouts_of_the_table_of_deadlines_are_those_of_the_services() {
    let table = read("docs/deadlines.md");
    let row = table
        .lines()
        .find(|line| line.starts_with("| idle |"))
        .unwrap();
    let cell = row.split('|').nth(2).unwrap().trim();
    let (others, http) = cell.split_once(" (http: ").unwrap();
    let http = http.trim_end_matches(')');
    assert_eq!(
        seconds(http),
        seconds(&default_of("http", "--idle-timeout"))
    );
    for service in ["time", "echo", "transfer", "upload", "auth", "exec", "ftp"] {
        let idle = default_of(service, "--idle-timeout");
        assert_eq!(seconds(others), seconds(&idle), "{service}");
    }
}

#[test]
fn every_promise_of_a_document_names_tests_that_exist() {
    let deadlines = read("docs/deadlines.md");
    let promises = [promises(), points(&deadlines)].concat();
    assert!(promises.len() > 45, "{}", promises.len());
    for promise in &promises {
        assert!(
            promise.contains(OPENING) || promise.contains("<!-- not tested"),
            "names no test: {promise}"
        );
    }
    let tests = tests();
    for document in [read("SECURITY.md"), deadlines] {
        assert!(document.contains(OPENING));
        for comment in document.split(OPENING).skip(1) {
            let (names, _) = comment.split_once(" -->").unwrap();
            for name in names.split(", ") {
                assert!(tests.contains(name), "there is no test `{name}`");
            }
        }
    }
}

/// The commands in README.md, from `socketserver` to the end of the line or the code span.
fn commands_of_readme() -> Vec<String> {
    let readme = read("README.md");
    let mut found = Vec::new();
    for (index, part) in readme.split("```").enumerate() {
        // Every other part is a code block; code spans begin with the command.
        let pieces: Vec<&str> = match index % 2 {
            1 if part.starts_with("sh\n") => part.lines().collect(),
            1 => Vec::new(),
            _ => part.split('`').skip(1).step_by(2).collect(),
        };
        for piece in pieces {
            found.extend(piece.split("socketserver ").skip(1).map(str::to_owned));
        }
    }
    found
}

#[test]
fn every_option_in_the_commands_of_the_readme_exists() {
    let commands = commands_of_readme();
    assert!(commands.len() > 30, "{commands:?}");
    let option = |word: &str| {
        let word = word.split(['=', '[']).next().unwrap();
        word.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '-')
            .to_owned()
    };
    for command in commands {
        let words: Vec<&str> = command.split_whitespace().collect();
        // The client of FTP has commands of its own.
        let depth = if words.starts_with(&["client", "ftp"]) {
            3
        } else {
            2
        };
        let (code, help, error) = run(&[&words[..depth], &["--help"]].concat());
        assert_eq!(code, Some(0), "{command}: {error}");
        let known: BTreeSet<String> = help.split_whitespace().map(option).collect();
        for word in words.into_iter().map(option) {
            let is_known = known.contains(&word) || word == "--help";
            assert!(
                is_known || !word.starts_with("--"),
                "{command}: no option {word}"
            );
        }
    }
}
