//! The rows of the virtual tables.

use std::sync::Arc;

use super::relations::{RELATIONS, Relation, T};
use super::{
    BTREE_OID, HEAP_OID, INFORMATION_SCHEMA_OID, OWNER_OID, PG_CATALOG_OID, PUBLIC_OID, constraint_oid,
    key_columns, quote_ident,
};
use crate::catalog::TableSchema;
use crate::error::SqlError;
use crate::expression::Env;
use crate::statement::Name;
use crate::types::{Array, Datum, Row, Type, Value};

/// A virtual table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct VirtualTable(&'static Relation);

fn text(value: impl Into<String>) -> Datum {
    Some(Value::Text(value.into()))
}

fn oid(value: u32) -> Datum {
    Some(Value::Oid(value))
}

fn flag(value: bool) -> Datum {
    Some(Value::Bool(value))
}

fn int4(value: i32) -> Datum {
    Some(Value::Int4(value))
}

fn int2(value: i16) -> Datum {
    Some(Value::Int2(value))
}

fn int2s(values: impl Iterator<Item = i16>) -> Datum {
    Some(Value::Array(Arc::new(Array { element: Type::Int2, items: values.map(int2).collect() })))
}

/// Some columns of a row by name; the others get a neutral value of their type.
type Named = Vec<(&'static str, Datum)>;

impl VirtualTable {
    /// The table of that name: in pg_catalog also without a schema.
    pub(crate) fn find(name: &Name) -> Option<VirtualTable> {
        let schema = name.qualifier().unwrap_or("pg_catalog");
        RELATIONS.iter().find(|own| own.schema == schema && own.name == name.last()).map(VirtualTable)
    }

    /// Its columns.
    pub(crate) fn columns(self) -> impl Iterator<Item = (&'static str, Type)> {
        self.0.columns.iter().map(|(name, ty)| (*name, ty.ty()))
    }

    /// pg_class.oid by name.
    pub(super) fn oid_of(name: &str) -> Option<u32> {
        RELATIONS.iter().find(|own| own.name == name).map(|own| own.oid)
    }

    /// The name by pg_class.oid.
    pub(super) fn name_of(oid: u32) -> Option<&'static str> {
        RELATIONS.iter().find(|own| own.oid == oid).map(|own| own.name)
    }

    /// Its rows now.
    pub(crate) fn rows(self, env: &Env) -> Result<Vec<Row>, SqlError> {
        let tables: Vec<&TableSchema> = env.snapshot.tables.values().map(Arc::as_ref).collect();
        let rows: Vec<Named> = match self.0.name {
            "pg_class" => classes(&tables),
            "pg_namespace" => [
                (PG_CATALOG_OID, "pg_catalog"),
                (PUBLIC_OID, "public"),
                (INFORMATION_SCHEMA_OID, "information_schema"),
            ]
            .into_iter()
            .map(|(own, name)| {
                vec![
                    ("oid", oid(own)),
                    ("nspname", text(name)),
                    ("nspowner", oid(OWNER_OID)),
                    ("nspacl", None),
                ]
            })
            .collect(),
            "pg_attribute" => attributes(&tables),
            "pg_type" => types(),
            "pg_attrdef" => defaults(&tables),
            "pg_index" => tables.iter().map(|table| index(table)).collect(),
            "pg_constraint" => tables.iter().map(|table| constraint(table)).collect(),
            "pg_database" => vec![vec![
                ("oid", oid(5)),
                ("datname", text(env.info.database.clone())),
                ("datdba", oid(OWNER_OID)),
                ("encoding", int4(6)),
                ("datlocprovider", text("c")),
                ("datallowconn", flag(true)),
                ("datconnlimit", int4(-1)),
                ("datcollate", text("C")),
                ("datctype", text("C")),
                ("daticulocale", None),
                ("datacl", None),
            ]],
            "pg_roles" | "pg_authid" => vec![vec![
                ("oid", oid(OWNER_OID)),
                ("rolname", text(env.session.user())),
                ("rolsuper", flag(true)),
                ("rolinherit", flag(true)),
                ("rolcreaterole", flag(true)),
                ("rolcreatedb", flag(true)),
                ("rolcanlogin", flag(true)),
                ("rolconnlimit", int4(-1)),
                ("rolpassword", text("********")),
                ("rolvaliduntil", None),
                ("rolbypassrls", flag(true)),
                ("rolconfig", None),
            ]],
            "pg_user" => vec![vec![
                ("usename", text(env.session.user())),
                ("usesysid", oid(OWNER_OID)),
                ("usecreatedb", flag(true)),
                ("usesuper", flag(true)),
                ("valuntil", None),
                ("useconfig", None),
            ]],
            "pg_am" => [(HEAP_OID, "heap", "t"), (BTREE_OID, "btree", "i")]
                .into_iter()
                .map(|(own, name, kind)| {
                    vec![("oid", oid(own)), ("amname", text(name)), ("amtype", text(kind))]
                })
                .collect(),
            "pg_collation" => [(100, "default"), (950, "C")]
                .into_iter()
                .map(|(own, name)| {
                    vec![("oid", oid(own)), ("collname", text(name)), ("collnamespace", oid(PG_CATALOG_OID))]
                })
                .collect(),
            "pg_tablespace" => vec![vec![("oid", oid(1663)), ("spcname", text("pg_default"))]],
            "pg_settings" => settings(env),
            "pg_tables" => tables
                .iter()
                .map(|table| {
                    vec![
                        ("schemaname", text("public")),
                        ("tablename", text(table.name.clone())),
                        ("tableowner", text(env.session.user())),
                        ("tablespace", None),
                        ("hasindexes", flag(true)),
                    ]
                })
                .collect(),
            "pg_indexes" => tables
                .iter()
                .map(|table| {
                    vec![
                        ("schemaname", text("public")),
                        ("tablename", text(table.name.clone())),
                        ("indexname", text(table.key_name.clone())),
                        ("tablespace", None),
                        (
                            "indexdef",
                            text(format!(
                                "CREATE UNIQUE INDEX {} ON public.{} USING btree ({})",
                                quote_ident(&table.key_name),
                                quote_ident(&table.name),
                                key_columns(table)
                            )),
                        ),
                    ]
                })
                .collect(),
            "pg_prepared_statements" => env
                .session
                .statement_names()
                .into_iter()
                .filter(|(name, _)| !name.is_empty())
                .map(|(name, sql)| {
                    vec![("name", text(name)), ("statement", text(sql)), ("prepare_time", None)]
                })
                .collect(),
            "tables" => information_tables(&tables, env),
            "columns" => information_columns(&tables, env),
            "table_constraints" => tables
                .iter()
                .map(|table| {
                    let mut row = constraint_name(table, env);
                    row.extend([
                        ("constraint_type", text("PRIMARY KEY")),
                        ("is_deferrable", text("NO")),
                        ("initially_deferred", text("NO")),
                    ]);
                    row
                })
                .collect(),
            "key_column_usage" => tables
                .iter()
                .flat_map(|table| table.key.iter().enumerate().map(move |(nth, at)| (table, nth, *at)))
                .map(|(table, nth, at)| {
                    let mut row = constraint_name(table, env);
                    row.push(("column_name", text(table.columns[at].name.clone())));
                    row.push(("ordinal_position", int4(nth as i32 + 1)));
                    row
                })
                .collect(),
            "schemata" => ["information_schema", "pg_catalog", "public"]
                .into_iter()
                .map(|name| {
                    vec![
                        ("catalog_name", text(env.info.database.clone())),
                        ("schema_name", text(name)),
                        ("schema_owner", text(env.session.user())),
                    ]
                })
                .collect(),
            _ => Vec::new(),
        };
        rows.into_iter().map(|named| self.row(named)).collect()
    }

    fn row(self, named: Named) -> Result<Row, SqlError> {
        let mut row: Row = self.0.columns.iter().map(|(_, ty)| neutral(*ty)).collect();
        for (name, value) in named {
            let at = self.0.columns.iter().position(|(own, _)| *own == name);
            let at = at.ok_or_else(|| SqlError::internal(format!("{} has no column {name}", self.0.name)))?;
            row[at] = value;
        }
        Ok(row)
    }
}

