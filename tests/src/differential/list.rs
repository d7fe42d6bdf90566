//! The list of known differences: for each subject a file of lines `kind protocol reason | statement`.
//!
//! A reason is a name of `reasons.txt`, which says what it means. The list only shrinks: a statement of it that is
//! answered alike, or otherwise than it says, fails the suite as one that is missing does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What is known of one statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Kind and first protocol, such as `refused simple`.
    pub kind: String,
    /// A name of `reasons.txt`.
    pub reason: String,
}

/// The known differences of one subject, by statement.
#[derive(Clone, Debug, Default)]
pub struct List {
    file: PathBuf,
    known: BTreeMap<String, Known>,
}

impl List {
    /// Reads the list of a subject; without a file nothing is known.
    pub fn read(dir: &Path, subject: &str) -> Result<List, String> {
        let file = dir.join("differences").join(format!("{subject}.txt"));
        let text = if file.exists() { read(&file)? } else { String::new() };
        let mut known = BTreeMap::new();
        for line in text.lines() {
            let wrong = || format!("{}: not `kind protocol reason | statement`: {line}", file.display());
            let (head, statement) = line.split_once(" | ").ok_or_else(wrong)?;
            let (kind, reason) = head.rsplit_once(' ').ok_or_else(wrong)?;
            let entry = Known { kind: kind.to_owned(), reason: reason.to_owned() };
            known.insert(statement.to_owned(), entry);
        }
        Ok(List { file, known })
    }

    /// What is known of a statement.
    pub fn get(&self, statement: &str) -> Option<&Known> {
        self.known.get(statement)
    }

    /// Writes the differences that were found, in the subject's order. A known reason is kept; of the rest, what is
    /// refused is a limit, and anything else is open.
    pub fn write(&self, found: &[(String, String)]) -> Result<(), String> {
        let mut text = String::new();
        for (statement, kind) in found {
            let reason = match self.known.get(statement) {
                Some(known) if known.kind == *kind => known.reason.as_str(),
                _ if kind.starts_with("refused") => "limit",
                _ => "open",
            };
            text += &format!("{kind} {reason} | {statement}\n");
        }
        if text.is_empty() {
            drop(std::fs::remove_file(&self.file));
            return Ok(());
        }
        std::fs::write(&self.file, text).map_err(|error| format!("{}: {error}", self.file.display()))
    }
}

/// What each reason means.
pub fn reasons(dir: &Path) -> Result<BTreeMap<String, String>, String> {
    let text = read(&dir.join("reasons.txt"))?;
    let lines = text.lines().filter(|line| !line.is_empty());
    let parts = lines.map(|line| {
        let (name, meaning) = line.split_once(": ").ok_or_else(|| format!("not `name: meaning`: {line}"))?;
        Ok((name.to_owned(), meaning.to_owned()))
    });
    parts.collect()
}

fn read(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))
}
