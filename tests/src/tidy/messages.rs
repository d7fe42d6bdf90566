//! What a node writes to its log as an error or a warning stands in docs/operations.md, with what to do about it; and what
//! stands there is said somewhere.

use std::collections::BTreeSet;

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::Visit;

use super::source::Source;

/// A part of a message must be so long to tell it from others.
const PART_CHARS_MIN: usize = 12;

/// The messages that the manual has rows for: all that stands in code marks in the first column of a table, in parts, with
/// `…` between them for what varies.
pub(super) fn listed(manual: &str) -> Vec<String> {
    let rows = manual.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.split(" | ").next().unwrap_or_default());
    let texts = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    texts.flat_map(|text| text.split('…')).map(trimmed).filter(|part| is_telling(part)).collect()
}

pub(super) fn check_messages(source: &Source, listed: &[String], found: &mut Vec<String>) {
    // What does not parse is told by another rule.
    let Ok(file) = syn::parse_file(&source.text) else { return };
    Messages { source, listed, found }.visit_file(&file);
}

/// Each row of the manual must be a message of the program: `said` is all texts in the code ([`texts`]).
pub(super) fn check_rows(manual: &str, said: &BTreeSet<String>, found: &mut Vec<String>) {
    let rows = manual.split_once("\n## Messages and what to do\n").map_or("", |(_, rows)| rows);
    let rows = rows.split("\n## ").next().unwrap_or_default();
    for part in listed(rows) {
        if !said.iter().any(|text| text.contains(&part)) {
            found.push(format!("docs/operations.md: nothing in the code says \"{part}\""));
        }
    }
}

/// All texts in a file's code, without what varies in them.
pub(super) fn texts(source: &Source, said: &mut BTreeSet<String>) {
    // What does not parse is told by another rule.
    if let Ok(tokens) = source.text.parse::<TokenStream>() {
        for text in all_texts(tokens) {
            said.extend(parts(&text));
        }
    }
}

struct Messages<'a> {
    source: &'a Source,
    listed: &'a [String],
    found: &'a mut Vec<String>,
}

impl<'ast> Visit<'ast> for Messages<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !module.attrs.iter().any(|attribute| attribute.meta.require_list().is_ok_and(is_for_tests)) {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let name = call.path.segments.last().map(|segment| segment.ident.to_string());
        if matches!(name.as_deref(), Some("error" | "warn"))
            && let Some(message) = last_text(call.tokens.clone())
        {
            self.check(&message, call.span().start().line);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        let mut body = Body::default();
        body.visit_block(&function.block);
        if body.alarms {
            // The text is made here, in the call or before it.
            for text in body.texts {
                self.check(&text, function.span().start().line);
            }
        }
        syn::visit::visit_impl_item_fn(self, function);
    }
}

impl Messages<'_> {
    fn check(&mut self, message: &str, line: usize) {
        let parts: Vec<String> = parts(message);
        // A text that was made elsewhere, as an alarm's is.
        if parts.is_empty() {
            return;
        }
        let known = |part: &String| self.listed.iter().any(|row| row.contains(part) || part.contains(row));
        if !parts.iter().any(known) {
            let at = format!("{}:{line}", self.source.path);
            self.found.push(format!("{at}: no row in docs/operations.md for \"{message}\""));
        }
    }
}

/// The body of a function: its texts, and whether it raises an alarm.
#[derive(Default)]
struct Body {
    alarms: bool,
    texts: Vec<String>,
}

impl<'ast> Visit<'ast> for Body {
    /// An alarm is raised by this name, or by those of what raises one with the text that it is given.
    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.alarms |= call.method == "alarm" || call.method == "disbelieve";
        self.alarms |= call.method == "stop" && call.args.len() > 1;
        syn::visit::visit_expr_method_call(self, call);
    }

    fn visit_lit_str(&mut self, text: &'ast syn::LitStr) {
        self.texts.push(text.value());
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.texts.extend(all_texts(call.tokens.clone()));
    }
}

/// All texts among the tokens, at whatever depth.
fn all_texts(tokens: TokenStream) -> Vec<String> {
    let mut texts = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Group(group) => texts.extend(all_texts(group.stream())),
            TokenTree::Literal(literal) => {
                let text = syn::parse_str::<syn::LitStr>(&literal.to_string());
                texts.extend(text.map(|text| text.value()));
            }
            TokenTree::Ident(_) | TokenTree::Punct(_) => {}
        }
    }
    texts
}

