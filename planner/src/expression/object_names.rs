//! Names of tables, indexes, system relations, types and schemas: to their numbers and back, and as they stand in
//! definitions.

use super::env::Env;
use crate::catalog::TableSchema;
use crate::error::{SqlError, sqlstate};
use crate::search_path::dotted;
pub(crate) use crate::search_path::quote_ident;
use crate::types::{Type, Value};

/// pg_namespace.oid of pg_catalog.
pub(crate) const PG_CATALOG_OID: u32 = 11;
/// pg_namespace.oid of information_schema.
pub(crate) const INFORMATION_SCHEMA_OID: u32 = 13_000;
/// pg_authid.oid of the only user.
pub(crate) const OWNER_OID: u32 = 10;
/// pg_type.oid of regnamespace.
const REGNAMESPACE_OID: u32 = 4089;

/// The columns of a table's key, as they stand in a definition.
pub(crate) fn key_columns(table: &TableSchema) -> String {
    let names = table.key.iter().map(|at| quote_ident(&table.columns[*at].name));
    names.collect::<Vec<_>>().join(", ")
}

/// The statement that would make the index of a table's key.
pub(crate) fn index_definition(table: &TableSchema) -> String {
    format!(
        "CREATE UNIQUE INDEX {} ON {}.{} USING btree ({})",
        quote_ident(&table.key_name),
        quote_ident(&table.schema),
        quote_ident(&table.name),
        key_columns(table)
    )
}

/// A relation's name to its number. 42P01 if there is none of that name.
pub(crate) fn to_regclass(text: &str, env: &Env) -> Result<Value, SqlError> {
    if let Ok(oid) = text.parse() {
        return Ok(Value::Oid(oid));
    }
    let parts = dotted(text).ok_or_else(|| SqlError::new(sqlstate::INVALID_NAME, "invalid name syntax"))?;
    let path = env.session.search_path();
    let (schema, name) = path.split(&parts)?;
    if let Some(found) = path.candidates(schema).into_iter().find_map(|schema| relation_in(schema, name, env))
    {
        return Ok(Value::Oid(found));
    }
    match schema {
        Some(schema) if !env.snapshot.schemas.contains_key(schema) => {
            Err(SqlError::new(sqlstate::INVALID_SCHEMA, format!("schema \"{schema}\" does not exist")))
        }
        _ => {
            let text = parts.join(".");
            Err(SqlError::new(sqlstate::UNDEFINED_TABLE, format!("relation \"{text}\" does not exist")))
        }
    }
}

/// The number of a relation of a schema.
fn relation_in(schema: &str, name: &str, env: &Env) -> Option<u32> {
    if let Some(table) = env.snapshot.table(schema, name) {
        return Some(table.oid());
    }
    if let Some(table) = env.snapshot.tables_in(schema).find(|table| table.key_name == name) {
        return Some(table.key_oid());
    }
    let mut system = env.system_relations.iter();
    system.find(|own| own.schema() == schema && own.name() == name).map(|own| own.oid())
}

/// Whether a name without a schema finds the relation of this number. `None`: there is none.
pub(crate) fn is_visible(oid: u32, env: &Env) -> Option<bool> {
    let (schema, name) = relation_of(oid, env)?;
    let path = env.session.search_path();
    let found = path.searched().iter().find_map(|schema| relation_in(schema, &name, env));
    Some(path.searched().contains(&schema) && found == Some(oid))
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
            let mut schemas = env.snapshot.schemas.iter();
            schemas.find(|(_, own)| own.oid == oid).map(|(name, _)| quote_ident(name))
        }
        _ => None,
    };
    name.unwrap_or_else(|| oid.to_string())
}

/// A relation's name, with its schema where the search path does not find it.
fn relation_name(oid: u32, env: &Env) -> Option<String> {
    let (schema, name) = relation_of(oid, env)?;
    let name = quote_ident(&name);
    Some(if is_visible(oid, env)? { name } else { format!("{}.{name}", quote_ident(&schema)) })
}

/// The schema and the name of the relation of this number.
fn relation_of(oid: u32, env: &Env) -> Option<(String, String)> {
    for table in env.snapshot.tables.values() {
        if table.oid() == oid {
            return Some((table.schema.clone(), table.name.clone()));
        }
        if table.key_oid() == oid {
            return Some((table.schema.clone(), table.key_name.clone()));
        }
    }
    let mut system = env.system_relations.iter();
    system.find(|own| own.oid() == oid).map(|own| (own.schema().to_string(), own.name().to_string()))
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
