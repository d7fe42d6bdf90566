//! Which keys does a WHERE name? Point keys if every key column is fixed, else one key range.
//!
//! Conditions that the keys express exactly are taken out of the filter; bounds of a range stay in it as well, so
//! that a bound that cannot be pushed (a value beyond the column's type) is never lost.

use crate::catalog::TableSchema;
use crate::error::{SqlError, sqlstate};
use crate::expression::{Env, Expr, Scope, integer};
use crate::key_encoding::{self, KeySpan};
use crate::statement::Operator;
use crate::types::{Datum, Type, Value};

/// Keys that one point access may name.
const POINTS_MAX: usize = 100_000;

/// Bytes that most keys fit into.
const KEY_BYTES_USUAL: usize = 32;

/// How the rows of a table are reached.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Access {
    /// These keys: for each key column its possible values.
    Points(Vec<Candidates>),
    /// A range of keys: fixed values of the first key columns, bounds of the next one.
    Range { prefix: Vec<Expr>, lower: Option<Bound>, upper: Option<Bound>, reverse: bool },
}

/// The possible values of a key column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Candidates {
    List(Vec<Expr>),
    /// The elements of an array.
    Array(Expr),
}

impl Candidates {
    /// The values, as the key column's type. Those that no row can have are left out.
    fn values(&self, ty: &Type, scope: &Scope<'_>, env: &Env) -> Result<Vec<Value>, SqlError> {
        let mut values = Vec::new();
        match self {
            Candidates::List(list) => {
                for expr in list {
                    values.extend(fit(expr.eval(scope, env)?, ty));
                }
            }
            Candidates::Array(array) => {
                if let Some(Value::Array(array)) = array.eval(scope, env)? {
                    values.extend(array.items.iter().filter_map(|item| fit(item.clone(), ty)));
                }
            }
        }
        Ok(values)
    }

    /// Is it exactly one value, whatever the parameters?
    fn is_single(&self) -> bool {
        matches!(self, Candidates::List(list) if list.len() == 1)
    }
}

/// One end of a range.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bound {
    pub(crate) value: Expr,
    pub(crate) inclusive: bool,
}

/// Where a bound lies among the keys.
enum Edge {
    /// Nothing compares with NULL: no row is inside.
    Null,
    /// The bound is no value of the column's type. It limits no keys and is left to the filter.
    BeyondType,
    /// At the key that begins with these bytes.
    Key(Vec<u8>),
}

impl Bound {
    /// Where the bound lies, behind the encoding of the columns before its own.
    fn edge(&self, fixed: &[u8], ty: &Type, scope: &Scope<'_>, env: &Env) -> Result<Edge, SqlError> {
        let Some(value) = self.value.eval(scope, env)? else { return Ok(Edge::Null) };
        let Some(value) = fit(Some(value), ty) else { return Ok(Edge::BeyondType) };
        let mut key = fixed.to_vec();
        key_encoding::encode(&value, &mut key)?;
        Ok(Edge::Key(key))
    }
}

/// Chooses the access that a WHERE allows, and gives what is left of the filter.
pub(crate) fn choose(table: &TableSchema, filter: Option<Expr>) -> (Access, Option<Expr>) {
    let mut conjuncts = Vec::new();
    flatten(filter, &mut conjuncts);
    let mut used = Vec::new();
    let mut candidates = Vec::new();
    for position in &table.key {
        let ty = &table.columns[*position].ty;
        let found = conjuncts.iter().enumerate().find_map(|(at, c)| Some((at, equality(c, *position, ty)?)));
        match found {
            Some((at, values)) => {
                used.push(at);
                candidates.push(values);
            }
            None => break,
        }
    }
    if candidates.len() == table.key.len() {
        return (Access::Points(candidates), rest(conjuncts, &used));
    }
    // A range can fix a column to one value only.
    let mut prefix = Vec::new();
    for values in &candidates {
        match values {
            Candidates::List(list) if list.len() == 1 => prefix.push(list[0].clone()),
            _ => break,
        }
    }
    used.truncate(prefix.len());
    let (mut lower, mut upper) = (None, None);
    if let Some(position) = table.key.get(prefix.len()) {
        let ty = &table.columns[*position].ty;
        for conjunct in &conjuncts {
            let Some((op, value)) = comparison(conjunct, *position, ty) else { continue };
            let (end, inclusive) = match op {
                Operator::Gt => (&mut lower, false),
                Operator::GtEq => (&mut lower, true),
                Operator::Lt => (&mut upper, false),
                Operator::LtEq => (&mut upper, true),
                _ => continue,
            };
            // The first bound of each side is taken; the others stay in the filter as all bounds do.
            end.get_or_insert(Bound { value, inclusive });
        }
    }
    (Access::Range { prefix, lower, upper, reverse: false }, rest(conjuncts, &used))
}

