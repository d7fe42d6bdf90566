//! The cursors of a session: queries that are read piece by piece.
//!
//! A cursor reads its query as it is fetched from. Rows that it has read are kept, so that it can go back: all of them if it
//! was declared with SCROLL or WITH HOLD, none with NO SCROLL, and otherwise as long as they take little memory.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::error::{SqlError, sqlstate};
use crate::expression::CursorInfo;
use crate::memory::{HeldRows, row_bytes};
use crate::plan::Scroll;
use crate::result::{Column, RowStream};
use crate::statement::Direction;
use crate::types::Row;

/// Cursors of a session at a time.
const CURSORS_MAX: usize = 1_000;
/// Bytes of rows that a cursor keeps that was declared neither with SCROLL nor with NO SCROLL.
const KEPT_BYTES_MAX: u64 = 256 << 10;

/// A cursor.
pub(crate) struct Cursor {
    pub(crate) info: CursorInfo,
    pub(crate) columns: Arc<[Column]>,
    scroll: Scroll,
    /// The rows read so far that are kept.
    kept: HeldRows,
    /// Rows that were read and not yet fetched, and those that are yet to be read.
    ahead: std::vec::IntoIter<Row>,
    source: Option<RowStream>,
    /// Where it stands: 0 before the first row, then on the row of that number; one behind the last at the end.
    at: u64,
    /// How many rows there are, once that is known.
    count: Option<u64>,
}

impl Cursor {
    /// A cursor before the first row of `source`. `kept` is where rows are to be kept.
    pub(crate) fn new(
        info: CursorInfo,
        columns: Arc<[Column]>,
        scroll: Scroll,
        source: RowStream,
        kept: HeldRows,
    ) -> Cursor {
        let ahead = Vec::new().into_iter();
        Cursor { info, columns, scroll, kept, ahead, source: Some(source), at: 0, count: None }
    }

    /// A cursor over rows that are there already.
    pub(crate) fn over(info: CursorInfo, columns: Arc<[Column]>, scroll: Scroll, rows: HeldRows) -> Cursor {
        let count = Some(rows.rows.len() as u64);
        Cursor {
            info,
            columns,
            scroll,
            kept: rows,
            ahead: Vec::new().into_iter(),
            source: None,
            at: 0,
            count,
        }
    }

    /// Moves, and hands the rows that FETCH shows to `each`; how many they are.
    pub(crate) async fn go(
        &mut self,
        direction: Direction,
        each: &mut (dyn FnMut(&Row) -> Result<(), SqlError> + Send),
    ) -> Result<u64, SqlError> {
        let none: &mut (dyn FnMut(&Row) -> Result<(), SqlError> + Send) = &mut |_| Ok(());
        match direction {
            Direction::Forward(most) => self.forward(most.unwrap_or(u64::MAX), each).await,
            Direction::Backward(most) => self.backward(most.unwrap_or(u64::MAX), each),
            Direction::Relative(0) => {
                if self.at == 0 || self.count.is_some_and(|count| self.at > count) {
                    return Ok(0);
                }
                self.check_back()?;
                each(&self.kept.rows[self.at as usize - 1]).map(|()| 1)
            }
            Direction::Relative(by) if by > 0 => {
                self.forward(by.unsigned_abs() - 1, none).await?;
                self.forward(1, each).await
            }
            Direction::Relative(by) => {
                self.backward(by.unsigned_abs() - 1, none)?;
                self.backward(1, each)
            }
            Direction::Absolute(to) if to >= 0 => {
                let to = to.unsigned_abs();
                if self.at >= to.max(1) {
                    let back = self.at - to.saturating_sub(1);
                    self.backward(back, none)?;
                }
                if to == 0 {
                    return Ok(0);
                }
                self.forward(to - 1 - self.at, none).await?;
                self.forward(1, each).await
            }
            Direction::Absolute(to) => {
                self.forward(u64::MAX, none).await?;
                self.backward(to.unsigned_abs() - 1, none)?;
                self.backward(1, each)
            }
        }
    }

    async fn forward(
        &mut self,
        most: u64,
        each: &mut (dyn FnMut(&Row) -> Result<(), SqlError> + Send),
    ) -> Result<u64, SqlError> {
        let mut done = 0;
        while done < most {
            if self.at as usize >= self.kept.rows.len() || !self.goes_back() {
                let Some(row) = self.read().await? else {
                    self.at = self.count.unwrap_or(0) + 1;
                    break;
                };
                self.at += 1;
                each(&row)?;
                self.keep(row)?;
            } else {
                self.at += 1;
                each(&self.kept.rows[self.at as usize - 1])?;
            }
            done += 1;
        }
        Ok(done)
    }

    fn backward(
        &mut self,
        most: u64,
        each: &mut (dyn FnMut(&Row) -> Result<(), SqlError> + Send),
    ) -> Result<u64, SqlError> {
        if most == 0 || self.at == 0 {
            return Ok(0);
        }
        self.check_back()?;
        let mut done = 0;
        while done < most && self.at > 0 {
            self.at -= 1;
            if self.at > 0 {
                each(&self.kept.rows[self.at as usize - 1])?;
                done += 1;
            }
        }
        Ok(done)
    }

