//! Queries: FROM, WHERE, grouping, the select list, order and limits.

use std::sync::Arc;

use super::{Binder, ScopeColumn, Typed};
use crate::access::{self, Access};
use crate::error::{SqlError, sqlstate};
use crate::expression::{Expr, Strength};
use crate::pg_catalog::VirtualTable;
use crate::query::{Grouping, Input, SelectPlan, SortKey};
use crate::result::Column;
use crate::statement::{Alias, Body, From, Item, OrderBy, Query, Select, Syntax};
use crate::types::Type;

/// A relation with its columns.
type Bound = (Input, Vec<ScopeColumn>);

impl Binder {
    /// Binds a top-level query, which may read a stored table.
    pub(crate) fn top_query(&mut self, query: &Query) -> Result<SelectPlan, SqlError> {
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
        let depth = self.scopes.len();
        let plan = self.query_in_scope(query, top);
        self.scopes.truncate(depth);
        plan
    }

    fn query_in_scope(&mut self, query: &Query, top: bool) -> Result<SelectPlan, SqlError> {
        let mut plan = match &query.body {
            Body::Select(select) => self.select(select, &query.order_by, top)?,
            body => {
                let (input, scope) = self.body(body)?;
                let columns: Vec<Column> =
                    scope.iter().map(|c| Column::computed(c.name.clone(), c.ty.clone())).collect();
                let mut plan =
                    SelectPlan::new(input, (0..columns.len()).map(Expr::column).collect(), columns);
                self.scopes.push(scope);
                self.order(&mut plan, &query.order_by)?;
                plan
            }
        };
        // LIMIT sees parameters and constants only.
        let outer = std::mem::take(&mut self.scopes);
        let number = |binder: &mut Binder, syntax: &Option<Syntax>| {
            syntax
                .as_ref()
                .map(|syntax| {
                    let typed = binder.expr(syntax)?;
                    binder.coerce(typed, &Type::Int8, Strength::Assignment)
                })
                .transpose()
        };
        plan.limit = number(self, &query.limit)?;
        plan.offset = number(self, &query.offset)?;
        self.scopes = outer;
        Ok(plan)
    }

    /// VALUES, set operations, and parenthesised queries.
    fn body(&mut self, body: &Body) -> Result<Bound, SqlError> {
        match body {
            Body::Select(select) => {
                let plan = self.select(select, &[], false)?;
                Ok(Self::derived(plan, ""))
            }
            Body::Query(query) => {
                let plan = self.inner_query(query)?;
                Ok(Self::derived(plan, ""))
            }
            Body::Values(rows) => self.values(rows),
            Body::Set { op, all, left, right } => {
                let depth = self.scopes.len();
                let (left, mut columns) = self.body(left)?;
                self.scopes.truncate(depth);
                let (right, right_columns) = self.body(right)?;
                self.scopes.truncate(depth);
                if columns.len() != right_columns.len() {
                    return Err(SqlError::new(
                        sqlstate::SYNTAX,
                        "each UNION query must have the same number of columns",
                    ));
                }
                let types: Vec<Type> = columns
                    .iter()
                    .zip(&right_columns)
                    .map(|(a, b)| self.common_type(&a.ty, &b.ty))
                    .collect::<Result<_, _>>()?;
                let left = Arc::new(self.as_types(left, &columns, &types)?);
                let right = Arc::new(self.as_types(right, &right_columns, &types)?);
                for (column, ty) in columns.iter_mut().zip(types) {
                    column.ty = if ty == Type::Unknown { Type::Text } else { ty };
                }
                Ok((Input::Set { op: *op, all: *all, left, right }, columns))
            }
        }
    }

