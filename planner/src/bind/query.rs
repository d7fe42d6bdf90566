//! Queries: WHERE, grouping, VALUES, set operations, order and limits.

use std::sync::Arc;

use super::binder::{Binder, ScopeColumn, Typed};
use super::from::Relation;
use crate::access;
use crate::depth::deeper;
use crate::error::{SqlError, sqlstate};
use crate::expression::{Expr, Strength};
use crate::query::{Grouping, Input, SelectPlan, SortKey};
use crate::result::Column;
use crate::statement::{Body, Item, OrderBy, Query, Select, Syntax};
use crate::types::Type;

impl Binder {
    /// Binds a top-level query, which may read a stored table.
    pub(super) fn top_query(&mut self, query: &Query) -> Result<SelectPlan, SqlError> {
        let mut plan = self.query(query, true)?;
        // Numbers of relations and types are shown by name, as text: a value does not know its name by itself.
        for (expr, column) in plan.projection.iter_mut().zip(&mut plan.columns) {
            if matches!(column.ty, Type::Regclass | Type::Regtype) {
                let arg = Box::new(std::mem::replace(expr, Expr::Const(None)));
                *expr = Expr::Cast { arg, from: column.ty.clone(), to: Type::Text, explicit: true };
                column.ty = Type::Text;
            }
        }
        Ok(plan)
    }

    /// Binds a query inside of an expression or FROM.
    pub(super) fn inner_query(&mut self, query: &Query) -> Result<SelectPlan, SqlError> {
        let aggregates = self.aggregates.take();
        let plan = self.query(query, false);
        self.aggregates = aggregates;
        plan
    }

    fn query(&mut self, query: &Query, top: bool) -> Result<SelectPlan, SqlError> {
        deeper(|| self.query_here(query, top))
    }

    fn query_here(&mut self, query: &Query, top: bool) -> Result<SelectPlan, SqlError> {
        let mut plan = match &query.body {
            Body::Select(select) => self.select(select, &query.order_by, top)?,
            body => {
                let Relation { input, columns: scope } = self.body(body)?;
                let computed = scope.iter().map(|c| Column::computed(c.name.clone(), c.ty.clone()));
                let columns: Vec<Column> = computed.collect();
                let projection = (0..columns.len()).map(Expr::column).collect();
                let mut plan = SelectPlan::new(input, projection, columns);
                self.within(scope, |binder| binder.order(&mut plan, &query.order_by))?;
                plan
            }
        };
        // LIMIT sees parameters and constants only.
        let outer = std::mem::take(&mut self.scopes);
        plan.limit = self.row_count(&query.limit)?;
        plan.offset = self.row_count(&query.offset)?;
        self.scopes = outer;
        Ok(plan)
    }

    /// The number in a LIMIT or OFFSET.
    fn row_count(&mut self, syntax: &Option<Syntax>) -> Result<Option<Expr>, SqlError> {
        let Some(syntax) = syntax else { return Ok(None) };
        let typed = self.expr(syntax)?;
        self.coerce(typed, &Type::Int8, Strength::Assignment).map(Some)
    }

    /// Binds what gives a query its rows.
    fn body(&mut self, body: &Body) -> Result<Relation, SqlError> {
        match body {
            Body::Select(select) => Ok(Relation::of_query(self.select(select, &[], false)?, "")),
            Body::Query(query) => Ok(Relation::of_query(self.inner_query(query)?, "")),
            Body::Values(rows) => self.values(rows),
            Body::Set { op, all, left, right } => {
                let (left, right) = (deeper(|| self.body(left))?, deeper(|| self.body(right))?);
                if left.columns.len() != right.columns.len() {
                    return Err(SqlError::new(
                        sqlstate::SYNTAX,
                        "each UNION query must have the same number of columns",
                    ));
                }
                let pairs = left.columns.iter().zip(&right.columns);
                let types: Vec<Type> =
                    pairs.map(|(a, b)| self.common_type(&a.ty, &b.ty)).collect::<Result<_, _>>()?;
                let mut columns = left.columns.clone();
                let left = Arc::new(self.as_types(left, &types)?);
                let right = Arc::new(self.as_types(right, &types)?);
                for (column, ty) in columns.iter_mut().zip(types) {
                    column.ty = if ty == Type::Unknown { Type::Text } else { ty };
                }
                Ok(Relation { input: Input::Set { op: *op, all: *all, left, right }, columns })
            }
        }
    }

