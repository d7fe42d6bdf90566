//! What the seeds have met: each kind of event, message, effect, error, change of role, fault and statement, and how often.
//! What a simulator never generates it never finds, so every kind that is not met has its reason in `docs/simulator.md`.
//!
//! Each `match` here names every variant: whoever adds one to the code says here what it is called.

use std::collections::BTreeMap;
use std::fmt;

use kvstore::error::KvError;
use kvstore::request::{Condition, Mutation, WriteOutcome};
use kvstore::testing::{Answer, CallError, Operation, ReadStep, ScanStep};
use replication::drive::Input;
use replication::protocol::coordination::CoordinationRequest;
use replication::protocol::effect::{Reply, Unavailable};
use replication::protocol::event::{Event, Received};
use replication::protocol::message::{BetweenPeers, FromLeader, Message, ToLeader};
use replication::protocol::notice::{Notice, Suspicion, TransferReason, Why};
use replication::store::Store;
use wal::LogError;

use super::history::{Call, Consistency, Response};
use super::machine::Wish;
use super::schedule::{Fault, Manner, NodeFault, Snare};

/// A kind of thing: what it belongs to, and its name.
pub type Kind = (&'static str, &'static str);

/// Something that is one of several kinds.
pub(super) trait Kinds {
    /// Which.
    fn kind(&self) -> Kind;
}

/// How often each kind was met.
#[derive(Clone, Debug, Default)]
pub struct Coverage(BTreeMap<Kind, u64>);

impl Coverage {
    pub(super) fn met(&mut self, kind: Kind) {
        *self.0.entry(kind).or_default() += 1;
    }

    /// Every kind that there is, in order.
    pub fn all() -> impl Iterator<Item = Kind> {
        TABLES.iter().flat_map(|(group, names)| names.iter().map(move |name| (*group, *name)))
    }

    /// The kinds that were not met.
    pub fn holes(&self) -> Vec<Kind> {
        Coverage::all().filter(|kind| !self.0.contains_key(kind)).collect()
    }
}

impl std::ops::AddAssign for Coverage {
    fn add_assign(&mut self, other: Coverage) {
        for (kind, count) in other.0 {
            *self.0.entry(kind).or_default() += count;
        }
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for kind in Coverage::all() {
            let count = self.0.get(&kind).copied().unwrap_or(0);
            writeln!(f, "{count:>12}  {:<12} {}", kind.0, kind.1)?;
        }
        Ok(())
    }
}

/// The kinds for which the documentation gives a reason why no seed meets them: rows `| group | kind | reason |` of the
/// table under this heading.
pub fn excused(document: &str) -> Vec<(String, String)> {
    let section = document.split("## What no seed meets").nth(1).unwrap_or_default();
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with('|'));
    let cells = rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    cells.skip(2).filter(|cells| cells.len() == 3).map(|cells| (cells[0].into(), cells[1].into())).collect()
}

/// Names the kinds of a type.
macro_rules! kinds {
    ($table:ident, $group:literal, $type:ty, { $($kind:pat $(if $guard:expr)? => $name:literal),* $(,)? }) => {
        const $table: (&str, &[&str]) = ($group, &[$($name),*]);

        impl Kinds for $type {
            fn kind(&self) -> Kind {
                ($group, match self { $($kind $(if $guard)? => $name),* })
            }
        }
    };
}

/// All of them.
const TABLES: &[(&str, &[&str])] = &[
    EVENTS,
    FROM_LEADERS,
    TO_LEADERS,
    BETWEEN,
    EFFECTS,
    REPLIES,
    UNAVAILABLE,
    NOTICES,
    WHY,
    SUSPICIONS,
    TRANSFERS,
    REQUESTS,
    OPERATIONS,
    ANSWERS,
    ERRORS,
    CALL_ERRORS,
    LOG_ERRORS,
    READS,
    SCANS,
    MEMORY,
    FAULTS,
    NODE_FAULTS,
    MANNERS,
    SNARES,
    STATEMENTS,
    CONDITIONS,
    MUTATIONS,
    RESPONSES,
    CATALOG,
];

