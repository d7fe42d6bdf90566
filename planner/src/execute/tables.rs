//! Stored tables as queries read them in the middle of a computation: they wait here for the store.

use std::future::Future;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use kvstore::request::{Columns, Kv, ReadOptions, Scan};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, Receiver};
use tokio::task::block_in_place;

use super::overlay::{Overlay, row};
use super::scanner::Scanner;
use crate::catalog::TableSchema;
use crate::error::SqlError;
use crate::expression::{Results, StoredScan, StoredTables};
use crate::interrupt::Interrupt;
use crate::key_encoding::KeySpan;
use crate::memory::{HeldRows, Memory};
use crate::session::Session;
use crate::types::Row;

/// Batches between a scanning task and its reader.
const BATCHES_AHEAD: usize = 1;

/// The stored tables, for one execution.
pub(super) struct Tables {
    kv: Arc<dyn Kv>,
    session: Session,
    memory: Memory,
    /// How the whole statement reads: as the session is set when it begins.
    options: OnceLock<ReadOptions>,
    results: Results,
}

impl Tables {
    /// The tables for an execution that holds what it reads on `memory`.
    pub(super) fn new(kv: &Arc<dyn Kv>, session: &Session, memory: &Memory) -> Tables {
        Tables {
            kv: kv.clone(),
            session: session.clone(),
            memory: memory.clone(),
            options: OnceLock::new(),
            results: Results::default(),
        }
    }

    fn options(&self, interrupt: &Interrupt) -> ReadOptions {
        let options = self.options.get_or_init(|| self.session.read_options()).clone();
        ReadOptions { deadline: interrupt.deadline().unwrap_or(options.deadline), ..options }
    }
}

impl StoredTables for Tables {
    fn scan(
        &self,
        table: &Arc<TableSchema>,
        span: KeySpan,
        reverse: bool,
        limit: Option<u64>,
        interrupt: &Interrupt,
    ) -> Box<dyn StoredScan> {
        let overlay = Overlay::of(table, &self.session);
        let scan = Scan {
            table: table.id,
            start: span.start.into(),
            end: span.end.map(Bytes::from),
            reverse,
            // The block's own write may take a row away.
            limit: limit.map(|limit| limit.saturating_add(u64::from(overlay.is_some()))),
            columns: Columns::All,
        };
        let options = self.options(interrupt);
        let mut scanner = Scanner::new(&self.kv, &self.session, table, scan, overlay, options);
        let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
        let (memory, interrupt) = (self.memory.clone(), interrupt.clone());
        tokio::spawn(async move {
            let scanned = tokio::select! {
                scanned = scanner.batches(&interrupt, &memory, &sender) => scanned,
                () = sender.closed() => return,
            };
            if let Err(error) = scanned {
                let _ = sender.send(Err(error)).await;
            }
        });
        Box::new(TaskScan(receiver))
    }

    fn get(
        &self,
        table: &Arc<TableSchema>,
        keys: Vec<Bytes>,
        interrupt: &Interrupt,
    ) -> Result<Vec<Option<Row>>, SqlError> {
        let overlay = Overlay::of(table, &self.session);
        let (options, token) = (self.options(interrupt), self.session.token());
        let read = self.kv.multi_get(table.id, keys, Columns::All, &options, token);
        let found = wait(interrupt, read)??;
        found.into_iter().map(|read| row(table, &overlay, read)).collect()
    }

    fn results(&self) -> &Results {
        &self.results
    }
}

/// A scan that runs in a task of its own.
struct TaskScan(Receiver<Result<HeldRows, SqlError>>);

impl StoredScan for TaskScan {
    fn next(&mut self, interrupt: &Interrupt) -> Result<Option<HeldRows>, SqlError> {
        // Often the next rows are there already.
        match self.0.try_recv() {
            Ok(rows) => rows.map(Some),
            Err(_) => wait(interrupt, self.0.recv())?.transpose(),
        }
    }
}

/// Waits for the store on a thread that may wait; other tasks of a worker go on elsewhere meanwhile. 57014 if the
/// statement has been given up.
fn wait<T>(interrupt: &Interrupt, work: impl Future<Output = T>) -> Result<T, SqlError> {
    interrupt.check()?;
    let runtime = Handle::current();
    let waited = block_in_place(|| {
        runtime.block_on(async {
            tokio::select! {
                done = work => Some(done),
                () = interrupt.given_up() => None,
            }
        })
    });
    match waited {
        Some(done) => Ok(done),
        None => Err(interrupt.check().err().unwrap_or_else(crate::interrupt::timed_out)),
    }
}
