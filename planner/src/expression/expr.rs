//! A bound expression: a tree of typed nodes.

use super::functions::Function;
use super::subquery::Subquery;
use crate::depth::deeper;
use crate::statement::Operator;
use crate::types::{Datum, Type};

/// A bound expression.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expr {
    /// A value.
    Const(Datum),
    /// A parameter of the statement, from 0 (`$1`).
    Param(usize),
    /// Column `at` of the row `level` queries out.
    Column {
        level: usize,
        at: usize,
    },
    /// An aggregate of the query, by its number in the query's list; the binder replaces it by a column.
    Aggregate(usize),
    /// A window function of the query, by its number in the query's list; the binder replaces it by a column.
    Window(usize),
    Not(Box<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Compare {
        op: Operator,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    /// `left op right` on numbers and dates; `ty` is the type of the result.
    Arithmetic {
        op: Operator,
        ty: Type,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    Negate(Box<Expr>),
    /// `||`.
    Concat {
        left: Box<Expr>,
        right: Box<Expr>,
    },
    /// `~`, `~*`, `!~`, `!~*`.
    Regex {
        arg: Box<Expr>,
        pattern: Box<Expr>,
        insensitive: bool,
        negated: bool,
    },
    Like {
        arg: Box<Expr>,
        pattern: Box<Expr>,
        escape: Option<char>,
        insensitive: bool,
        negated: bool,
    },
    IsNull {
        arg: Box<Expr>,
        negated: bool,
    },
    /// IS [NOT] TRUE, IS [NOT] FALSE.
    IsBool {
        arg: Box<Expr>,
        value: bool,
        negated: bool,
    },
    IsDistinct {
        left: Box<Expr>,
        right: Box<Expr>,
        negated: bool,
    },
    In {
        arg: Box<Expr>,
        list: Vec<Expr>,
        negated: bool,
    },
    /// `left op ANY (array)`, or `ALL`.
    Quantified {
        left: Box<Expr>,
        op: Operator,
        array: Box<Expr>,
        all: bool,
    },
    /// A cast, written by the user (`explicit`) or added by the binder.
    Cast {
        arg: Box<Expr>,
        from: Type,
        to: Type,
        explicit: bool,
    },
    Between {
        arg: Box<Expr>,
        low: Box<Expr>,
        high: Box<Expr>,
    },
    /// CASE: the result of the first condition that holds; with an operand, of the first value that is equal to it.
    Case {
        operand: Option<Box<Expr>>,
        whens: Vec<(Expr, Expr)>,
        otherwise: Option<Box<Expr>>,
    },
    Coalesce(Vec<Expr>),
    Call {
        function: &'static Function,
        arguments: Vec<Expr>,
    },
    Array {
        element: Type,
        items: Vec<Expr>,
    },
    /// `arg[at]..`: an element, by a subscript of each dimension.
    Index {
        arg: Box<Expr>,
        at: Vec<Expr>,
    },
    /// `arg[from:to]..`: a part of an array; a bound that is missing is the array's own.
    Slice {
        arg: Box<Expr>,
        bounds: Vec<(Option<Expr>, Option<Expr>)>,
    },
    /// `->` on json and jsonb, or `->>` if the result is `text`.
    JsonGet {
        arg: Box<Expr>,
        key: Box<Expr>,
        text: bool,
    },
    /// EXISTS (subquery).
    Exists(Subquery),
    /// A subquery of one column that gives one row at most: its value.
    Subquery(Subquery),
    /// ARRAY(subquery): its only column as an array.
    ArrayQuery {
        element: Type,
        query: Subquery,
    },
    /// IN (subquery): one argument for each of its columns.
    InQuery {
        arguments: Vec<Expr>,
        query: Subquery,
        negated: bool,
    },
}

/// The direct parts of an expression, by reference or by mutable reference.
macro_rules! parts {
    ($expr:expr, $iter:ident, $as_ref:ident) => {
        match $expr {
            Expr::Const(_) | Expr::Param(_) | Expr::Column { .. } => Vec::new(),
            Expr::Aggregate(_) | Expr::Window(_) => Vec::new(),
            Expr::Exists(_) | Expr::Subquery(_) | Expr::ArrayQuery { .. } => Vec::new(),
            Expr::Not(arg)
            | Expr::Negate(arg)
            | Expr::IsNull { arg, .. }
            | Expr::IsBool { arg, .. }
            | Expr::Cast { arg, .. } => vec![arg.$as_ref()],
            Expr::And(items) | Expr::Or(items) | Expr::Coalesce(items) => items.$iter().collect(),
            Expr::Call { arguments, .. } | Expr::InQuery { arguments, .. } => arguments.$iter().collect(),
            Expr::Array { items, .. } => items.$iter().collect(),
            Expr::Compare { left, right, .. }
            | Expr::Arithmetic { left, right, .. }
            | Expr::Concat { left, right }
            | Expr::IsDistinct { left, right, .. } => vec![left.$as_ref(), right.$as_ref()],
            Expr::Regex { arg, pattern, .. } | Expr::Like { arg, pattern, .. } => {
                vec![arg.$as_ref(), pattern.$as_ref()]
            }
            Expr::In { arg, list, .. } => std::iter::once(arg.$as_ref()).chain(list.$iter()).collect(),
            Expr::Quantified { left, array, .. } => vec![left.$as_ref(), array.$as_ref()],
            Expr::Index { arg, at } => std::iter::once(arg.$as_ref()).chain(at.$iter()).collect(),
            Expr::Slice { arg, bounds } => {
                let bounds = bounds.$iter().flat_map(|(from, to)| from.$iter().chain(to.$iter()));
                std::iter::once(arg.$as_ref()).chain(bounds).collect()
            }
            Expr::JsonGet { arg, key, .. } => vec![arg.$as_ref(), key.$as_ref()],
            Expr::Between { arg, low, high } => vec![arg.$as_ref(), low.$as_ref(), high.$as_ref()],
            Expr::Case { operand, whens, otherwise } => {
                let operand = operand.$iter().map(|operand| operand.$as_ref());
                let whens = whens.$iter().flat_map(|(when, then)| [when, then]);
                operand.chain(whens).chain(otherwise.$iter().map(|otherwise| otherwise.$as_ref())).collect()
            }
        }
    };
}

impl Expr {
    /// A column of the row at hand.
    pub(crate) fn column(at: usize) -> Expr {
        Expr::Column { level: 0, at }
    }

    /// The direct parts. Those of a subquery are not among them: its correlated columns count levels of their own.
    pub(crate) fn parts(&self) -> Vec<&Expr> {
        parts!(self, iter, as_ref)
    }

    /// The direct parts, to be changed; those of a subquery are not among them.
    pub(crate) fn parts_mut(&mut self) -> Vec<&mut Expr> {
        parts!(self, iter_mut, as_mut)
    }

    /// Is it computed soon: no subquery, and at most `left` nodes, which are taken from it?
    pub(crate) fn is_quick(&self, left: &mut usize) -> bool {
        let Some(rest) = left.checked_sub(1) else { return false };
        *left = rest;
        self.subquery().is_none() && self.parts().into_iter().all(|part| part.is_quick(left))
    }

    /// Does `test` hold for this node or one below it?
    pub(crate) fn any(&self, test: &impl Fn(&Expr) -> bool) -> bool {
        test(self) || self.parts().into_iter().any(|part| deeper(|| part.any(test)))
    }

    /// Is a subquery a part of it?
    pub(crate) fn has_subquery(&self) -> bool {
        self.any(&|expr| expr.subquery().is_some())
    }

    /// Is it the same for all rows of a query, whatever the rows of the queries around it are?
    pub(crate) fn is_fixed(&self) -> bool {
        !self.any(&|expr| match expr {
            Expr::Column { level, .. } => *level == 0,
            Expr::Aggregate(_) | Expr::Window(_) => true,
            Expr::Call { function, .. } => function.is_volatile(),
            other => other.subquery().is_some_and(Subquery::is_correlated),
        })
    }

    /// The subquery of this node.
    pub(crate) fn subquery(&self) -> Option<&Subquery> {
        match self {
            Expr::Exists(query) | Expr::Subquery(query) => Some(query),
            Expr::ArrayQuery { query, .. } | Expr::InQuery { query, .. } => Some(query),
            _ => None,
        }
    }

    /// Calls `change` for each column of the row at hand. Those that subqueries refer to are not among them.
    pub(crate) fn change_columns(&mut self, change: &mut impl FnMut(&mut usize)) {
        if let Expr::Column { level: 0, at } = self {
            change(at);
        }
        for part in self.parts_mut() {
            deeper(|| part.change_columns(change));
        }
    }

    /// Replaces window functions by columns, from that place on.
    pub(crate) fn place_windows(&mut self, first: usize) {
        if let Expr::Window(number) = self {
            *self = Expr::column(first + *number);
        }
        for part in self.parts_mut() {
            deeper(|| part.place_windows(first));
        }
    }

    /// Calls `change` for each column, with the query that it is of. Those in subqueries are not among them.
    pub(crate) fn change_all_columns(&mut self, change: &mut impl FnMut(&mut usize, &mut usize)) {
        if let Expr::Column { level, at } = self {
            change(level, at);
        }
        for part in self.parts_mut() {
            deeper(|| part.change_all_columns(change));
        }
    }

    /// Is it the same for all rows of an execution: no column, no subquery (which may refer to one)?
    pub(crate) fn is_constant(&self) -> bool {
        !self.any(&|expr| match expr {
            Expr::Column { .. } | Expr::Aggregate(_) | Expr::Window(_) => true,
            Expr::Call { function, .. } => function.is_volatile(),
            other => other.subquery().is_some(),
        })
    }
}
