//! The invariants of the project's text: what no compiler checks, and every contributor may rely
//! on.
//!
//! A rule is a function from the project's files to a list of complaints. Each is proved twice: a
//! bad sample must bring a complaint (so no rule is blind), and the project must bring none.

#[path = "tidy/examples.rs"]
mod examples;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/scan.rs"]
mod scan;

use scan::Project;

/// Fails unless `rule` is silent on `good`, objects to each of `bad`, and is silent on the project
/// itself.
#[track_caller]
fn prove(rule: fn(&Project) -> Vec<String>, good: &[(&str, &str)], bad: &[&[(&str, &str)]]) {
    let complaints = rule(&Project::of(good));
    assert!(
        complaints.is_empty(),
        "the rule objects to a good sample: {complaints:#?}"
    );
    for sample in bad {
        assert!(
            !rule(&Project::of(sample)).is_empty(),
            "the rule is blind to {sample:?}"
        );
    }
    let complaints = rule(&Project::read());
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

const FLOORS: (&str, &str) = (
    "ARCHITECTURE.md",
    "## Floors\n\n| floor | modules |\n|---|---|\n| 0 | `error` |\n| 1 | `poller`, `clock` |\n",
);
const ERROR: (&str, &str) = ("src/error.rs", "");
const CLOCK: (&str, &str) = ("src/clock/mod.rs", "");

#[test]
fn a_module_uses_only_lower_floors_or_its_own_folder() {
    let poller = |text| [FLOORS, ERROR, CLOCK, ("src/poller.rs", text)];
    prove(
        rules::floors,
        &poller(
            "//! See `crate::clock`.\nuse crate::error::{self, Error};\n\
             use crate::{error, poller::Key};",
        ),
        &[
            &poller("use crate::clock::Clock;"),
            &poller("use crate::{error::{Error, clock}, clock};"),
            &poller("use crate::Error;"),
            &poller("use super::error::Error;"),
            &poller("fn f() -> super::super::error::Error {}"),
            &[FLOORS, ERROR, CLOCK],
            &[
                FLOORS,
                ERROR,
                CLOCK,
                ("src/poller.rs", ""),
                ("src/cellar.rs", ""),
            ],
            &[ERROR],
        ],
    );
}

#[test]
fn a_folder_of_the_handlers_uses_only_lower_floors_or_itself() {
    const HANDLER_FLOORS: (&str, &str) = (
        "ARCHITECTURE.md",
        "## Floors of the handlers\n\n| floor | modules |\n|---|---|\n\
         | 1 | `http/protocol`, `common` |\n\
         | 2 | `http/engine` |\n| 3 | `files/site` |\n| 4 | `files` |\n",
    );
    let file = |path: &'static str, text: &'static str| [HANDLER_FLOORS, (path, text)];
    prove(
        rules::handler_floors,
        &[
            HANDLER_FLOORS,
            (
                "handlers/http/engine/writer.rs",
                "use crate::protocol::date;\nuse super::response;\nuse super::super::protocol;",
            ),
            (
                "handlers/files/site/mod.rs",
                "use socketserver_http::{engine::x, protocol};\nuse crate::common::{a, b};\n\
                 // crate::files::mounts\nuse crate::Services;",
            ),
            (
                "handlers/files/mod.rs",
                "use site::Site; use crate::files::site;",
            ),
        ],
        &[
            &file(
                "handlers/http/protocol/head/mod.rs",
                "use crate::engine::x;",
            ),
            &file(
                "handlers/http/protocol/date.rs",
                "use super::super::engine::x;",
            ),
            &file(
                "handlers/files/site/mod.rs",
                "use crate::{common, files::mounts};",
            ),
            &file("handlers/files/site/mod.rs", "use super::mounts;"),
            &file(
                "handlers/common/a.rs",
                "fn f() { socketserver_http::protocol::x() }",
            ),
            &file("handlers/echo.rs", ""),
        ],
    );
}

#[test]
fn no_rust_file_has_more_than_500_lines() {
    prove(
        rules::file_sizes,
        &[
            ("src/a.rs", &"x\n".repeat(500)),
            ("README.md", &"x\n".repeat(501)),
        ],
        &[
            &[("src/a.rs", &"x\n".repeat(501))],
            &[("handlers/http/tests.rs", &"x\n".repeat(501))],
        ],
    );
}

#[test]
fn no_line_is_wider_than_100_columns() {
    let wide = "x ".repeat(60);
    let address = "x".repeat(130);
    let row = "| x ".repeat(40);
    let raw = format!("let a = r#\"\n{wide}\n\"#;");
    prove(
        rules::line_widths,
        &[
            ("src/a.rs", &format!("// {address}\n//! {row}")),
            ("handlers/http/a.rs", &raw),
        ],
        &[
            &[("src/a.rs", &format!("// {wide}x"))],
            &[("handlers/a.rs", &format!("    /// {wide}x"))],
            &[("handlers/http/a.rs", &format!("f(); // {wide}x"))],
            &[("handlers/http/a.rs", &format!("f(\"{wide}\");"))],
        ],
    );
}

#[test]
fn unsafe_code_lives_in_one_folder() {
    prove(
        rules::unsafe_code,
        &[
            ("src/sys/mod.rs", "unsafe { }"),
            (
                "src/a.rs",
                "// unsafe\n#![deny(unsafe_code)] const A: &str = \"unsafe\";",
            ),
        ],
        &[
            &[("src/a.rs", "let x = unsafe { y };")],
            &[("handlers/a.rs", "unsafe impl Send for A {}")],
        ],
    );
}

#[test]
fn nothing_is_left_for_later() {
    let mark = concat!("// TO", "DO: later");
    prove(
        rules::left_for_later,
        &[("src/a.rs", "let todos = list();")],
        &[
            &[("src/a.rs", mark)],
            &[("Makefile", concat!("# FIX", "ME"))],
            &[("src/a.rs", concat!("to", "do!()"))],
            &[("handlers/a.rs", concat!("db", "g!(x)"))],
        ],
    );
}

#[test]
fn only_one_file_names_the_threadpool_crate() {
    prove(
        rules::one_threadpool,
        &[
            ("src/a.rs", "use threadpool::ThreadPool;"),
            ("src/b.rs", "/// Wraps `threadpool`."),
        ],
        &[&[
            ("src/a.rs", "use threadpool::ThreadPool;"),
            ("handlers/b.rs", "threadpool::Builder::new()"),
        ]],
    );
}

#[test]
fn services_never_import_each_other() {
    const LIST: (&str, &str) = (
        "handlers/lib.rs",
        "use crate::ftp;\nservices! {\n    /// E (a::B)\n    Echo(echo::Echo, client: \"c\" \
         echo::client::C),\n    Ftp(\n        ftp::Ftp,\n    ),\n    Http(http::Http),\n}\n",
    );
    prove(
        rules::services_apart,
        &[
            LIST,
            (
                "handlers/echo.rs",
                "use crate::common::digest; use crate::echo::Upper; use crate::a;",
            ),
            ("handlers/common/mod.rs", "use crate::ftp::verbs;"),
        ],
        &[
            &[LIST, ("handlers/echo.rs", "use crate::ftp::verbs;")],
            &[
                LIST,
                ("handlers/http/mod.rs", "use crate::{common, echo::Upper};"),
            ],
            &[("handlers/lib.rs", "use crate::ftp;")],
        ],
    );
}

#[test]
fn every_make_command_in_the_documents_is_a_target() {
    const MAKEFILE: (&str, &str) = (
        "Makefile",
        "test check: ## run\n\trun:\nrun-%: build\nBIN := x\n",
    );
    prove(
        rules::make_commands,
        &[
            MAKEFILE,
            (
                "README.md",
                "We make bread. `make test` or `make run-NAME`\n```sh\nmake check  # all\n```",
            ),
        ],
        &[
            &[MAKEFILE, ("README.md", "`make bread`")],
            &[MAKEFILE, ("CONTRIBUTING.md", "```\nmake run\n```")],
            &[MAKEFILE, ("www/index.html", "<code>make BIN</code>")],
        ],
    );
}

#[test]
fn the_site_needs_nothing_from_outside() {
    prove(
        rules::own_resources,
        &[(
            "www/a.html",
            "<a href=\"/b.html\">https://example.org</a><svg xmlns=\"http://www.w3.org/2000/svg\">",
        )],
        &[
            &[("www/a.html", "<img src=\"https://example.org/a.png\">")],
            &[("www/a.html", "<link HREF='//example.org/a.css'>")],
            &[(
                "www/a.css",
                "body { background: url(http://example.org/a.png) }",
            )],
            &[("www/a.css", "@import \"https://example.org/a.css\";")],
        ],
    );
}

#[test]
fn the_site_shows_the_handler_of_the_readme() {
    const README: (&str, &str) = ("README.md", "```rust,no_run\nfn f(a: &A) {}\n```\n");
    prove(
        rules::same_handler,
        &[
            README,
            (
                "www/index.html",
                "<pre data-readme=\"handler\"><code><b>fn</b> f(a: &amp;A) {}\n</code></pre>",
            ),
        ],
        &[
            &[
                README,
                (
                    "www/index.html",
                    "<pre data-readme=\"handler\"><code>fn g() {}\n</code></pre>",
                ),
            ],
            &[README, ("www/index.html", "")],
        ],
    );
}

#[test]
fn no_file_names_a_path_of_somebodys_machine() {
    let here = concat!("see ", env!("CARGO_MANIFEST_DIR"), "/src");
    prove(
        rules::machine_paths,
        &[("README.md", "see ./src and /etc/ssl")],
        &[
            &[("README.md", here)],
            &[("src/a.rs", concat!("\"/ho", "me/ada/www\""))],
            &[("Makefile", concat!("/Us", "ers/ada/bin/cargo build"))],
        ],
    );
}

#[test]
fn every_public_item_that_a_user_calls_has_an_example_that_runs() {
    const LIB: (&str, &str) = (
        "src/lib.rs",
        "pub use a::{A, f};\npub mod t;\n#[doc(hidden)]\npub use a::Hidden;",
    );
    const TEST: (&str, &str) = ("src/t.rs", "/// ```\n/// T;\n/// ```\npub struct T;");
    let covered = "/// ```\n/// A::new().get();\n/// ```\npub struct A;\nimpl A {\n\
                   /// New.\npub fn new() -> A { A }\npub fn get(&self) {}\nfn own(&self) {}\n}\n\
                   impl Clone for A { fn clone(&self) -> A { A } }\npub struct Hidden;\n\
                   pub(crate) struct B;\n/// ```no_run\n/// f().serve_forever();\n/// ```\n\
                   pub fn f() {}\n#[cfg(test)]\nmod tests {}";
    let with = |from: &str, to: &str| {
        let changed = covered.replacen(from, to, 1);
        assert_ne!(changed, covered);
        changed
    };
    let bad = [
        with("/// ```\n/// A::new", "/// A::new"),
        with("```\n/// A", "```ignore\n/// A"),
        with("```\n/// A", "```text\n/// A"),
        with("```\n/// A", "```no_run\n/// A"),
        with("::new().get()", "::new()"),
        with("::new().get()", "::new().getter(); // .get()"),
        with("f().serve_forever()", "f()"),
        with("f().serve_forever()", "g().serve_forever()"),
        with("fn own", "pub fn own"),
    ];
    let bad: Vec<_> = bad
        .iter()
        .map(|text| [LIB, TEST, ("src/a.rs", text)])
        .collect();
    let mut bad: Vec<&[(&str, &str)]> = bad.iter().map(|files| &files[..]).collect();
    let no_example = [LIB, ("src/a.rs", covered), ("src/t.rs", "pub struct T;")];
    bad.push(&no_example);
    let split = [
        ("src/lib.rs", "pub use a::A;"),
        ("src/a/b.rs", "pub struct A;"),
    ];
    bad.push(&split);
    prove(
        examples::runnable_examples,
        &[LIB, TEST, ("src/a.rs", covered)],
        &bad,
    );
}

#[test]
fn every_program_that_a_test_starts_has_a_time_limit() {
    let test = |code| [("tests/services/exec.rs", code)];
    let of_framework = |code| [("tests/framework/tls.rs", code)];
    prove(
        rules::bounded_programs,
        &[
            ("tests/services/exec.rs", "Command::new(\"sh\").finish();"),
            ("tests/framework/tls.rs", "server.spawn();"),
            (
                "tests/support/process.rs",
                "let child: Child = command.spawn();",
            ),
        ],
        &[
            &test("Command::new(\"sh\").output().unwrap();"),
            &test("Command::new(\"sh\").status().unwrap();"),
            &test("Command::new(\"sh\").spawn().unwrap();"),
            &test("fn run(child: Child) {}"),
            &of_framework("child.wait_with_output().unwrap();"),
        ],
    );
}
