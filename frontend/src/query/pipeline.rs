//! Pipelining: statements of a client that does not wait for replies run at the same time.
//!
//! A client that sends one group after the other (Bind, Execute, Sync; Bind, Execute, Sync; ..) would otherwise
//! pay the commit latency once for each. Here a statement is *started ahead*: its reply keeps its place, later
//! groups are read and started meanwhile, and the replies go out in order.
//!
//! When that is allowed:
//! - The statement touches one row, outside of a block ([`Planner::overlap`](planner::Planner::overlap) says so).
//! - It is the only Execute of its group and the Sync is there already. An error skips the rest of its group, and
//!   the rest is nothing: no statement runs that PostgreSQL would have skipped. Several Executes in one group
//!   (JDBC's batches) run one after the other for that reason.
//! - No statement that still runs touches the same row, unless both only read: a client sees its own writes, and
//!   writes to a row keep their order.
//!
//! Anything else waits until the statements started ahead are done. What may come in another order than sent is
//! the effect of writes to different rows, as seen by *other* clients before the replies are out.

use std::collections::VecDeque;
use std::io;

use futures::future::BoxFuture;
use futures::poll;
use futures::stream::{FuturesOrdered, StreamExt};
use planner::types::Row;
use planner::{Execution, Overlap, Rows, SqlError};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::connection::Connection;
use crate::message::Formats;
use crate::query::extended::bound;
use crate::query::portal::{Portal, Progress};
use crate::response::{Outbox, Severity};

/// Statements started ahead at a time. Their parameters are bounded by what is read ahead of a client.
const AHEAD_MAX: usize = 128;

/// The statements started ahead, oldest first.
#[derive(Default)]
pub(crate) struct Pipeline {
    slots: VecDeque<Slot>,
    running: FuturesOrdered<BoxFuture<'static, Result<Answer, SqlError>>>,
}

/// The place of one reply.
struct Slot {
    overlap: Overlap,
    formats: Formats,
    /// Replies that come behind it.
    tail: Outbox,
}

/// What a statement on one row gives.
enum Answer {
    Empty,
    Done(String),
    Rows(Rows, Vec<Row>),
}

impl Pipeline {
    /// Does nothing run ahead?
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Where replies go that come behind the newest statement's.
    pub(crate) fn tail(&mut self) -> Option<&mut Outbox> {
        self.slots.back_mut().map(|slot| &mut slot.tail)
    }

    fn admits(&self, overlap: Overlap) -> bool {
        self.slots.len() < AHEAD_MAX
            && self
                .slots
                .iter()
                .all(|slot| slot.overlap.row != overlap.row || !(slot.overlap.writes || overlap.writes))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Starts a portal ahead, if that is allowed; gives it back if not.
    pub(crate) async fn start_ahead(
        &mut self,
        portal: Portal,
        rows_max: Option<u32>,
    ) -> io::Result<Option<Portal>> {
        let limited = rows_max.is_some() && portal.prepared.columns().is_some();
        let alone = !self.executed && !limited && self.wire.sync_is_next();
        // With nothing to overlap with, the plain path is cheaper.
        if !alone || (self.pipeline.is_empty() && !self.wire.more_behind_sync()) {
            return Ok(Some(portal));
        }
        let overlap = bound(&portal)
            .and_then(|parameters| self.server.planner.overlap(&self.session, &portal.prepared, parameters));
        let Some(overlap) = overlap else { return Ok(Some(portal)) };
        while !self.pipeline.admits(overlap) {
            self.finish_oldest().await?;
        }
        let Portal { prepared, formats, progress: Progress::Bound(parameters) } = portal else {
            return Ok(Some(portal));
        };
        let planner = self.server.planner.clone();
        let session = self.session.clone();
        let scope = self.registration.scope();
        let work = async move {
            let execution = scope.guard(planner.execute(&session, &prepared, parameters)).await;
            match execution.map_err(|cancelled| cancelled.error(prepared.writes()))?? {
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
                    Err(SqlError::internal("a COPY cannot be on one row"))
                }
            }
        };
        self.executed = true;
        self.pipeline.slots.push_back(Slot { overlap, formats, tail: Outbox::default() });
        self.pipeline.running.push_back(Box::pin(work));
        // Nothing runs before it is polled.
        while let std::task::Poll::Ready(Some(answer)) = poll!(self.pipeline.running.next()) {
            self.settle(answer);
        }
        Ok(None)
    }

    /// Waits for the oldest statement that runs ahead, and replies; whether there was one.
    pub(crate) async fn finish_oldest(&mut self) -> io::Result<bool> {
        if self.pipeline.is_empty() {
            return Ok(false);
        }
        if let Some(answer) = self.wire.attend(self.pipeline.running.next()).await? {
            self.settle(answer);
            self.wire.flush_large().await?;
        }
        Ok(true)
    }

    /// Waits for all statements that run ahead.
    pub(crate) async fn finish_all(&mut self) -> io::Result<()> {
        while self.finish_oldest().await? {}
        Ok(())
    }

    /// Replies for the oldest.
    fn settle(&mut self, answer: Result<Answer, SqlError>) {
        let Some(slot) = self.pipeline.slots.pop_front() else { return };
        let outbox = &mut self.wire.outbox;
        for notice in self.session.take_notices() {
            outbox.notice(&notice);
        }
        match answer {
            Ok(Answer::Empty) => outbox.empty_query(),
            Ok(Answer::Done(tag)) => outbox.command_complete(&tag),
            Ok(Answer::Rows(rows, all)) => {
                for row in &all {
                    outbox.data_row(row, &rows.columns, &slot.formats);
                }
                outbox.command_complete(&rows.tag(all.len() as u64));
            }
            Err(error) => outbox.error(Severity::Error, &error, 0),
        }
        if !slot.tail.bytes().is_empty() {
            outbox.append(&slot.tail);
            self.wire.mark_due();
        }
    }
}
