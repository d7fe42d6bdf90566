//! Leaderships go back to where they belong: a range is made with its leader-to-be as its first member, so that the ranges of
//! a table are spread over the nodes. A restart, or a failure, gives them to others; when all is well again they go back,
//! one after the other.
//!
//! Nothing depends on it but how evenly the nodes work, so it never hurries: the first member must have been level, and the
//! leadership unchanged, for a while. One that comes back here although it was given away (its node transfers what it
//! cannot serve, or fails again and again) is given away again only after twice the time of before.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wal::{CohortId, Epoch, NodeId};

use crate::ranges::Ranges;
use crate::readiness::Readiness;

/// A follower that lacks no more entries than these is level: a transfer waits for the rest, and takes no writes meanwhile.
const LAG_MAX: u64 = 64;
/// The longest wait for a node that does not keep what it is given.
const AFTER_MAX: Duration = Duration::from_secs(3600);
/// A transfer takes some milliseconds, or is given up by the leader.
const TRANSFER_MAX: Duration = Duration::from_secs(5);

/// A range that is led here, but belongs to another node.
#[derive(Clone, Copy, Debug)]
struct Guest {
    range: CohortId,
    /// Its first member.
    home: NodeId,
    /// The leadership here.
    epoch: Epoch,
    /// Whether its first member is heard, and holds all but the last entries.
    level: bool,
}

/// What is known of such a range.
#[derive(Clone, Copy, Debug)]
struct Known {
    epoch: Epoch,
    calm_since: Instant,
    /// How long it must have been calm.
    after: Duration,
    given: bool,
}

/// Decides which leadership goes back, and when.
#[derive(Debug)]
struct Spread {
    after: Duration,
    known: HashMap<CohortId, Known>,
}

impl Spread {
    fn new(after: Duration) -> Spread {
        Spread { after, known: HashMap::new() }
    }

    /// The next one to go back, if one is due. To be asked about all guests, often.
    fn next(&mut self, guests: &[Guest], now: Instant) -> Option<Guest> {
        let mut due = None;
        for guest in guests {
            let first = Known { epoch: guest.epoch, calm_since: now, after: self.after, given: false };
            let known = self.known.entry(guest.range).or_insert(first);
            if known.epoch != guest.epoch || !guest.level {
                // It has been elsewhere: given away for nothing, or by a failure.
                if known.epoch != guest.epoch && std::mem::take(&mut known.given) {
                    known.after = (known.after * 2).min(AFTER_MAX);
                }
                (known.epoch, known.calm_since) = (guest.epoch, now);
            } else if due.is_none() && now.duration_since(known.calm_since) >= known.after {
                // If it is still here the next time, the transfer has failed: it waits anew.
                (known.given, known.calm_since) = (true, now);
                due = Some(*guest);
            }
        }
        // One that has stayed away for long enough is no trouble any more.
        self.known.retain(|range, known| {
            let here = guests.iter().any(|guest| guest.range == *range);
            here || (known.given && now.duration_since(known.calm_since) < known.after * 4)
        });
        due
    }
}

