//! Default values of columns. The schema keeps them as text.

use super::binder::Binder;
use crate::catalog::TableSchema;
use crate::error::SqlError;
use crate::expression::Expr;
use crate::parse::parse_expression;

impl Binder {
    /// The default value of a column of a table.
    pub(super) fn default(&mut self, table: &TableSchema, at: usize) -> Result<Expr, SqlError> {
        let column = &table.columns[at];
        match &column.default {
            None => Ok(Expr::Const(None)),
            Some(text) => {
                let value = self.expr(&parse_expression(text)?)?;
                self.assign(value, &column.name, &column.ty)
            }
        }
    }

    /// The default values of all columns of a table.
    pub(super) fn defaults(&mut self, table: &TableSchema) -> Result<Vec<Expr>, SqlError> {
        (0..table.columns.len()).map(|at| self.default(table, at)).collect()
    }
}
