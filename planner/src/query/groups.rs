//! Rows gathered into groups, each with its aggregates.

use super::plan::{Aggregate, Grouping};
use super::row_sets::{ROWS_MAX, distinct, same, sort, too_many_rows};
use crate::error::SqlError;
use crate::expression::{Accumulator, Env, Scope};
use crate::interrupt::Interrupt;
use crate::types::{Datum, Row};

/// Groups in order of first appearance.
pub(crate) struct Groups<'a> {
    grouping: &'a Grouping,
    groups: Vec<Group>,
}

struct Group {
    key: Row,
    gathered: Vec<Gathered>,
}

/// What has been gathered for one aggregate of one group.
struct Gathered {
    accumulator: Box<dyn Accumulator>,
    /// The arguments of the row at hand; kept, so that a row needs no memory of its own.
    arguments: Row,
    /// The arguments of the rows so far, if they must be sorted (and perhaps freed of duplicates) before they are taken.
    waiting: Vec<Row>,
}

impl Group {
    fn new(key: Row, aggregates: &[Aggregate]) -> Group {
        let start = |aggregate: &Aggregate| (aggregate.function.start)(&aggregate.ty);
        let gathered = aggregates.iter().map(|own| Gathered {
            accumulator: start(own),
            arguments: Vec::with_capacity(own.arguments.len()),
            waiting: Vec::new(),
        });
        Group { key, gathered: gathered.collect() }
    }
}

impl<'a> Groups<'a> {
    /// No groups yet; one empty group if there are no keys.
    pub(crate) fn new(grouping: &'a Grouping) -> Groups<'a> {
        let mut groups = Vec::new();
        if grouping.keys.is_empty() {
            groups.push(Group::new(Vec::new(), &grouping.aggregates));
        }
        Groups { grouping, groups }
    }

    /// Adds a row to its group.
    pub(crate) fn add(&mut self, scope: &Scope<'_>, env: &Env) -> Result<(), SqlError> {
        let at = self.group_of(scope, env)?;
        for (aggregate, gathered) in self.grouping.aggregates.iter().zip(&mut self.groups[at].gathered) {
            gathered.add(aggregate, scope, env)?;
        }
        Ok(())
    }

    /// The position of a row's group, which is made if it is new.
    fn group_of(&mut self, scope: &Scope<'_>, env: &Env) -> Result<usize, SqlError> {
        if self.grouping.keys.is_empty() {
            return Ok(0);
        }
        let keys = self.grouping.keys.iter();
        let key: Row = keys.map(|key| key.eval(scope, env)).collect::<Result<_, _>>()?;
        for (at, group) in self.groups.iter().enumerate() {
            if same(&group.key, &key)? {
                return Ok(at);
            }
        }
        self.groups.push(Group::new(key, &self.grouping.aggregates));
        Ok(self.groups.len() - 1)
    }

    /// One row for each group: its keys, then its aggregates.
    pub(crate) fn finish(self, interrupt: &Interrupt) -> Result<Vec<Row>, SqlError> {
        let mut rows = Vec::with_capacity(self.groups.len());
        for group in self.groups {
            let mut row = group.key;
            for (aggregate, gathered) in self.grouping.aggregates.iter().zip(group.gathered) {
                row.push(gathered.finish(aggregate, interrupt)?);
            }
            rows.push(row);
        }
        Ok(rows)
    }
}

impl Gathered {
    fn add(&mut self, aggregate: &Aggregate, scope: &Scope<'_>, env: &Env) -> Result<(), SqlError> {
        if let Some(filter) = &aggregate.filter
            && !filter.holds(scope, env)?
        {
            return Ok(());
        }
        self.arguments.clear();
        for argument in &aggregate.arguments {
            self.arguments.push(argument.eval(scope, env)?);
        }
        let arguments = &self.arguments[..aggregate.function.signature.arguments.len()];
        if arguments.first().is_some_and(Option::is_none) && !aggregate.function.accepts_null {
            return Ok(());
        }
        if !aggregate.distinct && aggregate.order.is_empty() {
            return self.accumulator.add(arguments);
        }
        if aggregate.distinct && self.is_waiting()? {
            return Ok(());
        }
        if self.waiting.len() == ROWS_MAX {
            return Err(too_many_rows());
        }
        self.waiting.push(self.arguments.clone());
        Ok(())
    }

    /// Are equal arguments waiting already?
    fn is_waiting(&self) -> Result<bool, SqlError> {
        for waiting in &self.waiting {
            if same(waiting, &self.arguments)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The aggregate's value.
    fn finish(mut self, aggregate: &Aggregate, interrupt: &Interrupt) -> Result<Datum, SqlError> {
        // DISTINCT alone takes its arguments in their own order, as PostgreSQL does.
        if aggregate.distinct {
            self.waiting = distinct(self.waiting, interrupt)?;
        }
        sort(&mut self.waiting, &aggregate.order, interrupt)?;
        for row in &self.waiting {
            self.accumulator.add(&row[..aggregate.function.signature.arguments.len()])?;
        }
        self.accumulator.finish()
    }
}
