//! Reads of rows by key, from the replica that the options allow.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;
use wal::{CohortId, Lsn, NodeId, Reserved};

use super::call::{self, Call};
use super::limits;
use super::routing::{Gateway, unexpected};
use crate::cluster::peers::CallError;
use crate::cluster::route::RangeRoute;
use crate::error::{KvError, LIST_OF_KEYS};
use crate::operation::{Answer, Mode, Operation};
use crate::request::{Columns, Consistency, ReadOptions, ReadRow, Row, SessionToken, Source, TableId};

/// Pause before rows that no replica keeps any more are read as of a newer LSN.
const PAUSE: Duration = Duration::from_millis(20);
/// Keys read in one request: at a node of the last release their rows must fit into one message.
const KEYS_PER_READ: usize = 32;
/// Most keys of one `multi_get`.
const KEYS_MAX: usize = 100_000;

/// How a caller wants to read.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) options: &'a ReadOptions,
    pub(super) session: Option<&'a SessionToken>,
}

impl Reader<'_> {
    /// The LSN below which no answer of this range may be.
    fn floor(&self, range: CohortId) -> Lsn {
        let session = self.session.map_or(Lsn::ZERO, |session| session.floor(range));
        session.max(self.options.min_lsn.unwrap_or(Lsn::ZERO))
    }

    /// Whether rows of a read that began at `sent` are still young enough.
    fn check_age(&self, source: &Source, sent: Instant) -> Result<(), KvError> {
        let max = self.options.max_staleness.filter(|_| self.options.consistency == Consistency::Timeline);
        let age = source.staleness.map(|staleness| staleness + sent.elapsed());
        match max.is_some_and(|max| age.is_none_or(|age| age > max)) {
            false => Ok(()),
            true => Err(KvError::ReadTooOld("the rows are older than max_staleness allows".into())),
        }
    }
}

impl Gateway {
    /// A read, from the replica that the options allow. Returns its answer, and which node gave it.
    pub(super) async fn read<T>(
        &self,
        range: &RangeRoute,
        reader: Reader<'_>,
        operation: impl Fn(Mode) -> Operation,
        accept: impl Fn(Answer) -> Result<(T, Source), KvError>,
    ) -> Result<(NodeId, T), KvError> {
        let Reader { options, session } = reader;
        let floor = reader.floor(range.descriptor.id);
        let (number, deadline) = (self.new_call(), options.deadline);
        let call = match options.consistency {
            Consistency::Strong => Call::strong(number, range, operation(Mode::Strong), floor, deadline),
            Consistency::Timeline => {
                let allowed = (floor, options.max_staleness);
                Call::timeline(number, range, operation, allowed, self.nearest(range), deadline)
            }
        };
        let answer = self.drive(range, call, deadline).await?;
        call::learn(&answer, range, session);
        let (found, source) = accept(answer)?;
        Ok((source.replica, found))
    }

    /// Reads one row.
    pub(super) async fn get_one(
        &self,
        table: TableId,
        key: Bytes,
        columns: Columns,
        reader: Reader<'_>,
    ) -> Result<ReadRow, KvError> {
        limits::check_key(&self.limits, &key)?;
        let table = self.map.table(table).await?;
        let range = table.range_of(&key);
        let get = |mode| Operation::Get { key: key.clone(), columns: columns.clone(), mode };
        let accept = |answer| match answer {
            Answer::Row { row, source } => Ok((ReadRow { row, source }, source)),
            other => Err(unexpected(&other)),
        };
        Ok(self.read(range, reader, get, accept).await?.1)
    }

