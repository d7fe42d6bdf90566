//! A session: settings, the transaction block, prepared statements, and what is still to be sent to the client.
//!
//! All of it sits behind one short-held lock, so that independent statements of one session can run at the same
//! time: a running statement takes what it needs ([`ReadOptions`], the token) and lets go.

mod statements;
mod transaction;
mod cursors;
mod notice;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use kvstore::request::{ReadOptions, SessionToken, Write};

use crate::context::ServerInfo;
use crate::error::{SqlError, sqlstate};
use crate::expression::{CursorInfo, SessionView};
use crate::prepared::Prepared;
use crate::result::Column;
use crate::search_path::SearchPath;
use crate::settings::Settings;
use crate::types::TextSettings;

pub(crate) use cursors::Cursor;
pub use notice::Notice;
use statements::Statements;
pub(crate) use transaction::Commit;
use transaction::Transaction;
pub use transaction::TransactionStatus;

/// One client's session: it carries settings, the transaction block and prepared statements from one statement to the
/// next. A clone is another handle to the same session.
///
/// ```no_run
/// # async fn example(kv: std::sync::Arc<dyn kvstore::request::Kv>) -> Result<(), planner::SqlError> {
/// use planner::types::Value;
/// use planner::{Execution, Planner, ServerInfo, Session};
///
/// let planner = Planner::new(kv, ServerInfo::new("spinnaker"));
/// let session = Session::new(planner.info(), "root", "spinnaker", 1);
///
/// let prepared = planner.prepare(&session, "SELECT v FROM kv WHERE k = $1", &[]).await?;
/// let parameters = vec![Some(Value::Text("moose".into()))];
/// if let Execution::Rows(found) = planner.execute(&session, &prepared, parameters).await? {
///     for row in found.rows.collect().await? {
///         println!("{row:?}");
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Session {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    user: String,
    database: String,
    id: u32,
    /// The LSNs that the session has seen, for its timeline reads.
    token: SessionToken,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    transaction: Transaction,
    statements: Statements,
    notices: Vec<Notice>,
    reported: Reported,
}

/// The settings that the client knows of (ParameterStatus), as they were last reported to it.
#[derive(Debug)]
struct Reported {
    values: HashMap<&'static str, String>,
    /// The revision of the settings that `values` reflects.
    revision: u64,
}

impl Reported {
    fn new(settings: &Settings) -> Reported {
        Reported { values: settings.reported().into_iter().collect(), revision: settings.revision }
    }

