//! Tables as SQL sees them: columns, types, keys; kept as JSON in the store's table descriptors and cached here.
//!
//! The cache follows [`Kv::catalog_version`]. A name that is not in it is looked up afresh once, because a table
//! may have been created through another gateway a moment ago.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use bytes::Bytes;
use kvstore::request::{Kv, Table, TableId};
use serde::{Deserialize, Serialize};

use crate::error::{SqlError, sqlstate};
use crate::statement::Name;
use crate::types::Type;

/// Version of the JSON form.
const SCHEMA_VERSION: u32 = 1;
/// First number of user objects, as in PostgreSQL.
pub(crate) const FIRST_USER_OID: u32 = 16_384;
/// The system columns that every table has behind its own.
pub(crate) const PSEUDO_COLUMNS: [(&str, Type); 4] =
    [("_version", Type::Int8), ("_lsn", Type::Text), ("_replica", Type::Int4), ("_staleness_ms", Type::Int8)];
/// The column name of the marker cell that keeps a row alive without other cells. No column number encodes so.
const MARKER: &[u8] = &[0];

/// A column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ColumnSchema {
    /// Never reused within the table.
    pub(crate) id: u16,
    pub(crate) name: String,
    pub(crate) ty: Type,
    pub(crate) not_null: bool,
    /// The default expression's text.
    pub(crate) default: Option<String>,
    /// The name of its cells.
    pub(crate) cell: Bytes,
}

/// A table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TableSchema {
    pub(crate) id: TableId,
    pub(crate) name: String,
    pub(crate) columns: Vec<ColumnSchema>,
    /// Positions in `columns` of the primary key's columns, in key order.
    pub(crate) key: Vec<usize>,
    /// Name of the primary key constraint.
    pub(crate) key_name: String,
}

#[derive(Serialize, Deserialize)]
struct SchemaJson {
    version: u32,
    columns: Vec<ColumnJson>,
    key: Vec<usize>,
    key_name: String,
}

#[derive(Serialize, Deserialize)]
struct ColumnJson {
    id: u16,
    name: String,
    #[serde(rename = "type")]
    ty: String,
    not_null: bool,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    default: Option<String>,
}

/// The cell name of a column: its number in one byte, or in two with the top bit set.
pub(crate) fn cell_name(id: u16) -> Bytes {
    if id < 0x80 {
        Bytes::copy_from_slice(&[id as u8])
    } else {
        Bytes::copy_from_slice(&(id | 0x8000).to_be_bytes())
    }
}

/// The marker cell's name.
pub(crate) fn marker() -> Bytes {
    Bytes::from_static(MARKER)
}

fn type_text(ty: &Type) -> String {
    match ty {
        Type::Varchar(Some(length)) => format!("varchar({length})"),
        Type::Bpchar(Some(length)) => format!("bpchar({length})"),
        Type::Numeric(Some((precision, scale))) => format!("numeric({precision},{scale})"),
        other => other.name(),
    }
}

fn type_of(text: &str) -> Option<Type> {
    let (name, arguments) = match text.split_once('(') {
        Some((name, rest)) => (name, rest.strip_suffix(')')?),
        None => (text, ""),
    };
    let numbers: Option<Vec<i64>> =
        arguments.split(',').filter(|n| !n.is_empty()).map(|n| n.trim().parse().ok()).collect();
    Some(match (name, numbers?.as_slice()) {
        ("varchar", [length]) => Type::Varchar(Some(u32::try_from(*length).ok()?)),
        ("bpchar", [length]) => Type::Bpchar(Some(u32::try_from(*length).ok()?)),
        ("numeric", [precision, scale]) => {
            Type::Numeric(Some((u16::try_from(*precision).ok()?, i16::try_from(*scale).ok()?)))
        }
        (name, []) => Type::catalogued().find(|entry| entry.name == name)?.ty.clone(),
        _ => return None,
    })
}

impl TableSchema {
    /// The form kept in the store.
    pub(crate) fn to_bytes(&self) -> Result<Bytes, SqlError> {
        let columns = self.columns.iter().map(|column| ColumnJson {
            id: column.id,
            name: column.name.clone(),
            ty: type_text(&column.ty),
            not_null: column.not_null,
            default: column.default.clone(),
        });
        let json = SchemaJson {
            version: SCHEMA_VERSION,
            columns: columns.collect(),
            key: self.key.clone(),
            key_name: self.key_name.clone(),
        };
        serde_json::to_vec(&json).map(Bytes::from).map_err(SqlError::internal)
    }

