//! A session: settings, the transaction block, prepared statements, and what the client has yet to be told.
//!
//! All of it sits behind one short-held lock, so that independent statements of one session can run at the same
//! time: a running statement takes what it needs ([`ReadOptions`], the token) and lets go.
//!
//! # Transaction blocks
//! A block may hold any reads and at most one writing statement on one key. That write is *deferred*: it is
//! checked when the statement runs, kept here, seen by the block's own reads, and sent to the store by COMMIT.
//! So ROLLBACK undoes it truly, and a block is never half done. The write carries the condition that the row is
//! still as the statement saw it; if another session changed it meanwhile, COMMIT fails with 40001.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use kvstore::request::{ReadOptions, SessionToken, TableId, Write};

use crate::error::{SqlError, sqlstate};
use crate::planner::{Prepared, ServerInfo};
use crate::settings::Settings;

/// ReadyForQuery's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    /// `I`: not in a block.
    Idle,
    /// `T`: in a block.
    InBlock,
    /// `E`: in a block that failed; only ROLLBACK (or COMMIT, which rolls back) ends it.
    Failed,
}

impl TransactionStatus {
    /// The byte of ReadyForQuery.
    pub fn byte(self) -> u8 {
        match self {
            TransactionStatus::Idle => b'I',
            TransactionStatus::InBlock => b'T',
            TransactionStatus::Failed => b'E',
        }
    }
}

/// A message for the client that is no error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// "NOTICE" or "WARNING".
    pub severity: &'static str,
    /// SQLSTATE ("00000" for plain notices).
    pub sqlstate: &'static str,
    /// The message.
    pub message: String,
}

/// The write of a block, waiting for COMMIT.
#[derive(Clone, Debug)]
pub(crate) struct Deferred {
    /// Table.
    pub(crate) table: TableId,
    /// The write with its conditions, if anything is to be written (an UPDATE may have found no row).
    pub(crate) write: Option<Write>,
}

/// A block in progress.
#[derive(Debug)]
struct Block {
    failed: bool,
    read_only: bool,
    deferred: Option<Deferred>,
    /// Name, whether the block had written, and the settings then.
    savepoints: Vec<(String, bool, Settings)>,
    /// Settings before the block, for ROLLBACK.
    before: Settings,
    /// Names set by SET LOCAL: they go back to `before` at COMMIT.
    local: BTreeSet<String>,
    /// One timestamp for all of the block (now()), in microseconds since 2000.
    started: i64,
}

#[derive(Debug)]
struct State {
    settings: Settings,
    block: Option<Block>,
    statements: HashMap<String, Arc<Prepared>>,
    notices: Vec<Notice>,
    /// What the client was last told of the reported settings.
    told: HashMap<&'static str, String>,
    /// The revision of the settings that `told` reflects.
    told_revision: u64,
}

/// One client's session. A clone is another handle to the same session.
#[derive(Clone, Debug)]
pub struct Session {
    user: Arc<str>,
    database: Arc<str>,
    id: u32,
    token: Arc<SessionToken>,
    state: Arc<Mutex<State>>,
}

