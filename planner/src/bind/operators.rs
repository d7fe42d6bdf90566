//! Operators: comparisons (of rows too), arithmetic, concatenation, IN, ANY and ALL.

use super::binder::{Binder, Typed};
use crate::error::{SqlError, sqlstate};
use crate::expression::{Expr, NotUnique, Strength, castable, resolve, resolve_operator};
use crate::statement::{Operator, Syntax};
use crate::types::Type;

/// Entries of rows that are compared by order, at most: the comparison grows with their square.
const ORDERED_ROW_MAX: usize = 100;

fn no_operator(op: &str, left: &Type, right: &Type) -> SqlError {
    SqlError::new(sqlstate::UNDEFINED_FUNCTION, format!("operator does not exist: {left} {op} {right}")).hint(
        "No operator matches the given name and argument types. You might need to add explicit type casts.",
    )
}

/// Are two types, one of which may be untyped, arrays of the same type of elements?
fn same_elements(left: &Type, right: &Type) -> bool {
    match (left, right) {
        (Type::Array(left), Type::Array(right)) => {
            left.plain() == right.plain() || left.is_text() && right.is_text()
        }
        _ => true,
    }
}

fn is_not_real(ty: &Type) -> bool {
    !matches!(ty, Type::Float4 | Type::Unknown)
}

impl Binder {
    /// Binds a binary operator.
    pub(super) fn binary(&mut self, op: Operator, left: &Syntax, right: &Syntax) -> Result<Typed, SqlError> {
        if let (Syntax::Row(left), Syntax::Row(right)) = (left, right) {
            return self.compare_rows(op, left, right);
        }
        if let Operator::Regex { insensitive, negated } = op {
            let (arg, pattern) = (self.text(left, op.symbol())?, self.text(right, op.symbol())?);
            return Ok(Typed::boolean(Expr::Regex {
                arg: Box::new(arg),
                pattern: Box::new(pattern),
                insensitive,
                negated,
            }));
        }
        let (left, right) = (self.expr(left)?, self.expr(right)?);
        if op.is_comparison() {
            return self.compare(op, left, right).map(Typed::boolean);
        }
        match op {
            Operator::Concat => self.concat(left, right),
            Operator::Named(symbol) => self.named_operator(symbol, left, right),
            Operator::Minus if left.ty == Type::Jsonb => self.named_operator("-", left, right),
            Operator::Arrow | Operator::LongArrow => {
                let text = op == Operator::LongArrow;
                if !matches!(left.ty, Type::Jsonb | Type::Json) {
                    return Err(no_operator(op.symbol(), &left.ty, &right.ty));
                }
                let key = if right.ty.is_integer() { right } else { self.known(right)? };
                let ty = if text { Type::Text } else { left.ty.clone() };
                Ok(Typed::new(Expr::JsonGet { arg: Box::new(left.expr), key: Box::new(key.expr), text }, ty))
            }
            _ => self.arithmetic(op, left, right),
        }
    }

    /// Binds an argument of a text operator.
    pub(super) fn text(&mut self, syntax: &Syntax, op: &str) -> Result<Expr, SqlError> {
        let value = self.expr(syntax)?;
        let value = self.known(value)?;
        if !value.ty.is_text() {
            return Err(no_operator(op, &value.ty, &Type::Unknown));
        }
        Ok(value.expr)
    }

    /// Binds a comparison.
    pub(super) fn compare(&mut self, op: Operator, left: Typed, right: Typed) -> Result<Expr, SqlError> {
        let (left, right) = self.comparable(op, left, right)?;
        Ok(Expr::Compare { op, left, right })
    }

    /// Casts two values so that they can be compared.
    pub(super) fn comparable(
        &mut self,
        op: Operator,
        left: Typed,
        right: Typed,
    ) -> Result<(Box<Expr>, Box<Expr>), SqlError> {
        let (left_target, right_target) = self.comparable_types(op, &left.ty, &right.ty)?;
        let left = self.coerce(left, &left_target, Strength::Implicit)?;
        let right = self.coerce(right, &right_target, Strength::Implicit)?;
        Ok((Box::new(left), Box::new(right)))
    }

