//! Between rows of values and rows of cells.
//!
//! The key's columns live in the row key; every other column that is not NULL is one cell. A row without such
//! cells has a marker cell, because a row exists only while it has one. A write that might leave a row without
//! cells puts the marker with it; a marker beside other cells does no harm.
//!
//! A key holds values as they compare: 1.0 and 1.00 are one key, which reads back as 1. What a key column was written
//! as is kept in a cell of its own beside the key, where the key does not give it back. A row without that cell (an
//! older version writes none) shows what the key says.

use std::cmp::Ordering;
use std::sync::Arc;

use bytes::Bytes;
use kvstore::request::{Cell, Mutation, Row as StoredRow, Source};
use uuid::Uuid;
use wal::Lsn;

use crate::catalog::{PSEUDO_COLUMNS, TableSchema, marker};
use crate::error::{SqlError, sqlstate};
use crate::key_encoding;
use crate::types::{Datum, Numeric, Row, Type, Value};

/// The row key of a row's values (the table's columns in order). 23502 if a key column is NULL.
pub(crate) fn row_key(table: &TableSchema, row: &[Datum]) -> Result<Bytes, SqlError> {
    let mut key = Vec::with_capacity(32);
    for position in &table.key {
        match &row[*position] {
            Some(value) => key_encoding::encode(value, &mut key)?,
            None => return Err(null_violation(table, *position, row)),
        }
    }
    Ok(key.into())
}

/// 23502, with the failing row as PostgreSQL shows it.
fn null_violation(table: &TableSchema, position: usize, row: &[Datum]) -> SqlError {
    SqlError::new(
        sqlstate::NOT_NULL,
        format!(
            "null value in column \"{}\" of relation \"{}\" violates not-null constraint",
            table.columns[position].name, table.name
        ),
    )
    .detail(format!("Failing row contains ({}).", shown(&row[..table.columns.len().min(row.len())])))
    .table(table.schema.clone(), table.name.clone())
    .column(table.columns[position].name.clone())
}

fn shown(row: &[Datum]) -> String {
    let texts = row.iter().map(|datum| match datum {
        None => "null".to_string(),
        Some(value) => {
            let text = value.to_string_text();
            match text.char_indices().nth(64) {
                Some((at, _)) => format!("{}...", &text[..at]),
                None => text,
            }
        }
    });
    texts.collect::<Vec<_>>().join(", ")
}

/// 23505 for a row whose key is taken.
pub(crate) fn unique_violation(table: &TableSchema, row: &[Datum]) -> SqlError {
    let names: Vec<&str> = table.key.iter().map(|at| table.columns[*at].name.as_str()).collect();
    let values: Vec<String> =
        table.key.iter().map(|at| row[*at].as_ref().map_or("null".into(), Value::to_string_text)).collect();
    SqlError::new(
        sqlstate::UNIQUE,
        format!("duplicate key value violates unique constraint \"{}\"", table.key_name),
    )
    .detail(format!("Key ({})=({}) already exists.", names.join(", "), values.join(", ")))
    .table(table.schema.clone(), table.name.clone())
    .constraint(table.key_name.clone())
}

/// Checks NOT NULL of the columns for which `written` holds.
pub(crate) fn check_not_null(
    table: &TableSchema,
    row: &[Datum],
    written: impl Fn(usize) -> bool,
) -> Result<(), SqlError> {
    for (position, column) in table.columns.iter().enumerate() {
        if column.not_null && row[position].is_none() && written(position) {
            return Err(null_violation(table, position, row));
        }
    }
    Ok(())
}

