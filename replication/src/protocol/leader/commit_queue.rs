//! The paper's commit queue: clients' writes that have an LSN and wait for their majority. Their entries are in the log's
//! tail; here is who asked for them.
//!
//! LSNs ascend, all lie behind the commit point, and `bytes` is the payload of all of them.

use std::collections::VecDeque;

use wal::Lsn;

use crate::protocol::event::Token;
use crate::protocol::settings::Settings;

/// A write that waits for its commit.
#[derive(Debug)]
struct Waiting {
    lsn: Lsn,
    token: Token,
    bytes: u64,
}

/// Writes in flight, in LSN order.
#[derive(Debug, Default)]
pub(crate) struct CommitQueue {
    writes: VecDeque<Waiting>,
    bytes: u64,
}

impl CommitQueue {
    /// Whether no further write is taken.
    pub(crate) fn is_full(&self, settings: &Settings) -> bool {
        self.writes.len() >= settings.queue_len_max || self.bytes >= settings.queue_bytes_max
    }

    pub(crate) fn push(&mut self, lsn: Lsn, token: Token, bytes: u64) {
        self.writes.push_back(Waiting { lsn, token, bytes });
        self.bytes += bytes;
    }

    /// The next write that is committed when everything up to `committed` is; to be called until there is none.
    pub(crate) fn pop_committed(&mut self, committed: Lsn) -> Option<(Lsn, Token)> {
        let first = self.writes.pop_front_if(|first| first.lsn.seq <= committed.seq)?;
        self.bytes -= first.bytes;
        Some((first.lsn, first.token))
    }

    /// Empties it: the leadership is lost, and these may or may not commit.
    pub(crate) fn abandon(&mut self) -> impl Iterator<Item = Token> {
        self.bytes = 0;
        self.writes.drain(..).map(|write| write.token)
    }

    /// Panics if this does not hold together.
    pub(crate) fn check(&self, committed: Lsn) {
        if let (Some(first), Some(last)) = (self.writes.front(), self.writes.back()) {
            assert!(first.lsn.seq > committed.seq, "a committed write is answered at once");
            assert!(first.lsn.seq <= last.lsn.seq, "writes wait in LSN order");
        } else {
            assert_eq!(self.bytes, 0, "an empty queue holds no bytes");
        }
    }
}
