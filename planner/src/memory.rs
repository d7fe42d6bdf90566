//! The memory that statements hold in rows and values, in bytes.
//!
//! Whatever a statement gathers (rows to sort, groups, the two sides of a join, large values of an expression) is held on
//! its [`Memory`], which draws on one budget of the gateway. Nothing waits for memory: what finds none is 53200.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use wal::sync::lock;
use wal::{Budget, Reserved};

use crate::error::{SqlError, sqlstate};
use crate::types::{Datum, Row, Value};

/// Bytes that one statement holds at most.
const STATEMENT_BYTES_MAX: u64 = 128 << 20;
/// A statement that holds less is not counted: there are at most as many as sessions.
const FREE_BYTES: u64 = 64 << 10;
/// A statement takes its share of the budget in such pieces.
const PIECE_BYTES: u64 = 1 << 20;
/// Values of fewer bytes are not counted while an expression is computed: a tree of these is no larger than its text.
const SMALL_BYTES: u64 = 1 << 10;
/// What the allocator adds to a piece of memory, about.
const ALLOCATION_BYTES: u64 = 16;

/// What a statement holds. A clone is of the same statement.
#[derive(Clone, Debug)]
pub(crate) struct Memory(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    used: AtomicU64,
    budget: Budget,
    reserved: Mutex<Option<Reserved>>,
}

impl Memory {
    /// The memory of a statement that holds nothing yet.
    pub(crate) fn of(budget: &Budget) -> Memory {
        Memory(Arc::new(Shared {
            used: AtomicU64::new(0),
            budget: budget.clone(),
            reserved: Mutex::new(None),
        }))
    }

    /// A hold on nothing yet.
    pub(crate) fn hold(&self) -> Held {
        Held { memory: self.clone(), bytes: 0 }
    }

    /// No rows yet.
    pub(crate) fn rows(&self) -> HeldRows {
        HeldRows { rows: Vec::new(), held: self.hold() }
    }

    fn take(&self, bytes: u64) -> Result<(), SqlError> {
        let used = self.0.used.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let taken = if used > STATEMENT_BYTES_MAX { Err(statement_too_large()) } else { self.reserve(used) };
        if taken.is_err() {
            self.give_back(bytes);
        }
        taken
    }

    fn reserve(&self, used: u64) -> Result<(), SqlError> {
        if used <= FREE_BYTES {
            return Ok(());
        }
        let mut reserved = lock(&self.0.reserved);
        let held = reserved.as_ref().map_or(0, Reserved::bytes);
        if used <= held {
            return Ok(());
        }
        let wanted = used.next_multiple_of(PIECE_BYTES);
        let over = match &mut *reserved {
            Some(reserved) => reserved.resize(wanted),
            none => self.0.budget.reserve(wanted).map(|all| *none = Some(all)),
        };
        over.map_err(|over| {
            SqlError::new(sqlstate::OUT_OF_MEMORY, "out of memory")
                .detail(format!("{over}."))
                .hint("Other statements hold the rest: try again later.")
        })
    }

