//! Functions about tables, types, and what clients ask of a PostgreSQL catalog.
//!
//! Everybody may do everything and everything is visible, so privileges and visibility are always true. What this server
//! does not have (comments, sizes on disk, sequences, views) is NULL.

use super::function::{Arguments, Code, Function, boolean, function, null, text};
use crate::error::{SqlError, sqlstate};
use crate::expression::object_names::{self, quote_ident};
use crate::types::declared::{ANY, BOOL, INT4, INT8, NAME, OID, REGCLASS, REGTYPE, TEXT};
use crate::types::{Datum, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    function("col_description", &[OID, INT4], TEXT, null),
    function("format_type", &[OID, INT4], TEXT, format_type).accepts_null(),
    function("getdatabaseencoding", &[], NAME, |_| text("UTF8")),
    function("has_any_column_privilege", &[ANY, ANY, ANY], BOOL, ALWAYS).optional(1).accepts_null(),
    function("has_column_privilege", &[ANY, ANY, ANY, ANY], BOOL, ALWAYS).optional(1).accepts_null(),
    function("has_database_privilege", &[ANY, ANY, ANY], BOOL, ALWAYS).optional(1).accepts_null(),
    function("has_function_privilege", &[ANY, ANY, ANY], BOOL, ALWAYS).optional(1).accepts_null(),
    function("has_schema_privilege", &[ANY, ANY, ANY], BOOL, ALWAYS).optional(1).accepts_null(),
    function("has_table_privilege", &[ANY, ANY, ANY], BOOL, ALWAYS).optional(1).accepts_null(),
    function("obj_description", &[OID, TEXT], TEXT, null).optional(1),
    function("pg_char_to_encoding", &[NAME], INT4, pg_char_to_encoding),
    function("pg_collation_is_visible", &[OID], BOOL, ALWAYS).accepts_null(),
    function("pg_conversion_is_visible", &[OID], BOOL, ALWAYS).accepts_null(),
    function("pg_database_size", &[ANY], INT8, null),
    function("pg_encoding_to_char", &[INT4], NAME, |a| text(if a.integer(0) == 6 { "UTF8" } else { "" })),
    function("pg_function_is_visible", &[OID], BOOL, ALWAYS).accepts_null(),
    function("pg_get_constraintdef", &[OID, BOOL], TEXT, pg_get_constraintdef).optional(1),
    // The columns of catalogs that hold an expression hold its text.
    function("pg_get_expr", &[TEXT, OID, BOOL], TEXT, |a| text(a.text(0))).optional(1),
    // There are no functions that pg_proc lists.
    function("pg_get_function_arguments", &[OID], TEXT, null),
    function("pg_get_function_identity_arguments", &[OID], TEXT, null),
    function("pg_get_function_result", &[OID], TEXT, null),
    function("pg_get_function_sqlbody", &[OID], TEXT, null),
    function("pg_get_functiondef", &[OID], TEXT, null),
    function("pg_get_indexdef", &[OID, INT4, BOOL], TEXT, pg_get_indexdef).optional(2),
    function("pg_get_partkeydef", &[OID], TEXT, null),
    function("pg_get_serial_sequence", &[TEXT, TEXT], TEXT, null),
    function("pg_get_statisticsobjdef_columns", &[OID], TEXT, null),
    function("pg_get_userbyid", &[OID], NAME, pg_get_userbyid),
    function("pg_get_viewdef", &[OID, BOOL], TEXT, null).optional(1),
    function("pg_is_other_temp_schema", &[OID], BOOL, NEVER),
    function("pg_opclass_is_visible", &[OID], BOOL, ALWAYS).accepts_null(),
    function("pg_operator_is_visible", &[OID], BOOL, ALWAYS).accepts_null(),
    function("pg_opfamily_is_visible", &[OID], BOOL, ALWAYS).accepts_null(),
    function("pg_relation_is_publishable", &[ANY], BOOL, NEVER),
    function("pg_relation_size", &[ANY, TEXT], INT8, null).optional(1),
    function("pg_size_pretty", &[ANY], TEXT, null),
    function("pg_statistics_obj_is_visible", &[OID], BOOL, ALWAYS).accepts_null(),
    function("pg_table_is_visible", &[OID], BOOL, pg_table_is_visible),
    function("pg_table_size", &[ANY], INT8, null),
    function("pg_tablespace_location", &[OID], TEXT, |_| text("")),
    function("pg_tablespace_size", &[ANY], INT8, null),
    function("pg_total_relation_size", &[ANY], INT8, null),
    function("pg_ts_config_is_visible", &[OID], BOOL, ALWAYS).accepts_null(),
    function("pg_ts_dict_is_visible", &[OID], BOOL, ALWAYS).accepts_null(),
    function("pg_ts_parser_is_visible", &[OID], BOOL, ALWAYS).accepts_null(),
    function("pg_ts_template_is_visible", &[OID], BOOL, ALWAYS).accepts_null(),
    function("pg_type_is_visible", &[OID], BOOL, ALWAYS).accepts_null(),
    function("shobj_description", &[OID, TEXT], TEXT, null),
    function("to_regclass", &[TEXT], REGCLASS, to_regclass),
    function("to_regtype", &[TEXT], REGTYPE, |a| Ok(object_names::to_regtype(&a.text(0)).ok())),
];

