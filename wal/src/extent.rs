//! Up to where the log is known to reach, in a file outside of the log's directory: what is lost of the log as a whole,
//! its end, its oldest segment or all of it, no byte of the log itself could show [lost-log-is-seen].
//!
//! ```text
//! file "EXTENT" beside "wal/":  two slots of 4 KiB, written in turn; the valid one with the higher sequence number counts
//! slot:  one line of text, "extent 1 <sequence> <oldest> <newest> <length> <batch> <lost> <crc32c of the words before>",
//!        then zeros
//! ```
//! The first number is the format's version. Only the file's making changes names; after that a note is one write in
//! place and one force.

use std::io;
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};
use crate::error::LogOpenError;

const FILE: &str = "EXTENT";
const ASIDE: &str = "EXTENT.new";
/// Version of the file's format, and the only one read.
const VERSION: &str = "1";
const SLOT: u64 = 4096;

/// What whoever opens a log knows of it beforehand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum History {
    /// Nothing: there may never have been a log here.
    #[default]
    Unknown,
    /// There has been a log, perhaps by a program that kept no EXTENT: segments must be there.
    Begun,
    /// There has been a log with an EXTENT: both must be there.
    Noted,
}

/// Up to where the log reaches at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    /// The oldest segment that retention has left.
    pub(crate) oldest: u64,
    /// The newest segment that may hold a batch.
    pub(crate) newest: u64,
    /// Its length, which it had before its first batch.
    pub(crate) length: u64,
    /// Number of a batch that was forced.
    pub(crate) batch: u64,
    /// A part of the log was found lost once: a cohort without records may have had some.
    pub(crate) lost: bool,
}

/// The file, and what it says.
pub(crate) struct ExtentFile {
    /// `None` as long as there is none that can be written to.
    file: Option<Arc<dyn DiskFile>>,
    sequence: u64,
    extent: Option<Extent>,
}

impl ExtentFile {
    /// Reads the file, if there is one. A damaged one counts as none.
    pub(crate) fn open(disk: &dyn Disk) -> Result<ExtentFile, LogOpenError> {
        let absent = ExtentFile { file: None, sequence: 0, extent: None };
        if !disk.list("")?.iter().any(|name| name == FILE) {
            return Ok(absent);
        }
        let file = disk.open(FILE)?;
        if file.len()? < 2 * SLOT {
            return Ok(absent);
        }
        let mut newest: Option<(u64, Extent)> = None;
        for slot in 0..2 {
            let mut bytes = vec![0; SLOT as usize];
            file.read_exact_at(&mut bytes, slot * SLOT)?;
            match parse(&bytes) {
                Parsed::Valid(sequence, extent) if newest.is_none_or(|(known, _)| known < sequence) => {
                    newest = Some((sequence, extent));
                }
                Parsed::Valid(..) | Parsed::Invalid => {}
                Parsed::Version(found) => return Err(LogOpenError::Extent { found, known: VERSION }),
            }
        }
        match newest {
            Some((sequence, extent)) => Ok(ExtentFile { file: Some(file), sequence, extent: Some(extent) }),
            None => Ok(absent),
        }
    }

    /// What was noted last.
    pub(crate) fn extent(&self) -> Option<Extent> {
        self.extent
    }

    /// Notes how far the log reaches; durable when this returns. Nothing to do if that is noted already.
    pub(crate) fn note(&mut self, disk: &dyn Disk, extent: Extent) -> io::Result<()> {
        if self.extent == Some(extent) {
            return Ok(());
        }
        let sequence = self.sequence + 1;
        let slot = slot(sequence, &extent);
        match &self.file {
            Some(file) => {
                file.write_all_at(&slot, sequence % 2 * SLOT)?;
                file.sync()?;
            }
            None => {
                if disk.list("")?.iter().any(|name| name == ASIDE) {
                    disk.remove(ASIDE)?;
                }
                let file = disk.create(ASIDE)?;
                file.write_all_at(&vec![0; 2 * SLOT as usize], 0)?;
                file.write_all_at(&slot, sequence % 2 * SLOT)?;
                file.sync()?;
                disk.rename(ASIDE, FILE)?;
                disk.sync_dir("")?;
                self.file = Some(file);
            }
        }
        (self.sequence, self.extent) = (sequence, Some(extent));
        Ok(())
    }
}

