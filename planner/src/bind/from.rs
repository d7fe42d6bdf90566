//! FROM: tables of the store and of the system, subqueries, functions, joins.

use std::sync::Arc;

use super::binder::{Binder, Relation as Named, ScopeColumn, Typed};
use super::joins::{Tree, TreeJoin, TreeLeaf};
use crate::access::{self, Access};
use crate::catalog::TableSchema;
use crate::depth::deeper;
use crate::error::{SqlError, sqlstate};
use crate::expression::{Expr, Strength};
use crate::query::{FunctionRows, Input, JoinKind, SelectPlan, TableFunction};
use crate::statement::{self, Alias, From, JoinOn, Name, Operator, Syntax};
use crate::types::Type;

/// An input with the columns that names can refer to.
pub(super) struct Relation {
    pub(super) input: Input,
    pub(super) columns: Vec<ScopeColumn>,
}

impl Relation {
    /// A query in place of a table.
    pub(super) fn of_query(plan: SelectPlan, alias: &str) -> Relation {
        let columns = Relation::columns_of(&plan, alias);
        Relation { input: Input::Query { plan: Arc::new(plan), lateral: false }, columns }
    }

    /// The columns of a query.
    pub(super) fn columns_of(plan: &SelectPlan, alias: &str) -> Vec<ScopeColumn> {
        let column = |column: &crate::result::Column| ScopeColumn {
            origin: (column.table, column.attribute),
            ..ScopeColumn::new(alias, &column.name, column.ty.clone())
        };
        plan.columns.iter().map(column).collect()
    }

    /// The columns renamed by `AS t (a, b)`. 42P10 if there are more names than columns.
    pub(super) fn renamed(mut self, alias: &Option<Alias>) -> Result<Relation, SqlError> {
        let Some(alias) = alias else { return Ok(self) };
        let shown = self.columns.iter().filter(|column| !column.hidden).count();
        if alias.columns.len() > shown {
            let text = format!(
                "table \"{}\" has {shown} columns available but {} columns specified",
                alias.name,
                alias.columns.len()
            );
            return Err(SqlError::new(sqlstate::INVALID_COLUMN_REFERENCE, text));
        }
        for (column, name) in self.columns.iter_mut().zip(&alias.columns) {
            column.name.clone_from(name);
        }
        Ok(self)
    }
}

/// FROM, or a part of it.
pub(super) struct Joined {
    pub(super) tree: Tree,
    /// Its columns, in the order of their places.
    pub(super) columns: Vec<ScopeColumn>,
    /// The stored tables in it, each with the place of its first column.
    pub(super) tables: Vec<(usize, Arc<TableSchema>)>,
}

impl Binder {
    /// Binds the entries of FROM, joined without conditions.
    pub(super) fn relations(&mut self, from: &[From]) -> Result<Joined, SqlError> {
        let mut all: Option<Joined> = None;
        for item in from {
            let before = all.as_ref().map_or(&[][..], |all| &all.columns).to_vec();
            let next = self.relation(item, &before)?;
            all = Some(match all {
                None => next,
                Some(all) => all.beside(next),
            });
        }
        Ok(all.unwrap_or(Joined { tree: Tree::Nothing, columns: Vec::new(), tables: Vec::new() }))
    }

    /// Binds an entry of FROM whose columns will stand behind those of `before`.
    fn relation(&mut self, from: &From, before: &[ScopeColumn]) -> Result<Joined, SqlError> {
        let (relation, lateral) = match from {
            From::Table { name, alias } => (self.table_relation(name, alias)?, false),
            From::Query { query, alias, lateral: false } => {
                let plan = self.inner_query(query)?;
                let relation = Relation::of_query(plan, alias.as_ref().map_or("", |alias| &alias.name));
                (relation.renamed(alias)?, false)
            }
            From::Query { query, alias, lateral: true } => {
                let plan = self.within(before.to_vec(), |binder| binder.inner_query(query))?;
                let relation = Relation::of_query(plan, alias.as_ref().map_or("", |alias| &alias.name));
                let mut relation = relation.renamed(alias)?;
                if let Input::Query { lateral, .. } = &mut relation.input {
                    *lateral = true;
                }
                (relation, true)
            }
            From::Function { name, arguments, alias, ordinality } => {
                self.function_relation(name, arguments, alias, *ordinality, before)?
            }
            From::Join { left, right, kind, on } => return self.join(left, right, *kind, on, before),
        };
        check_alias(before, &relation.columns)?;
        let tables = match &relation.input {
            Input::Table { table, .. } => vec![(before.len(), table.clone())],
            _ => Vec::new(),
        };
        let Relation { input, mut columns } = relation;
        for (at, column) in columns.iter_mut().enumerate() {
            column.rank = before.len() + at;
        }
        let leaf = TreeLeaf { input, at: before.len(), width: columns.len(), lateral };
        Ok(Joined { tree: Tree::Leaf(Box::new(leaf)), columns, tables })
    }

