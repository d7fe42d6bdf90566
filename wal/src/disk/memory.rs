//! A simulated disk: what was not synced may be lost, torn or reordered when it crashes.
//!
//! It keeps, for each file, the bytes that programs see and the bytes that the medium holds. A failed sync behaves as
//! Linux does at its worst: the pages count as clean afterwards, so programs go on seeing bytes that a later sync does
//! not write and that the next power loss takes away, unless they are written again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use super::device::{Disk, DiskFile};
use crate::sync;

/// Bytes that reach the disk whole or not at all.
const SECTOR: usize = 512;

/// A disk in memory. Clones share it; [`MemoryDisk::crash`] makes the disk that a power loss leaves.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    files: Vec<Content>,
    /// Names as programs see them.
    names: BTreeMap<String, usize>,
    /// Names as a crash leaves them.
    durable: BTreeMap<String, usize>,
    dirs: BTreeMap<String, ()>,
    capacity: Option<u64>,
    faults: Faults,
    operations: u64,
}

#[derive(Clone, Debug, Default)]
struct Content {
    now: Vec<u8>,
    synced: Vec<u8>,
    /// Sectors that a failed sync has left clean in the cache and old on the medium.
    lost: BTreeSet<usize>,
}

impl Content {
    fn sync(&mut self) {
        if self.lost.is_empty() {
            return self.synced.clone_from(&self.now);
        }
        let mut synced = self.now.clone();
        for &sector in &self.lost {
            let range = (sector * SECTOR).min(synced.len())..((sector + 1) * SECTOR).min(synced.len());
            let old = self.synced.get(range.start..range.end.min(self.synced.len())).unwrap_or(&[]);
            synced[range.clone()].fill(0);
            synced[range.start..range.start + old.len()].copy_from_slice(old);
        }
        self.synced = synced;
    }

    /// The sync failed: what was to be written counts as clean.
    fn lose(&mut self) {
        for sector in 0..self.now.len().div_ceil(SECTOR) {
            let range = sector * SECTOR..((sector + 1) * SECTOR).min(self.now.len());
            if self.synced.get(range.clone()) != Some(&self.now[range]) {
                self.lost.insert(sector);
            }
        }
    }
}

/// Faults to inject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Writes fail with EIO.
    pub write_eio: bool,
    /// The next sync of a file fails with EIO, once; what was written since the last one is then lost.
    pub sync_eio: bool,
    /// There is no file descriptor left: what opens a file or a directory fails with EMFILE.
    pub no_descriptors: bool,
    /// All operations that change anything fail from this operation number on (a crash point).
    pub stop_after: Option<u64>,
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> MemoryDisk {
        MemoryDisk::default()
    }

    /// Limits the sum of all files' lengths; `None`: no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// Sets the faults.
    pub fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// Whether an operation has failed because it stands behind the crash point.
    pub fn stopped(&self) -> bool {
        let state = self.lock();
        state.faults.stop_after.is_some_and(|last| state.operations > last)
    }

    /// The disk as the next process finds it after this one was killed: nothing is lost, nothing more is synced.
    /// Handles of the killed process must not be used any more.
    pub fn kill(&self) -> MemoryDisk {
        self.set_faults(Faults::default());
        self.clone()
    }

    /// Files with their lengths, sorted by name.
    pub fn files(&self) -> Vec<(String, u64)> {
        let state = self.lock();
        state.names.iter().map(|(name, &file)| (name.clone(), state.files[file].now.len() as u64)).collect()
    }

    /// Changing operations so far.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// The disk after a power loss: of what was not synced, each sector survives or not as `seed` says; of names
    /// not synced, each likewise.
    pub fn crash(&self, seed: u64) -> MemoryDisk {
        let state = self.lock();
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut coin = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random >> 63 == 1
        };
        let mut after = State { dirs: state.dirs.clone(), capacity: state.capacity, ..State::default() };
        for content in &state.files {
            let length = if content.now.len() != content.synced.len() && coin() {
                content.now.len()
            } else {
                content.synced.len()
            };
            let mut kept = content.synced.clone();
            kept.resize(length, 0);
            for start in (0..length).step_by(SECTOR) {
                let end = (start + SECTOR).min(length);
                let fresh = content.now.get(start..end.min(content.now.len())).unwrap_or(&[]);
                let lost = content.lost.contains(&(start / SECTOR));
                if kept.get(start..start + fresh.len()) != Some(fresh) && !lost && coin() {
                    kept[start..start + fresh.len()].copy_from_slice(fresh);
                }
            }
            after.files.push(Content { now: kept.clone(), synced: kept, lost: BTreeSet::new() });
        }
        for name in state.names.keys().chain(state.durable.keys()) {
            let (now, durable) = (state.names.get(name), state.durable.get(name));
            let kept = if now == durable || !coin() { durable } else { now };
            if let Some(&file) = kept {
                after.names.insert(name.clone(), file);
            }
        }
        after.durable = after.names.clone();
        MemoryDisk(Arc::new(Mutex::new(after)))
    }

    /// Flips one bit of a file, in place and on the medium.
    pub fn flip(&self, path: &str, bit: u64) -> io::Result<()> {
        let mut state = self.lock();
        let file = state.file(path)?;
        let content = &mut state.files[file];
        for bytes in [&mut content.now, &mut content.synced] {
            if let Some(byte) = bytes.get_mut((bit / 8) as usize) {
                *byte ^= 1 << (bit % 8);
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        sync::lock(&self.0)
    }
}

impl State {
    fn file(&self, path: &str) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, path.to_owned()))
    }

    /// Counts a changing operation; fails behind the crash point.
    fn change(&mut self) -> io::Result<()> {
        self.operations += 1;
        match self.faults.stop_after {
            Some(last) if self.operations > last => Err(io::Error::other("simulated stop")),
            _ => Ok(()),
        }
    }

    /// What opens a file or a directory needs a descriptor.
    fn descriptor(&self) -> io::Result<()> {
        match self.faults.no_descriptors {
            true => Err(rustix::io::Errno::MFILE.into()),
            false => Ok(()),
        }
    }

    fn used(&self) -> u64 {
        self.names.values().map(|&file| self.files[file].now.len() as u64).sum()
    }

    fn grow(&mut self, file: usize, length: usize) -> io::Result<()> {
        let more = length.saturating_sub(self.files[file].now.len()) as u64;
        if more == 0 {
            // What is there already can be overwritten on a full disk, too.
            return Ok(());
        }
        if self.capacity.is_some_and(|capacity| self.used() + more > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.files[file].now.resize(length, 0);
        Ok(())
    }
}