/// A cell's value.
fn cell_value(value: &Value) -> Bytes {
    match value {
        Value::Bool(v) => Bytes::copy_from_slice(&[u8::from(*v)]),
        Value::Int2(v) => Bytes::copy_from_slice(&v.to_be_bytes()),
        Value::Int4(v) | Value::Date(v) => Bytes::copy_from_slice(&v.to_be_bytes()),
        Value::Int8(v) | Value::Time(v) | Value::Timestamp(v) | Value::Timestamptz(v) => {
            Bytes::copy_from_slice(&v.to_be_bytes())
        }
        Value::Timetz(..) | Value::Interval(_) => {
            let mut bytes = Vec::with_capacity(16);
            value.to_binary(&mut bytes);
            bytes.into()
        }
        Value::Float4(v) => Bytes::copy_from_slice(&v.to_be_bytes()),
        Value::Float8(v) => Bytes::copy_from_slice(&v.to_be_bytes()),
        Value::Oid(v) => Bytes::copy_from_slice(&v.to_be_bytes()),
        Value::Text(v) | Value::Bpchar(v) | Value::Json(v) | Value::Jsonb(v) => {
            Bytes::copy_from_slice(v.as_bytes())
        }
        Value::Bytea(v) => v.clone(),
        Value::Uuid(v) => Bytes::copy_from_slice(v.as_bytes()),
        Value::Numeric(v) => Bytes::from(v.to_string()),
        // PostgreSQL's binary format, which says the elements' type, the dimensions and the NULLs.
        Value::Array(_) => {
            let mut out = Vec::new();
            value.to_binary(&mut out);
            Bytes::from(out)
        }
    }
}

/// Reads a cell's value.
fn read_cell(ty: &Type, bytes: &Bytes) -> Option<Value> {
    Some(match ty {
        Type::Bool => Value::Bool(*bytes.first()? != 0),
        Type::Int2 => Value::Int2(i16::from_be_bytes(bytes.as_ref().try_into().ok()?)),
        Type::Int4 => Value::Int4(i32::from_be_bytes(bytes.as_ref().try_into().ok()?)),
        Type::Date => Value::Date(i32::from_be_bytes(bytes.as_ref().try_into().ok()?)),
        Type::Int8 => Value::Int8(i64::from_be_bytes(bytes.as_ref().try_into().ok()?)),
        Type::Time(_) => Value::Time(i64::from_be_bytes(bytes.as_ref().try_into().ok()?)),
        Type::Timestamp(_) => Value::Timestamp(i64::from_be_bytes(bytes.as_ref().try_into().ok()?)),
        Type::Timestamptz(_) => Value::Timestamptz(i64::from_be_bytes(bytes.as_ref().try_into().ok()?)),
        Type::Timetz(_) | Type::Interval(_) => Value::from_binary(&ty.plain(), bytes).ok()?,
        Type::Float4 => Value::Float4(f32::from_be_bytes(bytes.as_ref().try_into().ok()?)),
        Type::Float8 => Value::Float8(f64::from_be_bytes(bytes.as_ref().try_into().ok()?)),
        Type::Bpchar(_) => Value::Bpchar(std::str::from_utf8(bytes).ok()?.to_string()),
        Type::Text | Type::Varchar(_) | Type::Name | Type::Char => {
            Value::Text(std::str::from_utf8(bytes).ok()?.to_string())
        }
        Type::Json => Value::Json(std::str::from_utf8(bytes).ok()?.to_string()),
        Type::Jsonb => Value::Jsonb(std::str::from_utf8(bytes).ok()?.to_string()),
        Type::Bytea => Value::Bytea(bytes.clone()),
        Type::Uuid => Value::Uuid(Uuid::from_slice(bytes).ok()?),
        Type::Numeric(_) => Value::Numeric(Numeric::parse(std::str::from_utf8(bytes).ok()?).ok()?),
        Type::Oid | Type::Regclass | Type::Regtype => {
            Value::Oid(u32::from_be_bytes(bytes.as_ref().try_into().ok()?))
        }
        Type::Array(_) => Value::from_binary(ty, bytes).ok()?,
        Type::Opaque(..) | Type::Unknown => return None,
    })
}

/// Whether bytes are the one form of a value of the type, as a cell holds it; the error says what is wrong.
pub(crate) fn check_cell(ty: &Type, bytes: &Bytes) -> Result<(), String> {
    let value = read_cell(ty, bytes).ok_or("the bytes are none")?;
    check_value(ty, &value)?;
    match cell_value(&value) == *bytes {
        true => Ok(()),
        false => Err("SQL writes it in other bytes".to_owned()),
    }
}