    /// What has changed since the last report.
    fn changes(&mut self, settings: &Settings) -> Vec<(&'static str, String)> {
        if self.revision == settings.revision {
            // The common case, at every ReadyForQuery: nothing was set.
            return Vec::new();
        }
        self.revision = settings.revision;
        let mut changes = settings.reported();
        changes.retain(|(name, value)| self.values.get(name) != Some(value));
        self.values.extend(changes.iter().cloned());
        changes
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves plain data behind; there is nothing half-changed to protect.
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// What expressions see of a session.
impl SessionView for Shared {
    fn user(&self) -> &str {
        &self.user
    }

    fn database(&self) -> &str {
        &self.database
    }

    fn id(&self) -> u32 {
        self.id
    }

    fn show(&self, name: &str) -> Result<String, SqlError> {
        self.state().transaction.show(name)
    }

    fn show_all(&self) -> Vec<(String, String, &'static str)> {
        self.state().transaction.settings.all()
    }

    fn search_path(&self) -> Arc<SearchPath> {
        self.state().transaction.settings.search_path.clone()
    }

    fn set(&self, name: &str, value: Option<&str>, local: bool) -> Result<(), SqlError> {
        let state = &mut *self.state();
        state.transaction.set(name, value, local, &mut state.notices)
    }

    fn statement_names(&self) -> Vec<(String, String)> {
        self.state().statements.names()
    }

    fn cursors(&self) -> Vec<CursorInfo> {
        self.state().transaction.cursors.infos()
    }
}

/// What the connection of the client uses.
impl Session {
    /// A new session of `user`; `id` is what pg_backend_pid() gives.
    pub fn new(info: &ServerInfo, user: &str, database: &str, id: u32) -> Session {
        let fixed = [
            ("server_version", info.server_version.as_str()),
            ("server_version_num", info.server_version_num.as_str()),
            ("session_authorization", user),
        ];
        let settings = Settings::new(&fixed, database);
        let state = State {
            reported: Reported::new(&settings),
            transaction: Transaction::new(settings),
            statements: Statements::default(),
            notices: Vec::new(),
        };
        let shared = Shared {
            user: user.into(),
            database: database.into(),
            id,
            token: SessionToken::default(),
            state: Mutex::new(state),
        };
        Session { shared: Arc::new(shared) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    /// The session's user.
    pub fn user(&self) -> &str {
        &self.shared.user
    }

    /// The database's name.
    pub fn database(&self) -> &str {
        &self.shared.database
    }

    /// The number that pg_backend_pid() gives.
    pub fn id(&self) -> u32 {
        self.shared.id
    }

    /// A setting of the startup packet (all but user, database, options, replication). Unknown names and bad
    /// values are errors, as in PostgreSQL.
    pub fn set_startup(&self, name: &str, value: &str) -> Result<(), SqlError> {
        let mut state = self.state();
        let warning = state.transaction.settings.set_startup(name, value)?;
        state.notices.extend(warning.map(|text| Notice::warning(sqlstate::WARNING, text)));
        Ok(())
    }

    /// All settings to be sent as ParameterStatus after authentication.
    pub fn reported_parameters(&self) -> Vec<(&'static str, String)> {
        let state = &mut *self.state();
        state.reported = Reported::new(&state.transaction.settings);
        state.transaction.settings.reported()
    }

    /// Reported settings that changed since they were last sent: to be sent as ParameterStatus before
    /// ReadyForQuery.
    pub fn take_changed_parameters(&self) -> Vec<(&'static str, String)> {
        let state = &mut *self.state();
        state.reported.changes(&state.transaction.settings)
    }

    /// Notices gathered since the last call, to be sent before CommandComplete.
    pub fn take_notices(&self) -> Vec<Notice> {
        let state = &mut *self.state();
        let mut notices = std::mem::take(&mut state.notices);
        notices.retain(|notice| state.transaction.settings.tells(notice.severity));
        notices
    }

    /// ReadyForQuery's status.
    pub fn transaction_status(&self) -> TransactionStatus {
        self.state().transaction.status()
    }

    /// An error reached the client: an open block is failed from now on. The planner does this for its own
    /// errors; the connection loop calls it for errors of the protocol (a bad Bind) and for a cancelled query.
    pub fn fail_block(&self) {
        self.state().transaction.fail();
    }

    /// Which statements fail together with one that runs now, for [`Session::fail_stretch`].
    pub(crate) fn stretch(&self) -> Option<u64> {
        self.state().transaction.stretch()
    }

    /// A statement of that stretch failed in the background: its block fails, and no other that is open by now.
    pub(crate) fn fail_stretch(&self, stretch: Option<u64>) {
        self.state().transaction.fail_stretch(stretch);
    }

    /// Keeps a prepared statement under a name (Parse of the protocol, or PREPARE). The empty name is replaced;
    /// for others 42P05 if it is taken.
    pub fn store_statement(&self, name: &str, prepared: Arc<Prepared>) -> Result<(), SqlError> {
        self.state().statements.store(name, prepared)
    }

    /// The statement of that name. 26000 if there is none.
    pub fn statement(&self, name: &str) -> Result<Arc<Prepared>, SqlError> {
        self.state().statements.get(name)
    }

    /// Forgets a statement (Close of the protocol); whether there was one.
    pub fn close_statement(&self, name: &str) -> bool {
        self.state().statements.close(name)
    }

    /// Has the session a cursor of that name?
    pub fn has_cursor(&self, name: &str) -> bool {
        !name.is_empty() && self.state().transaction.cursors.columns(name).is_some()
    }

    /// How values are read and written as text now.
    pub fn text_settings(&self) -> TextSettings {
        let transaction = &self.state().transaction;
        TextSettings { now: transaction.now(), ..transaction.settings.text.clone() }
    }

    /// The longest time of a statement.
    pub fn statement_timeout(&self) -> Duration {
        self.state().transaction.settings.statement_timeout
    }
}

/// What a running statement takes along.
impl Session {
    /// The session, for the expressions of a statement.
    pub(crate) fn view(&self) -> Arc<dyn SessionView> {
        self.shared.clone()
    }

    /// Where names are looked up now.
    pub(crate) fn search_path(&self) -> Arc<SearchPath> {
        self.shared.search_path()
    }

    /// The session's token of LSNs seen, if `session_guarantees` is on.
    pub(crate) fn token(&self) -> Option<&SessionToken> {
        self.state().transaction.settings.session_guarantees.then_some(&self.shared.token)
    }

    /// How this session reads now.
    pub(crate) fn read_options(&self) -> ReadOptions {
        let state = self.state();
        let settings = &state.transaction.settings;
        ReadOptions {
            consistency: settings.consistency,
            max_staleness: settings.max_staleness,
            min_lsn: None,
            deadline: Instant::now() + settings.statement_timeout,
        }
    }

    /// When a statement that starts now must have ended.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.statement_timeout()
    }

    /// The same, if the session has set a `statement_timeout` of its own.
    pub(crate) fn own_deadline(&self) -> Option<Instant> {
        let state = self.state();
        let settings = &state.transaction.settings;
        settings.timeout_is_set.then(|| Instant::now() + settings.statement_timeout)
    }

    /// The time that now() gives, in microseconds since 2000.
    pub(crate) fn now(&self) -> i64 {
        self.state().transaction.now()
    }

    /// Is a block open (failed or not)?
    pub(crate) fn in_block(&self) -> bool {
        self.transaction_status() != TransactionStatus::Idle
    }

    /// 25P02 if the block has failed.
    pub fn check_not_failed(&self) -> Result<(), SqlError> {
        self.state().transaction.check_not_failed()
    }

    /// May a statement write now? 25006 in a read-only block, 0A000 if the block has its write already.
    pub(crate) fn check_write(&self, command: &str) -> Result<(), SqlError> {
        self.state().transaction.check_write(command)
    }

    /// The block's deferred write, for reads of the same block.
    pub(crate) fn deferred(&self) -> Option<Write> {
        self.state().transaction.deferred()
    }

    /// Keeps the block's write until COMMIT.
    pub(crate) fn defer(&self, write: Write) {
        self.state().transaction.defer(write);
    }

    /// Notices for the client.
    pub(crate) fn tell(&self, notices: Vec<Notice>) {
        self.state().notices.extend(notices);
    }

    /// A warning for the client.
    pub(crate) fn warning(&self, sqlstate: &'static str, message: impl Into<String>) {
        self.state().notices.push(Notice::warning(sqlstate, message));
    }
}

/// The statements about the session itself.
impl Session {
    /// SHOW.
    pub(crate) fn show(&self, name: &str) -> Result<String, SqlError> {
        self.shared.show(name)
    }

    /// SHOW ALL: name, value, description.
    pub(crate) fn show_all(&self) -> Vec<(String, String, &'static str)> {
        self.shared.show_all()
    }

    /// SET; `None` is DEFAULT. A `local` value holds for the rest of the block.
    pub(crate) fn set(&self, name: &str, value: Option<&str>, local: bool) -> Result<(), SqlError> {
        self.shared.set(name, value, local)
    }

    /// RESET ALL.
    pub(crate) fn reset_all(&self) {
        self.state().transaction.settings.reset_all();
    }

    /// 42P03 if there is a cursor of that name.
    pub(crate) fn check_new_cursor(&self, name: &str) -> Result<(), SqlError> {
        self.state().transaction.cursors.check_new(name)
    }

    /// DECLARE.
    pub(crate) fn add_cursor(&self, cursor: Cursor) -> Result<(), SqlError> {
        self.state().transaction.cursors.add(cursor)
    }

    /// The columns of a cursor; `None` if there is none of that name.
    pub(crate) fn cursor_columns(&self, name: &str) -> Option<Arc<[Column]>> {
        self.state().transaction.cursors.columns(name)
    }

    /// Takes a cursor out to read it; [`Session::put_cursor_back`] ends that. 34000 if there is none.
    pub(crate) fn take_cursor(&self, name: &str) -> Result<Cursor, SqlError> {
        self.state().transaction.cursors.take(name)
    }

    /// Puts a cursor back that was taken out.
    pub(crate) fn put_cursor_back(&self, cursor: Cursor) {
        self.state().transaction.cursors.put_back(cursor);
    }

    /// CLOSE. 34000 if there is none of that name.
    pub(crate) fn close_cursor(&self, name: &str) -> Result<(), SqlError> {
        self.state().transaction.cursors.close(name)
    }

    /// CLOSE ALL.
    pub(crate) fn close_cursors(&self) {
        self.state().transaction.cursors.close_all();
    }

    /// DEALLOCATE ALL.
    pub(crate) fn close_statements(&self) {
        self.state().statements.close_all();
    }

    /// BEGIN. `None` takes the default of the session.
    pub(crate) fn begin(&self, read_only: Option<bool>) {
        let state = &mut *self.state();
        state.transaction.begin(read_only, &mut state.notices);
    }

    /// SET TRANSACTION READ ONLY / READ WRITE.
    pub(crate) fn set_read_only(&self, read_only: bool) {
        let state = &mut *self.state();
        state.transaction.set_read_only(read_only, &mut state.notices);
    }

    /// Ends the block for COMMIT. The caller sends the deferred write.
    pub(crate) fn commit(&self) -> Commit {
        self.state().transaction.commit()
    }

    /// ROLLBACK; whether there was a block.
    pub(crate) fn rollback(&self) -> bool {
        self.state().transaction.rollback()
    }

    /// SAVEPOINT.
    pub(crate) fn savepoint(&self, name: &str) -> Result<(), SqlError> {
        self.state().transaction.savepoint(name)
    }

    /// RELEASE SAVEPOINT.
    pub(crate) fn release(&self, name: &str) -> Result<(), SqlError> {
        self.state().transaction.release(name)
    }

    /// ROLLBACK TO SAVEPOINT.
    pub(crate) fn rollback_to(&self, name: &str) -> Result<(), SqlError> {
        self.state().transaction.rollback_to(name)
    }
}
