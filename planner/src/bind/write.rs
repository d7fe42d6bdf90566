//! INSERT, UPSERT, UPDATE and DELETE.

use std::sync::Arc;

use super::binder::{Binder, ScopeColumn, Typed};
use crate::access;
use crate::catalog::TableSchema;
use crate::error::{SqlError, sqlstate};
use crate::expression::Expr;
use crate::plan::{ChangeFrom, ChangePlan, InsertPlan, InsertSource, OnConflict, Returning};
use crate::query::SelectPlan;
use crate::row_encoding::{has_spellings, table_columns};
use crate::statement::{
    Assignment, Body, ConflictClause, ConflictTarget, Delete, From, Insert, Item, Name, Query, Syntax, Update,
};

/// The columns that an INSERT gives values to.
struct Targets {
    table: Arc<TableSchema>,
    /// Positions of the columns, in the order of the statement's values.
    columns: Vec<usize>,
    /// Whether the statement lists them.
    listed: bool,
    /// The values of all columns of the table where the statement gives none.
    defaults: Vec<Expr>,
}

impl Targets {
    /// The columns of an INSERT.
    fn new(binder: &mut Binder, table: &Arc<TableSchema>, names: &[Name]) -> Result<Targets, SqlError> {
        let mut columns = Vec::with_capacity(names.len());
        for name in names {
            let at = table.column(name)?;
            if columns.contains(&at) {
                return Err(SqlError::new(
                    sqlstate::DUPLICATE_COLUMN,
                    format!("column \"{}\" specified more than once", name.last()),
                ));
            }
            columns.push(at);
        }
        let listed = !names.is_empty();
        if !listed {
            columns = (0..table.columns.len()).collect();
        }
        Ok(Targets { table: table.clone(), columns, listed, defaults: binder.defaults(table)? })
    }

    /// 42601 if a row of so many values does not fit.
    fn check(&self, values: usize) -> Result<(), SqlError> {
        if values > self.columns.len() {
            Err(SqlError::new(sqlstate::SYNTAX, "INSERT has more expressions than target columns"))
        } else if values < self.columns.len() && self.listed {
            Err(SqlError::new(sqlstate::SYNTAX, "INSERT has more target columns than expressions"))
        } else {
            Ok(())
        }
    }

    /// Where the rows come from, and how many values each of them gives.
    fn source(&self, binder: &mut Binder, source: Option<Query>) -> Result<(InsertSource, usize), SqlError> {
        let Some(query) = source else {
            return Ok((InsertSource::Rows(vec![self.defaults.clone()]), 0));
        };
        if let (Body::Values(values), true) = (&query.body, query.is_plain()) {
            let width = values.first().map_or(0, Vec::len);
            let rows = values.iter().map(|row| {
                self.check(row.len())?;
                if row.len() != width {
                    return Err(SqlError::new(sqlstate::SYNTAX, "VALUES lists must all be the same length"));
                }
                self.row(binder, row)
            });
            return Ok((InsertSource::Rows(rows.collect::<Result<_, _>>()?), width));
        }
        let select = binder.top_query(&query)?;
        let width = select.columns.len();
        self.check(width)?;
        let mut row = self.defaults.clone();
        for (from, (at, column)) in self.columns.iter().zip(&select.columns).enumerate() {
            row[*at] = self.assign(binder, *at, Typed::column(from, &column.ty))?;
        }
        Ok((InsertSource::Query { query: Arc::new(select), row }, width))
    }

    /// A full row of the table from a list of VALUES.
    fn row(&self, binder: &mut Binder, values: &[Syntax]) -> Result<Vec<Expr>, SqlError> {
        let mut row = self.defaults.clone();
        for (syntax, at) in values.iter().zip(&self.columns) {
            if !matches!(syntax, Syntax::Default) {
                let value = binder.expr(syntax)?;
                row[*at] = self.assign(binder, *at, value)?;
            }
        }
        Ok(row)
    }

    fn assign(&self, binder: &mut Binder, at: usize, value: Typed) -> Result<Expr, SqlError> {
        let column = &self.table.columns[at];
        binder.assign(value, &column.name, &column.ty)
    }
}

