//! INSERT, UPSERT, UPDATE and DELETE from the parser's tree into ours.

use sqlparser::ast::{
    self, AssignmentTarget, Expr, FromTable, OnConflictAction, OnInsert, TableFactor, TableObject,
};

use super::converter::{Converter, fold};
use crate::error::SqlError;
use crate::statement::{Assignment, ConflictClause, ConflictTarget, Delete, Insert, Name, Update};

impl Converter<'_> {
    pub(super) fn insert(&self, insert: ast::Insert, upsert: bool) -> Result<Insert, SqlError> {
        let table = match insert.table {
            TableObject::TableName(own) => self.name(&own)?,
            _ => return Err(SqlError::unsupported("INSERT into a function or query")),
        };
        let on_conflict = match insert.on {
            None => None,
            Some(OnInsert::OnConflict(_)) if upsert => {
                return Err(
                    SqlError::unsupported("UPSERT with ON CONFLICT").hint("Use INSERT .. ON CONFLICT.")
                );
            }
            Some(OnInsert::OnConflict(conflict)) => Some(ConflictClause {
                target: match conflict.conflict_target {
                    None => None,
                    Some(ast::ConflictTarget::Columns(columns)) => {
                        Some(ConflictTarget::Columns(columns.iter().map(fold).collect()))
                    }
                    Some(ast::ConflictTarget::OnConstraint(own)) => {
                        Some(ConflictTarget::Constraint(self.name(&own)?.last().to_string()))
                    }
                },
                update: match conflict.action {
                    OnConflictAction::DoNothing => None,
                    OnConflictAction::DoUpdate(update) => Some((
                        self.assignments(update.assignments)?,
                        update.selection.map(|filter| self.expr(filter)).transpose()?,
                    )),
                },
            }),
            Some(_) => return Err(SqlError::unsupported("ON DUPLICATE KEY UPDATE").hint("Use ON CONFLICT.")),
        };
        Ok(Insert {
            upsert,
            table,
            alias: insert.table_alias.map(|alias| fold(&alias.alias)),
            columns: insert.columns.iter().map(|own| self.name(own)).collect::<Result<_, _>>()?,
            source: insert.source.map(|inner| self.query(*inner)).transpose()?,
            on_conflict,
            returning: insert.returning.map(|items| self.items(items)).transpose()?,
        })
    }

    pub(super) fn update(&self, update: ast::Update) -> Result<Update, SqlError> {
        if update.from.is_some() {
            return Err(SqlError::unsupported("UPDATE .. FROM"));
        }
        let (table, alias) = self.plain_table(update.table)?;
        Ok(Update {
            table,
            alias,
            assignments: self.assignments(update.assignments)?,
            filter: update.selection.map(|filter| self.expr(filter)).transpose()?,
            returning: update.returning.map(|items| self.items(items)).transpose()?,
        })
    }

    pub(super) fn delete(&self, delete: ast::Delete) -> Result<Delete, SqlError> {
        if delete.using.is_some() {
            return Err(SqlError::unsupported("DELETE .. USING"));
        }
        let (FromTable::WithFromKeyword(mut from) | FromTable::WithoutKeyword(mut from)) = delete.from;
        let Some(first) = from.pop().filter(|_| from.is_empty()) else {
            return Err(SqlError::unsupported("DELETE from several tables"));
        };
        let (table, alias) = self.plain_table(first)?;
        Ok(Delete {
            table,
            alias,
            filter: delete.selection.map(|filter| self.expr(filter)).transpose()?,
            returning: delete.returning.map(|items| self.items(items)).transpose()?,
        })
    }

    fn assignments(&self, all: Vec<ast::Assignment>) -> Result<Vec<Assignment>, SqlError> {
        let mut out = Vec::with_capacity(all.len());
        for assignment in all {
            match (assignment.target, assignment.value) {
                (AssignmentTarget::ColumnName(own), value) => {
                    out.push(Assignment { column: self.name(&own)?, value: self.expr(value)? });
                }
                (AssignmentTarget::Tuple(columns), Expr::Tuple(values)) if columns.len() == values.len() => {
                    for (own, value) in columns.iter().zip(values) {
                        out.push(Assignment { column: self.name(own)?, value: self.expr(value)? });
                    }
                }
                _ => return Err(SqlError::unsupported("this form of SET (a, b) = ..")),
            }
        }
        Ok(out)
    }

    /// The table and alias of a FROM entry that must be a plain table.
    fn plain_table(&self, from: ast::TableWithJoins) -> Result<(Name, Option<String>), SqlError> {
        match from.relation {
            TableFactor::Table { name: own, alias, args: None, .. } if from.joins.is_empty() => {
                Ok((self.name(&own)?, alias.map(|alias| fold(&alias.name))))
            }
            _ => Err(SqlError::unsupported("a join in UPDATE or DELETE")),
        }
    }
}
