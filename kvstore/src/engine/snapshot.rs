//! Snapshots: what one replica's tables hold, shipped to a replica that the log no longer reaches.
//!
//! A snapshot is the tables of one moment, read in key order while flushes and compactions go on (the version pins its
//! files), and cut into chunks that each decode by themselves. The receiver writes new tables aside; then one manifest
//! edit puts them in force. What a crash leaves is the old state or the new one, whole.
//!
//! Two extents ([no-resurrection]). A *partial* snapshot has only cells above what the receiver's tables hold, and is
//! added to them. It would let deleted cells rise again if a deletion in between is already gone here, so below `gc_lsn`
//! the snapshot is *whole* and replaces everything. Either one has the store's attachment, so what a retry needs travels
//! along ([exactly-once]).
//!
//! ```text
//! chunk: CRC32C u32 LE of the rest | { key | cells (as in tables) } ..      a very large row in pieces, by column
//! head:  CRC32C u32 LE of the rest | version 1 | flushed LSN | chain u64 LE | partial above, or 0.0 | gc_lsn | attachment
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Buf, BufMut, Bytes};
use wal::sync::lock;
use wal::{ChainHash, Lsn};

use super::lsm::Engine;
use super::manifest::FlushedState;
use super::merge::{self, Walk};
use super::version::Version;
use crate::encoding::{put_lsn, put_string, take_byte, take_lsn, take_string};
use crate::table::{
    Caching, RowVersions, Table, TableBuilder, TableError as EngineError, file_name, put_cells, take_cells,
};

const VERSION: u8 = 1;
/// A row of more bytes goes in pieces of about so many: a part must fit into a message whatever it holds.
const PIECE_BYTES: usize = 4 << 20;

/// How much of the sender's tables a snapshot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Everything.
    Whole,
    /// Only cells above this LSN.
    Above(Lsn),
}

/// What a snapshot is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotHead {
    /// It reaches up to here.
    pub flushed: Lsn,
    /// Chain hash there.
    pub flushed_chain: ChainHash,
    /// From where it holds everything.
    pub extent: Extent,
    /// Highest LSN of a deletion that is not in it any more.
    pub gc_lsn: Lsn,
    /// What the store gave at the moment of `flushed`.
    pub attachment: Bytes,
}

/// A snapshot being read.
pub struct Snapshot {
    head: SnapshotHead,
    walk: Walk,
    /// What is left of a row that goes in pieces.
    rest: Option<RowVersions>,
}

/// A snapshot being received: tables that nothing names yet.
pub struct Receipt {
    head: SnapshotHead,
    made: Vec<Arc<Table>>,
    open: Option<(u64, TableBuilder)>,
    /// The last row received: the next piece may be of it.
    last: Option<RowVersions>,
}

/// What a received snapshot does to what is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Installation {
    /// It takes the place of everything.
    Replace,
    /// Its tables come on top of those that are here, and what is in memory goes.
    Add,
    /// It takes the place of damaged tables, under a memtable that is newer: together they hold everything.
    Repair,
}

impl Extent {
    /// Everything above an LSN; above [`Lsn::ZERO`] is everything.
    fn above(lsn: Lsn) -> Extent {
        if lsn == Lsn::ZERO { Extent::Whole } else { Extent::Above(lsn) }
    }

    /// The LSN above which it holds everything.
    fn start(self) -> Lsn {
        match self {
            Extent::Whole => Lsn::ZERO,
            Extent::Above(lsn) => lsn,
        }
    }
}

impl SnapshotHead {
    /// As bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = vec![VERSION];
        put_lsn(&mut out, self.flushed);
        out.put_u64_le(self.flushed_chain.0);
        put_lsn(&mut out, self.extent.start());
        put_lsn(&mut out, self.gc_lsn);
        put_string(&mut out, &self.attachment);
        sealed(out)
    }

    /// From bytes; `None` if they are damaged, or of another version.
    pub fn decode(bytes: Bytes) -> Option<SnapshotHead> {
        let mut bytes = unsealed(bytes)?;
        if take_byte(&mut bytes)? != VERSION {
            return None;
        }
        let flushed = take_lsn(&mut bytes)?;
        if bytes.len() < 8 {
            return None;
        }
        let flushed_chain = ChainHash(bytes.get_u64_le());
        let (extent, gc_lsn) = (Extent::above(take_lsn(&mut bytes)?), take_lsn(&mut bytes)?);
        let attachment = take_string(&mut bytes)?;
        bytes.is_empty().then_some(SnapshotHead { flushed, flushed_chain, extent, gc_lsn, attachment })
    }
}

