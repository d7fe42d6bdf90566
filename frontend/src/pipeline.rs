//! Pipelining: statements of a client that does not wait for replies run at the same time.
//!
//! A client that sends one group after the other (Bind, Execute, Sync; Bind, Execute, Sync; ..) would otherwise
//! pay the commit latency once for each. Here a statement is *started ahead*: its reply keeps its place, later
//! groups are read and started meanwhile, and the replies go out in order.
//!
//! When that is allowed:
//! - The statement touches one row, outside of a block
//!   ([`Planner::on_one_row`](planner::Planner::on_one_row) says so).
//! - It is the only Execute of its group and the Sync is there already. An error skips the rest of its group, and
//!   the rest is nothing: no statement runs that PostgreSQL would have skipped. Several Executes in one group
//!   (JDBC's batches) run one after the other for that reason.
//! - No statement that still runs touches the same row, unless both only read: a client sees its own writes, and
//!   writes to a row keep their order.
//!
//! Anything else waits until the statements started ahead are done. What may come in another order than sent is
//! the effect of writes to different rows, as seen by *other* clients before the replies are out.

use std::collections::VecDeque;
use std::task::Poll;

use futures::future::BoxFuture;
use futures::poll;
use futures::stream::{FuturesOrdered, StreamExt};
use planner::types::Row;
use planner::{Execution, Overlap, Rows, SqlError};

use crate::message::Formats;
use crate::response::{Outbox, Severity};

/// Statements started ahead at a time. Their parameters are bounded by what is read ahead of a client.
const AHEAD_MAX: usize = 128;

/// The statements started ahead, oldest first.
#[derive(Default)]
pub(crate) struct Pipeline {
    /// One for each future in `running`, in the same order.
    slots: VecDeque<Slot>,
    running: FuturesOrdered<BoxFuture<'static, Result<Answer, SqlError>>>,
    /// An Execute came since the last Sync.
    group_executes: bool,
}

/// The place of one reply.
struct Slot {
    overlap: Overlap,
    formats: Formats,
    /// Replies that come behind it.
    tail: Outbox,
}

/// What a statement on one row gives.
pub(crate) enum Answer {
    /// There was no statement.
    Empty,
    /// A command's tag.
    Done(String),
    /// Rows, all of them.
    Rows(Rows, Vec<Row>),
}

impl Answer {
    /// Reads all that an execution gives; it must be of a statement on one row.
    pub(crate) async fn of(execution: Execution) -> Result<Answer, SqlError> {
        match execution {
            Execution::Done { tag } => Ok(Answer::Done(tag)),
            Execution::Rows(mut rows) => {
                let mut all = Vec::new();
                while let Some(batch) = rows.rows.next().await? {
                    all.extend(batch);
                }
                Ok(Answer::Rows(rows, all))
            }
            Execution::Empty => Ok(Answer::Empty),
            Execution::CopyIn(_) | Execution::CopyOut(_) => {
                Err(SqlError::internal("a COPY was started ahead, which touches more than one row"))
            }
        }
    }
}

/// A statement that is done, with what comes behind its reply.
pub(crate) struct Settled {
    slot: Slot,
    answer: Result<Answer, SqlError>,
}

impl Settled {
    /// Writes the reply, and the replies that waited behind it; whether there were such.
    pub(crate) fn write(self, outbox: &mut Outbox) -> bool {
        match self.answer {
            Ok(Answer::Empty) => outbox.empty_query(),
            Ok(Answer::Done(tag)) => outbox.command_complete(&tag),
            Ok(Answer::Rows(rows, all)) => {
                for row in &all {
                    outbox.data_row(row, &self.slot.formats, &rows.text);
                }
                outbox.command_complete(&rows.tag(all.len() as u64));
            }
            Err(error) => outbox.error(Severity::Error, &error),
        }
        outbox.append(&self.slot.tail);
        !self.slot.tail.bytes().is_empty()
    }
}

impl Pipeline {
    /// Does nothing run ahead?
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Where replies go that come behind the newest statement's; `None` if nothing runs ahead.
    pub(crate) fn tail(&mut self) -> Option<&mut Outbox> {
        self.slots.back_mut().map(|slot| &mut slot.tail)
    }

    /// May a statement start while all these run?
    pub(crate) fn admits(&self, overlap: Overlap) -> bool {
        self.slots.len() < AHEAD_MAX
            && self
                .slots
                .iter()
                .all(|slot| slot.overlap.row != overlap.row || !(slot.overlap.writes || overlap.writes))
    }

    /// Adds a statement that was admitted. It does not run before [`Pipeline::oldest`] or
    /// [`Pipeline::oldest_if_done`] polls it.
    pub(crate) fn push(
        &mut self,
        overlap: Overlap,
        formats: Formats,
        work: BoxFuture<'static, Result<Answer, SqlError>>,
    ) {
        debug_assert!(self.admits(overlap), "a statement must not overtake another one on its row");
        self.group_executes = true;
        self.slots.push_back(Slot { overlap, formats, tail: Outbox::default() });
        self.running.push_back(work);
    }

    /// Waits for the oldest statement and takes it out; `None` if nothing runs ahead. Cancel-safe.
    pub(crate) async fn oldest(&mut self) -> Option<Settled> {
        let answer = self.running.next().await?;
        let slot = self.slots.pop_front()?;
        Some(Settled { slot, answer })
    }

    /// Lets all statements go on, and takes the oldest out if it is done.
    pub(crate) async fn oldest_if_done(&mut self) -> Option<Settled> {
        match poll!(std::pin::pin!(self.oldest())) {
            Poll::Ready(settled) => settled,
            Poll::Pending => None,
        }
    }

    /// An Execute of the group was seen.
    pub(crate) fn note_execute(&mut self) {
        self.group_executes = true;
    }

    /// Was there an Execute since the last Sync?
    pub(crate) fn group_executes(&self) -> bool {
        self.group_executes
    }

    /// A Sync or the end of a simple query.
    pub(crate) fn end_group(&mut self) {
        self.group_executes = false;
    }
}
