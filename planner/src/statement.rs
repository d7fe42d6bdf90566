//! Our own small tree of a statement: what the parser's large one is turned into at once.
//!
//! Names are folded here (unquoted ones to lower case), forms that mean the same are one (AND chains
//! are flat lists), and what this server does not have is already refused with 0A000.

pub(crate) use crate::table_change::{DropKind, TableChange};
use crate::types::Type;

pub(crate) use crate::operator::{FrameUnits, JoinKind, Operator, SetOp};

/// A name in parts (`schema.table.column`), folded, and where it stands in the text (characters from 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    /// From the outermost to the name itself; never empty.
    pub(crate) parts: Vec<String>,
    /// `None` for a name that this server made.
    pub(crate) position: Option<u32>,
}

impl Name {
    /// The last part.
    pub(crate) fn last(&self) -> &str {
        self.parts.last().map_or("", String::as_str)
    }

    /// The part before the last, if any.
    pub(crate) fn qualifier(&self) -> Option<&str> {
        self.parts.len().checked_sub(2).map(|at| self.parts[at].as_str())
    }

    /// With dots between the parts.
    pub(crate) fn dotted(&self) -> String {
        self.parts.join(".")
    }
}

/// A statement.
#[derive(Clone, Debug)]
pub(crate) enum Statement {
    /// Nothing but blanks and comments.
    Empty,
    /// SELECT, VALUES, TABLE, and set operations.
    Query(Query),
    Insert(Box<Insert>),
    Update(Update),
    Delete(Delete),
    Truncate(Vec<Name>),
    CreateTable(CreateTable),
    Drop(Drop),
    CreateSchema(CreateSchema),
    AlterTable(AlterTable),
    Copy(Box<Copy>),
    Explain {
        /// Run it, too, and say how long it took.
        analyze: bool,
        statement: Box<Statement>,
    },
    /// SET, of a setting.
    Set {
        name: String,
        /// `None`: DEFAULT.
        value: Option<String>,
        /// Until the end of the transaction block only.
        local: bool,
    },
    /// SET TRANSACTION, or SET SESSION CHARACTERISTICS AS TRANSACTION.
    SetTransaction {
        /// `None`: it says nothing about it.
        read_only: Option<bool>,
        /// For all later transactions of the session, not for this one.
        session: bool,
    },
    /// DECLARE.
    Declare(Box<Declare>),
    Fetch {
        name: String,
        direction: Direction,
    },
    Move {
        name: String,
        direction: Direction,
    },
    /// CLOSE. `None`: ALL.
    Close(Option<String>),
    /// `None`: ALL.
    Show(Option<String>),
    /// `None`: ALL.
    Reset(Option<String>),
    /// BEGIN, and START TRANSACTION.
    Begin {
        read_only: Option<bool>,
    },
    Commit,
    Rollback,
    Savepoint(String),
    /// RELEASE SAVEPOINT.
    Release(String),
    /// ROLLBACK TO SAVEPOINT.
    RollbackTo(String),
    /// PREPARE: the name, the declared types of its parameters, the text to prepare.
    Prepare {
        name: String,
        /// May be fewer than there are parameters: the others are inferred.
        types: Vec<Type>,
        sql: String,
    },
    Execute {
        name: String,
        arguments: Vec<Syntax>,
    },
    /// `None`: ALL.
    Deallocate(Option<String>),
    DiscardAll,
    /// Accepted without effect: the command tag.
    NoEffect(&'static str),
}

/// DECLARE.
#[derive(Clone, Debug)]
pub(crate) struct Declare {
    pub(crate) name: String,
    /// The statement's text.
    pub(crate) sql: String,
    /// FETCH gives values in binary format.
    pub(crate) binary: bool,
    /// SCROLL or NO SCROLL, if it is said.
    pub(crate) scroll: Option<bool>,
    /// WITH HOLD: it outlives its transaction.
    pub(crate) hold: bool,
    pub(crate) query: Query,
}

/// Where FETCH and MOVE go, and which of the rows on the way they show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// So many rows (`None`: all) are shown as they come.
    Forward(Option<u64>),
    Backward(Option<u64>),
    /// The row of this number is shown, counted from the end if it is negative. 0 is before the first.
    Absolute(i64),
    /// The row so far on is shown.
    Relative(i64),
}

/// A query with its order and limits.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    /// WITH.
    pub(crate) with: Vec<CommonTable>,
    /// WITH RECURSIVE.
    pub(crate) recursive: bool,
    pub(crate) body: Body,
    pub(crate) order_by: Vec<OrderBy>,
    /// `None`: no limit.
    pub(crate) limit: Option<Syntax>,
    pub(crate) offset: Option<Syntax>,
}

