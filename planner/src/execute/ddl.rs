//! Statements that change the catalog: CREATE and DROP.
//!
//! Each is one change of the catalog: it is worked out over the newest state, and done at once or not at all, if nobody
//! has changed the catalog meanwhile; else it is worked out again.

use std::collections::BTreeSet;
use std::time::Instant;

use bytes::Bytes;
use kvstore::request::{CatalogStep, Table};

use super::run::Run;
use crate::catalog::{ObjectJson, PSEUDO_COLUMNS, Snapshot, TableSchema, stored_name};
use crate::error::{SqlError, sqlstate};
use crate::execution::Execution;
use crate::expression::{Expr, Scope};
use crate::key_encoding;
use crate::pg_catalog;
use crate::plan::CreateTablePlan;
use crate::search_path::{PUBLIC, SearchPath, quote_ident};
use crate::session::Notice;
use crate::statement::{AlterTable, CreateSchema, Drop, DropKind, Name, TableChange};

/// Bytes of a name at most.
const NAME_BYTES_MAX: usize = 63;
/// Objects that a notice or an error lists at most, as in PostgreSQL.
const LISTED_MAX: usize = 100;

/// A change of the catalog, worked out over one state of it.
#[derive(Default)]
struct Change {
    steps: Vec<CatalogStep>,
    /// What the client is told if it is done.
    notices: Vec<Notice>,
}

impl Change {
    /// Something does not exist, and the statement allows that.
    fn missing(&mut self, message: String) {
        self.notices.push(Notice::plain(message));
    }
}

fn outside_block(run: &Run<'_>, command: &str) -> Result<(), SqlError> {
    run.session.check_write(command)?;
    if run.session.in_block() {
        return Err(SqlError::unsupported(format!("{command} in a transaction block"))
            .hint("Run it outside of a block (autocommit on): it cannot be rolled back."));
    }
    Ok(())
}

/// Changes the catalog, as `work_out` says over its newest state. Gives what was made.
async fn change_catalog(
    run: &Run<'_>,
    command: &str,
    work_out: impl Fn(&Snapshot, &SearchPath) -> Result<Change, SqlError>,
) -> Result<Vec<Table>, SqlError> {
    outside_block(run, command)?;
    let deadline = run.session.deadline();
    loop {
        let snapshot = run.context.catalog.load(true).await?;
        let Change { steps, notices } = work_out(&snapshot, &run.session.search_path())?;
        let changed = match steps.is_empty() {
            true => Some(Vec::new()),
            false => run.context.kv.change_catalog(steps, snapshot.change, deadline).await?,
        };
        if let Some(made) = changed {
            run.session.tell(notices);
            return Ok(made);
        }
        if Instant::now() >= deadline {
            return Err(SqlError::new(sqlstate::CANCELED, "canceling statement due to statement timeout")
                .detail("Others changed tables or schemas again and again; nothing was done."));
        }
    }
}

fn done(tag: &str) -> Execution {
    Execution::Done { tag: tag.into() }
}

fn no_schema(name: &str) -> SqlError {
    SqlError::new(sqlstate::INVALID_SCHEMA, format!("schema \"{name}\" does not exist"))
}

/// The schema in which a name is to be made, and the name there. 3F000, 42501 for one of the system.
fn place<'a>(
    name: &'a Name,
    snapshot: &Snapshot,
    path: &'a SearchPath,
) -> Result<(&'a str, &'a str), SqlError> {
    let placed = || {
        let (schema, own) = path.split(&name.parts)?;
        let schema = match schema {
            Some(schema) if snapshot.schemas.contains_key(schema) => schema,
            Some(schema) => return Err(no_schema(schema)),
            None => snapshot.existing(path).first().copied().ok_or_else(|| {
                SqlError::new(sqlstate::INVALID_SCHEMA, "no schema has been selected to create in")
            })?,
        };
        Ok((schema, own))
    };
    let (schema, own) = placed().map_err(|error: SqlError| error.at_if_known(name.position))?;
    if schema != PUBLIC && snapshot.schemas.get(schema).is_some_and(|schema| schema.id.is_none()) {
        return Err(SqlError::new(
            sqlstate::INSUFFICIENT_PRIVILEGE,
            format!("permission denied to create \"{schema}.{own}\""),
        )
        .detail("System catalog modifications are currently disallowed."));
    }
    Ok((schema, own))
}

