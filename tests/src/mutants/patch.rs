//! One planted bug: the head of its patch, and the places that the patch changes.

use std::fs;
use std::path::{Path, PathBuf};

/// Where the patches lie in the workspace.
pub(super) const DIRECTORY: &str = "tests/mutants";
/// What the new lines of a patch call the switch that turns its mutant on.
pub(super) const TOKEN: &str = "MUTANT";

/// One planted bug.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutant {
    /// The name of its file, without `.patch`.
    pub name: String,
    /// What is wrong, in a sentence.
    pub what: String,
    /// The rule that it breaks, without brackets.
    pub rule: String,
    /// The checker that is expected to find it first.
    pub checker: Option<String>,
    /// The patch file.
    pub patch: PathBuf,
    pub(super) hunks: Vec<Hunk>,
}

/// One place that a mutant changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hunk {
    /// The file, relative to the workspace.
    pub(super) file: String,
    /// The lines as they are without the mutant, the surrounding ones included.
    pub(super) before: String,
}

impl Mutant {
    /// The files that it changes, relative to the workspace; a file may come more than once.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.hunks.iter().map(|hunk| hunk.file.as_str())
    }
}

/// All mutants of the workspace, by name.
///
/// # Errors
///
/// If the directory of the patches cannot be read, or the head of one is wrong.
pub(super) fn all(workspace: &Path) -> Result<Vec<Mutant>, String> {
    let mut mutants = Vec::new();
    for (name, patch) in patches(workspace)? {
        mutants.push(read(&name, patch)?);
    }
    Ok(mutants)
}

/// The names and files of all patches, in the order of their names.
pub(super) fn patches(workspace: &Path) -> Result<Vec<(String, PathBuf)>, String> {
    let entries = fs::read_dir(workspace.join(DIRECTORY)).map_err(|e| format!("{DIRECTORY}: {e}"))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| format!("{DIRECTORY}: {e}"))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match name.strip_suffix(".patch") {
            Some(stem) => found.push((stem.to_owned(), path)),
            None => return Err(format!("{DIRECTORY}/{name}: only patches belong here")),
        }
    }
    found.sort();
    Ok(found)
}

pub(super) fn read(name: &str, patch: PathBuf) -> Result<Mutant, String> {
    let text = fs::read_to_string(&patch).map_err(|e| format!("{name}: {e}"))?;
    parse(name, &text, patch).map_err(|what| format!("{DIRECTORY}/{name}.patch: {what}"))
}

/// Reads a patch: the sentence, `rule:`, perhaps `checker:`, then the diff.
fn parse(name: &str, text: &str, patch: PathBuf) -> Result<Mutant, String> {
    let start = text.find("--- a/").ok_or("there is no diff (`--- a/FILE`)")?;
    let (head, diff) = text.split_at(start);
    let mut lines = head.lines().filter(|line| !line.is_empty());
    let what = lines.next().filter(|line| line.ends_with('.') && !line.contains(": [")).unwrap_or_default();
    if what.is_empty() {
        return Err("the first line must be a sentence that says what is wrong".into());
    }
    let (mut rule, mut checker) = (None, None);
    for line in lines {
        let rule_of = line.strip_prefix("rule: [").and_then(|rest| rest.strip_suffix(']'));
        match (rule_of, line.strip_prefix("checker: ")) {
            (Some(found), _) => rule = Some(found.to_owned()),
            (None, Some(found)) => checker = Some(found.to_owned()),
            (None, None) => return Err(format!("neither `rule: [NAME]` nor `checker: NAME`: {line}")),
        }
    }
    let rule = rule.ok_or("a line `rule: [NAME]` is missing")?;
    if !diff.lines().any(|line| line.starts_with('+') && line.contains(TOKEN)) {
        return Err(format!("no new line looks at {TOKEN}: the bug would be active in every mutant's run"));
    }
    Ok(Mutant { name: name.to_owned(), what: what.to_owned(), rule, checker, patch, hunks: hunks(diff) })
}

fn hunks(diff: &str) -> Vec<Hunk> {
    let mut hunks: Vec<Hunk> = Vec::new();
    let mut file = "";
    for line in diff.lines() {
        if let Some(path) = line.strip_prefix("--- a/") {
            file = path;
        } else if line.starts_with("@@ ") {
            hunks.push(Hunk { file: file.to_owned(), before: String::new() });
        } else if let Some(kept) = line.strip_prefix([' ', '-'])
            && let Some(hunk) = hunks.last_mut()
        {
            hunk.before.push_str(kept);
            hunk.before.push('\n');
        }
    }
    hunks
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "The story is forgotten.\nrule: [story-first]\nchecker: style\n\n";

    fn parsed(text: &str) -> Result<Mutant, String> {
        parse("a-bug", text, PathBuf::new())
    }

    fn diff(before: &str, after: &str) -> String {
        format!("{HEAD}--- a/code.rs\n+++ b/code.rs\n@@ -1,3 +1,3 @@\n one\n-{before}\n+{after}\n three\n")
    }

    #[test]
    fn a_head_and_its_diff() {
        let mutant = parsed(&diff("two", "2 if MUTANT")).expect("is whole");
        assert_eq!((mutant.what.as_str(), mutant.rule.as_str()), ("The story is forgotten.", "story-first"));
        assert_eq!(mutant.checker.as_deref(), Some("style"));
        assert_eq!(mutant.hunks, [Hunk { file: "code.rs".into(), before: "one\ntwo\nthree\n".into() }]);
    }

    #[test]
    fn a_wrong_head_is_found() {
        for (text, expected) in [
            (HEAD.to_owned(), "no diff"),
            (diff("two", "2 if MUTANT").replace("The story is forgotten.\n", ""), "sentence"),
            (diff("two", "2 if MUTANT").replace("rule: [story-first]\n", ""), "`rule: [NAME]` is missing"),
            (diff("two", "2 if MUTANT").replace("checker:", "finder:"), "neither"),
            (diff("two", "2"), "no new line looks at"),
        ] {
            let error = parsed(&text).expect_err(&text);
            assert!(error.contains(expected), "{error}, expected {expected}");
        }
    }
}
