//! The style of the project as a test, so that it is kept by a machine and not by good intentions.
//!
//! Most rules look at one file at a time and say what is wrong where; [`findings`] runs all of them over the
//! workspace, and those that need a whole crate (`order`). Canaries below plant a violation of each rule: a rule
//! that finds nothing proves nothing.

mod documents;
mod functions;
mod messages;
mod names;
mod order;
mod words;
mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

pub use self::source::Source;
use self::source::unbar;

/// Longest source file. No exceptions.
const LINES_MAX: usize = 700;

/// The folders of the crates.
const CRATES: [&str; 6] = ["wal", "replication", "kvstore", "planner", "frontend", "tests"];

/// Our layers, lowest first: a crate may use only those before it.
const LAYERS: [&str; 6] = ["wal", "replication", "kvstore", "planner", "frontend", "spinnaker-tests"];

/// Names that say nothing about what a file holds.
const EMPTY_NAMES: [&str; 7] = ["util", "utils", "common", "helper", "helpers", "misc", "manager"];

/// What never stays in the code.
const LEFTOVERS: [&str; 3] = ["to|do!(", "db|g!(", "unim|plemented!("];

/// What the pure protocol must not touch: clocks, files, sockets, threads, chance.
const IMPURE: [&str; 9] = [
    "tokio",
    "std::time",
    "std::fs",
    "std::net",
    "std::thread",
    "std::env",
    "std::process",
    "rand::",
    "getrandom",
];

/// Everything that is wrong below `workspace` when one file at a time is looked at, one line each: `path:line: what`.
pub fn findings(workspace: &Path) -> Vec<String> {
    sources_of(workspace).iter().flat_map(check).collect()
}

/// What is wrong with the structure: names of rules, lengths of functions, words, the order of modules, messages without a
/// row in the manual.
pub fn structure_findings(workspace: &Path) -> Vec<String> {
    let sources = sources_of(workspace);
    let protocol = workspace.join("docs/protocol.md");
    let protocol = fs::read_to_string(&protocol).unwrap_or_else(|e| panic!("{}: {e}", protocol.display()));
    let defined = names::defined(&protocol);
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| !source.path.ends_with(".toml")) {
        words::check_words(source, &mut found);
        names::check_names(source, &defined, &mut found);
        if source.path.ends_with(".rs") {
            functions::check_functions(source, &mut found);
        }
    }
    for script in scripts_of(workspace) {
        words::check_words(&script, &mut found);
        names::check_script(&script, &defined, &mut found);
    }
    names::check_rules(&protocol, workspace, &sources, &mut found);
    documents::check_documents(workspace, &mut found);
    let manual = workspace.join("docs/operations.md");
    let manual = fs::read_to_string(&manual).unwrap_or_else(|e| panic!("{}: {e}", manual.display()));
    let listed = messages::listed(&manual);
    for source in sources.iter().filter(|source| is_of_a_node(&source.path)) {
        messages::check_messages(source, &listed, &mut found);
    }
    let mut said = BTreeSet::new();
    for source in sources.iter().filter(|source| is_of_a_node(&source.path)) {
        messages::texts(source, &mut said);
    }
    messages::check_rows(&manual, &said, &mut found);
    for crate_dir in CRATES {
        order::check_order(crate_dir, &sources, &mut found);
    }
    found
}

/// Whether a file's code runs in a node.
fn is_of_a_node(path: &str) -> bool {
    let tests = path.contains("/tests/") || path.ends_with("_tests.rs") || path.starts_with("tests/");
    path.ends_with(".rs") && path.contains("/src/") && !tests
}

/// Golden scripts and what they print.
fn scripts_of(workspace: &Path) -> Vec<Source> {
    let mut scripts = Vec::new();
    let mut folders: Vec<_> = CRATES.iter().map(|name| workspace.join(name).join("testdata")).collect();
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
            match fs::read_to_string(&path) {
                Ok(text) => {
                    let relative = path.strip_prefix(workspace).unwrap_or(&path);
                    scripts.push(Source { path: relative.to_string_lossy().into_owned(), text });
                }
                // A folder, or bytes that are no text.
                Err(_) => folders.push(path),
            }
        }
    }
    scripts
}

