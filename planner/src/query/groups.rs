//! Rows gathered into groups, each with its aggregates.

use std::sync::Arc;

use super::plan::{Aggregate, Grouping};
use super::row_sets::{order_all, sort};
use crate::error::SqlError;
use crate::expression::{Accumulator, Env, Scope};
use crate::interrupt::Interrupt;
use crate::memory::{Held, row_bytes};
use crate::row_index::RowIndex;
use crate::types::{Datum, Row};

/// Groups in order of first appearance.
pub(super) struct Groups {
    grouping: Arc<Grouping>,
    groups: Vec<Group>,
    /// The groups by their keys.
    index: RowIndex,
    held: Held,
}

/// What an aggregate of a group takes, about.
const GATHERED_BYTES: u64 = 200;

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
    /// The waiting ones, if they are taken once each.
    index: RowIndex,
    /// What the accumulator holds, as far as it is counted.
    counted: u64,
}

impl Group {
    fn new(key: Row, aggregates: &[Aggregate]) -> Group {
        let start = |aggregate: &Aggregate| (aggregate.function.start)(&aggregate.ty);
        let gathered = aggregates.iter().map(|own| Gathered {
            accumulator: start(own),
            arguments: Vec::with_capacity(own.arguments.len()),
            waiting: Vec::new(),
            index: RowIndex::default(),
            counted: 0,
        });
        Group { key, gathered: gathered.collect() }
    }
}

impl Groups {
    /// No groups yet; one empty group if there are no keys.
    pub(super) fn new(grouping: &Arc<Grouping>, env: &Env) -> Groups {
        let mut groups = Vec::new();
        if grouping.keys.is_empty() {
            groups.push(Group::new(Vec::new(), &grouping.aggregates));
        }
        Groups { grouping: grouping.clone(), groups, index: RowIndex::default(), held: env.memory.hold() }
    }

    /// Adds a row to its group.
    pub(super) fn add(&mut self, scope: &Scope<'_>, env: &Env) -> Result<(), SqlError> {
        let at = self.group_of(scope, env)?;
        for (aggregate, gathered) in self.grouping.aggregates.iter().zip(&mut self.groups[at].gathered) {
            gathered.add(aggregate, scope, env, &mut self.held)?;
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
        if let Some(at) = self.index.find(&key, |at| &self.groups[at].key)? {
            return Ok(at);
        }
        self.held.add(row_bytes(&key) + self.grouping.aggregates.len() as u64 * GATHERED_BYTES)?;
        self.index.insert(&key, self.groups.len(), &mut self.held)?;
        self.groups.push(Group::new(key, &self.grouping.aggregates));
        Ok(self.groups.len() - 1)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    /// Gives the row of each group to `each`.
    pub(super) fn finish(
        self,
        env: &Env,
        mut each: impl FnMut(Row) -> Result<(), SqlError>,
    ) -> Result<(), SqlError> {
        let grouping = self.grouping;
        for group in self.groups {
            env.interrupt.check()?;
            let mut row: Row = vec![None; grouping.aggregates_at];
            for (place, value) in grouping.places.iter().zip(group.key) {
                row[*place] = value;
            }
            for (aggregate, gathered) in grouping.aggregates.iter().zip(group.gathered) {
                row.push(gathered.finish(aggregate, &env.interrupt)?);
            }
            each(row)?;
        }
        Ok(())
    }
}

impl Gathered {
    fn add(
        &mut self,
        aggregate: &Aggregate,
        scope: &Scope<'_>,
        env: &Env,
        held: &mut Held,
    ) -> Result<(), SqlError> {
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
            self.accumulator.add(arguments)?;
            let holds = self.accumulator.held_bytes();
            if holds > self.counted {
                held.add(holds - self.counted)?;
                self.counted = holds;
            }
            return Ok(());
        }
        if aggregate.distinct {
            if self.index.find(&self.arguments, |at| &self.waiting[at])?.is_some() {
                return Ok(());
            }
            self.index.insert(&self.arguments, self.waiting.len(), held)?;
        }
        held.add(row_bytes(&self.arguments))?;
        self.waiting.push(self.arguments.clone());
        Ok(())
    }

    /// The aggregate's value.
    fn finish(mut self, aggregate: &Aggregate, interrupt: &Interrupt) -> Result<Datum, SqlError> {
        if aggregate.distinct && aggregate.order.is_empty() {
            // DISTINCT alone takes its arguments in their own order, as PostgreSQL does.
            order_all(&mut self.waiting, interrupt)?;
        }
        sort(&mut self.waiting, &aggregate.order, interrupt)?;
        for row in &self.waiting {
            self.accumulator.add(&row[..aggregate.function.signature.arguments.len()])?;
        }
        self.accumulator.finish()
    }
}
