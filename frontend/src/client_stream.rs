//! One client's stream: its messages in, its replies out, in the order of the messages.
//!
//! A handler sees one place to put its reply ([`ClientStream::replies`]) and one way to wait for a statement's work
//! ([`ClientStream::attend`]). That statements may run ahead of their replies ([`crate::pipeline`]) is hidden here.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use planner::{Overlap, Session, SqlError, TransactionStatus};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use crate::cancel::Scope;
use crate::message::Formats;
use crate::pipeline::{Answer, Pipeline, Settled};
use crate::response::{Outbox, Severity};
use crate::wire::{Frame, Wire};

/// When the gateway shuts down, an open transaction block gets so long for its next statement.
const BLOCK_GRACE: Duration = Duration::from_secs(2);

/// Why a handler ends early.
#[derive(Debug)]
pub(crate) enum HandlerError {
    /// The statement failed. The client gets the error and the session goes on.
    Statement(SqlError),
    /// The client is lost. The connection ends without another word.
    Connection(io::Error),
    /// The gateway is shutting down. The client gets an error that says so and the connection ends.
    Shutdown,
}

impl From<SqlError> for HandlerError {
    fn from(error: SqlError) -> HandlerError {
        HandlerError::Statement(error)
    }
}

impl From<io::Error> for HandlerError {
    fn from(error: io::Error) -> HandlerError {
        HandlerError::Connection(error)
    }
}

/// Returns when the session is to end, now that it waits for its client.
async fn told_to_end(stop: &CancellationToken, session: &Session) {
    stop.cancelled().await;
    if session.transaction_status() != TransactionStatus::Idle {
        tokio::time::sleep(BLOCK_GRACE).await;
    }
}

/// The stream of a client that has a session.
pub(crate) struct ClientStream<S> {
    wire: Wire<S>,
    /// Its notices and changed settings go out between the replies.
    session: Arc<Session>,
    /// Statements that run ahead of their replies.
    pipeline: Pipeline,
    /// Cancelled when the gateway shuts down.
    stop: CancellationToken,
}

impl<S: AsyncRead + AsyncWrite + Unpin> ClientStream<S> {
    /// The stream behind the startup of `session`.
    pub(crate) fn new(wire: Wire<S>, session: Arc<Session>, stop: CancellationToken) -> ClientStream<S> {
        ClientStream { wire, session, pipeline: Pipeline::default(), stop }
    }

    /// Where replies go now: behind those of the statements that still run.
    pub(crate) fn replies(&mut self) -> &mut Outbox {
        self.pipeline.tail().unwrap_or(&mut self.wire.outbox)
    }

    /// The next frame; `None` when the gateway is shutting down and nothing of the client's runs: no statement, and no
    /// transaction block, unless that stays open for too long. Replies that are due are sent before a wait.
    pub(crate) async fn next_frame(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.wire.buffered() {
                return Ok(Some(frame));
            }
            if !self.finish_oldest().await? {
                break;
            }
        }
        self.wire.flush_due().await?;
        tokio::select! {
            biased;
            () = told_to_end(&self.stop, &self.session) => Ok(None),
            frame = self.wire.read() => frame.map(Some),
        }
    }

    /// Waits for a piece of a statement's work, unless the client cancels it or hangs up; `writes` says whether the
    /// piece may have written something by then.
    pub(crate) async fn attend<T>(
        &mut self,
        scope: &Scope,
        writes: bool,
        work: impl Future<Output = Result<T, SqlError>>,
    ) -> Result<T, HandlerError> {
        match self.wire.attend(scope.guard(work)).await? {
            Ok(done) => Ok(done?),
            Err(cancelled) => Err(cancelled.error(writes).into()),
        }
    }

    /// May the Execute that was just read run ahead of its reply, as far as the messages around it say? It must be
    /// alone in its group, and with nothing to overlap with, the plain path is cheaper.
    pub(crate) fn may_start_ahead(&self) -> bool {
        !self.pipeline.group_executes()
            && self.wire.sync_is_next()
            && (!self.pipeline.is_empty() || self.wire.more_behind_sync())
    }

    /// Starts a statement ahead: its reply will stand here. Waits first for statements that it must not overtake.
    pub(crate) async fn start_ahead(
        &mut self,
        overlap: Overlap,
        formats: Formats,
        work: BoxFuture<'static, Result<Answer, SqlError>>,
    ) -> io::Result<()> {
        while !self.pipeline.admits(overlap) {
            self.finish_oldest().await?;
        }
        self.pipeline.push(overlap, formats, work);
        // Nothing runs before it is polled.
        while let Some(settled) = self.pipeline.oldest_if_done().await {
            self.settle(settled);
        }
        Ok(())
    }

    /// An Execute that cannot run ahead begins: what runs ahead is finished first.
    pub(crate) async fn start_in_turn(&mut self) -> io::Result<()> {
        self.pipeline.note_execute();
        self.finish_all().await
    }

    /// Waits for all statements that run ahead, and replies.
    pub(crate) async fn finish_all(&mut self) -> io::Result<()> {
        while self.finish_oldest().await? {}
        Ok(())
    }

    /// Waits for the oldest statement that runs ahead, and replies; whether there was one.
    async fn finish_oldest(&mut self) -> io::Result<bool> {
        if self.pipeline.is_empty() {
            return Ok(false);
        }
        if let Some(settled) = self.wire.attend(self.pipeline.oldest()).await? {
            self.settle(settled);
            self.wire.flush_large().await?;
        }
        Ok(true)
    }

    fn settle(&mut self, settled: Settled) {
        for notice in self.session.take_notices() {
            self.wire.outbox.notice(&notice);
        }
        if settled.write(&mut self.wire.outbox) {
            self.wire.mark_due();
        }
    }

    /// Tells the client of an error; an open block is failed by it. The error goes out before the next wait for the
    /// client, Sync or not: drivers wait for it behind a Flush, and send their Sync only then.
    pub(crate) fn report(&mut self, error: &SqlError) {
        self.session.fail_block();
        self.notices();
        self.replies().error(Severity::Error, error);
        self.wire.mark_due();
    }

    /// Tells the client of the error with which its connection ends.
    pub(crate) async fn report_fatal(&mut self, error: &SqlError) -> io::Result<()> {
        self.finish_all().await?;
        self.replies().error(Severity::Fatal, error);
        Ok(())
    }

    /// Tells the client what statements had to say.
    pub(crate) fn notices(&mut self) {
        for notice in self.session.take_notices() {
            self.replies().notice(&notice);
        }
    }

    /// ReadyForQuery: ends a simple query or a group of extended messages.
    pub(crate) fn ready_for_query(&mut self, status: TransactionStatus) {
        if self.pipeline.is_empty() {
            for (name, value) in self.session.take_changed_parameters() {
                self.replies().parameter(name, &value);
            }
            self.wire.mark_due();
        }
        self.pipeline.end_group();
        self.replies().ready(status);
    }

    /// Sends all replies, those of the statements that run ahead as well.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        self.finish_all().await?;
        self.wire.flush().await
    }

    /// Sends the replies if they have grown large, at the pace at which the client takes them.
    pub(crate) async fn flush_large(&mut self) -> io::Result<()> {
        self.wire.flush_large().await
    }

    /// Says goodbye: sends what is left and closes the sending side.
    pub(crate) async fn close(&mut self) -> io::Result<()> {
        self.wire.close().await
    }
}
