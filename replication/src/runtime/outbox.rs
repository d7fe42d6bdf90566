//! What waits to be sent to one peer, and the stream of frames that the transport takes from it.
//!
//! Cohorts push under their locks, so pushing never waits: without a stream, or over the limits, the message is
//! dropped and counted; the protocol sends again what mattered. The transport pulls: whenever the connection can take
//! more, one frame with everything that has queued up meanwhile is made. So batches form by themselves exactly when
//! the peer or the network is the bottleneck, and at low load a message goes out at once.
//!
//! Two lanes: proposals are bulk, all else is small and urgent. As long as all fits into one frame, order is kept;
//! beyond that the small ones overtake, so that heartbeats and acks never wait behind megabytes. The
//! protocol copes with a proposal that comes late.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use futures::Stream;
use wal::{CohortId, sync};

use super::metrics::Metrics;
use super::wire::{self, proto};
use crate::protocol::message::{FromLeader, Message};

/// Once a frame holds so many bytes of proposals, the rest waits for the next one.
const FRAME_BYTES: usize = 256 << 10;
/// Most bytes of proposals that wait for one peer.
const BULK_BYTES_MAX: usize = 16 << 20;
/// Most small messages that wait for one peer: a stalled connection must not eat the memory.
const CONTROL_LEN_MAX: usize = 1 << 16;
/// What an entry takes in memory and on the wire beside its payload, roughly.
const ENTRY_BYTES: usize = 48;
/// What a message takes beside its entries, roughly.
const MESSAGE_BYTES: usize = 64;

/// The queue to one peer.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Queue {
    /// Which stream may take from here; grows by one with each stream made.
    stream: u64,
    /// Whether that stream stands; until then nothing is kept.
    open: bool,
    control: VecDeque<Queued>,
    bulk: VecDeque<Queued>,
    bulk_bytes: usize,
    /// Place of the next message in the order of pushes.
    next: u64,
    /// The stream's task, if it waits for messages.
    waker: Option<Waker>,
}

#[derive(Debug)]
struct Queued {
    order: u64,
    cohort: CohortId,
    message: Message,
    bytes: usize,
}

impl Outbox {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Outbox {
        Outbox { queue: Mutex::new(Queue::default()), metrics }
    }

    /// Queues a message. The stream is not woken: see [`Outbox::wake`].
    pub(crate) fn push(&self, cohort: CohortId, message: Message) {
        let bytes = size(&message);
        let bulk = is_bulk(&message);
        let mut queue = self.lock();
        let full = match bulk {
            true => queue.bulk_bytes + bytes > BULK_BYTES_MAX && !queue.bulk.is_empty(),
            false => queue.control.len() >= CONTROL_LEN_MAX,
        };
        if full || !queue.open {
            drop(queue);
            self.metrics.messages_dropped.count();
            return;
        }
        let queued = Queued { order: queue.next, cohort, message, bytes };
        queue.next += 1;
        match bulk {
            true => {
                queue.bulk_bytes += bytes;
                queue.bulk.push_back(queued);
            }
            false => queue.control.push_back(queued),
        }
    }

    /// Messages that wait, and bytes of bulk among them.
    pub(crate) fn unsent(&self) -> (u64, u64) {
        let queue = self.lock();
        ((queue.control.len() + queue.bulk.len()) as u64, queue.bulk_bytes as u64)
    }

