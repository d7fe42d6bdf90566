//! Faults as data: what happens to whom, and when. Drawn before the run, so that a schedule can be printed, and thinned
//! out to find the faults that matter.

use replication::testing::options::Random;

use super::options::Options;

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process is killed; its session ends after so many microseconds.
    Kill { node: u32, expiry: u64 },
    /// Power loss: each sector and name that was not forced survives or not.
    PowerLoss { node: u32, expiry: u64 },
    /// Power loss at the disk operation that is so many operations away.
    StopAfter { node: u32, operations: u64 },
    /// Power loss of all nodes.
    Blackout,
    /// Starts a node that is down.
    Start { node: u32 },
    /// The process stands still for so many microseconds; its clock goes on.
    Pause { node: u32, during: u64 },
    /// Nothing passes from `from` to `to`.
    Cut { from: u32, to: u32 },
    /// Nothing passes between a node and all others.
    Isolate { node: u32 },
    /// A ring of nodes in which only neighbours hear each other (bridges).
    Bridges,
    /// A link works again.
    Mend { from: u32, to: u32 },
    /// All links work again.
    Heal,
    /// A link keeps what is sent for so long, and then delivers it all (swizzle-clogging).
    Clog { from: u32, to: u32, during: u64 },
    /// A node's coordinator session ends, and it notices.
    LoseSession { node: u32 },
    /// A node cannot reach the coordinator, for so long.
    CutCoordinator { node: u32, during: u64 },
    /// Nobody can, for so long.
    Outage { during: u64 },
    /// Somebody deletes nodes of a range in the coordinator: 0 the leader, 1 the epoch, 2 all of them.
    Delete { range: u32, what: u8 },
    /// The coordinator's state is remembered.
    BackUp,
    /// The coordinator goes back to what was remembered.
    Restore,
    /// A node's forces hang for so long.
    Hang { node: u32, during: u64 },
    /// A node's disk has no more space than so many bytes, for so long.
    Full { node: u32, left: u64, during: u64 },
    /// The next force of a node's disk fails.
    SyncError { node: u32 },
    /// Writes of a node's disk fail for so long.
    WriteError { node: u32, during: u64 },
    /// The leader of a range is asked to hand over.
    Transfer { range: u32, to: Option<u32> },
}

/// Faults by time in microseconds, in order.
pub type Schedule = Vec<(u64, Fault)>;

/// The schedule of a seed.
pub fn draw(random: &mut Random, options: &Options) -> Schedule {
    let mut schedule = Vec::new();
    let mut at = 0;
    loop {
        at += 1 + random.below(2 * options.fault_period);
        if at >= options.duration {
            return schedule;
        }
        if let Some(fault) = fault(random, options) {
            schedule.push((at, fault));
        }
    }
}

fn fault(random: &mut Random, options: &Options) -> Option<Fault> {
    let kinds = options.kinds;
    let node = 1 + random.below(options.nodes.into()) as u32;
    let other = 1 + random.below(options.nodes.into()) as u32;
    let range = random.below(options.ranges.into()) as u32;
    let most = [50_000, 400_000, 1_500_000][random.below(3) as usize];
    let during = 1000 + random.below(most);
    let expiry = random.below(options.session_timeout);
    let fault = match random.below(28) {
        0 | 1 => (kinds.kills, Fault::Kill { node, expiry }),
        2 | 3 => (kinds.power, Fault::PowerLoss { node, expiry }),
        4 | 5 => (kinds.steps, Fault::StopAfter { node, operations: random.below(12) }),
        6 => (kinds.blackouts && random.one_in(3), Fault::Blackout),
        7..=9 => (true, Fault::Start { node }),
        10 => (kinds.pauses, Fault::Pause { node, during }),
        11 | 12 => (kinds.cuts && node != other, Fault::Cut { from: node, to: other }),
        13 => (kinds.cuts, Fault::Isolate { node }),
        14 => (kinds.cuts && random.one_in(3), Fault::Bridges),
        15 => (true, Fault::Mend { from: node, to: other }),
        16 => (true, Fault::Heal),
        17 => (kinds.clogs && node != other, Fault::Clog { from: node, to: other, during }),
        18 => (kinds.sessions, Fault::LoseSession { node }),
        19 => (kinds.sessions, Fault::CutCoordinator { node, during }),
        20 => (kinds.outages, Fault::Outage { during }),
        21 => (kinds.damage, Fault::Delete { range, what: random.below(3) as u8 }),
        22 => (kinds.damage, if random.one_in(2) { Fault::BackUp } else { Fault::Restore }),
        23 => (kinds.hangs, Fault::Hang { node, during }),
        24 => (kinds.full, Fault::Full { node, left: random.below(100 << 10), during }),
        25 => (kinds.errors, Fault::SyncError { node }),
        26 => (kinds.errors && random.one_in(3), Fault::WriteError { node, during: during / 10 }),
        _ => {
            let to = random.one_in(2).then_some(other);
            (kinds.transfers, Fault::Transfer { range, to })
        }
    };
    fault.0.then_some(fault.1)
}
