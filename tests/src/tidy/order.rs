//! The order of modules: inside a crate a file may use only what is declared below it.
//!
//! The `mod` lines of `lib.rs`, and of each folder's `mod.rs`, are read top down: callers stand above what they call. A
//! module may use its own children and whatever is declared below it or below a module that encloses it; it may use
//! neither what stands above it nor the items of a module that encloses it. So there are no circles between files, and
//! whoever reads a crate from its last module to its first meets nothing that is not known yet.
//!
//! Re-exports are followed to where the item is defined. Modules under `#[cfg(test)]` are left out; names inside macro
//! calls are not seen.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::Visit;
use syn::{Attribute, Item, ItemMod, ItemUse, UseTree};

use super::source::Source;

/// Arrows that point up today: `user -> used`, files from the crate's folder on. This list only shrinks.
pub(super) const EXCEPTIONS: &[&str] = &[];

/// A module: its path from the crate's root, such as `["engine", "flush"]`.
type Path = Vec<String>;

#[derive(Default)]
struct Module {
    /// The file that it is written in.
    file: String,
    /// Child modules in the order of their declaration.
    children: Vec<String>,
    /// `pub use` and `use`: the name here, and where it comes from. A glob has the name `*`.
    imports: Vec<(String, Vec<String>)>,
    /// Paths that the code names, outside of `use`.
    mentions: Vec<Vec<String>>,
    /// Only compiled for tests.
    test_only: bool,
}

#[derive(Default)]
struct Tree {
    modules: BTreeMap<Path, Module>,
}

/// All arrows of a crate that point up, one line each.
pub(super) fn check_order(crate_dir: &str, sources: &[Source], found: &mut Vec<String>) {
    let tree = Tree::read(crate_dir, sources);
    let mut arrows = BTreeSet::new();
    for (path, module) in &tree.modules {
        if module.test_only {
            continue;
        }
        let named = module.imports.iter().map(|(_, from)| from).chain(&module.mentions);
        for target in named.filter_map(|from| tree.resolve(path, from, 0)) {
            if !tree.modules[&target].test_only && !tree.points_down(path, &target) {
                arrows.insert((module.file.clone(), tree.modules[&target].file.clone()));
            }
        }
    }
    for (user, used) in arrows.into_iter().filter(|(user, used)| user != used) {
        let arrow = format!("{user} -> {used}");
        if !EXCEPTIONS.contains(&arrow.as_str()) {
            found.push(format!("{user}:1: uses {used}, which is not declared below it"));
        }
    }
}

impl Tree {
    fn read(crate_dir: &str, sources: &[Source]) -> Tree {
        let mut tree = Tree::default();
        let root = format!("{crate_dir}/src/lib.rs");
        tree.read_file(Vec::new(), &root, &format!("{crate_dir}/src"), false, sources);
        tree
    }

    /// Reads a file and, below `dir`, the modules that it declares.
    fn read_file(&mut self, path: Path, file: &str, dir: &str, test_only: bool, sources: &[Source]) {
        let Some(source) = sources.iter().find(|source| source.path == file) else { return };
        let Ok(parsed) = syn::parse_file(&source.text) else { return };
        self.read_items(path, &parsed.items, (file, dir), test_only, sources);
    }

    fn read_items(
        &mut self,
        path: Path,
        items: &[Item],
        (file, dir): (&str, &str),
        test_only: bool,
        sources: &[Source],
    ) {
        let mut module = Module { file: file.to_string(), test_only, ..Module::default() };
        for item in items {
            match item {
                Item::Mod(inner) => {
                    let name = inner.ident.to_string();
                    module.children.push(name.clone());
                    let below = [path.clone(), vec![name.clone()]].concat();
                    let test_only = test_only || is_test(&inner.attrs);
                    match (&inner.content, own_file(inner)) {
                        (Some((_, items)), _) => {
                            self.read_items(
                                below,
                                items,
                                (file, &format!("{dir}/{name}")),
                                test_only,
                                sources,
                            );
                        }
                        (None, Some(own)) => {
                            let own = format!("{dir}/{own}");
                            let inside = own.trim_end_matches("/mod.rs").trim_end_matches(".rs").to_string();
                            self.read_file(below, &own, &inside, test_only, sources);
                        }
                        (None, None) => {
                            let inside = format!("{dir}/{name}");
                            for own in [format!("{inside}.rs"), format!("{inside}/mod.rs")] {
                                self.read_file(below.clone(), &own, &inside, test_only, sources);
                            }
                        }
                    }
                }
                Item::Use(import) => read_import(import, &mut module.imports),
                other => Mentions(&mut module.mentions).visit_item(other),
            }
        }
        self.modules.insert(path, module);
    }

