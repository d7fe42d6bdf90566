//! Bugs planted on purpose, so that the simulator can be measured: does it catch each of them?
//!
//! Each is a switch at the very line that a careless change would break. Without the feature `planted`, which only the
//! simulator's build has, [`planted`] is a constant `false` and every switch is compiled away. With it, at most one bug
//! is active at a time, per thread.

/// Defines the bugs: variant, name, what is wrong.
macro_rules! bugs {
    ($($variant:ident $name:literal $what:literal,)*) => {
        /// One planted bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Bug {
            $(#[doc = $what] $variant,)*
        }

        impl Bug {
            /// All of them.
            pub const ALL: &[Bug] = &[$(Bug::$variant,)*];

            /// Its name on command lines.
            pub fn name(self) -> &'static str {
                match self { $(Bug::$variant => $name,)* }
            }

            /// What is wrong, in a sentence.
            pub fn what(self) -> &'static str {
                match self { $(Bug::$variant => $what,)* }
            }
        }
    };
}

bugs! {
    // The log.
    ForceWithoutSync "force-without-sync" "a batch counts as forced without fdatasync",
    SegmentNameUnsynced "segment-name-unsynced" "a new segment's name is not forced",
    FailedSyncIgnored "failed-sync-ignored" "a failed force counts as done (fsyncgate)",
    TailNotRewritten "tail-not-rewritten" "after a restart the last batch counts without being written again",
    LiveTailDropped "live-tail-dropped" "retention drops what lies above a checkpoint (rule 2)",
    ControlStateDropped "control-state-dropped" "a segment goes with the only copy of a promise (rule 3)",
    SkipHidesLater "skip-hides-later" "a Skip hides its LSNs wherever they stand (P7)",
    HoleAfterFullDisk "hole-after-full-disk" "an append behind a refused one is taken",

    // Promises and elections.
    PromiseUnforced "promise-unforced" "a promise is told before it is forced (P2)",
    PromiseUnbound "promise-unbound" "the promised epoch is accepted from anyone (rule 1)",
    PromiseForgotten "promise-forgotten" "a restarted replica has forgotten its promise (P2)",
    PromiseOverLease "promise-over-lease" "a higher promise is made while a granted lease runs (P1)",
    EpochReused "epoch-reused" "a restarted leader resumes its epoch (P4)",
    WinnerNotLargest "winner-not-largest" "the first candidate wins, whatever its last LSN, and nobody resigns (rule 16)",
    PublishedProtocol "published-protocol" "inherited entries count as committed without EpochStart, skips are not positional (P5, P7)",

    RepeatRestartsIndex "repeat-restarts-index" "an entry appended again makes the log forget where the ones before it are",
    DamageServed "damage-served" "a replica with a damaged table serves what the others hold",
    RepairDropsMemtable "repair-drops-memtable" "a snapshot that repairs tables replaces what was applied since, too",
    EmptyDiskTrusted "empty-disk-trusted" "an empty disk under a known number is taken for a replica that was just made (P4, rule 5)",
    LearnerVotes "learner-votes" "a replica that has lost its log promises and acks as if nothing had happened (rule 5)",

    // Steady state.
    AckUnforced "ack-unforced" "a follower acks what it has not forced (P9)",
    OwnForceAssumed "own-force-assumed" "a leader counts its own log as forced at once (P9)",
    CommitInherited "commit-inherited" "an LSN of an older epoch commits by count alone (P5)",
    CommitByOne "commit-by-one" "one force less than a majority commits",
    AppliedUnmatched "applied-unmatched" "a commit point beyond the matched LSN is applied (rule 6)",
    LateMatchTruncates "late-match-truncates" "a late copy of a Match truncates what was sent since",
    SkipOmitted "skip-omitted" "a truncation leaves no Skip in the log (P7)",
    GapAccepted "gap-accepted" "a proposal that does not follow the log is appended (P8)",
    CommitRecordAhead "commit-record-ahead" "the log's Commit record names the last LSN (P10)",
    LostProposalForgotten "lost-proposal-forgotten" "a proposal that was lost is never sent again",
    UnknownToldAsRefused "unknown-told-as-refused" "a write lost with its leadership is told as not done",

    // Leases and reads.
    LeaseFromReceipt "lease-from-receipt" "the leader counts its lease from the receipt of the grant (P1)",
    LeaseWithoutMargin "lease-without-margin" "the leader counts the whole lease, no margin for drift (P1)",
    LeaseForgotten "lease-forgotten" "a restarted follower does not wait out the lease that it granted (rule 8e)",
    LeaseOfOne "lease-of-one" "one grant less than a majority makes a lease",
    ReleasedLeaseServes "released-lease-serves" "a leader that handed over goes on serving (rule 8d)",
    ReadNotRechecked "read-not-rechecked" "a strong read does not look at the lease again after reading (rule 8a)",
    OldAnswerConfirms "old-answer-confirms" "an answer to a message sent before the read confirms it (rule 8e)",
    OpenBeforeEpochStart "open-before-epoch-start" "a new leader serves before its EpochStart is committed (P3)",
    StalenessFromReceipt "staleness-from-receipt" "staleness counts from the last message, not from the echoed stamp (rule 21)",
    EchoOfAnotherLife "echo-of-another-life" "a stamp that the replica told before a reboot counts after it, though its clock began anew (rule 21)",
    EchoWithoutLease "echo-without-lease" "a leader without a lease echoes stamps (rule 21)",
    FloorIgnored "floor-ignored" "a timeline read below the session's token is served (rule 22)",

    // Exactly once, conditions.
    WindowNotFlushed "window-not-flushed" "the dedup window is not persisted with the flush (rule 11)",
    FloorOfWindowIgnored "window-floor-ignored" "a retry older than the window is executed (rule 11)",
    PendingRetryRepeated "pending-retry-repeated" "a retry of a pending write is proposed again (rule 11)",
    AppliedRetryRepeated "applied-retry-repeated" "a retry of an applied write is proposed again (P15)",
    PendingUnseen "pending-unseen" "conditions are decided against applied state only (P14)",
    RefusalUnconfirmed "refusal-unconfirmed" "a failed condition is told without confirming the leadership (rule 11)",
    RefusalNotLogged "refusal-not-logged" "the refusal of a retry is not logged: its late first attempt is executed",

    // The storage engine.
    FlushBeyondLog "flush-beyond-log" "tables reach further than the node's own log (rule 18)",
    ManifestNameUnsynced "manifest-name-unsynced" "a new manifest's name is not forced before the log lets go",
    TableUnsynced "table-unsynced" "a table is named in the manifest before it is forced",
    FlushForgetsFrozen "flush-forgets-frozen" "a flush takes the position of now instead of that of the freezing",
    TombstoneDroppedEarly "tombstone-dropped-early" "compaction drops a deletion that still hides something deeper",
    SnapshotPartialAlways "snapshot-partial-always" "a snapshot has only new cells although deletions in between are gone (rule 7)",
    SnapshotKeepsOld "snapshot-keeps-old" "a whole snapshot is added to the old tables instead of replacing them (rule 7)",
    SnapshotAboveApplied "snapshot-above-applied" "a snapshot leaves out what the receiver holds in memory only (rule 7)",
    SnapshotWithoutWindow "snapshot-without-window" "a snapshot comes without the dedup window (rule 11)",
    OldVersionWins "old-version-wins" "of two versions of a cell the older one is shown",
    DeleteRowForgotten "delete-row-forgotten" "the deletion of a row hides only what is in the memtable",
}

#[cfg(feature = "planted")]
mod switch {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static ACTIVE: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Plants a bug in this thread, or none.
    pub fn plant(bug: Option<Bug>) {
        ACTIVE.set(bug);
    }

    /// Whether this bug is planted.
    #[inline]
    pub fn planted(bug: Bug) -> bool {
        ACTIVE.get() == Some(bug)
    }
}

#[cfg(not(feature = "planted"))]
mod switch {
    use super::Bug;

    /// Whether this bug is planted: never, in this build.
    #[inline(always)]
    pub fn planted(_: Bug) -> bool {
        false
    }
}

#[cfg(feature = "planted")]
pub use switch::plant;
pub use switch::planted;