    /// A plan that gives a relation's columns as other types.
    fn as_types(
        &mut self,
        input: Input,
        columns: &[ScopeColumn],
        types: &[Type],
    ) -> Result<SelectPlan, SqlError> {
        let mut projection = Vec::with_capacity(types.len());
        for (at, (column, ty)) in columns.iter().zip(types).enumerate() {
            let typed = Typed { expr: Expr::column(at), ty: column.ty.clone() };
            projection.push(self.coerce(typed, ty, Strength::Implicit)?);
        }
        let columns = columns.iter().zip(types).map(|(c, ty)| Column::computed(c.name.clone(), ty.clone()));
        Ok(SelectPlan::new(input, projection, columns.collect()))
    }

    fn derived(plan: SelectPlan, alias: &str) -> Bound {
        let columns = plan.columns.iter().map(|column| ScopeColumn {
            table: alias.to_string(),
            name: column.name.clone(),
            ty: column.ty.clone(),
            hidden: false,
            origin: (column.table, column.attribute),
        });
        let columns = columns.collect();
        (Input::Query(Arc::new(plan)), columns)
    }

    fn values(&mut self, rows: &[Vec<Syntax>]) -> Result<Bound, SqlError> {
        let width = rows.first().map_or(0, Vec::len);
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
        let types: Vec<Type> =
            types.into_iter().map(|ty| if ty == Type::Unknown { Type::Text } else { ty }).collect();
        let mut bound = Vec::with_capacity(typed.len());
        for row in typed {
            let cast =
                row.into_iter().zip(&types).map(|(value, ty)| self.coerce(value, ty, Strength::Implicit));
            bound.push(cast.collect::<Result<Vec<_>, _>>()?);
        }
        let columns = types.into_iter().enumerate().map(|(at, ty)| ScopeColumn {
            table: String::new(),
            name: format!("column{}", at + 1),
            ty,
            hidden: false,
            origin: (0, 0),
        });
        Ok((Input::Values(bound), columns.collect()))
    }

    fn select(&mut self, select: &Select, order_by: &[OrderBy], top: bool) -> Result<SelectPlan, SqlError> {
        let (input, scope) = self.comma_list(&select.from, top)?;
        self.scopes.push(scope);
        self.aggregates = None;
        let mut filter = select.filter.as_ref().map(|filter| self.condition(filter, "WHERE")).transpose()?;
        let input = match input {
            Input::Table { table, .. } => {
                let (access, residual) = access::choose(&table, filter.take());
                filter = residual;
                Input::Table { table, access }
            }
            other => other,
        };
        let mut keys = Vec::new();
        for syntax in &select.group_by {
            keys.push(self.group_key(syntax, &select.items)?);
        }
        self.aggregates = Some(Vec::new());
        let (projection, columns) = self.items(&select.items)?;
        let having = select.having.as_ref().map(|having| self.condition(having, "HAVING")).transpose()?;
        let mut plan = SelectPlan::new(input, projection, columns);
        plan.filter = filter;
        plan.distinct = select.distinct;
        self.order(&mut plan, order_by)?;
        let aggregates = self.aggregates.take().unwrap_or_default();
        if !aggregates.is_empty() || !keys.is_empty() || having.is_some() {
            if matches!(plan.input, Input::Table { .. }) && !keys.is_empty() {
                return Err(SqlError::unsupported("GROUP BY over a table")
                    .hint("Aggregates over the whole table or a key range are supported."));
            }
            let mut grouping = Grouping { keys, aggregates, having };
            let mut exprs: Vec<&mut Expr> = plan.projection.iter_mut().collect();
            exprs.extend(grouping.having.as_mut());
            for expr in exprs {
                regroup(expr, &grouping.keys, self.scopes.last().map_or(&[], Vec::as_slice))?;
            }
            plan.grouping = Some(grouping);
        }
        if plan.grouping.is_none() {
            use_key_order(&mut plan);
        }
        Ok(plan)
    }

