//! Reading on in a run of tables, forwards or backwards, with the block last read at hand.

use std::sync::Arc;

use super::format::TableError;
use super::reader::{Block, Caching, Table};
use super::row::RowVersions;

/// Rows of tables in key order without overlaps.
pub(crate) struct RunCursor {
    run: Vec<Arc<Table>>,
    caching: Caching,
    /// The block last read: the next row is mostly in it, too.
    block: Option<Arc<Block>>,
}

impl RunCursor {
    pub(crate) fn new(run: Vec<Arc<Table>>, caching: Caching) -> RunCursor {
        RunCursor { run, caching, block: None }
    }

    /// The first row at or above the key. No table that begins at or above `end` is read.
    pub(crate) fn first_from(
        &mut self,
        key: &[u8],
        end: Option<&[u8]>,
    ) -> Result<Option<RowVersions>, TableError> {
        if let Some(block) = self.block.as_ref().filter(|block| block.spans(key)) {
            return Ok(block.first_from(key));
        }
        let at = self.run.partition_point(|table| &table.summary().last_key[..] < key);
        let starts_inside = |table: &&Arc<Table>| end.is_none_or(|end| &table.summary().first_key[..] < end);
        let Some(table) = self.run.get(at).filter(starts_inside) else { return Ok(None) };
        let block = table.block(table.block_from(key), self.caching)?;
        Ok(self.block.insert(block).first_from(key))
    }

    /// The last row below the key (`None`: the last row). No table that ends below `start` is read.
    pub(crate) fn last_below(
        &mut self,
        key: Option<&[u8]>,
        start: &[u8],
    ) -> Result<Option<RowVersions>, TableError> {
        if let Some(key) = key
            && let Some(block) = self.block.as_ref().filter(|block| block.spans(key))
            && let Some(row) = block.last_below(key)
        {
            return Ok(Some(row));
        }
        let at = key.map_or(self.run.len(), |key| {
            self.run.partition_point(|table| &table.summary().first_key[..] < key)
        });
        let ends_inside = |table: &&Arc<Table>| &table.summary().last_key[..] >= start;
        let table = at.checked_sub(1).and_then(|at| self.run.get(at));
        let Some(table) = table.filter(ends_inside) else { return Ok(None) };
        let last = table.blocks() - 1;
        let Some(key) = key else {
            let block = table.block(last, self.caching)?;
            return Ok(self.block.insert(block).rows.last().cloned());
        };
        // The key's own block may begin with the key, and then the row is at the end of the one before.
        let number = table.block_from(key).min(last);
        let mut block = table.block(number, self.caching)?;
        let mut row = block.last_below(key);
        if row.is_none() && number > 0 {
            block = table.block(number - 1, self.caching)?;
            row = block.last_below(key);
        }
        self.block = Some(block);
        Ok(row)
    }
}

impl Block {
    /// Whether the key lies between the first and the last row.
    fn spans(&self, key: &[u8]) -> bool {
        let (first, last) = (self.rows.first(), self.rows.last());
        first.is_some_and(|row| *row.key <= *key) && last.is_some_and(|row| *row.key >= *key)
    }

    fn first_from(&self, key: &[u8]) -> Option<RowVersions> {
        self.rows.get(self.rows.partition_point(|row| *row.key < *key)).cloned()
    }

    fn last_below(&self, key: &[u8]) -> Option<RowVersions> {
        self.rows.partition_point(|row| *row.key < *key).checked_sub(1).map(|at| self.rows[at].clone())
    }
}
