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
        let shown = |column: &ScopeColumn| {
            !column.hidden
                && match table {
                    Some(table) => *table.last() == column.table,
                    None => !column.merged,
                }
        };
        let mut found: Vec<_> = scope.iter().enumerate().filter(|(_, column)| shown(column)).collect();
        if table.is_none() {
            found.sort_by_key(|(_, column)| column.rank);
        }
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
    strong_name(syntax).or_else(|| weak_name(syntax)).unwrap_or_else(|| "?column?".into())
}

/// The name that an expression has by itself, which it keeps inside of casts.
fn strong_name(syntax: &Syntax) -> Option<String> {
    Some(match syntax {
        Syntax::Column(name) => name.last().to_string(),
        Syntax::Call(call) => call.name.last().to_string(),
        Syntax::Exists(_) => "exists".into(),
        Syntax::ArrayQuery(_) | Syntax::Array(_) => "array".into(),
        Syntax::Row(_) => "row".into(),
        Syntax::Subquery(query) => match &query.body {
            Body::Select(select) => match select.items.first()? {
                Item::Expression { alias: Some(alias), .. } => alias.clone(),
                Item::Expression { syntax, .. } => output_name(syntax),
                _ => return None,
            },
            _ => return None,
        },
        Syntax::Cast { arg, .. } | Syntax::Index { arg, .. } => return strong_name(arg),
        Syntax::Case { otherwise: Some(otherwise), .. } => return strong_name(otherwise),
        _ => return None,
    })
}

/// The name of what has none by itself: a cast's type.
fn weak_name(syntax: &Syntax) -> Option<String> {
    match syntax {
        Syntax::Cast { ty: Type::Array(element), .. } => Some(element.name()),
        Syntax::Cast { ty, .. } => Some(ty.plain().name()),
        Syntax::Case { .. } => Some("case".into()),
        Syntax::Bool(_) => Some("bool".into()),
        Syntax::Index { arg, .. } => weak_name(arg),
        _ => None,
    }
}
