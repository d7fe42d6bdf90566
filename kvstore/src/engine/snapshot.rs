//! Snapshots: what one replica's tables hold, shipped to a replica that the log no longer reaches (design 4.5).
//!
//! A snapshot is the tables of one moment, read in key order while flushes and compactions go on (the version pins its
//! files), and cut into chunks that each decode by themselves. The receiver writes new tables aside; then one manifest
//! edit puts them in force. What a crash leaves is the old state or the new one, whole.
//!
//! Two kinds (rule 7). A *partial* snapshot has only cells above what the receiver's tables hold, and is added to them. It
//! would let deleted cells rise again if a deletion in between is already gone here, so below `gc_lsn` the snapshot is
//! *whole* and replaces everything. Either kind has the store's attachment, so what a retry needs travels along (rule 11).
//!
//! ```text
//! chunk: CRC32C u32 of the rest | row .. ; row: key | count | { column | epoch, seq | 0, or 1 and value } ..
//! head:  CRC32C u32 of the rest | version 1 | base epoch, seq | chain u64 LE | above epoch, seq | gc epoch, seq | attachment
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Buf, BufMut, Bytes};
use wal::{ChainHash, Lsn};

use super::manifest::{put_lsn, take_lsn};
use super::merge::{self, Walk};
use super::version::{LEVELS, Version};
use super::{Engine, EngineError, FlushedState, lock};
use crate::table::format::{put_number, put_string, take_number, take_string};
use crate::table::{Caching, CellVersion, RowVersions, Table, TableBuilder, file_name};

const VERSION: u8 = 1;

/// What a snapshot is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotHead {
    /// It holds everything up to here.
    pub flushed: Lsn,
    /// Chain hash there.
    pub flushed_chain: ChainHash,
    /// It has only cells above this; [`Lsn::ZERO`]: it is whole.
    pub above: Lsn,
    /// Highest LSN of a deletion that is not in it any more.
    pub gc_lsn: Lsn,
    /// The store's words of the moment of `flushed`.
    pub attachment: Bytes,
}

/// A snapshot being read.
pub struct Snapshot {
    head: SnapshotHead,
    walk: Walk,
}

/// A snapshot being received: tables that nothing names yet.
pub struct Receipt {
    head: SnapshotHead,
    made: Vec<Arc<Table>>,
    open: Option<(u64, TableBuilder)>,
    last_key: Option<Bytes>,
}

impl SnapshotHead {
    /// As bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = vec![VERSION];
        put_lsn(&mut out, self.flushed);
        out.put_u64_le(self.flushed_chain.0);
        put_lsn(&mut out, self.above);
        put_lsn(&mut out, self.gc_lsn);
        put_string(&mut out, &self.attachment);
        sealed(out)
    }

    /// From bytes; `None` if they are none, or of another version.
    pub fn decode(bytes: Bytes) -> Option<SnapshotHead> {
        let mut bytes = unsealed(bytes)?;
        if bytes.is_empty() || bytes.get_u8() != VERSION {
            return None;
        }
        let flushed = take_lsn(&mut bytes)?;
        if bytes.len() < 8 {
            return None;
        }
        let flushed_chain = ChainHash(bytes.get_u64_le());
        let (above, gc_lsn) = (take_lsn(&mut bytes)?, take_lsn(&mut bytes)?);
        let attachment = take_string(&mut bytes)?;
        bytes.is_empty().then_some(SnapshotHead { flushed, flushed_chain, above, gc_lsn, attachment })
    }
}

impl Snapshot {
    /// What it is of.
    pub fn head(&self) -> &SnapshotHead {
        &self.head
    }

    /// The next rows, about `bytes_max` of them and at least one; `None` at the end.
    pub fn chunk(&mut self, bytes_max: usize) -> Result<Option<Bytes>, EngineError> {
        let mut out = Vec::new();
        while out.len() < bytes_max
            && let Some((key, parts)) = self.walk.step()?
        {
            let mut cells = merge::join(parts);
            cells.retain(|cell| cell.lsn > self.head.above);
            if !cells.is_empty() {
                put_row(&mut out, &RowVersions { key, cells });
            }
        }
        Ok((!out.is_empty()).then(|| sealed(out)))
    }
}