/// False, 0, or the empty text; NULL for arrays and times.
fn neutral(ty: T) -> Datum {
    match ty {
        T::Bool => flag(false),
        T::Int2 => int2(0),
        T::Int4 => int4(0),
        T::Int8 => Some(Value::Int8(0)),
        T::Float4 => Some(Value::Float8(0.0)),
        T::Oid => oid(0),
        T::Char | T::Name => text(""),
        T::Text | T::Chars | T::Int2s | T::Oids | T::Texts | T::Time => None,
    }
}

fn class(own: u32, name: &str, kind: &str, namespace: u32, am: u32, columns: usize) -> Named {
    vec![
        ("oid", oid(own)),
        ("relname", text(name)),
        ("relnamespace", oid(namespace)),
        ("relowner", oid(OWNER_OID)),
        ("relam", oid(am)),
        ("relfilenode", oid(own)),
        ("reltuples", Some(Value::Float8(-1.0))),
        ("relpersistence", text("p")),
        ("relkind", text(kind)),
        ("relnatts", int2(columns as i16)),
        ("relispopulated", flag(true)),
        ("relreplident", text("d")),
    ]
}

fn classes(tables: &[&TableSchema]) -> Vec<Named> {
    let mut rows = Vec::new();
    for table in tables {
        let mut own = class(table.oid(), &table.name, "r", PUBLIC_OID, HEAP_OID, table.columns.len());
        own.push(("relhasindex", flag(true)));
        rows.push(own);
        rows.push(class(table.key_oid(), &table.key_name, "i", PUBLIC_OID, BTREE_OID, table.key.len()));
    }
    for own in RELATIONS {
        let (kind, namespace) = if own.schema == "information_schema" {
            ("v", INFORMATION_SCHEMA_OID)
        } else if (12_000..13_000).contains(&own.oid) {
            ("v", PG_CATALOG_OID)
        } else {
            ("r", PG_CATALOG_OID)
        };
        rows.push(class(own.oid, own.name, kind, namespace, 0, own.columns.len()));
    }
    rows
}