impl Query {
    /// A query without order and limits.
    pub(crate) fn plain(body: Body) -> Query {
        Query { with: Vec::new(), recursive: false, body, order_by: Vec::new(), limit: None, offset: None }
    }

    /// `SELECT items FROM name`.
    pub(crate) fn over_table(name: Name, items: Vec<Item>) -> Query {
        Query::plain(Body::Select(Box::new(Select::over_table(name, items))))
    }

    /// Has it neither WITH nor order nor limits?
    pub(crate) fn is_plain(&self) -> bool {
        self.with.is_empty() && self.order_by.is_empty() && self.limit.is_none() && self.offset.is_none()
    }
}

/// An entry of WITH.
#[derive(Clone, Debug)]
pub(crate) struct CommonTable {
    /// Its name, and new names of its first columns.
    pub(crate) alias: Alias,
    pub(crate) query: Box<Query>,
}

/// What gives a query its rows.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Select(Box<Select>),
    /// Rows, each with the same number of expressions.
    Values(Vec<Vec<Syntax>>),
    /// UNION, INTERSECT, EXCEPT; `all` keeps duplicates.
    Set {
        op: SetOp,
        all: bool,
        left: Box<Body>,
        right: Box<Body>,
    },
    /// In parentheses, with an order and limits of its own.
    Query(Box<Query>),
}

/// SELECT without order and limits.
#[derive(Clone, Debug)]
pub(crate) struct Select {
    pub(crate) distinct: Distinct,
    pub(crate) items: Vec<Item>,
    /// Separated by commas: their product.
    pub(crate) from: Vec<From>,
    /// WHERE.
    pub(crate) filter: Option<Syntax>,
    pub(crate) group_by: Vec<Syntax>,
    pub(crate) having: Option<Syntax>,
    /// WINDOW: names of windows.
    pub(crate) windows: Vec<(String, Window)>,
}

/// DISTINCT.
#[derive(Clone, Debug)]
pub(crate) enum Distinct {
    No,
    /// Of all output columns.
    Rows,
    /// DISTINCT ON.
    On(Vec<Syntax>),
}

impl Select {
    /// `SELECT items FROM name`.
    pub(crate) fn over_table(name: Name, items: Vec<Item>) -> Select {
        Select {
            distinct: Distinct::No,
            items,
            from: vec![From::Table { name, alias: None }],
            filter: None,
            group_by: Vec::new(),
            having: None,
            windows: Vec::new(),
        }
    }
}

/// An entry of a select list or RETURNING.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    /// `*`, or `t.*`.
    All(Option<Name>),
    /// An expression, and the name that AS gives it.
    Expression { syntax: Syntax, alias: Option<String> },
}

/// An entry of FROM.
#[derive(Clone, Debug)]
pub(crate) enum From {
    /// A stored table or a system relation.
    Table { name: Name, alias: Option<Alias> },
    /// A subquery; LATERAL ones see the entries before them.
    Query { query: Box<Query>, alias: Option<Alias>, lateral: bool },
    /// A function; WITH ORDINALITY counts its rows in a last column.
    Function { name: Name, arguments: Vec<Syntax>, alias: Option<Alias>, ordinality: bool },
    /// On a condition, or on columns of the same name.
    Join { left: Box<From>, right: Box<From>, kind: JoinKind, on: JoinOn },
}

/// What makes rows partners.
#[derive(Clone, Debug)]
pub(crate) enum JoinOn {
    /// CROSS JOIN: all are.
    Nothing,
    Condition(Syntax),
    /// USING: equal values in columns of these names.
    Using(Vec<String>),
    /// NATURAL: in all columns that have the same name.
    Natural,
}

/// `AS t (a, b)`.
#[derive(Clone, Debug)]
pub(crate) struct Alias {
    pub(crate) name: String,
    /// New names of the first columns; may be empty.
    pub(crate) columns: Vec<String>,
}

/// An entry of ORDER BY.
#[derive(Clone, Debug)]
pub(crate) struct OrderBy {
    /// An expression, the name of an output column, or its number from 1.
    pub(crate) syntax: Syntax,
    pub(crate) descending: bool,
    /// As written, or as PostgreSQL has it: NULL counts as larger than all values.
    pub(crate) nulls_first: bool,
}

/// INSERT, and UPSERT.
#[derive(Clone, Debug)]
pub(crate) struct Insert {
    /// UPSERT: a row with the same key is replaced in the columns that are given.
    pub(crate) upsert: bool,
    pub(crate) table: Name,
    pub(crate) alias: Option<String>,
    /// Empty: all of the table, in its order.
    pub(crate) columns: Vec<Name>,
    /// `None`: DEFAULT VALUES.
    pub(crate) source: Option<Query>,
    /// ON CONFLICT.
    pub(crate) on_conflict: Option<ConflictClause>,
    pub(crate) returning: Option<Vec<Item>>,
}

