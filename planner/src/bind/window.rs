//! Calls with OVER: window functions, their windows and frames, from names to typed parts of a plan.

use super::binder::{Binder, Typed};
use crate::error::{SqlError, sqlstate};
use crate::expression::{Expr, Strength, is_aggregate, resolve_aggregate};
use crate::query::{FrameEnd, FramePlan, SortKey, WindowCall, WindowFunction};
use crate::statement::{Call, Frame, FrameBound, FrameUnits, Name, OrderBy, Syntax, Window};
use crate::types::Type;

/// windowing_error.
const WINDOW_ERROR: &str = "42P20";

/// The window functions that are no aggregates: name, function, fewest and most arguments.
const FUNCTIONS: &[(&str, WindowFunction, usize, usize)] = &[
    ("row_number", WindowFunction::RowNumber, 0, 0),
    ("rank", WindowFunction::Rank, 0, 0),
    ("dense_rank", WindowFunction::DenseRank, 0, 0),
    ("percent_rank", WindowFunction::PercentRank, 0, 0),
    ("cume_dist", WindowFunction::CumeDist, 0, 0),
    ("ntile", WindowFunction::Ntile, 1, 1),
    ("lag", WindowFunction::Lag, 1, 3),
    ("lead", WindowFunction::Lead, 1, 3),
    ("first_value", WindowFunction::FirstValue, 1, 1),
    ("last_value", WindowFunction::LastValue, 1, 1),
    ("nth_value", WindowFunction::NthValue, 2, 2),
];

/// Is it the name of a window function that is no aggregate?
pub(super) fn is_window_function(name: &str) -> bool {
    FUNCTIONS.iter().any(|(own, ..)| *own == name)
}

impl Binder {
    /// Binds a call with OVER.
    pub(super) fn window_call(&mut self, call: &Call, window: &Window) -> Result<Typed, SqlError> {
        let name = call.name.last();
        let at = call.name.position;
        if !is_window_function(name) && !is_aggregate(name) {
            let text =
                format!("OVER specified, but {name} is not a window function nor an aggregate function");
            return Err(SqlError::new("42809", text).at_if_known(at));
        }
        // Inside of a window function there is no other.
        let Some(mut windows) = self.windows.take() else {
            let text = match self.in_window {
                true => "window function calls cannot be nested",
                false => "window functions are not allowed here",
            };
            return Err(SqlError::new(WINDOW_ERROR, text).at_if_known(at));
        };
        let around = std::mem::replace(&mut self.in_window, true);
        let bound = self.window_parts(call, window);
        self.in_window = around;
        let bound = bound.map(|own| {
            let ty = own.ty.clone();
            let at = windows.iter().position(|other| *other == own).unwrap_or_else(|| {
                windows.push(own);
                windows.len() - 1
            });
            Typed::new(Expr::Window(at), ty)
        });
        self.windows = Some(windows);
        bound
    }

    fn window_parts(&mut self, call: &Call, window: &Window) -> Result<WindowCall, SqlError> {
        for (used, what) in [(call.distinct, "DISTINCT"), (!call.order_by.is_empty(), "aggregate ORDER BY")] {
            if used {
                let text = format!("{what} is not implemented for window functions");
                return Err(SqlError::new(sqlstate::FEATURE_NOT_SUPPORTED, text));
            }
        }
        let (function, arguments, ty) = self.window_function(call)?;
        let filter = match &call.filter {
            Some(_) if !matches!(function, WindowFunction::Aggregate(_)) => {
                let text = "FILTER is not implemented for non-aggregate window functions";
                return Err(SqlError::new(sqlstate::FEATURE_NOT_SUPPORTED, text));
            }
            Some(filter) => Some(self.condition(filter, "FILTER")?),
            None => None,
        };
        let window = self.resolved(window)?;
        let mut partition = Vec::with_capacity(window.partition_by.len());
        for syntax in &window.partition_by {
            let value = self.expr(syntax)?;
            partition.push(self.known(value)?.expr);
        }
        let (mut order, mut types) = (Vec::new(), Vec::new());
        for OrderBy { syntax, descending, nulls_first } in &window.order_by {
            let value = self.expr(syntax)?;
            let value = self.known(value)?;
            types.push(value.ty);
            order.push((value.expr, SortKey { at: 0, descending: *descending, nulls_first: *nulls_first }));
        }
        let frame = self.window_frame(&window.frame, &types)?;
        Ok(WindowCall { function, arguments, filter, partition, order, frame, ty })
    }

