//! Subqueries, as expressions see them: something that gives rows. What a query is made of is known above.
//!
//! A query that refers to nothing around it runs once in an execution; its result is kept in [`super::results`].

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use super::env::Env;
use super::results::{Found, RowSet, equal};
use super::scope::Scope;
use crate::depth::deeper;
use crate::error::{SqlError, sqlstate};
use crate::memory::{HeldRows, heap_bytes};
use crate::types::{Datum, Row};

/// A query that an expression can run.
pub(crate) trait RunQuery: Any + Debug + Send + Sync {
    /// Starts it. Its rows are computed as they are asked for.
    fn open(&self) -> Box<dyn OpenQuery>;

    /// Does it refer to the rows of queries around it?
    fn is_correlated(&self) -> bool;

    /// Is it the same query as another one (which may be of another type)?
    fn is_same(&self, other: &dyn Any) -> bool;
}

/// A query that runs.
pub(crate) trait OpenQuery: Send {
    /// Its next row; `outer` is the row of the expression around it.
    fn next(&mut self, env: &Env, outer: Option<&Scope<'_>>) -> Result<Option<Row>, SqlError>;
}

/// A query inside of an expression.
#[derive(Clone, Debug)]
pub(crate) struct Subquery(Arc<dyn RunQuery>);

impl Subquery {
    /// A query as a part of an expression.
    pub(crate) fn new(query: impl RunQuery) -> Subquery {
        Subquery(Arc::new(query))
    }

    /// Does it refer to the rows of queries around it?
    pub(crate) fn is_correlated(&self) -> bool {
        self.0.is_correlated()
    }

    /// The query itself, if it is of that type.
    pub(crate) fn plan<T: 'static>(&self) -> Option<&T> {
        let query: &dyn Any = self.0.as_ref();
        query.downcast_ref()
    }

    /// EXISTS: does it give a row?
    pub(super) fn exists(&self, scope: &Scope<'_>, env: &Env) -> Result<bool, SqlError> {
        let look = || Ok(Found::Exists(self.0.open().next(env, Some(scope))?.is_some()));
        match &*self.found(env, look)? {
            Found::Exists(exists) => Ok(*exists),
            _ => Err(kind()),
        }
    }

    /// The value of its only row; NULL if there is none. 21000 if there are more.
    pub(super) fn value(&self, scope: &Scope<'_>, env: &Env) -> Result<Datum, SqlError> {
        let look = || {
            let mut open = self.0.open();
            let first = open.next(env, Some(scope))?;
            if first.is_some() && open.next(env, Some(scope))?.is_some() {
                let text = "more than one row returned by a subquery used as an expression";
                return Err(SqlError::new(sqlstate::CARDINALITY_VIOLATION, text));
            }
            let value = first.and_then(|row| row.into_iter().next().flatten());
            let mut held = env.memory.hold();
            held.add(heap_bytes(&value))?;
            Ok(Found::Value(value, held))
        };
        match &*self.found(env, look)? {
            Found::Value(value, _) => Ok(value.clone()),
            _ => Err(kind()),
        }
    }

    /// The values of its first column.
    pub(super) fn column(&self, scope: &Scope<'_>, env: &Env) -> Result<Vec<Datum>, SqlError> {
        let found = self.found(env, || Ok(Found::Column(self.rows(scope, env)?)))?;
        match &*found {
            Found::Column(found) => Ok(found.rows.iter().map(|row| row.first().cloned().flatten()).collect()),
            _ => Err(kind()),
        }
    }

    /// IN: is there a row with these values? `None` if that depends on a NULL.
    pub(super) fn contains(
        &self,
        values: &[Datum],
        scope: &Scope<'_>,
        env: &Env,
    ) -> Result<Option<bool>, SqlError> {
        if self.is_correlated() {
            let mut open = self.0.open();
            let mut result = Some(false);
            while let Some(row) = open.next(env, Some(scope))? {
                env.interrupt.check()?;
                match equal(values, &row)? {
                    Some(true) => return Ok(Some(true)),
                    Some(false) => {}
                    None => result = None,
                }
            }
            return Ok(result);
        }
        let look = || RowSet::of(self.rows(scope, env)?, &env.interrupt).map(Found::Set);
        match &*self.found(env, look)? {
            Found::Set(set) => set.contains(values, &env.interrupt),
            _ => Err(kind()),
        }
    }

    fn rows(&self, scope: &Scope<'_>, env: &Env) -> Result<HeldRows, SqlError> {
        let mut open = self.0.open();
        let mut rows = env.memory.rows();
        while let Some(row) = open.next(env, Some(scope))? {
            env.interrupt.check()?;
            rows.push(row)?;
        }
        Ok(rows)
    }

    /// What the query gives: computed now, or once if it refers to nothing around it.
    fn found(
        &self,
        env: &Env,
        look: impl FnOnce() -> Result<Found, SqlError>,
    ) -> Result<Arc<Found>, SqlError> {
        if self.is_correlated() {
            return deeper(look).map(Arc::new);
        }
        // The plan, and so its address, outlives the execution.
        let address = Arc::as_ptr(&self.0).cast::<()>() as usize;
        let results = env.tables.results();
        if let Some(found) = results.get(address) {
            return Ok(found);
        }
        let found = Arc::new(deeper(look)?);
        results.keep(address, &found);
        Ok(found)
    }
}

fn kind() -> SqlError {
    SqlError::internal("a subquery with a result of another kind")
}

impl PartialEq for Subquery {
    fn eq(&self, other: &Subquery) -> bool {
        let other: &dyn Any = other.0.as_ref();
        self.0.is_same(other)
    }
}