/// ON CONFLICT.
#[derive(Clone, Debug)]
pub(crate) struct ConflictClause {
    /// `None`: any conflict.
    pub(crate) target: Option<ConflictTarget>,
    /// DO UPDATE SET, and its WHERE. `None`: DO NOTHING.
    pub(crate) update: Option<(Vec<Assignment>, Option<Syntax>)>,
}

/// What a conflict is about.
#[derive(Clone, Debug)]
pub(crate) enum ConflictTarget {
    /// `(k)`.
    Columns(Vec<String>),
    /// ON CONSTRAINT and its name.
    Constraint(String),
}

/// `column = expression`.
#[derive(Clone, Debug)]
pub(crate) struct Assignment {
    pub(crate) column: Name,
    pub(crate) value: Syntax,
}

/// UPDATE.
#[derive(Clone, Debug)]
pub(crate) struct Update {
    pub(crate) table: Name,
    pub(crate) alias: Option<String>,
    pub(crate) assignments: Vec<Assignment>,
    /// FROM: other tables whose columns WHERE and SET see.
    pub(crate) from: Vec<From>,
    /// WHERE.
    pub(crate) filter: Option<Syntax>,
    pub(crate) returning: Option<Vec<Item>>,
}

/// DELETE.
#[derive(Clone, Debug)]
pub(crate) struct Delete {
    pub(crate) table: Name,
    pub(crate) alias: Option<String>,
    /// USING: other tables whose columns WHERE sees.
    pub(crate) using: Vec<From>,
    /// WHERE.
    pub(crate) filter: Option<Syntax>,
    pub(crate) returning: Option<Vec<Item>>,
}

/// CREATE TABLE.
#[derive(Clone, Debug)]
pub(crate) struct CreateTable {
    pub(crate) name: Name,
    pub(crate) if_not_exists: bool,
    pub(crate) columns: Vec<ColumnDefinition>,
    /// Its columns, in the order of the key.
    pub(crate) primary_key: Vec<String>,
    /// The name that CONSTRAINT gives the primary key.
    pub(crate) key_name: Option<String>,
    /// SPLIT AT VALUES: the first columns of the keys at which a new range begins.
    pub(crate) splits: Vec<Vec<Syntax>>,
}

/// CREATE SCHEMA.
#[derive(Clone, Debug)]
pub(crate) struct CreateSchema {
    pub(crate) name: String,
    pub(crate) if_not_exists: bool,
}

/// ALTER TABLE.
#[derive(Clone, Debug)]
pub(crate) struct AlterTable {
    pub(crate) table: Name,
    /// That the table does not exist is a notice, not an error.
    pub(crate) if_exists: bool,
    pub(crate) change: TableChange,
}

/// DROP.
#[derive(Clone, Debug)]
pub(crate) struct Drop {
    pub(crate) kind: DropKind,
    pub(crate) names: Vec<Name>,
    /// That something does not exist is a notice, not an error.
    pub(crate) if_exists: bool,
    /// What depends on it goes, too.
    pub(crate) cascade: bool,
}

/// A column of CREATE TABLE.
#[derive(Clone, Debug)]
pub(crate) struct ColumnDefinition {
    pub(crate) name: String,
    pub(crate) ty: Type,
    pub(crate) not_null: bool,
    /// Its text, and its tree.
    pub(crate) default: Option<(String, Syntax)>,
}

/// COPY.
#[derive(Clone, Debug)]
pub(crate) struct Copy {
    pub(crate) source: CopySource,
    /// From STDIN (else to STDOUT).
    pub(crate) from: bool,
    /// WHERE: which rows come in.
    pub(crate) filter: Option<Syntax>,
    pub(crate) options: CopyOptions,
}

/// What COPY reads or fills.
#[derive(Clone, Debug)]
pub(crate) enum CopySource {
    /// A table; no columns: all of them.
    Table { name: Name, columns: Vec<Name> },
    /// `COPY (query) TO STDOUT`.
    Query(Query),
}

/// The format of a COPY.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CopyFormat {
    #[default]
    Text,
    Csv,
    Binary,
}

/// What the first line of a COPY is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CopyHeader {
    /// A row.
    #[default]
    No,
    /// The names of the columns, which are not looked at.
    Yes,
    /// The names of the columns, which must be those.
    Match,
}

/// The columns that an option of COPY is about.
#[derive(Clone, Debug, Default)]
pub(crate) enum CopyColumns {
    /// The option is not given.
    #[default]
    None,
    /// `*`.
    All,
    Some(Vec<Name>),
}

