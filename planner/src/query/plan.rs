//! A query as data: what the binder makes of a SELECT.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::access::Access;
use crate::catalog::TableSchema;
use crate::expression::{AggregateFunction, Expr, SystemRelation};
use crate::result::Column;
use crate::statement::{FrameUnits, SetOp};
use crate::types::Type;

/// Where the rows of a query come from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Input {
    /// One row without columns (SELECT without FROM).
    Nothing,
    /// A table of the store.
    Table {
        /// The table.
        table: Arc<TableSchema>,
        /// How its rows are reached.
        access: Access,
    },
    /// A relation of pg_catalog or information_schema.
    System(&'static dyn SystemRelation),
    /// A query in FROM.
    Query {
        /// The query.
        plan: Arc<SelectPlan>,
        /// Does it see the row before it in FROM, one query out?
        lateral: bool,
    },
    /// A function in FROM.
    Function(Arc<TableFunction>),
    /// VALUES: rows of expressions.
    Values(Arc<Vec<Vec<Expr>>>),
    /// UNION, INTERSECT, EXCEPT.
    Set(Arc<SetPlan>),
    /// A query of WITH, of so many queries further out.
    Common {
        /// The query.
        plan: Arc<CommonPlan>,
        /// How many queries are between it and this place.
        up: usize,
    },
    /// A recursive query.
    Recursive(Arc<RecursivePlan>),
    /// The rows of the last step of the recursive query with this number.
    Working(usize),
    /// Several entries of FROM.
    Join {
        /// How they are joined.
        join: Arc<Join>,
        /// Columns of all of them.
        width: usize,
    },
}

/// UNION, INTERSECT, EXCEPT.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SetPlan {
    /// Which of them.
    pub(crate) op: SetOp,
    /// Do equal rows stay?
    pub(crate) all: bool,
    /// The query on the left.
    pub(crate) left: Arc<SelectPlan>,
    /// The query on the right, with as many columns of the same types.
    pub(crate) right: Arc<SelectPlan>,
}

/// A query of WITH. If it is read more than once it is computed once.
#[derive(Clone, Debug)]
pub(crate) struct CommonPlan {
    query: Arc<SelectPlan>,
    number: usize,
    uses: Arc<AtomicUsize>,
}

impl CommonPlan {
    /// A query with a number of its own in the statement.
    pub(crate) fn new(query: SelectPlan, number: usize) -> CommonPlan {
        CommonPlan { query: Arc::new(query), number, uses: Arc::default() }
    }

    /// The query.
    pub(crate) fn query(&self) -> &Arc<SelectPlan> {
        &self.query
    }

    /// Its number.
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// It is read at one more place.
    pub(crate) fn use_again(&self) {
        self.uses.fetch_add(1, Ordering::Relaxed);
    }

    /// Is it computed once for several places?
    pub(crate) fn is_shared(&self) -> bool {
        self.uses.load(Ordering::Relaxed) > 1 && !self.query.correlated
    }
}

impl PartialEq for CommonPlan {
    fn eq(&self, other: &CommonPlan) -> bool {
        self.number == other.number && self.query == other.query
    }
}

/// WITH RECURSIVE: rows that are computed from earlier ones.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RecursivePlan {
    /// The first rows.
    pub(crate) first: Arc<SelectPlan>,
    /// The rows that follow from those of the last step.
    pub(crate) step: Arc<SelectPlan>,
    /// Do rows stay that have come before?
    pub(crate) all: bool,
    /// Its number in the statement.
    pub(crate) number: usize,
}

/// A call of a window function.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WindowCall {
    /// The function.
    pub(crate) function: WindowFunction,
    /// Its arguments, over the input's rows (or those of groups).
    pub(crate) arguments: Vec<Expr>,
    /// FILTER of an aggregate.
    pub(crate) filter: Option<Expr>,
    /// PARTITION BY.
    pub(crate) partition: Vec<Expr>,
    /// ORDER BY (the positions in the keys mean nothing).
    pub(crate) order: Vec<(Expr, SortKey)>,
    /// Which rows of the partition it sees.
    pub(crate) frame: FramePlan,
    /// The type of its result.
    pub(crate) ty: Type,
}

