//! pg_type: the types, each followed by that of its arrays.

use super::definition::{Definition, PG_CATALOG, column, flag, int2, int4, oid, text, unused};
use super::pg_collation::collation;
use crate::expression::{Env, OWNER_OID, PG_CATALOG_OID};
use crate::types::Type;
use crate::types::declared::{BOOL, CHAR, INT2, INT4, NAME, OID, TEXT, TEXTS};

pub(super) static PG_TYPE: Definition<TypeRow> = Definition {
    oid: 1247,
    schema: PG_CATALOG,
    name: "pg_type",
    columns: &[
        column("oid", OID, |t, _| oid(t.oid)),
        column("typname", NAME, |t, _| text(&*t.name)),
        column("typnamespace", OID, |_, _| oid(PG_CATALOG_OID)),
        column("typowner", OID, |_, _| oid(OWNER_OID)),
        column("typlen", INT2, |t, _| int2(t.size)),
        column("typbyval", BOOL, |t, _| flag(matches!(t.size, 1 | 2 | 4 | 8))),
        column("typtype", CHAR, |_, _| text("b")),
        column("typcategory", CHAR, |t, _| text(t.category)),
        unused("typispreferred", BOOL),
        column("typisdefined", BOOL, |_, _| flag(true)),
        column("typdelim", CHAR, |_, _| text(",")),
        unused("typrelid", OID),
        column("typelem", OID, |t, _| oid(t.element_oid)),
        column("typarray", OID, |t, _| oid(t.array_oid)),
        column("typinput", TEXT, |t, _| text(routine(t, "in"))),
        column("typoutput", TEXT, |t, _| text(routine(t, "out"))),
        column("typreceive", TEXT, |t, _| text(routine(t, "recv"))),
        column("typsend", TEXT, |t, _| text(routine(t, "send"))),
        column("typmodin", TEXT, |_, _| text("-")),
        column("typmodout", TEXT, |_, _| text("-")),
        column("typanalyze", TEXT, |_, _| text("-")),
        column("typsubscript", TEXT, |t, _| {
            text(if t.element_oid == 0 { "-" } else { "array_subscript_handler" })
        }),
        column("typalign", CHAR, |t, _| text(alignment(t))),
        column("typstorage", CHAR, |t, _| text(if t.size < 0 { "x" } else { "p" })),
        unused("typdefaultbin", TEXT),
        unused("typnotnull", BOOL),
        unused("typbasetype", OID),
        column("typtypmod", INT4, |_, _| int4(-1)),
        unused("typndims", INT4),
        column("typcollation", OID, |t, _| oid(t.collation)),
        unused("typdefault", TEXT),
        unused("typacl", TEXTS),
    ],
    items: types,
};

pub(super) struct TypeRow {
    oid: u32,
    name: String,
    size: i16,
    category: &'static str,
    /// The type of an array's elements; 0 if it is no array.
    element_oid: u32,
    /// The type of this one's arrays; 0 if it has none.
    array_oid: u32,
    collation: u32,
}

fn types(_: &Env) -> Vec<TypeRow> {
    let mut types = Vec::new();
    for entry in Type::catalogued() {
        types.push(TypeRow {
            oid: entry.oid,
            name: entry.name.into(),
            size: entry.size,
            category: category(&entry.ty),
            element_oid: 0,
            array_oid: entry.array_oid,
            collation: collation(&entry.ty),
        });
        types.push(TypeRow {
            oid: entry.array_oid,
            name: format!("_{}", entry.name),
            size: -1,
            category: "A",
            element_oid: entry.oid,
            array_oid: 0,
            collation: collation(&entry.ty),
        });
    }
    types
}

/// The name of the routine that reads or writes values, as PostgreSQL's are called.
fn routine(ty: &TypeRow, does: &str) -> String {
    let name = if ty.element_oid == 0 { ty.name.as_str() } else { "array" };
    let apart = [
        "array",
        "date",
        "time",
        "timetz",
        "timestamp",
        "timestamptz",
        "interval",
        "numeric",
        "uuid",
        "json",
        "jsonb",
    ];
    format!("{name}{}{does}", if apart.contains(&name) { "_" } else { "" })
}

fn alignment(ty: &TypeRow) -> &'static str {
    match (ty.size, ty.name.as_str()) {
        (1, _) | (_, "name" | "uuid") => "c",
        (2, _) => "s",
        (8 | 16, _) => "d",
        _ => "i",
    }
}

fn category(ty: &Type) -> &'static str {
    match ty {
        Type::Bool => "B",
        Type::Interval(_) => "T",
        ty if ty.is_datetime() => "D",
        ty if ty.is_number() || ty.is_oid() => "N",
        Type::Char => "Z",
        ty if ty.is_text() => "S",
        _ => "U",
    }
}
