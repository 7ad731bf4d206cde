//! The rules, one function each. CONTRIBUTING.md says why they are there.

use crate::scan::{
    Project, code_of, crate_names, has_word, module_of, modules_below_handlers, raw_string_lines,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const MAX_FILE_LINES: usize = 500;
/// The width of `rustfmt.toml`. rustfmt breaks neither comments nor string literals.
const MAX_LINE_WIDTH: usize = 100;

/// The table in a section of ARCHITECTURE.md: `| floor | modules in backticks | … |`.
fn floor_table<'a>(architecture: &'a str, section: &str) -> BTreeMap<&'a str, u32> {
    let section = architecture
        .split("\n## ")
        .find(|part| part.trim_start_matches("## ").lines().next() == Some(section));
    let mut floors = BTreeMap::new();
    for row in section.unwrap_or_default().lines() {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        if let [_, floor, modules, ..] = cells[..]
            && let Ok(floor) = floor.parse()
        {
            floors.extend(
                modules
                    .split('`')
                    .skip(1)
                    .step_by(2)
                    .map(|module| (module, floor)),
            );
        }
    }
    floors
}

pub(crate) fn floors(project: &Project) -> Vec<String> {
    let floors = floor_table(project.text("ARCHITECTURE.md"), "Floors");
    let mut complaints = Vec::new();
    let mut seen = BTreeSet::new();
    for (path, text) in project
        .below("src/")
        .filter(|(path, _)| path.ends_with(".rs") && *path != "src/lib.rs")
    {
        let module = module_of(path);
        seen.insert(module);
        let Some(floor) = floors.get(module) else {
            complaints.push(format!(
                "{path}: `{module}` has no floor in ARCHITECTURE.md"
            ));
            continue;
        };
        let code = code_of(text);
        for name in crate_names(&code) {
            match floors.get(name) {
                _ if name == module => {}
                Some(below) if below < floor => {}
                Some(other) => complaints.push(format!(
                    "{path}: floor {floor} uses `crate::{name}` of floor {other}"
                )),
                None => complaints.push(format!(
                    "{path}: `crate::{name}` is no module; name the one that defines it"
                )),
            }
        }
        // In `src/x.rs` a `super::` outside an inner module is another way to say `crate::`.
        let at_top = path.matches('/').count() == 1;
        if code.contains("super::super::")
            || at_top && code.lines().any(|line| line.starts_with("use super::"))
        {
            complaints.push(format!(
                "{path}: leaves its folder by `super`; say `crate::` and the module"
            ));
        }
    }
    let missing = floors.keys().filter(|module| !seen.contains(**module));
    complaints.extend(missing.map(|module| {
        format!("ARCHITECTURE.md gives a floor to `{module}`, which is not in src/")
    }));
    complaints
}

/// The unit of the table of floors that a path below `handlers/` belongs to: the longest one.
fn unit_of<'a>(floors: &BTreeMap<&'a str, u32>, path: &str) -> Option<&'a str> {
    let covers = |unit: &&str| {
        path.strip_prefix(*unit)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '.']))
    };
    let units = floors.keys().copied().filter(covers);
    units.max_by_key(|unit| unit.len())
}

/// The same for the folders of the handlers.
pub(crate) fn handler_floors(project: &Project) -> Vec<String> {
    let floors = floor_table(project.text("ARCHITECTURE.md"), "Floors of the handlers");
    let mut complaints = Vec::new();
    for (path, text) in project.below("handlers/") {
        let inside = path.trim_start_matches("handlers/");
        let is_above_all = matches!(inside, "lib.rs" | "main.rs" | "http/lib.rs");
        if !path.ends_with(".rs") || is_above_all || inside.contains("examples/") {
            continue;
        }
        let Some(unit) = unit_of(&floors, inside) else {
            complaints.push(format!("{path}: has no floor in ARCHITECTURE.md"));
            continue;
        };
        for module in modules_below_handlers(path, &code_of(text)) {
            let Some(other) = unit_of(&floors, &module) else {
                continue; // an item of lib.rs, or of another package
            };
            if other != unit && floors[other] >= floors[unit] {
                complaints.push(format!(
                    "{path}: `{unit}` of floor {} uses `{module}` of floor {}",
                    floors[unit], floors[other]
                ));
            }
        }
    }
    complaints
}

pub(crate) fn file_sizes(project: &Project) -> Vec<String> {
    let lines = |(path, text): (&str, &str)| (path.to_owned(), text.lines().count());
    let long = project
        .rust()
        .map(lines)
        .filter(|(_, lines)| *lines > MAX_FILE_LINES);
    long.map(|(path, lines)| format!("{path}: {lines} lines, more than {MAX_FILE_LINES}"))
        .collect()
}

