//! WITH: queries that have a name.

use std::sync::Arc;

use super::binder::{Binder, Common, Frame, Itself, ScopeColumn, Typed, What};
use super::from::Relation;
use crate::error::{SqlError, sqlstate};
use crate::expression::{Expr, Strength};
use crate::query::{CommonPlan, Input, RecursivePlan, SelectPlan};
use crate::result::Column;
use crate::statement::{Alias, Body, CommonTable, Name, Query, SetOp};
use crate::types::Type;

/// invalid_recursion.
const RECURSION: &str = "42P19";

impl Binder {
    /// Binds the entries of WITH; they stay until [`Binder::end_with`].
    pub(super) fn begin_with(&mut self, query: &Query) -> Result<(), SqlError> {
        let names = query.with.iter().map(|table| &table.alias.name);
        for (at, name) in names.clone().enumerate() {
            if names.clone().take(at).any(|other| other == name) {
                return Err(SqlError::new(
                    sqlstate::DUPLICATE_ALIAS,
                    format!("WITH query name \"{name}\" specified more than once"),
                ));
            }
        }
        for table in &query.with {
            let (plan, columns) = if query.recursive { self.recursive(table)? } else { self.plain(table)? };
            self.add_common(table, plan, columns);
        }
        Ok(())
    }

    /// The entries of the last WITH are known no more.
    pub(super) fn end_with(&mut self, entries: usize) {
        self.common.truncate(entries);
    }

    fn add_common(&mut self, table: &CommonTable, plan: SelectPlan, columns: Vec<ScopeColumn>) {
        let plan = Arc::new(CommonPlan::new(plan, self.numbers));
        self.numbers += 1;
        let (name, scopes) = (table.alias.name.clone(), self.scopes.len());
        self.common.push(Common { name, columns, what: What::Plan(plan), scopes });
    }

    fn plain(&mut self, table: &CommonTable) -> Result<(SelectPlan, Vec<ScopeColumn>), SqlError> {
        let plan = self.inner_query(&table.query)?;
        let columns = named(&table.alias, Relation::columns_of(&plan, ""))?;
        Ok((plan, columns))
    }

    /// An entry of WITH RECURSIVE, which may refer to itself.
    fn recursive(&mut self, table: &CommonTable) -> Result<(SelectPlan, Vec<ScopeColumn>), SqlError> {
        let name = &table.alias.name;
        let union = match &table.query.body {
            Body::Set { op: SetOp::Union, all, left, right } if table.query.with.is_empty() => {
                Some((*all, left, right))
            }
            _ => None,
        };
        let Some((all, left, right)) = union else {
            self.push_itself(
                name,
                Vec::new(),
                Some("does not have the form first part UNION [ALL] recursive part"),
            );
            let bound = self.plain(table);
            self.common.pop();
            return bound;
        };
        self.push_itself(name, Vec::new(), Some("must not appear within its non-recursive part"));
        let first = self.inner_query(&Query::plain((**left).clone()));
        self.common.pop();
        let first = first?;
        let columns = named(&table.alias, Relation::columns_of(&first, ""))?;
        self.push_itself(name, columns.clone(), None);
        let number = self.numbers;
        self.numbers += 1;
        self.frames.push(Frame::new(self.scopes.len()));
        let step = self.inner_query(&Query::plain((**right).clone()));
        let around = self.frames.pop().is_some_and(|frame| frame.refers_out());
        let uses = match self.common.pop().map(|common| common.what) {
            Some(What::Itself(itself)) => itself.uses,
            _ => 0,
        };
        let step = step?;
        if uses == 0 {
            return self.plain(table);
        }
        if !table.query.order_by.is_empty() || table.query.limit.is_some() || table.query.offset.is_some() {
            return Err(SqlError::unsupported("ORDER BY or LIMIT in a recursive query"));
        }
        if uses > 1 {
            let text = format!("recursive reference to query \"{name}\" must not appear more than once");
            return Err(SqlError::new(RECURSION, text));
        }
        let correlated = first.correlated || around;
        let plan = self.recursive_plan(name, number, all, first, step)?;
        Ok((SelectPlan { correlated, ..plan }, columns))
    }

