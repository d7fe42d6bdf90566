//! One run of a plan: what the files that execute it need.

use crate::context::Context;
use crate::expression::Env;
use crate::pg_catalog;
use crate::prepared::Prepared;
use crate::session::Session;
use crate::types::Datum;

/// One run of a plan.
pub(crate) struct Run<'a> {
    pub(crate) context: &'a Context,
    pub(crate) session: &'a Session,
    /// For the plan's expressions.
    pub(crate) env: Env,
}

impl<'a> Run<'a> {
    /// A run of a prepared statement that starts now.
    pub(crate) fn new(
        context: &'a Context,
        session: &'a Session,
        prepared: &Prepared,
        params: Vec<Datum>,
    ) -> Run<'a> {
        let env = Env {
            params,
            session: session.view(),
            snapshot: prepared.snapshot.clone(),
            system_relations: pg_catalog::RELATIONS,
            info: context.info.clone(),
            now: session.now(),
        };
        Run { context, session, env }
    }
}
