//! Writing a table: rows come in key order, blocks go out as they fill.

use std::sync::Arc;

use bytes::{BufMut, Bytes};
use wal::disk::{Disk, DiskFile};

use super::bloom;
use super::format::{MAGIC, TableError, VERSION, file_name, frame, io_error};
use super::row::{RowVersions, put_cells};
use crate::encoding::{put_number, put_string};

/// A block is closed once it holds so many bytes.
const BLOCK_BYTES: usize = 16 << 10;
/// Blocks are gathered into writes of about this size.
const WRITE_BYTES: usize = 256 << 10;

/// Writes one table.
pub(crate) struct TableBuilder {
    name: String,
    file: Arc<dyn DiskFile>,
    block: Vec<u8>,
    out: Vec<u8>,
    offset: u64,
    last_key: Bytes,
    first_key: Option<Bytes>,
    index: Vec<u8>,
    blocks: u64,
    hashes: Vec<u64>,
    cells: u64,
    row_bytes_max: u64,
}

impl TableBuilder {
    /// Starts the file of that number in `dir`, which must not exist.
    pub(crate) fn create(disk: &dyn Disk, dir: &str, number: u64) -> Result<TableBuilder, TableError> {
        let name = file_name(dir, number);
        let file = disk.create(&name).map_err(|error| io_error(&name, error))?;
        Ok(TableBuilder {
            name,
            file,
            block: Vec::new(),
            out: Vec::new(),
            offset: 0,
            last_key: Bytes::new(),
            first_key: None,
            index: Vec::new(),
            blocks: 0,
            hashes: Vec::new(),
            cells: 0,
            row_bytes_max: 0,
        })
    }

    /// Appends the next row; its key must be above all before it.
    pub(crate) fn add(&mut self, row: &RowVersions) -> Result<(), TableError> {
        debug_assert!(self.first_key.is_none() || row.key > self.last_key, "rows come in order");
        let shared = match self.block.is_empty() {
            true => 0,
            false => row.key.iter().zip(&self.last_key).take_while(|(a, b)| a == b).count(),
        };
        put_number(&mut self.block, shared as u64);
        put_string(&mut self.block, &row.key[shared..]);
        put_cells(&mut self.block, &row.cells);
        self.cells += row.cells.len() as u64;
        self.row_bytes_max = self.row_bytes_max.max(row.bytes() as u64);
        self.hashes.push(bloom::hash(&row.key));
        self.first_key.get_or_insert_with(|| row.key.clone());
        self.last_key = row.key.clone();
        if self.block.len() >= BLOCK_BYTES {
            self.close_block()?;
        }
        Ok(())
    }

    /// The file's path.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Bytes written and waiting so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.offset + (self.out.len() + self.block.len()) as u64
    }

    /// Writes index, filter and footer and forces the file. Its name is durable once the directory is forced.
    pub(crate) fn finish(mut self) -> Result<(), TableError> {
        self.close_block()?;
        let mut index = Vec::new();
        put_number(&mut index, self.blocks);
        index.append(&mut self.index);
        put_string(&mut index, &self.first_key.clone().unwrap_or_default());
        put_number(&mut index, self.hashes.len() as u64);
        put_number(&mut index, self.cells);
        put_number(&mut index, self.row_bytes_max);
        let index = self.append(&frame(&index, false))?;
        let filter = self.append(&frame(&bloom::build(&self.hashes), false))?;
        let mut footer = Vec::new();
        for (offset, len) in [index, filter] {
            footer.put_u64_le(offset);
            footer.put_u64_le(len);
        }
        footer.put_u32_le(VERSION);
        let checksum = crc32c::crc32c(&footer);
        footer.put_u32_le(checksum);
        footer.extend_from_slice(MAGIC);
        self.append(&footer)?;
        self.write_out()?;
        self.file.sync().map_err(|error| io_error(&self.name, error))
    }

    fn close_block(&mut self) -> Result<(), TableError> {
        if self.block.is_empty() {
            return Ok(());
        }
        let framed = frame(&self.block, true);
        self.block.clear();
        let (offset, len) = self.append(&framed)?;
        put_string(&mut self.index, &self.last_key);
        put_number(&mut self.index, offset);
        put_number(&mut self.index, len);
        self.blocks += 1;
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(u64, u64), TableError> {
        let place = (self.offset + self.out.len() as u64, bytes.len() as u64);
        self.out.extend_from_slice(bytes);
        if self.out.len() >= WRITE_BYTES {
            self.write_out()?;
        }
        Ok(place)
    }

    fn write_out(&mut self) -> Result<(), TableError> {
        self.file.write_all_at(&self.out, self.offset).map_err(|error| io_error(&self.name, error))?;
        self.offset += self.out.len() as u64;
        self.out.clear();
        Ok(())
    }
}