impl Engine {
    /// The tables as they are, for a replica whose tables hold everything up to `above`. Waits for a flush under way.
    pub fn snapshot(&self, above: Lsn) -> Result<Snapshot, EngineError> {
        self.check()?;
        // No flush may come between what the manifest says and what the version holds.
        let _one = lock(&self.flushing);
        let (flushed_state, gc_lsn) = {
            let manifest = lock(&self.manifest);
            (manifest.flushed(), manifest.gc_lsn)
        };
        let partial = above >= gc_lsn;
        let above = if partial { above } else { Lsn::ZERO };
        let attachment = flushed_state.attachment;
        let head = SnapshotHead {
            flushed: flushed_state.flushed,
            flushed_chain: flushed_state.flushed_chain,
            above,
            gc_lsn,
            attachment,
        };
        let walk =
            Walk::new(self.version().table_sources(Caching::Bypass), Lsn::ZERO, Bytes::new(), None, false);
        Ok(Snapshot { head, walk })
    }

    /// Begins to receive a snapshot.
    pub fn receive(&self, head: SnapshotHead) -> Receipt {
        Receipt { head, made: Vec::new(), open: None, last_key: None }
    }

    /// Writes a chunk's rows aside. After an error the receipt is of no use but for [`Engine::refuse`].
    pub fn receive_chunk(&self, receipt: &mut Receipt, chunk: Bytes) -> Result<(), EngineError> {
        let bad = |what| EngineError::Corrupt { file: format!("{}: snapshot", self.dir), offset: 0, what };
        let mut bytes = unsealed(chunk).ok_or_else(|| bad("a chunk's checksum does not match"))?;
        while !bytes.is_empty() {
            let row = take_row(&mut bytes).ok_or_else(|| bad("a chunk makes no sense"))?;
            if receipt.last_key.as_ref().is_some_and(|last| *last >= row.key) {
                return Err(bad("its rows are out of order"));
            }
            receipt.last_key = Some(row.key.clone());
            let (number, mut builder) = match receipt.open.take() {
                Some(open) => open,
                None => self.create_table()?,
            };
            let added = builder.add(&row);
            let full = builder.bytes() >= self.options.table_bytes;
            receipt.open = Some((number, builder));
            added?;
            if full && let Some((number, builder)) = receipt.open.take() {
                receipt.made.push(self.finish_table(number, builder)?);
            }
        }
        Ok(())
    }

    /// Removes what was received.
    pub fn refuse(&self, receipt: Receipt) {
        if let Some((_, builder)) = receipt.open {
            self.discard(builder.name());
        }
        receipt.made.iter().for_each(|table| self.discard(table.name()));
    }

