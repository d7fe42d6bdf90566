//! One run of a plan: what the files that execute it need.

use std::sync::Arc;

use super::tables::Tables;
use super::target::Target;
use crate::context::Context;
use crate::expression::Env;
use crate::interrupt::Interrupt;
use crate::memory::Memory;
use crate::pg_catalog;
use crate::prepared::Prepared;
use crate::session::Session;
use crate::types::{Datum, TextSettings, now_micros};

/// One run of a plan.
pub(crate) struct Run<'a> {
    pub(crate) context: &'a Context,
    pub(crate) session: &'a Session,
    /// For the plan's expressions.
    pub(crate) env: Env,
    /// The one row that the plan touches, if it has been computed.
    pub(crate) target: Option<Target>,
}

impl<'a> Run<'a> {
    /// A run of a prepared statement that starts now.
    pub(crate) fn new(
        context: &'a Context,
        session: &'a Session,
        prepared: &Prepared,
        params: Vec<Datum>,
    ) -> Run<'a> {
        let env = env(context, session, prepared, params);
        let target = Target::of(&prepared.plan, &env);
        Run { context, session, env, target }
    }
}

/// What the expressions of a statement that starts now see.
pub(crate) fn env(context: &Context, session: &Session, prepared: &Prepared, params: Vec<Datum>) -> Env {
    let memory = Memory::of(&context.memory);
    let now = session.now();
    Env {
        params,
        session: session.view(),
        snapshot: prepared.snapshot.clone(),
        system_relations: &pg_catalog::RELATIONS,
        info: context.info.clone(),
        now,
        started: if session.in_block() { now_micros() } else { now },
        text: TextSettings { now, ..session.text_settings() },
        tables: Arc::new(Tables::new(&context.kv, session, &memory)),
        interrupt: Interrupt::at(session.deadline()),
        memory,
    }
}
