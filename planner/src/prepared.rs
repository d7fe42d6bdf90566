//! Prepared statements, and the cache of their plans.

use std::hash::Hash;
use std::sync::Arc;

use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Weighter};
use tokio::sync::Semaphore;

use crate::bind::{BindError, Bound, bind};
use crate::catalog::Snapshot;
use crate::context::Context;
use crate::depth::with_stack;
use crate::error::SqlError;
use crate::interrupt::Interrupt;
use crate::parse::parse;
use crate::plan::Plan;
use crate::result::Column;
use crate::search_path::SearchPath;
use crate::statement::Statement;
use crate::types::Type;

/// Plans that the cache keeps, about.
const PLANS_MAX: usize = 1024;
/// Statements with longer texts are planned each time.
const PLAN_TEXT_BYTES_MAX: usize = 16 << 10;
/// Bytes that the cache holds at most, about.
const PLANS_BYTES_MAX: u64 = 64 << 20;
/// What a statement takes besides its text and its expressions, about.
const STATEMENT_BYTES: u64 = 2 << 10;
/// What an expression takes in a plan, about.
const NODE_BYTES: u64 = 200;

/// Statements with texts up to so long are planned on the task of their session: that takes less than a turn.
pub(crate) const INLINE_BYTES_MAX: usize = 4 << 10;
/// KiB of longer texts that are planned at a time. The parser's tree of a text is some 40 times as large.
const PLANNED_KIB_MAX: u32 = 8 << 10;
static PLANNED_KIB: Semaphore = Semaphore::const_new(PLANNED_KIB_MAX as usize);

/// Stack that binding takes at least.
const BIND_BYTES: usize = 256 << 10;
/// Stack that it takes for each level of the tree.
const BIND_STEP_BYTES: usize = 48 << 10;

/// A statement that is ready to be executed any number of times.
#[derive(Debug)]
pub struct Prepared {
    /// What it takes of the memory, about.
    bytes: u64,
    sql: String,
    /// The parameter types that the client declared.
    hints: Vec<Type>,
    parameters: Vec<Type>,
    columns: Option<Arc<[Column]>>,
    pub(crate) plan: Plan,
    /// The tables that the plan was made for.
    pub(crate) snapshot: Arc<Snapshot>,
    /// Where its names were looked up.
    path: Arc<SearchPath>,
}

impl Prepared {
    /// Bytes of memory that it takes, about: its text and its plan.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The statement's text.
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// Types of `$1`, `$2`, .. (ParameterDescription). A parameter's value must be read with this type.
    pub fn parameter_types(&self) -> &[Type] {
        &self.parameters
    }

    /// Columns of the result; `None` if it gives no rows (NoData). Those of FETCH and EXECUTE are as they were when it was
    /// prepared.
    pub fn columns(&self) -> Option<&Arc<[Column]>> {
        self.columns.as_ref()
    }

    /// Is it a COPY? It runs through the simple protocol only.
    pub fn is_copy(&self) -> bool {
        matches!(self.plan, Plan::CopyIn(_) | Plan::CopyOut { .. })
    }

    /// Is it allowed in a failed block (COMMIT, ROLLBACK, ROLLBACK TO)?
    pub fn ends_block(&self) -> bool {
        matches!(&self.plan, Plan::Session(statement)
            if matches!(**statement, Statement::Commit | Statement::Rollback | Statement::RollbackTo(_)))
    }

    /// May executing it write? If it is broken off, its outcome is then unknown (40003). COMMIT sends the block's
    /// write, and EXECUTE runs anything.
    pub fn writes(&self) -> bool {
        self.plan.writes()
    }

    /// Does the plan still fit the tables, and the session's way to look them up?
    pub(crate) fn is_current(&self, context: &Context, path: &Arc<SearchPath>) -> bool {
        // FETCH and EXECUTE have no tables of their own.
        matches!(self.plan, Plan::Fetch { .. } | Plan::Execute { .. })
            || self.snapshot.version == context.kv.catalog_version() && self.is_by(path)
    }

