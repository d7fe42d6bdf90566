//! How the entries of FROM are joined: in which order, where conditions are looked at, and how partners are found.
//!
//! Nothing is known about how many rows tables have, so the order goes by what conditions say: entries that give few
//! rows come first, then those whose rows can be looked up by their key, then those that share a value with what is
//! there. Only inner joins change places.

use std::ops::Range;
use std::sync::Arc;

use crate::access::{self, Access};
use crate::catalog::TableSchema;
use crate::depth::deeper;
use crate::expression::{Expr, Subquery};
use crate::query::{FunctionRows, Input, Join, JoinKind, Leaf, Method, Node};
use crate::statement::Operator;

/// Entries of more joins than that stay in the order in which they are written.
const ORDERED_MAX: usize = 16;

/// FROM, before it is known how it is joined.
pub(super) enum Tree {
    /// There is none.
    Nothing,
    Leaf(Box<TreeLeaf>),
    Join(Box<TreeJoin>),
}

/// An entry of FROM: its columns stand from the place `at` on.
pub(super) struct TreeLeaf {
    pub(super) input: Input,
    pub(super) at: usize,
    pub(super) width: usize,
    /// Does it depend on the entries before it?
    pub(super) lateral: bool,
}

/// A join as it is written (RIGHT ones with their sides changed).
pub(super) struct TreeJoin {
    pub(super) kind: JoinKind,
    pub(super) left: Tree,
    pub(super) right: Tree,
    pub(super) on: Vec<Expr>,
    /// Places of columns that are computed of both sides, and their values.
    pub(super) merged: Vec<(usize, Expr)>,
    pub(super) at: usize,
    pub(super) width: usize,
}

/// A part of FROM that is to be joined, and the conditions on it alone.
struct Item {
    tree: Tree,
    conditions: Vec<Expr>,
}

/// The input that a FROM with the condition WHERE makes, and what is left of the condition.
pub(super) fn place(tree: Tree, filter: Option<Expr>) -> (Input, Option<Expr>) {
    match tree {
        Tree::Nothing => (Input::Nothing, filter),
        Tree::Leaf(leaf) => match leaf.input {
            Input::Table { table, .. } => {
                let (access, filter) = access::choose(&table, filter);
                (Input::Table { table, access }, filter)
            }
            input => (input, filter),
        },
        Tree::Join(join) => {
            let width = join.width;
            let mut conditions = Vec::new();
            access::flatten(filter, &mut conditions);
            match build(Tree::Join(join), conditions) {
                Node::Join(join) => (Input::Join { join, width }, None),
                // A join stays one.
                Node::Leaf(leaf) => (leaf.input.clone(), leaf.filter.clone()),
            }
        }
    }
}

/// The places of the columns that an expression needs; `None` if that is not known, or if it must be computed last.
fn places(expr: &Expr) -> Option<Vec<usize>> {
    let late = expr.any(&|expr| match expr {
        Expr::Call { function, .. } => function.is_volatile(),
        other => other.subquery().is_some_and(Subquery::is_correlated),
    });
    let mut places = Vec::new();
    collect(expr, &mut places);
    (!late).then_some(places)
}

fn collect(expr: &Expr, places: &mut Vec<usize>) {
    if let Expr::Column { level: 0, at } = expr {
        places.push(*at);
    }
    for part in expr.parts() {
        deeper(|| collect(part, places));
    }
}

/// Can it be computed from columns for which `known` holds?
fn needs_only(expr: &Expr, known: impl Fn(usize) -> bool) -> bool {
    places(expr).is_some_and(|places| places.into_iter().all(known))
}

/// Does it need columns, and only such for which `own` holds?
fn is_of(expr: &Expr, own: impl Fn(usize) -> bool) -> bool {
    places(expr).is_some_and(|places| !places.is_empty() && places.into_iter().all(own))
}

impl Tree {
    /// Where its columns stand.
    fn range(&self) -> Range<usize> {
        match self {
            Tree::Nothing => 0..0,
            Tree::Leaf(leaf) => leaf.at..leaf.at + leaf.width,
            Tree::Join(join) => join.at..join.at + join.width,
        }
    }

    /// Does it depend on entries before it?
    pub(super) fn is_lateral(&self) -> bool {
        match self {
            Tree::Nothing => false,
            Tree::Leaf(leaf) => leaf.lateral,
            Tree::Join(join) => deeper(|| join.left.is_lateral() || join.right.is_lateral()),
        }
    }

    /// Does it hold a column at this place that is no computed one?
    fn holds(&self, place: usize) -> bool {
        match self {
            Tree::Nothing => false,
            Tree::Leaf(_) => self.range().contains(&place),
            Tree::Join(join) => {
                self.range().contains(&place) && !join.merged.iter().any(|(own, _)| *own == place)
                    || deeper(|| join.left.range().contains(&place) || join.right.range().contains(&place))
            }
        }
    }
}

