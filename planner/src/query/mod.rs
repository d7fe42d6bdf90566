//! Queries: a SELECT as data ([`SelectPlan`]), and what runs it, row by row ([`SelectRows`]).
//!
//! A plan is a source of rows (a table, a join, a set operation, ..) and what becomes of them: filter, groups, output
//! columns, DISTINCT, order, limits. Rows are pulled: what needs no more of them stops reading. Whatever reads stored
//! tables waits for the store, so it runs where a thread may wait. A query over one stored table alone is run by the
//! executor, which brings the rows itself and uses the same pieces ([`Gather`]).

mod rows;
mod source;
mod join;
mod hash_join;
mod look_up;
mod node;
mod set;
mod function;
mod recursive;
mod gather;
mod groups;
mod window;
mod frame;
mod row_sets;
mod open_rows;
mod plan;

pub(crate) use gather::Gather;
pub(crate) use plan::{
    Aggregate, CommonPlan, Distinct, FrameEnd, FramePlan, FunctionRows, Grouping, Input, Join, JoinKind,
    Leaf, Method, Node, RecursivePlan, SelectPlan, SetPlan, SortKey, TableFunction, WindowCall,
    WindowFunction,
};
pub(crate) use rows::SelectRows;
