//! One client's connection: a loop of `state = match state`.
//!
//! Only the loop holds the state; a handler returns the next one. The sub-protocols are in [`crate::query`]:
//! they say what a message means, this file says what happens when it goes wrong.
//!
//! ```text
//!            Query, Parse, Bind, Describe, Execute, Close, Flush, Sync
//!   open --> Ready ----------------------------------------------------> Ready
//!              |  an extended message failed                        ^
//!              +-----------------------------> Skip -- Sync --------+
//!              |  Terminate, a lost client, a broken frame, shutdown
//!              +-----------------------------> Closed
//! ```

use std::io;
use std::sync::Arc;

use planner::{Session, SqlError, sqlstate};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;

use crate::cancel::Registration;
use crate::listener::Server;
use crate::message::Message;
use crate::query::pipeline::Pipeline;
use crate::query::portal::Portals;
use crate::response::{Outbox, Severity};
use crate::startup;
use crate::wire::{Frame, MESSAGE_BYTES_MAX, Wire};

/// What the connection expects next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Any message.
    Ready,
    /// An extended message failed: everything up to the next Sync is skipped.
    Skip,
    /// The connection is over.
    Closed,
}

/// A session on its stream.
pub(crate) struct Connection<S> {
    /// The stream.
    pub(crate) wire: Wire<S>,
    /// What the gateway's connections share.
    pub(crate) server: Server,
    /// Settings, block and statements.
    pub(crate) session: Arc<Session>,
    /// What a cancel request finds.
    pub(crate) registration: Registration,
    /// The portals.
    pub(crate) portals: Portals,
    /// Statements that run ahead of their replies.
    pub(crate) pipeline: Pipeline,
    /// An Execute was seen since the last Sync.
    pub(crate) executed: bool,
    _permit: OwnedSemaphorePermit,
}