/// The node of a tree with conditions that only need its columns, or must be looked at last.
fn build(tree: Tree, conditions: Vec<Expr>) -> Node {
    deeper(|| match tree {
        Tree::Nothing => {
            leaf(TreeLeaf { input: Input::Nothing, at: 0, width: 0, lateral: false }, conditions)
        }
        Tree::Leaf(own) => leaf(*own, conditions),
        Tree::Join(join) => build_join(*join, conditions),
    })
}

fn build_join(mut join: TreeJoin, mut conditions: Vec<Expr>) -> Node {
    let right = join.right.range();
    if join.kind == JoinKind::Left && conditions.iter().any(|own| rejects_null(own, &right)) {
        // A row without a partner would not stay.
        join.kind = JoinKind::Inner;
    }
    match join.kind {
        JoinKind::Inner => {
            let (mut items, mut merged) = (Vec::new(), Vec::new());
            flatten(Tree::Join(Box::new(join)), &mut items, &mut conditions, &mut merged);
            join_items(items, conditions, merged)
        }
        JoinKind::Left => {
            let TreeJoin { left, right, on, merged, .. } = join;
            let (first, rest) = partition(conditions, |own| is_of(own, |place| left.holds(place)));
            let (second, on) = partition(on, |own| is_of(own, |place| right.holds(place)));
            let left_range = left.range();
            let left = build(left, first);
            let item = Item { tree: right, conditions: second };
            let known = |place| left_range.contains(&place);
            join_node(left, item, JoinKind::Left, on, &known, After { merged, filter: rest })
        }
        JoinKind::Full => {
            let TreeJoin { left, right, on, merged, .. } = join;
            let left_range = left.range();
            let left = build(left, Vec::new());
            let item = Item { tree: right, conditions: Vec::new() };
            let known = |place| left_range.contains(&place);
            join_node(left, item, JoinKind::Full, on, &known, After { merged, filter: conditions })
        }
    }
}

/// The entries of inner joins, and all their conditions.
fn flatten(tree: Tree, items: &mut Vec<Item>, conditions: &mut Vec<Expr>, merged: &mut Vec<(usize, Expr)>) {
    match tree {
        Tree::Join(join) if join.kind == JoinKind::Inner => {
            let TreeJoin { left, right, on, merged: own, .. } = *join;
            deeper(|| {
                flatten(left, items, conditions, merged);
                flatten(right, items, conditions, merged);
            });
            conditions.extend(on);
            merged.extend(own);
        }
        tree => items.push(Item { tree, conditions: Vec::new() }),
    }
}

fn partition(all: Vec<Expr>, test: impl Fn(&Expr) -> bool) -> (Vec<Expr>, Vec<Expr>) {
    all.into_iter().partition(test)
}

/// Is the condition not true if all these columns are NULL? Known of simple comparisons only.
fn rejects_null(condition: &Expr, columns: &Range<usize>) -> bool {
    let is_column = |expr: &Expr| match expr {
        Expr::Column { level: 0, at } => columns.contains(at),
        Expr::Cast { arg, .. } => matches!(&**arg, Expr::Column { level: 0, at } if columns.contains(at)),
        _ => false,
    };
    match condition {
        Expr::Compare { left, right, .. } => is_column(left) || is_column(right),
        Expr::Like { arg, .. } | Expr::In { arg, .. } | Expr::IsNull { arg, negated: true } => is_column(arg),
        _ => false,
    }
}

/// Joins entries, one after the other.
fn join_items(mut items: Vec<Item>, conditions: Vec<Expr>, merged: Vec<(usize, Expr)>) -> Node {
    let mut pending = Vec::new();
    for condition in conditions {
        match items.iter_mut().find(|item| is_of(&condition, |place| item.tree.holds(place))) {
            Some(item) => item.conditions.push(condition),
            None => pending.push(condition),
        }
    }
    let choose = items.len() <= ORDERED_MAX;
    let mut joined: Vec<Range<usize>> = Vec::new();
    let mut node: Option<Node> = None;
    while !items.is_empty() {
        let at = if choose { next(&items, &joined, &pending, node.is_some()) } else { 0 };
        let item = items.remove(at);
        let range = item.tree.range();
        node = Some(match node {
            None => build(item.tree, item.conditions),
            Some(left) => {
                let known = |place: usize| joined.iter().any(|range| range.contains(&place));
                let is_computed = |place: usize| merged.iter().any(|(own, _)| *own == place);
                let both = |place| !is_computed(place) && (known(place) || range.contains(&place));
                let (usable, rest) = partition(pending, |own| needs_only(own, both));
                let last = items.is_empty();
                pending = rest;
                let after = match last {
                    true => After { merged: merged.clone(), filter: std::mem::take(&mut pending) },
                    false => After { merged: Vec::new(), filter: Vec::new() },
                };
                join_node(left, item, JoinKind::Inner, usable, &known, after)
            }
        });
        joined.push(range);
    }
    node.unwrap_or_else(|| build(Tree::Nothing, Vec::new()))
}

