//! Runs subjects at both servers and compares.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;

use super::list::{List, reasons};
use super::outcome::{Mode, Outcome};
use super::subject::{Statement, Step, Subject};
use crate::cluster::wire::{self, Connection};

/// Where both servers listen.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// PostgreSQL.
    pub postgres: u16,
    /// Ours.
    pub ours: u16,
}

/// What came out.
#[derive(Debug, Default)]
pub struct Report {
    /// Statements that were run.
    pub statements: usize,
    /// Statements with the same answer.
    pub same: usize,
    /// Listed differences by reason.
    pub listed: BTreeMap<String, usize>,
    /// Differences by kind, listed or not.
    pub kinds: BTreeMap<String, usize>,
    /// What is not as the list says, one text for each statement.
    pub wrong: Vec<String>,
    /// All differences, for whoever mends them.
    pub all: Vec<String>,
}

/// One statement's difference.
struct Found {
    kind: String,
    answers: String,
}

/// A session at each server.
struct Pair {
    ports: Ports,
    postgres: Connection,
    ours: Connection,
}

impl Pair {
    fn open(ports: Ports) -> io::Result<Pair> {
        let (postgres, ours) = (Connection::connect(ports.postgres)?, Connection::connect(ports.ours)?);
        Ok(Pair { ports, postgres, ours })
    }

    /// Runs a statement at both; what differs, if anything does.
    fn run(&mut self, statement: &Statement, mode: Mode) -> io::Result<Option<Found>> {
        let theirs = Outcome::of(&mut self.postgres, statement, mode)?;
        let ours = Outcome::of(&mut self.ours, statement, mode).unwrap_or_default();
        self.align(theirs.status, ours.status)?;
        Ok(theirs.difference(&ours).map(|difference| Found {
            kind: format!("{} {}", difference.name(), mode.name()),
            answers: format!("    PostgreSQL: {}\n    ours:       {}", theirs.print(), ours.print()),
        }))
    }

    /// After a difference of transaction states both leave the block; after an end both begin anew.
    fn align(&mut self, theirs: u8, ours: u8) -> io::Result<()> {
        if theirs == 0 || ours == 0 {
            *self = Pair::open(self.ports)?;
        } else if theirs != ours {
            for connection in [&mut self.postgres, &mut self.ours] {
                connection.send(&wire::query("rollback"))?;
                connection.until_ready()?;
            }
        }
        Ok(())
    }
}

/// Runs the subjects in `dir`; `update` writes their lists anew instead of failing.
pub fn run(dir: &Path, ports: Ports, subjects: &[Subject], update: bool) -> Result<Report, String> {
    let mut report = Report::default();
    let reasons = reasons(dir)?;
    for subject in subjects {
        let list = List::read(dir, &subject.name)?;
        let found = differences(subject, ports).map_err(|error| format!("{}: {error}", subject.name))?;
        report.add(subject, &list, &found, &reasons);
        if update {
            let found: Vec<(String, String)> = found
                .iter()
                .filter_map(|(statement, found)| Some((statement.clone(), found.as_ref()?.kind.clone())))
                .collect();
            list.write(&found)?;
        }
    }
    Ok(report)
}

/// Every statement of a subject in order, with its first difference.
fn differences(subject: &Subject, ports: Ports) -> io::Result<Vec<(String, Option<Found>)>> {
    let mut found: Vec<(String, Option<Found>)> = Vec::new();
    let modes = if subject.one_way { &Mode::ALL[..1] } else { &Mode::ALL };
    for mode in modes {
        let mut pair = Pair::open(ports)?;
        let (mut index, mut times) = (0, BTreeMap::<&str, usize>::new());
        for step in &subject.steps {
            let Step::Statement(statement) = step else {
                pair = Pair::open(ports)?;
                continue;
            };
            if found.len() == index {
                // A statement that stands in a file several times is told apart by a number.
                let time = times.entry(&statement.text).or_default();
                *time += 1;
                let number = if *time > 1 { format!(" #{time}") } else { String::new() };
                found.push((format!("{}{number}", statement.text), None));
            }
            if statement.parameters.is_none() || *mode != Mode::Simple {
                let difference = pair.run(statement, *mode)?;
                let seen = &mut found[index].1;
                *seen = seen.take().or(difference);
            }
            index += 1;
        }
    }
    Ok(found)
}

impl Report {
    fn add(
        &mut self,
        subject: &Subject,
        list: &List,
        found: &[(String, Option<Found>)],
        reasons: &BTreeMap<String, String>,
    ) {
        for (statement, found) in found {
            self.statements += 1;
            let at = format!("{}: {statement}", subject.name);
            if let Some(found) = found {
                *self.kinds.entry(found.kind.clone()).or_default() += 1;
                self.all.push(format!("{at}\n  {}\n{}", found.kind, found.answers));
            }
            match (found, list.get(statement)) {
                (None, None) => self.same += 1,
                (Some(found), Some(known)) if found.kind == known.kind => {
                    *self.listed.entry(known.reason.clone()).or_default() += 1;
                    if !reasons.contains_key(&known.reason) {
                        self.wrong
                            .push(format!("{at}\n  the reason `{}` is not in reasons.txt", known.reason));
                    }
                }
                (Some(found), known) => {
                    let listed =
                        known.map_or("not listed".to_owned(), |known| format!("listed as {}", known.kind));
                    self.wrong.push(format!("{at}\n  {}, {listed}\n{}", found.kind, found.answers));
                }
                (None, Some(known)) => {
                    self.wrong.push(format!("{at}\n  is the same, listed as {}: strike it off", known.kind));
                }
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed: usize = self.listed.values().sum();
        writeln!(
            f,
            "{} statements: {} the same, {listed} listed, {} wrong",
            self.statements,
            self.same,
            self.wrong.len()
        )?;
        let lines = |f: &mut fmt::Formatter<'_>, of: &BTreeMap<String, usize>| {
            of.iter().try_for_each(|(name, count)| writeln!(f, "  {count:>5}  {name}"))
        };
        writeln!(f, "listed, by reason:")?;
        lines(f, &self.listed)?;
        writeln!(f, "differences, by kind:")?;
        lines(f, &self.kinds)
    }
}
