//! One cohort on one node, with its store and its clients: inputs in, effects performed, in order.
//!
//! [`Drive`] is what stands between the pure protocol and the world: it lets the store decide writes, keeps the clients
//! that wait, applies what is committed, and hands everything else to its [`Environment`]. It has no lock, no clock, no
//! task and no I/O of its own, so the tokio runtime and a simulated world run the same code. Nothing in it waits.

mod clients;
mod answer;

use std::mem;
use std::sync::Arc;

use wal::{ChainHash, Entry, Epoch, Lsn, NodeId, Record};

pub use self::answer::{ReplicaError, WriteResult};
use self::clients::{Client, Clients, Decided};
pub use self::clients::{DoneSender, Input, WriteSender};
use crate::protocol::coordination::CoordinationRequest;
use crate::protocol::effect::{Effect, Lease, Reply, Unavailable};
use crate::protocol::event::{Event, Ticket};
use crate::protocol::message::{Envelope, FromLeader, Message, SnapshotPart};
use crate::protocol::notice::Notice;
use crate::protocol::time::Stamp;
use crate::protocol::{Cohort, Config, Recovered};
use crate::store::{Decision, Store};

/// What a cohort needs of its node. None of these calls may wait, or call back.
pub trait Environment {
    /// The node's boot-time clock.
    fn now(&self) -> Stamp;
    /// Whether the node has ended: then nothing acts any more.
    fn is_dead(&self) -> bool;
    /// Append to the shared log; with a ticket, [`Event::Forced`] (or [`Event::AppendFailed`]) follows.
    fn append(&mut self, records: Vec<Record>, ticket: Option<Ticket>);
    /// Send to a member.
    fn send(&mut self, envelope: Envelope);
    /// Read the log for a follower; [`Event::LogRead`] follows.
    fn read_log(&mut self, to: NodeId, after: Lsn, bytes_max: u64);
    /// Have the store read a part of a snapshot ([`Store::read_snapshot`]); [`Event::SnapshotRead`] follows.
    fn read_snapshot(&mut self, to: NodeId, snapshot: u64, part: u64, flushed: Lsn);
    /// Have the store keep a part ([`Store::receive_snapshot`]); [`Event::SnapshotReceived`] follows.
    fn receive_snapshot(&mut self, snapshot: u64, part: SnapshotPart);
    /// Have the store throw everything away ([`Store::wipe`]); [`Event::DataWiped`] follows.
    fn wipe(&mut self);
    /// The store has taken a snapshot, or thrown everything away: it holds everything up to here.
    fn snapshot_installed(&mut self, flushed: Lsn);
    /// Ask the coordinator; [`Event::Coordinated`] follows.
    fn coordinate(&mut self, request: CoordinationRequest);
    /// Let readers see this lease, or none.
    fn publish(&mut self, lease: Option<Lease>);
    /// The epoch of the published lease, if it holds now.
    fn leased(&self) -> Option<Epoch>;
    /// Entries were applied; readers see them.
    fn applied(&mut self, entries: &[Entry]);
    /// A write was handed to the protocol.
    fn proposing(&mut self) {}
    /// A client is about to be answered.
    fn answering(&mut self, reply: &Reply);
    /// The leadership of this epoch is open here.
    fn opened(&mut self, epoch: Epoch);
    /// A change for the node's log.
    fn notice(&mut self, notice: Notice) {
        let _ = notice;
    }
    /// A fact that an operator must see.
    fn alarm(&mut self, text: String);
}

/// One cohort, driven.
pub struct Drive<S: Store> {
    me: NodeId,
    store: Arc<S>,
    cohort: Cohort,
    /// The leadership that is open here.
    open: Option<Epoch>,
    applied_chain: ChainHash,
    /// The store's tables are damaged, as last reported to the cohort.
    damaged: bool,
    /// The leader writes what this program does not know; said once.
    outdated: bool,
    clients: Clients<S>,
    /// Reused between steps.
    effects: Vec<Effect>,
}