/// Binds INSERT and UPSERT.
pub(super) fn insert(binder: &mut Binder, insert: Insert) -> Result<InsertPlan, SqlError> {
    let table = binder.table(&insert.table)?;
    let targets = Targets::new(binder, &table, &insert.columns)?;
    let (source, given) = targets.source(binder, insert.source)?;
    let mut written = vec![false; table.columns.len()];
    targets.columns.iter().take(given).for_each(|at| written[*at] = true);
    let on_conflict = if insert.upsert {
        if !targets.listed {
            // Without a column list, UPSERT replaces the whole row.
            written.fill(true);
        }
        OnConflict::Replace
    } else {
        match on_conflict(binder, &table, &insert.alias, insert.on_conflict)? {
            OnConflict::Update { assignments, filter: None } if replaces(&table, &written, &assignments) => {
                OnConflict::Replace
            }
            other => other,
        }
    };
    let returning = returning(binder, &table, row_scope(&table, &insert.alias), insert.returning)?;
    let command = if insert.upsert { "UPSERT" } else { "INSERT" };
    let names_one_key = match &source {
        InsertSource::Rows(rows) if rows.len() == 1 => {
            table.key.iter().all(|at| rows[0][*at].is_constant())
                && !matches!(on_conflict, OnConflict::Update { .. })
        }
        _ => false,
    };
    Ok(InsertPlan { table, source, written, on_conflict, names_one_key, returning, command })
}

/// Whether DO UPDATE SET does to a row that is there what an UPSERT of the same columns does: each written column
/// outside the key, and no other, gets its EXCLUDED value. Then the row need not be read first.
fn replaces(table: &Arc<TableSchema>, written: &[bool], assignments: &[(usize, Expr)]) -> bool {
    // An update leaves a key as it was spelled.
    if table.key.iter().any(|at| has_spellings(&table.columns[*at].ty)) {
        return false;
    }
    let excluded = table_columns(table).len();
    let mut assigned = vec![false; table.columns.len()];
    for (at, value) in assignments {
        if *value != Expr::column(excluded + at) {
            return false;
        }
        // The key is the same in both.
        assigned[*at] = !table.is_key(*at);
    }
    (0..table.columns.len()).all(|at| assigned[at] == (written[at] && !table.is_key(at)))
}

/// Binds ON CONFLICT.
fn on_conflict(
    binder: &mut Binder,
    table: &Arc<TableSchema>,
    alias: &Option<String>,
    clause: Option<ConflictClause>,
) -> Result<OnConflict, SqlError> {
    let Some(clause) = clause else { return Ok(OnConflict::Fail) };
    check_conflict_target(table, &clause)?;
    let Some((assignments, filter)) = clause.update else { return Ok(OnConflict::Skip) };
    // The proposed row is visible by its qualified name only.
    let mut proposed = Binder::table_scope(table, "excluded");
    proposed.iter_mut().for_each(|column| column.hidden = true);
    let scope: Vec<ScopeColumn> = [row_scope(table, alias), proposed].concat();
    binder.within(scope, |binder| {
        let assignments = bind_assignments(binder, table, assignments)?;
        let filter = filter.map(|filter| binder.condition(&filter, "WHERE")).transpose()?;
        Ok(OnConflict::Update { assignments, filter })
    })
}

/// A conflict can only be about the primary key. 42601, 42P10 or 42704 if the clause names something else.
fn check_conflict_target(table: &TableSchema, clause: &ConflictClause) -> Result<(), SqlError> {
    match &clause.target {
        None if clause.update.is_some() => {
            return Err(SqlError::new(
                sqlstate::SYNTAX,
                "ON CONFLICT DO UPDATE requires inference specification or constraint name",
            )
            .hint("For example, ON CONFLICT (column_name)."));
        }
        None => {}
        Some(ConflictTarget::Columns(columns)) => {
            let mut wanted: Vec<&str> = columns.iter().map(String::as_str).collect();
            let mut key: Vec<&str> = table.key.iter().map(|at| table.columns[*at].name.as_str()).collect();
            wanted.sort_unstable();
            key.sort_unstable();
            if wanted != key {
                return Err(SqlError::new(
                    sqlstate::INVALID_COLUMN_REFERENCE,
                    "there is no unique or exclusion constraint matching the ON CONFLICT specification",
                )
                .hint(format!("The primary key is ({}).", key.join(", "))));
            }
        }
        Some(ConflictTarget::Constraint(name)) if *name != table.key_name => {
            return Err(SqlError::new(
                sqlstate::UNDEFINED_OBJECT,
                format!("constraint \"{name}\" for table \"{}\" does not exist", table.name),
            ));
        }
        Some(ConflictTarget::Constraint(_)) => {}
    }
    Ok(())
}

