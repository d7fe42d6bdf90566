//! The value of an expression for a row.

use std::cmp::Ordering;

use super::cast::cast;
use super::env::Env;
use super::expr::Expr;
use super::scope::Scope;
use super::value_limit::check_value_bytes;
use super::{arithmetic, pattern};
use crate::depth::deeper;
use crate::error::{SqlError, sqlstate};
use crate::memory::{Held, heap_bytes};
use crate::statement::Operator;
use crate::types::{Array, Datum, JsonKey, Type, Value, json_member};

impl Expr {
    /// The value for a row.
    pub(crate) fn eval(&self, scope: &Scope<'_>, env: &Env) -> Result<Datum, SqlError> {
        match self {
            Expr::Const(value) => Ok(value.clone()),
            Expr::Param(at) => parameter(*at, env),
            Expr::Column { level, at } => column(*level, *at, scope),
            inner => deeper(|| inner.eval_inner(scope, env)),
        }
    }

    /// The value of a node with parts.
    fn eval_inner(&self, scope: &Scope<'_>, env: &Env) -> Result<Datum, SqlError> {
        let value = |expr: &Expr| expr.eval(scope, env);
        match self {
            Expr::Const(_) | Expr::Param(_) | Expr::Column { .. } => self.eval(scope, env),
            Expr::Aggregate(_) => Err(SqlError::internal("an aggregate outside of its query")),
            Expr::Not(arg) => Ok(boolean(truth(&value(arg)?).map(|holds| !holds))),
            Expr::And(items) => all(items, false, scope, env),
            Expr::Or(items) => all(items, true, scope, env),
            Expr::Compare { op, left, right } => {
                let [left, right] = pair(left, right, scope, env)?;
                Ok(boolean(compare(*op, &left, &right)?))
            }
            Expr::Arithmetic { op, ty, left, right } => {
                let [left, right] = pair(left, right, scope, env)?;
                both(left, right, |left, right| arithmetic::binary(*op, ty, left, right))
            }
            Expr::Negate(arg) => value(arg)?.map(arithmetic::negate).transpose(),
            Expr::Concat { left, right } => concat_pair(pair(left, right, scope, env)?),
            Expr::Regex { arg, pattern, insensitive, negated } => {
                both(value(arg)?, value(pattern)?, |text, pattern| {
                    let (text, pattern) = (text.to_string_text(), pattern.to_string_text());
                    Ok(Value::Bool(pattern::regex(&text, &pattern, *insensitive)? != *negated))
                })
            }
            Expr::Like { arg, pattern, escape, insensitive, negated } => {
                both(value(arg)?, value(pattern)?, |text, pattern| {
                    let (text, pattern) = (text.to_string_text(), pattern.to_string_text());
                    Ok(Value::Bool(pattern::like(&text, &pattern, *escape, *insensitive)? != *negated))
                })
            }
            Expr::IsNull { arg, negated } => Ok(boolean(Some(value(arg)?.is_none() != *negated))),
            Expr::IsBool { arg, value: wanted, negated } => {
                Ok(boolean(Some((truth(&value(arg)?) == Some(*wanted)) != *negated)))
            }
            Expr::IsDistinct { left, right, negated } => {
                Ok(boolean(Some(distinct(&value(left)?, &value(right)?)? != *negated)))
            }
            Expr::In { arg, list, negated } => contains(&value(arg)?, list.iter().map(value), *negated),
            Expr::Quantified { left, op, array, all } => {
                Ok(boolean(quantified(&value(left)?, *op, &value(array)?, *all)?))
            }
            Expr::Cast { arg, from, to, explicit } => {
                value(arg)?.map(|value| cast(value, from, to, *explicit, env)).transpose()
            }
            Expr::Between { arg, low, high } => Ok(boolean(between(&value(arg)?, low, high, scope, env)?)),
            Expr::Case { operand, whens, otherwise } => {
                let operand = operand.as_ref().map(|operand| value(operand)).transpose()?;
                case(operand.as_ref(), whens, otherwise.as_deref(), scope, env)
            }
            Expr::Coalesce(items) => coalesce(items, scope, env),
            Expr::Call { function, arguments } => {
                let (values, _held) = held(arguments.iter().map(value), arguments.len(), env)?;
                function.call(&values, env)
            }
            Expr::Array { element, items } => array(element, items.iter().map(value), env),
            Expr::Index { arg, index } => Ok(index_of(&value(arg)?, &value(index)?)),
            Expr::JsonGet { arg, key, text } => match (value(arg)?, value(key)?) {
                (Some(document), Some(key)) => json_get(&document.to_string_text(), &key, *text),
                _ => Ok(None),
            },
            queries => queries.eval_query(scope, env),
        }
    }