/// Options of COPY, as written.
#[derive(Clone, Debug, Default)]
pub(crate) struct CopyOptions {
    pub(crate) format: CopyFormat,
    pub(crate) header: CopyHeader,
    pub(crate) delimiter: Option<String>,
    /// What stands for NULL.
    pub(crate) null: Option<String>,
    pub(crate) quote: Option<String>,
    pub(crate) escape: Option<String>,
    /// Columns that are always quoted on the way out.
    pub(crate) force_quote: CopyColumns,
    /// Columns in which nothing is NULL on the way in.
    pub(crate) force_not_null: CopyColumns,
    /// Columns in which a quoted text may be NULL, too.
    pub(crate) force_null: CopyColumns,
}

/// An expression before its names have a meaning.
#[derive(Clone, Debug)]
pub(crate) enum Syntax {
    Null,
    Bool(bool),
    /// As written: its type follows from its form.
    Number(String),
    /// A literal without a type yet.
    String(String),
    /// `$n`, counted from 0.
    Param(usize),
    Column(Name),
    /// The word DEFAULT in VALUES or SET.
    Default,
    Negate(Box<Syntax>),
    Not(Box<Syntax>),
    /// Flat, at least two.
    And(Vec<Syntax>),
    /// Flat, at least two.
    Or(Vec<Syntax>),
    Binary {
        op: Operator,
        left: Box<Syntax>,
        right: Box<Syntax>,
    },
    IsNull {
        arg: Box<Syntax>,
        negated: bool,
    },
    /// `IS [NOT] TRUE / FALSE`.
    IsBool {
        arg: Box<Syntax>,
        value: bool,
        negated: bool,
    },
    /// `IS [NOT] DISTINCT FROM`.
    IsDistinct {
        left: Box<Syntax>,
        right: Box<Syntax>,
        negated: bool,
    },
    /// `IN (list)`.
    In {
        arg: Box<Syntax>,
        list: Vec<Syntax>,
        negated: bool,
    },
    /// `IN (query)`.
    InQuery {
        arg: Box<Syntax>,
        query: Box<Query>,
        negated: bool,
    },
    Between {
        arg: Box<Syntax>,
        low: Box<Syntax>,
        high: Box<Syntax>,
        negated: bool,
    },
    /// LIKE and ILIKE (`insensitive`).
    Like {
        arg: Box<Syntax>,
        pattern: Box<Syntax>,
        escape: Option<char>,
        insensitive: bool,
        negated: bool,
    },
    /// `left op ANY (array)`, or ALL.
    Quantified {
        left: Box<Syntax>,
        op: Operator,
        array: Box<Syntax>,
        all: bool,
    },
    Cast {
        arg: Box<Syntax>,
        ty: Type,
    },
    /// `CASE operand WHEN .. THEN ..`, or without an operand `CASE WHEN condition THEN ..`.
    Case {
        operand: Option<Box<Syntax>>,
        whens: Vec<(Syntax, Syntax)>,
        otherwise: Option<Box<Syntax>>,
    },
    Call(Box<Call>),
    Exists(Box<Query>),
    /// A query that gives one value.
    Subquery(Box<Query>),
    /// `ARRAY(query)`.
    ArrayQuery(Box<Query>),
    /// `ARRAY[..]`.
    Array(Vec<Syntax>),
    /// `(a, b)`.
    Row(Vec<Syntax>),
    /// `arg[index]`.
    Index {
        arg: Box<Syntax>,
        subscripts: Vec<Subscript>,
    },
}

/// A subscript of an array.
#[derive(Clone, Debug)]
pub(crate) enum Subscript {
    /// `[at]`.
    At(Syntax),
    /// `[from:to]`; what is missing is the array's own bound.
    Slice(Option<Syntax>, Option<Syntax>),
}

/// A function call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) name: Name,
    pub(crate) arguments: Vec<Syntax>,
    /// `count(*)`.
    pub(crate) star: bool,
    pub(crate) distinct: bool,
    /// ORDER BY inside of an aggregate.
    pub(crate) order_by: Vec<OrderBy>,
    /// FILTER (WHERE ..) of an aggregate.
    pub(crate) filter: Option<Syntax>,
    /// OVER: it is a window function.
    pub(crate) over: Option<Window>,
}

/// A window: which rows a window function sees.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    /// The named window that it is, or that it adds to.
    pub(crate) name: Option<Name>,
    /// Is it nothing but that name (OVER w)?
    pub(crate) is_name: bool,
    pub(crate) partition_by: Vec<Syntax>,
    pub(crate) order_by: Vec<OrderBy>,
    /// `None`: from the start of the partition to the current row and its peers.
    pub(crate) frame: Option<Frame>,
}

/// The part of a partition that a window function sees.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) units: FrameUnits,
    pub(crate) start: FrameBound,
    pub(crate) end: FrameBound,
}

/// An end of a frame; `None`: unbounded.
#[derive(Clone, Debug)]
pub(crate) enum FrameBound {
    Preceding(Option<Box<Syntax>>),
    CurrentRow,
    Following(Option<Box<Syntax>>),
}
