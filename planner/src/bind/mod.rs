//! Names and types: from our tree of a statement to plans over expressions.
//!
//! A [`Binder`] holds the scopes of the queries around the point at hand (innermost last) and the parameter types
//! found so far: a parameter gets its type from what it is compared with or stored into, text if nothing says.

mod call;
mod expression;
mod select;

use std::sync::Arc;

use crate::catalog::{Snapshot, TableSchema};
use crate::error::{SqlError, sqlstate};
use crate::expression::Expr;
use crate::query::Aggregate;
use crate::result::Column;
use crate::statement::{Item, Name};
use crate::types::Type;

/// A column that names can refer to.
#[derive(Clone, Debug)]
pub(crate) struct ScopeColumn {
    /// The table's alias.
    pub(crate) table: String,
    pub(crate) name: String,
    pub(crate) ty: Type,
    /// Not in `*`: a system column.
    pub(crate) hidden: bool,
    /// (table oid, column number) of a column of a table.
    pub(crate) origin: (u32, i16),
}

/// An expression with its type.
#[derive(Clone, Debug)]
pub(crate) struct Typed {
    pub(crate) expr: Expr,
    pub(crate) ty: Type,
}

/// Binds one statement.
pub(crate) struct Binder {
    pub(crate) snapshot: Arc<Snapshot>,
    /// Parameter types so far; `Unknown`: not known yet.
    pub(crate) params: Vec<Type>,
    /// Columns of the queries around, innermost last.
    pub(crate) scopes: Vec<Vec<ScopeColumn>>,
    /// Aggregates of the query at hand; `None` where none are allowed.
    aggregates: Option<Vec<Aggregate>>,
    /// A name of a table that was not found (the catalog may be old).
    pub(crate) missing_table: bool,
}

/// The name of a table without the schema `public`; `None` for another schema.
pub(crate) fn public_name(name: &Name) -> Option<&str> {
    match name.parts.as_slice() {
        [table] => Some(table),
        [schema, table] if schema == "public" => Some(table),
        [_, schema, table] if schema == "public" => Some(table),
        _ => None,
    }
}

impl Binder {
    /// A binder with the parameter types that the client declared.
    pub(crate) fn new(snapshot: Arc<Snapshot>, hints: &[Type]) -> Binder {
        Binder {
            snapshot,
            params: hints.to_vec(),
            scopes: Vec::new(),
            aggregates: None,
            missing_table: false,
        }
    }

    /// The parameter types, text for those that nothing has told.
    pub(crate) fn parameter_types(&self) -> Vec<Type> {
        let known = |ty: &Type| if *ty == Type::Unknown { Type::Text } else { ty.clone() };
        self.params.iter().map(known).collect()
    }

    /// A stored table. 42P01.
    pub(crate) fn table(&mut self, name: &Name) -> Result<Arc<TableSchema>, SqlError> {
        let found = public_name(name).and_then(|own| self.snapshot.table(own)).cloned();
        found.ok_or_else(|| {
            self.missing_table = true;
            let error = SqlError::new(
                sqlstate::UNDEFINED_TABLE,
                format!("relation \"{}\" does not exist", name.dotted()),
            );
            match name.position {
                Some(position) => error.at(position),
                None => error,
            }
        })
    }

    /// The columns of a stored table, as a scope.
    pub(crate) fn table_scope(table: &Arc<TableSchema>, alias: &str) -> Vec<ScopeColumn> {
        let columns = crate::rows::table_columns(table);
        let own = table.columns.len();
        columns
            .into_iter()
            .enumerate()
            .map(|(at, (name, ty))| ScopeColumn {
                table: alias.to_string(),
                name,
                ty,
                hidden: at >= own,
                origin: if at < own { (table.oid(), at as i16 + 1) } else { (0, 0) },
            })
            .collect()
    }

    /// Binds RETURNING over the innermost scope.
    pub(crate) fn returning(&mut self, items: &[Item]) -> Result<(Vec<Expr>, Vec<Column>), SqlError> {
        self.items(items)
    }
}
