//! What others say is never trusted: members that send well-formed messages with any values whatever, and a coordinator
//! whose znodes hold anything, neither make a cohort panic nor break what it checks of itself after each step.
//!
//! The values are drawn from what the cohort itself knows (its promise, its last and committed LSN), from their neighbours,
//! and from the ends of their types: such lies get furthest. `SPINNAKER_SEEDS=N` tries more,
//! `SPINNAKER_SEED=N` shows one.

use std::collections::BTreeMap;

use bytes::Bytes;
use replication::protocol::coordination::{Candidate, CoordinationOutcome, CoordinationRequest, RangeView};
use replication::protocol::effect::Effect;
use replication::protocol::event::{Event, Received, Token};
use replication::protocol::message::{
    Ack, BetweenPeers, Envelope, FromLeader, Heartbeat, Message, OwnStamp, Report, SnapshotPart, ToLeader,
};
use replication::protocol::time::{Millis, Stamp};
use replication::protocol::{Cohort, Config, Recovered, Settings};
use replication::testing::options::Random;
use wal::{
    ChainHash, CohortId, Entry, EntryKind, Epoch, Incarnation, Lsn, NodeId, Promise, Record, ReplicaId,
};

const SEEDS: u64 = 1_500;
const STEPS: u32 = 250;
/// Beyond these nothing is well-formed.
const SEQ_MAX: u64 = 1 << 62;
const LEASE_MS_MAX: u64 = 60_000;

const fn replica(node: u32) -> ReplicaId {
    ReplicaId { node: NodeId(node), incarnation: Incarnation(7) }
}

/// One honest member among liars.
struct World {
    random: Random,
    now: Stamp,
    cohort: Cohort,
    /// The member's own log, as its disk would hold it.
    log: BTreeMap<u64, Entry>,
    /// LSNs and epochs that have been seen, for lies near the truth.
    lsns: Vec<Lsn>,
    epochs: Vec<u32>,
    chains: Vec<ChainHash>,
    tokens: u64,
    /// Messages of the member that have not been answered.
    waiting: Vec<Envelope>,
    took: bool,
    led: bool,
    /// Events are printed: for a seed that is looked at.
    loud: bool,
}

impl World {
    fn new(seed: u64) -> World {
        let config = Config {
            cohort: CohortId(1),
            me: replica(1),
            members: (1..=3).map(replica).collect(),
            life: 1,
            settings: Settings::default(),
        };
        let mut effects = Vec::new();
        let recovered = Recovered { fresh: true, ..Recovered::default() };
        let cohort = Cohort::recover(config, recovered, Stamp(1), &mut effects);
        let mut world = World {
            random: Random(seed),
            now: Stamp(1),
            cohort,
            log: BTreeMap::new(),
            lsns: vec![Lsn::ZERO],
            epochs: vec![0, 1, u32::MAX, u32::MAX - 1],
            chains: vec![ChainHash::default()],
            tokens: 0,
            waiting: Vec::new(),
            took: false,
            led: false,
            loud: std::env::var_os("SPINNAKER_SEED").is_some(),
        };
        world.perform(effects);
        world
    }

    fn below(&mut self, n: u64) -> u64 {
        self.random.below(n)
    }

    fn flip(&mut self) -> bool {
        self.below(2) == 0
    }

    fn step(&mut self, event: Event) {
        let mut effects = Vec::new();
        if self.loud {
            println!("{event:?}");
        }
        self.cohort.step(event, self.now, &mut effects);
        let status = self.cohort.status();
        for lsn in [status.committed, status.last, status.applied] {
            self.see(lsn);
        }
        self.epochs.push(status.promise.epoch.0);
        self.led |= status.open;
        self.perform(effects);
    }

    fn see(&mut self, lsn: Lsn) {
        if self.lsns.last() != Some(&lsn) {
            self.lsns.push(lsn);
        }
    }