    /// The function of a call, its arguments, and the type of its result.
    fn window_function(&mut self, call: &Call) -> Result<(WindowFunction, Vec<Expr>, Type), SqlError> {
        let name = call.name.last();
        let mut bound = Vec::with_capacity(call.arguments.len());
        for argument in &call.arguments {
            bound.push(self.expr(argument)?);
        }
        let types: Vec<Type> = bound.iter().map(|argument| argument.ty.clone()).collect();
        let Some((_, function, least, most)) = FUNCTIONS.iter().find(|(own, ..)| *own == name) else {
            let found = (call.star || !types.is_empty()).then(|| resolve_aggregate(name, &types)).flatten();
            let found = found.ok_or_else(|| Self::undefined(&call.name, &types))?;
            let arguments = self.cast_all(bound, &found.arguments)?;
            return Ok((WindowFunction::Aggregate(found.function), arguments, found.result));
        };
        if bound.len() < *least || bound.len() > *most || call.star {
            return Err(Self::undefined(&call.name, &types));
        }
        let mut values = bound.into_iter();
        let mut arguments = Vec::new();
        let mut ty = match function {
            WindowFunction::RowNumber | WindowFunction::Rank | WindowFunction::DenseRank => Type::Int8,
            WindowFunction::PercentRank | WindowFunction::CumeDist => Type::Float8,
            _ => Type::Int4,
        };
        if *function == WindowFunction::Ntile {
            for value in values {
                arguments.push(self.coerce(value, &Type::Int4, Strength::Implicit)?);
            }
            return Ok((*function, arguments, ty));
        }
        if let Some(value) = values.next() {
            let value = self.known(value)?;
            ty = value.ty;
            arguments.push(value.expr);
        }
        if let Some(offset) = values.next() {
            arguments.push(self.coerce(offset, &Type::Int4, Strength::Implicit)?);
        }
        if let Some(default) = values.next() {
            let common =
                self.common_type(&ty, &default.ty).map_err(|_| Self::undefined(&call.name, &types))?;
            let value = Typed::new(arguments.remove(0), ty);
            arguments.insert(0, self.coerce(value, &common, Strength::Implicit)?);
            arguments.push(self.coerce(default, &common, Strength::Implicit)?);
            ty = common;
        }
        Ok((*function, arguments, ty))
    }

    /// Checks the windows that have a name, whether they are used or not.
    pub(super) fn check_named_windows(&mut self) -> Result<(), SqlError> {
        let windows = self.named_windows.clone();
        for (at, (name, window)) in windows.iter().enumerate() {
            if windows[..at].iter().any(|(other, _)| other == name) {
                let text = format!("window \"{name}\" is already defined");
                return Err(SqlError::new(WINDOW_ERROR, text));
            }
            let order = window.order_by.iter().map(|order| &order.syntax);
            for syntax in window.partition_by.iter().chain(order) {
                self.expr(syntax)?;
            }
        }
        Ok(())
    }

