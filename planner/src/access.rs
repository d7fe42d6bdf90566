//! Which keys does a WHERE name? Point keys if every key column is fixed, else one key range.
//!
//! Conditions that the keys express exactly are taken out of the filter; bounds of a range stay in it as well, so
//! that a bound that cannot be pushed (a value beyond the column's type) is never lost.

use crate::catalog::TableSchema;
use crate::error::{SqlError, sqlstate};
use crate::expression::{Env, Expr, Scope, integer};
use crate::key_encoding;
use crate::statement::Operator;
use crate::types::{Datum, Type, Value};

/// Keys that one point access may name.
const POINTS_MAX: usize = 100_000;

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

/// One end of a range.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bound {
    pub(crate) value: Expr,
    pub(crate) inclusive: bool,
}

/// The access and what is left of the filter.
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
            match comparison(conjunct, *position, ty) {
                Some((Operator::Gt, value)) if lower.is_none() => {
                    lower = Some(Bound { value, inclusive: false });
                }
                Some((Operator::GtEq, value)) if lower.is_none() => {
                    lower = Some(Bound { value, inclusive: true });
                }
                Some((Operator::Lt, value)) if upper.is_none() => {
                    upper = Some(Bound { value, inclusive: false });
                }
                Some((Operator::LtEq, value)) if upper.is_none() => {
                    upper = Some(Bound { value, inclusive: true });
                }
                _ => {}
            }
        }
    }
    (Access::Range { prefix, lower, upper, reverse: false }, rest(conjuncts, &used))
}

fn flatten(filter: Option<Expr>, out: &mut Vec<Expr>) {
    match filter {
        Some(Expr::And(items)) => items.into_iter().for_each(|item| flatten(Some(item), out)),
        Some(other) => out.push(other),
        None => {}
    }
}

fn rest(conjuncts: Vec<Expr>, used: &[usize]) -> Option<Expr> {
    let mut left: Vec<Expr> =
        conjuncts.into_iter().enumerate().filter(|(at, _)| !used.contains(at)).map(|(_, c)| c).collect();
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
    if is_column(left, position, ty) && right.is_constant() {
        Some((*op, (**right).clone()))
    } else if is_column(right, position, ty) && left.is_constant() {
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
            list.iter().all(Expr::is_constant).then(|| Candidates::List(list.clone()))
        }
        Expr::Quantified { left, op: Operator::Eq, array, all: false } if is_column(left, position, ty) => {
            array.is_constant().then(|| Candidates::Array((**array).clone()))
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

/// The value as the key column's type; `None` if it is NULL or no value of it can be equal.
fn fit(value: Datum, ty: &Type) -> Option<Value> {
    let value = value?;
    match value.as_i64() {
        Some(number) if ty.is_integer() => integer(ty, i128::from(number)).ok(),
        _ => Some(value),
    }
}

/// Key bytes from `start` (inclusive) to `end` (exclusive; `None`: to the end of the table).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeySpan {
    pub(crate) start: Vec<u8>,
    pub(crate) end: Option<Vec<u8>>,
}

impl Access {
    /// All rows of a table, in key order.
    pub(crate) const ALL: Access =
        Access::Range { prefix: Vec::new(), lower: None, upper: None, reverse: false };

    /// Does it name single keys?
    pub(crate) fn is_points(&self) -> bool {
        matches!(self, Access::Points(_))
    }

    /// Does it name exactly one key?
    pub(crate) fn is_single_point(&self) -> bool {
        match self {
            Access::Points(columns) => {
                columns.iter().all(|c| matches!(c, Candidates::List(list) if list.len() == 1))
            }
            Access::Range { .. } => false,
        }
    }

    /// The keys of a point access, sorted and without duplicates.
    pub(crate) fn keys(&self, table: &TableSchema, env: &Env) -> Result<Vec<Vec<u8>>, SqlError> {
        let Access::Points(columns) = self else {
            return Err(SqlError::internal("a key range has no single keys"));
        };
        let mut keys: Vec<Vec<u8>> = vec![Vec::new()];
        for (position, candidates) in table.key.iter().zip(columns) {
            let ty = &table.columns[*position].ty;
            let mut values: Vec<Value> = Vec::new();
            match candidates {
                Candidates::List(list) => {
                    for expr in list {
                        values.extend(fit(expr.eval(&Scope::EMPTY, env)?, ty));
                    }
                }
                Candidates::Array(array) => {
                    if let Some(Value::Array(array)) = array.eval(&Scope::EMPTY, env)? {
                        values.extend(array.items.iter().filter_map(|item| fit(item.clone(), ty)));
                    }
                }
            }
            if keys.len().saturating_mul(values.len()) > POINTS_MAX {
                return Err(SqlError::new(
                    sqlstate::LIMIT_EXCEEDED,
                    format!("the WHERE clause names more than {POINTS_MAX} keys"),
                ));
            }
            if let ([key], [value]) = (keys.as_mut_slice(), values.as_slice()) {
                key_encoding::encode(value, key)?;
                continue;
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
        if keys.len() > 1 {
            keys.sort_unstable();
            keys.dedup();
        }
        Ok(keys)
    }

    /// The span of a range access; `None` if it is empty.
    pub(crate) fn span(&self, table: &TableSchema, env: &Env) -> Result<Option<KeySpan>, SqlError> {
        let Access::Range { prefix, lower, upper, .. } = self else {
            return Err(SqlError::internal("single keys have no range"));
        };
        let mut fixed = Vec::new();
        for (position, expr) in table.key.iter().zip(prefix) {
            match fit(expr.eval(&Scope::EMPTY, env)?, &table.columns[*position].ty) {
                Some(value) => key_encoding::encode(&value, &mut fixed)?,
                None => return Ok(None),
            }
        }
        let mut span = KeySpan { start: fixed.clone(), end: key_encoding::successor(&fixed) };
        let ty = table.key.get(prefix.len()).map(|position| &table.columns[*position].ty);
        // `None`: nothing compares with NULL. `Some(None)`: beyond the type, left to the filter.
        let bound = |bound: &Bound| -> Result<Option<Option<Vec<u8>>>, SqlError> {
            let (Some(value), Some(ty)) = (bound.value.eval(&Scope::EMPTY, env)?, ty) else {
                return Ok(None);
            };
            let Some(value) = fit(Some(value), ty) else { return Ok(Some(None)) };
            let mut key = fixed.clone();
            key_encoding::encode(&value, &mut key)?;
            Ok(Some(Some(key)))
        };
        if let Some(lower) = lower {
            match bound(lower)? {
                None => return Ok(None),
                Some(None) => {}
                Some(Some(key)) if lower.inclusive => span.start = key,
                Some(Some(key)) => match key_encoding::successor(&key) {
                    Some(next) => span.start = next,
                    None => return Ok(None),
                },
            }
        }
        if let Some(upper) = upper {
            match bound(upper)? {
                None => return Ok(None),
                Some(None) => {}
                Some(Some(key)) if upper.inclusive => span.end = key_encoding::successor(&key),
                Some(Some(key)) => span.end = Some(key),
            }
        }
        let empty = span.end.as_ref().is_some_and(|end| *end <= span.start);
        Ok((!empty).then_some(span))
    }

    /// Does the access give rows in the order of these table columns? Sets the direction if so.
    pub(crate) fn order_by(&mut self, table: &TableSchema, columns: &[usize], descending: bool) -> bool {
        let fixed = match self {
            Access::Points(all) => {
                all.iter().take_while(|c| matches!(c, Candidates::List(list) if list.len() == 1)).count()
            }
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