/// Gives leaderships back, as long as the node lives.
pub(crate) async fn spread(ranges: Arc<Ranges>, readiness: Arc<Readiness>, after: Duration) {
    let mut spread = Spread::new(after);
    let mut ticks =
        tokio::time::interval((after / 8).clamp(Duration::from_millis(100), Duration::from_secs(2)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(guest) = spread.next(&guests(&ranges), Instant::now()) else { continue };
        if readiness.is_stopping() {
            continue;
        }
        let Some(replica) = ranges.find(guest.range).and_then(|range| range.replica.ok()) else { continue };
        tracing::info!(range = %guest.range, to = %guest.home, "gives the leadership back to the range's first member");
        // It may fail: the follower fell back, or the coordinator is away. The journal tells how it ended.
        let _ = tokio::time::timeout(TRANSFER_MAX, replica.cohort.transfer(Some(guest.home))).await;
    }
}

fn guests(ranges: &Ranges) -> Vec<Guest> {
    let me = ranges.node();
    let guest = |range: crate::ranges::LocalRange| {
        let home = range.descriptor.nodes().next().filter(|home| *home != me)?;
        let replica = range.replica.ok()?;
        // Asked first, for it takes no lock.
        let epoch = replica.cohort.lease()?;
        let status = replica.cohort.status();
        let level = status.followers.get(&home).is_some_and(|follower| {
            let lag = status.last.seq.saturating_sub(follower.matched.seq);
            follower.alive && !follower.out_of_reach && lag <= LAG_MAX
        });
        Some(Guest { range: range.descriptor.id, home, epoch, level })
    };
    ranges.all().into_iter().filter_map(guest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_secs(30);

    fn guest(range: u128, epoch: u32, level: bool) -> Guest {
        Guest { range: CohortId(range), home: NodeId(2), epoch: Epoch(epoch), level }
    }

    struct World {
        spread: Spread,
        begun: Instant,
    }

    impl World {
        fn new() -> World {
            World { spread: Spread::new(AFTER), begun: Instant::now() }
        }

        /// Which range goes back at this second.
        fn at(&mut self, second: u64, guests: &[Guest]) -> Option<u128> {
            let now = self.begun + Duration::from_secs(second);
            self.spread.next(guests, now).map(|guest| guest.range.0)
        }
    }

    #[test]
    fn one_after_the_other_goes_back_when_it_has_been_level_and_calm() {
        let mut world = World::new();
        let both = [guest(1, 5, true), guest(2, 7, true)];
        assert_eq!(world.at(0, &both), None);
        assert_eq!(world.at(29, &both), None);
        assert_eq!(world.at(30, &both), Some(1));
        assert_eq!(world.at(31, &both[1..]), Some(2));
        assert_eq!(world.at(32, &[]), None);
    }

    #[test]
    fn what_falls_back_or_changes_begins_anew() {
        let mut world = World::new();
        assert_eq!(world.at(0, &[guest(1, 5, true)]), None);
        assert_eq!(world.at(20, &[guest(1, 5, false)]), None);
        assert_eq!(world.at(40, &[guest(1, 5, true)]), None, "level for 20 s");
        assert_eq!(world.at(45, &[guest(1, 6, true)]), None, "led anew");
        assert_eq!(world.at(74, &[guest(1, 6, true)]), None);
        assert_eq!(world.at(75, &[guest(1, 6, true)]), Some(1));
        // The transfer did not work.
        assert_eq!(world.at(76, &[guest(1, 6, true)]), None);
        assert_eq!(world.at(105, &[guest(1, 6, true)]), Some(1));
    }

    #[test]
    fn a_node_that_does_not_keep_what_it_gets_is_given_it_ever_more_seldom() {
        let mut world = World::new();
        assert_eq!(world.at(0, &[guest(1, 5, true)]), None);
        assert_eq!(world.at(30, &[guest(1, 5, true)]), Some(1));
        assert_eq!(world.at(31, &[]), None);
        // It is back at once, under a later epoch.
        assert_eq!(world.at(33, &[guest(1, 7, true)]), None);
        assert_eq!(world.at(92, &[guest(1, 7, true)]), None);
        assert_eq!(world.at(93, &[guest(1, 7, true)]), Some(1));
        assert_eq!(world.at(95, &[guest(1, 9, true)]), None);
        assert_eq!(world.at(214, &[guest(1, 9, true)]), None);
        assert_eq!(world.at(215, &[guest(1, 9, true)]), Some(1));
        // It has kept it for a long time: forgotten.
        assert_eq!(world.at(216 + 480, &[]), None);
        assert_eq!(world.at(700, &[guest(1, 20, true)]), None);
        assert_eq!(world.at(730, &[guest(1, 20, true)]), Some(1));
    }
}
