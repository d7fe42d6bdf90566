//! CREATE TABLE and DROP TABLE.

use std::collections::BTreeSet;

use bytes::Bytes;
use kvstore::request::TableId;

use super::run::Run;
use crate::bind::public_name;
use crate::catalog::{ColumnSchema, PSEUDO_COLUMNS, TableSchema, cell_name};
use crate::error::{SqlError, sqlstate};
use crate::execution::Execution;
use crate::expression::Scope;
use crate::key_encoding;
use crate::plan;
use crate::statement::{CreateTable, Name};

/// Columns of a table at most.
const COLUMNS_MAX: usize = 1_000;
/// Bytes of a name at most.
const NAME_BYTES_MAX: usize = 63;

fn outside_block(run: &Run<'_>, command: &str) -> Result<(), SqlError> {
    run.session.check_write(command)?;
    if run.session.in_block() {
        return Err(SqlError::unsupported(format!("{command} in a transaction block"))
            .hint("Run it outside of a block (autocommit on): it cannot be rolled back."));
    }
    Ok(())
}

fn table_name(name: &Name) -> Result<&str, SqlError> {
    let own = public_name(name).ok_or_else(|| {
        SqlError::new(
            sqlstate::INVALID_SCHEMA,
            format!("schema \"{}\" does not exist", name.qualifier().unwrap_or("")),
        )
        .hint("There is one schema, public.")
    })?;
    if own.len() > NAME_BYTES_MAX || own.is_empty() {
        return Err(SqlError::new("42622", format!("a table name has 1 to {NAME_BYTES_MAX} bytes")));
    }
    Ok(own)
}

/// The schema that a CREATE TABLE describes.
fn schema(create: &CreateTable) -> Result<TableSchema, SqlError> {
    let name = table_name(&create.name)?.to_string();
    if create.columns.len() > COLUMNS_MAX {
        return Err(SqlError::new("54011", format!("tables can have at most {COLUMNS_MAX} columns")));
    }
    let mut columns: Vec<ColumnSchema> = Vec::with_capacity(create.columns.len());
    for column in &create.columns {
        if columns.iter().any(|own| own.name == column.name) {
            return Err(SqlError::new(
                sqlstate::DUPLICATE_COLUMN,
                format!("column \"{}\" specified more than once", column.name),
            ));
        }
        if PSEUDO_COLUMNS.iter().any(|(own, _)| *own == column.name) {
            return Err(SqlError::new(
                sqlstate::DUPLICATE_COLUMN,
                format!("column name \"{}\" conflicts with a system column name", column.name),
            ));
        }
        if matches!(column.ty, crate::types::Type::Array(_)) || column.ty.is_oid() {
            return Err(SqlError::unsupported(format!("a column of type {}", column.ty)).hint("Use jsonb."));
        }
        let default = match &column.default {
            None => None,
            Some((text, syntax)) => {
                plan::check_default(syntax, &column.name, &column.ty)?;
                Some(text.clone())
            }
        };
        let id = columns.len() as u16 + 1;
        columns.push(ColumnSchema {
            id,
            name: column.name.clone(),
            ty: column.ty.clone(),
            not_null: column.not_null,
            default,
            cell: cell_name(id),
        });
    }
    if create.primary_key.is_empty() {
        return Err(SqlError::unsupported("a table without a primary key")
            .hint("Mark the columns that name a row: k text PRIMARY KEY, or PRIMARY KEY (a, b)."));
    }
    let mut key = Vec::with_capacity(create.primary_key.len());
    for own in &create.primary_key {
        let at = columns.iter().position(|column| column.name == *own).ok_or_else(|| {
            SqlError::new(sqlstate::UNDEFINED_COLUMN, format!("column \"{own}\" named in key does not exist"))
        })?;
        if key.contains(&at) {
            return Err(SqlError::new(
                sqlstate::DUPLICATE_COLUMN,
                format!("column \"{own}\" appears twice in primary key constraint"),
            ));
        }
        let column = &mut columns[at];
        if !key_encoding::is_key_type(&column.ty) {
            return Err(SqlError::unsupported(format!("a primary key column of type {}", column.ty))
                .hint("jsonb has no order; take a text or uuid column as the key."));
        }
        column.not_null = true;
        key.push(at);
    }
    let key_name = create.key_name.clone().unwrap_or_else(|| format!("{name}_pkey"));
    Ok(TableSchema { id: TableId::default(), name, columns, key, key_name })
}

/// CREATE TABLE.
pub(super) async fn create_table(run: &Run<'_>, create: &CreateTable) -> Result<Execution, SqlError> {
    outside_block(run, "CREATE TABLE")?;
    let schema = schema(create)?;
    let mut splits = BTreeSet::new();
    for split in plan::split_values(&schema, &create.splits)? {
        let mut key = Vec::new();
        for expr in split {
            let value = expr
                .eval(&Scope::EMPTY, &run.env)?
                .ok_or_else(|| SqlError::new(sqlstate::NOT_NULL, "SPLIT AT VALUES cannot hold NULL"))?;
            key_encoding::encode(&value, &mut key)?;
        }
        if !splits.insert(Bytes::from(key)) {
            return Err(SqlError::new(
                sqlstate::INVALID_PARAMETER,
                "SPLIT AT VALUES holds the same value twice",
            ));
        }
    }
    let exists = run.context.catalog.load(true).await?.table(&schema.name).is_some();
    let splits = splits.into_iter().collect();
    let created = if exists {
        Err(kvstore::error::KvError::TableExists(schema.name.clone()))
    } else {
        run.context.kv.create_table(&schema.name, schema.to_bytes()?, splits, run.session.deadline()).await
    };
    match created {
        Ok(_) => {}
        Err(kvstore::error::KvError::TableExists(name)) if create.if_not_exists => {
            run.session.notice(format!("relation \"{name}\" already exists, skipping"));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(Execution::Done { tag: "CREATE TABLE".into() })
}

/// DROP TABLE.
pub(super) async fn drop_table(
    run: &Run<'_>,
    names: &[Name],
    if_exists: bool,
) -> Result<Execution, SqlError> {
    outside_block(run, "DROP TABLE")?;
    let snapshot = run.context.catalog.load(true).await?;
    for name in names {
        let own = name.dotted();
        let dropped = match public_name(name).filter(|own| snapshot.table(own).is_some()) {
            Some(own) => run.context.kv.drop_table(own, run.session.deadline()).await.map_err(SqlError::from),
            None => Err(SqlError::new(sqlstate::UNDEFINED_TABLE, format!("table \"{own}\" does not exist"))),
        };
        match dropped {
            Ok(()) => {}
            Err(error) if if_exists && error.sqlstate == sqlstate::UNDEFINED_TABLE => {
                run.session.notice(format!("table \"{own}\" does not exist, skipping"));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Execution::Done { tag: "DROP TABLE".into() })
}
