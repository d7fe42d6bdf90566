//! One range of a scan, page after page, all at one LSN ([one-lsn]). Pure: it says what to ask and whom, and takes the
//! answers; somebody else sends and waits.
//!
//! The first page fixes the LSN. Every further one is asked for as of that LSN, behind the key that the last page has
//! passed: first of the replica that answered last, for it keeps what the scan reads, then of the other members. If
//! none has that LSN any more, the scan of the range starts over, provided that none of its rows was handed on;
//! else it fails.

use std::time::{Duration, Instant};

use wal::{Budget, Lsn, NodeId, Reserved};

use super::limits::over_budget;
use super::search::ATTEMPT_WAIT_MAX;
use crate::cluster::peers::CallError;
use crate::cluster::silence::Silence;
use crate::error::KvError;
use crate::operation::{Answer, Cursor, Operation, RangeScan};
use crate::request::{Consistency, ReadOptions, Row, Source};

/// Size of the first page, and of the largest: a scan that ends early costs little, a long one few requests.
const PAGE_BYTES_MIN: usize = 16 << 10;
const PAGE_BYTES_MAX: usize = 512 << 10;
/// Pause before all members are asked once more.
const PAUSE: Duration = Duration::from_millis(25);
/// A scan that finds no memory for its next page tries again after so long.
const MEMORY_PAUSE: Duration = Duration::from_millis(10);
/// A node that is asked for a page is waited for so long at most: then another one is asked.
pub const ASK_MAX: Duration = Duration::from_secs(1);

/// A node that was asked for a page is looked at again after so long ([`is_given_up`]).
pub const LOOK_AFTER: Duration = ATTEMPT_WAIT_MAX;

/// Whether a node that was asked for a page at `since` is not waited for any longer, because nothing at all has come from it
/// ([silent-is-passed-over]).
pub fn is_given_up(silence: &Silence, node: NodeId, since: Instant, now: Instant) -> bool {
    if now < since + LOOK_AFTER {
        return false;
    }
    silence.overdue(node, since, now);
    silence.is_silent(node)
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanStep {
    /// Read a first page as any read, from the replica that the caller's options allow; then [`RangeScanSteps::opened`].
    Open(RangeScan, usize),
    /// Ask this node; then [`RangeScanSteps::answered`].
    Ask(NodeId, Operation),
    /// Wait so long.
    Pause(Duration),
    /// The range is read.
    Done,
}

/// Rows of a range to be handed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handed {
    /// Behind those that were handed on before; perhaps none.
    pub rows: Vec<Row>,
    /// Where from: the same LSN for all that is handed on.
    pub source: Source,
}

/// What the scan of one range is about, from its first page on.
#[derive(Debug)]
struct Reading {
    at: Lsn,
    /// Once in the scan, the rows as of `at` were at most so old, ..
    staleness: Option<Duration>,
    /// .. not before this moment.
    since: Instant,
    /// Whom to ask next: the replica that answered last, else the next in turn.
    node: NodeId,
    cursor: Cursor,
    /// Members that were asked for the page that is wanted now; whether one of them keeps the LSN no more.
    asked: usize,
    too_old: Option<String>,
    /// Why the last one did not answer with it.
    why: String,
}

/// The scan of one range.
#[derive(Debug)]
pub struct RangeScanSteps {
    members: Vec<NodeId>,
    strong: bool,
    /// Of a timeline scan: older pages are not handed on.
    max_staleness: Option<Duration>,
    deadline: Instant,
    /// What was asked for, and what of it is left.
    whole: RangeScan,
    rest: RangeScan,
    page_bytes: usize,
    reading: Option<Reading>,
    /// Rows were handed on: it cannot start over.
    handed: bool,
    /// All was read, or nothing more is wanted.
    done: bool,
    /// It starts over, after a pause.
    pause: bool,
    /// Scans open at nodes that nobody continues.
    abandoned: Vec<(NodeId, u64)>,
}

impl RangeScanSteps {
    /// A scan of what `whole` says, of a range with these members, as the options say.
    pub fn new(members: Vec<NodeId>, whole: RangeScan, options: &ReadOptions) -> RangeScanSteps {
        let strong = options.consistency == Consistency::Strong;
        RangeScanSteps {
            members,
            strong,
            max_staleness: options.max_staleness.filter(|_| !strong),
            deadline: options.deadline,
            done: whole.limit == Some(0),
            rest: whole.clone(),
            whole,
            page_bytes: PAGE_BYTES_MIN,
            reading: None,
            handed: false,
            pause: false,
            abandoned: Vec::new(),
        }
    }