impl<S: Store> Drive<S> {
    /// Recovers the cohort. Call [`Drive::settle`] before anything else: what is known committed is applied then.
    pub fn recover(config: Config, recovered: Recovered, store: Arc<S>, now: Stamp) -> Drive<S> {
        let (me, applied_chain) = (config.me.node, recovered.log.checkpoint.flushed_chain);
        let mut effects = Vec::new();
        let cohort = Cohort::recover(config, recovered, now, &mut effects);
        Drive {
            me,
            store,
            cohort,
            open: None,
            applied_chain,
            damaged: false,
            outdated: false,
            clients: Clients::new(),
            effects,
        }
    }

    /// The protocol's part.
    pub fn cohort(&self) -> &Cohort {
        &self.cohort
    }

    /// The store.
    pub fn store(&self) -> &Arc<S> {
        &self.store
    }

    /// The leadership that is open here.
    pub fn open(&self) -> Option<Epoch> {
        self.open
    }

    /// The last applied LSN and the chain hash there.
    pub fn applied_chain(&self) -> (Lsn, ChainHash) {
        (self.store.applied(), self.applied_chain)
    }

    /// Takes one input and performs what follows from it.
    pub fn take(&mut self, input: Input<S>, environment: &mut impl Environment) {
        match input {
            Input::Event(event) if !self.understands(&event, environment) => {}
            Input::Event(event) => {
                match event {
                    Event::Tick => {
                        self.look_at_tables(environment);
                        self.forget_who_left(environment);
                    }
                    Event::DataWiped(Ok(())) => {
                        self.applied_chain = ChainHash::default();
                        environment.snapshot_installed(Lsn::ZERO);
                    }
                    _ => {}
                }
                self.step(event, environment);
            }
            Input::Write { request, sender } => self.write(request, sender, environment),
            // The client left before anything was done.
            Input::Read { sender, .. } if sender.is_closed() => {}
            Input::Read { after, sender } => {
                let token = self.clients.wait(Client::Read { sender });
                self.step(Event::Read { token, after }, environment);
            }
            Input::Transfer { target, sender } => {
                let token = self.clients.wait(Client::Transfer { sender });
                self.step(Event::Transfer { token, target }, environment);
            }
        }
        self.settle(environment);
    }

    /// Nothing happens here any more: clients are answered so.
    pub fn end(&mut self) {
        self.open = None;
        self.clients.end();
    }

    /// Whether the store knows how to apply all that a message would put into the log. If not, the message counts as lost:
    /// this replica falls behind, and what it has promised holds.
    fn understands(&mut self, event: &Event, environment: &mut impl Environment) -> bool {
        let Event::Received(Envelope { from, message, .. }) = event else { return true };
        let Message::FromLeader(_, FromLeader::Propose { entries, .. }) = message else { return true };
        let Some(unknown) = entries.iter().find(|entry| !self.store.understands(entry)) else { return true };
        if !mem::replace(&mut self.outdated, true) {
            let (lsn, leader) = (unknown.lsn, from.node);
            environment.alarm(format!(
                "{leader} writes entries ({lsn}) that this program is too old to apply: this replica does not follow until \
                 this node runs the newer program"
            ));
        }
        false
    }

    /// Reports to the cohort that the store cannot read its tables any more, or that it can again.
    fn look_at_tables(&mut self, environment: &impl Environment) {
        let damaged = self.store.damaged();
        if damaged != self.damaged {
            self.damaged = damaged;
            self.step(Event::Damaged(damaged), environment);
        }
    }

    /// A read whose client has left waits no more: a leader that hears no majority for a while would gather them, and
    /// have all of them read when it does.
    fn forget_who_left(&mut self, environment: &impl Environment) {
        if self.cohort.reads_waiting() == 0 {
            return;
        }
        let left = self.clients.leave();
        if !left.is_empty() {
            self.step(Event::Left(left), environment);
        }
    }

    fn step(&mut self, event: Event, environment: &impl Environment) {
        self.cohort.step(event, environment.now(), &mut self.effects);
    }

