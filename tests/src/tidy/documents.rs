//! The documents: the file map of ARCHITECTURE.md names what is there, all of it, and lines are not wider than a page.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Longest line of a document, in characters; rows of tables may be longer.
const WIDTH_MAX: usize = 100;

/// What the map need not name: the roots of crates and folders, programs and tests.
const UNNAMED: [&str; 7] = ["lib.rs", "mod.rs", "main.rs", "bin", "tests", "tests.rs", "Cargo.toml"];

/// Looks at all documents below `workspace`.
pub(super) fn check_documents(workspace: &Path, found: &mut Vec<String>) {
    let mut paths: Vec<String> =
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(str::to_owned).into();
    let docs = fs::read_dir(workspace.join("docs")).into_iter().flatten().flatten();
    paths.extend(docs.map(|entry| format!("docs/{}", entry.file_name().to_string_lossy())));
    paths.sort();
    for path in paths {
        let text =
            fs::read_to_string(workspace.join(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        check_width(&path, &text, found);
        if path == "ARCHITECTURE.md" {
            check_map(&text, &|folder| children(&workspace.join(folder)), found);
        }
    }
}

/// What is in a folder; `None`: there is no such file or folder.
fn children(path: &Path) -> Option<Vec<String>> {
    if path.is_file() {
        return Some(Vec::new());
    }
    let entries = fs::read_dir(path).ok()?.flatten();
    Some(entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}

fn check_width(path: &str, text: &str, found: &mut Vec<String>) {
    for (number, line) in text.lines().enumerate() {
        let wide = line.chars().count() > WIDTH_MAX;
        if wide && !line.starts_with('|') {
            found.push(format!("{path}:{}: longer than {WIDTH_MAX} characters", number + 1));
        }
    }
}

/// Each name of the map is there, and where the map looks into a folder it names all that is in it.
fn check_map(text: &str, children: &dyn Fn(&str) -> Option<Vec<String>>, found: &mut Vec<String>) {
    let map = text.split_once("\n## Where things are").map_or("", |(_, rest)| rest);
    let map = map.split("```").nth(1).unwrap_or_default();
    let named = named_in(map.strip_prefix("text").unwrap_or(map));
    if named.is_empty() {
        found.push("ARCHITECTURE.md: no map of files below \"Where things are\"".to_owned());
    }
    for path in named.iter().filter(|path| children(path).is_none()) {
        found.push(format!("ARCHITECTURE.md: the map names {path}, which is not there"));
    }
    let looked_into: BTreeSet<&str> =
        named.iter().filter_map(|path| Some(path.rsplit_once('/')?.0)).collect();
    for folder in looked_into.into_iter().filter(|folder| folder.split('/').any(|part| part == "src")) {
        for child in children(folder).unwrap_or_default() {
            let path = format!("{folder}/{child}");
            // A folder may stand behind the file of its name.
            let known = named.contains(&path) || named.contains(&format!("{path}.rs"));
            if !known && !UNNAMED.contains(&child.as_str()) && !child.ends_with("_tests.rs") {
                found.push(format!("ARCHITECTURE.md: the map does not name {path}"));
            }
        }
    }
}

/// The paths of a map: indented names below folders, several to a line with commas between, then what they are.
fn named_in(map: &str) -> BTreeSet<String> {
    let (mut named, mut above) = (BTreeSet::new(), Vec::<(usize, String)>::new());
    for line in map.lines().filter(|line| !line.trim().is_empty()) {
        let indent = line.len() - line.trim_start().len();
        above.retain(|(other, _)| *other < indent);
        let folder = above.last().map(|(_, path)| format!("{path}/")).unwrap_or_default();
        for word in line.split_whitespace() {
            let path = format!("{folder}{}", word.trim_end_matches(',').trim_end_matches('/'));
            if !word.ends_with(',') {
                above.push((indent, path.clone()));
            }
            named.insert(path);
            if !word.ends_with(',') {
                break;
            }
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_that_is_wrong_or_not_whole_is_found() {
        let found = |map: &str| {
            let there = |path: &str| match path {
                "wal/src" => Some(vec!["lib.rs".into(), "a.rs".into(), "b.rs".into(), "disk".into()]),
                "wal/src/disk" => Some(vec!["mod.rs".into(), "file.rs".into()]),
                "wal/src/a.rs" | "wal/src/b.rs" | "wal/src/disk/file.rs" => Some(Vec::new()),
                _ => None,
            };
            let mut found = Vec::new();
            check_map(&format!("x\n## Where things are\n\n```text\n{map}```\n"), &there, &mut found);
            found
        };
        let none = Vec::<String>::new();
        assert_eq!(
            found("wal/src   the log\n  a.rs, b.rs   some, all\n  disk/ files\n    file.rs  one\n"),
            none
        );
        assert_eq!(found("wal/src   the log\n  a.rs, b.rs   some\n  disk/       files, all of them\n"), none);
        assert!(found("wal/src\n  a.rs  x\n  disk/  y\n")[0].contains("does not name wal/src/b.rs"));
        assert!(found("wal/src\n  a.rs, b.rs, c.rs  x\n  disk/  y\n")[0].contains("names wal/src/c.rs"));
        assert!(found("").iter().any(|finding| finding.contains("no map")));
    }

    #[test]
    fn long_lines_are_found_but_for_tables() {
        let mut found = Vec::new();
        let long = "é".repeat(WIDTH_MAX);
        check_width("x.md", &format!("{long}\n{long}x\n|{long}\n"), &mut found);
        assert_eq!(found, ["x.md:2: longer than 100 characters"]);
    }
}
