//! Reading a table: index and filter stay in memory, blocks come through a cache that all tables of a node share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Buf, Bytes};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use wal::disk::{Disk, DiskFile};

use super::bloom;
use super::damage::Damage;
use super::format::{
    FOOTER, MAGIC, TableError, VERSION, file_name, io_error, read_frame, read_frame_at_hand,
};
use super::row::{RowVersions, take_cells};
use crate::encoding::{take_number, take_string};
use crate::waiting::waiting;

/// Whether blocks read go into the shared cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caching {
    /// They do.
    Fill,
    /// They are taken from there if they are there, and leave no trace otherwise.
    Bypass,
}

/// Decoded blocks of all tables of a node, the most useful ones within a budget of bytes.
pub struct BlockCache {
    blocks: Cache<(u64, u32), Arc<Block>, BlockWeight>,
    tables: AtomicU64,
}

#[derive(Clone)]
struct BlockWeight;

impl Weighter<(u64, u32), Arc<Block>> for BlockWeight {
    fn weight(&self, _: &(u64, u32), block: &Arc<Block>) -> u64 {
        block.bytes
    }
}

impl BlockCache {
    /// A cache of at most so many bytes.
    pub fn new(bytes: u64) -> BlockCache {
        let items = usize::try_from(bytes / (16 << 10)).unwrap_or(usize::MAX).max(16);
        BlockCache { blocks: Cache::with_weighter(items, bytes, BlockWeight), tables: AtomicU64::new(0) }
    }

    /// Bytes that are cached now.
    pub(crate) fn bytes(&self) -> u64 {
        self.blocks.weight()
    }
}

/// Rows of one block, in key order.
pub(super) struct Block {
    /// Never empty.
    pub(super) rows: Vec<RowVersions>,
    bytes: u64,
}

struct IndexEntry {
    last_key: Bytes,
    offset: u64,
    len: u64,
}

/// What a table holds, in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    /// First row key.
    pub(crate) first_key: Bytes,
    /// Last row key.
    pub(crate) last_key: Bytes,
    /// Rows.
    pub(crate) rows: u64,
    /// Cell versions.
    pub(crate) cells: u64,
    /// Bytes of the largest row ([`RowVersions::bytes`]); `None`: a program wrote it that did not tell.
    pub(crate) row_bytes_max: Option<u64>,
    /// Length of the file.
    pub(crate) bytes: u64,
}

/// An open table.
pub(crate) struct Table {
    name: String,
    number: u64,
    file: Arc<dyn DiskFile>,
    index: Vec<IndexEntry>,
    filter: Bytes,
    summary: Summary,
    cache: Arc<BlockCache>,
    /// Names its blocks in the cache.
    id: u64,
    /// Where a block that cannot be read is noted.
    damage: Arc<Damage>,
}

impl Table {
    /// Opens and checks footer, index and filter; blocks are checked as they are read.
    pub(crate) fn open(
        disk: &dyn Disk,
        dir: &str,
        number: u64,
        cache: Arc<BlockCache>,
        damage: Arc<Damage>,
    ) -> Result<Table, TableError> {
        let name = &file_name(dir, number)[..];
        let corrupt = |offset, what| TableError::Corrupt { file: name.to_owned(), offset, what };
        let failed = |error| io_error(name, error);
        let file = disk.open(name).map_err(failed)?;
        let len = file.len().map_err(failed)?;
        let at = len.checked_sub(FOOTER as u64).ok_or_else(|| corrupt(0, "too short for a table"))?;
        let mut footer = vec![0; FOOTER];
        file.read_exact_at(&mut footer, at).map_err(failed)?;
        let mut footer = Bytes::from(footer);
        let checksum = crc32c::crc32c(&footer[..36]);
        let places = [footer.get_u64_le(), footer.get_u64_le(), footer.get_u64_le(), footer.get_u64_le()];
        let (version, expected) = (footer.get_u32_le(), footer.get_u32_le());
        if &footer[..] != MAGIC || checksum != expected {
            return Err(corrupt(at, "the footer is damaged"));
        }
        if version != VERSION {
            return Err(TableError::Version { file: name.to_owned(), found: version, known: VERSION });
        }
        let [index_at, index_len, filter_at, filter_len] = places;
        let inside = |offset: u64, bytes: u64| offset.checked_add(bytes).is_some_and(|end| end <= at);
        if !inside(index_at, index_len) || !inside(filter_at, filter_len) {
            return Err(corrupt(at, "the footer points outside"));
        }
        let body = read_frame(&*file, name, index_at, index_len)?;
        let (index, mut summary) =
            decode_index(body).ok_or_else(|| corrupt(index_at, "the index does not parse"))?;
        summary.bytes = len;
        if !index.iter().all(|entry| inside(entry.offset, entry.len)) {
            return Err(corrupt(index_at, "the index points outside"));
        }
        let filter = read_frame(&*file, name, filter_at, filter_len)?;
        let id = cache.tables.fetch_add(1, Ordering::Relaxed);
        Ok(Table { name: name.to_owned(), number, file, index, filter, summary, cache, id, damage })
    }

