//! A client of the simulated cluster: what it is doing, and what it will do next.

use kvstore::request::{Row, SessionToken, Write};
use kvstore::row_update::RowUpdate;
use kvstore::testing::{self, RangeScanSteps, ScanStep};
use wal::{Lsn, Reserved};

use super::history::{Node, OpId, Range};
use super::workload::{FollowUp, Intent};

/// A client.
pub(crate) struct Client {
    /// What it may not fall behind, if it wants session guarantees.
    pub(super) session: Option<SessionToken>,
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
    /// What it computes a write from, until that is done or given up.
    pub(super) update: Option<(FollowUp, RowUpdate)>,
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
    pub(super) intent: Intent,
    /// What it writes, to be written again through another gateway.
    pub(super) write: Option<Write>,
    pub(super) max_staleness_ms: Option<u64>,
    pub(super) began: u64,
    pub(super) deadline: u64,
    pub(super) gateway: Node,
    pub(super) gateway_life: u64,
    /// What the gateway does for it: all of it, or the first page of a scan.
    pub(super) call: testing::Call,
    /// A scan.
    pub(super) scan: Option<Scanning>,
    /// Which of the calls this is, one for each gateway.
    pub(super) era: u32,
    /// A gateway that may have sent it was lost.
    pub(super) adrift: bool,
    /// Attempts made so far, through whatever gateway: each has a number of its own, for steps of old ones may still come.
    pub(super) attempts: u32,
    /// When the rows were read that came last.
    pub(super) served: u64,
}

/// A scan under way at a gateway.
pub(super) struct Scanning {
    pub(super) steps: RangeScanSteps,
    pub(super) state: State,
    /// What it shows is the newest, as of its beginning.
    pub(super) strong: bool,
    /// The client has enough after so many rows.
    pub(super) enough: Option<usize>,
    /// When the last request was sent (real time).
    pub(super) sent: u64,
    /// Memory for the page that was asked for, and of the one that the client has not read yet.
    pub(super) page: Option<Reserved>,
    pub(super) unread: Option<Reserved>,
    /// Rows handed on, and what came with the first ones: LSN, node, when they were read, how old they were at most.
    pub(super) rows: Vec<Row>,
    pub(super) first: Option<(Lsn, Node, u64, Option<u64>)>,
}

/// Where it stands.
pub(super) enum State {
    /// The next step is to be found.
    Next,
    /// It goes on then (real time).
    Paused(u64),
    /// This is to be asked when there is memory for the answer.
    NeedsMemory(ScanStep),
    /// The gateway's call is at the first page.
    Opens,
    /// A node was asked for another page, in this attempt, and with this open scan.
    Asks(u32, Node, u64),
}

impl Scanning {
    /// Whether the gateway's call is at its first page.
    pub(super) fn opens(&self) -> bool {
        matches!(self.state, State::Opens)
    }
}
