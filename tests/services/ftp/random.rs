//! `serve ftp` under random commands: after each, the reply and the folder are those of a model.

use std::io::Write;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};

use crate::ftp::model::{Names, Node, RESERVED, Tree, resolve};
use crate::support::TestDir;
use crate::support::ftp::{Ftp, server_of_ada};

/// Maximum number of commands in a sequence.
const MAX_COMMANDS: usize = 50;
/// Sequences of commands; 20 times as many with `STRESS=1`.
const SEQUENCES: u32 = 30;

/// Names that clients and servers stumble over.
const NAMES: [&[u8]; 20] = [
    b"a",
    b"b",
    b" leading",
    b"trailing ",
    b"two  spaces",
    b"-la",
    b"-",
    b"quo\"te",
    b"caf\xc3\xa9",
    b"\xff\xfe",
    b"star*",
    b"q?",
    b"[ab]",
    b"~",
    b".hidden",
    b"...",
    b"back\\slash",
    b"tab\there",
    b"a 1 2",
    RESERVED,
];

/// How a path is written.
#[derive(Clone, Copy, Debug)]
enum Form {
    Absolute,
    Relative,
    /// With empty components, `.`, `..` and a slash at its end.
    Detour,
}

#[derive(Clone, Debug)]
enum Target {
    /// Something that is there.
    Existing(Index, Form),
    /// A name in a folder that is there.
    Below(Index, usize, Form),
    /// A name in the working directory.
    Here(usize),
    Root,
    Above,
}

#[derive(Clone, Copy, Debug)]
enum Listing {
    List,
    Nlst,
    Mlsd,
}

#[derive(Clone, Debug)]
enum Command {
    Mkd(Target),
    Rmd(Target),
    Dele(Target),
    Stor(Target, Option<usize>, usize),
    Appe(Target, usize),
    Retr(Target, Option<usize>),
    Rename(Target, Target),
    Rnto(Target),
    Cwd(Target),
    Cdup,
    Pwd,
    Size(Target),
    Mlst(Target),
    List(Listing, Target),
}

fn target() -> impl Strategy<Value = Target> {
    let form = || {
        prop_oneof![
            Just(Form::Absolute),
            Just(Form::Relative),
            Just(Form::Detour)
        ]
    };
    let name = 0..NAMES.len();
    prop_oneof![
        6 => (any::<Index>(), form()).prop_map(|(index, form)| Target::Existing(index, form)),
        6 => (any::<Index>(), name.clone(), form())
            .prop_map(|(index, name, form)| Target::Below(index, name, form)),
        3 => name.prop_map(Target::Here),
        1 => Just(Target::Root),
        1 => Just(Target::Above),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    let size = || prop_oneof![4 => 0..100_usize, 1 => 50_000..100_000_usize];
    let offset = || prop_oneof![2 => Just(None), 1 => (0..120_usize).prop_map(Some)];
    let listing = prop_oneof![
        Just(Listing::List),
        Just(Listing::Nlst),
        Just(Listing::Mlsd)
    ];
    prop_oneof![
        4 => target().prop_map(Command::Mkd),
        2 => target().prop_map(Command::Rmd),
        2 => target().prop_map(Command::Dele),
        5 => (target(), offset(), size()).prop_map(|(to, at, size)| Command::Stor(to, at, size)),
        2 => (target(), size()).prop_map(|(path, size)| Command::Appe(path, size)),
        3 => (target(), offset()).prop_map(|(path, at)| Command::Retr(path, at)),
        4 => (target(), target()).prop_map(|(from, to)| Command::Rename(from, to)),
        1 => target().prop_map(Command::Rnto),
        3 => target().prop_map(Command::Cwd),
        1 => Just(Command::Cdup),
        1 => Just(Command::Pwd),
        2 => target().prop_map(Command::Size),
        2 => target().prop_map(Command::Mlst),
        3 => (listing, target()).prop_map(|(listing, path)| Command::List(listing, path)),
    ]
}

/// The reply that a command must have: its code, and bytes that it must contain.
type Expected = Result<(u16, Vec<u8>), u16>;

/// Two sessions of one user, and the model of what they see.
struct Run<'a> {
    sessions: [Ftp; 2],
    working: [Names; 2],
    tree: Tree,
    root: &'a Path,
}

