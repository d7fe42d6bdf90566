//! What is done to the site, one function each: the fault begins, lasts, and is taken back.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::thread::sleep;
use std::time::Duration;

use replication::testing::options::Random;
use rustix::process::{Resource, Rlimit};

use super::ensemble::{Ensemble, MEMBERS};
use super::site::{NODES, Site, machine};

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// SIGKILL, and a start 1.5 s later.
    Kill,
    /// SIGKILL of all nodes at once, and a start of all.
    KillAll,
    /// SIGTERM, and a start.
    Terminate,
    /// SIGTERM and start of one node after the other.
    Rolling,
    /// SIGSTOP for 0.3 s.
    PauseShort,
    /// SIGSTOP for 3 s.
    Pause,
    /// SIGSTOP for 10 s.
    PauseLong,
    /// Nothing goes to or comes from any other machine of the site for 4 s.
    Isolate,
    /// Nothing that it sends arrives at any other machine of the site for 4 s.
    CutOutgoing,
    /// Nothing that others send arrives for 4 s.
    CutIncoming,
    /// Nothing goes between it and the other nodes for 4 s; ZooKeeper is reached.
    Blackhole,
    /// Nothing goes between it and one other node for 4 s.
    Bridge,
    /// Cut from all others and back, each 0.3 s, ten times.
    Flap,
    /// Of the packets that come to it 15 % are lost for 4 s.
    Loss,
    /// What it sends goes over a slow link for 4 s.
    SlowLink,
    /// It does not reach ZooKeeper for 12 s: its session expires.
    NoZooKeeper,
    /// A member of the ensemble is killed for 3 s.
    EnsembleMember,
    /// The whole ensemble is down for 8 s.
    EnsembleDown,
    /// The ensemble is put back to what it held before a change of leaders, and leaders change again.
    EnsembleRolledBack,
    /// All that the cluster has in ZooKeeper is deleted; after 3 s the nodes are stopped and it is written anew.
    ZnodesLost,
    /// A table's, range's or node's znode holds junk, the node is killed, and it is started.
    ZnodeJunk,
    /// Its disk is full for 3 s.
    DiskFull,
    /// It may open no more files for 3 s.
    Descriptors,
    /// Each of its syncs takes 100 ms for 4 s.
    SlowSync,
    /// Its syncs hang for 5 s.
    HungSync,
    /// SIGKILL, its disk is lost, and it is rebuilt.
    LostDisk,
    /// SIGKILL, the directory of its log is lost, and it is started.
    LostLog,
    /// Another node is killed; it is killed and loses its log; the third is killed; they come back in this order.
    LostLogWhenNeeded,
    /// SIGKILL, one byte of its log is another, and it is started.
    CorruptLog,
    /// SIGKILL, one byte of a table or manifest is another, and it is started.
    CorruptTable,
}

/// All of them, with the names by which they are asked for.
pub const ALL: [(&str, Fault); 30] = [
    ("kill", Fault::Kill),
    ("kill-all", Fault::KillAll),
    ("terminate", Fault::Terminate),
    ("rolling", Fault::Rolling),
    ("pause-short", Fault::PauseShort),
    ("pause", Fault::Pause),
    ("pause-long", Fault::PauseLong),
    ("isolate", Fault::Isolate),
    ("cut-outgoing", Fault::CutOutgoing),
    ("cut-incoming", Fault::CutIncoming),
    ("blackhole", Fault::Blackhole),
    ("bridge", Fault::Bridge),
    ("flap", Fault::Flap),
    ("loss", Fault::Loss),
    ("slow-link", Fault::SlowLink),
    ("no-zookeeper", Fault::NoZooKeeper),
    ("ensemble-member", Fault::EnsembleMember),
    ("ensemble-down", Fault::EnsembleDown),
    ("ensemble-rolled-back", Fault::EnsembleRolledBack),
    ("znodes-lost", Fault::ZnodesLost),
    ("znode-junk", Fault::ZnodeJunk),
    ("disk-full", Fault::DiskFull),
    ("descriptors", Fault::Descriptors),
    ("slow-sync", Fault::SlowSync),
    ("hung-sync", Fault::HungSync),
    ("lost-disk", Fault::LostDisk),
    ("lost-log", Fault::LostLog),
    ("lost-log-when-needed", Fault::LostLogWhenNeeded),
    ("corrupt-log", Fault::CorruptLog),
    ("corrupt-table", Fault::CorruptTable),
];