/// The values of the key's columns by which a WHERE gives each row of FROM its row of the table; `beside` is the position of
/// FROM's first column. `None` if it does not.
pub(crate) fn join_key(table: &TableSchema, filter: Option<&Expr>, beside: usize) -> Option<Vec<Expr>> {
    let mut conjuncts = Vec::new();
    flatten(filter.cloned(), &mut conjuncts);
    let value = |expr: &Expr, position: usize, ty: &Type| {
        let Expr::Compare { op: Operator::Eq, left, right } = expr else { return None };
        let found = if is_column(left, position, ty) { right } else { left };
        let column = if is_column(left, position, ty) { left } else { right };
        let is_beside = !found.has_subquery()
            && !found.any(&|part| match part {
                Expr::Column { level, at } => *level > 0 || *at < beside,
                Expr::Aggregate(_) => true,
                Expr::Call { function, .. } => function.is_volatile(),
                _ => false,
            });
        (is_column(column, position, ty) && is_beside).then(|| (**found).clone())
    };
    let key = table.key.iter().map(|position| {
        let ty = &table.columns[*position].ty;
        conjuncts.iter().find_map(|conjunct| value(conjunct, *position, ty))
    });
    key.collect()
}

/// The key that a row of FROM names by [`join_key`]'s values; `None` if no row can have it.
pub(crate) fn joined_key(
    table: &TableSchema,
    key: &[Expr],
    row: &[Datum],
    env: &Env,
) -> Result<Option<Vec<u8>>, SqlError> {
    let mut bytes = Vec::with_capacity(KEY_BYTES_USUAL);
    let scope = Scope { row, outer: None };
    for (position, expr) in table.key.iter().zip(key) {
        match fit(expr.eval(&scope, env)?, &table.columns[*position].ty) {
            Some(value) => key_encoding::encode(&value, &mut bytes)?,
            None => return Ok(None),
        }
    }
    Ok(Some(bytes))
}

/// The conditions that all must hold.
pub(crate) fn flatten(filter: Option<Expr>, out: &mut Vec<Expr>) {
    match filter {
        Some(Expr::And(items)) => items.into_iter().for_each(|item| flatten(Some(item), out)),
        Some(other) => out.push(other),
        None => {}
    }
}

fn rest(conjuncts: Vec<Expr>, used: &[usize]) -> Option<Expr> {
    let left = conjuncts.into_iter().enumerate().filter(|(at, _)| !used.contains(at)).map(|(_, c)| c);
    all_of(left.collect())
}

/// One condition that holds if all of these do; `None` if there are none.
pub(crate) fn all_of(mut left: Vec<Expr>) -> Option<Expr> {
    match left.len() {
        0 => None,
        1 => left.pop(),
        _ => Some(Expr::And(left)),
    }
}

/// Is it the column, perhaps widened to a larger whole number (which changes no comparison)?
fn is_column(expr: &Expr, position: usize, ty: &Type) -> bool {
    match expr {
        Expr::Column { level: 0, at } => *at == position,
        Expr::Cast { arg, from, to, .. } if from.is_integer() && to.is_integer() && from == ty => {
            **arg == Expr::column(position)
        }
        _ => false,
    }
}

fn comparison(expr: &Expr, position: usize, ty: &Type) -> Option<(Operator, Expr)> {
    let Expr::Compare { op, left, right } = expr else { return None };
    if is_column(left, position, ty) && right.is_fixed() {
        Some((*op, (**right).clone()))
    } else if is_column(right, position, ty) && left.is_fixed() {
        Some((op.flipped(), (**left).clone()))
    } else {
        None
    }
}

fn equality(expr: &Expr, position: usize, ty: &Type) -> Option<Candidates> {
    match expr {
        Expr::Compare { .. } => match comparison(expr, position, ty)? {
            (Operator::Eq, value) => Some(Candidates::List(vec![value])),
            _ => None,
        },
        Expr::In { arg, list, negated: false } if is_column(arg, position, ty) => {
            list.iter().all(Expr::is_fixed).then(|| Candidates::List(list.clone()))
        }
        Expr::Quantified { left, op: Operator::Eq, array, all: false } if is_column(left, position, ty) => {
            array.is_fixed().then(|| Candidates::Array((**array).clone()))
        }
        Expr::Or(items) => {
            // k = 1 OR k = 2 is an IN list.
            let mut all = Vec::new();
            for item in items {
                match equality(item, position, ty)? {
                    Candidates::List(list) => all.extend(list),
                    Candidates::Array(_) => return None,
                }
            }
            Some(Candidates::List(all))
        }
        _ => None,
    }
}