    /// A plan that gives a relation's columns as other types.
    fn as_types(&mut self, relation: Relation, types: &[Type]) -> Result<SelectPlan, SqlError> {
        let (mut projection, mut columns) = (Vec::new(), Vec::new());
        for (at, (column, ty)) in relation.columns.into_iter().zip(types).enumerate() {
            projection.push(self.coerce(Typed::column(at, &column.ty), ty, Strength::Implicit)?);
            columns.push(Column::computed(column.name, ty.clone()));
        }
        Ok(SelectPlan::new(relation.input, projection, columns))
    }

    fn values(&mut self, rows: &[Vec<Syntax>]) -> Result<Relation, SqlError> {
        let width = rows.first().map_or(0, Vec::len);
        Self::check_width(width)?;
        if rows.iter().any(|row| row.len() != width) {
            return Err(SqlError::new(sqlstate::SYNTAX, "VALUES lists must all be the same length"));
        }
        let mut typed: Vec<Vec<Typed>> = Vec::with_capacity(rows.len());
        let mut types = vec![Type::Unknown; width];
        for row in rows {
            let row: Vec<Typed> = row.iter().map(|syntax| self.expr(syntax)).collect::<Result<_, _>>()?;
            for (ty, value) in types.iter_mut().zip(&row) {
                *ty = self.common_type(ty, &value.ty)?;
            }
            typed.push(row);
        }
        for ty in &mut types {
            if *ty == Type::Unknown {
                *ty = Type::Text;
            }
        }
        let mut bound = Vec::with_capacity(typed.len());
        for row in typed {
            let cast =
                row.into_iter().zip(&types).map(|(value, ty)| self.coerce(value, ty, Strength::Implicit));
            bound.push(cast.collect::<Result<Vec<_>, _>>()?);
        }
        let column = |(at, ty)| ScopeColumn::new("", &format!("column{}", at + 1), ty);
        let columns = types.into_iter().enumerate().map(column).collect();
        Ok(Relation { input: Input::Values(bound), columns })
    }

    fn select(&mut self, select: &Select, order_by: &[OrderBy], top: bool) -> Result<SelectPlan, SqlError> {
        let Relation { input, columns } = self.relations(&select.from, top)?;
        self.within(columns, |binder| binder.select_over(input, select, order_by))
    }

    /// Binds the clauses of a SELECT in the scope of its FROM.
    fn select_over(
        &mut self,
        mut input: Input,
        select: &Select,
        order_by: &[OrderBy],
    ) -> Result<SelectPlan, SqlError> {
        self.aggregates = None;
        let mut filter = select.filter.as_ref().map(|filter| self.condition(filter, "WHERE")).transpose()?;
        if let Input::Table { table, access } = &mut input {
            (*access, filter) = access::choose(table, filter);
        }
        let keys = select.group_by.iter().map(|syntax| self.group_key(syntax, &select.items));
        let keys = keys.collect::<Result<Vec<Expr>, _>>()?;
        self.aggregates = Some(Vec::new());
        let (projection, columns) = self.items(&select.items)?;
        let having = select.having.as_ref().map(|having| self.condition(having, "HAVING")).transpose()?;
        let mut plan = SelectPlan::new(input, projection, columns);
        plan.filter = filter;
        plan.distinct = select.distinct;
        self.order(&mut plan, order_by)?;
        let aggregates = self.aggregates.take().unwrap_or_default();
        if aggregates.is_empty() && keys.is_empty() && having.is_none() {
            use_key_order(&mut plan);
        } else {
            self.group(&mut plan, Grouping { keys, aggregates, having })?;
        }
        Ok(plan)
    }

    /// Makes a plan group its rows.
    fn group(&self, plan: &mut SelectPlan, mut grouping: Grouping) -> Result<(), SqlError> {
        if matches!(plan.input, Input::Table { .. }) && !grouping.keys.is_empty() {
            return Err(SqlError::unsupported("GROUP BY over a table")
                .hint("Aggregates over the whole table or a key range are supported."));
        }
        let scope = self.scopes.last().map_or(&[][..], Vec::as_slice);
        for expr in plan.projection.iter_mut().chain(grouping.having.as_mut()) {
            regroup(expr, &grouping.keys, scope)?;
        }
        plan.grouping = Some(grouping);
        Ok(())
    }

