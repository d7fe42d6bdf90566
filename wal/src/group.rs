//! Group commit: a dedicated thread that forces what has collected while the last force ran.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::error::LogError;
use crate::lsn::CohortId;
use crate::reader::LogReader;
use crate::record::{Append, Checkpoint, Record};
use crate::sync;
use crate::writer::LogWriter;

/// Called on the log thread when an append is forced, or has failed.
pub type Done = Box<dyn FnOnce(Result<(), LogError>) + Send>;

/// How long an append that nobody waits for may stay in memory.
const LINGER: Duration = Duration::from_millis(50);

enum Job {
    Append { append: Append, done: Option<Done> },
    Forget(CohortId),
    Reclaim(Box<dyn FnOnce(Result<Vec<CohortId>, LogError>) + Send>),
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    urgent: bool,
    closing: bool,
}

struct Inner {
    queue: Mutex<Queue>,
    wake: Condvar,
    killed: AtomicBool,
    forces: AtomicU64,
    appends: AtomicU64,
    reader: LogReader,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Figures of the log since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Forces of the disk.
    pub forces: u64,
    /// Appends taken.
    pub appends: u64,
}

/// The shared log of a node; cheap to clone.
///
/// ```
/// use std::sync::{Arc, mpsc};
///
/// use bytes::Bytes;
/// use wal::disk::FileDisk;
/// use wal::{Append, ChainHash, CohortId, Entry, EntryKind, Epoch, Log, LogOptions, LogWriter, Lsn, Record};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let directory = tempfile::tempdir()?;
/// let options = LogOptions { segment_bytes: 1 << 20, ..LogOptions::default() };
/// let (writer, found) = LogWriter::open(Arc::new(FileDisk::open(directory.path())?), options)?;
/// assert!(found.cohorts.is_empty(), "a new log");
/// let log = Log::spawn(writer)?;
///
/// let cohort = CohortId(7);
/// let payload = Bytes::from_static(b"moose");
/// let entry = Entry::next(Lsn::ZERO, ChainHash::ZERO, Epoch(1), EntryKind::Write, payload);
/// let (done, forced) = mpsc::channel();
/// let append = Append { cohort, records: vec![Record::Entry(entry)] };
/// log.append(append, true, Some(Box::new(move |result| drop(done.send(result)))));
/// forced.recv()??; // From here on no crash can take it away.
///
/// let entries = log.reader().read(cohort, Lsn::ZERO, 1 << 20)?;
/// assert_eq!((entries[0].lsn, &entries[0].payload[..]), (Lsn::new(1, 1), &b"moose"[..]));
/// log.close();
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Log(Arc<Inner>);

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Log").field(&self.stats()).finish()
    }
}

impl Log {
    /// Starts the log's thread over an opened writer. Fails if the system gives no thread: the log cannot be used then.
    pub fn spawn(writer: LogWriter) -> io::Result<Log> {
        let inner = Arc::new(Inner {
            queue: Mutex::default(),
            wake: Condvar::new(),
            killed: AtomicBool::new(false),
            forces: AtomicU64::new(0),
            appends: AtomicU64::new(0),
            reader: writer.reader(),
            thread: Mutex::new(None),
        });
        let shared = inner.clone();
        let thread = thread::Builder::new().name("wal".into()).spawn(move || run(&shared, writer))?;
        *sync::lock(&inner.thread) = Some(thread);
        Ok(Log(inner))
    }

    /// Enqueues an append; the order of calls is the order in the log. `done` runs on the log's thread after the
    /// force of the batch that holds it, or with the error. Without `force` it rides with the next force, at most
    /// 50 ms later.
    pub fn append(&self, append: Append, force: bool, done: Option<Done>) {
        self.push(Job::Append { append, done }, force);
    }