    fn recursive_plan(
        &mut self,
        name: &str,
        number: usize,
        all: bool,
        first: SelectPlan,
        step: SelectPlan,
    ) -> Result<SelectPlan, SqlError> {
        if step.columns.len() != first.columns.len() {
            let text = "each UNION query must have the same number of columns";
            return Err(SqlError::new(sqlstate::SYNTAX, text));
        }
        let mut projection = Vec::with_capacity(step.columns.len());
        for (at, (own, later)) in first.columns.iter().zip(&step.columns).enumerate() {
            let common = self.common_type(&own.ty, &later.ty)?;
            if common.plain() != own.ty.plain() {
                return Err(SqlError::new(
                    sqlstate::DATATYPE_MISMATCH,
                    format!(
                        "recursive query \"{name}\" column {} has type {} in non-recursive part but type {common} overall",
                        at + 1,
                        own.ty
                    ),
                )
                .hint("Cast the output of the non-recursive part to the correct type."));
            }
            projection.push(self.coerce(Typed::column(at, &later.ty), &own.ty, Strength::Implicit)?);
        }
        let columns: Vec<Column> =
            first.columns.iter().map(|own| Column::computed(own.name.clone(), own.ty.clone())).collect();
        let tables = first.tables + step.tables;
        let step = Arc::new(step.computed(projection));
        let plan = RecursivePlan { first: Arc::new(first), step, all, number };
        let shown = (0..columns.len()).map(Expr::column).collect();
        let plan = SelectPlan::new(Input::Recursive(Arc::new(plan)), shown, columns);
        Ok(SelectPlan { tables, ..plan })
    }

    fn push_itself(&mut self, name: &str, columns: Vec<ScopeColumn>, forbidden: Option<&'static str>) {
        let itself = Itself {
            number: self.numbers,
            frames: self.frames.len(),
            in_expressions: self.in_expressions,
            forbidden,
            uses: 0,
        };
        let (name, scopes) = (name.to_owned(), self.scopes.len());
        self.common.push(Common { name, columns, what: What::Itself(itself), scopes });
    }

    /// The query of WITH that a name means, under an alias.
    pub(super) fn common_relation(&mut self, name: &Name, alias: &str) -> Result<Option<Relation>, SqlError> {
        let [own] = name.parts.as_slice() else { return Ok(None) };
        let Some(at) = self.common.iter().rposition(|common| common.name == *own) else { return Ok(None) };
        let (scopes, in_expressions) = (self.scopes.len(), self.in_expressions);
        let common = &mut self.common[at];
        let columns = common.columns.iter().cloned();
        let columns = columns.map(|column| ScopeColumn { table: alias.to_owned(), ..column }).collect();
        let input = match &mut common.what {
            What::Plan(plan) => {
                plan.use_again();
                let (plan, up) = (plan.clone(), scopes.saturating_sub(common.scopes));
                if plan.query().correlated && scopes < common.scopes {
                    return Err(SqlError::unsupported("a LIMIT that depends on other rows"));
                }
                self.tables_read += plan.query().tables;
                if plan.query().correlated {
                    // What it refers to is around WITH.
                    let lowest = common.scopes.saturating_sub(1);
                    self.frames.iter().for_each(|frame| frame.refers_to(lowest));
                }
                Input::Common { plan, up }
            }
            What::Itself(itself) => {
                if let Some(why) = itself.forbidden {
                    let text = match why.starts_with("does") {
                        true => format!("recursive query \"{own}\" {why}"),
                        false => format!("recursive reference to query \"{own}\" {why}"),
                    };
                    return Err(SqlError::new(RECURSION, text).at_if_known(name.position));
                }
                if in_expressions > itself.in_expressions {
                    let text =
                        format!("recursive reference to query \"{own}\" must not appear within a subquery");
                    return Err(SqlError::new(RECURSION, text).at_if_known(name.position));
                }
                itself.uses += 1;
                self.working_uses += 1;
                self.frames[itself.frames..].iter().for_each(Frame::changes);
                Input::Working(itself.number)
            }
        };
        Ok(Some(Relation { input, columns }))
    }

    /// 42P19 if a query refers to itself between `before` and now.
    pub(super) fn check_no_recursion(&self, before: usize, place: &str) -> Result<(), SqlError> {
        if self.working_uses == before {
            return Ok(());
        }
        let name = self.common.iter().rev().find(|common| matches!(common.what, What::Itself(_)));
        let name = name.map_or("", |common| &common.name);
        let text = match place {
            "aggregate" => {
                "aggregate functions are not allowed in a recursive query's recursive part".to_owned()
            }
            place => format!("recursive reference to query \"{name}\" must not appear within {place}"),
        };
        Err(SqlError::new(RECURSION, text))
    }
}

/// Columns renamed by the alias of a WITH entry.
fn named(alias: &Alias, columns: Vec<ScopeColumn>) -> Result<Vec<ScopeColumn>, SqlError> {
    let relation = Relation { input: Input::Nothing, columns };
    let renamed = relation.renamed(&Some(alias.clone()))?;
    let known = |column: ScopeColumn| match column.ty {
        Type::Unknown => ScopeColumn { ty: Type::Text, ..column },
        _ => column,
    };
    Ok(renamed.columns.into_iter().map(known).collect())
}