impl WindowCall {
    /// Its expressions.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &Expr> {
        let order = self.order.iter().map(|(expr, _)| expr);
        self.arguments.iter().chain(&self.filter).chain(&self.partition).chain(order)
    }

    /// Its expressions, to be changed.
    pub(crate) fn parts_mut(&mut self) -> impl Iterator<Item = &mut Expr> {
        let order = self.order.iter_mut().map(|(expr, _)| expr);
        self.arguments.iter_mut().chain(&mut self.filter).chain(&mut self.partition).chain(order)
    }

    /// Are its rows in the same partitions and the same order as those of the other one?
    pub(crate) fn has_window_of(&self, other: &WindowCall) -> bool {
        self.partition == other.partition && self.order == other.order
    }
}

/// A window function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum WindowFunction {
    RowNumber,
    Rank,
    DenseRank,
    PercentRank,
    CumeDist,
    Ntile,
    Lag,
    Lead,
    FirstValue,
    LastValue,
    NthValue,
    /// An aggregate over the frame.
    Aggregate(&'static AggregateFunction),
}

/// Which rows of a partition a window function sees.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FramePlan {
    /// What the ends count.
    pub(crate) units: FrameUnits,
    /// Its start.
    pub(crate) start: FrameEnd,
    /// Its end.
    pub(crate) end: FrameEnd,
}

/// An end of a frame.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum FrameEnd {
    /// That of the partition.
    Unbounded,
    /// So far before the row.
    Preceding(Expr),
    /// At the row.
    CurrentRow,
    /// So far behind the row.
    Following(Expr),
}

/// A function in FROM. Its arguments see the row before it in FROM.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TableFunction {
    /// Its rows.
    pub(crate) rows: FunctionRows,
    /// WITH ORDINALITY: a last column counts the rows.
    pub(crate) ordinality: bool,
}

/// What gives the rows of a function.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum FunctionRows {
    /// generate_series(first, last, step): both bounds are among the rows.
    Series {
        /// The first number.
        first: Expr,
        /// The last number.
        last: Expr,
        /// How much is added.
        step: Expr,
        /// The type of the numbers: integer or bigint.
        ty: Type,
    },
    /// unnest(array, ..): a row for each element, a column for each array.
    Unnest(Vec<Expr>),
    /// A function that gives one value: one row.
    Value(Expr),
}

/// A node of a tree of joins. The rows of the tree have places for the columns of all entries of FROM; a node fills in
/// those of its own.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    /// An entry of FROM.
    Leaf(Arc<Leaf>),
    /// A join of two nodes.
    Join(Arc<Join>),
}

/// An entry of FROM among others.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Leaf {
    /// What it is.
    pub(crate) input: Input,
    /// The place of its first column.
    pub(crate) at: usize,
    /// How many columns it has.
    pub(crate) width: usize,
    /// Which of its rows are taken, over its own columns.
    pub(crate) filter: Option<Expr>,
    /// Does it depend on the row before it in FROM? Access and filter then see that row one query out.
    pub(crate) lateral: bool,
}

/// Which rows without a partner stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JoinKind {
    /// None.
    Inner,
    /// Those of the left side. (RIGHT JOIN is this with its sides changed.)
    Left,
    /// Those of both sides.
    Full,
}

/// A join of two nodes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Join {
    /// Which rows without a partner stay.
    pub(crate) kind: JoinKind,
    /// The side whose rows come first.
    pub(crate) left: Node,
    /// The other side. Its columns are side by side, from `right_at` on.
    pub(crate) right: Node,
    /// The place of the right side's first column.
    pub(crate) right_at: usize,
    /// How many columns the right side has.
    pub(crate) right_width: usize,
    /// How partners are found.
    pub(crate) method: Method,
    /// What else partners must fulfil.
    pub(crate) condition: Option<Expr>,
    /// Columns that are computed of both sides (USING of a FULL JOIN): their places and values.
    pub(crate) merged: Vec<(usize, Expr)>,
    /// Which of the joined rows stay.
    pub(crate) filter: Option<Expr>,
}

