//! Rows that come past SQL: a write of a gRPC client to a table of SQL is checked as strictly as a statement's would be,
//! so that every row can be read by every statement.
//!
//! The key must be the encoding of values of the key's columns, each cell that of a value of its column. NOT NULL holds.
//! A row exists in SQL though all its columns are NULL, in the store only while it has a cell: so a deletion of columns
//! must name a row that exists, and leaves the marker cell. Whole rows may always be deleted, also such that are no rows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use kvstore::request::{Condition, Mutation, RowCheck, Table, TableId, Write};
use wal::sync::lock;

use crate::catalog::{ColumnSchema, TableSchema, marker};
use crate::key_encoding;
use crate::row_encoding::{self, hex};

/// Schemas kept; above that all are read anew.
const SCHEMAS_MAX: usize = 4096;

/// The check, for [`kvstore::request::Kv::check_rows_with`].
pub(crate) fn row_check() -> RowCheck {
    let known: Mutex<HashMap<TableId, (Bytes, Arc<TableSchema>)>> = Mutex::default();
    Arc::new(move |table, write| {
        let mut known = lock(&known);
        let schema = match known.get(&table.id) {
            Some((bytes, schema)) if *bytes == table.schema => schema.clone(),
            _ => {
                let schema = Arc::new(TableSchema::from_table(table).ok_or_else(|| unknown(table))?);
                if known.len() >= SCHEMAS_MAX {
                    known.clear();
                }
                known.insert(table.id, (table.schema.clone(), schema.clone()));
                schema
            }
        };
        drop(known);
        check(&schema, write)
    })
}

fn unknown(table: &Table) -> String {
    format!(
        "the schema of table \"{}\" is newer than this server: write to it through a newer node",
        table.name
    )
}

/// Checks a write, and adds the marker cell where it is due.
fn check(table: &TableSchema, write: &mut Write) -> Result<(), String> {
    if write.mutations == [Mutation::DeleteRow] {
        return Ok(());
    }
    check_key(table, &write.key)?;
    let exists = write.conditions.contains(&Condition::RowPresent);
    let mut puts: Vec<&Bytes> = Vec::new();
    let mut deletes = false;
    for mutation in &write.mutations {
        match mutation {
            Mutation::Put { column, value } if *column == marker() => {
                if !value.is_empty() {
                    return Err(
                        "the cell named 0x00 marks a row of SQL as existing: its value is empty".into()
                    );
                }
            }
            Mutation::Put { column, value } => {
                check_cell(table, column_of(table, column)?, value)?;
                puts.push(column);
            }
            Mutation::Delete { column } => {
                let column = column_of(table, column)?;
                if column.not_null {
                    return Err(format!(
                        "column \"{}\" of table \"{}\" is NOT NULL",
                        column.name, table.name
                    ));
                }
                deletes = true;
            }
            Mutation::DeleteRow => {}
        }
    }
    if deletes && !exists {
        return Err(format!(
            "to delete columns of table \"{}\" of SQL sets them to NULL in a row that exists: use ConditionalDelete with \
             row_present, or delete the whole row",
            table.name
        ));
    }
    let lacks = |column: &&ColumnSchema| column.not_null && !puts.contains(&&column.cell);
    let mut others = table.columns.iter().enumerate().filter(|(at, _)| !table.is_key(*at));
    if let Some((_, column)) = others.find(|(_, column)| lacks(column))
        && !exists
    {
        return Err(format!(
            "column \"{}\" of table \"{}\" is NOT NULL: give it a value, or use ConditionalPut with row_present",
            column.name, table.name
        ));
    }
    if puts.is_empty() {
        write.mutations.push(Mutation::Put { column: marker(), value: Bytes::new() });
    }
    Ok(())
}

/// Whether the bytes are a key of the table, and the only one for its values.
fn check_key(table: &TableSchema, key: &[u8]) -> Result<(), String> {
    let wrong = |what: String| format!("the key {} is no key of table \"{}\": {what}", hex(key), table.name);
    let (mut rest, mut again) = (key, Vec::with_capacity(key.len()));
    for position in &table.key {
        let column = &table.columns[*position];
        let value = key_encoding::decode(&column.ty, &mut rest);
        let value = value.ok_or_else(|| {
            wrong(format!("no value of type {} for column \"{}\"", column.ty.name(), column.name))
        })?;
        row_encoding::check_value(&column.ty, &value)
            .map_err(|why| wrong(format!("column \"{}\": {why}", column.name)))?;
        key_encoding::encode(&value, &mut again).map_err(|error| wrong(error.message.to_string()))?;
    }
    match rest.is_empty() && again == key {
        true => Ok(()),
        false => Err(wrong("SQL encodes its values in other bytes".to_owned())),
    }
}

fn check_cell(table: &TableSchema, column: &ColumnSchema, value: &Bytes) -> Result<(), String> {
    row_encoding::check_cell(&column.ty, value).map_err(|why| {
        format!(
            "the value of column \"{}\" of table \"{}\" is none of type {}: {why}",
            column.name,
            table.name,
            column.ty.name()
        )
    })
}

