//! Functions about the session, its settings, and the server.

use super::function::{Arguments, Function, boolean, function, null, text};
use crate::error::SqlError;
use crate::search_path::PG_CATALOG;
use crate::types::declared::{BOOL, INT4, NAME, NAMES, OID, TEXT};
use crate::types::{Array, Datum, Type, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    function("current_catalog", &[], NAME, |a| text(a.env.session.database())),
    function("current_database", &[], NAME, |a| text(a.env.session.database())),
    function("current_role", &[], NAME, |a| text(a.env.session.user())),
    function("current_schema", &[], NAME, current_schema),
    function("current_schemas", &[BOOL], NAMES, current_schemas),
    function("current_setting", &[TEXT, BOOL], TEXT, current_setting).optional(1),
    function("current_user", &[], NAME, |a| text(a.env.session.user())),
    function("inet_server_addr", &[], TEXT, null),
    function("inet_server_port", &[], INT4, |a| Ok(a.env.info.port.map(|port| Value::Int4(port.into())))),
    function("pg_advisory_unlock_all", &[], TEXT, |_| text("")),
    function("pg_backend_pid", &[], INT4, |a| Ok(Some(Value::Int4(a.env.session.id() as i32)))),
    function("pg_is_in_recovery", &[], BOOL, |_| boolean(false)),
    function("pg_my_temp_schema", &[], OID, |_| Ok(Some(Value::Oid(0)))),
    function("session_user", &[], NAME, |a| text(a.env.session.user())),
    function("set_config", &[TEXT, TEXT, BOOL], TEXT, set_config).volatile(),
    function("user", &[], NAME, |a| text(a.env.session.user())),
    function("version", &[], TEXT, |a| text(a.env.info.version.as_str())),
];

/// current_schema(): where new tables go.
fn current_schema(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let path = a.env.session.search_path();
    Ok(a.env.snapshot.existing(&path).first().map(|name| Value::text(*name)))
}

/// current_schemas(implicit): with pg_catalog if it is searched though it is not named.
fn current_schemas(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let path = a.env.session.search_path();
    let mut schemas = a.env.snapshot.existing(&path);
    if a.is_true(0) && !schemas.contains(&PG_CATALOG) {
        schemas.insert(0, PG_CATALOG);
    }
    let items = schemas.into_iter().map(|name| Some(Value::text(name))).collect();
    Ok(Some(Value::Array(Array::new(Type::Name, items).into())))
}

/// current_setting(name[, missing_ok]).
fn current_setting(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    match a.env.session.show(&a.text(0)) {
        Ok(value) => text(value),
        Err(_) if a.is_true(1) => Ok(None),
        Err(error) => Err(error),
    }
}

/// set_config(name, value, local).
fn set_config(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    a.env.session.set(&a.text(0), Some(&a.text(1)), a.is_true(2))?;
    text(a.env.session.show(&a.text(0))?)
}