fn attribute(relation: u32, number: i16, name: &str, ty: &Type, not_null: bool, default: bool) -> Named {
    vec![
        ("attrelid", oid(relation)),
        ("attname", text(name)),
        ("atttypid", oid(ty.oid())),
        ("attstattarget", int4(-1)),
        ("attlen", int2(ty.size())),
        ("attnum", int2(number)),
        ("atttypmod", int4(ty.modifier())),
        ("attstorage", text(if ty.size() < 0 { "x" } else { "p" })),
        ("attalign", text("i")),
        ("attnotnull", flag(not_null)),
        ("atthasdef", flag(default)),
        ("attislocal", flag(true)),
        ("attcollation", oid(collation(ty))),
    ]
}

fn collation(ty: &Type) -> u32 {
    match ty {
        Type::Text | Type::Varchar(_) => 100,
        Type::Name => 950,
        _ => 0,
    }
}

fn attributes(tables: &[&TableSchema]) -> Vec<Named> {
    let mut rows = Vec::new();
    for table in tables {
        for (at, column) in table.columns.iter().enumerate() {
            rows.push(attribute(
                table.oid(),
                at as i16 + 1,
                &column.name,
                &column.ty,
                column.not_null,
                column.default.is_some(),
            ));
        }
        for (nth, at) in table.key.iter().enumerate() {
            let column = &table.columns[*at];
            rows.push(attribute(table.key_oid(), nth as i16 + 1, &column.name, &column.ty, false, false));
        }
    }
    for own in RELATIONS {
        for (at, (name, ty)) in own.columns.iter().enumerate() {
            rows.push(attribute(own.oid, at as i16 + 1, name, &ty.ty(), false, false));
        }
    }
    rows
}

fn types() -> Vec<Named> {
    let mut rows = Vec::new();
    for (ty, own, array, size, name) in Type::catalogued() {
        let category = match ty {
            Type::Bool => "B",
            Type::Date | Type::Timestamptz => "D",
            ty if ty.is_number() || ty.is_oid() => "N",
            Type::Char => "Z",
            ty if ty.is_text() => "S",
            _ => "U",
        };
        let common = |own: u32, name: String, size: i16, category: &str| {
            vec![
                ("oid", oid(own)),
                ("typname", text(name)),
                ("typnamespace", oid(PG_CATALOG_OID)),
                ("typowner", oid(OWNER_OID)),
                ("typlen", int2(size)),
                ("typtype", text("b")),
                ("typcategory", text(category)),
                ("typisdefined", flag(true)),
                ("typdelim", text(",")),
                ("typtypmod", int4(-1)),
                ("typcollation", oid(collation(ty))),
            ]
        };
        let mut row = common(own, name.to_string(), size, category);
        row.push(("typarray", oid(array)));
        rows.push(row);
        let mut row = common(array, format!("_{name}"), -1, "A");
        row.push(("typelem", oid(own)));
        rows.push(row);
    }
    rows
}

fn defaults(tables: &[&TableSchema]) -> Vec<Named> {
    let mut rows = Vec::new();
    for table in tables {
        for (at, column) in table.columns.iter().enumerate() {
            if let Some(default) = &column.default {
                rows.push(vec![
                    ("oid", oid(table.oid() | 0x2000_0000 | (at as u32) << 16)),
                    ("adrelid", oid(table.oid())),
                    ("adnum", int2(at as i16 + 1)),
                    ("adbin", text(default.clone())),
                ]);
            }
        }
    }
    rows
}

