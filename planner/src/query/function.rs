//! Functions in FROM.

use super::plan::{FunctionRows, TableFunction};
use crate::error::{SqlError, sqlstate};
use crate::expression::{Env, Expr, Scope};
use crate::types::{Array, Datum, Row, Type, Value};
use std::sync::Arc;

/// A function whose rows are being given.
pub(super) struct FunctionSource {
    rows: Rows,
    /// The number of the last row, if rows are counted.
    ordinality: Option<i64>,
}

enum Rows {
    Series {
        next: Option<i64>,
        last: i64,
        step: i64,
        big: bool,
    },
    /// The arrays, and the position that is next.
    Unnest(Vec<Option<Arc<Array>>>, usize),
    Value(Option<Datum>),
}

impl FunctionSource {
    /// Computes the arguments over the row before it in FROM.
    pub(super) fn open(
        function: &TableFunction,
        env: &Env,
        scope: &Scope<'_>,
    ) -> Result<FunctionSource, SqlError> {
        let rows = match &function.rows {
            FunctionRows::Series { first, last, step, ty } => {
                let number = |expr: &Expr| -> Result<Option<i64>, SqlError> {
                    Ok(expr.eval(scope, env)?.and_then(|value| value.as_i64()))
                };
                let big = *ty == Type::Int8;
                match (number(first)?, number(last)?, number(step)?) {
                    (Some(_), Some(_), Some(0)) => {
                        let text = "step size cannot equal zero";
                        return Err(SqlError::new(sqlstate::INVALID_PARAMETER, text));
                    }
                    (Some(first), Some(last), Some(step)) => {
                        Rows::Series { next: Some(first), last, step, big }
                    }
                    _ => Rows::Series { next: None, last: 0, step: 1, big },
                }
            }
            FunctionRows::Unnest(arrays) => {
                let array = |expr: &Expr| -> Result<Option<Arc<Array>>, SqlError> {
                    Ok(match expr.eval(scope, env)? {
                        Some(Value::Array(array)) => Some(array),
                        _ => None,
                    })
                };
                Rows::Unnest(arrays.iter().map(array).collect::<Result<_, _>>()?, 0)
            }
            FunctionRows::Value(expr) => Rows::Value(Some(expr.eval(scope, env)?)),
        };
        Ok(FunctionSource { rows, ordinality: function.ordinality.then_some(0) })
    }

    /// The next row.
    pub(super) fn next(&mut self) -> Option<Row> {
        let mut row = self.rows.next()?;
        if let Some(number) = &mut self.ordinality {
            *number += 1;
            row.push(Some(Value::Int8(*number)));
        }
        Some(row)
    }
}

impl Rows {
    fn next(&mut self) -> Option<Row> {
        match self {
            Rows::Series { next, last, step, big } => {
                let number = (*next)?;
                if (*step > 0 && number > *last) || (*step < 0 && number < *last) {
                    return None;
                }
                *next = number.checked_add(*step);
                // The bounds were of that type.
                let value = if *big { Value::Int8(number) } else { Value::Int4(i32::try_from(number).ok()?) };
                Some(vec![Some(value)])
            }
            Rows::Unnest(arrays, at) => {
                let length = arrays.iter().flatten().map(|array| array.items.len()).max()?;
                if *at >= length {
                    return None;
                }
                let item = |array: &Option<Arc<Array>>| array.as_ref()?.items.get(*at)?.clone();
                let row = arrays.iter().map(item).collect();
                *at += 1;
                Some(row)
            }
            Rows::Value(value) => value.take().map(|value| vec![value]),
        }
    }
}
