//! Queries: WHERE, grouping, VALUES, set operations, order and limits.

use std::sync::Arc;

use super::binder::{Binder, Frame, ScopeColumn, Typed};
use super::from::{Joined, Relation, check_alias};
use super::grouping::Groups;
use super::joins::{self, Tree};
use crate::catalog::TableSchema;
use crate::depth::deeper;
use crate::error::{SqlError, sqlstate};
use crate::expression::{Expr, Strength};
use crate::query::{Distinct, Input, SelectPlan, SetPlan, SortKey};
use crate::result::Column;
use crate::statement::{self, Body, From, Item, OrderBy, Query, Select, SetOp, Syntax};
use crate::types::{Type, Value};

impl Binder {
    /// Binds a top-level query, which may read a stored table.
    pub(super) fn top_query(&mut self, query: &Query) -> Result<SelectPlan, SqlError> {
        let mut plan = self.query(query)?;
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
        let (aggregates, windows) = (self.aggregates.take(), self.windows.take());
        let named = std::mem::take(&mut self.named_windows);
        let in_window = std::mem::replace(&mut self.in_window, false);
        let plan = self.query(query);
        (self.aggregates, self.windows) = (aggregates, windows);
        (self.named_windows, self.in_window) = (named, in_window);
        plan
    }

    /// Binds FROM of a statement that changes a table: a query for all its columns, which stand behind those of the
    /// table.
    pub(super) fn rows_beside(
        &mut self,
        from: &[From],
        table: &[ScopeColumn],
    ) -> Result<(SelectPlan, Vec<ScopeColumn>), SqlError> {
        let tables = self.tables_read;
        let Joined { tree, mut columns, .. } = self.relations(from)?;
        for column in &mut columns {
            check_alias(table, std::slice::from_ref(column))?;
            column.rank += table.len();
        }
        let (input, filter) = joins::place(tree, None);
        let shown = columns.iter().map(|column| Column::computed(column.name.clone(), column.ty.clone()));
        let projection = (0..columns.len()).map(Expr::column).collect();
        let mut plan = SelectPlan::new(input, projection, shown.collect());
        plan.filter = filter;
        plan.tables = self.tables_read - tables;
        Ok((plan, columns))
    }

    fn query(&mut self, query: &Query) -> Result<SelectPlan, SqlError> {
        let (tables, scopes) = (self.tables_read, self.scopes.len());
        self.frames.push(Frame::new(scopes));
        let plan = deeper(|| self.query_here(query));
        let frame = self.frames.pop();
        let mut plan = plan?;
        plan.tables = self.tables_read - tables;
        plan.correlated = frame.is_some_and(|frame| frame.is_correlated());
        Ok(plan)
    }

    fn query_here(&mut self, query: &Query) -> Result<SelectPlan, SqlError> {
        let common = self.common.len();
        self.begin_with(query)?;
        let mut plan = match &query.body {
            Body::Select(select) => self.select(select, &query.order_by)?,
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
        let (outer, frames) = (std::mem::take(&mut self.scopes), std::mem::take(&mut self.frames));
        plan.limit = self.row_count(&query.limit)?;
        plan.offset = self.row_count(&query.offset)?;
        (self.scopes, self.frames) = (outer, frames);
        self.end_with(common);
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
            Body::Select(select) => Ok(Relation::of_query(self.select(select, &[])?, "")),
            Body::Query(query) => Ok(Relation::of_query(self.inner_query(query)?, "")),
            Body::Values(rows) => self.values(rows),
            Body::Set { op, all, left, right } => {
                let literals = [untyped(left), untyped(right)];
                let (mut left, mut right) = (deeper(|| self.body(left))?, deeper(|| self.body(right))?);
                for (side, literals) in [&mut left, &mut right].into_iter().zip(&literals) {
                    for (column, literal) in side.columns.iter_mut().zip(literals) {
                        if literal.is_some() {
                            column.ty = Type::Unknown;
                        }
                    }
                }
                if left.columns.len() != right.columns.len() {
                    let word = match op {
                        SetOp::Union => "UNION",
                        SetOp::Intersect => "INTERSECT",
                        SetOp::Except => "EXCEPT",
                    };
                    let text = format!("each {word} query must have the same number of columns");
                    return Err(SqlError::new(sqlstate::SYNTAX, text));
                }
                let pairs = left.columns.iter().zip(&right.columns);
                let types: Vec<Type> =
                    pairs.map(|(a, b)| self.common_type(&a.ty, &b.ty)).collect::<Result<_, _>>()?;
                let mut columns = left.columns.clone();
                let left = Arc::new(self.as_types(left, &types, &literals[0])?);
                let right = Arc::new(self.as_types(right, &types, &literals[1])?);
                for (column, ty) in columns.iter_mut().zip(types) {
                    column.ty = if ty == Type::Unknown { Type::Text } else { ty };
                }
                let set = SetPlan { op: *op, all: *all, left, right };
                Ok(Relation { input: Input::Set(Arc::new(set)), columns })
            }
        }
    }

