//! The byte stream of one client: frames in, replies out.
//!
//! In: a frame is a type byte, a length, and a body. Its size is capped before anything is allocated for it. A
//! length that is over the cap of a message that may be long (a statement, parameters) is skipped and reported, so
//! that the session survives it; any other nonsense ends the connection.
//!
//! Out: replies gather in one buffer. It goes out when a reply is due (after a Sync, a Flush or a simple query)
//! *and* the connection is about to wait, or when it has grown past [`OUTBOX_FLUSH`]. So a group of messages costs
//! one write, and a pipeline of groups that arrived together costs one as well. Writing waits until the client has
//! taken the bytes: that is the backpressure on large results.

use std::io;
use std::pin::pin;
use std::task::Poll;

use bytes::{Buf, Bytes, BytesMut};
use futures::poll;
use planner::{SqlError, sqlstate};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::response::Outbox;

/// The outgoing buffer is written when it has grown past this, in bytes.
const OUTBOX_FLUSH: usize = 64 << 10;
/// The longest statement text, or set of parameters, or piece of COPY, in bytes. Rows are far smaller (1 MiB by
/// default); a COPY may send any number of pieces.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// The longest message of the other kinds, in bytes (as in PostgreSQL).
const SMALL_MESSAGE_BYTES_MAX: usize = 10_000;
/// The longest length that makes sense at all, in bytes (PostgreSQL's limit of a message).
const FRAME_BYTES_MAX: usize = 1 << 30;
/// The longest startup packet, in bytes (as in PostgreSQL).
const STARTUP_BYTES_MAX: usize = 10_000;
/// While a statement runs, so much is read ahead of a pipelining client before it has to wait, in bytes.
const READ_AHEAD_MAX: usize = 256 << 10;
/// Buffers of an idle session do not stay larger than this, in bytes.
const IDLE_BYTES_MAX: usize = 16 << 10;
/// Room made for each read, in bytes.
const READ_BYTES: usize = 8 << 10;

/// What came in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A complete message: its type and body.
    Message(u8, Bytes),
    /// A message over its cap was skipped: its type and size.
    TooLarge(u8, usize),
    /// The length of a frame is impossible, so the next one cannot be found; the text says more.
    Broken(String),
    /// The client is gone.
    Closed,
}

/// The error for a message of `size` bytes that was skipped for its size.
pub(crate) fn too_large(size: usize) -> SqlError {
    SqlError::new(
        sqlstate::LIMIT_EXCEEDED,
        format!("message of {size} bytes is over the limit of {MESSAGE_BYTES_MAX} bytes"),
    )
}

/// A client's stream with its buffers.
pub(crate) struct Wire<S> {
    io: S,
    inbox: BytesMut,
    /// Bytes of an oversized message yet to be thrown away, with its type and size.
    skipping: Option<(usize, u8, usize)>,
    /// Replies not yet sent. Handlers append to it.
    pub(crate) outbox: Outbox,
    /// A reply in the outbox is complete: send it before waiting.
    due: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// A stream that was just accepted.
    pub(crate) fn new(io: S) -> Wire<S> {
        Wire { io, inbox: BytesMut::new(), skipping: None, outbox: Outbox::default(), due: false }
    }

    /// The next packet of the startup phase: the body behind its length. Cancel-safe.
    pub(crate) async fn read_startup(&mut self) -> io::Result<Result<Bytes, Frame>> {
        loop {
            if let Some(length) = self.inbox.first_chunk::<4>() {
                let length = u32::from_be_bytes(*length) as usize;
                if !(8..=STARTUP_BYTES_MAX).contains(&length) {
                    return Ok(Err(Frame::Broken("invalid length of startup packet".into())));
                }
                if self.inbox.len() >= length {
                    let mut packet = self.inbox.split_to(length);
                    packet.advance(4);
                    return Ok(Ok(packet.freeze()));
                }
            }
            if !self.fill().await? {
                return Ok(Err(Frame::Closed));
            }
        }
    }