impl FromStr for Fault {
    type Err = String;

    fn from_str(name: &str) -> Result<Fault, String> {
        let found = ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, fault)| *fault).ok_or_else(|| {
            let known: Vec<&str> = ALL.iter().map(|(name, _)| *name).collect();
            format!("no such fault; there are {}", known.join(", "))
        })
    }
}

impl Fault {
    /// Its name.
    pub fn name(self) -> &'static str {
        ALL.iter().find(|(_, fault)| *fault == self).expect("all faults have names").0
    }

    /// Nodes to which nothing is done when the fault is done to `victim`.
    pub fn untouched(self, victim: usize) -> Vec<usize> {
        match self {
            Fault::KillAll | Fault::Rolling | Fault::LostLogWhenNeeded | Fault::ZnodesLost => NODES.to_vec(),
            Fault::EnsembleMember | Fault::EnsembleDown => NODES.to_vec(),
            _ => NODES.into_iter().filter(|node| *node != victim).collect(),
        }
    }

    /// Whether a majority of each range lives all the time, so that the time without writes means something.
    pub fn keeps_majority(self) -> bool {
        !matches!(self, Fault::KillAll | Fault::LostLogWhenNeeded | Fault::ZnodesLost)
    }

    /// Does it and takes it back.
    ///
    /// # Errors
    ///
    /// What the site did that it should not have.
    pub fn run(self, site: &mut Site, victim: usize, random: &mut Random) -> Result<(), String> {
        match self {
            Fault::Kill => site.crash_and(victim, |_| Ok(()), &[]),
            Fault::KillAll => {
                NODES.into_iter().for_each(|node| site.kill(node));
                NODES.into_iter().for_each(|node| site.spawn(node, &[]));
                NODES.into_iter().for_each(|node| site.wait_ready(node));
                Ok(())
            }
            Fault::Terminate => {
                site.stop(victim)?;
                sleep(Duration::from_millis(500));
                site.start_again(victim);
                Ok(())
            }
            Fault::Rolling => NODES.into_iter().try_for_each(|node| {
                site.stop(node)?;
                site.start_again(node);
                sleep(Duration::from_millis(500));
                Ok(())
            }),
            Fault::PauseShort => site.paused(victim, 300),
            Fault::Pause => site.paused(victim, 3000),
            Fault::PauseLong => site.paused(victim, 10_000),
            Fault::Isolate => site.isolated(victim, true, true, 4000),
            Fault::CutOutgoing => site.isolated(victim, true, false, 4000),
            Fault::CutIncoming => site.isolated(victim, false, true, 4000),
            Fault::Flap => (0..10).try_for_each(|_| {
                site.isolated(victim, true, true, 300)?;
                sleep(Duration::from_millis(300));
                Ok(())
            }),
            Fault::Blackhole => site.separated(victim, &self.untouched(victim).map_machines(), 4000),
            Fault::Bridge => site.separated(victim, &self.untouched(victim)[..1].map_machines(), 4000),
            Fault::Loss => site.lossy(victim, 4000),
            Fault::SlowLink => site.on_slow_link(victim, 4000),
            Fault::NoZooKeeper => site.separated(victim, &MEMBERS, 12_000),
            Fault::EnsembleMember => site.ensemble_without(&[random.below(3) as usize], 3000),
            Fault::EnsembleDown => site.ensemble_without(&[0, 1, 2], 8000),
            Fault::EnsembleRolledBack => site.roll_ensemble_back(victim),
            Fault::ZnodesLost => site.lose_znodes(),
            Fault::ZnodeJunk => {
                site.tree().spoil(random)?;
                sleep(Duration::from_millis(500));
                site.crash_and(victim, |_| Ok(()), &[])
            }
            Fault::DiskFull => {
                site.disk(victim).fill();
                sleep(Duration::from_secs(3));
                site.disk(victim).free();
                Ok(())
            }
            Fault::Descriptors => site.without_descriptors(victim),
            Fault::SlowSync => site.slow_sync(victim, 100_000, 4000),
            Fault::HungSync => site.slow_sync(victim, 60_000_000, 5000),
            Fault::LostDisk => site.crash_and(victim, remove, &["--rebuild"]),
            Fault::LostLog => site.crash_and(victim, |data| remove(&data.join("wal")), &[]),
            Fault::LostLogWhenNeeded => site.lose_log_when_needed(victim),
            Fault::CorruptLog => site.crash_and(victim, |data| flip(data, &[".seg"], random), &[]),
            Fault::CorruptTable => {
                site.crash_and(victim, |data| flip(data, &[".sst", "manifest"], random), &[])
            }
        }
    }
}