    /// The value of a node with a subquery.
    fn eval_query(&self, scope: &Scope<'_>, env: &Env) -> Result<Datum, SqlError> {
        match self {
            Expr::Exists(query) => Ok(boolean(Some(query.exists(scope, env)?))),
            Expr::Subquery(query) => query.value(scope, env),
            Expr::ArrayQuery { element, query } => {
                array(element, query.column(scope, env)?.into_iter().map(Ok), env)
            }
            Expr::InQuery { arguments, query, negated } => {
                let values: Vec<Datum> =
                    arguments.iter().map(|argument| argument.eval(scope, env)).collect::<Result<_, _>>()?;
                let found = query.contains(&values, scope, env)?;
                Ok(boolean(found.map(|found| found != *negated)))
            }
            _ => Err(SqlError::internal("an expression of no kind")),
        }
    }

    /// Does the condition hold? NULL does not.
    pub(crate) fn holds(&self, scope: &Scope<'_>, env: &Env) -> Result<bool, SqlError> {
        Ok(truth(&self.eval(scope, env)?) == Some(true))
    }
}

fn parameter(at: usize, env: &Env) -> Result<Datum, SqlError> {
    env.params.get(at).cloned().ok_or_else(|| {
        SqlError::new(sqlstate::UNDEFINED_PARAMETER, format!("there is no parameter ${}", at + 1))
    })
}

fn column(level: usize, at: usize, scope: &Scope<'_>) -> Result<Datum, SqlError> {
    let mut scope = scope;
    for _ in 0..level {
        scope = scope.outer.ok_or_else(|| SqlError::internal("a column of a query that is not around"))?;
    }
    scope.row.get(at).cloned().ok_or_else(|| SqlError::internal("a column beyond the end of its row"))
}

fn boolean(value: Option<bool>) -> Datum {
    value.map(Value::Bool)
}

fn truth(value: &Datum) -> Option<bool> {
    match value {
        Some(Value::Bool(value)) => Some(*value),
        _ => None,
    }
}

/// What `code` makes of two values; NULL if one of them is.
fn both(
    left: Datum,
    right: Datum,
    code: impl FnOnce(Value, Value) -> Result<Value, SqlError>,
) -> Result<Datum, SqlError> {
    match (left, right) {
        (Some(left), Some(right)) => code(left, right).map(Some),
        _ => Ok(None),
    }
}

/// AND (`decisive` is false) and OR (it is true): the first decisive value ends it; else NULL if there was one.
fn all(items: &[Expr], decisive: bool, scope: &Scope<'_>, env: &Env) -> Result<Datum, SqlError> {
    let mut result = Some(!decisive);
    for item in items {
        match truth(&item.eval(scope, env)?) {
            Some(holds) if holds == decisive => return Ok(Some(Value::Bool(decisive))),
            Some(_) => {}
            None => result = None,
        }
    }
    Ok(boolean(result))
}

fn compare(op: Operator, left: &Datum, right: &Datum) -> Result<Option<bool>, SqlError> {
    let (Some(left), Some(right)) = (left, right) else { return Ok(None) };
    let order = left.compare(right)?;
    Ok(Some(match op {
        Operator::Eq => order == Ordering::Equal,
        Operator::NotEq => order != Ordering::Equal,
        Operator::Lt => order == Ordering::Less,
        Operator::LtEq => order != Ordering::Greater,
        Operator::Gt => order == Ordering::Greater,
        Operator::GtEq => order != Ordering::Less,
        other => return Err(SqlError::internal(format!("{} does not compare", other.symbol()))),
    }))
}

/// BETWEEN: the second bound is computed only if the first one holds or is unknown.
fn between(
    arg: &Datum,
    low: &Expr,
    high: &Expr,
    scope: &Scope<'_>,
    env: &Env,
) -> Result<Option<bool>, SqlError> {
    let from = compare(Operator::GtEq, arg, &low.eval(scope, env)?)?;
    if from == Some(false) {
        return Ok(from);
    }
    let to = compare(Operator::LtEq, arg, &high.eval(scope, env)?)?;
    Ok(if to == Some(true) { from } else { to })
}

/// IS DISTINCT FROM: as `<>`, but NULL is a value like others.
fn distinct(left: &Datum, right: &Datum) -> Result<bool, SqlError> {
    match (left, right) {
        (Some(left), Some(right)) => Ok(left.compare(right)?.is_ne()),
        (left, right) => Ok(left.is_some() != right.is_some()),
    }
}

/// IN over items that are computed one by one, until one is equal.
fn contains(
    arg: &Datum,
    items: impl Iterator<Item = Result<Datum, SqlError>>,
    negated: bool,
) -> Result<Datum, SqlError> {
    let mut found = Some(false);
    for item in items {
        match compare(Operator::Eq, arg, &item?)? {
            Some(true) => return Ok(Some(Value::Bool(!negated))),
            Some(false) => {}
            None => found = None,
        }
    }
    Ok(boolean(found.map(|found| found != negated)))
}

