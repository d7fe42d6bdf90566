//! What a seed means: the size of the world, its periods and limits, and how it misbehaves by itself. Small constants,
//! so that what is rare in production (a log segment filling up, a flush, a forgotten outcome) happens all the time.

use std::time::Duration;

use kvstore::testing::{EngineOptions, ScanLimits, WindowLimits};
use replication::protocol::Settings;
use replication::protocol::time::Millis;
use replication::testing::options::Random;
use wal::LogOptions;

/// Operations of a normal seed.
pub const OPS: u32 = 400;

/// Kinds of faults that a seed may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultKinds {
    /// Processes are killed: the page cache survives.
    pub kills: bool,
    /// Power is lost: of what was not forced, anything may be gone.
    pub power: bool,
    /// A crash at a certain disk operation.
    pub steps: bool,
    /// All nodes lose power together.
    pub blackouts: bool,
    /// Processes stand still for a while (SIGSTOP, a suspended machine).
    pub pauses: bool,
    /// Links are cut, in both directions or in one.
    pub cuts: bool,
    /// Links hold their messages back for a while.
    pub clogs: bool,
    /// Coordinator sessions end; nodes are cut from the coordinator.
    pub sessions: bool,
    /// The coordinator is out of reach, for all.
    pub outages: bool,
    /// The coordinator's state is damaged: nodes deleted, an old snapshot restored.
    pub damage: bool,
    /// Disks hang, or are slow.
    pub hangs: bool,
    /// Disks are full for a while.
    pub full: bool,
    /// Writes or forces fail with EIO.
    pub errors: bool,
    /// Leaderships are handed over.
    pub transfers: bool,
    /// New leaders end in the middle of their takeover.
    pub traps: bool,
    /// The log of one node rots while it is down.
    pub rot: bool,
    /// The disk of that node is lost, and an empty one takes its place.
    pub lost: bool,
}

/// What kind of trouble a seed is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Anything, at any time.
    Any,
    /// Leaders are deposed while most clients read.
    Deposing,
    /// Elections, and leaders that end in the middle of them.
    Storm,
    /// Disks that are full again and again while many clients write.
    Full,
    /// Leaders fall silent, one at a time, and every other gateway must go on answering soon.
    Silence,
}

/// All that a seed decides, but for the schedule.
#[derive(Clone, Debug)]
pub struct Options {
    /// Nodes of the cluster.
    pub nodes: u32,
    /// Ranges; range i lives on three neighbours (five, if `wide`), so cohorts are chained.
    pub ranges: u32,
    /// Five members to a cohort.
    pub wide: bool,
    /// Operations of all clients together.
    pub ops: u32,
    /// Clients that work at the same time.
    pub clients: u32,
    /// Keys of each kind, in each range.
    pub keys: u32,
    /// How long an operation may take, in microseconds.
    pub deadline: u64,
    /// A client that has lost its gateway waits up to so long before it asks another one, in microseconds.
    pub retry_max: u64,
    /// The kind of trouble.
    pub style: Style,
    /// Simulated time in which the operations are begun, in microseconds.
    pub duration: u64,
    /// Most a message takes, in microseconds.
    pub delay_max: u64,
    /// A message is lost once in so many (0: never).
    pub loss: u64,
    /// A message comes twice once in so many (0: never).
    pub duplication: u64,
    /// Most a force takes, in microseconds.
    pub force_max: u64,
    /// Clocks run too fast or too slow by up to so many per mille.
    pub drift_per_mille: u64,
    /// After so long without a word a session ends, in microseconds.
    pub session_timeout: u64,
    /// One round of background work on a node in so many microseconds.
    pub maintenance_period: u64,
    /// One fault in so many microseconds, on average.
    pub fault_period: u64,
    /// Which.
    pub kinds: FaultKinds,
    /// The protocol's.
    pub settings: Settings,
    /// The log's.
    pub log: LogOptions,
    /// The storage engine's.
    pub engine: EngineOptions,
    /// A page of a scan ends after so many bytes, whatever the gateway would take.
    pub page_bytes: usize,
    /// How long scans stay open on a node, how many, and what they may keep.
    pub scans: ScanLimits,
    /// Memory for pages at each gateway, in bytes.
    pub scan_memory: u64,
    /// Outcomes remembered per range.
    pub window: WindowLimits,
    /// An operation through a gateway that is well all the time is answered within so long, in microseconds.
    pub answer_max: Option<u64>,
}

fn pick<T: Copy>(random: &mut Random, some: &[T]) -> T {
    some[random.below(some.len() as u64) as usize]
}

