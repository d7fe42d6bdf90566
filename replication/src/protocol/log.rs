//! A cohort's view of its log: positions, epochs, hashes, and the tail that is still in memory.
//!
//! `applied <= committed <= last` and `forced <= last` hold at all times. The tail in memory holds every entry
//! behind `applied` or `forced`, and before it as many applied ones as `tail_bytes_max` allows, for re-sending. Older entries
//! are on disk. Each entry carries the hash of all before it, so two logs that hold the same LSN with the same hash are equal
//! up to it.

use std::collections::VecDeque;

use roaring::RoaringTreemap;
use wal::{ChainHash, Entry, Lsn, SkipList};

use super::message::Report;

/// The cohort's log.
#[derive(Debug)]
pub(crate) struct CohortLog {
    /// The position before the first entry in memory.
    start: (Lsn, ChainHash),
    tail: VecDeque<Entry>,
    /// Payload of the applied entries in `tail`.
    applied_bytes: u64,
    forced: Lsn,
    committed: Lsn,
    applied: Lsn,
    /// Where entries can be read back from, and the last LSN of each epoch behind that, oldest first; the newest is `last`.
    epoch_ends: Vec<Lsn>,
}

/// Where this log and another member's agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Agreement {
    /// They are equal up to here, which is all that the other knows committed or more; behind it they differ.
    At(Lsn),
    /// That cannot be shown: this log no longer knows the epochs so far back [skip-needs-proof].
    Unknown,
    /// The other has committed what is not in this log: they are equal up to here only [committed-is-never-dropped].
    Lacks(Lsn),
}

impl CohortLog {
    /// The log as recovered: everything in it is forced, nothing is applied behind `start`.
    pub(crate) fn recovered(
        start: (Lsn, ChainHash),
        entries: Vec<Entry>,
        committed: Lsn,
        mut epoch_ends: Vec<Lsn>,
    ) -> CohortLog {
        // What is behind `start` comes with the entries.
        epoch_ends.retain(|end| end.seq < start.0.seq);
        epoch_ends.push(start.0);
        let mut log = CohortLog {
            start,
            tail: VecDeque::new(),
            applied_bytes: 0,
            forced: start.0,
            committed: start.0,
            applied: start.0,
            epoch_ends,
        };
        for entry in entries {
            log.push(entry);
        }
        log.forced = log.last();
        // A Commit record may be ahead of what survived of the entries.
        log.committed = if committed.seq <= log.last().seq { committed.max(start.0) } else { log.last() };
        log
    }

    pub(crate) fn last(&self) -> Lsn {
        self.tail.back().map_or(self.start.0, |entry| entry.lsn)
    }

    pub(crate) fn last_chain(&self) -> ChainHash {
        self.tail.back().map_or(self.start.1, |entry| entry.chain)
    }

    pub(crate) fn forced(&self) -> Lsn {
        self.forced
    }

    pub(crate) fn committed(&self) -> Lsn {
        self.committed
    }

    pub(crate) fn applied(&self) -> Lsn {
        self.applied
    }

    /// Adds an entry that follows the last one.
    pub(crate) fn push(&mut self, entry: Entry) {
        assert_eq!(entry.prev, self.last(), "an entry is pushed behind its predecessor only");
        match self.epoch_ends.last_mut() {
            Some(end) if end.epoch == entry.lsn.epoch => *end = entry.lsn,
            _ => self.epoch_ends.push(entry.lsn),
        }
        self.tail.push_back(entry);
    }

    /// What was appended up to `lsn` is durable.
    pub(crate) fn force_to(&mut self, lsn: Lsn) {
        // A truncation may have dropped what was being forced.
        self.forced = self.forced.max(lsn).min(self.last());
    }

    /// The position and hash at a sequence number, if it is in memory.
    pub(crate) fn at(&self, seq: u64) -> Option<(Lsn, ChainHash)> {
        if seq == self.start.0.seq {
            return Some(self.start);
        }
        let position = seq.checked_sub(self.start.0.seq + 1)?;
        self.tail.get(usize::try_from(position).ok()?).map(|entry| (entry.lsn, entry.chain))
    }

    /// Entries behind `after` up to `bytes_max` of payload (at least one); `None` if they are no longer in memory.
    pub(crate) fn behind(&self, after: Lsn, bytes_max: u64) -> Option<Vec<Entry>> {
        self.at(after.seq).filter(|(lsn, _)| *lsn == after)?;
        let first = usize::try_from(after.seq - self.start.0.seq).ok()?;
        let mut bytes = 0;
        let mut entries = Vec::new();
        for entry in self.tail.range(first..) {
            bytes += entry.payload.len() as u64;
            if !entries.is_empty() && bytes > bytes_max {
                break;
            }
            entries.push(entry.clone());
        }
        Some(entries)
    }

