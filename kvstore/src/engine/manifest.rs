//! Which tables make up a range, and up to which LSN: one small file, replaced whole.
//!
//! ```text
//! manifest: magic "SPNKMANI" | CRC32C u32 LE of the rest | version u32 LE | next file number | flushed LSN | chain u64 LE
//!           | gc_lsn | tables: count, { level, number } .. | attachment | snapshot LSN
//! ```
//!
//! Written aside, forced, renamed, directory forced: a crash leaves the old one or the new one. Whatever table file it
//! does not name is a leftover of a crash and is removed at the next start. The first one is written before the first
//! table, so tables without a manifest mean that it was lost, never that they are leftovers.
//!
//! It is rewritten rather than appended to: most of an edit is the attachment, which each flush replaces anyway.

use bytes::{Buf, BufMut, Bytes};
use wal::disk::Disk;
use wal::{ChainHash, Lsn};

use super::options::LEVELS;
use crate::encoding::{put_lsn, put_number, put_string, take_byte, take_lsn, take_number, take_string};
use crate::table::{TableError, io_error};

const MAGIC: &[u8; 8] = b"SPNKMANI";
/// Version of the manifests that this program writes and reads.
const VERSION: u32 = 1;
/// Magic, checksum, version.
const HEAD_BYTES: usize = 16;
/// Name, in the range's directory, of a manifest that is not in force yet.
pub(crate) const ASIDE: &str = "manifest.new";
/// Name of the one in force.
pub(crate) const IN_FORCE: &str = "manifest";

/// Up to where the tables hold everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlushedState {
    /// Last LSN.
    pub lsn: Lsn,
    /// Chain hash there.
    pub chain: ChainHash,
    /// What the store above gave with the flush.
    pub attachment: Bytes,
    /// `lsn` of the last snapshot that was installed: a log that does not hold it holds another time's entries.
    pub snapshot: Lsn,
}

impl FlushedState {
    /// As the manifest in a range's directory says; of a directory in which nothing was flushed yet, nothing.
    pub(crate) fn read(disk: &dyn Disk, dir: &str) -> Result<FlushedState, TableError> {
        let files = disk.list(dir).map_err(|error| io_error(dir, error))?;
        if !files.iter().any(|file| file == IN_FORCE || file.ends_with(".sst")) {
            return Ok(FlushedState::default());
        }
        Ok(Manifest::open(disk, dir)?.flushed)
    }
}

/// The content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// Number of the next table file.
    pub(crate) next: u64,
    /// Up to where the tables hold everything.
    pub(crate) flushed: FlushedState,
    /// Highest LSN of a deletion that compaction dropped.
    pub(crate) gc_lsn: Lsn,
    /// Level and number of each table, newest first within level 0.
    pub(crate) tables: Vec<(u8, u64)>,
}

fn path(dir: &str) -> String {
    format!("{dir}/{IN_FORCE}")
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
        if bytes.len() < HEAD_BYTES || &bytes.split_to(MAGIC.len())[..] != MAGIC {
            return Err(corrupt("not a manifest"));
        }
        if bytes.get_u32_le() != crc32c::crc32c(&bytes) {
            return Err(corrupt("the checksum does not match"));
        }
        let found = bytes.get_u32_le();
        if found != VERSION {
            return Err(TableError::Version { file: name, found, known: VERSION });
        }
        Manifest::decode(bytes).ok_or_else(|| corrupt("it does not parse"))
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

    /// Version and content.
    fn encode(&self) -> Vec<u8> {
        let mut out = VERSION.to_le_bytes().to_vec();
        put_number(&mut out, self.next);
        put_lsn(&mut out, self.flushed.lsn);
        out.put_u64_le(self.flushed.chain.0);
        put_lsn(&mut out, self.gc_lsn);
        put_number(&mut out, self.tables.len() as u64);
        for (level, number) in &self.tables {
            out.push(*level);
            put_number(&mut out, *number);
        }
        put_string(&mut out, &self.flushed.attachment);
        put_lsn(&mut out, self.flushed.snapshot);
        out
    }

    /// The content, behind the version.
    fn decode(mut bytes: Bytes) -> Option<Manifest> {
        let mut manifest = Manifest { next: take_number(&mut bytes)?, ..Manifest::default() };
        manifest.flushed.lsn = take_lsn(&mut bytes)?;
        if bytes.len() < 8 {
            return None;
        }
        manifest.flushed.chain = ChainHash(bytes.get_u64_le());
        manifest.gc_lsn = take_lsn(&mut bytes)?;
        for _ in 0..take_number(&mut bytes)? {
            let level = take_byte(&mut bytes)?;
            if usize::from(level) >= LEVELS {
                return None;
            }
            manifest.tables.push((level, take_number(&mut bytes)?));
        }
        manifest.flushed.attachment = take_string(&mut bytes)?;
        manifest.flushed.snapshot = take_lsn(&mut bytes)?;
        bytes.is_empty().then_some(manifest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0..3u8], 0..200)) {
            if let Some(manifest) = Manifest::decode(bytes.into()) {
                prop_assert_eq!(Manifest::decode(Bytes::from(manifest.encode()).slice(4..)), Some(manifest));
            }
        }
    }
}
