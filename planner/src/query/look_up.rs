//! The join whose right side is a stored table: its rows are read by their keys, those of many left rows together.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use super::node::NodeRows;
use super::plan::{Input, Join, Method, Node};
use crate::access;
use crate::error::SqlError;
use crate::expression::{Env, Scope};
use crate::memory::{Held, HeldRows};
use crate::types::Row;

/// Rows of the left side whose partners are read together: first few, for few may be enough, then more.
const BATCH_ROWS_MIN: usize = 16;
const BATCH_ROWS_MAX: usize = 1_024;

/// A join by key that runs.
pub(super) struct LookUpRows {
    left: NodeRows,
    batch: usize,
    /// Joined rows that were not given yet.
    ready: VecDeque<Row>,
    held: Option<Held>,
}

impl LookUpRows {
    /// A join that has not begun.
    pub(super) fn new(left: NodeRows) -> LookUpRows {
        LookUpRows { left, batch: BATCH_ROWS_MIN, ready: VecDeque::new(), held: None }
    }

    /// The next joined row.
    pub(super) fn next(
        &mut self,
        join: &Join,
        env: &Env,
        scope: &Scope<'_>,
    ) -> Result<Option<Row>, SqlError> {
        while self.ready.is_empty() {
            self.held = None;
            let mut batch = env.memory.rows();
            while batch.rows.len() < self.batch
                && let Some(row) = self.left.next(env, scope)?
            {
                batch.push(row)?;
            }
            if batch.rows.is_empty() {
                return Ok(None);
            }
            self.batch = (self.batch * 2).min(BATCH_ROWS_MAX);
            self.read(join, batch, env, scope)?;
        }
        Ok(self.ready.pop_front())
    }

    /// Reads the partners of some rows.
    fn read(&mut self, join: &Join, batch: HeldRows, env: &Env, scope: &Scope<'_>) -> Result<(), SqlError> {
        let (Method::LookUp(values), Node::Leaf(leaf)) = (&join.method, &join.right) else {
            return Err(SqlError::internal("a look-up of no table"));
        };
        let Input::Table { table, .. } = &leaf.input else {
            return Err(SqlError::internal("a look-up of no table"));
        };
        // Where each row's key is among those that are read.
        let (mut keys, mut known) = (Vec::<Bytes>::new(), HashMap::<Bytes, usize>::new());
        let mut wanted = Vec::with_capacity(batch.rows.len());
        for row in &batch.rows {
            let scope = Scope { row, outer: scope.outer };
            let values = values.iter().map(|value| value.eval(&scope, env)).collect::<Result<_, _>>()?;
            wanted.push(access::key_of(table, values)?.map(|key| {
                let key = Bytes::from(key);
                *known.entry(key.clone()).or_insert_with(|| {
                    keys.push(key);
                    keys.len() - 1
                })
            }));
        }
        let mut found = env.memory.rows();
        let read = if keys.is_empty() { Vec::new() } else { env.tables.get(table, keys, &env.interrupt)? };
        let mut places = Vec::with_capacity(read.len());
        for row in read {
            let kept = match row {
                Some(row) if leaf.keeps(&row, env, scope)? => Some(row),
                _ => None,
            };
            places.push(kept.is_some().then_some(found.rows.len()));
            found.extend(kept)?;
        }
        let mut held = env.memory.hold();
        for (left, wanted) in batch.rows.into_iter().zip(wanted) {
            env.interrupt.check()?;
            let right = wanted.and_then(|at| places[at]).map(|at| &found.rows[at]);
            let joined = match right {
                Some(right) => join.pair(&left, right, env, scope.outer)?,
                None => None,
            };
            let joined = joined.or_else(|| join.keeps_left().then_some(left));
            if let Some(row) = joined {
                held.add(crate::memory::row_bytes(&row))?;
                self.ready.push_back(row);
            }
        }
        self.held = Some(held);
        Ok(())
    }
}
