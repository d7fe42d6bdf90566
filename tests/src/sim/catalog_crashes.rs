//! A process of the simulated catalog ends at each of its steps in turn, or the step's answer is lost, while tables are made
//! and dropped: a table stands whole or not at all, its name can be used again, and nothing is left behind.

use super::catalog::World;
use super::catalog_history::{Act, Done};
use super::stepped::{Dice, Fate};

/// Statements, one after the other, each at a gateway.
struct Case {
    /// A table of the name stands before them.
    stands: bool,
    acts: &'static [(u32, Verb)],
    /// Whose process is struck: that of a gateway, or of a member that gives its data back.
    victim: u32,
}

#[derive(Clone, Copy, Debug)]
enum Verb {
    Create,
    Drop,
}

impl Verb {
    fn act(self) -> Act {
        match self {
            Verb::Create => Act::Create("t".into()),
            Verb::Drop => Act::Drop("t".into()),
        }
    }
}

const CREATE: Case = Case { stands: false, acts: &[(1, Verb::Create)], victim: 1 };
const DROP: Case = Case { stands: true, acts: &[(1, Verb::Drop)], victim: 1 };
const MEMBER: Case = Case { stands: true, acts: &[(1, Verb::Drop)], victim: 2 };
const BOTH: &[(u32, Verb)] = &[(1, Verb::Create), (2, Verb::Drop)];
const CREATE_THEN_DROP: Case = Case { stands: false, acts: BOTH, victim: 1 };
const THEN_DROP: Case = Case { stands: false, acts: BOTH, victim: 2 };

const FATES: [Fate; 3] = [Fate::EndsBefore, Fate::EndsBehind, Fate::AnswerLost];

/// Steps of the longest one, about.
const STEPS: u64 = 70;
/// A gateway that is never struck.
const OTHER: u32 = 3;

/// Plays one of them, at a step that the seed draws.
pub(super) fn run(seed: u64) -> Result<(), String> {
    let dice = Dice::new(seed ^ 0xc4a5_4e5d);
    let cases = [CREATE, DROP, MEMBER, CREATE_THEN_DROP, THEN_DROP];
    let case = &cases[dice.below(cases.len() as u64) as usize];
    let fate = FATES[dice.below(FATES.len() as u64) as usize];
    case.play(seed, dice.below(STEPS), fate).map(drop)
}

fn made(done: &Done) -> bool {
    matches!(done, Done::Made(_))
}

fn dropped(done: &Done) -> bool {
    matches!(done, Done::Dropped(..) | Done::Gone(..))
}

impl Case {
    /// Plays it with something happening at the step of the victim that has so many before it. `false`: there is no such step.
    fn play(&self, seed: u64, before: u64, fate: Fate) -> Result<bool, String> {
        let mut world = World::new(3, Dice::new(seed));
        world.start_all();
        world.settle()?;
        if self.stands {
            world.expect(OTHER, Verb::Create.act(), made)?;
            world.settle()?;
        }
        world.arm(self.victim, before, fate);
        for (gateway, verb) in self.acts {
            world.ask(*gateway, verb.act())?;
        }
        // What a drop has begun, members finish later: the step may be one of those.
        let settled = world.settle();
        let struck = !world.is_armed(self.victim);
        // What others see afterwards is seen undisturbed.
        world.disarm(self.victim);
        if world.runs(self.victim) {
            settled?;
        }
        self.look(&mut world)?;
        world.check()?;
        Ok(struck)
    }

    /// What others see afterwards, before the victim is back and then.
    fn look(&self, world: &mut World) -> Result<(), String> {
        let seen = world
            .expect(OTHER, Act::Look("t".into()), |done| matches!(done, Done::Found(_) | Done::Missing))?;
        world.start_all();
        world.end_sessions();
        world.settle()?;
        match seen {
            Done::Found(table) => {
                world.expect(self.victim, Act::Write(table), |done| *done == Done::Written)?;
                let one = |done: &Done| matches!(done, Done::Rows(rows) if rows.len() == 1);
                world.expect(OTHER, Act::Read(table), one)?;
            }
            _ => drop(world.expect(OTHER, Verb::Create.act(), made)?),
        }
        world.expect(OTHER, Verb::Drop.act(), dropped)?;
        let Done::Made(again) = world.expect(self.victim, Verb::Create.act(), made)? else {
            return Err("not made".to_owned());
        };
        world.settle()?;
        world.expect(OTHER, Act::Read(again), |done| matches!(done, Done::Rows(rows) if rows.is_empty()))?;
        world.expect(OTHER, Verb::Drop.act(), dropped)?;
        world.expect(self.victim, Act::Look("t".into()), |done| *done == Done::Missing)?;
        world.settle()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Case {
        /// Plays it for each step and each fate. Returns how many steps there are.
        fn play_all(&self) -> u64 {
            let mut steps = 0;
            for (seed, fate) in [1, 2].into_iter().flat_map(|seed| FATES.map(|fate| (seed, fate))) {
                let mut before = 0;
                while self.play(seed, before, fate).unwrap_or_else(|what| {
                    panic!("seed {seed}, step {before} of n{}, {fate:?}: {what}", self.victim)
                }) {
                    before += 1;
                }
                steps = steps.max(before);
            }
            steps
        }
    }

    #[test]
    fn a_gateway_ends_at_any_step_of_a_create() {
        assert!(CREATE.play_all() > 10);
    }

    #[test]
    fn a_gateway_ends_at_any_step_of_a_drop() {
        assert!(DROP.play_all() > 10);
    }

    #[test]
    fn a_member_ends_at_any_step_of_a_drop() {
        assert!(MEMBER.play_all() > 10);
    }

    #[test]
    fn the_gateway_of_a_create_ends_before_another_drops_the_table() {
        assert!(CREATE_THEN_DROP.play_all() > 10);
    }

    #[test]
    fn the_gateway_of_a_drop_ends_after_another_has_made_the_table() {
        assert!(THEN_DROP.play_all() > 10);
    }
}