    /// The module that defines what `from`, written in the module `at`, names. `None`: not of this crate.
    fn resolve(&self, at: &Path, from: &[String], depth: usize) -> Option<Path> {
        let mut rest = from.iter().map(String::as_str).peekable();
        let mut current = at.clone();
        match rest.peek().copied()? {
            "crate" => {
                current.clear();
                rest.next();
            }
            "self" => drop(rest.next()),
            "super" => {
                while rest.peek() == Some(&"super") {
                    current.pop();
                    rest.next();
                }
            }
            child if self.modules[at].children.iter().any(|name| name == child) => {}
            _ => return None,
        }
        while let Some(name) = rest.next() {
            let module = self.modules.get(&current)?;
            let below = [current.clone(), vec![name.to_string()]].concat();
            if self.modules.contains_key(&below) {
                current = below;
                continue;
            }
            let exported = module.imports.iter().find(|(exported, _)| exported == name);
            if let Some((_, origin)) = exported.filter(|(_, origin)| depth < 8 && origin.as_slice() != from) {
                let mut whole = origin.clone();
                whole.extend(rest.map(str::to_string));
                // An item of another crate, or one that a glob brings, counts as defined where it is exported.
                return self.resolve(&current, &whole, depth + 1).or(Some(current));
            }
            break;
        }
        Some(current)
    }

    /// Whether a file of the module `user` may use the module `used`.
    fn points_down(&self, user: &Path, used: &Path) -> bool {
        let shared = user.iter().zip(used).take_while(|(one, other)| one == other).count();
        if shared == user.len() {
            return true;
        }
        if shared == used.len() {
            // The items of an enclosing module: fine inside one file only.
            return self.modules[user].file == self.modules[used].file;
        }
        let children = &self.modules[&user[..shared].to_vec()].children;
        let place = |name: &String| children.iter().position(|child| child == name);
        place(&user[shared]) < place(&used[shared])
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string().trim() == "test")
    })
}

/// The value of `#[path = ".."]`.
fn own_file(module: &ItemMod) -> Option<String> {
    module.attrs.iter().find(|attribute| attribute.path().is_ident("path")).and_then(|attribute| {
        match &attribute.meta.require_name_value().ok()?.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        }
    })
}

fn read_import(import: &ItemUse, imports: &mut Vec<(String, Vec<String>)>) {
    if !is_test(&import.attrs) {
        read_use_tree(&import.tree, &mut Vec::new(), imports);
    }
}

fn read_use_tree(tree: &UseTree, prefix: &mut Vec<String>, imports: &mut Vec<(String, Vec<String>)>) {
    match tree {
        UseTree::Path(path) => {
            prefix.push(path.ident.to_string());
            read_use_tree(&path.tree, prefix, imports);
            prefix.pop();
        }
        UseTree::Name(name) if name.ident == "self" => {
            imports.push((prefix.last().cloned().unwrap_or_default(), prefix.clone()));
        }
        UseTree::Name(name) => {
            imports.push((name.ident.to_string(), [prefix.clone(), vec![name.ident.to_string()]].concat()));
        }
        UseTree::Rename(name) => {
            let last = Some(name.ident.to_string()).filter(|last| last != "self");
            imports.push((name.rename.to_string(), prefix.iter().cloned().chain(last).collect()));
        }
        UseTree::Glob(_) => imports.push(("*".to_string(), prefix.clone())),
        UseTree::Group(group) => group.items.iter().for_each(|tree| read_use_tree(tree, prefix, imports)),
    }
}

/// Collects paths of more than one part.
struct Mentions<'a>(&'a mut Vec<Vec<String>>);

impl<'ast> Visit<'ast> for Mentions<'_> {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 && path.leading_colon.is_none() {
            self.0.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_item_use(&mut self, import: &'ast ItemUse) {
        let mut imports = Vec::new();
        read_import(import, &mut imports);
        self.0.extend(imports.into_iter().map(|(_, from)| from));
    }

    fn visit_item_mod(&mut self, _: &'ast ItemMod) {}
}
