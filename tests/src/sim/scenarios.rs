//! Named generators: each makes any seed one of a certain kind of trouble (`cargo sim --scenario NAME`). Together with the
//! tests that [`COVERAGE`] names they cover 28 kinds of trouble; a test checks that every name stands for something.

use kvstore::testing::WindowLimits;
use replication::protocol::time::Millis;

use super::options::{FaultKinds, Options, Style};

/// A generator.
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What goes wrong.
    pub what: &'static str,
    /// Makes a seed's options its own.
    pub(super) shape: fn(&mut Options),
}

/// The generator of this name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}

/// Only these faults, at any time.
fn only(options: &mut Options, kinds: FaultKinds) {
    (options.style, options.kinds) = (Style::Any, kinds);
    options.duration = options.duration.max(3_000_000);
    options.fault_period = 100_000;
    options.deadline = options.deadline.max(300_000);
}

/// Messages are lost, doubled and late all the time.
fn lossy(options: &mut Options) {
    (options.loss, options.duplication, options.delay_max) = (10, 10, 30_000);
}

const NONE: FaultKinds = FaultKinds {
    kills: false,
    power: false,
    steps: false,
    blackouts: false,
    pauses: false,
    cuts: false,
    clogs: false,
    sessions: false,
    outages: false,
    damage: false,
    hangs: false,
    full: false,
    errors: false,
    transfers: false,
    traps: false,
    rot: false,
    lost: false,
};

/// All generators.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "deposed-leaders",
        what: "a leader cut off from the others goes on being asked by its clients",
        shape: |options| (options.style, options.kinds) = (Style::Deposing, NONE),
    },
    Scenario {
        name: "pauses",
        what: "processes stand still, leaders above all, also between looking at the lease and reading",
        shape: |options| only(options, FaultKinds { pauses: true, ..NONE }),
    },
    Scenario {
        name: "silent-leaders",
        what: "leaders stand still, are cut off or are heard by one other node only; every gateway that is well answers soon",
        shape: Options::be_silent,
    },
    Scenario {
        name: "clocks",
        what: "leaders are deposed while clocks differ by as much as they may",
        shape: |options| {
            (options.style, options.kinds) = (Style::Deposing, FaultKinds { pauses: true, ..NONE });
            options.drift_per_mille = 45;
        },
    },
    Scenario {
        name: "links",
        what: "links are cut in one direction or both, nodes are bridges, links flap, hold back and burst",
        shape: |options| only(options, FaultKinds { cuts: true, clogs: true, ..NONE }),
    },
    Scenario {
        name: "traces",
        what: "leaders end in the middle of takeovers, two members at a time: truncated LSNs come back",
        shape: |options| options.style = Style::Storm,
    },
    Scenario {
        name: "kills",
        what: "processes are killed and start again at once, leaders above all",
        shape: |options| only(options, FaultKinds { kills: true, ..NONE }),
    },
    Scenario {
        name: "steps",
        what: "a machine dies at a certain operation of its disk, whatever that belongs to",
        shape: |options| only(options, FaultKinds { steps: true, power: true, ..NONE }),
    },
    Scenario {
        name: "lossy-network",
        what: "messages are lost, doubled, late and out of order; attempts are repeated through other gateways",
        shape: |options| {
            only(options, FaultKinds { kills: true, clogs: true, ..NONE });
            lossy(options);
        },
    },
    Scenario {
        name: "retries",
        what: "answers are lost and writes repeated long after, under the same id, when the window is small",
        shape: |options| {
            only(options, FaultKinds { kills: true, cuts: true, ..NONE });
            lossy(options);
            options.window = WindowLimits { len: 4, len_max: 4 };
            (options.retry_max, options.deadline) = (1_000_000, 4_000_000);
        },
    },
    Scenario {
        name: "coordinator-away",
        what: "sessions end, nodes are cut from the coordinator, it is gone for all, views are stale",
        shape: |options| only(options, FaultKinds { sessions: true, outages: true, kills: true, ..NONE }),
    },
    Scenario {
        name: "coordinator-damaged",
        what: "an operator deletes znodes, the coordinator goes back to an old snapshot",
        shape: |options| {
            only(options, FaultKinds { damage: true, sessions: true, kills: true, cuts: true, ..NONE });
        },
    },
    Scenario {
        name: "disk-errors",
        what: "writes and forces fail",
        shape: |options| only(options, FaultKinds { errors: true, ..NONE }),
    },
    Scenario {
        name: "full-disks",
        what: "disks are full again and again while many clients write",
        shape: |options| {
            only(options, FaultKinds { full: true, kills: true, ..NONE });
            options.style = Style::Full;
        },
    },
    Scenario {
        name: "power-loss",
        what: "machines lose power, alone and together; of what was not forced any sectors are gone",
        shape: |options| only(options, FaultKinds { power: true, blackouts: true, ..NONE }),
    },
    Scenario {
        name: "rot",
        what: "bits of logs and tables flip; the replica is brought level, its tables repaired",
        shape: |options| only(options, FaultKinds { rot: true, kills: true, ..NONE }),
    },
    Scenario {
        name: "lost-disks",
        what: "a node loses its disk, or files of its log, while the others are killed and cut off",
        shape: |options| only(options, FaultKinds { lost: true, kills: true, cuts: true, ..NONE }),
    },
    Scenario {
        name: "snapshots",
        what: "logs keep nothing, so whoever was away takes a snapshot, amid deletions, crashes, compactions and errors of the disk",
        shape: |options| {
            only(
                options,
                FaultKinds { kills: true, steps: true, cuts: true, full: true, errors: true, ..NONE },
            );
            (options.log.retention_bytes, options.log.segment_bytes) = (0, 16 << 10);
            (options.engine.memtable_bytes, options.maintenance_period) = (400, 5000);
        },
    },
    Scenario {
        name: "slow-disks",
        what: "forces hang, on leaders above all",
        shape: |options| {
            only(options, FaultKinds { hangs: true, ..NONE });
            options.force_max = 20_000;
        },
    },
    Scenario {
        name: "restarts",
        what: "leaderships are handed over and nodes restart, as in a rolling restart",
        shape: |options| only(options, FaultKinds { transfers: true, kills: true, ..NONE }),
    },
    Scenario {
        name: "overload",
        what: "queues of three entries, eight clients, slow disks",
        shape: |options| {
            only(options, FaultKinds { hangs: true, kills: true, ..NONE });
            (options.clients, options.force_max, options.settings.queue_len_max) = (8, 20_000, 3);
            options.settings.commit_period = Millis(50);
        },
    },
];

