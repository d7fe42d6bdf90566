//! Builds the simulator with mutants in it, in copies of the workspace below `target/mutants`: as many mutants to a build
//! as go together, each behind a switch that an environment variable turns on.
//!
//! ```text
//! target/mutants/tree-1/    a copy of the workspace with the patches of the first batch
//! target/mutants/sim-1      the simulator built from it
//! target/mutants/tree-2/    what does not go together with the first batch, and so on
//! target/mutants/target/    cargo's own directory for all of them
//! ```
//!
//! The copies are kept between runs, and only files whose content has changed are written, so that cargo builds again
//! only what it must.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use super::patch::{Mutant, TOKEN};

/// The environment variable that names the active mutant of a process.
pub const ACTIVE: &str = "SPINNAKER_MUTANT";

/// What the copies have and the workspace has not: the module `wal::mutant`.
const SWITCH: &str = r#"//! The switch of the mutants in this build.

use std::sync::LazyLock;

static ACTIVE: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("SPINNAKER_MUTANT").ok());

/// Whether the mutant of this name is the active one of this process.
pub fn active(name: &str) -> bool {
    ACTIVE.as_deref() == Some(name)
}
"#;

/// Mutants that go together, and what they make of the files that they change.
#[derive(Debug, Default)]
pub struct Batch {
    /// The mutants.
    pub mutants: Vec<Mutant>,
    changed: BTreeMap<String, String>,
}

/// Distributes the mutants over as few batches as a first fit needs.
///
/// # Errors
///
/// If one does not apply to the workspace as it is.
pub fn batches(workspace: &Path, mutants: &[Mutant]) -> Result<Vec<Batch>, String> {
    let mut batches: Vec<Batch> = Vec::new();
    for mutant in mutants {
        let mut refused = String::new();
        let fits = |batch: &mut Batch| match batch.add(workspace, mutant) {
            Ok(()) => true,
            Err(why) => {
                refused = why;
                false
            }
        };
        if batches.iter_mut().any(fits) {
            continue;
        }
        let mut batch = Batch::default();
        batch.add(workspace, mutant).map_err(|why| format!("{}: {why}", mutant.patch.display()))?;
        batches.push(batch);
    }
    Ok(batches)
}

