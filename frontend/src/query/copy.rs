//! COPY: a stream of data inside of a statement.
//!
//! In: pieces go to the planner's sink as they come, cut anywhere, and the next one is read when the sink has taken
//! the last: that is the backpressure. When a COPY fails, the error is sent at once, as in PostgreSQL; what the
//! client still sends of it is thrown away ([`Connection`]'s ready state ignores it, its skip state anything).

use std::io;

use planner::{CopyIn, CopyOut, SqlError, sqlstate};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::cancel::Scope;
use crate::connection::Connection;
use crate::message::Message;
use crate::wire::{Frame, MESSAGE_BYTES_MAX};

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// COPY .. FROM STDIN: takes the client's data; gives the command tag.
    pub(crate) async fn copy_in(
        &mut self,
        mut copy: CopyIn,
        scope: &Scope,
    ) -> io::Result<Result<String, SqlError>> {
        self.out().copy_in(copy.columns());
        self.wire.flush().await?;
        loop {
            let (kind, body) = match scope.guard(self.next_frame()).await {
                Ok(frame) => match frame? {
                    Some(Frame::Message(kind, body)) => (kind, body),
                    Some(Frame::TooLarge(_, size)) => {
                        let message =
                            format!("message of {size} bytes is over the limit of {MESSAGE_BYTES_MAX} bytes");
                        return Ok(Err(SqlError::new(sqlstate::LIMIT_EXCEEDED, message)));
                    }
                    Some(Frame::Broken(why)) => return Err(io::Error::new(io::ErrorKind::InvalidData, why)),
                    Some(Frame::Closed) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    None => {
                        self.stopped().await?;
                        self.wire.close().await?;
                        return Err(io::ErrorKind::ConnectionAborted.into());
                    }
                },
                Err(cancelled) => return Ok(Err(cancelled.error(false).detail(ROWS_STAY))),
            };
            let message = match Message::decode(kind, body) {
                Ok(message) => message,
                Err(error) => return Ok(Err(error)),
            };
            match message {
                Message::CopyData(data) => match self.wire.attend(scope.guard(copy.push(&data))).await? {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return Ok(Err(error)),
                    Err(cancelled) => return Ok(Err(cancelled.error(true))),
                },
                Message::CopyDone => {
                    return match self.wire.attend(scope.guard(copy.finish())).await? {
                        Ok(done) => Ok(done),
                        Err(cancelled) => Ok(Err(cancelled.error(true))),
                    };
                }
                Message::CopyFail(why) => {
                    let message = format!("COPY from stdin failed: {}", &*why);
                    return Ok(Err(SqlError::new(sqlstate::CANCELED, message).detail(ROWS_STAY)));
                }
                // Drivers that use the extended protocol send Sync right behind Execute: it belongs before the data.
                Message::Flush | Message::Sync => {}
                Message::Terminate => return Err(io::ErrorKind::UnexpectedEof.into()),
                Message::Query(_)
                | Message::Parse { .. }
                | Message::Bind(_)
                | Message::Describe(..)
                | Message::Close(..)
                | Message::Execute { .. }
                | Message::Unexpected(_) => {
                    let message = format!("unexpected message type 0x{kind:02X} during COPY from stdin");
                    return Ok(Err(SqlError::new(sqlstate::PROTOCOL_VIOLATION, message)));
                }
            }
        }
    }

    /// COPY .. TO STDOUT: sends the data; gives the command tag.
    pub(crate) async fn copy_out(
        &mut self,
        mut copy: CopyOut,
        scope: &Scope,
    ) -> io::Result<Result<String, SqlError>> {
        self.out().copy_out(copy.columns());
        loop {
            match self.wire.attend(scope.guard(copy.next())).await? {
                Ok(Ok(Some(lines))) => {
                    for line in lines {
                        self.wire.outbox.copy_data(&line);
                        self.wire.flush_large().await?;
                    }
                }
                Ok(Ok(None)) => break,
                Ok(Err(error)) => return Ok(Err(error)),
                Err(cancelled) => return Ok(Err(cancelled.error(false))),
            }
        }
        self.out().copy_done();
        Ok(Ok(copy.tag()))
    }
}

const ROWS_STAY: &str = "Rows that were written before stay: each row is atomic by itself.";