    /// Puts a received snapshot in force with one manifest edit; readers see the old state or the new one. May not run beside
    /// [`Engine::apply`]. A snapshot that begins above what the tables hold, or is older than what is applied here, is an
    /// error and changes nothing. But damaged tables are repaired by a whole one that reaches as far as they do: it may be older
    /// than the memtable, which then stays, for together they hold everything.
    pub fn install_snapshot(&self, mut receipt: Receipt) -> Result<FlushedState, EngineError> {
        if let Some((number, builder)) = receipt.open.take() {
            match self.finish_table(number, builder) {
                Ok(table) => receipt.made.push(table),
                Err(error) => {
                    self.refuse(receipt);
                    return Err(error);
                }
            }
        }
        let (_flush, _compaction) = (lock(&self.flushing), lock(&self.compacting));
        let head = receipt.head.clone();
        let late = |what| EngineError::Corrupt { file: format!("{}: snapshot", self.dir), offset: 0, what };
        let repair = self.damaged()
            && head.above == Lsn::ZERO
            && head.flushed < self.applied()
            && head.flushed >= self.flushed();
        let refusal = if head.flushed < self.applied() && !repair {
            Some("it is older than what is applied")
        } else if head.above > self.flushed() {
            Some("it begins above what the tables hold")
        } else {
            None
        };
        if let Some(what) = refusal {
            self.refuse(receipt);
            return Err(late(what));
        }
        let whole = head.above == Lsn::ZERO;
        let (flushed, flushed_chain) = (head.flushed, head.flushed_chain);
        let made = receipt.made;
        let old = match whole {
            true => lock(&self.manifest).tables.clone(),
            false => Vec::new(),
        };
        let level = if whole { 1 } else { 0 };
        let mut flushed_state = FlushedState::default();
        self.install(&made, |manifest| {
            let numbers = made.iter().map(|table| (level, table.number()));
            if whole {
                manifest.tables = numbers.collect();
            } else {
                manifest.tables.splice(0..0, numbers);
            }
            (manifest.flushed, manifest.flushed_chain, manifest.snapshot) = (flushed, flushed_chain, flushed);
            manifest.gc_lsn = manifest.gc_lsn.max(head.gc_lsn);
            manifest.attachment = head.attachment.clone();
            flushed_state = manifest.flushed();
        })?;
        let mut levels = if whole { vec![Vec::new(); LEVELS] } else { self.version().levels.clone() };
        levels[usize::from(level)].splice(0..0, made);
        {
            let mut state = self.write_state();
            if repair {
                let Version { active, frozen, .. } = (*state.version).clone();
                let frozen = frozen.filter(|frozen| frozen.flushed > flushed);
                state.version = Arc::new(Version { active, frozen, levels, flushed });
            } else {
                state.version = Arc::new(Version { active: Arc::default(), frozen: None, levels, flushed });
                (state.applied, state.chain) = (flushed, flushed_chain);
            }
        }
        self.compaction_due.store(true, Ordering::Release);
        old.iter().for_each(|(_, number)| self.discard(&file_name(&self.dir, *number)));
        Ok(flushed_state)
    }
}

impl Engine {
    /// Throws everything away with one manifest edit. May not run beside [`Engine::apply`].
    pub fn clear(&self) -> Result<(), EngineError> {
        let (_flush, _compaction) = (lock(&self.flushing), lock(&self.compacting));
        let old = lock(&self.manifest).tables.clone();
        self.install(&[], |manifest| {
            manifest.tables.clear();
            (manifest.flushed, manifest.flushed_chain) = (Lsn::ZERO, ChainHash::default());
            (manifest.snapshot, manifest.gc_lsn) = (Lsn::ZERO, Lsn::ZERO);
            manifest.attachment = Bytes::new();
        })?;
        {
            let mut state = self.write_state();
            let levels = vec![Vec::new(); LEVELS];
            state.version =
                Arc::new(Version { active: Arc::default(), frozen: None, levels, flushed: Lsn::ZERO });
            (state.applied, state.chain) = (Lsn::ZERO, ChainHash::default());
        }
        old.iter().for_each(|(_, number)| self.discard(&file_name(&self.dir, *number)));
        Ok(())
    }
}

fn sealed(body: Vec<u8>) -> Bytes {
    let mut out = Vec::with_capacity(body.len() + 4);
    out.put_u32_le(crc32c::crc32c(&body));
    out.extend_from_slice(&body);
    out.into()
}

fn unsealed(mut bytes: Bytes) -> Option<Bytes> {
    (bytes.len() >= 4 && bytes.get_u32_le() == crc32c::crc32c(&bytes)).then_some(bytes)
}

fn put_row(out: &mut Vec<u8>, row: &RowVersions) {
    put_string(out, &row.key);
    put_number(out, row.cells.len() as u64);
    for cell in &row.cells {
        put_string(out, &cell.column);
        put_lsn(out, cell.lsn);
        match &cell.value {
            None => out.push(0),
            Some(value) => {
                out.push(1);
                put_string(out, value);
            }
        }
    }
}

fn take_row(bytes: &mut Bytes) -> Option<RowVersions> {
    let key = take_string(bytes)?;
    let count = take_number(bytes)?;
    let mut cells = Vec::new();
    for _ in 0..count {
        let (column, lsn) = (take_string(bytes)?, take_lsn(bytes)?);
        if bytes.is_empty() {
            return None;
        }
        let value = match bytes.get_u8() {
            0 => None,
            1 => Some(take_string(bytes)?),
            _ => return None,
        };
        cells.push(CellVersion { column, lsn, value });
    }
    Some(RowVersions { key, cells })
}