/// A comment's table row, a comment that is one long word (an address) and a line of a raw string
/// cannot be broken.
pub(crate) fn line_widths(project: &Project) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in project.rust() {
        let raw = raw_string_lines(text);
        for (index, line) in text.lines().enumerate() {
            let is_breakable = match line.trim_start().strip_prefix("//") {
                Some(comment) => {
                    let words = comment.trim_start_matches(['/', '!']).trim();
                    words.contains(' ') && !words.starts_with('|')
                }
                None => !raw.contains(&index),
            };
            if is_breakable && line.chars().count() > MAX_LINE_WIDTH {
                complaints.push(format!(
                    "{path}:{}: wider than {MAX_LINE_WIDTH} columns",
                    index + 1
                ));
            }
        }
    }
    complaints
}

pub(crate) fn unsafe_code(project: &Project) -> Vec<String> {
    let elsewhere = project
        .rust()
        .filter(|(path, _)| !path.starts_with("src/sys/"));
    let found = elsewhere.filter(|(_, text)| has_word(&code_of(text), "unsafe"));
    found
        .map(|(path, _)| format!("{path}: unsafe code belongs in src/sys/"))
        .collect()
}

pub(crate) fn left_for_later(project: &Project) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in project.all() {
        for mark in [concat!("TO", "DO"), concat!("FIX", "ME")] {
            if has_word(text, mark) {
                complaints.push(format!("{path}: holds {mark}; do it, or file an issue"));
            }
        }
    }
    for (path, text) in project.rust() {
        let code = code_of(text);
        for name in ["todo", "dbg", "unimplemented"] {
            if has_word(&code, &format!("{name}!")) {
                complaints.push(format!("{path}: holds {name}!"));
            }
        }
    }
    complaints
}

pub(crate) fn one_threadpool(project: &Project) -> Vec<String> {
    let ours = project
        .below("src/")
        .chain(project.below("handlers/"))
        .filter(|(path, _)| path.ends_with(".rs"));
    let named: Vec<&str> = ours
        .filter(|(_, text)| has_word(&code_of(text), "threadpool"))
        .map(|(path, _)| path)
        .collect();
    if named.len() > 1 {
        vec![format!("more than one file names `threadpool`: {named:?}")]
    } else {
        Vec::new()
    }
}

/// The modules of the services: those that the list `services! { … }` of the package names.
/// `handlers/` holds other modules too (the command line, what services share).
fn services_of(package: &str) -> BTreeSet<&str> {
    let list = package.split_once("\nservices! {").map(|(_, rest)| rest);
    let list = list.and_then(|list| list.split_once("\n}"));
    let entries = list
        .map_or("", |(entries, _)| entries)
        .split(['(', ',', ' ']);
    let paths = entries.filter_map(|entry| entry.trim().split_once("::"));
    paths.map(|(module, _)| module).collect()
}

pub(crate) fn services_apart(project: &Project) -> Vec<String> {
    let package = code_of(project.text("handlers/lib.rs"));
    let services = services_of(&package);
    if services.is_empty() {
        return vec!["handlers/lib.rs: has no list `services! { … }`".to_owned()];
    }
    let mut complaints = Vec::new();
    for (path, text) in project
        .below("handlers/")
        .filter(|(path, _)| services.contains(module_of(path)))
    {
        let code = code_of(text);
        let others = crate_names(&code)
            .into_iter()
            .filter(|name| services.contains(name) && *name != module_of(path));
        complaints
            .extend(others.map(|name| {
                format!("{path}: imports the service `{name}`; share through common/")
            }));
    }
    complaints
}

pub(crate) fn make_commands(project: &Project) -> Vec<String> {
    let mut targets = BTreeSet::new();
    for line in project
        .text("Makefile")
        .lines()
        .filter(|line| !line.starts_with(['\t', '#', '.']))
    {
        if let Some((names, rest)) = line.split_once(':')
            && !rest.starts_with('=')
        {
            targets.extend(names.split_whitespace());
        }
    }
    let known = |name: &str| {
        let family = targets.iter().filter_map(|target| target.strip_suffix('%'));
        targets.contains(name)
            || family
                .into_iter()
                .any(|prefix| name.len() > prefix.len() && name.starts_with(prefix))
    };
    let mut complaints = Vec::new();
    for path in [
        "README.md",
        "CONTRIBUTING.md",
        "ARCHITECTURE.md",
        "www/index.html",
    ] {
        let unknown = commands_in(project.text(path))
            .into_iter()
            .filter(|name| !known(name));
        complaints.extend(
            unknown.map(|name| format!("{path}: `make {name}` is no target of the Makefile")),
        );
    }
    complaints
}

