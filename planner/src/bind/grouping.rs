//! GROUP BY: the rows of groups, and what may refer to them.

use std::sync::Arc;

use super::binder::{Binder, ScopeColumn};
use crate::catalog::TableSchema;
use crate::depth::deeper;
use crate::error::{SqlError, sqlstate};
use crate::expression::Expr;
use crate::query::{Aggregate, Grouping, SelectPlan, WindowCall};

/// What a query is grouped by.
pub(super) struct Groups<'a> {
    pub(super) keys: Vec<Expr>,
    pub(super) aggregates: Vec<Aggregate>,
    pub(super) having: Option<Expr>,
    /// The stored tables of FROM, each with the place of its first column.
    pub(super) tables: &'a [(usize, Arc<TableSchema>)],
    /// How many columns were referred to by subqueries before the select list.
    pub(super) uses: usize,
}

impl Binder {
    /// Makes a plan group its rows.
    pub(super) fn group(&self, plan: &mut SelectPlan, groups: Groups<'_>) -> Result<(), SqlError> {
        let Groups { mut keys, aggregates, mut having, tables, uses } = groups;
        let scope = self.scopes.last().map_or(&[][..], Vec::as_slice);
        let own = self.scopes.len().saturating_sub(1);
        let referred = self.outer_uses.borrow();
        let outer: Vec<usize> =
            referred.iter().skip(uses).filter(|(scope, _)| *scope == own).map(|(_, at)| *at).collect();
        let mut wanted = outer.clone();
        let windows = plan.windows.iter().flat_map(WindowCall::parts);
        for expr in plan.projection.iter().chain(&having).chain(windows) {
            collect(expr, &mut wanted);
        }
        add_dependent(&mut keys, tables, &wanted);
        let mut places = Vec::with_capacity(keys.len());
        let mut width = scope.len();
        for key in &keys {
            places.push(match key {
                Expr::Column { level: 0, at } => *at,
                _ => {
                    width += 1;
                    width - 1
                }
            });
        }
        let row = GroupRow { keys: &keys, places: &places, aggregates_at: width, scope };
        let windows = plan.windows.iter_mut().flat_map(WindowCall::parts_mut);
        for expr in plan.projection.iter_mut().chain(having.as_mut()).chain(windows) {
            row.rewrite(expr)?;
        }
        for at in outer {
            if !keys.contains(&Expr::column(at)) {
                let name = row.name(at);
                return Err(SqlError::new(
                    sqlstate::GROUPING,
                    format!("subquery uses ungrouped column \"{name}\" from outer query"),
                ));
            }
        }
        let grouping = Grouping { keys, places, aggregates_at: width, aggregates, having };
        plan.grouping = Some(Arc::new(grouping));
        Ok(())
    }
}

/// The places of columns of the row at hand, but for those in the arguments of aggregates.
fn collect(expr: &Expr, places: &mut Vec<usize>) {
    if let Expr::Column { level: 0, at } = expr {
        places.push(*at);
    }
    for part in expr.parts() {
        deeper(|| collect(part, places));
    }
}

/// The columns of a table are the same for all rows of a group if its whole key is among the group's.
fn add_dependent(keys: &mut Vec<Expr>, tables: &[(usize, Arc<TableSchema>)], wanted: &[usize]) {
    for (start, table) in tables {
        if !table.key.iter().all(|position| keys.contains(&Expr::column(start + position))) {
            continue;
        }
        let end = start + table.columns.len();
        for at in wanted.iter().filter(|at| (*start..end).contains(at)) {
            if !keys.contains(&Expr::column(*at)) {
                keys.push(Expr::column(*at));
            }
        }
    }
}

/// What expressions over groups refer to.
struct GroupRow<'a> {
    keys: &'a [Expr],
    places: &'a [usize],
    aggregates_at: usize,
    scope: &'a [ScopeColumn],
}

impl GroupRow<'_> {
    /// Rewrites an expression over input rows into one over group rows. 42803 if it needs more than a group has.
    fn rewrite(&self, expr: &mut Expr) -> Result<(), SqlError> {
        if let Some(at) = self.keys.iter().position(|key| key == expr) {
            *expr = Expr::column(self.places[at]);
            return Ok(());
        }
        match expr {
            Expr::Aggregate(number) => *expr = Expr::column(self.aggregates_at + *number),
            Expr::Column { level: 0, at } => {
                return Err(SqlError::new(
                    sqlstate::GROUPING,
                    format!(
                        "column \"{}\" must appear in the GROUP BY clause or be used in an aggregate function",
                        self.name(*at)
                    ),
                ));
            }
            other => {
                for part in other.parts_mut() {
                    deeper(|| self.rewrite(part))?;
                }
            }
        }
        Ok(())
    }

    fn name(&self, at: usize) -> String {
        match self.scope.get(at) {
            Some(column) if column.table.is_empty() => column.name.clone(),
            Some(column) => format!("{}.{}", column.table, column.name),
            None => "?".into(),
        }
    }
}
