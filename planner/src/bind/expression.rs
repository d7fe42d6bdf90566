//! Expressions: names to columns, literals to values, everything else to a typed node.

use std::sync::Arc;

use super::binder::{Binder, Typed};
use crate::depth::deeper;
use crate::error::{SqlError, sqlstate};
use crate::expression::{Expr, Strength, Subquery, resolve};
use crate::query::SelectPlan;
use crate::statement::{Name, Operator, Query, Subscript, Syntax};
use crate::types::{Array, Type, Value};

impl Binder {
    /// Binds a condition. 42804 if it is not boolean.
    pub(super) fn condition(&mut self, syntax: &Syntax, clause: &str) -> Result<Expr, SqlError> {
        let bound = self.expr(syntax)?;
        self.as_condition(bound, clause)
    }

    fn conditions(&mut self, items: &[Syntax], clause: &str) -> Result<Vec<Expr>, SqlError> {
        items.iter().map(|item| self.condition(item, clause)).collect()
    }

    /// Binds an expression.
    pub(super) fn expr(&mut self, syntax: &Syntax) -> Result<Typed, SqlError> {
        self.count_node()?;
        deeper(|| self.expr_here(syntax))
    }

    fn expr_here(&mut self, syntax: &Syntax) -> Result<Typed, SqlError> {
        Ok(match syntax {
            Syntax::Null => Typed::new(Expr::Const(None), Type::Unknown),
            Syntax::Bool(value) => Typed::boolean(Expr::Const(Some(Value::Bool(*value)))),
            Syntax::Number(digits) => number(digits)?,
            Syntax::String(text) => Typed::new(Expr::Const(Some(Value::text(text.clone()))), Type::Unknown),
            Syntax::Param(at) => self.parameter(*at),
            Syntax::Column(name) => self.column(name)?,
            Syntax::Default => {
                return Err(SqlError::new(sqlstate::SYNTAX, "DEFAULT is not allowed in this context"));
            }
            Syntax::Negate(arg) => self.negate(arg)?,
            Syntax::Not(arg) => Typed::boolean(Expr::Not(Box::new(self.condition(arg, "NOT")?))),
            Syntax::And(items) => Typed::boolean(Expr::And(self.conditions(items, "AND")?)),
            Syntax::Or(items) => Typed::boolean(Expr::Or(self.conditions(items, "OR")?)),
            Syntax::Binary { op, left, right } => self.binary(*op, left, right)?,
            Syntax::IsNull { arg, negated } => {
                let arg = self.expr(arg)?;
                let arg = Box::new(self.known(arg)?.expr);
                Typed::boolean(Expr::IsNull { arg, negated: *negated })
            }
            Syntax::IsBool { arg, value, negated } => {
                let arg = Box::new(self.condition(arg, "IS")?);
                Typed::boolean(Expr::IsBool { arg, value: *value, negated: *negated })
            }
            Syntax::IsDistinct { left, right, negated } => {
                let (left, right) = (self.expr(left)?, self.expr(right)?);
                let (left, right) = self.comparable(Operator::Eq, left, right)?;
                Typed::boolean(Expr::IsDistinct { left, right, negated: *negated })
            }
            Syntax::In { arg, list, negated } => self.in_list(arg, list, *negated)?,
            Syntax::InQuery { arg, query, negated } => self.in_query(arg, query, *negated)?,
            Syntax::Between { arg, low, high, negated } => self.between(arg, low, high, *negated)?,
            Syntax::Like { arg, pattern, escape, insensitive, negated } => {
                let (arg, pattern) = (self.text(arg, "~~")?, self.text(pattern, "~~")?);
                Typed::boolean(Expr::Like {
                    arg: Box::new(arg),
                    pattern: Box::new(pattern),
                    escape: *escape,
                    insensitive: *insensitive,
                    negated: *negated,
                })
            }
            Syntax::Quantified { left, op, array, all } => self.quantified(left, *op, array, *all)?,
            Syntax::Cast { arg, ty } => self.cast(arg, ty)?,
            Syntax::Case { operand, whens, otherwise } => {
                self.case(operand.as_deref(), whens, otherwise.as_deref())?
            }
            Syntax::Call(call) => self.call(call)?,
            Syntax::Exists(query) => self.exists(query)?,
            Syntax::Subquery(query) => {
                let (query, ty) = self.single_column(query)?;
                Typed::new(Expr::Subquery(query), ty)
            }
            Syntax::ArrayQuery(query) => self.array_query(query)?,
            Syntax::Array(items) => {
                let (items, of) = self.same_type(items)?;
                let element = element_of(&of);
                let ty = Type::Array(Box::new(element.clone()));
                Typed::new(Expr::Array { element, items }, ty)
            }
            Syntax::Row(_) => return Err(SqlError::unsupported("a row value here")),
            Syntax::Index { arg, subscripts } => self.index(arg, subscripts)?,
        })
    }

