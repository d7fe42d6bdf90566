//! A read at one replica: when the store may be read, and whether what was read may be answered. Pure: it says what to do
//! next, and somebody else reads, waits and asks.
//!
//! - strong: see the lease, read, see the same leadership's lease again ([lease-recheck]); without a lease, have a majority
//!   confirm the leadership first ([confirm-after-arrival]). What is applied at a leader with a valid lease contains every
//!   write ever acknowledged, for a write is applied before it is answered.
//! - timeline: what is applied here, if that reaches the floor that the caller gives ([session-floor]) and is young enough.

use std::time::Duration;

use wal::{Epoch, Lsn};

use crate::operation::Mode;

/// How long a timeline read waits for a replica to reach the caller's floor before the leader is asked instead: two
/// commit periods, after which a healthy follower has it.
const FLOOR_WAIT: Duration = Duration::from_millis(100);

/// What a replica shows at this moment to a read of it.
pub trait Standing {
    /// The epoch under which strong reads may be served now.
    fn lease(&self) -> Option<Epoch>;
    /// Up to where the store has applied the log.
    fn applied(&self) -> Lsn;
    /// How old the store is at most; `None`: not known ([staleness-by-echo]).
    fn staleness(&self) -> Option<Duration>;
    /// Whether its history is its leader's, as far as it knows ([stopped-serves-nothing]).
    fn takes_part(&self) -> bool;
}

/// What to do next for a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadStep {
    /// Read the store, all at one LSN, and step again.
    Read,
    /// Have a majority confirm that this replica leads, and step again; if it does not, the read ends.
    Confirm,
    /// Wait until the store has applied this LSN, but no longer than this, and step again.
    AwaitApplied(Lsn, Duration),
    /// What was read last is the answer, this old at most.
    Answer(Option<Duration>),
    /// This replica cannot answer; the leader can.
    Elsewhere,
}

/// Where a read stands.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Nothing was looked at yet.
    Begun,
    /// The store is read under the lease of this epoch.
    Leased(Epoch),
    /// A majority is asked.
    Confirming,
    /// The floor is waited for.
    Waited,
    /// The store is read, and nothing can make that wrong any more.
    Settled(Option<Duration>),
}

/// One read at a replica.
#[derive(Clone, Debug)]
pub struct ReplicaRead {
    mode: Mode,
    stage: Stage,
}

impl ReplicaRead {
    /// A read that has just arrived.
    pub fn new(mode: Mode) -> ReplicaRead {
        ReplicaRead { mode, stage: Stage::Begun }
    }

    /// The next step; `replica` is looked at now, after the step before was done.
    pub fn step(&mut self, replica: &impl Standing) -> ReadStep {
        match (self.stage, self.mode) {
            (Stage::Settled(staleness), _) => ReadStep::Answer(staleness),
            (Stage::Begun, Mode::Strong) => match replica.lease() {
                Some(epoch) => self.read(Stage::Leased(epoch)),
                None => self.confirm(),
            },
            (Stage::Leased(epoch), _) => match replica.lease() == Some(epoch) {
                true => ReadStep::Answer(Some(Duration::ZERO)),
                false => self.confirm(),
            },
            // Nothing was committed elsewhere before the read came.
            (Stage::Confirming, _) => self.read(Stage::Settled(Some(Duration::ZERO))),
            (Stage::Begun, Mode::Timeline { floor, .. }) if replica.applied() < floor => {
                self.stage = Stage::Waited;
                ReadStep::AwaitApplied(floor, FLOOR_WAIT)
            }
            (Stage::Begun | Stage::Waited, Mode::Timeline { floor, max_staleness }) => {
                self.read_aged(replica, floor, max_staleness)
            }
            // Only timeline reads wait.
            (Stage::Waited, Mode::Strong) => ReadStep::Elsewhere,
        }
    }

    /// A timeline read reads, if the replica is far and young enough.
    fn read_aged(
        &mut self,
        replica: &impl Standing,
        floor: Lsn,
        max_staleness: Option<Duration>,
    ) -> ReadStep {
        let applied = replica.applied();
        // At zero it knows nothing yet, not even the range's first epoch: its disk is new, or it starts over.
        if applied < floor || applied == Lsn::ZERO {
            return ReadStep::Elsewhere;
        }
        // Its rows may be others than everybody else's [stopped-serves-nothing].
        if !replica.takes_part() {
            return ReadStep::Elsewhere;
        }
        // Before reading: the data can only be younger than this says.
        let staleness = replica.staleness();
        if max_staleness.is_some_and(|max| staleness.is_none_or(|staleness| staleness > max)) {
            return ReadStep::Elsewhere;
        }
        self.read(Stage::Settled(staleness))
    }

    fn read(&mut self, then: Stage) -> ReadStep {
        self.stage = then;
        ReadStep::Read
    }

