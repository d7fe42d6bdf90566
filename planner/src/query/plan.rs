//! A query as data: what the binder makes of a SELECT.

use std::sync::Arc;

use crate::access::Access;
use crate::catalog::TableSchema;
use crate::expression::{AggregateFunction, Expr, SystemRelation};
use crate::result::Column;
use crate::statement::SetOp;
use crate::types::Type;

/// Where the rows of a query come from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Input {
    /// One row without columns (SELECT without FROM).
    Nothing,
    /// A table of the store: only as the sole input of a top-level query.
    Table {
        /// The table.
        table: Arc<TableSchema>,
        /// How its rows are reached.
        access: Access,
    },
    /// A relation of pg_catalog or information_schema.
    System(&'static dyn SystemRelation),
    /// A query in FROM.
    Query(Arc<SelectPlan>),
    /// generate_series(first, last): both bounds are among the rows.
    Series {
        /// The first number.
        first: Expr,
        /// The last number.
        last: Expr,
    },
    /// unnest(array): a row for each element.
    Unnest(Expr),
    /// VALUES: rows of expressions.
    Values(Vec<Vec<Expr>>),
    /// UNION, INTERSECT, EXCEPT.
    Set {
        /// Which of them.
        op: SetOp,
        /// Do equal rows stay?
        all: bool,
        /// The query on the left.
        left: Arc<SelectPlan>,
        /// The query on the right, with as many columns of the same types.
        right: Arc<SelectPlan>,
    },
    /// A join, as a nested loop.
    Join {
        /// The outer loop.
        left: Box<Input>,
        /// The inner loop. A series or unnest in it sees the row of the left side.
        right: Box<Input>,
        /// Does a row of the left side without a partner stay (LEFT JOIN)?
        outer: bool,
        /// The condition; none for CROSS JOIN.
        on: Option<Expr>,
        /// How many columns of the same FROM stand before the join's own, in the row that `on` sees.
        base: usize,
        /// How many columns the right side has: so many NULLs stand for a missing partner.
        right_width: usize,
    },
}

/// A sort key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SortKey {
    /// The output column, or the argument of an aggregate (perhaps a hidden one).
    pub(crate) at: usize,
    /// Do larger values come first?
    pub(crate) descending: bool,
    /// Do NULLs come before all values, whatever the direction?
    pub(crate) nulls_first: bool,
}

/// Nodes of a query's expressions that are computed on the session's own task at most.
const QUICK_NODES_MAX: usize = 100;

/// A query that is ready to run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SelectPlan {
    /// Where its rows come from.
    pub(crate) input: Input,
    /// WHERE (what is left of it, if the access to a table obeys a part).
    pub(crate) filter: Option<Expr>,
    /// Group expressions and aggregates; the projection then sees the group's values, then the aggregates'.
    pub(crate) grouping: Option<Grouping>,
    /// The visible columns, then hidden ones that only sort.
    pub(crate) projection: Vec<Expr>,
    /// Names and types of the visible columns.
    pub(crate) columns: Vec<Column>,
    /// Of equal output rows, does only one stay?
    pub(crate) distinct: bool,
    /// ORDER BY, first key first. Empty: in the order of the input.
    pub(crate) order: Vec<SortKey>,
    /// LIMIT: a bigint without columns. NULL is no limit.
    pub(crate) limit: Option<Expr>,
    /// OFFSET: a bigint without columns. NULL is 0.
    pub(crate) offset: Option<Expr>,
}

/// GROUP BY, aggregates, HAVING.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Grouping {
    /// What rows of a group have in common. Without keys all rows are one group, which may be empty.
    pub(crate) keys: Vec<Expr>,
    /// What is gathered of each group.
    pub(crate) aggregates: Vec<Aggregate>,
    /// HAVING, over the group's keys and aggregates.
    pub(crate) having: Option<Expr>,
}

/// A call of an aggregate.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Aggregate {
    /// The function.
    pub(crate) function: &'static AggregateFunction,
    /// Its arguments, over the input's rows (none for count(*)), then hidden ones that only sort.
    pub(crate) arguments: Vec<Expr>,
    /// ORDER BY over the arguments, first key first. Empty: rows are taken as they come.
    pub(crate) order: Vec<SortKey>,
    /// DISTINCT: are equal arguments taken once?
    pub(crate) distinct: bool,
    /// FILTER: only rows for which it holds are taken.
    pub(crate) filter: Option<Expr>,
    /// The type of its result.
    pub(crate) ty: Type,
}

impl SelectPlan {
    /// All rows of an input, computed into columns.
    pub(crate) fn new(input: Input, projection: Vec<Expr>, columns: Vec<Column>) -> SelectPlan {
        SelectPlan {
            input,
            filter: None,
            grouping: None,
            projection,
            columns,
            distinct: false,
            order: Vec::new(),
            limit: None,
            offset: None,
        }
    }

    /// Does it take no longer than it takes to have it done elsewhere?
    pub(crate) fn is_quick(&self) -> bool {
        let few = match &self.input {
            Input::Nothing => true,
            Input::Values(rows) => rows.iter().map(Vec::len).sum::<usize>() <= QUICK_NODES_MAX,
            _ => false,
        };
        let values = match &self.input {
            Input::Values(rows) => rows.as_slice(),
            _ => &[],
        };
        let mut left = QUICK_NODES_MAX;
        few && self
            .projection
            .iter()
            .chain(&self.filter)
            .chain(values.iter().flatten())
            .all(|expr| expr.is_quick(&mut left))
    }

    /// The stored table that it reads, with its access.
    pub(crate) fn stored(&self) -> Option<(&Arc<TableSchema>, &Access)> {
        match &self.input {
            Input::Table { table, access } => Some((table, access)),
            _ => None,
        }
    }
}
