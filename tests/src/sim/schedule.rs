//! Faults as data: what happens to whom, and when. Drawn before the run, so that a schedule can be printed, and thinned
//! out to find the faults that matter.

use replication::testing::options::Random;

use super::options::{Options, Style};

/// Whom a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// This node.
    Node(u32),
    /// Whoever leads this range then; nobody if nobody does.
    Leader(u32),
}

/// What can be done to a node. Times are in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeFault {
    /// The process is killed; its coordinator session ends so much later.
    Kill(u64),
    /// Power loss: each sector and name that was not forced survives or not; the session ends so much later.
    PowerLoss(u64),
    /// Power loss at the disk operation that is so many operations away.
    StopAfter(u64),
    /// The process is killed after so many more steps.
    KillAfter(u64),
    /// The machine loses power after so many more steps.
    PowerLossAfter(u64),
    /// The process is killed, and started again so much later.
    Restart(u64),
    /// It is started, if it is down.
    Start,
    /// The process stands still for so long; its clock goes on (SIGSTOP, a suspended machine).
    Pause(u64),
    /// Nothing passes between the node and all others.
    Isolate,
    /// Its coordinator session ends, and it notices.
    LoseSession,
    /// It cannot reach the coordinator, for so long.
    CutCoordinator(u64),
    /// Its forces hang, for so long.
    Hang(u64),
    /// A bit of a table flips, which this number picks, and its process is restarted if so.
    RotTable(u64, bool),
    /// Its process is killed, and a bit of its log flips, which this number picks; it is started again soon.
    Rot(u64),
    /// The disk is lost; an empty one takes its place.
    LoseDisk,
    /// The process ends, and files of its log are gone: which, this number picks. It is started again soon.
    LoseLog(u64),
    /// Its disk has no more space than so many bytes, for so long.
    Full(u64, u64),
    /// The next force of its disk fails.
    SyncError,
    /// Writes of its disk fail, for so long.
    WriteError(u64),
    /// It has no file descriptor left, for so long.
    NoDescriptors(u64),
}

/// When a trap springs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Snare {
    /// As the leader appends its EpochStart: it is cut off at once, and ends soon.
    Start,
    /// As it hears that an inherited entry is forced elsewhere: it ends at once.
    Ack,
}

/// How a leader is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// From all others, in both directions.
    Clean,
    /// So, and the others' processes restart.
    Restart,
    /// Others do not hear it; what they said before reaches it late.
    Late,
    /// With one follower, from all others.
    Pair,
}

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Of one node.
    Node(Victim, NodeFault),
    /// Power loss of all nodes.
    Blackout,
    /// No disk has more space than so many bytes, for so long.
    AllFull(u64, u64),
    /// Nothing passes from one node to another.
    Cut(u32, u32),
    /// Nothing passes between the nodes whose bit is set and the others.
    Split(u64),
    /// The nodes are a ring in which only neighbours hear each other (bridges).
    Bridges,
    /// A link works again.
    Mend(u32, u32),
    /// All links work again.
    Heal,
    /// A link keeps what is sent for so long, and then delivers it all (swizzle-clogging).
    Clog(u32, u32, u64),
    /// Nobody reaches the coordinator, for so long.
    Outage(u64),
    /// Somebody deletes nodes of a range in the coordinator: 0 the leader, 1 the epoch, 2 all of them.
    Delete(u32, u8),
    /// The coordinator's state is remembered.
    BackUp,
    /// The coordinator goes back to what was remembered.
    Restore,
    /// The next leader of a range ends in the middle of its takeover [own-epoch-commits].
    Trap(u32, Snare),
    /// If fewer than two members of a range run, the one that has been away longest starts.
    Relieve(u32),
    /// A range's leader is cut off from the others [lease-recheck] [suspend-without-majority].
    Depose(u32, Manner),
    /// The leader of a range is asked to hand over, to this node if one is named.
    Transfer(u32, Option<u32>),
}

/// Faults by time in microseconds, in order.
pub type Schedule = Vec<(u64, Fault)>;

