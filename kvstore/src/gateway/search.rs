//! Finding the leader of a range: guess, ask, follow hints, rest, until somebody answers. Pure: it says whom to ask or how
//! long to wait, and somebody else does that.
//!
//! While a range has no leader, one call in a process looks for it, and the others wait for its news ([`RangeRoute`]); each
//! asks by itself only now and then, for what hinders one call need not hinder another.

use std::time::{Duration, Instant};

use wal::NodeId;

use crate::cluster::route::RangeRoute;
use crate::cluster::silence::Silence;
use crate::error::KvError;

/// So long an attempt is waited for before others are asked as well: longer than an answer takes when all is well, and short
/// against the election that follows when its node has died.
pub(super) const ATTEMPT_WAIT_MAX: Duration = Duration::from_millis(250);
/// First and longest rest between two rounds of the call that looks for the leader. An election takes some hundred
/// milliseconds; asking more often than every 25 would only cost.
const ROUND_REST_MIN: Duration = Duration::from_millis(2);
const ROUND_REST_MAX: Duration = Duration::from_millis(25);
/// The same for the calls that wait for its news.
const OWN_REST_MIN: Duration = Duration::from_millis(250);
const OWN_REST_MAX: Duration = Duration::from_secs(1);
/// So often a waiting call sees whether anybody looks for the leader.
const WATCH_PERIOD: Duration = Duration::from_millis(100);

/// What the process knows when a call takes a step.
#[derive(Clone, Copy)]
pub struct Around<'a> {
    /// This node.
    pub me: NodeId,
    /// The range.
    pub route: &'a RangeRoute,
    /// Nodes from which nothing is heard.
    pub silence: &'a Silence,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Ask this node.
    Ask(NodeId),
    /// Wait until then, or for an answer or news.
    Wait(Instant),
}

/// A rest between two rounds.
#[derive(Clone, Copy, Debug)]
struct Rest {
    /// When the call looks again whether it is the one that searches.
    look_at: Instant,
    /// When it ends in any case.
    until: Instant,
}

/// The search for the leader of one range, for one call.
#[derive(Debug)]
pub(super) struct Search {
    /// The call's number.
    call: u64,
    members: Vec<NodeId>,
    /// The news that was acted upon last.
    seen: Option<u64>,
    /// Whom to ask next.
    hint: Option<NodeId>,
    /// How many may still be asked in this round.
    left: usize,
    /// Whose turn it is among the members.
    turn: usize,
    rounds: u32,
    rest: Option<Rest>,
    /// The last reason why it did not work, for the caller.
    why: String,
}

impl Search {
    /// A search among the members of a range.
    pub(super) fn new(call: u64, members: Vec<NodeId>) -> Search {
        Search {
            call,
            members,
            seen: None,
            hint: None,
            left: 0,
            turn: 0,
            rounds: 0,
            rest: None,
            why: "the range has no leader".into(),
        }
    }

    /// The next step. `under_way` tells which nodes have been asked and have not answered, and since when.
    pub(super) fn next(
        &mut self,
        now: Instant,
        under_way: &[(NodeId, Instant)],
        around: &Around<'_>,
    ) -> Next {
        let (leader, news) = around.route.leading();
        if self.seen != Some(news) {
            // The first look, or news: who leads now is asked at once, whatever else is under way.
            self.seen = Some(news);
            self.begin_round(leader);
        }
        let is_asked = |node| under_way.iter().any(|(other, _)| *other == node);
        if let Some(hint) = self.hint.take()
            && !is_asked(hint)
            && around.silence.may_ask(hint, now)
        {
            self.left = self.left.saturating_sub(1);
            return Next::Ask(hint);
        }
        // An answer may come any moment, unless its node has fallen silent [silent-is-passed-over].
        let waits = |(node, since): &(NodeId, Instant)| {
            let until = *since + ATTEMPT_WAIT_MAX;
            (now < until && !around.silence.is_silent(*node)).then_some(until)
        };
        if let Some(until) = under_way.iter().filter_map(waits).max() {
            return Next::Wait(until);
        }
        if let Some(rest) = &mut self.rest {
            let searches = now >= rest.look_at && around.route.searches(self.call, now);
            if now < rest.until && !searches {
                if now >= rest.look_at {
                    rest.look_at = now + WATCH_PERIOD;
                }
                return Next::Wait(rest.look_at.min(rest.until));
            }
            self.begin_round(leader);
            return self.next(now, under_way, around);
        }
        while self.left > 0 {
            self.left -= 1;
            self.turn += 1;
            let node = self.members[self.turn % self.members.len()];
            if !is_asked(node) && around.silence.may_ask(node, now) {
                return Next::Ask(node);
            }
        }
        Next::Wait(self.rest_now(now))
    }