    /// A window with what the named window says that it refers to.
    fn resolved(&self, window: &Window) -> Result<Window, SqlError> {
        let Some(name) = &window.name else { return Ok(window.clone()) };
        let base = self.named_window(name)?;
        let own = name.last();
        if window.is_name {
            return Ok(base);
        }
        let wrong = if !window.partition_by.is_empty() {
            format!("cannot override PARTITION BY clause of window \"{own}\"")
        } else if !window.order_by.is_empty() && !base.order_by.is_empty() {
            format!("cannot override ORDER BY clause of window \"{own}\"")
        } else if base.frame.is_some() {
            format!("cannot copy window \"{own}\" because it has a frame clause")
        } else {
            let order_by = if base.order_by.is_empty() { window.order_by.clone() } else { base.order_by };
            return Ok(Window { order_by, frame: window.frame.clone(), ..base });
        };
        Err(SqlError::new(WINDOW_ERROR, wrong).at_if_known(name.position))
    }

    fn named_window(&self, name: &Name) -> Result<Window, SqlError> {
        let own = name.last();
        let at = self.named_windows.iter().position(|(other, _)| other == own);
        let Some(at) = at else {
            let text = format!("window \"{own}\" does not exist");
            return Err(SqlError::new(sqlstate::UNDEFINED_OBJECT, text).at_if_known(name.position));
        };
        let window = &self.named_windows[at].1;
        match &window.name {
            // One that is defined before it.
            Some(base) if self.named_windows[..at].iter().any(|(other, _)| other == base.last()) => {
                self.resolved(window)
            }
            Some(base) => {
                let text = format!("window \"{}\" does not exist", base.last());
                Err(SqlError::new(sqlstate::UNDEFINED_OBJECT, text).at_if_known(base.position))
            }
            None => Ok(window.clone()),
        }
    }

    fn window_frame(&mut self, frame: &Option<Frame>, order: &[Type]) -> Result<FramePlan, SqlError> {
        let Some(Frame { units, start, end }) = frame else {
            return Ok(FramePlan {
                units: FrameUnits::Range,
                start: FrameEnd::Unbounded,
                end: FrameEnd::CurrentRow,
            });
        };
        if *units == FrameUnits::Groups && order.is_empty() {
            return Err(SqlError::new(WINDOW_ERROR, "GROUPS mode requires an ORDER BY clause"));
        }
        let start = self.frame_end(start, *units, order)?;
        let end = self.frame_end(end, *units, order)?;
        Ok(FramePlan { units: *units, start, end })
    }

    fn frame_end(
        &mut self,
        bound: &FrameBound,
        units: FrameUnits,
        order: &[Type],
    ) -> Result<FrameEnd, SqlError> {
        let (syntax, preceding) = match bound {
            FrameBound::CurrentRow => return Ok(FrameEnd::CurrentRow),
            FrameBound::Preceding(None) | FrameBound::Following(None) => return Ok(FrameEnd::Unbounded),
            FrameBound::Preceding(Some(syntax)) => (syntax, true),
            FrameBound::Following(Some(syntax)) => (syntax, false),
        };
        let offset = self.frame_offset(syntax, units, order)?;
        Ok(if preceding { FrameEnd::Preceding(offset) } else { FrameEnd::Following(offset) })
    }

    fn frame_offset(&mut self, syntax: &Syntax, units: FrameUnits, order: &[Type]) -> Result<Expr, SqlError> {
        let value = self.expr(syntax)?;
        if value.expr.any(&|expr| matches!(expr, Expr::Column { level: 0, .. })) {
            let text = format!("argument of {} must not contain variables", units.name());
            return Err(SqlError::new(sqlstate::INVALID_COLUMN_REFERENCE, text));
        }
        if units != FrameUnits::Range {
            return self.coerce(value, &Type::Int8, Strength::Implicit);
        }
        let [key] = order else {
            let text = "RANGE with offset PRECEDING/FOLLOWING requires exactly one ORDER BY column";
            return Err(SqlError::new(WINDOW_ERROR, text));
        };
        if !key.is_number() {
            let text = format!("RANGE with offset PRECEDING/FOLLOWING for column type {key}");
            return Err(SqlError::unsupported(text).hint("Offsets are supported for numbers."));
        }
        self.coerce(value, &key.plain(), Strength::Implicit)
    }
}