impl Run<'_> {
    /// The argument that names a target for a session.
    fn argument(&self, session: usize, target: &Target) -> Vec<u8> {
        let existing = |index: &Index| {
            let paths: Vec<_> = self.tree.paths().collect();
            paths[index.index(paths.len())].clone()
        };
        match target {
            Target::Existing(index, form) => self.written(session, &existing(index), *form),
            Target::Below(index, name, form) => {
                let path = [&existing(index)[..], &[NAMES[*name].to_vec()]].concat();
                self.written(session, &path, *form)
            }
            Target::Here(name) => NAMES[*name].to_vec(),
            Target::Root => b"/".to_vec(),
            Target::Above => b"..".to_vec(),
        }
    }

    fn written(&self, session: usize, path: &[Vec<u8>], form: Form) -> Vec<u8> {
        let working = &self.working[session];
        let shared = working.iter().zip(path).take_while(|(a, b)| a == b).count();
        match form {
            Form::Absolute => [b"/", &path.join(&b'/')[..]].concat(),
            Form::Relative => {
                let up = vec![b"..".to_vec(); working.len() - shared];
                let relative = [&up[..], &path[shared..]].concat().join(&b'/');
                if relative.is_empty() {
                    b".".to_vec()
                } else {
                    relative
                }
            }
            Form::Detour => [b"/./x/..//", &path.join(&b"//"[..])[..], b"/"].concat(),
        }
    }

    /// Sends a command without a transfer, and compares the reply.
    fn ask(
        &mut self,
        session: usize,
        line: &[u8],
        expected: Expected,
    ) -> Result<(), TestCaseError> {
        let reply = self.sessions[session].command(line);
        let (code, text) = match expected {
            Ok((code, text)) => (code, text),
            Err(code) => (code, Vec::new()),
        };
        let shown = line.escape_ascii();
        prop_assert!(
            reply.starts_with(&code.to_string()),
            "{shown}: {reply} instead of {code}"
        );
        let text = String::from_utf8_lossy(&text);
        prop_assert!(reply.contains(&*text), "{shown}: {reply} without {text}");
        Ok(())
    }

    /// Sends a command with a path, after the model has obeyed it.
    fn change(
        &mut self,
        session: usize,
        verb: &str,
        target: &Target,
        code: u16,
        obey: impl FnOnce(&mut Tree, Names) -> Result<(), u16>,
    ) -> Result<(), TestCaseError> {
        let argument = self.argument(session, target);
        let path = resolve(&self.working[session], &argument);
        let expected = path.ok_or(550).and_then(|path| obey(&mut self.tree, path));
        let line = [verb.as_bytes(), b" ", &argument].concat();
        self.ask(session, &line, expected.map(|()| (code, Vec::new())))
    }

    fn obey(&mut self, session: usize, command: &Command) -> Result<(), TestCaseError> {
        match command {
            Command::Mkd(path) => self.change(session, "MKD", path, 257, Tree::make_folder),
            Command::Rmd(path) => self.change(session, "RMD", path, 250, |tree, path| {
                tree.remove_folder(&path)
            }),
            Command::Dele(path) => self.change(session, "DELE", path, 250, |tree, path| {
                tree.remove_file(&path)
            }),
            Command::Stor(path, offset, size) => {
                let content = content(*size);
                self.rest(session, *offset);
                let path = self.resolved(session, path);
                let stored = path
                    .1
                    .ok_or(550)
                    .and_then(|path| self.tree.store(path, offset.unwrap_or(0), &content));
                self.store(session, &[b"STOR ", &path.0[..]].concat(), &content, stored)
            }
            Command::Appe(path, size) => {
                let content = content(*size);
                let path = self.resolved(session, path);
                let stored = path
                    .1
                    .ok_or(550)
                    .and_then(|path| self.tree.append(path, &content));
                self.store(session, &[b"APPE ", &path.0[..]].concat(), &content, stored)
            }
            Command::Retr(path, offset) => {
                self.rest(session, *offset);
                let (argument, path) = self.resolved(session, path);
                let content = path.ok_or(550).and_then(|path| {
                    let content = self.tree.file_from(&path, offset.unwrap_or(0));
                    content.map(<[u8]>::to_vec)
                });
                let line = [b"RETR ", &argument[..]].concat();
                match content {
                    Ok(content) => {
                        let received = self.sessions[session].receive(line);
                        prop_assert!(received == content, "{command:?}: other bytes");
                        Ok(())
                    }
                    Err(code) => self.ask_with_port(session, &line, code),
                }
            }
            Command::Rename(from, to) => self.rename(session, from, to),
            Command::Rnto(to) => {
                let line = [b"RNTO ", &self.argument(session, to)[..]].concat();
                self.ask(session, &line, Err(503))
            }
            Command::Cwd(path) => self.cwd(session, path),
            Command::Cdup => {
                let above = resolve(&self.working[session], b"..").unwrap_or_default();
                let is_there = self.tree.is_folder(&above);
                if is_there {
                    self.working[session] = above;
                }
                let expected = is_there.then(|| (250, Vec::new())).ok_or(550);
                self.ask(session, b"CDUP", expected)
            }
            Command::Pwd => {
                let path = [b"/", &self.working[session].join(&b'/')[..]].concat();
                let quoted = path.iter().flat_map(|byte| match byte {
                    b'"' => vec![b'"', b'"'],
                    other => vec![*other],
                });
                let quoted: Vec<u8> = quoted.collect();
                self.ask(
                    session,
                    b"PWD",
                    Ok((257, [b"\"", &quoted[..], b"\""].concat())),
                )
            }
            Command::Size(path) => {
                let (argument, path) = self.resolved(session, path);
                let size = path.ok_or(550).and_then(|path| self.tree.file(&path));
                let size = size.map(|content| (213, content.len().to_string().into_bytes()));
                self.ask(session, &[b"SIZE ", &argument[..]].concat(), size)
            }
            Command::Mlst(path) => {
                let (argument, path) = self.resolved(session, path);
                let node = path.and_then(|path| self.tree.get(&path));
                let facts = node.map(|node| match node {
                    Node::Folder => "type=dir;".to_owned(),
                    Node::File(content) => format!("size={};", content.len()),
                });
                let expected = facts.map(|facts| (250, facts.into_bytes())).ok_or(550);
                self.ask(session, &[b"MLST ", &argument[..]].concat(), expected)
            }
            Command::List(listing, path) => self.list(session, *listing, path),
        }
    }

    fn resolved(&self, session: usize, target: &Target) -> (Vec<u8>, Option<Names>) {
        let argument = self.argument(session, target);
        let path = resolve(&self.working[session], &argument);
        (argument, path)
    }

    fn rest(&mut self, session: usize, offset: Option<usize>) {
        if let Some(offset) = offset {
            self.sessions[session].expect(format!("REST {offset}"), 350);
        }
    }

    /// A transfer that is refused, although the server listens for its data connection.
    fn ask_with_port(
        &mut self,
        session: usize,
        line: &[u8],
        code: u16,
    ) -> Result<(), TestCaseError> {
        self.sessions[session].listen();
        self.ask(session, line, Err(code))
    }

    fn store(
        &mut self,
        session: usize,
        line: &[u8],
        content: &[u8],
        stored: Result<(), u16>,
    ) -> Result<(), TestCaseError> {
        if let Err(code) = stored {
            return self.ask_with_port(session, line, code);
        }
        let ftp = &mut self.sessions[session];
        let mut data = ftp.data();
        let mut reply = ftp.command(line);
        if reply.starts_with("150 ") {
            data.write_all(content).unwrap();
            drop(data);
            reply = ftp.reply();
        }
        prop_assert!(
            reply.starts_with("226 "),
            "{}: {reply}",
            line.escape_ascii()
        );
        Ok(())
    }

    fn rename(&mut self, session: usize, from: &Target, to: &Target) -> Result<(), TestCaseError> {
        let (argument, from) = self.resolved(session, from);
        let is_there = |path: &Names| !path.is_empty() && self.tree.get(path).is_some();
        let from = from.filter(is_there);
        let expected = from.as_ref().map(|_| (350, Vec::new())).ok_or(550);
        self.ask(session, &[b"RNFR ", &argument[..]].concat(), expected)?;
        let Some(from) = from else {
            return self.obey(session, &Command::Rnto(to.clone()));
        };
        self.change(session, "RNTO", to, 250, |tree, to| tree.rename(&from, &to))
    }

    fn cwd(&mut self, session: usize, path: &Target) -> Result<(), TestCaseError> {
        let (argument, path) = self.resolved(session, path);
        let path = path.filter(|path| self.tree.is_folder(path));
        let expected = path.as_ref().map(|_| (250, Vec::new())).ok_or(550);
        if let Some(path) = path {
            self.working[session] = path;
        }
        self.ask(session, &[b"CWD ", &argument[..]].concat(), expected)
    }

    fn list(
        &mut self,
        session: usize,
        listing: Listing,
        path: &Target,
    ) -> Result<(), TestCaseError> {
        let (mut argument, path) = self.resolved(session, path);
        let verb = match listing {
            Listing::List => "LIST ",
            Listing::Nlst => "NLST ",
            Listing::Mlsd => "MLSD ",
        };
        if argument.starts_with(b"-") {
            // It could be an option of `ls`.
            argument.splice(0..0, *b"./");
        }
        let line = [verb.as_bytes(), &argument[..]].concat();
        let node = path.as_ref().and_then(|path| self.tree.get(path));
        let name = path.as_ref().and_then(|path| path.last()).cloned();
        let mut expected = match (node, listing) {
            (Some(Node::Folder), _) => self.tree.entries(&path.unwrap_or_default()),
            (Some(Node::File(_)), Listing::Mlsd) => {
                return self.ask_with_port(session, &line, 501);
            }
            (Some(Node::File(_)), _) => Vec::from_iter(name),
            (None, Listing::Mlsd) => return self.ask_with_port(session, &line, 550),
            // What is not there can be a pattern.
            (None, _) => match self.matching(path) {
                fitting if fitting.is_empty() => return self.ask_with_port(session, &line, 550),
                fitting => fitting,
            },
        };
        let received = self.sessions[session].receive(&line);
        let lines = received.split(|byte| *byte == b'\n');
        let lines = lines.filter_map(|line| line.strip_suffix(b"\r"));
        let name = |line: &[u8]| match listing {
            Listing::Nlst => line.rsplit(|byte| *byte == b'/').next().map(<[u8]>::to_vec),
            Listing::Mlsd => line
                .splitn(2, |byte| *byte == b' ')
                .nth(1)
                .map(<[u8]>::to_vec),
            Listing::List => after_eight_words(line).map(<[u8]>::to_vec),
        };
        let mut listed: Names = lines.filter_map(name).collect();
        listed.sort();
        expected.sort();
        prop_assert_eq!(listed, expected, "{}", line.escape_ascii());
        Ok(())
    }

    /// The names that fit a path whose last name is a pattern.
    fn matching(&self, path: Option<Names>) -> Names {
        let path = path.unwrap_or_default();
        let Some((pattern, folder)) = path.split_last() else {
            return Names::new();
        };
        let fits = |name: &Vec<u8>| match &pattern[..] {
            b"star*" => name.starts_with(b"star"),
            b"q?" => name.len() == 2 && name.starts_with(b"q"),
            b"[ab]" => name == b"a" || name == b"b",
            _ => false,
        };
        let names = self.tree.entries(folder).into_iter();
        names.filter(fits).collect()
    }
}

