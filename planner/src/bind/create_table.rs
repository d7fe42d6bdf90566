//! CREATE TABLE: from its definition to the schema that the catalog keeps.

use std::sync::Arc;

use kvstore::request::TableId;

use super::binder::Binder;
use crate::catalog::{ColumnSchema, PSEUDO_COLUMNS, TableSchema, cell_name};
use crate::error::{SqlError, sqlstate};
use crate::expression::{Expr, Strength};
use crate::key_encoding;
use crate::plan::CreateTablePlan;
use crate::statement::{ColumnDefinition, CreateTable, Name, Syntax};
use crate::types::Type;

/// Columns of a table at most.
const COLUMNS_MAX: usize = 1_000;
/// Bytes of a name at most.
const NAME_BYTES_MAX: usize = 63;

/// Binds CREATE TABLE. Its expressions see no table and no parameter.
pub(super) fn bind(create: CreateTable, outer: &Binder) -> Result<CreateTablePlan, SqlError> {
    let binder = &mut Binder::new(Arc::default(), outer.path().clone(), &[], outer.interrupt().clone());
    let name = table_name(&create.name)?.to_string();
    if create.columns.len() > COLUMNS_MAX {
        return Err(SqlError::new("54011", format!("tables can have at most {COLUMNS_MAX} columns")));
    }
    let mut columns: Vec<ColumnSchema> = Vec::with_capacity(create.columns.len());
    for definition in &create.columns {
        let column = column(binder, &columns, definition)?;
        columns.push(column);
    }
    let key = key(&mut columns, &create.primary_key)?;
    let (schema, key_name) = (String::new(), String::new());
    let table = TableSchema { id: TableId::default(), schema, name, columns, key, key_name };
    let splits = split_values(binder, &table, &create.splits)?;
    if !binder.parameter_types().is_empty() {
        return Err(SqlError::new(sqlstate::UNDEFINED_PARAMETER, "CREATE TABLE takes no parameters"));
    }
    let CreateTable { name, key_name, if_not_exists, .. } = create;
    Ok(CreateTablePlan { name, table, key_name, splits, if_not_exists })
}

fn table_name(name: &Name) -> Result<&str, SqlError> {
    let own = name.last();
    if own.len() > NAME_BYTES_MAX || own.is_empty() {
        return Err(SqlError::new("42622", format!("a table name has 1 to {NAME_BYTES_MAX} bytes")));
    }
    Ok(own)
}

/// A column behind those in `before`.
fn column(
    binder: &mut Binder,
    before: &[ColumnSchema],
    definition: &ColumnDefinition,
) -> Result<ColumnSchema, SqlError> {
    let ColumnDefinition { name, ty, not_null, default } = definition;
    if before.iter().any(|own| own.name == *name) {
        return Err(SqlError::new(
            sqlstate::DUPLICATE_COLUMN,
            format!("column \"{name}\" specified more than once"),
        ));
    }
    if PSEUDO_COLUMNS.iter().any(|(own, _)| own == name) {
        return Err(SqlError::new(
            sqlstate::DUPLICATE_COLUMN,
            format!("column name \"{name}\" conflicts with a system column name"),
        ));
    }
    if !is_column_type(ty) {
        return Err(SqlError::unsupported(format!("a column of type {ty}")).hint("Use text, or oid."));
    }
    if let Some((_, syntax)) = default {
        check_default(binder, syntax, name, ty)?;
    }
    let id = before.len() as u16 + 1;
    Ok(ColumnSchema {
        id,
        name: name.clone(),
        ty: ty.clone(),
        not_null: *not_null,
        default: default.as_ref().map(|(text, _)| text.clone()),
        cell: cell_name(id),
    })
}

/// Can values of the type be stored? Names that stand for numbers of the catalog cannot.
fn is_column_type(ty: &Type) -> bool {
    match ty {
        Type::Array(element) => is_column_type(element),
        ty => !matches!(ty, Type::Regclass | Type::Regtype | Type::Opaque(..) | Type::Unknown),
    }
}

/// The positions of the primary key's columns, which become NOT NULL.
fn key(columns: &mut [ColumnSchema], names: &[String]) -> Result<Vec<usize>, SqlError> {
    if names.is_empty() {
        return Err(SqlError::unsupported("a table without a primary key")
            .hint("Mark the columns that name a row: k text PRIMARY KEY, or PRIMARY KEY (a, b)."));
    }
    let mut key = Vec::with_capacity(names.len());
    for name in names {
        let at = columns.iter().position(|column| column.name == *name).ok_or_else(|| {
            SqlError::new(
                sqlstate::UNDEFINED_COLUMN,
                format!("column \"{name}\" named in key does not exist"),
            )
        })?;
        if key.contains(&at) {
            return Err(SqlError::new(
                sqlstate::DUPLICATE_COLUMN,
                format!("column \"{name}\" appears twice in primary key constraint"),
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
    Ok(key)
}

/// The values of SPLIT AT, as the types of the key's columns.
fn split_values(
    binder: &mut Binder,
    table: &TableSchema,
    splits: &[Vec<Syntax>],
) -> Result<Vec<Vec<Expr>>, SqlError> {
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
            let column = &table.columns[*at];
            let value = binder.expr(syntax)?;
            row.push(binder.assign(value, &column.name, &column.ty)?);
        }
        bound.push(row);
    }
    Ok(bound)
}

/// Checks that a default fits its column.
fn check_default(binder: &mut Binder, syntax: &Syntax, column: &str, ty: &Type) -> Result<(), SqlError> {
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