    fn parameter(&mut self, at: usize) -> Typed {
        if self.params.len() <= at {
            self.params.resize(at + 1, Type::Unknown);
        }
        Typed::new(Expr::Param(at), self.params[at].clone())
    }

    fn column(&self, name: &Name) -> Result<Typed, SqlError> {
        self.find_column(name).or_else(|error| {
            // CURRENT_USER and its like may arrive as plain words.
            match (name.parts.as_slice(), resolve(name.last(), &[])) {
                ([word], Some(found)) if word.starts_with("current_") || word.ends_with("user") => Ok(
                    Typed::new(Expr::Call { function: found.function, arguments: Vec::new() }, found.result),
                ),
                _ => Err(error),
            }
        })
    }

    fn negate(&mut self, arg: &Syntax) -> Result<Typed, SqlError> {
        let arg = self.expr(arg)?;
        if let (Type::Interval(_), Some(found)) =
            (&arg.ty, resolve("interval_um", std::slice::from_ref(&arg.ty)))
        {
            let arguments = vec![arg.expr];
            return Ok(Typed::new(Expr::Call { function: found.function, arguments }, found.result));
        }
        if !arg.ty.is_number() {
            return Err(SqlError::new(
                sqlstate::UNDEFINED_FUNCTION,
                format!("operator does not exist: - {}", arg.ty),
            ));
        }
        Ok(Typed::new(Expr::Negate(Box::new(arg.expr)), arg.ty))
    }

    fn in_query(&mut self, arg: &Syntax, query: &Query, negated: bool) -> Result<Typed, SqlError> {
        let row = match arg {
            Syntax::Row(items) => items.as_slice(),
            other => std::slice::from_ref(other),
        };
        let bound: Vec<Typed> = row.iter().map(|item| self.expr(item)).collect::<Result<_, _>>()?;
        let mut plan = self.expression_query(query)?;
        if plan.columns.len() != bound.len() {
            let much = if plan.columns.len() > bound.len() { "many" } else { "few" };
            return Err(SqlError::new(sqlstate::SYNTAX, format!("subquery has too {much} columns")));
        }
        // Both sides meet in a type.
        let (mut arguments, mut values, mut cast) = (Vec::new(), Vec::new(), false);
        for (at, (argument, column)) in bound.into_iter().zip(&plan.columns).enumerate() {
            let other = Typed::column(at, &column.ty);
            let (argument, value) = self.comparable(Operator::Eq, argument, other)?;
            cast |= *value != Expr::column(at);
            arguments.push(*argument);
            values.push(*value);
        }
        if cast {
            plan = plan.computed(values);
        }
        Ok(Typed::boolean(Expr::InQuery { arguments, query: Subquery::new(Arc::new(plan)), negated }))
    }

    fn exists(&mut self, query: &Query) -> Result<Typed, SqlError> {
        let plan = self.expression_query(query)?;
        Ok(Typed::boolean(Expr::Exists(Subquery::new(Arc::new(plan)))))
    }

    /// Binds ARRAY(query).
    fn array_query(&mut self, query: &Query) -> Result<Typed, SqlError> {
        let (query, of) = self.single_column(query)?;
        let element = element_of(&of);
        let ty = Type::Array(Box::new(element.clone()));
        Ok(Typed::new(Expr::ArrayQuery { element, query }, ty))
    }

    /// Binds a query inside of an expression.
    fn expression_query(&mut self, query: &Query) -> Result<SelectPlan, SqlError> {
        self.in_expressions += 1;
        let plan = self.inner_query(query);
        self.in_expressions -= 1;
        plan
    }

    /// A subquery that gives values, and the type of its only column.
    fn single_column(&mut self, query: &Query) -> Result<(Subquery, Type), SqlError> {
        let plan = self.expression_query(query)?;
        match plan.columns.as_slice() {
            [column] => {
                let ty = column.ty.clone();
                Ok((Subquery::new(Arc::new(plan)), ty))
            }
            _ => Err(SqlError::new(sqlstate::SYNTAX, "subquery must return only one column")),
        }
    }

    fn cast(&mut self, arg: &Syntax, ty: &Type) -> Result<Typed, SqlError> {
        let mut arg = self.expr(arg)?;
        // A cast declares the type of a parameter that has none.
        if let (Expr::Param(at), Type::Unknown) = (&arg.expr, &arg.ty) {
            self.infer_parameter(*at, ty);
            arg.ty = ty.plain();
        }
        Ok(Typed::new(self.coerce(arg, ty, Strength::Explicit)?, ty.clone()))
    }