impl Batch {
    /// Applies one more mutant; an error leaves the batch as it was.
    fn add(&mut self, workspace: &Path, mutant: &Mutant) -> Result<(), String> {
        let work = home(workspace).join("work");
        remove(&work)?;
        let files: BTreeSet<&str> = mutant.files().collect();
        for file in &files {
            let text = match self.changed.get(*file) {
                Some(text) => text.clone(),
                None => read(&workspace.join(file))?,
            };
            write(&work.join(file), text.as_bytes())?;
        }
        // One line of context is enough beside other mutants; outside of any repository git patches the files themselves.
        let mut git = Command::new("git");
        git.current_dir(&work).args(["apply", "-C1"]).arg(&mutant.patch);
        git.env("GIT_CEILING_DIRECTORIES", home(workspace)).env_remove("GIT_DIR").env_remove("GIT_WORK_TREE");
        let output = git.output().map_err(|e| format!("git: {e}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        for file in files {
            let inside = if file.starts_with("wal/") { "crate" } else { "::wal" };
            let switch = format!("{inside}::mutant::active({:?})", mutant.name);
            let text = read(&work.join(file))?.replace(TOKEN, &switch);
            self.changed.insert(file.to_owned(), text);
        }
        self.mutants.push(mutant.clone());
        Ok(())
    }

    /// Builds the simulator with this batch, the `number`th, and returns where it lies.
    ///
    /// # Errors
    ///
    /// If the copy cannot be written, or does not compile.
    pub fn build(&self, workspace: &Path, number: usize) -> Result<PathBuf, String> {
        let tree = home(workspace).join(format!("tree-{number}"));
        self.write_tree(workspace, &tree)?;
        let target = home(workspace).join("target");
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .current_dir(&tree)
            .env("CARGO_TARGET_DIR", &target)
            .args(["build", "--quiet", "--release", "--locked", "-p", "spinnaker-tests"])
            .args(["--no-default-features", "--features", "sim", "--bin", "sim"])
            .status()
            .map_err(|e| format!("cargo: {e}"))?;
        if !status.success() {
            return Err(format!("the mutants do not compile: see {}", tree.display()));
        }
        // The next batch's will lie at the same place.
        let sim = home(workspace).join(format!("sim-{number}"));
        remove(&sim)?;
        fs::copy(target.join("release/sim"), &sim).map_err(|e| format!("{}: {e}", sim.display()))?;
        Ok(sim)
    }

    /// Makes `tree` a copy of the workspace with this batch applied.
    fn write_tree(&self, workspace: &Path, tree: &Path) -> Result<(), String> {
        let mut wanted = BTreeSet::new();
        for file in sources(workspace)? {
            let mut bytes = match self.changed.get(&file) {
                Some(text) => text.clone().into_bytes(),
                None => fs::read(workspace.join(&file)).map_err(|e| format!("{file}: {e}"))?,
            };
            if file == "wal/src/lib.rs" {
                bytes.extend_from_slice(b"pub mod mutant;\n");
            }
            wanted.insert(tree.join(&file));
            write(&tree.join(&file), &bytes)?;
        }
        let switch = tree.join("wal/src/mutant.rs");
        write(&switch, SWITCH.as_bytes())?;
        wanted.insert(switch);
        sweep(tree, &wanted).map_err(|e| format!("{}: {e}", tree.display()))
    }
}

/// Where everything of ours is kept.
fn home(workspace: &Path) -> PathBuf {
    workspace.join("target/mutants")
}

/// The files of the workspace, new ones included: whatever git does not ignore.
fn sources(workspace: &Path) -> Result<Vec<String>, String> {
    let mut git = Command::new("git");
    git.current_dir(workspace).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let output = git.output().map_err(|e| format!("git: {e}"))?;
    if !output.status.success() {
        return Err(format!("git ls-files: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    let names = String::from_utf8(output.stdout).map_err(|e| format!("git ls-files: {e}"))?;
    let files = names.split('\0').filter(|name| workspace.join(name).is_file());
    Ok(files.map(str::to_owned).collect())
}

/// Removes what an earlier run left in a copy and the workspace no longer has.
fn sweep(dir: &Path, wanted: &BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            sweep(&path, wanted)?;
        } else if !wanted.contains(&path) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

/// Writes a file, unless it has this content.
fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    if fs::read(path).is_ok_and(|known| known == bytes) {
        return Ok(());
    }
    let made = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(path, bytes));
    made.map_err(|e| format!("{}: {e}", path.display()))
}

/// Removes a file or a directory, if there is one.
fn remove(path: &Path) -> Result<(), String> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(format!("{}: {error}", path.display())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "The file holds something else.\nrule: [a-rule]\n\n--- a/wal/src/lib.rs\n+++ b/wal/src/lib.rs\n";

    /// A workspace of one file with the lines 1 to 9.
    fn workspace() -> PathBuf {
        let root = env::temp_dir().join(format!("spinnaker-batches-{}", std::process::id()));
        remove(&root).expect("removed");
        let lines: String = (1..=9).map(|line| format!("{line}\n")).collect();
        write(&root.join("wal/src/lib.rs"), lines.as_bytes()).expect("written");
        root
    }

    /// A mutant that changes one line.
    fn mutant(root: &Path, name: &str, line: u32) -> Mutant {
        let (before, after) = (line - 1, line + 1);
        let hunk =
            format!("@@ -{before},3 +{before},3 @@\n {before}\n-{line}\n+{line} if MUTANT\n {after}\n");
        let patch = root.join(format!("tests/mutants/{name}.patch"));
        write(&patch, format!("{HEAD}{hunk}").as_bytes()).expect("written");
        crate::mutants::patch::read(name, patch).expect("is whole")
    }

    #[test]
    fn mutants_of_other_lines_go_together_and_those_of_one_line_do_not() {
        let root = workspace();
        let mutants = [mutant(&root, "a", 3), mutant(&root, "b", 3), mutant(&root, "c", 6)];
        let batches = batches(&root, &mutants).expect("all apply");
        let names = |batch: &Batch| batch.mutants.iter().map(|one| one.name.clone()).collect::<Vec<_>>();
        assert_eq!(batches.iter().map(names).collect::<Vec<_>>(), [vec!["a", "c"], vec!["b"]]);
        let text = &batches[0].changed["wal/src/lib.rs"];
        assert!(text.contains("3 if crate::mutant::active(\"a\")\n"), "{text}");
        assert!(text.contains("6 if crate::mutant::active(\"c\")\n"), "{text}");
        assert_eq!(
            read(&root.join("wal/src/lib.rs")).expect("is there").lines().count(),
            9,
            "the workspace stays as it is"
        );
        remove(&root).expect("removed");
    }

    #[test]
    fn only_what_has_changed_is_written_and_what_is_gone_is_removed() {
        let root = env::temp_dir().join(format!("spinnaker-sweep-{}", std::process::id()));
        remove(&root).expect("removed");
        let (kept, gone) = (root.join("a/kept.rs"), root.join("a/b/gone.rs"));
        for path in [&kept, &gone] {
            write(path, b"same").expect("written");
        }
        let modified = || fs::metadata(&kept).and_then(|found| found.modified()).expect("has a time");
        let before = modified();
        write(&kept, b"same").expect("written");
        assert_eq!(modified(), before);
        sweep(&root, &BTreeSet::from([kept.clone()])).expect("swept");
        assert!(kept.is_file() && !gone.exists());
        remove(&root).expect("removed");
    }
}
