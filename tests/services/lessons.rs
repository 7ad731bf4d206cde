//! Every lesson plays to its end, its example serves, and its page shows that example.

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::support::examples::built;
use crate::support::{BoundedCommand, has_tool};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// The folder of the lessons' programs, and of the binary.
fn programs() -> PathBuf {
    built("socketserver-lessons", "--bins")
}

/// The lessons' names, from the files that play them.
fn lessons() -> Vec<String> {
    let files = std::fs::read_dir(root().join("lessons"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let scripts = files.filter(|path| path.extension().is_some_and(|extension| extension == "sh"));
    let mut names: Vec<_> = scripts
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.retain(|name| name != "player");
    names.sort();
    assert!(names.len() >= 3, "{names:?}");
    names
}

#[test]
fn every_page_shows_its_example_and_an_exercise() {
    for name in lessons() {
        let read = |kind: &str| {
            std::fs::read_to_string(root().join(format!("lessons/{name}.{kind}"))).unwrap()
        };
        let (page, example) = (read("md"), read("rs"));
        assert!(
            example.lines().count() <= 90,
            "{name}: the example has {} lines",
            example.lines().count()
        );
        assert!(
            page.contains(&format!("```rust\n{example}```")),
            "{name}: the page doesn't show the example as it is"
        );
        for part in [
            "# ",
            &format!("`make lesson-{name}`"),
            "## What to see",
            "## The example",
            "## Exercise",
        ] {
            assert!(page.contains(part), "{name}: the page has no {part}");
        }
    }
}

#[test]
fn every_lesson_plays_to_its_end() {
    if !has_tool("timeout", "the lessons") {
        return;
    }
    let binaries = programs();
    for name in lessons() {
        let player = ["lessons/player.sh", &name, binaries.to_str().unwrap()];
        let output = Command::new("sh").args(player).current_dir(root()).finish();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "{name}: {}\n{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        let (shown, traced) = (text(&output.stdout), text(&output.stderr));
        assert!(shown.contains(" listening on "), "{name}: {shown}");
        assert!(
            traced.contains("<-") || traced.contains("handle"),
            "{name}: nothing crossed the wire: {traced}"
        );
    }
}

/// Each example starts on a free port, and ends at SIGTERM like every server.
#[test]
fn every_example_serves_and_ends() {
    let programs = programs();
    for name in lessons() {
        let arguments: &[&str] = match name.as_str() {
            "socketserver" => &["pool", "127.0.0.1:0"],
            "transfer" => &["Cargo.toml", "127.0.0.1:0"],
            _ => &["127.0.0.1:0"],
        };
        let program = programs.join(format!("lesson-{name}"));
        let mut server = Command::new(program)
            .args(arguments)
            .current_dir(root())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .start();
        let lines = server.stdout().lines().map_while(Result::ok);
        let mut ready = lines.skip_while(|line| !line.contains(" listening on "));
        assert!(ready.next().is_some(), "{name}: {:?}", server.finish());
        server.signal(Signal::TERM);
        let output = server.finish();
        assert!(output.status.success(), "{name}: {output:?}");
    }
}

#[test]
fn the_upload_client_reads_the_answer_of_the_example() {
    let dir = crate::support::TestDir::new("lesson-upload");
    dir.write("file.txt", "content");
    let program = programs().join("lesson-upload");
    let mut server = Command::new(program)
        .arg("127.0.0.1:0")
        .current_dir(dir.join(""))
        .stdout(Stdio::piped())
        .start();
    let mut ready = String::new();
    server.stdout().read_line(&mut ready).unwrap();
    let address = ready.trim().rsplit('/').next().unwrap().to_owned();
    let file = dir.join("file.txt");
    let line = ["client", "upload", &address, file.to_str().unwrap()];
    let (code, _, errors) = crate::support::run(&line);
    assert_eq!(code, Some(0), "{errors}");
    let stored = std::fs::read_to_string(dir.join("uploads/file.txt"));
    assert_eq!(stored.unwrap(), "content");
}