    /// The types in which values of two types can be compared. 42883 if there are none.
    fn comparable_types(&self, op: Operator, left: &Type, right: &Type) -> Result<(Type, Type), SqlError> {
        let failed = || no_operator(op.symbol(), left, right);
        let common = match self.common_type(left, right).map_err(|_| failed())? {
            Type::Unknown => Type::Text,
            Type::Json => return Err(failed()),
            // Arrays are compared with arrays of the same type only.
            Type::Array(_) if !same_elements(left, right) => return Err(failed()),
            // real is compared with other numbers as double precision.
            Type::Float4 if is_not_real(left) || is_not_real(right) => Type::Float8,
            common => common,
        };
        // A column keeps its own type where the values compare alike, so that it can serve as a key.
        let target = |own: &Type| match own {
            Type::Bpchar(_) if matches!(common, Type::Bpchar(_)) => own.clone(),
            own if matches!(own, Type::Bpchar(_)) || matches!(common, Type::Bpchar(_)) => common.plain(),
            own if own.is_text() && common.is_text() => own.clone(),
            Type::Numeric(_) if matches!(common, Type::Numeric(_)) => own.clone(),
            own if own.is_oid() && common.is_oid() => own.clone(),
            _ => common.plain(),
        };
        Ok((target(left), target(right)))
    }

    /// (a, b) = (1, 2) is a = 1 AND b = 2; orderings compare the first columns that differ.
    fn compare_rows(&mut self, op: Operator, left: &[Syntax], right: &[Syntax]) -> Result<Typed, SqlError> {
        if left.len() != right.len() {
            return Err(SqlError::new(sqlstate::SYNTAX, "unequal number of entries in row expressions"));
        }
        if !matches!(op, Operator::Eq | Operator::NotEq) && left.len() > ORDERED_ROW_MAX {
            return Err(SqlError::new(sqlstate::TOO_COMPLEX, "statement too complex").detail(format!(
                "Rows of more than {ORDERED_ROW_MAX} entries are compared by = and <> only."
            )));
        }
        let pair = |binder: &mut Binder, op: Operator, at: usize| {
            let (left, right) = (binder.expr(&left[at])?, binder.expr(&right[at])?);
            binder.compare(op, left, right)
        };
        match op {
            Operator::Eq => {
                let all = (0..right.len()).map(|at| pair(self, Operator::Eq, at));
                Ok(Typed::boolean(Expr::And(all.collect::<Result<_, _>>()?)))
            }
            Operator::NotEq => {
                let any = (0..right.len()).map(|at| pair(self, Operator::NotEq, at));
                Ok(Typed::boolean(Expr::Or(any.collect::<Result<_, _>>()?)))
            }
            op => {
                let strict =
                    if matches!(op, Operator::Lt | Operator::LtEq) { Operator::Lt } else { Operator::Gt };
                let mut cases = Vec::new();
                for at in 0..right.len() {
                    let mut all = Vec::new();
                    for before in 0..at {
                        all.push(pair(self, Operator::Eq, before)?);
                    }
                    all.push(pair(self, if at + 1 == right.len() { op } else { strict }, at)?);
                    cases.push(Expr::And(all));
                }
                // The first column alone bounds the key range: implied by the rest, so it changes nothing.
                let loose = if strict == Operator::Lt { Operator::LtEq } else { Operator::GtEq };
                Ok(Typed::boolean(Expr::And(vec![pair(self, loose, 0)?, Expr::Or(cases)])))
            }
        }
    }

