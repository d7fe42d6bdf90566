//! Two releases in one site: before each trial, while its clients work, one node changes from one release to the other. All
//! begin with the old one, go to the new one, one after the other, and then back.
//!
//! The new release opens the data directory of the old one. The way back is another: an old release refuses a directory
//! that a newer one has written, and is rebuilt from the other nodes.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use super::site::{NODES, Site};

/// Work between a change and the fault of a trial.
const MIXED: Duration = Duration::from_secs(2);
/// Work before a node changes.
const BEFORE: Duration = Duration::from_millis(500);

/// The programs of both releases.
#[derive(Clone, Debug)]
pub struct Releases {
    /// The one that all nodes begin with.
    pub old: PathBuf,
    /// The one that they go to.
    pub new: PathBuf,
}

/// One node's change to another release.
#[derive(Clone, Debug)]
pub struct Change {
    node: usize,
    to: PathBuf,
    /// Whether it goes to the newer one.
    up: bool,
}

impl Releases {
    /// The change of a site's trial, counted from the site's start.
    pub fn change(&self, turn: usize) -> Change {
        let up = (turn / NODES.len()).is_multiple_of(2);
        let to = if up { &self.new } else { &self.old };
        Change { node: NODES[turn % NODES.len()], to: to.clone(), up }
    }
}

impl Change {
    /// Does it, and lets both releases work side by side for a while.
    ///
    /// # Errors
    ///
    /// What the node did that it should not have.
    pub fn perform(&self, site: &mut Site) -> Result<(), String> {
        sleep(BEFORE);
        site.stop(self.node)?;
        site.use_binary(self.node, &self.to);
        match site.start_unless_refused(self.node) {
            Ok(()) => {}
            Err(said) if self.up => return Err(format!("node {} does not start: {said}", self.node)),
            Err(said) if refuses_the_data(&said) => site.rebuild(self.node)?,
            Err(said) => {
                return Err(format!("node {} does not say why it does not start: {said}", self.node));
            }
        }
        sleep(MIXED);
        Ok(())
    }

    /// Which node changes.
    pub fn node(&self) -> usize {
        self.node
    }

    /// For people: `n2 goes to /path`.
    pub fn describe(&self) -> String {
        format!("n{} goes to {}", self.node, self.to.display())
    }
}

/// Whether a node said, in the one line that it ends with, that its data directory is of a newer release.
fn refuses_the_data(said: &str) -> bool {
    said.lines().last().is_some_and(|line| line.contains("has version") && line.contains("--rebuild"))
}

/// The program of another commit: built once, in a worktree of its own, and kept.
///
/// # Errors
///
/// What `git` or `cargo` said.
pub fn built(commit: &str, workspace: &Path, into: &Path, release: bool) -> Result<PathBuf, String> {
    let name =
        output("git", &["rev-parse", "--verify", "--quiet", &format!("{commit}^{{commit}}")], workspace)
            .map_err(|_| {
                format!("there is no commit {commit} here (a shallow clone? `git fetch --unshallow`)")
            })?;
    let program = into.join(format!("spinnaker-{}", name.trim()));
    if program.exists() {
        return Ok(program);
    }
    std::fs::create_dir_all(into).map_err(|error| format!("{}: {error}", into.display()))?;
    let tree = into.join("worktree");
    let tree_name = tree.display().to_string();
    // One that a former run has left, if any.
    let _ = output("git", &["worktree", "remove", "--force", &tree_name], workspace);
    output("git", &["worktree", "add", "--detach", &tree_name, name.trim()], workspace)?;
    let target = into.join("target");
    let target_name = target.display().to_string();
    let mut build =
        vec!["build", "--quiet", "-p", "frontend", "--bin", "spinnaker", "--target-dir", &target_name];
    if release {
        build.push("--release");
    }
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let done = output(&cargo, &build, &tree).and_then(|_| {
        let made = target.join(if release { "release" } else { "debug" }).join("spinnaker");
        // Under its name only when it is whole.
        let aside = into.join("spinnaker.new");
        let moved = std::fs::copy(&made, &aside).and_then(|_| std::fs::rename(&aside, &program));
        moved.map_err(|error| format!("{}: {error}", made.display()))
    });
    let _ = output("git", &["worktree", "remove", "--force", &tree_name], workspace);
    let _ = std::fs::remove_dir_all(&target);
    done.map(|()| program)
}

fn output(program: &str, arguments: &[&str], directory: &Path) -> Result<String, String> {
    let mut command = std::process::Command::new(program);
    let output = command.args(arguments).current_dir(directory).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("`{program} {}`: {}", arguments.join(" "), said.trim()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_go_up_one_after_the_other_and_then_down() {
        let releases = Releases { old: "old".into(), new: "new".into() };
        let changes: Vec<_> =
            (0..7).map(|turn| releases.change(turn)).map(|one| (one.node, one.up)).collect();
        let expected = [(1, true), (2, true), (3, true), (1, false), (2, false), (3, false), (1, true)];
        assert_eq!(changes, expected);
        assert_eq!(releases.change(4).to, Path::new("old"));
    }

    #[test]
    fn only_a_refusal_of_newer_data_leads_to_a_rebuild() {
        let refusal = "INFO starts\nspinnaker: the data directory's IDENTITY file has version 2, this program reads version 1 \
                       only: start the program that made it, or give the node an empty data directory and start it with \
                       --rebuild";
        assert!(refuses_the_data(refusal));
        assert!(!refuses_the_data("spinnaker: ZooKeeper does not answer"));
        assert!(!refuses_the_data(&format!("{refusal}\nspinnaker: another reason")));
    }
}