/// The name in a line of LIST: it may begin with spaces.
fn after_eight_words(line: &[u8]) -> Option<&[u8]> {
    let mut rest = line;
    for _ in 0..8 {
        let begin = rest.iter().position(|byte| *byte != b' ')?;
        let word = &rest[begin..];
        rest = &word[word.iter().position(|byte| *byte == b' ')?..];
    }
    rest.strip_prefix(b" ")
}

fn content(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at * 31 % 251) as u8).collect()
}

#[test]
fn random_commands_change_the_folder_as_a_model_says() {
    let dir = TestDir::new("ftp-random");
    let server = server_of_ada(&dir, &["--no-fsync"]);
    let root = dir.join("root");
    let seed = std::env::var("STRESS_SEED").ok();
    let seed = seed.and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let is_long = std::env::var_os("STRESS").is_some();
    let config = Config {
        cases: if is_long { 20 * SEQUENCES } else { SEQUENCES },
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: 300,
        ..Config::default()
    };
    let commands = proptest::collection::vec((0..2_usize, command()), 1..MAX_COMMANDS);
    let result = TestRunner::new(config).run(&commands, |commands| {
        Tree::clear(&root);
        let mut run = Run {
            sessions: [Ftp::ada(&server), Ftp::ada(&server)],
            working: [Names::new(), Names::new()],
            tree: Tree::new(),
            root: &root,
        };
        for (session, command) in &commands {
            run.obey(*session, command)?;
            let found = Tree::read(run.root);
            prop_assert_eq!(&found, &run.tree, "after {:?}", command);
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("with the seed {seed} (STRESS_SEED): {error}");
    }
}
