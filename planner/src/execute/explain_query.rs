//! EXPLAIN of queries that read more than one table, once: the steps as a tree, what gives rows below what takes them.

use std::fmt::Write as _;

use super::explain_access::access_line;
use crate::access::{Access, Candidates};
use crate::depth::deeper;
use crate::error::SqlError;
use crate::expression::{Env, Expr};
use crate::query::{Distinct, FunctionRows, Input, Join, JoinKind, Leaf, Method, Node, SelectPlan, SetPlan};
use crate::statement::SetOp;

/// The tree of a query that is being written down.
pub(super) struct Steps<'a> {
    env: &'a Env,
    lines: &'a mut Vec<String>,
    depth: usize,
}

impl<'a> Steps<'a> {
    /// Writes to `lines`.
    pub(super) fn new(env: &'a Env, lines: &'a mut Vec<String>) -> Steps<'a> {
        Steps { env, lines, depth: 0 }
    }

    fn line(&mut self, text: impl AsRef<str>) {
        let mut line = "  ".repeat(self.depth);
        if self.depth > 0 {
            line.push_str("-> ");
        }
        line.push_str(text.as_ref());
        self.lines.push(line);
    }

    fn inside(&mut self, write: impl FnOnce(&mut Self) -> Result<(), SqlError>) -> Result<(), SqlError> {
        self.depth += 1;
        let written = deeper(|| write(self));
        self.depth -= 1;
        written
    }

    /// Writes a query down: the last step first.
    pub(super) fn select(&mut self, select: &SelectPlan) -> Result<(), SqlError> {
        let mut steps = Vec::new();
        if select.limit.is_some() || select.offset.is_some() {
            steps.push("Limit".to_owned());
        }
        if let Distinct::On(_) = select.distinct {
            steps.push("First row of each value (DISTINCT ON)".to_owned());
        }
        if !select.order.is_empty() {
            steps.push("Sort in memory".to_owned());
        }
        if select.distinct == Distinct::Rows {
            steps.push("Distinct rows".to_owned());
        }
        if !select.windows.is_empty() {
            steps.push("Window functions".to_owned());
        }
        if let Some(grouping) = &select.grouping {
            let by = if grouping.keys.is_empty() { "Aggregate" } else { "Aggregate by group" };
            steps.push(by.to_owned());
        }
        if select.filter.is_some() {
            steps.push("Filter".to_owned());
        }
        let before = self.depth;
        for step in steps {
            self.line(step);
            self.depth += 1;
        }
        let written = self.input(&select.input).and_then(|()| self.subqueries(select));
        self.depth = before;
        written
    }

    /// Writes the subqueries of a query's expressions down.
    fn subqueries(&mut self, select: &SelectPlan) -> Result<(), SqlError> {
        let grouping = select.grouping.iter().flat_map(|grouping| {
            let arguments =
                grouping.aggregates.iter().flat_map(|own| own.arguments.iter().chain(&own.filter));
            grouping.keys.iter().chain(&grouping.having).chain(arguments)
        });
        let all: Vec<&Expr> = select.projection.iter().chain(&select.filter).chain(grouping).collect();
        for expr in all {
            self.expression(expr)?;
        }
        Ok(())
    }

    fn expression(&mut self, expr: &Expr) -> Result<(), SqlError> {
        if let Some(query) = expr.subquery() {
            let often = if query.is_correlated() { "for each row" } else { "once" };
            self.line(format!("Subquery, {often}"));
            if let Some(plan) = query.plan::<std::sync::Arc<SelectPlan>>() {
                self.inside(|steps| steps.select(plan))?;
            }
        }
        for part in expr.parts() {
            deeper(|| self.expression(part))?;
        }
        Ok(())
    }

    fn input(&mut self, input: &Input) -> Result<(), SqlError> {
        match input {
            Input::Nothing => self.line("Result"),
            Input::Table { table, access } => {
                let what = if is_constant(access) {
                    access_line(table, access, self.env)?.0
                } else {
                    let names = |count: usize| {
                        let names = table.key.iter().take(count).map(|at| table.columns[*at].name.as_str());
                        names.collect::<Vec<_>>().join(", ")
                    };
                    match access {
                        Access::Points(_) => {
                            format!("Point reads by {} of other rows", names(table.key.len()))
                        }
                        Access::Range { prefix, lower, upper, .. } => {
                            let bounds = usize::from(lower.is_some() || upper.is_some());
                            format!("Range scan by {} of other rows", names(prefix.len() + bounds))
                        }
                    }
                };
                self.line(format!("{what} on {}", table.name));
            }
            Input::System(relation) => self.line(format!("System relation {}", relation.name())),
            Input::Query { plan, .. } => return self.query(plan),
            Input::Function(function) => self.line(match &function.rows {
                FunctionRows::Series { .. } => "Function generate_series",
                FunctionRows::Unnest(_) => "Function unnest",
                FunctionRows::Value(_) => "Function of one value",
            }),
            Input::Values(rows) => self.line(format!("Values: {} rows", rows.len())),
            Input::Common { plan, .. } => {
                self.line(if plan.is_shared() { "Query of WITH, computed once" } else { "Query of WITH" });
                return self.inside(|steps| steps.select(plan.query()));
            }
            Input::Recursive(plan) => {
                self.line(if plan.all { "Recursive query, all rows" } else { "Recursive query" });
                return self.inside(|steps| {
                    steps.select(&plan.first)?;
                    steps.select(&plan.step)
                });
            }
            Input::Working(_) => self.line("Rows of the last step"),
            Input::Set(set) => return self.set(set),
            Input::Join { join, .. } => return self.join(join),
        }
        Ok(())
    }

    fn query(&mut self, plan: &SelectPlan) -> Result<(), SqlError> {
        self.line("Query in FROM");
        self.inside(|steps| steps.select(plan))
    }

    fn set(&mut self, set: &SetPlan) -> Result<(), SqlError> {
        let op = match set.op {
            SetOp::Union => "Union",
            SetOp::Intersect => "Intersection",
            SetOp::Except => "Difference",
        };
        self.line(if set.all { format!("{op}, all") } else { op.to_owned() });
        self.inside(|steps| {
            steps.select(&set.left)?;
            steps.select(&set.right)
        })
    }

    fn join(&mut self, join: &Join) -> Result<(), SqlError> {
        let mut line = String::from(match &join.method {
            Method::LookUp(_) => "Join by key look-ups",
            Method::Hash { .. } => "Hash join",
            Method::Loop => "Nested loop",
        });
        line.push_str(match join.kind {
            JoinKind::Inner => "",
            JoinKind::Left => ", left",
            JoinKind::Full => ", full",
        });
        if join.filter.is_some() {
            let _ = write!(line, ", then a filter");
        }
        self.line(line);
        self.inside(|steps| {
            steps.node(&join.left, None)?;
            steps.node(&join.right, Some(&join.method))
        })
    }

    fn node(&mut self, node: &Node, method: Option<&Method>) -> Result<(), SqlError> {
        match node {
            Node::Join(join) => deeper(|| self.join(join)),
            Node::Leaf(leaf) => self.leaf(leaf, method),
        }
    }

    fn leaf(&mut self, leaf: &Leaf, method: Option<&Method>) -> Result<(), SqlError> {
        match (&leaf.input, method) {
            (Input::Table { table, .. }, Some(Method::LookUp(_))) => {
                self.line(format!("Point reads on {}", table.name));
            }
            (input, _) => self.input(input)?,
        }
        if leaf.filter.is_some()
            && let Some(last) = self.lines.last_mut()
            && !matches!(leaf.input, Input::Query { .. } | Input::Set(_))
        {
            last.push_str(", filtered");
        }
        Ok(())
    }
}

/// Is it known before other rows are?
fn is_constant(access: &Access) -> bool {
    let constant = |expr: &Expr| expr.is_constant();
    match access {
        Access::Points(columns) => columns.iter().all(|own| match own {
            Candidates::List(list) => list.iter().all(constant),
            Candidates::Array(array) => constant(array),
        }),
        Access::Range { prefix, lower, upper, .. } => {
            prefix.iter().chain(lower.iter().chain(upper).map(|bound| &bound.value)).all(constant)
        }
    }
}
