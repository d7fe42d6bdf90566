//! Strong reads that found no lease: each waits until its LSN is applied and a majority has answered a message that was sent
//! after the read arrived [confirm-after-arrival]. None waits forever: one whose client has left (its deadline passed, it
//! was cancelled, its connection broke) is forgotten, and a leader without a majority refuses all [suspend-without-majority].

use wal::Lsn;

use crate::protocol::event::Token;
use crate::protocol::time::Stamp;

/// A read that waits for a confirmation of the leadership.
#[derive(Debug)]
struct PendingRead {
    token: Token,
    /// Not before this LSN is committed and applied.
    after: Lsn,
    /// Answers to messages stamped so or later count.
    since: Stamp,
}

/// All reads that wait.
#[derive(Debug, Default)]
pub(crate) struct Reads(Vec<PendingRead>);

impl Reads {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn push(&mut self, token: Token, after: Lsn, since: Stamp) {
        self.0.push(PendingRead { token, after, since });
    }

    /// Takes out the reads that may be served, in order of arrival: `confirmed` is the newest stamp that a majority has
    /// answered, and with a lease (`leased`) no confirmation is needed.
    pub(crate) fn take_ready(&mut self, applied: Lsn, leased: bool, confirmed: Option<Stamp>) -> Vec<Token> {
        let mut ready = Vec::new();
        self.0.retain(|read| {
            let is_confirmed = leased || confirmed.is_some_and(|stamp| stamp >= read.since);
            let is_ready = read.after.seq <= applied.seq && is_confirmed;
            if is_ready {
                ready.push(read.token);
            }
            !is_ready
        });
        ready
    }

    /// Nobody waits for these any more.
    pub(crate) fn forget(&mut self, left: &[Token]) {
        self.0.retain(|read| !left.contains(&read.token));
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Empties it: these reads are not served.
    pub(crate) fn abandon(&mut self) -> impl Iterator<Item = Token> {
        self.0.drain(..).map(|read| read.token)
    }
}