/// What follows `make` at the start of a line of a code block, or of a code span.
fn commands_in(text: &str) -> Vec<&str> {
    let mut commands = Vec::new();
    for (start, before) in text
        .match_indices("make ")
        .map(|(at, _)| (at + 5, &text[..at]))
    {
        if ["`", "\n", "<code>", "$ ", "&& "]
            .iter()
            .any(|opening| before.ends_with(opening))
        {
            let name = text[start..]
                .split(|c: char| !c.is_alphanumeric() && c != '-')
                .next()
                .unwrap_or_default();
            let prose = before.ends_with('\n') && before.matches("```").count() % 2 == 0;
            commands.extend((!prose && !name.is_empty()).then_some(name));
        }
    }
    commands
}

pub(crate) fn own_resources(project: &Project) -> Vec<String> {
    const OPENINGS: [&str; 8] = [
        "src=", "href=", "srcset=", "action=", "poster=", "data=", "url(", "@import ",
    ];
    let mut complaints = Vec::new();
    for (path, text) in project.below("www/") {
        let text = text.to_ascii_lowercase();
        for opening in OPENINGS {
            let values = text
                .match_indices(opening)
                .map(|(at, _)| text[at + opening.len()..].trim_start_matches(['"', '\'']));
            let outside = values.filter(|value| {
                ["http:", "https:", "//"]
                    .iter()
                    .any(|start| value.starts_with(start))
            });
            complaints.extend(outside.map(|value| {
                format!("{path}: {opening}{}", value.lines().next().unwrap_or(value))
            }));
        }
    }
    complaints
}

pub(crate) fn same_handler(project: &Project) -> Vec<String> {
    let between = |text: &str, start: &str, end: &str| {
        text.split_once(start)
            .and_then(|(_, rest)| rest.split_once(end))
            .map(|(inside, _)| inside.to_owned())
    };
    let readme = between(project.text("README.md"), "```rust,no_run\n", "```");
    let site = between(
        project.text("www/index.html"),
        "data-readme=\"handler\"><code>",
        "</code></pre>",
    )
    .map(|marked| {
        let plain: String = marked
            .split('<')
            .map(|part| part.split_once('>').map_or(part, |(_, text)| text))
            .collect();
        plain
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&quot;", "\"")
            .replace("&amp;", "&")
    });
    let same = readme.is_some() && readme == site;
    if same {
        Vec::new()
    } else {
        vec!["README.md and www/index.html show different handlers, or none".into()]
    }
}

pub(crate) fn machine_paths(project: &Project) -> Vec<String> {
    let mut forbidden: Vec<String> = ["/home/", "/Users/", "/root/"].map(String::from).into();
    // A folder straight below `/` may be a word that stands in other paths as well.
    let deep = |path: &Path| path.components().count() > 2;
    forbidden.extend(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .take(2)
            .filter(|p| deep(p))
            .map(|p| format!("{}/", p.display())),
    );
    let mut complaints = Vec::new();
    for (path, text) in project
        .all()
        .filter(|(path, _)| *path != "tests/tidy/rules.rs")
    {
        let found = forbidden
            .iter()
            .filter(|needle| text.contains(needle.as_str()));
        complaints
            .extend(found.map(|needle| format!("{path}: names {needle}, a path of one machine")));
    }
    complaints
}

/// `tests/support/` starts programs for the other tests, with a time limit each.
pub(crate) fn bounded_programs(project: &Project) -> Vec<String> {
    const UNBOUNDED: [&str; 3] = [".output()", ".status()", ".wait_with_output()"];
    let mut complaints = Vec::new();
    for folder in ["tests/services/", "tests/framework/"] {
        for (path, text) in project
            .below(folder)
            .filter(|(path, _)| path.ends_with(".rs"))
        {
            let code = code_of(text);
            let mut found: Vec<&str> = UNBOUNDED
                .into_iter()
                .filter(|call| code.contains(call))
                .collect();
            // A server of the framework has a method of this name, too.
            if folder == "tests/services/" && code.contains(".spawn()") {
                found.push(".spawn()");
            }
            if has_word(&code, "Child") {
                found.push("Child");
            }
            complaints.extend(
                found.into_iter().map(|call| {
                    format!("{path}: `{call}` has no time limit; use `BoundedCommand`")
                }),
            );
        }
    }
    complaints
}
