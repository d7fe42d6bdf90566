//! Which tables make up a range, and up to which LSN: one small file, replaced whole.
//!
//! ```text
//! manifest: magic "SPNKMAN1" | CRC32C u32 of the rest | next file number | base epoch, seq | chain u64 LE
//!           | gc_lsn epoch, seq | tables: count, { level, number } .. | attachment | snapshot epoch, seq
//! ```
//!
//! Written aside, forced, renamed, directory forced: a crash leaves the old one or the new one. Whatever table file it
//! does not name is a leftover of a crash and is removed at the next start. The first one is written before the first
//! table, so tables without a manifest mean that it was lost, never that they are leftovers.
//!
//! It is rewritten rather than appended to: most of an edit is the attachment, which each flush replaces anyway.

use bytes::{Buf, BufMut, Bytes};
use wal::disk::Disk;
use wal::{ChainHash, Epoch, Lsn};

use super::FlushedState;
use super::version::LEVELS;
use crate::table::TableError;
use crate::table::format::{io_error, put_number, put_string, take_number, take_string};

const MAGIC: &[u8; 8] = b"SPNKMAN1";
/// Name, in the range's directory, of a manifest that is not in force yet.
pub(crate) const ASIDE: &str = "manifest.new";

/// The content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// Number of the next table file.
    pub(crate) next: u64,
    /// The tables hold everything up to here.
    pub(crate) flushed: Lsn,
    /// Chain hash there.
    pub(crate) flushed_chain: ChainHash,
    /// Highest LSN of a deletion that compaction dropped.
    pub(crate) gc_lsn: Lsn,
    /// Level and number of each table, newest first within level 0.
    pub(crate) tables: Vec<(u8, u64)>,
    /// The store's own words, of the same moment as `flushed`.
    pub(crate) attachment: Bytes,
    /// `flushed` of the last snapshot that was installed.
    pub(crate) snapshot: Lsn,
}

fn path(dir: &str) -> String {
    format!("{dir}/manifest")
}

impl Manifest {
    /// Reads it, or makes the first one.
    pub(crate) fn open(disk: &dyn Disk, dir: &str) -> Result<Manifest, TableError> {
        let name = path(dir);
        let failed = |error| io_error(&name, error);
        let file = match disk.open(&name) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if disk.list(dir).map_err(failed)?.iter().any(|file| file.ends_with(".sst")) {
                    let what = "it is missing, and tables are there";
                    return Err(TableError::Corrupt { file: name, offset: 0, what });
                }
                let first = Manifest { next: 1, ..Manifest::default() };
                first.write_aside(disk, dir)?;
                first.put_in_force(disk, dir)?;
                return Ok(first);
            }
            Err(error) => return Err(failed(error)),
        };
        let len = usize::try_from(file.len().map_err(failed)?).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, 0).map_err(failed)?;
        let corrupt = |what| TableError::Corrupt { file: name.clone(), offset: 0, what };
        let mut bytes = Bytes::from(bytes);
        if bytes.len() < 12 || &bytes.split_to(8)[..] != MAGIC {
            return Err(corrupt("not a manifest"));
        }
        if bytes.get_u32_le() != crc32c::crc32c(&bytes) {
            return Err(corrupt("the checksum does not match"));
        }
        Manifest::decode(bytes).ok_or_else(|| corrupt("it makes no sense"))
    }

    /// How far the tables reach.
    pub(crate) fn flushed(&self) -> FlushedState {
        FlushedState {
            flushed: self.flushed,
            flushed_chain: self.flushed_chain,
            attachment: self.attachment.clone(),
            snapshot: self.snapshot,
        }
    }

    /// Writes and forces it under another name. A failure leaves the one in force as it was.
    pub(crate) fn write_aside(&self, disk: &dyn Disk, dir: &str) -> Result<(), TableError> {
        let aside = format!("{dir}/{ASIDE}");
        let failed = |error| io_error(&aside, error);
        let body = self.encode();
        let mut bytes = MAGIC.to_vec();
        bytes.put_u32_le(crc32c::crc32c(&body));
        bytes.extend_from_slice(&body);
        // A leftover of a failure.
        match disk.remove(&aside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            Ok(()) | Err(_) => {}
        }
        let file = disk.create(&aside).map_err(failed)?;
        file.write_all_at(&bytes, 0).map_err(failed)?;
        file.sync().map_err(failed)
    }

    /// Makes what was written aside the one in force. After a failure either of the two may be it.
    pub(crate) fn put_in_force(&self, disk: &dyn Disk, dir: &str) -> Result<(), TableError> {
        let name = path(dir);
        let failed = |error| io_error(&name, error);
        disk.rename(&format!("{dir}/{ASIDE}"), &name).map_err(failed)?;
        disk.sync_dir(dir).map_err(failed)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_number(&mut out, self.next);
        put_lsn(&mut out, self.flushed);
        out.put_u64_le(self.flushed_chain.0);
        put_lsn(&mut out, self.gc_lsn);
        put_number(&mut out, self.tables.len() as u64);
        for (level, number) in &self.tables {
            out.push(*level);
            put_number(&mut out, *number);
        }
        put_string(&mut out, &self.attachment);
        put_lsn(&mut out, self.snapshot);
        out
    }

    fn decode(mut bytes: Bytes) -> Option<Manifest> {
        let mut manifest = Manifest { next: take_number(&mut bytes)?, ..Manifest::default() };
        manifest.flushed = take_lsn(&mut bytes)?;
        if bytes.len() < 8 {
            return None;
        }
        manifest.flushed_chain = ChainHash(bytes.get_u64_le());
        manifest.gc_lsn = take_lsn(&mut bytes)?;
        for _ in 0..take_number(&mut bytes)? {
            if bytes.is_empty() {
                return None;
            }
            let level = bytes.get_u8();
            if usize::from(level) >= LEVELS {
                return None;
            }
            manifest.tables.push((level, take_number(&mut bytes)?));
        }
        manifest.attachment = take_string(&mut bytes)?;
        // The first manifests ended here.
        if !bytes.is_empty() {
            manifest.snapshot = take_lsn(&mut bytes)?;
        }
        bytes.is_empty().then_some(manifest)
    }
}

pub(super) fn put_lsn(out: &mut Vec<u8>, lsn: Lsn) {
    put_number(out, lsn.epoch.0.into());
    put_number(out, lsn.seq);
}

pub(super) fn take_lsn(bytes: &mut Bytes) -> Option<Lsn> {
    Some(Lsn { epoch: Epoch(u32::try_from(take_number(bytes)?).ok()?), seq: take_number(bytes)? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0..3u8], 0..200)) {
            if let Some(manifest) = Manifest::decode(bytes.into()) {
                prop_assert_eq!(Manifest::decode(manifest.encode().into()), Some(manifest));
            }
        }
    }
}
