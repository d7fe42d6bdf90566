//! The rows of FROM and USING, which stand beside the rows that UPDATE and DELETE change.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::read;
use super::run::Run;
use crate::access;
use crate::catalog::TableSchema;
use crate::error::SqlError;
use crate::interrupt::Pace;
use crate::memory::HeldRows;
use crate::plan::ChangeFrom;
use crate::row_encoding::table_columns;
use crate::types::Row;

/// The rows of FROM.
pub(super) enum Beside {
    /// There is no FROM.
    Nothing,
    /// Any of them may go with any row of the table.
    All(HeldRows),
    /// Each names the row of the table that it goes with.
    ByKey(ByKey),
}

/// Rows of FROM by the key that they name, in the order of the keys.
pub(super) struct ByKey {
    groups: Vec<(Bytes, Vec<Row>)>,
    #[expect(dead_code, reason = "it is dropped with the rows")]
    held: HeldRows,
}

impl Beside {
    /// Reads the rows of FROM.
    pub(super) async fn gather(
        run: &Run<'_>,
        table: &Arc<TableSchema>,
        from: &ChangeFrom,
    ) -> Result<Beside, SqlError> {
        let mut all = read::stream(run, &from.source).await?.hold(&run.env.memory).await?;
        let Some(key) = &from.key else { return Ok(Beside::All(all)) };
        let width = table_columns(table).len();
        let (mut groups, mut pace) = (BTreeMap::<Bytes, Vec<Row>>::new(), Pace::new());
        for row in std::mem::take(&mut all.rows) {
            pace.step(&run.env.interrupt).await?;
            // The key's expressions count the columns of the table before those of FROM.
            let mut padded = vec![None; width];
            padded.extend(row);
            if let Some(key) = access::joined_key(table, key, &padded, &run.env)? {
                let row = padded.split_off(width);
                groups.entry(key.into()).or_default().push(row);
            }
        }
        Ok(Beside::ByKey(ByKey { groups: groups.into_iter().collect(), held: all }))
    }

    /// The keys that they name.
    pub(super) fn keys(&self) -> Vec<Bytes> {
        match self {
            Beside::ByKey(by_key) => by_key.groups.iter().map(|(key, _)| key.clone()).collect(),
            Beside::Nothing | Beside::All(_) => Vec::new(),
        }
    }

    /// Those that may go with a row of the table, which is the row of the key of that number if they go by key. `None`
    /// without FROM.
    pub(super) fn rows(&self, item: usize) -> Option<&[Row]> {
        match self {
            Beside::Nothing => None,
            Beside::All(all) => Some(&all.rows),
            Beside::ByKey(by_key) => Some(by_key.groups.get(item).map_or(&[], |(_, rows)| rows)),
        }
    }
}
