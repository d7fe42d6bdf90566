//! The names of rules: a name in brackets, such as [no-gaps], in a comment is defined in docs/protocol.md, and nothing is cited by a
//! number that only its author knew.

use std::collections::BTreeSet;

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
        if let Some(number) = cited_by_number(comment) {
            found.push(format!("{at}: \"{number}\": cite the rule by its name in docs/protocol.md"));
        }
    }
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
    fn names_resolve_and_numbers_are_found() {
        assert_eq!(
            findings_in("/// Contiguous [no-gaps], as [`Lsn`] says [a link](x).\n"),
            Vec::<String>::new()
        );
        let unknown = unbar("// It holds [no-|such-rule].\n");
        assert!(findings_in(&unknown)[0].contains(&unbar("[no-|such-rule]")));
        for cited in ["/// (ru|le 8a)", "// see des|ign 4.1", "//! Pitfall P|5 of it", "// ru|les 2, 3"] {
            assert_eq!(findings_in(&unbar(cited)).len(), 1, "{cited}");
        }
    }
}
