//! Names of tables, indexes, system relations, types and schemas: to their numbers and back, and as they stand in
//! definitions.

use super::env::Env;
use crate::catalog::TableSchema;
use crate::error::{SqlError, sqlstate};
use crate::types::{Type, Value};

/// pg_namespace.oid of pg_catalog.
pub(crate) const PG_CATALOG_OID: u32 = 11;
/// pg_namespace.oid of public.
pub(crate) const PUBLIC_OID: u32 = 2200;
/// pg_namespace.oid of information_schema.
pub(crate) const INFORMATION_SCHEMA_OID: u32 = 13_000;
/// pg_authid.oid of the only user.
pub(crate) const OWNER_OID: u32 = 10;
/// pg_type.oid of regnamespace.
const REGNAMESPACE_OID: u32 = 4089;

/// The schemas: pg_namespace.oid and name.
pub(crate) const SCHEMAS: [(u32, &str); 3] =
    [(PG_CATALOG_OID, "pg_catalog"), (PUBLIC_OID, "public"), (INFORMATION_SCHEMA_OID, "information_schema")];

/// An identifier as it stands in a statement: quoted if it must be.
pub(crate) fn quote_ident(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { name.to_string() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// The columns of a table's key, as they stand in a definition.
pub(crate) fn key_columns(table: &TableSchema) -> String {
    let names = table.key.iter().map(|at| quote_ident(&table.columns[*at].name));
    names.collect::<Vec<_>>().join(", ")
}

/// The statement that would make the index of a table's key.
pub(crate) fn index_definition(table: &TableSchema) -> String {
    format!(
        "CREATE UNIQUE INDEX {} ON public.{} USING btree ({})",
        quote_ident(&table.key_name),
        quote_ident(&table.name),
        key_columns(table)
    )
}

/// A relation's name to its number. 42P01 if there is none of that name.
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
        && let Some(relation) = env.system_relations.iter().find(|own| own.name() == name)
    {
        return Ok(Value::Oid(relation.oid()));
    }
    Err(SqlError::new(sqlstate::UNDEFINED_TABLE, format!("relation \"{text}\" does not exist")))
}

/// A type's name to its number. 42704 if there is none of that name.
pub(crate) fn to_regtype(text: &str) -> Result<Value, SqlError> {
    let plain = text.trim().trim_start_matches("pg_catalog.").to_lowercase();
    let found = Type::catalogued().find(|own| own.name == plain || own.ty.to_string() == plain);
    found
        .map(|own| Value::Oid(own.oid))
        .ok_or_else(|| SqlError::new(sqlstate::UNDEFINED_OBJECT, format!("type \"{text}\" does not exist")))
}

/// A number of a type that prints as a name (regclass, regtype, regnamespace): the name, or the number if nothing
/// has it.
pub(crate) fn oid_text(oid: u32, ty: &Type, env: &Env) -> String {
    let name = match ty {
        Type::Regtype => Type::from_oid(oid).map(|ty| ty.to_string()),
        Type::Regclass => relation_name(oid, env),
        Type::Opaque(REGNAMESPACE_OID, _) => {
            SCHEMAS.iter().find(|(own, _)| *own == oid).map(|(_, name)| name.to_string())
        }
        _ => None,
    };
    name.unwrap_or_else(|| oid.to_string())
}

fn relation_name(oid: u32, env: &Env) -> Option<String> {
    for table in env.snapshot.tables.values() {
        if table.oid() == oid {
            return Some(quote_ident(&table.name));
        }
        if table.key_oid() == oid {
            return Some(quote_ident(&table.key_name));
        }
    }
    env.system_relations.iter().find(|own| own.oid() == oid).map(|own| own.name().to_string())
}

/// What format_type() gives: a type with its length or precision. `modifier` as in pg_attribute.atttypmod.
pub(crate) fn format_type(oid: u32, modifier: i64) -> String {
    let modifier = modifier - 4;
    match Type::from_oid(oid) {
        Some(Type::Bpchar(_)) if modifier > 0 => format!("character({modifier})"),
        Some(Type::Bpchar(_)) => "bpchar".into(),
        Some(Type::Varchar(_)) if modifier > 0 => format!("character varying({modifier})"),
        Some(Type::Numeric(_)) if modifier > 0 => {
            // The scale has 11 bits and a sign.
            let scale = ((modifier & 0x7FF) ^ 1024) - 1024;
            format!("numeric({},{scale})", (modifier >> 16) & 0xFFFF)
        }
        Some(Type::Unknown) | None => "???".into(),
        Some(ty) => ty.to_string(),
    }
}