    fn concat(&mut self, left: Typed, right: Typed) -> Result<Typed, SqlError> {
        // An untyped side is of the other's type.
        let takes = |ty: &Type| matches!(ty, Type::Array(_) | Type::Bytea | Type::Jsonb);
        let (left, right) = match (takes(&left.ty), takes(&right.ty)) {
            (true, _) if right.ty == Type::Unknown => {
                let ty = left.ty.clone();
                let expr = self.coerce(right, &ty, Strength::Implicit)?;
                (left, Typed::new(expr, ty))
            }
            (_, true) if left.ty == Type::Unknown => {
                let ty = right.ty.clone();
                let expr = self.coerce(left, &ty, Strength::Implicit)?;
                (Typed::new(expr, ty), right)
            }
            _ => (left, right),
        };
        if left.ty == Type::Jsonb && right.ty == Type::Jsonb {
            return self.named_operator("||", left, right);
        }
        let (left, right) = (self.as_array_of(left, &right.ty)?, right);
        let right = self.as_array_of(right, &left.ty)?;
        let is_array = |ty: &Type| matches!(ty, Type::Array(_));
        let (left, right) = match self.common_type(&left.ty, &right.ty) {
            Ok(common) if is_array(&left.ty) && is_array(&right.ty) && left.ty != right.ty => {
                let left = self.coerce(left, &common, Strength::Implicit)?;
                let right = self.coerce(right, &common, Strength::Implicit)?;
                (Typed::new(left, common.clone()), Typed::new(right, common))
            }
            _ => (left, right),
        };
        if (is_array(&left.ty) || is_array(&right.ty)) && left.ty != right.ty {
            return Err(no_operator("||", &left.ty, &right.ty));
        }
        let array = matches!(left.ty, Type::Array(_)) && matches!(right.ty, Type::Array(_));
        let bytea = left.ty == Type::Bytea && right.ty == Type::Bytea;
        let ty = if array || bytea { left.ty.clone() } else { Type::Text };
        if ty == Type::Text && !left.ty.is_text() && !right.ty.is_text() {
            let unknown = left.ty == Type::Unknown || right.ty == Type::Unknown;
            if !unknown {
                return Err(no_operator("||", &left.ty, &right.ty));
            }
        }
        let side = |binder: &mut Binder, value: Typed| {
            if ty == Type::Text {
                binder.coerce(value, &Type::Text, Strength::Explicit)
            } else {
                Ok(value.expr)
            }
        };
        let (left, right) = (side(self, left)?, side(self, right)?);
        Ok(Typed::new(Expr::Concat { left: Box::new(left), right: Box::new(right) }, ty))
    }

    /// Binds an operator that is a function.
    fn named_operator(&mut self, symbol: &'static str, left: Typed, right: Typed) -> Result<Typed, SqlError> {
        let failed = no_operator(symbol, &left.ty, &right.ty);
        let functions: &[&str] = match symbol {
            "@>" => &["arraycontains", "jsonb_contains"],
            "<@" => &["arraycontained", "jsonb_contained"],
            "&&" => &["arrayoverlap"],
            "||" => &["jsonb_concat"],
            "-" => &["jsonb_delete"],
            "#-" => &["jsonb_delete_path"],
            "?" => &["jsonb_exists"],
            "?|" => &["jsonb_exists_any"],
            "?&" => &["jsonb_exists_all"],
            "#>" => &["jsonb_extract_path", "json_extract_path"],
            "#>>" => &["jsonb_extract_path_text", "json_extract_path_text"],
            "^@" => &["starts_with"],
            _ => &[],
        };
        // A path is a list of keys.
        let path = Type::Array(Box::new(Type::Text));
        let right = match symbol {
            "#>" | "#>>" | "#-" | "?|" | "?&" if right.ty == Type::Unknown => {
                Typed::new(self.coerce(right, &path, Strength::Implicit)?, path)
            }
            _ => right,
        };
        let types = [left.ty.clone(), right.ty.clone()];
        let found = functions.iter().find_map(|name| resolve(name, &types)).ok_or(failed)?;
        let mut arguments = Vec::with_capacity(2);
        for (value, ty) in [left, right].into_iter().zip(&found.arguments) {
            arguments.push(self.coerce(value, ty, Strength::Implicit)?);
        }
        Ok(Typed::new(Expr::Call { function: found.function, arguments }, found.result))
    }

