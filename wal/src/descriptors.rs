//! File descriptors of this process: how many there may be, and who may take the last ones.
//!
//! The log must always get one: without it the node cannot go on. So what clients open (connections) stops first, then
//! what tables open, and the rest is the log's. Files are counted by [`crate::disk::FileDisk`], connections by the
//! [`Connection`] that their accept loop takes; the few others (listeners, the streams to peers, ZooKeeper, timers) have
//! their place in the reserves.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Kept for what is not counted, and for the log.
const LOG_RESERVE: u64 = 32;
/// Kept from connections besides: for tables, and for connections that are about to be refused.
const TABLE_RESERVE: u64 = 96;
/// A limit below this is no use: a node would have no room for connections.
const LIMIT_MIN: u64 = LOG_RESERVE + TABLE_RESERVE + 32;

/// The descriptors of this process.
pub static DESCRIPTORS: Descriptors = Descriptors::new();

/// A counted budget of descriptors.
#[derive(Debug)]
pub struct Descriptors {
    /// 0: not known.
    limit: AtomicU64,
    files: AtomicU64,
    connections: AtomicU64,
}

/// A descriptor that a connection of a client holds; it is given back when this is dropped.
#[derive(Debug)]
pub struct Connection<'a>(&'a Descriptors);

impl Descriptors {
    const fn new() -> Descriptors {
        Descriptors { limit: AtomicU64::new(0), files: AtomicU64::new(0), connections: AtomicU64::new(0) }
    }

    /// Raises this process's soft limit (RLIMIT_NOFILE) to its hard one, and keeps to it from now on. Returns the limit;
    /// an error, which says what to do, if it is too small for a node.
    pub fn raise_limit(&self) -> io::Result<u64> {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        if current != maximum {
            // Not allowed, or more than the kernel has: then the soft limit stays.
            let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
        }
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        if limit < LIMIT_MIN {
            return Err(io::Error::other(format!(
                "the limit of open files (RLIMIT_NOFILE) is {limit}, and a node needs at least {LIMIT_MIN}: raise it \
                 (ulimit -n, or LimitNOFILE= of a systemd unit)"
            )));
        }
        self.limit.store(limit, Ordering::Relaxed);
        Ok(limit)
    }

    /// The limit; unlimited until [`Descriptors::raise_limit`] was called.
    pub fn limit(&self) -> u64 {
        match self.limit.load(Ordering::Relaxed) {
            0 => u64::MAX,
            limit => limit,
        }
    }

    /// Files that are open now.
    pub fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    /// Connections that are open now.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// All descriptors that the process has open now, counted or not; the kernel says so.
    pub fn open(&self) -> u64 {
        // One of them is for looking.
        let open = std::fs::read_dir("/proc/self/fd").map(|entries| entries.count() as u64 - 1);
        // Where it does not say: what is counted.
        open.unwrap_or_else(|_| self.files() + self.connections())
    }

    /// Connections that there may be beside the files that are open now.
    pub fn connections_max(&self) -> u64 {
        self.limit().saturating_sub(LOG_RESERVE + TABLE_RESERVE + self.files())
    }

    /// A place for one more connection of a client; `None`: it is to be refused.
    pub fn connection(&self) -> Option<Connection<'_>> {
        let max = self.connections_max();
        let more = |count: u64| (count < max).then_some(count + 1);
        self.connections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Connection(self))
    }

    /// Refuses to open one more file of a table if only the log's reserve is left.
    pub(crate) fn check_table_file(&self) -> io::Result<()> {
        match self.files() + self.connections() + LOG_RESERVE >= self.limit() {
            true => Err(rustix::io::Errno::MFILE.into()),
            false => Ok(()),
        }
    }

    pub(crate) fn opened_file(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn closed_file(&self) {
        self.files.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_stop_first_then_tables_and_the_rest_is_the_logs() {
        let descriptors = Descriptors::new();
        assert!(descriptors.connection().is_some(), "no limit is known");
        descriptors.limit.store(200, Ordering::Relaxed);
        for _ in 0..10 {
            descriptors.opened_file();
        }
        let held: Vec<_> = std::iter::from_fn(|| descriptors.connection()).collect();
        assert_eq!(held.len() as u64, 200 - LOG_RESERVE - TABLE_RESERVE - 10);
        let mut tables = 0;
        while descriptors.check_table_file().is_ok() {
            descriptors.opened_file();
            tables += 1;
        }
        assert_eq!(tables, TABLE_RESERVE);
        drop(held);
        assert!(descriptors.check_table_file().is_ok());
        assert!(descriptors.connection().is_none(), "the tables have taken their place");
        for _ in 0..tables {
            descriptors.closed_file();
        }
        assert!(descriptors.connection().is_some());
        assert_eq!(descriptors.connections(), 0);
    }

    #[test]
    fn the_limit_is_raised_as_far_as_it_may_be() {
        let limit = DESCRIPTORS.raise_limit().expect("enough for a node");
        assert_eq!(Some(limit), getrlimit(Resource::Nofile).current);
        assert_eq!(DESCRIPTORS.limit(), limit);
    }
}
