//! Expressions: names to columns, operators and functions to typed nodes, casts where types differ.

use std::sync::Arc;

use super::{Binder, Typed};
use crate::error::{SqlError, sqlstate};
use crate::expression::{Expr, Strength, implicit, resolve, simple};
use crate::statement::{Name, Operator, Syntax};
use crate::types::{Type, Value};

pub(super) fn typed(expr: Expr, ty: Type) -> Typed {
    Typed { expr, ty }
}

fn boolean(expr: Expr) -> Typed {
    typed(expr, Type::Bool)
}

fn no_operator(op: &str, left: &Type, right: &Type) -> SqlError {
    SqlError::new(sqlstate::UNDEFINED_FUNCTION, format!("operator does not exist: {left} {op} {right}")).hint(
        "No operator matches the given name and argument types. You might need to add explicit type casts.",
    )
}

/// The order of number types: the larger takes both.
fn rank(ty: &Type) -> Option<u8> {
    Some(match ty {
        Type::Int2 => 0,
        Type::Int4 => 1,
        Type::Int8 => 2,
        Type::Numeric(_) => 3,
        Type::Float4 => 4,
        Type::Float8 => 5,
        _ => return None,
    })
}

impl Binder {
    /// Finds a column: in the innermost scope first, then outwards. (level, position, type)
    pub(super) fn find_column(&self, name: &Name) -> Result<(usize, usize, Type), SqlError> {
        let (table, column) = (name.qualifier(), name.last());
        for (level, scope) in self.scopes.iter().rev().enumerate() {
            let mut found = scope
                .iter()
                .enumerate()
                .filter(|(_, own)| own.name == column && table.is_none_or(|table| own.table == table));
            if let Some((at, own)) = found.next() {
                if !own.hidden && found.any(|(_, other)| !other.hidden) {
                    return Err(positioned(
                        SqlError::new(
                            sqlstate::AMBIGUOUS_COLUMN,
                            format!("column reference \"{column}\" is ambiguous"),
                        ),
                        name,
                    ));
                }
                return Ok((level, at, own.ty.clone()));
            }
        }
        let error = match table {
            Some(table) if !self.scopes.iter().flatten().any(|own| own.table == table) => SqlError::new(
                sqlstate::UNDEFINED_TABLE,
                format!("missing FROM-clause entry for table \"{table}\""),
            ),
            _ => SqlError::new(
                sqlstate::UNDEFINED_COLUMN,
                format!(
                    "column {} does not exist",
                    if table.is_some() { name.dotted() } else { format!("\"{column}\"") }
                ),
            ),
        };
        Err(positioned(error, name))
    }

    /// Binds a condition. 42804 if it is not boolean.
    pub(crate) fn condition(&mut self, syntax: &Syntax, clause: &str) -> Result<Expr, SqlError> {
        let bound = self.expr(syntax)?;
        self.boolean(bound, clause)
    }