fn quantified(left: &Datum, op: Operator, array: &Datum, all: bool) -> Result<Option<bool>, SqlError> {
    let Some(Value::Array(array)) = array else { return Ok(None) };
    let mut result = Some(all);
    for item in &array.items {
        let holds = match (op, left, item) {
            (Operator::Regex { insensitive, negated }, Some(left), Some(item)) => {
                Some(pattern::regex(&left.to_string_text(), &item.to_string_text(), insensitive)? != negated)
            }
            (Operator::Regex { .. }, ..) => None,
            (op, left, item) => compare(op, left, item)?,
        };
        match holds {
            Some(holds) if holds != all => return Ok(Some(!all)),
            Some(_) => {}
            None => result = None,
        }
    }
    Ok(result)
}

/// Two values, the first held while the second is computed.
fn pair(left: &Expr, right: &Expr, scope: &Scope<'_>, env: &Env) -> Result<[Datum; 2], SqlError> {
    let left = left.eval(scope, env)?;
    let mut held = env.memory.hold();
    if held.add_value(&left)? {
        env.interrupt.check()?;
    }
    Ok([left, right.eval(scope, env)?])
}

/// `||`: NULL if one side is; but an array with NULL in place of another one stays as it is.
fn concat_pair(sides: [Datum; 2]) -> Result<Datum, SqlError> {
    match sides {
        [Some(array @ Value::Array(_)), None] | [None, Some(array @ Value::Array(_))] => Ok(Some(array)),
        [left, right] => both(left, right, concat),
    }
}

fn concat(left: Value, right: Value) -> Result<Value, SqlError> {
    match (left, right) {
        (Value::Bytea(left), Value::Bytea(right)) => {
            check_value_bytes(left.len() + right.len())?;
            Ok(Value::Bytea([left, right].concat().into()))
        }
        (Value::Array(left), Value::Array(right)) => {
            let element = left.element.clone();
            let (left, right) = (Some(Value::Array(left)), Some(Value::Array(right)));
            check_value_bytes((heap_bytes(&left) + heap_bytes(&right)) as usize)?;
            let items = |array| match array {
                Some(Value::Array(array)) => array.items.clone(),
                _ => Vec::new(),
            };
            let items = [items(left), items(right)].concat();
            Ok(Value::Array(Array::new(element, items).into()))
        }
        (left, right) => {
            let (mut text, right) = (left.to_string_text(), right.to_string_text());
            check_value_bytes(text.len() + right.len())?;
            text.push_str(&right);
            Ok(Value::Text(text))
        }
    }
}

fn case(
    operand: Option<&Datum>,
    whens: &[(Expr, Expr)],
    otherwise: Option<&Expr>,
    scope: &Scope<'_>,
    env: &Env,
) -> Result<Datum, SqlError> {
    for (when, then) in whens {
        let holds = match operand {
            Some(operand) => compare(Operator::Eq, operand, &when.eval(scope, env)?)? == Some(true),
            None => when.holds(scope, env)?,
        };
        if holds {
            return then.eval(scope, env);
        }
    }
    otherwise.map_or(Ok(None), |otherwise| otherwise.eval(scope, env))
}

fn coalesce(items: &[Expr], scope: &Scope<'_>, env: &Env) -> Result<Datum, SqlError> {
    for item in items {
        if let Some(value) = item.eval(scope, env)? {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// Values that are needed together, held while they are. Large ones are a good moment to see if the statement must end.
fn held(
    values: impl Iterator<Item = Result<Datum, SqlError>>,
    count: usize,
    env: &Env,
) -> Result<(Vec<Datum>, Held), SqlError> {
    let mut all = Vec::with_capacity(count);
    let mut held = env.memory.hold();
    for value in values {
        let value = value?;
        if held.add_value(&value)? {
            env.interrupt.check()?;
        }
        all.push(value);
    }
    Ok((all, held))
}

fn array(
    element: &Type,
    items: impl Iterator<Item = Result<Datum, SqlError>>,
    env: &Env,
) -> Result<Datum, SqlError> {
    let (items, _held) = held(items, 0, env)?;
    Ok(Some(Value::Array(Array::new(element.clone(), items).into())))
}

/// `array[index]`: NULL outside of the array.
fn index_of(array: &Datum, index: &Datum) -> Datum {
    let (Some(Value::Array(array)), Some(index)) = (array, index) else { return None };
    let at = usize::try_from(index.as_i64()?.checked_sub(1)?).ok()?;
    array.items.get(at)?.clone()
}

/// `document -> key`, or (as text) `->>`.
fn json_get(document: &str, key: &Value, text: bool) -> Result<Datum, SqlError> {
    let name = key.to_string_text();
    let key = key.as_i64().map_or(JsonKey::Member(&name), JsonKey::Element);
    let found = json_member(document, key, text)?;
    Ok(found.map(|found| if text { Value::Text(found) } else { Value::Jsonb(found) }))
}
