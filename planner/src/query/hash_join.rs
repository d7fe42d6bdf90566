//! The join by values that must be equal: the rows of one side are kept by those values, and the other side's rows find
//! their partners as they come. The side that is kept is the left one if it turns out to be small, else the right one.

use std::collections::VecDeque;
use std::vec;

use super::node::{NodeRows, RightRows, blank};
use super::plan::{Join, Method};
use crate::error::SqlError;
use crate::expression::{Env, Expr, Scope};
use crate::memory::{Held, HeldRows, row_bytes};
use crate::row_index::RowIndex;
use crate::types::{Datum, Row};

/// A left side with at most so many rows is kept.
const LEFT_ROWS_MAX: usize = 10_000;
/// .. that take at most so many bytes.
const LEFT_BYTES_MAX: u64 = 16 << 20;

/// A join by equal values that runs.
pub(super) struct HashRows {
    left: NodeRows,
    width: usize,
    stage: Stage,
    /// Joined rows that were not given yet: those of one row of the side that is not kept.
    ready: VecDeque<Row>,
    held: Held,
}

enum Stage {
    Start,
    /// The left side is kept; the right one comes.
    LeftKept(Kept, RightRows),
    /// The right side is kept; rows of the left side come, first those that were read before.
    RightKept(Kept, vec::IntoIter<Row>),
    /// Both sides have ended: kept rows without a partner, from that position on.
    Rest(Kept, usize, bool),
    Done,
}

/// The rows of a side by their values.
struct Kept {
    rows: HeldRows,
    /// The values of each row that must be equal to those of its partner.
    keys: HeldRows,
    index: RowIndex,
    /// Which rows have found a partner.
    matched: Vec<bool>,
}

impl Kept {
    fn new(env: &Env) -> Kept {
        Kept {
            rows: env.memory.rows(),
            keys: env.memory.rows(),
            index: RowIndex::default(),
            matched: Vec::new(),
        }
    }

    /// Keeps a row. One with a NULL among its values has no partners.
    fn add(&mut self, row: Row, key: Row) -> Result<(), SqlError> {
        if key.iter().all(Option::is_some) {
            self.index.insert(&key, self.rows.rows.len(), &mut self.keys.held)?;
        }
        self.rows.push(row)?;
        self.keys.push(key)?;
        self.matched.push(false);
        Ok(())
    }

    /// Joins a row of the other side, which has these values, with its partners; whether it has none.
    fn join(
        &mut self,
        key: &[Datum],
        pair: impl Fn(&Row) -> Result<Option<Row>, SqlError>,
        ready: &mut VecDeque<Row>,
        held: &mut Held,
    ) -> Result<bool, SqlError> {
        if key.iter().any(Option::is_none) {
            return Ok(true);
        }
        let mut alone = true;
        for at in self.index.find_all(key, |at| &self.keys.rows[at]) {
            let at = at?;
            if let Some(joined) = pair(&self.rows.rows[at])? {
                self.matched[at] = true;
                alone = false;
                held.add(row_bytes(&joined))?;
                ready.push_back(joined);
            }
        }
        Ok(alone)
    }
}

fn key(exprs: &[Expr], row: &[Datum], env: &Env, outer: Option<&Scope<'_>>) -> Result<Row, SqlError> {
    exprs.iter().map(|expr| expr.eval(&Scope { row, outer }, env)).collect()
}

impl HashRows {
    /// A join that has not begun.
    pub(super) fn new(left: NodeRows, width: usize, env: &Env) -> HashRows {
        HashRows { left, width, stage: Stage::Start, ready: VecDeque::new(), held: env.memory.hold() }
    }

    /// The next joined row.
    pub(super) fn next(
        &mut self,
        join: &Join,
        env: &Env,
        scope: &Scope<'_>,
    ) -> Result<Option<Row>, SqlError> {
        let Method::Hash { left: left_key, right: right_key } = &join.method else {
            return Err(SqlError::internal("a hash join without keys"));
        };
        loop {
            if let Some(row) = self.ready.pop_front() {
                return Ok(Some(row));
            }
            self.held = env.memory.hold();
            env.interrupt.check()?;
            match &mut self.stage {
                Stage::Start => self.start(join, left_key, right_key, env, scope)?,
                Stage::LeftKept(kept, right) => match right.next(env, scope)? {
                    Some(row) => {
                        let key = key(right_key, &row, env, scope.outer)?;
                        let pair = |own: &Row| join.pair(own, &row, env, scope.outer);
                        let alone = kept.join(&key, pair, &mut self.ready, &mut self.held)?;
                        if alone && join.keeps_right() {
                            self.ready.push_back(join.with_right(blank(scope, self.width), &row));
                        }
                    }
                    None => self.rest(join.keeps_left(), false),
                },
                Stage::RightKept(kept, first) => {
                    let next = match first.next() {
                        Some(row) => Some(row),
                        None => self.left.next(env, scope)?,
                    };
                    match next {
                        Some(row) => {
                            let key = key(left_key, &row, env, scope.outer)?;
                            let pair = |own: &Row| join.pair(&row, own, env, scope.outer);
                            let alone = kept.join(&key, pair, &mut self.ready, &mut self.held)?;
                            if alone && join.keeps_left() {
                                self.ready.push_back(row);
                            }
                        }
                        None => self.rest(join.keeps_right(), true),
                    }
                }
                Stage::Rest(kept, at, is_right) => {
                    let Some(row) = kept.rows.rows.get_mut(*at) else {
                        self.stage = Stage::Done;
                        continue;
                    };
                    *at += 1;
                    if !kept.matched[*at - 1] {
                        let row = std::mem::take(row);
                        return Ok(Some(match *is_right {
                            true => join.with_right(blank(scope, self.width), &row),
                            false => row,
                        }));
                    }
                }
                Stage::Done => return Ok(None),
            }
        }
    }

    /// The side that came has ended: the kept rows without a partner follow, if they stay.
    fn rest(&mut self, stays: bool, is_right: bool) {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::LeftKept(kept, _) | Stage::RightKept(kept, _) if stays => Stage::Rest(kept, 0, is_right),
            _ => Stage::Done,
        };
    }

    /// Reads the beginning of the left side, and decides which side is kept.
    fn start(
        &mut self,
        join: &Join,
        left_key: &[Expr],
        right_key: &[Expr],
        env: &Env,
        scope: &Scope<'_>,
    ) -> Result<(), SqlError> {
        let mut first = env.memory.rows();
        let mut ended = false;
        while !ended && first.rows.len() <= LEFT_ROWS_MAX && first.held.bytes() <= LEFT_BYTES_MAX {
            env.interrupt.check()?;
            match self.left.next(env, scope)? {
                Some(row) => first.push(row)?,
                None => ended = true,
            }
        }
        if ended && first.rows.is_empty() && !join.keeps_right() {
            self.stage = Stage::Done;
            return Ok(());
        }
        let mut right = RightRows::open(join, self.width, env, scope)?;
        let mut kept = Kept::new(env);
        if ended {
            for row in first.rows {
                let key = key(left_key, &row, env, scope.outer)?;
                kept.add(row, key)?;
            }
            self.stage = Stage::LeftKept(kept, right);
            return Ok(());
        }
        while let Some(row) = right.next(env, scope)? {
            env.interrupt.check()?;
            let key = key(right_key, &row, env, scope.outer)?;
            kept.add(row, key)?;
        }
        // The rows that were read stay held with those that are kept.
        kept.rows.held.take_over(first.held);
        self.stage = Stage::RightKept(kept, first.rows.into_iter());
        Ok(())
    }
}
