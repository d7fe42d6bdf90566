//! Operators: of values, of queries, of joins; and what frames count.

/// A set operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetOp {
    Union,
    Intersect,
    Except,
}

/// Which rows without a partner stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JoinKind {
    Inner,
    Left,
    Right,
    Full,
}

/// What a frame counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameUnits {
    Rows,
    Range,
    Groups,
}

impl FrameUnits {
    /// As it is written.
    pub(crate) fn name(self) -> &'static str {
        match self {
            FrameUnits::Rows => "ROWS",
            FrameUnits::Range => "RANGE",
            FrameUnits::Groups => "GROUPS",
        }
    }
}

/// A binary operator (AND and OR have nodes of their own).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Eq,
    NotEq,
    Lt,
    LtEq,
    Gt,
    GtEq,
    Plus,
    Minus,
    Times,
    Divide,
    Modulo,
    Power,
    Concat,
    /// `~`, `~*`, `!~`, `!~*`.
    Regex {
        insensitive: bool,
        negated: bool,
    },
    /// An operator of PostgreSQL that is a function here: `@>`, `?`, `#>` ..
    Named(&'static str),
    /// jsonb `->`.
    Arrow,
    /// jsonb `->>`.
    LongArrow,
    BitAnd,
    BitOr,
}

impl Operator {
    /// As it is written.
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Operator::Eq => "=",
            Operator::NotEq => "<>",
            Operator::Lt => "<",
            Operator::LtEq => "<=",
            Operator::Gt => ">",
            Operator::GtEq => ">=",
            Operator::Plus => "+",
            Operator::Minus => "-",
            Operator::Times => "*",
            Operator::Divide => "/",
            Operator::Modulo => "%",
            Operator::Power => "^",
            Operator::Concat => "||",
            Operator::Regex { insensitive: false, negated: false } => "~",
            Operator::Regex { insensitive: true, negated: false } => "~*",
            Operator::Regex { insensitive: false, negated: true } => "!~",
            Operator::Regex { insensitive: true, negated: true } => "!~*",
            Operator::Named(symbol) => symbol,
            Operator::Arrow => "->",
            Operator::LongArrow => "->>",
            Operator::BitAnd => "&",
            Operator::BitOr => "|",
        }
    }

    /// Is it one of the six comparisons?
    pub(crate) fn is_comparison(self) -> bool {
        matches!(
            self,
            Operator::Eq | Operator::NotEq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq
        )
    }

    /// The comparison that holds with the sides swapped.
    pub(crate) fn flipped(self) -> Operator {
        match self {
            Operator::Lt => Operator::Gt,
            Operator::LtEq => Operator::GtEq,
            Operator::Gt => Operator::Lt,
            Operator::GtEq => Operator::LtEq,
            other => other,
        }
    }
}