impl Receipt {
    /// What the sender's store gave at the moment of the snapshot.
    pub fn attachment(&self) -> &Bytes {
        &self.head.attachment
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
            && let Some(row) = self.next_row()?
        {
            put_string(&mut out, &row.key);
            put_cells(&mut out, &row.cells);
        }
        Ok((!out.is_empty()).then(|| sealed(out)))
    }

    /// The next row that has something to send, or the next piece of it.
    fn next_row(&mut self) -> Result<Option<RowVersions>, EngineError> {
        let above = self.head.extent.start();
        let mut next = self.rest.take();
        while next.is_none() {
            let Some((key, parts)) = self.walk.step()? else { return Ok(None) };
            let mut cells = merge::merge_row(parts);
            cells.retain(|cell| cell.lsn > above);
            next = (!cells.is_empty()).then_some(RowVersions { key, cells });
        }
        Ok(next.map(|mut row| {
            if row.bytes() > PIECE_BYTES {
                let rest = row.split_off(PIECE_BYTES);
                self.rest = (!rest.is_empty()).then_some(RowVersions { key: row.key.clone(), cells: rest });
            }
            row
        }))
    }
}

/// Sending.
impl Engine {
    /// The tables as they are, for a replica whose tables hold everything up to `above`. Waits for a flush under way.
    pub fn snapshot(&self, above: Lsn) -> Result<Snapshot, EngineError> {
        self.check()?;
        // No flush may come between what the manifest says and what the version holds.
        let _one = lock(&self.flushing);
        let flushed = lock(&self.manifest).flushed.clone();
        // A compaction may come between: what is gone is asked of the version itself.
        let version = self.version();
        let gc_lsn = version.gc_lsn;
        let partial = above >= gc_lsn;
        let extent = if partial { Extent::above(above) } else { Extent::Whole };
        let attachment = flushed.attachment;
        let head =
            SnapshotHead { flushed: flushed.lsn, flushed_chain: flushed.chain, extent, gc_lsn, attachment };
        let sources = version.table_sources(Caching::Bypass);
        Ok(Snapshot { head, walk: Walk::new(sources, Lsn::ZERO, Bytes::new(), None, false), rest: None })
    }
}

/// Receiving.
impl Engine {
    /// Begins to receive a snapshot.
    pub fn receive(&self, head: SnapshotHead) -> Receipt {
        Receipt { head, made: Vec::new(), open: None, last: None }
    }

    /// Writes a chunk's rows aside. After an error the receipt is of no use but for [`Engine::refuse`].
    pub fn receive_chunk(&self, receipt: &mut Receipt, chunk: Bytes) -> Result<(), EngineError> {
        let mut bytes = unsealed(chunk).ok_or_else(|| self.bad("a chunk's checksum does not match"))?;
        while !bytes.is_empty() {
            let row = take_row(&mut bytes).ok_or_else(|| self.bad("a chunk does not parse"))?;
            match receipt.last.take() {
                Some(mut last) if last.key == row.key => {
                    if !last.is_continued_by(&row) {
                        return Err(self.bad("its columns are out of order"));
                    }
                    last.cells.extend(row.cells);
                    receipt.last = Some(last);
                }
                Some(last) if last.key > row.key => return Err(self.bad("its rows are out of order")),
                last => {
                    receipt.last = Some(row);
                    last.map_or(Ok(()), |last| self.keep_row(receipt, &last))?;
                }
            }
        }
        Ok(())
    }

    /// Writes a received row into the table that is open.
    fn keep_row(&self, receipt: &mut Receipt, row: &RowVersions) -> Result<(), EngineError> {
        let (number, mut builder) = match receipt.open.take() {
            Some(open) => open,
            None => self.create_table()?,
        };
        let added = builder.add(row);
        let full = builder.bytes() >= self.options.table_bytes;
        receipt.open = Some((number, builder));
        added?;
        if full { self.finish_open(receipt) } else { Ok(()) }
    }

    /// Removes what was received.
    pub fn refuse(&self, receipt: Receipt) {
        if let Some((_, builder)) = receipt.open {
            self.discard(builder.name());
        }
        receipt.made.iter().for_each(|table| self.discard(table.name()));
    }