/// How the partners of a row are found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Method {
    /// The right side is a stored table: by its key, whose columns have these values for a row of the left side.
    LookUp(Vec<Expr>),
    /// By values that must be equal.
    Hash {
        /// Of a row of the left side.
        left: Vec<Expr>,
        /// Of the right side's columns.
        right: Vec<Expr>,
    },
    /// By looking at all rows of the right side.
    Loop,
}

/// DISTINCT.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Distinct {
    /// All rows stay.
    No,
    /// Of equal output rows one stays.
    Rows,
    /// Of rows that are equal in these output columns (perhaps hidden ones) the first stays.
    On(Vec<usize>),
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
    /// Group expressions and aggregates; the projection then sees rows of groups.
    pub(crate) grouping: Option<Arc<Grouping>>,
    /// Window functions; their values stand behind the columns of the row (or of the group's).
    pub(crate) windows: Vec<WindowCall>,
    /// The visible columns, then hidden ones that only sort.
    pub(crate) projection: Vec<Expr>,
    /// Names and types of the visible columns.
    pub(crate) columns: Vec<Column>,
    /// DISTINCT.
    pub(crate) distinct: Distinct,
    /// ORDER BY, first key first. Empty: in the order of the input.
    pub(crate) order: Vec<SortKey>,
    /// LIMIT: a bigint without columns. NULL is no limit.
    pub(crate) limit: Option<Expr>,
    /// OFFSET: a bigint without columns. NULL is 0.
    pub(crate) offset: Option<Expr>,
    /// How many times stored tables are read, in all parts.
    pub(crate) tables: u32,
    /// Does it refer to rows of queries around it?
    pub(crate) correlated: bool,
}

/// GROUP BY, aggregates, HAVING. A group's row has the places of the input's row, in which only columns that the rows of
/// the group have in common hold values; behind them stand other keys, then the aggregates.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Grouping {
    /// What rows of a group have in common. Without keys all rows are one group, which may be empty.
    pub(crate) keys: Vec<Expr>,
    /// The places of the keys in the group's row.
    pub(crate) places: Vec<usize>,
    /// The place of the first aggregate.
    pub(crate) aggregates_at: usize,
    /// What is gathered of each group.
    pub(crate) aggregates: Vec<Aggregate>,
    /// HAVING, over the group's row.
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
        let tables = u32::from(matches!(input, Input::Table { .. }));
        SelectPlan {
            input,
            filter: None,
            grouping: None,
            windows: Vec::new(),
            projection,
            columns,
            distinct: Distinct::No,
            order: Vec::new(),
            limit: None,
            offset: None,
            tables,
            correlated: false,
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

    /// Other columns, over the rows of this query.
    pub(crate) fn computed(self, projection: Vec<Expr>) -> SelectPlan {
        let (tables, correlated, columns) = (self.tables, self.correlated, self.columns.clone());
        let input = Input::Query { plan: Arc::new(self), lateral: false };
        SelectPlan { tables, correlated, ..SelectPlan::new(input, projection, columns) }
    }

    /// Gives the values of window functions their places, behind an input of so many columns or the rows of groups.
    pub(crate) fn place_windows(&mut self, width: usize) {
        if self.windows.is_empty() {
            return;
        }
        let groups = self.grouping.as_ref().map(|own| own.aggregates_at + own.aggregates.len());
        let first = groups.unwrap_or(width);
        for expr in &mut self.projection {
            expr.place_windows(first);
        }
    }

    /// Must all its rows be there before the first can be given?
    pub(crate) fn needs_all(&self) -> bool {
        self.grouping.is_some()
            || !self.windows.is_empty()
            || matches!(self.distinct, Distinct::On(_))
            || !self.order.is_empty()
    }

    /// The stored table that it reads, if that is all it reads, with its access.
    pub(crate) fn stored(&self) -> Option<(&Arc<TableSchema>, &Access)> {
        match &self.input {
            Input::Table { table, access } if self.tables == 1 => Some((table, access)),
            _ => None,
        }
    }
}