/// The column, outside of the key, whose cells have this name.
fn column_of<'a>(table: &'a TableSchema, cell: &Bytes) -> Result<&'a ColumnSchema, String> {
    let found = table.columns.iter().enumerate().find(|(_, column)| column.cell == *cell);
    match found {
        Some((at, column)) if table.is_key(at) => Err(format!(
            "column \"{}\" of table \"{}\" is part of the key, and has no cell",
            column.name, table.name
        )),
        Some((_, column)) => Ok(column),
        None => Err(format!(
            "table \"{}\" is of SQL and has no column whose cells are named {}",
            table.name,
            hex(cell)
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kvstore::request::{Cell, Row as StoredRow, Source};
    use wal::{CohortId, Lsn, NodeId};

    use super::*;
    use crate::catalog::cell_name;
    use crate::error::sqlstate;
    use crate::types::{Type, Value};

    /// `CREATE TABLE t (k text, n int, v varchar(3) NOT NULL, j jsonb, d numeric(4,1), PRIMARY KEY (k, n))`.
    fn table() -> (TableSchema, Table) {
        let column = |id: u16, name: &str, ty, not_null| ColumnSchema {
            id,
            name: name.to_owned(),
            ty,
            not_null,
            default: None,
            cell: cell_name(id),
        };
        let schema = TableSchema {
            id: TableId(7),
            schema: "public".into(),
            name: "t".into(),
            columns: vec![
                column(1, "k", Type::Text, true),
                column(2, "n", Type::Int4, true),
                column(3, "v", Type::Varchar(Some(3)), true),
                column(4, "j", Type::Jsonb, false),
                column(5, "d", Type::Numeric(Some((4, 1))), false),
            ],
            key: vec![0, 1],
            key_name: "t_pkey".into(),
        };
        let table = Table { id: TableId(7), name: "t".into(), schema: schema.to_bytes().unwrap() };
        (schema, table)
    }

    fn key() -> Bytes {
        let mut key = Vec::new();
        key_encoding::encode(&Value::Text("a".into()), &mut key).unwrap();
        key_encoding::encode(&Value::Int4(1), &mut key).unwrap();
        key.into()
    }

    fn put(id: u16, value: &'static str) -> Mutation {
        Mutation::Put { column: cell_name(id), value: value.into() }
    }

    fn delete(id: u16) -> Mutation {
        Mutation::Delete { column: cell_name(id) }
    }

    fn checked(key: Bytes, exists: bool, mutations: Vec<Mutation>) -> Result<Vec<Mutation>, String> {
        let conditions = if exists { vec![Condition::RowPresent] } else { Vec::new() };
        let mut write = Write { table: TableId(7), key, conditions, mutations, request: None };
        row_check()(&table().1, &mut write).map(|()| write.mutations)
    }

    #[test]
    fn what_sql_could_have_written_passes() {
        for mutations in [
            vec![put(3, "abc")],
            vec![put(3, "abc"), put(4, r#"{"a": 1}"#), put(5, "12.5")],
            vec![put(3, ""), Mutation::Put { column: marker(), value: Bytes::new() }],
        ] {
            assert_eq!(checked(key(), false, mutations.clone()), Ok(mutations));
        }
        assert_eq!(checked(key(), true, vec![put(5, "1.0")]), Ok(vec![put(5, "1.0")]));
        // A row does not vanish with its last value.
        let kept = Mutation::Put { column: marker(), value: Bytes::new() };
        assert_eq!(checked(key(), true, vec![delete(4)]), Ok(vec![delete(4), kept]));
        assert_eq!(checked("junk".into(), false, vec![Mutation::DeleteRow]), Ok(vec![Mutation::DeleteRow]));
    }

    #[test]
    fn what_sql_could_not_read_is_refused_with_its_name() {
        let mut long = key().to_vec();
        long.push(0);
        let mut nul = Vec::new();
        key_encoding::encode(&Value::Text("a\0".into()), &mut nul).unwrap();
        key_encoding::encode(&Value::Int4(1), &mut nul).unwrap();
        let value = || vec![put(3, "abc")];
        let cases = [
            (Bytes::from_static(b"moose"), false, value(), "\\x6d6f6f7365"),
            (long.into(), false, value(), "no key of table \"t\""),
            (nul.into(), false, value(), "column \"k\""),
            (key(), false, vec![put(3, "abcd")], "column \"v\" of table \"t\" is none of type"),
            (key(), false, vec![put(3, "abc"), put(4, "{")], "column \"j\""),
            (key(), false, vec![put(3, "abc"), put(5, "12345.5")], "column \"d\""),
            (key(), false, vec![put(3, "abc"), put(5, "1")], "column \"d\""),
            (key(), false, vec![put(3, "abc"), put(9, "x")], "no column whose cells are named \\x09"),
            (
                key(),
                false,
                vec![put(3, "abc"), put(2, "x")],
                "column \"n\" of table \"t\" is part of the key",
            ),
            (key(), false, vec![put(4, "1")], "column \"v\" of table \"t\" is NOT NULL"),
            (key(), true, vec![delete(3)], "column \"v\" of table \"t\" is NOT NULL"),
            (key(), false, vec![delete(4)], "row_present"),
        ];
        for (key, exists, mutations, named) in cases {
            let why = checked(key, exists, mutations.clone()).unwrap_err();
            assert!(why.contains(named), "{mutations:?}: {why}");
        }
    }

    /// A row that is there all the same fails who reads it, by name.
    #[test]
    fn a_row_that_is_none_says_which() {
        let source = Source {
            range: CohortId(1),
            replica: NodeId(1),
            lsn: Lsn::new(1, 1),
            staleness: Some(Duration::ZERO),
        };
        let cell = Cell { column: cell_name(4), value: Bytes::from_static(&[0xff]), version: Lsn::new(1, 1) };
        for (key, what) in [(Bytes::from_static(b"moose"), "the key"), (key(), "the column \"j\"")] {
            let stored = StoredRow { key: key.clone(), cells: vec![cell.clone()], version: Lsn::new(1, 1) };
            let error = row_encoding::read_row(&table().0, &stored, &source).unwrap_err();
            assert_eq!(error.sqlstate, sqlstate::DATA_CORRUPTED);
            assert!(error.message.starts_with(what), "{}", error.message);
            assert!(error.detail.is_some_and(|detail| detail.contains(&hex(&key))));
        }
    }
}