    /// Puts a received snapshot in force with one manifest edit; readers see the old state or the new one. May not run
    /// beside [`Engine::apply`]. A snapshot that begins above what the tables hold, or is older than what is applied
    /// here, is an error and changes nothing. But damaged tables are repaired by a whole one that reaches as far as they
    /// do: it may be older than the memtable, which then stays, for together they hold everything [repair-keeps-memtable].
    ///
    /// `hold` is called when the edit is durable, just before readers see it, and what it gives is handed back: a lock, so
    /// that the caller's state changes with the engine's and is not held over the disk.
    pub fn install_snapshot<G>(
        &self,
        mut receipt: Receipt,
        hold: impl FnOnce() -> G,
    ) -> Result<(FlushedState, G), EngineError> {
        let last = receipt.last.take().map_or(Ok(()), |last| self.keep_row(&mut receipt, &last));
        if let Err(error) = last.and_then(|()| self.finish_open(&mut receipt)) {
            self.refuse(receipt);
            return Err(error);
        }
        let (_flush, _compaction) = (lock(&self.flushing), lock(&self.compacting));
        let installation = match self.installation(&receipt.head) {
            Ok(installation) => installation,
            Err(what) => {
                self.refuse(receipt);
                return Err(self.bad(what));
            }
        };
        let Receipt { head, made, .. } = receipt;
        let replaces = installation != Installation::Add;
        let level: u8 = if replaces { 1 } else { 0 };
        let SnapshotHead { flushed: lsn, flushed_chain: chain, gc_lsn, attachment, .. } = head;
        let flushed = FlushedState { lsn, chain, attachment, snapshot: lsn };
        let old = if replaces { lock(&self.manifest).tables.clone() } else { Vec::new() };
        self.install(&made, |manifest| {
            if replaces {
                manifest.tables.clear();
            }
            manifest.tables.splice(0..0, made.iter().map(|table| (level, table.number())));
            manifest.flushed = flushed.clone();
            manifest.gc_lsn = manifest.gc_lsn.max(gc_lsn);
        })?;
        let mut levels = if replaces { Version::no_tables() } else { self.version().levels.clone() };
        levels[usize::from(level)].splice(0..0, made);
        let gc_lsn = lock(&self.manifest).gc_lsn;
        // Whoever still reads them has them open.
        old.iter().for_each(|(_, number)| self.discard(&file_name(&self.dir, *number)));
        let held = hold();
        self.put_under_memtable(levels, &flushed, gc_lsn, installation == Installation::Repair);
        self.compaction_due.store(true, Ordering::Release);
        Ok((flushed, held))
    }

    /// Throws everything away with one manifest edit. May not run beside [`Engine::apply`]. `hold` is as for
    /// [`Engine::install_snapshot`].
    pub fn wipe<G>(&self, hold: impl FnOnce() -> G) -> Result<G, EngineError> {
        let (_flush, _compaction) = (lock(&self.flushing), lock(&self.compacting));
        let old = lock(&self.manifest).tables.clone();
        let nothing = FlushedState::default();
        self.install(&[], |manifest| {
            manifest.tables.clear();
            (manifest.flushed, manifest.gc_lsn) = (nothing.clone(), Lsn::ZERO);
        })?;
        old.iter().for_each(|(_, number)| self.discard(&file_name(&self.dir, *number)));
        let held = hold();
        self.put_under_memtable(Version::no_tables(), &nothing, Lsn::ZERO, false);
        Ok(held)
    }

    /// What the snapshot would do here, or why it may not.
    fn installation(&self, head: &SnapshotHead) -> Result<Installation, &'static str> {
        let (applied, tables) = (self.applied(), self.flushed());
        match head.extent {
            Extent::Whole if head.flushed >= applied => Ok(Installation::Replace),
            Extent::Whole if self.damaged() && head.flushed >= tables => Ok(Installation::Repair),
            Extent::Above(above) if head.flushed >= applied && above <= tables => Ok(Installation::Add),
            Extent::Above(_) if head.flushed >= applied => Err("it begins above what the tables hold"),
            Extent::Whole | Extent::Above(_) => Err("it is older than what is applied"),
        }
    }

    /// Shows these tables to readers: under the memtables that are newer, if those are kept; else alone.
    fn put_under_memtable(
        &self,
        levels: Vec<Vec<Arc<Table>>>,
        flushed: &FlushedState,
        gc_lsn: Lsn,
        keep: bool,
    ) {
        let mut state = self.write_state();
        let mut next = Version::of_tables(levels, flushed.lsn, gc_lsn);
        if keep {
            next.active = state.version.active.clone();
            next.frozen = state.version.frozen.clone().filter(|frozen| frozen.lsn > flushed.lsn);
        } else {
            (state.applied, state.chain) = (flushed.lsn, flushed.chain);
        }
        state.version = Arc::new(next);
    }

    /// Finishes the table that is being written, if there is one.
    fn finish_open(&self, receipt: &mut Receipt) -> Result<(), EngineError> {
        if let Some((number, builder)) = receipt.open.take() {
            receipt.made.push(self.finish_table(number, builder)?);
        }
        Ok(())
    }

    /// Something is wrong with a received snapshot.
    fn bad(&self, what: &'static str) -> EngineError {
        EngineError::Corrupt { file: format!("{}: snapshot", self.dir), offset: 0, what }
    }
}

fn take_row(bytes: &mut Bytes) -> Option<RowVersions> {
    Some(RowVersions { key: take_string(bytes)?, cells: take_cells(bytes)? })
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
