//! The threads on which replication runs, apart from all others of the process.
//!
//! Ticks, the streams between nodes, what a force allows, and the coordinator's session go on here whatever the threads
//! are doing that serve statements: those may compute, or wait for a disk. All nodes of a process share these threads.

use std::io;
use std::sync::Mutex;

use tokio::runtime::{Builder, Handle, Runtime};
use wal::sync;

/// Threads that run tasks: enough for one that is held up by a disk (a log that is read for a follower has its own).
const WORKERS: usize = 2;
/// Threads for what waits for a disk: reading the log, snapshots.
const BLOCKING_MAX: usize = 64;

/// Where to run what must not wait for statements. The threads are started by the first call, and last as long as the
/// process; an error if the system gives none.
pub fn threads() -> io::Result<Handle> {
    static STARTED: Mutex<Option<Runtime>> = Mutex::new(None);
    let mut started = sync::lock(&STARTED);
    if let Some(runtime) = &*started {
        return Ok(runtime.handle().clone());
    }
    check_threads()?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING_MAX)
        .thread_name("replication")
        .enable_all()
        .build()?;
    Ok(started.insert(runtime).handle().clone())
}

/// Whether the system gives another thread: where it gives none, building a runtime panics.
pub fn check_threads() -> io::Result<()> {
    let probe = std::thread::Builder::new().name("probe".into()).spawn(|| {})?;
    probe.join().map_err(|_| io::Error::other("a thread that does nothing has panicked"))
}