/// Whether a schema has a relation of this name: a table, or the index of a key.
fn is_taken(snapshot: &Snapshot, schema: &str, name: &str) -> bool {
    snapshot.table(schema, name).is_some() || snapshot.tables_in(schema).any(|table| table.key_name == name)
}

fn exists(name: &str) -> SqlError {
    SqlError::new(sqlstate::DUPLICATE_TABLE, format!("relation \"{name}\" already exists"))
}

/// The keys at which a new table is split.
fn split_keys(run: &Run<'_>, splits: &[Vec<Expr>]) -> Result<Vec<Bytes>, SqlError> {
    let mut keys = BTreeSet::new();
    for split in splits {
        let mut key = Vec::new();
        for expr in split {
            let value = expr
                .eval(&Scope::EMPTY, &run.env)?
                .ok_or_else(|| SqlError::new(sqlstate::NOT_NULL, "SPLIT AT VALUES cannot hold NULL"))?;
            key_encoding::encode(&value, &mut key)?;
        }
        if !keys.insert(Bytes::from(key)) {
            return Err(SqlError::new(
                sqlstate::INVALID_PARAMETER,
                "SPLIT AT VALUES holds the same value twice",
            ));
        }
    }
    Ok(keys.into_iter().collect())
}

/// CREATE TABLE.
pub(super) async fn create_table(run: &Run<'_>, plan: &CreateTablePlan) -> Result<Execution, SqlError> {
    let splits = split_keys(run, &plan.splits)?;
    let work_out = |snapshot: &Snapshot, path: &SearchPath| {
        let mut change = Change::default();
        let (schema, name) = place(&plan.name, snapshot, path)?;
        if is_taken(snapshot, schema, name) {
            if !plan.if_not_exists {
                return Err(exists(name));
            }
            let message = format!("relation \"{name}\" already exists, skipping");
            change.notices.push(Notice::skipped(sqlstate::DUPLICATE_TABLE, message));
            return Ok(change);
        }
        let key_name = match &plan.key_name {
            Some(own) if own == name || is_taken(snapshot, schema, own) => return Err(exists(own)),
            Some(own) => own.clone(),
            None => free_name(snapshot, schema, &format!("{name}_pkey")),
        };
        let table = TableSchema { schema: schema.into(), key_name, ..plan.table.clone() };
        change.steps.push(CatalogStep::CreateTable {
            name: table.stored_name(),
            schema: table.to_bytes()?,
            splits: splits.clone(),
        });
        Ok(change)
    };
    change_catalog(run, "CREATE TABLE", work_out).await?;
    Ok(done("CREATE TABLE"))
}

/// The name, or the same with the first number that makes it free.
fn free_name(snapshot: &Snapshot, schema: &str, name: &str) -> String {
    let mut numbered = (1..).map(|number| format!("{name}{number}"));
    match is_taken(snapshot, schema, name) {
        true => numbered.find(|name| !is_taken(snapshot, schema, name)).unwrap_or_default(),
        false => name.to_string(),
    }
}

/// ALTER TABLE. Rows stay as they are: cells go by the numbers of columns, which do not change.
pub(super) async fn alter_table(run: &Run<'_>, alter: &AlterTable) -> Result<Execution, SqlError> {
    if let TableChange::Owner(Some(user)) = &alter.change
        && user != run.session.user()
    {
        let message = format!("role \"{user}\" does not exist");
        return Err(SqlError::new(sqlstate::UNDEFINED_OBJECT, message));
    }
    let work_out = |snapshot: &Snapshot, path: &SearchPath| {
        let mut change = Change::default();
        let (schema, own) = path.split(&alter.table.parts)?;
        let schemas = path.candidates(schema);
        let Some(table) = schemas.iter().find_map(|schema| snapshot.table(schema, own)) else {
            if let Some(system) = schemas.iter().find_map(|schema| pg_catalog::find(schema, own)) {
                let message = format!("permission denied: \"{}\" is a system catalog", system.name());
                return Err(SqlError::new(sqlstate::INSUFFICIENT_PRIVILEGE, message));
            }
            let missing = format!("relation \"{}\" does not exist", alter.table.dotted());
            if !alter.if_exists {
                return Err(SqlError::new(sqlstate::UNDEFINED_TABLE, missing));
            }
            change.missing(format!("{missing}, skipping"));
            return Ok(change);
        };
        if let Some(changed) = changed(table, &alter.change, snapshot)? {
            change.steps.push(CatalogStep::Change {
                of: table.id,
                name: changed.stored_name(),
                content: changed.to_bytes()?,
            });
        }
        Ok(change)
    };
    change_catalog(run, "ALTER TABLE", work_out).await?;
    Ok(done("ALTER TABLE"))
}