    /// Reads the form kept in the store; `None` for a table that is not of SQL, or newer than this server.
    pub(crate) fn from_table(table: &Table) -> Option<TableSchema> {
        let json: SchemaJson = serde_json::from_slice(&table.schema).ok()?;
        if json.version != SCHEMA_VERSION || json.key.is_empty() {
            return None;
        }
        let columns: Option<Vec<ColumnSchema>> = json
            .columns
            .into_iter()
            .map(|column| {
                Some(ColumnSchema {
                    id: column.id,
                    name: column.name,
                    ty: type_of(&column.ty)?,
                    not_null: column.not_null,
                    default: column.default,
                    cell: cell_name(column.id),
                })
            })
            .collect();
        let columns = columns?;
        if json.key.iter().any(|at| *at >= columns.len()) {
            return None;
        }
        Some(TableSchema {
            id: table.id,
            name: table.name.clone(),
            columns,
            key: json.key,
            key_name: json.key_name,
        })
    }

    /// pg_class.oid.
    pub(crate) fn oid(&self) -> u32 {
        // Two relations per table: the table and its primary key index.
        FIRST_USER_OID.wrapping_add((self.id.0 as u32).wrapping_mul(2))
    }

    /// pg_class.oid of the primary key's index.
    pub(crate) fn key_oid(&self) -> u32 {
        self.oid().wrapping_add(1)
    }

    /// pg_constraint.oid of the primary key: apart from the numbers of relations.
    pub(crate) fn constraint_oid(&self) -> u32 {
        self.oid() | 0x4000_0000
    }

    /// The position of a column (not of a system column).
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// The position of a column that a statement gives a value. 42703 if there is none, or only a system column.
    pub(crate) fn column(&self, name: &Name) -> Result<usize, SqlError> {
        self.position(name.last()).ok_or_else(|| self.no_column(name))
    }

    /// Is the column part of the primary key?
    pub(crate) fn is_key(&self, position: usize) -> bool {
        self.key.contains(&position)
    }

    /// 42703 for this table.
    fn no_column(&self, name: &Name) -> SqlError {
        SqlError::new(
            sqlstate::UNDEFINED_COLUMN,
            format!("column \"{}\" of relation \"{}\" does not exist", name.last(), self.name),
        )
        .at_if_known(name.position)
    }
}

/// The tables at one catalog version.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) version: u64,
    pub(crate) tables: BTreeMap<String, Arc<TableSchema>>,
}

impl Snapshot {
    /// A table by name.
    pub(crate) fn table(&self, name: &str) -> Option<&Arc<TableSchema>> {
        self.tables.get(name)
    }
}

/// The cache.
pub(crate) struct Catalog {
    kv: Arc<dyn Kv>,
    current: RwLock<Option<Arc<Snapshot>>>,
}

impl Catalog {
    pub(crate) fn new(kv: Arc<dyn Kv>) -> Catalog {
        Catalog { kv, current: RwLock::new(None) }
    }

    /// The tables as known here.
    pub(crate) async fn snapshot(&self) -> Result<Arc<Snapshot>, SqlError> {
        let version = self.kv.catalog_version();
        let cached = self.current.read().unwrap_or_else(|e| e.into_inner()).clone();
        match cached {
            Some(snapshot) if snapshot.version == version => Ok(snapshot),
            _ => self.load(false).await,
        }
    }

    /// The tables, read from the coordinator if `fresh`.
    pub(crate) async fn load(&self, fresh: bool) -> Result<Arc<Snapshot>, SqlError> {
        // The version is read first: a change in between makes the snapshot look old, never the other way.
        let mut version = self.kv.catalog_version();
        let mut tables = self.kv.tables(fresh).await?;
        if fresh && self.kv.catalog_version() != version {
            // The fresh read itself brought news.
            version = self.kv.catalog_version();
            tables = self.kv.tables(false).await?;
        }
        let tables = tables.iter().filter_map(TableSchema::from_table);
        let tables = tables.map(|schema| (schema.name.clone(), Arc::new(schema))).collect();
        let snapshot = Arc::new(Snapshot { version, tables });
        *self.current.write().unwrap_or_else(|e| e.into_inner()) = Some(snapshot.clone());
        Ok(snapshot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_survive_the_store() {
        let column = |id: u16, name: &str, ty: Type| ColumnSchema {
            id,
            name: name.into(),
            ty,
            not_null: id == 1,
            default: (id == 2).then(|| "'x'".to_string()),
            cell: cell_name(id),
        };
        let schema = TableSchema {
            id: TableId(7),
            name: "t".into(),
            columns: vec![
                column(1, "k", Type::Varchar(Some(10))),
                column(2, "n", Type::Numeric(Some((10, 2)))),
                column(300, "j", Type::Jsonb),
            ],
            key: vec![0],
            key_name: "t_pkey".into(),
        };
        let table = Table { id: TableId(7), name: "t".into(), schema: schema.to_bytes().unwrap() };
        assert_eq!(TableSchema::from_table(&table), Some(schema));
        let foreign = Table { id: TableId(8), name: "kv".into(), schema: Bytes::new() };
        assert_eq!(TableSchema::from_table(&foreign), None);
    }

    #[test]
    fn cell_names_are_unique() {
        let names: std::collections::BTreeSet<_> = (1..0x7FFF).map(cell_name).collect();
        assert_eq!(names.len(), 0x7FFE);
        assert!(!names.contains(&marker()));
    }
}
