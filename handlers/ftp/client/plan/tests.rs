use std::time::{Duration, UNIX_EPOCH};

use super::*;

const RULES: Rules = Rules {
    delete: true,
    keeps_times: true,
    to_server: false,
};

/// Makes a tree of files (`path`), folders (`path/`) and links (`path@`). A file may have `=SIZE`
/// and `:SECONDS`.
fn tree(items: &[&str]) -> Tree {
    let mut tree = Tree::default();
    for item in items {
        let (item, time) = item.split_once(':').unwrap_or((item, "0"));
        let (item, size) = item.split_once('=').unwrap_or((item, "1"));
        let (path, kind) = if let Some(path) = item.strip_suffix('/') {
            (path, Kind::Folder)
        } else if let Some(path) = item.strip_suffix('@') {
            (path, Kind::Link)
        } else {
            (item, Kind::File)
        };
        let modified = Some(UNIX_EPOCH + Duration::from_secs(time.parse().unwrap()));
        let entry = Entry {
            kind,
            size: (kind == Kind::File).then(|| size.parse().unwrap()),
            modified,
            is_exact: true,
        };
        tree.entries.insert(path.as_bytes().to_vec(), entry);
    }
    tree
}

/// The plan as lines of `rm`, `mkdir`, `copy` and again `rm`.
fn lines(plan: &Plan) -> Vec<String> {
    let removals = |removals: &[Removal]| -> Vec<String> {
        let line = |removal: &Removal| {
            let end = if removal.is_folder { "/" } else { "" };
            format!("rm {}{end}", shown(&removal.path))
        };
        removals.iter().map(line).collect()
    };
    let mut lines = removals(&plan.in_the_way);
    lines.extend(
        plan.folders
            .iter()
            .map(|path| format!("mkdir {}", shown(path))),
    );
    lines.extend(
        plan.files
            .iter()
            .map(|path| format!("copy {}", shown(path))),
    );
    lines.extend(removals(&plan.removals));
    lines
}

#[test]
fn missing_and_different_files_are_copied_and_the_rest_is_removed() {
    let source = tree(&["a", "b=2", "c:5", "d/", "d/e", "d-f", "same:9"]);
    let there = tree(&["b=3", "c:6", "same:9", "x", "y/", "y/z", "y/z-/", "y/z-/q"]);
    let plan = plan(&source, &there, RULES);
    assert_eq!(
        lines(&plan),
        [
            "mkdir d",
            "copy a",
            "copy b",
            "copy c",
            "copy d-f",
            "copy d/e",
            "rm y/z-/q",
            "rm y/z-/",
            "rm y/z",
            "rm y/",
            "rm x",
        ]
    );
    assert_eq!((plan.up_to_date, plan.failed.len()), (1, 0));
    let rules = Rules {
        delete: false,
        ..RULES
    };
    assert_eq!(super::plan(&source, &there, rules).removals, []);
}

#[test]
fn where_times_are_not_kept_a_newer_copy_is_up_to_date() {
    let rules = Rules {
        keeps_times: false,
        ..RULES
    };
    let plan = plan(
        &tree(&["a:5", "b:5", "c:5"]),
        &tree(&["a:4", "b:5", "c:6"]),
        rules,
    );
    assert_eq!(
        (lines(&plan), plan.up_to_date),
        (vec!["copy a".to_owned()], 2)
    );
}

#[test]
fn inexact_times_are_ignored_and_an_unknown_size_differs() {
    let mut source = tree(&["a:5", "b"]);
    source.entries.get_mut(&b"a"[..]).unwrap().is_exact = false;
    source.entries.get_mut(&b"b"[..]).unwrap().size = None;
    let plan = plan(&source, &tree(&["a:4", "b"]), RULES);
    assert_eq!(lines(&plan), ["copy b"]);
}

#[test]
fn an_entry_of_another_kind_is_removed_only_with_delete() {
    let source = tree(&["a", "b/", "b/c", "e/", "e/f"]);
    let there = tree(&["a/", "a-", "a/x/", "a/x/y", "b", "e@"]);
    let plan = plan(&source, &there, RULES);
    assert_eq!(
        lines(&plan),
        [
            "rm a/x/y", "rm a/x/", "rm a/", "rm b", "rm e", "mkdir b", "mkdir e", "copy a",
            "copy b/c", "copy e/f", "rm a-",
        ]
    );
    let plan = super::plan(
        &source,
        &there,
        Rules {
            delete: false,
            ..RULES
        },
    );
    assert_eq!((lines(&plan), plan.failed.len()), (vec![], 3));
}

#[test]
fn a_symlink_is_replaced_here_and_removed_there() {
    let (source, there) = (tree(&["a"]), tree(&["a@"]));
    assert_eq!(lines(&plan(&source, &there, RULES)), ["copy a"]);
    let rules = Rules {
        to_server: true,
        ..RULES
    };
    assert_eq!(lines(&plan(&source, &there, rules)), ["rm a", "copy a"]);
    let rules = Rules {
        delete: false,
        ..rules
    };
    assert_eq!(plan(&source, &there, rules).failed.len(), 1);
}

#[test]
fn links_of_the_source_are_passed_over_and_files_with_their_names_stay() {
    let plan = plan(&tree(&["l@"]), &tree(&["l"]), RULES);
    assert_eq!((lines(&plan), plan.passed_over.len()), (vec![], 1));
}

#[test]
fn what_is_excluded_is_neither_copied_nor_removed() {
    let mut source = tree(&["keep/"]);
    source.excluded.push(b"x".to_vec());
    let mut there = tree(&["keep/", "x", "y/", "y/z/", "y/w"]);
    there.excluded.push(b"y/z/.tmp".to_vec());
    assert_eq!(lines(&plan(&source, &there, RULES)), ["rm y/w"]);
    let plan = plan(&tree(&["y"]), &there, RULES);
    assert_eq!(
        (plan.in_the_way, plan.files.len(), plan.failed.len()),
        (vec![], 0, 1)
    );
}

#[test]
fn nothing_is_removed_when_something_could_not_be_listed() {
    for is_source in [true, false] {
        let (mut source, mut there) = (tree(&["a", "b"]), tree(&["b/", "x"]));
        let incomplete = if is_source { &mut source } else { &mut there };
        incomplete.failed.push("d: 550 no".to_owned());
        let plan = plan(&source, &there, RULES);
        assert_eq!((plan.removals, plan.in_the_way), (vec![], vec![]));
        assert!(
            plan.failed
                .iter()
                .any(|line| line.starts_with("nothing is removed"))
        );
    }
}
