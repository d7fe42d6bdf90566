//! What clients ask of members.

use bytes::Bytes;
use wal::{Lsn, NodeId};

use super::world::{Reading, World};
use crate::protocol::event::{Event, Token};

impl World {
    fn token(&mut self) -> Token {
        self.tokens += 1;
        Token(self.tokens)
    }

    /// A client's write at a member.
    pub fn write(&mut self, number: u32, payload: &str) -> Token {
        let token = self.token();
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        self.payloads.insert(token, payload.clone());
        self.event(number, Event::Write { token, payload });
        token
    }

    /// A strong read at a member: under its lease, or else through a confirmation.
    pub fn read(&mut self, number: u32) {
        let floor = self.acknowledged;
        let (now, machine) = (self.clock(number), &self.machines[&number]);
        if machine.cohort.is_none() {
            return;
        }
        if machine.lease.is_some_and(|lease| now < lease.until) {
            self.served(number, floor, "under a lease");
            return;
        }
        let token = self.token();
        self.reads.insert(token, Reading { node: number, floor });
        self.event(number, Event::Read { token, after: Lsn::ZERO });
    }

    /// All clients whose reads wait at a member leave.
    pub fn leave(&mut self, number: u32) {
        let left: Vec<Token> =
            self.reads.extract_if(.., |_, reading| reading.node == number).map(|(token, _)| token).collect();
        self.event(number, Event::Left(left));
    }

    pub(super) fn served(&mut self, number: u32, floor: u64, how: &str) {
        let seen = self.machines[&number].applied.last().map_or(0, |entry| entry.lsn.seq);
        assert!(seen >= floor, "stale strong read on n{number} {how}: saw {seen}, acknowledged was {floor}");
        self.served += 1;
    }

    /// Asks a member to hand leadership over.
    pub fn transfer(&mut self, number: u32, target: Option<u32>) {
        let token = self.token();
        self.event(number, Event::Transfer { token, target: target.map(NodeId) });
    }
}
