//! Golden scripts: files of commands, each with the output that it must give. All crates run theirs through this module.
//!
//! With `UPDATE_GOLDENFILES=1` the outputs are written anew; review the difference.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use goldenscript::{Command, Runner};

/// Runs each script below `directory`, in the order of their paths, each in a runner of its own.
///
/// # Panics
/// If there is no script, if one cannot be read, or if an output differs from the one written down.
pub fn run_all<R: Runner>(directory: impl AsRef<Path>, mut runner: impl FnMut() -> R) {
    let mut scripts = Vec::new();
    gather(directory.as_ref(), &mut scripts);
    scripts.sort();
    assert!(!scripts.is_empty(), "no script in {}", directory.as_ref().display());
    for script in scripts {
        println!("{}", script.display());
        goldenscript::run(&mut runner(), &script).expect("the output is the one written down");
    }
}

fn gather(directory: &Path, scripts: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory of scripts") {
        let path = entry.expect("an entry that can be read").path();
        if path.is_dir() { gather(&path, scripts) } else { scripts.push(path) }
    }
}

/// What stands behind a command's name.
#[derive(Default)]
pub struct Arguments {
    /// Arguments without a name, in order.
    pub words: Vec<String>,
    /// Values of `name=value`.
    pub named: BTreeMap<String, String>,
}

impl Arguments {
    /// All arguments of `command`.
    pub fn of(command: &Command) -> Arguments {
        let mut arguments = Arguments::default();
        let mut given = command.consume_args();
        while let Some((name, value)) = given.next_key() {
            arguments.named.insert(name.to_owned(), value.to_owned());
        }
        while let Some(word) = given.next_pos() {
            arguments.words.push(word.to_owned());
        }
        arguments
    }

    /// The word at `at`, or "" if there are fewer.
    pub fn word(&self, at: usize) -> &str {
        self.words.get(at).map_or("", String::as_str)
    }

    /// The word at `at` as a number. Fails if it is missing or no number.
    pub fn number(&self, at: usize) -> Result<u32, Box<dyn Error>> {
        Ok(self.words.get(at).ok_or("a number is missing")?.parse()?)
    }

    /// All words as numbers.
    pub fn numbers(&self) -> Result<Vec<u32>, Box<dyn Error>> {
        (0..self.words.len()).map(|at| self.number(at)).collect()
    }

    /// The value of `name=value`, or `absent` if it is not there. Fails if it cannot be parsed.
    pub fn value<T: FromStr>(&self, name: &str, absent: T) -> Result<T, Box<dyn Error>>
    where
        T::Err: Error + 'static,
    {
        self.named.get(name).map_or(Ok(absent), |text| Ok(text.parse()?))
    }

    /// Fails if there is a name that is not one of `names`.
    pub fn only(&self, names: &[&str]) -> Result<(), Box<dyn Error>> {
        match self.named.keys().find(|name| !names.contains(&name.as_str())) {
            Some(name) => Err(format!("unknown argument {name}=").into()),
            None => Ok(()),
        }
    }
}

/// Bytes from pairs of hexadecimal digits.
///
/// # Panics
/// If `text` is not that.
pub fn bytes(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "an odd number of digits: {text}");
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal digits");
    (0..text.len()).step_by(2).map(byte).collect()
}
