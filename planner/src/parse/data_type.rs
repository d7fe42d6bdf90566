//! Type names from the parser's tree into ours.

use sqlparser::ast::{
    ArrayElemTypeDef, CharacterLength, DataType, DateTimeField, ExactNumberInfo, Interval, IntervalFields,
    ObjectName, ObjectNamePart, TimezoneInfo,
};

use super::converter::fold;
use crate::error::{SqlError, sqlstate};
use crate::types::datetime::{
    ALL_DIGITS, ALL_FIELDS, DAY_FIELD, HOUR_FIELD, MINUTE_FIELD, MONTH_FIELD, SECOND_FIELD, YEAR_FIELD,
};
use crate::types::{IntervalLimit, Type};

const SUPPORTED_TYPES: &str = "Supported: smallint, integer, bigint, boolean, real, double precision, numeric, text, \
                               varchar, char, bytea, uuid, date, time, timetz, timestamp, timestamptz, interval, \
                               json, jsonb, and arrays of them.";

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
        "bpchar" => Type::Bpchar(None),
        "bytea" => Type::Bytea,
        "uuid" => Type::Uuid,
        "date" => Type::Date,
        "time" => Type::Time(None),
        "timetz" => Type::Timetz(None),
        "timestamp" => Type::Timestamp(None),
        "timestamptz" => Type::Timestamptz(None),
        "interval" => Type::Interval(None),
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

/// A type name. An array has any number of dimensions, however many are written.
pub(super) fn data_type(ty: &DataType) -> Result<Type, SqlError> {
    let mut element = ty;
    while let DataType::Array(
        ArrayElemTypeDef::SquareBracket(inner, _)
        | ArrayElemTypeDef::AngleBracket(inner)
        | ArrayElemTypeDef::Qualified(inner, _),
    ) = element
    {
        element = inner;
    }
    let is_array = !std::ptr::eq(element, ty);
    let element = plain_type(element)?;
    Ok(if is_array { Type::Array(Box::new(element)) } else { element })
}

/// The name of a type that is no array.
fn plain_type(ty: &DataType) -> Result<Type, SqlError> {
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
            Type::Numeric(numeric_limits(info)?)
        }
        DataType::Text => Type::Text,
        DataType::Varchar(length) | DataType::CharacterVarying(length) | DataType::CharVarying(length) => {
            Type::Varchar(length_limit(*length, "varchar")?)
        }
        DataType::Bytea => Type::Bytea,
        DataType::Uuid => Type::Uuid,
        DataType::Date => Type::Date,
        DataType::Timestamp(digits, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => {
            Type::Timestamptz(precision(*digits))
        }
        DataType::Timestamp(digits, _) => Type::Timestamp(precision(*digits)),
        DataType::Time(digits, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => {
            Type::Timetz(precision(*digits))
        }
        DataType::Time(digits, _) => Type::Time(precision(*digits)),
        DataType::Interval { fields, precision: digits } => {
            Type::Interval(interval_limit(fields.as_ref().map(interval_fields), *digits))
        }
        DataType::JSON => Type::Json,
        DataType::JSONB => Type::Jsonb,
        DataType::Regclass => Type::Regclass,
        // psql casts to pg_catalog."char", another type, which arrives as a custom name.
        DataType::Char(length) | DataType::Character(length) => {
            Type::Bpchar(Some(length_limit(*length, "character")?.unwrap_or(1)))
        }
        // Types of other systems that hold types: printing them would walk a tree.
        DataType::Array(_)
        | DataType::Map(..)
        | DataType::Tuple(_)
        | DataType::Nested(_)
        | DataType::Struct(..)
        | DataType::Union(_)
        | DataType::Nullable(_)
        | DataType::LowCardinality(_)
        | DataType::Table(_)
        | DataType::NamedTable { .. } => return Err(SqlError::unsupported("a type that is made of types")),
        DataType::Custom(name, modifiers) => custom(name, modifiers)?,
        other => return custom_name(&other.to_string().to_lowercase()),
    })
}

/// Precision and scale of a numeric type, if it has any. 22023 if they are out of range.
fn numeric_limits(info: &ExactNumberInfo) -> Result<Option<(u16, i16)>, SqlError> {
    Ok(match info {
        ExactNumberInfo::None => None,
        ExactNumberInfo::Precision(precision) => Some((numeric_precision(*precision)?, 0)),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => {
            let precision = numeric_precision(*precision)?;
            if !(-1000..=1000).contains(scale) {
                return Err(SqlError::new(
                    sqlstate::INVALID_PARAMETER,
                    format!("NUMERIC scale {scale} must be between -1000 and 1000"),
                ));
            }
            Some((precision, *scale as i16))
        }
    })
}