    /// Binds `arg[..]..`. On jsonb a subscript is `->`.
    fn index(&mut self, arg: &Syntax, subscripts: &[Subscript]) -> Result<Typed, SqlError> {
        let arg = self.expr(arg)?;
        if arg.ty == Type::Jsonb {
            return self.json_index(arg, subscripts);
        }
        let Type::Array(element) = arg.ty.clone() else {
            return Err(SqlError::new(
                sqlstate::DATATYPE_MISMATCH,
                format!("cannot subscript type {} because it does not support subscripting", arg.ty),
            ));
        };
        if subscripts.len() > Array::DIMENSIONS_MAX {
            return Err(Array::too_many_dimensions(subscripts.len()));
        }
        let mut bounds = Vec::with_capacity(subscripts.len());
        let mut is_slice = false;
        for subscript in subscripts {
            bounds.push(match subscript {
                Subscript::At(at) => (None, Some(self.subscript(at)?)),
                Subscript::Slice(from, to) => {
                    is_slice = true;
                    let from = from.as_ref().map(|from| self.subscript(from)).transpose()?;
                    (Some(from), to.as_ref().map(|to| self.subscript(to)).transpose()?)
                }
            });
        }
        let ty = arg.ty;
        let arg = Box::new(arg.expr);
        if !is_slice {
            let at = bounds.into_iter().filter_map(|(_, at)| at).collect();
            return Ok(Typed::new(Expr::Index { arg, at }, *element));
        }
        // Beside a slice, a single subscript is one from 1.
        let one = || Some(Expr::Const(Some(Value::Int4(1))));
        let bounds = bounds.into_iter().map(|(from, to)| (from.unwrap_or_else(one), to)).collect();
        Ok(Typed::new(Expr::Slice { arg, bounds }, ty))
    }

    fn subscript(&mut self, syntax: &Syntax) -> Result<Expr, SqlError> {
        let at = self.expr(syntax)?;
        self.coerce(at, &Type::Int4, Strength::Assignment)
    }

    fn json_index(&mut self, arg: Typed, subscripts: &[Subscript]) -> Result<Typed, SqlError> {
        let mut value = arg;
        for subscript in subscripts {
            let Subscript::At(key) = subscript else {
                let text = "jsonb subscript does not support slices";
                return Err(SqlError::new(sqlstate::DATATYPE_MISMATCH, text));
            };
            let key = self.expr(key)?;
            let key = if key.ty.is_integer() { key } else { self.known(key)? };
            let (arg, key) = (Box::new(value.expr), Box::new(key.expr));
            value = Typed::new(Expr::JsonGet { arg, key, text: false }, Type::Jsonb);
        }
        Ok(value)
    }

    fn case(
        &mut self,
        operand: Option<&Syntax>,
        whens: &[(Syntax, Syntax)],
        otherwise: Option<&Syntax>,
    ) -> Result<Typed, SqlError> {
        // With an operand, the values that it is compared with.
        let mut conditions = Vec::with_capacity(whens.len());
        let mut values = Vec::new();
        if let Some(operand) = operand {
            values.push(self.expr(operand)?);
        }
        let mut results = Vec::with_capacity(whens.len() + 1);
        for (when, then) in whens {
            match operand {
                None => conditions.push(self.condition(when, "CASE/WHEN")?),
                Some(_) => values.push(self.expr(when)?),
            }
            results.push(self.expr(then)?);
        }
        let operand = if values.is_empty() {
            None
        } else {
            let mut values = self.comparables(Operator::Eq, values)?.into_iter();
            let operand = values.next().map(Box::new);
            conditions = values.collect();
            operand
        };
        if let Some(otherwise) = otherwise {
            results.push(self.expr(otherwise)?);
        }
        let (mut results, ty) = self.unify(results)?;
        let otherwise = otherwise.and_then(|_| results.pop()).map(Box::new);
        let whens = conditions.into_iter().zip(results).collect();
        Ok(Typed::new(Expr::Case { operand, whens, otherwise }, ty))
    }

    /// Binds expressions that must share a type.
    pub(super) fn same_type(&mut self, items: &[Syntax]) -> Result<(Vec<Expr>, Type), SqlError> {
        let bound = items.iter().map(|item| self.expr(item)).collect::<Result<_, _>>()?;
        self.unify(bound)
    }
}

/// The type of the elements of an array of such values: arrays become dimensions.
fn element_of(ty: &Type) -> Type {
    match ty {
        Type::Array(element) => (**element).clone(),
        other => other.clone(),
    }
}

/// A number literal: integer if it fits, else bigint, else numeric.
fn number(digits: &str) -> Result<Typed, SqlError> {
    let (value, ty) = if let Ok(value) = digits.parse() {
        (Value::Int4(value), Type::Int4)
    } else if let Ok(value) = digits.parse() {
        (Value::Int8(value), Type::Int8)
    } else {
        let ty = Type::Numeric(None);
        (Value::from_text(&ty, digits)?, ty)
    };
    Ok(Typed::new(Expr::Const(Some(value)), ty))
}
