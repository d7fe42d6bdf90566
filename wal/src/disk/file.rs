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

    /// Names in a directory; of one that is not there, none. What cannot be listed is an error that names it: whoever opens
    /// a data directory takes what is not there for never written.
    fn names(&self, dir: &Path, directories: bool) -> io::Result<Vec<String>> {
        let listed = match std::fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.and_then(|entries| names_of(entries, directories)),
        };
        let mut names = listed.map_err(|error| {
            io::Error::new(error.kind(), format!("{} cannot be listed: {error}", dir.display()))
        })?;
        names.sort();
        Ok(names)
    }
}

fn names_of(entries: std::fs::ReadDir, directories: bool) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let mut kind = entry.file_type()?;
        if kind.is_symlink() {
            // A directory that was moved to another disk. Where it leads to nothing, that disk is away.
            let target = std::fs::metadata(entry.path());
            kind =
                target.map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))?.file_type();
        }
        if kind.is_dir() == directories {
            names.push(name);
        }
    }
    Ok(names)
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_cannot_be_listed_is_no_empty_directory() {
        let root = tempfile::tempdir().expect("a directory");
        let disk = FileDisk::open(root.path()).expect("it is free");
        assert_eq!(disk.list("wal").expect("it is not there"), Vec::<String>::new());
        // A permission that is missing would not keep root out; this keeps out everybody.
        std::fs::write(root.path().join("r-1"), "").expect("writable");
        let refused = disk.list("r-1").expect_err("it is a file").to_string();
        assert!(refused.contains("r-1 cannot be listed: "), "{refused}");
    }

    #[test]
    fn a_link_counts_as_what_it_leads_to_and_one_that_leads_to_nothing_is_an_error() {
        let (root, other) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("another"));
        let disk = FileDisk::open(root.path()).expect("it is free");
        let target = other.path().join("moved");
        std::fs::create_dir(&target).expect("writable");
        symlink(&target, root.path().join("r-1")).expect("writable");
        assert_eq!(disk.list_dirs().expect("all is there"), ["r-1"]);
        assert_eq!(disk.list("").expect("all is there"), ["LOCK"]);
        std::fs::remove_dir(&target).expect("it is empty");
        let lost = disk.list_dirs().expect_err("its disk is away").to_string();
        assert!(lost.contains("cannot be listed: r-1: "), "{lost}");
    }
}