fn is_for_tests(list: &syn::MetaList) -> bool {
    list.path.is_ident("cfg") && list.tokens.to_string().contains("test")
}

/// The last text among the tokens: the message of a log line.
fn last_text(tokens: TokenStream) -> Option<String> {
    let literals = tokens.into_iter().filter_map(|token| match token {
        TokenTree::Literal(literal) => syn::parse_str::<syn::LitStr>(&literal.to_string()).ok(),
        TokenTree::Group(_) | TokenTree::Ident(_) | TokenTree::Punct(_) => None,
    });
    literals.last().map(|text| text.value())
}

/// A message without what varies.
fn parts(message: &str) -> Vec<String> {
    let fixed = message.split('{').map(|part| part.split_once('}').map_or(part, |(_, after)| after));
    fixed.map(trimmed).filter(|part| is_telling(part)).collect()
}

fn trimmed(part: &str) -> String {
    let words: Vec<&str> = part.split_whitespace().collect();
    words.join(" ").trim_matches([':', ';', ',', '.', ' ']).to_owned()
}

fn is_telling(part: &str) -> bool {
    part.chars().count() >= PART_CHARS_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANUAL: &str = "| `the disk has … MiB for the log` | it may fill up | `no message` |\n\
                          | `could not flush`, `could not compact` | | |\n";

    fn findings(code: &str) -> Vec<String> {
        let text = format!(
            "fn f() {{ {code} }}\n#[cfg(test)]\nmod tests {{ fn g() {{ warn!(\"only in a test\"); }} }}\n"
        );
        let (source, mut found) = (Source { path: "wal/src/x.rs".to_owned(), text }, Vec::new());
        check_messages(&source, &listed(MANUAL), &mut found);
        found
    }

    #[test]
    fn a_message_without_a_row_is_found() {
        for known in [
            "warn!(%error, \"could not flush; the log keeps it\");",
            "tracing::error!(\"the disk has {} MiB for the log, which may need {most} MiB\", 1);",
            "error!(range = %id, \"{text}\");",
            "info!(\"of no concern to anybody\");",
        ] {
            assert_eq!(findings(known), Vec::<String>::new(), "{known}");
        }
        for unknown in ["warn!(x, \"the moon has set\");", "match x { _ => error!(\"this is no message\") }"]
        {
            let found = findings(unknown);
            assert!(found.len() == 1 && found[0].starts_with("wal/src/x.rs:1: no row"), "{found:?}");
        }
    }

    #[test]
    fn an_alarm_whose_text_is_made_before_it_is_found() {
        let of = |body: &str| {
            let text = format!("impl A {{ fn f(&self) {{ {body} }} }}");
            let (source, mut found) = (Source { path: "wal/src/x.rs".to_owned(), text }, Vec::new());
            check_messages(&source, &listed(MANUAL), &mut found);
            found.len()
        };
        assert_eq!(of("let text = format!(\"the moon {x} has set for good\"); self.alarm(text, out);"), 1);
        assert_eq!(of("self.common.stop(format!(\"the moon {x} has set for good\"), out);"), 1);
        assert_eq!(of("self.alarm(format!(\"could not flush {x}\"), out);"), 0);
        assert_eq!(of("let text = format!(\"the moon {x} has set for good\"); self.stop();"), 0);
    }

    #[test]
    fn a_row_that_nobody_says_is_found() {
        let manual =
            format!("| `not a message at all` | |\n\n## Messages and what to do\n\n{MANUAL}\n## Later\n");
        let code = "fn f() { warn!(\"could not {}: {x}\", y); error!(\"could not flush it\"); format!(\"the disk has {} MiB \\\n    for the log\", 1); }";
        let (source, mut said) =
            (Source { path: "wal/src/x.rs".to_owned(), text: code.to_owned() }, BTreeSet::new());
        texts(&source, &mut said);
        let mut found = Vec::new();
        check_rows(&manual, &said, &mut found);
        assert_eq!(found, ["docs/operations.md: nothing in the code says \"could not compact\""]);
    }
}