    fn join(
        &mut self,
        left: &From,
        right: &From,
        kind: statement::JoinKind,
        on: &JoinOn,
        before: &[ScopeColumn],
    ) -> Result<Joined, SqlError> {
        let uses = self.working_uses;
        let mut left = deeper(|| self.relation(left, before))?;
        if matches!(kind, statement::JoinKind::Right | statement::JoinKind::Full) {
            self.check_no_recursion(uses, "an outer join")?;
        }
        let uses = self.working_uses;
        let middle = [before, &left.columns].concat();
        let mut right = deeper(|| self.relation(right, &middle))?;
        if matches!(kind, statement::JoinKind::Left | statement::JoinKind::Full) {
            self.check_no_recursion(uses, "an outer join")?;
        }
        if right.tree.is_lateral() && matches!(kind, statement::JoinKind::Right | statement::JoinKind::Full) {
            return Err(SqlError::new(
                sqlstate::INVALID_COLUMN_REFERENCE,
                "invalid reference to FROM-clause entry on the other side of the join",
            )
            .detail("The combining JOIN type must be INNER or LEFT for a LATERAL reference."));
        }
        let names = match on {
            JoinOn::Using(names) => names.clone(),
            JoinOn::Natural => shared_names(&left.columns, &right.columns),
            JoinOn::Nothing | JoinOn::Condition(_) => Vec::new(),
        };
        let mut columns = Columns::default();
        for name in &names {
            let (at, other) = (using(&left.columns, name, "left")?, using(&right.columns, name, "right")?);
            let first = Typed::column(before.len() + at, &left.columns[at].ty);
            let second = Typed::column(middle.len() + other, &right.columns[other].ty);
            columns.conditions.push(self.compare(Operator::Eq, first.clone(), second.clone())?);
            if first.ty == second.ty && kind != statement::JoinKind::Full {
                // One of the two stands for both.
                let (kept, gone) = match kind {
                    statement::JoinKind::Right => (middle.len() + other, &mut left.columns[at]),
                    _ => (before.len() + at, &mut right.columns[other]),
                };
                gone.merged = true;
                columns.first.push(kept);
            } else {
                left.columns[at].merged = true;
                right.columns[other].merged = true;
                self.merge(kind, name, first, second, &mut columns)?;
            }
        }
        if let JoinOn::Condition(on) = on {
            // The two sides are seen, and nothing before them.
            let unseen = before.iter().map(|_| ScopeColumn::unseen());
            let scope = unseen.chain(left.columns.iter().cloned()).chain(right.columns.iter().cloned());
            let on = self.within(scope.collect(), |binder| binder.condition(on, "JOIN/ON"))?;
            access::flatten(Some(on), &mut columns.conditions);
        }
        Ok(columns.join(left, right, kind, before.len()))
    }

    /// A column of USING that is computed of both sides.
    fn merge(
        &mut self,
        kind: statement::JoinKind,
        name: &str,
        first: Typed,
        second: Typed,
        columns: &mut Columns,
    ) -> Result<(), SqlError> {
        let ty = self.common_type(&first.ty, &second.ty)?;
        let first = self.coerce(first, &ty, Strength::Implicit)?;
        let second = self.coerce(second, &ty, Strength::Implicit)?;
        let value = match kind {
            statement::JoinKind::Inner | statement::JoinKind::Left => first,
            statement::JoinKind::Right => second,
            statement::JoinKind::Full => Expr::Coalesce(vec![first, second]),
        };
        columns.computed.push((ScopeColumn::new("", name, ty), value));
        Ok(())
    }

