//! pg_class: tables, the indexes of their keys, and system relations.

use super::definition::{Definition, PG_CATALOG, column, flag, int2, oid, text, unused};
use super::definition::{INFORMATION_SCHEMA, VIEW_OIDS};
use super::pg_am::{BTREE_OID, HEAP_OID};
use crate::expression::{Env, INFORMATION_SCHEMA_OID, OWNER_OID, PG_CATALOG_OID, SystemRelation};
use crate::types::Value;
use crate::types::declared::{BOOL, CHAR, FLOAT8, INT2, INT4, NAME, OID, TEXT, TEXTS};

pub(super) static PG_CLASS: Definition<Class> = Definition {
    oid: 1259,
    schema: PG_CATALOG,
    name: "pg_class",
    columns: &[
        column("oid", OID, |c, _| oid(c.oid)),
        column("relname", NAME, |c, _| text(&*c.name)),
        column("relnamespace", OID, |c, _| oid(c.namespace)),
        unused("reltype", OID),
        unused("reloftype", OID),
        column("relowner", OID, |_, _| oid(OWNER_OID)),
        column("relam", OID, |c, _| oid(c.access_method)),
        column("relfilenode", OID, |c, _| oid(c.oid)),
        unused("reltablespace", OID),
        unused("relpages", INT4),
        column("reltuples", FLOAT8, |_, _| Some(Value::Float8(-1.0))),
        unused("relallvisible", INT4),
        unused("reltoastrelid", OID),
        column("relhasindex", BOOL, |c, _| flag(c.has_index)),
        unused("relisshared", BOOL),
        column("relpersistence", CHAR, |_, _| text("p")),
        column("relkind", CHAR, |c, _| text(c.kind)),
        column("relnatts", INT2, |c, _| int2(c.columns as i16)),
        unused("relchecks", INT2),
        unused("relhasrules", BOOL),
        unused("relhastriggers", BOOL),
        unused("relhassubclass", BOOL),
        unused("relrowsecurity", BOOL),
        unused("relforcerowsecurity", BOOL),
        column("relispopulated", BOOL, |_, _| flag(true)),
        column("relreplident", CHAR, |_, _| text("d")),
        unused("relispartition", BOOL),
        unused("relrewrite", OID),
        unused("relacl", TEXTS),
        unused("reloptions", TEXTS),
        unused("relpartbound", TEXT),
        unused("relfrozenxid", OID),
        unused("relminmxid", OID),
    ],
    items: classes,
};

pub(super) struct Class {
    oid: u32,
    name: String,
    /// "r" (table), "i" (index), or "v" (view).
    kind: &'static str,
    namespace: u32,
    access_method: u32,
    columns: usize,
    has_index: bool,
}

fn classes(env: &Env) -> Vec<Class> {
    let mut classes = Vec::new();
    for table in env.snapshot.tables.values() {
        classes.push(Class {
            oid: table.oid(),
            name: table.name.clone(),
            kind: "r",
            namespace: env.snapshot.schema_oid(&table.schema),
            access_method: HEAP_OID,
            columns: table.columns.len(),
            has_index: true,
        });
        classes.push(Class {
            oid: table.key_oid(),
            name: table.key_name.clone(),
            kind: "i",
            namespace: env.snapshot.schema_oid(&table.schema),
            access_method: BTREE_OID,
            columns: table.key.len(),
            has_index: false,
        });
    }
    classes.extend(env.system_relations.iter().filter(|own| own.is_listed()).map(|own| system_class(*own)));
    classes
}

fn system_class(relation: &dyn SystemRelation) -> Class {
    let (namespace, is_view) = match relation.schema() {
        INFORMATION_SCHEMA => (INFORMATION_SCHEMA_OID, true),
        _ => (PG_CATALOG_OID, VIEW_OIDS.contains(&relation.oid())),
    };
    Class {
        oid: relation.oid(),
        name: relation.name().into(),
        kind: if is_view { "v" } else { "r" },
        namespace,
        access_method: 0,
        columns: relation.columns().len(),
        has_index: false,
    }
}
