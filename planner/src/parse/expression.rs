//! Expressions from the parser's tree into ours.

use sqlparser::ast::{
    AccessExpr, BinaryOperator, CastKind, CeilFloorKind, DateTimeField, DuplicateTreatment, Expr, Function,
    FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments, Subscript, TrimWhereField,
    UnaryOperator, Value,
};

use super::converter::{Converter, fold, is_default};
use super::data_type::{data_type, interval_type, named_type, unknown_type};
use super::refuse::{collation, foreign, unsupported};
use crate::error::{SqlError, sqlstate};
use crate::statement::{self, Call, Name, Operator, Syntax};

impl Converter<'_> {
    /// Converts an expression.
    pub(super) fn expr(&self, expr: Expr) -> Result<Syntax, SqlError> {
        self.nested(|| self.expr_here(expr))
    }

    fn expr_here(&self, expr: Expr) -> Result<Syntax, SqlError> {
        Ok(match expr {
            Expr::Identifier(ident) if ident.quote_style.is_none() && is_default(&ident.value) => {
                Syntax::Default
            }
            Expr::Identifier(ident) => Syntax::Column(self.idents_name(&[ident])),
            Expr::CompoundIdentifier(idents) => Syntax::Column(self.idents_name(&idents)),
            Expr::Nested(inner) => self.expr(*inner)?,
            Expr::Value(value) => literal(value.value)?,
            Expr::TypedString(typed) => {
                let text = typed.value.value.into_string().unwrap_or_default();
                Syntax::Cast { arg: Box::new(Syntax::String(text)), ty: data_type(&typed.data_type)? }
            }
            Expr::Prefixed { prefix, value } => match *value {
                Expr::Value(value) => Syntax::Cast {
                    arg: Box::new(literal(value.value)?),
                    ty: named_type(&fold(&prefix)).ok_or_else(|| unknown_type(&fold(&prefix)))?,
                },
                _ => return Err(SqlError::unsupported("a prefixed expression")),
            },
            Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
                Syntax::And(self.chain(*left, *right, &BinaryOperator::And)?)
            }
            Expr::BinaryOp { left, op: BinaryOperator::Or, right } => {
                Syntax::Or(self.chain(*left, *right, &BinaryOperator::Or)?)
            }
            Expr::BinaryOp { left, op, right } => self.binary(op, *left, *right)?,
            Expr::UnaryOp { op, expr } => match op {
                UnaryOperator::Not => Syntax::Not(self.boxed(*expr)?),
                UnaryOperator::Plus => self.expr(*expr)?,
                UnaryOperator::Minus => match negative_first(*expr) {
                    (power, true) => self.expr(power)?,
                    (expr, false) => match self.expr(expr)? {
                        // A negative literal is one number, so that -9223372036854775808 fits into bigint.
                        Syntax::Number(digits) if !digits.starts_with('-') => {
                            Syntax::Number(format!("-{digits}"))
                        }
                        other => Syntax::Negate(Box::new(other)),
                    },
                },
                other => call(prefix_function(other)?, vec![self.expr(*expr)?]),
            },
            Expr::Cast { kind: CastKind::Cast | CastKind::DoubleColon, expr, data_type: ty, .. } => {
                Syntax::Cast { arg: self.boxed(*expr)?, ty: data_type(&ty)? }
            }
            Expr::Case { operand, conditions, else_result, .. } => Syntax::Case {
                operand: operand.map(|operand| self.boxed(*operand)).transpose()?,
                whens: conditions
                    .into_iter()
                    .map(|when| Ok((self.expr(when.condition)?, self.expr(when.result)?)))
                    .collect::<Result<_, SqlError>>()?,
                otherwise: else_result.map(|result| self.boxed(*result)).transpose()?,
            },
            Expr::Function(function) => self.function_call(function)?,
            Expr::Exists { subquery, negated } => {
                let exists = Syntax::Exists(Box::new(self.query(*subquery)?));
                if negated { Syntax::Not(Box::new(exists)) } else { exists }
            }
            Expr::Subquery(subquery) => Syntax::Subquery(Box::new(self.query(*subquery)?)),
            Expr::Array(array) => Syntax::Array(self.list(array.elem)?),
            Expr::Tuple(items) => Syntax::Row(self.list(items)?),
            Expr::Collate { expr, collation: own } => {
                collation(self.name(&own)?.last())?;
                self.expr(*expr)?
            }
            Expr::CompoundFieldAccess { root, access_chain } => self.subscripts(*root, access_chain)?,
            other => return self.predicate(other),
        })
    }

    /// Converts `root[index]..`.
    fn subscripts(&self, root: Expr, chain: Vec<AccessExpr>) -> Result<Syntax, SqlError> {
        self.check_chain(chain.len())?;
        let arg = self.boxed(root)?;
        let bound = |expr: Option<Expr>| expr.map(|expr| self.expr(expr)).transpose();
        let mut subscripts = Vec::with_capacity(chain.len());
        for access in chain {
            subscripts.push(match access {
                AccessExpr::Subscript(Subscript::Index { index }) => {
                    statement::Subscript::At(self.expr(index)?)
                }
                AccessExpr::Subscript(Subscript::Slice { lower_bound, upper_bound, stride: None }) => {
                    statement::Subscript::Slice(bound(lower_bound)?, bound(upper_bound)?)
                }
                _ => return Err(SqlError::unsupported("this access to a part of a value")),
            });
        }
        Ok(Syntax::Index { arg, subscripts })
    }

    /// Converts a predicate: IS, IN, BETWEEN, LIKE, ANY and ALL.
    fn predicate(&self, expr: Expr) -> Result<Syntax, SqlError> {
        Ok(match expr {
            Expr::IsNull(arg) => Syntax::IsNull { arg: self.boxed(*arg)?, negated: false },
            Expr::IsNotNull(arg) => Syntax::IsNull { arg: self.boxed(*arg)?, negated: true },
            Expr::IsUnknown(arg) => Syntax::IsNull { arg: self.boxed(*arg)?, negated: false },
            Expr::IsNotUnknown(arg) => Syntax::IsNull { arg: self.boxed(*arg)?, negated: true },
            Expr::IsTrue(arg) => Syntax::IsBool { arg: self.boxed(*arg)?, value: true, negated: false },
            Expr::IsNotTrue(arg) => Syntax::IsBool { arg: self.boxed(*arg)?, value: true, negated: true },
            Expr::IsFalse(arg) => Syntax::IsBool { arg: self.boxed(*arg)?, value: false, negated: false },
            Expr::IsNotFalse(arg) => Syntax::IsBool { arg: self.boxed(*arg)?, value: false, negated: true },
            Expr::IsDistinctFrom(left, right) => {
                Syntax::IsDistinct { left: self.boxed(*left)?, right: self.boxed(*right)?, negated: false }
            }
            Expr::IsNotDistinctFrom(left, right) => {
                Syntax::IsDistinct { left: self.boxed(*left)?, right: self.boxed(*right)?, negated: true }
            }
            Expr::InList { expr, list: items, negated } => {
                Syntax::In { arg: self.boxed(*expr)?, list: self.list(items)?, negated }
            }
            Expr::InSubquery { expr, subquery, negated } => {
                Syntax::InQuery { arg: self.boxed(*expr)?, query: Box::new(self.query(*subquery)?), negated }
            }
            Expr::Between { expr, negated, low, high } => Syntax::Between {
                arg: self.boxed(*expr)?,
                low: self.boxed(*low)?,
                high: self.boxed(*high)?,
                negated,
            },
            Expr::Like { negated, any: false, expr, pattern, escape_char } => {
                self.like(*expr, *pattern, escape_char, false, negated)?
            }
            Expr::ILike { negated, any: false, expr, pattern, escape_char } => {
                self.like(*expr, *pattern, escape_char, true, negated)?
            }
            Expr::AnyOp { left, compare_op, right, .. } => {
                self.quantified(*left, compare_op, *right, false)?
            }
            Expr::AllOp { left, compare_op, right } => self.quantified(*left, compare_op, *right, true)?,
            other => return self.special_form(other),
        })
    }

    /// Converts a function call that SQL writes with words between its arguments.
    fn special_form(&self, expr: Expr) -> Result<Syntax, SqlError> {
        Ok(match expr {
            Expr::Substring { expr, substring_from, substring_for, .. } => {
                let mut arguments = vec![self.expr(*expr)?];
                arguments.push(match substring_from {
                    Some(from) => self.expr(*from)?,
                    None => Syntax::Number("1".into()),
                });
                if let Some(length) = substring_for {
                    arguments.push(self.expr(*length)?);
                }
                call("substring", arguments)
            }
            Expr::Trim { trim_where, trim_what, expr, trim_characters } => {
                let function = match trim_where {
                    None | Some(TrimWhereField::Both) => "btrim",
                    Some(TrimWhereField::Leading) => "ltrim",
                    Some(TrimWhereField::Trailing) => "rtrim",
                };
                let mut arguments = vec![self.expr(*expr)?];
                if let Some(what) = trim_what {
                    arguments.push(self.expr(*what)?);
                }
                arguments.extend(self.list(trim_characters.unwrap_or_default())?);
                call(function, arguments)
            }
            Expr::Position { expr, r#in } => call("strpos", vec![self.expr(*r#in)?, self.expr(*expr)?]),
            Expr::Ceil { expr, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
                call("ceil", vec![self.expr(*expr)?])
            }
            Expr::Floor { expr, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
                call("floor", vec![self.expr(*expr)?])
            }
            Expr::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
                let mut arguments = self.list(vec![*expr, *overlay_what, *overlay_from])?;
                arguments.extend(overlay_for.map(|length| self.expr(*length)).transpose()?);
                call("overlay", arguments)
            }
            Expr::Interval(interval) => {
                let ty = interval_type(&interval)?;
                Syntax::Cast { arg: self.boxed(*interval.value)?, ty }
            }
            Expr::AtTimeZone { timestamp, time_zone } => {
                call("timezone", vec![self.expr(*time_zone)?, self.expr(*timestamp)?])
            }
            Expr::Extract { field, expr, .. } => {
                let field = field.to_string().to_lowercase();
                call("extract", vec![Syntax::String(field), self.expr(*expr)?])
            }
            other => {
                return Err(SqlError::unsupported(kind(&other)));
            }
        })
    }

    fn boxed(&self, expr: Expr) -> Result<Box<Syntax>, SqlError> {
        self.expr(expr).map(Box::new)
    }

    fn list(&self, exprs: Vec<Expr>) -> Result<Vec<Syntax>, SqlError> {
        exprs.into_iter().map(|expr| self.expr(expr)).collect()
    }

    /// The items of a left-deep chain of one logical operator, without recursion along it.
    fn chain(&self, left: Expr, right: Expr, op: &BinaryOperator) -> Result<Vec<Syntax>, SqlError> {
        let mut items = vec![self.expr(right)?];
        let mut rest = left;
        loop {
            match rest {
                Expr::BinaryOp { left, op: own, right } if own == *op => {
                    items.push(self.expr(*right)?);
                    rest = *left;
                }
                other => {
                    items.push(self.expr(other)?);
                    break;
                }
            }
        }
        items.reverse();
        Ok(items)
    }

    fn like(
        &self,
        arg: Expr,
        pattern: Expr,
        escape: Option<Box<Expr>>,
        insensitive: bool,
        negated: bool,
    ) -> Result<Syntax, SqlError> {
        let escape = match escape.map(|escape| self.expr(*escape)).transpose()? {
            None => Some('\\'),
            Some(Syntax::String(text)) if text.chars().count() <= 1 => text.chars().next(),
            Some(_) => {
                return Err(SqlError::new("22025", "invalid escape string")
                    .hint("Escape string must be empty or one character."));
            }
        };
        Ok(Syntax::Like {
            arg: self.boxed(arg)?,
            pattern: self.boxed(pattern)?,
            escape,
            insensitive,
            negated,
        })
    }

    fn quantified(&self, left: Expr, op: BinaryOperator, right: Expr, all: bool) -> Result<Syntax, SqlError> {
        let symbol = op.to_string();
        let op = operator(op).filter(|op| op.is_comparison() || matches!(op, Operator::Regex { .. }));
        let op = op.ok_or_else(|| SqlError::unsupported(format!("{symbol} ANY")))?;
        let left = self.boxed(left)?;
        // ANY (SELECT ..) is IN; ANY (array) stays.
        match self.expr(right)? {
            Syntax::Subquery(query) if op == Operator::Eq && !all => {
                Ok(Syntax::InQuery { arg: left, query, negated: false })
            }
            Syntax::Subquery(query) => {
                Ok(Syntax::Quantified { left, op, array: Box::new(Syntax::ArrayQuery(query)), all })
            }
            array => Ok(Syntax::Quantified { left, op, array: Box::new(array), all }),
        }
    }

    fn binary(&self, op: BinaryOperator, left: Expr, right: Expr) -> Result<Syntax, SqlError> {
        let like_like = match op {
            BinaryOperator::PGLikeMatch => Some((false, false)),
            BinaryOperator::PGILikeMatch => Some((true, false)),
            BinaryOperator::PGNotLikeMatch => Some((false, true)),
            BinaryOperator::PGNotILikeMatch => Some((true, true)),
            _ => None,
        };
        if let Some((insensitive, negated)) = like_like {
            return self.like(left, right, None, insensitive, negated);
        }
        let symbol = op.to_string();
        let op = operator(op).ok_or_else(|| SqlError::unsupported(format!("the operator {symbol}")))?;
        let (left, right) = (self.boxed(left)?, self.boxed(right)?);
        Ok(Syntax::Binary { op, left, right })
    }

    fn function_call(&self, function: Function) -> Result<Syntax, SqlError> {
        let Function { name, uses_odbc_syntax, parameters, args, within_group, filter, null_treatment, over } =
            function;
        let own = self.name(&name)?;
        foreign(&[(uses_odbc_syntax, "{fn"), (!matches!(parameters, FunctionArguments::None), "(")])?;
        unsupported(&[
            (!within_group.is_empty(), "WITHIN GROUP"),
            (null_treatment.is_some(), "IGNORE NULLS"),
        ])?;
        let mut result = Call {
            name: own,
            arguments: Vec::new(),
            star: false,
            distinct: false,
            order_by: Vec::new(),
            filter: filter.map(|filter| self.expr(*filter)).transpose()?,
            over: over.map(|over| self.over(over)).transpose()?,
        };
        match args {
            FunctionArguments::None => {}
            FunctionArguments::Subquery(subquery) => {
                // ARRAY(SELECT ..) arrives as a call.
                let query = Box::new(self.query(*subquery)?);
                return if result.name.last() == "array" {
                    Ok(Syntax::ArrayQuery(query))
                } else {
                    result.arguments.push(Syntax::Subquery(query));
                    Ok(Syntax::Call(Box::new(result)))
                };
            }
            FunctionArguments::List(arguments) => {
                result.distinct = arguments.duplicate_treatment == Some(DuplicateTreatment::Distinct);
                for argument in arguments.args {
                    match argument {
                        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => {
                            result.arguments.push(self.expr(expr)?);
                        }
                        FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => result.star = true,
                        _ => return Err(SqlError::unsupported("a named function argument")),
                    }
                }
                for clause in arguments.clauses {
                    match clause {
                        FunctionArgumentClause::OrderBy(order) => {
                            for item in order {
                                result.order_by.push(self.order(item)?);
                            }
                        }
                        _ => return Err(SqlError::unsupported("this clause of a function call")),
                    }
                }
            }
        }
        Ok(Syntax::Call(Box::new(result)))
    }
}