fn sources_of(workspace: &Path) -> Vec<Source> {
    let mut sources = Vec::new();
    for crate_dir in CRATES {
        collect(workspace, &workspace.join(crate_dir), &mut sources);
    }
    assert!(sources.len() > 20, "the workspace was not found at {}", workspace.display());
    sources
}

fn collect(workspace: &Path, dir: &Path, sources: &mut Vec<Source>) {
    let mut entries: Vec<_> = fs::read_dir(dir).into_iter().flatten().flatten().collect();
    entries.sort_by_key(std::fs::DirEntry::path);
    for path in entries.into_iter().map(|entry| entry.path()) {
        if path.is_dir() {
            if !path.ends_with("target") {
                collect(workspace, &path, sources);
            }
        } else if path.extension().is_some_and(|e| e == "rs" || e == "proto" || e == "toml") {
            let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            let relative = path.strip_prefix(workspace).unwrap_or(&path);
            sources.push(Source { path: relative.to_string_lossy().replace('\\', "/"), text });
        }
    }
}

/// What is wrong with one file.
pub fn check(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    if source.path.ends_with(".toml") {
        check_arrows(source, &mut found);
        return found;
    }
    check_size(source, &mut found);
    check_name(source, &mut found);
    if source.path.ends_with(".rs") {
        check_story(source, &mut found);
        check_leftovers(source, &mut found);
        check_purity(source, &mut found);
    }
    found
}

fn check_size(source: &Source, found: &mut Vec<String>) {
    let lines = source.text.lines().count();
    if lines > LINES_MAX {
        found.push(format!("{}:{lines}: longer than {LINES_MAX} lines", source.path));
    }
}

fn check_name(source: &Source, found: &mut Vec<String>) {
    let name = source.path.rsplit('/').next().unwrap_or_default();
    let stem = name.split('.').next().unwrap_or_default();
    if EMPTY_NAMES.contains(&stem) {
        found.push(format!("{}:1: name the file for what it holds", source.path));
    }
}

/// Every file opens with its story.
fn check_story(source: &Source, found: &mut Vec<String>) {
    let story = source.text.lines().next().and_then(|line| line.strip_prefix("//! "));
    if story.is_none_or(|story| story.split(' ').count() < 3) {
        found.push(format!("{}:1: must open with a //! sentence that says what it is about", source.path));
    }
}

fn check_leftovers(source: &Source, found: &mut Vec<String>) {
    for (number, line) in source.text.lines().enumerate() {
        for leftover in LEFTOVERS.map(unbar) {
            if line.contains(&leftover) {
                found.push(format!("{}:{}: leftover {leftover}..)", source.path, number + 1));
            }
        }
    }
}

fn check_purity(source: &Source, found: &mut Vec<String>) {
    if !source.path.starts_with("replication/src/protocol/") {
        return;
    }
    for (number, line) in source.text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        for impure in IMPURE.iter().filter(|impure| code.contains(**impure)) {
            found.push(format!("{}:{}: {impure} in the pure protocol", source.path, number + 1));
        }
    }
}

/// Calls go down only: a crate may depend on our crates below it. (Tests may use what they like.)
fn check_arrows(source: &Source, found: &mut Vec<String>) {
    let name = source.text.lines().find_map(|line| line.strip_prefix("name = "));
    let Some(rank) = name.and_then(|name| rank_of(name.trim_matches('"'))) else { return };
    let mut section = "";
    for (number, line) in source.text.lines().enumerate() {
        if line.starts_with('[') {
            section = line;
        }
        if section != "[dependencies]" && section != "[build-dependencies]" {
            continue;
        }
        let dependency = line.split(['.', ' ', '=']).next().unwrap_or_default();
        if rank_of(dependency).is_some_and(|other| other >= rank) {
            found.push(format!("{}:{}: {dependency} is not below this crate", source.path, number + 1));
        }
    }
}

