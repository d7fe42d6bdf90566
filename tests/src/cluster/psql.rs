//! The real `psql`, run on a script as a user would.

use std::io::Write;
use std::process::{Command, Stdio};

use super::process::Process;
use super::provision;

/// A gateway as `psql` sees it.
#[derive(Clone, Debug)]
pub struct Psql {
    url: String,
}

/// What a script that failed said.
#[derive(Clone, Debug)]
pub struct PsqlError {
    /// Standard error: the first failing statement's message, with its SQLSTATE (`VERBOSITY verbose`).
    pub message: String,
    /// What was printed before.
    pub output: String,
}

impl Psql {
    /// A gateway by its connection URL.
    pub fn new(url: impl Into<String>) -> Psql {
        Psql { url: url.into() }
    }

    /// Runs a script up to its first error; the answer is what was printed: unaligned, tuples only.
    pub fn run(&self, script: &str) -> Result<String, PsqlError> {
        self.run_bytes(script.as_bytes().to_vec())
    }

    /// The same for a script that need not be text.
    pub fn run_bytes(&self, script: Vec<u8>) -> Result<String, PsqlError> {
        let mut child = self
            .command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("psql starts");
        let mut stdin = child.stdin.take().expect("piped");
        // psql may answer before it has read all; it ends early at an error.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&script)));
        let output = child.wait_with_output().expect("psql ends");
        writer.join().expect("no panic");
        let text = String::from_utf8_lossy(&output.stdout).trim_end().to_string();
        let message = String::from_utf8_lossy(&output.stderr).trim_end().to_string();
        if output.status.success() { Ok(text) } else { Err(PsqlError { message, output: text }) }
    }

    /// Runs a script that must succeed.
    pub fn must(&self, script: &str) -> String {
        self.run(script).unwrap_or_else(|error| {
            panic!("psql {}: {}\nafter: {}\nscript: {script:.2000}", self.url, error.message, error.output)
        })
    }

    /// Runs a script that must fail and returns the message.
    pub fn must_fail(&self, script: &str) -> String {
        match self.run(script) {
            Ok(output) => panic!("psql {} did not fail: {output}\nscript: {script:.2000}", self.url),
            Err(error) => error.message,
        }
    }

    /// Starts `psql` on a script of its own in the background; type lines into it, wait for its end.
    pub fn start(&self, name: &str) -> Process {
        Process::spawn(name, &mut self.command())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(provision::program("psql", "postgresql-client"));
        command
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose", "-f", "-"])
            .arg(&self.url)
            .env("PGCONNECT_TIMEOUT", "20");
        command
    }
}
