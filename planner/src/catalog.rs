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
use crate::search_path::{PG_CATALOG, PUBLIC, SearchPath};
use crate::statement::Name;
use crate::types::{IntervalLimit, Type};

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
    /// The schema that it is in.
    pub(crate) schema: String,
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
    /// The schema that the table is in, and its name there. Without them it is in public, and its name in the store is
    /// its own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    name: Option<String>,
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
        Type::Array(element) => format!("{}[]", type_text(element)),
        Type::Time(Some(digits))
        | Type::Timetz(Some(digits))
        | Type::Timestamp(Some(digits))
        | Type::Timestamptz(Some(digits)) => format!("{}({digits})", ty.name()),
        Type::Interval(Some(limit)) => format!("interval({},{})", limit.fields, limit.precision),
        other => other.name(),
    }
}

fn type_of(text: &str) -> Option<Type> {
    if let Some(element) = text.strip_suffix("[]") {
        return Some(Type::Array(Box::new(type_of(element)?)));
    }
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
        ("interval", [fields, precision]) => {
            let (fields, precision) = (u16::try_from(*fields).ok()?, u16::try_from(*precision).ok()?);
            Type::Interval(Some(IntervalLimit { fields, precision }))
        }
        (name, [digits]) => {
            let digits = Some(u8::try_from(*digits).ok()?);
            match name {
                "time" => Type::Time(digits),
                "timetz" => Type::Timetz(digits),
                "timestamp" => Type::Timestamp(digits),
                "timestamptz" => Type::Timestamptz(digits),
                _ => return None,
            }
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
            namespace: (self.stored_name() != self.name).then(|| self.schema.clone()),
            name: (self.stored_name() != self.name).then(|| self.name.clone()),
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
            schema: json.namespace.unwrap_or_else(|| PUBLIC.into()),
            name: json.name.unwrap_or_else(|| table.name.clone()),
            columns,
            key: json.key,
            key_name: json.key_name,
        })
    }

    /// Its name in the store.
    pub(crate) fn stored_name(&self) -> String {
        stored_name(&self.schema, &self.name)
    }

    /// pg_class.oid.
    pub(crate) fn oid(&self) -> u32 {
        // Two relations per table: the table and its primary key index.
        oid_of(self.id)
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

/// What is in the catalog besides tables, as the store keeps it.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum ObjectJson {
    /// A schema.
    Schema { name: String },
}

impl ObjectJson {
    /// The form kept in the store.
    pub(crate) fn to_bytes(&self) -> Result<Bytes, SqlError> {
        serde_json::to_vec(self).map(Bytes::from).map_err(SqlError::internal)
    }
}

/// The name in the store of what is called so in a schema. In `public` it is its own, as it was before there were
/// others. A dot between schema and name is the only one: those in names are written `%2e`.
pub(crate) fn stored_name(schema: &str, name: &str) -> String {
    if schema == PUBLIC && !name.contains('.') {
        return name.to_string();
    }
    let plain = |text: &str| text.replace('%', "%25").replace('.', "%2e");
    format!("{}.{}", plain(schema), plain(name))
}

/// The number in the system's relations of what has this one in the store. The next one is free for its index.
fn oid_of(id: TableId) -> u32 {
    FIRST_USER_OID.wrapping_add((id.0 as u32).wrapping_mul(2))
}

/// The numbers of the schemas that always stand.
const SYSTEM_SCHEMAS: [(&str, u32); 3] = [(PG_CATALOG, 11), (PUBLIC, 2200), ("information_schema", 13_000)];

/// A schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Namespace {
    /// pg_namespace.oid.
    pub(crate) oid: u32,
    /// `None`: it always stands.
    pub(crate) id: Option<TableId>,
}

/// The catalog at one version.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) version: u64,
    /// The newest change that is certainly in it, on which a change of the catalog is based.
    pub(crate) change: u64,
    /// By schema and name.
    pub(crate) tables: BTreeMap<(String, String), Arc<TableSchema>>,
    /// By name.
    pub(crate) schemas: BTreeMap<String, Namespace>,
}

