//! Joins that run, and the nested loop.

use std::sync::Arc;

use super::hash_join::HashRows;
use super::look_up::LookUpRows;
use super::node::{NodeRows, RightRows, blank};
use super::open_rows::OpenRows;
use super::plan::{Join, Method};
use crate::error::SqlError;
use crate::expression::{Env, Scope};
use crate::memory::HeldRows;
use crate::types::Row;

/// A join that runs. Its rows have places for the columns of the whole tree.
struct JoinRows {
    join: Arc<Join>,
    rows: MethodRows,
}

enum MethodRows {
    Loop(LoopRows),
    Hash(HashRows),
    LookUp(LookUpRows),
}

impl Join {
    /// Begins to join, in a tree with so many columns. `scope` holds the row before it in FROM.
    pub(super) fn open(
        self: &Arc<Join>,
        width: usize,
        env: &Env,
        scope: &Scope<'_>,
    ) -> Result<Box<dyn OpenRows>, SqlError> {
        let join = self;
        let left = NodeRows::open(&join.left, width, env, scope)?;
        let rows = match &join.method {
            Method::Loop => MethodRows::Loop(LoopRows {
                left,
                width,
                current: None,
                right: if join.right.is_lateral() { Right::Lateral(None) } else { Right::Unread },
                at: 0,
                matched: Vec::new(),
            }),
            Method::Hash { .. } => MethodRows::Hash(HashRows::new(left, width, env)),
            Method::LookUp(_) => MethodRows::LookUp(LookUpRows::new(left)),
        };
        Ok(Box::new(JoinRows { join: join.clone(), rows }))
    }
}

impl OpenRows for JoinRows {
    fn next(&mut self, env: &Env, scope: &Scope<'_>) -> Result<Option<Row>, SqlError> {
        let join = &*self.join;
        loop {
            env.interrupt.check()?;
            let next = match &mut self.rows {
                MethodRows::Loop(rows) => rows.next(join, env, scope)?,
                MethodRows::Hash(rows) => rows.next(join, env, scope)?,
                MethodRows::LookUp(rows) => rows.next(join, env, scope)?,
            };
            let Some(mut row) = next else { return Ok(None) };
            for (place, value) in &join.merged {
                row[*place] = value.eval(&Scope { row: &row, outer: scope.outer }, env)?;
            }
            let stays = match &join.filter {
                Some(filter) => filter.holds(&Scope { row: &row, outer: scope.outer }, env)?,
                None => true,
            };
            if stays {
                return Ok(Some(row));
            }
        }
    }
}

/// A nested loop.
struct LoopRows {
    left: NodeRows,
    width: usize,
    /// The row of the left side at hand, and whether it has found a partner.
    current: Option<(Row, bool)>,
    right: Right,
    /// Which row of the right side is next.
    at: usize,
    /// Which rows of the right side have found a partner.
    matched: Vec<bool>,
}

/// The inner loop.
enum Right {
    Unread,
    Read(HeldRows),
    /// It depends on the row of the left side.
    Lateral(Option<RightRows>),
    /// The left side has ended; rows of the right side without a partner are given.
    Rest(HeldRows),
}

impl LoopRows {
    fn next(&mut self, join: &Join, env: &Env, scope: &Scope<'_>) -> Result<Option<Row>, SqlError> {
        loop {
            env.interrupt.check()?;
            if let Right::Rest(rows) = &self.right {
                let Some(at) = (self.at..rows.rows.len()).find(|at| !self.matched[*at]) else {
                    return Ok(None);
                };
                self.at = at + 1;
                return Ok(Some(join.with_right(blank(scope, self.width), &rows.rows[at])));
            }
            if self.current.is_none() && !self.next_left(join, env, scope)? {
                if !matches!(self.right, Right::Rest(_)) {
                    return Ok(None);
                }
                continue;
            }
            let Some((left, has_partner)) = &mut self.current else { continue };
            let inner = Scope { row: left, outer: scope.outer };
            let paired = match &mut self.right {
                Right::Lateral(Some(rows)) => match rows.next(env, &inner)? {
                    Some(right) => Some(join.pair(left, &right, env, scope.outer)?),
                    None => None,
                },
                Right::Read(rows) => match rows.rows.get(self.at) {
                    Some(right) => {
                        self.at += 1;
                        let paired = join.pair(left, right, env, scope.outer)?;
                        if paired.is_some() && join.keeps_right() {
                            self.matched[self.at - 1] = true;
                        }
                        Some(paired)
                    }
                    None => None,
                },
                _ => None,
            };
            match paired {
                Some(Some(row)) => {
                    *has_partner = true;
                    return Ok(Some(row));
                }
                Some(None) => {}
                None => {
                    let alone =
                        self.current.take().filter(|(_, has_partner)| !has_partner && join.keeps_left());
                    if let Some((row, _)) = alone {
                        return Ok(Some(row));
                    }
                }
            }
        }
    }

    /// Goes on to the next row of the left side; whether there is one.
    fn next_left(&mut self, join: &Join, env: &Env, scope: &Scope<'_>) -> Result<bool, SqlError> {
        let left = self.left.next(env, scope)?;
        if left.is_none() && !join.keeps_right() {
            return Ok(false);
        }
        if matches!(self.right, Right::Unread) {
            let mut right = RightRows::open(join, self.width, env, scope)?;
            let mut rows = env.memory.rows();
            while let Some(row) = right.next(env, scope)? {
                rows.push(row)?;
            }
            if join.keeps_right() {
                rows.held.add(rows.rows.len() as u64)?;
                self.matched = vec![false; rows.rows.len()];
            }
            self.right = Right::Read(rows);
        }
        self.at = 0;
        match left {
            Some(row) => {
                if let Right::Lateral(rows) = &mut self.right {
                    let inner = Scope { row: &row, outer: scope.outer };
                    *rows = Some(RightRows::open(join, self.width, env, &inner)?);
                }
                self.current = Some((row, false));
                Ok(true)
            }
            None => {
                if let Right::Read(rows) = &mut self.right {
                    let rows = std::mem::replace(rows, env.memory.rows());
                    self.right = Right::Rest(rows);
                }
                Ok(false)
            }
        }
    }
}