    /// An entry of GROUP BY: an expression, an output column's number, or its name.
    fn group_key(&mut self, syntax: &Syntax, items: &[Item]) -> Result<Expr, SqlError> {
        let syntax = match syntax {
            Syntax::Number(digits) => match items.get(position("GROUP BY", digits, items.len())?) {
                Some(Item::Expression { syntax, .. }) => syntax,
                _ => return Err(no_position("GROUP BY", digits)),
            },
            Syntax::Column(name) if name.parts.len() == 1 && self.find_column(name).is_err() => {
                let named = items.iter().find_map(|item| match item {
                    Item::Expression { syntax, alias: Some(alias) } if alias == name.last() => Some(syntax),
                    _ => None,
                });
                named.unwrap_or(syntax)
            }
            other => other,
        };
        Ok(self.expr(syntax)?.expr)
    }

    /// Binds ORDER BY.
    fn order(&mut self, plan: &mut SelectPlan, order_by: &[OrderBy]) -> Result<(), SqlError> {
        for order in order_by {
            let at = self.order_column(plan, &order.syntax)?;
            plan.order.push(SortKey { at, descending: order.descending, nulls_first: order.nulls_first });
        }
        Ok(())
    }

    /// The column that an entry of ORDER BY means: an output column by its number or name, else a hidden one.
    fn order_column(&mut self, plan: &mut SelectPlan, syntax: &Syntax) -> Result<usize, SqlError> {
        match syntax {
            Syntax::Number(digits) => return position("ORDER BY", digits, plan.columns.len()),
            Syntax::Column(name) if name.parts.len() == 1 => {
                if let Some(at) = plan.columns.iter().position(|column| column.name == name.last()) {
                    return Ok(at);
                }
            }
            _ => {}
        }
        let typed = self.expr(syntax)?;
        let expr = self.known(typed)?.expr;
        if let Some(at) = plan.projection.iter().position(|own| *own == expr) {
            return Ok(at);
        }
        if plan.distinct {
            return Err(SqlError::new(
                sqlstate::INVALID_COLUMN_REFERENCE,
                "for SELECT DISTINCT, ORDER BY expressions must appear in select list",
            ));
        }
        plan.projection.push(expr);
        Ok(plan.projection.len() - 1)
    }
}

/// The position that a number in ORDER BY or GROUP BY means, counted from 0. 42P10 if there is none.
fn position(clause: &str, digits: &str, columns: usize) -> Result<usize, SqlError> {
    let number = digits.parse().ok().filter(|number| (1..=columns).contains(number));
    number.map(|number| number - 1).ok_or_else(|| no_position(clause, digits))
}

fn no_position(clause: &str, digits: &str) -> SqlError {
    SqlError::new(
        sqlstate::INVALID_COLUMN_REFERENCE,
        format!("{clause} position {digits} is not in select list"),
    )
}

/// Rewrites an expression over input rows into one over group rows.
fn regroup(expr: &mut Expr, keys: &[Expr], scope: &[ScopeColumn]) -> Result<(), SqlError> {
    if let Some(at) = keys.iter().position(|key| key == expr) {
        *expr = Expr::column(at);
        return Ok(());
    }
    match expr {
        Expr::Aggregate(number) => *expr = Expr::column(keys.len() + *number),
        Expr::Column { level: 0, at } => {
            let name = scope.get(*at).map_or("?", |column| &column.name);
            return Err(SqlError::new(
                sqlstate::GROUPING,
                format!(
                    "column \"{name}\" must appear in the GROUP BY clause or be used in an aggregate function"
                ),
            ));
        }
        other => {
            for part in other.parts_mut() {
                deeper(|| regroup(part, keys, scope))?;
            }
        }
    }
    Ok(())
}

/// Drops the sort if the access gives the rows in that order already.
fn use_key_order(plan: &mut SelectPlan) {
    let Input::Table { table, access } = &mut plan.input else { return };
    if plan.distinct || plan.order.is_empty() {
        return;
    }
    let descending = plan.order[0].descending;
    let columns: Option<Vec<usize>> = plan
        .order
        .iter()
        .map(|key| match plan.projection.get(key.at) {
            Some(Expr::Column { level: 0, at }) if key.descending == descending => Some(*at),
            _ => None,
        })
        .collect();
    if columns.is_some_and(|columns| access.order_by(table, &columns, descending)) {
        plan.order.clear();
        plan.projection.truncate(plan.columns.len());
    }
}