    fn give_back(&self, bytes: u64) {
        self.0.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

fn statement_too_large() -> SqlError {
    SqlError::new(sqlstate::OUT_OF_MEMORY, "out of memory")
        .detail(format!("The statement would hold more than {STATEMENT_BYTES_MAX} bytes of rows and values."))
        .hint("Order by the primary key, or add a LIMIT with a WHERE on the key.")
}

/// A part of what a statement holds; dropped, it is given back.
#[derive(Debug)]
pub(crate) struct Held {
    memory: Memory,
    bytes: u64,
}

impl Held {
    /// Holds so many bytes more. 53200 if there is no memory.
    pub(crate) fn add(&mut self, bytes: u64) -> Result<(), SqlError> {
        self.memory.take(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Holds from now on also what `other` held.
    pub(crate) fn take_over(&mut self, mut other: Held) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Gives a part of it back.
    fn release(&mut self, bytes: u64) {
        let released = bytes.min(self.bytes);
        self.bytes -= released;
        self.memory.give_back(released);
    }

    /// Holds a value while an expression is computed; whether it is a large one.
    pub(crate) fn add_value(&mut self, value: &Datum) -> Result<bool, SqlError> {
        let bytes = heap_bytes(value);
        if bytes < SMALL_BYTES { Ok(false) } else { self.add(bytes).map(|()| true) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.memory.give_back(self.bytes);
    }
}

/// Rows that a statement holds.
#[derive(Debug)]
pub(crate) struct HeldRows {
    pub(crate) rows: Vec<Row>,
    pub(crate) held: Held,
}

impl HeldRows {
    /// Adds a row.
    pub(crate) fn push(&mut self, row: Row) -> Result<(), SqlError> {
        self.held.add(row_bytes(&row))?;
        self.rows.push(row);
        Ok(())
    }

    /// Holds none any more.
    pub(crate) fn clear(&mut self) {
        self.rows = Vec::new();
        self.held = self.held.memory.hold();
    }

    /// Drops all rows from that position on, and what they took.
    pub(crate) fn truncate(&mut self, rows: usize) {
        let dropped: u64 = self.rows.iter().skip(rows).map(row_bytes).sum();
        self.rows.truncate(rows);
        self.held.release(dropped);
    }

    /// Adds rows.
    pub(crate) fn extend(&mut self, rows: impl IntoIterator<Item = Row>) -> Result<(), SqlError> {
        rows.into_iter().try_for_each(|row| self.push(row))
    }
}

/// What a row takes.
pub(crate) fn row_bytes(row: &Row) -> u64 {
    let fixed = size_of::<Row>() + row.capacity() * size_of::<Datum>();
    fixed as u64 + ALLOCATION_BYTES + row.iter().map(heap_bytes).sum::<u64>()
}

/// What a value takes behind its fixed size.
pub(crate) fn heap_bytes(value: &Datum) -> u64 {
    match value {
        Some(Value::Text(text) | Value::Bpchar(text) | Value::Json(text) | Value::Jsonb(text)) => {
            text.capacity() as u64 + ALLOCATION_BYTES
        }
        Some(Value::Bytea(bytes)) => bytes.len() as u64 + ALLOCATION_BYTES,
        Some(Value::Numeric(number)) => number.heap_bytes() + ALLOCATION_BYTES,
        Some(Value::Array(array)) => {
            let items = (array.items.capacity() * size_of::<Datum>()) as u64;
            items + ALLOCATION_BYTES + array.items.iter().map(heap_bytes).sum::<u64>()
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(bytes: usize) -> Row {
        vec![Some(Value::Text("x".repeat(bytes)))]
    }

    #[test]
    fn a_statement_holds_so_much_and_all_together_so_much() {
        let budget = Budget::new("statements", 200 << 20);
        let first = Memory::of(&budget);
        let mut rows = first.rows();
        for _ in 0..127 {
            rows.push(row(1 << 20)).unwrap();
        }
        assert_eq!(rows.push(row(2 << 20)).unwrap_err().sqlstate, sqlstate::OUT_OF_MEMORY);
        assert_eq!(rows.rows.len(), 127);
        let second = Memory::of(&budget);
        let mut other = second.rows();
        let error = (0..100).find_map(|_| other.push(row(1 << 20)).err()).unwrap();
        assert_eq!(error.sqlstate, sqlstate::OUT_OF_MEMORY);
        drop((rows, first));
        other.push(row(1 << 20)).unwrap();
        drop((other, second));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn what_is_dropped_can_be_held_again() {
        let memory = Memory::of(&Budget::new("statements", 1 << 30));
        for _ in 0..10 {
            let mut held = memory.hold();
            held.add(100 << 20).unwrap();
        }
    }

    #[test]
    fn values_are_counted_with_what_they_hold() {
        let text = Value::Text("x".repeat(1000));
        assert!(heap_bytes(&Some(text.clone())) >= 1000);
        let array = crate::types::Array::new(crate::types::Type::Text, vec![Some(text); 10]);
        assert!(heap_bytes(&Some(Value::Array(array.into()))) >= 10_000);
        let digits = Value::from_text(&crate::types::Type::Numeric(None), &"9".repeat(10_000)).unwrap();
        assert!(heap_bytes(&Some(digits)) >= 4_000);
    }
}