    fn table_relation(&mut self, name: &Name, alias: &Option<Alias>) -> Result<Relation, SqlError> {
        let own = alias.as_ref().map_or(name.last(), |alias| &alias.name);
        if let Some(relation) = self.common_relation(name, own)? {
            return relation.renamed(alias);
        }
        let table = match self.named(name)? {
            Named::Stored(table) => table,
            Named::System(system) => {
                let columns =
                    system.columns().into_iter().map(|(column, ty)| ScopeColumn::new(own, column, ty));
                return Relation { input: Input::System(system), columns: columns.collect() }.renamed(alias);
            }
        };
        self.tables_read += 1;
        let columns = Self::table_scope(&table, own);
        let input = Input::Table { table, access: Access::ALL };
        Relation { input, columns }.renamed(alias)
    }

    /// A function in FROM, and whether it depends on the entries before it.
    fn function_relation(
        &mut self,
        name: &Name,
        arguments: &[Syntax],
        alias: &Option<Alias>,
        ordinality: bool,
        before: &[ScopeColumn],
    ) -> Result<(Relation, bool), SqlError> {
        let typed: Vec<Typed> = self.within(before.to_vec(), |binder| {
            arguments.iter().map(|argument| binder.expr(argument)).collect()
        })?;
        let depends = |value: &Typed| {
            value.expr.any(&|expr| matches!(expr, Expr::Column { level: 0, .. }) || expr.subquery().is_some())
        };
        let lateral = !before.is_empty() && typed.iter().any(depends);
        let (rows, types) = self.function_rows(name, typed)?;
        let own = alias.as_ref().map_or(name.last(), |alias| &alias.name);
        // The only column of a function has the function's name, or its alias.
        let mut columns: Vec<ScopeColumn> =
            types.into_iter().map(|ty| ScopeColumn::new(own, own, ty)).collect();
        if let FunctionRows::Unnest(arrays) = &rows
            && arrays.len() > 1
        {
            columns.iter_mut().for_each(|column| column.name = "unnest".into());
        }
        if ordinality {
            columns.push(ScopeColumn::new(own, "ordinality", Type::Int8));
        }
        let input = Input::Function(Arc::new(TableFunction { rows, ordinality }));
        Ok((Relation { input, columns }.renamed(alias)?, lateral))
    }

    /// What gives the rows of a function, and the types of its columns.
    fn function_rows(
        &mut self,
        name: &Name,
        arguments: Vec<Typed>,
    ) -> Result<(FunctionRows, Vec<Type>), SqlError> {
        let types: Vec<Type> = arguments.iter().map(|argument| argument.ty.clone()).collect();
        match (name.last(), arguments.len()) {
            ("generate_series", 2 | 3) => {
                let ty = if types.contains(&Type::Int8) { Type::Int8 } else { Type::Int4 };
                if types.iter().any(|ty| !ty.is_integer() && *ty != Type::Unknown) {
                    return Err(SqlError::unsupported(format!("generate_series of {}", types[0]))
                        .hint("Series of integers and bigints are supported."));
                }
                let mut bounds = Vec::with_capacity(3);
                for argument in arguments {
                    bounds.push(self.coerce(argument, &ty, Strength::Implicit)?);
                }
                let one = Expr::Const(Some(crate::types::Value::Int4(1)));
                let step = if bounds.len() == 3 { bounds.pop().unwrap_or(one) } else { one };
                let last = bounds.pop().unwrap_or(Expr::Const(None));
                let first = bounds.pop().unwrap_or(Expr::Const(None));
                Ok((FunctionRows::Series { first, last, step, ty: ty.clone() }, vec![ty]))
            }
            ("unnest", 1..) => {
                let mut elements = Vec::with_capacity(types.len());
                for ty in types {
                    let Type::Array(element) = ty else {
                        let text = format!("function unnest({ty}) does not exist");
                        return Err(
                            SqlError::new(sqlstate::UNDEFINED_FUNCTION, text).at_if_known(name.position)
                        );
                    };
                    elements.push(*element);
                }
                let arrays = arguments.into_iter().map(|argument| argument.expr).collect();
                Ok((FunctionRows::Unnest(arrays), elements))
            }
            _ => {
                let value = self.scalar_call(name, arguments)?;
                Ok((FunctionRows::Value(value.expr), vec![value.ty]))
            }
        }
    }
}