/// The length of a varchar or char type in characters, if it has one. 22023 if that is out of range.
fn length_limit(length: Option<CharacterLength>, name: &str) -> Result<Option<u32>, SqlError> {
    let Some(CharacterLength::IntegerLength { length, .. }) = length else { return Ok(None) };
    let problem = match length {
        1..=10_485_760 => return Ok(Some(length as u32)),
        0 => format!("length for type {name} must be at least 1"),
        _ => format!("length for type {name} cannot exceed 10485760"),
    };
    Err(SqlError::new(sqlstate::INVALID_PARAMETER, problem))
}

/// Digits of a second. PostgreSQL takes six at most; more are cut to six.
fn precision(digits: Option<u64>) -> Option<u8> {
    digits.map(|digits| digits.min(6) as u8)
}

/// What an interval type keeps.
fn interval_limit(fields: Option<u16>, digits: Option<u64>) -> Option<IntervalLimit> {
    let precision = precision(digits).map_or(ALL_DIGITS, u16::from);
    let limit = IntervalLimit { fields: fields.unwrap_or(ALL_FIELDS), precision };
    (fields.is_some() || digits.is_some()).then_some(limit)
}

/// The mask of an interval's fields.
fn interval_fields(fields: &IntervalFields) -> u16 {
    use IntervalFields as Fields;
    match fields {
        Fields::Year => YEAR_FIELD,
        Fields::Month => MONTH_FIELD,
        Fields::Day => DAY_FIELD,
        Fields::Hour => HOUR_FIELD,
        Fields::Minute => MINUTE_FIELD,
        Fields::Second => SECOND_FIELD,
        Fields::YearToMonth => YEAR_FIELD | MONTH_FIELD,
        Fields::DayToHour => DAY_FIELD | HOUR_FIELD,
        Fields::DayToMinute => DAY_FIELD | HOUR_FIELD | MINUTE_FIELD,
        Fields::DayToSecond => DAY_FIELD | HOUR_FIELD | MINUTE_FIELD | SECOND_FIELD,
        Fields::HourToMinute => HOUR_FIELD | MINUTE_FIELD,
        Fields::HourToSecond => HOUR_FIELD | MINUTE_FIELD | SECOND_FIELD,
        Fields::MinuteToSecond => MINUTE_FIELD | SECOND_FIELD,
    }
}

/// The type of `INTERVAL '..' field [TO field]`.
pub(super) fn interval_type(interval: &Interval) -> Result<Type, SqlError> {
    let (first, last) = (&interval.leading_field, &interval.last_field);
    let digits = interval.fractional_seconds_precision.or(interval.leading_precision);
    let Some(first) = first else { return Ok(Type::Interval(interval_limit(None, digits))) };
    let order = ["YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND"];
    let masks = [YEAR_FIELD, MONTH_FIELD, DAY_FIELD, HOUR_FIELD, MINUTE_FIELD, SECOND_FIELD];
    let place = |field: &DateTimeField| order.iter().position(|own| field.to_string() == *own);
    let syntax = || SqlError::new(sqlstate::SYNTAX, "no such fields of an interval");
    let first = place(first).ok_or_else(syntax)?;
    let last = last.as_ref().map_or(Some(first), place).ok_or_else(syntax)?;
    let allowed = first == last || (first, last) == (0, 1) || first >= 2 && first < last;
    if !allowed {
        return Err(syntax());
    }
    let mask = masks[first..=last].iter().fold(0, |all, own| all | own);
    Ok(Type::Interval(interval_limit(Some(mask), digits)))
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
        ("bpchar", [length]) => Ok(Type::Bpchar(length.parse().ok())),
        ("timetz", [digits]) => Ok(Type::Timetz(precision(digits.parse().ok()))),
        ("timestamptz", [digits]) => Ok(Type::Timestamptz(precision(digits.parse().ok()))),
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
        "money" | "inet" | "cidr" | "xml" | "bit" | "varbit" | "point" | "tsvector" | "tsquery"
        | "macaddr" | "hstore" | "citext" => {
            Err(SqlError::unsupported(format!("type {name}")).hint(SUPPORTED_TYPES))
        }
        _ => Err(unknown_type(name).hint(SUPPORTED_TYPES)),
    }
}

/// 42704.
pub(super) fn unknown_type(name: &str) -> SqlError {
    SqlError::new(sqlstate::UNDEFINED_OBJECT, format!("type \"{name}\" does not exist"))
}
