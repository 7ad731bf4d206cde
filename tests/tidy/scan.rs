//! Reads the project's files and cuts Rust text into what the rules look at.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// What tools made, not people. (`.git` is a file in a work tree.)
const MADE_BY_TOOLS: [&str; 6] = [
    ".git",
    "target",
    "corpus",
    "artifacts",
    "node_modules",
    "__pycache__",
];

/// The text files of a project, by their path from its root.
pub(crate) struct Project {
    files: BTreeMap<String, String>,
}

impl Project {
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        Self {
            files: files
                .iter()
                .map(|(path, text)| ((*path).into(), (*text).into()))
                .collect(),
        }
    }

    /// The project that this test belongs to. Files that are not UTF-8 are left out.
    pub(crate) fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut files = BTreeMap::new();
        let mut folders = vec![root.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let entry = entry.unwrap();
                let (path, kind) = (entry.path(), entry.file_type().unwrap());
                if MADE_BY_TOOLS.iter().any(|name| entry.file_name() == *name) {
                    continue;
                }
                if kind.is_dir() {
                    folders.push(path);
                } else if kind.is_file()
                    && let Ok(text) = fs::read_to_string(&path)
                {
                    files.insert(
                        path.strip_prefix(root)
                            .unwrap()
                            .to_str()
                            .unwrap()
                            .to_owned(),
                        text,
                    );
                }
            }
        }
        Self { files }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    pub(crate) fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.all().filter(|(path, _)| path.ends_with(".rs"))
    }

    pub(crate) fn below<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.all().filter(move |(path, _)| path.starts_with(folder))
    }

    pub(crate) fn text(&self, path: &str) -> &str {
        self.files.get(path).map_or("", String::as_str)
    }
}

/// The module of a crate that a file belongs to: `src/server/stream.rs` and `src/server.rs` both to
/// `server`.
pub(crate) fn module_of(path: &str) -> &str {
    let inside = path.split_once('/').map_or(path, |(_, inside)| inside);
    inside
        .split('/')
        .next()
        .unwrap_or(inside)
        .trim_end_matches(".rs")
}

/// Rust text without its comments and without the insides of its literals, on the same lines.
pub(crate) fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = skipped_len(rest, code.chars().next_back());
        if skipped == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.push(' ');
            code.extend(rest[..skipped].chars().filter(|c| *c == '\n'));
            rest = &rest[skipped..];
        }
    }
    code
}

/// How many bytes of `rest` are a comment or a literal; 0 if it begins with code.
fn skipped_len(rest: &str, before: Option<char>) -> usize {
    let until = |end: &str, from: usize| {
        rest[from..]
            .find(end)
            .map_or(rest.len(), |at| from + at + end.len())
    };
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return until("*/", 2);
    }
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with('r') && (!in_word || before == Some('b')) {
        let hashes = rest[1..].chars().take_while(|c| *c == '#').count();
        if rest[1 + hashes..].starts_with('"') {
            return until(&format!("\"{}", "#".repeat(hashes)), 2 + hashes);
        }
    }
    if rest.starts_with('"') {
        return quoted_len(rest, '"');
    }
    // A quote opens a character only if it closes at once; else it is a lifetime.
    let mut chars = rest.chars();
    match (chars.next(), chars.next(), chars.next()) {
        (Some('\''), Some('\\'), _) | (Some('\''), Some(_), Some('\'')) => quoted_len(rest, '\''),
        _ => 0,
    }
}

/// The lines, counted from 0, on which a raw string begins, goes on or ends.
pub(crate) fn raw_string_lines(text: &str) -> BTreeSet<usize> {
    let (mut lines, mut line) = (BTreeSet::new(), 0);
    let (mut rest, mut before) = (text, None);
    while let Some(first) = rest.chars().next() {
        let skipped = skipped_len(rest, before);
        let (piece, behind) = rest.split_at(skipped.max(first.len_utf8()));
        let ends = piece.matches('\n').count();
        if skipped > 0 && first == 'r' {
            lines.extend(line..=line + ends);
        }
        line += ends;
        before = Some(if skipped > 0 { ' ' } else { first });
        rest = behind;
    }
    lines
}

fn quoted_len(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

/// Whether `word` stands in `text` as a whole word.
pub(crate) fn has_word(text: &str, word: &str) -> bool {
    let of_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        !text[..at].ends_with(of_word) && !text[at + word.len()..].starts_with(of_word)
    })
}

