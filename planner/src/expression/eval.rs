//! The value of an expression for a row.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::cast::cast;
use super::env::Env;
use super::expr::Expr;
use super::scope::Scope;
use super::value_limit::check_value_bytes;
use super::{arithmetic, pattern, subscript};
use crate::depth::deeper;
use crate::error::{SqlError, sqlstate};
use crate::memory::Held;
use crate::statement::Operator;
use crate::types::{Array, Datum, JsonKey, Type, Value, json_member};

impl Expr {
    /// The value for a row.
    pub(crate) fn eval(&self, scope: &Scope<'_>, env: &Env) -> Result<Datum, SqlError> {
        match self {
            Expr::Const(value) => Ok(value.clone()),
            Expr::Param(at) => parameter(*at, env).cloned(),
            Expr::Column { level, at } => column(*level, *at, scope).cloned(),
            inner => deeper(|| inner.eval_inner(scope, env)),
        }
    }

    /// The value for a row, by reference where it stands somewhere.
    fn eval_ref<'a>(&'a self, scope: &'a Scope<'_>, env: &'a Env) -> Result<Cow<'a, Datum>, SqlError> {
        match self {
            Expr::Const(value) => Ok(Cow::Borrowed(value)),
            Expr::Param(at) => parameter(*at, env).map(Cow::Borrowed),
            Expr::Column { level, at } => column(*level, *at, scope).map(Cow::Borrowed),
            inner => deeper(|| inner.eval_inner(scope, env)).map(Cow::Owned),
        }
    }

    /// The value of a node with parts.
    fn eval_inner(&self, scope: &Scope<'_>, env: &Env) -> Result<Datum, SqlError> {
        let value = |expr: &Expr| expr.eval(scope, env);
        match self {
            Expr::Const(_) | Expr::Param(_) | Expr::Column { .. } => self.eval(scope, env),
            Expr::Aggregate(_) | Expr::Window(_) => {
                Err(SqlError::internal("an aggregate outside of its query"))
            }
            Expr::Not(arg) => Ok(boolean(truth(&value(arg)?).map(|holds| !holds))),
            Expr::And(items) => all(items, false, scope, env),
            Expr::Or(items) => all(items, true, scope, env),
            Expr::Compare { op, left, right } => {
                let (left, right, _held) = pair_ref(left, right, scope, env)?;
                Ok(boolean(compare(*op, &left, &right)?))
            }
            Expr::Arithmetic { op, ty, left, right } => {
                let [left, right] = pair(left, right, scope, env)?;
                both(left, right, |left, right| arithmetic::binary(*op, ty, left, right))
            }
            Expr::Negate(arg) => value(arg)?.map(arithmetic::negate).transpose(),
            Expr::Concat { left, right } => concat_pair(pair(left, right, scope, env)?),
            Expr::Regex { arg, pattern, insensitive, negated } => {
                let (text, pattern, _held) = pair_ref(arg, pattern, scope, env)?;
                let (Some(text), Some(pattern)) = (&*text, &*pattern) else { return Ok(None) };
                let found = pattern::regex(&text.as_text(), &pattern.as_text(), *insensitive)?;
                Ok(boolean(Some(found != *negated)))
            }
            Expr::Like { arg, pattern, escape, insensitive, negated } => {
                let (text, pattern, _held) = pair_ref(arg, pattern, scope, env)?;
                let (Some(text), Some(pattern)) = (&*text, &*pattern) else { return Ok(None) };
                let found = pattern::like(&text.as_text(), &pattern.as_text(), *escape, *insensitive)?;
                Ok(boolean(Some(found != *negated)))
            }
            Expr::IsNull { arg, negated } => {
                Ok(boolean(Some(arg.eval_ref(scope, env)?.is_none() != *negated)))
            }
            Expr::IsBool { arg, value: wanted, negated } => {
                Ok(boolean(Some((truth(&value(arg)?) == Some(*wanted)) != *negated)))
            }
            Expr::IsDistinct { left, right, negated } => {
                let (left, right, _held) = pair_ref(left, right, scope, env)?;
                Ok(boolean(Some(distinct(&left, &right)? != *negated)))
            }
            Expr::In { arg, list, negated } => {
                let arg = arg.eval_ref(scope, env)?;
                contains(&arg, list.iter().map(|item| item.eval_ref(scope, env)), *negated)
            }
            Expr::Quantified { left, op, array, all } => {
                let (left, array, _held) = pair_ref(left, array, scope, env)?;
                Ok(boolean(quantified(&left, *op, &array, *all)?))
            }
            Expr::Cast { arg, from, to, explicit } => {
                value(arg)?.map(|value| cast(value, from, to, *explicit, env)).transpose()
            }
            Expr::Between { arg, low, high } => {
                Ok(boolean(between(&*arg.eval_ref(scope, env)?, low, high, scope, env)?))
            }
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
            parts => parts.eval_part(scope, env),
        }
    }

