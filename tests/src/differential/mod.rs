//! The same statements at PostgreSQL 15 and at ours, compared.
//!
//! `tests/differential/*.sql` holds the statements ([`subject`] says how), `differences/*.txt` beside them what is
//! known to differ and why ([`list`]). Each statement runs in the simple protocol and in the extended one with results
//! in text and binary; rows, names and types of columns, types of parameters, tags, SQLSTATEs, notices' codes and the
//! state of the transaction are compared. `cargo run -p spinnaker-tests --bin differential`
//! tells what differs; with `--update` it writes the lists anew.

mod frames;
mod run;
pub mod list;
pub mod outcome;
pub mod subject;

use std::path::PathBuf;

use crate::cluster::provision;

pub use self::frames::{FrameReport, run_frames};
pub use self::run::{Ports, Report, run};
pub use self::subject::Subject;

/// Where statements and lists are.
pub fn dir() -> PathBuf {
    provision::workspace().join("tests/differential")
}

/// The subjects whose names begin with one of `names`, all without names; in the order of the alphabet.
pub fn subjects(names: &[String]) -> Result<Vec<Subject>, String> {
    let files = std::fs::read_dir(dir()).map_err(|error| format!("{}: {error}", dir().display()))?;
    let mut files: Vec<PathBuf> = files.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "sql"));
    files.sort();
    let mut subjects = files.iter().map(|file| Subject::read(file)).collect::<Result<Vec<_>, _>>()?;
    subjects.retain(|subject| {
        names.is_empty() || names.iter().any(|name| subject.name.starts_with(name.as_str()))
    });
    Ok(subjects)
}