    /// Commits up to `lsn` and returns what is to be applied, in order.
    pub(crate) fn commit_to(&mut self, lsn: Lsn, apply_limit: Lsn, tail_bytes_max: u64) -> Vec<Entry> {
        assert!(lsn.seq <= self.last().seq, "only what is in the log commits");
        // By its place: the epoch is what somebody says.
        if lsn.seq > self.committed.seq {
            self.committed = self.at(lsn.seq).expect("what is not committed is in memory").0;
        }
        let upto = self.committed.seq.min(apply_limit.seq);
        if upto <= self.applied.seq {
            return Vec::new();
        }
        let first = (self.applied.seq - self.start.0.seq) as usize;
        let end = (upto - self.start.0.seq) as usize;
        let entries: Vec<Entry> = self.tail.range(first..end).cloned().collect();
        if let Some(entry) = entries.last() {
            self.applied = entry.lsn;
        }
        self.applied_bytes += entries.iter().map(|entry| entry.payload.len() as u64).sum::<u64>();
        while self.applied_bytes > tail_bytes_max
            && let Some(entry) = self.tail.front()
            && entry.lsn.seq < self.applied.seq
            && entry.lsn.seq <= self.forced.seq
        {
            // What is not forced here cannot be read back from the disk yet: it stays.
            self.applied_bytes -= entry.payload.len() as u64;
            self.start = (entry.lsn, entry.chain);
            self.tail.pop_front();
        }
        entries
    }

    /// Drops what stands behind `agree` and says what a Skip record must hide; `None` if that is nothing.
    pub(crate) fn truncate(&mut self, agree: Lsn) -> Option<SkipList> {
        assert!(agree.seq >= self.committed.seq, "nothing committed is ever truncated");
        let mut skip = SkipList::default();
        while let Some(entry) = self.tail.back()
            && entry.lsn.seq > agree.seq
        {
            let lsn = entry.lsn;
            skip.0.entry(lsn.epoch).or_insert_with(RoaringTreemap::new).insert(lsn.seq);
            self.tail.pop_back();
        }
        self.epoch_ends.retain(|end| end.seq <= agree.seq);
        if self.epoch_ends.last().is_none_or(|end| *end != self.last()) {
            self.epoch_ends.push(self.last());
        }
        self.forced = self.forced.min(self.last());
        (!skip.0.is_empty()).then_some(skip)
    }

    /// The store holds everything up to `flushed` in tables now. True if the log holds it, too, with this very hash: then
    /// what follows stays. Else the log is superseded up to `flushed` and begins anew behind it.
    pub(crate) fn install_snapshot(&mut self, flushed: Lsn, chain: ChainHash) -> bool {
        if self.at(flushed.seq) == Some((flushed, chain)) {
            self.commit_to(flushed, flushed, 0);
            return true;
        }
        self.start = (flushed, chain);
        self.tail.clear();
        self.applied_bytes = 0;
        (self.forced, self.committed, self.applied) = (flushed, flushed, flushed);
        self.epoch_ends = vec![flushed];
        false
    }

    /// What others need to find where our logs agree.
    pub(crate) fn report(&self) -> Report {
        let from = self.epoch_ends.iter().rposition(|end| end.seq <= self.committed.seq).unwrap_or(0);
        Report { committed: self.committed, last: self.last(), epoch_ends: self.epoch_ends[from..].to_vec() }
    }

    /// The last LSN that this log and the reporter's have in common. An epoch has one leader, which proposes one
    /// sequence: where both logs hold an LSN of the same epoch, they are equal up to it.
    pub(crate) fn agreement(&self, report: &Report) -> Agreement {
        match self.common(report) {
            Some(common) if common.seq >= report.committed.seq => Agreement::At(common),
            Some(common) => Agreement::Lacks(common),
            None if report.committed > self.last() => Agreement::Lacks(Lsn::ZERO),
            None => Agreement::Unknown,
        }
    }

    /// The last LSN in common, as far as it can be shown; 0.0 if nothing is, `None` if this log no longer knows.
    fn common(&self, report: &Report) -> Option<Lsn> {
        let first = self.epoch_ends.first().copied().unwrap_or(Lsn::ZERO);
        for theirs in report.epoch_ends.iter().rev() {
            match self.epoch_ends.iter().rev().find(|end| end.epoch == theirs.epoch) {
                Some(ours) => {
                    return Some(if ours.seq <= theirs.seq { *ours } else { *theirs });
                }
                // All our later epochs are known: this one is none of them.
                None if theirs.epoch > first.epoch => {}
                None => return None,
            }
        }
        // No epoch that it knows of is in this log.
        Some(Lsn::ZERO)
    }

