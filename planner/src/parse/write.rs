//! INSERT, UPSERT, UPDATE and DELETE from the parser's tree into ours.

use sqlparser::ast::{
    self, AssignmentTarget, Expr, FromTable, FunctionArg, FunctionArgExpr, OnConflictAction, OnInsert,
    TableObject, UpdateTableFromKind,
};

use super::converter::{Converter, fold};
use super::refuse::foreign;
use crate::error::{SqlError, sqlstate};
use crate::statement::{
    Alias, Assignment, Body, ConflictClause, ConflictTarget, Delete, From, Insert, Item, Name, Query, Select,
    Syntax, Update,
};

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
        foreign(&[
            (output.is_some(), "output"),
            (or.is_some(), "or"),
            (!order_by.is_empty(), "order"),
            (limit.is_some(), "limit"),
            (matches!(from, Some(UpdateTableFromKind::BeforeSet(_))), "from"),
        ])?;
        let from = match from {
            Some(UpdateTableFromKind::AfterSet(from) | UpdateTableFromKind::BeforeSet(from)) => from,
            None => Vec::new(),
        };
        let (table, alias) = self.plain_table(table)?;
        Ok(Update {
            table,
            alias,
            assignments: self.assignments(assignments)?,
            from: self.beside(from)?,
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
            using: self.beside(using.unwrap_or_default())?,
            filter: selection.map(|filter| self.expr(filter)).transpose()?,
            returning: returning.map(|items| self.items(items)).transpose()?,
        })
    }

    /// Converts the entries of FROM or USING beside the table that is changed.
    fn beside(&self, from: Vec<ast::TableWithJoins>) -> Result<Vec<From>, SqlError> {
        self.check_chain(from.len())?;
        from.into_iter().map(|from| self.joins(from)).collect()
    }

    /// Converts TRUNCATE.
    pub(super) fn truncate(&self, truncate: ast::Truncate) -> Result<Vec<Name>, SqlError> {
        let ast::Truncate {
            table_names,
            partitions,
            table: _,
            if_exists,
            identity: _,
            cascade: _,
            on_cluster,
        } = truncate;
        foreign(&[(partitions.is_some(), "partition"), (if_exists, "exists"), (on_cluster.is_some(), "on")])?;
        table_names.iter().map(|target| self.name(&target.name)).collect()
    }

    fn assignments(&self, all: Vec<ast::Assignment>) -> Result<Vec<Assignment>, SqlError> {
        let mut out = Vec::with_capacity(all.len());
        for assignment in all {
            match assignment.target {
                AssignmentTarget::ColumnName(own) => {
                    out.push(Assignment { column: self.name(&own)?, value: self.expr(assignment.value)? });
                }
                AssignmentTarget::Tuple(columns) => {
                    let columns = columns.iter().map(|own| self.name(own)).collect::<Result<Vec<_>, _>>()?;
                    let values = self.row_values(assignment.value, columns.len())?;
                    let pairs = columns.into_iter().zip(values);
                    out.extend(pairs.map(|(column, value)| Assignment { column, value }));
                }
            }
        }
        Ok(out)
    }

    /// The values that `SET (a, b) = ..` gives to so many columns.
    fn row_values(&self, value: Expr, columns: usize) -> Result<Vec<Syntax>, SqlError> {
        let values = match value {
            Expr::Tuple(values) => {
                values.into_iter().map(|value| self.expr(value)).collect::<Result<_, _>>()?
            }
            Expr::Function(call) if call.name.to_string().eq_ignore_ascii_case("row") => {
                self.row_call(call)?
            }
            Expr::Subquery(query) => columns_of(&self.query(*query)?)?,
            _ => {
                let what =
                    "source for a multiple-column UPDATE item must be a sub-SELECT or ROW() expression";
                return Err(SqlError::new(sqlstate::FEATURE_NOT_SUPPORTED, what));
            }
        };
        if values.len() != columns {
            return Err(SqlError::new(sqlstate::SYNTAX, "number of columns does not match number of values"));
        }
        Ok(values)
    }

    /// The values of `ROW(..)`.
    fn row_call(&self, call: ast::Function) -> Result<Vec<Syntax>, SqlError> {
        let ast::FunctionArguments::List(list) = call.args else { return Ok(Vec::new()) };
        let value = |argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => self.expr(value),
            _ => Err(SqlError::new(sqlstate::SYNTAX, "ROW takes a list of values")),
        };
        list.args.into_iter().map(value).collect()
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

/// A query's columns, each as a query that gives one value.
fn columns_of(query: &Query) -> Result<Vec<Syntax>, SqlError> {
    let width = match &query.body {
        Body::Select(select) if select.items.iter().all(|item| matches!(item, Item::Expression { .. })) => {
            select.items.len()
        }
        Body::Values(rows) => rows.first().map_or(0, Vec::len),
        _ => {
            return Err(SqlError::unsupported("SET (a, b) = (query) without a list of the query's columns")
                .hint("Write SET (a, b) = (SELECT x, y FROM ..)."));
        }
    };
    let names: Vec<String> = (1..=width).map(|number| format!("column{number}")).collect();
    let column = |name: &String| {
        let own = Name { parts: vec![name.clone()], position: None };
        let item = Item::Expression { syntax: Syntax::Column(own.clone()), alias: None };
        let mut select = Select::over_table(own, vec![item]);
        let alias = Some(Alias { name: "source".into(), columns: names.clone() });
        select.from = vec![From::Query { query: Box::new(query.clone()), alias, lateral: false }];
        Syntax::Subquery(Box::new(Query::plain(Body::Select(Box::new(select)))))
    };
    Ok(names.iter().map(column).collect())
}
