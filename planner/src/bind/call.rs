//! Calls: scalar functions, COALESCE, and aggregates.

use super::binder::{Binder, Typed};
use crate::error::{SqlError, sqlstate};
use crate::expression::{Expr, Strength, resolve};
use crate::query::{Aggregate, AggregateKind};
use crate::statement::Call;
use crate::types::Type;

impl Binder {
    pub(super) fn call(&mut self, call: &Call) -> Result<Typed, SqlError> {
        let name = call.name.last();
        if let Some(kind) = AggregateKind::named(name, call.star) {
            return self.aggregate(kind, call);
        }
        if name == "coalesce" {
            let (items, ty) = self.same_type(&call.arguments)?;
            return Ok(Typed::new(Expr::Coalesce(items), ty));
        }
        let mut arguments = Vec::with_capacity(call.arguments.len());
        for argument in &call.arguments {
            arguments.push(self.expr(argument)?);
        }
        let types: Vec<Type> = arguments.iter().map(|argument| argument.ty.clone()).collect();
        let Some((function, targets, ty)) = resolve(name, &types) else {
            let types: Vec<String> = types.iter().map(ToString::to_string).collect();
            let error = SqlError::new(
                sqlstate::UNDEFINED_FUNCTION,
                format!("function {}({}) does not exist", call.name.dotted(), types.join(", ")),
            )
            .hint("No function matches the given name and argument types. You might need to add explicit type casts.");
            return Err(error.at_if_known(call.name.position));
        };
        let mut cast = Vec::with_capacity(arguments.len());
        for (argument, target) in arguments.into_iter().zip(targets) {
            cast.push(match target {
                Type::Unknown => self.known(argument)?.expr,
                target => self.coerce(argument, &target, Strength::Explicit)?,
            });
        }
        let ty = if ty == Type::Unknown { Type::Text } else { ty };
        Ok(Typed::new(Expr::Call { function, arguments: cast }, ty))
    }

    fn aggregate(&mut self, kind: AggregateKind, call: &Call) -> Result<Typed, SqlError> {
        let misplaced = || {
            SqlError::new(sqlstate::GROUPING, "aggregate functions are not allowed here")
                .at_if_known(call.name.position)
        };
        if !call.order_by.is_empty() && kind != AggregateKind::ArrayAgg && kind != AggregateKind::StringAgg {
            return Err(SqlError::unsupported("ORDER BY inside of this aggregate"));
        }
        // Arguments hold no aggregates themselves.
        let Some(own) = self.aggregates.take() else { return Err(misplaced()) };
        let bound = self.aggregate_parts(kind, call);
        self.aggregates = Some(own);
        let aggregate = bound?;
        let ty = aggregate.ty.clone();
        let all = self.aggregates.get_or_insert_default();
        let at = all.iter().position(|own| *own == aggregate).unwrap_or_else(|| {
            all.push(aggregate);
            all.len() - 1
        });
        Ok(Typed::new(Expr::Aggregate(at), ty))
    }

    fn aggregate_parts(&mut self, kind: AggregateKind, call: &Call) -> Result<Aggregate, SqlError> {
        let filter = call.filter.as_ref().map(|filter| self.condition(filter, "FILTER")).transpose()?;
        let (mut argument, mut separator, mut ty) = (None, None, Type::Int8);
        if kind != AggregateKind::CountRows {
            let expected = if kind == AggregateKind::StringAgg { 2 } else { 1 };
            let undefined = |ty: &str| {
                SqlError::new(
                    sqlstate::UNDEFINED_FUNCTION,
                    format!("function {}({ty}) does not exist", call.name.last()),
                )
            };
            if call.arguments.len() != expected {
                return Err(undefined(""));
            }
            let value = self.expr(&call.arguments[0])?;
            let (result, target) = kind.types(&value.ty).ok_or_else(|| undefined(&value.ty.to_string()))?;
            let strength =
                if kind == AggregateKind::StringAgg { Strength::Assignment } else { Strength::Implicit };
            argument = Some(self.coerce(value, &target, strength)?);
            ty = result;
            if let Some(second) = call.arguments.get(1) {
                let second = self.expr(second)?;
                separator = Some(self.coerce(second, &Type::Text, Strength::Implicit)?);
            }
        }
        Ok(Aggregate { kind, argument, separator, distinct: call.distinct, filter, ty })
    }
}
