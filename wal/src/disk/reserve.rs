//! A disk that stops before it is full, so that somebody else still finds space.

use std::io;
use std::sync::Arc;

use super::device::{Disk, DiskFile};

/// A disk of which some files do not grow while less than a reserve is free: for tables, which can wait, beside a log, which
/// must go on. What is there can be read and removed as ever, and small files that say what counts draw on the reserve: what
/// frees space begins with one of them [space-can-be-freed].
#[derive(Clone)]
pub struct ReserveDisk(Arc<Inner>);

struct Inner {
    disk: Arc<dyn Disk>,
    reserve_bytes: u64,
    /// Ending of the names of files that leave the reserve alone.
    bulk: &'static str,
}

impl ReserveDisk {
    /// Files whose names end with `bulk` leave so many bytes of `disk` free.
    pub fn new(disk: Arc<dyn Disk>, reserve_bytes: u64, bulk: &'static str) -> ReserveDisk {
        ReserveDisk(Arc::new(Inner { disk, reserve_bytes, bulk }))
    }

    fn file(&self, path: &str, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        match path.ends_with(self.0.bulk) {
            true => Arc::new(ReserveFile { file, inner: self.0.clone() }),
            false => file,
        }
    }
}

impl Inner {
    /// An error if the reserve would be touched by so many bytes more.
    fn check(&self, bytes: u64) -> io::Result<()> {
        match self.disk.free_bytes()? < self.reserve_bytes.saturating_add(bytes) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

impl Disk for ReserveDisk {
    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        if path.ends_with(self.0.bulk) {
            self.0.check(0)?;
        }
        self.0.disk.create(path).map(|file| self.file(path, file))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.0.disk.open(path).map(|file| self.file(path, file))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.0.disk.list(dir)
    }

    fn list_dirs(&self) -> io::Result<Vec<String>> {
        self.0.disk.list_dirs()
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        self.0.disk.create_dir(dir)
    }

    fn remove_dir(&self, dir: &str) -> io::Result<()> {
        self.0.disk.remove_dir(dir)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.disk.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.0.disk.remove(path)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.0.disk.sync_dir(dir)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.0.disk.free_bytes()?.saturating_sub(self.0.reserve_bytes))
    }
}

struct ReserveFile {
    file: Arc<dyn DiskFile>,
    inner: Arc<Inner>,
}

impl DiskFile for ReserveFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn read_at_hand(&self, buf: &mut [u8], offset: u64) -> io::Result<bool> {
        self.file.read_at_hand(buf, offset)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.inner.check(buf.len() as u64)?;
        self.file.write_all_at(buf, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.inner.check(len.saturating_sub(self.file.len()?))?;
        self.file.allocate(len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryDisk;

    #[test]
    fn tables_stop_growing_where_the_logs_reserve_begins_and_what_names_them_does_not() {
        let memory = MemoryDisk::new();
        memory.set_capacity(Some(10_000));
        let disk = ReserveDisk::new(Arc::new(memory.clone()), 4_000, ".sst");
        assert_eq!(disk.free_bytes().expect("known"), 6_000);
        let table = disk.create("r/1.sst").expect("room");
        table.write_all_at(&[7; 5_000], 0).expect("room");
        let full =
            |result: io::Result<()>| result.expect_err("reserved").kind() == io::ErrorKind::StorageFull;
        assert!(full(table.write_all_at(&[7; 2_000], 5_000)));
        assert!(full(table.allocate(8_000)));
        memory.create("wal/1").expect("room").write_all_at(&[1; 4_500], 0).expect("the log goes on");
        assert!(full(disk.create("r/2.sst").map(drop)));
        let mut read = [0; 5_000];
        table.read_exact_at(&mut read, 0).expect("reads go on");
        let names = disk.create("r/manifest.new").expect("of the reserve");
        names.write_all_at(&[1; 100], 0).expect("of the reserve");
        disk.open("r/manifest.new").expect("there").write_all_at(&[1; 50], 100).expect("of the reserve");
        disk.remove("r/1.sst").expect("removing goes on");
        disk.create("r/2.sst").expect("room again").write_all_at(&[7; 1_000], 0).expect("room again");
    }
}
