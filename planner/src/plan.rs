//! Plans: what a statement will do, with names resolved and keys found. EXPLAIN prints them (`execute::explain`).

use std::sync::Arc;

use crate::access::{self, Access};
use crate::bind::{Binder, ScopeColumn, Typed};
use crate::catalog::{Snapshot, TableSchema};
use crate::error::{SqlError, sqlstate};
use crate::expression::{Expr, Strength};
use crate::query::SelectPlan;
use crate::result::Column;
use crate::statement::{
    Assignment, Body, ConflictTarget, CopyOptions, CopySource, CreateTable, Delete, Insert, Item, Name,
    Statement, Syntax, Update,
};
use crate::types::Type;

/// What a statement will do.
#[derive(Debug)]
pub(crate) enum Plan {
    Empty,
    Select(Arc<SelectPlan>),
    Insert(Arc<InsertPlan>),
    Change(Arc<ChangePlan>),
    CreateTable(Box<CreateTable>),
    DropTable {
        names: Vec<Name>,
        if_exists: bool,
    },
    CopyIn {
        table: Arc<TableSchema>,
        columns: Vec<usize>,
        options: Box<CopyOptions>,
    },
    CopyOut {
        select: Arc<SelectPlan>,
        options: Box<CopyOptions>,
    },
    Explain {
        analyze: bool,
        plan: Box<Plan>,
    },
    Prepare {
        name: String,
        types: Vec<Type>,
        sql: String,
    },
    Execute {
        name: String,
        arguments: Vec<Expr>,
    },
    /// Of the session alone: SET, SHOW, BEGIN, ..
    Session(Box<Statement>),
}

/// RETURNING.
#[derive(Debug)]
pub(crate) struct Returning {
    pub(crate) exprs: Vec<Expr>,
    pub(crate) columns: Arc<[Column]>,
}

/// Where inserted rows come from.
#[derive(Debug)]
pub(crate) enum InsertSource {
    /// Full rows of the table's columns.
    Rows(Vec<Vec<Expr>>),
    /// A query, and full rows over its columns.
    Query { query: Arc<SelectPlan>, row: Vec<Expr> },
}

/// What an insert does with a row that is there.
#[derive(Debug)]
pub(crate) enum OnConflict {
    /// 23505.
    Fail,
    Skip,
    /// New values over (the row there, the row proposed), if the filter holds.
    Update {
        assignments: Vec<(usize, Expr)>,
        filter: Option<Expr>,
    },
    /// UPSERT: the written columns are replaced.
    Replace,
}

/// INSERT and UPSERT.
#[derive(Debug)]
pub(crate) struct InsertPlan {
    pub(crate) table: Arc<TableSchema>,
    pub(crate) source: InsertSource,
    /// For each column of the table: does the statement give it a value?
    pub(crate) written: Vec<bool>,
    pub(crate) on_conflict: OnConflict,
    pub(crate) returning: Option<Returning>,
    /// The statement: "INSERT" or "UPSERT".
    pub(crate) command: &'static str,
}

/// UPDATE and DELETE by key.
#[derive(Debug)]
pub(crate) struct ChangePlan {
    pub(crate) table: Arc<TableSchema>,
    pub(crate) access: Access,
    /// What is left of WHERE.
    pub(crate) filter: Option<Expr>,
    /// UPDATE's new values; `None`: DELETE.
    pub(crate) assignments: Option<Vec<(usize, Expr)>>,
    pub(crate) returning: Option<Returning>,
}

impl Plan {
    /// May executing it write?
    pub(crate) fn writes(&self) -> bool {
        match self {
            Plan::Insert(_)
            | Plan::Change(_)
            | Plan::CreateTable(_)
            | Plan::DropTable { .. }
            | Plan::CopyIn { .. }
            | Plan::Execute { .. } => true,
            Plan::Explain { analyze, plan } => *analyze && plan.writes(),
            Plan::Session(statement) => matches!(**statement, Statement::Commit),
            Plan::Empty | Plan::Select(_) | Plan::CopyOut { .. } | Plan::Prepare { .. } => false,
        }
    }