/// The argument of a minus sign. The parser has `-a ^ b` as the negative of a power; in PostgreSQL it is the power of the
/// negative: then that is given, and `true`.
fn negative_first(expr: Expr) -> (Expr, bool) {
    let mut powers = Vec::new();
    let mut base = expr;
    while let Expr::BinaryOp { left, op: BinaryOperator::PGExp, right } = base {
        powers.push(right);
        base = *left;
    }
    if powers.is_empty() {
        return (base, false);
    }
    let negative = Expr::UnaryOp { op: UnaryOperator::Minus, expr: Box::new(base) };
    let power = |left, right| Expr::BinaryOp { left: Box::new(left), op: BinaryOperator::PGExp, right };
    (powers.into_iter().rev().fold(negative, power), true)
}

/// The function of a prefix operator that is one.
fn prefix_function(op: UnaryOperator) -> Result<&'static str, SqlError> {
    match op {
        UnaryOperator::PGSquareRoot => Ok("sqrt"),
        UnaryOperator::PGCubeRoot => Ok("cbrt"),
        UnaryOperator::PGAbs => Ok("abs"),
        other => Err(SqlError::unsupported(format!("the operator {other}"))),
    }
}

/// What an expression that this server does not have is called. Its text is not printed: printing walks the parser's
/// tree, of which only the depth of the whole text is known.
fn kind(expr: &Expr) -> &'static str {
    match expr {
        Expr::AtTimeZone { .. } => "AT TIME ZONE",
        Expr::Interval(_) => "an interval",
        Expr::SimilarTo { .. } => "SIMILAR TO",
        Expr::Like { .. } | Expr::ILike { .. } => "LIKE ANY",
        Expr::GroupingSets(_) | Expr::Cube(_) | Expr::Rollup(_) => "GROUPING SETS",
        Expr::IsNormalized { .. } => "IS NORMALIZED",
        Expr::JsonAccess { .. } => "this access to a part of a JSON value",
        Expr::InUnnest { .. } => "IN UNNEST",
        Expr::Cast { .. } => "this form of a cast",
        Expr::Wildcard(_) | Expr::QualifiedWildcard(..) => "a row as a value (*)",
        _ => "this form of an expression",
    }
}

