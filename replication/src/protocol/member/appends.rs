//! What a member has appended to the shared log and is not durable yet, in order, and what each append was for.
//!
//! The log is sequential, so appends become durable in order. When the disk is full the log takes nothing any more; then
//! everything that is not durable waits here and is appended again, in the same order and under new tickets, when there is
//! space. A full disk is the only failure that is not final [failed-force-is-final].

use std::collections::VecDeque;

use wal::{Epoch, Lsn, Promise, Record};

use crate::protocol::effect::Effect;
use crate::protocol::event::Ticket;
use crate::protocol::time::{Millis, Stamp};

/// What an append was for; reported when it is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Persisted {
    /// Entries up to here.
    Entries(Lsn),
    /// A promise bound to a leader that asked for it.
    Bound(Promise),
    /// Our own candidacy in this epoch.
    Candidacy(Epoch),
    /// A truncation to this LSN, for the leader of this epoch.
    Truncated { epoch: Epoch, agree: Lsn },
    /// A longer lease than any granted before.
    LongerLease(Millis),
    /// The mark of a learner is taken away.
    Promoted,
    /// The mark of a learner is set, because what is here differs from the leader's: it is wiped now.
    RejoinMarked,
    /// A checkpoint that nobody waits for.
    Checkpoint,
}

/// An append that is not yet durable, kept to be appended again when the disk was full.
#[derive(Debug)]
struct PendingAppend {
    ticket: Ticket,
    records: Vec<Record>,
    purpose: Persisted,
    /// When the append was first requested.
    since: Stamp,
}

/// Appends under way.
#[derive(Debug)]
pub(crate) struct Appends {
    pending: VecDeque<PendingAppend>,
    last_ticket: Ticket,
    /// An append was refused for lack of space; everything pending waits to be appended again.
    disk_full: bool,
    /// When to try again.
    retry_at: Stamp,
    /// Tickets up to this one are superseded: their records are appended again under new ones.
    superseded: Ticket,
    /// Last LSN named by a Commit record.
    commit_logged: Lsn,
    commit_logged_at: Stamp,
}

impl Appends {
    /// Nothing is pending; the log says that everything up to `committed` is committed.
    pub(crate) fn new(committed: Lsn, now: Stamp) -> Appends {
        Appends {
            pending: VecDeque::new(),
            last_ticket: Ticket(0),
            disk_full: false,
            retry_at: now,
            superseded: Ticket(0),
            commit_logged: committed,
            commit_logged_at: now,
        }
    }

    pub(crate) fn is_disk_full(&self) -> bool {
        self.disk_full
    }

    /// Appends these records and asks for their force.
    pub(crate) fn append(
        &mut self,
        records: Vec<Record>,
        purpose: Persisted,
        now: Stamp,
        out: &mut Vec<Effect>,
    ) {
        let ticket = self.next_ticket();
        if !self.disk_full {
            out.push(Effect::Append { records: records.clone(), ticket: Some(ticket) });
        }
        self.pending.push_back(PendingAppend { ticket, records, purpose, since: now });
    }

    fn next_ticket(&mut self) -> Ticket {
        self.last_ticket.0 += 1;
        self.last_ticket
    }

    /// Entries behind `agree` are about to be hidden by a Skip: those that still wait for space must not come after it.
    pub(crate) fn withdraw_entries_behind(&mut self, agree: Lsn) {
        if !self.disk_full {
            return;
        }
        for waiting in &mut self.pending {
            waiting.records.retain(|record| match record {
                Record::Entry(entry) => entry.lsn.seq <= agree.seq,
                Record::Promise(_)
                | Record::Commit(_)
                | Record::Skip(_)
                | Record::Checkpoint(_)
                | Record::Snapshot(_) => true,
            });
        }
    }

    /// Whether a truncation waits for its force.
    pub(crate) fn skip_is_pending(&self) -> bool {
        self.pending.iter().any(|one| matches!(one.purpose, Persisted::Truncated { .. }))
    }

    /// Appends up to `ticket` are durable; says what they were for, in order.
    pub(crate) fn forced(&mut self, ticket: Ticket) -> Vec<Persisted> {
        let mut persisted = Vec::new();
        if ticket <= self.superseded {
            return persisted;
        }
        while let Some(first) = self.pending.pop_front_if(|first| first.ticket <= ticket) {
            persisted.push(first.purpose);
        }
        persisted
    }

    /// The disk is full: everything pending will be appended again, in order, not before `retry_at`. Says whether that
    /// happened for the first time.
    pub(crate) fn failed(&mut self, ticket: Ticket, retry_at: Stamp) -> bool {
        if ticket <= self.superseded {
            return false;
        }
        let first = self.superseded == Ticket(0);
        self.disk_full = true;
        self.superseded = self.last_ticket;
        self.retry_at = retry_at;
        first
    }

    /// Tries again if the disk was full and it is time.
    pub(crate) fn retry(&mut self, now: Stamp, out: &mut Vec<Effect>) {
        if !self.disk_full || now < self.retry_at {
            return;
        }
        self.disk_full = false;
        for waiting in &mut self.pending {
            self.last_ticket.0 += 1;
            waiting.ticket = self.last_ticket;
            out.push(Effect::Append { records: waiting.records.clone(), ticket: Some(waiting.ticket) });
        }
    }