    /// Is it likely to be executed again?
    pub(crate) fn is_worth_caching(&self) -> bool {
        matches!(self, Plan::Select(_) | Plan::Insert(_) | Plan::Change(_) | Plan::Session(_))
    }

    /// Columns of the result.
    pub(crate) fn columns(&self) -> Option<Arc<[Column]>> {
        match self {
            Plan::Select(select) => Some(select.columns.clone().into()),
            Plan::Insert(insert) => insert.returning.as_ref().map(|returning| returning.columns.clone()),
            Plan::Change(change) => change.returning.as_ref().map(|returning| returning.columns.clone()),
            Plan::Explain { .. } => Some(vec![Column::computed("QUERY PLAN", Type::Text)].into()),
            Plan::Session(statement) => match &**statement {
                Statement::Show(Some(name)) => {
                    let name = crate::settings::Settings::spelling(name);
                    Some(vec![Column::computed(name, Type::Text)].into())
                }
                Statement::Show(None) => {
                    let columns = ["name", "setting", "description"];
                    Some(columns.map(|name| Column::computed(name, Type::Text)).to_vec().into())
                }
                _ => None,
            },
            _ => None,
        }
    }
}

/// Makes a plan. The second part are the parameter types; the error's flag tells that a table was not found.
pub(crate) fn plan(
    statement: Statement,
    snapshot: Arc<Snapshot>,
    hints: &[Type],
) -> Result<(Plan, Vec<Type>), (SqlError, bool)> {
    let mut binder = Binder::new(snapshot, hints);
    match build(&mut binder, statement) {
        Ok(plan) => Ok((plan, binder.parameter_types())),
        Err(error) => Err((error, binder.missing_table)),
    }
}

fn build(binder: &mut Binder, statement: Statement) -> Result<Plan, SqlError> {
    Ok(match statement {
        Statement::Empty => Plan::Empty,
        Statement::Query(query) => Plan::Select(Arc::new(binder.top_query(&query)?)),
        Statement::Insert(insert) => Plan::Insert(Arc::new(plan_insert(binder, insert)?)),
        Statement::Update(update) => Plan::Change(Arc::new(plan_update(binder, update)?)),
        Statement::Delete(delete) => Plan::Change(Arc::new(plan_delete(binder, delete)?)),
        Statement::CreateTable(create) => Plan::CreateTable(Box::new(create)),
        Statement::DropTable { names, if_exists } => Plan::DropTable { names, if_exists },
        Statement::Copy(copy) => plan_copy(binder, copy)?,
        Statement::Explain { analyze, statement } => {
            let plan = build(binder, *statement)?;
            if !matches!(plan, Plan::Select(_) | Plan::Insert(_) | Plan::Change(_)) {
                return Err(SqlError::unsupported("EXPLAIN of this statement")
                    .hint("SELECT, INSERT, UPSERT, UPDATE and DELETE can be explained."));
            }
            Plan::Explain { analyze, plan: Box::new(plan) }
        }
        Statement::Prepare { name, types, sql } => Plan::Prepare { name, types, sql },
        Statement::Execute { name, arguments } => {
            let bound = arguments.iter().map(|syntax| Ok(binder.expr(syntax)?.expr));
            Plan::Execute { name, arguments: bound.collect::<Result<_, SqlError>>()? }
        }
        other => Plan::Session(Box::new(other)),
    })
}

/// A column that may be written. 42703, 0A000 for a system column.
fn target(table: &TableSchema, name: &Name) -> Result<usize, SqlError> {
    table.position(name.last()).ok_or_else(|| table.no_column(name))
}

fn returning(
    binder: &mut Binder,
    table: &Arc<TableSchema>,
    alias: &Option<String>,
    items: Option<Vec<Item>>,
) -> Result<Option<Returning>, SqlError> {
    let Some(items) = items else { return Ok(None) };
    binder.scopes.push(Binder::table_scope(table, alias.as_deref().unwrap_or(&table.name)));
    let bound = binder.returning(&items);
    binder.scopes.pop();
    let (exprs, columns) = bound?;
    Ok(Some(Returning { exprs, columns: columns.into() }))
}