const ALWAYS: Code = |_| boolean(true);
const NEVER: Code = |_| boolean(false);

fn oid(a: &Arguments<'_>) -> Option<u32> {
    u32::try_from(a.value(0)?.as_i64()?).ok()
}

/// format_type(type, modifier).
fn format_type(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let Some(oid) = oid(a) else { return Ok(None) };
    let modifier = a.value(1).and_then(Value::as_i64).unwrap_or(-1);
    text(object_names::format_type(oid, modifier))
}

/// pg_get_constraintdef(constraint[, pretty]).
fn pg_get_constraintdef(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let mut tables = a.env.snapshot.tables.values();
    let table = tables.find(|table| Some(table.constraint_oid()) == oid(a));
    Ok(table.map(|table| Value::Text(format!("PRIMARY KEY ({})", object_names::key_columns(table)))))
}

/// pg_get_indexdef(index[, column, pretty]): the whole index, or the name of one of its columns (from 1).
fn pg_get_indexdef(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let mut tables = a.env.snapshot.tables.values();
    let Some(table) = tables.find(|table| Some(table.key_oid()) == oid(a)) else { return Ok(None) };
    match usize::try_from(a.integer(1)) {
        Ok(column @ 1..) => match table.key.get(column - 1) {
            Some(at) => text(quote_ident(&table.columns[*at].name)),
            None => Ok(None),
        },
        _ => text(object_names::index_definition(table)),
    }
}

fn pg_table_is_visible(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    Ok(oid(a).and_then(|oid| object_names::is_visible(oid, a.env)).map(Value::Bool))
}

/// to_regclass(name): NULL if there is no such relation.
fn to_regclass(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    match object_names::to_regclass(&a.text(0), a.env) {
        Err(error) if matches!(error.sqlstate, sqlstate::UNDEFINED_TABLE | sqlstate::INVALID_SCHEMA) => {
            Ok(None)
        }
        found => found.map(Some),
    }
}

/// The number of an encoding of the server, -1 for others.
fn pg_char_to_encoding(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let known = ["utf8", "unicode", "utf-8"].iter().any(|name| a.text(0).eq_ignore_ascii_case(name));
    Ok(Some(Value::Int4(if known { 6 } else { -1 })))
}

fn pg_get_userbyid(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    match oid(a) {
        Some(object_names::OWNER_OID) => text(a.env.session.user()),
        _ => text(format!("unknown (OID={})", a.integer(0))),
    }
}
