//! Bound expressions and their evaluation: what is left of a SELECT list or WHERE once names have a meaning.
//!
//! An expression is a tree of typed nodes over the current row ([`Scope`]), rows of enclosing queries, the
//! statement's parameters, and the session. Evaluation is synchronous: nothing in it touches the store; subqueries
//! read virtual tables only.

mod arithmetic;
mod cast;
mod env;
mod function;
mod pattern;

pub(crate) use arithmetic::{binary as add, integer};
pub(crate) use cast::{Strength, cast, implicit, simple};
pub(crate) use env::{Env, SessionView};
pub(crate) use function::{Function, resolve};

use std::cmp::Ordering;
use std::sync::Arc;

use crate::error::{SqlError, sqlstate};
use crate::query::SelectPlan;
use crate::statement::Operator;
use crate::types::{Array, Datum, Row, Type, Value};

/// The row at hand, and the rows of enclosing queries.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) row: &'a [Datum],
    pub(crate) outer: Option<&'a Scope<'a>>,
}

impl Scope<'_> {
    /// No row: for constants and parameters.
    pub(crate) const EMPTY: Scope<'static> = Scope { row: &[], outer: None };
}

/// A bound expression.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expr {
    Const(Datum),
    Param(usize),
    /// Column `at` of the row `level` queries out.
    Column {
        level: usize,
        at: usize,
    },
    /// Aggregate number `n` of the query; replaced by a column before execution.
    Aggregate(usize),
    Not(Box<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Compare {
        op: Operator,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    Arithmetic {
        op: Operator,
        ty: Type,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    Negate(Box<Expr>),
    Concat {
        left: Box<Expr>,
        right: Box<Expr>,
    },
    Regex {
        arg: Box<Expr>,
        pattern: Box<Expr>,
        insensitive: bool,
        negated: bool,
    },
    Like {
        arg: Box<Expr>,
        pattern: Box<Expr>,
        escape: Option<char>,
        insensitive: bool,
        negated: bool,
    },
    IsNull {
        arg: Box<Expr>,
        negated: bool,
    },
    IsBool {
        arg: Box<Expr>,
        value: bool,
        negated: bool,
    },
    IsDistinct {
        left: Box<Expr>,
        right: Box<Expr>,
        negated: bool,
    },
    In {
        arg: Box<Expr>,
        list: Vec<Expr>,
        negated: bool,
    },
    Quantified {
        left: Box<Expr>,
        op: Operator,
        array: Box<Expr>,
        all: bool,
    },
    Cast {
        arg: Box<Expr>,
        from: Type,
        to: Type,
        explicit: bool,
    },
    Case {
        whens: Vec<(Expr, Expr)>,
        otherwise: Option<Box<Expr>>,
    },
    Coalesce(Vec<Expr>),
    Call {
        function: Function,
        arguments: Vec<Expr>,
    },
    Array {
        element: Type,
        items: Vec<Expr>,
    },
    Index {
        arg: Box<Expr>,
        index: Box<Expr>,
    },
    /// `->` or (as text) `->>` on jsonb.
    JsonGet {
        arg: Box<Expr>,
        key: Box<Expr>,
        text: bool,
    },
    Exists(Arc<SelectPlan>),
    Subquery(Arc<SelectPlan>),
    ArrayQuery {
        element: Type,
        plan: Arc<SelectPlan>,
    },
    InQuery {
        arg: Box<Expr>,
        plan: Arc<SelectPlan>,
        negated: bool,
    },
}

impl Expr {
    /// A column of the row at hand.
    pub(crate) fn column(at: usize) -> Expr {
        Expr::Column { level: 0, at }
    }

    /// The direct parts. Subqueries have none here: their correlated columns count levels of their own.
    pub(crate) fn parts_mut(&mut self) -> Vec<&mut Expr> {
        match self {
            Expr::Const(_) | Expr::Param(_) | Expr::Column { .. } | Expr::Aggregate(_) => Vec::new(),
            Expr::Exists(_) | Expr::Subquery(_) | Expr::ArrayQuery { .. } => Vec::new(),
            Expr::Not(arg)
            | Expr::Negate(arg)
            | Expr::IsNull { arg, .. }
            | Expr::IsBool { arg, .. }
            | Expr::Cast { arg, .. }
            | Expr::InQuery { arg, .. } => vec![arg.as_mut()],
            Expr::And(items) | Expr::Or(items) | Expr::Coalesce(items) => items.iter_mut().collect(),
            Expr::Call { arguments, .. } => arguments.iter_mut().collect(),
            Expr::Array { items, .. } => items.iter_mut().collect(),
            Expr::Compare { left, right, .. }
            | Expr::Arithmetic { left, right, .. }
            | Expr::Concat { left, right }
            | Expr::IsDistinct { left, right, .. } => vec![left.as_mut(), right.as_mut()],
            Expr::Regex { arg, pattern, .. } | Expr::Like { arg, pattern, .. } => {
                vec![arg.as_mut(), pattern.as_mut()]
            }
            Expr::In { arg, list, .. } => std::iter::once(arg.as_mut()).chain(list).collect(),
            Expr::Quantified { left, array, .. } => vec![left.as_mut(), array.as_mut()],
            Expr::Index { arg, index } => vec![arg.as_mut(), index.as_mut()],
            Expr::JsonGet { arg, key, .. } => vec![arg.as_mut(), key.as_mut()],
            Expr::Case { whens, otherwise } => {
                let whens = whens.iter_mut().flat_map(|(when, then)| [when, then]);
                whens.chain(otherwise.iter_mut().map(AsMut::as_mut)).collect()
            }
        }
    }

    /// Does `test` hold for this node or one below it?
    pub(crate) fn any(&self, test: &mut dyn FnMut(&Expr) -> bool) -> bool {
        // A copy lets one walk serve both: expressions are small, and this runs when a statement is prepared.
        fn walk(expr: &mut Expr, test: &mut dyn FnMut(&Expr) -> bool) -> bool {
            test(expr) || expr.parts_mut().into_iter().any(|part| walk(part, test))
        }
        walk(&mut self.clone(), test)
    }

    /// Is it the same for all rows of an execution: no column, no subquery (which may refer to one)?
    pub(crate) fn is_constant(&self) -> bool {
        !self.any(&mut |expr| {
            matches!(
                expr,
                Expr::Column { .. }
                    | Expr::Aggregate(_)
                    | Expr::Exists(_)
                    | Expr::Subquery(_)
                    | Expr::ArrayQuery { .. }
                    | Expr::InQuery { .. }
            ) || matches!(expr, Expr::Call { function, .. } if function.is_volatile())
        })
    }

    /// The value for a row.
    pub(crate) fn eval(&self, scope: &Scope<'_>, env: &Env) -> Result<Datum, SqlError> {
        Ok(match self {
            Expr::Const(value) => value.clone(),
            Expr::Param(at) => match env.params.get(*at) {
                Some(value) => value.clone(),
                None => {
                    return Err(SqlError::new(
                        sqlstate::UNDEFINED_PARAMETER,
                        format!("there is no parameter ${}", at + 1),
                    ));
                }
            },
            Expr::Column { level, at } => {
                let mut scope = scope;
                for _ in 0..*level {
                    scope = scope.outer.ok_or_else(|| SqlError::internal("a column of no row"))?;
                }
                scope.row.get(*at).ok_or_else(|| SqlError::internal("a column beyond the row"))?.clone()
            }
            Expr::Aggregate(_) => return Err(SqlError::internal("an aggregate outside of its query")),
            Expr::Not(arg) => truth(&arg.eval(scope, env)?).map(|v| Value::Bool(!v)),
            Expr::And(items) => {
                let mut result = Some(true);
                for item in items {
                    match truth(&item.eval(scope, env)?) {
                        Some(false) => return Ok(Some(Value::Bool(false))),
                        Some(true) => {}
                        None => result = None,
                    }
                }
                result.map(Value::Bool)
            }
            Expr::Or(items) => {
                let mut result = Some(false);
                for item in items {
                    match truth(&item.eval(scope, env)?) {
                        Some(true) => return Ok(Some(Value::Bool(true))),
                        Some(false) => {}
                        None => result = None,
                    }
                }
                result.map(Value::Bool)
            }
            Expr::Compare { op, left, right } => {
                compare(*op, &left.eval(scope, env)?, &right.eval(scope, env)?)?.map(Value::Bool)
            }
            Expr::Arithmetic { op, ty, left, right } => {
                match (left.eval(scope, env)?, right.eval(scope, env)?) {
                    (Some(left), Some(right)) => Some(arithmetic::binary(*op, ty, left, right)?),
                    _ => None,
                }
            }
            Expr::Negate(arg) => arg.eval(scope, env)?.map(arithmetic::negate).transpose()?,
            Expr::Concat { left, right } => match (left.eval(scope, env)?, right.eval(scope, env)?) {
                (Some(left), Some(right)) => Some(concat(left, right)),
                _ => None,
            },
            Expr::Regex { arg, pattern, insensitive, negated } => {
                match (arg.eval(scope, env)?, pattern.eval(scope, env)?) {
                    (Some(arg), Some(pattern)) => {
                        let found =
                            pattern::regex(&arg.to_string_text(), &pattern.to_string_text(), *insensitive)?;
                        Some(Value::Bool(found != *negated))
                    }
                    _ => None,
                }
            }
            Expr::Like { arg, pattern, escape, insensitive, negated } => {
                match (arg.eval(scope, env)?, pattern.eval(scope, env)?) {
                    (Some(arg), Some(pattern)) => {
                        let found = pattern::like(
                            &arg.to_string_text(),
                            &pattern.to_string_text(),
                            *escape,
                            *insensitive,
                        )?;
                        Some(Value::Bool(found != *negated))
                    }
                    _ => None,
                }
            }
            Expr::IsNull { arg, negated } => Some(Value::Bool(arg.eval(scope, env)?.is_none() != *negated)),
            Expr::IsBool { arg, value, negated } => {
                Some(Value::Bool((truth(&arg.eval(scope, env)?) == Some(*value)) != *negated))
            }
            Expr::IsDistinct { left, right, negated } => {
                let (left, right) = (left.eval(scope, env)?, right.eval(scope, env)?);
                let distinct = match (&left, &right) {
                    (Some(left), Some(right)) => left.compare(right)?.is_ne(),
                    (left, right) => left.is_some() != right.is_some(),
                };
                Some(Value::Bool(distinct != *negated))
            }
            Expr::In { arg, list, negated } => {
                let arg = arg.eval(scope, env)?;
                let mut found = Some(false);
                for item in list {
                    match compare(Operator::Eq, &arg, &item.eval(scope, env)?)? {
                        Some(true) => {
                            found = Some(true);
                            break;
                        }
                        Some(false) => {}
                        None => found = None,
                    }
                }
                found.map(|found| Value::Bool(found != *negated))
            }
            Expr::Quantified { left, op, array, all } => {
                quantified(&left.eval(scope, env)?, *op, &array.eval(scope, env)?, *all)?.map(Value::Bool)
            }
            Expr::Cast { arg, from, to, explicit } => match arg.eval(scope, env)? {
                Some(value) => Some(cast(value, from, to, *explicit, env)?),
                None => None,
            },
            Expr::Case { whens, otherwise } => {
                for (when, then) in whens {
                    if truth(&when.eval(scope, env)?) == Some(true) {
                        return then.eval(scope, env);
                    }
                }
                match otherwise {
                    Some(otherwise) => otherwise.eval(scope, env)?,
                    None => None,
                }
            }
            Expr::Coalesce(items) => {
                for item in items {
                    if let Some(value) = item.eval(scope, env)? {
                        return Ok(Some(value));
                    }
                }
                None
            }
            Expr::Call { function, arguments } => {
                let mut values = Vec::with_capacity(arguments.len());
                for argument in arguments {
                    values.push(argument.eval(scope, env)?);
                }
                function.call(values, env)?
            }
            Expr::Array { element, items } => {
                let items = items.iter().map(|item| item.eval(scope, env)).collect::<Result<_, _>>()?;
                Some(Value::Array(Arc::new(Array { element: element.clone(), items })))
            }
            Expr::Index { arg, index } => match (arg.eval(scope, env)?, index.eval(scope, env)?) {
                (Some(Value::Array(array)), Some(index)) => {
                    let at = index.as_i64().and_then(|at| usize::try_from(at - 1).ok());
                    at.and_then(|at| array.items.get(at).cloned()).flatten()
                }
                _ => None,
            },
            Expr::JsonGet { arg, key, text } => match (arg.eval(scope, env)?, key.eval(scope, env)?) {
                (Some(arg), Some(key)) => pattern::json_get(&arg.to_string_text(), &key, *text)?,
                _ => None,
            },
            Expr::Exists(plan) => Some(Value::Bool(!plan.run(env, Some(scope))?.is_empty())),
            Expr::Subquery(plan) => {
                let mut rows = plan.run(env, Some(scope))?;
                if rows.len() > 1 {
                    return Err(SqlError::new(
                        sqlstate::CARDINALITY_VIOLATION,
                        "more than one row returned by a subquery used as an expression",
                    ));
                }
                rows.pop().and_then(|mut row: Row| row.swap_remove(0))
            }
            Expr::ArrayQuery { element, plan } => {
                let rows = plan.run(env, Some(scope))?;
                let items = rows.into_iter().map(|mut row| row.swap_remove(0)).collect();
                Some(Value::Array(Arc::new(Array { element: element.clone(), items })))
            }
            Expr::InQuery { arg, plan, negated } => {
                let arg = arg.eval(scope, env)?;
                let mut found = Some(false);
                for row in plan.run(env, Some(scope))? {
                    match compare(Operator::Eq, &arg, &row[0])? {
                        Some(true) => {
                            found = Some(true);
                            break;
                        }
                        Some(false) => {}
                        None => found = None,
                    }
                }
                found.map(|found| Value::Bool(found != *negated))
            }
        })
    }

    /// Does the condition hold (NULL does not)?
    pub(crate) fn holds(&self, scope: &Scope<'_>, env: &Env) -> Result<bool, SqlError> {
        Ok(truth(&self.eval(scope, env)?) == Some(true))
    }
}

fn truth(value: &Datum) -> Option<bool> {
    match value {
        Some(Value::Bool(value)) => Some(*value),
        _ => None,
    }
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
        other => return Err(SqlError::internal(format!("{} compares nothing", other.symbol()))),
    }))
}

fn quantified(left: &Datum, op: Operator, array: &Datum, all: bool) -> Result<Option<bool>, SqlError> {
    let Some(Value::Array(array)) = array else { return Ok(None) };
    let mut result = Some(all);
    for item in &array.items {
        let holds = match op {
            Operator::Regex { insensitive, negated } => match (left, item) {
                (Some(left), Some(item)) => Some(
                    pattern::regex(&left.to_string_text(), &item.to_string_text(), insensitive)? != negated,
                ),
                _ => None,
            },
            op => compare(op, left, item)?,
        };
        match holds {
            Some(holds) if holds != all => return Ok(Some(!all)),
            Some(_) => {}
            None => result = None,
        }
    }
    Ok(result)
}

fn concat(left: Value, right: Value) -> Value {
    match (left, right) {
        (Value::Bytea(left), Value::Bytea(right)) => Value::Bytea([left, right].concat().into()),
        (Value::Array(left), Value::Array(right)) => {
            let items = left.items.iter().chain(&right.items).cloned().collect();
            Value::Array(Arc::new(Array { element: left.element.clone(), items }))
        }
        (left, right) => {
            let mut text = left.to_string_text();
            text.push_str(&right.to_string_text());
            Value::Text(text)
        }
    }
}
