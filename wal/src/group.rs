//! Group commit: a dedicated thread that forces what has collected while the last force ran.
//!
//! A batch is bounded: what does not fit any more goes into the next one. What waits for its force is counted in bytes
//! ([`Log::waiting_bytes`]), so that whoever proposes can stop when the disk hangs.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::ahead::Ahead;
use crate::error::LogError;
use crate::histogram::{Durations, Histogram};
use crate::lsn::CohortId;
use crate::reader::LogReader;
use crate::record::{Append, Checkpoint, Record};
use crate::sync;
use crate::writer::LogWriter;

/// Called on the log thread when an append is forced, or has failed.
pub type Done = Box<dyn FnOnce(Result<(), LogError>) + Send>;

/// Gets how a reclaim has ended.
type ReclaimDone = Box<dyn FnOnce(Result<Vec<CohortId>, LogError>) + Send>;

/// How long an append that nobody waits for may stay in memory.
const LINGER: Duration = Duration::from_millis(50);

/// A batch takes no further append when it holds so many bytes: one force stays short, and its length fits the format.
const BATCH_BYTES_MAX: u64 = 8 << 20;
/// Pauses before a segment that could not be begun is tried again: the first one, doubling up to the longest.
const SEGMENT_PAUSE_MIN: Duration = Duration::from_millis(10);
const SEGMENT_PAUSE_MAX: Duration = Duration::from_millis(500);
/// How often a segment that could not be made ahead is ordered again.
const ORDER_PERIOD: Duration = Duration::from_secs(1);
/// A log that is closed tries so often to begin a segment.
const CLOSING_TRIES: u32 = 20;

enum Job {
    Append { append: Append, done: Option<Done> },
    Forget(CohortId),
    Reclaim(ReclaimDone),
}

impl Job {
    /// What it adds to a batch, about.
    fn bytes(&self) -> u64 {
        match self {
            Job::Append { append, .. } => append.bytes(),
            Job::Forget(_) | Job::Reclaim(_) => 0,
        }
    }
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    urgent: bool,
    closing: bool,
    /// The log can be used no more: why.
    failed: Option<Arc<io::Error>>,
}

/// Called when the log can be used no more.
type OnFailure = Box<dyn FnOnce(String) + Send>;

struct Inner {
    queue: Mutex<Queue>,
    wake: Condvar,
    killed: AtomicBool,
    forces: AtomicU64,
    appends: AtomicU64,
    segment_failures: AtomicU64,
    waiting_bytes: AtomicU64,
    force_times: Histogram,
    reader: LogReader,
    on_failure: Mutex<Option<OnFailure>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Figures of the log since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Forces of the disk.
    pub forces: u64,
    /// Appends taken.
    pub appends: u64,
    /// Times that a segment could not be begun and had to be tried again.
    pub segment_failures: u64,
    /// Bytes of appends that wait for their force now.
    pub waiting_bytes: u64,
    /// How long forces took.
    pub force_times: Durations,
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
    /// Starts the log's threads over an opened writer. Fails if the system gives none: the log cannot be used then.
    pub fn spawn(mut writer: LogWriter) -> io::Result<Log> {
        writer.set_source(Box::new(Ahead::spawn()?));
        let inner = Arc::new(Inner {
            queue: Mutex::default(),
            wake: Condvar::new(),
            killed: AtomicBool::new(false),
            forces: AtomicU64::new(0),
            appends: AtomicU64::new(0),
            segment_failures: AtomicU64::new(0),
            waiting_bytes: AtomicU64::new(0),
            force_times: Histogram::default(),
            reader: writer.reader(),
            on_failure: Mutex::default(),
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
            segment_failures: self.0.segment_failures.load(Ordering::Relaxed),
            waiting_bytes: self.waiting_bytes(),
            force_times: self.0.force_times.durations(),
        }
    }

    /// Bytes of appends that wait for their force. It grows without bound while the disk hangs, unless whoever appends
    /// looks at it.
    pub fn waiting_bytes(&self) -> u64 {
        self.0.waiting_bytes.load(Ordering::Relaxed)
    }

    /// Calls `failed`, with the reason, if the log's thread ends by a panic: nothing is forced any more then, and all
    /// that waits is refused. A failed force is told to those who wait for it, and not here.
    pub fn on_failure(&self, failed: impl FnOnce(String) + Send + 'static) {
        *sync::lock(&self.0.on_failure) = Some(Box::new(failed));
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
            let error = queue.failed.clone().map_or(LogError::Closed, LogError::Poisoned);
            drop(queue);
            refuse(job, &error);
            return;
        }
        self.0.waiting_bytes.fetch_add(job.bytes(), Ordering::Relaxed);
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

fn refuse(job: Job, error: &LogError) {
    match job {
        Job::Append { done: Some(done), .. } => done(Err(error.clone())),
        Job::Append { done: None, .. } | Job::Forget(_) => {}
        Job::Reclaim(done) => done(Err(error.clone())),
    }
}

/// The log's thread. A panic of it is the end of the log, and is told.
fn run(inner: &Inner, writer: LogWriter) {
    let (open, reclaims, ordered) = (Vec::new(), Vec::new(), Instant::now());
    let mut worker = Worker { inner, writer, open, open_bytes: 0, reclaims, ordered };
    if catch_unwind(AssertUnwindSafe(|| worker.run())).is_ok() {
        return;
    }
    let reason = "the log's thread has panicked";
    let error = Arc::new(io::Error::other(reason));
    let jobs = {
        let mut queue = sync::lock(&inner.queue);
        (queue.closing, queue.failed) = (true, Some(error.clone()));
        std::mem::take(&mut queue.jobs)
    };
    if let Some(failed) = sync::lock(&inner.on_failure).take() {
        failed(reason.to_owned());
    }
    let error = LogError::Poisoned(error);
    for done in worker.open.drain(..) {
        done(Err(error.clone()));
    }
    jobs.into_iter().for_each(|job| refuse(job, &error));
}

/// What the log's thread works with.
struct Worker<'a> {
    inner: &'a Inner,
    writer: LogWriter,
    /// Who waits for the force of the open batch, and its bytes.
    open: Vec<Done>,
    open_bytes: u64,
    /// Reclaims under way: the newest segment when each began, and who waits for it.
    reclaims: Vec<(u64, ReclaimDone)>,
    /// When a segment was last ordered to be made ahead.
    ordered: Instant,
}

impl Worker<'_> {
    fn run(&mut self) {
        loop {
            let (jobs, closing) = self.next_jobs();
            if self.is_killed() {
                return self.end(jobs);
            }
            if jobs.is_empty() && !closing && self.writer.wants_mark() {
                let _ = self.writer.mark();
            }
            self.append(jobs);
            let Some(forced) = self.force() else { return self.end(VecDeque::new()) };
            self.inner.waiting_bytes.fetch_sub(std::mem::take(&mut self.open_bytes), Ordering::Relaxed);
            for done in self.open.drain(..) {
                done(forced.clone());
            }
            self.reclaim();
            if self.ordered.elapsed() >= ORDER_PERIOD {
                self.ordered = Instant::now();
                self.writer.order_segment();
            }
            if closing && sync::lock(&self.inner.queue).jobs.is_empty() {
                // What was forced is on the disk in any case.
                let _ = self.writer.note();
                return self.end(VecDeque::new());
            }
        }
    }

