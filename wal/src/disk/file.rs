//! Real files below one directory.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::{ReadWriteFlags, preadv2};

use super::device::{Disk, DiskFile};
use crate::descriptors::DESCRIPTORS;

/// A directory of the file system as a [`Disk`]. Holds the directory's lock file: one process (and one
/// `FileDisk`) at a time.
#[derive(Debug)]
pub struct FileDisk {
    root: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
}

impl FileDisk {
    /// Opens (or makes) the directory and locks it. `WouldBlock` if another process has it.
    pub fn open(root: impl AsRef<Path>) -> io::Result<FileDisk> {
        let root = root.as_ref().to_owned();
        std::fs::create_dir_all(&root)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(root.join("LOCK"))?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            if error == rustix::io::Errno::WOULDBLOCK {
                io::Error::new(io::ErrorKind::WouldBlock, "another process uses this data directory")
            } else {
                error.into()
            }
        })?;
        Ok(FileDisk { root, _lock: lock })
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn names(&self, dir: &Path, directories: bool) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() == directories {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }
}

impl Disk for FileDisk {
    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        check_descriptors(path)?;
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(self.path(path))?;
        Ok(Arc::new(RealFile::new(file)))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        check_descriptors(path)?;
        Ok(Arc::new(RealFile::new(OpenOptions::new().read(true).write(true).open(self.path(path))?)))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.names(&self.path(dir), false)
    }

    fn list_dirs(&self) -> io::Result<Vec<String>> {
        self.names(&self.root, true)
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        std::fs::create_dir_all(self.path(dir))?;
        File::open(&self.root)?.sync_all()
    }

    fn remove_dir(&self, dir: &str) -> io::Result<()> {
        match std::fs::remove_dir_all(self.path(dir)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => File::open(&self.root)?.sync_all(),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        std::fs::remove_file(self.path(path))
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        File::open(self.path(dir))?.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.root)?;
        Ok(stat.f_bavail * stat.f_frsize)
    }
}

/// What is not the log's leaves the last descriptors to it.
fn check_descriptors(path: &str) -> io::Result<()> {
    if path.starts_with("wal/") { Ok(()) } else { DESCRIPTORS.check_table_file() }
}

#[derive(Debug)]
struct RealFile(File);

impl RealFile {
    fn new(file: File) -> RealFile {
        DESCRIPTORS.opened_file();
        RealFile(file)
    }
}

impl Drop for RealFile {
    fn drop(&mut self) {
        DESCRIPTORS.closed_file();
    }
}

impl DiskFile for RealFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buf, offset)
    }

    fn read_at_hand(&self, buf: &mut [u8], offset: u64) -> io::Result<bool> {
        let length = buf.len();
        // Whatever is in the way shows when it is read in earnest.
        let read = preadv2(&self.0, &mut [IoSliceMut::new(buf)], offset, ReadWriteFlags::NOWAIT);
        Ok(read == Ok(length))
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(buf, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        rustix::fs::fallocate(&self.0, rustix::fs::FallocateFlags::empty(), 0, len)?;
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
}
