//! Golden scripts of a cohort: `testdata/<topic>/<property>`. Each opens with the schedule in prose and what must hold;
//! the world's own checks hold, too (see [`World`]).
//!
//! `UPDATE_GOLDENFILES=1 cargo test -p replication --test golden` writes the outputs anew; review the difference.
//!
//! | verb | |
//! |---|---|
//! | `new [seed=1] [members=3] [piggyback=true] [one-by-one=false]` | a new cohort; one entry a proposal, one proposal at a time |
//! | `run MS` | time passes |
//! | `until N LSN` | time passes until the last LSN of member N is this |
//! | `until-promise N EPOCH` | time passes until N has promised this epoch |
//! | `write N PAYLOAD..`, `read N`, `transfer N [M]` | a client at member N |
//! | `leave N` | all whose reads wait at member N leave |
//! | `crash N..`, `start N..` | power loss (the session goes at once); start again |
//! | `lose-log N` | the log of a member that is down is gone [rejoin-as-learner] |
//! | `forget-log N` | the same, and the member does not know it [committed-is-never-dropped] |
//! | `forge N` | the log of a member that is down gets an entry that nobody sent [minority-history-is-wiped] |
//! | `cut A B`, `cut-off N`, `heal` | one direction of a link; all links of N; mend all |
//! | `hold N`, `release N` | the member's disk hangs; goes on |
//! | `session-lost N`, `session-back N`, `outage`, `outage-over`, `back-up`, `restore` | the coordinator |
//! | `told` | what the logs of the members' nodes say since the last time |
//! | `status [N]`, `log N` | a line for each member; the payloads that N has applied |

use std::error::Error;
use std::fmt::Write as _;

use goldenscript::{Command, Context, Runner};
use replication::protocol::{Settings, Status};
use replication::testing::options::Options;
use replication::testing::world::World;
use wal::golden::{self, Arguments};

struct Script(World);

/// `until` and `until-promise` give up after so many steps of 100 microseconds.
const UNTIL_STEPS_MAX: u32 = 200_000;

type Ran<T> = Result<T, Box<dyn Error>>;

fn new_world(arguments: &Arguments) -> Ran<World> {
    arguments.only(&["seed", "members", "piggyback", "one-by-one"])?;
    let commit_piggyback = arguments.value("piggyback", true)?;
    let mut settings = Settings { commit_piggyback, ..Settings::default() };
    if arguments.value("one-by-one", false)? {
        (settings.batch_bytes_max, settings.window_len_max) = (0, 1);
    }
    let members = arguments.value("members", 3)?;
    let mut world =
        World::new(arguments.value("seed", 1)?, Options { members, settings, ..Options::default() });
    world.noting = true;
    Ok(world)
}

impl Script {
    fn new() -> Script {
        Script(World::new(1, Options::default()))
    }

    /// Time passes until this holds of member `number`.
    fn until(&mut self, number: u32, holds: impl Fn(Option<Status>) -> bool) -> Ran<()> {
        for _ in 0..UNTIL_STEPS_MAX {
            if holds(self.0.status(number)) {
                return Ok(());
            }
            self.0.run(100);
        }
        Err(format!("n{number} does not come so far").into())
    }

    fn client(&mut self, verb: &str, arguments: &Arguments) -> Ran<()> {
        let (world, number) = (&mut self.0, arguments.number(0)?);
        match verb {
            "write" => {
                for payload in &arguments.words[1..] {
                    world.write(number, payload);
                }
            }
            "read" => {
                let served = world.served;
                world.read(number);
                if world.served > served {
                    world.notes.push(format!("n{number} serves a strong read under its lease"));
                }
            }
            "leave" => world.leave(number),
            "transfer" => {
                let target = arguments.words.get(1).map(|text| text.parse()).transpose()?;
                world.transfer(number, target);
            }
            other => return Err(format!("unknown verb {other}").into()),
        }
        Ok(())
    }

    fn fault(&mut self, verb: &str, arguments: &Arguments) -> Ran<()> {
        let world = &mut self.0;
        match verb {
            "crash" => arguments.numbers()?.into_iter().for_each(|number| world.crash(number, 0)),
            "start" => arguments.numbers()?.into_iter().for_each(|number| world.start(number, false)),
            "lose-log" => world.lose_log(arguments.number(0)?),
            "forget-log" => world.forget_log(arguments.number(0)?),
            "forge" => world.forge(arguments.number(0)?),
            "cut" => world.cut(arguments.number(0)?, arguments.number(1)?),
            "cut-off" => {
                for other in world.numbers() {
                    world.cut(arguments.number(0)?, other);
                    world.cut(other, arguments.number(0)?);
                }
            }
            "heal" => world.heal(),
            "full" => arguments.numbers()?.into_iter().for_each(|number| world.fill(number, true)),
            "space" => arguments.numbers()?.into_iter().for_each(|number| world.fill(number, false)),
            "hold" => world.hold(arguments.number(0)?, true),
            "release" => world.hold(arguments.number(0)?, false),
            "session-lost" => world.lose_session(arguments.number(0)?),
            "session-back" => world.renew(arguments.number(0)?),
            "outage" => world.set_service(false),
            "outage-over" => world.set_service(true),
            "back-up" => world.back_up(),
            "restore" => world.restore_backup(),
            _ => return self.client(verb, arguments),
        }
        Ok(())
    }

    /// A line for each member.
    fn show_status(&mut self) {
        for member in self.0.numbers() {
            let line = match self.0.status(member) {
                Some(status) => status.to_string(),
                None => format!("n{member} down"),
            };
            self.0.notes.push(line);
        }
    }

    /// The payloads that a member has applied.
    fn show_log(&mut self, number: u32) {
        let payloads: Vec<String> = self
            .0
            .applied_by(number)
            .iter()
            .map(|entry| format!("{}={}", entry.lsn, String::from_utf8_lossy(&entry.payload)))
            .collect();
        self.0.notes.push(payloads.join(" "));
    }
}

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Ran<String> {
        let arguments = Arguments::of(command);
        if command.name != "new" {
            arguments.only(&[])?;
        }
        match command.name.as_str() {
            "new" => self.0 = new_world(&arguments)?,
            "run" => self.0.run(u64::from(arguments.number(0)?) * 1000),
            "until" => {
                let lsn = arguments.words.get(1).ok_or("an LSN is missing")?.parse()?;
                self.until(arguments.number(0)?, |status| status.is_some_and(|status| status.last == lsn))?;
            }
            "until-promise" => {
                let epoch = arguments.number(1)?;
                let promised = |status: Status| status.promise.epoch.0 >= epoch;
                self.until(arguments.number(0)?, |status| status.is_none_or(promised))?;
            }
            "status" => self.show_status(),
            "told" => {
                self.0.notes = std::mem::take(&mut self.0.told);
            }
            "log" => self.show_log(arguments.number(0)?),
            verb => self.fault(verb, &arguments)?,
        }
        let mut out = String::new();
        for line in self.0.notes.drain(..) {
            writeln!(out, "{line}")?;
        }
        Ok(out)
    }
}

#[test]
fn golden_scripts() {
    golden::run_all(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata"), Script::new);
}