impl Site {
    /// SIGKILL, something is done to the data, and a start.
    fn crash_and(
        &mut self,
        victim: usize,
        harm: impl FnOnce(&Path) -> Result<(), String>,
        flags: &[&str],
    ) -> Result<(), String> {
        self.kill(victim);
        sleep(Duration::from_millis(1500));
        harm(self.data(victim))?;
        self.spawn(victim, flags);
        self.wait_ready(victim);
        Ok(())
    }

    fn paused(&self, victim: usize, millis: u64) -> Result<(), String> {
        self.process(victim).pause();
        sleep(Duration::from_millis(millis));
        self.process(victim).resume();
        Ok(())
    }

    fn isolated(&self, victim: usize, outgoing: bool, incoming: bool, millis: u64) -> Result<(), String> {
        self.isolate(victim, outgoing, incoming)?;
        sleep(Duration::from_millis(millis));
        self.join(victim)
    }

    fn separated(&self, victim: usize, from: &[super::network::Machine], millis: u64) -> Result<(), String> {
        for &other in from {
            self.network.cut(machine(victim), other)?;
            self.network.cut(other, machine(victim))?;
        }
        sleep(Duration::from_millis(millis));
        self.join(victim)
    }

    fn lossy(&self, victim: usize, millis: u64) -> Result<(), String> {
        self.network.lose(machine(victim), 15)?;
        sleep(Duration::from_millis(millis));
        self.network.lose_none(machine(victim))
    }

    fn on_slow_link(&self, victim: usize, millis: u64) -> Result<(), String> {
        self.network.slow_link(machine(victim))?;
        sleep(Duration::from_millis(millis));
        self.network.fast_link(machine(victim))
    }

    fn ensemble_without(&mut self, members: &[usize], millis: u64) -> Result<(), String> {
        members.iter().for_each(|&member| self.ensemble.kill(member));
        sleep(Duration::from_millis(millis));
        members.iter().for_each(|&member| self.ensemble.start_member(member, &self.network));
        self.ensemble.wait_serving();
        Ok(())
    }

    /// What the ensemble held before the leaders changed comes back, as from an old backup; leaders change again.
    fn roll_ensemble_back(&mut self, victim: usize) -> Result<(), String> {
        let restart = |site: &mut Site, before: fn(&Ensemble) -> Result<(), String>| {
            MEMBERS.iter().enumerate().for_each(|(member, _)| site.ensemble.kill(member));
            before(&site.ensemble)?;
            (0..MEMBERS.len()).for_each(|member| site.ensemble.start_member(member, &site.network));
            site.ensemble.wait_serving();
            Ok::<(), String>(())
        };
        restart(self, Ensemble::keep)?;
        self.crash_and(victim, |_| Ok(()), &[])?;
        restart(self, Ensemble::roll_back)?;
        // Sessions that the old backup knows expire.
        sleep(Duration::from_secs(8));
        self.crash_and(victim, |_| Ok(()), &[])
    }

