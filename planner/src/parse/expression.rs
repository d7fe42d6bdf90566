//! Expressions and type names from the parser's tree into ours.

use sqlparser::ast::{
    AccessExpr, ArrayElemTypeDef, BinaryOperator, CastKind, CharacterLength, DataType, DuplicateTreatment,
    ExactNumberInfo, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments,
    Ident, ObjectName, ObjectNamePart, Subscript, TimezoneInfo, TrimWhereField, UnaryOperator, Value,
};

use super::{Source, is_default, query};
use crate::error::{SqlError, sqlstate};
use crate::statement::{Call, Name, Operator, Syntax};
use crate::types::Type;

/// An identifier, folded as PostgreSQL folds it.
pub(super) fn fold(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// A name with its position.
pub(super) fn name(source: &Source<'_>, name: &ObjectName) -> Result<Name, SqlError> {
    let mut idents = Vec::with_capacity(name.0.len());
    for part in &name.0 {
        match part {
            ObjectNamePart::Identifier(ident) => idents.push(ident.clone()),
            ObjectNamePart::Function(_) => return Err(SqlError::unsupported("a computed name")),
        }
    }
    Ok(idents_name(source, &idents))
}

fn idents_name(source: &Source<'_>, idents: &[Ident]) -> Name {
    Name {
        parts: idents.iter().map(fold).collect(),
        position: idents.first().and_then(|ident| source.position(ident.span.start)),
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
    }))
}

fn boxed(source: &Source<'_>, expr: Expr) -> Result<Box<Syntax>, SqlError> {
    convert(source, expr).map(Box::new)
}

fn list(source: &Source<'_>, exprs: Vec<Expr>) -> Result<Vec<Syntax>, SqlError> {
    exprs.into_iter().map(|expr| convert(source, expr)).collect()
}