    /// The value of a node that takes a part of another value.
    fn eval_part(&self, scope: &Scope<'_>, env: &Env) -> Result<Datum, SqlError> {
        match self {
            Expr::Index { arg, at } => index_of(&*arg.eval_ref(scope, env)?, at, scope, env),
            Expr::Slice { arg, bounds } => slice_of(&*arg.eval_ref(scope, env)?, bounds, scope, env),
            Expr::JsonGet { arg, key, text } => {
                let (document, key, _held) = pair_ref(arg, key, scope, env)?;
                match (&*document, &*key) {
                    (Some(document), Some(key)) => json_get(document, key, *text),
                    _ => Ok(None),
                }
            }
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
        Ok(truth(&*self.eval_ref(scope, env)?) == Some(true))
    }
}

fn parameter(at: usize, env: &Env) -> Result<&Datum, SqlError> {
    env.params.get(at).ok_or_else(|| {
        SqlError::new(sqlstate::UNDEFINED_PARAMETER, format!("there is no parameter ${}", at + 1))
    })
}

fn column<'a>(level: usize, at: usize, scope: &'a Scope<'_>) -> Result<&'a Datum, SqlError> {
    let mut scope = scope;
    for _ in 0..level {
        scope = scope.outer.ok_or_else(|| SqlError::internal("a column of a query that is not around"))?;
    }
    scope.row.get(at).ok_or_else(|| SqlError::internal("a column beyond the end of its row"))
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
        match truth(&*item.eval_ref(scope, env)?) {
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
    let from = compare(Operator::GtEq, arg, &*low.eval_ref(scope, env)?)?;
    if from == Some(false) {
        return Ok(from);
    }
    let to = compare(Operator::LtEq, arg, &*high.eval_ref(scope, env)?)?;
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
fn contains<'a>(
    arg: &Datum,
    items: impl Iterator<Item = Result<Cow<'a, Datum>, SqlError>>,
    negated: bool,
) -> Result<Datum, SqlError> {
    let mut found = Some(false);
    for item in items {
        match compare(Operator::Eq, arg, &*item?)? {
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
                Some(pattern::regex(&left.as_text(), &item.as_text(), insensitive)? != negated)
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

/// Two values, and what holds the first while the second is computed and both are used.
type Pair<'a> = (Cow<'a, Datum>, Cow<'a, Datum>, Option<Held>);

/// As [`pair`], by reference where the values stand somewhere.
fn pair_ref<'a>(
    left: &'a Expr,
    right: &'a Expr,
    scope: &'a Scope<'_>,
    env: &'a Env,
) -> Result<Pair<'a>, SqlError> {
    let left = left.eval_ref(scope, env)?;
    let mut holds = None;
    if let Cow::Owned(value @ Some(_)) = &left {
        let mut held = env.memory.hold();
        if held.add_value(value)? {
            env.interrupt.check()?;
        }
        holds = Some(held);
    }
    Ok((left, right.eval_ref(scope, env)?, holds))
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
        (Value::Array(left), Value::Array(right)) => Ok(Value::Array(subscript::join(&left, &right)?.into())),
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
            Some(operand) => compare(Operator::Eq, operand, &*when.eval_ref(scope, env)?)? == Some(true),
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
    Ok(Some(Value::Array(Array::of(element.clone(), items)?.into())))
}

/// `array[at]..`: NULL outside of the array.
fn index_of(array: &Datum, at: &[Expr], scope: &Scope<'_>, env: &Env) -> Result<Datum, SqlError> {
    let mut subscripts = Vec::with_capacity(at.len());
    for at in at {
        subscripts.push(at.eval_ref(scope, env)?.as_ref().as_ref().and_then(Value::as_i64));
    }
    let subscripts: Option<Vec<i64>> = subscripts.into_iter().collect();
    Ok(match (array, subscripts) {
        (Some(Value::Array(array)), Some(at)) => subscript::element(array, &at),
        _ => None,
    })
}

/// `array[from:to]..`: NULL if a bound is.
fn slice_of(
    array: &Datum,
    bounds: &[(Option<Expr>, Option<Expr>)],
    scope: &Scope<'_>,
    env: &Env,
) -> Result<Datum, SqlError> {
    let mut known = Vec::with_capacity(bounds.len());
    let mut null = false;
    let mut bound = |expr: &Option<Expr>| -> Result<Option<i64>, SqlError> {
        let Some(expr) = expr else { return Ok(None) };
        let value = expr.eval(scope, env)?.and_then(|value| value.as_i64());
        null |= value.is_none();
        Ok(value)
    };
    for (from, to) in bounds {
        known.push((bound(from)?, bound(to)?));
    }
    Ok(match array {
        Some(Value::Array(array)) if !null => Some(Value::Array(subscript::slice(array, &known).into())),
        _ => None,
    })
}

/// `document -> key`, or (as text) `->>`.
fn json_get(document: &Value, key: &Value, text: bool) -> Result<Datum, SqlError> {
    let name = key.as_text();
    let key = key.as_i64().map_or(JsonKey::Member(&name), JsonKey::Element);
    json_member(document, key, text)
}