/// The default value of a column.
fn default(binder: &mut Binder, table: &TableSchema, at: usize) -> Result<Expr, SqlError> {
    let column = &table.columns[at];
    match &column.default {
        None => Ok(Expr::Const(None)),
        Some(text) => {
            let syntax = crate::parse::parse_expression(text)?;
            let value = binder.expr(&syntax)?;
            binder.assign(value, &column.name, &column.ty)
        }
    }
}

fn plan_insert(binder: &mut Binder, insert: Insert) -> Result<InsertPlan, SqlError> {
    let table = binder.table(&insert.table)?;
    let mut targets = Vec::with_capacity(insert.columns.len());
    for name in &insert.columns {
        let at = target(&table, name)?;
        if targets.contains(&at) {
            return Err(SqlError::new(
                sqlstate::DUPLICATE_COLUMN,
                format!("column \"{}\" specified more than once", name.last()),
            ));
        }
        targets.push(at);
    }
    let listed = !insert.columns.is_empty();
    if !listed {
        targets = (0..table.columns.len()).collect();
    }
    let mut defaults = Vec::with_capacity(table.columns.len());
    for at in 0..table.columns.len() {
        defaults.push(default(binder, &table, at)?);
    }
    let count = |given: usize| {
        if given > targets.len() {
            Err(SqlError::new(sqlstate::SYNTAX, "INSERT has more expressions than target columns"))
        } else if given < targets.len() && listed {
            Err(SqlError::new(sqlstate::SYNTAX, "INSERT has more target columns than expressions"))
        } else {
            Ok(())
        }
    };
    let mut given = targets.len();
    let source = match insert.source {
        None => {
            given = 0;
            InsertSource::Rows(vec![defaults.clone()])
        }
        Some(query) => match (&query.body, query.order_by.is_empty() && query.limit.is_none()) {
            (Body::Values(values), true) => {
                let mut rows = Vec::with_capacity(values.len());
                for row in values {
                    count(row.len())?;
                    if row.len() != values[0].len() {
                        return Err(SqlError::new(
                            sqlstate::SYNTAX,
                            "VALUES lists must all be the same length",
                        ));
                    }
                    given = row.len();
                    let mut full = defaults.clone();
                    for (syntax, at) in row.iter().zip(&targets) {
                        if !matches!(syntax, Syntax::Default) {
                            let value = binder.expr(syntax)?;
                            let column = &table.columns[*at];
                            full[*at] = binder.assign(value, &column.name, &column.ty)?;
                        }
                    }
                    rows.push(full);
                }
                InsertSource::Rows(rows)
            }
            _ => {
                let select = binder.top_query(&query)?;
                count(select.columns.len())?;
                given = select.columns.len();
                let mut row = defaults.clone();
                for (from, at) in targets.iter().take(given).enumerate() {
                    let value = Typed { expr: Expr::column(from), ty: select.columns[from].ty.clone() };
                    let column = &table.columns[*at];
                    row[*at] = binder.assign(value, &column.name, &column.ty)?;
                }
                InsertSource::Query { query: Arc::new(select), row }
            }
        },
    };
    let mut written = vec![false; table.columns.len()];
    targets.iter().take(given).for_each(|at| written[*at] = true);
    let command = if insert.upsert { "UPSERT" } else { "INSERT" };
    let on_conflict = if insert.upsert {
        if !listed {
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
    let returning = returning(binder, &table, &insert.alias, insert.returning)?;
    Ok(InsertPlan { table, source, written, on_conflict, returning, command })
}

/// Whether DO UPDATE SET does to a row that is there what an UPSERT of the same columns does: each written column
/// outside the key, and no other, gets its EXCLUDED value. Then the row need not be read first.
fn replaces(table: &Arc<TableSchema>, written: &[bool], assignments: &[(usize, Expr)]) -> bool {
    let excluded = crate::rows::table_columns(table).len();
    let mut assigned = vec![false; table.columns.len()];
    for (at, value) in assignments {
        if *value != Expr::column(excluded + at) {
            return false;
        }
        assigned[*at] = true;
    }
    (0..table.columns.len()).all(|at| assigned[at] == (written[at] && !table.is_key(at)))
}

fn on_conflict(
    binder: &mut Binder,
    table: &Arc<TableSchema>,
    alias: &Option<String>,
    clause: Option<crate::statement::OnConflict>,
) -> Result<OnConflict, SqlError> {
    let Some(clause) = clause else { return Ok(OnConflict::Fail) };
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
    let Some((assignments, filter)) = clause.update else { return Ok(OnConflict::Skip) };
    let mut scope = Binder::table_scope(table, alias.as_deref().unwrap_or(&table.name));
    // The proposed row is visible by its qualified name only.
    let excluded: Vec<ScopeColumn> = Binder::table_scope(table, "excluded")
        .into_iter()
        .map(|column| ScopeColumn { hidden: true, ..column })
        .collect();
    scope.extend(excluded);
    binder.scopes.push(scope);
    let bound = bind_assignments(binder, table, assignments).and_then(|assignments| {
        let filter = filter.map(|filter| binder.condition(&filter, "WHERE")).transpose()?;
        Ok(OnConflict::Update { assignments, filter })
    });
    binder.scopes.pop();
    bound
}

fn bind_assignments(
    binder: &mut Binder,
    table: &Arc<TableSchema>,
    assignments: Vec<Assignment>,
) -> Result<Vec<(usize, Expr)>, SqlError> {
    let mut bound: Vec<(usize, Expr)> = Vec::with_capacity(assignments.len());
    for assignment in assignments {
        let at = target(table, &assignment.column)?;
        let column = &table.columns[at];
        if bound.iter().any(|(own, _)| *own == at) {
            return Err(SqlError::new(
                sqlstate::SYNTAX,
                format!("multiple assignments to same column \"{}\"", column.name),
            ));
        }
        if table.is_key(at) {
            return Err(SqlError::unsupported("changing a column of the primary key")
                .hint("Delete the row and insert it under its new key."));
        }
        let expr = match &assignment.value {
            Syntax::Default => default(binder, table, at)?,
            syntax => {
                let value = binder.expr(syntax)?;
                binder.assign(value, &column.name, &column.ty)?
            }
        };
        bound.push((at, expr));
    }
    Ok(bound)
}

/// The keys that a change names. 0A000 if it names none.
fn change_access(
    binder: &mut Binder,
    table: &Arc<TableSchema>,
    filter: Option<Syntax>,
    command: &str,
) -> Result<(Access, Option<Expr>), SqlError> {
    let filter = filter.map(|filter| binder.condition(&filter, "WHERE")).transpose()?;
    let (access, filter) = access::choose(table, filter);
    if !access.is_points() {
        let key: Vec<&str> = table.key.iter().map(|at| table.columns[*at].name.as_str()).collect();
        let example: Vec<String> =
            key.iter().enumerate().map(|(n, name)| format!("{name} = ${}", n + 1)).collect();
        return Err(SqlError::unsupported(format!("{command} without the primary key in WHERE")).hint(
            format!(
                "Name the rows by their key ({}): {command} .. WHERE {}. IN and = ANY (array) name several.",
                key.join(", "),
                example.join(" AND ")
            ),
        ));
    }
    Ok((access, filter))
}

fn plan_update(binder: &mut Binder, update: Update) -> Result<ChangePlan, SqlError> {
    let table = binder.table(&update.table)?;
    binder.scopes.push(Binder::table_scope(&table, update.alias.as_deref().unwrap_or(&table.name)));
    let assignments = bind_assignments(binder, &table, update.assignments)?;
    let (access, filter) = change_access(binder, &table, update.filter, "UPDATE")?;
    binder.scopes.pop();
    let returning = returning(binder, &table, &update.alias, update.returning)?;
    Ok(ChangePlan { table, access, filter, assignments: Some(assignments), returning })
}

fn plan_delete(binder: &mut Binder, delete: Delete) -> Result<ChangePlan, SqlError> {
    let table = binder.table(&delete.table)?;
    binder.scopes.push(Binder::table_scope(&table, delete.alias.as_deref().unwrap_or(&table.name)));
    let (access, filter) = change_access(binder, &table, delete.filter, "DELETE")?;
    binder.scopes.pop();
    let returning = returning(binder, &table, &delete.alias, delete.returning)?;
    Ok(ChangePlan { table, access, filter, assignments: None, returning })
}

fn plan_copy(binder: &mut Binder, copy: crate::statement::Copy) -> Result<Plan, SqlError> {
    match copy.source {
        CopySource::Query(_) if copy.from => Err(SqlError::new(sqlstate::SYNTAX, "COPY FROM takes a table")),
        CopySource::Query(query) => {
            Ok(Plan::CopyOut { select: Arc::new(binder.top_query(&query)?), options: Box::new(copy.options) })
        }
        CopySource::Table { name, columns } if copy.from => {
            let table = binder.table(&name)?;
            let columns = if columns.is_empty() {
                (0..table.columns.len()).collect()
            } else {
                columns.iter().map(|column| target(&table, column)).collect::<Result<_, _>>()?
            };
            Ok(Plan::CopyIn { table, columns, options: Box::new(copy.options) })
        }
        CopySource::Table { name, columns } => {
            let items = if columns.is_empty() {
                vec![Item::All(None)]
            } else {
                columns
                    .into_iter()
                    .map(|c| Item::Expression { syntax: Syntax::Column(c), alias: None })
                    .collect()
            };
            let select = crate::statement::Select {
                distinct: false,
                items,
                from: vec![crate::statement::From::Table { name, alias: None }],
                filter: None,
                group_by: Vec::new(),
                having: None,
            };
            let query = crate::statement::Query {
                body: Body::Select(Box::new(select)),
                order_by: Vec::new(),
                limit: None,
                offset: None,
            };
            Ok(Plan::CopyOut { select: Arc::new(binder.top_query(&query)?), options: Box::new(copy.options) })
        }
    }
}

/// Binds the values of SPLIT AT for a new table.
pub(crate) fn split_values(table: &TableSchema, splits: &[Vec<Syntax>]) -> Result<Vec<Vec<Expr>>, SqlError> {
    let mut binder = Binder::new(Arc::default(), &[]);
    let mut bound = Vec::with_capacity(splits.len());
    for split in splits {
        if split.len() > table.key.len() {
            return Err(SqlError::new(
                sqlstate::SYNTAX,
                "SPLIT AT has more values than the primary key columns",
            ));
        }
        let mut row = Vec::with_capacity(split.len());
        for (syntax, at) in split.iter().zip(&table.key) {
            let value = binder.expr(syntax)?;
            row.push(binder.assign(value, &table.columns[*at].name, &table.columns[*at].ty)?);
        }
        bound.push(row);
    }
    Ok(bound)
}

/// Checks that a default fits its column.
pub(crate) fn check_default(syntax: &Syntax, column: &str, ty: &Type) -> Result<(), SqlError> {
    let mut binder = Binder::new(Arc::default(), &[]);
    let value = binder.expr(syntax).map_err(|error| match error.sqlstate {
        sqlstate::UNDEFINED_COLUMN => SqlError::unsupported("a column reference in a DEFAULT expression"),
        _ => error,
    })?;
    binder.coerce(value, ty, Strength::Assignment).map(drop).map_err(|error| {
        if error.sqlstate == sqlstate::DATATYPE_MISMATCH {
            SqlError::new(
                sqlstate::DATATYPE_MISMATCH,
                format!("column \"{column}\" is of type {ty} but default expression does not fit"),
            )
        } else {
            error
        }
    })
}