    /// Lets the store decide a write, and has the cohort do what it decided.
    fn write(&mut self, request: S::Request, sender: WriteSender<S>, environment: &mut impl Environment) {
        if sender.is_closed() {
            // The client left before anything was done.
            return;
        }
        // Only the open leader's store knows all that is pending.
        let Some(epoch) = self.open else {
            let error = match self.cohort.leader() {
                Some(leader) if leader == self.me => ReplicaError::Unavailable(Unavailable::TakingOver),
                hint => ReplicaError::NotLeader { hint },
            };
            let _ = sender.send(Err(error));
            return;
        };
        match self.store.decide(request) {
            Decision::Propose { payload, pending, refused } => {
                environment.proposing();
                let decided = Decided::Proposed { pending: Some(pending), refused };
                let token = self.clients.wait(Client::Write { decided, sender });
                self.step(Event::Write { token, payload }, environment);
            }
            Decision::Join(outcome) => {
                self.confirm(Decided::Joined(outcome), outcome.lsn, sender, environment);
            }
            // Nothing is pending that the refusal rests on, and the lease still holds after the decision.
            Decision::Refuse { refusal, after }
                if after <= self.store.applied() && environment.leased() == Some(epoch) =>
            {
                let _ = sender.send(Ok(Err(refusal)));
            }
            Decision::Refuse { refusal, after } => {
                self.confirm(Decided::Refused(refusal), after, sender, environment);
            }
        }
    }

    /// Has the cohort commit everything up to `after` and confirm its leadership before the client is answered.
    fn confirm(
        &mut self,
        decided: Decided<S>,
        after: Lsn,
        sender: WriteSender<S>,
        environment: &impl Environment,
    ) {
        let token = self.clients.wait(Client::Write { decided, sender });
        self.step(Event::Read { token, after }, environment);
    }

    /// Performs the effects that have been put out, in order. Ends at once if the node has ended meanwhile.
    pub fn settle(&mut self, environment: &mut impl Environment) {
        let mut effects = mem::take(&mut self.effects);
        let mut closed = false;
        for effect in effects.drain(..) {
            if environment.is_dead() {
                continue;
            }
            closed |= matches!(effect, Effect::Closed);
            self.perform(effect, environment);
        }
        self.effects = effects;
        if closed {
            self.clients.leadership_lost();
        }
    }

    fn perform(&mut self, effect: Effect, environment: &mut impl Environment) {
        match effect {
            Effect::Append { records, ticket } => environment.append(records, ticket),
            Effect::Send(envelope) => environment.send(envelope),
            Effect::Apply(entries) => {
                let Some(last) = entries.last() else { return };
                self.store.apply(&entries);
                self.applied_chain = last.chain;
                environment.applied(&entries);
            }
            Effect::ReadLog { to, after, bytes_max } => environment.read_log(to, after, bytes_max),
            Effect::ReadSnapshot { to, snapshot, part, flushed } => {
                environment.read_snapshot(to, snapshot, part, flushed)
            }
            Effect::ReceiveSnapshot { snapshot, part } => environment.receive_snapshot(snapshot, part),
            Effect::SnapshotInstalled { flushed, flushed_chain } => {
                self.applied_chain = flushed_chain;
                environment.snapshot_installed(flushed);
            }
            Effect::Pending { token, lsn } => match self.clients.proposed(token, lsn) {
                Some((outcome, pending)) => self.store.pending(outcome, pending),
                None => environment.alarm(format!("{lsn} is the LSN of a write that nobody has asked for")),
            },
            Effect::Reply { token, reply } => {
                environment.answering(&reply);
                self.clients.answer(token, reply);
            }
            Effect::Lease(lease) => environment.publish(lease),
            Effect::Opened(epoch) => {
                self.open = Some(epoch);
                environment.opened(epoch);
            }
            Effect::Closed => {
                self.open = None;
                self.store.closed();
            }
            Effect::RequestFlush => self.store.request_flush(),
            Effect::WipeData => environment.wipe(),
            Effect::Coordinate(request) => environment.coordinate(request),
            Effect::Notice(notice) => environment.notice(notice),
            Effect::Alarm(text) => environment.alarm(text),
        }
    }
}
