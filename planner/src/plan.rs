//! Plans: what a statement will do, with names resolved and keys found. They are data: `bind` makes them, `execute`
//! runs them, and EXPLAIN prints them.

use std::sync::Arc;

use crate::access::Access;
use crate::catalog::TableSchema;
use crate::expression::Expr;
use crate::query::SelectPlan;
use crate::result::Column;
use crate::settings::Settings;
use crate::statement::{AlterTable, CopyOptions, CreateSchema, Direction, Drop, Name, Statement};
use crate::types::Type;

/// What a statement will do.
#[derive(Debug)]
pub(crate) enum Plan {
    /// A text of spaces and comments.
    Empty,
    Select(Arc<SelectPlan>),
    /// INSERT and UPSERT.
    Insert(Arc<InsertPlan>),
    /// UPDATE and DELETE.
    Change(Arc<ChangePlan>),
    Truncate(Vec<ChangePlan>),
    CreateTable(Box<CreateTablePlan>),
    Drop(Drop),
    CreateSchema(CreateSchema),
    AlterTable(Box<AlterTable>),
    CopyIn(Box<CopyInPlan>),
    CopyOut {
        select: Arc<SelectPlan>,
        options: Box<CopyOptions>,
    },
    Declare(Box<DeclarePlan>),
    Fetch {
        name: String,
        direction: Direction,
    },
    Move {
        name: String,
        direction: Direction,
    },
    Explain {
        analyze: bool,
        plan: Box<Plan>,
    },
    Prepare {
        name: String,
        types: Vec<Type>,
        sql: String,
    },
    Execute {
        name: String,
        arguments: Vec<Expr>,
    },
    /// Of the session alone: SET, SHOW, BEGIN, ..
    Session(Box<Statement>),
}

/// RETURNING.
#[derive(Debug)]
pub(crate) struct Returning {
    /// The values, over the row as it was written (or deleted) with its system columns.
    pub(crate) exprs: Vec<Expr>,
    /// Their names and types.
    pub(crate) columns: Arc<[Column]>,
    /// Whether they are known only when the row is written: they may show its version or LSN.
    pub(crate) needs_write: bool,
}

/// Where inserted rows come from.
#[derive(Debug)]
pub(crate) enum InsertSource {
    /// Full rows of the table's columns.
    Rows(Vec<Vec<Expr>>),
    /// A query, and full rows over its columns.
    Query { query: Arc<SelectPlan>, row: Vec<Expr> },
}

/// What an insert does with a row that is there.
#[derive(Debug)]
pub(crate) enum OnConflict {
    /// The statement fails with 23505.
    Fail,
    /// The row there stays as it is.
    Skip,
    /// Columns of the row there get new values, which are computed over the row there and the row proposed behind
    /// it, if the filter holds.
    Update { assignments: Vec<(usize, Expr)>, filter: Option<Expr> },
    /// The written columns are replaced, whatever the row there holds (UPSERT).
    Replace,
}

/// INSERT and UPSERT.
#[derive(Debug)]
pub(crate) struct InsertPlan {
    pub(crate) table: Arc<TableSchema>,
    pub(crate) source: InsertSource,
    /// For each column of the table: does the statement give it a value?
    pub(crate) written: Vec<bool>,
    pub(crate) on_conflict: OnConflict,
    /// Whether it proposes exactly one row, whose key depends on parameters only, and has no DO UPDATE.
    pub(crate) names_one_key: bool,
    pub(crate) returning: Option<Returning>,
    /// The statement: "INSERT" or "UPSERT".
    pub(crate) command: &'static str,
}

/// The rows that stand beside those that UPDATE .. FROM and DELETE .. USING change.
#[derive(Debug)]
pub(crate) struct ChangeFrom {
    /// All columns of FROM.
    pub(crate) source: Arc<SelectPlan>,
    /// If WHERE says so: the values of the key's columns in the row of the table that goes with a row of FROM. They count
    /// the columns of the table, system columns included, before those of FROM.
    pub(crate) key: Option<Vec<Expr>>,
}