    fn is_by(&self, path: &Arc<SearchPath>) -> bool {
        Arc::ptr_eq(&self.path, path) || self.path == *path
    }

    /// The same statement, with the columns that the session knows of (FETCH, EXECUTE).
    pub(crate) fn with_columns(self: Arc<Self>, columns: Option<Arc<[Column]>>) -> Arc<Prepared> {
        match Arc::try_unwrap(self) {
            Ok(own) => Arc::new(Prepared { columns, ..own }),
            // Somebody else has it, too.
            Err(shared) => shared,
        }
    }

    /// The same statement, planned again for the tables as they are now. 0A000 if its parameters, or names or types of
    /// its columns, differ, because the client knows the old ones; drivers prepare anew when they read the routine's
    /// name. A table that was made anew alike gives its columns another origin, which nobody goes by.
    pub(crate) async fn refreshed(
        &self,
        context: &Context,
        plans: &PlanCache,
        path: &Arc<SearchPath>,
        interrupt: &Interrupt,
    ) -> Result<Arc<Prepared>, SqlError> {
        let fresh = plans.prepare(context, path, &self.sql, &self.hints, interrupt).await?;
        let shape = |prepared: &Prepared| {
            let columns = prepared.columns.iter().flat_map(|columns| columns.iter());
            columns.map(|column| (column.name.clone(), column.ty.clone())).collect::<Vec<_>>()
        };
        let rows = |prepared: &Prepared| prepared.columns.is_some();
        if (rows(&fresh), shape(&fresh)) != (rows(self), shape(self)) || fresh.parameters != self.parameters {
            let message = "cached plan must not change result type";
            let error = SqlError::new(crate::error::sqlstate::FEATURE_NOT_SUPPORTED, message);
            return Err(error.routine("RevalidateCachedQuery"));
        }
        Ok(fresh)
    }
}

/// What a plan is kept by: the statement's text and the declared parameter types.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    path: Arc<SearchPath>,
    sql: String,
    hints: Vec<Type>,
}

/// A borrowed [`Key`], so that a look-up allocates nothing. It hashes as a [`Key`] does.
#[derive(Hash)]
struct KeyRef<'a> {
    path: &'a Arc<SearchPath>,
    sql: &'a str,
    hints: &'a [Type],
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.sql == key.sql && self.hints == key.hints && *self.path == key.path
    }
}

/// The plans of one gateway, shared by its sessions.
pub(crate) struct PlanCache {
    plans: Cache<Key, Arc<Prepared>, Weight>,
}

/// Plans weigh what they take of the memory.
#[derive(Clone)]
struct Weight;

impl Weighter<Key, Arc<Prepared>> for Weight {
    fn weight(&self, _: &Key, prepared: &Arc<Prepared>) -> u64 {
        prepared.bytes
    }
}

impl PlanCache {
    /// An empty cache.
    pub(crate) fn new() -> PlanCache {
        PlanCache { plans: Cache::with_weighter(PLANS_MAX, PLANS_BYTES_MAX, Weight) }
    }

    /// Prepares a statement, from the cache if its plan is there and fits the tables.
    pub(crate) async fn prepare(
        &self,
        context: &Context,
        path: &Arc<SearchPath>,
        sql: &str,
        hints: &[Type],
        interrupt: &Interrupt,
    ) -> Result<Arc<Prepared>, SqlError> {
        let found = self.plans.get(&KeyRef { path, sql, hints });
        if let Some(found) = found.filter(|found| found.is_current(context, path)) {
            return Ok(found);
        }
        let prepared = Arc::new(prepare(context, path, sql, hints, interrupt).await?);
        if sql.len() <= PLAN_TEXT_BYTES_MAX && prepared.plan.is_worth_caching() {
            self.plans.insert(
                Key { path: path.clone(), sql: sql.to_string(), hints: hints.to_vec() },
                prepared.clone(),
            );
        }
        Ok(prepared)
    }
}