    fn confirm(&mut self) -> ReadStep {
        self.stage = Stage::Confirming;
        ReadStep::Confirm
    }

    /// The store could not be read: whether another replica is to be asked at once, because this one is `damaged` and is
    /// being repaired; else the read fails here.
    pub fn leaves(&self, damaged: bool) -> bool {
        damaged && matches!(self.mode, Mode::Timeline { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy)]
    struct Shown(Option<Epoch>, Lsn, Option<Duration>);

    impl Standing for Shown {
        fn lease(&self) -> Option<Epoch> {
            self.0
        }
        fn applied(&self) -> Lsn {
            self.1
        }
        fn staleness(&self) -> Option<Duration> {
            self.2
        }
        fn takes_part(&self) -> bool {
            self.1.epoch != DIVERGED
        }
    }

    /// A replica whose last LSN is of this epoch has another history than its leader.
    const DIVERGED: Epoch = Epoch(99);
    const LED: Shown = Shown(Some(Epoch(3)), Lsn::new(3, 7), Some(Duration::ZERO));
    const UNLED: Shown = Shown(None, Lsn::new(3, 7), Some(Duration::from_millis(50)));

    #[test]
    fn a_strong_read_looks_at_the_same_lease_twice() {
        let mut read = ReplicaRead::new(Mode::Strong);
        assert_eq!(read.step(&LED), ReadStep::Read);
        assert_eq!(read.step(&LED), ReadStep::Answer(Some(Duration::ZERO)));
        for after in [UNLED, Shown(Some(Epoch(4)), LED.1, LED.2)] {
            let mut read = ReplicaRead::new(Mode::Strong);
            assert_eq!(read.step(&LED), ReadStep::Read);
            assert_eq!(read.step(&after), ReadStep::Confirm, "what was read may be stale");
            assert_eq!(read.step(&after), ReadStep::Read, "again, once a majority has confirmed");
            assert_eq!(read.step(&UNLED), ReadStep::Answer(Some(Duration::ZERO)));
        }
    }

    #[test]
    fn without_a_lease_a_majority_is_asked_first() {
        let mut read = ReplicaRead::new(Mode::Strong);
        assert_eq!(read.step(&UNLED), ReadStep::Confirm);
        assert_eq!(read.step(&UNLED), ReadStep::Read);
        assert_eq!(read.step(&UNLED), ReadStep::Answer(Some(Duration::ZERO)));
    }

    #[test]
    fn a_timeline_read_waits_for_its_floor_once() {
        let floor = Lsn::new(3, 9);
        let mode = Mode::Timeline { floor, max_staleness: None };
        let mut read = ReplicaRead::new(mode);
        assert_eq!(read.step(&UNLED), ReadStep::AwaitApplied(floor, FLOOR_WAIT));
        assert_eq!(read.step(&UNLED), ReadStep::Elsewhere);
        let mut read = ReplicaRead::new(mode);
        assert_eq!(read.step(&UNLED), ReadStep::AwaitApplied(floor, FLOOR_WAIT));
        assert_eq!(read.step(&Shown(None, floor, UNLED.2)), ReadStep::Read);
        assert_eq!(read.step(&UNLED), ReadStep::Answer(UNLED.2), "as old as it was before reading");
    }

    #[test]
    fn a_replica_that_knows_nothing_or_is_too_old_answers_no_timeline_read() {
        let young = Mode::Timeline { floor: Lsn::ZERO, max_staleness: Some(Duration::from_millis(49)) };
        assert_eq!(ReplicaRead::new(young).step(&UNLED), ReadStep::Elsewhere);
        assert_eq!(ReplicaRead::new(young).step(&Shown(None, UNLED.1, None)), ReadStep::Elsewhere);
        assert_eq!(ReplicaRead::new(young).step(&LED), ReadStep::Read);
        let any = Mode::Timeline { floor: Lsn::ZERO, max_staleness: None };
        assert_eq!(ReplicaRead::new(any).step(&Shown(None, Lsn::ZERO, None)), ReadStep::Elsewhere);
        assert_eq!(ReplicaRead::new(any).step(&Shown(None, UNLED.1, None)), ReadStep::Read);
        let diverged = Shown(None, Lsn::new(DIVERGED.0, 7), UNLED.2);
        assert_eq!(ReplicaRead::new(any).step(&diverged), ReadStep::Elsewhere);
    }

    #[test]
    fn only_a_timeline_read_leaves_a_damaged_replica() {
        let any = Mode::Timeline { floor: Lsn::ZERO, max_staleness: None };
        assert!(ReplicaRead::new(any).leaves(true) && !ReplicaRead::new(any).leaves(false));
        assert!(!ReplicaRead::new(Mode::Strong).leaves(true));
    }
}
