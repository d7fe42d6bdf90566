//! The one row that many statements touch, computed before they run.
//!
//! The key serves twice: pipelining asks whether two statements meet at a row, and the statement reads or writes the
//! row by it. So it is evaluated and encoded here, once.

use bytes::Bytes;
use kvstore::request::TableId;

use crate::expression::{Env, Scope};
use crate::plan::{ChangePlan, InsertPlan, InsertSource, Plan};
use crate::query::SelectPlan;
use crate::row_encoding;
use crate::types::Row;

/// The one row that a statement touches.
pub(crate) struct Target {
    pub(crate) table: TableId,
    pub(crate) key: Bytes,
    /// Whether the statement writes the row.
    pub(crate) writes: bool,
    /// What an INSERT proposes.
    pub(super) proposed: Option<Row>,
}

impl Target {
    /// The row that a plan touches. `None` if it may touch several or none, if the key depends on more than
    /// parameters, or if an expression fails: then the statement runs as any other, and reports that.
    pub(crate) fn of(plan: &Plan, env: &Env) -> Option<Target> {
        match plan {
            Plan::Select(select) => Target::of_select(select, env),
            Plan::Insert(insert) => Target::of_insert(insert, env),
            Plan::Change(change) => Target::of_change(change, env),
            _ => None,
        }
    }

    fn of_select(select: &SelectPlan, env: &Env) -> Option<Target> {
        let (table, access) = select.stored()?;
        if !access.is_single_point() {
            return None;
        }
        let key = access.key(table, env).ok()??.into();
        Some(Target { table: table.id, key, writes: false, proposed: None })
    }

    fn of_insert(insert: &InsertPlan, env: &Env) -> Option<Target> {
        let (true, InsertSource::Rows(rows)) = (insert.names_one_key, &insert.source) else { return None };
        let [exprs] = rows.as_slice() else { return None };
        let row = exprs.iter().map(|expr| expr.eval(&Scope::EMPTY, env)).collect::<Result<Row, _>>().ok()?;
        let key = row_encoding::row_key(&insert.table, &row).ok()?;
        Some(Target { table: insert.table.id, key, writes: true, proposed: Some(row) })
    }

    fn of_change(change: &ChangePlan, env: &Env) -> Option<Target> {
        if !change.access.is_single_point() || change.from.is_some() {
            return None;
        }
        let key = change.access.key(&change.table, env).ok()??.into();
        Some(Target { table: change.table.id, key, writes: true, proposed: None })
    }
}