/// The columns of a join as they come to be.
#[derive(Default)]
struct Columns {
    conditions: Vec<Expr>,
    /// The places of columns that stand for both sides: first in `*`.
    first: Vec<usize>,
    /// Columns that are computed of both sides, and their values.
    computed: Vec<(ScopeColumn, Expr)>,
}

impl Columns {
    /// The join of two sides, of which `start` columns stand before.
    fn join(self, left: Joined, right: Joined, kind: statement::JoinKind, start: usize) -> Joined {
        let Columns { conditions, first, computed } = self;
        let middle = left.columns.len();
        let mut columns = [left.columns, right.columns].concat();
        let mut ranked: Vec<usize> = (0..columns.len()).collect();
        ranked.sort_by_key(|at| (*at >= middle, columns[*at].rank));
        let merged_at = start + columns.len();
        let mut order: Vec<usize> = first;
        order.extend(merged_at..merged_at + computed.len());
        order.extend(
            ranked.into_iter().map(|at| start + at).filter(|at| !order.contains(at)).collect::<Vec<_>>(),
        );
        let mut merged = Vec::with_capacity(computed.len());
        for (column, value) in computed {
            merged.push((start + columns.len(), value));
            columns.push(column);
        }
        for (rank, place) in order.into_iter().enumerate() {
            columns[place - start].rank = start + rank;
        }
        let (own, swapped) = match kind {
            statement::JoinKind::Inner => (JoinKind::Inner, false),
            statement::JoinKind::Left => (JoinKind::Left, false),
            statement::JoinKind::Right => (JoinKind::Left, true),
            statement::JoinKind::Full => (JoinKind::Full, false),
        };
        let (first, second) = if swapped { (right.tree, left.tree) } else { (left.tree, right.tree) };
        let tree = Tree::Join(Box::new(TreeJoin {
            kind: own,
            left: first,
            right: second,
            on: conditions,
            merged,
            at: start,
            width: columns.len(),
        }));
        Joined { tree, columns, tables: [left.tables, right.tables].concat() }
    }
}

impl Joined {
    /// Entries of FROM side by side, behind one another.
    fn beside(self, next: Joined) -> Joined {
        Columns::default().join(self, next, statement::JoinKind::Inner, 0)
    }
}

/// The names of the columns that both sides have.
fn shared_names(left: &[ScopeColumn], right: &[ScopeColumn]) -> Vec<String> {
    let shown = |column: &&ScopeColumn| !column.hidden && !column.merged;
    let mut ranked: Vec<&ScopeColumn> = left.iter().filter(shown).collect();
    ranked.sort_by_key(|column| column.rank);
    let shared =
        ranked.into_iter().filter(|own| right.iter().filter(shown).any(|other| other.name == own.name));
    shared.map(|column| column.name.clone()).collect()
}

/// The column of that name on a side. 42703, or 42702 if there are several.
fn using(side: &[ScopeColumn], name: &str, which: &str) -> Result<usize, SqlError> {
    let mut found =
        (0..side.len()).filter(|at| side[*at].name == name && !side[*at].merged && !side[*at].hidden);
    match (found.next(), found.next()) {
        (Some(at), None) => Ok(at),
        (None, _) => Err(SqlError::new(
            sqlstate::UNDEFINED_COLUMN,
            format!("column \"{name}\" specified in USING clause does not exist in {which} table"),
        )),
        (Some(_), Some(_)) => Err(SqlError::new(
            sqlstate::AMBIGUOUS_COLUMN,
            format!("common column name \"{name}\" appears more than once in {which} table"),
        )),
    }
}

/// 42712 if an entry of FROM has the alias of an earlier one.
pub(super) fn check_alias(before: &[ScopeColumn], next: &[ScopeColumn]) -> Result<(), SqlError> {
    let Some(own) = next.first().filter(|column| !column.table.is_empty()) else { return Ok(()) };
    match before.iter().any(|column| column.table == own.table) {
        false => Ok(()),
        true => Err(SqlError::new(
            sqlstate::DUPLICATE_ALIAS,
            format!("table name \"{}\" specified more than once", own.table),
        )),
    }
}