/// Whether the value is one that SQL could have made of the type: in range, as long as is allowed, in canonical form.
pub(crate) fn check_value(ty: &Type, value: &Value) -> Result<(), String> {
    // All of these bytes are values.
    if matches!(
        ty,
        Type::Bool
            | Type::Int2
            | Type::Int4
            | Type::Int8
            | Type::Float4
            | Type::Float8
            | Type::Bytea
            | Type::Uuid
    ) {
        return Ok(());
    }
    let text = value.to_string_text();
    match Value::from_text(ty, &text) {
        // Equal values need not look the same: 1 is no numeric(4,1), which is written 1.0.
        Ok(same) if same == *value && same.to_string_text() == text => Ok(()),
        Ok(_) => Err("SQL writes it otherwise".to_owned()),
        Err(error) => Err(error.message.to_string()),
    }
}

/// The change that sets a column.
fn set_column(table: &TableSchema, position: usize, value: &Datum) -> Mutation {
    let column = table.columns[position].cell.clone();
    match value {
        Some(value) => Mutation::Put { column, value: cell_value(value) },
        None => Mutation::Delete { column },
    }
}

/// The changes that set columns outside of the key, the marker cell among them if the row might be left without
/// cells. `alive` says that another cell is known to stay.
pub(crate) fn set_columns<'a>(
    table: &TableSchema,
    values: impl Iterator<Item = (usize, &'a Datum)>,
    mut alive: bool,
) -> Vec<Mutation> {
    let mut mutations = Vec::with_capacity(table.columns.len());
    for (position, value) in values {
        alive |= value.is_some();
        mutations.push(set_column(table, position, value));
    }
    if !alive {
        mutations.push(Mutation::Put { column: marker(), value: Bytes::new() });
    }
    mutations
}

/// The changes that write a whole row that does not exist: one put for each value, the marker if there is none.
pub(crate) fn insert_mutations(table: &TableSchema, row: &[Datum]) -> Vec<Mutation> {
    let cells = row.iter().enumerate().take(table.columns.len());
    let cells = cells.filter(|(position, value)| match table.is_key(*position) {
        true => differs_from_key(&table.columns[*position].ty, value),
        false => value.is_some(),
    });
    set_columns(table, cells, false)
}

/// The changes that write some columns of a row whether or not it exists: each column is put or deleted.
pub(crate) fn upsert_mutations(table: &TableSchema, row: &[Datum], written: &[bool]) -> Vec<Mutation> {
    let written = (0..table.columns.len()).filter(|at| written[*at]);
    let cells = written.filter_map(|at| match table.is_key(at) {
        false => Some((at, &row[at])),
        true => {
            let ty = &table.columns[at].ty;
            let kept = if differs_from_key(ty, &row[at]) { &row[at] } else { &None };
            has_spellings(ty).then_some((at, kept))
        }
    });
    set_columns(table, cells, false)
}

/// May equal values of the type look different?
pub(crate) fn has_spellings(ty: &Type) -> bool {
    matches!(ty, Type::Numeric(None) | Type::Float4 | Type::Float8 | Type::Bpchar(None) | Type::Interval(_))
}

/// Does a key column's value look different from what its key gives back?
fn differs_from_key(ty: &Type, value: &Datum) -> bool {
    match (ty, value) {
        (Type::Float4 | Type::Float8, Some(Value::Float4(0.0) | Value::Float8(0.0)))
        | (Type::Numeric(None) | Type::Bpchar(None) | Type::Interval(_), Some(_)) => {
            let (mut key, shown) = (Vec::new(), value.as_ref().map(Value::to_string_text));
            let encoded = value.as_ref().map(|value| key_encoding::encode(value, &mut key));
            let back = key_encoding::decode(ty, &mut key.as_slice());
            matches!(encoded, Some(Ok(()))) && back.map(|back| back.to_string_text()) != shown
        }
        _ => false,
    }
}

