//! COPY: a stream of data inside of a statement.
//!
//! In: pieces go to the planner's sink as they come, cut anywhere, and the next one is read when the sink has taken
//! the last: that is the backpressure. When a COPY fails, the error is sent at once, as in PostgreSQL; what the
//! client still sends of it is thrown away by the connection, whatever it expects next.

use std::io;

use planner::{CopyIn, CopyOut, SqlError, sqlstate};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout_at;

use crate::cancel::Scope;
use crate::client_stream::{ClientStream, HandlerError};
use crate::message::Message;
use crate::wire::{Frame, too_large};

/// Detail of an error that ends a COPY in the middle.
const ROWS_STAY: &str = "Rows that were written before stay: each row is atomic by itself.";

/// COPY .. FROM STDIN: takes the client's data; gives the command tag.
pub(crate) async fn take_in<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut ClientStream<S>,
    mut copy: CopyIn,
    scope: &Scope,
) -> Result<String, HandlerError> {
    stream.replies().copy_in(copy.columns(), copy.binary());
    stream.flush().await?;
    loop {
        let (kind, message) = match copy.deadline() {
            None => next_message(stream, scope).await?,
            // Also while the client sends nothing.
            Some(deadline) => match timeout_at(deadline.into(), next_message(stream, scope)).await {
                Ok(message) => message?,
                Err(_) => return Err(copy.timed_out().into()),
            },
        };
        match message {
            Message::CopyData(data) => stream.attend(scope, true, copy.push(&data)).await?,
            Message::CopyDone => return stream.attend(scope, true, copy.finish()).await,
            Message::CopyFail(why) => {
                let message = format!("COPY from stdin failed: {}", &*why);
                return Err(SqlError::new(sqlstate::CANCELED, message).detail(ROWS_STAY).into());
            }
            // Drivers that use the extended protocol send Sync right behind Execute: it belongs before the data.
            Message::Flush | Message::Sync => {}
            Message::Terminate => return Err(lost(io::ErrorKind::UnexpectedEof)),
            Message::Query(_)
            | Message::Parse { .. }
            | Message::Bind(_)
            | Message::Describe(..)
            | Message::Close(..)
            | Message::Execute { .. }
            | Message::Unexpected(_) => {
                let message = format!("unexpected message type 0x{kind:02X} during COPY from stdin");
                return Err(SqlError::new(sqlstate::PROTOCOL_VIOLATION, message).into());
            }
        }
    }
}

/// The next message of the client, with its type; a cancel request ends the wait.
async fn next_message<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut ClientStream<S>,
    scope: &Scope,
) -> Result<(u8, Message), HandlerError> {
    let frame = match scope.guard(stream.next_frame()).await {
        Ok(frame) => frame?,
        Err(cancelled) => return Err(cancelled.error(false).detail(ROWS_STAY).into()),
    };
    match frame {
        Some(Frame::Message(kind, body)) => Ok((kind, Message::decode(kind, body)?)),
        Some(Frame::TooLarge(_, size)) => Err(too_large(size).into()),
        Some(Frame::Broken(why)) => Err(io::Error::new(io::ErrorKind::InvalidData, why).into()),
        Some(Frame::Closed) => Err(lost(io::ErrorKind::UnexpectedEof)),
        None => Err(HandlerError::Shutdown),
    }
}

fn lost(kind: io::ErrorKind) -> HandlerError {
    HandlerError::Connection(kind.into())
}

/// COPY .. TO STDOUT: sends the data; gives the command tag.
pub(crate) async fn give_out<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut ClientStream<S>,
    mut copy: CopyOut,
    scope: &Scope,
) -> Result<String, HandlerError> {
    stream.replies().copy_out(copy.columns(), copy.binary());
    while let Some(lines) = stream.attend(scope, false, copy.next()).await? {
        for line in lines {
            stream.replies().copy_data(&line);
            stream.flush_large().await?;
        }
    }
    stream.replies().copy_done();
    Ok(copy.tag())
}
