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
//! | `crash N..`, `start N..` | power loss (the session goes at once); start again |
//! | `lose-log N` | the log of a member that is down is gone [rejoin-as-learner] |
//! | `forge N` | the log of a member that is down gets an entry that nobody sent [minority-history-is-wiped] |
//! | `cut A B`, `cut-off N`, `heal` | one direction of a link; all links of N; mend all |
//! | `hold N`, `release N` | the member's disk hangs; goes on |
//! | `session-lost N`, `session-back N`, `outage`, `outage-over`, `back-up`, `restore` | the coordinator |
//! | `status [N]`, `log N` | a line for each member; the payloads that N has applied |

use std::error::Error;
use std::fmt::Write as _;

use goldenscript::{Command, Context, Runner};
use replication::protocol::Settings;
use replication::testing::options::Options;
use replication::testing::world::World;

struct Script(World);

impl Script {
    fn new() -> Script {
        Script(World::new(1, Options::default()))
    }
}

/// `until` gives up after so many steps of 100 microseconds.
const UNTIL_STEPS_MAX: u32 = 200_000;

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        let mut arguments = command.consume_args();
        let key = |arguments: &mut goldenscript::ArgumentConsumer<'_>, key: &str| {
            arguments.take_key(key).map(str::to_owned)
        };
        let named = ["seed", "members", "piggyback", "one-by-one"].map(|name| key(&mut arguments, name));
        let mut words = Vec::new();
        while let Some(word) = arguments.next_pos() {
            words.push(word.to_owned());
        }
        arguments.reject_next()?;
        let number = |at: usize| -> Result<u32, Box<dyn Error>> {
            Ok(words.get(at).ok_or("a number is missing")?.parse()?)
        };
        let world = &mut self.0;
        match command.name.as_str() {
            "new" => {
                let [seed, members, piggyback, one_by_one] = named;
                let commit_piggyback = piggyback.map_or(Ok(true), |text| text.parse())?;
                let mut settings = Settings { commit_piggyback, ..Settings::default() };
                if one_by_one.map_or(Ok(false), |text| text.parse())? {
                    (settings.batch_bytes_max, settings.window_len_max) = (0, 1);
                }
                let members = members.map_or(Ok(3), |text| text.parse())?;
                let seed = seed.map_or(Ok(1), |text| text.parse())?;
                *world = World::new(seed, Options { members, settings, ..Options::default() });
                world.noting = true;
            }
            "run" => world.run(u64::from(number(0)?) * 1000),
            "until" => {
                let (member, lsn) = (number(0)?, words.get(1).ok_or("an LSN is missing")?.parse()?);
                let mut steps = 0;
                while world.status(member).is_none_or(|status| status.last != lsn) {
                    world.run(100);
                    steps += 1;
                    if steps > UNTIL_STEPS_MAX {
                        return Err(format!("n{member} does not come to {lsn}").into());
                    }
                }
            }
            "until-promise" => {
                let (member, epoch) = (number(0)?, number(1)?);
                while world.status(member).is_some_and(|status| status.promise.epoch.0 < epoch) {
                    world.run(100);
                }
            }
            "write" => {
                for payload in &words[1..] {
                    world.write(number(0)?, payload);
                }
            }
            "read" => {
                let served = world.served;
                world.read(number(0)?);
                if world.served > served {
                    world.notes.push(format!("n{} serves a strong read under its lease", number(0)?));
                }
            }
            "transfer" => world.transfer(number(0)?, words.get(1).map(|text| text.parse()).transpose()?),
            "crash" => {
                for at in 0..words.len() {
                    world.crash(number(at)?, 0);
                }
            }
            "start" => {
                for at in 0..words.len() {
                    world.start(number(at)?, false);
                }
            }
            "lose-log" => world.lose_log(number(0)?),
            "forge" => world.forge(number(0)?),
            "cut" => world.cut(number(0)?, number(1)?),
            "cut-off" => {
                for other in world.numbers() {
                    world.cut(number(0)?, other);
                    world.cut(other, number(0)?);
                }
            }
            "heal" => world.heal(),
            "hold" => world.hold(number(0)?, true),
            "release" => world.hold(number(0)?, false),
            "session-lost" => world.lose_session(number(0)?),
            "session-back" => world.renew(number(0)?),
            "outage" => world.set_service(false),
            "outage-over" => world.set_service(true),
            "back-up" => world.back_up(),
            "restore" => world.restore_backup(),
            "status" => {
                for member in world.numbers() {
                    let line = match world.status(member) {
                        Some(status) => status.to_string(),
                        None => format!("n{member} down"),
                    };
                    world.notes.push(line);
                }
            }
            "log" => {
                let payloads: Vec<String> = world
                    .applied_by(number(0)?)
                    .iter()
                    .map(|entry| format!("{}={}", entry.lsn, String::from_utf8_lossy(&entry.payload)))
                    .collect();
                world.notes.push(payloads.join(" "));
            }
            other => return Err(format!("unknown verb {other}").into()),
        }
        let mut out = String::new();
        for line in world.notes.drain(..) {
            writeln!(out, "{line}")?;
        }
        Ok(out)
    }
}

#[test]
fn golden_scripts() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut scripts = Vec::new();
    for topic in std::fs::read_dir(directory).expect("testdata is there") {
        let topic = topic.expect("testdata is readable").path();
        scripts
            .extend(std::fs::read_dir(topic).expect("a topic").map(|entry| entry.expect("a script").path()));
    }
    scripts.sort();
    assert!(scripts.len() > 10);
    for script in scripts {
        println!("{}", script.display());
        goldenscript::run(&mut Script::new(), &script).expect("the outcome is the one written down");
    }
}
