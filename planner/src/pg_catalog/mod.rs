//! pg_catalog and information_schema: virtual tables computed from the schema catalog, and the functions that go
//! with them. Clients get answers by relation, whatever the text of their queries.
//!
//! Relations that describe what this server does not have (policies, publications, ..) exist and are empty: an
//! empty answer serves clients better than an error.

mod relations;
mod tables;

pub(crate) use tables::VirtualTable;

use crate::catalog::TableSchema;
use crate::error::{SqlError, sqlstate};
use crate::expression::Env;
use crate::types::{Datum, Type, Value};

/// pg_namespace.oid of pg_catalog.
pub(crate) const PG_CATALOG_OID: u32 = 11;
/// pg_namespace.oid of public.
pub(crate) const PUBLIC_OID: u32 = 2200;
/// pg_namespace.oid of information_schema.
pub(crate) const INFORMATION_SCHEMA_OID: u32 = 13_000;
/// pg_authid.oid of the first user.
pub(crate) const OWNER_OID: u32 = 10;
/// pg_am.oid of heap and btree.
pub(crate) const HEAP_OID: u32 = 2;
/// See [`HEAP_OID`].
pub(crate) const BTREE_OID: u32 = 403;

/// An identifier, quoted if it must be.
pub(crate) fn quote_ident(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { name.to_string() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// A relation's name to its number. 42P01.
pub(crate) fn to_regclass(text: &str, env: &Env) -> Result<Value, SqlError> {
    if let Ok(oid) = text.parse() {
        return Ok(Value::Oid(oid));
    }
    let plain = text.replace('"', "");
    let (schema, name) = plain.rsplit_once('.').map_or((None, plain.as_str()), |(s, n)| (Some(s), n));
    if schema.is_none_or(|schema| schema == "public") {
        if let Some(table) = env.snapshot.table(name) {
            return Ok(Value::Oid(table.oid()));
        }
        if let Some(table) = env.snapshot.tables.values().find(|table| table.key_name == name) {
            return Ok(Value::Oid(table.key_oid()));
        }
    }
    if schema.is_none_or(|schema| schema == "pg_catalog" || schema == "information_schema")
        && let Some(oid) = VirtualTable::oid_of(name)
    {
        return Ok(Value::Oid(oid));
    }
    Err(SqlError::new(sqlstate::UNDEFINED_TABLE, format!("relation \"{text}\" does not exist")))
}

/// A type's name to its number. 42704.
pub(crate) fn to_regtype(text: &str) -> Result<Value, SqlError> {
    let plain = text.trim().trim_start_matches("pg_catalog.").to_lowercase();
    let found = Type::catalogued().find(|(ty, _, _, _, name)| *name == plain || ty.to_string() == plain);
    match found {
        Some((_, oid, ..)) => Ok(Value::Oid(oid)),
        None => Err(SqlError::new(sqlstate::UNDEFINED_OBJECT, format!("type \"{text}\" does not exist"))),
    }
}

/// The text of an oid of a reg type.
pub(crate) fn oid_text(oid: u32, ty: &Type, env: &Env) -> String {
    match ty {
        Type::Regtype => Type::from_oid(oid).map_or_else(|| oid.to_string(), |ty| ty.to_string()),
        Type::Regclass => {
            let tables = env.snapshot.tables.values();
            let own = tables.into_iter().find_map(|table| {
                if table.oid() == oid {
                    Some(quote_ident(&table.name))
                } else {
                    (table.key_oid() == oid).then(|| quote_ident(&table.key_name))
                }
            });
            own.or_else(|| VirtualTable::name_of(oid).map(str::to_string)).unwrap_or_else(|| oid.to_string())
        }
        Type::Opaque(4089, _) => match oid {
            PUBLIC_OID => "public".into(),
            PG_CATALOG_OID => "pg_catalog".into(),
            other => other.to_string(),
        },
        _ => oid.to_string(),
    }
}

/// format_type(oid, modifier).
pub(crate) fn format_type(oid: u32, modifier: i64, _env: &Env) -> String {
    let modifier = modifier - 4;
    match Type::from_oid(oid) {
        Some(Type::Varchar(_)) if modifier > 0 => format!("character varying({modifier})"),
        Some(Type::Numeric(_)) if modifier > 0 => {
            format!("numeric({},{})", modifier >> 16, modifier & 0xFFFF)
        }
        Some(Type::Unknown) | None => "???".into(),
        Some(ty) => ty.to_string(),
    }
}

/// The columns of a table's key, as they stand in a definition.
pub(crate) fn key_columns(table: &TableSchema) -> String {
    let names = table.key.iter().map(|at| quote_ident(&table.columns[*at].name));
    names.collect::<Vec<_>>().join(", ")
}

/// pg_get_indexdef(index[, column, pretty]) and pg_get_constraintdef(constraint[, pretty]).
pub(crate) fn definition(arguments: &[Value], env: &Env) -> Datum {
    let Some(Value::Oid(oid)) = arguments.first() else { return None };
    for table in env.snapshot.tables.values() {
        if constraint_oid(table) == *oid {
            return Some(Value::Text(format!("PRIMARY KEY ({})", key_columns(table))));
        }
        if table.key_oid() == *oid {
            let column = arguments.get(1).and_then(Value::as_i64).unwrap_or(0);
            if column > 0 {
                let at = table.key.get(column as usize - 1)?;
                return Some(Value::Text(quote_ident(&table.columns[*at].name)));
            }
            return Some(Value::Text(format!(
                "CREATE UNIQUE INDEX {} ON public.{} USING btree ({})",
                quote_ident(&table.key_name),
                quote_ident(&table.name),
                key_columns(table)
            )));
        }
    }
    None
}

/// pg_constraint.oid of a table's primary key: apart from the numbers of relations.
pub(crate) fn constraint_oid(table: &TableSchema) -> u32 {
    table.oid() | 0x4000_0000
}
