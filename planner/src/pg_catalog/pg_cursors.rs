//! pg_cursors: the cursors of the session.

use super::definition::{Definition, PG_CATALOG, column, text};
use crate::expression::CursorInfo;
use crate::types::Value;
use crate::types::declared::{BOOL, TEXT, TIMESTAMPTZ};

pub(super) static PG_CURSORS: Definition<CursorInfo> = Definition {
    oid: 12_040,
    schema: PG_CATALOG,
    name: "pg_cursors",
    columns: &[
        column("name", TEXT, |cursor, _| text(&*cursor.name)),
        column("statement", TEXT, |cursor, _| text(&*cursor.statement)),
        column("is_holdable", BOOL, |cursor, _| Some(Value::Bool(cursor.hold))),
        column("is_binary", BOOL, |cursor, _| Some(Value::Bool(cursor.binary))),
        column("is_scrollable", BOOL, |cursor, _| Some(Value::Bool(cursor.scrolls))),
        column("creation_time", TIMESTAMPTZ, |cursor, _| Some(Value::Timestamptz(cursor.created))),
    ],
    items: |env| env.session.cursors(),
};