    /// A value beside an array in `||` as an array of that one element, if it can be one.
    fn as_array_of(&mut self, value: Typed, other: &Type) -> Result<Typed, SqlError> {
        match other {
            Type::Array(element)
                if !matches!(value.ty, Type::Array(_))
                    && castable(&value.ty, element, Strength::Implicit) =>
            {
                let items = vec![self.coerce(value, element, Strength::Implicit)?];
                let element = (**element).clone();
                Ok(Typed::new(Expr::Array { element, items }, other.clone()))
            }
            _ => Ok(value),
        }
    }

    fn arithmetic(&mut self, op: Operator, left: Typed, right: Typed) -> Result<Typed, SqlError> {
        let failed = no_operator(op.symbol(), &left.ty, &right.ty);
        if left.ty.is_datetime() || right.ty.is_datetime() {
            return self.datetime_operator(op, left, right);
        }
        let mut common = match self.common_type(&left.ty, &right.ty) {
            Ok(Type::Unknown) => Type::Int4,
            Ok(ty) if ty.is_number() => ty.plain(),
            _ => return Err(failed),
        };
        let mixed = common == Type::Float4 && [&left.ty, &right.ty].iter().any(|ty| is_not_real(ty));
        if mixed || op == Operator::Power && !matches!(common, Type::Numeric(_)) {
            common = Type::Float8;
        }
        let allowed = match op {
            Operator::BitAnd | Operator::BitOr => common.is_integer(),
            Operator::Modulo => !matches!(common, Type::Float4 | Type::Float8),
            _ => true,
        };
        if !allowed {
            return Err(failed);
        }
        let left = Box::new(self.coerce(left, &common, Strength::Implicit)?);
        let right = Box::new(self.coerce(right, &common, Strength::Implicit)?);
        Ok(Typed::new(Expr::Arithmetic { op, ty: common.clone(), left, right }, common))
    }

    /// An operator on dates, times and intervals is a call of its function.
    fn datetime_operator(&mut self, op: Operator, left: Typed, right: Typed) -> Result<Typed, SqlError> {
        let given = [left.ty.clone(), right.ty.clone()];
        let found = match resolve_operator(op, &given) {
            Ok(Some(found)) => found,
            Ok(None) => return Err(no_operator(op.symbol(), &left.ty, &right.ty)),
            Err(NotUnique) => {
                let text = format!("operator is not unique: {} {} {}", left.ty, op.symbol(), right.ty);
                return Err(SqlError::new("42725", text).hint(
                    "Could not choose a best candidate operator. You might need to add explicit type casts.",
                ));
            }
        };
        let mut arguments = Vec::with_capacity(2);
        for (side, ty) in [left, right].into_iter().zip(&found.sides) {
            arguments.push(self.coerce(side, ty, Strength::Implicit)?);
        }
        if found.swapped {
            arguments.reverse();
        }
        Ok(Typed::new(Expr::Call { function: found.function, arguments }, found.result))
    }

    /// Binds IN (..).
    pub(super) fn in_list(
        &mut self,
        arg: &Syntax,
        list: &[Syntax],
        negated: bool,
    ) -> Result<Typed, SqlError> {
        if let Syntax::Row(columns) = arg {
            let mut any = Vec::new();
            for item in list {
                let Syntax::Row(values) = item else {
                    return Err(SqlError::new(sqlstate::SYNTAX, "a row is needed on both sides of IN"));
                };
                any.push(self.compare_rows(Operator::Eq, columns, values)?.expr);
            }
            let any = Expr::Or(any);
            return Ok(Typed::boolean(if negated { Expr::Not(Box::new(any)) } else { any }));
        }
        let arg = self.expr(arg)?;
        let mut common = arg.ty.clone();
        let mut bound = Vec::with_capacity(list.len());
        for item in list {
            let item = self.expr(item)?;
            common = self.common_type(&common, &item.ty).map_err(|_| no_operator("=", &arg.ty, &item.ty))?;
            bound.push(item);
        }
        // All items get one type, so that the argument is the same for each of them.
        let any = |ty: &Type| Typed::new(Expr::Const(None), ty.clone());
        let own = arg.ty.clone();
        let arg = self.comparable(Operator::Eq, arg, any(&common))?.0;
        let mut items = Vec::with_capacity(bound.len());
        for item in bound {
            let item = Typed::new(self.coerce(item, &common, Strength::Implicit)?, common.clone());
            items.push(*self.comparable(Operator::Eq, any(&own), item)?.1);
        }
        Ok(Typed::boolean(Expr::In { arg, list: items, negated }))
    }