    fn begin_round(&mut self, leader: Option<NodeId>) {
        (self.hint, self.left, self.rest) = (leader, self.members.len() + 1, None);
    }

    /// Rests before the next round. Rests differ between calls, so that those who wait do not all ask at once.
    fn rest_now(&mut self, now: Instant) -> Instant {
        let doubled = |least: Duration, most: Duration| (least * 2_u32.pow(self.rounds.min(10))).min(most);
        let (look, own) = (doubled(ROUND_REST_MIN, ROUND_REST_MAX), doubled(OWN_REST_MIN, OWN_REST_MAX));
        self.rounds += 1;
        let spread = self.call.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(self.rounds) >> 48;
        let until = now + own.mul_f64(0.5 + spread as f64 / 65536.0);
        self.rest = Some(Rest { look_at: now + look, until });
        now + look
    }

    /// The leader answered, and is asked again after so long.
    pub(super) fn rest_for(&mut self, pause: Duration, now: Instant) {
        self.left = 0;
        self.rest = Some(Rest { look_at: now + pause, until: now + pause });
    }

    /// The node could not be asked, or did not answer.
    pub(super) fn failed(&mut self, why: String) {
        self.why = why;
    }

    /// The node is to be asked next.
    pub(super) fn follow(&mut self, hint: Option<NodeId>) {
        self.hint = hint;
    }

    /// The node answered with an error. Errors that another node or another moment may mend are swallowed, and the
    /// search goes on; the others come back.
    pub(super) fn refused(
        &mut self,
        node: NodeId,
        error: KvError,
        around: &Around<'_>,
    ) -> Result<(), KvError> {
        match &error {
            KvError::NotLeader { hint } => {
                let hint = hint.filter(|hint| *hint != node);
                around.route.failed(node, hint);
                // A round is long enough to follow a hint, and no longer: two that name each other are not believed forever.
                self.hint = hint.filter(|_| self.left > 0);
                // What stays as the reason is what a leader or a broken connection said, if anything.
                return Ok(());
            }
            KvError::RangeMoved
            | KvError::Overloaded(_)
            | KvError::Unavailable(_)
            | KvError::DeadlineExceeded(_)
            | KvError::ShuttingDown => {}
            KvError::DiskFull(_)
            | KvError::NoTable(_)
            | KvError::TableExists(_)
            | KvError::TooLarge { .. }
            | KvError::Invalid(_)
            | KvError::OutcomeUnknown(_)
            | KvError::Coordination(_)
            | KvError::OutOfMemory(_)
            | KvError::ReadTooOld(_)
            | KvError::NotReady(_)
            | KvError::Internal(_) => return Err(error),
        }
        match &error {
            KvError::RangeMoved | KvError::ShuttingDown => around.route.failed(node, None),
            _ => around.route.is_busy(),
        }
        // What it means for the request is said once, by the error that this ends in.
        self.why = match error {
            KvError::Unavailable(why) | KvError::DeadlineExceeded(why) => why,
            error => error.to_string(),
        };
        // A pause helps a leader that is overloaded or taking over; a round through the others does not.
        self.left = 0;
        Ok(())
    }

    /// The last reason why it did not work.
    pub(super) fn why(&self) -> String {
        self.why.clone()
    }

    /// What the caller gets when the search was given up and nothing was done.
    pub(super) fn deadline_error(&self) -> KvError {
        KvError::DeadlineExceeded(self.why())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::route::tests::range;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);
    const C: NodeId = NodeId(3);

    struct World {
        route: RangeRoute,
        silence: Silence,
        start: Instant,
    }

    impl World {
        fn new() -> World {
            World { route: range(), silence: Silence::default(), start: Instant::now() }
        }

        fn around(&self) -> Around<'_> {
            Around { me: C, route: &self.route, silence: &self.silence }
        }

        fn search(&self, call: u64) -> Search {
            Search::new(call, self.route.members())
        }

        fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        fn next(&self, search: &mut Search, ms: u64) -> Next {
            search.next(self.at(ms), &[], &self.around())
        }
    }

    fn not_leader(hint: Option<NodeId>) -> KvError {
        KvError::NotLeader { hint }
    }

    #[test]
    fn guesses_follows_hints_and_asks_everyone_before_it_rests() {
        let world = World::new();
        let mut search = world.search(1);
        world.route.set_leader(Some(C));
        assert_eq!(world.next(&mut search, 0), Next::Ask(C));
        search.refused(C, not_leader(Some(A)), &world.around()).unwrap();
        assert_eq!(world.next(&mut search, 0), Next::Ask(A));
        search.refused(A, not_leader(None), &world.around()).unwrap();
        assert_eq!(world.next(&mut search, 0), Next::Ask(B));
        search.failed("no route".into());
        assert_eq!(world.next(&mut search, 0), Next::Ask(C));
        assert_eq!(world.next(&mut search, 0), Next::Wait(world.at(2)));
        world.route.set_leader(Some(B));
        assert_eq!(world.next(&mut search, 2), Next::Ask(B), "what is known after the rest");
        assert_eq!(search.why(), "no route");
    }

    #[test]
    fn two_that_name_each_other_are_not_believed_forever() {
        let world = World::new();
        let mut search = world.search(1);
        world.route.set_leader(Some(A));
        let mut asked = 0;
        while let Next::Ask(node) = world.next(&mut search, 0) {
            let other = if node == A { B } else { A };
            search.refused(node, not_leader(Some(other)), &world.around()).unwrap();
            asked += 1;
            assert!(asked < 9, "no rest");
        }
    }

    #[test]
    fn a_leader_that_is_busy_gets_a_rest_at_once() {
        let world = World::new();
        let mut search = world.search(1);
        world.route.set_leader(Some(A));
        assert_eq!(world.next(&mut search, 0), Next::Ask(A));
        search.refused(A, KvError::Unavailable("taking over".into()), &world.around()).unwrap();
        assert_eq!(world.next(&mut search, 0), Next::Wait(world.at(2)));
        assert_eq!(world.next(&mut search, 2), Next::Ask(A));
        search.refused(A, KvError::Unavailable("taking over".into()), &world.around()).unwrap();
        assert_eq!(world.next(&mut search, 2), Next::Wait(world.at(6)), "twice as long");
    }

    #[test]
    fn an_attempt_is_waited_for_so_long_or_until_there_is_news() {
        let world = World::new();
        let mut search = world.search(1);
        world.route.set_leader(Some(A));
        assert_eq!(world.next(&mut search, 0), Next::Ask(A));
        let under_way = [(A, world.at(0))];
        let next = |search: &mut Search, ms| search.next(world.at(ms), &under_way, &world.around());
        assert_eq!(next(&mut search, 1), Next::Wait(world.at(250)));
        world.route.heard_locally(Some(B));
        assert_eq!(next(&mut search, 100), Next::Ask(B), "the replica here knows of a new leader");
        let mut other = world.search(2);
        world.route.set_leader(Some(A));
        assert_eq!(world.next(&mut other, 0), Next::Ask(A));
        assert!(matches!(next(&mut other, 250), Next::Ask(B | C)), "whoever may have been elected");
    }

    #[test]
    fn silent_nodes_are_passed_over() {
        let world = World::new();
        world.silence.lost(A, world.start);
        world.route.set_leader(Some(A));
        let mut search = world.search(1);
        let mut asked = Vec::new();
        while let Next::Ask(node) = world.next(&mut search, 1) {
            search.refused(node, not_leader(Some(A)), &world.around()).unwrap();
            asked.push(node);
        }
        assert!(asked.contains(&B) && asked.contains(&C) && !asked.contains(&A), "{asked:?}");
    }

    /// A thousand statements that wait through a fail-over of two seconds.
    #[test]
    fn one_call_looks_for_the_leader_and_the_others_wait_for_its_news() {
        let world = World::new();
        let mut searches: Vec<Search> = (0..1000).map(|call| world.search(call)).collect();
        let mut asked = 0;
        for ms in 0..2000 {
            for search in &mut searches {
                while let Next::Ask(node) = world.next(search, ms) {
                    search.refused(node, not_leader(None), &world.around()).unwrap();
                    asked += 1;
                }
            }
        }
        // Each asks its round at the start, and about two more by itself.
        assert!(asked < 16_000, "{asked} questions in two seconds");
        world.route.answered(B);
        for search in &mut searches {
            assert_eq!(world.next(search, 2000), Next::Ask(B), "all hear of it at once");
        }
    }

    #[test]
    fn errors_that_no_other_node_mends_come_back() {
        let world = World::new();
        let mut search = world.search(1);
        let full = KvError::DiskFull(A);
        assert_eq!(search.refused(A, full.clone(), &world.around()), Err(full));
    }
}