kinds!(EVENTS, "event", Event, {
    Event::Tick => "tick",
    Event::Received(_) => "message",
    Event::Unreachable(_) => "peer unreachable",
    Event::Connected(_) => "peer connected",
    Event::Forced(_) => "forced",
    Event::AppendFailed(_) => "append failed",
    Event::LogRead { entries: Some(_), .. } => "log read",
    Event::LogRead { entries: None, .. } => "log not readable",
    Event::SnapshotRead { part: Some(_), .. } => "snapshot read",
    Event::SnapshotRead { part: None, .. } => "snapshot not readable",
    Event::SnapshotReceived { outcome: Received::More, .. } => "snapshot part kept",
    Event::SnapshotReceived { outcome: Received::Installed { .. }, .. } => "snapshot in force",
    Event::SnapshotReceived { outcome: Received::Failed(_), .. } => "snapshot not kept",
    Event::DataWiped(Ok(())) => "data wiped",
    Event::DataWiped(Err(_)) => "data not wiped",
    Event::Damaged(_) => "tables damaged",
    Event::Members(_) => "members",
    Event::Flushed { .. } => "flushed",
    Event::Write { .. } => "write",
    Event::Read { .. } => "read",
    Event::Left(_) => "readers left",
    Event::Transfer { .. } => "transfer",
    Event::View(_) => "view",
    Event::Coordinated(_) => "coordinated",
});

impl<S: Store> Kinds for Input<S> {
    fn kind(&self) -> Kind {
        match self {
            Input::Event(event) => event.kind(),
            Input::Write { .. } => ("event", "write"),
            Input::Read { .. } => ("event", "read"),
            Input::Transfer { .. } => ("event", "transfer"),
        }
    }
}

impl Kinds for Message {
    fn kind(&self) -> Kind {
        match self {
            Message::FromLeader(_, message) => message.kind(),
            Message::ToLeader(_, message) => message.kind(),
            Message::BetweenPeers(message) => message.kind(),
        }
    }
}