    fn boolean(&mut self, value: Typed, clause: &str) -> Result<Expr, SqlError> {
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
    pub(crate) fn known(&mut self, value: Typed) -> Result<Typed, SqlError> {
        if value.ty == Type::Unknown {
            let expr = self.coerce(value, &Type::Text, Strength::Implicit)?;
            return Ok(typed(expr, Type::Text));
        }
        Ok(value)
    }

    /// The type that two values can share.
    pub(super) fn common_type(&self, a: &Type, b: &Type) -> Result<Type, SqlError> {
        if a == b || *b == Type::Unknown {
            return Ok(a.clone());
        }
        if *a == Type::Unknown {
            return Ok(b.clone());
        }
        match (rank(a), rank(b)) {
            (Some(x), Some(y)) => return Ok(if x >= y { a.plain() } else { b.plain() }),
            (Some(_), None) if b.is_oid() => return Ok(b.clone()),
            (None, Some(_)) if a.is_oid() => return Ok(a.clone()),
            _ => {}
        }
        if a.plain() == b.plain() {
            return Ok(a.plain());
        }
        if a.is_text() && b.is_text() {
            return Ok(Type::Text);
        }
        if a.is_oid() && b.is_oid() {
            return Ok(Type::Oid);
        }
        match (a, b) {
            (Type::Date, Type::Timestamptz) | (Type::Timestamptz, Type::Date) => Ok(Type::Timestamptz),
            (Type::Array(x), Type::Array(y)) => Ok(Type::Array(Box::new(self.common_type(x, y)?))),
            _ => Err(SqlError::new(
                sqlstate::DATATYPE_MISMATCH,
                format!("types {a} and {b} cannot be matched"),
            )),
        }
    }

    /// Makes a value of another type out of an expression.
    pub(crate) fn coerce(&mut self, value: Typed, to: &Type, strength: Strength) -> Result<Expr, SqlError> {
        let Typed { expr, ty: from } = value;
        if from == *to || *to == Type::Unknown {
            return Ok(expr);
        }
        if from == Type::Unknown {
            match &expr {
                Expr::Const(None) => return Ok(expr),
                Expr::Param(at) => {
                    if self.params[*at] == Type::Unknown {
                        self.params[*at] = to.plain();
                    }
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
                    Type::Varchar(Some(_)) => {
                        let value = Value::text(text.clone());
                        return simple(value, to, strength == Strength::Explicit)
                            .map(|value| Expr::Const(Some(value)));
                    }
                    to => return Value::from_text(to, text).map(|value| Expr::Const(Some(value))),
                },
                _ => {}
            }
            let from = Type::Text;
            return Ok(Expr::Cast { arg: Box::new(expr), from, to: to.clone(), explicit: true });
        }
        if !implicit(&from, to, strength) {
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
        let same_text = from.is_text() && matches!(to, Type::Text | Type::Varchar(None));
        let same_number = matches!((&from, to), (Type::Numeric(_), Type::Numeric(None)));
        if same_text && !matches!(from, Type::Opaque(..)) || same_number {
            return Ok(expr);
        }
        if let (Expr::Const(Some(value)), false) = (&expr, to.is_oid() || from.is_oid()) {
            return simple(value.clone(), to, strength == Strength::Explicit)
                .map(|value| Expr::Const(Some(value)));
        }
        Ok(Expr::Cast { arg: Box::new(expr), from, to: to.clone(), explicit: strength == Strength::Explicit })
    }

    /// Stores into a column: an assignment cast. 42804 names the column.
    pub(crate) fn assign(&mut self, value: Typed, column: &str, to: &Type) -> Result<Expr, SqlError> {
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

    /// Binds a comparison.
    pub(super) fn compare(&mut self, op: Operator, left: Typed, right: Typed) -> Result<Expr, SqlError> {
        let common = self
            .common_type(&left.ty, &right.ty)
            .map_err(|_| no_operator(op.symbol(), &left.ty, &right.ty))?;
        let common = if common == Type::Unknown { Type::Text } else { common };
        if common == Type::Json {
            return Err(no_operator(op.symbol(), &left.ty, &right.ty));
        }
        // A column keeps its own type where the values compare alike, so that it can serve as a key.
        let target = |own: &Type| match own {
            own if own.is_text() && common.is_text() => own.clone(),
            Type::Numeric(_) if matches!(common, Type::Numeric(_)) => own.clone(),
            own if own.is_oid() && common.is_oid() => own.clone(),
            Type::Unknown => common.plain(),
            _ => common.plain(),
        };
        let (left_target, right_target) = (target(&left.ty), target(&right.ty));
        let left = self.coerce(left, &left_target, Strength::Implicit)?;
        let right = self.coerce(right, &right_target, Strength::Implicit)?;
        Ok(Expr::Compare { op, left: Box::new(left), right: Box::new(right) })
    }

    /// Binds an expression.
    pub(crate) fn expr(&mut self, syntax: &Syntax) -> Result<Typed, SqlError> {
        Ok(match syntax {
            Syntax::Null => typed(Expr::Const(None), Type::Unknown),
            Syntax::Bool(value) => boolean(Expr::Const(Some(Value::Bool(*value)))),
            Syntax::Number(digits) => number(digits)?,
            Syntax::String(text) => typed(Expr::Const(Some(Value::text(text.clone()))), Type::Unknown),
            Syntax::Param(at) => {
                if self.params.len() <= *at {
                    self.params.resize(*at + 1, Type::Unknown);
                }
                typed(Expr::Param(*at), self.params[*at].clone())
            }
            Syntax::Column(name) => match self.find_column(name) {
                Ok((level, at, ty)) => typed(Expr::Column { level, at }, ty),
                // CURRENT_USER and its like may arrive as plain words.
                Err(error) => match (name.parts.as_slice(), resolve(name.last(), &[])) {
                    ([word], Some((function, _, ty)))
                        if word.starts_with("current_") || word.ends_with("user") =>
                    {
                        typed(Expr::Call { function, arguments: Vec::new() }, ty)
                    }
                    _ => return Err(error),
                },
            },
            Syntax::Default => {
                return Err(SqlError::new(sqlstate::SYNTAX, "DEFAULT is not allowed in this context"));
            }
            Syntax::Negate(arg) => {
                let arg = self.expr(arg)?;
                if !arg.ty.is_number() {
                    return Err(SqlError::new(
                        sqlstate::UNDEFINED_FUNCTION,
                        format!("operator does not exist: - {}", arg.ty),
                    ));
                }
                typed(Expr::Negate(Box::new(arg.expr)), arg.ty)
            }
            Syntax::Not(arg) => boolean(Expr::Not(Box::new(self.condition(arg, "NOT")?))),
            Syntax::And(items) => boolean(Expr::And(self.conditions(items, "AND")?)),
            Syntax::Or(items) => boolean(Expr::Or(self.conditions(items, "OR")?)),
            Syntax::Binary { op, left, right } => self.binary(*op, left, right)?,
            Syntax::IsNull { arg, negated } => {
                let arg = self.expr(arg)?;
                let arg = self.known(arg)?;
                boolean(Expr::IsNull { arg: Box::new(arg.expr), negated: *negated })
            }
            Syntax::IsBool { arg, value, negated } => {
                let arg = Box::new(self.condition(arg, "IS")?);
                boolean(Expr::IsBool { arg, value: *value, negated: *negated })
            }
            Syntax::IsDistinct { left, right, negated } => {
                let (left, right) = (self.expr(left)?, self.expr(right)?);
                match self.compare(Operator::Eq, left, right)? {
                    Expr::Compare { left, right, .. } => {
                        boolean(Expr::IsDistinct { left, right, negated: *negated })
                    }
                    other => boolean(other),
                }
            }
            Syntax::In { arg, list, negated } => self.in_list(arg, list, *negated)?,
            Syntax::InQuery { arg, query, negated } => {
                let arg = self.expr(arg)?;
                let plan = self.inner_query(query)?;
                let [column] = plan.columns.as_slice() else {
                    return Err(SqlError::new(sqlstate::SYNTAX, "subquery has too many columns"));
                };
                let other = typed(Expr::Const(None), column.ty.clone());
                match self.compare(Operator::Eq, arg, other)? {
                    Expr::Compare { left, .. } => {
                        boolean(Expr::InQuery { arg: left, plan: Arc::new(plan), negated: *negated })
                    }
                    other => boolean(other),
                }
            }
            Syntax::Like { arg, pattern, escape, insensitive, negated } => {
                let (arg, pattern) = (self.text(arg, "~~")?, self.text(pattern, "~~")?);
                boolean(Expr::Like {
                    arg: Box::new(arg),
                    pattern: Box::new(pattern),
                    escape: *escape,
                    insensitive: *insensitive,
                    negated: *negated,
                })
            }
            Syntax::Quantified { left, op, array, all } => self.quantified(left, *op, array, *all)?,
            Syntax::Cast { arg, ty } => {
                let arg = self.expr(arg)?;
                // A cast tells an undeclared parameter's type.
                if let (Expr::Param(at), Type::Unknown) = (&arg.expr, &arg.ty) {
                    self.params[*at] = ty.plain();
                    let arg = typed(Expr::Param(*at), ty.plain());
                    return Ok(typed(self.coerce(arg, ty, Strength::Explicit)?, ty.clone()));
                }
                typed(self.coerce(arg, ty, Strength::Explicit)?, ty.clone())
            }
            Syntax::Case { operand, whens, otherwise } => {
                self.case(operand.as_deref(), whens, otherwise.as_deref())?
            }
            Syntax::Call(call) => self.call(call)?,
            Syntax::Exists(query) => boolean(Expr::Exists(Arc::new(self.inner_query(query)?))),
            Syntax::Subquery(query) => {
                let plan = self.inner_query(query)?;
                let [column] = plan.columns.as_slice() else {
                    return Err(SqlError::new(sqlstate::SYNTAX, "subquery must return only one column"));
                };
                let ty = column.ty.clone();
                typed(Expr::Subquery(Arc::new(plan)), ty)
            }
            Syntax::ArrayQuery(query) => {
                let plan = self.inner_query(query)?;
                let [column] = plan.columns.as_slice() else {
                    return Err(SqlError::new(sqlstate::SYNTAX, "subquery must return only one column"));
                };
                let element = column.ty.clone();
                let ty = Type::Array(Box::new(element.clone()));
                typed(Expr::ArrayQuery { element, plan: Arc::new(plan) }, ty)
            }
            Syntax::Array(items) => {
                let (items, element) = self.same_type(items)?;
                let ty = Type::Array(Box::new(element.clone()));
                typed(Expr::Array { element, items }, ty)
            }
            Syntax::Row(_) => return Err(SqlError::unsupported("a row value here")),
            Syntax::Index { arg, index } => {
                let (arg, index) = (self.expr(arg)?, self.expr(index)?);
                let Type::Array(element) = arg.ty else {
                    return Err(SqlError::new(
                        sqlstate::DATATYPE_MISMATCH,
                        format!("cannot subscript type {} because it does not support subscripting", arg.ty),
                    ));
                };
                let index = self.coerce(index, &Type::Int4, Strength::Assignment)?;
                typed(Expr::Index { arg: Box::new(arg.expr), index: Box::new(index) }, *element)
            }
        })
    }

    fn conditions(&mut self, items: &[Syntax], clause: &str) -> Result<Vec<Expr>, SqlError> {
        items.iter().map(|item| self.condition(item, clause)).collect()
    }

    fn text(&mut self, syntax: &Syntax, op: &str) -> Result<Expr, SqlError> {
        let value = self.expr(syntax)?;
        let value = self.known(value)?;
        if !value.ty.is_text() {
            return Err(no_operator(op, &value.ty, &Type::Unknown));
        }
        Ok(value.expr)
    }

    pub(super) fn same_type(&mut self, items: &[Syntax]) -> Result<(Vec<Expr>, Type), SqlError> {
        let mut bound = Vec::with_capacity(items.len());
        let mut ty = Type::Unknown;
        for item in items {
            let item = self.expr(item)?;
            ty = self.common_type(&ty, &item.ty)?;
            bound.push(item);
        }
        let ty = if ty == Type::Unknown { Type::Text } else { ty };
        let items = bound.into_iter().map(|item| self.coerce(item, &ty, Strength::Implicit));
        Ok((items.collect::<Result<_, _>>()?, ty))
    }

    fn binary(&mut self, op: Operator, left: &Syntax, right: &Syntax) -> Result<Typed, SqlError> {
        if let (Syntax::Row(left), Syntax::Row(right)) = (left, right) {
            return self.compare_rows(op, left, right);
        }
        if let Operator::Regex { insensitive, negated } = op {
            let (arg, pattern) = (self.text(left, op.symbol())?, self.text(right, op.symbol())?);
            return Ok(boolean(Expr::Regex {
                arg: Box::new(arg),
                pattern: Box::new(pattern),
                insensitive,
                negated,
            }));
        }
        let (left, right) = (self.expr(left)?, self.expr(right)?);
        if op.is_comparison() {
            return self.compare(op, left, right).map(boolean);
        }
        match op {
            Operator::Concat => self.concat(left, right),
            Operator::Arrow | Operator::LongArrow => {
                let text = op == Operator::LongArrow;
                if !matches!(left.ty, Type::Jsonb | Type::Json) {
                    return Err(no_operator(op.symbol(), &left.ty, &right.ty));
                }
                let key = if right.ty.is_integer() { right } else { self.known(right)? };
                let ty = if text { Type::Text } else { Type::Jsonb };
                Ok(typed(Expr::JsonGet { arg: Box::new(left.expr), key: Box::new(key.expr), text }, ty))
            }
            _ => self.arithmetic(op, left, right),
        }
    }

    /// (a, b) = (1, 2) is a = 1 AND b = 2; orderings compare the first columns that differ.
    fn compare_rows(&mut self, op: Operator, left: &[Syntax], right: &[Syntax]) -> Result<Typed, SqlError> {
        if left.len() != right.len() {
            return Err(SqlError::new(sqlstate::SYNTAX, "unequal number of entries in row expressions"));
        }
        let pair = |binder: &mut Binder, op: Operator, at: usize| {
            let (left, right) = (binder.expr(&left[at])?, binder.expr(&right[at])?);
            binder.compare(op, left, right)
        };
        match op {
            Operator::Eq => {
                let all = (0..right.len()).map(|at| pair(self, Operator::Eq, at));
                Ok(boolean(Expr::And(all.collect::<Result<_, _>>()?)))
            }
            Operator::NotEq => {
                let any = (0..right.len()).map(|at| pair(self, Operator::NotEq, at));
                Ok(boolean(Expr::Or(any.collect::<Result<_, _>>()?)))
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
                Ok(boolean(Expr::And(vec![pair(self, loose, 0)?, Expr::Or(cases)])))
            }
        }
    }

    fn concat(&mut self, left: Typed, right: Typed) -> Result<Typed, SqlError> {
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
        Ok(typed(Expr::Concat { left: Box::new(left), right: Box::new(right) }, ty))
    }

    fn arithmetic(&mut self, op: Operator, left: Typed, right: Typed) -> Result<Typed, SqlError> {
        let failed = no_operator(op.symbol(), &left.ty, &right.ty);
        // A date moves by whole days.
        if left.ty == Type::Date && (right.ty.is_integer() || right.ty == Type::Date) {
            let ty = match (op, &right.ty) {
                (Operator::Minus, Type::Date) => Type::Int4,
                (Operator::Plus | Operator::Minus, ty) if ty.is_integer() => Type::Date,
                _ => return Err(failed),
            };
            let (left, right) = (Box::new(left.expr), Box::new(right.expr));
            return Ok(typed(Expr::Arithmetic { op, ty: ty.clone(), left, right }, ty));
        }
        let mut common = match self.common_type(&left.ty, &right.ty) {
            Ok(Type::Unknown) => Type::Int4,
            Ok(ty) if ty.is_number() => ty.plain(),
            _ => return Err(failed),
        };
        if common == Type::Float4 || op == Operator::Power {
            common = if matches!(common, Type::Numeric(_)) { common } else { Type::Float8 };
        }
        let allowed = match op {
            Operator::BitAnd | Operator::BitOr => common.is_integer(),
            Operator::Modulo => common != Type::Float8,
            _ => true,
        };
        if !allowed {
            return Err(failed);
        }
        let left = Box::new(self.coerce(left, &common, Strength::Implicit)?);
        let right = Box::new(self.coerce(right, &common, Strength::Implicit)?);
        Ok(typed(Expr::Arithmetic { op, ty: common.clone(), left, right }, common))
    }

    fn in_list(&mut self, arg: &Syntax, list: &[Syntax], negated: bool) -> Result<Typed, SqlError> {
        if let Syntax::Row(columns) = arg {
            let mut any = Vec::new();
            for item in list {
                let Syntax::Row(values) = item else {
                    return Err(SqlError::new(sqlstate::SYNTAX, "a row is needed on both sides of IN"));
                };
                any.push(self.compare_rows(Operator::Eq, columns, values)?.expr);
            }
            let any = Expr::Or(any);
            return Ok(boolean(if negated { Expr::Not(Box::new(any)) } else { any }));
        }
        let arg = self.expr(arg)?;
        let mut common = arg.ty.clone();
        let mut bound = Vec::with_capacity(list.len());
        for item in list {
            let item = self.expr(item)?;
            common = self.common_type(&common, &item.ty).map_err(|_| no_operator("=", &arg.ty, &item.ty))?;
            bound.push(item);
        }
        let mut left = None;
        let mut items = Vec::with_capacity(bound.len());
        for item in bound {
            // All items as one type, so that the argument is bound once.
            let item = typed(self.coerce(item, &common, Strength::Implicit)?, common.clone());
            if let Expr::Compare { left: own, right, .. } = self.compare(Operator::Eq, arg.clone(), item)? {
                left = Some(own);
                items.push(*right);
            }
        }
        let arg = match left {
            Some(left) => left,
            None => Box::new(arg.expr),
        };
        Ok(boolean(Expr::In { arg, list: items, negated }))
    }

    fn quantified(
        &mut self,
        left: &Syntax,
        op: Operator,
        array: &Syntax,
        all: bool,
    ) -> Result<Typed, SqlError> {
        let (left, array) = (self.expr(left)?, self.expr(array)?);
        let (array, element) = match array.ty.clone() {
            Type::Array(element) => (array.expr, *element),
            Type::Unknown => {
                let element = if left.ty == Type::Unknown { Type::Text } else { left.ty.plain() };
                let ty = Type::Array(Box::new(element.clone()));
                (self.coerce(array, &ty, Strength::Implicit)?, element)
            }
            _ => {
                return Err(SqlError::new("42809", "op ANY/ALL (array) requires array on right side"));
            }
        };
        if matches!(op, Operator::Regex { .. }) {
            let left = Box::new(self.known(left)?.expr);
            return Ok(boolean(Expr::Quantified { left, op, array: Box::new(array), all }));
        }
        // The left side meets the elements' type; whole numbers of other widths compare as they are.
        let other = typed(Expr::Const(None), element);
        let both_integers = left.ty.is_integer() && other.ty.is_integer();
        let left = if both_integers {
            Box::new(left.expr)
        } else {
            match self.compare(Operator::Eq, left, other)? {
                Expr::Compare { left, .. } => left,
                other => Box::new(other),
            }
        };
        Ok(boolean(Expr::Quantified { left, op, array: Box::new(array), all }))
    }

    fn case(
        &mut self,
        operand: Option<&Syntax>,
        whens: &[(Syntax, Syntax)],
        otherwise: Option<&Syntax>,
    ) -> Result<Typed, SqlError> {
        let mut conditions = Vec::with_capacity(whens.len());
        let mut results = Vec::with_capacity(whens.len() + 1);
        let mut ty = Type::Unknown;
        for (when, then) in whens {
            conditions.push(match operand {
                None => self.condition(when, "CASE/WHEN")?,
                Some(operand) => {
                    let (operand, when) = (self.expr(operand)?, self.expr(when)?);
                    self.compare(Operator::Eq, operand, when)?
                }
            });
            let then = self.expr(then)?;
            ty = self.common_type(&ty, &then.ty)?;
            results.push(then);
        }
        if let Some(otherwise) = otherwise {
            let otherwise = self.expr(otherwise)?;
            ty = self.common_type(&ty, &otherwise.ty)?;
            results.push(otherwise);
        }
        let ty = if ty == Type::Unknown { Type::Text } else { ty };
        let mut cast = Vec::with_capacity(results.len());
        for result in results {
            cast.push(self.coerce(result, &ty, Strength::Implicit)?);
        }
        let last = if otherwise.is_some() { cast.pop().map(Box::new) } else { None };
        let whens = conditions.into_iter().zip(cast).collect();
        Ok(typed(Expr::Case { whens, otherwise: last }, ty))
    }
}

pub(super) fn positioned(error: SqlError, name: &Name) -> SqlError {
    match name.position {
        Some(position) => error.at(position),
        None => error,
    }
}

/// A number literal: integer if it fits, else bigint, else numeric.
fn number(digits: &str) -> Result<Typed, SqlError> {
    if let Ok(value) = digits.parse::<i32>() {
        return Ok(typed(Expr::Const(Some(Value::Int4(value))), Type::Int4));
    }
    if let Ok(value) = digits.parse::<i64>() {
        return Ok(typed(Expr::Const(Some(Value::Int8(value))), Type::Int8));
    }
    let ty = Type::Numeric(None);
    let value = Value::from_text(&ty, digits)?;
    Ok(typed(Expr::Const(Some(value)), ty))
}