    /// Numbers.
    pub(crate) fn summary(&self) -> &Summary {
        &self.summary
    }

    /// The file's number in the range.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Whether the key lies between the table's first and last.
    pub(crate) fn spans(&self, key: &[u8]) -> bool {
        *key >= self.summary.first_key[..] && *key <= self.summary.last_key[..]
    }

    /// The file's path.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the table may have the row; `false` is certain.
    pub(crate) fn may_hold(&self, key: &[u8]) -> bool {
        self.spans(key) && bloom::may_hold(&self.filter, bloom::hash(key))
    }

    /// The row, if the table has it.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<RowVersions>, TableError> {
        if !self.may_hold(key) {
            return Ok(None);
        }
        let number = self.block_from(key);
        if number == self.index.len() {
            return Ok(None);
        }
        let block = self.block(number, Caching::Fill)?;
        Ok(block.rows.binary_search_by(|row| row.key[..].cmp(key)).ok().map(|at| block.rows[at].clone()))
    }

    /// The block that holds the first row at or above the key; the number of blocks if there is none.
    pub(super) fn block_from(&self, key: &[u8]) -> usize {
        self.index.partition_point(|entry| &entry.last_key[..] < key)
    }

    /// Offset and length of each block.
    #[cfg(test)]
    pub(crate) fn places(&self) -> Vec<(u64, u64)> {
        self.index.iter().map(|entry| (entry.offset, entry.len)).collect()
    }

    /// Blocks.
    pub(crate) fn blocks(&self) -> usize {
        self.index.len()
    }

    /// Reads a block, which must be there. Only if it is neither in the cache nor in the system's memory does the caller
    /// wait for the device, and then nobody with it.
    pub(super) fn block(&self, number: usize, caching: Caching) -> Result<Arc<Block>, TableError> {
        let place = (self.id, number as u32);
        if let Some(block) = self.cache.blocks.get(&place) {
            return Ok(block);
        }
        if let Some(block) = self.block_at_hand(number)? {
            if caching == Caching::Fill {
                self.cache.blocks.insert(place, block.clone());
            }
            return Ok(block);
        }
        waiting(|| match caching {
            Caching::Fill => self.cache.blocks.get_or_insert_with(&place, || self.read_block(number)),
            Caching::Bypass => self.read_block(number),
        })
    }

    fn block_at_hand(&self, number: usize) -> Result<Option<Arc<Block>>, TableError> {
        let entry = &self.index[number];
        let body = read_frame_at_hand(&*self.file, &self.name, entry.offset, entry.len);
        let parsed = body.and_then(|body| body.map(|body| self.parse_block(number, body)).transpose());
        parsed.inspect_err(|error| self.damage.note(self.number, error))
    }

    fn read_block(&self, number: usize) -> Result<Arc<Block>, TableError> {
        let entry = &self.index[number];
        let body = read_frame(&*self.file, &self.name, entry.offset, entry.len);
        let parsed = body.and_then(|body| self.parse_block(number, body));
        parsed.inspect_err(|error| self.damage.note(self.number, error))
    }

    /// Reads a block from the device and checks it; how long it is there.
    pub(crate) fn verify_block(&self, number: usize) -> Result<u64, TableError> {
        self.read_block(number).map(|_| self.index[number].len)
    }

    fn parse_block(&self, number: usize, body: Bytes) -> Result<Arc<Block>, TableError> {
        let entry = &self.index[number];
        let block = decode_block(body).ok_or_else(|| TableError::Corrupt {
            file: self.name.clone(),
            offset: entry.offset,
            what: "the block does not parse",
        })?;
        // A device may answer with a sound block from elsewhere.
        if block.rows.last().is_none_or(|row| row.key != entry.last_key) {
            let what = "another block is there";
            return Err(TableError::Corrupt { file: self.name.clone(), offset: entry.offset, what });
        }
        Ok(Arc::new(block))
    }
}

