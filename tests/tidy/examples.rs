//! The rule that every public item which a user calls has an example that runs.
//!
//! CONTRIBUTING.md says what counts. The docs of a type and of its methods are one page. An example
//! anywhere on that page covers the methods that it calls, so one example may show several.

use std::collections::{BTreeMap, BTreeSet};

use syn::{Attribute, Expr, ImplItem, Item, ItemImpl, Lit, Meta, TraitItem, Type, UseTree};
use syn::{ItemTrait, Visibility};

use crate::scan::{Project, code_of, module_of};

/// A file that exports what users call, and the folder of the definitions.
struct Face {
    root: &'static str,
    folder: &'static str,
    /// If there are any, only what these modules of the file export counts. Otherwise everything
    /// that the file and its public modules export.
    modules: &'static [&'static str],
}

const FACES: [Face; 2] = [
    Face {
        root: "src/lib.rs",
        folder: "src/",
        modules: &[],
    },
    // What a program needs for an HTTP service of its own.
    Face {
        root: "handlers/http/lib.rs",
        folder: "handlers/http/",
        modules: &["engine", "protocol"],
    },
];

/// An example that calls one of these does not return, so it may be `no_run`.
const ENDLESS: [&str; 1] = ["serve_forever"];

/// The docs of one type, trait or function.
#[derive(Default)]
struct Page {
    path: String,
    own: String,
    /// By the names of the methods.
    methods: BTreeMap<String, String>,
    /// The docs of its `impl` blocks.
    blocks: String,
    is_function: bool,
}

/// By the names of the items.
type Pages = BTreeMap<String, Page>;

pub(crate) fn runnable_examples(project: &Project) -> Vec<String> {
    let mut complaints = Vec::new();
    for face in &FACES {
        let mut files = BTreeMap::new();
        for (path, text) in project.below(face.folder) {
            if !path.ends_with(".rs") {
                continue;
            }
            match syn::parse_file(text) {
                Ok(file) => drop(files.insert(path, file.items)),
                Err(error) => complaints.push(format!("{path}: {error}")),
            }
        }
        let Some(root) = files.get(face.root) else {
            continue;
        };
        let mut pages = Pages::new();
        for (path, items) in &files {
            collect(path, items, &mut pages);
        }
        for name in exported(face, root, &files) {
            if let Some(page) = pages.get(&name) {
                complaints.extend(check(&name, page));
            }
        }
    }
    complaints
}

/// What one page lacks.
fn check(name: &str, page: &Page) -> Vec<String> {
    let Page { path, own, .. } = page;
    let mut complaints = Vec::new();
    let examples_of = |docs: &str| examples_that_count(docs).join("\n");
    let in_own = examples_of(own);
    if in_own.is_empty() {
        complaints.push(format!("{path}: `{name}` has no example that runs"));
    } else if page.is_function && !calls(&in_own, name) {
        complaints.push(format!("{path}: the example of `{name}` does not call it"));
    }
    let others = page.methods.values().chain([&page.blocks]);
    let on_page = others.fold(in_own, |all, docs| all + "\n" + &examples_of(docs));
    let uncovered = page
        .methods
        .keys()
        .filter(|method| !calls(&on_page, method));
    complaints.extend(
        uncovered
            .map(|method| format!("{path}: no example in the docs of `{name}` runs `{method}`")),
    );
    complaints
}

/// Whether code calls or implements a function of this name.
fn calls(code: &str, name: &str) -> bool {
    let starts_name = |before: &str| {
        before.ends_with('.')
            || before.ends_with("::")
            || before.ends_with("fn ")
            || !before.ends_with(|c: char| c.is_alphanumeric() || c == '_')
    };
    let goes_on = |after: &str| after.starts_with(['(', '<']) || after.starts_with("::<");
    code.match_indices(name).any(|(at, _)| {
        let (before, after) = (&code[..at], &code[at + name.len()..]);
        // `map(Type::name)` is a use as well.
        let is_path = before.ends_with("::") && after.starts_with([')', ',']);
        starts_name(before) && (goes_on(after) || is_path)
    })
}