kinds!(FROM_LEADERS, "from leader", FromLeader, {
    FromLeader::Propose { .. } => "propose",
    FromLeader::Heartbeat(_) => "heartbeat",
    FromLeader::Match { .. } => "match",
    FromLeader::RequestPromise { .. } => "request promise",
    FromLeader::Promote { .. } => "promote",
    FromLeader::OfferSnapshot { .. } => "offer snapshot",
    FromLeader::Snapshot { .. } => "snapshot",
    FromLeader::TransferLeadership { .. } => "transfer leadership",
});
kinds!(TO_LEADERS, "to leader", ToLeader, {
    ToLeader::Promised(_) => "promised",
    ToLeader::Refuse { .. } => "refuse",
    ToLeader::Report(_) => "report",
    ToLeader::LearnerReport(_) => "learner report",
    ToLeader::Ack(_) => "ack",
    ToLeader::Gap { .. } => "gap",
    ToLeader::NeedSnapshot { .. } => "need snapshot",
    ToLeader::FetchSnapshot { .. } => "fetch snapshot",
});
kinds!(BETWEEN, "between peers", BetweenPeers, {
    BetweenPeers::PreVote { .. } => "pre-vote",
    BetweenPeers::PreVoteAnswer { agree: true, .. } => "pre-vote agreed",
    BetweenPeers::PreVoteAnswer { agree: false, .. } => "pre-vote refused",
    BetweenPeers::VoterProbe { .. } => "voter probe",
    BetweenPeers::VoterProbeAnswer { .. } => "voter probe answer",
});
kinds!(EFFECTS, "effect", Wish, {
    Wish::Append(_, Some(_)) => "append to be forced",
    Wish::Append(_, None) => "append",
    Wish::Send(_) => "send",
    Wish::ReadLog { .. } => "read log",
    Wish::ReadSnapshot { .. } => "read snapshot",
    Wish::ReceiveSnapshot { .. } => "receive snapshot",
    Wish::WipeData => "wipe data",
    Wish::SnapshotInstalled => "snapshot installed",
    Wish::Coordinate(_) => "coordinate",
    Wish::Publish(true) => "lease",
    Wish::Publish(false) => "no lease",
    Wish::Applied(_) => "apply",
    Wish::Answering(_) => "reply",
    Wish::Opened(_) => "opened",
    Wish::Notice(_) => "notice",
    Wish::Alarm(_) => "alarm",
});
kinds!(REPLIES, "reply", Reply, {
    Reply::Written(_) => "written",
    Reply::ReadReady => "read ready",
    Reply::Transferred => "transferred",
    Reply::NotLeader { hint: Some(_) } => "not leader, another is",
    Reply::NotLeader { hint: None } => "not leader",
    Reply::Unavailable(_) => "unavailable",
    Reply::Unknown => "unknown",
});
kinds!(UNAVAILABLE, "unavailable", Unavailable, {
    Unavailable::TakingOver => "taking over",
    Unavailable::Suspended => "suspended",
    Unavailable::Overloaded => "overloaded",
    Unavailable::DiskFull => "disk full",
    Unavailable::Transferring => "transferring",
});
kinds!(NOTICES, "notice", Notice, {
    Notice::Suspected { .. } => "suspected",
    Notice::LeaderHeard { .. } => "leader heard",
    Notice::Role { .. } => "role",
    Notice::Opened { .. } => "opened",
    Notice::MajorityLost => "majority lost",
    Notice::MajorityBack => "majority back",
    Notice::FollowerLost { .. } => "follower lost",
    Notice::FollowerBack { .. } => "follower back",
    Notice::TransferBegun { .. } => "transfer begun",
    Notice::TransferGivenUp { .. } => "transfer given up",
    Notice::CatchUpBegun { .. } => "catch-up begun",
    Notice::CatchUpEnded { .. } => "catch-up ended",
    Notice::SnapshotBegun { repair: false, .. } => "snapshot begun",
    Notice::SnapshotBegun { repair: true, .. } => "repair begun",
    Notice::SnapshotSent { .. } => "snapshot sent",
    Notice::SnapshotComing { .. } => "snapshot coming",
    Notice::SnapshotInstalled { .. } => "snapshot installed",
    Notice::Learning { wiped: false } => "learning",
    Notice::Learning { wiped: true } => "learning after a wipe",
    Notice::Promoted => "promoted",
    Notice::LearnerPromoted { .. } => "learner promoted",
});
kinds!(WHY, "role change", Why, {
    Why::LeaderLost { .. } => "leader lost",
    Why::OnlyMember => "only member",
    Why::HigherElection => "higher election",
    Why::WinnerSilent => "winner silent",
    Why::Elected { .. } => "elected",
    Why::Successor { .. } => "successor",
    Why::OutPromised { .. } => "out-promised",
    Why::Refused { .. } => "refused",
    Why::AskedToPromise => "asked to promise",
    Why::EpochTaken => "epoch taken",
    Why::LogTooShort => "log too short",
    Why::Transferred { .. } => "transferred",
});
kinds!(REQUESTS, "coordination", (CoordinationRequest, bool), {
    (CoordinationRequest::Stand { .. }, true) => "stand: done",
    (CoordinationRequest::Stand { .. }, false) => "stand: refused",
    (CoordinationRequest::Win { .. }, true) => "win: done",
    (CoordinationRequest::Win { .. }, false) => "win: refused",
    (CoordinationRequest::Restore { .. }, true) => "restore: done",
    (CoordinationRequest::Restore { .. }, false) => "restore: refused",
    (CoordinationRequest::Resign { .. }, true) => "resign: done",
    (CoordinationRequest::Resign { .. }, false) => "resign: refused",
});
kinds!(OPERATIONS, "operation", Operation, {
    Operation::Get { .. } => "get",
    Operation::MultiGet { at: None, .. } => "list of keys",
    Operation::MultiGet { at: Some(_), .. } => "rest of a list of keys",
    Operation::Scan { .. } => "scan",
    Operation::Rest { cursor: 0, .. } => "rest of a scan",
    Operation::Rest { .. } => "rest of an open scan",
    Operation::Next(_) => "rest of a scan by number alone",
    Operation::Close(_) => "close",
    Operation::Write(_) => "write",
    Operation::Transfer(_) => "transfer",
});
kinds!(ANSWERS, "answer", Answer, {
    Answer::Row { .. } => "row",
    Answer::Rows { cursor: None, .. } => "rows",
    Answer::Rows { cursor: Some(_), .. } => "rows, and more to come",
    Answer::Write(WriteOutcome::Written(_)) => "written",
    Answer::Write(WriteOutcome::ConditionFailed { .. }) => "condition failed",
    Answer::Forgotten { .. } => "forgotten",
    Answer::Done => "done",
});
kinds!(ERRORS, "error", KvError, {
    KvError::NoTable(_) => "no table",
    KvError::TableExists(_) => "table exists",
    KvError::TooLarge { .. } => "too large",
    KvError::Invalid(_) => "invalid",
    KvError::NotLeader { .. } => "not leader",
    KvError::RangeMoved => "range moved",
    KvError::DiskFull(_) => "disk full",
    KvError::Overloaded(_) => "overloaded",
    KvError::OutOfMemory(_) => "out of memory",
    KvError::ReadTooOld(_) => "read too old",
    KvError::DeadlineExceeded(_) => "deadline exceeded",
    KvError::OutcomeUnknown(_) => "outcome unknown",
    KvError::Unavailable(_) => "unavailable",
    KvError::NotReady(_) => "not ready",
    KvError::Coordination(_) => "coordination",
    KvError::ShuttingDown => "shutting down",
    KvError::Internal(_) => "internal",
});

