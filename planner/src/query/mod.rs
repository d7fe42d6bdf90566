//! Queries: a SELECT as data ([`SelectPlan`]), and what runs it in memory.
//!
//! Over system relations a query runs here, whole ([`SelectPlan::run`]). Over a stored table the executor brings the
//! rows and uses the same pieces: filter and projection per batch, or [`Groups`] and [`SelectPlan::finish`] where all
//! rows are needed.

mod run;
mod groups;
mod row_sets;
mod row_index;
mod row_order;
mod plan;

pub(crate) use groups::Groups;
pub(crate) use plan::{Aggregate, Grouping, Input, SelectPlan, SortKey};
