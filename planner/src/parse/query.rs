//! Queries from the parser's tree into ours.

use sqlparser::ast::{
    self, FunctionArg, FunctionArgExpr, GroupByExpr, Ident, Join, JoinConstraint, JoinOperator, LimitClause,
    OrderByExpr, OrderByKind, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, SetOperator,
    SetQuantifier, TableAlias, TableFactor, TableFunctionArgs, TableWithJoins, WildcardAdditionalOptions,
};

use super::converter::{Converter, fold};
use super::refuse::{foreign, foreign_word, unsupported};
use crate::error::{SqlError, sqlstate};
use crate::statement::{
    Alias, Body, CommonTable, Distinct, From, Item, JoinKind, JoinOn, OrderBy, Query, Select, SetOp, Syntax,
};

impl Converter<'_> {
    /// Converts a query.
    pub(super) fn query(&self, query: ast::Query) -> Result<Query, SqlError> {
        self.nested(|| self.query_here(query))
    }

    fn query_here(&self, query: ast::Query) -> Result<Query, SqlError> {
        let ast::Query {
            with,
            body,
            order_by,
            limit_clause,
            fetch,
            locks,
            for_clause,
            settings,
            format_clause,
            pipe_operators,
        } = query;
        foreign(&[
            (for_clause.is_some(), "for"),
            (settings.is_some(), "settings"),
            (format_clause.is_some(), "format"),
            (!pipe_operators.is_empty(), "|>"),
        ])?;
        let recursive = with.as_ref().is_some_and(|with| with.recursive);
        let with = self.common_tables(with)?;
        if !locks.is_empty() {
            return Err(SqlError::unsupported("FOR UPDATE / FOR SHARE").hint(
                "Read _version and write back with a WHERE on the old values, or use UPDATE with expressions: it is \
                 atomic for its row.",
            ));
        }
        let (limit, offset) = self.limits(limit_clause, fetch)?;
        let order_by = match order_by {
            None => Vec::new(),
            Some(ast::OrderBy { kind, interpolate }) => {
                foreign(&[(interpolate.is_some(), "interpolate")])?;
                match kind {
                    OrderByKind::Expressions(items) => {
                        items.into_iter().map(|item| self.order(item)).collect::<Result<_, _>>()?
                    }
                    OrderByKind::All(_) => return Err(SqlError::unsupported("ORDER BY ALL")),
                }
            }
        };
        Ok(Query { with, recursive, body: self.body(*body)?, order_by, limit, offset })
    }

    /// The entries of WITH.
    fn common_tables(&self, with: Option<ast::With>) -> Result<Vec<CommonTable>, SqlError> {
        let Some(ast::With { with_token: _, recursive: _, cte_tables }) = with else { return Ok(Vec::new()) };
        // Each may read the one before it.
        self.check_chain(cte_tables.len())?;
        let convert = |table: ast::Cte| {
            // Whether it is computed once is left to the planner.
            let ast::Cte { alias: own, query, from, materialized: _, closing_paren_token: _ } = table;
            foreign(&[(from.is_some(), "from")])?;
            let alias =
                alias(Some(own))?.ok_or_else(|| SqlError::internal("a query in WITH without a name"))?;
            Ok(CommonTable { alias, query: Box::new(self.query(*query)?) })
        };
        cte_tables.into_iter().map(convert).collect()
    }

    /// LIMIT, OFFSET and FETCH.
    fn limits(
        &self,
        limit_clause: Option<LimitClause>,
        fetch: Option<ast::Fetch>,
    ) -> Result<(Option<Syntax>, Option<Syntax>), SqlError> {
        let (mut limit, mut offset) = (None, None);
        match limit_clause {
            None => {}
            Some(LimitClause::LimitOffset { limit: count, offset: skip, limit_by }) => {
                foreign(&[(!limit_by.is_empty(), "by")])?;
                limit = count.map(|count| self.expr(count)).transpose()?;
                offset = skip.map(|skip| self.expr(skip.value)).transpose()?;
            }
            Some(LimitClause::OffsetCommaLimit { .. }) => {
                return Err(SqlError::unsupported("LIMIT offset, count"));
            }
        }
        if let Some(fetch) = fetch {
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
        Ok((limit, offset))
    }

    /// Converts an entry of ORDER BY.
    pub(super) fn order(&self, item: OrderByExpr) -> Result<OrderBy, SqlError> {
        let OrderByExpr { expr, options, with_fill } = item;
        foreign(&[(with_fill.is_some(), "fill")])?;
        let descending = match options.sort {
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
            syntax: self.expr(expr)?,
            descending,
            nulls_first: options.nulls_first.unwrap_or(descending),
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
                    SetOperator::Except => SetOp::Except,
                    SetOperator::Minus => return Err(foreign_word("minus")),
                };
                let all = match set_quantifier {
                    SetQuantifier::All => true,
                    SetQuantifier::Distinct | SetQuantifier::None => false,
                    SetQuantifier::ByName | SetQuantifier::AllByName | SetQuantifier::DistinctByName => {
                        return Err(foreign_word("by"));
                    }
                };
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
        foreign(&[(values.explicit_row, "row"), (values.value_keyword, "value")])?;
        values
            .rows
            .into_iter()
            .map(|row| row.content.into_iter().map(|expr| self.expr(expr)).collect())
            .collect()
    }

    fn select(&self, select: ast::Select) -> Result<Select, SqlError> {
        let ast::Select {
            select_token: _,
            // Comments, in PostgreSQL.
            optimizer_hints: _,
            distinct,
            select_modifiers,
            top,
            top_before_distinct: _,
            projection,
            exclude,
            into,
            from,
            lateral_views,
            prewhere,
            selection,
            connect_by,
            group_by,
            cluster_by,
            distribute_by,
            sort_by,
            having,
            named_window,
            qualify,
            window_before_qualify: _,
            value_table_mode,
            flavor,
        } = select;
        foreign(&[
            (select_modifiers.is_some(), "select"),
            (top.is_some(), "top"),
            (exclude.is_some(), "exclude"),
            (!lateral_views.is_empty(), "view"),
            (prewhere.is_some(), "prewhere"),
            (!connect_by.is_empty(), "connect"),
            (!cluster_by.is_empty() || !distribute_by.is_empty() || !sort_by.is_empty(), "by"),
            (qualify.is_some(), "qualify"),
            (value_table_mode.is_some(), "as"),
            (flavor != ast::SelectFlavor::Standard, "from"),
        ])?;
        unsupported(&[(into.is_some(), "SELECT INTO")])?;
        let distinct = match distinct {
            None | Some(ast::Distinct::All) => Distinct::No,
            Some(ast::Distinct::Distinct) => Distinct::Rows,
            Some(ast::Distinct::On(exprs)) => {
                Distinct::On(exprs.into_iter().map(|expr| self.expr(expr)).collect::<Result<_, _>>()?)
            }
        };
        let group_by = match group_by {
            GroupByExpr::Expressions(exprs, modifiers) if modifiers.is_empty() => {
                exprs.into_iter().map(|expr| self.expr(expr)).collect::<Result<_, _>>()?
            }
            _ => return Err(SqlError::unsupported("this form of GROUP BY")),
        };
        // Each entry of FROM is joined to those before it.
        self.check_chain(from.len())?;
        Ok(Select {
            distinct,
            items: self.items(projection)?,
            from: from.into_iter().map(|from| self.joins(from)).collect::<Result<_, _>>()?,
            filter: selection.map(|filter| self.expr(filter)).transpose()?,
            group_by,
            having: having.map(|having| self.expr(having)).transpose()?,
            windows: self.named_windows(named_window)?,
        })
    }

    /// Converts a select list or RETURNING.
    pub(super) fn items(&self, items: Vec<SelectItem>) -> Result<Vec<Item>, SqlError> {
        let convert_item = |item| {
            Ok(match item {
                SelectItem::UnnamedExpr(expr) => Item::Expression { syntax: self.expr(expr)?, alias: None },
                SelectItem::ExprWithAlias { expr, alias } => {
                    check_alias(&alias)?;
                    Item::Expression { syntax: self.expr(expr)?, alias: Some(fold(&alias)) }
                }
                SelectItem::Wildcard(options) => {
                    check_wildcard(&options)?;
                    Item::All(None)
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(own), options) => {
                    check_wildcard(&options)?;
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

    /// Converts an entry of FROM without its joins.
    pub(super) fn factor(&self, factor: TableFactor) -> Result<From, SqlError> {
        Ok(match factor {
            TableFactor::Table {
                name: own,
                alias: own_alias,
                args,
                with_hints,
                version,
                with_ordinality,
                partitions,
                json_path,
                sample,
                index_hints,
            } => {
                foreign(&[
                    (!with_hints.is_empty() || !index_hints.is_empty(), "index"),
                    (version.is_some(), "for"),
                    (!partitions.is_empty(), "partition"),
                    (json_path.is_some(), ":"),
                ])?;
                unsupported(&[(sample.is_some(), "TABLESAMPLE")])?;
                let (name, alias) = (self.name(&own)?, alias(own_alias)?);
                match args {
                    None => From::Table { name, alias },
                    Some(TableFunctionArgs { args, settings }) => {
                        foreign(&[(settings.is_some(), "settings")])?;
                        From::Function {
                            name,
                            arguments: self.arguments(args)?,
                            alias,
                            ordinality: with_ordinality,
                        }
                    }
                }
            }
            // A function sees the entries before it, with LATERAL and without.
            TableFactor::Function { lateral: _, name: own, args, with_ordinality, alias: own_alias } => {
                From::Function {
                    name: self.name(&own)?,
                    arguments: self.arguments(args)?,
                    alias: alias(own_alias)?,
                    ordinality: with_ordinality,
                }
            }
            TableFactor::UNNEST {
                alias: own_alias,
                array_exprs,
                with_offset,
                with_offset_alias,
                with_ordinality,
            } => {
                foreign(&[(with_offset || with_offset_alias.is_some(), "offset")])?;
                From::Function {
                    name: crate::statement::Name { parts: vec!["unnest".into()], position: None },
                    arguments: array_exprs.into_iter().map(|e| self.expr(e)).collect::<Result<_, _>>()?,
                    alias: alias(own_alias)?,
                    ordinality: with_ordinality,
                }
            }
            TableFactor::Derived { lateral, subquery, alias: own_alias, sample } => {
                unsupported(&[(sample.is_some(), "TABLESAMPLE")])?;
                From::Query { query: Box::new(self.query(*subquery)?), alias: alias(own_alias)?, lateral }
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
        for Join { relation, global, join_operator } in from.joins {
            foreign(&[(global, "global")])?;
            let right = self.factor(relation)?;
            let cross = matches!(join_operator, JoinOperator::CrossJoin(_));
            let (kind, constraint) = match join_operator {
                JoinOperator::Join(c) | JoinOperator::Inner(c) | JoinOperator::CrossJoin(c) => {
                    (JoinKind::Inner, c)
                }
                JoinOperator::Left(c) | JoinOperator::LeftOuter(c) => (JoinKind::Left, c),
                JoinOperator::Right(c) | JoinOperator::RightOuter(c) => (JoinKind::Right, c),
                JoinOperator::FullOuter(c) => (JoinKind::Full, c),
                _ => return Err(SqlError::unsupported("this kind of join")),
            };
            if cross != matches!(constraint, JoinConstraint::None) {
                let text = "a join takes ON or USING, and CROSS JOIN takes neither";
                return Err(SqlError::new(sqlstate::SYNTAX, format!("syntax error: {text}")));
            }
            let on = match constraint {
                JoinConstraint::On(expr) => JoinOn::Condition(self.expr(expr)?),
                JoinConstraint::Using(names) => {
                    let names = names.iter().map(|own| Ok(self.name(own)?.last().to_string()));
                    JoinOn::Using(names.collect::<Result<_, SqlError>>()?)
                }
                JoinConstraint::None => JoinOn::Nothing,
                JoinConstraint::Natural => JoinOn::Natural,
            };
            left = From::Join { left: Box::new(left), right: Box::new(right), kind, on };
        }
        Ok(left)
    }
}

fn alias(alias: Option<TableAlias>) -> Result<Option<Alias>, SqlError> {
    let Some(TableAlias { explicit: _, name, columns, at }) = alias else { return Ok(None) };
    foreign(&[(at.is_some(), "at")])?;
    let typed = columns.iter().any(|column| column.data_type.is_some());
    unsupported(&[(typed, "a list of column definitions behind a function")])?;
    let columns = columns.iter().map(|column| fold(&column.name)).collect();
    Ok(Some(Alias { name: fold(&name), columns }))
}

/// 42601 for a string as an alias, which other systems take.
fn check_alias(alias: &Ident) -> Result<(), SqlError> {
    match alias.quote_style {
        None | Some('"') => Ok(()),
        Some(quote) => Err(foreign_word(&format!("{quote}{}{quote}", alias.value))),
    }
}

/// 42601 for what other systems write behind `*`.
fn check_wildcard(options: &WildcardAdditionalOptions) -> Result<(), SqlError> {
    let WildcardAdditionalOptions {
        wildcard_token: _,
        opt_ilike,
        opt_exclude,
        opt_except,
        opt_replace,
        opt_rename,
        opt_alias,
    } = options;
    foreign(&[
        (opt_ilike.is_some(), "ilike"),
        (opt_exclude.is_some(), "exclude"),
        (opt_except.is_some(), "except"),
        (opt_replace.is_some(), "replace"),
        (opt_rename.is_some(), "rename"),
        (opt_alias.is_some(), "as"),
    ])
}