/// UPDATE and DELETE.
#[derive(Debug)]
pub(crate) struct ChangePlan {
    pub(crate) table: Arc<TableSchema>,
    pub(crate) access: Access,
    /// FROM and USING. Expressions see its columns behind those of the table and the system columns.
    pub(crate) from: Option<ChangeFrom>,
    /// What is left of WHERE.
    pub(crate) filter: Option<Expr>,
    /// UPDATE's new values; `None`: DELETE.
    pub(crate) assignments: Option<Vec<(usize, Expr)>>,
    /// Whether a row changes in the same way whatever it holds, so that nobody has to read it.
    pub(crate) same_for_all_rows: bool,
    /// Whether a subquery says which rows change, or how: it must not see what the statement has changed.
    pub(crate) has_subquery: bool,
    pub(crate) returning: Option<Returning>,
    /// The statement: "UPDATE", "DELETE" or "TRUNCATE TABLE".
    pub(crate) command: &'static str,
}

/// DECLARE.
#[derive(Debug)]
pub(crate) struct DeclarePlan {
    pub(crate) name: String,
    /// The statement's text.
    pub(crate) sql: String,
    /// FETCH gives values in binary format.
    pub(crate) binary: bool,
    /// What is kept for going back.
    pub(crate) scroll: Scroll,
    /// It outlives its transaction.
    pub(crate) hold: bool,
    pub(crate) select: Arc<SelectPlan>,
}

/// What a cursor keeps of the rows that it has read, to go back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scroll {
    /// Nothing: it goes forward only.
    No,
    /// As long as they take little memory.
    Little,
    /// All rows.
    All,
}

/// CREATE TABLE.
#[derive(Debug)]
pub(crate) struct CreateTablePlan {
    /// Its name: where it goes without a schema is found when it is made.
    pub(crate) name: Name,
    /// The new table; the store chooses its id.
    pub(crate) table: TableSchema,
    /// The name that the statement gives the primary key; else one that is free is chosen.
    pub(crate) key_name: Option<String>,
    /// Where the table is split into ranges: values of the first columns of the key.
    pub(crate) splits: Vec<Vec<Expr>>,
    pub(crate) if_not_exists: bool,
}

/// COPY .. FROM STDIN.
#[derive(Debug)]
pub(crate) struct CopyInPlan {
    pub(crate) table: Arc<TableSchema>,
    /// Positions in the table of the columns that the lines give.
    pub(crate) columns: Vec<usize>,
    /// The default values of all columns of the table.
    pub(crate) defaults: Vec<Expr>,
    /// WHERE: which rows come in.
    pub(crate) filter: Option<Expr>,
    pub(crate) options: CopyOptions,
}

impl Plan {
    /// May executing it write?
    pub(crate) fn writes(&self) -> bool {
        match self {
            Plan::Insert(_)
            | Plan::Change(_)
            | Plan::Truncate(_)
            | Plan::CreateTable(_)
            | Plan::Drop(_)
            | Plan::CreateSchema(_)
            | Plan::AlterTable(_)
            | Plan::CopyIn(_)
            | Plan::Execute { .. } => true,
            Plan::Explain { analyze, plan } => *analyze && plan.writes(),
            Plan::Session(statement) => matches!(**statement, Statement::Commit),
            Plan::Empty
            | Plan::Select(_)
            | Plan::CopyOut { .. }
            | Plan::Declare(_)
            | Plan::Fetch { .. }
            | Plan::Move { .. }
            | Plan::Prepare { .. } => false,
        }
    }

    /// Is it likely to be executed again?
    pub(crate) fn is_worth_caching(&self) -> bool {
        matches!(self, Plan::Select(_) | Plan::Insert(_) | Plan::Change(_) | Plan::Session(_))
    }

    /// Columns of the result.
    pub(crate) fn columns(&self) -> Option<Arc<[Column]>> {
        match self {
            Plan::Select(select) => Some(select.columns.clone().into()),
            Plan::Insert(insert) => insert.returning.as_ref().map(|returning| returning.columns.clone()),
            Plan::Change(change) => change.returning.as_ref().map(|returning| returning.columns.clone()),
            Plan::Explain { .. } => Some(vec![Column::computed("QUERY PLAN", Type::Text)].into()),
            Plan::Session(statement) => match &**statement {
                Statement::Show(Some(name)) => {
                    let name = Settings::spelling(name);
                    Some(vec![Column::computed(name, Type::Text)].into())
                }
                Statement::Show(None) => {
                    let columns = ["name", "setting", "description"];
                    Some(columns.map(|name| Column::computed(name, Type::Text)).to_vec().into())
                }
                _ => None,
            },
            _ => None,
        }
    }
}
