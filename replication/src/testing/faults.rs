//! What is done to members, links and the coordinator.

use std::sync::Arc;

use bytes::Bytes;
use wal::disk::MemoryDisk;
use wal::{Append, Entry, EntryKind, LogWriter, Promise, Record};

use super::world::{Action, COHORT, LOG_OPTIONS, World};
use crate::protocol::{Cohort, Config, Recovered};

impl World {
    /// Starts a member (again).
    pub fn start(&mut self, number: u32, fresh: bool) {
        let now = self.clock(number);
        let members = self.numbers().into_iter().map(World::member).collect();
        let Some(machine) = self.machines.get_mut(&number) else { return };
        if machine.cohort.is_some() {
            return;
        }
        let (writer, recovery) =
            LogWriter::open(Arc::new(machine.disk.clone()), LOG_OPTIONS).expect("the log opens");
        let found = recovery.cohorts.get(&COHORT).cloned().unwrap_or_default();
        assert_eq!(found.corrupt, None, "a crash never looks like corruption");
        assert!(
            found.promise >= machine.promise,
            "promise lost: {:?} < {:?}",
            found.promise,
            machine.promise
        );
        machine.writer = Some(writer);
        machine.life += 1;
        machine.session += 1;
        machine.session_lives = true;
        machine.unforced = None;
        machine.applied.clear();
        machine.lease = None;
        let life = machine.life;
        let must_rejoin = std::mem::take(&mut machine.lost);
        let recovered = Recovered { log: found, fresh, log_superseded: false, must_rejoin };
        let config = Config {
            cohort: COHORT,
            me: World::member(number),
            members,
            life,
            settings: self.options.settings.clone(),
        };
        let mut effects = Vec::new();
        let cohort = Cohort::recover(config, recovered, now, &mut effects);
        if let Some(machine) = self.machines.get_mut(&number) {
            machine.cohort = Some(cohort);
        }
        self.perform(number, effects);
        self.service.expire(World::member(number));
        self.announce();
        self.plan(0, Action::Tick { node: number, life });
        self.plan(100, Action::View { node: number, life });
    }

    /// Power loss: what was not forced may be gone. The session expires after `expiry` microseconds.
    pub fn crash(&mut self, number: u32, expiry: u64) {
        let seed = self.random.number();
        let Some(machine) = self.machines.get_mut(&number) else { return };
        if machine.cohort.take().is_none() {
            return;
        }
        machine.writer = None;
        machine.disk = machine.disk.crash(seed);
        machine.lease = None;
        let session = machine.session;
        self.reads.retain(|_, reading| reading.node != number);
        self.note(|| format!("n{number} crashes"));
        self.plan(expiry, Action::Expire { node: number, session });
    }

    /// The log of a member that is down is lost, and it knows [rejoin-as-learner].
    pub fn lose_log(&mut self, number: u32) {
        if let Some(machine) = self.machines.get_mut(&number).filter(|machine| machine.cohort.is_none()) {
            machine.disk = MemoryDisk::new();
            (machine.promise, machine.lost) = (Promise::default(), true);
            self.note(|| format!("n{number} loses its log"));
        }
    }

    /// The log of a member that is down is empty, and nothing says that it was not: the disk was put back as it was when it
    /// was new [committed-is-never-dropped].
    pub fn forget_log(&mut self, number: u32) {
        if let Some(machine) = self.machines.get_mut(&number).filter(|machine| machine.cohort.is_none()) {
            machine.disk = MemoryDisk::new();
            (machine.promise, machine.lost) = (Promise::default(), false);
            self.forgotten = true;
            self.note(|| format!("n{number} forgets its log"));
        }
    }

    /// The log of a member that is down gets an entry that no leader ever sent, as if its memory had failed [minority-history-is-wiped].
    pub fn forge(&mut self, number: u32) {
        let Some(machine) = self.machines.get_mut(&number).filter(|machine| machine.cohort.is_none()) else {
            return;
        };
        let (mut writer, recovery) =
            LogWriter::open(Arc::new(machine.disk.clone()), LOG_OPTIONS).expect("the log opens");
        let found = recovery.cohorts.get(&COHORT).cloned().unwrap_or_default();
        let flushed = (found.checkpoint.flushed, found.checkpoint.flushed_chain);
        let (last, chain) = found.entries.last().map_or(flushed, |entry| (entry.lsn, entry.chain));
        let entry = Entry::next(last, chain, last.epoch, EntryKind::Write, Bytes::from_static(b"forged"));
        let lsn = entry.lsn;
        writer
            .append(Append { cohort: COHORT, records: vec![Record::Entry(entry)] })
            .expect("there is space");
        writer.force().expect("the disk is sound");
        machine.disk = machine.disk.kill();
        self.note(|| format!("n{number}'s log gets a forged {lsn}"));
    }

    /// The member's coordinator session ends; a new one comes with [`World::renew`].
    pub fn lose_session(&mut self, number: u32) {
        let Some(machine) = self.machines.get_mut(&number) else { return };
        machine.session_lives = false;
        let (session, life) = (machine.session, machine.life);
        self.plan(0, Action::Expire { node: number, session });
        self.plan(0, Action::View { node: number, life });
    }

    /// The member gets a new session.
    pub fn renew(&mut self, number: u32) {
        if let Some(machine) = self.machines.get_mut(&number)
            && !machine.session_lives
        {
            machine.session += 1;
            machine.session_lives = true;
            let life = machine.life;
            self.plan(0, Action::View { node: number, life });
        }
    }

    /// Remembers the coordinator's state, to be restored later.
    pub fn back_up(&mut self) {
        self.backup = Some(self.service.back_up());
    }

    /// Restores the coordinator from the backup: epochs may go back.
    pub fn restore_backup(&mut self) {
        if let Some(backup) = self.backup.clone() {
            self.service.restore(&backup);
            self.announce();
        }
    }

    /// The coordinator goes away, or comes back.
    pub fn set_service(&mut self, up: bool) {
        self.service_up = up;
        self.announce();
    }

    /// Whether the coordinator answers.
    pub fn service_is_up(&self) -> bool {
        self.service_up
    }

    /// Cuts the link from `a` to `b`, one way.
    pub fn cut(&mut self, a: u32, b: u32) {
        self.cut.insert((a, b));
    }

    /// Mends all links.
    pub fn heal(&mut self) {
        self.cut.clear();
    }

    /// Mends one direction of one link.
    pub fn mend(&mut self, a: u32, b: u32) {
        self.cut.remove(&(a, b));
    }

    /// Withholds a member's forces, or lets them go on.
    pub fn hold(&mut self, number: u32, held: bool) {
        let Some(machine) = self.machines.get_mut(&number) else { return };
        machine.held = held;
        let life = machine.life;
        if !held {
            self.plan(0, Action::Force { node: number, life });
        }
    }

    /// A member's disk has no space for writes, or has it again.
    pub fn fill(&mut self, number: u32, full: bool) {
        if let Some(machine) = self.machines.get_mut(&number) {
            machine.full = full;
        }
    }

    /// From now on messages are neither lost nor doubled and disks are quick.
    pub fn calm(&mut self) {
        self.options.loss = 0;
        self.options.duplication = 0;
        self.options.delay_max = 1000;
        self.options.force_max = 1000;
    }
}
