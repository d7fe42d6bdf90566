//! INSERT, UPSERT, UPDATE and DELETE from the parser's tree into ours.

use sqlparser::ast::{self, AssignmentTarget, Expr, FromTable, OnConflictAction, OnInsert, TableObject};

use super::converter::{Converter, fold};
use super::refuse::{foreign, unsupported};
use crate::error::SqlError;
use crate::statement::{Assignment, ConflictClause, ConflictTarget, Delete, From, Insert, Name, Update};

impl Converter<'_> {
    pub(super) fn insert(&self, insert: ast::Insert, upsert: bool) -> Result<Insert, SqlError> {
        let ast::Insert {
            insert_token: _,
            // Comments, in PostgreSQL.
            optimizer_hints: _,
            or,
            ignore,
            into,
            table,
            table_alias,
            columns,
            overwrite,
            source,
            assignments,
            partitioned,
            after_columns,
            has_table_keyword,
            on,
            returning,
            output,
            replace_into,
            priority,
            insert_alias,
            settings,
            format_clause,
            multi_table_insert_type,
            multi_table_into_clauses,
            multi_table_when_clauses,
            multi_table_else_clause,
        } = insert;
        let multi = multi_table_insert_type.is_some()
            || !multi_table_into_clauses.is_empty()
            || !multi_table_when_clauses.is_empty()
            || multi_table_else_clause.is_some();
        foreign(&[
            (or.is_some() || replace_into, "replace"),
            (ignore, "ignore"),
            (!into, "insert"),
            (overwrite, "overwrite"),
            (!assignments.is_empty(), "set"),
            (partitioned.is_some() || !after_columns.is_empty(), "partition"),
            (has_table_keyword, "table"),
            (output.is_some(), "output"),
            (priority.is_some(), "priority"),
            (insert_alias.is_some(), "as"),
            (settings.is_some() || format_clause.is_some(), "settings"),
            (multi, "into"),
        ])?;
        let table = match table {
            TableObject::TableName(own) => self.name(&own)?,
            _ => return Err(SqlError::unsupported("INSERT into a function or query")),
        };
        Ok(Insert {
            upsert,
            table,
            alias: table_alias.map(|alias| fold(&alias.alias)),
            columns: columns.iter().map(|own| self.name(own)).collect::<Result<_, _>>()?,
            source: source.map(|inner| self.query(*inner)).transpose()?,
            on_conflict: self.on_conflict(on, upsert)?,
            returning: returning.map(|items| self.items(items)).transpose()?,
        })
    }

    fn on_conflict(&self, on: Option<OnInsert>, upsert: bool) -> Result<Option<ConflictClause>, SqlError> {
        Ok(match on {
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
        })
    }

    pub(super) fn update(&self, update: ast::Update) -> Result<Update, SqlError> {
        let ast::Update {
            update_token: _,
            optimizer_hints: _,
            table,
            assignments,
            from,
            selection,
            returning,
            output,
            or,
            order_by,
            limit,
        } = update;
        unsupported(&[(from.is_some(), "UPDATE .. FROM")])?;
        foreign(&[
            (output.is_some(), "output"),
            (or.is_some(), "or"),
            (!order_by.is_empty(), "order"),
            (limit.is_some(), "limit"),
        ])?;
        let (table, alias) = self.plain_table(table)?;
        Ok(Update {
            table,
            alias,
            assignments: self.assignments(assignments)?,
            filter: selection.map(|filter| self.expr(filter)).transpose()?,
            returning: returning.map(|items| self.items(items)).transpose()?,
        })
    }

    pub(super) fn delete(&self, delete: ast::Delete) -> Result<Delete, SqlError> {
        let ast::Delete {
            delete_token: _,
            optimizer_hints: _,
            tables,
            from,
            using,
            selection,
            returning,
            output,
            order_by,
            limit,
        } = delete;
        unsupported(&[(using.is_some(), "DELETE .. USING")])?;
        foreign(&[
            (!tables.is_empty() || matches!(from, FromTable::WithoutKeyword(_)), "delete"),
            (output.is_some(), "output"),
            (!order_by.is_empty(), "order"),
            (limit.is_some(), "limit"),
        ])?;
        let (FromTable::WithFromKeyword(mut from) | FromTable::WithoutKeyword(mut from)) = from;
        let Some(first) = from.pop().filter(|_| from.is_empty()) else {
            return Err(SqlError::unsupported("DELETE from several tables"));
        };
        let (table, alias) = self.plain_table(first)?;
        Ok(Delete {
            table,
            alias,
            filter: selection.map(|filter| self.expr(filter)).transpose()?,
            returning: returning.map(|items| self.items(items)).transpose()?,
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
        if !from.joins.is_empty() {
            return Err(SqlError::unsupported("a join in UPDATE or DELETE"));
        }
        match self.factor(from.relation)? {
            From::Table { name, alias } => Ok((name, alias.map(|alias| alias.name))),
            _ => Err(SqlError::unsupported("a join in UPDATE or DELETE")),
        }
    }
}