    /// An entry of GROUP BY: an expression, an output column's number, or its name.
    fn group_key(&mut self, syntax: &Syntax, items: &[Item]) -> Result<Expr, SqlError> {
        let nth = |at: usize| match items.get(at) {
            Some(Item::Expression { syntax, .. }) => Some(syntax),
            _ => None,
        };
        let syntax = match syntax {
            Syntax::Number(digits) => {
                digits.parse::<usize>().ok().and_then(|n| nth(n.wrapping_sub(1))).ok_or_else(|| {
                    SqlError::new(
                        sqlstate::INVALID_COLUMN_REFERENCE,
                        format!("GROUP BY position {digits} is not in select list"),
                    )
                })?
            }
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

    /// Binds a select list over the innermost scope.
    pub(super) fn items(&mut self, items: &[Item]) -> Result<(Vec<Expr>, Vec<Column>), SqlError> {
        let (mut exprs, mut columns) = (Vec::new(), Vec::new());
        for item in items {
            match item {
                Item::All(table) => {
                    let scope = self.scopes.last().cloned().unwrap_or_default();
                    let table = table.as_ref().map(|name| name.last().to_string());
                    let before = exprs.len();
                    for (at, column) in scope.into_iter().enumerate() {
                        if !column.hidden && table.as_ref().is_none_or(|table| *table == column.table) {
                            exprs.push(Expr::column(at));
                            columns.push(Column {
                                name: column.name,
                                ty: column.ty,
                                table: column.origin.0,
                                attribute: column.origin.1,
                            });
                        }
                    }
                    if before == exprs.len() {
                        return Err(match table {
                            Some(table) => SqlError::new(
                                sqlstate::UNDEFINED_TABLE,
                                format!("missing FROM-clause entry for table \"{table}\""),
                            ),
                            None => SqlError::new(
                                sqlstate::SYNTAX,
                                "SELECT * with no tables specified is not valid",
                            ),
                        });
                    }
                }
                Item::Expression { syntax, alias } => {
                    let typed = self.expr(syntax)?;
                    let typed = self.known(typed)?;
                    let origin = match &typed.expr {
                        Expr::Column { level: 0, at } => {
                            self.scopes.last().and_then(|scope| scope.get(*at)).map_or((0, 0), |c| c.origin)
                        }
                        _ => (0, 0),
                    };
                    columns.push(Column {
                        name: alias.clone().unwrap_or_else(|| output_name(syntax)),
                        ty: typed.ty,
                        table: origin.0,
                        attribute: origin.1,
                    });
                    exprs.push(typed.expr);
                }
            }
        }
        Ok((exprs, columns))
    }

    /// Binds ORDER BY: output columns by number or name, else expressions as hidden columns.
    fn order(&mut self, plan: &mut SelectPlan, order_by: &[OrderBy]) -> Result<(), SqlError> {
        for order in order_by {
            let by_name = match &order.syntax {
                Syntax::Number(digits) => {
                    let number =
                        digits.parse::<usize>().ok().filter(|n| (1..=plan.columns.len()).contains(n));
                    Some(number.map(|n| n - 1).ok_or_else(|| {
                        SqlError::new(
                            sqlstate::INVALID_COLUMN_REFERENCE,
                            format!("ORDER BY position {digits} is not in select list"),
                        )
                    })?)
                }
                Syntax::Column(name) if name.parts.len() == 1 => {
                    plan.columns.iter().position(|column| column.name == name.last())
                }
                _ => None,
            };
            let at = match by_name {
                Some(at) => at,
                None => {
                    let typed = self.expr(&order.syntax)?;
                    let expr = self.known(typed)?.expr;
                    match plan.projection.iter().position(|own| *own == expr) {
                        Some(at) => at,
                        None if plan.distinct => {
                            return Err(SqlError::new(
                                sqlstate::INVALID_COLUMN_REFERENCE,
                                "for SELECT DISTINCT, ORDER BY expressions must appear in select list",
                            ));
                        }
                        None => {
                            plan.projection.push(expr);
                            plan.projection.len() - 1
                        }
                    }
                }
            };
            plan.order.push(SortKey { at, descending: order.descending, nulls_first: order.nulls_first });
        }
        Ok(())
    }

    /// The comma list of FROM as joins without conditions.
    fn comma_list(&mut self, from: &[From], top: bool) -> Result<Bound, SqlError> {
        let mut all: Option<Bound> = None;
        for item in from {
            let base = all.as_ref().map_or(0, |(_, columns)| columns.len());
            let left = all.as_ref().map(|(_, columns)| columns.clone()).unwrap_or_default();
            let bound = self.from(item, top && from.len() == 1, base, &left)?;
            all = Some(match all {
                None => bound,
                Some((relation, mut columns)) => {
                    for column in &bound.1 {
                        if !column.table.is_empty() && columns.iter().any(|own| own.table == column.table) {
                            return Err(SqlError::new(
                                sqlstate::DUPLICATE_ALIAS,
                                format!("table name \"{}\" specified more than once", column.table),
                            ));
                        }
                    }
                    let right_width = bound.1.len();
                    columns.extend(bound.1);
                    let join = Input::Join {
                        left: Box::new(relation),
                        right: Box::new(bound.0),
                        outer: false,
                        on: None,
                        base: 0,
                        right_width,
                    };
                    (join, columns)
                }
            });
        }
        Ok(all.unwrap_or((Input::Nothing, Vec::new())))
    }

    /// Binds an entry of FROM whose columns will stand `base` columns behind the row's start, after those of `left`.
    fn from(&mut self, from: &From, top: bool, base: usize, left: &[ScopeColumn]) -> Result<Bound, SqlError> {
        match from {
            From::Table { name, alias } => {
                let own = alias.as_ref().map_or_else(|| name.last().to_string(), |alias| alias.name.clone());
                if let Some(table) = VirtualTable::find(name) {
                    let columns = table.columns().map(|(column, ty)| ScopeColumn {
                        table: own.clone(),
                        name: column.to_string(),
                        ty,
                        hidden: false,
                        origin: (0, 0),
                    });
                    let columns = renamed(columns.collect(), alias);
                    return Ok((Input::System(table), columns));
                }
                let table = self.table(name)?;
                if !top {
                    return Err(SqlError::unsupported(format!(
                        "reading table \"{}\" in a join, a set operation or a subquery",
                        table.name
                    ))
                    .hint("Read each table by a statement of its own."));
                }
                let columns = renamed(Self::table_scope(&table, &own), alias);
                let access = Access::Range { prefix: Vec::new(), lower: None, upper: None, reverse: false };
                Ok((Input::Table { table, access }, columns))
            }
            From::Query { query, alias } => {
                let plan = self.inner_query(query)?;
                let (relation, columns) = Self::derived(plan, alias.as_ref().map_or("", |alias| &alias.name));
                Ok((relation, renamed(columns, alias)))
            }
            From::Function { name, arguments, alias } => {
                self.scopes.push(left.to_vec());
                let typed = arguments.iter().map(|a| self.expr(a)).collect::<Result<Vec<_>, _>>();
                self.scopes.pop();
                let mut typed = typed?;
                let (relation, ty) = match (name.last(), typed.len()) {
                    ("generate_series", 2) => {
                        let last =
                            typed.pop().map(|last| self.coerce(last, &Type::Int4, Strength::Assignment));
                        let first = typed.pop().map(|t| self.coerce(t, &Type::Int4, Strength::Assignment));
                        match (first, last) {
                            (Some(first), Some(last)) => {
                                (Input::Series { first: first?, last: last? }, Type::Int4)
                            }
                            _ => return Err(SqlError::internal("arguments of generate_series")),
                        }
                    }
                    ("unnest", 1) => match typed.remove(0) {
                        Typed { expr, ty: Type::Array(element) } => (Input::Unnest(expr), *element),
                        _ => {
                            return Err(SqlError::new(
                                sqlstate::UNDEFINED_FUNCTION,
                                "function unnest takes an array",
                            ));
                        }
                    },
                    _ => {
                        return Err(SqlError::unsupported(format!("the table function {}", name.last()))
                            .hint("generate_series and unnest are supported in FROM."));
                    }
                };
                let own = alias.as_ref().map_or(name.last(), |alias| &alias.name).to_string();
                let column = ScopeColumn { table: own.clone(), name: own, ty, hidden: false, origin: (0, 0) };
                Ok((relation, renamed(vec![column], alias)))
            }
            From::Join { left: first, right: second, outer, on, using } => {
                let (first, mut columns) = self.from(first, false, base, left)?;
                let mut before = left.to_vec();
                before.extend(columns.iter().cloned());
                let (second, right_columns) = self.from(second, false, base + columns.len(), &before)?;
                let right_width = right_columns.len();
                let first_width = columns.len();
                columns.extend(right_columns);
                let mut scope = left.to_vec();
                scope.extend(columns.iter().cloned());
                self.scopes.push(scope);
                let condition = match on {
                    Some(on) => self.condition(on, "JOIN/ON").map(Some),
                    None => self.using(using, base, first_width),
                };
                self.scopes.pop();
                let join = Input::Join {
                    left: Box::new(first),
                    right: Box::new(second),
                    outer: *outer,
                    on: condition?,
                    base,
                    right_width,
                };
                Ok((join, columns))
            }
        }
    }

    /// The condition of USING: equal columns of that name on both sides.
    fn using(&mut self, names: &[String], base: usize, first: usize) -> Result<Option<Expr>, SqlError> {
        let scope = self.scopes.last().cloned().unwrap_or_default();
        let mut items = Vec::new();
        for name in names {
            let find = |from: usize, to: usize| {
                let at = (from..to).find(|at| scope[*at].name == *name);
                at.map(|at| Typed { expr: Expr::column(at), ty: scope[at].ty.clone() }).ok_or_else(|| {
                    SqlError::new(
                        sqlstate::UNDEFINED_COLUMN,
                        format!("column \"{name}\" specified in USING clause does not exist"),
                    )
                })
            };
            let left = find(base, base + first)?;
            let right = find(base + first, scope.len())?;
            items.push(self.compare(crate::statement::Operator::Eq, left, right)?);
        }
        Ok((!items.is_empty()).then_some(Expr::And(items)))
    }
}

/// Renames columns by `AS t (a, b)`.
fn renamed(mut columns: Vec<ScopeColumn>, alias: &Option<Alias>) -> Vec<ScopeColumn> {
    if let Some(alias) = alias {
        for (column, name) in columns.iter_mut().zip(&alias.columns) {
            column.name.clone_from(name);
        }
    }
    columns
}

/// The name that PostgreSQL gives to an unnamed output column.
fn output_name(syntax: &Syntax) -> String {
    match syntax {
        Syntax::Column(name) => name.last().to_string(),
        Syntax::Call(call) => call.name.last().to_string(),
        Syntax::Cast { arg, ty } => match output_name(arg) {
            name if name == "?column?" => match ty {
                Type::Array(element) => element.name(),
                ty => ty.plain().name(),
            },
            name => name,
        },
        Syntax::Case { otherwise: Some(otherwise), .. } => match output_name(otherwise) {
            name if name == "?column?" => "case".into(),
            name => name,
        },
        Syntax::Case { .. } => "case".into(),
        Syntax::Exists(_) => "exists".into(),
        Syntax::ArrayQuery(_) | Syntax::Array(_) => "array".into(),
        Syntax::Row(_) => "row".into(),
        Syntax::Bool(_) => "bool".into(),
        Syntax::Subquery(query) => match &query.body {
            Body::Select(select) => match select.items.first() {
                Some(Item::Expression { alias: Some(alias), .. }) => alias.clone(),
                Some(Item::Expression { syntax, .. }) => output_name(syntax),
                _ => "?column?".into(),
            },
            _ => "?column?".into(),
        },
        Syntax::Index { arg, .. } => output_name(arg),
        _ => "?column?".into(),
    }
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
                regroup(part, keys, scope)?;
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