fn rank_of(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| *layer == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings_in(path: &str, text: &str) -> Vec<String> {
        check(&Source { path: path.to_string(), text: text.to_string() })
    }

    const STORY: &str = "//! A story of three words and more.\n";

    #[test]
    fn a_clean_file_has_no_findings() {
        let clean = format!("{STORY}/// Determined; terminal; the epoch.\nfn range() {{}}\n");
        assert_eq!(findings_in("wal/src/lsn.rs", &clean), Vec::<String>::new());
        let clean =
            "name = \"kvstore\"\n[dependencies]\nwal.workspace = true\n[dev-dependencies]\nfrontend = {}\n";
        assert_eq!(findings_in("kvstore/Cargo.toml", clean), Vec::<String>::new());
    }

    #[test]
    fn every_rule_finds_its_canary() {
        let canaries = [
            ("wal/src/lsn.rs", "use std::io;\n".to_string(), "must open"),
            ("wal/src/lsn.rs", STORY.repeat(LINES_MAX + 1), "longer"),
            ("wal/src/util.rs", STORY.to_string(), "name the file"),
            ("wal/src/lsn.rs", format!("{STORY}{})\n", unbar(LEFTOVERS[0])), "leftover"),
            ("replication/src/protocol/x.rs", format!("{STORY}use tokio::sync;\n"), "pure protocol"),
            ("wal/Cargo.toml", "name = \"wal\"\n[dependencies]\nkvstore.workspace = true\n".into(), "below"),
        ];
        for (path, text, expected) in canaries {
            let found = findings_in(path, &text);
            assert!(
                found.len() == 1 && found[0].contains(expected),
                "{path}: {found:?}, expected {expected}"
            );
        }
    }

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.to_string(), text: text.to_string() }
    }

    #[test]
    fn words_and_long_functions_are_found() {
        let mut found = Vec::new();
        let text = format!("let current_{} = 1; // makes no {}\n", unbar(words::WORDS[0].0), "sense");
        words::check_words(&source("wal/src/x.rs", &text), &mut found);
        assert!(found.len() == 2 && found[0].contains("say epoch"), "{found:?}");
        found.clear();
        let long = format!("fn long() {{\n{}}}\n", "    x();\n".repeat(70));
        functions::check_functions(&source("wal/src/x.rs", &long), &mut found);
        functions::check_functions(&source("wal/src/x.rs", "fn short() {}\n"), &mut found);
        assert!(found.len() == 1 && found[0].contains("72 lines"), "{found:?}");
    }

    #[test]
    fn arrows_between_modules_point_down() {
        let crate_of = |lib: &str, upper: &str, lower: &str, inner: &str| {
            let sources = [
                source("wal/src/lib.rs", lib),
                source("wal/src/upper.rs", upper),
                source("wal/src/lower/mod.rs", lower),
                source("wal/src/lower/inner.rs", inner),
            ];
            let mut found = Vec::new();
            order::check_order("wal", &sources, &mut found);
            found
        };
        let lib = "mod upper;\nmod lower;\npub use lower::Thing;\n";
        let down = "use crate::lower::inner::Part;\n";
        assert_eq!(crate_of(lib, down, "mod inner;\npub use inner::Thing;\n", ""), Vec::<String>::new());
        // A file above, by import, by a path in the code, and through a re-export.
        let found = crate_of(lib, "", "mod inner;\n", "use crate::upper::Thing;\n");
        assert!(found.len() == 1 && found[0].starts_with("wal/src/lower/inner.rs:1: uses wal/src/upper.rs"));
        let found = crate_of(lib, "", "mod inner;\nfn f() { crate::upper::g(); }\n", "");
        assert!(found.len() == 1 && found[0].starts_with("wal/src/lower/mod.rs:1: uses wal/src/upper.rs"));
        let lib = "mod lower;\nmod upper;\npub use lower::inner::Thing;\n";
        let found = crate_of(lib, "use crate::Thing;\n", "pub mod inner;\n", "");
        assert!(found.len() == 1 && found[0].contains("uses wal/src/lower/inner.rs"), "{found:?}");
        // What an enclosing module defines.
        let found = crate_of(lib, "", "mod inner;\nstruct S;\n", "use super::S;\n");
        assert!(found.len() == 1 && found[0].contains("uses wal/src/lower/mod.rs"), "{found:?}");
        // Tests may use what they test.
        let tests = "mod inner;\nstruct S;\n#[cfg(test)]\nmod tests { use super::S; use crate::upper::T; }\n";
        assert_eq!(crate_of(lib, "", tests, ""), Vec::<String>::new());
    }

    #[test]
    fn comments_may_name_what_the_protocol_must_not_touch() {
        let text = format!("{STORY}// The driver asks tokio.\n");
        assert_eq!(findings_in("replication/src/protocol/x.rs", &text), Vec::<String>::new());
    }
}