fn decode_index(mut body: Bytes) -> Option<(Vec<IndexEntry>, Summary)> {
    let blocks = take_number(&mut body)?;
    let mut index = Vec::new();
    for _ in 0..blocks {
        let last_key = take_string(&mut body)?;
        index.push(IndexEntry { last_key, offset: take_number(&mut body)?, len: take_number(&mut body)? });
    }
    let summary = Summary {
        first_key: take_string(&mut body)?,
        last_key: index.last().map(|entry| entry.last_key.clone()).unwrap_or_default(),
        rows: take_number(&mut body)?,
        cells: take_number(&mut body)?,
        row_bytes_max: match body.is_empty() {
            true => None,
            false => Some(take_number(&mut body)?),
        },
        bytes: 0,
    };
    (!index.is_empty()).then_some((index, summary))
}

fn decode_block(mut body: Bytes) -> Option<Block> {
    let mut block = Block { rows: Vec::new(), bytes: body.len() as u64 + 64 };
    let mut key: Vec<u8> = Vec::new();
    while !body.is_empty() {
        let shared = usize::try_from(take_number(&mut body)?).ok()?;
        let suffix = take_string(&mut body)?;
        if shared > key.len() {
            return None;
        }
        key.truncate(shared);
        key.extend_from_slice(&suffix);
        let row = RowVersions { key: Bytes::copy_from_slice(&key), cells: take_cells(&mut body)? };
        block.bytes += (key.len() + row.cells.len() * 88 + 56) as u64;
        block.rows.push(row);
    }
    (!block.rows.is_empty()).then_some(block)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::format::unframe;
    use super::*;

    fn bytes() -> impl Strategy<Value = Bytes> {
        prop::collection::vec(prop_oneof![any::<u8>(), 0..3u8], 0..200).prop_map(Bytes::from)
    }

    proptest! {
        /// The checksum is no defence against whoever made it match: decoding itself must stand any bytes.
        #[test]
        fn no_bytes_make_the_decoders_panic(bytes in bytes()) {
            if let Some(block) = decode_block(bytes.clone()) {
                prop_assert!(!block.rows.is_empty());
            }
            if let Some((index, _)) = decode_index(bytes.clone()) {
                prop_assert!(!index.is_empty());
            }
            // Without its trailer it is no frame.
            prop_assert!(unframe(bytes).is_err());
        }

        #[test]
        fn no_frame_with_a_good_checksum_makes_unframing_panic(body in bytes(), raw: u32, kind in 0..3u8) {
            let raw = raw % (1 << 20);
            let mut framed = body.to_vec();
            framed.extend_from_slice(&raw.to_le_bytes());
            framed.push(kind);
            framed.extend_from_slice(&crc32c::crc32c(&framed).to_le_bytes());
            if let Ok(unframed) = unframe(framed.into()) {
                prop_assert_eq!(unframed.len(), raw as usize);
            }
        }
    }
}