/// The key's columns as values of a joined row: which conditions fix them all. The conditions are over rows in which the
/// table's columns begin at `offset`; `known` tells which expressions can be computed before its row is read.
pub(crate) fn look_up(
    table: &TableSchema,
    offset: usize,
    conditions: &[Expr],
    known: impl Fn(&Expr) -> bool,
) -> Option<(Vec<Expr>, Vec<usize>)> {
    let (mut values, mut used) = (Vec::new(), Vec::new());
    for position in &table.key {
        let ty = &table.columns[*position].ty;
        let found = conditions.iter().enumerate().find_map(|(at, condition)| {
            let Expr::Compare { op: Operator::Eq, left, right } = condition else { return None };
            let sides = [(left, right), (right, left)];
            let other = sides
                .into_iter()
                .find(|(own, other)| is_column(own, position + offset, ty) && known(other))
                .map(|(_, other)| (**other).clone())?;
            Some((at, other))
        });
        let (at, value) = found?;
        used.push(at);
        values.push(value);
    }
    Some((values, used))
}

/// The key of values that [`look_up`] found; `None` if no row can have it.
pub(crate) fn key_of(table: &TableSchema, values: Vec<Datum>) -> Result<Option<Vec<u8>>, SqlError> {
    let mut key = Vec::with_capacity(KEY_BYTES_USUAL);
    for (position, value) in table.key.iter().zip(values) {
        match fit(value, &table.columns[*position].ty) {
            Some(value) => key_encoding::encode(&value, &mut key)?,
            None => return Ok(None),
        }
    }
    Ok(Some(key))
}

/// The value as the key column's type; `None` if it is NULL or no value of it can be equal.
fn fit(value: Datum, ty: &Type) -> Option<Value> {
    let value = value?;
    match value.as_i64() {
        Some(number) if ty.is_integer() => integer(ty, i128::from(number)).ok(),
        _ => Some(value),
    }
}

impl Access {
    /// All rows of a table, in key order.
    pub(crate) const ALL: Access =
        Access::Range { prefix: Vec::new(), lower: None, upper: None, reverse: false };

    /// How few rows it gives, as far as that can be told: 0 is one row, 4 all of them.
    pub(crate) fn rank(&self) -> u8 {
        match self {
            Access::Points(_) if self.is_single_point() => 0,
            Access::Points(_) => 1,
            Access::Range { prefix, .. } if !prefix.is_empty() => 2,
            Access::Range { lower: None, upper: None, .. } => 4,
            Access::Range { .. } => 3,
        }
    }

    /// Does it give rows from the last key to the first?
    pub(crate) fn is_reverse(&self) -> bool {
        matches!(self, Access::Range { reverse: true, .. })
    }

    /// Does it name single keys?
    pub(crate) fn is_points(&self) -> bool {
        matches!(self, Access::Points(_))
    }

    /// Does it name exactly one key?
    pub(crate) fn is_single_point(&self) -> bool {
        match self {
            Access::Points(columns) => columns.iter().all(Candidates::is_single),
            Access::Range { .. } => false,
        }
    }

    /// The key of an access that names exactly one; `None` if no row can have it (NULL, or beyond the type).
    pub(crate) fn key(&self, table: &TableSchema, env: &Env) -> Result<Option<Vec<u8>>, SqlError> {
        self.key_in(table, &Scope::EMPTY, env)
    }

    fn key_in(&self, table: &TableSchema, scope: &Scope<'_>, env: &Env) -> Result<Option<Vec<u8>>, SqlError> {
        let Access::Points(columns) = self else {
            return Err(SqlError::internal("a key range has no single key"));
        };
        let mut key = Vec::with_capacity(KEY_BYTES_USUAL);
        for (position, candidates) in table.key.iter().zip(columns) {
            let Candidates::List(list) = candidates else {
                return Err(SqlError::internal("an array is no single value"));
            };
            let [expr] = list.as_slice() else {
                return Err(SqlError::internal("a list is no single value"));
            };
            match fit(expr.eval(scope, env)?, &table.columns[*position].ty) {
                Some(value) => key_encoding::encode(&value, &mut key)?,
                None => return Ok(None),
            }
        }
        Ok(Some(key))
    }