impl Default for Snapshot {
    fn default() -> Snapshot {
        let schemas = SYSTEM_SCHEMAS.map(|(name, oid)| (name.to_string(), Namespace { oid, id: None }));
        Snapshot { version: 0, change: 0, tables: BTreeMap::new(), schemas: schemas.into() }
    }
}

impl Snapshot {
    /// A table by its schema and name.
    pub(crate) fn table(&self, schema: &str, name: &str) -> Option<&Arc<TableSchema>> {
        self.tables.get(&(schema.to_string(), name.to_string()))
    }

    /// pg_namespace.oid of a schema; 0 if it is gone.
    pub(crate) fn schema_oid(&self, name: &str) -> u32 {
        self.schemas.get(name).map_or(0, |schema| schema.oid)
    }

    /// The tables of a schema.
    pub(crate) fn tables_in<'a>(&'a self, schema: &'a str) -> impl Iterator<Item = &'a Arc<TableSchema>> {
        self.tables.values().filter(move |table| table.schema == schema)
    }

    /// The schemas of a path that exist.
    pub(crate) fn existing<'a>(&self, path: &'a SearchPath) -> Vec<&'a str> {
        let schemas = path.schemas().iter().map(String::as_str);
        schemas.filter(|schema| self.schemas.contains_key(*schema)).collect()
    }

    /// Takes in an object of the store; one of a newer server is left out.
    fn add_object(&mut self, object: &Table) {
        match serde_json::from_slice(&object.schema) {
            Ok(ObjectJson::Schema { name }) => {
                let schema = Namespace { oid: oid_of(object.id), id: Some(object.id) };
                self.schemas.insert(name, schema);
            }
            Err(_) => {}
        }
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
        let mut catalog = self.kv.catalog(fresh).await?;
        if fresh && self.kv.catalog_version() != version {
            // The fresh read itself brought news.
            version = self.kv.catalog_version();
            catalog = self.kv.catalog(false).await?;
        }
        let tables = catalog.tables.iter().filter_map(TableSchema::from_table);
        let tables = tables.map(|table| ((table.schema.clone(), table.name.clone()), Arc::new(table)));
        let (tables, change) = (tables.collect(), catalog.change);
        let mut snapshot = Snapshot { version, change, tables, ..Snapshot::default() };
        catalog.objects.iter().for_each(|object| snapshot.add_object(object));
        let snapshot = Arc::new(snapshot);
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
            schema: "s".into(),
            name: "t".into(),
            columns: vec![
                column(1, "k", Type::Varchar(Some(10))),
                column(2, "n", Type::Numeric(Some((10, 2)))),
                column(300, "j", Type::Jsonb),
                column(301, "a", Type::Array(Box::new(Type::Numeric(Some((5, -2)))))),
                column(302, "c", Type::Bpchar(Some(3))),
            ],
            key: vec![0],
            key_name: "t_pkey".into(),
        };
        let table = Table { id: TableId(7), name: schema.stored_name(), schema: schema.to_bytes().unwrap() };
        assert_eq!(TableSchema::from_table(&table), Some(schema));
        let foreign = Table { id: TableId(8), name: "kv".into(), schema: Bytes::new() };
        assert_eq!(TableSchema::from_table(&foreign), None);
    }

    #[test]
    fn no_two_names_are_one_in_the_store() {
        let names =
            [("public", "t"), ("s", "t"), ("public", "s.t"), ("s.t", "u"), ("s", "t.u"), ("s%2et", "u")];
        let stored: std::collections::BTreeSet<_> =
            names.map(|(schema, name)| stored_name(schema, name)).into();
        assert_eq!(stored.len(), names.len(), "{stored:?}");
        assert_eq!(stored_name("public", "t"), "t");
    }

    #[test]
    fn cell_names_are_unique() {
        let names: std::collections::BTreeSet<_> = (1..0x7FFF).map(cell_name).collect();
        assert_eq!(names.len(), 0x7FFE);
        assert!(!names.contains(&marker()));
    }
}