    /// The next step, or how the scan fails.
    pub fn step(&mut self, now: Instant) -> Result<ScanStep, KvError> {
        if self.done {
            return Ok(ScanStep::Done);
        }
        if now >= self.deadline {
            let why = self.reading.as_ref().map_or("", |reading| &reading.why);
            let why = if why.is_empty() { "the scan was not done" } else { why };
            return Err(KvError::DeadlineExceeded(why.to_owned()));
        }
        if std::mem::take(&mut self.pause) {
            return Ok(ScanStep::Pause(PAUSE.min(self.deadline - now)));
        }
        let members = self.members.len();
        let Some(reading) = &mut self.reading else {
            return Ok(ScanStep::Open(self.rest.clone(), self.page_bytes));
        };
        if reading.asked >= members {
            if let Some(why) = reading.too_old.take() {
                self.start_over(why)?;
                return self.step(now);
            }
            reading.asked = 0;
            return Ok(ScanStep::Pause(PAUSE.min(self.deadline - now)));
        }
        reading.asked += 1;
        let (scan, at, page_bytes) = (self.rest.clone(), reading.at, self.page_bytes);
        let operation = match &reading.cursor {
            Cursor { id, passed: None } if *id != 0 => Operation::Next(*id),
            Cursor { id, .. } => Operation::Rest { scan, at, cursor: *id, page_bytes },
        };
        Ok(ScanStep::Ask(reading.node, operation))
    }

    /// The first page, answered to a request that was sent at `sent`.
    pub fn opened(&mut self, sent: Instant, answer: Answer) -> Result<Handed, KvError> {
        let Answer::Rows { rows, source, cursor } = answer else { return Err(unexpected()) };
        let reading = Reading {
            at: source.lsn,
            staleness: source.staleness,
            since: sent,
            node: source.replica,
            cursor: Cursor { id: 0, passed: None },
            asked: 0,
            too_old: None,
            why: String::new(),
        };
        self.take(reading, rows, source, cursor)
    }

    /// What came of the last request, sent at `sent`: rows, if they are what was asked for.
    pub fn answered(
        &mut self,
        sent: Instant,
        now: Instant,
        result: Result<Answer, CallError>,
    ) -> Result<Option<Handed>, KvError> {
        let Some(mut reading) = self.reading.take() else { return Err(unexpected()) };
        let (at, node) = (reading.at, reading.node);
        reading.why = match result {
            Ok(Answer::Rows { rows, mut source, cursor })
                if source.lsn == at && rows.iter().all(|row| self.rest.holds(&row.key)) =>
            {
                if let Some(known) = source.staleness {
                    (reading.staleness, reading.since) = (Some(known), sent);
                }
                source.staleness = source.staleness.or(reading.age(now));
                if self.max_staleness.is_some_and(|max| source.staleness.is_none_or(|age| age > max)) {
                    self.abandoned.extend(cursor.map(|cursor| (node, cursor.id)));
                    self.start_over(format!("LSN {at} of the range is older than max_staleness allows"))?;
                    return Ok(None);
                }
                return self.take(reading, rows, source, cursor).map(Some);
            }
            // A node of the last release, which cannot read as of an older LSN.
            Ok(Answer::Rows { source, cursor, .. }) => {
                self.abandoned.extend(cursor.map(|cursor| (node, cursor.id)));
                let why = format!("{node} answered as of LSN {}, not {at}", source.lsn);
                reading.too_old = Some(why.clone());
                why
            }
            Ok(_) => return Err(unexpected()),
            Err(CallError::Refused(KvError::ReadTooOld(why))) => {
                reading.too_old = Some(why.clone());
                why
            }
            Err(CallError::Refused(
                error @ (KvError::NoTable(_)
                | KvError::TooLarge { .. }
                | KvError::Invalid(_)
                | KvError::OutOfMemory(_)
                | KvError::Internal(_)),
            )) => {
                // What it keeps for the scan is closed when that ends.
                self.reading = Some(reading);
                return Err(error);
            }
            Err(CallError::NotSent(why) | CallError::Lost(why)) => why,
            Err(CallError::Refused(error)) => error.to_string(),
        };
        // What it keeps for the scan is of no use any more.
        if reading.cursor.id != 0 {
            self.abandoned.push((node, reading.cursor.id));
        }
        reading.cursor = Cursor { id: 0, passed: None };
        let place = self.members.iter().position(|member| *member == node).map_or(0, |place| place + 1);
        reading.node = self.members[place % self.members.len()];
        self.reading = Some(reading);
        Ok(None)
    }