    /// Panics if this does not hold together.
    pub(crate) fn check(&self) {
        let last = self.last();
        assert!(self.applied.seq <= self.committed.seq, "only what is committed is applied");
        assert!(self.committed.seq <= last.seq, "only what is in the log is committed");
        assert!(self.forced.seq <= last.seq, "only what is in the log is forced");
        assert!(self.start.0.seq <= self.applied.seq, "what is not applied is in memory");
        assert_eq!(self.epoch_ends.last(), Some(&last), "the newest epoch ends with the log");
        assert_eq!(last.seq, self.start.0.seq + self.tail.len() as u64, "the log has no gaps");
        if let Some(entry) = self.tail.back() {
            let before = entry.lsn.seq - 1;
            assert_eq!(
                self.at(before).map(|(lsn, _)| lsn),
                Some(entry.prev),
                "each entry names the one before"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use wal::{EntryKind, Epoch};

    use super::*;

    /// A log with entries of the given epochs.
    fn log(epochs: &[u32], committed: u64) -> CohortLog {
        let (mut last, mut chain) = (Lsn::ZERO, ChainHash::ZERO);
        let mut entries = Vec::new();
        for &epoch in epochs {
            let entry = Entry::next(last, chain, Epoch(epoch), EntryKind::Write, Bytes::new());
            (last, chain) = (entry.lsn, entry.chain);
            entries.push(entry);
        }
        let committed =
            entries.get((committed as usize).wrapping_sub(1)).map_or(Lsn::ZERO, |entry| entry.lsn);
        CohortLog::recovered((Lsn::ZERO, ChainHash::ZERO), entries, committed, Vec::new())
    }

    #[test]
    fn agreement_is_the_longest_common_prefix() {
        let cases: [(&[u32], &[u32]); 7] = [
            (&[1, 1, 1], &[1, 1, 1, 1]),
            (&[1, 1, 2, 2], &[1, 1, 1]),
            (&[1, 1, 3], &[1, 1, 2, 2]),
            (&[1, 2, 2, 4], &[1, 2, 2, 2, 3]),
            (&[1, 1], &[]),
            (&[5], &[1, 1, 1]),
            (&[], &[1]),
        ];
        for (ours, theirs) in cases {
            let common = ours.iter().zip(theirs).take_while(|(a, b)| a == b).count();
            for committed in 0..=theirs.len() {
                let report = log(theirs, committed as u64).report();
                let agree = match log(ours, 0).agreement(&report) {
                    Agreement::At(agree) => agree.seq,
                    Agreement::Lacks(agree) => {
                        assert!(common < committed, "{ours:?} {theirs:?} committed {committed}");
                        assert!(agree.seq <= common as u64, "{ours:?} {theirs:?} committed {committed}");
                        continue;
                    }
                    Agreement::Unknown => panic!("both logs are whole: {ours:?} {theirs:?}"),
                };
                assert!(
                    committed <= common,
                    "{ours:?} {theirs:?}: {committed} is committed there and not here"
                );
                assert_eq!(agree, common as u64, "{ours:?} {theirs:?} committed {committed}");
            }
        }
    }

    /// A leader whose log begins above the other's epochs cannot tell; but what is committed above its end it lacks.
    #[test]
    fn who_has_committed_beyond_a_log_is_never_taken_for_equal() {
        let start = Lsn::new(5, 10);
        let ours = CohortLog::recovered((start, ChainHash::ZERO), Vec::new(), start, vec![start]);
        let report = |committed, end| Report { committed, last: end, epoch_ends: vec![end] };
        let (old, new) = (Lsn::new(4, 9), Lsn::new(6, 12));
        assert_eq!(ours.agreement(&report(old, old)), Agreement::Unknown);
        assert_eq!(ours.agreement(&report(new, new)), Agreement::Lacks(Lsn::ZERO));
        assert_eq!(ours.agreement(&report(start, new)), Agreement::Lacks(Lsn::ZERO));
        assert_eq!(ours.agreement(&report(Lsn::new(5, 11), Lsn::new(5, 11))), Agreement::Lacks(start));
    }

    #[test]
    fn truncation_hides_exactly_the_tail() {
        let mut log = log(&[1, 1, 2, 2], 1);
        let skip = log.truncate(Lsn::new(1, 2)).expect("something to skip");
        assert_eq!(skip.0.keys().copied().collect::<Vec<_>>(), [Epoch(2)]);
        assert_eq!(skip.0[&Epoch(2)].iter().collect::<Vec<_>>(), [3, 4]);
        assert_eq!(log.last(), Lsn::new(1, 2));
        assert_eq!(log.truncate(Lsn::new(1, 2)), None);
        assert_eq!(log.report().epoch_ends, [Lsn::ZERO, Lsn::new(1, 2)]);
    }
}
