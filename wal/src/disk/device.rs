//! What a storage device must offer, with or without a machine behind it.

use std::io;
use std::sync::Arc;

/// A storage device with named files. Every call may block on the device.
pub trait Disk: Send + Sync + 'static {
    /// Creates an empty file for writing; an existing one is an error (`AlreadyExists`).
    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Names of the files in a directory, sorted; an absent directory is empty.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;
    /// Names of the directories at the root, sorted.
    fn list_dirs(&self) -> io::Result<Vec<String>>;
    /// Makes a directory (no error if it stands), durably.
    fn create_dir(&self, dir: &str) -> io::Result<()>;
    /// Removes a directory and its files; an absent one is no error.
    fn remove_dir(&self, dir: &str) -> io::Result<()>;
    /// Renames a file atomically, replacing the target; durable after `sync_dir`.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file; durable after `sync_dir`.
    fn remove(&self, path: &str) -> io::Result<()>;
    /// Forces a directory's names.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;
    /// Free bytes, as `statvfs` tells.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// An open file; positional, so that readers share it.
pub trait DiskFile: Send + Sync {
    /// Reads exactly `buf.len()` bytes at `offset`; `UnexpectedEof` if the file ends before.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
    /// The same without waiting for the device: `false` if the bytes are not in memory (or the system cannot tell), and
    /// then `buf` is of no use.
    fn read_at_hand(&self, _buf: &mut [u8], _offset: u64) -> io::Result<bool> {
        Ok(false)
    }
    /// Writes all bytes at `offset`, extending the file if needed.
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;
    /// Forces the file's data (and its length): `fdatasync`.
    fn sync(&self) -> io::Result<()>;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Allocates space up to `len` bytes, zero-filled, so that later writes change no metadata.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Cuts or extends the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
}

/// Whether an operation failed for want of space: it may succeed once some is freed.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