    /// The keys of a point access, sorted and without duplicates.
    pub(crate) fn keys(&self, table: &TableSchema, env: &Env) -> Result<Vec<Vec<u8>>, SqlError> {
        self.keys_in(table, &Scope::EMPTY, env)
    }

    /// The keys inside of queries whose rows are those of `scope.outer`.
    pub(crate) fn keys_in(
        &self,
        table: &TableSchema,
        scope: &Scope<'_>,
        env: &Env,
    ) -> Result<Vec<Vec<u8>>, SqlError> {
        if self.is_single_point() {
            return Ok(self.key_in(table, scope, env)?.into_iter().collect());
        }
        let Access::Points(columns) = self else {
            return Err(SqlError::internal("a key range has no single keys"));
        };
        let mut keys: Vec<Vec<u8>> = vec![Vec::new()];
        for (position, candidates) in table.key.iter().zip(columns) {
            let values = candidates.values(&table.columns[*position].ty, scope, env)?;
            if keys.len().saturating_mul(values.len()) > POINTS_MAX {
                return Err(SqlError::new(
                    sqlstate::LIMIT_EXCEEDED,
                    format!("the WHERE clause names more than {POINTS_MAX} keys"),
                ));
            }
            let mut longer = Vec::with_capacity(keys.len() * values.len());
            for key in &keys {
                for value in &values {
                    let mut key = key.clone();
                    key_encoding::encode(value, &mut key)?;
                    longer.push(key);
                }
            }
            keys = longer;
        }
        keys.sort_unstable();
        keys.dedup();
        Ok(keys)
    }

    /// The span of a range access; `None` if it is empty.
    pub(crate) fn span(&self, table: &TableSchema, env: &Env) -> Result<Option<KeySpan>, SqlError> {
        self.span_in(table, &Scope::EMPTY, env)
    }

    /// The span inside of queries whose rows are those of `scope.outer`.
    pub(crate) fn span_in(
        &self,
        table: &TableSchema,
        scope: &Scope<'_>,
        env: &Env,
    ) -> Result<Option<KeySpan>, SqlError> {
        let Access::Range { prefix, lower, upper, .. } = self else {
            return Err(SqlError::internal("single keys have no range"));
        };
        let mut fixed = Vec::new();
        for (position, expr) in table.key.iter().zip(prefix) {
            match fit(expr.eval(scope, env)?, &table.columns[*position].ty) {
                Some(value) => key_encoding::encode(&value, &mut fixed)?,
                None => return Ok(None),
            }
        }
        let mut span = KeySpan { start: fixed.clone(), end: key_encoding::successor(&fixed) };
        let Some(next) = table.key.get(prefix.len()) else { return Ok(Some(span)) };
        let ty = &table.columns[*next].ty;
        if let Some(lower) = lower {
            match lower.edge(&fixed, ty, scope, env)? {
                Edge::Null => return Ok(None),
                Edge::BeyondType => {}
                Edge::Key(key) if lower.inclusive => span.start = key,
                Edge::Key(key) => match key_encoding::successor(&key) {
                    Some(next) => span.start = next,
                    None => return Ok(None),
                },
            }
        }
        if let Some(upper) = upper {
            match upper.edge(&fixed, ty, scope, env)? {
                Edge::Null => return Ok(None),
                Edge::BeyondType => {}
                Edge::Key(key) if upper.inclusive => span.end = key_encoding::successor(&key),
                Edge::Key(key) => span.end = Some(key),
            }
        }
        let empty = span.end.as_ref().is_some_and(|end| *end <= span.start);
        Ok((!empty).then_some(span))
    }

    /// Does the access give rows in the order of these table columns? Sets the direction if so.
    pub(crate) fn order_by(&mut self, table: &TableSchema, columns: &[usize], descending: bool) -> bool {
        let fixed = match self {
            Access::Points(all) => all.iter().take_while(|candidates| candidates.is_single()).count(),
            Access::Range { prefix, .. } => prefix.len(),
        };
        let is_fixed = |column: &usize| table.key[..fixed].contains(column);
        let wanted: Vec<usize> = columns.iter().copied().filter(|column| !is_fixed(column)).collect();
        if !table.key[fixed..].starts_with(&wanted) {
            return false;
        }
        match self {
            // Points come ascending; a few rows are sorted at no cost.
            Access::Points(_) => !descending || wanted.is_empty(),
            Access::Range { reverse, .. } => {
                *reverse = descending && !wanted.is_empty();
                true
            }
        }
    }
}