fn plain(text: &str) -> Name {
    Name { parts: vec![text.to_string()], position: None }
}

fn call(name: &str, arguments: Vec<Syntax>) -> Syntax {
    Syntax::Call(Box::new(Call {
        name: plain(name),
        arguments,
        star: false,
        distinct: false,
        order_by: Vec::new(),
        filter: None,
        over: None,
    }))
}

fn operator(op: BinaryOperator) -> Option<Operator> {
    let regex = |insensitive, negated| Operator::Regex { insensitive, negated };
    Some(match op {
        BinaryOperator::Eq => Operator::Eq,
        BinaryOperator::NotEq => Operator::NotEq,
        BinaryOperator::Lt => Operator::Lt,
        BinaryOperator::LtEq => Operator::LtEq,
        BinaryOperator::Gt => Operator::Gt,
        BinaryOperator::GtEq => Operator::GtEq,
        BinaryOperator::Plus => Operator::Plus,
        BinaryOperator::Minus => Operator::Minus,
        BinaryOperator::Multiply => Operator::Times,
        BinaryOperator::Divide => Operator::Divide,
        BinaryOperator::Modulo => Operator::Modulo,
        BinaryOperator::PGExp => Operator::Power,
        BinaryOperator::StringConcat => Operator::Concat,
        BinaryOperator::BitwiseAnd => Operator::BitAnd,
        BinaryOperator::BitwiseOr => Operator::BitOr,
        BinaryOperator::PGRegexMatch => regex(false, false),
        BinaryOperator::PGRegexIMatch => regex(true, false),
        BinaryOperator::PGRegexNotMatch => regex(false, true),
        BinaryOperator::PGRegexNotIMatch => regex(true, true),
        BinaryOperator::AtArrow => Operator::Named("@>"),
        BinaryOperator::ArrowAt => Operator::Named("<@"),
        BinaryOperator::PGOverlap => Operator::Named("&&"),
        BinaryOperator::HashArrow => Operator::Named("#>"),
        BinaryOperator::HashLongArrow => Operator::Named("#>>"),
        BinaryOperator::HashMinus => Operator::Named("#-"),
        BinaryOperator::Question => Operator::Named("?"),
        BinaryOperator::QuestionAnd => Operator::Named("?&"),
        BinaryOperator::QuestionPipe => Operator::Named("?|"),
        BinaryOperator::PGStartsWith => Operator::Named("^@"),
        BinaryOperator::Arrow => Operator::Arrow,
        BinaryOperator::LongArrow => Operator::LongArrow,
        // OPERATOR(pg_catalog.~)
        BinaryOperator::PGCustomBinaryOperator(parts) => match parts.last().map(String::as_str)? {
            "=" => Operator::Eq,
            "<>" | "!=" => Operator::NotEq,
            "<" => Operator::Lt,
            "<=" => Operator::LtEq,
            ">" => Operator::Gt,
            ">=" => Operator::GtEq,
            "+" => Operator::Plus,
            "-" => Operator::Minus,
            "*" => Operator::Times,
            "/" => Operator::Divide,
            "||" => Operator::Concat,
            "~" => regex(false, false),
            "~*" => regex(true, false),
            "!~" => regex(false, true),
            "!~*" => regex(true, true),
            _ => return None,
        },
        _ => return None,
    })
}

fn literal(value: Value) -> Result<Syntax, SqlError> {
    Ok(match value {
        Value::Number(digits, _) => Syntax::Number(digits),
        Value::SingleQuotedString(text)
        | Value::EscapedStringLiteral(text)
        | Value::UnicodeStringLiteral(text)
        | Value::NationalStringLiteral(text) => Syntax::String(text),
        Value::DollarQuotedString(text) => Syntax::String(text.value),
        Value::Boolean(value) => Syntax::Bool(value),
        Value::Null => Syntax::Null,
        Value::Placeholder(text) => {
            let number = text.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok());
            match number {
                Some(number) if (1..=65_535).contains(&number) => Syntax::Param(number - 1),
                _ => {
                    return Err(SqlError::new(
                        sqlstate::UNDEFINED_PARAMETER,
                        format!("there is no parameter {text}"),
                    ));
                }
            }
        }
        other => return Err(SqlError::unsupported(format!("the literal {other}"))),
    })
}
