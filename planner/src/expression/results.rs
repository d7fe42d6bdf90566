//! What subqueries of an execution have given that run once, because they refer to nothing around them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use wal::sync::lock;

use crate::error::SqlError;
use crate::interrupt::Interrupt;
use crate::memory::{Held, HeldRows};
use crate::row_index::RowIndex;
use crate::types::Datum;

/// The results of an execution's subqueries that run once.
#[derive(Debug, Default)]
pub(crate) struct Results {
    /// Of subqueries in expressions, by the addresses of their plans.
    found: Mutex<HashMap<usize, Arc<Found>>>,
    /// Of queries of WITH, by their numbers.
    rows: Mutex<HashMap<usize, Arc<HeldRows>>>,
}

impl Results {
    /// What the query at that address has given.
    pub(super) fn get(&self, query: usize) -> Option<Arc<Found>> {
        lock(&self.found).get(&query).cloned()
    }

    /// Keeps what it has given.
    pub(super) fn keep(&self, query: usize, found: &Arc<Found>) {
        lock(&self.found).insert(query, found.clone());
    }

    /// The rows of the query of WITH with that number.
    pub(crate) fn rows(&self, number: usize) -> Option<Arc<HeldRows>> {
        lock(&self.rows).get(&number).cloned()
    }

    /// Keeps its rows.
    pub(crate) fn keep_rows(&self, number: usize, rows: &Arc<HeldRows>) {
        lock(&self.rows).insert(number, rows.clone());
    }
}

/// A result that is kept.
#[derive(Debug)]
pub(super) enum Found {
    /// Of EXISTS.
    Exists(bool),
    /// Of a query that gives one value.
    Value(Datum, #[expect(dead_code, reason = "held until the end of the execution")] Held),
    /// All its rows.
    Column(HeldRows),
    /// All its rows, for IN.
    Set(RowSet),
}

/// Rows that are looked up by their values.
#[derive(Debug)]
pub(super) struct RowSet {
    rows: HeldRows,
    index: RowIndex,
    /// Is there a row with a NULL?
    has_null: bool,
}

/// Are all values equal? `None` if that depends on a NULL.
pub(super) fn equal(values: &[Datum], row: &[Datum]) -> Result<Option<bool>, SqlError> {
    let mut result = Some(true);
    for pair in values.iter().zip(row) {
        match pair {
            (Some(a), Some(b)) if a.compare(b)?.is_ne() => return Ok(Some(false)),
            (Some(_), Some(_)) => {}
            _ => result = None,
        }
    }
    Ok(result)
}

impl RowSet {
    /// The set of some rows.
    pub(super) fn of(mut rows: HeldRows, interrupt: &Interrupt) -> Result<RowSet, SqlError> {
        let mut index = RowIndex::default();
        let mut has_null = false;
        for (at, row) in rows.rows.iter().enumerate() {
            interrupt.check()?;
            has_null |= row.iter().any(Option::is_none);
            if index.find(row, |at| &rows.rows[at])?.is_none() {
                index.insert(row, at, &mut rows.held)?;
            }
        }
        Ok(RowSet { rows, index, has_null })
    }

    /// Is there a row with these values? `None` if that depends on a NULL.
    pub(super) fn contains(&self, values: &[Datum], interrupt: &Interrupt) -> Result<Option<bool>, SqlError> {
        let null = values.iter().any(Option::is_none);
        if !null && self.index.find(values, |at| &self.rows.rows[at])?.is_some() {
            return Ok(Some(true));
        }
        if !null && !self.has_null {
            return Ok(Some(false));
        }
        for row in &self.rows.rows {
            interrupt.check()?;
            if equal(values, row)?.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(false))
    }
}