    // The honest part: disk, store and clients.

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Append { records, ticket } => {
                    for record in records {
                        self.append(record);
                    }
                    if let Some(ticket) = ticket {
                        let fails = self.below(40) == 0;
                        self.step(if fails { Event::AppendFailed(ticket) } else { Event::Forced(ticket) });
                    }
                }
                Effect::ReadLog { to, after, .. } => {
                    let behind: Vec<Entry> =
                        self.log.range(after.seq + 1..).map(|(_, entry)| entry.clone()).collect();
                    let entries =
                        Some(behind).filter(|all| all.first().is_some_and(|first| first.prev == after));
                    self.step(Event::LogRead { to, after, entries });
                }
                Effect::ReadSnapshot { to, snapshot, part, flushed } => {
                    let last = self.flip();
                    let part = SnapshotPart { number: part, flushed, bytes: Bytes::new(), last };
                    let part = (self.below(5) > 0).then_some(part);
                    self.step(Event::SnapshotRead { to, snapshot, part });
                }
                Effect::ReceiveSnapshot { snapshot, part } => {
                    let outcome = match self.below(3) {
                        0 => Received::Failed("it is damaged".to_owned()),
                        _ if part.last => {
                            // A store refuses a snapshot that is older than what it has applied.
                            let applied = self.cohort.status().applied;
                            match part.flushed >= applied && part.flushed.seq >= applied.seq {
                                true => {
                                    Received::Installed { flushed: part.flushed, flushed_chain: self.chain() }
                                }
                                false => Received::Failed("it is older than what is here".to_owned()),
                            }
                        }
                        _ => Received::More,
                    };
                    if let Received::Installed { flushed, .. } = outcome {
                        self.log.retain(|seq, _| *seq > flushed.seq);
                    }
                    self.step(Event::SnapshotReceived { snapshot, part: part.number, outcome });
                }
                Effect::WipeData => {
                    self.log.clear();
                    self.step(Event::DataWiped(Ok(())));
                }
                Effect::Coordinate(request) => {
                    let done = self.flip();
                    self.step(Event::Coordinated(CoordinationOutcome { request, done }));
                    let view = self.view(Some(request));
                    self.step(Event::View(view));
                }
                Effect::Send(envelope) if self.below(3) > 0 => self.waiting.push(envelope),
                _ => {}
            }
        }
    }

    /// What an honest member, or nearly one, would answer: without it no lie would be told in an interesting place.
    fn answer(&mut self, question: Envelope) {
        let from = replica(question.to.0);
        let status = self.cohort.status();
        let level = Report { committed: status.committed, last: status.last, epoch_ends: vec![status.last] };
        let message = match question.message {
            Message::BetweenPeers(BetweenPeers::PreVote { round }) => {
                let promise = Promise { epoch: status.promise.epoch, leader: None };
                Message::BetweenPeers(BetweenPeers::PreVoteAnswer { round, agree: true, promise })
            }
            Message::BetweenPeers(BetweenPeers::VoterProbe { nonce }) => {
                let promise = Promise { epoch: status.promise.epoch, leader: None };
                Message::BetweenPeers(BetweenPeers::VoterProbeAnswer { nonce, promise })
            }
            Message::FromLeader(epoch, FromLeader::RequestPromise { .. }) => {
                let report = if self.below(3) > 0 { level } else { self.report() };
                Message::ToLeader(epoch, ToLeader::Promised(report))
            }
            Message::FromLeader(epoch, FromLeader::Match { agree, .. }) => {
                Message::ToLeader(epoch, ToLeader::Ack(self.ack(agree)))
            }
            Message::FromLeader(epoch, FromLeader::Propose { prev, entries, .. }) => {
                let forced = entries.last().map_or(prev, |entry| entry.lsn);
                Message::ToLeader(epoch, ToLeader::Ack(self.ack(forced)))
            }
            Message::FromLeader(epoch, FromLeader::Heartbeat(_)) => {
                Message::ToLeader(epoch, ToLeader::Ack(self.ack(status.last)))
            }
            Message::ToLeader(epoch, ToLeader::Report(report) | ToLeader::Promised(report)) => {
                let agree = if self.flip() { report.last } else { report.committed };
                Message::FromLeader(
                    epoch,
                    FromLeader::Match {
                        agree,
                        agree_chain: None,
                        reported: report.last,
                        committed_chain: None,
                    },
                )
            }
            Message::ToLeader(epoch, ToLeader::FetchSnapshot { snapshot, part, flushed }) => {
                let flushed = Lsn { epoch, seq: flushed.seq + 3 };
                let part = SnapshotPart { number: part, flushed, bytes: Bytes::new(), last: part > 0 };
                Message::FromLeader(epoch, FromLeader::Snapshot { snapshot, part })
            }
            _ => return,
        };
        self.step(Event::Received(Envelope { from, to: NodeId(1), message }));
    }

    fn ack(&mut self, forced: Lsn) -> Ack {
        Ack { forced, stamp: self.now, grant: true, learner: false, own_stamp: self.own_stamp() }
    }

    fn append(&mut self, record: Record) {
        if let Record::Entry(entry) = record {
            self.chains.push(entry.chain);
            self.see(entry.lsn);
            self.log.split_off(&entry.lsn.seq);
            self.took |= !self.led;
            self.log.insert(entry.lsn.seq, entry);
        }
    }

    // Lies.

    fn epoch(&mut self) -> Epoch {
        let at = self.below(self.epochs.len() as u64) as usize;
        let known = match self.flip() {
            true => self.cohort.status().promise.epoch.0,
            false => self.epochs[at],
        };
        Epoch(match self.below(6) {
            0 => known.wrapping_add(1),
            1 => known.wrapping_sub(1),
            2 => u32::MAX,
            _ => known,
        })
    }

    fn lsn(&mut self) -> Lsn {
        let at = self.below(self.lsns.len() as u64) as usize;
        let known = if self.flip() { self.cohort.status().last } else { self.lsns[at] };
        let lsn = match self.below(8) {
            0 => Lsn { seq: known.seq + 1, ..known },
            1 => Lsn { seq: known.seq.saturating_sub(1), ..known },
            2 => Lsn { epoch: self.epoch(), ..known },
            3 => Lsn { epoch: self.epoch(), seq: known.seq + self.below(3) },
            4 => Lsn { seq: SEQ_MAX, ..known },
            _ => known,
        };
        Lsn { seq: lsn.seq.min(SEQ_MAX), ..lsn }
    }

    fn stamp(&mut self) -> Stamp {
        Stamp(match self.below(5) {
            0 => 0,
            1 => u64::MAX,
            2 => self.now.0.saturating_sub(self.random.below(1_000_000)),
            _ => self.now.0,
        })
    }

    fn chain(&mut self) -> ChainHash {
        let at = self.below(self.chains.len() as u64) as usize;
        if self.below(4) == 0 { ChainHash(self.random.number()) } else { self.chains[at] }
    }

    fn promise(&mut self) -> Promise {
        let epoch = self.epoch();
        let leader = if self.flip() { Some(replica(self.below(3) as u32 + 1)) } else { None };
        Promise { epoch, leader }
    }

    fn own_stamp(&mut self) -> OwnStamp {
        OwnStamp { life: self.below(2), at: self.stamp() }
    }

    fn heartbeat(&mut self) -> Heartbeat {
        let echo = if self.flip() { Some(self.own_stamp()) } else { None };
        Heartbeat {
            stamp: self.stamp(),
            committed: self.lsn(),
            committed_chain: self.chain(),
            lease: Millis(self.below(LEASE_MS_MAX + 1) as u32),
            echo,
        }
    }

    fn report(&mut self) -> Report {
        let (committed, last) = (self.lsn(), self.lsn());
        let mut epoch_ends: Vec<Lsn> = (0..self.below(4)).map(|_| self.lsn()).collect();
        epoch_ends.sort_by_key(|lsn| (lsn.epoch, lsn.seq));
        // Well-formed: ends ascend in both parts.
        epoch_ends.dedup_by(|b, a| b.epoch <= a.epoch || b.seq <= a.seq);
        Report { committed, last, epoch_ends }
    }

    fn propose(&mut self, epoch: Epoch) -> FromLeader {
        let honest = self.flip();
        let prev = if honest { self.cohort.status().last } else { self.lsn() };
        let known = self.log.get(&prev.seq).filter(|_| honest).map(|entry| entry.chain);
        let chain =
            known.unwrap_or_else(|| if prev == Lsn::ZERO { ChainHash::default() } else { self.chain() });
        let (mut last, mut chain, mut entries) = (prev, chain, Vec::new());
        for _ in 0..self.below(4) {
            let (kind, payload) = match self.flip() {
                true => (EntryKind::Write, Bytes::from_static(b"lie")),
                false => (EntryKind::EpochStart, Bytes::new()),
            };
            let of = if self.flip() { last.epoch } else { epoch };
            if of < last.epoch || of > epoch || of == Epoch(0) || last.seq >= SEQ_MAX {
                break;
            }
            let entry = Entry::next(last, chain, of, kind, payload);
            (last, chain) = (entry.lsn, entry.chain);
            entries.push(entry);
        }
        FromLeader::Propose { prev, entries, heartbeat: self.heartbeat() }
    }

    fn leaders_word(&mut self, epoch: Epoch) -> FromLeader {
        match self.below(10) {
            0 => FromLeader::Heartbeat(self.heartbeat()),
            1 | 2 => {
                let agree_chain = if self.flip() { Some(self.chain()) } else { None };
                let status = self.cohort.status();
                let reported = if self.below(4) > 0 { status.last } else { self.lsn() };
                FromLeader::Match { agree: self.lsn(), agree_chain, reported, committed_chain: None }
            }
            3 => FromLeader::RequestPromise { released: if self.flip() { Some(self.epoch()) } else { None } },
            4 => FromLeader::Promote { upto: self.lsn() },
            5 => FromLeader::OfferSnapshot { snapshot: self.below(2) },
            6 => {
                let part = SnapshotPart {
                    number: self.below(3),
                    flushed: self.lsn(),
                    bytes: Bytes::new(),
                    last: self.flip(),
                };
                FromLeader::Snapshot { snapshot: self.below(2), part }
            }
            7 => FromLeader::TransferLeadership { last: self.lsn() },
            _ => self.propose(epoch),
        }
    }

    fn members_word(&mut self) -> ToLeader {
        match self.below(9) {
            0 => ToLeader::Promised(self.report()),
            1 => ToLeader::Refuse { promise: self.promise() },
            2 => ToLeader::Report(self.report()),
            3 => ToLeader::LearnerReport(self.report()),
            4 => ToLeader::Gap { last: self.lsn() },
            5 => ToLeader::NeedSnapshot { flushed: self.lsn() },
            6 => {
                ToLeader::FetchSnapshot { snapshot: self.below(2), part: self.below(3), flushed: self.lsn() }
            }
            _ => ToLeader::Ack(Ack {
                forced: self.lsn(),
                stamp: self.stamp(),
                grant: self.flip(),
                learner: self.below(4) == 0,
                own_stamp: self.own_stamp(),
            }),
        }
    }

    fn between_peers(&mut self) -> BetweenPeers {
        let round = if self.flip() { self.below(5) } else { u64::MAX };
        match self.below(4) {
            0 => BetweenPeers::PreVote { round },
            1 => BetweenPeers::PreVoteAnswer { round, agree: self.flip(), promise: self.promise() },
            2 => BetweenPeers::VoterProbe { nonce: round },
            _ => BetweenPeers::VoterProbeAnswer { nonce: round, promise: self.promise() },
        }
    }

    fn lie(&mut self) -> Event {
        let mut from = replica(self.below(2) as u32 + 2);
        let mut epoch = self.epoch();
        // As the leader that the promise is bound to, mostly: others are refused.
        let promise = self.cohort.status().promise;
        if let Some(leader) =
            promise.leader.filter(|leader| leader.node != NodeId(1) && self.random.below(4) > 0)
        {
            (from, epoch) = (leader, promise.epoch);
        }
        let message = match self.below(5) {
            0 | 1 => Message::FromLeader(epoch, self.leaders_word(epoch)),
            2 | 3 => {
                let epoch = self.cohort.status().promise.epoch;
                Message::ToLeader(epoch, self.members_word())
            }
            _ => Message::BetweenPeers(self.between_peers()),
        };
        Event::Received(Envelope { from, to: NodeId(1), message })
    }

    /// What znodes might hold; after a request something that lets it go on, mostly.
    fn view(&mut self, after: Option<CoordinationRequest>) -> RangeView {
        let mut view = RangeView {
            session: self.below(8) > 0,
            epoch: self.epoch(),
            holder: if self.flip() { Some(replica(self.below(3) as u32 + 1)) } else { None },
            epoch_version: self.below(5) as i32 - 1,
            leader: if self.flip() { Some((self.epoch(), replica(self.below(3) as u32 + 1))) } else { None },
            elections: BTreeMap::new(),
        };
        for order in 0..self.below(3) {
            let candidate = Candidate { member: replica(self.below(3) as u32 + 1), last: self.lsn(), order };
            let epoch = self.epoch();
            view.elections.entry(epoch).or_default().push(candidate);
        }
        match after {
            Some(CoordinationRequest::Stand { epoch, last }) => {
                view.session = true;
                view.epoch = Epoch(epoch.0.saturating_sub(1));
                view.elections.insert(epoch, vec![Candidate { member: replica(1), last, order: 0 }]);
                if self.flip() {
                    let other = Candidate { member: replica(2), last: self.lsn(), order: 1 };
                    view.elections.entry(epoch).or_default().push(other);
                }
            }
            Some(CoordinationRequest::Win { epoch, .. }) => {
                (view.session, view.epoch, view.holder) = (true, epoch, Some(replica(1)));
            }
            _ => {}
        }
        view
    }

    fn run(&mut self) {
        for _ in 0..STEPS {
            self.now = Stamp(self.now.0 + self.random.below(300_000));
            let event = match self.below(10) {
                0 | 1 => Event::Tick,
                2 => {
                    self.tokens += 1;
                    Event::Write { token: Token(self.tokens), payload: Bytes::from_static(b"w") }
                }
                3 => {
                    self.tokens += 1;
                    let after = self.lsn();
                    Event::Read { token: Token(self.tokens), after }
                }
                4 if self.below(4) == 0 => {
                    let left = (0..self.below(3)).map(|_| Token(self.below(self.tokens + 2))).collect();
                    Event::Left(left)
                }
                4 => Event::View(self.view(None)),
                5 if self.below(4) == 0 => Event::Connected(NodeId(2)),
                5 if self.below(4) == 0 => Event::Damaged(self.flip()),
                _ => self.lie(),
            };
            self.step(event);
            if self.below(4) > 0 && !self.waiting.is_empty() {
                let at = self.below(self.waiting.len() as u64) as usize;
                let question = self.waiting.swap_remove(at);
                self.answer(question);
            }
            self.waiting.truncate(20);
        }
    }
}

#[test]
fn no_lie_makes_a_member_panic() {
    let seeds = std::env::var("SPINNAKER_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    let (mut led, mut took) = (0, 0);
    let one = std::env::var("SPINNAKER_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in one.map_or(0..seeds, |seed| seed..seed + 1) {
        let outcome = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            world.run();
            (world.led, world.took)
        });
        let outcome = outcome.unwrap_or_else(|_| panic!("seed {seed}"));
        (led, took) = (led + u64::from(outcome.0), took + u64::from(outcome.1));
    }
    if one.is_some() {
        return;
    }
    assert!(
        led * 10 > seeds && took * 3 > seeds,
        "lies get nowhere: {led} led, {took} took entries, of {seeds}"
    );
}
