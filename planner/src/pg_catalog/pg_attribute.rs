//! pg_attribute: the columns of tables, of the indexes of their keys, and of system relations.

use super::definition::{Definition, PG_CATALOG, column, flag, int2, int4, oid, text, unused};
use super::pg_collation::collation;
use crate::expression::Env;
use crate::types::Type;
use crate::types::declared::{BOOL, CHAR, INT2, INT4, NAME, OID, TEXTS};

pub(super) static PG_ATTRIBUTE: Definition<Attribute> = Definition {
    oid: 1249,
    schema: PG_CATALOG,
    name: "pg_attribute",
    columns: &[
        column("attrelid", OID, |a, _| oid(a.relation)),
        column("attname", NAME, |a, _| text(&*a.name)),
        column("atttypid", OID, |a, _| oid(a.ty.oid())),
        column("attstattarget", INT4, |_, _| int4(-1)),
        column("attlen", INT2, |a, _| int2(a.ty.size())),
        column("attnum", INT2, |a, _| int2(a.number)),
        unused("attndims", INT4),
        column("atttypmod", INT4, |a, _| int4(a.ty.modifier())),
        unused("attbyval", BOOL),
        column("attstorage", CHAR, |a, _| text(if a.ty.size() < 0 { "x" } else { "p" })),
        column("attalign", CHAR, |_, _| text("i")),
        unused("attcompression", CHAR),
        column("attnotnull", BOOL, |a, _| flag(a.not_null)),
        column("atthasdef", BOOL, |a, _| flag(a.has_default)),
        unused("atthasmissing", BOOL),
        unused("attidentity", CHAR),
        unused("attgenerated", CHAR),
        unused("attisdropped", BOOL),
        column("attislocal", BOOL, |_, _| flag(true)),
        unused("attinhcount", INT4),
        column("attcollation", OID, |a, _| oid(collation(&a.ty))),
        unused("attacl", TEXTS),
        unused("attoptions", TEXTS),
        unused("attfdwoptions", TEXTS),
        unused("attmissingval", TEXTS),
        column("attcacheoff", INT4, |_, _| int4(-1)),
    ],
    items: attributes,
};

pub(super) struct Attribute {
    relation: u32,
    number: i16,
    name: String,
    ty: Type,
    not_null: bool,
    has_default: bool,
}

fn attributes(env: &Env) -> Vec<Attribute> {
    let mut attributes = Vec::new();
    for table in env.snapshot.tables.values() {
        for (at, column) in table.columns.iter().enumerate() {
            attributes.push(Attribute {
                relation: table.oid(),
                number: at as i16 + 1,
                name: column.name.clone(),
                ty: column.ty.clone(),
                not_null: column.not_null,
                has_default: column.default.is_some(),
            });
        }
        for (nth, at) in table.key.iter().enumerate() {
            let column = &table.columns[*at];
            attributes.push(plain(table.key_oid(), nth, &column.name, column.ty.clone()));
        }
    }
    for relation in env.system_relations.iter().filter(|relation| relation.is_listed()) {
        for (at, (name, ty)) in relation.columns().into_iter().enumerate() {
            attributes.push(plain(relation.oid(), at, name, ty));
        }
    }
    attributes
}

/// A column that may be NULL, without a default.
fn plain(relation: u32, at: usize, name: &str, ty: Type) -> Attribute {
    let number = at as i16 + 1;
    Attribute { relation, number, name: name.into(), ty, not_null: false, has_default: false }
}
