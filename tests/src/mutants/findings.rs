//! What is wrong with the patches: whoever changes the code under one must move it along.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::patch::{DIRECTORY, Mutant, patches, read};

/// Where the rules are defined, each under a heading with the name in brackets.
const RULES: &str = "docs/protocol.md";

/// What is wrong with the patches of the workspace, one line each: those that no longer apply to the present code,
/// fit more than one place, lack their head, or name a rule that is not defined.
pub fn findings(workspace: &Path) -> Vec<String> {
    let patches = match patches(workspace) {
        Ok(patches) => patches,
        Err(what) => return vec![what],
    };
    let rules = match fs::read_to_string(workspace.join(RULES)) {
        Ok(rules) => rules,
        Err(error) => return vec![format!("{RULES}: {error}")],
    };
    let mut found = Vec::new();
    for (name, patch) in patches {
        match read(&name, patch) {
            Ok(mutant) => found.extend(check(workspace, &rules, &mutant)),
            Err(what) => found.push(what),
        }
    }
    found
}

/// What is wrong with one mutant in this workspace.
fn check(workspace: &Path, rules: &str, mutant: &Mutant) -> Vec<String> {
    let mut found = Vec::new();
    let patch = format!("{DIRECTORY}/{}.patch", mutant.name);
    let applies =
        Command::new("git").current_dir(workspace).args(["apply", "--check"]).arg(&mutant.patch).output();
    match applies {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            found.push(format!(
                "{patch}: no longer applies, move it to where the code is now: {}",
                said.trim()
            ));
        }
        Err(error) => found.push(format!("{patch}: git: {error}")),
    }
    for hunk in &mutant.hunks {
        let text = fs::read_to_string(workspace.join(&hunk.file)).unwrap_or_default();
        let places = text.matches(&hunk.before).count();
        if places > 1 {
            found.push(format!("{patch}: fits {places} places of {}, needs more context", hunk.file));
        }
    }
    let heading = format!("### [{}]", mutant.rule);
    if !rules.lines().any(|line| line.starts_with(&heading)) {
        found.push(format!("{patch}: {RULES} does not define [{}]", mutant.rule));
    }
    found
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const HEAD: &str = "The story is forgotten.\nrule: [story-first]\nchecker: style\n\n";

    /// A workspace of one file, in a directory of its own.
    fn workspace(name: &str, code: &str, patch: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("spinnaker-mutants-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        for (path, text) in
            [("code.rs", code), ("tests/mutants/a-bug.patch", patch), (RULES, "### [story-first]\n")]
        {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("a directory")).expect("made");
            fs::write(path, text).expect("written");
        }
        root
    }

    fn diff(before: &str, after: &str) -> String {
        format!("{HEAD}--- a/code.rs\n+++ b/code.rs\n@@ -1,3 +1,3 @@\n one\n-{before}\n+{after}\n three\n")
    }

    #[test]
    fn a_patch_that_fits_has_no_findings() {
        let root = workspace("fits", "one\ntwo\nthree\n", &diff("two", "2 if MUTANT"));
        assert_eq!(findings(&root), Vec::<String>::new());
        fs::remove_dir_all(root).expect("removed");
    }

    #[test]
    fn what_the_code_has_left_behind_is_found() {
        for (name, code, patch, expected) in [
            ("moved", "one\n2\nthree\n", diff("two", "2 if MUTANT"), "no longer applies"),
            ("twice", "one\ntwo\nthree\none\ntwo\nthree\n", diff("two", "2 if MUTANT"), "fits 2 places"),
            (
                "rule",
                "one\ntwo\nthree\n",
                diff("two", "2 if MUTANT").replace("story-first", "x"),
                "define [x]",
            ),
        ] {
            let root = workspace(name, code, &patch);
            let found = findings(&root);
            assert!(found.len() == 1 && found[0].contains(expected), "{found:?}, expected {expected}");
            fs::remove_dir_all(root).expect("removed");
        }
    }
}