/// The table after a change; `None` if nothing of it changes.
fn changed(
    table: &TableSchema,
    change: &TableChange,
    snapshot: &Snapshot,
) -> Result<Option<TableSchema>, SqlError> {
    let mut changed = table.clone();
    match change {
        TableChange::Rename(name) => {
            if is_taken(snapshot, &table.schema, name) {
                return Err(exists(name));
            }
            check_name(name)?;
            changed.name.clone_from(name);
        }
        TableChange::RenameColumn { from, to } => {
            let at = table.position(from).ok_or_else(|| {
                SqlError::new(sqlstate::UNDEFINED_COLUMN, format!("column \"{from}\" does not exist"))
            })?;
            if table.position(to).is_some() {
                let message = format!("column \"{to}\" of relation \"{}\" already exists", table.name);
                return Err(SqlError::new(sqlstate::DUPLICATE_COLUMN, message));
            }
            if PSEUDO_COLUMNS.iter().any(|(own, _)| own == to) {
                let message = format!("column name \"{to}\" conflicts with a system column name");
                return Err(SqlError::new(sqlstate::DUPLICATE_COLUMN, message));
            }
            check_name(to)?;
            changed.columns[at].name.clone_from(to);
        }
        TableChange::DropDefault(column) => {
            let at = table.column(&Name { parts: vec![column.clone()], position: None })?;
            changed.columns[at].default = None;
        }
        TableChange::Owner(_) => {}
    }
    Ok((changed != *table).then_some(changed))
}

/// 42622 for a name that is too long.
fn check_name(name: &str) -> Result<(), SqlError> {
    if name.len() > NAME_BYTES_MAX || name.is_empty() {
        return Err(SqlError::new("42622", format!("a name has 1 to {NAME_BYTES_MAX} bytes")));
    }
    Ok(())
}

/// CREATE SCHEMA.
pub(super) async fn create_schema(run: &Run<'_>, create: &CreateSchema) -> Result<Execution, SqlError> {
    let name = &create.name;
    if name.starts_with("pg_") {
        return Err(SqlError::new(sqlstate::RESERVED_NAME, format!("unacceptable schema name \"{name}\""))
            .detail("The prefix \"pg_\" is reserved for system schemas."));
    }
    let work_out = |snapshot: &Snapshot, _: &SearchPath| {
        let mut change = Change::default();
        if snapshot.schemas.contains_key(name) {
            if !create.if_not_exists {
                let message = format!("schema \"{name}\" already exists");
                return Err(SqlError::new(sqlstate::DUPLICATE_SCHEMA, message));
            }
            let message = format!("schema \"{name}\" already exists, skipping");
            change.notices.push(Notice::skipped(sqlstate::DUPLICATE_SCHEMA, message));
            return Ok(change);
        }
        let content = ObjectJson::Schema { name: name.clone() }.to_bytes()?;
        // No relation has an empty name.
        change.steps.push(CatalogStep::CreateObject { name: stored_name(name, ""), content });
        Ok(change)
    };
    change_catalog(run, "CREATE SCHEMA", work_out).await?;
    Ok(done("CREATE SCHEMA"))
}

/// DROP.
pub(super) async fn drop(run: &Run<'_>, drop: &Drop) -> Result<Execution, SqlError> {
    let command = match drop.kind {
        DropKind::Table => "DROP TABLE",
        DropKind::Schema => "DROP SCHEMA",
    };
    let work_out = |snapshot: &Snapshot, path: &SearchPath| match drop.kind {
        DropKind::Table => drop_tables(drop, snapshot, path),
        DropKind::Schema => drop_schemas(drop, snapshot),
    };
    change_catalog(run, command, work_out).await?;
    Ok(done(command))
}