    /// Binds BETWEEN.
    pub(super) fn between(
        &mut self,
        arg: &Syntax,
        low: &Syntax,
        high: &Syntax,
        negated: bool,
    ) -> Result<Typed, SqlError> {
        let (arg, low, high) = (self.expr(arg)?, self.expr(low)?, self.expr(high)?);
        let both = if matches!(arg.expr, Expr::Column { .. } | Expr::Param(_) | Expr::Const(_)) {
            // Two comparisons, which may bound a key range. Any other argument would be computed twice, and such
            // arguments in one another, more often than there is time for.
            let from = self.compare(Operator::GtEq, arg.clone(), low)?;
            Expr::And(vec![from, self.compare(Operator::LtEq, arg, high)?])
        } else {
            let mut parts = self.comparables(Operator::GtEq, vec![arg, low, high])?.into_iter().map(Box::new);
            match (parts.next(), parts.next(), parts.next()) {
                (Some(arg), Some(low), Some(high)) => Expr::Between { arg, low, high },
                _ => return Err(SqlError::internal("BETWEEN without its bounds")),
            }
        };
        Ok(Typed::boolean(if negated { Expr::Not(Box::new(both)) } else { both }))
    }

    /// Casts values to a type in which the first can be compared with the others. 42883 if there is none.
    pub(super) fn comparables(&mut self, op: Operator, values: Vec<Typed>) -> Result<Vec<Expr>, SqlError> {
        let mut common = Type::Unknown;
        for value in &values {
            let found = self.common_type(&common, &value.ty);
            common = found.map_err(|_| no_operator(op.symbol(), &common, &value.ty))?;
        }
        match common {
            Type::Json => return Err(no_operator(op.symbol(), &Type::Json, &Type::Json)),
            Type::Unknown => common = Type::Text,
            _ => {}
        }
        let cast = values.into_iter().map(|value| self.coerce(value, &common, Strength::Implicit));
        cast.collect()
    }

    /// Binds `left op ANY (array)`, or ALL.
    pub(super) fn quantified(
        &mut self,
        left: &Syntax,
        op: Operator,
        array: &Syntax,
        all: bool,
    ) -> Result<Typed, SqlError> {
        let (left, array) = (self.expr(left)?, self.expr(array)?);
        let (array, element) = match array.ty.clone() {
            Type::Array(element) => (array, *element),
            Type::Unknown => {
                let element = if left.ty == Type::Unknown { Type::Text } else { left.ty.plain() };
                let ty = Type::Array(Box::new(element.clone()));
                (Typed::new(self.coerce(array, &ty, Strength::Implicit)?, ty), element)
            }
            _ => {
                return Err(SqlError::new("42809", "op ANY/ALL (array) requires array on right side"));
            }
        };
        if matches!(op, Operator::Regex { .. }) {
            let left = Box::new(self.known(left)?.expr);
            return Ok(Typed::boolean(Expr::Quantified { left, op, array: Box::new(array.expr), all }));
        }
        // The left side meets the elements' type; whole numbers of other widths compare as they are.
        if left.ty.is_integer() && element.is_integer() {
            let (left, array) = (Box::new(left.expr), Box::new(array.expr));
            return Ok(Typed::boolean(Expr::Quantified { left, op, array, all }));
        }
        let (target, other) = self.comparable_types(op, &left.ty, &element)?;
        let left = Box::new(self.coerce(left, &target, Strength::Implicit)?);
        let array = Box::new(self.coerce(array, &Type::Array(Box::new(other)), Strength::Implicit)?);
        Ok(Typed::boolean(Expr::Quantified { left, op, array, all }))
    }
}