/// Converts an expression.
pub(super) fn convert(source: &Source<'_>, expr: Expr) -> Result<Syntax, SqlError> {
    Ok(match expr {
        Expr::Identifier(ident) if ident.quote_style.is_none() && is_default(&ident.value) => Syntax::Default,
        Expr::Identifier(ident) => Syntax::Column(idents_name(source, &[ident])),
        Expr::CompoundIdentifier(idents) => Syntax::Column(idents_name(source, &idents)),
        Expr::Nested(inner) => convert(source, *inner)?,
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
            Syntax::And(chain(source, *left, *right, &BinaryOperator::And)?)
        }
        Expr::BinaryOp { left, op: BinaryOperator::Or, right } => {
            Syntax::Or(chain(source, *left, *right, &BinaryOperator::Or)?)
        }
        Expr::BinaryOp { left, op, right } => binary(source, op, *left, *right)?,
        Expr::UnaryOp { op, expr } => match op {
            UnaryOperator::Not => Syntax::Not(boxed(source, *expr)?),
            UnaryOperator::Plus => convert(source, *expr)?,
            UnaryOperator::Minus => match convert(source, *expr)? {
                // A negative literal is one number, so that -9223372036854775808 fits into bigint.
                Syntax::Number(digits) if !digits.starts_with('-') => Syntax::Number(format!("-{digits}")),
                other => Syntax::Negate(Box::new(other)),
            },
            other => return Err(SqlError::unsupported(format!("the operator {other}"))),
        },
        Expr::IsNull(arg) => Syntax::IsNull { arg: boxed(source, *arg)?, negated: false },
        Expr::IsNotNull(arg) => Syntax::IsNull { arg: boxed(source, *arg)?, negated: true },
        Expr::IsUnknown(arg) => Syntax::IsNull { arg: boxed(source, *arg)?, negated: false },
        Expr::IsNotUnknown(arg) => Syntax::IsNull { arg: boxed(source, *arg)?, negated: true },
        Expr::IsTrue(arg) => Syntax::IsBool { arg: boxed(source, *arg)?, value: true, negated: false },
        Expr::IsNotTrue(arg) => Syntax::IsBool { arg: boxed(source, *arg)?, value: true, negated: true },
        Expr::IsFalse(arg) => Syntax::IsBool { arg: boxed(source, *arg)?, value: false, negated: false },
        Expr::IsNotFalse(arg) => Syntax::IsBool { arg: boxed(source, *arg)?, value: false, negated: true },
        Expr::IsDistinctFrom(left, right) => {
            Syntax::IsDistinct { left: boxed(source, *left)?, right: boxed(source, *right)?, negated: false }
        }
        Expr::IsNotDistinctFrom(left, right) => {
            Syntax::IsDistinct { left: boxed(source, *left)?, right: boxed(source, *right)?, negated: true }
        }
        Expr::InList { expr, list: items, negated } => {
            Syntax::In { arg: boxed(source, *expr)?, list: list(source, items)?, negated }
        }
        Expr::InSubquery { expr, subquery, negated } => Syntax::InQuery {
            arg: boxed(source, *expr)?,
            query: Box::new(query::query(source, *subquery)?),
            negated,
        },
        Expr::Between { expr, negated, low, high } => {
            let arg = boxed(source, *expr)?;
            let (low, high) = (boxed(source, *low)?, boxed(source, *high)?);
            let from = Syntax::Binary { op: Operator::GtEq, left: arg.clone(), right: low };
            let to = Syntax::Binary { op: Operator::LtEq, left: arg, right: high };
            let both = Syntax::And(vec![from, to]);
            if negated { Syntax::Not(Box::new(both)) } else { both }
        }
        Expr::Like { negated, any: false, expr, pattern, escape_char } => {
            like(source, *expr, *pattern, escape_char, false, negated)?
        }
        Expr::ILike { negated, any: false, expr, pattern, escape_char } => {
            like(source, *expr, *pattern, escape_char, true, negated)?
        }
        Expr::AnyOp { left, compare_op, right, .. } => quantified(source, *left, compare_op, *right, false)?,
        Expr::AllOp { left, compare_op, right } => quantified(source, *left, compare_op, *right, true)?,
        Expr::Cast { kind: CastKind::Cast | CastKind::DoubleColon, expr, data_type: ty, .. } => {
            Syntax::Cast { arg: boxed(source, *expr)?, ty: data_type(&ty)? }
        }
        Expr::Case { operand, conditions, else_result, .. } => Syntax::Case {
            operand: operand.map(|operand| boxed(source, *operand)).transpose()?,
            whens: conditions
                .into_iter()
                .map(|when| Ok((convert(source, when.condition)?, convert(source, when.result)?)))
                .collect::<Result<_, SqlError>>()?,
            otherwise: else_result.map(|result| boxed(source, *result)).transpose()?,
        },
        Expr::Function(function) => function_call(source, function)?,
        Expr::Exists { subquery, negated } => {
            let exists = Syntax::Exists(Box::new(query::query(source, *subquery)?));
            if negated { Syntax::Not(Box::new(exists)) } else { exists }
        }
        Expr::Subquery(subquery) => Syntax::Subquery(Box::new(query::query(source, *subquery)?)),
        Expr::Array(array) => Syntax::Array(list(source, array.elem)?),
        Expr::Tuple(items) => Syntax::Row(list(source, items)?),
        // All text sorts by its bytes: a collation changes nothing that this server offers.
        Expr::Collate { expr, .. } => convert(source, *expr)?,
        Expr::CompoundFieldAccess { root, access_chain } => {
            let mut value = convert(source, *root)?;
            for access in access_chain {
                value = match access {
                    AccessExpr::Subscript(Subscript::Index { index }) => {
                        Syntax::Index { arg: Box::new(value), index: boxed(source, index)? }
                    }
                    _ => return Err(SqlError::unsupported("this access to a part of a value")),
                };
            }
            value
        }
        Expr::Substring { expr, substring_from, substring_for, .. } => {
            let mut arguments = vec![convert(source, *expr)?];
            arguments.push(match substring_from {
                Some(from) => convert(source, *from)?,
                None => Syntax::Number("1".into()),
            });
            if let Some(length) = substring_for {
                arguments.push(convert(source, *length)?);
            }
            call("substring", arguments)
        }
        Expr::Trim { trim_where, trim_what, expr, trim_characters } => {
            let function = match trim_where {
                None | Some(TrimWhereField::Both) => "btrim",
                Some(TrimWhereField::Leading) => "ltrim",
                Some(TrimWhereField::Trailing) => "rtrim",
            };
            let mut arguments = vec![convert(source, *expr)?];
            if let Some(what) = trim_what {
                arguments.push(convert(source, *what)?);
            }
            arguments.extend(list(source, trim_characters.unwrap_or_default())?);
            call(function, arguments)
        }
        Expr::Position { expr, r#in } => {
            call("strpos", vec![convert(source, *r#in)?, convert(source, *expr)?])
        }
        Expr::Ceil { expr, .. } => call("ceil", vec![convert(source, *expr)?]),
        Expr::Floor { expr, .. } => call("floor", vec![convert(source, *expr)?]),
        Expr::Extract { field, expr, .. } => {
            let field = field.to_string().to_lowercase();
            call("date_part", vec![Syntax::String(field), convert(source, *expr)?])
        }
        other => {
            let text: String = other.to_string().chars().take(60).collect();
            return Err(SqlError::unsupported(format!("the expression {text}")));
        }
    })
}

/// The items of a left-deep chain of one logical operator, without recursion along it.
fn chain(source: &Source<'_>, left: Expr, right: Expr, op: &BinaryOperator) -> Result<Vec<Syntax>, SqlError> {
    let mut items = vec![convert(source, right)?];
    let mut rest = left;
    loop {
        match rest {
            Expr::BinaryOp { left, op: own, right } if own == *op => {
                items.push(convert(source, *right)?);
                rest = *left;
            }
            other => {
                items.push(convert(source, other)?);
                break;
            }
        }
    }
    items.reverse();
    Ok(items)
}

fn like(
    source: &Source<'_>,
    arg: Expr,
    pattern: Expr,
    escape: Option<Box<Expr>>,
    insensitive: bool,
    negated: bool,
) -> Result<Syntax, SqlError> {
    let escape = match escape.map(|escape| convert(source, *escape)).transpose()? {
        None => Some('\\'),
        Some(Syntax::String(text)) if text.chars().count() <= 1 => text.chars().next(),
        Some(_) => {
            return Err(SqlError::new("22025", "invalid escape string")
                .hint("Escape string must be empty or one character."));
        }
    };
    Ok(Syntax::Like {
        arg: boxed(source, arg)?,
        pattern: boxed(source, pattern)?,
        escape,
        insensitive,
        negated,
    })
}

fn quantified(
    source: &Source<'_>,
    left: Expr,
    op: BinaryOperator,
    right: Expr,
    all: bool,
) -> Result<Syntax, SqlError> {
    let symbol = op.to_string();
    let op = operator(op).filter(|op| op.is_comparison() || matches!(op, Operator::Regex { .. }));
    let op = op.ok_or_else(|| SqlError::unsupported(format!("{symbol} ANY")))?;
    let left = boxed(source, left)?;
    // ANY (SELECT ..) is IN; ANY (array) stays.
    match convert(source, right)? {
        Syntax::Subquery(query) if op == Operator::Eq && !all => {
            Ok(Syntax::InQuery { arg: left, query, negated: false })
        }
        Syntax::Subquery(query) => {
            Ok(Syntax::Quantified { left, op, array: Box::new(Syntax::ArrayQuery(query)), all })
        }
        array => Ok(Syntax::Quantified { left, op, array: Box::new(array), all }),
    }
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

fn binary(source: &Source<'_>, op: BinaryOperator, left: Expr, right: Expr) -> Result<Syntax, SqlError> {
    let like_like = match op {
        BinaryOperator::PGLikeMatch => Some((false, false)),
        BinaryOperator::PGILikeMatch => Some((true, false)),
        BinaryOperator::PGNotLikeMatch => Some((false, true)),
        BinaryOperator::PGNotILikeMatch => Some((true, true)),
        _ => None,
    };
    if let Some((insensitive, negated)) = like_like {
        return like(source, left, right, None, insensitive, negated);
    }
    let symbol = op.to_string();
    let op = operator(op).ok_or_else(|| SqlError::unsupported(format!("the operator {symbol}")))?;
    let (left, right) = (boxed(source, left)?, boxed(source, right)?);
    Ok(Syntax::Binary { op, left, right })
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

fn function_call(source: &Source<'_>, function: Function) -> Result<Syntax, SqlError> {
    let own = name(source, &function.name)?;
    if function.over.is_some() {
        return Err(SqlError::unsupported("a window function"));
    }
    if !function.within_group.is_empty() {
        return Err(SqlError::unsupported("WITHIN GROUP"));
    }
    let mut result = Call {
        name: own,
        arguments: Vec::new(),
        star: false,
        distinct: false,
        order_by: Vec::new(),
        filter: function.filter.map(|filter| convert(source, *filter)).transpose()?,
    };
    match function.args {
        FunctionArguments::None => {}
        FunctionArguments::Subquery(subquery) => {
            // ARRAY(SELECT ..) arrives as a call.
            let query = Box::new(query::query(source, *subquery)?);
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
                        result.arguments.push(convert(source, expr)?);
                    }
                    FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => result.star = true,
                    _ => return Err(SqlError::unsupported("a named function argument")),
                }
            }
            for clause in arguments.clauses {
                match clause {
                    FunctionArgumentClause::OrderBy(order) => {
                        for item in order {
                            result.order_by.push(query::order(source, item)?);
                        }
                    }
                    _ => return Err(SqlError::unsupported("this clause of a function call")),
                }
            }
        }
    }
    Ok(Syntax::Call(Box::new(result)))
}

/// 42704.
pub(super) fn unknown_type(name: &str) -> SqlError {
    SqlError::new(sqlstate::UNDEFINED_OBJECT, format!("type \"{name}\" does not exist"))
}

const SUPPORTED_TYPES: &str = "Supported: smallint, integer, bigint, boolean, double precision, numeric, text, \
                               varchar, bytea, uuid, date, timestamptz, jsonb.";

/// A type by its plain name.
pub(super) fn named_type(name: &str) -> Option<Type> {
    Some(match name {
        "bool" | "boolean" => Type::Bool,
        "int2" | "smallint" => Type::Int2,
        "int4" | "int" | "integer" => Type::Int4,
        "int8" | "bigint" => Type::Int8,
        "float4" | "real" => Type::Float4,
        "float8" => Type::Float8,
        "numeric" | "decimal" => Type::Numeric(None),
        "text" => Type::Text,
        "varchar" => Type::Varchar(None),
        "bytea" => Type::Bytea,
        "uuid" => Type::Uuid,
        "date" => Type::Date,
        "timestamptz" => Type::Timestamptz,
        "json" => Type::Json,
        "jsonb" => Type::Jsonb,
        "name" => Type::Name,
        "char" => Type::Char,
        "oid" => Type::Oid,
        "regclass" => Type::Regclass,
        "regtype" => Type::Regtype,
        "regproc" => Type::Opaque(24, "regproc"),
        "regnamespace" => Type::Opaque(4089, "regnamespace"),
        "regrole" => Type::Opaque(4096, "regrole"),
        "xid" => Type::Opaque(28, "xid"),
        _ => return None,
    })
}

/// A type name.
pub(super) fn data_type(ty: &DataType) -> Result<Type, SqlError> {
    Ok(match ty {
        DataType::Bool | DataType::Boolean => Type::Bool,
        DataType::SmallInt(_) | DataType::Int2(_) => Type::Int2,
        DataType::Int(_) | DataType::Integer(_) | DataType::Int4(_) => Type::Int4,
        DataType::BigInt(_) | DataType::Int8(_) => Type::Int8,
        DataType::Real | DataType::Float4 => Type::Float4,
        DataType::DoublePrecision | DataType::Float8 | DataType::Double(_) => Type::Float8,
        DataType::Float(ExactNumberInfo::Precision(1..=24)) => Type::Float4,
        DataType::Float(_) => Type::Float8,
        DataType::Numeric(info) | DataType::Decimal(info) | DataType::Dec(info) => {
            Type::Numeric(match info {
                ExactNumberInfo::None => None,
                ExactNumberInfo::Precision(precision) => Some((numeric_precision(*precision)?, 0)),
                ExactNumberInfo::PrecisionAndScale(precision, scale) => {
                    let precision = numeric_precision(*precision)?;
                    if *scale < 0 || *scale > i64::from(precision) {
                        return Err(SqlError::new(
                            sqlstate::INVALID_PARAMETER,
                            format!("NUMERIC scale {scale} must be between 0 and precision {precision}"),
                        ));
                    }
                    Some((precision, *scale as u16))
                }
            })
        }
        DataType::Text => Type::Text,
        DataType::Varchar(length) | DataType::CharacterVarying(length) | DataType::CharVarying(length) => {
            Type::Varchar(match length {
                None | Some(CharacterLength::Max) => None,
                Some(CharacterLength::IntegerLength { length, .. }) => match *length {
                    1..=10_485_760 => Some(*length as u32),
                    0 => {
                        return Err(SqlError::new(
                            sqlstate::INVALID_PARAMETER,
                            "length for type varchar must be at least 1",
                        ));
                    }
                    _ => {
                        return Err(SqlError::new(
                            sqlstate::INVALID_PARAMETER,
                            "length for type varchar cannot exceed 10485760",
                        ));
                    }
                },
            })
        }
        DataType::Bytea => Type::Bytea,
        DataType::Uuid => Type::Uuid,
        DataType::Date => Type::Date,
        DataType::Timestamp(_, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => Type::Timestamptz,
        DataType::Timestamp(..) | DataType::Datetime(_) => {
            return Err(SqlError::unsupported("timestamp without time zone").hint("Use timestamptz."));
        }
        DataType::Time(..) => {
            return Err(SqlError::unsupported("time").hint("Use timestamptz, or text."));
        }
        DataType::Interval { .. } => return Err(SqlError::unsupported("interval").hint(SUPPORTED_TYPES)),
        DataType::JSON => Type::Json,
        DataType::JSONB => Type::Jsonb,
        DataType::Regclass => Type::Regclass,
        // The unquoted char is char(1); psql casts to pg_catalog."char", which arrives as a custom name.
        DataType::Char(None) | DataType::Character(None) => Type::Char,
        DataType::Char(_) | DataType::Character(_) => {
            return Err(SqlError::unsupported("char(n)").hint("Use varchar(n) or text."));
        }
        DataType::Array(
            ArrayElemTypeDef::SquareBracket(element, _)
            | ArrayElemTypeDef::AngleBracket(element)
            | ArrayElemTypeDef::Qualified(element, _),
        ) => Type::Array(Box::new(data_type(element)?)),
        DataType::Custom(name, modifiers) => custom(name, modifiers)?,
        other => return custom_name(&other.to_string().to_lowercase()),
    })
}

fn numeric_precision(precision: u64) -> Result<u16, SqlError> {
    match precision {
        1..=1000 => Ok(precision as u16),
        _ => Err(SqlError::new(
            sqlstate::INVALID_PARAMETER,
            format!("NUMERIC precision {precision} must be between 1 and 1000"),
        )),
    }
}

fn custom(name: &ObjectName, modifiers: &[String]) -> Result<Type, SqlError> {
    let last = match name.0.last() {
        Some(ObjectNamePart::Identifier(ident)) => fold(ident),
        _ => name.to_string(),
    };
    match (last.as_str(), modifiers) {
        ("varchar", [length]) => Ok(Type::Varchar(length.parse().ok())),
        _ => custom_name(&last),
    }
}

fn custom_name(name: &str) -> Result<Type, SqlError> {
    if let Some(ty) = named_type(name) {
        return Ok(ty);
    }
    match name {
        "serial" | "serial4" | "bigserial" | "serial8" | "smallserial" => {
            Err(SqlError::unsupported(name).hint("Use uuid with DEFAULT gen_random_uuid()."))
        }
        "timestamp" | "time" | "timetz" | "interval" | "money" | "inet" | "cidr" | "xml" | "bpchar"
        | "bit" | "varbit" | "point" | "tsvector" | "tsquery" | "macaddr" | "hstore" | "citext" => {
            Err(SqlError::unsupported(format!("type {name}")).hint(SUPPORTED_TYPES))
        }
        _ => Err(unknown_type(name).hint(SUPPORTED_TYPES)),
    }
}