/// The code of the examples that count: those that `cargo test` runs, and those that it only
/// compiles because they would not return.
fn examples_that_count(docs: &str) -> Vec<String> {
    let mut examples = Vec::new();
    let mut lines = docs.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```") else {
            continue;
        };
        let inside: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        // A hidden line runs too.
        let inside = inside
            .iter()
            .map(|line| line.strip_prefix("# ").unwrap_or(line));
        let code = code_of(&inside.map(|line| format!("{line}\n")).collect::<String>());
        let mut words = info.split(',').map(str::trim);
        let is_endless = ENDLESS.iter().any(|name| calls(&code, name));
        let counts = |word| match word {
            "" | "rust" => true,
            "no_run" => is_endless,
            _ => false,
        };
        if words.all(counts) {
            examples.push(code);
        }
    }
    examples
}

/// The names that a face exports.
fn exported(face: &Face, root: &[Item], files: &BTreeMap<&str, Vec<Item>>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for item in root {
        match item {
            Item::Use(used) if is_public(&used.vis) && !is_hidden(&used.attrs) => {
                let in_face =
                    |module: &str| face.modules.is_empty() || face.modules.contains(&module);
                if let UseTree::Path(path) = &used.tree
                    && in_face(&path.ident.to_string())
                {
                    leaves(&path.tree, &mut names);
                }
            }
            Item::Mod(module)
                if face.modules.is_empty()
                    && is_public(&module.vis)
                    && !is_hidden(&module.attrs) =>
            {
                let name = module.ident.to_string();
                for (path, items) in files {
                    if module_of(path) == name && path.matches('/').count() == 1 {
                        names.extend(items.iter().filter_map(name_of));
                        names.extend(exported(face, items, files));
                    }
                }
            }
            _ => {}
        }
    }
    names
}

fn leaves(tree: &UseTree, names: &mut BTreeSet<String>) {
    match tree {
        UseTree::Path(path) => leaves(&path.tree, names),
        UseTree::Name(name) => drop(names.insert(name.ident.to_string())),
        UseTree::Group(group) => group.items.iter().for_each(|tree| leaves(tree, names)),
        UseTree::Rename(_) | UseTree::Glob(_) => {}
    }
}

/// The name of a public item that has a page.
fn name_of(item: &Item) -> Option<String> {
    let (vis, name) = match item {
        Item::Struct(item) => (&item.vis, &item.ident),
        Item::Enum(item) => (&item.vis, &item.ident),
        Item::Trait(item) => (&item.vis, &item.ident),
        Item::Fn(item) => (&item.vis, &item.sig.ident),
        _ => return None,
    };
    is_public(vis).then(|| name.to_string())
}

/// Adds the pages of a file's public items, and their methods, which may be in another file.
fn collect(path: &str, items: &[Item], pages: &mut Pages) {
    for item in items {
        if let Item::Impl(block) = item {
            collect_methods(block, pages);
        }
        let Some(name) = name_of(item) else {
            continue;
        };
        let page = pages.entry(name).or_default();
        path.clone_into(&mut page.path);
        match item {
            Item::Struct(item) => page.own += &docs(&item.attrs),
            Item::Enum(item) => page.own += &docs(&item.attrs),
            Item::Trait(item) => {
                page.own += &docs(&item.attrs);
                page.methods.extend(methods_of_trait(item));
            }
            Item::Fn(item) => {
                page.own += &docs(&item.attrs);
                page.is_function = true;
            }
            _ => {}
        }
    }
}

fn methods_of_trait(item: &ItemTrait) -> impl Iterator<Item = (String, String)> {
    item.items.iter().filter_map(|item| match item {
        TraitItem::Fn(method) => Some((method.sig.ident.to_string(), docs(&method.attrs))),
        _ => None,
    })
}

/// Methods of traits that a type implements are on the pages of the traits.
fn collect_methods(block: &ItemImpl, pages: &mut Pages) {
    let Type::Path(path) = &*block.self_ty else {
        return;
    };
    let (None, Some(segment)) = (&block.trait_, path.path.segments.last()) else {
        return;
    };
    let page = pages.entry(segment.ident.to_string()).or_default();
    page.blocks += &docs(&block.attrs);
    for item in &block.items {
        if let ImplItem::Fn(method) = item
            && is_public(&method.vis)
            && !is_hidden(&method.attrs)
        {
            let name = method.sig.ident.to_string();
            page.methods.insert(name, docs(&method.attrs));
        }
    }
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn is_hidden(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        matches!(&attribute.meta, Meta::List(list) if list.path.is_ident("doc")
            && list.tokens.to_string() == "hidden")
    })
}

/// The lines of a doc comment.
fn docs(attributes: &[Attribute]) -> String {
    let mut text = String::new();
    for attribute in attributes {
        if let Meta::NameValue(pair) = &attribute.meta
            && pair.path.is_ident("doc")
            && let Expr::Lit(literal) = &pair.value
            && let Lit::Str(line) = &literal.lit
        {
            text += &line.value();
            text.push('\n');
        }
    }
    text
}