    /// Reads several rows, in the order of the keys; ranges are asked at the same time.
    pub(super) async fn get_many(
        &self,
        table: TableId,
        keys: Vec<Bytes>,
        columns: Columns,
        reader: Reader<'_>,
    ) -> Result<Vec<ReadRow>, KvError> {
        if keys.len() > KEYS_MAX {
            return Err(KvError::TooLarge { what: LIST_OF_KEYS, size: keys.len(), limit: KEYS_MAX });
        }
        keys.iter().try_for_each(|key| limits::check_key(&self.limits, key))?;
        let table = self.map.table(table).await?;
        let mut groups: BTreeMap<CohortId, (Arc<RangeRoute>, Vec<usize>)> = BTreeMap::new();
        for (at, key) in keys.iter().enumerate() {
            let range = table.range_of(key);
            groups.entry(range.descriptor.id).or_insert_with(|| (range.clone(), Vec::new())).1.push(at);
        }
        let reads = groups.into_values().map(|(range, places)| {
            let (keys, columns) = (&keys, &columns);
            async move {
                let keys: Vec<Bytes> = places.iter().map(|at| keys[*at].clone()).collect();
                (places, self.read_keys(&range, &keys, columns, reader).await)
            }
        });
        let mut found: Vec<Option<ReadRow>> = vec![None; keys.len()];
        for (places, rows) in join_all(reads).await {
            for (at, row) in places.iter().zip(rows?) {
                found[*at] = Some(row);
            }
        }
        found
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| KvError::Internal("a key has no answer".into()))
    }

    /// Reads rows of one range, all at one LSN ([one-lsn]).
    async fn read_keys(
        &self,
        range: &RangeRoute,
        keys: &[Bytes],
        columns: &Columns,
        reader: Reader<'_>,
    ) -> Result<Vec<ReadRow>, KvError> {
        let first = |mode| multi_get(&keys[..keys.len().min(KEYS_PER_READ)], columns, mode, None);
        loop {
            let sent = Instant::now();
            let (node, (rows, source)) = self.read(range, reader, first, rows_of).await?;
            if rows.is_empty() != keys.is_empty() {
                return Err(KvError::Internal("a replica answered with another number of rows".into()));
            }
            let held = self.scan_memory.reserve(bytes_of(&rows)).map_err(limits::over_budget)?;
            let mut found = Found { rows, held };
            let rest = self.read_rest(range, keys, columns, reader, (node, source.lsn), &mut found).await;
            match rest.and_then(|()| reader.check_age(&source, sent)) {
                Ok(()) => return Ok(found.rows.into_iter().map(|row| ReadRow { row, source }).collect()),
                // Nothing was handed on: as of a newer LSN, then.
                Err(error @ KvError::ReadTooOld(_)) => {
                    if Instant::now() + PAUSE > reader.options.deadline {
                        return Err(error);
                    }
                    self.metrics.retries.count();
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads the rows behind those that are there, as of the same LSN: from the node that had them, else from any.
    async fn read_rest(
        &self,
        range: &RangeRoute,
        keys: &[Bytes],
        columns: &Columns,
        reader: Reader<'_>,
        (mut node, at): (NodeId, Lsn),
        Found { rows, held }: &mut Found,
    ) -> Result<(), KvError> {
        let mut others = range.descriptor.nodes().filter(|member| *member != node).collect::<Vec<_>>();
        while rows.len() < keys.len() {
            let wanted = &keys[rows.len()..keys.len().min(rows.len() + KEYS_PER_READ)];
            let mode = Mode::Timeline { floor: at, max_staleness: None };
            let operation = multi_get(wanted, columns, mode, Some(at));
            let why = match self.ask(node, range.descriptor.id, operation, reader.options.deadline).await {
                Ok(answer) => {
                    let ((found, source), _) = rows_of(answer)?;
                    match source.lsn == at && !found.is_empty() && found.len() <= wanted.len() {
                        true => {
                            held.grow(bytes_of(&found)).map_err(limits::over_budget)?;
                            rows.extend(found);
                            continue;
                        }
                        // A node of the last release, which cannot read as of an older LSN.
                        false => format!("{node} answered as of LSN {}, not {at}", source.lsn),
                    }
                }
                Err(CallError::NotSent(why) | CallError::Lost(why)) => why,
                Err(CallError::Refused(error @ (KvError::NoTable(_) | KvError::TooLarge { .. }))) => {
                    return Err(error);
                }
                Err(CallError::Refused(error)) => error.to_string(),
            };
            node = others.pop().ok_or(KvError::ReadTooOld(why))?;
        }
        Ok(())
    }
}

/// Rows of a long list of keys, and the memory that they take.
struct Found {
    rows: Vec<Row>,
    held: Reserved,
}

fn bytes_of(rows: &[Row]) -> u64 {
    rows.iter().map(Row::bytes).sum::<usize>() as u64
}

/// The rows of an answer, and where they come from.
fn rows_of(answer: Answer) -> Result<((Vec<Row>, Source), Source), KvError> {
    match answer {
        Answer::Rows { rows, source, .. } => Ok(((rows, source), source)),
        other => Err(unexpected(&other)),
    }
}

fn multi_get(keys: &[Bytes], columns: &Columns, mode: Mode, at: Option<Lsn>) -> Operation {
    Operation::MultiGet { keys: keys.to_vec(), columns: columns.clone(), mode, at, partial: true }
}