    /// See [`LogWriter::set_checkpoint`]; rides with the next force.
    pub fn set_checkpoint(&self, cohort: CohortId, checkpoint: Checkpoint) {
        self.append(Append { cohort, records: vec![Record::Checkpoint(checkpoint)] }, false, None);
    }

    /// See [`LogWriter::forget`].
    pub fn forget(&self, cohort: CohortId) {
        self.push(Job::Forget(cohort), false);
    }

    /// See [`LogWriter::reclaim`]; the answer comes on the log's thread.
    pub fn reclaim(&self, done: impl FnOnce(Result<Vec<CohortId>, LogError>) + Send + 'static) {
        self.push(Job::Reclaim(Box::new(done)), true);
    }

    /// A reader of what is forced.
    pub fn reader(&self) -> LogReader {
        self.0.reader.clone()
    }

    /// Figures.
    pub fn stats(&self) -> LogStats {
        LogStats {
            forces: self.0.forces.load(Ordering::Relaxed),
            appends: self.0.appends.load(Ordering::Relaxed),
        }
    }

    /// Forces what is queued and ends the thread.
    pub fn close(self) {
        self.lock().closing = true;
        self.0.wake.notify_one();
        self.join();
    }

    /// Ends at once, as a crash would: what is queued is dropped (its `done` gets `Closed`), nothing more is written
    /// once this returns.
    pub fn kill(&self) {
        self.0.killed.store(true, Ordering::SeqCst);
        self.lock().closing = true;
        self.0.wake.notify_one();
        self.join();
    }

    fn join(&self) {
        let thread = sync::lock(&self.0.thread).take();
        if let Some(thread) = thread
            && thread.thread().id() != thread::current().id()
        {
            let _ = thread.join();
        }
    }

    fn push(&self, job: Job, urgent: bool) {
        let mut queue = self.lock();
        if queue.closing {
            drop(queue);
            refuse(job);
            return;
        }
        queue.jobs.push_back(job);
        let wake = urgent && !queue.urgent;
        queue.urgent |= urgent;
        drop(queue);
        if wake {
            self.0.wake.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        sync::lock(&self.0.queue)
    }
}

fn refuse(job: Job) {
    match job {
        Job::Append { done: Some(done), .. } => done(Err(LogError::Closed)),
        Job::Append { done: None, .. } | Job::Forget(_) => {}
        Job::Reclaim(done) => done(Err(LogError::Closed)),
    }
}

fn run(inner: &Inner, mut writer: LogWriter) {
    let mut waiting: Vec<Done> = Vec::new();
    let mut reclaims = Vec::new();
    loop {
        let (jobs, closing) = {
            let mut queue = sync::lock(&inner.queue);
            while !queue.urgent && !queue.closing {
                let timed_out;
                (queue, timed_out) = sync::wait_timeout(&inner.wake, queue, LINGER);
                if timed_out {
                    break;
                }
            }
            queue.urgent = false;
            (std::mem::take(&mut queue.jobs), queue.closing)
        };
        if inner.killed.load(Ordering::SeqCst) {
            jobs.into_iter().for_each(refuse);
            return;
        }
        if jobs.is_empty() && writer.wants_mark() && !closing {
            let _ = writer.mark();
        }
        for job in jobs {
            match job {
                Job::Append { append, done } => {
                    inner.appends.fetch_add(1, Ordering::Relaxed);
                    match (writer.append(append), done) {
                        (Ok(()), Some(done)) => waiting.push(done),
                        (Err(error), Some(done)) => done(Err(error)),
                        (_, None) => {}
                    }
                }
                Job::Forget(cohort) => writer.forget(cohort),
                Job::Reclaim(done) => reclaims.push(done),
            }
        }
        inner.forces.fetch_add(1, Ordering::Relaxed);
        let forced = writer.force();
        for done in waiting.drain(..) {
            done(forced.clone());
        }
        for done in reclaims.drain(..) {
            done(writer.reclaim());
        }
        if closing {
            return;
        }
    }
}
