//! The length of functions: what does not fit a screen tells two stories.

use syn::spanned::Spanned;
use syn::visit::Visit;

use super::source::Source;

/// Longest function, from its signature to its closing brace.
const LINES_MAX: usize = 70;

/// Longer functions that are one flat table, `path:name`. This list only shrinks.
const TABLES: &[&str] = &[
    // One line a fault, an action, an option, a verb.
    "tests/src/sim/faults.rs:strike",
    "tests/src/sim/faults.rs:strike_node",
    "tests/src/sim/world.rs:perform",
    "tests/src/sim/options.rs:draw",
];

pub(super) fn check_functions(source: &Source, found: &mut Vec<String>) {
    match syn::parse_file(&source.text) {
        Ok(file) => Lengths { source, found }.visit_file(&file),
        Err(error) => found.push(format!("{}:{}: {error}", source.path, error.span().start().line)),
    }
}

struct Lengths<'a> {
    source: &'a Source,
    found: &'a mut Vec<String>,
}

impl Lengths<'_> {
    fn measure(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let (first, last) = (signature.span().start().line, block.span().end().line);
        let name = format!("{}:{}", self.source.path, signature.ident);
        let lines = last - first + 1;
        if lines > LINES_MAX && !TABLES.contains(&name.as_str()) {
            let at = format!("{}:{first}", self.source.path);
            self.found.push(format!("{at}: {} has {lines} lines, more than {LINES_MAX}", signature.ident));
        }
    }
}

impl<'ast> Visit<'ast> for Lengths<'_> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.measure(&function.sig, &function.block);
        syn::visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.measure(&function.sig, &function.block);
        syn::visit::visit_impl_item_fn(self, function);
    }
}