fn bind_assignments(
    binder: &mut Binder,
    table: &Arc<TableSchema>,
    assignments: Vec<Assignment>,
) -> Result<Vec<(usize, Expr)>, SqlError> {
    let mut bound: Vec<(usize, Expr)> = Vec::with_capacity(assignments.len());
    for assignment in assignments {
        let at = table.column(&assignment.column)?;
        let column = &table.columns[at];
        if bound.iter().any(|(own, _)| *own == at) {
            return Err(SqlError::new(
                sqlstate::SYNTAX,
                format!("multiple assignments to same column \"{}\"", column.name),
            ));
        }
        let expr = match &assignment.value {
            Syntax::Default => binder.default(table, at)?,
            syntax => {
                let value = binder.expr(syntax)?;
                binder.assign(value, &column.name, &column.ty)?
            }
        };
        bound.push((at, expr));
    }
    Ok(bound)
}

/// Binds UPDATE.
pub(super) fn update(binder: &mut Binder, update: Update) -> Result<ChangePlan, SqlError> {
    let Update { table, alias, assignments, from, filter, returning } = update;
    change(binder, "UPDATE", Target { table, alias }, Some(assignments), from, filter, returning)
}

/// Binds DELETE.
pub(super) fn delete(binder: &mut Binder, delete: Delete) -> Result<ChangePlan, SqlError> {
    let Delete { table, alias, using, filter, returning } = delete;
    change(binder, "DELETE", Target { table, alias }, None, using, filter, returning)
}

/// Binds TRUNCATE: of each table all rows are deleted.
pub(super) fn truncate(binder: &mut Binder, tables: &[Name]) -> Result<Vec<ChangePlan>, SqlError> {
    let all = |table: &Name| {
        let target = Target { table: table.clone(), alias: None };
        change(binder, "TRUNCATE TABLE", target, None, Vec::new(), None, None)
    };
    tables.iter().map(all).collect()
}

/// The table that a statement changes.
struct Target {
    table: Name,
    alias: Option<String>,
}

fn change(
    binder: &mut Binder,
    command: &'static str,
    target: Target,
    assignments: Option<Vec<Assignment>>,
    from: Vec<From>,
    filter: Option<Syntax>,
    items: Option<Vec<Item>>,
) -> Result<ChangePlan, SqlError> {
    let table = binder.table(&target.table)?;
    let mut scope = row_scope(&table, &target.alias);
    let width = scope.len();
    let source = (!from.is_empty()).then(|| beside(binder, &from, &mut scope)).transpose()?;
    let (assignments, filter) = binder.within(scope.clone(), |binder| {
        let assignments = assignments.map(|all| bind_assignments(binder, &table, all)).transpose()?;
        Ok((assignments, filter.map(|filter| binder.condition(&filter, "WHERE")).transpose()?))
    })?;
    let from = source.map(|source| {
        let key = access::join_key(&table, filter.as_ref(), width);
        ChangeFrom { source: Arc::new(source), key }
    });
    let mut exprs = assignments.iter().flatten().map(|(_, value)| value).chain(&filter);
    let has_subquery = exprs.any(Expr::has_subquery);
    let (access, filter) = access::choose(&table, filter);
    let returning = returning(binder, &table, scope, items)?;
    let mut values = assignments.iter().flatten();
    let same_for_all_rows = filter.is_none()
        && returning.is_none()
        && from.is_none()
        && values.all(|(at, value)| value.is_constant() && !table.is_key(*at));
    Ok(ChangePlan {
        table,
        access,
        from,
        filter,
        assignments,
        same_for_all_rows,
        has_subquery,
        returning,
        command,
    })
}

/// Binds FROM or USING; its columns are added to the scope of the table that is changed.
fn beside(binder: &mut Binder, from: &[From], scope: &mut Vec<ScopeColumn>) -> Result<SelectPlan, SqlError> {
    let (source, columns) = binder.rows_beside(from, scope)?;
    scope.extend(columns);
    Ok(source)
}

/// Binds RETURNING over the row that is written, system columns included, and what stands beside it.
fn returning(
    binder: &mut Binder,
    table: &Arc<TableSchema>,
    scope: Vec<ScopeColumn>,
    items: Option<Vec<Item>>,
) -> Result<Option<Returning>, SqlError> {
    let Some(items) = items else { return Ok(None) };
    let (exprs, columns) = binder.within(scope, |binder| binder.items(&items))?;
    let system = table.columns.len()..table_columns(table).len();
    let of_system = |expr: &Expr| matches!(expr, Expr::Column { level: 0, at } if system.contains(at));
    let needs_write = exprs.iter().any(|expr| expr.has_subquery() || expr.any(&of_system));
    Ok(Some(Returning { exprs, columns: columns.into(), needs_write }))
}

/// The columns of the row that a statement writes.
fn row_scope(table: &Arc<TableSchema>, alias: &Option<String>) -> Vec<ScopeColumn> {
    Binder::table_scope(table, alias.as_deref().unwrap_or(&table.name))
}