/// The schedule of a seed.
pub fn draw(random: &mut Random, options: &Options) -> Schedule {
    let mut schedule = Vec::new();
    let mut at = 0;
    loop {
        match options.style {
            Style::Any | Style::Full => {
                at += 1 + random.below(2 * options.fault_period);
                schedule.extend(fault(random, options).map(|fault| (at, fault)));
            }
            Style::Deposing => at = depose(random, options, at, &mut schedule),
            Style::Storm => at = storm(random, options, at, &mut schedule),
            Style::Silence => at = silence(random, options, at, &mut schedule),
        }
        if at >= options.duration {
            schedule.retain(|(when, _)| *when < options.duration);
            return schedule;
        }
    }
}

/// A leader is deposed while clients go on reading from it; all is well again some leases later.
fn depose(random: &mut Random, options: &Options, at: u64, schedule: &mut Schedule) -> u64 {
    let lease = u64::from(options.settings.lease.0) * 1000;
    let range = random.below(options.ranges.into()) as u32;
    let struck = at + lease / 2 + random.below(lease);
    let manner = match random.below(4) {
        0 => Manner::Clean,
        1 => Manner::Restart,
        2 if options.wide => Manner::Pair,
        _ => Manner::Late,
    };
    let fault = match random.below(8) {
        0 => Fault::Transfer(range, None),
        1 => Fault::Node(Victim::Leader(range), NodeFault::Pause(lease + random.below(lease))),
        _ => Fault::Depose(range, manner),
    };
    schedule.push((struck, fault));
    let well = struck + lease * 3 / 2 + random.below(lease);
    schedule.push((well, Fault::Heal));
    well
}

/// A leader falls silent, to all or to some, and comes back when another has long taken over [silent-is-passed-over].
fn silence(random: &mut Random, options: &Options, at: u64, schedule: &mut Schedule) -> u64 {
    let range = random.below(options.ranges.into()) as u32;
    let struck = at + 2_000_000 + random.below(1_000_000);
    let during = 1_000_000 + random.below(2_500_000);
    let fault = match random.below(3) {
        0 => Fault::Depose(range, Manner::Clean),
        1 if options.nodes == 3 => Fault::Bridges,
        _ => Fault::Node(Victim::Leader(range), NodeFault::Pause(during)),
    };
    schedule.push((struck, fault));
    schedule.push((struck + during, Fault::Heal));
    struck + during
}

/// Two members of a range at a time run, and leaders end in the middle of their takeovers: what is inherited, truncated
/// and sent again changes all the time [own-epoch-commits] [skip-is-positional].
fn storm(random: &mut Random, options: &Options, at: u64, schedule: &mut Schedule) -> u64 {
    let election = u64::from(options.settings.lease.0 + options.settings.suspect_after.0) * 1000;
    let members = options.members(0);
    if random.one_in(2) {
        // Whoever led last is away while another leads with the third, in turns.
        schedule.push((at, Fault::Heal));
        schedule.push((at, Fault::Relieve(0)));
        match random.below(10) {
            0..=2 => schedule.push((at, Fault::Trap(0, Snare::Start))),
            3..=5 => schedule.push((at, Fault::Trap(0, Snare::Ack))),
            _ => {
                for node in members {
                    schedule.push((at + election, Fault::Node(Victim::Node(node), NodeFault::Restart(1000))));
                }
            }
        }
        return at + election + random.below(election);
    }
    let down = members[random.below(members.len() as u64) as usize];
    let fault = if random.one_in(2) { NodeFault::Kill(1000) } else { NodeFault::PowerLoss(1000) };
    schedule.push((at, Fault::Node(Victim::Node(down), fault)));
    for node in members.into_iter().filter(|node| *node != down) {
        schedule.push((at, Fault::Node(Victim::Node(node), NodeFault::Start)));
    }
    schedule.push((at, Fault::Heal));
    match random.below(10) {
        0..=4 => schedule.push((at, Fault::Trap(0, Snare::Start))),
        5..=7 => schedule.push((at, Fault::Trap(0, Snare::Ack))),
        _ => {}
    }
    at + election + random.below(election)
}