    /// A plan that gives a relation's columns as other types.
    fn as_types(
        &mut self,
        relation: Relation,
        types: &[Type],
        literals: &[Option<Expr>],
    ) -> Result<SelectPlan, SqlError> {
        let (mut projection, mut columns) = (Vec::new(), Vec::new());
        for (at, (column, ty)) in relation.columns.into_iter().zip(types).enumerate() {
            let ty = if *ty == Type::Unknown { &Type::Text } else { ty };
            let value = match literals.get(at).cloned().flatten() {
                Some(literal) => Typed::new(literal, Type::Unknown),
                None => Typed::column(at, &column.ty),
            };
            projection.push(self.coerce(value, ty, Strength::Implicit)?);
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
        Ok(Relation { input: Input::Values(Arc::new(bound)), columns })
    }

    fn select(&mut self, select: &Select, order_by: &[OrderBy]) -> Result<SelectPlan, SqlError> {
        let uses = self.working_uses;
        let Joined { tree, columns, tables } = self.relations(&select.from)?;
        let plan = self.within(columns, |binder| binder.select_over(tree, &tables, select, order_by))?;
        if plan.grouping.is_some() {
            self.check_no_recursion(uses, "aggregate")?;
        }
        Ok(plan)
    }

    /// Binds the clauses of a SELECT in the scope of its FROM.
    fn select_over(
        &mut self,
        tree: Tree,
        tables: &[(usize, Arc<TableSchema>)],
        select: &Select,
        order_by: &[OrderBy],
    ) -> Result<SelectPlan, SqlError> {
        self.named_windows.clone_from(&select.windows);
        self.windows = None;
        self.aggregates = None;
        let filter = select.filter.as_ref().map(|filter| self.condition(filter, "WHERE")).transpose()?;
        let (input, filter) = joins::place(tree, filter);
        let keys = select.group_by.iter().map(|syntax| self.group_key(syntax, &select.items));
        let keys = keys.collect::<Result<Vec<Expr>, _>>()?;
        let uses = self.outer_uses.borrow().len();
        self.aggregates = Some(Vec::new());
        self.windows = Some(Vec::new());
        let (projection, columns) = self.items(&select.items)?;
        let windows = self.windows.take();
        self.check_named_windows()?;
        let having = select.having.as_ref().map(|having| self.condition(having, "HAVING")).transpose()?;
        self.windows = windows;
        let mut plan = SelectPlan::new(input, projection, columns);
        plan.filter = filter;
        if let statement::Distinct::Rows = select.distinct {
            plan.distinct = Distinct::Rows;
        }
        let on = match &select.distinct {
            statement::Distinct::On(on) => {
                let columns = on.iter().map(|syntax| self.order_column(&mut plan, syntax));
                Some(columns.collect::<Result<Vec<usize>, _>>()?)
            }
            statement::Distinct::No | statement::Distinct::Rows => None,
        };
        self.order(&mut plan, order_by)?;
        if let Some(on) = on {
            distinct_on(&mut plan, on)?;
        }
        plan.windows = self.windows.take().unwrap_or_default();
        let aggregates = self.aggregates.take().unwrap_or_default();
        if aggregates.is_empty() && keys.is_empty() && having.is_none() {
            use_key_order(&mut plan);
        } else {
            self.group(&mut plan, Groups { keys, aggregates, having, tables, uses })?;
        }
        let width = self.scopes.last().map_or(0, Vec::len);
        plan.place_windows(width);
        Ok(plan)
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
                let mut named = (0..plan.columns.len()).filter(|at| plan.columns[*at].name == name.last());
                if let Some(at) = named.next() {
                    if named.any(|other| plan.projection[other] != plan.projection[at]) {
                        return Err(SqlError::new(
                            sqlstate::AMBIGUOUS_COLUMN,
                            format!("ORDER BY \"{}\" is ambiguous", name.last()),
                        )
                        .at_if_known(name.position));
                    }
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
        if plan.distinct == Distinct::Rows {
            return Err(SqlError::new(
                sqlstate::INVALID_COLUMN_REFERENCE,
                "for SELECT DISTINCT, ORDER BY expressions must appear in select list",
            ));
        }
        plan.projection.push(expr);
        Ok(plan.projection.len() - 1)
    }
}

/// The literals of a select list that have no type by themselves: in a set operation the other side may give them one.
fn untyped(body: &Body) -> Vec<Option<Expr>> {
    let Body::Select(select) = body else { return Vec::new() };
    if select.items.iter().any(|item| matches!(item, Item::All(_))) {
        // Positions are not known here.
        return Vec::new();
    }
    let literal = |item: &Item| match item {
        Item::Expression { syntax: Syntax::Null, .. } => Some(Expr::Const(None)),
        Item::Expression { syntax: Syntax::String(text), .. } => {
            Some(Expr::Const(Some(Value::text(text.clone()))))
        }
        _ => None,
    };
    select.items.iter().map(literal).collect()
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

/// Makes a plan keep the first row of each value of some columns. 42P10 unless ORDER BY begins with them.
fn distinct_on(plan: &mut SelectPlan, on: Vec<usize>) -> Result<(), SqlError> {
    let ordered = |column: &usize| plan.order.iter().any(|key| key.at == *column);
    let leading = plan.order.iter().take_while(|key| on.contains(&key.at)).count();
    let early = plan.order[..leading].iter().map(|key| key.at).collect::<Vec<_>>();
    if plan.order.len() > leading && on.iter().any(|column| !early.contains(column)) {
        return Err(SqlError::new(
            sqlstate::INVALID_COLUMN_REFERENCE,
            "SELECT DISTINCT ON expressions must match initial ORDER BY expressions",
        ));
    }
    let missing: Vec<usize> = on.iter().copied().filter(|column| !ordered(column)).collect();
    plan.order.extend(missing.into_iter().map(|at| SortKey { at, descending: false, nulls_first: false }));
    plan.distinct = Distinct::On(on);
    Ok(())
}

/// Drops the sort if the access gives the rows in that order already.
fn use_key_order(plan: &mut SelectPlan) {
    let Input::Table { table, access } = &mut plan.input else { return };
    if plan.distinct != Distinct::No || plan.order.is_empty() || !plan.windows.is_empty() {
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