const CALL_ERRORS: (&str, &[&str]) = ("call error", &["not sent", "lost"]);

impl Kinds for CallError {
    fn kind(&self) -> Kind {
        match self {
            CallError::NotSent(_) => ("call error", "not sent"),
            CallError::Lost(_) => ("call error", "lost"),
            CallError::Refused(error) => error.kind(),
        }
    }
}

kinds!(LOG_ERRORS, "log error", LogError, {
    LogError::DiskFull => "disk full",
    LogError::Segment(_) => "segment",
    LogError::Poisoned(_) => "poisoned",
    LogError::Closed => "closed",
});
kinds!(READS, "read step", ReadStep, {
    ReadStep::Read => "read",
    ReadStep::Confirm => "confirm",
    ReadStep::AwaitApplied(..) => "await applied",
    ReadStep::Answer(_) => "answer",
    ReadStep::Elsewhere => "elsewhere",
});
const MEMORY: (&str, &[&str]) = ("scan step", &["wait for memory"]);

kinds!(SCANS, "scan step", ScanStep, {
    ScanStep::Open(..) => "open",
    ScanStep::Ask(..) => "ask",
    ScanStep::Pause(_) => "pause",
    ScanStep::Done => "done",
});
kinds!(FAULTS, "fault", Fault, {
    Fault::Node(..) => "of a node",
    Fault::Blackout => "blackout",
    Fault::AllFull(..) => "all disks full",
    Fault::Cut(..) => "cut",
    Fault::Split(_) => "split",
    Fault::Bridges => "bridges",
    Fault::Mend(..) => "mend",
    Fault::Heal => "heal",
    Fault::Clog(..) => "clog",
    Fault::Outage(_) => "outage",
    Fault::Delete(_, 0) => "leader's znode deleted",
    Fault::Delete(_, 1) => "epoch's znode deleted",
    Fault::Delete(..) => "range's znodes deleted",
    Fault::BackUp => "back up",
    Fault::Restore => "restore",
    Fault::Trap(..) => "trap",
    Fault::Relieve(_) => "relieve",
    Fault::Depose(..) => "depose",
    Fault::Transfer(_, Some(_)) => "transfer to one",
    Fault::Transfer(_, None) => "transfer",
});
kinds!(NODE_FAULTS, "node fault", NodeFault, {
    NodeFault::Kill(_) => "kill",
    NodeFault::PowerLoss(_) => "power loss",
    NodeFault::StopAfter(_) => "power loss at an operation",
    NodeFault::KillAfter(_) => "kill after steps",
    NodeFault::PowerLossAfter(_) => "power loss after steps",
    NodeFault::Restart(_) => "restart",
    NodeFault::Start => "start",
    NodeFault::Pause(_) => "pause",
    NodeFault::Isolate => "isolate",
    NodeFault::LoseSession => "lose session",
    NodeFault::CutCoordinator(_) => "cut from the coordinator",
    NodeFault::Hang(_) => "hang",
    NodeFault::RotTable(..) => "table rots",
    NodeFault::Rot(_) => "log rots",
    NodeFault::LoseDisk => "lose disk",
    NodeFault::LoseLog(_) => "lose files of the log",
    NodeFault::Full(..) => "full",
    NodeFault::SyncError => "sync error",
    NodeFault::WriteError(_) => "write error",
    NodeFault::NoDescriptors(_) => "no descriptors",
});
kinds!(MANNERS, "depose", Manner, {
    Manner::Clean => "clean",
    Manner::Restart => "restart",
    Manner::Late => "late",
    Manner::Pair => "pair",
});
kinds!(SNARES, "trap springs", Snare, {
    Snare::Start => "start",
    Snare::Ack => "ack",
});
kinds!(STATEMENTS, "statement", Call, {
    Call::Write { conditions, .. } if conditions.is_empty() => "write",
    Call::Write { .. } => "write under a condition",
    Call::Get { keys, consistency: Consistency::Strong } if keys.len() == 1 => "get",
    Call::Get { keys, consistency: Consistency::Timeline } if keys.len() == 1 => "timeline get",
    Call::Get { consistency: Consistency::Strong, .. } => "list of keys",
    Call::Get { consistency: Consistency::Timeline, .. } => "timeline list of keys",
    Call::Scan { reverse: true, .. } => "scan backwards",
    Call::Scan { limit: Some(_), .. } => "scan with a limit",
    Call::Scan { consistency: Consistency::Strong, .. } => "scan",
    Call::Scan { max_staleness_ms: Some(_), .. } => "timeline scan of a certain age",
    Call::Scan { .. } => "timeline scan",
});
kinds!(CONDITIONS, "condition", Condition, {
    Condition::RowAbsent => "row absent",
    Condition::RowPresent => "row present",
    Condition::RowVersion(_) => "row version",
    Condition::CellsVersion(_) => "cells version",
    Condition::ColumnVersion { .. } => "column version",
});
kinds!(MUTATIONS, "mutation", Mutation, {
    Mutation::Put { .. } => "put",
    Mutation::Delete { .. } => "delete",
    Mutation::DeleteRow => "delete row",
});
kinds!(RESPONSES, "response", Response, {
    Response::Written(_) => "written",
    Response::Refused { current: Some(_), .. } => "refused",
    Response::Refused { current: None, .. } => "refused, as the log says",
    Response::Rows { .. } => "rows",
    Response::Failed => "failed",
    Response::Unknown => "unknown",
});
kinds!(SUSPICIONS, "suspicion", Suspicion, {
    Suspicion::Silent => "silent",
    Suspicion::StreamBroken => "stream broken",
    Suspicion::ZnodeGone => "znode gone",
});
kinds!(TRANSFERS, "transfer", TransferReason, {
    TransferReason::Asked => "asked",
    TransferReason::TablesDamaged => "tables damaged",
    TransferReason::LogLags => "log lags",
});

/// Statements about tables, with what came of each.
const CATALOG: (&str, &[&str]) = (
    "catalog",
    &[
        "create: made",
        "create: exists",
        "create: nothing",
        "create: unknown",
        "create: crash",
        "drop: dropped",
        "drop: not confirmed",
        "drop: missing",
        "drop: nothing",
        "drop: unknown",
        "drop: this one or another",
        "drop: crash",
        "look: found",
        "look: missing",
        "look: nothing",
        "write: written",
        "write: missing",
        "write: nothing",
        "read: rows",
        "read: missing",
        "read: nothing",
    ],
);
