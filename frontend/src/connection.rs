//! One client's connection: a loop of `state = match state`.
//!
//! Only the loop holds the state; a handler returns the next one. The handlers in [`crate::query`] say what a message
//! means and whether that went well; this file says what the connection expects then.
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

use planner::{SqlError, TransactionStatus, sqlstate};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::backend::Backend;
use crate::client_stream::{ClientStream, HandlerError};
use crate::message::Message;
use crate::query::portal::Portals;
use crate::query::{extended, simple};
use crate::server::Server;
use crate::startup;
use crate::wire::{Frame, Wire, too_large};

/// What the connection expects next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Any message.
    Ready,
    /// An extended message failed: everything up to the next Sync is skipped.
    Skip,
    /// The connection is over.
    Closed,
}

/// A session on its stream.
struct Connection<S> {
    stream: ClientStream<S>,
    backend: Arc<Backend>,
    portals: Portals,
}

/// Serves a connection until it is over. Errors are those of the stream.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(io: S, server: Server) -> io::Result<()> {
    let mut wire = Wire::new(io);
    let opened = tokio::select! {
        opened = startup::open(&mut wire, &server) => opened?,
        () = server.stop.cancelled() => return Ok(()),
    };
    let Some(backend) = opened else { return Ok(()) };
    let stream = ClientStream::new(wire, backend.session().clone(), server.stop);
    let mut connection = Connection { stream, backend: Arc::new(backend), portals: Portals::default() };
    let mut state = State::Ready;
    loop {
        state = match state {
            State::Ready => connection.ready().await?,
            State::Skip => connection.skip().await?,
            State::Closed => return connection.stream.close().await,
        };
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    async fn ready(&mut self) -> io::Result<State> {
        let (kind, body) = match self.stream.next_frame().await? {
            Some(Frame::Message(kind, body)) => (kind, body),
            Some(Frame::TooLarge(kind, size)) => return self.too_large(kind, size).await,
            Some(Frame::Broken(why)) => return self.broken(why).await,
            Some(Frame::Closed) => return Ok(State::Closed),
            None => return self.shut_down().await,
        };
        match Message::decode(kind, body) {
            Ok(message) => self.dispatch(message).await,
            Err(error) if kind == b'Q' => self.end_simple(Err(error.into())).await,
            Err(error) => self.end_extended(Err(error.into())).await,
        }
    }

    async fn dispatch(&mut self, message: Message) -> io::Result<State> {
        let Connection { stream, backend, portals } = self;
        let handled = match message {
            // The rare ones are boxed, so that an idle session needs room for the frequent ones only.
            Message::Query(sql) => {
                let handled = Box::pin(simple::query(stream, backend, portals, &sql)).await;
                return self.end_simple(handled).await;
            }
            Message::Parse { name, sql, types } => {
                Box::pin(extended::parse(stream, backend, &name, &sql, &types)).await
            }
            Message::Bind(bind) => {
                extended::bind(stream.replies(), backend.session(), portals, &bind).map_err(Into::into)
            }
            Message::Describe(target, name) => {
                extended::describe(stream.replies(), backend.session(), portals, target, &name)
                    .map_err(Into::into)
            }
            Message::Close(target, name) => {
                extended::close(stream.replies(), backend.session(), portals, target, &name);
                Ok(())
            }
            Message::Execute { portal, rows_max } => {
                extended::execute(stream, backend, portals, &portal, rows_max).await
            }
            Message::Flush => stream.flush().await.map_err(Into::into),
            Message::Sync => return Ok(self.ready_for_query()),
            // What is left of a COPY that failed while the client was still sending.
            Message::CopyData(_) | Message::CopyDone | Message::CopyFail(_) => Ok(()),
            Message::Terminate => {
                stream.finish_all().await?;
                return Ok(State::Closed);
            }
            Message::Unexpected(b'F') => {
                let error = SqlError::unsupported("the function call protocol").hint("Use SELECT.");
                return self.end_simple(Err(error.into())).await;
            }
            Message::Unexpected(kind) => {
                return self.broken(format!("invalid frontend message type {kind}")).await;
            }
        };
        self.end_extended(handled).await
    }

    async fn skip(&mut self) -> io::Result<State> {
        match self.stream.next_frame().await? {
            Some(Frame::Message(b'S', _)) => Ok(self.ready_for_query()),
            Some(Frame::Message(b'X', _) | Frame::Closed) => Ok(State::Closed),
            Some(Frame::Message(..) | Frame::TooLarge(..)) => Ok(State::Skip),
            Some(Frame::Broken(why)) => self.broken(why).await,
            None => self.shut_down().await,
        }
    }

    /// A simple query (or what is answered like one) ends with ReadyForQuery, whether it failed or not.
    async fn end_simple(&mut self, handled: Result<(), HandlerError>) -> io::Result<State> {
        match handled {
            Ok(()) => {}
            Err(error) => match self.fail(error, State::Ready).await? {
                State::Ready => {}
                over => return Ok(over),
            },
        }
        Ok(self.ready_for_query())
    }

    /// An extended message that failed has the rest of its group skipped.
    async fn end_extended(&mut self, handled: Result<(), HandlerError>) -> io::Result<State> {
        match handled {
            Ok(()) => Ok(State::Ready),
            Err(error) => self.fail(error, State::Skip).await,
        }
    }

    /// Reports why a handler failed; `next` is the state if the connection goes on.
    async fn fail(&mut self, error: HandlerError, next: State) -> io::Result<State> {
        match error {
            HandlerError::Statement(error) => {
                // Statements ahead of it come first: theirs may fail, too, but each in a group of its own.
                self.stream.finish_all().await?;
                self.stream.report(&error);
                Ok(next)
            }
            HandlerError::Connection(error) => Err(error),
            HandlerError::Shutdown => self.shut_down().await,
        }
    }

    /// Ends a simple query or a group of extended messages.
    fn ready_for_query(&mut self) -> State {
        let status = self.backend.session().transaction_status();
        if status == TransactionStatus::Idle {
            // Portals live as long as their transaction.
            self.portals.clear();
        }
        self.stream.ready_for_query(status);
        State::Ready
    }

    /// A message over the limit was thrown away.
    async fn too_large(&mut self, kind: u8, size: usize) -> io::Result<State> {
        let error = too_large(size).hint("Split the statement, or send the rows with COPY.");
        match kind {
            b'Q' => self.end_simple(Err(error.into())).await,
            b'P' | b'B' => self.end_extended(Err(error.into())).await,
            // A piece of a COPY that is over already.
            _ => Ok(State::Ready),
        }
    }

    /// Where the next message begins is not known any more.
    async fn broken(&mut self, why: String) -> io::Result<State> {
        self.stream.report_fatal(&SqlError::new(sqlstate::PROTOCOL_VIOLATION, why)).await?;
        Ok(State::Closed)
    }

    /// The gateway is shutting down.
    async fn shut_down(&mut self) -> io::Result<State> {
        let message = "terminating connection due to administrator command";
        self.stream.report_fatal(&SqlError::new(sqlstate::SHUTDOWN, message)).await?;
        Ok(State::Closed)
    }
}