/// The entry that is joined next to those in `joined`.
fn next(items: &[Item], joined: &[Range<usize>], pending: &[Expr], begun: bool) -> usize {
    let known = |place: usize| joined.iter().any(|range| range.contains(&place));
    let cost = |at: usize| {
        let item = &items[at];
        // What depends on others waits for all that stand before it.
        let start = item.tree.range().start;
        let waits = item.tree.is_lateral() && items.iter().any(|other| other.tree.range().start < start);
        let rank = rank(item);
        let links = begun && pending.iter().any(|own| links(own, &known, &item.tree));
        let looked_up = begun && look_up(item, pending, &known).is_some();
        let class = match (looked_up || rank <= 1, links) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => 2,
        };
        (waits, class, rank, at)
    };
    (0..items.len()).min_by_key(|at| cost(*at)).unwrap_or(0)
}

/// How few rows an entry gives: see [`Access::rank`].
fn rank(item: &Item) -> u8 {
    match &item.tree {
        Tree::Leaf(leaf) => match &leaf.input {
            Input::Table { table, .. } => access::choose(table, shifted(&item.conditions, leaf.at)).0.rank(),
            input => input_rank(input),
        },
        Tree::Nothing => 0,
        Tree::Join(_) => 4,
    }
}

fn input_rank(input: &Input) -> u8 {
    match input {
        Input::Nothing => 0,
        Input::Table { access, .. } => access.rank(),
        Input::Values(_) => 1,
        Input::Function(function) if matches!(function.rows, FunctionRows::Value(_)) => 0,
        Input::Function(_) | Input::System(_) => 3,
        Input::Working(_) => 2,
        Input::Query { .. } | Input::Set(_) | Input::Join { .. } => 4,
        Input::Common { .. } | Input::Recursive(_) => 4,
    }
}

/// Does the condition say that a value of what is known is equal to one of the tree?
fn links(condition: &Expr, known: &impl Fn(usize) -> bool, tree: &Tree) -> bool {
    equal_sides(condition, known, &tree.range()).is_some()
}

/// The sides of an equation: that of what is known, then that of some columns.
fn equal_sides(condition: &Expr, known: &impl Fn(usize) -> bool, own: &Range<usize>) -> Option<(Expr, Expr)> {
    let Expr::Compare { op: Operator::Eq, left, right } = condition else { return None };
    let fits =
        |first: &Expr, second: &Expr| is_of(first, known) && is_of(second, |place| own.contains(&place));
    if fits(left, right) {
        Some(((**left).clone(), (**right).clone()))
    } else if fits(right, left) {
        Some(((**right).clone(), (**left).clone()))
    } else {
        None
    }
}

/// A table whose key is given by what is known: its values, and which conditions (of the item's own, then of the others)
/// say so.
fn look_up(
    item: &Item,
    conditions: &[Expr],
    known: &impl Fn(usize) -> bool,
) -> Option<(Vec<Expr>, Vec<usize>)> {
    let Tree::Leaf(leaf) = &item.tree else { return None };
    let (Input::Table { table, .. }, at) = (&leaf.input, &leaf.at) else { return None };
    let all: Vec<Expr> = item.conditions.iter().chain(conditions).cloned().collect();
    let found = access::look_up(table, *at, &all, |value| needs_only(value, known))?;
    // A key that depends on nothing is read as any other.
    found.0.iter().any(|value| is_of(value, known)).then_some(found)
}

/// Conditions on an entry alone as one, over its own columns.
fn shifted(conditions: &[Expr], at: usize) -> Option<Expr> {
    let own = conditions.iter().cloned().map(|mut own| {
        own.change_columns(&mut |place| *place -= at);
        own
    });
    access::all_of(own.collect())
}

/// Conditions over an entry's columns, and over those before it one query out.
fn raised(conditions: Vec<Expr>, own: &Range<usize>) -> Option<Expr> {
    let raise = |mut condition: Expr| {
        condition.change_all_columns(&mut |level, place| match *level {
            0 if own.contains(place) => *place -= own.start,
            _ => *level += 1,
        });
        condition
    };
    access::all_of(conditions.into_iter().map(raise).collect())
}

