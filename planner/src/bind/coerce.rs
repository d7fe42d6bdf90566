//! Casts that a statement does not write: where types differ, and where a literal or parameter has none yet.

use super::binder::{Binder, Typed};
use crate::error::{SqlError, sqlstate};
use crate::expression::{Expr, Strength, cast_value, castable, common_type};
use crate::types::{Type, Value};

impl Binder {
    /// A value as a condition. 42804 if it is not boolean.
    pub(super) fn as_condition(&mut self, value: Typed, clause: &str) -> Result<Expr, SqlError> {
        match value.ty {
            Type::Bool => Ok(value.expr),
            Type::Unknown => self.coerce(value, &Type::Bool, Strength::Implicit),
            ty => Err(SqlError::new(
                sqlstate::DATATYPE_MISMATCH,
                format!("argument of {clause} must be type boolean, not type {ty}"),
            )),
        }
    }

    /// Gives an untyped literal or parameter the type text.
    pub(super) fn known(&mut self, value: Typed) -> Result<Typed, SqlError> {
        if value.ty == Type::Unknown {
            let expr = self.coerce(value, &Type::Text, Strength::Implicit)?;
            return Ok(Typed::new(expr, Type::Text));
        }
        Ok(value)
    }

    /// The type that two values can share. 42804 if there is none.
    pub(super) fn common_type(&self, a: &Type, b: &Type) -> Result<Type, SqlError> {
        common_type(a, b).ok_or_else(|| {
            SqlError::new(sqlstate::DATATYPE_MISMATCH, format!("types {a} and {b} cannot be matched"))
        })
    }

    /// Gives values their common type: text if none has a type.
    pub(super) fn unify(&mut self, values: Vec<Typed>) -> Result<(Vec<Expr>, Type), SqlError> {
        let mut ty = Type::Unknown;
        for value in &values {
            ty = self.common_type(&ty, &value.ty)?;
        }
        if ty == Type::Unknown {
            ty = Type::Text;
        }
        let cast = values.into_iter().map(|value| self.coerce(value, &ty, Strength::Implicit));
        Ok((cast.collect::<Result<_, _>>()?, ty))
    }

    /// Makes a value of another type out of an expression.
    pub(super) fn coerce(&mut self, value: Typed, to: &Type, strength: Strength) -> Result<Expr, SqlError> {
        let Typed { expr, ty: from } = value;
        if from == *to || *to == Type::Unknown {
            return Ok(expr);
        }
        if from == Type::Unknown {
            match &expr {
                Expr::Const(None) => return Ok(expr),
                Expr::Param(at) => {
                    self.infer_parameter(*at, to);
                    let own = self.params[*at].clone();
                    if own == *to {
                        return Ok(expr);
                    }
                    return Ok(Expr::Cast {
                        arg: Box::new(expr),
                        from: own,
                        to: to.clone(),
                        explicit: strength == Strength::Explicit,
                    });
                }
                Expr::Const(Some(Value::Text(text))) => match to {
                    Type::Regclass | Type::Regtype | Type::Opaque(..) => {}
                    Type::Varchar(Some(_)) | Type::Bpchar(_) => {
                        let value = Value::text(text.clone());
                        return cast_value(value, to, strength == Strength::Explicit)
                            .map(|value| Expr::Const(Some(value)));
                    }
                    // What the text means depends on the session, and plans are shared.
                    to if to.is_datetime() && !is_absolute(to, text) => {}
                    to => return Value::from_text(to, text).map(|value| Expr::Const(Some(value))),
                },
                _ => {}
            }
            let from = Type::Text;
            return Ok(Expr::Cast { arg: Box::new(expr), from, to: to.clone(), explicit: true });
        }
        if !castable(&from, to, strength) {
            return Err(match strength {
                Strength::Explicit => {
                    SqlError::new(sqlstate::CANNOT_COERCE, format!("cannot cast type {from} to {to}"))
                }
                _ => SqlError::new(
                    sqlstate::DATATYPE_MISMATCH,
                    format!("expression is of type {from}, but {to} is needed"),
                )
                .hint("You will need to rewrite or cast the expression."),
            });
        }
        // The same values under another name need no node.
        let is_bpchar = matches!(from, Type::Bpchar(_));
        let same_text = from.is_text() && !is_bpchar && matches!(to, Type::Text | Type::Varchar(None))
            || is_bpchar && matches!(to, Type::Bpchar(None));
        let same_moment = from.is_datetime() && from.plain() == *to;
        let same_number = matches!((&from, to), (Type::Numeric(_), Type::Numeric(None)));
        if same_text && !matches!(from, Type::Opaque(..)) || same_number || same_moment {
            return Ok(expr);
        }
        let when_run = to.is_oid() || from.is_oid() || to.is_datetime() || from.is_datetime();
        if let (Expr::Const(Some(value)), false) = (&expr, when_run) {
            return cast_value(value.clone(), to, strength == Strength::Explicit)
                .map(|value| Expr::Const(Some(value)));
        }
        Ok(Expr::Cast { arg: Box::new(expr), from, to: to.clone(), explicit: strength == Strength::Explicit })
    }

    /// Stores into a column: an assignment cast. 42804 names the column.
    pub(super) fn assign(&mut self, value: Typed, column: &str, to: &Type) -> Result<Expr, SqlError> {
        let from = value.ty.clone();
        self.coerce(value, to, Strength::Assignment).map_err(|error| {
            if error.sqlstate == sqlstate::DATATYPE_MISMATCH {
                SqlError::new(
                    sqlstate::DATATYPE_MISMATCH,
                    format!("column \"{column}\" is of type {to} but expression is of type {from}"),
                )
                .hint("You will need to rewrite or cast the expression.")
            } else {
                error
            }
        })
    }
}

/// What is behind `hh:mm[:ss[.f]]` in a form.
fn behind_time(form: &str) -> Option<&str> {
    let rest = form.strip_prefix("00:00")?;
    let Some(seconds) = rest.strip_prefix(":00") else { return Some(rest) };
    Some(seconds.strip_prefix('.').map_or(seconds, |digits| digits.trim_start_matches('0')))
}

/// Does the text of a date, time or interval mean the same in every session? Few forms are known here; others are
/// read when the statement runs.
fn is_absolute(ty: &Type, text: &str) -> bool {
    // Digits as 0: the form of the text.
    let form: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let behind_date = form.strip_prefix("0000-00-00");
    let rest = behind_date.and_then(|rest| rest.strip_prefix([' ', 'T'])).and_then(behind_time);
    match ty {
        Type::Date => behind_date == Some(""),
        Type::Timestamp(_) => behind_date == Some("") || rest == Some(""),
        Type::Timestamptz(_) => {
            rest.is_some_and(|rest| matches!(rest, "Z" | "+00" | "-00" | "+00:00" | "-00:00"))
        }
        Type::Time(_) => behind_time(&form) == Some(""),
        // A sign in front counts for all parts in one style of intervals.
        Type::Interval(_) => !text.contains('-'),
        _ => false,
    }
}
