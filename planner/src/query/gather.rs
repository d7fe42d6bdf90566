//! The rows of a query that must all be there before the first can be given: groups, or output rows that are sorted.

use std::sync::Arc;

use super::groups::Groups;
use super::plan::{Distinct, SelectPlan};
use super::row_sets::{Seen, first_of_each, sort};
use super::window::add_values;
use crate::error::SqlError;
use crate::expression::{Env, Scope};
use crate::memory::HeldRows;
use crate::types::Datum;

/// Of a query with a limit more rows than that are kept before the last ones are dropped.
const KEPT_MIN: usize = 1_000;

/// What has been gathered of a query's rows.
pub(crate) struct Gather {
    plan: Arc<SelectPlan>,
    groups: Option<Groups>,
    /// Rows for window functions, which need them all.
    rows: HeldRows,
    output: Output,
}

/// Output rows so far.
struct Output {
    rows: HeldRows,
    seen: Option<Seen>,
    /// How many rows, in the query's order, are enough.
    enough: Option<usize>,
}

impl Gather {
    /// Nothing yet. 2201W or 2201X for a limit that is none.
    pub(crate) fn new(plan: &Arc<SelectPlan>, env: &Env) -> Result<Gather, SqlError> {
        let (limit, offset) = plan.limits(env)?;
        let enough = limit.map(|limit| limit.saturating_add(offset));
        let enough = enough.filter(|_| !matches!(plan.distinct, Distinct::On(_)));
        let output = Output {
            rows: env.memory.rows(),
            seen: (plan.distinct == Distinct::Rows).then(|| Seen::new(env)),
            enough: enough.map(|enough| usize::try_from(enough).unwrap_or(usize::MAX)),
        };
        let groups = plan.grouping.as_ref().map(|grouping| Groups::new(grouping, env));
        Ok(Gather { plan: plan.clone(), groups, rows: env.memory.rows(), output })
    }

    /// Adds a row of the input, if WHERE keeps it.
    pub(crate) fn add(
        &mut self,
        row: &[Datum],
        env: &Env,
        outer: Option<&Scope<'_>>,
    ) -> Result<(), SqlError> {
        if !self.plan.keeps(row, env, outer)? {
            return Ok(());
        }
        match &mut self.groups {
            Some(groups) => groups.add(&Scope { row, outer }, env),
            None if !self.plan.windows.is_empty() => self.rows.push(row.to_vec()),
            None => self.output.add(&self.plan, row, env, outer),
        }
    }

    /// How many rows there are to be sorted, or groups.
    pub(crate) fn len(&self) -> usize {
        self.groups.as_ref().map_or(self.output.rows.rows.len() + self.rows.rows.len(), Groups::len)
    }

    /// The query's rows.
    pub(crate) fn finish(self, env: &Env, outer: Option<&Scope<'_>>) -> Result<HeldRows, SqlError> {
        let Gather { plan, groups, mut rows, mut output } = self;
        if let Some(groups) = groups {
            let having = plan.grouping.as_ref().and_then(|grouping| grouping.having.as_ref());
            groups.finish(env, |row| match having {
                Some(having) if !having.holds(&Scope { row: &row, outer }, env)? => Ok(()),
                _ if !plan.windows.is_empty() => rows.push(row),
                _ => output.add(&plan, &row, env, outer),
            })?;
        }
        if !plan.windows.is_empty() {
            for row in add_values(&plan.windows, rows, env, outer)?.rows {
                env.interrupt.check()?;
                output.add(&plan, &row, env, outer)?;
            }
        }
        output.finish(&plan, env)
    }
}

impl Output {
    /// Adds the output of a row (or of a group).
    fn add(
        &mut self,
        plan: &SelectPlan,
        row: &[Datum],
        env: &Env,
        outer: Option<&Scope<'_>>,
    ) -> Result<(), SqlError> {
        let row = plan.project(row, env, outer)?;
        if let Some(seen) = &mut self.seen
            && !seen.is_new(&row)?
        {
            return Ok(());
        }
        self.rows.push(row)?;
        if let Some(enough) = self.enough
            && self.rows.rows.len() >= enough.saturating_mul(2).max(KEPT_MIN)
        {
            sort(&mut self.rows.rows, &plan.order, &env.interrupt)?;
            self.rows.truncate(enough);
        }
        Ok(())
    }

    fn finish(mut self, plan: &SelectPlan, env: &Env) -> Result<HeldRows, SqlError> {
        drop(self.seen);
        sort(&mut self.rows.rows, &plan.order, &env.interrupt)?;
        if let Distinct::On(columns) = &plan.distinct {
            first_of_each(&mut self.rows, columns, &env.interrupt)?;
        }
        let (limit, offset) = plan.limits(env)?;
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
        let HeldRows { rows, held } = self.rows;
        let cut = rows.into_iter().skip(skipped).take(limit).map(|mut row| {
            row.truncate(plan.columns.len());
            row
        });
        Ok(HeldRows { rows: cut.collect(), held })
    }
}
