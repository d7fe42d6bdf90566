//! What a member's effects do in the world: to its log, on the network, at the coordinator; and what is checked then.

use wal::{Append, Entry, EntryKind, LogError, LogWriter};

use super::world::{Action, COHORT, World};
use crate::protocol::effect::{Effect, Reply};
use crate::protocol::event::{Event, Ticket, Token};
use crate::protocol::message::{Envelope, Message, ToLeader};

impl World {
    pub(super) fn perform(&mut self, number: u32, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                // No tables here.
                Effect::RequestFlush => {}
                Effect::WipeData => {
                    if let Some(machine) = self.machines.get_mut(&number) {
                        machine.applied.clear();
                    }
                    self.note(|| format!("n{number} throws its data away"));
                    self.event(number, Event::DataWiped(Ok(())));
                }
                Effect::Append { records, ticket } => self.append(number, records, ticket),
                Effect::Send(envelope) => self.send(envelope),
                Effect::Apply(entries) => self.apply(number, entries),
                Effect::ReadLog { to, after, bytes_max } => {
                    let machine = &self.machines[&number];
                    let reader = machine.writer.as_ref().map(LogWriter::reader);
                    let entries = reader.and_then(|reader| reader.read(COHORT, after, bytes_max).ok());
                    let event = Event::LogRead { to, after, entries };
                    let life = machine.life;
                    self.plan(500, Action::LogRead { node: number, life, event });
                }
                // This world's log keeps everything.
                Effect::ReadSnapshot { .. }
                | Effect::ReceiveSnapshot { .. }
                | Effect::SnapshotInstalled { .. } => {
                    unreachable!("no member is out of the log's reach here")
                }
                Effect::Pending { .. } | Effect::Closed => {}
                Effect::Reply { token, reply } => self.reply(number, token, reply),
                Effect::Lease(lease) => {
                    if let Some(machine) = self.machines.get_mut(&number) {
                        machine.lease = lease;
                    }
                }
                Effect::Opened(epoch) => {
                    let opener = *self.openers.entry(epoch).or_insert(number);
                    assert_eq!(opener, number, "epoch {epoch} is opened by two members");
                    self.note(|| format!("n{number} opens epoch {epoch}"));
                }
                Effect::Coordinate(request) => {
                    let life = self.machines[&number].life;
                    let delay = 200 + self.random.below(self.options.delay_max);
                    self.plan(delay, Action::Coordinate { node: number, life, request });
                }
                Effect::Notice(notice) => {
                    if self.noting {
                        self.told.push(format!("n{number} {notice}"));
                    }
                }
                Effect::Alarm(text) => {
                    self.note(|| format!("alarm: {text}"));
                    self.alarms.push(text);
                }
            }
        }
    }

    fn append(&mut self, number: u32, records: Vec<wal::Record>, ticket: Option<Ticket>) {
        let delay = 100 + self.random.below(self.options.force_max);
        let noting = self.noting;
        let Some(machine) = self.machines.get_mut(&number) else { return };
        let mut notes = Vec::new();
        if noting {
            for record in &records {
                match record {
                    wal::Record::Promise(promise) => {
                        let leader =
                            promise.leader.map_or("nobody".to_owned(), |leader| leader.node.to_string());
                        notes.push(format!("n{number} promises {} to {leader}", promise.epoch));
                    }
                    wal::Record::Skip(skip) => {
                        let skipped: Vec<String> = skip
                            .0
                            .iter()
                            .flat_map(|(epoch, seqs)| seqs.iter().map(move |seq| format!("{epoch}.{seq}")))
                            .collect();
                        notes.push(format!("n{number} skips {}", skipped.join(" ")));
                    }
                    wal::Record::Entry(_)
                    | wal::Record::Commit(_)
                    | wal::Record::Checkpoint(_)
                    | wal::Record::Snapshot(_) => {}
                }
            }
        }
        let life = machine.life;
        let write = |record: &wal::Record| matches!(record, wal::Record::Entry(entry) if entry.kind == EntryKind::Write);
        let mut refused = machine.full && records.iter().any(write);
        if let Some(writer) = machine.writer.as_mut().filter(|_| !refused) {
            match writer.append(Append { cohort: COHORT, records }) {
                // It stands behind one that was refused.
                Err(LogError::DiskFull) => refused = true,
                appended => appended.expect("the simulated disk takes it"),
            }
        }
        if let Some(ticket) = ticket.filter(|_| refused) {
            return self.plan(delay, Action::AppendFailed { node: number, life, ticket });
        }
        if ticket.is_some() {
            machine.unforced = ticket;
        }
        self.notes.extend(notes);
        self.plan(delay, Action::Force { node: number, life });
    }

    fn send(&mut self, envelope: Envelope) {
        if let Message::ToLeader(_, ToLeader::Promised(_)) = envelope.message
            && let Some(machine) = self.machines.get_mut(&envelope.from.node.0)
            && let Some(cohort) = &machine.cohort
        {
            // Announced to others: from now on it may never be forgotten.
            machine.promise = cohort.status().promise;
        }
        if self.options.loss > 0 && self.random.one_in(self.options.loss) {
            return;
        }
        if self.options.duplication > 0 && self.random.one_in(self.options.duplication) {
            let delay = 50 + self.random.below(self.options.delay_max * 20);
            self.plan(delay, Action::Deliver(envelope.clone()));
        }
        let delay = 50 + self.random.below(self.options.delay_max);
        self.plan(delay, Action::Deliver(envelope));
    }

    fn apply(&mut self, number: u32, entries: Vec<Entry>) {
        for entry in entries {
            let Some(machine) = self.machines.get_mut(&number) else { return };
            let position = machine.applied.len() as u64 + 1;
            assert_eq!(entry.lsn.seq, position, "n{number} applies out of order");
            if self.forgotten {
                self.applied.insert(entry.lsn.seq, entry.clone());
            }
            let known = self.applied.entry(entry.lsn.seq).or_insert_with(|| entry.clone());
            assert_eq!(*known, entry, "n{number} applies another entry than was applied at {}", entry.lsn);
            machine.applied.push(entry);
        }
    }

    fn reply(&mut self, number: u32, token: Token, reply: Reply) {
        let reading = self.reads.remove(&token);
        match (&reply, reading) {
            (Reply::Written(lsn), _) => {
                let entry = self.applied.get(&lsn.seq).expect("a write is applied before it is answered");
                assert_eq!((entry.lsn, Some(&entry.payload)), (*lsn, self.payloads.get(&token)));
                assert_eq!(entry.kind, EntryKind::Write);
                self.acknowledged = self.acknowledged.max(lsn.seq);
                self.written += 1;
            }
            (Reply::ReadReady, Some(reading)) => self.served(number, reading.floor, "after a confirmation"),
            (Reply::ReadReady, None)
            | (Reply::Transferred | Reply::NotLeader { .. } | Reply::Unavailable(_) | Reply::Unknown, _) => {}
        }
        self.note(|| match &reply {
            Reply::Written(lsn) => format!("n{number} answers {}: written {lsn}", token.0),
            other => format!("n{number} answers {}: {other:?}", token.0),
        });
    }
}