    fn is_killed(&self) -> bool {
        self.inner.killed.load(Ordering::SeqCst)
    }

    /// Waits for jobs, and takes as many as one batch may hold.
    fn next_jobs(&self) -> (VecDeque<Job>, bool) {
        let mut queue = sync::lock(&self.inner.queue);
        while !queue.urgent && !queue.closing {
            let timed_out;
            (queue, timed_out) = sync::wait_timeout(&self.inner.wake, queue, LINGER);
            if timed_out {
                break;
            }
        }
        let (mut bytes, mut count) = (0, 0);
        for job in &queue.jobs {
            bytes += job.bytes();
            if count > 0 && bytes > BATCH_BYTES_MAX {
                break;
            }
            count += 1;
        }
        let rest = queue.jobs.split_off(count);
        // Somebody may wait for what is left.
        queue.urgent = !rest.is_empty();
        (std::mem::replace(&mut queue.jobs, rest), queue.closing)
    }

    fn append(&mut self, jobs: VecDeque<Job>) {
        for job in jobs {
            self.open_bytes += job.bytes();
            match job {
                Job::Append { append, done } => {
                    self.inner.appends.fetch_add(1, Ordering::Relaxed);
                    match (self.writer.append(append), done) {
                        (Ok(()), Some(done)) => self.open.push(done),
                        (Err(error), Some(done)) => done(Err(error)),
                        (_, None) => {}
                    }
                }
                Job::Forget(cohort) => self.writer.forget(cohort),
                Job::Reclaim(done) => self.reclaims.push((self.writer.newest_segment(), done)),
            }
        }
    }

    /// Forces the open batch. If a segment is needed for it and cannot be begun, that is tried until it can; `None`: the log
    /// was killed, or closed, meanwhile.
    fn force(&mut self) -> Option<Result<(), LogError>> {
        self.inner.forces.fetch_add(1, Ordering::Relaxed);
        let (mut pause, mut tries) = (SEGMENT_PAUSE_MIN, 0);
        let begun = Instant::now();
        loop {
            let error = match self.writer.force() {
                Err(LogError::Segment(error)) => error,
                forced => {
                    self.inner.force_times.took(begun.elapsed());
                    if tries > 0 {
                        tracing::info!(tries, "the log goes on: its next segment could be begun");
                    }
                    return Some(forced);
                }
            };
            if tries == 0 {
                tracing::error!(%error, "the log cannot begin its next segment, and tries again until it can");
            }
            tries += 1;
            self.inner.segment_failures.fetch_add(1, Ordering::Relaxed);
            let closing = sync::lock(&self.inner.queue).closing;
            if self.is_killed() || (closing && tries >= CLOSING_TRIES) {
                return None;
            }
            thread::sleep(pause);
            pause = (pause * 2).min(SEGMENT_PAUSE_MAX);
        }
    }

    /// Takes the reclaims under way one step further; the next one comes behind the next batch.
    fn reclaim(&mut self) {
        for (newest, done) in std::mem::take(&mut self.reclaims) {
            match self.writer.reclaim_step(newest) {
                Ok(None) => {
                    self.reclaims.push((newest, done));
                    sync::lock(&self.inner.queue).urgent = true;
                }
                Ok(Some(holding)) => done(Ok(holding)),
                Err(error) => done(Err(error)),
            }
        }
    }

    /// Refuses what was not forced.
    fn end(&mut self, jobs: VecDeque<Job>) {
        let more = std::mem::take(&mut sync::lock(&self.inner.queue).jobs);
        for done in self.open.drain(..) {
            done(Err(LogError::Closed));
        }
        for (_, done) in self.reclaims.drain(..) {
            done(Err(LogError::Closed));
        }
        jobs.into_iter().chain(more).for_each(|job| refuse(job, &LogError::Closed));
    }
}