    /// Did the client send more than what was read so far?
    pub(crate) fn has_buffered(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// The next message; what is due is sent before waiting for it. Cancel-safe while it waits for input.
    pub(crate) async fn read(&mut self) -> io::Result<Frame> {
        loop {
            if let Some(frame) = self.buffered() {
                return Ok(frame);
            }
            self.flush_due().await?;
            self.shrink();
            if !self.fill().await? {
                return Ok(Frame::Closed);
            }
        }
    }

    /// The next message, if it has arrived completely. A broken frame stays where it is.
    pub(crate) fn buffered(&mut self) -> Option<Frame> {
        if let Some((left, kind, size)) = &mut self.skipping {
            let now = (*left).min(self.inbox.len());
            self.inbox.advance(now);
            *left -= now;
            let (left, kind, size) = (*left, *kind, *size);
            if left > 0 {
                return None;
            }
            self.skipping = None;
            return Some(Frame::TooLarge(kind, size));
        }
        let header = self.inbox.first_chunk::<5>()?;
        let kind = header[0];
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        let may_be_long = matches!(kind, b'Q' | b'P' | b'B' | b'd' | b'f');
        if !(4..=FRAME_BYTES_MAX).contains(&length) || (!may_be_long && length > SMALL_MESSAGE_BYTES_MAX) {
            return Some(Frame::Broken(format!("invalid message length {length} of message type {kind}")));
        }
        if length > MESSAGE_BYTES_MAX {
            self.inbox.advance(5);
            self.skipping = Some((length - 4, kind, length));
            return self.buffered();
        }
        if self.inbox.len() < 1 + length {
            return None;
        }
        let mut frame = self.inbox.split_to(1 + length);
        frame.advance(5);
        Some(Frame::Message(kind, frame.freeze()))
    }

    /// Is the next message a Sync that has arrived already?
    pub(crate) fn sync_is_next(&self) -> bool {
        self.skipping.is_none() && self.inbox.starts_with(b"S\0\0\0\x04")
    }

    /// Does anything follow that Sync?
    pub(crate) fn more_behind_sync(&self) -> bool {
        self.inbox.len() > 5
    }

    /// Completes when the client is gone; reads ahead meanwhile, within limits. Cancel-safe.
    async fn hangup(&mut self) -> io::Error {
        loop {
            if self.inbox.len() >= READ_AHEAD_MAX {
                // Beyond this the client has to wait, and a lost connection shows when the reply is written.
                return std::future::pending().await;
            }
            match self.fill().await {
                Ok(true) => {}
                Ok(false) => return io::ErrorKind::UnexpectedEof.into(),
                Err(error) => return error,
            }
        }
    }

    /// Waits for work on a statement, and meanwhile for the client: what is due is sent before a wait, and a lost
    /// client ends the work.
    pub(crate) async fn attend<T>(&mut self, work: impl Future<Output = T>) -> io::Result<T> {
        let mut work = pin!(work);
        // The common case costs no look at the socket.
        if let Poll::Ready(done) = poll!(work.as_mut()) {
            return Ok(done);
        }
        self.flush_due().await?;
        tokio::select! {
            biased;
            done = work => Ok(done),
            lost = self.hangup() => Err(lost),
        }
    }

    /// The reply in the outbox is complete.
    pub(crate) fn mark_due(&mut self) {
        self.due = true;
    }

    /// Sends what is due.
    pub(crate) async fn flush_due(&mut self) -> io::Result<()> {
        if self.due {
            self.flush().await?;
        }
        Ok(())
    }

    /// Sends the outbox if it has grown large.
    pub(crate) async fn flush_large(&mut self) -> io::Result<()> {
        if self.outbox.bytes().len() >= OUTBOX_FLUSH {
            self.flush().await?;
        }
        Ok(())
    }

    /// Sends the outbox.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        self.due = false;
        if self.outbox.bytes().is_empty() {
            return Ok(());
        }
        let written = self.io.write_all(self.outbox.bytes()).await;
        self.outbox.clear();
        written?;
        self.io.flush().await
    }

    /// Says goodbye: sends what is left and closes the sending side.
    pub(crate) async fn close(&mut self) -> io::Result<()> {
        self.flush().await?;
        self.io.shutdown().await
    }

    async fn fill(&mut self) -> io::Result<bool> {
        self.inbox.reserve(READ_BYTES);
        Ok(self.io.read_buf(&mut self.inbox).await? > 0)
    }

    /// Gives large buffers back before an idle wait.
    fn shrink(&mut self) {
        if self.inbox.is_empty() && self.inbox.capacity() > IDLE_BYTES_MAX {
            self.inbox = BytesMut::new();
        }
        self.outbox.shrink(IDLE_BYTES_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn frames(input: &[u8], piece: usize) -> Vec<Frame> {
        let (mut client, server) = tokio::io::duplex(64);
        let input = input.to_vec();
        let writer = tokio::spawn(async move {
            for piece in input.chunks(piece) {
                if client.write_all(piece).await.is_err() {
                    break;
                }
            }
        });
        let mut wire = Wire::new(server);
        let mut frames = Vec::new();
        loop {
            let frame = wire.read().await.unwrap();
            let last = matches!(frame, Frame::Closed | Frame::Broken(_));
            frames.push(frame);
            if last {
                break;
            }
        }
        drop(wire);
        writer.await.unwrap();
        frames
    }

    #[tokio::test]
    async fn frames_are_found_however_the_bytes_are_cut() {
        for piece in 1..12 {
            let got = frames(b"Q\0\0\0\x06a\0S\0\0\0\x04X\0\0\0\x04", piece).await;
            let expected = [
                Frame::Message(b'Q', Bytes::from_static(b"a\0")),
                Frame::Message(b'S', Bytes::new()),
                Frame::Message(b'X', Bytes::new()),
                Frame::Closed,
            ];
            assert_eq!(got, expected);
        }
    }

    #[tokio::test]
    async fn a_long_message_is_skipped_and_the_next_one_is_read() {
        let size = MESSAGE_BYTES_MAX + 1;
        let mut input = vec![b'Q'];
        input.extend((size as u32).to_be_bytes());
        input.resize(1 + size, b'x');
        input.extend(b"S\0\0\0\x04");
        let got = frames(&input, 1 << 20).await;
        assert_eq!(got, [Frame::TooLarge(b'Q', size), Frame::Message(b'S', Bytes::new()), Frame::Closed]);
    }

    #[tokio::test]
    async fn impossible_lengths_end_the_stream() {
        for input in
            [&b"Q\0\0\0\x03"[..], b"Q\xff\xff\xff\xff", b"Q\x7f\xff\xff\xff", b"S\0\x01\0\0", b"\0\0\0\0\0"]
        {
            let got = frames(input, 64).await;
            assert!(matches!(got[..], [Frame::Broken(_)]), "{got:?}");
        }
    }
}
