//! FROM: tables of the store and of the system, subqueries, functions, joins.

use std::sync::Arc;

use super::binder::{Binder, ScopeColumn, Typed};
use crate::access::Access;
use crate::depth::deeper;
use crate::error::{SqlError, sqlstate};
use crate::expression::{Expr, Strength};
use crate::pg_catalog;
use crate::query::{Input, SelectPlan};
use crate::statement::{Alias, From, Name, Operator, Syntax};
use crate::types::Type;

/// An input with the columns that names can refer to.
pub(super) struct Relation {
    pub(super) input: Input,
    pub(super) columns: Vec<ScopeColumn>,
}

impl Relation {
    /// A query in place of a table.
    pub(super) fn of_query(plan: SelectPlan, alias: &str) -> Relation {
        let column = |column: &crate::result::Column| ScopeColumn {
            origin: (column.table, column.attribute),
            ..ScopeColumn::new(alias, &column.name, column.ty.clone())
        };
        let columns = plan.columns.iter().map(column).collect();
        Relation { input: Input::Query(Arc::new(plan)), columns }
    }

    /// The columns renamed by `AS t (a, b)`.
    fn renamed(mut self, alias: &Option<Alias>) -> Relation {
        let names = alias.iter().flat_map(|alias| &alias.columns);
        for (column, name) in self.columns.iter_mut().zip(names) {
            column.name.clone_from(name);
        }
        self
    }

    /// Two relations side by side. `base` columns of the row stand before theirs.
    fn join(self, right: Relation, outer: bool, on: Option<Expr>, base: usize) -> Relation {
        let right_width = right.columns.len();
        let input = Input::Join {
            left: Box::new(self.input),
            right: Box::new(right.input),
            outer,
            on,
            base,
            right_width,
        };
        Relation { input, columns: [self.columns, right.columns].concat() }
    }
}

impl Binder {
    /// Binds the entries of FROM, joined without conditions. The only entry of a top-level query may be a table
    /// of the store.
    pub(super) fn relations(&mut self, from: &[From], top: bool) -> Result<Relation, SqlError> {
        let mut all: Option<Relation> = None;
        for item in from {
            let left = all.as_ref().map_or(&[][..], |all| &all.columns);
            let next = self.relation(item, top && from.len() == 1, left)?;
            all = Some(match all {
                None => next,
                Some(all) => {
                    check_aliases(&all.columns, &next.columns)?;
                    all.join(next, false, None, 0)
                }
            });
        }
        Ok(all.unwrap_or(Relation { input: Input::Nothing, columns: Vec::new() }))
    }

    /// Binds an entry of FROM whose columns will stand behind those of `left`.
    fn relation(&mut self, from: &From, top: bool, left: &[ScopeColumn]) -> Result<Relation, SqlError> {
        match from {
            From::Table { name, alias } => self.table_relation(name, alias, top),
            From::Query { query, alias } => {
                let plan = self.inner_query(query)?;
                let relation = Relation::of_query(plan, alias.as_ref().map_or("", |alias| &alias.name));
                Ok(relation.renamed(alias))
            }
            From::Function { name, arguments, alias } => self.function_relation(name, arguments, alias, left),
            From::Join { left: first, right: second, outer, on, using } => {
                let first = deeper(|| self.relation(first, false, left))?;
                let before = [left, &first.columns].concat();
                let second = deeper(|| self.relation(second, false, &before))?;
                let scope = [left, &first.columns, &second.columns].concat();
                let first_end = left.len() + first.columns.len();
                let on = self.within(scope, |binder| match on {
                    Some(on) => binder.condition(on, "JOIN/ON").map(Some),
                    None => binder.using(using, left.len(), first_end),
                })?;
                Ok(first.join(second, *outer, on, left.len()))
            }
        }
    }

    fn table_relation(
        &mut self,
        name: &Name,
        alias: &Option<Alias>,
        top: bool,
    ) -> Result<Relation, SqlError> {
        let own = alias.as_ref().map_or(name.last(), |alias| &alias.name);
        if let Some(system) = pg_catalog::find(name) {
            let columns = system.columns().into_iter().map(|(column, ty)| ScopeColumn::new(own, column, ty));
            return Ok(Relation { input: Input::System(system), columns: columns.collect() }.renamed(alias));
        }
        let table = self.table(name)?;
        if !top {
            return Err(SqlError::unsupported(format!(
                "reading table \"{}\" in a join, a set operation or a subquery",
                table.name
            ))
            .hint("Read each table by a statement of its own."));
        }
        let columns = Self::table_scope(&table, own);
        let input = Input::Table { table, access: Access::ALL };
        Ok(Relation { input, columns }.renamed(alias))
    }

    fn function_relation(
        &mut self,
        name: &Name,
        arguments: &[Syntax],
        alias: &Option<Alias>,
        left: &[ScopeColumn],
    ) -> Result<Relation, SqlError> {
        let typed: Vec<Typed> = self.within(left.to_vec(), |binder| {
            arguments.iter().map(|argument| binder.expr(argument)).collect()
        })?;
        let (input, ty) = match (name.last(), typed.as_slice()) {
            ("generate_series", [first, last]) => {
                let first = self.coerce(first.clone(), &Type::Int4, Strength::Assignment)?;
                let last = self.coerce(last.clone(), &Type::Int4, Strength::Assignment)?;
                (Input::Series { first, last }, Type::Int4)
            }
            ("unnest", [Typed { expr, ty: Type::Array(element) }]) => {
                (Input::Unnest(expr.clone()), (**element).clone())
            }
            ("unnest", [_]) => {
                return Err(SqlError::new(sqlstate::UNDEFINED_FUNCTION, "function unnest takes an array"));
            }
            _ => {
                return Err(SqlError::unsupported(format!("the table function {}", name.last()))
                    .hint("generate_series and unnest are supported in FROM."));
            }
        };
        let own = alias.as_ref().map_or(name.last(), |alias| &alias.name);
        Ok(Relation { input, columns: vec![ScopeColumn::new(own, own, ty)] }.renamed(alias))
    }

    /// The condition of USING: equal columns of that name on both sides. The innermost scope holds the left side's
    /// columns from `start` to `middle`, the right side's from there on.
    fn using(&mut self, names: &[String], start: usize, middle: usize) -> Result<Option<Expr>, SqlError> {
        let scope = self.scopes.last().cloned().unwrap_or_default();
        let mut items = Vec::new();
        for name in names {
            let find = |from: usize, to: usize| {
                let at = (from..to).find(|at| scope[*at].name == *name);
                at.map(|at| Typed::column(at, &scope[at].ty)).ok_or_else(|| {
                    SqlError::new(
                        sqlstate::UNDEFINED_COLUMN,
                        format!("column \"{name}\" specified in USING clause does not exist"),
                    )
                })
            };
            let (left, right) = (find(start, middle)?, find(middle, scope.len())?);
            items.push(self.compare(Operator::Eq, left, right)?);
        }
        Ok((!items.is_empty()).then_some(Expr::And(items)))
    }
}

/// 42712 if an entry of FROM has the alias of an earlier one.
pub(super) fn check_aliases(before: &[ScopeColumn], next: &[ScopeColumn]) -> Result<(), SqlError> {
    let taken = |column: &&ScopeColumn| {
        !column.table.is_empty() && before.iter().any(|own| own.table == column.table)
    };
    match next.iter().find(taken) {
        None => Ok(()),
        Some(column) => Err(SqlError::new(
            sqlstate::DUPLICATE_ALIAS,
            format!("table name \"{}\" specified more than once", column.table),
        )),
    }
}