    /// The next row that was not read before.
    async fn read(&mut self) -> Result<Option<Row>, SqlError> {
        loop {
            if let Some(row) = self.ahead.next() {
                return Ok(Some(row));
            }
            let Some(source) = &mut self.source else { break };
            match source.next().await? {
                Some(rows) => self.ahead = rows.into_iter(),
                None => self.source = None,
            }
        }
        if self.count.is_none() {
            self.count = Some(self.at);
        }
        Ok(None)
    }

    /// Keeps a row that was read, if rows are kept.
    fn keep(&mut self, row: Row) -> Result<(), SqlError> {
        if self.scroll == Scroll::Little && self.kept.held.bytes() + row_bytes(&row) > KEPT_BYTES_MAX {
            self.scroll = Scroll::No;
            self.kept.clear();
        }
        if self.goes_back() { self.kept.push(row) } else { Ok(()) }
    }

    fn goes_back(&self) -> bool {
        self.scroll != Scroll::No
    }

    /// 55000 if it goes forward only.
    fn check_back(&self) -> Result<(), SqlError> {
        if self.goes_back() {
            return Ok(());
        }
        Err(SqlError::new(sqlstate::NOT_READY, "cursor can only scan forward")
            .hint("Declare it with SCROLL option to enable backward scan."))
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cursor({:?} at {})", self.info, self.at)
    }
}

/// The cursors of a session, by name.
#[derive(Debug, Default)]
pub(super) struct Cursors {
    by_name: BTreeMap<String, Entry>,
    /// How many were ever declared.
    declared: u64,
}

#[derive(Debug)]
struct Entry {
    /// Which of all that were ever declared it is.
    number: u64,
    info: CursorInfo,
    columns: Arc<[Column]>,
    /// `None` while it is being read.
    cursor: Option<Cursor>,
}

impl Cursors {
    /// 42P03 if the name is taken, 54000 if there are too many.
    pub(super) fn check_new(&self, name: &str) -> Result<(), SqlError> {
        if self.by_name.contains_key(name) {
            return Err(SqlError::new(
                sqlstate::DUPLICATE_CURSOR,
                format!("cursor \"{name}\" already exists"),
            ));
        }
        if self.by_name.len() >= CURSORS_MAX {
            return Err(SqlError::new(
                sqlstate::LIMIT_EXCEEDED,
                format!("a session may have at most {CURSORS_MAX} cursors"),
            ));
        }
        Ok(())
    }

    /// Adds a cursor.
    pub(super) fn add(&mut self, cursor: Cursor) -> Result<(), SqlError> {
        let (name, info, columns) = (cursor.info.name.clone(), cursor.info.clone(), cursor.columns.clone());
        self.check_new(&name)?;
        self.declared += 1;
        let entry = Entry { number: self.declared, info, columns, cursor: Some(cursor) };
        self.by_name.insert(name, entry);
        Ok(())
    }

    /// The columns of a cursor.
    pub(super) fn columns(&self, name: &str) -> Option<Arc<[Column]>> {
        self.by_name.get(name).map(|entry| entry.columns.clone())
    }

    /// Takes a cursor out to read it; [`Cursors::put_back`] ends that. 34000 if there is none.
    pub(super) fn take(&mut self, name: &str) -> Result<Cursor, SqlError> {
        let found = self.by_name.get_mut(name).and_then(|entry| entry.cursor.take());
        found.ok_or_else(|| unknown(name))
    }

    /// Puts a cursor back that was taken out.
    pub(super) fn put_back(&mut self, cursor: Cursor) {
        if let Some(entry) = self.by_name.get_mut(&cursor.info.name) {
            entry.cursor = Some(cursor);
        }
    }

    /// CLOSE. 34000 if there is none.
    pub(super) fn close(&mut self, name: &str) -> Result<(), SqlError> {
        self.by_name.remove(name).map(drop).ok_or_else(|| unknown(name))
    }

    /// CLOSE ALL.
    pub(super) fn close_all(&mut self) {
        self.by_name.clear();
    }

    /// How many were ever declared, to be given to [`Cursors::undo`].
    pub(super) fn declared(&self) -> u64 {
        self.declared
    }

    /// Drops those that were declared since there were so many: their declaration is rolled back.
    pub(super) fn undo(&mut self, declared: u64) {
        self.by_name.retain(|_, entry| entry.number <= declared);
    }

    /// Drops those that end with their transaction.
    pub(super) fn end_transaction(&mut self) {
        self.by_name.retain(|_, entry| entry.info.hold);
    }

    /// What pg_cursors shows, sorted by name.
    pub(super) fn infos(&self) -> Vec<CursorInfo> {
        self.by_name.values().map(|entry| entry.info.clone()).collect()
    }
}

fn unknown(name: &str) -> SqlError {
    SqlError::new(sqlstate::UNKNOWN_CURSOR, format!("cursor \"{name}\" does not exist"))
}