/// A node for an entry of FROM.
fn leaf(tree: TreeLeaf, conditions: Vec<Expr>) -> Node {
    let TreeLeaf { input, at, width, lateral } = tree;
    let filter = if lateral { raised(conditions, &(at..at + width)) } else { shifted(&conditions, at) };
    let (input, filter) = match input {
        Input::Table { table, .. } => {
            let (access, filter) = access::choose(&table, filter);
            (Input::Table { table, access }, filter)
        }
        input => (input, filter),
    };
    Node::Leaf(Arc::new(Leaf { input, at, width, filter, lateral }))
}

/// Does the node give few rows?
fn is_few(node: &Node) -> bool {
    match node {
        Node::Leaf(leaf) => input_rank(&leaf.input) <= 1,
        Node::Join(join) => {
            let few = matches!(join.method, Method::LookUp(_)) || deeper(|| is_few(&join.right));
            few && join.kind != JoinKind::Full && deeper(|| is_few(&join.left))
        }
    }
}

/// What happens to joined rows.
struct After {
    merged: Vec<(usize, Expr)>,
    filter: Vec<Expr>,
}

/// Joins a part to what is joined already, whose columns are `known`.
fn join_node(
    left: Node,
    item: Item,
    kind: JoinKind,
    conditions: Vec<Expr>,
    known: &impl Fn(usize) -> bool,
    after: After,
) -> Node {
    let own = item.tree.range();
    let (right, method, condition) = partners(&left, item, kind, conditions, known);
    Node::Join(Arc::new(Join {
        kind,
        left,
        right,
        right_at: own.start,
        right_width: own.len(),
        method,
        condition: access::all_of(condition),
        merged: after.merged,
        filter: access::all_of(after.filter),
    }))
}

/// How the partners of rows are found: the right side, the method, and the conditions that are left.
fn partners(
    left: &Node,
    item: Item,
    kind: JoinKind,
    conditions: Vec<Expr>,
    known: &impl Fn(usize) -> bool,
) -> (Node, Method, Vec<Expr>) {
    let own = item.tree.range();
    if item.tree.is_lateral() {
        return (build(item.tree, item.conditions), Method::Loop, conditions);
    }
    if kind != JoinKind::Full
        && let Some((values, used)) = look_up(&item, &conditions, known)
    {
        let first = item.conditions.len();
        let unused = |from: usize, all: Vec<Expr>| {
            let left = all.into_iter().enumerate().filter(move |(at, _)| !used.contains(&(from + at)));
            left.map(|(_, own)| own).collect::<Vec<_>>()
        };
        let filter = shifted(&unused.clone()(0, item.conditions), own.start);
        let rest = unused(first, conditions);
        if let Tree::Leaf(own) = item.tree {
            let TreeLeaf { input, at, width, .. } = *own;
            let leaf = Leaf { input, at, width, filter, lateral: false };
            return (Node::Leaf(Arc::new(leaf)), Method::LookUp(values), rest);
        }
        return (build(Tree::Nothing, Vec::new()), Method::Loop, rest);
    }
    let ranged = match &item.tree {
        Tree::Leaf(leaf) if kind != JoinKind::Full && is_few(left) => match &leaf.input {
            Input::Table { table, .. } => by_prefix(table, &item, &conditions, &own),
            _ => None,
        },
        _ => None,
    };
    if let Some(leaf) = ranged {
        let late = conditions.into_iter().filter(|own| places(own).is_none()).collect();
        return (Node::Leaf(Arc::new(leaf)), Method::Loop, late);
    }
    let (mut first, mut second, mut rest) = (Vec::new(), Vec::new(), Vec::new());
    for condition in conditions {
        match equal_sides(&condition, known, &own) {
            Some((of_left, mut of_right)) => {
                of_right.change_columns(&mut |place| *place -= own.start);
                first.push(of_left);
                second.push(of_right);
            }
            None => rest.push(condition),
        }
    }
    let method = if first.is_empty() { Method::Loop } else { Method::Hash { left: first, right: second } };
    (build(item.tree, item.conditions), method, rest)
}

/// A table of which, for each of a few rows, a part of the key is given.
fn by_prefix(table: &Arc<TableSchema>, item: &Item, conditions: &[Expr], own: &Range<usize>) -> Option<Leaf> {
    let alone = access::choose(table, shifted(&item.conditions, own.start)).0;
    let usable = conditions.iter().filter(|own| places(own).is_some());
    let all: Vec<Expr> = item.conditions.iter().chain(usable).cloned().collect();
    let (access, filter) = access::choose(table, raised(all, own));
    let better =
        matches!(access, Access::Points(_) | Access::Range { .. }) && access.rank() < alone.rank().min(3);
    let input = Input::Table { table: table.clone(), access };
    better.then_some(Leaf { input, at: own.start, width: own.len(), filter, lateral: true })
}