impl Options {
    /// The options of a seed.
    pub fn draw(random: &mut Random, ops: Option<u32>) -> Options {
        let nodes = pick(random, &[3, 3, 3, 3, 4, 5, 5, 7]);
        let ranges =
            if nodes == 3 { 1 + random.below(2) as u32 } else { 1 + random.below(nodes.into()) as u32 };
        let lossy = random.one_in(2);
        let style = match random.below(16) {
            0..=3 => Style::Deposing,
            4..=8 => Style::Storm,
            9 | 10 => Style::Full,
            11 => Style::Silence,
            _ => Style::Any,
        };
        let full = style == Style::Full;
        let storm = style == Style::Storm;
        let wide = nodes >= 5 && !storm && random.one_in(2);
        let reading = style == Style::Deposing;
        let quick = storm || random.one_in(if style == Style::Deposing { 4 } else { 2 });
        let (tick, heartbeat, lease, suspect) = if quick { (5, 20, 150, 120) } else { (10, 50, 500, 400) };
        let settings = Settings {
            tick: Millis(tick),
            heartbeat: Millis(heartbeat),
            commit_period: Millis(heartbeat),
            commit_piggyback: !random.one_in(4),
            lease: Millis(lease),
            suspect_after: Millis(suspect),
            force_wait_max: Millis(2 * lease),
            transfer_timeout: Millis(pick(random, &[100, 2000])),
            queue_len_max: pick(random, &[3, 16, 1000]),
            window_len_max: if storm && random.one_in(2) { 1 } else { 1 + random.below(5) as usize },
            tail_bytes_max: pick(random, &[0, 300, 3000]),
            batch_bytes_max: if storm { pick(random, &[1, 1, 200]) } else { pick(random, &[1, 200, 2000]) },
            ..Settings::default()
        };
        let mut coin = |n: u64| random.one_in(n);
        let kinds = FaultKinds {
            kills: coin(2),
            power: coin(2),
            steps: coin(3),
            blackouts: coin(6),
            pauses: coin(3),
            cuts: coin(2),
            clogs: coin(4),
            sessions: coin(3),
            outages: coin(6),
            damage: coin(6),
            hangs: coin(5),
            full: coin(3),
            errors: coin(5),
            transfers: coin(3),
            traps: coin(5),
            rot: coin(4),
            lost: false,
        };
        let kinds = FaultKinds { lost: kinds.rot && kinds.kills, ..kinds };
        let kinds = match style {
            Style::Full => FaultKinds { kills: true, full: true, ..FaultKinds::default() },
            Style::Silence => FaultKinds::default(),
            Style::Any | Style::Deposing | Style::Storm => kinds,
        };
        let duration = pick(random, &[1_000_000, 3_000_000, 8_000_000]);
        let mut options = Options {
            nodes,
            ranges,
            wide,
            ops: ops.unwrap_or(if reading { 6 * OPS } else { OPS }),
            clients: if reading || full { 4 + random.below(5) } else { 1 + random.below(8) } as u32,
            keys: 1 + random.below(4) as u32,
            deadline: pick(random, &[50_000, 300_000, 1_500_000, 4_000_000]),
            retry_max: pick(random, &[1, 1, 100_000, 1_000_000]),
            style,
            duration: match style {
                Style::Any | Style::Full => duration,
                Style::Deposing => u64::from(lease) * 16_000,
                Style::Storm | Style::Silence => 16_000_000,
            },
            delay_max: if reading {
                pick(random, &[200, 1000])
            } else {
                pick(random, &[200, 1000, 5000, 30_000])
            },
            loss: if lossy { 5 + random.below(100) } else { 0 },
            duplication: if lossy { 5 + random.below(50) } else { 0 },
            force_max: if reading {
                pick(random, &[200, 200, 2000])
            } else {
                pick(random, &[200, 2000, 20_000])
            },
            drift_per_mille: if reading { pick(random, &[0, 45, 45]) } else { random.below(45) },
            session_timeout: pick(random, &[300_000, 1_000_000, 4_000_000]),
            maintenance_period: pick(random, &[5_000, 20_000, 100_000]),
            fault_period: if full { 20_000 } else { pick(random, &[20_000, 100_000, 400_000]) },
            kinds,
            settings,
            log: LogOptions {
                segment_bytes: pick(random, &[16 << 10, 40 << 10, 128 << 10]),
                retention_bytes: pick(random, &[0, 100 << 10, 8 << 20]),
                reserve_bytes: 64 << 10,
                ..LogOptions::default()
            },
            engine: EngineOptions {
                memtable_bytes: pick(random, &[400, 2000, 20_000]),
                level0_tables: 2,
                level0_stall: 8,
                level1_bytes: pick(random, &[500, 4000]),
                table_bytes: pick(random, &[300, 2000]),
                ..EngineOptions::default()
            },
            page_bytes: pick(random, &[1, 1, 60, 400, 512 << 10]),
            scans: ScanLimits {
                idle_max: Duration::from_millis(pick(random, &[50, 500, 3000])),
                age_max: Duration::from_millis(pick(random, &[500, 10_000])),
                open_max: pick(random, &[1, 4, 100]),
                kept_bytes_max: pick(random, &[0, 2000, 256 << 20]),
            },
            scan_memory: pick(random, &[64 << 10, 100 << 10, 128 << 20]),
            window: {
                let len = pick(random, &[4, 64, 4096]);
                // The largest is never full: in the middle a replica remembers more than it persists.
                WindowLimits { len, len_max: if len == 64 { 256 } else { len } }
            },
            answer_max: None,
        };
        if style == Style::Silence {
            options.be_silent();
        }
        if full {
            // Much that is live and nothing in tables, so that the log is forever copying its tail forward.
            (options.log.segment_bytes, options.log.retention_bytes) = (16 << 10, 0);
            options.engine.memtable_bytes = 20_000;
        }
        options
    }

    /// Nothing is wrong but what the style is about, so that answers must come soon.
    pub fn be_silent(&mut self) {
        (self.style, self.kinds) = (Style::Silence, FaultKinds::default());
        (self.loss, self.duplication) = (0, 0);
        (self.delay_max, self.force_max) = (self.delay_max.min(1000), self.force_max.min(2000));
        (self.duration, self.deadline) = (16_000_000, 4_000_000);
        (self.session_timeout, self.settings.queue_len_max) = (4_000_000, 1000);
        self.scan_memory = 128 << 20;
        self.answer_max = Some(1_500_000);
    }

    /// The members of a range: neighbours in a ring.
    pub fn members(&self, range: u32) -> Vec<u32> {
        let count = if self.wide { 5 } else { 3 };
        (0..count).map(|place| (range + place) % self.nodes + 1).collect()
    }
}
