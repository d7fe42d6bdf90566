//! The nodes of a tree of joins as they are read, and what two rows make together.

use std::sync::Arc;

use super::open_rows::OpenRows;
use super::plan::{Input, Join, JoinKind, Leaf, Node};
use crate::depth::deeper;
use crate::error::SqlError;
use crate::expression::{Env, Scope};
use crate::types::{Datum, Row};

/// A node that is being read.
pub(super) enum NodeRows {
    Leaf(LeafRows, usize),
    Join(Box<dyn OpenRows>),
}

/// An entry of FROM that is being read.
pub(super) struct LeafRows {
    leaf: Arc<Leaf>,
    source: Box<dyn OpenRows>,
}

/// The right side of a join: rows of its own columns alone.
pub(super) struct RightRows {
    rows: NodeRows,
    at: usize,
    width: usize,
}

impl NodeRows {
    /// Begins to read a node of a tree with so many columns. `scope` holds the row before it in FROM.
    pub(super) fn open(
        node: &Node,
        width: usize,
        env: &Env,
        scope: &Scope<'_>,
    ) -> Result<NodeRows, SqlError> {
        Ok(match node {
            Node::Leaf(leaf) => NodeRows::Leaf(LeafRows::open(leaf, env, scope)?, width),
            Node::Join(join) => NodeRows::Join(deeper(|| join.open(width, env, scope))?),
        })
    }

    /// The next row, with places for the whole tree; `scope` is the one that it was opened with.
    pub(super) fn next(&mut self, env: &Env, scope: &Scope<'_>) -> Result<Option<Row>, SqlError> {
        match self {
            NodeRows::Leaf(leaf, width) => {
                let Some(own) = leaf.next(env, scope)? else { return Ok(None) };
                let mut row = blank(scope, *width);
                row[leaf.leaf.at..][..own.len()].clone_from_slice(&own);
                Ok(Some(row))
            }
            NodeRows::Join(join) => deeper(|| join.next(env, scope)),
        }
    }
}

/// A row of a tree in which only the columns before a node are known.
pub(super) fn blank(scope: &Scope<'_>, width: usize) -> Row {
    if scope.row.len() == width { scope.row.to_vec() } else { vec![None; width] }
}

impl LeafRows {
    pub(super) fn open(leaf: &Arc<Leaf>, env: &Env, scope: &Scope<'_>) -> Result<LeafRows, SqlError> {
        let source = match &leaf.input {
            // Keys are computed without a row of the table.
            Input::Table { .. } => {
                let outer = leaf.around(scope);
                leaf.input.open(env, &Scope { row: &[], outer })?
            }
            input => input.open(env, scope)?,
        };
        Ok(LeafRows { leaf: leaf.clone(), source })
    }

    /// The next row that the leaf's filter keeps.
    pub(super) fn next(&mut self, env: &Env, scope: &Scope<'_>) -> Result<Option<Row>, SqlError> {
        while let Some(row) = self.source.next(env, scope)? {
            env.interrupt.check()?;
            if self.leaf.keeps(&row, env, scope)? {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }
}

impl Leaf {
    /// What access and filter see around the leaf's own columns.
    fn around<'a>(&self, scope: &'a Scope<'a>) -> Option<&'a Scope<'a>> {
        if self.lateral { Some(scope) } else { scope.outer }
    }

    /// Does the filter keep a row of the leaf?
    pub(super) fn keeps(&self, row: &[Datum], env: &Env, scope: &Scope<'_>) -> Result<bool, SqlError> {
        match &self.filter {
            Some(filter) => filter.holds(&Scope { row, outer: self.around(scope) }, env),
            None => Ok(true),
        }
    }
}

impl RightRows {
    /// Begins to read the right side of a join.
    pub(super) fn open(
        join: &Join,
        width: usize,
        env: &Env,
        scope: &Scope<'_>,
    ) -> Result<RightRows, SqlError> {
        let rows = NodeRows::open(&join.right, width, env, scope)?;
        Ok(RightRows { rows, at: join.right_at, width: join.right_width })
    }

    /// The next row.
    pub(super) fn next(&mut self, env: &Env, scope: &Scope<'_>) -> Result<Option<Row>, SqlError> {
        match &mut self.rows {
            NodeRows::Leaf(leaf, _) => leaf.next(env, scope),
            NodeRows::Join(join) => {
                let row = deeper(|| join.next(env, scope))?;
                Ok(row.map(|row| row[self.at..][..self.width].to_vec()))
            }
        }
    }
}

impl Join {
    /// A row of the left side with one of the right, if they are partners.
    pub(super) fn pair(
        &self,
        left: &[Datum],
        right: &[Datum],
        env: &Env,
        outer: Option<&Scope<'_>>,
    ) -> Result<Option<Row>, SqlError> {
        let row = self.with_right(left.to_vec(), right);
        let partners = match &self.condition {
            Some(condition) => condition.holds(&Scope { row: &row, outer }, env)?,
            None => true,
        };
        Ok(partners.then_some(row))
    }

    /// A row of the left side (or a blank one) with one of the right.
    pub(super) fn with_right(&self, mut row: Row, right: &[Datum]) -> Row {
        row[self.right_at..][..self.right_width].clone_from_slice(right);
        row
    }

    /// Does a row of the left side stay without a partner?
    pub(super) fn keeps_left(&self) -> bool {
        self.kind != JoinKind::Inner
    }

    /// Does a row of the right side stay without a partner?
    pub(super) fn keeps_right(&self) -> bool {
        self.kind == JoinKind::Full
    }
}

impl Node {
    /// Does it depend on the row before it in FROM?
    pub(super) fn is_lateral(&self) -> bool {
        match self {
            Node::Leaf(leaf) => leaf.lateral,
            Node::Join(join) => deeper(|| join.left.is_lateral() || join.right.is_lateral()),
        }
    }
}