    /// Lets the transport take what was pushed. Apart from pushing, so that what many cohorts say at one tick
    /// goes out in one frame.
    pub(crate) fn wake(&self) {
        let waker = self.lock().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// A new stream's frames, introduced by `hello`. Frames of former streams end. Messages are taken once
    /// [`Outbox::open`] is called for it.
    pub(crate) fn frames(self: &Arc<Self>, hello: proto::Hello) -> Frames {
        let mut queue = self.lock();
        queue.stream += 1;
        queue.clear();
        Frames { outbox: Arc::clone(self), stream: queue.stream, hello: Some(hello) }
    }

    /// The peer has answered the newest stream's introduction: messages are welcome from now on.
    pub(crate) fn open(&self) {
        self.lock().open = true;
    }

    /// The stream is gone, and with it whatever was queued.
    pub(crate) fn close(&self) {
        let waker = {
            let mut queue = self.lock();
            queue.stream += 1;
            queue.clear();
            queue.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// A panic under this lock cannot leave the queue in a bad state: at worst a message is missing.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        sync::lock(&self.queue)
    }
}

impl Queue {
    fn clear(&mut self) {
        self.open = false;
        self.control.clear();
        self.bulk.clear();
        self.bulk_bytes = 0;
    }

    /// The next message of a frame that holds `bytes` already: the older of the two lanes' heads, as long as
    /// there is room for bulk, then small ones only.
    fn take(&mut self, bytes: usize) -> Option<Queued> {
        let bulk_first = match (self.control.front(), self.bulk.front()) {
            (Some(control), Some(bulk)) => bulk.order < control.order,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        let room = self.bulk.front().is_some_and(|bulk| bytes == 0 || bytes + bulk.bytes <= FRAME_BYTES);
        if bulk_first && room {
            let queued = self.bulk.pop_front()?;
            self.bulk_bytes -= queued.bytes;
            return Some(queued);
        }
        self.control.pop_front()
    }
}

/// The frames of one stream, pulled by the transport.
#[derive(Debug)]
pub(crate) struct Frames {
    outbox: Arc<Outbox>,
    stream: u64,
    hello: Option<proto::Hello>,
}

impl Stream for Frames {
    type Item = proto::Frame;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<proto::Frame>> {
        if let Some(hello) = self.hello.take() {
            return Poll::Ready(Some(proto::Frame { hello: Some(hello), envelopes: Vec::new() }));
        }
        let mut queue = self.outbox.lock();
        if queue.stream != self.stream {
            return Poll::Ready(None);
        }
        let (mut taken, mut bytes, mut bulk_bytes) = (Vec::new(), 0, 0);
        while let Some(queued) = queue.take(bulk_bytes) {
            bytes += queued.bytes;
            if is_bulk(&queued.message) {
                bulk_bytes += queued.bytes;
            }
            taken.push(queued);
        }
        if taken.is_empty() {
            queue.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        drop(queue);
        let metrics = &self.outbox.metrics;
        metrics.frames_sent.count();
        metrics.messages_sent.add(taken.len() as u64);
        metrics.bytes_sent.add(bytes as u64);
        let envelopes = taken.into_iter().map(|queued| wire::encode(queued.cohort, queued.message)).collect();
        Poll::Ready(Some(proto::Frame { hello: None, envelopes }))
    }
}

/// Whether a message goes in the lane that heartbeats do not wait behind.
fn is_bulk(message: &Message) -> bool {
    use FromLeader::{Propose, Snapshot};
    matches!(message, Message::FromLeader(_, Propose { .. } | Snapshot { .. }))
}

/// Whether a message brings entries for the log.
pub(crate) fn has_entries(message: &Message) -> bool {
    matches!(message, Message::FromLeader(_, FromLeader::Propose { entries, .. }) if !entries.is_empty())
}

/// What a message weighs, roughly.
pub(crate) fn size(message: &Message) -> usize {
    match message {
        Message::FromLeader(_, FromLeader::Propose { entries, .. }) => {
            MESSAGE_BYTES + entries.iter().map(|entry| ENTRY_BYTES + entry.payload.len()).sum::<usize>()
        }
        Message::FromLeader(_, FromLeader::Snapshot { part, .. }) => MESSAGE_BYTES + part.bytes.len(),
        Message::FromLeader(..) | Message::ToLeader(..) | Message::BetweenPeers(_) => MESSAGE_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::StreamExt;
    use wal::{ChainHash, Entry, EntryKind, Epoch, Lsn};

    use super::*;
    use crate::protocol::message::{Heartbeat, ToLeader};
    use crate::protocol::time::{Millis, Stamp};

    fn gap(seq: u64) -> Message {
        Message::ToLeader(Epoch(1), ToLeader::Gap { last: Lsn::new(1, seq) })
    }

    fn propose(bytes: usize) -> Message {
        let payload = Bytes::from(vec![7; bytes]);
        let entry = Entry::next(Lsn::ZERO, ChainHash::ZERO, Epoch(1), EntryKind::Write, payload);
        let heartbeat = Heartbeat {
            stamp: Stamp(1),
            committed: Lsn::ZERO,
            committed_chain: ChainHash::ZERO,
            lease: Millis(500),
            echo: None,
        };
        Message::FromLeader(
            Epoch(1),
            FromLeader::Propose { prev: Lsn::ZERO, entries: vec![entry], heartbeat },
        )
    }

    fn hello() -> proto::Hello {
        proto::Hello { version: 1, cluster: "c".into(), node: 1, incarnation: 2, to: 3, newest_version: None }
    }

    /// What a frame holds: `g` for a gap answer, `P` for a proposal.
    async fn next(frames: &mut Frames) -> String {
        let frame = frames.next().await.expect("the stream goes on");
        let letter = |envelope: proto::Envelope| match wire::decode(envelope).expect("own encoding").1 {
            Message::FromLeader(_, FromLeader::Propose { .. }) => 'P',
            _ => 'g',
        };
        frame.envelopes.into_iter().map(letter).collect()
    }

    fn outbox() -> (Arc<Outbox>, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::default());
        (Arc::new(Outbox::new(Arc::clone(&metrics))), metrics)
    }

    #[tokio::test]
    async fn keeps_order_in_one_frame() {
        let (outbox, metrics) = outbox();
        let mut frames = outbox.frames(hello());
        assert!(frames.next().await.is_some_and(|frame| frame.hello.is_some()));
        outbox.open();
        for message in [gap(1), propose(10), gap(2), propose(10)] {
            outbox.push(CohortId(1), message);
        }
        assert_eq!(next(&mut frames).await, "gPgP");
        assert_eq!((metrics.frames_sent.get(), metrics.messages_sent.get()), (1, 4));
    }

    #[tokio::test]
    async fn small_messages_overtake_bulk() {
        let (outbox, _) = outbox();
        let mut frames = outbox.frames(hello());
        frames.next().await;
        outbox.open();
        for _ in 0..3 {
            outbox.push(CohortId(1), propose(200 << 10));
        }
        outbox.push(CohortId(1), gap(1));
        outbox.push(CohortId(2), gap(2));
        assert_eq!(next(&mut frames).await, "Pgg");
        assert_eq!(next(&mut frames).await, "P");
        // One larger than any frame goes alone.
        outbox.push(CohortId(1), propose(1 << 20));
        assert_eq!(next(&mut frames).await, "P");
        assert_eq!(next(&mut frames).await, "P");
    }

    #[tokio::test]
    async fn drops_what_is_too_much_or_has_no_stream() {
        let (outbox, metrics) = outbox();
        outbox.push(CohortId(1), gap(1));
        assert_eq!(metrics.messages_dropped.get(), 1);
        let mut frames = outbox.frames(hello());
        frames.next().await;
        outbox.open();
        for _ in 0..20 {
            outbox.push(CohortId(1), propose(1 << 20));
        }
        assert_eq!(metrics.messages_dropped.get(), 1 + 5);
        outbox.push(CohortId(1), gap(1));
        assert_eq!(next(&mut frames).await, "Pg");
    }

    #[tokio::test]
    async fn a_new_stream_ends_the_old_one_and_starts_empty() {
        let (outbox, _) = outbox();
        let mut old = outbox.frames(hello());
        old.next().await;
        outbox.open();
        outbox.push(CohortId(1), gap(1));
        let mut new = outbox.frames(hello());
        assert_eq!(old.next().await, None);
        new.next().await;
        outbox.open();
        outbox.push(CohortId(1), propose(1));
        assert_eq!(next(&mut new).await, "P");
        outbox.close();
        assert_eq!(new.next().await, None);
    }

    #[tokio::test]
    async fn wakes_the_waiting_stream() {
        let (outbox, _) = outbox();
        let mut frames = outbox.frames(hello());
        frames.next().await;
        outbox.open();
        let waiting = tokio::spawn(async move { next(&mut frames).await });
        tokio::task::yield_now().await;
        outbox.push(CohortId(1), gap(1));
        outbox.wake();
        assert_eq!(waiting.await.expect("no panic"), "g");
    }
}