    /// The cluster's znodes are deleted. Leaders go on; nodes that are stopped come back after `recover-metadata`.
    fn lose_znodes(&mut self) -> Result<(), String> {
        self.tree().delete()?;
        sleep(Duration::from_secs(3));
        NODES.into_iter().try_for_each(|node| self.stop(node))?;
        self.recover_metadata()?;
        NODES.into_iter().for_each(|node| self.spawn(node, &[]));
        NODES.into_iter().for_each(|node| self.wait_ready(node));
        Ok(())
    }

    fn slow_sync(&self, victim: usize, micros: u64, millis: u64) -> Result<(), String> {
        self.slow.delay(victim, micros);
        sleep(Duration::from_millis(millis));
        self.slow.delay(victim, 0);
        Ok(())
    }

    fn without_descriptors(&self, victim: usize) -> Result<(), String> {
        let pid = self.process(victim).pid();
        let wrong = |error: rustix::io::Errno| format!("prlimit: {error}");
        let set = |limit: Rlimit| rustix::process::prlimit(Some(pid), Resource::Nofile, limit).map_err(wrong);
        let open =
            fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())).map_err(|error| error.to_string())?;
        let maximum = hard_limit(pid.as_raw_nonzero().get())?;
        let before = set(Rlimit { current: Some(open.count() as u64), maximum: Some(maximum) })?;
        sleep(Duration::from_secs(3));
        set(before).map(drop)
    }

    /// What is acknowledged while one node is away is on two; one of these loses its log. It may not be counted when the
    /// one that was away and it come back alone.
    fn lose_log_when_needed(&mut self, victim: usize) -> Result<(), String> {
        let away = NODES[victim % 3];
        let third = NODES[(victim + 1) % 3];
        self.kill(away);
        sleep(Duration::from_millis(1500));
        self.kill(victim);
        remove(&self.data(victim).join("wal"))?;
        self.kill(third);
        self.spawn(victim, &[]);
        self.spawn(away, &[]);
        sleep(Duration::from_secs(4));
        self.spawn(third, &[]);
        NODES.into_iter().for_each(|node| self.wait_ready(node));
        Ok(())
    }
}

/// The most files that a process may be allowed to open.
fn hard_limit(pid: i32) -> Result<u64, String> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).map_err(|error| error.to_string())?;
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap_or_default();
    let hard = line.split_whitespace().nth(4).and_then(|limit| limit.parse().ok());
    hard.ok_or_else(|| format!("no limit of open files in /proc/{pid}/limits"))
}

trait Machines {
    fn map_machines(&self) -> Vec<super::network::Machine>;
}

impl Machines for [usize] {
    fn map_machines(&self) -> Vec<super::network::Machine> {
        self.iter().map(|node| machine(*node)).collect()
    }
}

fn remove(dir: &Path) -> Result<(), String> {
    fs::remove_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))
}

/// Changes one bit of a file whose name ends so.
fn flip(data: &Path, endings: &[&str], random: &mut Random) -> Result<(), String> {
    let mut files = Vec::new();
    collect(data, endings, &mut files).map_err(|error| format!("{}: {error}", data.display()))?;
    files.sort();
    let Some(file) = files.get(random.below(files.len().max(1) as u64) as usize) else { return Ok(()) };
    let mut bytes = fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    // The end of a segment was never written.
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    if used > 0 {
        let at = random.below(used as u64) as usize;
        bytes[at] ^= 1 << random.below(8);
        fs::write(file, bytes).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(())
}

fn collect(dir: &Path, endings: &[&str], files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            collect(&path, endings, files)?;
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            files.push(path);
        }
    }
    Ok(())
}
