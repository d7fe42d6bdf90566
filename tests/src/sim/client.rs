//! A client of the simulated cluster: what it is doing, and what it will do next.

use std::collections::BTreeMap;

use wal::Lsn;

use super::call::Request;
use super::history::{Node, OpId, Range};
use super::workload::{FollowUp, Intent};

/// A client.
pub(crate) struct Client {
    /// What it may not fall behind, if it wants session guarantees.
    pub(super) session: Option<BTreeMap<Range, Lsn>>,
    /// The node whose gateway it likes.
    pub(super) home: Node,
    /// Writes so far.
    pub(super) sequence: u64,
    /// Operations left to begin.
    pub(super) left: u32,
    /// Mean pause between two operations.
    pub(super) think: u64,
    /// What it does now.
    pub(super) work: Option<Work>,
    /// What it will do with the row that it reads.
    pub(super) next: Option<FollowUp>,
    /// The write to do next.
    pub(super) intent: Option<(Range, Intent)>,
    /// For the end of a run: writes in this range until one succeeds, and then reads it all.
    pub(crate) probe: Option<Probe>,
}

/// What a probe has reached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    /// Its range.
    pub(crate) range: Range,
    /// A write was acknowledged at this real time.
    pub(crate) written: Option<u64>,
    /// Then everything was read.
    pub(crate) read: bool,
}

/// An operation under way.
pub(super) struct Work {
    pub(super) op: OpId,
    pub(super) range: Range,
    pub(super) request: Request,
    pub(super) deadline: u64,
    pub(super) gateway: Node,
    pub(super) gateway_life: u64,
    /// The attempt under way.
    pub(super) call: Option<u64>,
    /// An attempt may have been executed.
    pub(super) adrift: bool,
    /// The search for the leader.
    pub(super) asked: u32,
    /// Calls made so far, through whatever gateway: each has a number of its own, for steps of old ones may still come.
    pub(super) calls: u32,
    pub(super) turn: u32,
    pub(super) hint: Option<Node>,
}
