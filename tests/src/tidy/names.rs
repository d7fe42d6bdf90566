//! The names of rules: a name in brackets, such as [no-gaps], in a comment is defined in docs/protocol.md, and nothing is cited by a
//! number that only its author knew.

use std::collections::BTreeSet;
use std::path::Path;

use super::source::Source;

/// The names that docs/protocol.md defines, by headings with the name in brackets.
pub(super) fn defined(protocol: &str) -> BTreeSet<String> {
    let headings = protocol.lines().filter_map(|line| line.strip_prefix("### "));
    headings.flat_map(bracketed).collect()
}

pub(super) fn check_names(source: &Source, defined: &BTreeSet<String>, found: &mut Vec<String>) {
    for (number, line) in source.text.lines().enumerate() {
        let Some(comment) = comment_of(line) else { continue };
        let at = format!("{}:{}", source.path, number + 1);
        for name in bracketed(comment).filter(|name| !defined.contains(name)) {
            found.push(format!("{at}: docs/protocol.md defines no rule [{name}]"));
        }
    }
    for (number, line) in source.text.lines().enumerate() {
        // In strings, too, but not in code, where a type may have such a name.
        let quoted = line.split('"').skip(1).step_by(2);
        for text in comment_of(line).into_iter().chain(quoted) {
            if let Some(cited) = cited_by_number(text) {
                let at = format!("{}:{}", source.path, number + 1);
                found.push(format!("{at}: \"{cited}\": cite the rule by its name in docs/protocol.md"));
                break;
            }
        }
    }
}

/// The same for the comments of a golden script.
pub(super) fn check_script(script: &Source, defined: &BTreeSet<String>, found: &mut Vec<String>) {
    let comments = script.text.lines().enumerate().filter(|(_, line)| line.starts_with('#'));
    for (number, comment) in comments {
        let at = format!("{}:{}", script.path, number + 1);
        let unknown = bracketed(comment).filter(|name| !defined.contains(name));
        found.extend(unknown.map(|name| format!("{at}: docs/protocol.md defines no rule [{name}]")));
        let cited = cited_by_number(comment);
        found.extend(cited.map(|cited| format!("{at}: \"{cited}\": cite the rule by its name")));
    }
}

/// Each rule says what shows it, by the name of something that is there, and some comment in the code cites it.
pub(super) fn check_rules(protocol: &str, workspace: &Path, sources: &[Source], found: &mut Vec<String>) {
    let cited: BTreeSet<String> = sources
        .iter()
        .flat_map(|source| source.text.lines().filter_map(comment_of).flat_map(bracketed))
        .collect();
    for rule in protocol.split("\n### ").skip(1) {
        let Some(name) = bracketed(rule.lines().next().unwrap_or_default()).next() else { continue };
        let text = rule.split("\n## ").next().unwrap_or_default();
        if text.contains("Not built.") {
            continue;
        }
        if !cited.contains(&name) {
            found.push(format!("docs/protocol.md: no comment cites [{name}] where the code keeps it"));
        }
        let shown = text.split_once("*Shown by:*").map_or("", |(_, shown)| shown);
        let by_form = shown.trim_start().starts_with("the form of the messages");
        if !by_form && !shown.split('`').skip(1).step_by(2).any(|name| is_there(name, workspace, sources)) {
            found.push(format!(
                "docs/protocol.md: [{name}] names no test, script or planted bug that is there"
            ));
        }
    }
}

/// Whether this is a planted bug, a golden script, a file or a test.
fn is_there(name: &str, workspace: &Path, sources: &[Source]) -> bool {
    let files =
        [format!("tests/mutants/{name}.patch"), format!("replication/testdata/{name}"), name.to_owned()];
    let function = format!("fn {name}(");
    files.iter().any(|file| workspace.join(file).is_file())
        || sources.iter().any(|source| source.text.contains(&function))
}

/// The comment of a line, in Rust or protobuf.
fn comment_of(line: &str) -> Option<&str> {
    line.find("//").map(|start| &line[start..])
}

/// Names of rules in brackets: two or more lower-case words joined by hyphens.
fn bracketed(text: &str) -> impl Iterator<Item = String> {
    text.split('[').skip(1).filter_map(|rest| {
        let (name, _) = rest.split_once(']')?;
        let word = |word: &str| {
            !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        (name.contains('-') && name.split('-').all(word)).then(|| name.to_string())
    })
}

/// A rule, a section or a pitfall by its number: from documents that are not in the repository.
fn cited_by_number(comment: &str) -> Option<String> {
    let words: Vec<&str> =
        comment.split(|c: char| !c.is_ascii_alphanumeric() && c != '.').filter(|w| !w.is_empty()).collect();
    let digit_first = |word: &str| word.starts_with(|c: char| c.is_ascii_digit());
    let pitfall = |word: &str| {
        let digits = word.trim_end_matches('.').strip_prefix('P');
        digits.is_some_and(|digits| {
            (1..=2).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    let by_word = words.windows(2).find(|pair| {
        matches!(pair[0].to_ascii_lowercase().as_str(), "rule" | "rules" | "design" | "pitfall")
            && digit_first(pair[1])
    });
    by_word
        .map(|pair| pair.join(" "))
        .or_else(|| words.iter().find(|word| pitfall(word)).map(|word| (*word).to_string()))
}

#[cfg(test)]
mod tests {
    use super::super::source::unbar;
    use super::*;

    fn findings_in(text: &str) -> Vec<String> {
        let source = Source { path: "wal/src/x.rs".to_string(), text: text.to_string() };
        let mut found = Vec::new();
        check_names(&source, &defined("### [no-gaps]\n"), &mut found);
        found
    }

    #[test]
    fn a_rule_needs_a_citation_and_something_that_shows_it() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let found = |rule: &str, code: &str| {
            let (mut found, rule) = (Vec::new(), format!("# P\n\n### [no-gaps]\n\n{rule}\n"));
            let sources = [Source { path: "wal/src/x.rs".to_string(), text: code.to_string() }];
            check_rules(&rule, root, &sources, &mut found);
            found.len()
        };
        let code = "// Contiguous [no-gaps].\nfn a_test() {}\n";
        assert_eq!(found("Text. *Shown by:* planted `gap-accepted`.", code), 0);
        assert_eq!(found("Text. *Shown by:* test `a_test`.", code), 0);
        assert_eq!(found("Text. *Shown by:* test `no_such_test`.", code), 1);
        assert_eq!(found("`a_test` stands before. *Shown by:* nothing.", code), 1);
        assert_eq!(found("Text. *Shown by:* test `a_test`.", "fn a_test() {}\n"), 1);
        assert_eq!(found("Not built.", ""), 0);
    }

    #[test]
    fn names_resolve_and_numbers_are_found() {
        assert_eq!(
            findings_in("/// Contiguous [no-gaps], as [`Lsn`] says [a link](x).\n"),
            Vec::<String>::new()
        );
        let unknown = unbar("// It holds [no-|such-rule].\n");
        assert!(findings_in(&unknown)[0].contains(&unbar("[no-|such-rule]")));
        for cited in [
            "/// (ru|le 8a)",
            "// see des|ign 4.1",
            "//! Pitfall P|5 of it",
            "// ru|les 2, 3",
            "let x = \"the trace of P|5\";",
        ] {
            assert_eq!(findings_in(&unbar(cited)).len(), 1, "{cited}");
        }
    }
}
