//! Subqueries, as expressions see them: something that gives rows. What a query is made of is known above.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use super::env::Env;
use super::scope::Scope;
use crate::error::SqlError;
use crate::memory::HeldRows;

/// A query that an expression can run.
pub(crate) trait RunQuery: Any + Debug + Send + Sync {
    /// Its rows; `outer` is the row of the expression around it.
    fn rows(&self, env: &Env, outer: Option<&Scope<'_>>) -> Result<HeldRows, SqlError>;

    /// Is it the same query as another one (which may be of another type)?
    fn is_same(&self, other: &dyn Any) -> bool;
}

/// A query inside of an expression.
#[derive(Clone, Debug)]
pub(crate) struct Subquery(Arc<dyn RunQuery>);

impl Subquery {
    /// A query as a part of an expression.
    pub(crate) fn new(query: impl RunQuery) -> Subquery {
        Subquery(Arc::new(query))
    }

    /// Its rows for a row of the query around it.
    pub(super) fn rows(&self, scope: &Scope<'_>, env: &Env) -> Result<HeldRows, SqlError> {
        self.0.rows(env, Some(scope))
    }
}

impl PartialEq for Subquery {
    fn eq(&self, other: &Subquery) -> bool {
        let other: &dyn Any = other.0.as_ref();
        self.0.is_same(other)
    }
}