impl Disk for MemoryDisk {
    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.lock();
        state.change()?;
        state.descriptor()?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = state.files.len();
        state.files.push(Content::default());
        state.names.insert(path.to_owned(), file);
        Ok(Arc::new(MemoryFile { disk: self.clone(), file }))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.lock();
        state.descriptor()?;
        let file = state.file(path)?;
        Ok(Arc::new(MemoryFile { disk: self.clone(), file }))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        let state = self.lock();
        state.descriptor()?;
        let names = state.names.keys().filter_map(|name| name.strip_prefix(&prefix));
        Ok(names.filter(|name| !name.contains('/')).map(str::to_owned).collect())
    }

    fn list_dirs(&self) -> io::Result<Vec<String>> {
        let state = self.lock();
        state.descriptor()?;
        Ok(state.dirs.keys().cloned().collect())
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.change()?;
        state.descriptor()?;
        state.dirs.insert(dir.to_owned(), ());
        Ok(())
    }

    fn remove_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.change()?;
        state.dirs.remove(dir);
        let prefix = format!("{dir}/");
        state.names.retain(|name, _| !name.starts_with(&prefix));
        state.durable.retain(|name, _| !name.starts_with(&prefix));
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.change()?;
        let file = state.file(from)?;
        state.names.remove(from);
        state.names.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.change()?;
        state.file(path)?;
        state.names.remove(path);
        Ok(())
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.change()?;
        state.descriptor()?;
        let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        let inside = |name: &str| name.strip_prefix(&prefix).is_some_and(|rest| !rest.contains('/'));
        state.durable.retain(|name, _| !inside(name));
        let names: Vec<_> = state
            .names
            .iter()
            .filter(|(name, _)| inside(name))
            .map(|(name, &file)| (name.clone(), file))
            .collect();
        state.durable.extend(names);
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let state = self.lock();
        Ok(state.capacity.map_or(u64::MAX / 2, |capacity| capacity.saturating_sub(state.used())))
    }
}

#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    file: usize,
}

impl DiskFile for MemoryFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.disk.lock();
        let start = offset as usize;
        let bytes = state.files[self.file].now.get(start..start + buf.len());
        buf.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn read_at_hand(&self, buf: &mut [u8], offset: u64) -> io::Result<bool> {
        self.read_exact_at(buf, offset).map(|()| true)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.change()?;
        if state.faults.write_eio {
            return Err(io::Error::other("simulated EIO on write"));
        }
        let start = offset as usize;
        state.grow(self.file, start + buf.len())?;
        let content = &mut state.files[self.file];
        content.now[start..start + buf.len()].copy_from_slice(buf);
        if !content.lost.is_empty() {
            let written = start / SECTOR..(start + buf.len()).div_ceil(SECTOR);
            content.lost.retain(|sector| !written.contains(sector));
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.change()?;
        if std::mem::take(&mut state.faults.sync_eio) {
            state.files[self.file].lose();
            return Err(io::Error::other("simulated EIO on fsync"));
        }
        state.files[self.file].sync();
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.lock().files[self.file].now.len() as u64)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.change()?;
        state.grow(self.file, len as usize)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.change()?;
        state.grow(self.file, len as usize)?;
        state.files[self.file].now.truncate(len as usize);
        Ok(())
    }
}