fn fault(random: &mut Random, options: &Options) -> Option<Fault> {
    let kinds = options.kinds;
    let one = 1 + random.below(options.nodes.into()) as u32;
    let other = 1 + random.below(options.nodes.into()) as u32;
    let range = random.below(options.ranges.into()) as u32;
    let victim = if random.one_in(2) { Victim::Leader(range) } else { Victim::Node(one) };
    let most = [20_000, 400_000, 1_500_000][random.below(3) as usize];
    let during = 1000 + random.below(most);
    let expiry = random.below(options.session_timeout);
    // Nodes come back and links mend, in every run.
    if random.one_in(3) {
        let mends = [
            Fault::Node(Victim::Node(one), NodeFault::Start),
            Fault::Node(Victim::Node(other), NodeFault::Start),
            Fault::Mend(one, other),
            Fault::Heal,
        ];
        return Some(mends[random.below(4) as usize]);
    }
    let mut faults: Vec<Fault> = Vec::new();
    let mut allow = |kind: bool, some: &[Fault]| {
        if kind {
            faults.extend_from_slice(some);
        }
    };
    let on = |fault| Fault::Node(victim, fault);
    let steps = random.below(60);
    let left = if random.one_in(2) { 100 << 10 } else { 8 << 10 };
    allow(
        kinds.kills,
        &[on(NodeFault::Kill(expiry)), on(NodeFault::Restart(during / 10)), on(NodeFault::KillAfter(steps))],
    );
    allow(kinds.power, &[on(NodeFault::PowerLoss(expiry)), on(NodeFault::PowerLossAfter(steps))]);
    allow(kinds.steps, &[on(NodeFault::StopAfter(random.below(12)))]);
    allow(kinds.blackouts && random.one_in(3), &[Fault::Blackout]);
    allow(kinds.pauses, &[on(NodeFault::Pause(during))]);
    let group = 1 + random.below((1 << options.nodes) - 2);
    allow(kinds.cuts, &[on(NodeFault::Isolate), Fault::Split(group)]);
    let manner = if random.one_in(2) { Manner::Clean } else { Manner::Restart };
    allow(kinds.cuts, &[Fault::Depose(range, manner)]);
    allow(kinds.traps, &[Fault::Trap(range, Snare::Start), Fault::Trap(range, Snare::Ack)]);
    allow(kinds.cuts && one != other, &[Fault::Cut(one, other)]);
    allow(kinds.cuts && random.one_in(3), &[Fault::Bridges]);
    allow(kinds.clogs && one != other, &[Fault::Clog(one, other, during)]);
    allow(kinds.sessions, &[on(NodeFault::LoseSession), on(NodeFault::CutCoordinator(during))]);
    allow(kinds.outages, &[Fault::Outage(during)]);
    allow(kinds.damage, &[Fault::Delete(range, random.below(3) as u8), Fault::BackUp, Fault::Restore]);
    allow(kinds.hangs, &[on(NodeFault::Hang(during))]);
    let full = on(NodeFault::Full(random.below(left), during));
    allow(kinds.full, &[full; 3]);
    allow(kinds.full, &[Fault::AllFull(random.below(left), during)]);
    allow(kinds.errors, &[on(NodeFault::SyncError), on(NodeFault::WriteError(during / 10))]);
    allow(kinds.errors, &[on(NodeFault::NoDescriptors(during))]);
    // Always the same node: two learners in a cohort of three stay away for good, as they must.
    allow(kinds.rot, &[Fault::Node(Victim::Node(1), NodeFault::Rot(random.number()))]);
    allow(kinds.rot, &[Fault::Node(Victim::Node(1), NodeFault::RotTable(random.number(), random.one_in(2)))]);
    allow(kinds.lost, &[Fault::Node(Victim::Node(1), NodeFault::LoseDisk)]);
    allow(kinds.lost, &[Fault::Node(Victim::Node(1), NodeFault::LoseLog(random.number()))]);
    let to = random.one_in(2).then_some(other);
    allow(kinds.transfers, &[Fault::Transfer(range, to)]);
    let count = faults.len() as u64;
    (count > 0).then(|| faults[random.below(count) as usize])
}
