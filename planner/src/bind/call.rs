//! Calls: scalar functions, COALESCE, and aggregates.

use super::binder::{Binder, Typed};
use super::window::is_window_function;
use crate::error::{SqlError, sqlstate};
use crate::expression::{Expr, Strength, is_aggregate, is_missing, resolve, resolve_aggregate};
use crate::query::{Aggregate, SortKey};
use crate::statement::{Call, Name, Syntax};
use crate::types::{Type, Value};

impl Binder {
    pub(super) fn call(&mut self, call: &Call) -> Result<Typed, SqlError> {
        let name = call.name.last();
        if let Some(window) = &call.over {
            return self.window_call(call, window);
        }
        if is_aggregate(name) {
            return self.aggregate(call);
        }
        let used = [
            (call.star, "*"),
            (call.distinct, "DISTINCT"),
            (!call.order_by.is_empty(), "ORDER BY"),
            (call.filter.is_some(), "FILTER"),
        ];
        if is_window_function(name) {
            let text = format!("window function {name} requires an OVER clause");
            return Err(SqlError::new("42809", text).at_if_known(call.name.position));
        }
        if let Some((_, what)) = used.iter().find(|(used, _)| *used) {
            let error =
                SqlError::new("42809", format!("{what} specified, but {name} is not an aggregate function"));
            return Err(error.at_if_known(call.name.position));
        }
        if name == "coalesce" {
            let (items, ty) = self.same_type(&call.arguments)?;
            return Ok(Typed::new(Expr::Coalesce(items), ty));
        }
        let (arguments, _) = self.arguments(&call.arguments)?;
        self.scalar_call(&call.name, arguments)
    }

    /// Binds a call of a scalar function.
    pub(super) fn scalar_call(&mut self, name: &Name, arguments: Vec<Typed>) -> Result<Typed, SqlError> {
        let types: Vec<Type> = arguments.iter().map(|argument| argument.ty.clone()).collect();
        if let ("pg_typeof", [ty]) = (name.last(), types.as_slice()) {
            let oid = Expr::Const(Some(Value::Oid(ty.oid())));
            return Ok(Typed::new(oid, Type::Regtype));
        }
        let found = resolve(name.last(), &types).ok_or_else(|| undefined(name, &types))?;
        let arguments = self.cast_all(arguments, &found.arguments)?;
        Ok(Typed::new(Expr::Call { function: found.function, arguments }, found.result))
    }

    /// 42883 for a call that no function takes.
    pub(super) fn undefined(name: &Name, types: &[Type]) -> SqlError {
        undefined(name, types)
    }

    fn arguments(&mut self, arguments: &[Syntax]) -> Result<(Vec<Typed>, Vec<Type>), SqlError> {
        let bound = arguments.iter().map(|argument| self.expr(argument)).collect::<Result<Vec<_>, _>>()?;
        let types = bound.iter().map(|argument| argument.ty.clone()).collect();
        Ok((bound, types))
    }

    pub(super) fn cast_all(
        &mut self,
        arguments: Vec<Typed>,
        targets: &[Type],
    ) -> Result<Vec<Expr>, SqlError> {
        let cast = arguments.into_iter().zip(targets).map(|(argument, target)| match target {
            Type::Unknown => Ok(self.known(argument)?.expr),
            target => self.coerce(argument, target, Strength::Explicit),
        });
        cast.collect()
    }

    fn aggregate(&mut self, call: &Call) -> Result<Typed, SqlError> {
        // Arguments hold no aggregates themselves.
        let Some(mut aggregates) = self.aggregates.take() else {
            let error = SqlError::new(sqlstate::GROUPING, "aggregate functions are not allowed here");
            return Err(error.at_if_known(call.name.position));
        };
        let uses = self.outer_uses.borrow().len();
        let windows = self.windows.take();
        let parts = self.aggregate_parts(call);
        let parts = parts.map_err(|error| match (&windows, error.sqlstate) {
            (Some(_), "42P20") => {
                let text = "aggregate function calls cannot contain window function calls";
                SqlError::new(sqlstate::GROUPING, text).at_if_known(error.position)
            }
            _ => error,
        });
        self.windows = windows;
        // What subqueries in the arguments refer to need not be grouped.
        let own = self.scopes.len().saturating_sub(1);
        let mut at = 0;
        self.outer_uses.borrow_mut().retain(|(scope, _)| {
            at += 1;
            at <= uses || *scope != own
        });
        let bound = parts.map(|aggregate| {
            let ty = aggregate.ty.clone();
            let at = aggregates.iter().position(|own| *own == aggregate).unwrap_or_else(|| {
                aggregates.push(aggregate);
                aggregates.len() - 1
            });
            Typed::new(Expr::Aggregate(at), ty)
        });
        self.aggregates = Some(aggregates);
        bound
    }

    fn aggregate_parts(&mut self, call: &Call) -> Result<Aggregate, SqlError> {
        let filter = call.filter.as_ref().map(|filter| self.condition(filter, "FILTER")).transpose()?;
        let (arguments, types) = self.arguments(&call.arguments)?;
        // Without arguments the table means `count(*)`, which must be written so.
        let found = (call.star || !types.is_empty()).then(|| resolve_aggregate(call.name.last(), &types));
        let found = found.flatten().ok_or_else(|| undefined(&call.name, &types))?;
        let mut arguments = self.cast_all(arguments, &found.arguments)?;
        let order = self.aggregate_order(call, &mut arguments)?;
        let (function, ty) = (found.function, found.result);
        Ok(Aggregate { function, arguments, order, distinct: call.distinct, filter, ty })
    }

    /// Binds ORDER BY inside of an aggregate; what is no argument becomes a hidden one.
    fn aggregate_order(&mut self, call: &Call, arguments: &mut Vec<Expr>) -> Result<Vec<SortKey>, SqlError> {
        let mut keys = Vec::with_capacity(call.order_by.len());
        for order in &call.order_by {
            let typed = self.expr(&order.syntax)?;
            let expr = self.known(typed)?.expr;
            let at = match arguments.iter().position(|own| *own == expr) {
                Some(at) => at,
                None if call.distinct => {
                    return Err(SqlError::new(
                        sqlstate::INVALID_COLUMN_REFERENCE,
                        "in an aggregate with DISTINCT, ORDER BY expressions must appear in argument list",
                    ));
                }
                None => {
                    arguments.push(expr);
                    arguments.len() - 1
                }
            };
            keys.push(SortKey { at, descending: order.descending, nulls_first: order.nulls_first });
        }
        Ok(keys)
    }
}

fn undefined(name: &Name, types: &[Type]) -> SqlError {
    if is_missing(name.last()) {
        return SqlError::unsupported(format!("function {}()", name.last())).at_if_known(name.position);
    }
    let types: Vec<String> = types.iter().map(ToString::to_string).collect();
    let error = SqlError::new(
        sqlstate::UNDEFINED_FUNCTION,
        format!("function {}({}) does not exist", name.dotted(), types.join(", ")),
    )
    .hint(
        "No function matches the given name and argument types. You might need to add explicit type casts.",
    );
    error.at_if_known(name.position)
}