fn key_numbers(table: &TableSchema) -> Datum {
    int2s(table.key.iter().map(|at| *at as i16 + 1))
}

fn index(table: &TableSchema) -> Named {
    let count = table.key.len() as i16;
    vec![
        ("indexrelid", oid(table.key_oid())),
        ("indrelid", oid(table.oid())),
        ("indnatts", int2(count)),
        ("indnkeyatts", int2(count)),
        ("indisunique", flag(true)),
        ("indisprimary", flag(true)),
        ("indimmediate", flag(true)),
        ("indisvalid", flag(true)),
        ("indisready", flag(true)),
        ("indislive", flag(true)),
        ("indkey", key_numbers(table)),
        ("indoption", int2s(table.key.iter().map(|_| 0))),
    ]
}

fn constraint(table: &TableSchema) -> Named {
    vec![
        ("oid", oid(constraint_oid(table))),
        ("conname", text(table.key_name.clone())),
        ("connamespace", oid(PUBLIC_OID)),
        ("contype", text("p")),
        ("convalidated", flag(true)),
        ("conrelid", oid(table.oid())),
        ("conindid", oid(table.key_oid())),
        ("conislocal", flag(true)),
        ("connoinherit", flag(true)),
        ("conkey", key_numbers(table)),
    ]
}

fn settings(env: &Env) -> Vec<Named> {
    let all = env.session.show_all();
    all.into_iter()
        .map(|(name, value, about)| {
            vec![
                ("name", text(name)),
                ("setting", text(value.clone())),
                ("category", text("Session")),
                ("short_desc", text(about)),
                ("context", text("user")),
                ("vartype", text("string")),
                ("source", text("session")),
                ("boot_val", text(value.clone())),
                ("reset_val", text(value)),
            ]
        })
        .collect()
}

fn information_tables(tables: &[&TableSchema], env: &Env) -> Vec<Named> {
    let row = |schema: &str, name: &str, kind: &str| {
        vec![
            ("table_catalog", text(env.info.database.clone())),
            ("table_schema", text(schema)),
            ("table_name", text(name)),
            ("table_type", text(kind)),
            ("is_insertable_into", text(if kind == "VIEW" { "NO" } else { "YES" })),
            ("is_typed", text("NO")),
        ]
    };
    let mut rows: Vec<Named> = tables.iter().map(|table| row("public", &table.name, "BASE TABLE")).collect();
    rows.extend(RELATIONS.iter().map(|own| row(own.schema, own.name, "VIEW")));
    rows
}

fn information_columns(tables: &[&TableSchema], env: &Env) -> Vec<Named> {
    let mut rows = Vec::new();
    for table in tables {
        for (at, column) in table.columns.iter().enumerate() {
            let (length, precision, scale) = match &column.ty {
                Type::Varchar(Some(length)) => (int4(*length as i32), None, None),
                Type::Numeric(Some((precision, scale))) => {
                    (None, int4(i32::from(*precision)), int4(i32::from(*scale)))
                }
                Type::Int2 => (None, int4(16), int4(0)),
                Type::Int4 => (None, int4(32), int4(0)),
                Type::Int8 => (None, int4(64), int4(0)),
                Type::Float8 => (None, int4(53), None),
                _ => (None, None, None),
            };
            rows.push(vec![
                ("table_catalog", text(env.info.database.clone())),
                ("table_schema", text("public")),
                ("table_name", text(table.name.clone())),
                ("column_name", text(column.name.clone())),
                ("ordinal_position", int4(at as i32 + 1)),
                ("column_default", column.default.clone().map(Value::Text)),
                ("is_nullable", text(if column.not_null { "NO" } else { "YES" })),
                ("data_type", text(column.ty.plain().to_string())),
                ("character_maximum_length", length),
                ("numeric_precision", precision),
                ("numeric_scale", scale),
                ("udt_catalog", text(env.info.database.clone())),
                ("udt_schema", text("pg_catalog")),
                ("udt_name", text(column.ty.name())),
                ("is_identity", text("NO")),
                ("is_generated", text("NEVER")),
                ("is_updatable", text("YES")),
            ]);
        }
    }
    rows
}

fn constraint_name(table: &TableSchema, env: &Env) -> Named {
    let database = || text(env.info.database.clone());
    vec![
        ("constraint_catalog", database()),
        ("constraint_schema", text("public")),
        ("constraint_name", text(table.key_name.clone())),
        ("table_catalog", database()),
        ("table_schema", text("public")),
        ("table_name", text(table.name.clone())),
    ]
}