    /// Scans open at nodes that nobody continues, to be closed there.
    pub fn abandoned(&mut self) -> Vec<(NodeId, u64)> {
        std::mem::take(&mut self.abandoned)
    }

    /// Nothing more is wanted. What is open then is [`RangeScanSteps::abandoned`].
    pub fn stop(&mut self) {
        self.done = true;
        let open = self.reading.take().filter(|reading| reading.cursor.id != 0);
        self.abandoned.extend(open.map(|reading| (reading.node, reading.cursor.id)));
    }

    /// Reserves memory for the page that this step asks for, which becomes smaller if there is little. If there is none:
    /// how long to wait before it is tried again, for a scan that has begun, since its earlier pages are being consumed;
    /// one that begins is refused.
    pub fn reserve(
        &mut self,
        step: &mut ScanStep,
        memory: &Budget,
        now: Instant,
    ) -> Result<Result<Reserved, Duration>, KvError> {
        loop {
            match memory.reserve(self.page_bytes as u64) {
                Ok(held) => {
                    if let ScanStep::Open(_, bytes)
                    | ScanStep::Ask(_, Operation::Rest { page_bytes: bytes, .. }) = step
                    {
                        *bytes = self.page_bytes;
                    }
                    return Ok(Ok(held));
                }
                Err(_) if self.page_bytes > PAGE_BYTES_MIN => {
                    self.page_bytes = (self.page_bytes / 2).max(PAGE_BYTES_MIN);
                }
                Err(_) if self.handed && now < self.deadline => return Ok(Err(MEMORY_PAUSE)),
                Err(over) => return Err(over_budget(over)),
            }
        }
    }

    /// Holds the memory that the rows take, of what was reserved for the page.
    pub fn hold(handed: &Handed, held: &mut Reserved) -> Result<(), KvError> {
        let bytes = handed.rows.iter().map(Row::bytes).sum::<usize>() as u64;
        held.resize(bytes).map_err(over_budget)
    }

    /// What of the limit is left.
    pub fn left(&self) -> Option<u64> {
        self.rest.limit
    }

    /// A page as of the scan's LSN.
    fn take(
        &mut self,
        mut reading: Reading,
        rows: Vec<Row>,
        mut source: Source,
        cursor: Option<Cursor>,
    ) -> Result<Handed, KvError> {
        let last = rows.last().map(|row| row.key.clone());
        if let Some(passed) = cursor.as_ref().and_then(|cursor| cursor.passed.clone()).or(last) {
            if !self.rest.holds(&passed) {
                return Err(KvError::Internal(format!("{} answered outside of the scan", source.replica)));
            }
            self.rest.pass(rows.len() as u64, &passed);
        }
        (reading.asked, reading.too_old, reading.node) = (0, None, source.replica);
        if self.strong {
            source.staleness = Some(Duration::ZERO);
        }
        self.handed |= !rows.is_empty();
        self.page_bytes = (self.page_bytes * 2).min(PAGE_BYTES_MAX);
        let ended = cursor.is_none() || self.rest.limit == Some(0);
        reading.cursor = cursor.unwrap_or(Cursor { id: 0, passed: None });
        self.reading = Some(reading);
        if ended {
            self.stop();
        }
        Ok(Handed { rows, source })
    }

    /// The LSN is of no use any more: another one, unless rows as of this one were handed on.
    fn start_over(&mut self, why: String) -> Result<(), KvError> {
        self.stop();
        if self.handed {
            return Err(KvError::ReadTooOld(why));
        }
        (self.done, self.pause, self.rest) = (false, true, self.whole.clone());
        Ok(())
    }
}

impl Reading {
    /// How old the rows are at most.
    fn age(&self, now: Instant) -> Option<Duration> {
        self.staleness.map(|staleness| staleness + now.saturating_duration_since(self.since))
    }
}

fn unexpected() -> KvError {
    KvError::Internal("a replica sent an unexpected response type".into())
}

#[cfg(test)]
#[path = "range_scan_tests.rs"]
mod tests;
