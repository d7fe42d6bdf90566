//! A whole statement to its plan.

use std::sync::Arc;

use super::binder::Binder;
use super::{create_table, write};
use crate::catalog::{Snapshot, TableSchema};
use crate::error::{SqlError, sqlstate};
use crate::expression::Expr;
use crate::interrupt::Interrupt;
use crate::plan::{CopyInPlan, DeclarePlan, Plan, Scroll};
use crate::search_path::SearchPath;
use crate::statement::{Copy, CopyColumns, CopySource, Declare, Item, Name, Query, Statement, Syntax};
use crate::types::Type;

/// A bound statement.
pub(crate) struct Bound {
    pub(crate) plan: Plan,
    /// The types of `$1`, `$2`, ..
    pub(crate) parameters: Vec<Type>,
    /// How many expressions it has.
    pub(crate) nodes: u32,
}

/// Why a statement could not be bound.
pub(crate) struct BindError {
    pub(crate) error: SqlError,
    /// A table was not found. It may have been created through another gateway a moment ago, so it is worth
    /// binding again over fresh tables.
    pub(crate) unknown_table: bool,
}

/// Binds a statement over the tables of `snapshot`. `hints` are the parameter types that the client declared.
pub(crate) fn bind(
    statement: Statement,
    snapshot: Arc<Snapshot>,
    path: Arc<SearchPath>,
    hints: &[Type],
    interrupt: &Interrupt,
) -> Result<Bound, BindError> {
    let mut binder = Binder::new(snapshot, path, hints, interrupt.clone());
    match plan(&mut binder, statement) {
        Ok(plan) => Ok(Bound { plan, parameters: binder.parameter_types(), nodes: binder.nodes() }),
        Err(error) => Err(BindError { error, unknown_table: binder.unknown_table }),
    }
}

fn plan(binder: &mut Binder, statement: Statement) -> Result<Plan, SqlError> {
    Ok(match statement {
        Statement::Empty => Plan::Empty,
        Statement::Query(query) => Plan::Select(Arc::new(binder.top_query(&query)?)),
        Statement::Insert(insert) => Plan::Insert(Arc::new(write::insert(binder, *insert)?)),
        Statement::Update(update) => Plan::Change(Arc::new(write::update(binder, update)?)),
        Statement::Delete(delete) => Plan::Change(Arc::new(write::delete(binder, delete)?)),
        Statement::Truncate(tables) => Plan::Truncate(write::truncate(binder, &tables)?),
        Statement::CreateTable(create) => Plan::CreateTable(Box::new(create_table::bind(create, binder)?)),
        Statement::Drop(drop) => Plan::Drop(drop),
        Statement::CreateSchema(create) => Plan::CreateSchema(create),
        Statement::AlterTable(alter) => Plan::AlterTable(Box::new(alter)),
        Statement::Copy(copy) => plan_copy(binder, *copy)?,
        Statement::Explain { analyze, statement } => {
            let plan = plan(binder, *statement)?;
            if !matches!(plan, Plan::Select(_) | Plan::Insert(_) | Plan::Change(_)) {
                return Err(SqlError::unsupported("EXPLAIN of this statement")
                    .hint("SELECT, INSERT, UPSERT, UPDATE and DELETE can be explained."));
            }
            Plan::Explain { analyze, plan: Box::new(plan) }
        }
        Statement::Declare(declare) => {
            let Declare { name, sql, binary, scroll, hold, query } = *declare;
            let scroll = match scroll {
                None => Scroll::Little,
                Some(false) => Scroll::No,
                Some(true) => Scroll::All,
            };
            let select = Arc::new(binder.top_query(&query)?);
            Plan::Declare(Box::new(DeclarePlan { name, sql, binary, scroll, hold, select }))
        }
        Statement::Fetch { name, direction } => Plan::Fetch { name, direction },
        Statement::Move { name, direction } => Plan::Move { name, direction },
        Statement::Prepare { name, types, sql } => Plan::Prepare { name, types, sql },
        Statement::Execute { name, arguments } => {
            let bound = arguments.iter().map(|syntax| Ok(binder.expr(syntax)?.expr));
            Plan::Execute { name, arguments: bound.collect::<Result<_, SqlError>>()? }
        }
        other => Plan::Session(Box::new(other)),
    })
}

fn plan_copy(binder: &mut Binder, copy: Copy) -> Result<Plan, SqlError> {
    let options = copy.options;
    let query = match copy.source {
        CopySource::Query(query) => query,
        CopySource::Table { name, columns } => {
            let table = binder.table(&name)?;
            let at = copied(&table, &columns)?;
            for option in [&options.force_quote, &options.force_not_null, &options.force_null] {
                if let CopyColumns::Some(named) = option {
                    named.iter().try_for_each(|column| table.column(column).map(drop))?;
                }
            }
            if copy.from {
                let filter = copy.filter.map(|filter| copy_filter(binder, &table, &filter)).transpose()?;
                let defaults = binder.defaults(&table)?;
                let plan = CopyInPlan { table, columns: at, defaults, filter, options };
                return Ok(Plan::CopyIn(Box::new(plan)));
            }
            let item = |at: &usize| {
                let column = Name { parts: vec![table.columns[*at].name.clone()], position: None };
                Item::Expression { syntax: Syntax::Column(column), alias: None }
            };
            Query::over_table(name, at.iter().map(item).collect())
        }
    };
    Ok(Plan::CopyOut { select: Arc::new(binder.top_query(&query)?), options: Box::new(options) })
}

/// The positions of the columns that COPY names; of all of them if it names none.
fn copied(table: &TableSchema, columns: &[Name]) -> Result<Vec<usize>, SqlError> {
    let mut all = Vec::with_capacity(columns.len());
    for column in columns {
        let at = table.column(column)?;
        if all.contains(&at) {
            let message = format!("column \"{}\" specified more than once", column.last());
            return Err(SqlError::new(sqlstate::DUPLICATE_COLUMN, message));
        }
        all.push(at);
    }
    Ok(if columns.is_empty() { (0..table.columns.len()).collect() } else { all })
}

/// WHERE of a COPY FROM.
fn copy_filter(binder: &mut Binder, table: &Arc<TableSchema>, filter: &Syntax) -> Result<Expr, SqlError> {
    let scope = Binder::table_scope(table, &table.name);
    let filter = binder.within(scope, |binder| binder.condition(filter, "WHERE"))?;
    if filter.has_subquery() {
        let message = "cannot use subquery in COPY FROM WHERE condition";
        return Err(SqlError::new(sqlstate::FEATURE_NOT_SUPPORTED, message));
    }
    Ok(filter)
}