/// Serves a connection until it is over. Errors are those of the stream.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(io: S, server: Server) -> io::Result<()> {
    let mut wire = Wire::new(io);
    let opened = tokio::select! {
        opened = startup::open(&mut wire, &server) => opened?,
        () = server.stop.cancelled() => return Ok(()),
    };
    let Some(startup::Opened { session, registration, permit }) = opened else { return Ok(()) };
    let mut connection = Connection {
        wire,
        server,
        session,
        registration,
        portals: Portals::default(),
        pipeline: Pipeline::default(),
        executed: false,
        _permit: permit,
    };
    let mut state = State::Ready;
    loop {
        state = match state {
            State::Ready => connection.ready().await?,
            State::Skip => connection.skip().await?,
            State::Closed => return connection.wire.close().await,
        };
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Where replies go now: behind those of the statements that still run.
    pub(crate) fn out(&mut self) -> &mut Outbox {
        self.pipeline.tail().unwrap_or(&mut self.wire.outbox)
    }

    /// The next frame; `None` when the gateway is shutting down. Replies that are due are sent before a wait.
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
            () = self.server.stop.cancelled() => Ok(None),
            frame = self.wire.read() => frame.map(Some),
        }
    }

    async fn ready(&mut self) -> io::Result<State> {
        let (kind, body) = match self.next_frame().await? {
            Some(Frame::Message(kind, body)) => (kind, body),
            Some(Frame::TooLarge(kind, size)) => return self.too_large(kind, size).await,
            Some(Frame::Broken(why)) => return self.broken(why).await,
            Some(Frame::Closed) => return Ok(State::Closed),
            None => return self.stopped().await,
        };
        match Message::decode(kind, body) {
            Ok(message) => self.dispatch(message).await,
            Err(error) if kind == b'Q' => {
                self.finish_all().await?;
                self.report(&error, 0);
                self.ready_for_query();
                Ok(State::Ready)
            }
            Err(error) => self.fail(error).await,
        }
    }

    async fn dispatch(&mut self, message: Message) -> io::Result<State> {
        match message {
            // The rare ones are boxed, so that an idle session needs room for the frequent ones only.
            Message::Query(sql) => Box::pin(self.query(&sql)).await,
            Message::Parse { name, sql, types } => Box::pin(self.parse(&name, &sql, &types)).await,
            Message::Bind(bind) => self.bind(bind).await,
            Message::Describe(target, name) => self.describe(target, &name).await,
            Message::Close(target, name) => Ok(self.close(target, &name)),
            Message::Execute { portal, rows_max } => self.execute(&portal, rows_max).await,
            Message::Flush => {
                self.finish_all().await?;
                self.wire.flush().await?;
                Ok(State::Ready)
            }
            Message::Sync => {
                self.ready_for_query();
                Ok(State::Ready)
            }
            // What is left of a COPY that failed while the client was still sending.
            Message::CopyData(_) | Message::CopyDone | Message::CopyFail(_) => Ok(State::Ready),
            Message::Terminate => {
                self.finish_all().await?;
                Ok(State::Closed)
            }
            Message::Unexpected(b'F') => {
                self.finish_all().await?;
                self.report(&SqlError::unsupported("the function call protocol").hint("Use SELECT."), 0);
                self.ready_for_query();
                Ok(State::Ready)
            }
            Message::Unexpected(kind) => self.broken(format!("invalid frontend message type {kind}")).await,
        }
    }

    async fn skip(&mut self) -> io::Result<State> {
        match self.next_frame().await? {
            Some(Frame::Message(b'S', _)) => {
                self.ready_for_query();
                Ok(State::Ready)
            }
            Some(Frame::Message(b'X', _) | Frame::Closed) => Ok(State::Closed),
            Some(Frame::Message(..) | Frame::TooLarge(..)) => Ok(State::Skip),
            Some(Frame::Broken(why)) => self.broken(why).await,
            None => self.stopped().await,
        }
    }

    /// An extended message failed.
    pub(crate) async fn fail(&mut self, error: SqlError) -> io::Result<State> {
        // Statements ahead of it come first: theirs may fail, too, but each in a group of its own.
        self.finish_all().await?;
        self.report(&error, 0);
        Ok(State::Skip)
    }

    /// Tells the client of an error; an open block is failed by it.
    pub(crate) fn report(&mut self, error: &SqlError, offset: u32) {
        self.session.fail_block();
        self.notices();
        self.out().error(Severity::Error, error, offset);
    }

    /// Tells the client what statements had to say.
    pub(crate) fn notices(&mut self) {
        for notice in self.session.take_notices() {
            self.out().notice(&notice);
        }
    }

    /// Ends a simple query or a group of extended messages.
    pub(crate) fn ready_for_query(&mut self) {
        let status = self.session.transaction_status();
        if status == planner::TransactionStatus::Idle {
            // Portals live as long as their transaction.
            self.portals.clear();
        }
        if self.pipeline.is_empty() {
            for (name, value) in self.session.take_changed_parameters() {
                self.out().parameter(name, &value);
            }
            self.wire.mark_due();
        }
        self.executed = false;
        self.out().ready(status);
    }

    async fn too_large(&mut self, kind: u8, size: usize) -> io::Result<State> {
        let error = SqlError::new(
            sqlstate::LIMIT_EXCEEDED,
            format!("message of {size} bytes is over the limit of {MESSAGE_BYTES_MAX} bytes"),
        )
        .hint("Split the statement, or send the rows with COPY.");
        match kind {
            b'Q' => {
                self.finish_all().await?;
                self.report(&error, 0);
                self.ready_for_query();
                Ok(State::Ready)
            }
            b'P' | b'B' => self.fail(error).await,
            // A piece of a COPY that is over already.
            _ => Ok(State::Ready),
        }
    }

    /// The stream makes no sense any more.
    async fn broken(&mut self, why: String) -> io::Result<State> {
        self.finish_all().await?;
        self.out().error(Severity::Fatal, &SqlError::new(sqlstate::PROTOCOL_VIOLATION, why), 0);
        Ok(State::Closed)
    }

    /// The gateway is shutting down.
    pub(crate) async fn stopped(&mut self) -> io::Result<State> {
        self.finish_all().await?;
        let error = SqlError::new(sqlstate::SHUTDOWN, "terminating connection due to administrator command");
        self.out().error(Severity::Fatal, &error, 0);
        Ok(State::Closed)
    }
}