impl Session {
    /// A new session of `user`; `id` is what pg_backend_pid() gives.
    pub fn new(info: &ServerInfo, user: &str, database: &str, id: u32) -> Session {
        let fixed = [
            ("server_version", info.server_version.as_str()),
            ("server_version_num", info.server_version_num.as_str()),
            ("session_authorization", user),
        ];
        let settings = Settings::new(&fixed);
        let told = settings.reported().into_iter().collect();
        let told_revision = settings.revision;
        Session {
            user: user.into(),
            database: database.into(),
            id,
            token: Arc::default(),
            state: Arc::new(Mutex::new(State {
                settings,
                block: None,
                statements: HashMap::new(),
                notices: Vec::new(),
                told,
                told_revision,
            })),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves plain data behind; there is nothing half-changed to protect.
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The session's user.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The database's name.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The number that pg_backend_pid() gives.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// A setting of the startup packet (all but user, database, options, replication). Unknown names and bad
    /// values are errors, as in PostgreSQL.
    pub fn set_startup(&self, name: &str, value: &str) -> Result<(), SqlError> {
        let mut state = self.state();
        if let Some(warning) = state.settings.set_startup(name, value)? {
            state.notices.push(warn(warning));
        }
        Ok(())
    }

    /// All settings to be sent as ParameterStatus after authentication.
    pub fn reported_parameters(&self) -> Vec<(&'static str, String)> {
        let mut state = self.state();
        let reported = state.settings.reported();
        state.told = reported.iter().cloned().collect();
        state.told_revision = state.settings.revision;
        reported
    }

    /// Reported settings that changed since the client was told: to be sent as ParameterStatus before
    /// ReadyForQuery.
    pub fn take_changed_parameters(&self) -> Vec<(&'static str, String)> {
        let mut state = self.state();
        let revision = state.settings.revision;
        if std::mem::replace(&mut state.told_revision, revision) == revision {
            // The common case, at every ReadyForQuery: nothing was set.
            return Vec::new();
        }
        let reported = state.settings.reported();
        let told = &mut state.told;
        reported
            .into_iter()
            .filter(|(name, value)| {
                let changed = told.get(name) != Some(value);
                if changed {
                    told.insert(name, value.clone());
                }
                changed
            })
            .collect()
    }

    /// Notices gathered since the last call, to be sent before CommandComplete.
    pub fn take_notices(&self) -> Vec<Notice> {
        std::mem::take(&mut self.state().notices)
    }

    /// ReadyForQuery's status.
    pub fn transaction_status(&self) -> TransactionStatus {
        match &self.state().block {
            None => TransactionStatus::Idle,
            Some(block) if block.failed => TransactionStatus::Failed,
            Some(_) => TransactionStatus::InBlock,
        }
    }

    /// An error reached the client: an open block is failed from now on. The planner does this for its own
    /// errors; the connection loop calls it for errors of the protocol (a bad Bind) and for a cancelled query.
    pub fn fail_block(&self) {
        if let Some(block) = &mut self.state().block {
            block.failed = true;
            block.deferred = None;
        }
    }

    /// Keeps a prepared statement under a name (Parse of the protocol, or PREPARE). The empty name is replaced;
    /// for others 42P05 if it is taken.
    pub fn store_statement(&self, name: &str, prepared: Arc<Prepared>) -> Result<(), SqlError> {
        let mut state = self.state();
        if !name.is_empty() && state.statements.contains_key(name) {
            return Err(SqlError::new(
                sqlstate::DUPLICATE_STATEMENT,
                format!("prepared statement \"{name}\" already exists"),
            ));
        }
        state.statements.insert(name.to_string(), prepared);
        Ok(())
    }

    /// The statement of that name. 26000 if there is none.
    pub fn statement(&self, name: &str) -> Result<Arc<Prepared>, SqlError> {
        self.state().statements.get(name).cloned().ok_or_else(|| {
            let what = if name.is_empty() {
                "unnamed prepared statement does not exist".to_string()
            } else {
                format!("prepared statement \"{name}\" does not exist")
            };
            SqlError::new(sqlstate::UNKNOWN_STATEMENT, what)
        })
    }

    /// Forgets a statement (Close of the protocol); whether there was one.
    pub fn close_statement(&self, name: &str) -> bool {
        self.state().statements.remove(name).is_some()
    }

    /// Forgets all statements (DEALLOCATE ALL).
    pub(crate) fn close_statements(&self) {
        self.state().statements.clear();
    }

    /// Names of the prepared statements and their texts (pg_prepared_statements).
    pub(crate) fn statement_names(&self) -> Vec<(String, String)> {
        let state = self.state();
        let mut names: Vec<_> =
            state.statements.iter().map(|(name, p)| (name.clone(), p.sql().to_string())).collect();
        names.sort();
        names
    }

    /// The session's token of LSNs seen, if `session_guarantees` is on.
    pub(crate) fn token(&self) -> Option<Arc<SessionToken>> {
        self.state().settings.session_guarantees.then(|| self.token.clone())
    }

    /// How this session reads now.
    pub(crate) fn read_options(&self) -> ReadOptions {
        let state = self.state();
        ReadOptions {
            consistency: state.settings.consistency,
            max_staleness: state.settings.max_staleness,
            min_lsn: None,
            deadline: Instant::now() + state.settings.statement_timeout,
        }
    }

    /// When a statement that starts now must have ended.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.statement_timeout()
    }

    /// The longest time of a statement.
    pub fn statement_timeout(&self) -> Duration {
        self.state().settings.statement_timeout
    }

    pub(crate) fn notice(&self, message: impl Into<String>) {
        self.state().notices.push(Notice { severity: "NOTICE", sqlstate: "00000", message: message.into() });
    }

    pub(crate) fn warning(&self, sqlstate: &'static str, message: impl Into<String>) {
        self.state().notices.push(Notice { severity: "WARNING", sqlstate, message: message.into() });
    }

    // Settings.

    pub(crate) fn show(&self, name: &str) -> Result<String, SqlError> {
        self.state().settings.show(name)
    }

    pub(crate) fn show_all(&self) -> Vec<(String, String, &'static str)> {
        self.state().settings.all()
    }

    /// SET; `None` is DEFAULT. `local` holds for the rest of the block.
    pub(crate) fn set(&self, name: &str, value: Option<&str>, local: bool) -> Result<(), SqlError> {
        let mut state = self.state();
        let state = &mut *state;
        let warning = match value {
            Some(value) => state.settings.set(name, value)?,
            None => {
                state.settings.reset(name)?;
                None
            }
        };
        match &mut state.block {
            Some(block) => {
                let name = Settings::spelling(name).to_string();
                if local {
                    block.local.insert(name);
                } else {
                    block.local.remove(&name);
                }
            }
            None if local => state.notices.push(Notice {
                severity: "WARNING",
                sqlstate: sqlstate::NO_ACTIVE_TRANSACTION,
                message: "SET LOCAL can only be used in transaction blocks".into(),
            }),
            None => {}
        }
        state.notices.extend(warning.map(warn));
        Ok(())
    }

    pub(crate) fn reset_all(&self) {
        self.state().settings.reset_all();
    }

    // The block.

    /// Is a block open (failed or not)?
    pub(crate) fn in_block(&self) -> bool {
        self.state().block.is_some()
    }

    /// 25P02 if the block has failed.
    pub(crate) fn check_not_failed(&self) -> Result<(), SqlError> {
        match &self.state().block {
            Some(block) if block.failed => Err(SqlError::new(
                sqlstate::FAILED_TRANSACTION,
                "current transaction is aborted, commands ignored until end of transaction block",
            )),
            _ => Ok(()),
        }
    }

    /// The time that now() gives, in microseconds since 2000.
    pub(crate) fn now(&self) -> i64 {
        self.state().block.as_ref().map_or_else(crate::types::now_micros, |block| block.started)
    }

    /// BEGIN.
    pub(crate) fn begin(&self, read_only: Option<bool>) {
        let mut state = self.state();
        if state.block.is_some() {
            state.notices.push(Notice {
                severity: "WARNING",
                sqlstate: sqlstate::ACTIVE_TRANSACTION,
                message: "there is already a transaction in progress".into(),
            });
            return;
        }
        let by_default = state.settings.show("default_transaction_read_only").is_ok_and(|v| v == "on");
        state.block = Some(Block {
            failed: false,
            read_only: read_only.unwrap_or(by_default),
            deferred: None,
            savepoints: Vec::new(),
            before: state.settings.clone(),
            local: BTreeSet::new(),
            started: crate::types::now_micros(),
        });
    }

    /// SET TRANSACTION READ ONLY / READ WRITE.
    pub(crate) fn set_read_only(&self, read_only: bool) {
        let mut state = self.state();
        match &mut state.block {
            Some(block) => block.read_only = read_only,
            None => state.notices.push(Notice {
                severity: "WARNING",
                sqlstate: sqlstate::NO_ACTIVE_TRANSACTION,
                message: "SET TRANSACTION can only be used in transaction blocks".into(),
            }),
        }
    }

    /// Ends the block for COMMIT: `None` if there was none, `Some((failed, write))` otherwise.
    pub(crate) fn end_for_commit(&self) -> Option<(bool, Option<Deferred>)> {
        let mut state = self.state();
        let block = state.block.take()?;
        if block.failed {
            state.settings = block.before;
        } else {
            for name in &block.local {
                let _ = match block.before.show(name) {
                    Ok(value) => state.settings.set(name, &value).map(drop),
                    Err(_) => state.settings.reset(name),
                };
            }
        }
        Some((block.failed, block.deferred))
    }

    /// ROLLBACK: whether there was a block.
    pub(crate) fn rollback(&self) -> bool {
        let mut state = self.state();
        match state.block.take() {
            Some(block) => {
                state.settings = block.before;
                true
            }
            None => false,
        }
    }

    /// SAVEPOINT.
    pub(crate) fn savepoint(&self, name: &str) -> Result<(), SqlError> {
        let mut state = self.state();
        let settings = state.settings.clone();
        let block = state.block.as_mut().ok_or_else(|| no_block("SAVEPOINT"))?;
        block.savepoints.push((name.to_string(), block.deferred.is_some(), settings));
        Ok(())
    }

    /// RELEASE SAVEPOINT (`release`) or ROLLBACK TO SAVEPOINT, which also heals a failed block.
    pub(crate) fn to_savepoint(&self, name: &str, release: bool) -> Result<(), SqlError> {
        let mut state = self.state();
        let command = if release { "RELEASE SAVEPOINT" } else { "ROLLBACK TO SAVEPOINT" };
        let block = state.block.as_mut().ok_or_else(|| no_block(command))?;
        let at = block.savepoints.iter().rposition(|(own, ..)| own == name).ok_or_else(|| {
            SqlError::new(sqlstate::UNKNOWN_SAVEPOINT, format!("savepoint \"{name}\" does not exist"))
        })?;
        if release {
            block.savepoints.truncate(at);
            return Ok(());
        }
        let (_, wrote, settings) = block.savepoints[at].clone();
        if wrote && block.deferred.is_none() {
            // The failure dropped a write that was made before the savepoint: it cannot be brought back.
            return Err(SqlError::unsupported("going back to a savepoint after which the block failed")
                .hint("Use ROLLBACK and start again."));
        }
        block.savepoints.truncate(at + 1);
        block.failed = false;
        if !wrote {
            block.deferred = None;
        }
        state.settings = settings;
        Ok(())
    }

    /// The block's deferred write, for reads of the same block.
    pub(crate) fn deferred(&self) -> Option<Deferred> {
        self.state().block.as_ref().and_then(|block| block.deferred.clone())
    }

    /// May a statement write now? 25006 in a read-only block, 0A000 if the block has its write already.
    pub(crate) fn check_write(&self, command: &str) -> Result<(), SqlError> {
        match &self.state().block {
            Some(block) if block.read_only => Err(SqlError::new(
                sqlstate::READ_ONLY_TRANSACTION,
                format!("cannot execute {command} in a read-only transaction"),
            )),
            Some(block) if block.deferred.is_some() => Err(SqlError::unsupported(
                "a second writing statement in a transaction block",
            )
            .hint(
                "A block may hold any reads and one writing statement on one key. Commit first, or run the \
                     writes outside of a block: each is atomic by itself.",
            )),
            _ => Ok(()),
        }
    }

    /// Keeps the block's write until COMMIT.
    pub(crate) fn defer(&self, deferred: Deferred) {
        if let Some(block) = &mut self.state().block {
            block.deferred = Some(deferred);
        }
    }
}

fn warn(message: String) -> Notice {
    Notice { severity: "WARNING", sqlstate: "01000", message }
}

fn no_block(command: &str) -> SqlError {
    SqlError::new(
        sqlstate::NO_ACTIVE_TRANSACTION,
        format!("{command} can only be used in transaction blocks"),
    )
}
