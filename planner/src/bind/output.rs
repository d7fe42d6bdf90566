//! The output columns of a query and of RETURNING.

use super::binder::{Binder, ScopeColumn};
use crate::error::{SqlError, sqlstate};
use crate::expression::Expr;
use crate::result::Column;
use crate::statement::{Body, Item, Name, Syntax};
use crate::types::Type;

/// Columns of a result at most, as in PostgreSQL.
const COLUMNS_MAX: usize = 1_664;
/// too_many_columns.
const TOO_MANY_COLUMNS: &str = "54011";

impl Binder {
    /// Binds a select list, or RETURNING, over the innermost scope.
    pub(super) fn items(&mut self, items: &[Item]) -> Result<(Vec<Expr>, Vec<Column>), SqlError> {
        let (mut exprs, mut columns) = (Vec::new(), Vec::new());
        for item in items {
            match item {
                Item::All(table) => {
                    for (at, column) in self.all_of(table.as_ref())? {
                        exprs.push(Expr::column(at));
                        columns.push(output_column(column.name.clone(), column.ty.clone(), Some(column)));
                    }
                }
                Item::Expression { syntax, alias } => {
                    let typed = self.expr(syntax)?;
                    let typed = self.known(typed)?;
                    let origin = match &typed.expr {
                        Expr::Column { level: 0, at } => self.scopes.last().and_then(|scope| scope.get(*at)),
                        _ => None,
                    };
                    let name = alias.clone().unwrap_or_else(|| output_name(syntax));
                    columns.push(output_column(name, typed.ty, origin));
                    exprs.push(typed.expr);
                }
            }
        }
        Self::check_width(columns.len())?;
        Ok((exprs, columns))
    }

    /// 54011 if a row would have too many columns.
    pub(super) fn check_width(columns: usize) -> Result<(), SqlError> {
        if columns <= COLUMNS_MAX {
            return Ok(());
        }
        let text = format!("target lists can have at most {COLUMNS_MAX} entries");
        Err(SqlError::new(TOO_MANY_COLUMNS, text))
    }

    /// The columns that `*` means, or `table.*`, with their positions.
    fn all_of(&self, table: Option<&Name>) -> Result<Vec<(usize, &ScopeColumn)>, SqlError> {
        let scope = self.scopes.last().map_or(&[][..], Vec::as_slice);
        let shown =
            |column: &ScopeColumn| !column.hidden && table.is_none_or(|table| *table.last() == column.table);
        let found: Vec<_> = scope.iter().enumerate().filter(|(_, column)| shown(column)).collect();
        if !found.is_empty() {
            return Ok(found);
        }
        Err(match table {
            Some(table) => SqlError::new(
                sqlstate::UNDEFINED_TABLE,
                format!("missing FROM-clause entry for table \"{}\"", table.last()),
            ),
            None => SqlError::new(sqlstate::SYNTAX, "SELECT * with no tables specified is not valid"),
        })
    }
}

/// An output column; `origin` is the column of a table that it shows unchanged.
fn output_column(name: String, ty: Type, origin: Option<&ScopeColumn>) -> Column {
    let (table, attribute) = origin.map_or((0, 0), |column| column.origin);
    Column { name, ty, table, attribute }
}

/// The name that PostgreSQL gives to an unnamed output column.
fn output_name(syntax: &Syntax) -> String {
    match syntax {
        Syntax::Column(name) => name.last().to_string(),
        Syntax::Call(call) => call.name.last().to_string(),
        Syntax::Cast { arg, ty } => match output_name(arg) {
            name if name == "?column?" => match ty {
                Type::Array(element) => element.name(),
                ty => ty.plain().name(),
            },
            name => name,
        },
        Syntax::Case { otherwise: Some(otherwise), .. } => match output_name(otherwise) {
            name if name == "?column?" => "case".into(),
            name => name,
        },
        Syntax::Case { .. } => "case".into(),
        Syntax::Exists(_) => "exists".into(),
        Syntax::ArrayQuery(_) | Syntax::Array(_) => "array".into(),
        Syntax::Row(_) => "row".into(),
        Syntax::Bool(_) => "bool".into(),
        Syntax::Subquery(query) => match &query.body {
            Body::Select(select) => match select.items.first() {
                Some(Item::Expression { alias: Some(alias), .. }) => alias.clone(),
                Some(Item::Expression { syntax, .. }) => output_name(syntax),
                _ => "?column?".into(),
            },
            _ => "?column?".into(),
        },
        Syntax::Index { arg, .. } => output_name(arg),
        _ => "?column?".into(),
    }
}