    /// Whether an append has waited for its force for so long: the disk hangs, or is full [unfit-leader-transfers].
    pub(crate) fn lag(&self, wait_max: Millis, now: Stamp) -> bool {
        self.pending.front().is_some_and(|first| now >= first.since.plus(wait_max))
    }

    /// Logs the commit point, once in a period and in no hurry. It is never ahead of what is committed
    /// [commit-record-never-ahead].
    pub(crate) fn log_commit(&mut self, committed: Lsn, period: Millis, now: Stamp, out: &mut Vec<Effect>) {
        let due = self.commit_logged_at.plus(period);
        if committed.seq > self.commit_logged.seq && now >= due && !self.disk_full {
            self.commit_logged = committed;
            self.commit_logged_at = now;
            out.push(Effect::Append { records: vec![Record::Commit(committed)], ticket: None });
        }
    }

    /// The log begins anew: nothing is known to be committed.
    pub(crate) fn restart(&mut self) {
        self.commit_logged = Lsn::ZERO;
    }

    /// Panics if this does not hold together.
    pub(crate) fn check(&self) {
        if let (Some(first), Some(last)) = (self.pending.front(), self.pending.back()) {
            assert!(first.ticket <= last.ticket && last.ticket <= self.last_ticket, "tickets ascend");
            assert!(
                self.disk_full || first.ticket > self.superseded,
                "what is pending has been appended under a ticket that counts"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use wal::{ChainHash, Entry, EntryKind};

    use super::*;

    const NOW: Stamp = Stamp(1_000_000);

    fn entries(epochs: &[u32]) -> Vec<Entry> {
        let (mut last, mut chain) = (Lsn::ZERO, ChainHash::ZERO);
        let next = |&epoch: &u32| {
            let entry = Entry::next(last, chain, Epoch(epoch), EntryKind::Write, Bytes::new());
            (last, chain) = (entry.lsn, entry.chain);
            entry
        };
        epochs.iter().map(next).collect()
    }

    fn append(appends: &mut Appends, entry: &Entry, out: &mut Vec<Effect>) {
        let purpose = Persisted::Entries(entry.lsn);
        appends.append(vec![Record::Entry(entry.clone())], purpose, NOW, out);
        appends.check();
    }

    /// The tickets under which records were appended, and the entries among them.
    fn appended(out: &mut Vec<Effect>) -> Vec<(u64, Vec<Lsn>)> {
        let lsn = |record: &Record| match record {
            Record::Entry(entry) => Some(entry.lsn),
            _ => None,
        };
        let append = |effect| match effect {
            Effect::Append { records, ticket: Some(ticket) } => {
                Some((ticket.0, records.iter().filter_map(lsn).collect()))
            }
            _ => None,
        };
        out.drain(..).filter_map(append).collect()
    }

    #[test]
    fn a_force_covers_all_that_was_appended_before() {
        let (mut appends, mut out) = (Appends::new(Lsn::ZERO, NOW), Vec::new());
        let entries = entries(&[1, 1, 1]);
        entries.iter().for_each(|entry| append(&mut appends, entry, &mut out));
        let persisted = |at: usize| Persisted::Entries(entries[at].lsn);
        assert_eq!(appends.forced(Ticket(2)), [persisted(0), persisted(1)]);
        assert_eq!(appends.forced(Ticket(2)), []);
        assert_eq!(appends.forced(Ticket(3)), [persisted(2)]);
    }

    #[test]
    fn a_full_disk_loses_nothing_and_keeps_the_order() {
        let (mut appends, mut out) = (Appends::new(Lsn::ZERO, NOW), Vec::new());
        let entries = entries(&[1, 1, 1]);
        append(&mut appends, &entries[0], &mut out);
        append(&mut appends, &entries[1], &mut out);
        let later = NOW.plus(Millis(50));
        assert!(appends.failed(Ticket(1), later), "the first time is reported");
        assert!(!appends.failed(Ticket(2), later), "the second append failed with the first");
        append(&mut appends, &entries[2], &mut out);
        assert_eq!(appended(&mut out).len(), 2, "while the disk is full nothing is appended");
        assert_eq!(appends.forced(Ticket(2)), [], "what failed is never reported as forced");

        appends.retry(NOW, &mut out);
        assert_eq!(appended(&mut out), [], "it is not time yet");
        appends.retry(later, &mut out);
        appends.check();
        let lsns: Vec<Lsn> = appended(&mut out).into_iter().flat_map(|(_, lsns)| lsns).collect();
        assert_eq!(lsns, entries.iter().map(|entry| entry.lsn).collect::<Vec<_>>());
    }

    #[test]
    fn what_a_skip_hides_is_not_appended_behind_it() {
        let (mut appends, mut out) = (Appends::new(Lsn::ZERO, NOW), Vec::new());
        let entries = entries(&[1, 1]);
        appends.failed(Ticket(1), NOW);
        entries.iter().for_each(|entry| append(&mut appends, entry, &mut out));
        appends.withdraw_entries_behind(entries[0].lsn);
        appends.retry(NOW, &mut out);
        let lsns: Vec<Lsn> = appended(&mut out).into_iter().flat_map(|(_, lsns)| lsns).collect();
        assert_eq!(lsns, [entries[0].lsn]);
    }
}