/// A stored row as values: the table's columns, then the system columns. Bytes that are no value of the column's
/// type fail the statement (XX001) and are never a wrong value: someone wrote them past SQL.
pub(crate) fn read_row(table: &TableSchema, stored: &StoredRow, source: &Source) -> Result<Row, SqlError> {
    let mut row: Row = Vec::with_capacity(table.columns.len() + PSEUDO_COLUMNS.len());
    row.resize(table.columns.len(), None);
    let mut key: &[u8] = &stored.key;
    let broken = |what: &str| broken(table, what, &stored.key);
    for position in &table.key {
        let value = key_encoding::decode(&table.columns[*position].ty, &mut key);
        row[*position] = Some(value.ok_or_else(|| broken("key"))?);
    }
    if !key.is_empty() {
        return Err(broken("key"));
    }
    for cell in &stored.cells {
        let Some(position) = table.columns.iter().position(|column| column.cell == cell.column) else {
            continue;
        };
        let column = &table.columns[position];
        let value = read_cell(&column.ty, &cell.value)
            .filter(|value| !table.is_key(position) || is_equal(&row[position], value))
            .ok_or_else(|| broken(&format!("column \"{}\"", column.name)))?;
        row[position] = Some(value);
    }
    let version = stored.version;
    row.push((version != Lsn::ZERO).then(|| Value::Int8(i64::try_from(version.seq).unwrap_or(i64::MAX))));
    row.push(Some(Value::Text(source.lsn.to_string())));
    row.push(Some(Value::Int4(i32::try_from(source.replica.0).unwrap_or(i32::MAX))));
    row.push(source.staleness.map(|age| Value::Int8(i64::try_from(age.as_millis()).unwrap_or(i64::MAX))));
    Ok(row)
}

/// Is a value equal to one that may be there, by SQL's order?
fn is_equal(own: &Datum, value: &Value) -> bool {
    own.as_ref().is_some_and(|own| own.compare(value).is_ok_and(Ordering::is_eq))
}

/// XX001 for a row of which a part cannot be read.
fn broken(table: &TableSchema, what: &str, key: &[u8]) -> SqlError {
    let key = hex(key);
    SqlError::new(
        sqlstate::DATA_CORRUPTED,
        format!("the {what} of a row of table \"{}\" cannot be read: its bytes are no value of its type", table.name),
    )
    .detail(format!("The row's key is {key} in the store. The row was written past SQL, by a key-value client."))
    .hint("Put the row right, or delete it, with a key-value client. Statements that do not meet the row are not affected.")
}

/// Bytes as SQL writes them, the beginning of many.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::from("\\x");
    for byte in bytes.iter().take(64) {
        text += &format!("{byte:02x}");
    }
    if bytes.len() > 64 {
        text += "..";
    }
    text
}

/// A stored row after some changes that the store has not seen yet (a block's own write). It keeps its version; one that
/// is new has none.
pub(crate) fn overlay(stored: &StoredRow, mutations: &[Mutation]) -> StoredRow {
    let mut row = stored.clone();
    if row.cells.is_empty() {
        row.version = Lsn::ZERO;
    }
    for mutation in mutations {
        match mutation {
            Mutation::DeleteRow => row.cells.clear(),
            Mutation::Delete { column } => row.cells.retain(|cell| cell.column != *column),
            Mutation::Put { column, value } => {
                row.cells.retain(|cell| cell.column != *column);
                row.cells.push(Cell { column: column.clone(), value: value.clone(), version: Lsn::ZERO });
            }
        }
    }
    row.cells.sort_by(|a, b| a.column.cmp(&b.column));
    row
}

/// The names and types of a table's columns, the system columns behind its own.
pub(crate) fn table_columns(table: &Arc<TableSchema>) -> Vec<(String, Type)> {
    let own = table.columns.iter().map(|column| (column.name.clone(), column.ty.clone()));
    own.chain(PSEUDO_COLUMNS.iter().map(|(name, ty)| (name.to_string(), ty.clone()))).collect()
}