/// Parses and binds a statement. Long ones are planned elsewhere, so that others have their turn meanwhile.
async fn prepare(
    context: &Context,
    path: &Arc<SearchPath>,
    sql: &str,
    hints: &[Type],
    interrupt: &Interrupt,
) -> Result<Prepared, SqlError> {
    let mut snapshot = context.catalog.snapshot().await?;
    let mut bound = plan(sql, &snapshot, path, hints, interrupt).await?;
    if let Err(BindError { unknown_table: true, .. }) = bound {
        snapshot = context.catalog.load(true).await?;
        bound = plan(sql, &snapshot, path, hints, interrupt).await?;
    }
    let Bound { plan, parameters, nodes } = bound.map_err(|failed| failed.error)?;
    Ok(Prepared {
        bytes: sql.len() as u64 + STATEMENT_BYTES + u64::from(nodes) * NODE_BYTES,
        sql: sql.to_string(),
        hints: hints.to_vec(),
        parameters,
        columns: plan.columns(),
        plan,
        snapshot,
        path: path.clone(),
    })
}

/// Plans a statement where it hinders nobody.
async fn plan(
    sql: &str,
    snapshot: &Arc<Snapshot>,
    path: &Arc<SearchPath>,
    hints: &[Type],
    interrupt: &Interrupt,
) -> Result<Result<Bound, BindError>, SqlError> {
    if sql.len() <= INLINE_BYTES_MAX {
        return Ok(plan_here(sql, snapshot, path, hints, interrupt));
    }
    let size = u32::try_from(sql.len() >> 10).unwrap_or(u32::MAX).clamp(1, PLANNED_KIB_MAX);
    // The semaphore is never closed.
    let permit =
        PLANNED_KIB.acquire_many(size).await.map_err(|_| SqlError::internal("no more statements"))?;
    interrupt.check()?;
    let (sql, snapshot, hints, own) = (sql.to_string(), snapshot.clone(), hints.to_vec(), interrupt.clone());
    let path = path.clone();
    let work = move || {
        let _permit = permit;
        Ok(plan_here(&sql, &snapshot, &path, &hints, &own))
    };
    interrupt.compute(work).await
}

/// Plans a statement on a stack that fits its tree.
fn plan_here(
    sql: &str,
    snapshot: &Arc<Snapshot>,
    path: &Arc<SearchPath>,
    hints: &[Type],
    interrupt: &Interrupt,
) -> Result<Bound, BindError> {
    let parsed = parse(sql).and_then(|parsed| interrupt.check().map(|()| parsed));
    let (statement, depth) = parsed.map_err(|error| BindError { error, unknown_table: false })?;
    let stack = BIND_BYTES + depth as usize * BIND_STEP_BYTES;
    with_stack(stack, || bind(statement, snapshot.clone(), path.clone(), hints, interrupt))
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    #[test]
    fn a_borrowed_key_finds_its_owned_one() {
        let (sql, hints) = ("SELECT v FROM t WHERE k = $1", vec![Type::Int8, Type::Varchar(Some(3))]);
        let path = Arc::new(SearchPath::new("s", "root", "db"));
        let other = Arc::new(SearchPath::new("t", "root", "db"));
        let borrowed = KeyRef { path: &path, sql, hints: &hints };
        let owned = Key { path: path.clone(), sql: sql.into(), hints: hints.clone() };
        let state = RandomState::new();
        assert_eq!(state.hash_one(&borrowed), state.hash_one(&owned));
        assert!(borrowed.equivalent(&owned));
        assert!(!KeyRef { path: &path, sql, hints: &hints[..1] }.equivalent(&owned));
        assert!(!KeyRef { path: &other, sql, hints: &hints }.equivalent(&owned));
    }
}