/// What shows that a scenario holds.
pub enum Evidence {
    /// A generator.
    Generator(&'static str),
    /// A test function, and the file that it stands in.
    Test(&'static str, &'static str),
    /// A golden script.
    Golden(&'static str),
    /// A planted bug that must be caught.
    Planted(&'static str),
    /// Nothing, and why.
    Nothing(&'static str),
}
use Evidence::{Generator, Golden, Nothing, Planted, Test};

/// The kinds of trouble, numbered, and what shows that the system stands each.
pub const COVERAGE: &[(u32, &str, &[Evidence])] = &[
    (1, "a leader cut off keeps its clients", &[Generator("deposed-leaders"), Planted("lease-of-one")]),
    (2, "a leader stands still", &[Generator("pauses"), Planted("read-not-rechecked")]),
    (3, "clocks at different rates", &[Generator("clocks"), Planted("lease-without-margin")]),
    (4, "a leader that is not heard", &[Generator("links"), Golden("election/one_bad_link")]),
    (5, "bridges, flapping and clogged links", &[Generator("links")]),
    (
        6,
        "an ack after the last LSN was published",
        &[Generator("deposed-leaders"), Planted("promise-unforced")],
    ),
    (
        7,
        "inherited entries that do not commit",
        &[Generator("traces"), Golden("loss/inherited_entries_do_not_commit")],
    ),
    (8, "a leader restarts within its session", &[Generator("kills"), Planted("epoch-reused")]),
    (
        9,
        "a truncated LSN that counts again",
        &[Generator("traces"), Golden("loss/truncated_lsn_counts_again")],
    ),
    (
        10,
        "death at every persistent step",
        &[
            Generator("steps"),
            Test("a_crash_at_any_operation_keeps_what_was_forced", "wal/tests/log/forced.rs"),
            Test("a_crash_at_any_step_leaves_a_state_that_was_flushed", "kvstore/src/engine/tests/crash.rs"),
            Test(
                "a_crash_at_any_step_leaves_the_old_state_or_the_new_one",
                "kvstore/src/engine/tests/snapshot.rs",
            ),
        ],
    ),
    (11, "resets, doubles and reordering", &[Generator("lossy-network"), Planted("gap-accepted")]),
    (12, "death right after an acknowledgement", &[Generator("kills"), Planted("open-before-epoch-start")]),
    (13, "a restart with an older commit point", &[Generator("kills"), Planted("floor-ignored")]),
    (14, "conditional puts over a failover", &[Generator("kills"), Planted("pending-unseen")]),
    (15, "repeated writes", &[Generator("retries"), Planted("window-floor-ignored")]),
    (
        16,
        "the coordinator is away",
        &[
            Generator("coordinator-away"),
            Golden("election/coordinator_outage"),
            Test(
                "everything_acknowledged_survives_kill_9_of_all_and_a_restart_of_zookeeper",
                "tests/tests/cluster.rs",
            ),
        ],
    ),
    (
        17,
        "the coordinator is damaged",
        &[Generator("coordinator-damaged"), Golden("election/restored_coordinator")],
    ),
    (
        18,
        "clearing races an election",
        &[
            Test(
                "a_lost_leader_znode_is_put_back_under_its_own_epoch_only",
                "replication/tests/range_coordination.rs",
            ),
            Generator("coordinator-damaged"),
        ],
    ),
    (
        19,
        "an empty or foreign disk",
        &[
            Generator("lost-disks"),
            Test("an_empty_disk_under_a_known_number_is_refused", "kvstore/tests/three_nodes/repairs.rs"),
            Test("a_lost_disk_is_refilled_from_the_others", "kvstore/tests/three_nodes/repairs.rs"),
            Test("a_directory_of_another_node_or_in_use_gets_one_line", "tests/tests/command_line.rs"),
        ],
    ),
    (
        20,
        "errors of the disk, and full disks",
        &[
            Generator("disk-errors"),
            Generator("full-disks"),
            Test("a_node_whose_disk_fails_stops_and_says_so", "replication/tests/runtime/main.rs"),
        ],
    ),
    (21, "power loss at every sector", &[Generator("power-loss"), Planted("force-without-sync")]),
    (
        22,
        "every bit and every length",
        &[
            Generator("rot"),
            Test("every_flipped_bit_of_a_log_that_was_busy", "wal/tests/damage.rs"),
            Test("every_length_of_every_segment", "wal/tests/damage.rs"),
            Test("a_flipped_bit_in_a_table", "kvstore/src/engine/tests/damage.rs"),
            Test("a_cut_table", "kvstore/src/engine/tests/damage.rs"),
            Test("a_flipped_bit_in_the_manifest", "kvstore/src/engine/tests/damage.rs"),
            Test("a_cut_manifest", "kvstore/src/engine/tests/damage.rs"),
        ],
    ),
    (
        23,
        "away over deletions and compactions",
        &[Generator("snapshots"), Planted("snapshot-partial-always")],
    ),
    (24, "trouble while a snapshot is shipped", &[Generator("snapshots"), Planted("snapshot-above-applied")]),
    (25, "slow and hung disks", &[Generator("slow-disks"), Golden("transfer/hung_disk_hands_over")]),
    (
        26,
        "a rolling restart",
        &[
            Generator("restarts"),
            Test(
                "a_drained_node_leads_nothing_and_writes_go_on_through_it",
                "replication/tests/runtime/main.rs",
            ),
            Nothing("there is only one version yet: none can be mixed"),
        ],
    ),
    (
        27,
        "overload",
        &[
            Generator("overload"),
            Test("a_range_that_can_not_keep_up_says_so", "kvstore/src/engine/tests/readers.rs"),
        ],
    ),
    (28, "a replica is replaced", &[Nothing("members of a range do not change yet")]),
];