fn slot(sequence: u64, extent: &Extent) -> Vec<u8> {
    let Extent { oldest, newest, length, batch, lost } = extent;
    let words = format!("extent {VERSION} {sequence} {oldest} {newest} {length} {batch} {}", u8::from(*lost));
    let mut bytes = format!("{words} {:08x}\n", crc32c::crc32c(words.as_bytes())).into_bytes();
    bytes.resize(SLOT as usize, 0);
    bytes
}

enum Parsed {
    Valid(u64, Extent),
    Version(String),
    Invalid,
}

fn parse(slot: &[u8]) -> Parsed {
    let line = slot.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let Some((words, crc)) = std::str::from_utf8(line).ok().and_then(|line| line.rsplit_once(' ')) else {
        return Parsed::Invalid;
    };
    if u32::from_str_radix(crc, 16) != Ok(crc32c::crc32c(words.as_bytes())) {
        return Parsed::Invalid;
    }
    let words: Vec<&str> = words.split(' ').collect();
    match words[..] {
        ["extent", VERSION, ref numbers @ ..] => {
            let numbers: Vec<u64> = numbers.iter().filter_map(|word| word.parse().ok()).collect();
            match numbers[..] {
                [sequence, oldest, newest, length, batch, lost] => {
                    Parsed::Valid(sequence, Extent { oldest, newest, length, batch, lost: lost != 0 })
                }
                _ => Parsed::Invalid,
            }
        }
        ["extent", found, ..] => Parsed::Version(found.to_owned()),
        _ => Parsed::Invalid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryDisk;

    fn extent(batch: u64) -> Extent {
        Extent { oldest: 2, newest: 3, length: 4096, batch, lost: false }
    }

    #[test]
    fn a_crash_at_any_step_leaves_the_old_note_or_the_new_one() {
        for stop_after in 0..12 {
            for seed in 0..8 {
                let disk = MemoryDisk::new();
                disk.set_faults(crate::disk::Faults { stop_after: Some(stop_after), ..Default::default() });
                let mut file = ExtentFile::open(&disk).expect("reads");
                let noted = (1..4).take_while(|batch| file.note(&disk, extent(*batch)).is_ok()).last();
                let disk = disk.crash(seed);
                let found = ExtentFile::open(&disk).expect("reads").extent();
                let next = extent(noted.unwrap_or(0) + 1);
                assert!(
                    found == noted.map(extent) || found == Some(next),
                    "stop {stop_after} seed {seed}: {noted:?} was noted, {found:?} found"
                );
            }
        }
    }

    #[test]
    fn a_flipped_bit_never_makes_it_say_more() {
        let disk = MemoryDisk::new();
        let mut file = ExtentFile::open(&disk).expect("reads");
        for batch in 1..=3 {
            file.note(&disk, extent(batch)).expect("notes");
        }
        for bit in (0..2 * SLOT * 8).filter(|bit| bit / 8 % SLOT < 80 || bit % 1021 == 0) {
            let disk = disk.crash(1);
            disk.flip(FILE, bit).expect("flips");
            let found = ExtentFile::open(&disk).expect("reads").extent();
            assert!(found == Some(extent(3)) || found == Some(extent(2)), "bit {bit}: {found:?}");
        }
    }

    #[test]
    fn another_version_is_refused_with_both_versions_and_the_remedy() {
        let disk = MemoryDisk::new();
        let words = "extent 2 7 something else";
        let text = format!("{words} {:08x}\n", crc32c::crc32c(words.as_bytes()));
        let file = disk.create(FILE).expect("creates");
        file.allocate(2 * SLOT).expect("allocates");
        file.write_all_at(text.as_bytes(), 0).expect("writes");
        let error = ExtentFile::open(&disk).err().expect("another version").to_string();
        let expected =
            "EXTENT file has version 2, this program reads version 1 only: start the program that made it";
        assert!(error.contains(expected), "{error}");
    }
}