/// The modules that code of a file names by `crate::`, `super::` or the package of HTTP, as paths
/// below `handlers/`: `crate::{a, b::c}` gives `a` and `b/c`. Items are taken for modules.
pub(crate) fn modules_below_handlers(path: &str, code: &str) -> Vec<String> {
    let inside = path.trim_start_matches("handlers/").trim_end_matches(".rs");
    let inside = inside.trim_end_matches("/mod");
    let root = if inside.starts_with("http/") {
        "http/"
    } else {
        ""
    };
    let mut modules = Vec::new();
    for (word, base) in [
        ("crate::", root.to_owned()),
        ("socketserver_http::", "http/".to_owned()),
    ] {
        for (at, found) in code.match_indices(word) {
            expand(&code[at + found.len()..], &base, &mut modules);
        }
    }
    for (at, found) in code.match_indices("super::") {
        if code[..at].ends_with("super::") {
            continue; // part of a chain that was taken before
        }
        let mut rest = &code[at + found.len()..];
        let mut module = inside.rsplit_once('/').map_or("", |(parent, _)| parent);
        while let Some(further) = rest.strip_prefix("super::") {
            module = module.rsplit_once('/').map_or("", |(parent, _)| parent);
            rest = further;
        }
        let base = match module {
            "" => String::new(),
            module => format!("{module}/"),
        };
        expand(rest, &base, &mut modules);
    }
    modules
}

/// Adds the paths that a use tree names, each with `base` before it.
fn expand(tree: &str, base: &str, paths: &mut Vec<String>) {
    if let Some(group) = tree.strip_prefix('{') {
        let (mut depth, mut start) = (0_u32, 0);
        for (at, c) in group.char_indices() {
            match (c, depth) {
                (',' | '}', 0) => {
                    expand(group[start..at].trim_start(), base, paths);
                    start = at + 1;
                    if c == '}' {
                        return;
                    }
                }
                ('{', _) => depth += 1,
                ('}', _) => depth -= 1,
                _ => {}
            }
        }
        return;
    }
    let name = leading_name(tree);
    if name.is_empty() {
        return;
    }
    match tree[name.len()..].strip_prefix("::") {
        Some(rest) if !rest.starts_with('<') => expand(rest, &format!("{base}{name}/"), paths),
        _ => paths.push(format!("{base}{name}")),
    }
}

/// The first names after `crate::` in code, with those of a group: `crate::{a, b::c}` gives `a` and
/// `b`.
pub(crate) fn crate_names(code: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for (at, found) in code.match_indices("crate::") {
        let path = &code[at + found.len()..];
        match path.strip_prefix('{') {
            Some(group) => names.extend(group_names(group)),
            None => names.push(leading_name(path)),
        }
    }
    names
}

fn group_names(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut names) = (0_u32, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match (c, depth) {
            (',' | '}', 0) => {
                names.push(leading_name(group[start..at].trim_start()));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            ('{', _) => depth += 1,
            ('}', _) => depth -= 1,
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn leading_name(path: &str) -> &str {
    path.split(|c: char| !c.is_alphanumeric() && c != '_')
        .next()
        .unwrap_or_default()
}

#[test]
fn code_has_neither_comments_nor_the_insides_of_literals() {
    assert_eq!(
        code_of("a // b\nc").split_whitespace().collect::<Vec<_>>(),
        ["a", "c"]
    );
    assert_eq!(code_of("a /* b\n */ c").lines().count(), 2);
    for hidden in [
        "\"x\"",
        "\"\\\"x\"",
        "r\"x\"",
        "r#\"\"x\"#",
        "b\"x\"",
        "br#\"x\"#",
        "'x'",
        "'\\x'",
        "b'x'",
    ] {
        assert!(
            !code_of(&format!("a({hidden}); z")).contains('x'),
            "{hidden}"
        );
        assert!(
            code_of(&format!("a({hidden}); z")).ends_with("; z"),
            "{hidden}"
        );
    }
    assert_eq!(code_of("fn f<'x>(a: &'x str)"), "fn f<'x>(a: &'x str)");
    assert_eq!(
        crate_names("use crate::{a, b::{c, d}}; crate::e::f()"),
        ["a", "b", "e"]
    );
}

#[test]
fn the_lines_of_raw_strings_are_found() {
    let text = "let a = \"r\";\nlet b = r#\"x\n\"y\"\n\"#;\nlet c = 'r';\n// r\"\nbr\"z\"";
    assert_eq!(Vec::from_iter(raw_string_lines(text)), [1, 2, 3, 6]);
}