fn drop_tables(drop: &Drop, snapshot: &Snapshot, path: &SearchPath) -> Result<Change, SqlError> {
    let mut change = Change::default();
    for name in &drop.names {
        let (schema, own) = path.split(&name.parts)?;
        if let Some(schema) = schema.filter(|schema| !snapshot.schemas.contains_key(*schema)) {
            if !drop.if_exists {
                return Err(no_schema(schema));
            }
            change.missing(format!("schema \"{schema}\" does not exist, skipping"));
            continue;
        }
        let schemas = path.candidates(schema);
        if let Some(system) = schemas.iter().find_map(|schema| pg_catalog::find(schema, own))
            && !schemas.iter().any(|schema| snapshot.table(schema, own).is_some())
        {
            let message = format!("permission denied: \"{}\" is a system catalog", system.name());
            return Err(SqlError::new(sqlstate::INSUFFICIENT_PRIVILEGE, message));
        }
        match schemas.iter().find_map(|schema| snapshot.table(schema, own)) {
            Some(table) => {
                let step = CatalogStep::Drop(table.id);
                // A table that is named twice is dropped once.
                if !change.steps.contains(&step) {
                    change.steps.push(step);
                }
            }
            None if drop.if_exists => {
                change.missing(format!("table \"{own}\" does not exist, skipping"));
            }
            None => {
                let message = format!("table \"{own}\" does not exist");
                return Err(SqlError::new(sqlstate::UNDEFINED_TABLE, message));
            }
        }
    }
    Ok(change)
}

fn drop_schemas(drop: &Drop, snapshot: &Snapshot) -> Result<Change, SqlError> {
    let mut change = Change::default();
    let (mut schemas, mut inside) = (Vec::new(), Vec::new());
    for name in &drop.names {
        let own = name.last();
        match snapshot.schemas.get(own) {
            None if drop.if_exists => change.missing(format!("schema \"{own}\" does not exist, skipping")),
            None => return Err(no_schema(own)),
            Some(_) if own == PUBLIC => {
                return Err(SqlError::unsupported("dropping the schema public")
                    .hint("Drop the tables in it instead: it is part of the database."));
            }
            Some(schema) => {
                let Some(id) = schema.id else {
                    return Err(SqlError::new(
                        sqlstate::DEPENDENT_OBJECTS,
                        format!("cannot drop schema {own} because it is required by the database system"),
                    ));
                };
                schemas.push(own);
                change.steps.push(CatalogStep::Drop(id));
                inside.extend(snapshot.tables_in(own));
            }
        }
    }
    let shown =
        |table: &TableSchema| format!("table {}.{}", quote_ident(&table.schema), quote_ident(&table.name));
    if !drop.cascade && !inside.is_empty() {
        let what = match schemas[..] {
            [schema] => {
                format!("cannot drop schema {} because other objects depend on it", quote_ident(schema))
            }
            _ => "cannot drop desired object(s) because other objects depend on them".into(),
        };
        let depends = inside
            .iter()
            .map(|table| format!("{} depends on schema {}", shown(table), quote_ident(&table.schema)));
        return Err(SqlError::new(sqlstate::DEPENDENT_OBJECTS, what)
            .detail(listed(depends.collect()))
            .hint("Use DROP ... CASCADE to drop the dependent objects too."));
    }
    let gone: Vec<String> = inside.iter().map(|table| format!("drop cascades to {}", shown(table))).collect();
    match gone.len() {
        0 => {}
        1 => change.notices.extend(gone.into_iter().map(Notice::plain)),
        count => {
            let notice = Notice::plain(format!("drop cascades to {count} other objects"));
            change.notices.push(Notice { detail: Some(listed(gone)), ..notice });
        }
    }
    change.steps.extend(inside.iter().map(|table| CatalogStep::Drop(table.id)));
    Ok(change)
}

/// The lines of a detail: not more than PostgreSQL shows.
fn listed(mut lines: Vec<String>) -> String {
    let more = lines.len().saturating_sub(LISTED_MAX);
    lines.truncate(LISTED_MAX);
    if more > 0 {
        lines.push(format!("and {more} other objects (see server log for list)"));
    }
    lines.join("\n")
}
