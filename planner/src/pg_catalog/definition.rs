//! What the file of a system relation is made of: a definition, whose columns each say their name, their type, and their
//! value for an item. A row is made of each item.

use std::ops::Range;
use std::sync::Arc;

use crate::catalog::TableSchema;
use crate::expression::{Env, SystemRelation};
use crate::types::{Array, Datum, DeclaredType, Row, Type, Value};

pub(super) use crate::search_path::PG_CATALOG;
/// The schema of those that the SQL standard defines.
pub(super) const INFORMATION_SCHEMA: &str = "information_schema";
/// The numbers of relations of pg_catalog that are views in PostgreSQL, which gives those no fixed numbers.
pub(super) const VIEW_OIDS: Range<u32> = 12_000..13_000;

/// A system relation, a row of which is made of an item.
pub(super) struct Definition<T: 'static> {
    /// pg_class.oid.
    pub(super) oid: u32,
    /// [`PG_CATALOG`] or [`INFORMATION_SCHEMA`].
    pub(super) schema: &'static str,
    /// Its name.
    pub(super) name: &'static str,
    /// Its columns, in order.
    pub(super) columns: &'static [SystemColumn<T>],
    /// What rows are made of.
    pub(super) items: fn(&Env) -> Vec<T>,
}

/// A column of a system relation.
pub(super) struct SystemColumn<T> {
    name: &'static str,
    ty: DeclaredType,
    /// The value for an item. `None`: the same neutral value in all rows.
    value: Option<fn(&T, &Env) -> Datum>,
}

/// A column with a value for each item.
pub(super) const fn column<T>(
    name: &'static str,
    ty: DeclaredType,
    value: fn(&T, &Env) -> Datum,
) -> SystemColumn<T> {
    SystemColumn { name, ty, value: Some(value) }
}

/// A column about something that this server does not have: false, 0, or an empty name; NULL for texts, arrays and
/// times.
pub(super) const fn unused<T>(name: &'static str, ty: DeclaredType) -> SystemColumn<T> {
    SystemColumn { name, ty, value: None }
}

impl<T> SystemColumn<T> {
    fn ty(&self) -> Type {
        // No column is of a polymorphic type.
        self.ty.resolved(&Type::Unknown)
    }
}

impl<T: 'static> SystemRelation for Definition<T> {
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
        self.columns.iter().map(|column| (column.name, column.ty())).collect()
    }

    fn rows(&self, env: &Env) -> Vec<Row> {
        let neutral: Row = self.columns.iter().map(|column| neutral(&column.ty())).collect();
        let row = |item: &T| {
            let values = self.columns.iter().zip(&neutral);
            values
                .map(|(column, neutral)| column.value.map_or(neutral.clone(), |value| value(item, env)))
                .collect()
        };
        (self.items)(env).iter().map(row).collect()
    }
}

fn neutral(ty: &Type) -> Datum {
    match ty {
        Type::Bool => flag(false),
        Type::Int2 => int2(0),
        Type::Int4 => int4(0),
        Type::Int8 => Some(Value::Int8(0)),
        Type::Float8 => Some(Value::Float8(0.0)),
        Type::Oid => oid(0),
        Type::Char | Type::Name => text(""),
        _ => None,
    }
}

pub(super) fn text(value: impl Into<String>) -> Datum {
    Some(Value::Text(value.into()))
}

pub(super) fn oid(value: u32) -> Datum {
    Some(Value::Oid(value))
}

pub(super) fn flag(value: bool) -> Datum {
    Some(Value::Bool(value))
}

pub(super) fn int2(value: i16) -> Datum {
    Some(Value::Int2(value))
}

pub(super) fn int4(value: i32) -> Datum {
    Some(Value::Int4(value))
}

pub(super) fn int2s(values: impl Iterator<Item = i16>) -> Datum {
    Some(Value::Array(Array::new(Type::Int2, values.map(int2).collect()).into()))
}

/// The tables of the store, as items.
pub(super) fn tables(env: &Env) -> Vec<Arc<TableSchema>> {
    env.snapshot.tables.values().cloned().collect()
}

/// The numbers of the columns of a table's key, as pg_attribute has them.
pub(super) fn key_numbers(table: &TableSchema) -> Datum {
    int2s(table.key.iter().map(|at| *at as i16 + 1))
}
