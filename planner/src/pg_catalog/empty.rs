//! Relations that describe what this server does not have, or does not list: views, triggers, publications, statistics ..
//! They exist with PostgreSQL 15's columns, without rows: an empty answer serves clients better than an error. One that
//! gets rows moves to a file of its own.
//!
//! `empty.txt` has a line for each: number, name, columns with their types. Types that this server lacks are others
//! that compare and cast alike: oid for xid and regproc, text for inet, pg_lsn and expressions.

use std::sync::LazyLock;

use crate::expression::{Env, SystemRelation};
use crate::types::{Row, Type};

/// All of them.
pub(super) static EMPTY: LazyLock<Vec<Empty>> = LazyLock::new(|| {
    include_str!("empty.txt")
        .lines()
        .map(|line| Empty::read(line).expect("empty.txt is well-formed"))
        .collect()
});

/// A relation without rows.
pub(super) struct Empty {
    oid: u32,
    schema: &'static str,
    name: &'static str,
    columns: Vec<(&'static str, Type)>,
}

impl Empty {
    fn read(line: &'static str) -> Option<Empty> {
        let mut words = line.split(' ');
        let oid = words.next()?.parse().ok()?;
        let (schema, name) = words.next()?.split_once('.')?;
        let column = |word: &'static str| {
            let (name, ty) = word.split_once(':')?;
            Some((name, type_of(ty)?))
        };
        Some(Empty { oid, schema, name, columns: words.map(column).collect::<Option<_>>()? })
    }
}

/// The type of a name of pg_type.
fn type_of(name: &str) -> Option<Type> {
    match name.strip_prefix('_') {
        Some(element) => Some(Type::Array(Box::new(type_of(element)?))),
        None => Type::catalogued().find(|entry| entry.name == name).map(|entry| entry.ty.clone()),
    }
}

impl SystemRelation for Empty {
    fn oid(&self) -> u32 {
        self.oid
    }

    fn schema(&self) -> &'static str {
        self.schema
    }

    fn name(&self) -> &'static str {
        self.name
    }

    fn columns(&self) -> Vec<(&'static str, Type)> {
        self.columns.clone()
    }

    fn rows(&self, _: &Env) -> Vec<Row> {
        Vec::new()
    }

    fn is_listed(&self) -> bool {
        false
    }
}
