//! Queries from the parser's tree into ours.

use sqlparser::ast::{
    self, Distinct, FunctionArg, FunctionArgExpr, GroupByExpr, JoinConstraint, JoinOperator, LimitClause,
    OrderByExpr, OrderByKind, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, SetOperator,
    SetQuantifier, TableAlias, TableFactor, TableWithJoins,
};

use super::converter::{Converter, fold};
use crate::error::SqlError;
use crate::statement::{Alias, Body, From, Item, OrderBy, Query, Select, SetOp, Syntax};

impl Converter<'_> {
    /// Converts a query.
    pub(super) fn query(&self, query: ast::Query) -> Result<Query, SqlError> {
        self.nested(|| self.query_here(query))
    }

    fn query_here(&self, query: ast::Query) -> Result<Query, SqlError> {
        if query.with.is_some() {
            return Err(
                SqlError::unsupported("WITH").hint("Write a subquery in FROM, or separate statements.")
            );
        }
        if !query.locks.is_empty() {
            return Err(SqlError::unsupported("FOR UPDATE / FOR SHARE").hint(
                "Read _version and write back with a WHERE on the old values, or use UPDATE with expressions: it is \
                 atomic for its row.",
            ));
        }
        let (mut limit, mut offset) = (None, None);
        match query.limit_clause {
            None => {}
            Some(LimitClause::LimitOffset { limit: count, offset: skip, .. }) => {
                limit = count.map(|count| self.expr(count)).transpose()?;
                offset = skip.map(|skip| self.expr(skip.value)).transpose()?;
            }
            Some(LimitClause::OffsetCommaLimit { .. }) => {
                return Err(SqlError::unsupported("LIMIT offset, count"));
            }
        }
        if let Some(fetch) = query.fetch {
            if fetch.percent || fetch.with_ties {
                return Err(SqlError::unsupported("FETCH with PERCENT or TIES"));
            }
            limit = Some(match fetch.quantity {
                Some(count) => self.expr(count)?,
                None => Syntax::Number("1".into()),
            });
        }
        // LIMIT ALL and LIMIT NULL are no limit.
        let limit = limit.filter(|limit| !matches!(limit, Syntax::Null));
        let order_by = match query.order_by.map(|order| order.kind) {
            None => Vec::new(),
            Some(OrderByKind::Expressions(items)) => {
                items.into_iter().map(|item| self.order(item)).collect::<Result<_, _>>()?
            }
            Some(OrderByKind::All(_)) => return Err(SqlError::unsupported("ORDER BY ALL")),
        };
        Ok(Query { body: self.body(*query.body)?, order_by, limit, offset })
    }

    /// Converts an entry of ORDER BY.
    pub(super) fn order(&self, item: OrderByExpr) -> Result<OrderBy, SqlError> {
        let descending = match item.options.sort {
            None | Some(ast::OrderBySort::Asc) => false,
            Some(ast::OrderBySort::Desc) => true,
            Some(ast::OrderBySort::Using(operator)) => {
                match operator.0.last().map(ToString::to_string).as_deref() {
                    Some("<") => false,
                    Some(">") => true,
                    _ => return Err(SqlError::unsupported("ORDER BY USING")),
                }
            }
        };
        Ok(OrderBy {
            syntax: self.expr(item.expr)?,
            descending,
            nulls_first: item.options.nulls_first.unwrap_or(descending),
        })
    }

    fn body(&self, body: SetExpr) -> Result<Body, SqlError> {
        self.nested(|| self.body_here(body))
    }

    fn body_here(&self, body: SetExpr) -> Result<Body, SqlError> {
        Ok(match body {
            SetExpr::Select(select) => Body::Select(Box::new(self.select(*select)?)),
            SetExpr::Query(inner) => Body::Query(Box::new(self.query(*inner)?)),
            SetExpr::Values(values) => Body::Values(self.rows(values)?),
            SetExpr::SetOperation { left, op, set_quantifier, right } => {
                let op = match op {
                    SetOperator::Union => SetOp::Union,
                    SetOperator::Intersect => SetOp::Intersect,
                    SetOperator::Except | SetOperator::Minus => SetOp::Except,
                };
                let all = set_quantifier == SetQuantifier::All;
                Body::Set { op, all, left: Box::new(self.body(*left)?), right: Box::new(self.body(*right)?) }
            }
            SetExpr::Table(table) => {
                let mut parts: Vec<String> = table.schema_name.into_iter().collect();
                parts.extend(table.table_name);
                let name = crate::statement::Name { parts, position: None };
                Body::Select(Box::new(Select::over_table(name, vec![Item::All(None)])))
            }
            _ => return Err(SqlError::unsupported("a data-modifying query")),
        })
    }

    /// The rows of VALUES.
    fn rows(&self, values: ast::Values) -> Result<Vec<Vec<Syntax>>, SqlError> {
        values
            .rows
            .into_iter()
            .map(|row| row.content.into_iter().map(|expr| self.expr(expr)).collect())
            .collect()
    }

    fn select(&self, select: ast::Select) -> Result<Select, SqlError> {
        let distinct = match select.distinct {
            None | Some(Distinct::All) => false,
            Some(Distinct::Distinct) => true,
            Some(Distinct::On(_)) => return Err(SqlError::unsupported("DISTINCT ON")),
        };
        if select.into.is_some() {
            return Err(SqlError::unsupported("SELECT INTO"));
        }
        if !select.named_window.is_empty() {
            return Err(SqlError::unsupported("WINDOW"));
        }
        let group_by = match select.group_by {
            GroupByExpr::Expressions(exprs, modifiers) if modifiers.is_empty() => {
                exprs.into_iter().map(|expr| self.expr(expr)).collect::<Result<_, _>>()?
            }
            _ => return Err(SqlError::unsupported("this form of GROUP BY")),
        };
        // Each entry of FROM is joined to those before it.
        self.check_chain(select.from.len())?;
        Ok(Select {
            distinct,
            items: self.items(select.projection)?,
            from: select.from.into_iter().map(|from| self.joins(from)).collect::<Result<_, _>>()?,
            filter: select.selection.map(|filter| self.expr(filter)).transpose()?,
            group_by,
            having: select.having.map(|having| self.expr(having)).transpose()?,
        })
    }

    /// Converts a select list or RETURNING.
    pub(super) fn items(&self, items: Vec<SelectItem>) -> Result<Vec<Item>, SqlError> {
        let convert_item = |item| {
            Ok(match item {
                SelectItem::UnnamedExpr(expr) => Item::Expression { syntax: self.expr(expr)?, alias: None },
                SelectItem::ExprWithAlias { expr, alias } => {
                    Item::Expression { syntax: self.expr(expr)?, alias: Some(fold(&alias)) }
                }
                SelectItem::Wildcard(_) => Item::All(None),
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(own), _) => {
                    Item::All(Some(self.name(&own)?))
                }
                _ => return Err(SqlError::unsupported("this form of a select list")),
            })
        };
        items.into_iter().map(convert_item).collect()
    }

    fn arguments(&self, args: Vec<FunctionArg>) -> Result<Vec<Syntax>, SqlError> {
        args.into_iter()
            .map(|arg| match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => self.expr(expr),
                _ => Err(SqlError::unsupported("this argument of a table function")),
            })
            .collect()
    }

    fn factor(&self, factor: TableFactor) -> Result<From, SqlError> {
        Ok(match factor {
            TableFactor::Table {
                name: own, alias: own_alias, args: None, with_ordinality: false, ..
            } => From::Table { name: self.name(&own)?, alias: alias(own_alias) },
            TableFactor::Table {
                name: own,
                alias: own_alias,
                args: Some(args),
                with_ordinality: false,
                ..
            } => From::Function {
                name: self.name(&own)?,
                arguments: self.arguments(args.args)?,
                alias: alias(own_alias),
            },
            TableFactor::Function { name: own, args, alias: own_alias, with_ordinality: false, .. } => {
                From::Function {
                    name: self.name(&own)?,
                    arguments: self.arguments(args)?,
                    alias: alias(own_alias),
                }
            }
            TableFactor::UNNEST {
                alias: own_alias,
                array_exprs,
                with_offset: false,
                with_ordinality: false,
                ..
            } => From::Function {
                name: crate::statement::Name { parts: vec!["unnest".into()], position: None },
                arguments: array_exprs.into_iter().map(|e| self.expr(e)).collect::<Result<_, _>>()?,
                alias: alias(own_alias),
            },
            TableFactor::Derived { subquery, alias: own_alias, .. } => {
                From::Query { query: Box::new(self.query(*subquery)?), alias: alias(own_alias) }
            }
            TableFactor::NestedJoin { table_with_joins, alias: None } => self.joins(*table_with_joins)?,
            _ => return Err(SqlError::unsupported("this form of FROM")),
        })
    }

    /// Converts a table and its joins.
    pub(super) fn joins(&self, from: TableWithJoins) -> Result<From, SqlError> {
        self.check_chain(from.joins.len())?;
        self.nested(|| self.joins_here(from))
    }

    fn joins_here(&self, from: TableWithJoins) -> Result<From, SqlError> {
        let mut left = self.factor(from.relation)?;
        for join in from.joins {
            let right = self.factor(join.relation)?;
            let (outer, constraint, swapped) = match join.join_operator {
                JoinOperator::Join(c) | JoinOperator::Inner(c) | JoinOperator::CrossJoin(c) => {
                    (false, c, false)
                }
                JoinOperator::Left(c) | JoinOperator::LeftOuter(c) => (true, c, false),
                JoinOperator::Right(c) | JoinOperator::RightOuter(c) => (true, c, true),
                _ => return Err(SqlError::unsupported("this kind of join")),
            };
            let (on, using) = match constraint {
                JoinConstraint::On(expr) => (Some(self.expr(expr)?), Vec::new()),
                JoinConstraint::Using(names) => {
                    let names = names.iter().map(|own| Ok(self.name(own)?.last().to_string()));
                    (None, names.collect::<Result<_, SqlError>>()?)
                }
                JoinConstraint::None => (None, Vec::new()),
                JoinConstraint::Natural => return Err(SqlError::unsupported("NATURAL JOIN")),
            };
            let (first, second) = if swapped { (right, left) } else { (left, right) };
            left = From::Join { left: Box::new(first), right: Box::new(second), outer, on, using };
        }
        Ok(left)
    }
}

fn alias(alias: Option<TableAlias>) -> Option<Alias> {
    alias.map(|alias| Alias {
        name: fold(&alias.name),
        columns: alias.columns.iter().map(|column| fold(&column.name)).collect(),
    })
}
